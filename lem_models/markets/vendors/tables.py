"""Tables of any shape as long tables with the vendor's columns: one row per bar.

Shapes are: a DataFrame with its times in the index, or with symbol and time there; one with two levels of columns, a
column per price and symbol; lists of candles; and records inside the JSON of a REST API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lem_models.errors import BarsError
from lem_models.guard.columns import MAX_COLUMNS
from lem_models.guard.frames import as_pandas
from lem_models.guard.text import one_line, shown
from lem_models.markets.validation import REQUIRED

__all__ = ["RawTable", "from_rows", "is_number", "raw_table"]

_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\s*")
_PAIR = re.compile(r"\('([^']*)', '([^']*)'\)")
_PRICES = frozenset({"open", "high", "low", "close"})
_INDEX = "datetime"
_STAMPS = frozenset({"timestamp", "datetime", "date", "time", "open_time", "ts_event", "ts_init", "window_start", "t"})
"""Columns beside which an index of times means nothing."""


@dataclass(frozen=True)
class RawTable:
    """A table as a vendor wrote it.

    Attributes:
        frame: Its columns; those of a table without a header are named ``"0"``, ``"1"`` and so on.
        name: Name of its file; empty for a table in memory.
        symbol: Symbol that stands beside the table, not in it.
        has_header: Whether its columns have names.
        shape: ``"wide"`` if it had a column per price and symbol.
        left_out: Rows of a wide table that were left out, because a symbol had no bar there.
    """

    frame: pd.DataFrame
    name: str = ""
    symbol: str | None = None
    has_header: bool = True
    shape: str = "long"
    left_out: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns."""
        return tuple(map(str, self.frame.columns))


def is_number(cell: str) -> bool:
    """Whether a cell of a CSV is a number."""
    return _NUMBER.fullmatch(cell) is not None


def raw_table(table: object, name: str = "") -> RawTable:
    """A table in memory as a long table with the vendor's columns.

    Args:
        table: Anything that :func:`~lem_models.guard.frames.as_pandas` reads, a list of candles (lists of numbers), or
            the content of a JSON response.
        name: Name of its file.

    Raises:
        BarsError: It is no table.
    """
    if isinstance(table, RawTable):
        return _in_long_shape(table)
    if isinstance(table, list | tuple) and len(table) and isinstance(table[0], list | tuple):
        return from_rows(table, name)
    if isinstance(table, Mapping) and isinstance(table.get("results", table.get("bars")), list | Mapping):
        return from_rows(table, name)
    return _in_long_shape(RawTable(as_pandas(table, "bars", BarsError), name))


def from_rows(content: object, name: str) -> RawTable:
    """The rows of a JSON text: lists of candles, records, or a response of Polygon or Alpaca that holds them."""
    symbol = None
    if isinstance(content, Mapping):
        rows = content.get("results", content.get("bars"))
        named = content.get("ticker", content.get("symbol"))
        symbol = named if isinstance(named, str) else None
        if isinstance(rows, Mapping):  # by symbol
            rows = [{"symbol": key, **row} for key, each in rows.items() for row in (each or []) if _is_record(row)]
    else:
        rows = content
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes) or not rows:
        raise BarsError(
            f"the rows of a table are expected, a list of candles or of records, not {shown(content)}", rule="table"
        )
    if all(_is_record(row) for row in rows):
        rows = [_flat(row) for row in rows]
        _check_flat(rows)
        return _in_long_shape(RawTable(pd.DataFrame(rows), name, symbol))
    widths = {len(row) if isinstance(row, list | tuple) else -1 for row in rows}
    if len(widths) != 1 or -1 in widths:
        raise BarsError("the rows of the table are neither records nor lists of one length", rule="table")
    _check_flat([dict(enumerate(row)) for row in rows])
    frame = pd.DataFrame(rows, columns=[str(position) for position in range(widths.pop())])
    return RawTable(frame, name, symbol, has_header=False)


def _check_flat(rows: Sequence[Mapping[Any, Any]]) -> None:
    """Refuse rows of very many columns, and values that are lists or records."""
    keys: set[Any] = set()
    for row in rows:
        keys.update(row)
        if len(keys) > MAX_COLUMNS:
            raise BarsError(f"the rows have more than {MAX_COLUMNS:,} columns", rule="flat columns")
        for key, value in row.items():
            if isinstance(value, list | tuple | Mapping):
                raise BarsError(
                    f"a row holds {shown(value)}; numbers, texts and times are read",
                    column=one_line(str(key))[:80],
                    rule="flat columns",
                )


def _is_record(row: object) -> bool:
    return isinstance(row, Mapping)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record without nested records: ``{"hd": {"ts_event": 1}, "open": 2}`` has ``ts_event`` and ``open``."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        flat.update(value if isinstance(value, Mapping) else {key: value})
    return flat


def _in_long_shape(table: RawTable) -> RawTable:
    frame = table.frame
    if frame.columns.nlevels > 1:
        return _stacked(table)
    names = {str(column) for column in frame.columns}
    if set(REQUIRED) <= names:
        return table
    pairs = {name: match for name in map(str, frame.columns) if (match := _PAIR.fullmatch(name)) is not None}
    rest = [column for column in frame.columns if str(column) not in pairs]
    if len(pairs) > len(_PRICES) and len(rest) == 1:  # parquet writes two levels of columns as texts
        wide = frame.set_index(rest[0])
        wide.columns = pd.MultiIndex.from_tuples([pairs[str(name)].groups() for name in wide.columns])
        return _stacked(RawTable(wide, table.name, table.symbol))
    levels = [frame.index.get_level_values(level) for level in range(frame.index.nlevels)]
    has_times = any(isinstance(level, pd.DatetimeIndex) for level in levels)
    named = [str(name) for name in frame.index.names if name is not None]
    if has_times and not set(named) & names and not {name.lower() for name in names} & _STAMPS:
        frame = frame.copy(deep=False)
        frame.index.names = [
            name if name is not None else _INDEX if isinstance(level, pd.DatetimeIndex) else "symbol"
            for name, level in zip(frame.index.names, levels, strict=True)
        ]
        if not set(map(str, frame.index.names)) & set(map(str, frame.columns)):
            frame = frame.reset_index()
    # Columns that pandas numbered have no names, such as those of a list of lists.
    is_numbered = isinstance(table.frame.columns, pd.RangeIndex) and len(table.frame.columns) > 0
    frame = frame.set_axis([str(column) for column in frame.columns], axis=1)
    has_header = table.has_header and not is_numbered
    return RawTable(frame, table.name, table.symbol, has_header, table.shape, table.left_out)


def _stacked(table: RawTable) -> RawTable:
    """A table with a column per price and symbol: one row per bar, the symbol in the column ``Ticker``."""
    frame = table.frame
    if frame.columns.nlevels != 2:
        raise BarsError(f"the table has {frame.columns.nlevels} levels of columns; two are read", rule="table")
    level = next(
        (
            number
            for number in (0, 1)
            if set(frame.columns.get_level_values(number).map(lambda name: str(name).lower())) >= _PRICES
        ),
        None,
    )
    if level is None:
        raise BarsError("neither level of the columns holds open, high, low and close", rule="required columns")
    stamps = frame.index.name or "Datetime"
    pieces: list[pd.DataFrame] = []
    left_out = 0
    for symbol in frame.columns.get_level_values(1 - level).unique():
        piece = pd.DataFrame(frame.xs(symbol, axis=1, level=1 - level))
        prices = [column for column in piece.columns if str(column).lower() in (*_PRICES, "volume")]
        empty = piece[prices].isna().to_numpy().all(axis=1)
        left_out += int(empty.sum())
        piece = piece.iloc[np.flatnonzero(~empty)].copy()
        piece.insert(0, "Ticker", np.full(len(piece), str(symbol), dtype=object))
        piece.insert(0, stamps, piece.index)
        pieces.append(piece)
    stacked = pd.concat(pieces, ignore_index=True)
    stacked.columns = pd.Index([str(column) for column in stacked.columns])
    return RawTable(stacked, table.name, table.symbol, True, "wide", left_out)
