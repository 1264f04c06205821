"""One order under several policies: figure, tables, page."""
