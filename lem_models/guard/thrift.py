"""Structures of the Thrift compact protocol, the format of footers and page headers of parquet.

They are read here, and not by a library, because the files are untrusted. Here the size of the file bounds the memory,
and malformed bytes raise a typed error. https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

__all__ = ["ThriftError", "read_struct", "whole"]

_MAX_DEPTH = 8


class ThriftError(ValueError):
    """Malformed bytes of a structure."""


def read_struct(data: memoryview, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Read a structure.

    Args:
        data: The bytes, and more.
        at: Where it begins.
        depth: Number of structures around it.

    Returns:
        Its fields by number (integers, booleans, texts as views of ``data``, lists, structures by field; other numbers
        as ``None``), and where it ends.

    Raises:
        ThriftError: The bytes are not a structure.
    """
    if depth > _MAX_DEPTH:
        raise ThriftError("it is nested too deeply")
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
        return kind == 1, at if in_field else _within(data, at + 1)
    if kind == 3:
        return _byte(data, at)
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return None, _within(data, at + 8)
    if kind == 8:
        length, at = _varint(data, at)
        return data[at : at + length], _within(data, at + length)
    if kind in (9, 10):
        mark, at = _byte(data, at)
        count, inner = mark >> 4, mark & 15
        if count == 15:
            count, at = _varint(data, at)
        if count > len(data) - at:
            raise ThriftError("it has a list that is longer than the file")
        values = []
        for _ in range(count):
            value, at = _value(data, at, inner, depth, in_field=False)
            values.append(value)
        return values, _within(data, at)
    if kind == 12:
        return read_struct(data, at, depth + 1)
    raise ThriftError("it holds something unknown")


def _byte(data: memoryview, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise ThriftError("it is cut off")
    return data[at], at + 1


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte, at = _byte(data, at)
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ThriftError("it holds a number that is too long")


def _zigzag(data: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _within(data: memoryview, at: int) -> int:
    if at > len(data):
        raise ThriftError("it is cut off")
    return at


def whole(fields: dict[int, Any], number: int) -> int:
    """A field that is an integer.

    Raises:
        ThriftError: The field is missing, or is not an integer.
    """
    value = fields.get(number)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ThriftError("a number is missing")
    return value
