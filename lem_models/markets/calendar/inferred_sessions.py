"""Sessions of intraday bars, inferred from the bars: when sessions begin and end.

A hole in the grid is the end of a session if the trading day changes in it. Any other hole is a gap: a halt, a lunch
break, or missing data. The trading day changes at a time of day at which the market is closed. That time is read on the
clock of the market: of the zones of the major exchanges, the one on which the fewest days begin or end at an unusual
time. A market that is closed only once a week has trading weeks instead.

Slots count from the usual opening, the most common one of the sessions *before*. So a missing first bar is a gap and
does not move other bars, and later bars do not change an earlier session. The opening of the first session is not
known: its slots count from its first bar, so they are left out of averages over slots.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.markets.calendar.frequency import DAY, HOUR, length_of, winner
from lem_models.markets.calendar.inferred_days import FEW, days_not_passed
from lem_models.markets.calendar.kinds import Scheduled

__all__ = [
    "CHANCE",
    "RARE",
    "InferredSessions",
    "SessionClock",
    "infer_clock",
    "infer_sessions",
    "log_choose",
    "never_closes",
]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SECOND = HOUR // 3600
_MANY = 100  # sessions from which the open weekdays are inferred
_WEEK = 7 * DAY
_USUAL = 9  # sessions from which the usual opening is inferred: about two weeks

CHANCE = 1e-3
"""An event with a lower probability is not attributed to chance."""
RARE = 0.05
"""Times of day with a smaller share of the bars of the most usual time count as closed."""

# Opening and closing hours of exchanges in local time. Zones without daylight saving have the same clock as UTC, and
# zones whose clocks change together are one. The hours only decide between clocks that fit the bars equally well: they
# do until one of them changes.
_HOURS: tuple[tuple[str, str, str], ...] = (
    ("America/New_York", "09:30", "16:00"),
    ("America/New_York", "04:00", "20:00"),
    ("America/New_York", "18:00", "17:00"),  # futures
    ("Europe/London", "08:00", "16:30"),  # and 09:00 to 17:30 on the continent
    ("Europe/London", "08:00", "21:00"),
    ("UTC", "00:00", "06:00"),  # Tokyo, 09:00 to 15:00
    ("UTC", "00:00", "06:30"),  # Tokyo and Seoul, 09:00 to 15:30
    ("UTC", "01:00", "09:00"),  # Singapore
    ("UTC", "01:30", "07:00"),  # Shanghai
    ("UTC", "01:30", "08:00"),  # Hong Kong
    ("UTC", "03:45", "10:00"),  # Mumbai
    ("UTC", "07:00", "15:00"),  # Johannesburg
    ("Australia/Sydney", "10:00", "16:00"),
    ("Pacific/Auckland", "10:00", "16:45"),
    ("America/Sao_Paulo", "10:00", "17:00"),
    ("America/Mexico_City", "08:30", "15:00"),
    ("America/Santiago", "09:30", "16:00"),
    ("Asia/Jerusalem", "10:00", "17:15"),
    ("Africa/Cairo", "10:00", "14:30"),
)
_WEEKS = tuple(("America/New_York", time, time) for time in ("17:00", "18:00", "20:00"))
# Trading weeks of currencies and of markets that are open day and night.
ZONES: tuple[str, ...] = ("UTC", *dict.fromkeys(zone for zone, _, _ in _HOURS if zone != "UTC"))
"""Zones on whose clocks sessions are read, one for each rule of daylight saving."""


@dataclass(frozen=True)
class SessionClock:
    """The time at which a trading day, or a trading week, of a market ends and the next begins.

    Attributes:
        zone: The zone in which the market's hours stay the same through daylight saving.
        closing: Time of day at which the market is closed, nanoseconds after midnight in the zone; for a market that
            closes once a week, nanoseconds after midnight of Monday.
        cycle: Length of a trading day or week, nanoseconds.
    """

    zone: str
    closing: int
    cycle: int = DAY

    def since_closing(self, timestamp: Integers) -> tuple[Integers, Integers]:
        """Number of the trading day of each moment, and nanoseconds since that day began; int64 [moments] each."""
        day, since = np.divmod(local_time(timestamp, self.zone) - self._origin, self.cycle)
        return day, since

    def moment(self, day: int, since: int) -> int:
        """The moment ``since`` nanoseconds after a trading day began, in nanoseconds UTC."""
        local = pd.Timestamp(day * self.cycle + self._origin + since, unit="ns")
        moment = local.tz_localize(self.zone, ambiguous=True, nonexistent="shift_forward")
        return int(moment.as_unit("ns").value)

    @property
    def _origin(self) -> int:
        # Nanoseconds from 1970-01-01, a Thursday, to the Monday before it.
        return self.closing - (3 * DAY if self.cycle == _WEEK else 0)


def local_time(timestamp: Integers, zone: str) -> Integers:
    """Wall-clock time in a zone, nanoseconds since 1970-01-01 on that clock, int64 [moments]."""
    if zone == "UTC":
        return timestamp
    local = pd.DatetimeIndex(timestamp, tz="UTC").tz_convert(zone).tz_localize(None)
    return np.asarray(local.as_unit("ns").asi8)


@dataclass(frozen=True, eq=False, kw_only=True)
class InferredSessions(Scheduled):
    """Sessions inferred from intraday bars; each session is one stretch of the grid.

    Attributes:
        clock: When trading days change.
        opened: int64 [sessions]: start of the first bar of each session, at or after the start of the session.
        last: Start of the last known bar.
    """

    clock: SessionClock
    opened: Integers = field(repr=False)
    last: int

    def followed_by(self, timestamp: Integers) -> InferredSessions:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.followed_by`."""
        step = self.frequency.value
        later = timestamp[timestamp > self.last]
        if not len(later):
            return self
        added = _sessions_of(np.append(self.last, later), step, self.clock, self.opened)
        # The first of these continues the last session.
        begin, opened, last_bar = (array[1:] for array in added)
        ahead = int(added[2][0]) - int(self.start[-1])
        count = self.count.copy()
        if ahead % step == 0:
            count[-1] = max(int(count[-1]), ahead // step + 1)
        start = np.append(self.start, begin)
        count = np.append(count, (last_bar - begin) // step + 1)
        number = np.cumsum(count) - count + self.number[0]
        return replace(
            self,
            slots_per_session=int(count.max()),
            start=start,
            number=number,
            count=count,
            opening=number,
            opened=np.append(self.opened, opened),
            last=int(later[-1]),
        )

    def next_start(self, timestamp: int) -> int:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.next_start`."""
        step = self.frequency.value
        day, since = self._day_of(timestamp)
        opening = self._usual_opening(timestamp)
        usual_closing = opening + self.slots_per_session * step
        if opening <= since + step < usual_closing and self._day_of(timestamp + step)[0] == day:
            return timestamp + step
        following = day if since < opening and self._has_session(day) else day + 1
        while not self._has_session(following):
            following += 1
        return self.clock.moment(following, opening)

    def coming(self, timestamp: int, count: int) -> Integers:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.coming`."""
        step = self.frequency.value
        _, since = self._day_of(timestamp)
        last = since + (count - 1) * step
        if last < min(self._usual_opening(timestamp) + self.slots_per_session * step, self.clock.cycle):
            return timestamp + np.arange(count) * step  # all in one session
        return super().coming(timestamp, count)

    def has_start(self, timestamp: int) -> bool:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.has_start`."""
        step = self.frequency.value
        day, since = self._day_of(timestamp)
        late = since - self._usual_opening(timestamp)
        return self._has_session(day) and late % step == 0 and 0 <= late < self.slots_per_session * step

    def _day_of(self, timestamp: int) -> tuple[int, int]:
        day, since = self.clock.since_closing(np.array([timestamp]))
        return int(day[0]), int(since[0])

    def _has_session(self, day: int) -> bool:
        """Whether recent trading days of this weekday had sessions."""
        return self.clock.cycle != DAY or day % 7 in self._weekdays

    @cached_property
    def _weekdays(self) -> frozenset[int]:
        days = self.clock.since_closing(self.start[-_MANY:])[0]
        # The date of a trading day is that of its middle: futures of a Monday open on Sunday evening.
        shift = (self.clock.closing + DAY // 2) // DAY
        return frozenset((days % 7).tolist()) | days_not_passed(days, shift)

    def _usual_opening(self, timestamp: int) -> int:
        """The usual opening of the sessions up to a moment, in nanoseconds since the trading day began."""
        session = max(int(np.searchsorted(self.start, timestamp, side="right")), 1)
        kept = self.opened[max(session - _USUAL, 0) : session]
        return _most_usual(self.clock.since_closing(kept)[1].tolist())

    def knows_slots(self, session: Integers) -> npt.NDArray[np.bool_]:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.knows_slots`."""
        return np.asarray(session) > 0

    def usual_slots(self, session: Integers) -> Integers:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.usual_slots`."""
        longest = np.maximum.accumulate(self.count)
        return np.asarray(np.append(DAY // self.frequency.value, longest)[np.clip(session, 0, len(longest))])


def infer_sessions(union: Integers, step: int) -> InferredSessions:
    """Sessions of intraday bars.

    Args:
        union: int64 [starts], all bar starts of the market, ascending, nanoseconds UTC.
        step: Length of a bar, nanoseconds.
    """
    clock = infer_clock(union, step)
    begin, opened, last = _sessions_of(union, step, clock, union[:0])
    count = (last - begin) // step + 1
    number = np.cumsum(count) - count
    return InferredSessions(
        "sessions",
        length_of(step),
        int(count.max()),
        is_session_bound=True,
        start=begin,
        number=number,
        count=count,
        opening=number,
        stride=step,
        clock=clock,
        opened=opened,
        last=int(union[-1]),
    )


def infer_clock(union: Integers, step: int) -> SessionClock:
    """Infer the clock on which the market keeps its hours, and the time at which its trading days change.

    It is the clock on which the fewest trading days begin or end at an unusual time. Between clocks that fit equally
    well, the hours of a known exchange decide.

    Args:
        union: int64 [starts], all bar starts of the market, ascending, nanoseconds UTC.
        step: Length of a bar, nanoseconds.
    """
    for cycle in (DAY, _WEEK):
        candidates = []
        for zones in _alike(union):
            clock, opening, length = _clock_of(union, step, cycle, next(iter(zones)))
            if length <= step:
                continue  # the market is never closed, on this clock
            unusual = _unusual_days(union, clock)
            for zone, ahead in zones.items():
                known = _unlikeliness(zone, (opening + ahead) % cycle, length, step, cycle)
                moved = SessionClock(zone, (clock.closing + ahead) % cycle, cycle)
                candidates.append((unusual, known, ZONES.index(zone), moved))
        if candidates:
            return min(candidates, key=lambda candidate: candidate[:3])[3]
    return SessionClock("UTC", 0)


def _alike(union: Integers) -> list[dict[str, int]]:
    """Groups of zones whose clocks keep their distance over the bars: nanoseconds ahead of the first zone, by zone."""
    noons = np.unique(union // DAY) * DAY + DAY // 2
    groups: dict[bytes, dict[str, int]] = {}
    for zone in ZONES:
        ahead = local_time(noons, zone) - noons
        groups.setdefault((ahead - ahead[0]).tobytes(), {})[zone] = int(ahead[0])
    return [{zone: ahead - next(iter(zones.values())) for zone, ahead in zones.items()} for zones in groups.values()]


def _clock_of(union: Integers, step: int, cycle: int, zone: str) -> tuple[SessionClock, int, int]:
    """The clock of a zone, the usual opening after the longest closed time, and the length of that time."""
    local = local_time(union, zone) + (3 * DAY if cycle == _WEEK else 0)
    count = np.bincount(local % cycle // _SECOND)
    usual = np.flatnonzero(count > RARE * count.max()) * _SECOND
    before = np.diff(usual, prepend=usual[-1] - cycle)
    longest = int(np.argmax(before))
    opening, length = int(usual[longest]), int(before[longest])
    return SessionClock(zone, (opening - (length - step) // 2) % cycle, cycle), opening, length


def _unusual_days(union: Integers, clock: SessionClock) -> int:
    """Trading days with an unusual first bar, plus those with an unusual last bar, without the ends of the table."""
    day, since = clock.since_closing(union)
    ends = np.flatnonzero(np.diff(day))
    return sum(
        len(times) - int(np.unique(times, return_counts=True)[1].max(initial=0))
        for times in (since[ends + 1], since[ends])
    )


def _unlikeliness(zone: str, opening: int, length: int, step: int, cycle: int) -> int:
    """0 for the hours of a known exchange, 1 for its opening alone, 2 for UTC, 3 for any other clock."""
    closing = opening - length + step
    rank = 3 - (zone == "UTC")
    for name, opens, closes in _HOURS if cycle == DAY else _WEEKS:
        if name == zone and _is_near(opening, opens, step):
            rank = min(rank, 0 if _is_near(closing, closes, step) else 1)
    return rank


def _is_near(time: int, named: str, step: int) -> bool:
    hours, minutes = named.split(":")
    distance = (time - (int(hours) * 60 + int(minutes)) * 60 * _SECOND + DAY // 2) % DAY - DAY // 2
    return -step < distance < step


def _sessions_of(
    union: Integers, step: int, clock: SessionClock, opened: Integers
) -> tuple[Integers, Integers, Integers]:
    """Sessions of bar starts: the start of each on the grid, its first bar, and its last bar on the grid.

    Args:
        union: int64 [starts], ascending.
        step: Length of a bar.
        clock: When trading days change.
        opened: First bars of the sessions before; if there are any, the first start lies in the last of these.
    """
    day, since = clock.since_closing(union)
    closes = (np.diff(union) > step) & (np.diff(day) > 0)
    begins = np.concatenate([[0], np.flatnonzero(closes) + 1])
    first = union[begins]
    openings = clock.since_closing(opened[-_USUAL:])[1].tolist()
    begin = first.copy()
    for number, opening in enumerate(since[begins].tolist()):
        if number == 0 and openings:
            continue
        late = opening - _most_usual(openings) if openings else 0
        if late > 0 and late % step == 0:
            begin[number] -= late
        openings = [*openings[1 - _USUAL :], opening]
    # A bar that does not start whole steps after the start of its session is not on the grid, and is refused later.
    ahead = union - np.repeat(begin, np.diff(begins, append=len(union)))
    last_slot = np.maximum.reduceat(np.where(ahead % step == 0, ahead // step, 0), begins)
    return begin, first, begin + last_slot * step


def _most_usual(openings: Sequence[int]) -> int:
    """The most common time since the trading day began, the earliest of several."""
    return winner(Counter(openings))


def never_closes(union: Integers, step: int) -> bool:
    """Whether there are bars round the clock and at weekends.

    Only days that lie wholly between the first and the last bar count. Saturdays after a Friday with bars must be at
    least half full, as the median day; without such a Saturday the days must be nearly full. No time of day may be
    missing on all days, beyond chance. A table shorter than that must span a whole day nearly without holes. Daily bars
    must lie on all weekdays. Bars longer than a day must be whole steps apart, and start at weekends as often as on
    other days.

    Args:
        union: int64 [starts], all bar starts of the market, ascending, nanoseconds UTC.
        step: Length of a bar, nanoseconds.
    """
    if step > DAY:
        steps, weekend = np.diff(union), (union // DAY + 3) % 7 >= 5  # 1970-01-01 was a Thursday
        is_even = len(union) > 7 and np.mean(steps % step == 0) > 0.9 and np.mean(steps == step) > 0.9
        return bool(step % _WEEK and is_even and np.mean(weekend) > 0.2)
    first, last = union[0] // DAY, union[-1] // DAY
    per_day = max(1.0, DAY / step)
    if last - first < 2:
        span = union[-1] - union[0] + step
        return bool(step < DAY <= span and len(union) >= 0.9 * span / step)
    if step == DAY and last - first >= 14:
        count = np.bincount(union // DAY % 7, minlength=7)
        if np.any(count <= FEW * count.max()):
            return False
    fill = np.diff(np.searchsorted(union, np.arange(first + 1, last + 1) * DAY)) / per_day
    weekday = (np.arange(first + 1, last) + 3) % 7
    open_days = fill > 0
    if step < DAY and open_days.any() and _has_pause(union, step, fill[open_days]):
        return False
    after_open_friday = (weekday == 5) & np.concatenate([[True], open_days[:-1]])
    if after_open_friday.any():
        return bool(np.median(fill[after_open_friday]) >= 0.5 and np.median(fill[open_days]) >= 0.5)
    return bool(step < DAY and open_days.any() and np.median(fill[open_days]) >= 0.9)


def _has_pause(union: Integers, step: int, fill: Floats) -> bool:
    """Whether times of day lack their bar on all days, beyond chance."""
    slots = DAY // step
    absent = slots - len(np.unique(union % DAY))
    if DAY % step or absent <= 0:
        return False
    missing = math.log(max(1.0 - float(np.mean(fill)), 1e-9))
    return len(fill) * absent * missing + log_choose(slots, absent) < math.log(CHANCE)


def log_choose(count: int, chosen: int) -> float:
    """Logarithm of the number of ways to choose ``chosen`` of ``count``."""
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)
