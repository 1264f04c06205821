"""Evaluation: the benchmark protocol, bounds, the martingale null, and the check that a policy does not look ahead."""
