"""Files of bars: read without interpretation, written completely or not at all.

Timestamps and symbols of a CSV stay texts, so that the validation sees a missing zone, or a ticker called "NA". A file
is written beside its target, which it replaces in one step.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lem_models.errors import BarsError
from lem_models.guard.arrow import check_size
from lem_models.guard.columns import MAX_COLUMNS, check_columns
from lem_models.guard.output import replacing
from lem_models.guard.parquet import GuardedParquet, LocalFile
from lem_models.guard.text import check_is_text
from lem_models.markets.storage.packed import BoundedStream, unpacked_limit

__all__ = ["FORMATS", "format_of", "parquet_pieces", "read_table", "write_table", "writing"]

_MAX_LINE = 1 << 18
_HEAD = 1 << 12  # bytes that show whether a file is a text

FORMATS = ("parquet", "csv", "csv.gz", "arrow")


def read_table(path: Path) -> pd.DataFrame:
    """Read a file into a table, without interpreting its values.

    Args:
        path: A ``.parquet``, ``.csv``, ``.csv.gz`` or ``.arrow`` file (an Arrow file or stream).

    Returns:
        The table; an index of pandas in a parquet file becomes a column.

    Raises:
        BarsError: The suffix is not one of these, there is no such file, or it cannot be read.
    """
    kind = format_of(path)
    if not path.is_file():
        raise BarsError(f"there is no file {path}", rule="readable file")
    try:
        if kind == "parquet":
            table = _read_parquet(path)
        elif kind == "arrow":
            check_size(path)
            table = _read_arrow(path)
        else:
            table = _read_csv(path, is_packed=kind == "csv.gz")
            check_columns(str(path), table.schema)  # texts that are not UTF-8 are columns of bytes
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    except BarsError:
        raise
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        OverflowError,
        EOFError,
        struct.error,
        zlib.error,
    ) as error:
        raise BarsError(f"{path} cannot be read as {kind}: {error}", rule="readable file") from error
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table to a file, completely or not at all.

    Args:
        frame: The table; its first column is the timestamp.
        path: A ``.parquet``, ``.csv`` or ``.csv.gz`` file; an existing one is replaced.

    Raises:
        BarsError: The suffix is not one of these, or the file cannot be written.
    """
    kind = format_of(path)
    with writing(path) as partial:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if kind == "parquet":
            pyarrow.parquet.write_table(table, partial, compression="zstd")
        elif kind == "csv":
            pyarrow.csv.write_csv(_with_short_timestamps(table), partial)
        else:
            with gzip.open(partial, "wb") as stream:
                pyarrow.csv.write_csv(_with_short_timestamps(table), stream)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Write a file of bars in the context, see :func:`~lem_models.guard.output.replacing`.

    Raises:
        BarsError: The file cannot be written.
    """
    try:
        with replacing(path) as partial:
            yield partial
    except (pa.ArrowException, OSError) as error:
        raise BarsError(f"{path} cannot be written: {error}", rule="writable file") from error


def parquet_pieces(path: Path) -> Iterator[pa.Table]:
    """Rows of a parquet file, about 100,000 at a time; at least one table, which may be empty.

    Raises:
        BarsError: The file cannot be read, or would expand to far more memory than its size.
        OSError: The file cannot be opened.
    """
    source = LocalFile(path, str(path))
    try:
        file = GuardedParquet(source)
        yield file.schema.empty_table()
        yield from file.pieces()
    finally:
        source.close()


def _read_parquet(path: Path) -> pa.Table:
    pieces = list(parquet_pieces(path))
    return pa.concat_tables(pieces[1:] or pieces).unify_dictionaries()


def _read_arrow(path: Path) -> pa.Table:
    """An Arrow file, or an Arrow stream, which the library ``datasets`` writes."""
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_stream(source)
        check_columns(str(path), reader.schema)
        return reader.read_all()


def _read_csv(path: Path, *, is_packed: bool) -> pa.Table:
    """A CSV file; pyarrow parses floats exactly."""
    texts = pyarrow.csv.ConvertOptions(column_types={"timestamp": pa.string(), "symbol": pa.string()})
    packed = gzip.GzipFile(path) if is_packed else None
    with packed or path.open("rb") as file:
        check_is_text(file.read(_HEAD))
        file.seek(0)
        line = file.readline(_MAX_LINE)
        if len(line) == _MAX_LINE:
            raise ValueError(f"its first line has more than {_MAX_LINE:,} bytes")
        if line.count(b",") >= MAX_COLUMNS:
            raise ValueError(f"it has more than {MAX_COLUMNS:,} columns")
        if packed is None:
            return pyarrow.csv.read_csv(path, convert_options=texts)
        packed.seek(0)
        limited = BoundedStream(packed, unpacked_limit(path.stat().st_size))
        return pyarrow.csv.read_csv(limited, convert_options=texts)


def _with_short_timestamps(table: pa.Table) -> pa.Table:
    """Write timestamps as 2024-01-01 00:00:00Z, without nine zeros, if they are whole seconds."""
    try:
        return table.set_column(0, "timestamp", table["timestamp"].cast(pa.timestamp("s", "UTC")))
    except pa.ArrowInvalid:  # they are not whole seconds
        return table


def format_of(path: Path) -> str:
    """Format of a file, one of :data:`FORMATS`, by its suffix.

    Raises:
        BarsError: The suffix is not one of these.
    """
    for suffix in reversed(FORMATS):
        if path.name.lower().endswith(f".{suffix}"):
            return suffix
    raise BarsError(f"{path} is neither an .arrow, a .parquet, a .csv nor a .csv.gz file", rule="file format")
