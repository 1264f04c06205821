"""Spaces: the app, published on the Hub."""
