"""Fused CPU kernels of the TKAN recurrences: compiled once on the machine that runs them, with an eager fallback."""
