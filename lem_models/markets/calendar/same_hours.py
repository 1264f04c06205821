"""Symbols of a table that keep the same hours: one calendar is inferred from all their bars."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lem_models.markets.calendar.frequency import DAY, symbol_groups
from lem_models.markets.calendar.inferred_sessions import (
    CHANCE,
    RARE,
    SessionClock,
    infer_clock,
    log_choose,
    never_closes,
)

__all__ = ["same_hours", "union_of"]

Integers = npt.NDArray[np.int64]

_ENDS = 10  # bars that may define the hours themselves
_MARKETS = 3  # with the same hours; more of them among few symbols mean that days are missing at random


def same_hours(members: Integers, offsets: Integers, timestamp: Integers, step: int) -> list[Integers]:
    """Group symbols by the hours of the week and the trading days that they keep, the most complete group first.

    A symbol joins a group if its bars lie in the hours of the group, and if the hours that it leaves out may be missing
    by chance. A stock beside pairs that trade at night gets its own hours. A pair with few bars does not.
    """
    if len(members) == 1:
        return [members]
    union = union_of(members, offsets, timestamp)
    first, last = offsets[members], offsets[members + 1] - 1
    # Places of each symbol's first and last bar among all bar starts: a complete symbol has every bar between them.
    begin, end = np.searchsorted(union, timestamp[first]), np.searchsorted(union, timestamp[last])
    is_complete = last - first >= 0.999 * (end - begin)
    if is_complete.all():
        return [members]
    is_complete &= 2 * (timestamp[last] - timestamp[first]) >= union[-1] - union[0]
    groups: list[_Hours] = []
    if is_complete.any():
        whole = members[is_complete]
        groups.append(_Hours.of(whole.tolist(), union_of(whole, offsets, timestamp), union, step))
    rest = members[~is_complete]
    for number in rest[np.argsort(-(offsets[rest + 1] - offsets[rest]), kind="stable")].tolist():
        mine = timestamp[offsets[number] : offsets[number + 1]]
        rows = np.searchsorted(union, mine)
        fitting = [group for group in groups if group.are_kept_by(rows)]
        if fitting:
            min(fitting, key=lambda group: group.length).members.append(number)
        else:
            groups.append(_Hours.of([number], mine, union, step))
    markets = [market for group in groups for market in group.by_trading_days(offsets, timestamp, union)]
    return [np.sort(np.array(numbers, dtype=np.int64)) for numbers in markets]


@dataclass(frozen=True, eq=False)
class _Hours:
    """When some symbols trade, on the clock of their market.

    Attributes:
        members: Numbers of the symbols.
        days: Days of the trading week that usually have bars; one if a trading day is a week.
        first: Usual start of the first bar, nanoseconds since the trading day began.
        last: Usual start of the last bar.
        step: Length of a bar.
        never_closes: Whether there are bars round the clock.
        day: int64 [all bar starts], trading day of each, on this clock.
        since: int64 [all bar starts], nanoseconds since it began.
        fits: bool [all bar starts], whether it lies in the hours, whole bars after a bar of the group.
    """

    members: list[int]
    days: frozenset[int]
    first: int
    last: int
    step: int
    never_closes: bool
    day: Integers
    since: Integers
    fits: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, members: list[int], starts: Integers, union: Integers, step: int) -> _Hours:
        """The hours of the symbols with these bar starts; ``union`` are the bar starts of all symbols."""
        clock = infer_clock(starts, step) if step < DAY else SessionClock("UTC", 0)
        day, since = clock.since_closing(union)
        rows = np.searchsorted(union, starts)
        times, days = _usual(since[rows]), frozenset(_usual(day[rows] % 7))
        first, last = min(times), max(times)
        fits = np.isin(day % 7, list(days)) & (since >= first) & (since <= last)
        fits &= np.isin(union % step, np.unique(starts % step))
        closes = not never_closes(starts, step)
        return cls(members, days, first, last, step, not closes, day, since, fits)

    @property
    def length(self) -> int:
        """Nanoseconds of a trading week that are open."""
        return len(self.days) * (self.last - self.first + self.step)

    def are_kept_by(self, rows: Integers) -> bool:
        """Whether a symbol keeps these hours, from the places of its bar starts among all."""
        inside = self.fits[rows]
        if np.mean(inside) < 0.99:
            return False
        day, since = self.day[rows], self.since[rows]
        earliest, latest = int(since[inside].min()), int(since[inside].max())
        traded = np.unique(day[inside])
        if earliest <= self.first and latest >= self.last and len(np.unique(traded % 7)) == len(self.days):
            return True
        # How many places its trading days have in the hours, and how many of them lie in its own hours; days likewise.
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        all_days, all_since = self.day[span], self.since[span]
        possible = np.isin(all_days, traded) & self.fits[span]
        own = possible & (all_since >= earliest) & (all_since <= latest)
        open_days = np.unique(all_days[self.fits[span]])
        own_days = int(np.isin(open_days % 7, np.unique(traded % 7)).sum())
        chance = _log_chance(len(rows), int(own.sum()), int(possible.sum()))
        return bool(chance + _log_chance(len(traded), own_days, len(open_days)) > math.log(CHANCE))

    def by_trading_days(self, offsets: Integers, timestamp: Integers, union: Integers) -> list[list[int]]:
        """Split the symbols by market: symbols of two exchanges each lack days that the other has.

        Only days count that many symbols have and many lack. A symbol whose days are a subset of its market's days has
        gaps. If nearly every symbol lacks other days, all of them have gaps.
        """
        if self.never_closes or len(self.members) == 1:
            return [self.members]
        days = {
            number: np.unique(self.day[np.searchsorted(union, timestamp[offsets[number] : offsets[number + 1]])])
            for number in self.members
        }
        contested = _contested_days(list(days.values()))
        if not len(contested):
            return [self.members]
        markets: list[tuple[list[int], Integers, Integers]] = []
        for number in sorted(self.members, key=lambda number: -len(days[number])):
            mine = days[number]
            own = np.intersect1d(mine, contested)
            for numbers, seed, theirs in markets:
                low, high = max(mine[0], seed[0]), min(mine[-1], seed[-1])
                here, there = (side[(side >= low) & (side <= high)] for side in (own, theirs))
                if not (len(np.setdiff1d(here, there)) and len(np.setdiff1d(there, here))):
                    numbers.append(number)
                    break
            else:
                markets.append(([number], mine, own))
                if len(markets) > max(_MARKETS, len(self.members) // 4):
                    return [self.members]
        return [numbers for numbers, _, _ in markets]


def _contested_days(days: list[Integers]) -> Integers:
    """Days that at least a tenth of the symbols active then have, and at least a tenth lack."""
    every, count = np.unique(np.concatenate(days), return_counts=True)
    begins = np.sort([mine[0] for mine in days])
    ends = np.sort([mine[-1] for mine in days])
    active = np.searchsorted(begins, every, side="right") - np.searchsorted(ends, every, side="left")
    return every[(count >= 0.1 * active) & (count <= 0.9 * active)]


def _log_chance(bars: int, own: int, possible: int) -> float:
    """Logarithm of the chance that all bars, at random places, lie in ``own`` of the ``possible`` places.

    The chance counts less for few bars, because some of them define the hours that they are compared with.
    """
    bars, own = min(bars, own), min(own, possible)
    chance = log_choose(own, bars) - log_choose(possible, bars)
    return chance if 10 * bars >= 9 * own else chance * max(bars - _ENDS, 0) / bars


def _usual(values: Integers) -> list[int]:
    """Values that are not rare."""
    distinct, count = np.unique(values, return_counts=True)
    kept: list[int] = distinct[count > RARE * count.max()].tolist()
    return kept


def union_of(members: Integers, offsets: Integers, timestamp: Integers) -> Integers:
    """Distinct bar starts of some symbols, ascending; memory is that of the result."""
    union = np.zeros(0, dtype=np.int64)
    whole = len(members) == len(offsets) - 1
    # Neighbouring symbols are processed together, which is much faster for many small ones.
    groups = symbol_groups(offsets) if whole else ((number, number + 1) for number in members.tolist())
    for first, last in groups:
        mine = timestamp[offsets[first] : offsets[last]]
        if last - first > 1:
            mine = np.unique(mine)
        if len(union):
            mine = mine[union[np.minimum(np.searchsorted(union, mine), len(union) - 1)] != mine]
        if len(mine):
            union = np.sort(np.concatenate([union, mine]), kind="stable") if len(union) else mine
    return union
