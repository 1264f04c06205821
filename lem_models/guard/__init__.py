"""Bytes of strangers: what is in a file is known and bounded before any of it is unpacked."""
