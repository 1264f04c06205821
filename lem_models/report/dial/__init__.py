"""The risk dial as a figure."""
