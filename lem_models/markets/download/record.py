"""The record of a download, ``bars.parquet.source.json`` beside ``bars.parquet``: where bars come from."""

from __future__ import annotations

import os
from pathlib import Path

from lem_models.guard.text import one_line, read_json

__all__ = ["record_of", "terms_of"]


def record_of(path: str | os.PathLike[str]) -> Path:
    """The record beside a file of bars.

    Example:
        >>> record_of("bars.parquet").name
        'bars.parquet.source.json'
    """
    return Path(path).with_name(f"{Path(path).name}.source.json")


def terms_of(path: str | os.PathLike[str]) -> str:
    """Where the terms of use of downloaded bars are, by their record; empty if there is none that can be read."""
    try:
        terms = read_json(record_of(path)).get("terms")
    except (OSError, ValueError):
        return ""
    return one_line(terms) if isinstance(terms, str) else ""
