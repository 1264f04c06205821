"""The pages of a parquet file as their headers announce them, without unpacking one.

A reader allocates what the header of a page says that it unpacks to, whatever the footer of the file says. So the
headers (Thrift, compact protocol) are read here first, and compared with the footer. Format:
https://parquet.apache.org/docs/file-format/data-pages/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Page", "PagesError", "pages_of"]

DATA, INDEX, DICTIONARY, DATA_V2 = range(4)
_MAX_HEADER = 1 << 20
_MAX_DEPTH = 6


class PagesError(ValueError):
    """Bytes that are no pages."""


@dataclass(frozen=True)
class Page:
    """What the header of a page says.

    Attributes:
        kind: 0 data, 1 index, 2 dictionary, 3 data of version 2.
        size: Bytes that it unpacks to.
        values: Number of values.
        encoding: Number of their encoding.
    """

    kind: int
    size: int
    values: int
    encoding: int


def pages_of(chunk: memoryview) -> Iterator[Page]:
    """Pages of a column chunk.

    Raises:
        PagesError: The bytes are not pages.
    """
    at = 0
    while at < len(chunk):
        header, at = _struct(chunk[: at + _MAX_HEADER], at, 0)
        kind, size, packed = (_whole(header, field) for field in (1, 2, 3))
        detail = header.get({DATA: 5, INDEX: 6, DICTIONARY: 7, DATA_V2: 8}.get(kind, -1), {})
        if packed < 0 or size < 0 or packed > len(chunk) - at or not isinstance(detail, dict):
            raise PagesError("the header of a page is wrong")
        values = _whole(detail, 1) if kind != INDEX else 0
        encoding = _whole(detail, 4 if kind == DATA_V2 else 2) if kind != INDEX else 0
        yield Page(kind, size, values, encoding)
        at += packed


def _whole(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    if not isinstance(value, int) or isinstance(value, bool):
        raise PagesError("the header of a page lacks a number")
    return value


def _struct(data: memoryview, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """A Thrift structure: its numbers and inner structures by field, and where it ends."""
    if depth > _MAX_DEPTH:
        raise PagesError("the header of a page is nested too deeply")
    fields: dict[int, Any] = {}
    field = 0
    while True:
        mark, at = _byte(data, at)
        if mark == 0:
            return fields, at
        kind, step = mark & 15, mark >> 4
        if step:
            field += step
        else:
            field, at = _zigzag(data, at)
        fields[field], at = _value(data, at, kind, depth, in_field=True)


def _value(data: memoryview, at: int, kind: int, depth: int, *, in_field: bool) -> tuple[Any, int]:
    if kind in (1, 2):  # true, false: in a field the mark is the value
        return kind == 1, at if in_field else at + 1
    if kind == 3:
        return _byte(data, at)
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return None, _within(data, at + 8)
    if kind == 8:
        length, at = _varint(data, at)
        return None, _within(data, at + length)
    if kind in (9, 10):
        mark, at = _byte(data, at)
        count, inner = mark >> 4, mark & 15
        if count == 15:
            count, at = _varint(data, at)
        if count > len(data) - at:
            raise PagesError("the header of a page has a list that is longer than it")
        for _ in range(count):
            _, at = _value(data, at, inner, depth, in_field=False)
        return None, _within(data, at)
    if kind == 12:
        return _struct(data, at, depth + 1)
    raise PagesError("the header of a page holds something unknown")


def _byte(data: memoryview, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise PagesError("the header of a page is cut off")
    return data[at], at + 1


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte, at = _byte(data, at)
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise PagesError("the header of a page holds a number that is too long")


def _zigzag(data: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _within(data: memoryview, at: int) -> int:
    if at > len(data):
        raise PagesError("the header of a page is cut off")
    return at
