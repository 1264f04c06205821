"""Output files: each is written completely or not at all. Tables as CSV, facts as strict JSON."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lem_models.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Json",
    "check_file",
    "check_folder",
    "is_missing",
    "json_text",
    "replacing",
    "to_csv",
    "to_json",
    "write_bytes",
    "write_text",
]

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""Content of a JSON file."""


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse, before any compute, a folder in which no file can be written; a missing folder can be made.

    Raises:
        ConfigError: The folder is a file, lies under a file, or may not be written.
    """
    path = Path(os.path.abspath(folder))
    existing = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise ConfigError(f"cannot write into the folder {folder}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write into the folder {folder}: no permission to write in {existing}")


def check_file(file: str | os.PathLike[str]) -> None:
    """Refuse, before any compute, a file that cannot be written; an existing file can be replaced.

    Raises:
        ConfigError: The file is a folder, or its folder is missing or may not be written.
    """
    path = Path(file)
    if path.is_dir():
        raise ConfigError(f"{file} is a folder; name a file")
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {file}: there is no folder {path.parent}")
    check_folder(path.parent)


def to_csv(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a table as CSV with every digit, without the index.

    Args:
        frame: The table.
        path: The file; missing folders are made.

    Returns:
        The path of the file.
    """
    return write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def to_json(content: object, path: str | os.PathLike[str]) -> Path:
    """Write tables and facts as strict JSON.

    Args:
        content: Nested mappings, sequences, numbers, strings, days, times and data frames. A data frame becomes a list
            of rows; NaN, infinities and missing times become null; times are ISO 8601, in UTC if they have a zone;
            numbers have every digit; keys keep their order.
        path: The file; missing folders are made.

    Returns:
        The path of the file.

    Raises:
        ConfigError: A value has no form in JSON.
    """
    return write_text(path, json_text(content) + "\n")


def json_text(content: object, *, lines: bool = True) -> str:
    """Tables and facts as strict JSON, over several lines or on one; see :func:`to_json`."""
    return json.dumps(_plain(content), indent=2 if lines else None, ensure_ascii=False, allow_nan=False)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a hidden file beside a target; write that file in the context.

    The file replaces the target when the context ends without an error. Otherwise it is removed, and the target stays.

    Raises:
        OSError: The file cannot be moved into its place.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text; see :func:`write_bytes`."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file, complete or not at all; folders that are missing are made.

    Raises:
        ConfigError: The file cannot be written, e.g. because the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {error.strerror or error}. Free some space, or name another place"
        ) from None
    return target


def _plain(value: object) -> Json:
    """Content in the types of JSON."""
    if is_missing(value):
        return None
    # Nobody has a table of pandas before it is imported, and a short command does not wait for it.
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return [_plain(row) for row in value.to_dict("records")]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray) or (pandas is not None and isinstance(value, pandas.Series)):
        return [_plain(each) for each in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        return (value if value.tzinfo is None else value.astimezone(timezone.utc)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | os.PathLike):
        return str(value)
    raise ConfigError(f"a {type(value).__name__} has no form in JSON")


def is_missing(value: object) -> bool:
    """Whether a value is NaN, NaT or None."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return True
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NaT or value is pandas.NA)
