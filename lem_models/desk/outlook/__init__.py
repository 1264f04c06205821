"""What an order does next, and what may become of it."""
