"""Charts as data, and the two libraries that draw them."""
