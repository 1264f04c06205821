"""Moments in time: ISO 8601 is read, and ambiguous values are refused.

A moment is a text of the extended format, ``2024-01-31T09:30:00Z``, or an object that holds date and time:
``datetime``, ``date``, ``pandas.Timestamp``, ``numpy.datetime64``. In a text the ``T`` may be a space, as in a CSV of
pandas; seconds, and a fraction of them of up to nine digits, may be left out; the zone is ``Z``, ``UTC`` or an offset
(``+01:00``, ``+0100``, ``+01``). Other forms are refused: slashes, years of two digits, months without a day, names of
months, times alone, weeks, ``24:00``, leap seconds, and every number.

Bars, orders, periods, recipes and the command line share this reader, one value at a time (:func:`read_moment`) or a
column at a time (:func:`read_moments`). The result is in nanoseconds UTC; their range is 1677 to 2262.

This module imports neither torch nor pandas, so that making an order is fast.
"""

from __future__ import annotations

import numbers
import re
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator

from lem_models.guard.text import shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Day", "Fault", "MomentError", "as_datetime", "read_day", "read_moment", "read_moments"]

Fault: TypeAlias = Literal["missing", "form", "zone", "mixed", "range", "unit"]

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"((?:[01][0-9]|2[0-3]):[0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,9}))?)?"
_ZONE = r"(?:(Z| ?UTC)|([+-])(0[0-9]|1[0-5])(?::?([0-5][0-9]))?)"
_MOMENT = re.compile(f"({_DATE})(?:[T ]{_CLOCK}{_ZONE}?)?")
_DAY = re.compile(_DATE)

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_LATEST = np.iinfo(np.int64).max
_NANOSECONDS = {"D": 86_400 * 10**9, "h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_OUTSIDE = "lies outside the range of nanoseconds, the years 1678 to 2262"
_UTC = frozenset({"UTC", "UTC+00:00", "tzutc()", "Etc/UTC", "GMT", "+00:00"})


class MomentError(ValueError):
    """A value that is not a moment; the caller adds its place.

    Args:
        reason: What is wrong, and the cure.
        fault: ``"missing"``, ``"form"`` (not ISO 8601), ``"zone"`` (it has none), ``"mixed"`` (a column has several
            zones), ``"range"`` (out of reach) or ``"unit"`` (of a number).
        row: Position in its column.

    Attributes:
        reason: See above.
        fault: See above.
        row: See above; ``None`` for a single value.
    """

    def __init__(self, reason: str, fault: Fault, row: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.fault, self.row = reason, fault, row


def read_moment(value: object, *, needs_zone: bool) -> int:
    """Read one moment.

    Args:
        value: A text, a datetime, a date, a ``pandas.Timestamp`` or a ``numpy.datetime64``.
        needs_zone: Whether a moment without a zone is refused. Otherwise it is read as UTC, and a date as its midnight.

    Returns:
        Nanoseconds UTC.

    Raises:
        MomentError: The value is not a moment, or lacks a zone that it needs.

    Example:
        >>> read_moment("1970-01-01 01:00:00.5+01:00", needs_zone=True)
        500000000
        >>> read_moment("1/2/2024", needs_zone=False)
        Traceback (most recent call last):
        lem_models.guard.timestamps.MomentError: '1/2/2024' is not a time in ISO 8601: write it as 2024-01-31T09:30:00Z
    """
    nanoseconds, zone = _read(value)
    if needs_zone and not zone:
        raise _without_zone(value)
    return nanoseconds


def as_datetime(nanoseconds: int) -> datetime:
    """Nanoseconds UTC as a datetime; a ``pandas.Timestamp``, a subclass, if they are not whole microseconds."""
    microseconds, rest = divmod(nanoseconds, 1000)
    if not rest:
        return _EPOCH.replace(tzinfo=timezone.utc) + timedelta(microseconds=microseconds)
    import pandas as pd

    stamp: datetime = pd.Timestamp(nanoseconds, unit="ns", tz="UTC")
    return stamp


def read_day(value: object) -> date:
    """Read a day: a text such as ``2024-01-31``, or a date.

    Raises:
        MomentError: The value is not a day; a datetime is refused too.
    """
    reason = ""
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            value = date.fromisoformat(value)
        except ValueError as error:
            reason = f" ({error})"
    if not isinstance(value, date) or isinstance(value, datetime):
        raise MomentError(f"{shown(value)} is not a day{reason}: write it as 2024-01-31", "form")
    _read_date(value)  # within reach
    return value


Day = Annotated[date, BeforeValidator(read_day)]
"""A day in settings and recipes."""


def read_moments(column: pd.Series, *, one_zone: bool = False) -> npt.NDArray[np.int64]:
    """Read a column of moments, each with a zone.

    Args:
        column: Datetimes with a zone, texts, or objects, in any dtype of pandas.
        one_zone: Whether all of them must have the same zone.

    Returns:
        Nanoseconds UTC, int64 [rows], a new array.

    Raises:
        MomentError: A value is missing, is not a moment, has no zone, or has another zone than the first; the error
            names the first such row.
    """
    import pandas as pd
    import pyarrow as pa

    if isinstance(column.dtype, pd.ArrowDtype):
        column = pa.array(column).to_pandas()
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return _read_datetimes(pd.DatetimeIndex(column))
    if pd.api.types.infer_dtype(column, skipna=True) == "string":
        which, distinct = pd.factorize(column)  # symbols share their times: each text is read once
        values = list(distinct)
    else:
        which, values = np.arange(len(column)), list(column.array)
    if np.any(which < 0):
        raise MomentError("it is missing", "missing", int(np.argmax(which < 0)))
    read, first = np.empty(len(values), dtype=np.int64), ""
    for number, value in enumerate(values):
        try:
            read[number], zone = _read(value)
            first = first or zone
            if not zone:
                raise _without_zone(value)
            if one_zone and zone != first:
                raise MomentError(f"the times mix the zones {first!r} and {zone!r}; convert the column to UTC", "mixed")
        except MomentError as error:
            raise MomentError(error.reason, error.fault, int(np.argmax(which == number))) from None
    return np.asarray(read[which])


def _read_datetimes(index: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    """Nanoseconds UTC of datetimes with a zone."""
    import pandas as pd

    missing = index.isna()
    if missing.any():
        raise MomentError("it is missing", "missing", int(np.argmax(missing)))
    try:
        return np.array(index.as_unit("ns").asi8, dtype=np.int64)
    except (pd.errors.OutOfBoundsDatetime, OverflowError):
        per_unit = _NANOSECONDS[index.unit]
        outside = np.abs(index.asi8) > _LATEST // per_unit
        row = int(np.argmax(outside))
        raise MomentError(f"{index[row]!s} {_OUTSIDE}", "range", row) from None


def _read(value: object) -> tuple[int, str]:
    """Nanoseconds UTC and the name of the zone; without a zone it is UTC, and the name is empty."""
    if isinstance(value, str):
        return _read_text(value)
    if isinstance(value, datetime) and value == value:  # pandas.NaT is a datetime
        return _read_datetime(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return _read_date(value), ""
    if isinstance(value, np.datetime64) and not np.isnat(value):
        return _read_datetime64(value), ""
    if value is None or isinstance(value, datetime | np.datetime64) or type(value).__name__ == "NAType":
        raise MomentError("it is missing", "missing")
    if isinstance(value, float | np.floating) and value != value:
        raise MomentError("it is missing", "missing")
    if isinstance(value, numbers.Number | np.bool_):
        raise MomentError(f"{shown(value)} is a number, not a time: write it as 2024-01-31T09:30:00Z", "form")
    raise _malformed(value)


def _read_text(text: str) -> tuple[int, str]:
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise _malformed(text)
    day, clock, second, fraction, utc, sign, hours, minutes = match.groups()
    try:
        local = datetime.fromisoformat(f"{day}T{clock or '00:00'}:{second or '00'}")
    except ValueError as error:
        raise _malformed(text, f" ({error})") from None
    nanoseconds = (local - _EPOCH) // _MICROSECOND * 1000 + (int(fraction.ljust(9, "0")) if fraction else 0)
    if sign is None:
        return _inside(nanoseconds, text), "UTC" if utc else ""
    offset = 60 * int(hours) + int(minutes or 0)
    zone = f"{sign}{hours}:{minutes or '00'}" if offset else "UTC"
    return _inside(nanoseconds - int(f"{sign}{offset}") * _NANOSECONDS["m"], text), zone


def _read_datetime(value: datetime) -> tuple[int, str]:
    try:
        offset = value.utcoffset()
        # A pandas.Timestamp counts nanoseconds too.
        fraction = getattr(value, "nanosecond", 0)
        plain = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
        passed = plain.replace(tzinfo=None) - _EPOCH - (offset or timedelta(0))
    except (ValueError, OverflowError):
        raise MomentError(f"{value!s} {_OUTSIDE}", "range") from None
    zone = "" if offset is None else str(value.tzinfo)
    return _inside(passed // _MICROSECOND * 1000 + fraction, value), "UTC" if zone in _UTC else zone


def _read_date(value: date) -> int:
    return _inside((value.toordinal() - _EPOCH.toordinal()) * _NANOSECONDS["D"], value)


def _read_datetime64(value: np.datetime64) -> int:
    unit, count = np.datetime_data(value.dtype)
    if unit not in _NANOSECONDS:
        raise _malformed(value)
    return _inside(int(value.astype(np.int64)) * count * _NANOSECONDS[unit], value)


def _inside(nanoseconds: int, value: object) -> int:
    if not -_LATEST <= nanoseconds <= _LATEST:
        raise MomentError(f"{value!s} {_OUTSIDE}", "range")
    return nanoseconds


def _malformed(value: object, reason: str = "") -> MomentError:
    return MomentError(f"{shown(value)} is not a time in ISO 8601{reason}: write it as 2024-01-31T09:30:00Z", "form")


def _without_zone(value: object) -> MomentError:
    cure = "write it as 2024-01-31T09:30:00Z" if isinstance(value, str) else "e.g. with .dt.tz_localize('UTC')"
    return MomentError(f"{shown(str(value))} has no time zone: if it is UTC, say so, {cure}", "zone")
