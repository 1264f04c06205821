"""Bars on the Hub: publish and read data sets."""
