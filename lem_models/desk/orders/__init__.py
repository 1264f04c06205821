"""Orders of a desk: amounts, times, and child orders in lots."""
