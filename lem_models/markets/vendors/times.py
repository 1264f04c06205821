"""Timestamps of vendors: numbers in a unit, ISO 8601, dates beside times of day, and the texts of some vendors.

What is ambiguous is refused: numbers without a unit, and times without a zone. Dates without a time of day name days;
without a zone they are midnights in UTC, because a daily bar belongs to its date wherever it was traded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lem_models.errors import BarsError
from lem_models.guard.text import shown
from lem_models.markets.epochs import EARLIEST, UNITS, epoch_unit

__all__ = ["Moments", "read_clock", "read_stamps"]

Integers = npt.NDArray[np.int64]

_DAY = 86_400 * 10**9
_LATEST = np.iinfo(np.int64).max
_ZONE_BEHIND = re.compile(r"^(?P<time>.*[0-9]) (?P<zone>[A-Za-z]+(?:[/_+\-A-Za-z0-9]*))$")


@dataclass(frozen=True)
class Moments:
    """Timestamps that were read.

    Attributes:
        nanoseconds: int64 [rows], UTC.
        how: How they were read, in words.
        are_days: Whether they are dates without a time of day.
    """

    nanoseconds: Integers
    how: str
    are_days: bool = False


def read_stamps(
    column: pd.Series,
    *,
    unit: str | None,
    zone: str | None,
    patterns: tuple[str, ...] = (),
    has_named_zone: bool = False,
) -> Moments:
    """Read a column of timestamps.

    Args:
        column: Numbers, texts, or datetimes.
        unit: Unit of numbers, ``"by size"``, ``"auto"``, or ``None``.
        zone: Zone of times without one, or ``None``.
        patterns: Forms of texts other than ISO 8601, for ``strptime``.
        has_named_zone: Whether the user named the zone: then times with a zone of their own contradict it.

    Raises:
        BarsError: A timestamp is missing or cannot be read, or unit or zone are needed.
    """
    name = str(column.name)
    missing = column.isna().to_numpy()
    if missing.any():
        raise _error(f"row {int(np.argmax(missing))} has no timestamp", name, "timestamp")
    if isinstance(column.dtype, pd.ArrowDtype | pd.CategoricalDtype):
        column = pd.Series(column.to_numpy(), name=name)
    numbers = _as_numbers(column)
    if numbers is not None:
        return _read_numbers(numbers, unit, patterns, zone, name)
    if isinstance(column.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        index = pd.DatetimeIndex(column)
    else:
        index = _from_objects(column, patterns, name)
    return _placed(index, zone, name, has_named_zone)


def read_clock(dates: pd.Series, times: pd.Series | None) -> pd.Series:
    """Dates and times of day as texts ``2025-09-02 09:30:00``.

    Args:
        dates: Numbers such as 20250902, texts such as ``2025-09-02`` or ``20250902``, or datetimes.
        times: Numbers such as 93000, texts such as ``093000``, ``0930``, ``9:30`` or ``09:30:00``; or ``None``.

    Raises:
        BarsError: A value is neither.
    """
    which, distinct = pd.factorize(dates)
    days = pd.Series([_day(value) for value in distinct], dtype=object).to_numpy()[which]
    if times is None:
        return pd.Series(days, name=dates.name)
    which, distinct = pd.factorize(times)
    clocks = pd.Series([_time(value) for value in distinct], dtype=object).to_numpy()[which]
    if (clocks == "00:00:00").all():  # files of days have a column of zeros
        return pd.Series(days, name=dates.name)
    return pd.Series(days + " " + clocks, name=times.name)


def _day(value: object) -> str:
    text = value.strftime("%Y-%m-%d") if isinstance(value, pd.Timestamp) else str(value).strip()
    if re.fullmatch(r"[0-9]{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    text = text.removesuffix(" 00:00:00")
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise _error(f"{shown(value)} is not a date: write it as 2025-09-02 or 20250902", "date", "timestamp")
    return text


def _time(value: object) -> str:
    text = str(value).strip()
    if re.fullmatch(r"[0-9]{1,6}", text):
        text = text.zfill(4) if isinstance(value, str) and len(text) <= 4 else text.zfill(6)
        text = ":".join(text[place : place + 2] for place in range(0, len(text), 2))
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?(\.[0-9]{1,9})?", text)
    if match is None:
        raise _error(f"{shown(value)} is not a time of day: write it as 09:30:00 or 093000", "time", "timestamp")
    hours, minutes, seconds, fraction = match.groups()
    return f"{hours.zfill(2)}:{minutes}:{seconds or '00'}{fraction or ''}"


def _as_numbers(column: pd.Series) -> Integers | None:
    """Whole numbers as int64; ``None`` if the column holds something else."""
    if pd.api.types.is_integer_dtype(column.dtype):
        return column.to_numpy().astype(np.int64)
    if pd.api.types.is_float_dtype(column.dtype):
        values = column.to_numpy(dtype=np.float64)
        if not np.all((np.abs(values) < 2**53) & (values == np.floor(values))):
            raise _error("a timestamp is not a whole number, or is a float above 2**53", str(column.name), "timestamp")
        return values.astype(np.int64)
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return None
    first = column.iloc[0]
    if isinstance(first, int | np.integer) and not isinstance(first, bool):
        if not all(isinstance(value, int | np.integer) and abs(int(value)) <= _LATEST for value in column):
            raise _error("a timestamp is not a whole number of 64 bits", str(column.name), "timestamp")
        return np.array(column.tolist(), dtype=np.int64)
    if isinstance(first, str) and re.fullmatch(r"[0-9]{1,19}", first):
        try:
            return np.asarray(pc.cast(pa.array(column, pa.string()), pa.int64()).to_numpy(), dtype=np.int64)
        except (pa.ArrowException, TypeError):
            return None
    return None


def _read_numbers(
    numbers: Integers, unit: str | None, patterns: tuple[str, ...], zone: str | None, name: str
) -> Moments:
    first = int(numbers[0])
    if 1980_01_01 <= first <= 2262_01_01 and "%Y%m%d" in patterns:
        return _placed(_parsed(pd.Series(numbers.astype(str)), ("%Y%m%d",), name), zone, name, False)
    if unit is None:
        likely = epoch_unit(first)
        raise _error(
            f"the timestamps are numbers (row 0 is {first}): name their unit, unit={likely or 'ms'!r} (--unit "
            f"{likely or 'ms'})" + (", as their size suggests" if likely else ", or s, us, ns or auto"),
            name,
            "unit of timestamps",
        )
    if unit == "auto":
        unit = epoch_unit(first) or "auto"
    sizes = [UNITS[unit]] if unit in UNITS else [] if unit == "auto" else list(UNITS.values())
    nanoseconds, fits = np.zeros(len(numbers), dtype=np.int64), np.zeros(len(numbers), dtype=bool)
    used = []
    for size in sizes:
        in_unit = (numbers >= EARLIEST // size) & (numbers <= _LATEST // size)
        nanoseconds[in_unit] = numbers[in_unit] * size
        fits |= in_unit
        used += [next(each for each, value in UNITS.items() if value == size)] if in_unit.any() else []
    if not fits.all():
        row = int(np.argmin(fits))
        likely = epoch_unit(int(numbers[row]))
        hint = f", but it is in {likely!r}: unit={likely!r} (--unit {likely})" if likely else ""
        raise _error(
            f"row {row}: {shown(int(numbers[row]))} is not a time from 1980 to 2262 in {unit!r}{hint}",
            name,
            "unit of timestamps",
        )
    return Moments(nanoseconds, f"numbers in {' and '.join(used)}")


def _from_objects(column: pd.Series, patterns: tuple[str, ...], name: str) -> pd.DatetimeIndex:
    first = column.iloc[0]
    if not isinstance(first, str):
        if not isinstance(first, date | np.datetime64):
            raise _error(f"{shown(first)} is not a time: write times as 2024-01-31T09:30:00Z", name, "timestamp")
        try:
            return pd.DatetimeIndex(pd.to_datetime(column, utc=getattr(first, "tzinfo", None) is not None))
        except (ValueError, TypeError, OverflowError) as error:
            raise _error(f"the timestamps cannot be read: {_first_line(error)}", name, "timestamp") from None
    try:
        texts = pa.array(column, pa.string())
    except (pa.ArrowException, TypeError):
        raise _error("the timestamps mix texts with other values", name, "timestamp") from None
    for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
        try:
            return pd.DatetimeIndex(pc.cast(texts, kind).to_pandas())
        except pa.ArrowException:
            continue
    return _parsed(column, patterns, name)


def _parsed(column: pd.Series, patterns: tuple[str, ...], name: str) -> pd.DatetimeIndex:
    """Texts in one of some forms; a name of a zone may stand behind the time."""
    which, distinct = pd.factorize(column)
    texts, zones = list(distinct), [""] * len(distinct)
    for place, text in enumerate(texts):
        match = _ZONE_BEHIND.match(text) if isinstance(text, str) else None
        if match is not None:
            texts[place], zones[place] = match["time"], match["zone"]
    for pattern in patterns:
        try:
            local = pd.DatetimeIndex(pd.to_datetime(pd.Series(texts), format=pattern))
        except (ValueError, TypeError, OverflowError):
            continue
        if not any(zones):
            return local[which]
        utc = np.empty(len(local), dtype=np.int64)
        for zone in dict.fromkeys(zones):
            rows = np.array([each == zone for each in zones])
            if not zone:
                raise _error("some of the times have a zone, others have none", name, "one time zone")
            utc[rows] = _localised(local[rows], zone, name).as_unit("ns").asi8
        return pd.DatetimeIndex(utc[which], tz="UTC")
    row = column.iloc[0]
    raise _error(
        f"{shown(row)} is not a time in ISO 8601"
        + (f", nor in {patterns[0]!r}" if patterns else "")
        + ": write times as 2024-01-31T09:30:00Z",
        name,
        "timestamp",
    )


def _placed(index: pd.DatetimeIndex, zone: str | None, name: str, has_named_zone: bool) -> Moments:
    """Datetimes on the axis of UTC."""
    try:
        index = index.as_unit("ns")
    except (pd.errors.OutOfBoundsDatetime, OverflowError) as error:
        raise _error(f"a timestamp is out of range: {_first_line(error)}", name, "timestamp") from None
    if index.tz is not None:
        if has_named_zone:
            raise _error(
                f"tz={zone!r} is for times without a zone, and these have one: leave it out", name, "tz-aware timestamp"
            )
        return Moments(np.array(index.asi8, dtype=np.int64), "times with a zone")
    local = index.asi8
    are_days = bool(np.all(local % _DAY == 0)) and _step(local) >= _DAY
    if are_days and not has_named_zone:
        return Moments(np.array(local, dtype=np.int64), "dates, which are days in UTC", are_days=True)
    if zone is None:
        raise _error(
            f"{index[0]!s} has no time zone: name it, tz='America/New_York' (--tz America/New_York), or tz='UTC'",
            name,
            "tz-aware timestamp",
        )
    return Moments(np.array(_localised(index, zone, name).as_unit("ns").asi8, dtype=np.int64), f"times in {zone}")


def _step(local: Integers) -> int:
    distinct = np.unique(local)
    return int(np.diff(distinct).min()) if len(distinct) > 1 else _DAY


def _localised(index: pd.DatetimeIndex, zone: str, name: str) -> pd.DatetimeIndex:
    try:
        ZoneInfo(zone)
    except (ValueError, LookupError, OSError):
        raise _error(f"there is no time zone {shown(zone)}: e.g. America/New_York", name, "known time zone") from None
    try:
        return index.tz_localize(zone).tz_convert("UTC")
    except ValueError as error:  # pytz's and pandas' errors of both kinds are ValueErrors
        raise _error(
            f"a time does not exist, or exists twice, in {zone}: {_first_line(error)}; is it another zone?",
            name,
            "tz-aware timestamp",
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _error(message: str, column: str, rule: str) -> BarsError:
    return BarsError(message, column=column, rule=rule)
