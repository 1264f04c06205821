"""Bars on disk: files of tables, and a store that is mapped into memory."""
