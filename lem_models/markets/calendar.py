"""Market calendars: the grid that bars lie on, so that a gap can be told from a night.

A calendar gives every bar three numbers:

- ``ordinal``: its position on the market's grid. Bars that follow each other without a gap differ by exactly 1, over a
  night or a weekend too; a missing bar leaves its number out.
- ``session``: the number of its trading session (the UTC day of a market that never closes).
- ``slot``: its position inside the session, from 0.

Three kinds exist:

- ``"24/7"``: ``ordinal = timestamp // frequency``, sessions are UTC days.
- ``"sessions"``: inferred from the bars. The grid is the union of the timestamps of all symbols. For intraday bars a
  hole in it from one trading day to the next is the end of a session, a hole inside a trading day is a gap (a halt, a
  lunch break). Trading days change at a time of day when the market is closed. Daily bars follow each other unless
  their dates are more than 7 days apart. A session that *no* symbol has cannot be seen.
- an exchange code such as ``"XNYS"``: sessions, half days and lunch breaks from the schedules of the library
  ``exchange_calendars``; a bar outside the schedule is refused, a session that is missing is seen.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.frequency import (
    DAY,
    HOUR,
    clock,
    infer_frequency,
    length_of,
    moment,
    most_common,
    symbol_of,
)

__all__ = ["Calendar", "Placement", "RoundTheClock", "Scheduled", "build_calendar"]

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

LONGEST_DAILY_PAUSE = 7
"""Daily bars further apart than this many days have a gap between them (September 2001 was a pause of 7 days)."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Where bars lie on a market's grid; every array int64 [bars].

    Attributes:
        ordinal: Position on the grid; consecutive bars differ by exactly 1.
        session: Number of the session.
        slot: Position inside the session, from 0.
    """

    ordinal: Integers
    session: Integers
    slot: Integers


@dataclass(frozen=True, eq=False)
class Calendar(ABC):
    """The grid of a market at one bar frequency.

    Attributes:
        name: ``"24/7"``, ``"sessions"`` or an exchange code.
        frequency: Length of a bar.
        slots_per_session: The largest number of bars a session has (24 for hourly bars round the clock, 78 for
            5-minute bars of US equities, 1 for daily bars).
        is_session_bound: Whether an order stays inside its session unless it says otherwise: intraday bars of a
            market that closes.
    """

    name: str
    frequency: pd.Timedelta
    slots_per_session: int
    is_session_bound: bool

    @abstractmethod
    def contains(self, timestamp: Integers) -> Booleans:
        """Tell which bar starts lie on the grid.

        Args:
            timestamp: int64 [bars], nanoseconds UTC.

        Returns:
            bool [bars].
        """

    @abstractmethod
    def place(self, timestamp: Integers) -> Placement:
        """Give the grid positions of bar starts.

        Args:
            timestamp: int64 [bars], nanoseconds UTC.

        Returns:
            Ordinals, sessions and slots.

        Raises:
            BarsError: A timestamp is not on the grid.
        """

    def _require(self, timestamp: Integers) -> None:
        inside = self.contains(timestamp)
        if not inside.all():
            raise BarsError(
                f"no bar of the calendar {self.name!r} at {clock(self.frequency)} starts then",
                timestamp=moment(timestamp[np.argmin(inside)]),
                column="timestamp",
                rule="one grid",
            )


@dataclass(frozen=True, eq=False)
class RoundTheClock(Calendar):
    """A market that never closes: ``ordinal = timestamp // frequency``, sessions are UTC days.

    Attributes:
        phase: Nanoseconds by which bar starts are late against whole multiples of the frequency (0 as a rule).
    """

    phase: int = 0

    @classmethod
    def fit(cls, timestamp: Integers, step: int) -> RoundTheClock:
        """Build the calendar of bars with one frequency.

        Args:
            timestamp: int64 [bars], nanoseconds UTC.
            step: Length of a bar in nanoseconds.

        Returns:
            The calendar.
        """
        slots = max(1, -(-DAY // step))
        return cls("24/7", length_of(step), slots, is_session_bound=False, phase=_phase(timestamp, step))

    def contains(self, timestamp: Integers) -> Booleans:
        """See :meth:`Calendar.contains`."""
        step = self.frequency.value
        if step >= DAY:
            return _near_phase(timestamp, step, self.phase)
        return np.asarray((timestamp - self.phase) % step == 0)

    def place(self, timestamp: Integers) -> Placement:
        """See :meth:`Calendar.place`."""
        self._require(timestamp)
        step = self.frequency.value
        if step >= DAY:
            number = _nearest(timestamp, step, self.phase)
            return Placement(number, number, np.zeros_like(number))
        return Placement(timestamp // step, timestamp // DAY, timestamp % DAY // step)


@dataclass(frozen=True, eq=False)
class Scheduled(Calendar):
    """A market with sessions: the grid is a list of bar starts.

    Attributes:
        keys: int64 [grid], ascending: bar starts in nanoseconds UTC; for daily bars the day numbers of the sessions.
        grid: Ordinal, session and slot of each key.
        phase: Daily bars: time of day of the stamps in nanoseconds. They may be off by an hour (daylight saving).
        zone: Daily bars of an exchange that are not stamped at midnight UTC: the zone in which their date is read.
    """

    keys: Integers = field(repr=False)
    grid: Placement = field(repr=False)
    phase: int = 0
    zone: str | None = None

    def contains(self, timestamp: Integers) -> Booleans:
        """See :meth:`Calendar.contains`."""
        key = self._key(timestamp)
        found = self.keys[np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)] == key
        if self.frequency.value >= DAY and self.zone is None:
            found &= _near_phase(timestamp, DAY, self.phase)
        return np.asarray(found)

    def place(self, timestamp: Integers) -> Placement:
        """See :meth:`Calendar.place`."""
        self._require(timestamp)
        at = np.searchsorted(self.keys, self._key(timestamp))
        return Placement(self.grid.ordinal[at], self.grid.session[at], self.grid.slot[at])

    def _key(self, timestamp: Integers) -> Integers:
        if self.frequency.value < DAY:
            return timestamp
        if self.zone is None:
            return _nearest(timestamp, DAY, self.phase)
        local = pd.DatetimeIndex(timestamp, tz="UTC").tz_convert(self.zone).tz_localize(None)
        return np.asarray(local.as_unit("ns").asi8 // DAY)


def build_calendar(
    calendar: str,
    symbols: tuple[str, ...],
    offsets: Integers,
    timestamp: Integers,
    frequency: pd.Timedelta | None = None,
) -> Calendar:
    """Build the calendar of a table of bars and check that every bar lies on its grid.

    Args:
        calendar: ``"auto"``, ``"24/7"``, ``"sessions"``, or an exchange code (``"XNYS"``).
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1]; the rows of symbol ``i`` are ``offsets[i]:offsets[i + 1]``.
        timestamp: int64 [bars], nanoseconds UTC, symbol-major, ascending inside a symbol.
        frequency: Length of a bar; inferred when ``None``.

    Returns:
        The calendar. ``calendar.place(timestamp)`` works for all bars.

    Raises:
        BarsError: The bars do not have one frequency, or a bar is not on the grid.
        UnknownNameError: There is no calendar of this name.
    """
    if frequency is None:
        frequency = infer_frequency(symbols, offsets, timestamp)
    step = frequency.as_unit("ns").value
    union = np.unique(timestamp)
    if calendar == "auto":
        calendar = "24/7" if _never_closes(union, step) else "sessions"
    built: Calendar
    if calendar == "24/7":
        built = RoundTheClock.fit(timestamp, step)
    elif calendar == "sessions":
        built = _daily_sessions(union, step) if step >= DAY else _intraday_sessions(union, step)
    else:
        built = _exchange(calendar, union, step)
    inside = built.contains(timestamp)
    if not inside.all():
        row = int(np.argmin(inside))
        outside = int(np.sum(~inside))
        raise BarsError(
            f"the bar does not start on the grid of the calendar {built.name!r} at {clock(built.frequency)}; "
            f"{outside:,} of {len(timestamp):,} bars do not",
            symbol=symbol_of(symbols, offsets, row),
            timestamp=moment(timestamp[row]),
            column="timestamp",
            rule="one grid",
        )
    _check_one_bar_per_position(built, symbols, offsets, timestamp)
    return built


def _never_closes(union: Integers, step: int) -> bool:
    """Whether bars are there round the clock and at weekends.

    Only days that lie wholly between the first and the last bar count. Saturdays after a Friday with bars must be at
    least half full, as the median day; without such a Saturday the days must be nearly full. A table shorter than that
    must span a whole day nearly without holes.
    """
    day = union // DAY
    per_day = max(1.0, DAY / step)
    if day[-1] - day[0] < 2:
        span = union[-1] - union[0] + step
        return bool(step < DAY <= span and len(union) >= 0.9 * span / step)
    if step > DAY:
        return False
    fill = np.bincount(day - day[0])[1:-1] / per_day
    weekday = (np.arange(day[0] + 1, day[-1]) + 3) % 7  # 1970-01-01 was a Thursday
    open_days = fill > 0
    after_open_friday = (weekday == 5) & np.concatenate([[True], open_days[:-1]])
    if after_open_friday.any():
        return bool(np.median(fill[after_open_friday]) >= 0.5 and np.median(fill[open_days]) >= 0.5)
    return bool(step < DAY and open_days.any() and np.median(fill[open_days]) >= 0.9)


def _intraday_sessions(union: Integers, step: int) -> Scheduled:
    """Sessions from the union of all bars: a hole from one trading day to the next ends one, any other is a halt.

    Bars start whole steps after the first bar of their session; others are left out of the grid, to be refused. (With
    daylight saving, the sessions themselves need not start on one grid.)
    """
    closes = (np.diff(union) > step) & (np.diff((union - _closing_time(union, step)) // DAY) > 0)
    session = np.concatenate([[0], np.cumsum(closes)])
    first = union[np.flatnonzero(np.concatenate([[True], closes]))][session]
    on_grid = (union - first) % step == 0
    keys, session = union[on_grid], session[on_grid]
    slot = (union - first)[on_grid] // step
    ordinal = np.concatenate([[0], np.cumsum(np.where(np.diff(session) > 0, 1, np.diff(keys) // step))])
    grid = Placement(ordinal, session, slot)
    slots = int(slot.max()) + 1
    return Scheduled("sessions", length_of(step), slots, is_session_bound=True, keys=keys, grid=grid)


def _closing_time(union: Integers, step: int) -> int:
    """Where one trading day ends and the next begins: a time of day (UTC, nanoseconds) when the market is closed.

    It is the middle of the longest stretch of the day in which no bar was ever seen: morning for New York, afternoon
    for Sydney, whose sessions run over midnight UTC. Midnight if there is no such stretch.
    """
    time = np.unique(union % DAY)
    until_next = np.diff(time, append=time[0] + DAY)
    longest = int(np.argmax(until_next))
    if until_next[longest] <= step:
        return 0
    return int(time[longest] + (until_next[longest] + step) // 2) % DAY


def _daily_sessions(union: Integers, step: int) -> Scheduled:
    """Sessions of daily (or longer) bars: the dates that some symbol has; a pause of more than 7 days is a gap."""
    phase = _phase(union, DAY)
    day = np.unique(_nearest(union, DAY, phase))
    pause = np.diff(day)
    is_gap = pause > max(LONGEST_DAILY_PAUSE, 1.5 * step / DAY)
    # Over a gap the ordinal moves on by about the number of bars that are missing: five daily ones a week.
    beyond = np.maximum(2, pause * 5 // 7 if step == DAY else pause * DAY // step)
    ordinal = np.concatenate([[0], np.cumsum(np.where(is_gap, beyond, 1))])
    grid = Placement(ordinal, ordinal, np.zeros_like(ordinal))
    return Scheduled("sessions", length_of(step), 1, is_session_bound=False, keys=day, grid=grid, phase=phase)


def _exchange(code: str, union: Integers, step: int) -> Scheduled:
    """Sessions, half days and breaks of an exchange over the period of the bars."""
    import exchange_calendars

    known = ["auto", "24/7", "sessions", *exchange_calendars.get_calendar_names()]
    if code not in known:
        raise UnknownNameError.among("calendar", code, known)
    start = moment(union[0]).tz_localize(None).normalize() - pd.Timedelta(days=1)
    end = moment(union[-1]).tz_localize(None).normalize() + pd.Timedelta(days=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the library's own, about pandas
            library = exchange_calendars.get_calendar(code, start=start, end=end)
            schedule = library.schedule
    except (ValueError, exchange_calendars.errors.CalendarError) as error:
        raise BarsError(
            f"the exchange calendar {code!r} has no schedule from {start:%Y-%m-%d} to {end:%Y-%m-%d}: {error}",
            column="timestamp",
            rule="one grid",
        ) from error
    frequency = length_of(step)
    if step >= DAY:
        midnight = bool(np.all(union % DAY == 0))
        keys = np.asarray(pd.DatetimeIndex(schedule.index).as_unit("ns").asi8 // DAY)
        number = np.arange(len(keys))
        grid = Placement(number, number, np.zeros_like(number))
        zone = None if midnight else str(library.tz)
        return Scheduled(code, frequency, 1, is_session_bound=False, keys=keys, grid=grid, zone=zone)
    times = [
        np.array(pd.DatetimeIndex(schedule[name]).as_unit("ns").asi8)
        for name in ("open", "break_start", "break_end", "close")
    ]
    starts = [_session_starts(*row, step=step) for row in zip(*times, strict=True)]
    length = np.array([len(session) for session in starts])
    keys = np.concatenate(starts)
    session = np.repeat(np.arange(len(starts)), length)
    slot = np.arange(len(keys)) - np.repeat(np.cumsum(length) - length, length)
    grid = Placement(np.arange(len(keys)), session, slot)
    return Scheduled(code, frequency, int(length.max()), is_session_bound=True, keys=keys, grid=grid)


def _session_starts(opening: int, pause: int, resume: int, closing: int, *, step: int) -> Integers:
    """Starts of the bars of one session; ``pause`` and ``resume`` are NaT without a lunch break."""
    if pause == pd.NaT.value:
        return np.arange(opening, closing, step, dtype=np.int64)
    return np.concatenate([np.arange(opening, pause, step), np.arange(resume, closing, step)]).astype(np.int64)


def _check_one_bar_per_position(
    calendar: Calendar, symbols: tuple[str, ...], offsets: Integers, timestamp: Integers
) -> None:
    """Refuse two bars of a symbol in one place of the grid (two daily bars on one date)."""
    if calendar.frequency.value < DAY:
        return  # the grid is the bar starts themselves
    step = np.diff(calendar.place(timestamp).ordinal)
    step[offsets[1:-1] - 1] = 1
    if np.any(step <= 0):
        row = int(np.argmax(step <= 0)) + 1
        raise BarsError(
            f"two bars of one symbol fall on one {clock(calendar.frequency)} bar of the calendar {calendar.name!r}",
            symbol=symbol_of(symbols, offsets, row),
            timestamp=moment(timestamp[row]),
            column="timestamp",
            rule="one frequency",
        )


def _phase(timestamp: Integers, step: int) -> int:
    """The most common lateness of bar starts against whole multiples of the step."""
    return most_common(timestamp % step)


def _nearest(timestamp: Integers, step: int, phase: int) -> Integers:
    """Number of the bar that starts nearest; daylight saving moves daily stamps by an hour."""
    return np.asarray((timestamp - phase + step // 2) // step)


def _near_phase(timestamp: Integers, step: int, phase: int) -> Booleans:
    """Whether a stamp is within an hour of the usual time."""
    return np.asarray(np.abs((timestamp - phase + step // 2) % step - step // 2) <= HOUR)
