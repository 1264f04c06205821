"""Untrusted parquet files: their size in memory is known before they are unpacked.

By compression, dictionaries or run lengths, a few kilobytes of parquet can hold terabytes of equal values. Three things
are checked, in this order: the footer (rows, columns, types, claimed sizes) against limits; the bytes of a row group,
which must lie where the footer says; the headers of its pages against the footer
(:mod:`~lem_models.guard.parquet_pages`). Texts are read as dictionaries, so that a long text in every row is held once,
and only in encodings that cannot repeat it. Only flat columns are read.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lem_models.errors import BarsError
from lem_models.guard.columns import MAX_COLUMNS, check_columns, is_text
from lem_models.guard.parquet_footer import Chunk, RowGroup, read_footer
from lem_models.guard.parquet_pages import DATA, DATA_V2, DICTIONARY, pages_of
from lem_models.guard.thrift import ThriftError

__all__ = ["GuardedParquet", "Limits", "LocalFile", "Source"]

_MAGIC = b"PAR1"
_PAGE_ENCODINGS = frozenset({0, 2, 3, 4, 5, 8, 9})
"""Plain, dictionary, run lengths, packed numbers, differences of numbers, byte streams. Not the differences of texts:
there each text may repeat the one before it, and grow."""
_PIECE = 1 << 17  # rows
_TAIL = 1 << 16
"""Bytes that pyarrow reads at the end of a file to find the footer."""


@dataclass(frozen=True)
class Limits:
    """Limits of the size of a file in memory.

    Attributes:
        footer: Bytes of the footer.
        columns: Columns.
        group_rows: Rows of a row group.
        group_bytes: Bytes of a row group in memory.
        total_bytes: Bytes of all files together in memory, when they are read at once.
        ratio: Expanded size over packed size, for files larger than ``small_bytes``.
        small_bytes: See ``ratio``.
    """

    footer: int = 16 << 20
    columns: int = MAX_COLUMNS
    group_rows: int = 1 << 25
    group_bytes: int = 4 << 30
    total_bytes: int = 256 << 30
    ratio: float = 1000.0
    small_bytes: int = 256 << 20


class Source(Protocol):
    """A file that is read by ranges."""

    name: str
    size: int

    def fetch(self, first: int, last: int) -> bytes | memoryview:
        """Bytes ``first`` to before ``last``."""


class LocalFile:
    """A file on disk, mapped.

    Args:
        path: The file.
        name: What it is called in messages.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name, self.size = name, path.stat().st_size
        self._view: memoryview | None = None
        if self.size:
            with path.open("rb") as file:
                self._view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def fetch(self, first: int, last: int) -> memoryview:
        """Bytes ``first`` to before ``last``."""
        return memoryview(b"") if self._view is None else self._view[first:last]

    def close(self) -> None:
        """Let go of the file."""
        self._view = None  # the file is unmapped with its last view


class GuardedParquet:
    """A parquet file with a checked footer.

    Args:
        source: The file.
        limits: Limits of its size in memory.

    Attributes:
        name: What it is called in messages.
        rows: Number of rows.
        expanded: Bytes in memory, at most, by the footer.
        metadata: Key-value metadata of the footer.
        schema: Arrow schema; texts are dictionaries.

    Raises:
        BarsError: It is not a parquet file, or exceeds the limits.
    """

    def __init__(self, source: Source, limits: Limits | None = None) -> None:
        self._source, self._limits = source, limits or Limits()
        self.name = source.name
        self._tail, self._end = _footer(source, self._limits)
        try:
            self._footer = read_footer(memoryview(self._tail)[self._end - source.size : -8])
        except ThriftError as error:
            raise self._error(f"its footer is damaged: {error}", "readable file") from None
        self.rows = self._footer.rows
        self.expanded = sum(self._expanded(index, group) for index, group in enumerate(self._footer.groups))
        if self.rows != sum(group.rows for group in self._footer.groups):
            raise self._error("its footer and its row groups have different numbers of rows", "readable file")
        allowed = max(self._limits.small_bytes, self._limits.ratio * source.size)
        if self.expanded > allowed:
            raise self._error(
                f"it has {source.size:,} bytes and would expand to {self.expanded:,}, more than {allowed:,.0f}",
                "bounded expansion",
            )
        window = self._window()
        try:
            plain = pq.ParquetFile(window, thrift_string_size_limit=1 << 24, thrift_container_size_limit=1 << 20)
            _check_nesting(source.name, plain.schema_arrow, plain.metadata.num_columns)
            check_columns(source.name, plain.schema_arrow, self._limits.columns)
            self._texts = [field.name for field in plain.schema_arrow if is_text(_value_type(field.type))]
            self.schema: pa.Schema = self._open(window).schema_arrow
            self.metadata: Mapping[bytes, bytes] = plain.metadata.metadata or {}
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
            if isinstance(error, BarsError):
                raise
            raise self._error(str(error), "readable file") from None

    def pieces(self) -> Iterator[pa.Table]:
        """Rows, about 100,000 at a time; one row group is fetched after the other.

        Raises:
            BarsError: A page contradicts the footer, or is damaged.
        """
        for index, group in enumerate(self._footer.groups):
            if not group.rows:
                continue
            window, rows = self._fetch(index), 0
            try:
                with self._open(window) as file:
                    for batch in file.iter_batches(_PIECE, row_groups=[index]):
                        rows += batch.num_rows
                        if rows > group.rows:
                            raise ValueError("it has more rows than its footer says")
                        batch.validate(full=True)
                        yield _plain(pa.Table.from_batches([batch]), self._limits)
            except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
                if isinstance(error, BarsError):
                    raise
                raise self._error(str(error), "readable file") from None

    def _window(self) -> _Window:
        window = _Window(self._source.size)
        window.put(self._source.size - len(self._tail), self._tail)
        return window

    def _open(self, window: _Window) -> pq.ParquetFile:
        return pq.ParquetFile(
            window,
            read_dictionary=self._texts,
            page_checksum_verification=True,
            thrift_string_size_limit=1 << 24,
            thrift_container_size_limit=1 << 20,
        )

    def _expanded(self, index: int, group: RowGroup) -> int:
        """Bytes of a row group in memory, at most; checked against the limits."""
        limits = self._limits
        if group.rows > limits.group_rows:
            raise self._error(
                f"its row group {index} claims {group.rows:,} rows, more than {limits.group_rows:,}",
                "bounded expansion",
            )
        if len(group.chunks) > limits.columns:
            raise self._error(
                f"it has {len(group.chunks):,} columns, at most {limits.columns:,} are read", "flat columns"
            )
        for chunk in group.chunks:
            if chunk.values < group.rows:
                raise self._error(f"its column {chunk.name!r} claims {chunk.values:,} values", "readable file")
        size = sum(16 * chunk.values + chunk.expanded for chunk in group.chunks)
        if size > limits.group_bytes:
            raise self._error(
                f"its row group {index} would expand to {size:,} bytes, more than {limits.group_bytes:,}",
                "bounded expansion",
            )
        return size

    def _fetch(self, index: int) -> _Window:
        """The bytes of a row group, with checked pages."""
        chunks = []
        for chunk in self._footer.groups[index].chunks:
            last = chunk.first + chunk.packed
            if chunk.first < len(_MAGIC) or last > self._end:
                raise self._error(
                    f"the column {chunk.name!r} of its row group {index} lies outside the file", "readable file"
                )
            chunks.append((chunk.first, last, chunk))
        window = self._window()
        if not chunks:
            return window
        first, last = min(begin for begin, _, _ in chunks), max(end for _, end, _ in chunks)
        if last - first > sum(end - begin for begin, end, _ in chunks) + (1 << 20):
            raise self._error(f"the columns of its row group {index} are not next to each other", "readable file")
        data = memoryview(self._source.fetch(first, last))
        if len(data) != last - first:
            raise self._error("it is shorter than its footer says", "readable file")
        window.put(first, data)
        for begin, end, chunk in chunks:
            self._check_pages(data[begin - first : end - first], chunk)
        return window

    def _check_pages(self, pages: memoryview, chunk: Chunk) -> None:
        size = values = 0
        try:
            for page in pages_of(pages):
                size += page.size
                if page.kind in (DATA, DATA_V2):
                    values += page.values
                elif page.kind == DICTIONARY and page.values > page.size:
                    raise ThriftError("its dictionary claims more values than it has bytes for")
                if page.values < 0 or page.encoding not in _PAGE_ENCODINGS:
                    raise ThriftError(f"a page has the encoding {page.encoding}, which is not read")
                if size > chunk.expanded or values > chunk.values:
                    raise ThriftError("its pages expand to more than its footer says")
        except ThriftError as error:
            raise self._error(f"the column {chunk.name!r} is refused: {error}", "bounded expansion") from None

    def _error(self, message: str, rule: str) -> BarsError:
        return _refusal(self._source, message, rule)


class _Window(io.RawIOBase):
    """A file with some ranges in memory; reading another range is an error."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._at = size, 0
        self._ranges: list[tuple[int, memoryview]] = []

    def put(self, first: int, data: bytes | memoryview) -> None:
        self._ranges.append((first, memoryview(data)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        last = self._size if size is None or size < 0 else min(self._at + size, self._size)
        for first, data in self._ranges:
            if first <= self._at and last <= first + len(data):
                content = bytes(data[self._at - first : last - first])
                self._at = last
                return content
        raise OSError("the footer points outside of the row group")


def _footer(source: Source, limits: Limits) -> tuple[bytes, int]:
    """The end of the file with the whole footer, not yet interpreted, and where the footer begins."""
    if source.size < 12:
        raise _refusal(source, f"it is not a parquet file: it has {source.size} bytes")
    tail = bytes(source.fetch(max(0, source.size - _TAIL), source.size))
    if tail[-4:] != _MAGIC:
        raise _refusal(source, "it is not a parquet file, or is cut off: its last bytes are wrong")
    (length,) = struct.unpack("<I", tail[-8:-4])
    if length > min(limits.footer, source.size - 12):
        raise _refusal(source, f"its footer claims {length:,} bytes of {source.size:,}")
    if length + 8 > len(tail):
        tail = bytes(source.fetch(source.size - 8 - length, source.size))
    return tail, source.size - 8 - length


def _refusal(source: Source, message: str, rule: str = "readable file") -> BarsError:
    return BarsError(f"{source.name} cannot be read as parquet: {message}", rule=rule)


def _check_nesting(name: str, schema: pa.Schema, columns: int) -> None:
    """Check that each column of the table is one column of the file, and so not nested."""
    if columns != len(schema):
        raise BarsError(
            f"{name} has {len(schema):,} columns in {columns:,} parts; only flat columns are read", rule="flat columns"
        )


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _plain(table: pa.Table, limits: Limits) -> pa.Table:
    """Expand dictionaries into plain values, except for the symbols."""
    for index, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        if not is_text(field.type.value_type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
            continue
        if field.name == "symbol":
            continue
        column = table.column(index).combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        lengths = pc.binary_length(column.dictionary).take(column.indices)
        size = pc.sum(lengths.cast(pa.int64())).as_py() or 0
        if size > limits.small_bytes:
            raise BarsError(
                f"the texts of {len(column):,} rows would take {size:,} bytes, more than {limits.small_bytes:,}",
                column=field.name,
                rule="bounded expansion",
            )
        table = table.set_column(index, field.name, column.cast(field.type.value_type))
    return table
