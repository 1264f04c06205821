"""A transaction cost analysis as tables, figures, terminal text and one HTML page."""
