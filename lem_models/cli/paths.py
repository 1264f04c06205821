"""Paths that a user names are looked at before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

from lem_models.errors import BarsError, OrderError

__all__ = ["check_readable"]


def check_readable(path: Path, kind: type[BarsError | OrderError] = BarsError) -> None:
    """Refuse what is no readable file.

    Args:
        path: The path.
        kind: Error to raise.

    Raises:
        BarsError: or the other kind: when it is a folder, is missing, or may not be read.
    """
    if path.is_dir():
        problem = f"{path} is a folder; name a file"
    elif not path.exists():
        problem = f"there is no file {path}"
    elif not os.access(path, os.R_OK):
        problem = f"{path} cannot be read: no permission"
    else:
        return
    raise kind(problem, rule="readable file")
