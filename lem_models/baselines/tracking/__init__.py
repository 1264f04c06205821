"""Policies that track the VWAP of a fixed duration, fitted to bars by least squares; see the modules."""
