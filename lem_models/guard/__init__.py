"""Untrusted files: their content is known and bounded before it is unpacked."""
