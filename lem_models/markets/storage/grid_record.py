"""Write and read the grid and the calendars of a file of bars as JSON.

Arrays of integers are stored as compressed differences in base 64, because the differences are small or regular. The
JSON is untrusted: it is refused unless sessions and slots can be computed for every bar.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import DAY, length_of
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.calendar.inferred_days import InferredDays, infer_days
from lem_models.markets.calendar.inferred_sessions import InferredSessions, SessionClock, infer_clock
from lem_models.markets.calendar.kinds import Calendar, Calendars, RoundTheClock, Scheduled

__all__ = ["grid_of", "grid_record"]

Integers = npt.NDArray[np.int64]

_MOST_SESSIONS = 10_000_000  # of a calendar
_PLACES = ("offsets", "run", "number", "idle")


def grid_record(grid: Grid) -> dict[str, Any]:
    """A grid and its calendar as JSON.

    Raises:
        BarsError: A calendar is of a kind that is not part of this package.
    """
    kinds = grid.calendars.kinds
    named: dict[str, Any] = {"calendar": _calendar_record(kinds[0])}
    if len(kinds) > 1:
        named = {"calendars": [_calendar_record(kind) for kind in kinds], "which": _packed(grid.calendars.which)}
    return named | {name: _packed(getattr(grid, name)) for name in _PLACES}


def grid_of(record: Mapping[str, Any], symbols: int, bars: int) -> Grid:
    """Read a grid.

    Args:
        record: A record of :func:`grid_record`.
        symbols: Number of symbols.
        bars: Number of bars, one at least.

    Raises:
        ValueError: The record is damaged, or has another number of symbols or bars. Also KeyError, TypeError,
            IndexError, OverflowError, MemoryError and zlib.error, when a value is missing or has another type.
    """
    most = {"offsets": symbols + 1, "run": bars + 1, "number": bars, "idle": bars}
    offsets, run, number, idle = (_unpacked(record[name], most[name]) for name in _PLACES)
    bounded = all(len(b) > 1 and b[0] == 0 and b[-1] == bars and np.all(np.diff(b) > 0) for b in (offsets, run))
    if (
        not bounded
        or len(offsets) != symbols + 1
        or len(number) != len(run) - 1
        or not np.isin(offsets, run).all()
        or (len(idle) and not (idle[0] >= 0 and idle[-1] < bars and np.all(np.diff(idle) > 0)))
    ):
        raise ValueError("the places of its bars do not fit together")
    calendars = _calendars(record, symbols)
    which = calendars.which[np.searchsorted(offsets, run[:-1], side="right") - 1]
    bounds = np.array([_ordinals(kind) for kind in calendars.kinds])
    length = np.diff(run)
    forward = (number[1:] - length[:-1] > number[:-1]) | np.isin(run[1:-1], offsets)
    if not (np.all(bounds[which, 0] <= number) and np.all(number <= bounds[which, 1] - length) and np.all(forward)):
        raise ValueError("the places of its bars are not in its calendar")
    return Grid(calendars, offsets, run, number, idle)


def _calendars(record: Mapping[str, Any], symbols: int) -> Calendars:
    if "calendars" not in record:
        return Calendars.all_of(_calendar(record["calendar"]), symbols)
    kinds, which = record["calendars"], _unpacked(record["which"], symbols)
    if not isinstance(kinds, list) or not 0 < len(kinds) <= symbols:
        raise ValueError("its calendars are damaged")
    if len(which) != symbols or which.min() < 0 or which.max() >= len(kinds):
        raise ValueError("its symbols have no calendar")
    built = tuple(_calendar(kind) for kind in kinds)
    if len({kind.frequency for kind in built}) != 1:
        raise ValueError("its calendars have different frequencies")
    return Calendars(built, which)


def _ordinals(calendar: Calendar) -> tuple[int, int]:
    """First position of a calendar and one past the last."""
    if isinstance(calendar, Scheduled):
        return int(calendar.number[0]), int(calendar.number[-1] + calendar.count[-1])
    most = (np.iinfo(np.int64).max - DAY) // calendar.frequency.value
    return -most, most


def _packed(values: Integers) -> dict[str, Any]:
    steps = np.diff(values, prepend=np.int64(0)).astype("<i8")
    return {"count": len(values), "data": base64.b64encode(zlib.compress(steps.tobytes(), 1)).decode()}


def _unpacked(record: Mapping[str, Any], most: int) -> Integers:
    count = int(record["count"])
    if not 0 <= count <= most:
        raise ValueError(f"a list of {count:,} numbers where at most {most:,} can be")
    try:
        content = zlib.decompressobj().decompress(base64.b64decode(record["data"], validate=True), 8 * count + 1)
    except binascii.Error as error:
        raise ValueError(f"a list of numbers is damaged: {error}") from error
    if len(content) != 8 * count:
        raise ValueError(f"a list of {count:,} numbers is cut short or too long")
    return np.cumsum(np.frombuffer(content, "<i8"), dtype=np.int64)


def _calendar_record(calendar: Calendar) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": calendar.name,
        "frequency": calendar.frequency.value,
        "slots_per_session": calendar.slots_per_session,
        "is_session_bound": calendar.is_session_bound,
    }
    if isinstance(calendar, RoundTheClock):
        return record | {"kind": "round_the_clock", "phase": calendar.phase}
    if isinstance(calendar, Scheduled):
        arrays = {name: _packed(getattr(calendar, name)) for name in ("start", "number", "count", "opening")}
        plain: dict[str, Any] = {"stride": calendar.stride, "phase": calendar.phase, "zone": calendar.zone}
        if isinstance(calendar, InferredSessions):
            clock = calendar.clock
            plain["clock"] = {"zone": clock.zone, "closing": clock.closing, "cycle": clock.cycle}
            plain |= {"opened": _packed(calendar.opened), "last": calendar.last}
        elif isinstance(calendar, InferredDays):
            plain |= {"week": list(calendar.week), "usual": calendar.usual}
        elif isinstance(calendar, Exchange):
            plain["until"] = calendar.until
        return record | {"kind": "scheduled"} | arrays | plain
    raise BarsError(f"a calendar of type {type(calendar).__name__} cannot be written to a file", rule="file format")


def _calendar(record: Mapping[str, Any]) -> Calendar:
    name, bound, kind = record["name"], record["is_session_bound"], record["kind"]
    frequency, slots, phase = (int(record[key]) for key in ("frequency", "slots_per_session", "phase"))
    if frequency <= 0 or not 0 <= phase < max(frequency, DAY) or not isinstance(name, str):
        raise ValueError("its calendar is damaged")
    if not isinstance(bound, bool):
        raise TypeError("its calendar does not say whether orders stay in a session")
    if kind == "round_the_clock":
        if slots != max(1, -(-DAY // frequency)):
            raise ValueError(f"its calendar has {slots:,} bars a day")
        return RoundTheClock(name, length_of(frequency), slots, bound, phase=phase)
    if kind != "scheduled":
        raise ValueError(f"its calendar is of the unknown kind {kind!r}")
    arrays = {key: _unpacked(record[key], _MOST_SESSIONS) for key in ("start", "number", "count", "opening")}
    stride, zone = int(record["stride"]), record["zone"]
    if not _is_schedule(**arrays, stride=stride, slots=slots):
        raise ValueError("its calendar is damaged")
    _check_zone(zone)
    fields: dict[str, Any] = {"name": name, "frequency": length_of(frequency), "slots_per_session": slots}
    fields |= {"is_session_bound": bound, "stride": stride, "phase": phase, "zone": zone, **arrays}
    end = int(arrays["start"][-1] + (arrays["count"][-1] - 1) * stride)
    if name != "sessions":
        return Exchange(**fields, until=int(record.get("until", end if frequency < DAY else end * DAY)))
    if frequency >= DAY:
        return InferredDays(**fields, **_days(record, arrays, stride, phase, frequency))
    return InferredSessions(**fields, **_sessions(record, arrays, stride))


def _sessions(record: Mapping[str, Any], arrays: Mapping[str, Integers], stride: int) -> dict[str, Any]:
    """Fields that extend an inferred calendar; inferred again for early files, which lack them."""
    start, count = arrays["start"], arrays["count"]
    end = int(start[-1] + (count[-1] - 1) * stride)
    if "clock" not in record:
        return {"clock": infer_clock(_keys(start, count, stride), stride), "opened": start.copy(), "last": end}
    clock, opened, last = record["clock"], _unpacked(record["opened"], len(start)), int(record["last"])
    zone, closing, cycle = clock["zone"], int(clock["closing"]), int(clock["cycle"])
    _check_zone(zone)
    held = len(opened) == len(start) and np.all(opened >= start) and np.all(opened <= start + (count - 1) * stride)
    if zone is None or cycle not in (DAY, 7 * DAY) or not 0 <= closing < cycle or not held or last < start[-1]:
        raise ValueError("the clock of its calendar is damaged")
    return {"clock": SessionClock(zone, closing, cycle), "opened": opened, "last": last}


def _days(
    record: Mapping[str, Any], arrays: Mapping[str, Integers], stride: int, phase: int, frequency: int
) -> dict[str, Any]:
    """Fields that extend an inferred calendar of daily or longer bars."""
    if "week" not in record:
        days = infer_days(_keys(arrays["start"], arrays["count"], stride) * DAY + phase, frequency, phase)
        return {"week": days.week, "usual": days.usual}
    week, usual = tuple(record["week"]), int(record["usual"])
    if len(week) != 7 or not all(isinstance(day, bool) for day in week) or not any(week) or usual < 1:
        raise ValueError("the week of its calendar is damaged")
    return {"week": week, "usual": usual}


def _keys(start: Integers, count: Integers, stride: int) -> Integers:
    """Every key of a schedule's ranges, ascending."""
    if count.sum() > _MOST_SESSIONS:
        raise ValueError("its calendar has more bars than any market")
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return np.asarray(np.repeat(start, count) + within * stride)


def _is_schedule(
    start: Integers, number: Integers, count: Integers, opening: Integers, *, stride: int, slots: int
) -> bool:
    """Whether ranges do not overlap, and sessions begin with ranges and have at most ``slots`` bars."""
    if not len(start) == len(number) == len(count) > 0 or stride <= 0 or count.min() <= 0:
        return False
    length = count.astype(np.float64)  # floats do not overflow
    if np.any(np.diff(start) <= (length[:-1] - 1) * stride) or np.any(np.diff(number) < length[:-1]):
        return False
    if slots == 1:
        return True
    if not len(opening) or opening[0] != number[0] or not np.isin(opening, number).all():
        return False
    held = np.diff(opening, append=number[-1:] + count[-1:])
    return bool(held.min() > 0 and held.max() == slots)


def _check_zone(zone: object) -> None:
    if zone is None:
        return
    try:
        if not isinstance(zone, str):
            raise TypeError("not a text")
        pd.Timestamp(0, tz=zone)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"the zone {zone!r} of its calendar is not known") from error
