"""Transaction cost analysis."""
