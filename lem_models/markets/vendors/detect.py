"""Which format a table has, from its columns and the form of its first values.

The most specific format that fits is taken: the one that knows most of the columns. If several know as many, the name
of the file decides, then the prices: ``notional / volume`` lies in the range of each bar. What is still ambiguous is
refused.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from lem_models.errors import BarsError
from lem_models.markets.vendors.formats import CANDLE, Format
from lem_models.markets.vendors.registry import format_named, formats
from lem_models.markets.vendors.tables import RawTable, is_number

__all__ = ["contract_value", "detect_format", "fitting_formats", "named_columns", "symbol_in_name"]

_HEAD = 200
_TOLERANCE = 0.02


def detect_format(table: RawTable) -> Format:
    """The format of a table.

    Raises:
        BarsError: None fits, or several do.
    """
    fitting = fitting_formats(table)
    if not fitting:
        raise BarsError(f"the table has no format that is known: {_nearest(table)}", rule="known format")
    by_name = [each for each in fitting if symbol_in_name(each, table.name) is not None]
    fitting = by_name or fitting
    if len(fitting) > 1:
        fitting = [each for each in fitting if _vwaps_fit(each, table)] or fitting
    if len(fitting) > 1:
        names = " or ".join(repr(each.name) for each in fitting)
        raise BarsError(
            f"the table may have the format {names}: name it, format={fitting[0].name!r} (--format {fitting[0].name})",
            rule="one format",
        )
    return fitting[0]


def fitting_formats(table: RawTable) -> list[Format]:
    """The formats that fit a table, and know most of its columns; empty if none fits."""
    scores = {each.name: _score(each, table) for each in formats() if each.is_detected}
    best = max(scores.values())
    return [format_named(name) for name, score in scores.items() if score == best] if best else []


def named_columns(description: Format, table: RawTable) -> RawTable:
    """The table with names for its columns, if it has no header."""
    if table.has_header:
        return table
    width, names = len(table.columns), description.headerless
    if not len(names) - description.headerless_optional <= width <= len(names):
        expected = f"{len(names)} columns" if names else "a header"
        raise BarsError(
            f"the table has no header and {width} columns; {description.name} has {expected}", rule="required columns"
        )
    return RawTable(table.frame.set_axis(list(names[:width]), axis=1), table.name, table.symbol)


def symbol_in_name(description: Format, name: str) -> str | None:
    """The symbol in the name of a file, or ``None``."""
    if description.file_name is None or not name:
        return None
    match = re.fullmatch(description.file_name + r"(?:\.[A-Za-z0-9]+)*", name)
    return None if match is None else match["symbol"]


def _score(description: Format, table: RawTable) -> int:
    """How many columns of the table the format knows; 0 if it does not fit."""
    if table.has_header and not description.has_header:
        return 0
    if not table.has_header:
        width, names = len(table.columns), description.headerless
        if not names or not len(names) - description.headerless_optional <= width <= len(names):
            return 0
        table = named_columns(description, table)
    columns = table.columns
    if description.shape != table.shape and not (description.shape == "long" and table.shape == "wide"):
        return 0
    if description.needs_file_name and symbol_in_name(description, table.name) is None:
        return 0
    if len(set(columns)) < len(columns) or (description.lacking(columns) and table.has_header):
        return 0
    roles = description.named(columns)
    if any(role not in roles for role in CANDLE) or not _fits(description, table, roles):
        return 0
    marks = sum(mark in columns for mark in description.marks)
    return len(set(roles.values())) + marks + (description.shape == table.shape == "wide")


def _fits(description: Format, table: RawTable, roles: dict[str, str]) -> bool:
    """Whether the first values have the form of the format."""
    head = table.frame.head(_HEAD)
    if head.empty:
        return True
    if "timestamp" in roles and description.stamps != "any":
        first = head[roles["timestamp"]].iloc[0]
        is_numeric = isinstance(first, int | float | np.number) or (isinstance(first, str) and is_number(first))
        if is_numeric != (description.stamps == "number"):
            return False
    if description.prices == "any":
        return True
    prices = head[roles["close"]]
    is_whole = pd.api.types.is_integer_dtype(prices.dtype) or (
        not pd.api.types.is_numeric_dtype(prices.dtype)
        and all(re.fullmatch(r"-?[0-9]+", str(price)) for price in prices)
    )
    return is_whole == (description.prices == "whole")


def _vwaps_fit(description: Format, table: RawTable) -> bool:
    """Whether ``notional / volume`` of the first bars lies in their ranges, roughly."""
    table = named_columns(description, table)
    roles = description.named(table.columns)
    if "notional" not in roles and not description.contract_values:
        return True
    head = table.frame.head(_HEAD)
    low, high, volume = (pd.to_numeric(head[roles[role]], errors="coerce") for role in ("low", "high", "volume"))
    if description.contract_values:
        symbol = table.symbol or symbol_in_name(description, table.name) or ""
        notional = pd.to_numeric(head[roles["contracts"]], errors="coerce") * contract_value(description, symbol)
    else:
        notional = pd.to_numeric(head[roles["notional"]], errors="coerce")
    traded = (volume > 0).to_numpy()
    vwap = notional.to_numpy()[traded] / volume.to_numpy()[traded]
    inside = (vwap >= low.to_numpy()[traded] * (1 - _TOLERANCE)) & (vwap <= high.to_numpy()[traded] * (1 + _TOLERANCE))
    return bool(inside.all())


def contract_value(description: Format, symbol: str) -> float:
    """Value of an inverse contract in quote units."""
    beginning = max((each for each in description.contract_values if symbol.startswith(each)), key=len)
    return description.contract_values[beginning]


def _nearest(table: RawTable) -> str:
    """What is missing, by the formats that lack least, and the cure."""
    cure = (
        "name one, format=... (--format), or say which columns it has, columns={'timestamp': 'time', ...} (--columns)"
    )
    names = ", ".join(repr(each.name) for each in formats())
    if not table.has_header:
        return f"it has no header and {len(table.columns)} columns; {cure}; formats are {names}"
    lacking = {each.name: each.lacking(table.columns) for each in formats() if each.is_detected and each.columns}
    near = sorted((name for name in lacking if lacking[name]), key=lambda name: len(lacking[name]))[:3]
    missing = "; ".join(f"for {name!r} it lacks {', '.join(lacking[name])}" for name in near)
    shown = ", ".join(repr(column) for column in table.columns[:20])
    return f"it has the columns {shown}; {missing}; {cure}; formats are {names}"
