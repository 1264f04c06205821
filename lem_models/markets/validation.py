"""Validation of a table of bars: what is wrong is said by name, before anything is built.

A table of bars is *long*: one row per bar, columns ``timestamp`` (tz-aware, start of the bar), ``symbol``, ``open``,
``high``, ``low``, ``close``, ``volume`` and ``notional`` (traded value in quote units, so that a bar's VWAP is
``notional / volume``). The rows of one symbol are in time order; the rows of different symbols may be interleaved.

Every rule is a vectorised test over all rows. The first rule that is broken raises a :class:`BarsError` with the first
row that breaks it (symbol, timestamp, column, rule), and says how many rows break it. Gaps and bars without volume are
legal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lem_models.errors import BarsError
from lem_models.markets.frequency import moment, symbol_of
from lem_models.untrusted import shown

__all__ = [
    "PRICES",
    "REQUIRED",
    "VALUES",
    "Columns",
    "check_time_order",
    "check_values",
    "is_printable_symbol",
    "validate_frame",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume", "notional")
REQUIRED = ("timestamp", "symbol", *VALUES)

VWAP_TOLERANCE = 5e-4
"""How far ``notional / volume`` may lie outside [low, high], relative: vendors round volumes and notionals."""

MAX_SYMBOL = 128
"""Characters of a symbol."""

ROUNDING = 1e-9
"""Relative slack for open and close against [low, high]: adjusted prices differ in their last bits."""

_NAT = np.iinfo(np.int64).min
_UTC_SPELLINGS = frozenset({"Z", "z", "UTC", "GMT", "+00:00", "+0000", "+00", "UTC+00:00", "tzutc()", "Etc/UTC"})
_CLOCK_WITH_OFFSET = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?\s*$")


@dataclass(frozen=True)
class Columns:
    """The checked content of a table, symbol-major: all rows of the first symbol, then all rows of the second.

    Attributes:
        symbols: Names in order of first appearance.
        offsets: int64 [symbols + 1]; the rows of symbol ``i`` are ``offsets[i]:offsets[i + 1]``.
        timestamp: int64 [bars], nanoseconds UTC, start of the bar.
        values: float64 [bars] for each of open, high, low, close, volume, notional.
        extra: All other columns of the table, in the same row order.
    """

    symbols: tuple[str, ...]
    offsets: Integers
    timestamp: Integers
    values: dict[str, Floats]
    extra: pd.DataFrame


def validate_frame(frame: pd.DataFrame) -> Columns:
    """Check a long table of bars and bring it into symbol-major order.

    Args:
        frame: One row per bar, with at least the columns in ``REQUIRED``. It is not modified, and nothing in the
            result shares memory with it.

    Returns:
        The checked columns.

    Raises:
        BarsError: The table breaks a rule; the error names symbol, timestamp, column and rule as far as they apply.
    """
    _check_shape(frame)
    codes, symbols = _read_symbols(frame["symbol"])
    timestamp = _read_timestamps(frame["timestamp"], codes, symbols)
    values = {column: _read_numbers(frame[column], codes, symbols, timestamp) for column in VALUES}
    extra = frame[[column for column in frame.columns if column not in REQUIRED]]

    counts = np.bincount(codes, minlength=len(symbols))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if np.any(codes[1:] < codes[:-1]):
        order = np.argsort(codes, kind="stable")
        timestamp = timestamp[order]
        values = {column: array[order] for column, array in values.items()}
        extra = extra.iloc[order]
    columns = Columns(symbols, offsets, timestamp, values, extra.reset_index(drop=True))
    check_time_order(columns)
    check_values(columns)
    return columns


def check_values(columns: Columns) -> None:
    """Check prices, volumes and notionals against the rules of a bar.

    The rules, in this order: all values finite; prices positive; volume and notional not negative; low <= high; open
    and close within [low, high]; notional 0 where the volume is 0 and the reverse; notional / volume within
    [low, high].

    Args:
        columns: Columns in symbol-major order.

    Raises:
        BarsError: The first rule that is broken, with the first bar that breaks it.
    """
    values = columns.values
    for column in VALUES:
        _refuse(~np.isfinite(values[column]), columns, column, "finite", f"{column} is {{value}}, not a finite number")
    for column in PRICES:
        _refuse(values[column] <= 0.0, columns, column, "positive price", f"{column} is {{value}}, a price is above 0")
    for column in ("volume", "notional"):
        _refuse(values[column] < 0.0, columns, column, f"{column} >= 0", f"{column} is negative: {{value}}")

    low, high, volume, notional = values["low"], values["high"], values["volume"], values["notional"]
    _refuse(low > high, columns, "low", "low <= high", "low {value} is above high {high}")
    for column in ("open", "close"):
        outside = (values[column] * (1.0 + ROUNDING) < low) | (values[column] > high * (1.0 + ROUNDING))
        message = f"{column} {{value}} lies outside [low, high] = [{{low}}, {{high}}]"
        _refuse(outside, columns, column, f"low <= {column} <= high", message)

    idle = volume == 0.0
    rule, message = "no notional without volume", "notional is {value}, volume is 0"
    _refuse(idle & (notional > 0.0), columns, "notional", rule, message)
    rule, message = "no volume without notional", "notional is 0, volume is {volume}"
    _refuse(~idle & (notional == 0.0), columns, "notional", rule, message)
    # Compared as notional against price x volume: no division, so no special case for idle bars. The same factor on
    # both sides: bars mirrored in log price (high and low swapped) pass or fail alike.
    slack = 1.0 + VWAP_TOLERANCE
    with np.errstate(over="ignore"):  # a product that is too large is infinite, which compares as it should
        outside = (notional * slack < low * volume) | (notional > high * volume * slack)
    _refuse(
        outside,
        columns,
        "notional",
        "low <= notional / volume <= high",
        "the VWAP notional / volume = {vwap} lies outside [low, high] = [{low}, {high}]; notional is in quote units, "
        "volume in base units",
    )


def _check_shape(frame: pd.DataFrame) -> None:
    """Check that the table has rows and every required column once."""
    if not isinstance(frame, pd.DataFrame):
        raise BarsError(f"bars are read from a pandas DataFrame, not from {type(frame).__name__}", rule="table")
    missing = [column for column in REQUIRED if column not in frame.columns]
    if missing:
        raise BarsError(
            f"the table lacks {_listed(missing)}; expected are {_listed(REQUIRED)}, found are "
            f"{_listed(map(str, frame.columns))}",
            column=missing[0],
            rule="required columns",
        )
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise BarsError("the table has this column more than once", column=str(repeated[0]), rule="unique columns")
    if frame.empty:
        raise BarsError("the table has no rows", rule="at least one bar")


def is_printable_symbol(name: str) -> bool:
    """Whether a symbol can stand in a log or a terminal as it is: one short line without control characters."""
    return len(name) <= MAX_SYMBOL and name.isprintable()


def _read_symbols(series: pd.Series) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """Number the symbols in order of first appearance: codes [rows] and names [symbols]."""
    codes, names = pd.factorize(series)
    if np.any(codes < 0):
        row = int(np.argmax(codes < 0))
        raise BarsError(
            f"row {row} has no symbol; {_rows(int(np.sum(codes < 0)))}", column="symbol", rule="named symbol"
        )
    for code, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            row = int(np.argmax(codes == code))
            raise BarsError(
                f"row {row} has the symbol {name!r}, a symbol is a non-empty text; {_rows(int(np.sum(codes == code)))}",
                column="symbol",
                rule="named symbol",
            )
        if not is_printable_symbol(name):
            row = int(np.argmax(codes == code))
            raise BarsError(
                f"row {row} has the symbol {shown(name)}, a symbol is one line of at most {MAX_SYMBOL} characters that "
                "can be printed",
                column="symbol",
                rule="printable symbol",
            )
    return codes, tuple(str(name) for name in names)


def _read_numbers(
    series: pd.Series, codes: npt.NDArray[np.intp], symbols: tuple[str, ...], timestamp: Integers
) -> Floats:
    """Copy a numeric column into a float64 array; missing values become NaN (and are refused later)."""
    if not pd.api.types.is_any_real_numeric_dtype(series.dtype):
        numbers = pd.to_numeric(series.astype("object"), errors="coerce")
        text = np.flatnonzero(numbers.isna().to_numpy() & series.notna().to_numpy())
        row = int(text[0]) if len(text) else 0
        raise BarsError(
            f"{series.name} is of type {series.dtype}, not a number; the first value that is not one is "
            f"{series.iloc[row]!r}",
            symbol=symbols[codes[row]],
            timestamp=moment(timestamp[row]),
            column=str(series.name),
            rule="numeric column",
        )
    return np.array(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def _read_timestamps(series: pd.Series, codes: npt.NDArray[np.intp], symbols: tuple[str, ...]) -> Integers:
    """Convert a tz-aware column (datetimes, or texts with an offset) to nanoseconds UTC, int64 [rows]."""
    if isinstance(series.dtype, pd.ArrowDtype):
        series = pa.array(series).to_pandas()
    if series.dtype == np.dtype("O") or isinstance(series.dtype, pd.StringDtype):
        nanoseconds = _read_objects(series, codes, symbols)
    elif isinstance(series.dtype, pd.DatetimeTZDtype):
        nanoseconds = _in_nanoseconds(pd.DatetimeIndex(series))
    else:
        naive = pd.api.types.is_datetime64_dtype(series.dtype)
        found = "have no time zone" if naive else f"are of type {series.dtype}"
        cure = ".dt.tz_localize('UTC')" if naive else "pd.to_datetime(..., utc=True)"
        raise BarsError(
            f"the timestamps {found}; if they are UTC, say so with {cure}",
            symbol=symbols[codes[0]],
            timestamp=str(series.iloc[0]),
            column="timestamp",
            rule="tz-aware timestamp",
        )
    missing = nanoseconds == _NAT
    if missing.any():
        row = int(np.argmax(missing))
        raise BarsError(
            f"row {row} has no timestamp; {_rows(int(missing.sum()))}",
            symbol=symbols[codes[row]],
            column="timestamp",
            rule="timestamp",
        )
    return nanoseconds


def _read_objects(series: pd.Series, codes: npt.NDArray[np.intp], symbols: tuple[str, ...]) -> Integers:
    """Convert texts (a CSV) or datetime objects, all in one zone; missing ones become NaT."""
    if isinstance(series.dtype, pd.StringDtype) or isinstance(series.iloc[0], str):
        which, distinct = pd.factorize(series)  # symbols share timestamps: each text is parsed once
        values = list(distinct)
    else:
        which, values = np.arange(len(series)), series.tolist()
    zones = np.array([*map(_zone, values), None], dtype=object)[which]
    known = np.array([zone is not None for zone in zones])
    first = zones[np.argmax(known)]
    broken = known & ((zones == "") | (zones != first))
    if broken.any():
        row = int(np.argmax(broken))
        mixed = bool(zones[row])
        raise BarsError(
            f"the timestamps mix the zones {first!r} and {zones[row]!r}; convert the column to UTC"
            if mixed
            else "the timestamp is not a date and time with a zone; write it as 2024-01-01T00:00:00Z",
            symbol=symbols[codes[row]],
            timestamp=str(series.iloc[row]),
            column="timestamp",
            rule="one time zone" if mixed else "tz-aware timestamp",
        )
    try:
        parsed = pd.DatetimeIndex(pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="mixed"))
    except (ValueError, TypeError, OverflowError) as error:
        raise BarsError(f"a timestamp cannot be read: {error}", column="timestamp", rule="timestamp") from error
    return np.append(_in_nanoseconds(parsed), _NAT)[which]


def _in_nanoseconds(index: pd.DatetimeIndex) -> Integers:
    """Nanoseconds UTC, int64 [rows], in memory of its own."""
    try:
        return np.array(index.as_unit("ns").asi8, dtype=np.int64)
    except (pd.errors.OutOfBoundsDatetime, OverflowError) as error:
        raise BarsError(
            f"a timestamp lies outside the years 1678 to 2262: {error}", column="timestamp", rule="timestamp"
        ) from error


def _zone(value: object) -> str | None:
    """Name of the zone of one text or datetime: '' if it has none, ``None`` if the value is missing."""
    if isinstance(value, str):
        match = _CLOCK_WITH_OFFSET.search(value)
        zone = (match.group(1) or "") if match else ""
    elif value is None or value is pd.NaT or value is pd.NA or value != value:
        return None
    else:
        zone = str(getattr(value, "tzinfo", None) or "")
    return "UTC" if zone in _UTC_SPELLINGS else zone


def check_time_order(columns: Columns) -> None:
    """Check that the timestamps of every symbol rise strictly.

    Raises:
        BarsError: They do not, with the first bar that is out of order.
    """
    step = np.diff(columns.timestamp)
    step[columns.offsets[1:-1] - 1] = 1
    for broken, rule, message in (
        (step == 0, "one bar per timestamp", "the symbol has two bars with this timestamp"),
        (step < 0, "ascending timestamps", "the bar starts before the bar in the row above it; sort by timestamp"),
    ):
        _refuse(np.concatenate([[False], broken]), columns, "timestamp", rule, message)


def _refuse(broken: npt.NDArray[np.bool_], columns: Columns, column: str, rule: str, message: str) -> None:
    """Raise for the first bar that breaks a rule, if there is one."""
    if not broken.any():
        return
    row = int(np.argmax(broken))
    shown = {name: float(array[row]) for name, array in columns.values.items()}
    shown["value"] = shown.get(column, 0.0)
    shown["vwap"] = shown["notional"] / shown["volume"] if shown["volume"] else shown["close"]
    raise BarsError(
        f"{message.format(**shown)}; {_rows(int(broken.sum()))}",
        symbol=symbol_of(columns.symbols, columns.offsets, row),
        timestamp=moment(columns.timestamp[row]),
        column=column,
        rule=rule,
    )


def _rows(count: int) -> str:
    return "1 row breaks the rule" if count == 1 else f"{count:,} rows break the rule"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
