"""The check of a file of bars as terminal tables and as a page with a picture of its coverage."""
