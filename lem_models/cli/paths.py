"""Checks of the paths that a user names, before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

from lem_models.errors import BarsError, OrderError

__all__ = ["check_readable"]


def check_readable(path: Path, kind: type[BarsError | OrderError] = BarsError) -> None:
    """Refuse a path that is not a readable file.

    Args:
        path: The path.
        kind: Error to raise.

    Raises:
        BarsError: The path is a folder, is missing, or may not be read; or the other kind of error.
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
