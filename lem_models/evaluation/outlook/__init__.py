"""What may come: simulated bars, and what becomes of orders on them."""
