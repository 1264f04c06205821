"""Bars as an Arrow file that is mapped into memory: columns are loaded when they are used.

The file is an ordinary, uncompressed Arrow IPC file (Feather version 2) of one record batch, so every column is one
contiguous array: ``timestamp`` (nanoseconds UTC), ``symbol`` (dictionary), open, high, low, close, volume, notional,
then the other columns of the table; symbol-major. Any Arrow reader reads it. The metadata of the schema hold, under the
key ``lem_models.bars``, a JSON text with symbols, offsets, calendar, grid and content hash, and the SHA-256 of that
text. The bars were checked when the file was written. Opening it checks its form and the first and last values of its
columns, which detects a misplaced column. It does not check the other values.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lem_models.errors import BarsError
from lem_models.guard.arrow import check_size
from lem_models.markets.calendar.choice import CalendarChoice, build_calendars, check_on_grid
from lem_models.markets.calendar.frequency import GROUP, read_frequency
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.storage.files import writing
from lem_models.markets.storage.grid_record import grid_of, grid_record
from lem_models.markets.validation import REQUIRED, VALUES, Columns, check_time_order, check_values, is_printable_symbol

__all__ = ["StoredBars", "content_hash", "open_store", "symbol_type", "verify_store", "with_calendar", "write_store"]

Integers = npt.NDArray[np.int64]

SCHEMA_VERSION = 1
_KEY, _CHECKSUM = b"lem_models.bars", b"lem_models.bars.sha256"
_TIMESTAMP = pa.timestamp("ns", tz="UTC")
_ENDS = 8  # first and last values of a column that are hashed


@dataclass(frozen=True)
class StoredBars:
    """The content of a mapped file.

    Attributes:
        columns: Read-only views of the file; its ``extra`` has no columns.
        grid: Places of the bars.
        extra: The other columns, a ``pyarrow.Table`` mapped from the file; ``None`` if there are none.
        content_hash: See :attr:`~lem_models.markets.bars.Bars.content_hash`.
        symbol: The column of symbols, for other Arrow readers.
    """

    columns: Columns
    grid: Grid
    extra: pa.Table | None
    content_hash: str
    symbol: pa.DictionaryArray


def content_hash(
    symbols: tuple[str, ...], offsets: Integers, timestamp: Integers, values: Mapping[str, npt.NDArray[np.float64]]
) -> str:
    """SHA-256 (hexadecimal) over symbols, timestamps, prices, volumes and notionals."""
    digest = hashlib.sha256(json.dumps([symbols, offsets.tolist()]).encode())
    for array in (timestamp, *(values[name] for name in VALUES)):
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def _ends_hash(timestamp: Integers, values: Mapping[str, npt.NDArray[np.float64]]) -> str:
    """SHA-256 (hexadecimal) over the first and the last values of every column."""
    digest = hashlib.sha256()
    for array in (timestamp, *(values[name] for name in VALUES)):
        ends = np.concatenate([array[:_ENDS], array[-_ENDS:]])
        digest.update(ends.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def symbol_type(count: int) -> npt.DTypeLike:
    """Smallest integer type for the numbers of ``count`` symbols."""
    return np.min_scalar_type(-max(count, 2))


def write_store(
    columns: Columns, grid: Grid, symbol: npt.NDArray[Any], extra: pd.DataFrame | pa.Table, path: Path
) -> str:
    """Write bars to a file, complete or not at all.

    Args:
        columns: Checked columns, in memory or mapped from files; they are not copied.
        grid: Their places.
        symbol: Number of each bar's symbol, of the type :func:`symbol_type`.
        extra: Other columns.
        path: The file; an existing file is replaced.

    Returns:
        The content hash.

    Raises:
        BarsError: The file cannot be written.
    """
    hashed = content_hash(columns.symbols, columns.offsets, columns.timestamp, columns.values)
    header = {
        "schema_version": SCHEMA_VERSION,
        "bars": len(columns.timestamp),
        "symbols": columns.symbols,
        "content_hash": hashed,
        "ends_hash": _ends_hash(columns.timestamp, columns.values),
    } | grid_record(grid)
    text = json.dumps(header, ensure_ascii=False).encode()
    with writing(path) as partial:
        names, arrays = list(REQUIRED), _arrays(columns, symbol)
        if isinstance(extra, pd.DataFrame):
            extra = pa.Table.from_pandas(extra, preserve_index=False)
        names += extra.column_names
        arrays += [_one_chunk(extra.column(index)) for index in range(extra.num_columns)]
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        batch = batch.replace_schema_metadata({_KEY: text, _CHECKSUM: hashlib.sha256(text).hexdigest().encode()})
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as file:
            file.write_batch(batch)
    return hashed


def _arrays(columns: Columns, symbol: npt.NDArray[Any]) -> list[pa.Array]:
    """The columns of a bar as Arrow arrays that share their memory."""
    size = len(symbol)

    def shared(kind: pa.DataType, array: npt.NDArray[Any]) -> pa.Array:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        return pa.Array.from_buffers(kind, size, [None, pa.py_buffer(little)])

    return [
        shared(_TIMESTAMP, columns.timestamp),
        pa.DictionaryArray.from_arrays(
            shared(pa.from_numpy_dtype(symbol.dtype), symbol), pa.array(columns.symbols, pa.string()), safe=False
        ),
        *(shared(pa.float64(), columns.values[name]) for name in VALUES),
    ]


def open_store(path: Path) -> StoredBars | None:
    """Map a file of bars into memory.

    Args:
        path: A file that :func:`write_store` wrote.

    Returns:
        The bars; ``None`` if it is an Arrow file without the metadata of this package.

    Raises:
        BarsError: There is no such file, or it is damaged.
    """
    if not path.is_file():
        raise BarsError(f"there is no file {path}", rule="readable file")
    try:
        with pa.ipc.open_file(pa.memory_map(str(path))) as file:
            metadata = file.schema.metadata or {}
            if _KEY not in metadata:
                return None
            check_size(path, compressed=False)
            text = metadata[_KEY]
            if hashlib.sha256(text).hexdigest().encode() != metadata.get(_CHECKSUM):
                raise ValueError("its header was changed after it was written")
            header = json.loads(text)
            if header["schema_version"] != SCHEMA_VERSION:
                raise ValueError(
                    f"it has the schema version {header['schema_version']!r}, this release reads {SCHEMA_VERSION}"
                )
            if file.num_record_batches != 1:
                raise ValueError(f"it has {file.num_record_batches} record batches instead of one")
            batch = file.get_batch(0)
        return _stored(header, batch)
    except pa.ArrowInvalid as error:
        if _is_stream(path):
            return None
        raise BarsError(f"{path} cannot be read as arrow: {error}", rule="readable file") from error
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        OverflowError,
        MemoryError,
        RecursionError,
        zlib.error,
        struct.error,
    ) as error:
        what = f"{error} is missing in its header" if isinstance(error, KeyError) else error
        raise BarsError(f"{path} cannot be read as arrow: {what}", rule="readable file") from error


def with_calendar(stored: StoredBars, calendar: CalendarChoice, frequency: str | timedelta | None) -> StoredBars:
    """Place stored bars on another grid, if the caller names another calendar or frequency.

    Args:
        stored: The bars.
        calendar: See :meth:`~lem_models.markets.bars.Bars.read`.
        frequency: See there.

    Raises:
        BarsError: A bar is not on that grid.
        UnknownNameError: There is no calendar of this name.
    """
    columns, calendars = stored.columns, stored.grid.calendars
    own_length = calendars.kinds[0].frequency
    own_names = {name: calendars.kinds[kind].name for name, kind in zip(columns.symbols, calendars.which, strict=True)}
    length = own_length if frequency is None else read_frequency(frequency)
    names = own_names if calendar == "auto" else calendar
    by_symbol = names if isinstance(names, Mapping) else dict.fromkeys(columns.symbols, names)
    if by_symbol == own_names and length == own_length:
        return stored
    built = build_calendars(names, columns.symbols, columns.offsets, columns.timestamp, length)
    return replace(stored, grid=Grid.build(built, columns.offsets, columns.timestamp, columns.values["volume"]))


def verify_store(stored: StoredBars, path: Path) -> None:
    """Check the values of an opened file by the rules of a table of bars, and against its content hash.

    Raises:
        BarsError: A bar breaks a rule, or the content was changed after it was written.
    """
    columns, grid = stored.columns, stored.grid
    size = len(columns.timestamp)
    read_frequency(grid.calendars.kinds[0].frequency)
    try:
        stored.symbol.validate(full=True)  # before its texts are read: in a damaged file they may lie anywhere
    except pa.ArrowException as error:
        raise BarsError(f"{path} is damaged: its symbols are not readable: {error}", rule="content hash") from error
    same = stored.symbol.dictionary.to_pylist() == list(columns.symbols)
    for begin in range(0, size, GROUP):
        # One row before, so that the order is checked across the border too.
        first, last = max(begin - 1, 0), min(begin + GROUP, size)
        offsets = columns.offsets
        edges = np.unique(np.concatenate([[first, last], offsets[(offsets > first) & (offsets < last)]]))
        numbers = grid.symbol(edges[:-1])
        piece = Columns(
            tuple(columns.symbols[number] for number in numbers),
            edges - first,
            columns.timestamp[first:last],
            {name: values[first:last] for name, values in columns.values.items()},
            pd.DataFrame(),
        )
        check_time_order(piece)
        check_values(piece)
        check_on_grid(grid.calendars.take(numbers), piece.symbols, piece.offsets, piece.timestamp)
        indices = stored.symbol.indices.slice(first, last - first).to_numpy(zero_copy_only=False)
        same = same and np.array_equal(indices, np.repeat(numbers, np.diff(edges)))
    placed = Grid.build(grid.calendars, columns.offsets, columns.timestamp, columns.values["volume"])
    same = same and all(
        np.array_equal(getattr(placed, name), getattr(grid, name)) for name in ("run", "number", "idle")
    )
    if not same or stored.content_hash != content_hash(
        columns.symbols, columns.offsets, columns.timestamp, columns.values
    ):
        raise BarsError(f"{path} is damaged: its content was changed after it was written", rule="content hash")


def _is_stream(path: Path) -> bool:
    """Whether the file holds an Arrow stream, as the library ``datasets`` writes, instead of an Arrow file."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source):
            return True
    except (pa.ArrowException, OSError):
        return False


def _stored(header: Mapping[str, Any], batch: pa.RecordBatch) -> StoredBars:
    """Views of the columns, and the grid; ValueError if they do not fit together."""
    batch.validate()
    size = int(header["bars"])
    if batch.num_rows != size or not size:
        raise ValueError(f"it has {batch.num_rows:,} rows, its header says {size:,}")
    if tuple(batch.schema.names[: len(REQUIRED)]) != REQUIRED:
        raise ValueError(f"its columns are {batch.schema.names}, they must begin with {list(REQUIRED)}")
    names = header["symbols"]
    is_list = isinstance(names, list) and all(
        isinstance(name, str) and name and is_printable_symbol(name) for name in names
    )
    if not is_list or len(set(names)) != len(names):
        raise ValueError("its symbols are not distinct names")
    symbols = tuple(names)
    grid = grid_of(header, len(symbols), size)
    views = {name: _view(batch.column(name), pa.float64()) for name in VALUES}
    stamps = _view(batch.column("timestamp"), _TIMESTAMP)
    if header["ends_hash"] != _ends_hash(stamps, views):
        raise ValueError("its columns are in a wrong place")
    symbol = batch.column("symbol")
    if not isinstance(symbol, pa.DictionaryArray):
        raise ValueError(f"its column of symbols is of type {symbol.type}, not a dictionary")
    others = batch.schema.names[len(REQUIRED) :]
    extra = pa.Table.from_batches([batch]).select(others).replace_schema_metadata(None) if others else None
    columns = Columns(symbols, grid.offsets, stamps, views, pd.DataFrame(index=pd.RangeIndex(size)))
    hashed = header["content_hash"]
    if not isinstance(hashed, str):
        raise TypeError("its content hash is not a text")
    return StoredBars(columns, grid, extra, hashed, symbol)


def _view(array: pa.Array, kind: pa.DataType) -> npt.NDArray[Any]:
    """A column as a numpy array that shares its memory."""
    if array.type != kind or array.null_count:
        raise ValueError(f"a column is of type {array.type} with {array.null_count} missing values, not {kind}")
    dtype = np.dtype("<i8") if kind == _TIMESTAMP else np.dtype("<f8")
    return np.frombuffer(array.buffers()[1], dtype, count=len(array), offset=array.offset * dtype.itemsize)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    column.validate(full=True)
    combined = column.unify_dictionaries().combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        if combined.num_chunks != 1:
            raise pa.ArrowInvalid(f"a column of type {column.type} is too large for one piece")
        return combined.chunk(0)
    return combined
