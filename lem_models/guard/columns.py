"""Columns that an untrusted table may have: a bounded number of flat columns of plain types."""

from __future__ import annotations

import pyarrow as pa

from lem_models.errors import BarsError

__all__ = ["MAX_COLUMNS", "check_columns", "is_text"]

MAX_COLUMNS = 1024
"""Largest number of columns: each takes memory, however few rows it has."""


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def check_columns(name: str, schema: pa.Schema, limit: int = MAX_COLUMNS) -> None:
    """Check number, names and types of the columns of a table, before any of them is read.

    Args:
        name: What the table is called in messages.
        schema: Its columns.
        limit: How many it may have.

    Raises:
        BarsError: There are too many columns, two have the same name, a type is not flat, or a time zone is unknown.
    """
    if len(schema) > limit:
        raise BarsError(f"{name} has {len(schema):,} columns, at most {limit:,} are read", rule="flat columns")
    seen: set[str] = set()
    for field in schema:
        if field.name in seen:
            raise BarsError(f"{name} has this column more than once", column=field.name, rule="unique columns")
        seen.add(field.name)
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            _check_zone(name, field.name, kind.tz)
        if not (is_text(kind) or pa.types.is_primitive(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind)):
            raise BarsError(
                f"{name} has a column of type {field.type}; numbers, booleans, times and texts are read",
                column=field.name,
                rule="flat columns",
            )


def _check_zone(name: str, column: str, zone: str) -> None:
    try:
        pa.lib.string_to_tzinfo(zone)
    except (pa.ArrowException, ValueError, LookupError, OSError) as error:
        raise BarsError(
            f"{name} has a time zone that is not known: {error}; write the timestamps in UTC",
            column=column,
            rule="known time zone",
        ) from None
