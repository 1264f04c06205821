"""Bars as they come to a desk."""
