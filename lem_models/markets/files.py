"""Tables of bars on disk: read as they are, written completely or not at all.

Reading interprets nothing: timestamps and symbols of a CSV stay texts, so that a zone that is missing, or a ticker
called "NA", is seen by the validation and not guessed away. Writing goes to a temporary file beside the target, which
then takes its place in one step.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lem_models.errors import BarsError

__all__ = ["FORMATS", "format_of", "read_table", "replacing", "write_table"]

FORMATS = ("parquet", "csv", "csv.gz", "arrow")


def read_table(path: Path) -> pd.DataFrame:
    """Read a file into a table, without interpreting it.

    Args:
        path: A ``.parquet``, ``.csv``, ``.csv.gz`` or ``.arrow`` file (an Arrow file or stream).

    Returns:
        The table; an index that pandas stored in a parquet file is a column like the others.

    Raises:
        BarsError: The suffix is none of these, there is no such file, or it cannot be read.
    """
    kind = format_of(path)
    if not path.is_file():
        raise BarsError(f"there is no file {path}", rule="readable file")
    try:
        if kind == "parquet":
            table = pyarrow.parquet.read_table(path, read_dictionary=["symbol"], partitioning=None)
        elif kind == "arrow":
            table = _read_arrow(path)
        else:
            # pyarrow undoes gzip by the suffix, and prints and parses floats without loss.
            texts = pyarrow.csv.ConvertOptions(column_types={"timestamp": pa.string(), "symbol": pa.string()})
            table = pyarrow.csv.read_csv(path, convert_options=texts)
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        raise BarsError(f"{path} cannot be read as {kind}: {error}", rule="readable file") from error
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table to a file, completely or not at all.

    Args:
        frame: The table; its first column is the timestamp.
        path: A ``.parquet``, ``.csv`` or ``.csv.gz`` file; an existing one is replaced.

    Raises:
        BarsError: The suffix is none of these, or the file cannot be written.
    """
    kind = format_of(path)
    with replacing(path) as partial:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if kind == "parquet":
            pyarrow.parquet.write_table(table, partial, compression="zstd")
        elif kind == "csv":
            pyarrow.csv.write_csv(_with_short_timestamps(table), partial)
        else:
            with gzip.open(partial, "wb") as stream:
                pyarrow.csv.write_csv(_with_short_timestamps(table), stream)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside a target that takes its place when all went well, and is removed when not.

    Raises:
        BarsError: The file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except (pa.ArrowException, OSError) as error:
        raise BarsError(f"{path} cannot be written: {error}", rule="writable file") from error
    finally:
        partial.unlink(missing_ok=True)


def _read_arrow(path: Path) -> pa.Table:
    """An Arrow file, or a stream as the library ``datasets`` writes."""
    with pa.memory_map(str(path)) as source:
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()


def _with_short_timestamps(table: pa.Table) -> pa.Table:
    """Print timestamps as 2024-01-01 00:00:00Z, without nine zeros, if they are whole seconds."""
    try:
        return table.set_column(0, "timestamp", table["timestamp"].cast(pa.timestamp("s", "UTC")))
    except pa.ArrowInvalid:  # a cast that would lose something is refused
        return table


def format_of(path: Path) -> str:
    """One of :data:`FORMATS`, by the suffix.

    Raises:
        BarsError: It is none of these.
    """
    for suffix in reversed(FORMATS):
        if path.name.lower().endswith(f".{suffix}"):
            return suffix
    raise BarsError(f"{path} is neither an .arrow, a .parquet, a .csv nor a .csv.gz file", rule="file format")
