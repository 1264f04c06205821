"""Where a desk is kept, as commands name it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lem_models.errors import DeskError

if TYPE_CHECKING:
    from lem_models.desk.store.database import DatabaseStore

__all__ = ["DB", "TERM", "existing_store"]

DB = "The desk: an SQLite file, or the URL of a PostgreSQL database."
"""Help of the argument that names a desk."""

TERM = 30.0
"""Seconds for which a command holds the lease of a desk."""


def existing_store(place: str) -> DatabaseStore:
    """The database of a desk that is there already.

    Raises:
        DeskError: There is none, or it cannot be opened.
    """
    from lem_models.desk.store.database import DatabaseStore

    if "://" not in place and not Path(place).is_file():
        raise DeskError(
            f"there is no desk {place}; `lem desk run {place} --orders orders.toml ...` makes one", rule="desk"
        )
    return DatabaseStore(place, term=TERM)
