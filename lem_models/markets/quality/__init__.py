"""Whether bars can be true, and what is missing or doubtful in them."""
