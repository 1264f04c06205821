"""Causal features of a market, batch and live."""
