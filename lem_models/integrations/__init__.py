"""Bridges to other software: exported graphs."""
