"""The kinds of calendars: how a bar start becomes a position on the market's grid, a session and a slot.

Session and slot are functions of the position (the *ordinal*), so only positions are stored.
:mod:`lem_models.markets.calendar.choice` chooses the kind of a market.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError
from lem_models.markets.calendar.frequency import DAY, HOUR, clock, moment

__all__ = ["Calendar", "Calendars", "Placement", "RoundTheClock", "Scheduled", "near_phase", "nearest", "next_start"]

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


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
        is_session_bound: Whether an order stays inside its session by default: for intraday bars of a market that
            closes.
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
    def ordinal(self, timestamp: Integers) -> Integers:
        """Give the position on the grid of bar starts that lie on it.

        Args:
            timestamp: int64 [bars], nanoseconds UTC; :meth:`contains` holds for each.

        Returns:
            int64 [bars].
        """

    @abstractmethod
    def start_of(self, ordinal: Integers) -> Integers:
        """Start of the bar at each position, int64 [bars], nanoseconds UTC: the inverse of :meth:`ordinal`."""

    def session(self, ordinal: Integers) -> Integers:
        """Number of the session of each position, int64 [bars]. Where a session is one bar, it is the position."""
        return ordinal if self.slots_per_session == 1 else self._session(ordinal)

    def slot(self, ordinal: Integers) -> Integers:
        """Position inside its session of each position on the grid, from 0, int64 [bars]."""
        if self.slots_per_session == 1:
            return np.zeros_like(ordinal)
        return ordinal - self._first_of(self._session(ordinal))

    def first_of(self, session: Integers) -> Integers:
        """Position on the grid of the first bar of each session, int64 [sessions]."""
        return session if self.slots_per_session == 1 else self._first_of(session)

    def usual_slots(self, session: Integers) -> Integers:
        """Usual number of slots of each session, known when the session begins; int64 [sessions].

        If the hours are known in advance, it is :attr:`slots_per_session`. If they are inferred from the bars, it is
        the length of the longest session before; for the first session it is a whole day.
        """
        return np.full(np.shape(session), self.slots_per_session, dtype=np.int64)

    def knows_slots(self, session: Integers) -> Booleans:
        """Whether the slots of each session count from its opening; bool [sessions].

        It is not known of the first session of intraday hours that are inferred: the history may begin inside it.
        """
        return np.ones(np.shape(session), dtype=bool)

    def followed_by(self, timestamp: Integers) -> Calendar:
        """The calendar extended by later bars; places of earlier bars stay.

        Args:
            timestamp: int64 [bars], ascending, nanoseconds UTC: bars after those that the calendar knows; for an
                exchange, moments that its schedule has to reach.

        Raises:
            BarsError: An exchange has no schedule for that time.
        """
        return self

    @abstractmethod
    def next_start(self, timestamp: int) -> int:
        """Expected start of the bar after a bar, both in nanoseconds UTC."""

    def coming(self, timestamp: int, count: int) -> Integers:
        """Expected starts of ``count`` bars, the given one first: int64 [count], nanoseconds UTC."""
        starts = [timestamp]
        while len(starts) < count:
            starts.append(self.next_start(starts[-1]))
        return np.array(starts, dtype=np.int64)

    def has_start(self, timestamp: int) -> bool:
        """Whether a bar is expected to start then, nanoseconds UTC; inferred calendars extrapolate."""
        return bool(self.contains(np.array([timestamp]))[0])

    @abstractmethod
    def _session(self, ordinal: Integers) -> Integers: ...

    @abstractmethod
    def _first_of(self, session: Integers) -> Integers: ...

    def place(self, timestamp: Integers) -> Placement:
        """Give the grid positions of bar starts.

        Args:
            timestamp: int64 [bars], nanoseconds UTC.

        Returns:
            Ordinals, sessions and slots.

        Raises:
            BarsError: A timestamp is not on the grid.
        """
        inside = self.contains(timestamp)
        if not inside.all():
            raise BarsError(
                f"no bar of the calendar {self.name!r} at {clock(self.frequency)} starts then",
                timestamp=moment(timestamp[np.argmin(inside)]),
                column="timestamp",
                rule="one grid",
            )
        ordinal = self.ordinal(timestamp)
        return Placement(ordinal, self.session(ordinal), self.slot(ordinal))


@dataclass(frozen=True, eq=False)
class RoundTheClock(Calendar):
    """A market that never closes: ``ordinal = timestamp // frequency``, sessions are UTC days.

    Attributes:
        phase: Nanoseconds from whole multiples of the frequency to the bar starts, usually 0.
    """

    phase: int = 0

    def contains(self, timestamp: Integers) -> Booleans:
        """See :meth:`Calendar.contains`."""
        step = self.frequency.value
        if step >= DAY:
            return near_phase(timestamp, step, self.phase)
        return np.asarray((timestamp - self.phase) % step == 0)

    def ordinal(self, timestamp: Integers) -> Integers:
        """See :meth:`Calendar.ordinal`."""
        step = self.frequency.value
        return nearest(timestamp, step, self.phase) if step >= DAY else timestamp // step

    def start_of(self, ordinal: Integers) -> Integers:
        """See :meth:`Calendar.start_of`."""
        return ordinal * self.frequency.value + self.phase

    def next_start(self, timestamp: int) -> int:
        """See :meth:`Calendar.next_start`."""
        step = self.frequency.value
        return (timestamp - self.phase) // step * step + self.phase + step

    def _session(self, ordinal: Integers) -> Integers:
        return (ordinal * self.frequency.value + self.phase) // DAY

    def _first_of(self, session: Integers) -> Integers:
        return -((self.phase - session * DAY) // self.frequency.value)


@dataclass(frozen=True, eq=False)
class Scheduled(Calendar):
    """A market with sessions: the grid is a list of stretches of evenly spaced bars.

    A bar start is looked up by its key: nanoseconds UTC, or the day number of a daily bar. A stretch is a session, or
    the time before or after its break; of daily bars it is the days up to a weekend or a holiday. So the calendar of
    many years is a few thousand numbers.

    Attributes:
        start: int64 [stretches], ascending: key of the first bar of each stretch.
        number: int64 [stretches]: its ordinal.
        count: int64 [stretches]: bars of the stretch.
        opening: int64 [sessions]: ordinal of the first bar of each session; empty where a session is one bar.
        stride: Distance of the keys of neighbouring bars.
        phase: Daily bars: time of day of the stamps in nanoseconds. They may be off by an hour (daylight saving).
        zone: Daily bars of an exchange that are not stamped at midnight UTC: the zone in which their date is read.
    """

    start: Integers = field(repr=False)
    number: Integers = field(repr=False)
    count: Integers = field(repr=False)
    opening: Integers = field(repr=False)
    stride: int
    phase: int = 0
    zone: str | None = None

    def __post_init__(self) -> None:
        """Make every array read-only."""
        for array in (self.start, self.number, self.count, self.opening):
            array.flags.writeable = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled object; pickling forgets that arrays are read-only."""
        self.__dict__.update(state)
        self.__post_init__()

    def start_of(self, ordinal: Integers) -> Integers:
        """See :meth:`Calendar.start_of`."""
        at = np.maximum(np.searchsorted(self.number, ordinal, side="right") - 1, 0)
        key = self.start[at] + (ordinal - self.number[at]) * self.stride
        if self.frequency.value < DAY:
            return np.asarray(key)
        if self.zone is None:
            return np.asarray(key * DAY + self.phase)
        local = pd.DatetimeIndex(key * DAY).tz_localize(self.zone, ambiguous=True, nonexistent="shift_forward")
        return np.asarray(local.as_unit("ns").asi8)

    def next_start(self, timestamp: int) -> int:
        """See :meth:`Calendar.next_start`.

        Raises:
            BarsError: The calendar ends before.
        """
        at, ahead = (int(value[0]) for value in self._look_up(np.array([timestamp])))
        place = ahead // self.stride + 1 if ahead >= 0 else 0
        if place >= self.count[at]:
            at, place = at + 1, 0
        if at == len(self.start):
            raise BarsError(
                f"the calendar {self.name!r} ends before the next bar", timestamp=moment(timestamp), rule="one grid"
            )
        key = int(self.start[at]) + place * self.stride
        if self.frequency.value < DAY:
            return key
        return timestamp + (key - int(self._key(np.array([timestamp]))[0])) * DAY

    def contains(self, timestamp: Integers) -> Booleans:
        """See :meth:`Calendar.contains`."""
        at, ahead = self._look_up(timestamp)
        inside = (ahead >= 0) & (ahead % self.stride == 0) & (ahead // self.stride < self.count[at])
        if self.frequency.value >= DAY and self.zone is None:
            inside &= near_phase(timestamp, DAY, self.phase)
        return np.asarray(inside)

    def ordinal(self, timestamp: Integers) -> Integers:
        """See :meth:`Calendar.ordinal`."""
        at, ahead = self._look_up(timestamp)
        return np.asarray(self.number[at] + ahead // self.stride)

    def _look_up(self, timestamp: Integers) -> tuple[Integers, Integers]:
        """Stretch of each bar start, and distance of its key from the start of the stretch."""
        key = self._key(timestamp)
        at = np.maximum(np.searchsorted(self.start, key, side="right") - 1, 0)
        return at, key - self.start[at]

    def _session(self, ordinal: Integers) -> Integers:
        return np.asarray(np.searchsorted(self.opening, ordinal, side="right") - 1)

    def _first_of(self, session: Integers) -> Integers:
        # The session after the last one would begin after the last bar.
        after = self.number[-1:] + self.count[-1:]
        return np.append(self.opening, after)[np.minimum(session, len(self.opening))]

    def _key(self, timestamp: Integers) -> Integers:
        if self.frequency.value < DAY:
            return timestamp
        if self.zone is None:
            return nearest(timestamp, DAY, self.phase)
        local = pd.DatetimeIndex(timestamp, tz="UTC").tz_convert(self.zone).tz_localize(None)
        return np.asarray(local.as_unit("ns").asi8 // DAY)


@dataclass(frozen=True, eq=False)
class Calendars:
    """The calendars of a table of bars.

    Attributes:
        kinds: The different calendars.
        which: int64 [symbols]: which of them each symbol has.
    """

    kinds: tuple[Calendar, ...]
    which: Integers = field(repr=False)

    def __post_init__(self) -> None:
        """Make the array read-only."""
        self.which.flags.writeable = False

    @classmethod
    def all_of(cls, calendar: Calendar, symbols: int = 1) -> Calendars:
        """One calendar for ``count`` symbols."""
        return cls((calendar,), np.zeros(symbols, dtype=np.int64))

    def take(self, symbols: Integers) -> Calendars:
        """The calendars of some symbols, by number."""
        kept, which = np.unique(self.which[symbols], return_inverse=True)
        return Calendars(tuple(self.kinds[number] for number in kept.tolist()), which.astype(np.int64))


def next_start(calendar: Calendar, timestamp: int) -> int:
    """Start of the next bar; a schedule is extended as far as it needs to be."""
    try:
        return calendar.next_start(timestamp)
    except BarsError:
        return calendar.followed_by(np.array([timestamp + calendar.frequency.value])).next_start(timestamp)


def nearest(timestamp: Integers, step: int, phase: int) -> Integers:
    """Number of the bar with the nearest start; daylight saving moves daily stamps by an hour."""
    return np.asarray((timestamp - phase + step // 2) // step)


def near_phase(timestamp: Integers, step: int, phase: int) -> Booleans:
    """Whether a stamp is within an hour of the usual time."""
    return np.asarray(np.abs((timestamp - phase + step // 2) % step - step // 2) <= HOUR)
