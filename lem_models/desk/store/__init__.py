"""Where the log of a desk is kept."""
