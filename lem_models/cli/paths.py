"""Checks of the paths that a user names, before anything is computed."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from lem_models.errors import BarsError, OrderError

__all__ = ["check_readable"]


def check_readable(path: Path, kind: type[BarsError | OrderError] = BarsError) -> None:
    """Refuse a path that is not a readable file.

    Args:
        path: The path; for bars also a pattern such as ``BTC*.zip``, which some file must fit.
        kind: Error to raise.

    Raises:
        BarsError: The path is a folder, is missing, or may not be read; or the other kind of error.
    """
    if kind is BarsError and not path.exists() and glob.has_magic(str(path)):
        if glob.glob(str(path), recursive=True):
            return
        problem = f"no file fits {path}"
    elif path.is_dir():
        problem = f"{path} is a folder; name a file"
    elif not path.exists():
        problem = f"there is no file {path}"
    elif not os.access(path, os.R_OK):
        problem = f"{path} cannot be read: no permission"
    else:
        return
    raise kind(problem, rule="readable file")
