"""Tables of execution quality: dominance, tracking, reversion, trajectory, the worst orders."""
