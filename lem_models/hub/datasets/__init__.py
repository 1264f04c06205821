"""Bars on the Hub: publishing and reading data sets."""
