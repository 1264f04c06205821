"""The places of bars as JSON and back: what a file of bars says of its symbols, its grid and its calendar.

Arrays of integers are differences, which are small or regular, compressed and in base 64. A record that is read is
taken for hostile: it is a grid whose sessions and slots can be computed for every bar, or it is refused.
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
from lem_models.markets.calendar_kinds import Calendar, RoundTheClock, Scheduled
from lem_models.markets.frequency import DAY, length_of
from lem_models.markets.grid import Grid

__all__ = ["grid_of", "grid_record"]

Integers = npt.NDArray[np.int64]

_MOST_SESSIONS = 10_000_000  # of a calendar; a record that claims more is damaged
_PLACES = ("offsets", "run", "number", "idle")


def grid_record(grid: Grid) -> dict[str, Any]:
    """A grid and its calendar as JSON.

    Raises:
        BarsError: The calendar is of a kind of somebody's own.
    """
    return {"calendar": _calendar_record(grid.calendar)} | {name: _packed(getattr(grid, name)) for name in _PLACES}


def grid_of(record: Mapping[str, Any], symbols: int, bars: int) -> Grid:
    """The grid that a record holds.

    Args:
        record: What :func:`grid_record` gave.
        symbols: Number of symbols.
        bars: Number of bars, one at least.

    Raises:
        ValueError: It is none, or not one of so many symbols and bars. Or KeyError, TypeError, IndexError,
            OverflowError, MemoryError and zlib.error, where a part of it is missing or of another type.
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
    calendar = _calendar(record["calendar"])
    lowest, highest = _ordinals(calendar)
    length = np.diff(run)
    forward = (number[1:] - length[:-1] > number[:-1]) | np.isin(run[1:-1], offsets)
    if not (lowest <= number.min() and np.all(number <= highest - length) and np.all(forward)):
        raise ValueError("the places of its bars are not in its calendar")
    return Grid(calendar, offsets, run, number, idle)


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
        plain = {"stride": calendar.stride, "phase": calendar.phase, "zone": calendar.zone}
        return record | {"kind": "scheduled"} | arrays | plain
    raise BarsError(f"a calendar of type {type(calendar).__name__} has no form in a file", rule="file format")


def _calendar(record: Mapping[str, Any]) -> Calendar:
    name, bound, kind = record["name"], record["is_session_bound"], record["kind"]
    frequency, slots, phase = (int(record[key]) for key in ("frequency", "slots_per_session", "phase"))
    if frequency <= 0 or not 0 <= phase < max(frequency, DAY) or not isinstance(name, str):
        raise ValueError("its calendar is none")
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
    return Scheduled(name, length_of(frequency), slots, bound, **arrays, stride=stride, phase=phase, zone=zone)


def _is_schedule(
    start: Integers, number: Integers, count: Integers, opening: Integers, *, stride: int, slots: int
) -> bool:
    """Whether stretches follow each other, and sessions begin with them and have as many bars as they say."""
    if not len(start) == len(number) == len(count) > 0 or stride <= 0 or count.min() <= 0:
        return False
    length = count.astype(np.float64)  # which do not overflow
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
        raise ValueError(f"the zone {zone!r} of its calendar is none") from error
