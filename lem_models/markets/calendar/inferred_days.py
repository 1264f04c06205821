"""Dates of daily and longer bars, inferred from the bars.

The market's week is the set of weekdays that usually have a bar. Between daily bars a holiday is not a gap; more than
a week of the market's days without a bar is. Longer bars are usually the same number of the market's days apart; a
step closer to two bars than to one is a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lem_models.markets.calendar.frequency import DAY, length_of, most_common
from lem_models.markets.calendar.kinds import Scheduled, near_phase, nearest

__all__ = ["FEW", "InferredDays", "date_stretches", "days_not_passed", "infer_days"]

Integers = npt.NDArray[np.int64]

FEW = 0.25
"""Share of the bars of the fullest weekday: a weekday with less is an exception, such as a make-up Saturday."""


@dataclass(frozen=True, eq=False, kw_only=True)
class InferredDays(Scheduled):
    """Dates of daily or longer bars, inferred from them.

    Attributes:
        week: The market's days of each week, Thursday first (1970-01-01 was one); bool [7].
        usual: Usual distance of bars, in the market's days.
    """

    week: tuple[bool, ...]
    usual: int

    def followed_by(self, timestamp: Integers) -> InferredDays:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.followed_by`."""
        known = self._last_day
        day = np.unique(nearest(timestamp, DAY, self.phase))
        day = day[day > known]
        if not len(day):
            return self
        last = int(self.number[-1] + self.count[-1] - 1)
        ordinal = last + np.cumsum(1 + _missing(np.diff(day, prepend=known), day, self.week, self.usual, self.stride))
        return replace(
            self,
            start=np.append(self.start, day),
            number=np.append(self.number, ordinal),
            count=np.append(self.count, np.ones(len(day), dtype=np.int64)),
        )

    def next_start(self, timestamp: int) -> int:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.next_start`."""
        is_known = nearest(np.array([timestamp]), DAY, self.phase)[0] < self._last_day
        return super().next_start(timestamp) if is_known else self._expected_after(timestamp)

    @property
    def _last_day(self) -> int:
        return int(self.start[-1]) + (int(self.count[-1]) - 1) * self.stride

    def _expected_after(self, timestamp: int) -> int:
        """The next start if there are no holidays, nanoseconds UTC."""
        if self.stride % 7 == 0:
            return timestamp + self.stride * DAY
        day = int(nearest(np.array([timestamp]), DAY, self.phase)[0])
        following, left = day, self.usual
        while left:
            following += 1
            left -= self.week[following % 7]
        return timestamp + (following - day) * DAY

    def start_of(self, ordinal: Integers) -> Integers:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.start_of`; inside a gap: the expected dates."""
        at = np.maximum(np.searchsorted(self.number, ordinal, side="right") - 1, 0)
        beyond = np.maximum(ordinal - (self.number[at] + self.count[at] - 1), 0)
        starts = super().start_of(ordinal - beyond)
        for place in np.flatnonzero(beyond).tolist():
            for _ in range(int(beyond[place])):
                starts[place] = self._expected_after(int(starts[place]))
        return starts

    def has_start(self, timestamp: int) -> bool:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.has_start`."""
        at = np.array([timestamp])
        return self.week[int(nearest(at, DAY, self.phase)[0]) % 7] and bool(near_phase(at, DAY, self.phase)[0])


def infer_days(union: Integers, step: int, phase: int) -> InferredDays:
    """Dates of daily or longer bars.

    Args:
        union: int64 [starts], all bar starts of the market, ascending, nanoseconds UTC.
        step: Length of a bar, nanoseconds; a day or more.
        phase: Time of day of the stamps, nanoseconds.
    """
    day = np.unique(nearest(union, DAY, phase))
    count = np.bincount(day % 7, minlength=7)
    unseen = days_not_passed(day)
    week = tuple(bool(seen > FEW * count.max()) or number in unseen for number, seen in enumerate(count.tolist()))
    stride = max(1, step // DAY)
    apart = _days_apart(np.diff(day), day[1:], week, stride)
    usual = max(most_common(apart[apart > 0]), 1) if np.any(apart > 0) else 1
    ordinal = np.concatenate([[0], np.cumsum(1 + _missing(np.diff(day), day[1:], week, usual, stride))])
    stretches = date_stretches(day, ordinal, stride)
    return InferredDays(
        "sessions",
        length_of(step),
        1,
        is_session_bound=False,
        opening=np.zeros(0, dtype=np.int64),
        phase=phase,
        week=week,
        usual=usual,
        **stretches,
    )


def days_not_passed(day: Integers, shift: int = 0) -> frozenset[int]:
    """Weekdays from Monday to Friday that a history of a few days does not cover, so that they may be open.

    Args:
        day: int64 [days], ascending; day 0 is a Thursday.
        shift: Days from each to the date that names it.

    Returns:
        Numbers of days modulo 7.
    """
    coming = range(int(day[-1]) + 1, int(day[0]) + 7)
    return frozenset(number % 7 for number in coming if (number + shift + 3) % 7 < 5)


def date_stretches(day: Integers, ordinal: Integers, stride: int) -> dict[str, Any]:
    """Stretches of dates that are ``stride`` days apart, without a gap: start, number, count, and the stride."""
    begins = np.concatenate([[0], np.flatnonzero((np.diff(day) != stride) | (np.diff(ordinal) != 1)) + 1])
    count = np.diff(begins, append=len(day))
    return {"start": day[begins], "number": ordinal[begins], "count": count, "stride": stride}


def _days_apart(distance: Integers, day: Integers, week: tuple[bool, ...], stride: int) -> Integers:
    """Number of the market's days from the date before (exclusive) to each date (inclusive).

    For bars of whole weeks every day counts, because a holiday may move a bar by a day.
    """
    if stride % 7 == 0:
        return distance
    before = np.concatenate([[0], np.cumsum(week)])

    def elapsed(until: Integers) -> Integers:
        return np.asarray(until // 7 * before[-1] + before[until % 7])

    return np.asarray(elapsed(day + 1) - elapsed(day - distance + 1))


def _missing(distance: Integers, day: Integers, week: tuple[bool, ...], usual: int, stride: int) -> Integers:
    """Number of missing bars before each date; 0 where it follows the date before."""
    apart = _days_apart(distance, day, week, stride)
    missing = -((usual - 2 * apart) // (2 * usual)) - 1  # apart / usual rounded to the nearest, halves down, less 1
    # Between daily bars a holiday is not a gap; it may take a whole week of the market.
    tolerated = sum(week) if usual == 1 else 0
    return np.asarray(np.where(missing > tolerated, missing, 0))
