"""Validation of a table of bars, before anything is built from it.

A table of bars is *long*: one row per bar, columns ``timestamp`` (tz-aware, start of the bar), ``symbol``, ``open``,
``high``, ``low``, ``close``, ``volume`` and ``notional`` (traded value in quote units, so that a bar's VWAP is
``notional / volume``). The rows of one symbol are in time order; the rows of different symbols may be interleaved.

Every rule is a vectorised test over all rows. The first broken rule raises a :class:`BarsError` that names the first
row that breaks it (symbol, timestamp, column, rule) and the number of these rows. Gaps and bars without volume are
legal.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from numbers import Real

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lem_models.errors import BarsError, BarsWarning
from lem_models.guard.frames import as_pandas
from lem_models.guard.text import shown
from lem_models.guard.timestamps import Fault, MomentError, read_moments
from lem_models.markets.calendar.frequency import moment, symbol_of
from lem_models.markets.epochs import EARLIEST, check_unit, epoch_unit, read_epochs, whole_number

__all__ = [
    "PRICES",
    "REQUIRED",
    "ROUNDING",
    "VALUES",
    "VWAP_TOLERANCE",
    "Columns",
    "check_time_order",
    "check_values",
    "is_printable_symbol",
    "validate_frame",
    "warn_of_widened",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume", "notional")
REQUIRED = ("timestamp", "symbol", *VALUES)

VWAP_TOLERANCE = 5e-4
"""Tolerance of ``notional / volume`` against [low, high], relative: vendors round volumes and notionals."""

MAX_SYMBOL = 128
"""Largest number of characters of a symbol."""

ROUNDING = 1e-9
"""Tolerance of open and close against [low, high], relative: adjusted prices differ in their last bits."""

VENDOR_ROUNDING = 1e-6
"""How far the prices of a bar may contradict each other when it is read, relative: some vendors keep single precision,
whose steps are up to 1.2e-7. Beyond :data:`ROUNDING` the range of the bar is widened to hold all its prices."""

_RULES: dict[Fault, str] = {
    "missing": "timestamp",
    "form": "timestamp",
    "zone": "tz-aware timestamp",
    "mixed": "one time zone",
    "range": "timestamp",
    "unit": "unit of timestamps",
}


@dataclass(frozen=True)
class Columns:
    """The checked content of a table, symbol-major: all rows of the first symbol, then all rows of the second.

    Attributes:
        symbols: Names in order of first appearance.
        offsets: int64 [symbols + 1]; the rows of symbol ``i`` are ``offsets[i]:offsets[i + 1]``.
        timestamp: int64 [bars], nanoseconds UTC, start of the bar.
        values: float64 [bars] for each of open, high, low, close, volume, notional.
        extra: All other columns of the table, in the same row order.
        unit: Unit of the timestamps, if they were numbers.
        widened: int64 [n], rows whose range was widened for a rounding error (:data:`VENDOR_ROUNDING`).
    """

    symbols: tuple[str, ...]
    offsets: Integers
    timestamp: Integers
    values: dict[str, Floats]
    extra: pd.DataFrame
    unit: str | None = None
    widened: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def first_widened(self) -> tuple[str, pd.Timestamp] | None:
        """Symbol and timestamp of the first bar whose range was widened."""
        if not len(self.widened):
            return None
        row = int(self.widened[0])
        return symbol_of(self.symbols, self.offsets, row), moment(self.timestamp[row])


def validate_frame(table: object, *, unit: str | None = None) -> Columns:
    """Check a long table of bars and bring it into symbol-major order.

    Args:
        table: One row per bar, with at least the columns in ``REQUIRED``, of any kind that
            :func:`~lem_models.guard.frames.as_pandas` reads. It is not modified, and the result shares no memory with
            it.
        unit: Unit of timestamps that are numbers since 1970: ``"s"``, ``"ms"``, ``"us"``, ``"ns"``, or ``"auto"``.

    Returns:
        The checked columns.

    Raises:
        BarsError: The table breaks a rule; the error names symbol, timestamp, column and rule where they apply.
        UnknownNameError: There is no such unit.
    """
    check_unit(unit)
    frame = as_pandas(table, "bars", BarsError)
    _check_shape(frame)
    codes, symbols = _read_symbols(frame["symbol"])
    timestamp, unit = _read_timestamps(frame["timestamp"], codes, symbols, unit)
    values = {column: _read_numbers(frame[column], codes, symbols, timestamp) for column in VALUES}
    extra = frame[[column for column in frame.columns if column not in REQUIRED]]

    counts = np.bincount(codes, minlength=len(symbols))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if np.any(codes[1:] < codes[:-1]):
        order = np.argsort(codes, kind="stable")
        timestamp = timestamp[order]
        values = {column: array[order] for column, array in values.items()}
        extra = extra.iloc[order]
    columns = Columns(symbols, offsets, timestamp, values, extra.reset_index(drop=True), unit, _widen(values))
    check_time_order(columns)
    check_values(columns)
    return columns


def _widen(values: dict[str, Floats]) -> Integers:
    """Widen the range of bars whose prices contradict each other by a rounding error; return their rows, ascending.

    Open and close were traded, so the range holds them. Low and high of a bar that hardly moved may be rounded past
    each other. After this every price lies in the range of its bar, on which all computations rely.
    """
    low, high = values["low"], values["high"]
    top = np.maximum(np.maximum(values["open"], values["close"]), np.maximum(low, high))
    bottom = np.minimum(np.minimum(values["open"], values["close"]), np.minimum(low, high))
    fine, near = 1.0 + ROUNDING, 1.0 + VENDOR_ROUNDING
    with np.errstate(over="ignore"):  # infinity and NaN are refused later; NaN compares as False
        wrong = (top > high * fine) | (bottom * fine < low) | (low > high)
        rows = np.flatnonzero(wrong & (top <= high * near) & (bottom * near >= low))
    high[rows], low[rows] = top[rows], bottom[rows]
    return rows


def warn_of_widened(count: int, first: tuple[str, pd.Timestamp] | None) -> None:
    """Warn of bars whose range was widened, if there are any: how many, and the first of them."""
    if first is None:
        return
    bars = "1 bar has" if count == 1 else f"{count:,} bars have"
    warnings.warn(
        f"{bars} prices that contradict each other by a rounding error (at most {VENDOR_ROUNDING:g}, relative): low "
        f"and high were widened to hold open and close (the first: symbol {first[0]!r}, timestamp {first[1]})",
        BarsWarning,
        stacklevel=3,
    )


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
    # Compared without a division, so idle bars need no special case. The factor is the same on both sides, so bars
    # mirrored in log price (high and low swapped) pass or fail alike.
    slack = 1.0 + VWAP_TOLERANCE
    with np.errstate(over="ignore"):  # a product may be infinite, which compares correctly
        outside = (notional * slack < low * volume) | (notional > high * volume * slack)
    _refuse(
        outside,
        columns,
        "notional",
        "low <= notional / volume <= high",
        "the VWAP notional / volume = {vwap} lies outside [low, high] = [{low}, {high}]; notional is in quote units, "
        "volume in base units; a vendor's VWAP may count trades that its high and low do not: repair='clip_vwap' "
        "(--repair clip_vwap) clips it",
    )


def _check_shape(frame: pd.DataFrame) -> None:
    """Check that the table has rows and every required column once."""
    missing = [column for column in REQUIRED if column not in frame.columns]
    if missing:
        raise BarsError(
            f"the table lacks {_listed(missing)}; required are {_listed(REQUIRED)}, it has "
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
    """Whether a symbol is one short line without control characters, so that it can be printed."""
    return len(name) <= MAX_SYMBOL and name.isprintable()


def _read_symbols(series: pd.Series) -> tuple[npt.NDArray[np.intp], tuple[str, ...]]:
    """Number the symbols in order of first appearance: codes [rows] and names [symbols]."""
    try:
        codes, names = pd.factorize(series)
    except (TypeError, NotImplementedError, pa.ArrowException):  # dicts and lists cannot be hashed
        row = next((row for row, name in enumerate(series) if not isinstance(name, str)), 0)
        raise BarsError(
            f"row {row} has the symbol {shown(series.iloc[row])}, a symbol is a non-empty text",
            column="symbol",
            rule="named symbol",
        ) from None
    if np.any(codes < 0):
        row = int(np.argmax(codes < 0))
        raise BarsError(
            f"row {row} has no symbol; {_rows(int(np.sum(codes < 0)))}", column="symbol", rule="named symbol"
        )
    for code, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            row, count = int(np.argmax(codes == code)), int(np.sum(codes == code))
            raise BarsError(
                f"row {row} has the symbol {shown(name)}, a symbol is a non-empty text; {_rows(count)}",
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
    if isinstance(series.dtype, pd.ArrowDtype) and pa.types.is_decimal(series.dtype.pyarrow_dtype):
        series = series.astype(object)  # Arrow rounds twice on the way to a float, Python once
    if series.dtype == object:
        numbers = [_number(value) for value in series]
        if None not in numbers:
            return np.array(numbers, dtype=np.float64)
        row = numbers.index(None)
    elif pd.api.types.is_any_real_numeric_dtype(series.dtype):
        return np.array(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
    else:
        readable = pd.to_numeric(series.astype(object), errors="coerce").notna()
        row = int(np.argmax((~readable & series.notna()).to_numpy()))
    raise BarsError(
        f"{series.name} is of type {series.dtype}, not a number; the first value that is not one is "
        f"{shown(series.iloc[row])}; make it a column of numbers first",
        symbol=symbols[codes[row]],
        timestamp=moment(timestamp[row]),
        column=str(series.name),
        rule="numeric column",
    )


def _number(value: object) -> float | None:
    """A number as the nearest float, a missing one as NaN, any other value as ``None``."""
    if value is None or value is pd.NA:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):  # a signalling NaN, or beyond the range of floats
        return None


def _read_timestamps(
    series: pd.Series, codes: npt.NDArray[np.intp], symbols: tuple[str, ...], unit: str | None
) -> tuple[Integers, str | None]:
    """Nanoseconds UTC, int64 [rows], and the unit if the column holds numbers."""
    try:
        return (read_moments(series, one_zone=True), None) if unit is None else read_epochs(series, unit)
    except MomentError as error:
        row, rule = error.row or 0, _RULES[error.fault]
        value = series.iloc[row]
        number = whole_number(value)
        reason = f"row {row}: {error.reason}"
        if error.fault == "missing":
            reason = f"row {row} has no timestamp"
        elif error.fault == "zone":
            reason += "; if it is local, name the zone, tz='America/New_York' (--tz America/New_York)"
        elif error.fault == "form" and number is not None:
            likely = epoch_unit(number)
            reason = (
                f"the timestamps are numbers (column of type {series.dtype}, row {row} is {number}): name their unit, "
                f"unit={likely or 'ms'!r} (--unit {likely or 'ms'})"
                + (", as their size suggests" if likely else ", or s, us, ns or auto")
            )
            rule = _RULES["unit"]
        raise BarsError(
            reason,
            symbol=symbols[codes[row]],
            timestamp=str(value)[:80] if isinstance(value, str | date) else shown(value if number is None else number),
            column="timestamp",
            rule=rule,
        ) from None


_TWICE = (
    "the symbol has two bars with this timestamp: drop the wrong one; where both rows are the same, "
    "repair='drop_repeats' (--repair drop_repeats) drops the second"
)


def check_time_order(columns: Columns) -> None:
    """Check that the timestamps of every symbol lie in 1980 or later, and rise strictly.

    Raises:
        BarsError: A bar breaks the rule; the error names the first one.
    """
    message = (
        "the bar starts before 1980: if its timestamp was made from a number, name the number's unit (unit='s', 'ms', "
        "'us' or 'ns'); older bars are not read"
    )
    _refuse(columns.timestamp < EARLIEST, columns, "timestamp", "bars from 1980 on", message)
    step = np.diff(columns.timestamp)
    step[columns.offsets[1:-1] - 1] = 1
    for broken, rule, message in (
        (step == 0, "one bar per timestamp", _TWICE),
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
