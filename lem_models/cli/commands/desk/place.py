"""Where a desk is kept, as commands name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lem_models.desk.store.database import DatabaseStore

__all__ = ["DB", "TERM", "existing_store"]

DB = "The desk: an SQLite file, or the URL of a PostgreSQL database."
"""Help of the argument that names a desk."""

TERM = 30.0
"""Seconds for which a command holds the lease of a desk."""


def existing_store(place: str, *, read_only: bool = False) -> DatabaseStore:
    """The database of a desk that is there already.

    Args:
        place: The desk.
        read_only: Whether it is only read.

    Raises:
        DeskError: There is none, or it cannot be opened.
    """
    from lem_models.desk.store.database import DatabaseStore

    return DatabaseStore.existing(place, term=TERM, read_only=read_only)
