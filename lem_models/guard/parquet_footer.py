"""The footer of a parquet file: the number of its rows, where they lie, and their claimed size.

It is read here before pyarrow opens the file, because some malformed footers make pyarrow end the process. Field
numbers: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lem_models.guard.thrift import ThriftError, read_struct, whole

__all__ = ["Chunk", "Footer", "RowGroup", "read_footer"]


@dataclass(frozen=True)
class Chunk:
    """A column of a row group.

    Attributes:
        name: Its path in the schema.
        values: Number of values.
        first: Where its pages begin in the file.
        packed: Bytes in the file.
        expanded: Bytes that its pages unpack to.
    """

    name: str
    values: int
    first: int
    packed: int
    expanded: int


@dataclass(frozen=True)
class RowGroup:
    """Rows that are stored together.

    Attributes:
        rows: Number of rows.
        chunks: Its columns.
    """

    rows: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Footer:
    """The used fields of a footer.

    Attributes:
        rows: Number of rows.
        groups: Row groups.
    """

    rows: int
    groups: tuple[RowGroup, ...]


def read_footer(data: memoryview) -> Footer:
    """Read a footer.

    Raises:
        ThriftError: The bytes are not a footer.
    """
    fields, _ = read_struct(data, 0)
    groups = []
    for group in _structs(fields, 4):
        chunks = tuple(_chunk(column) for column in _structs(group, 1))
        groups.append(RowGroup(_count(group, 3), chunks))
    return Footer(_count(fields, 3), tuple(groups))


def _chunk(column: dict[int, Any]) -> Chunk:
    if 1 in column:
        raise ThriftError("a column lies in another file")
    meta = column.get(3)
    if not isinstance(meta, dict):
        raise ThriftError("a column is not described")
    path = meta.get(3)
    if not isinstance(path, list) or not all(isinstance(name, memoryview) for name in path):
        raise ThriftError("a column has no name")
    first = _count(meta, 9)
    if 11 in meta:
        first = min(first, _count(meta, 11) or first)
    name = ".".join(bytes(level).decode("utf-8", "replace") for level in path)
    return Chunk(name[:200], _count(meta, 5), first, _count(meta, 7), _count(meta, 6))


def _count(fields: dict[int, Any], number: int) -> int:
    value = whole(fields, number)
    if not 0 <= value < 1 << 62:
        raise ThriftError("a count is negative or too large")
    return value


def _structs(fields: dict[int, Any], number: int) -> list[dict[int, Any]]:
    value = fields.get(number)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ThriftError("a list of parts is missing")
    return value
