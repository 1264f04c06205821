"""Timestamps that are numbers: seconds, or fractions of them, since 1970.

A number does not show its unit, and a wrong unit is wrong by a factor of 1000: hourly bars become bars of 3.6 seconds,
or of 3.6 milliseconds, in January 1970. So the caller names the unit. Bars begin in 1980 or later (:data:`EARLIEST`),
and no number is a time since then in two units. ``"auto"`` takes the unit that fits the first row, and every other row
must fit it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lem_models.errors import UnknownNameError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError

__all__ = ["EARLIEST", "UNITS", "check_unit", "epoch_unit", "read_epochs", "whole_number"]

Integers = npt.NDArray[np.int64]

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Nanoseconds of a unit."""

EARLIEST = 315_532_800 * 10**9
"""1980-01-01 in nanoseconds UTC: no table of bars begins earlier."""

_LATEST = np.iinfo(np.int64).max
_EXACT = 2**53  # floats hold whole numbers below this
_LONG = 10**32  # no time has as many digits, and printing millions of digits is slow
_DIGITS = re.compile(r"(-?[0-9]{1,32})(?:\.0+)?")


def check_unit(unit: str | None) -> None:
    """Check the name of a unit.

    Raises:
        UnknownNameError: It is neither ``None``, ``"auto"`` nor one of :data:`UNITS`.
    """
    if unit is not None and unit not in ("auto", *UNITS):
        raise UnknownNameError.among("unit of timestamps", str(unit), ["auto", *UNITS])


def epoch_unit(number: int) -> str | None:
    """The unit in which a number is a time that bars can have.

    Example:
        >>> epoch_unit(1_704_067_200_000), epoch_unit(20_240_101)
        ('ms', None)
    """
    return next((unit for unit, size in UNITS.items() if EARLIEST // size <= number <= _LATEST // size), None)


def whole_number(value: object) -> int | None:
    """Read a whole number, also from a text, as in a CSV, or from an exact float; ``None`` for any other value."""
    if isinstance(value, str):
        match = _DIGITS.fullmatch(value)
        return int(match[1]) if match else None
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value) if abs(int(value)) < _LONG else None
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and abs(value) < _LONG and value == int(value) else None
    if isinstance(value, float | np.floating):
        number = float(value)  # a larger one has lost digits before it came here
        return int(number) if abs(number) < _EXACT and number.is_integer() else None
    return None


def read_epochs(column: pd.Series, unit: str) -> tuple[Integers, str]:
    """Read a column of whole numbers as moments.

    Args:
        column: Integers, floats, or texts of digits.
        unit: One of :data:`UNITS`, or ``"auto"``.

    Returns:
        Nanoseconds UTC, int64 [rows], and their unit.

    Raises:
        MomentError: A row is missing, is not a whole number, or is not a time since 1980 in this unit; the error names
            the first such row.
    """
    if isinstance(column.dtype, pd.ArrowDtype):
        column = pa.array(column).to_pandas(integer_object_nulls=True)
    missing = column.isna().to_numpy()
    if missing.any():
        raise MomentError("it is missing", "missing", int(np.argmax(missing)))
    which, distinct = _distinct(column)
    numbers: list[int] = []
    for value in distinct:
        number = whole_number(value)
        if number is None:
            row = int(np.argmax(which == len(numbers)))
            raise MomentError(_not_whole(value, unit), "unit", row)
        numbers.append(number)
    if unit == "auto":
        unit = epoch_unit(numbers[0]) or "auto"
    size = UNITS.get(unit)
    for position, number in enumerate(numbers):
        if size is None or not EARLIEST // size <= number <= _LATEST // size:
            raise MomentError(_does_not_fit(number, unit), "unit", int(np.argmax(which == position)))
    return (np.array(numbers, dtype=np.int64) * UNITS[unit])[which], unit


def _distinct(column: pd.Series) -> tuple[npt.NDArray[np.intp], Iterable[object]]:
    """Number of each row's value among the distinct values, and these values; symbols share timestamps."""
    try:
        which, distinct = pd.factorize(column)
    except TypeError:  # a value that cannot be hashed is not a number either
        return np.arange(len(column)), column.tolist()
    return which, distinct.tolist()


def _not_whole(value: object, unit: str) -> str:
    if isinstance(value, int | float | np.number | Decimal) and not isinstance(value, bool):
        return f"{shown(value)} is not a whole number, or is a float above 2**53, which is not exact: pass integers"
    return f"unit={unit!r} is for timestamps that are numbers, and {shown(value)} is not a number: leave the unit out"


def _does_not_fit(number: int, unit: str) -> str:
    other = epoch_unit(number)
    if unit == "auto":
        return f"{shown(number)} is not a time from 1980 to 2262 in any of the units {', '.join(UNITS)}"
    return f"{shown(number)} is not a time from 1980 to 2262 in {unit!r}" + (
        f", but it is in {other!r}: all timestamps of a table have one unit" if other else ""
    )
