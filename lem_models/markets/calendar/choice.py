"""Market calendars: the grid that bars lie on, so that a gap can be told from a night.

A calendar gives every bar three numbers:

- ``ordinal``: its position on the market's grid. Bars that follow each other without a gap differ by exactly 1, over a
  night or a weekend too; a missing bar leaves its number out.
- ``session``: the number of its trading session (the UTC day of a market that never closes).
- ``slot``: its position inside the session, from 0.

Three kinds exist:

- ``"24/7"``: ``ordinal = timestamp // frequency``, sessions are UTC days.
- ``"sessions"``: inferred from the bars (:mod:`lem_models.markets.calendar.inference`). The grid is the union of the
  timestamps of all symbols that keep the same hours. A session that *none* of them has cannot be seen.
- an exchange code such as ``"XNYS"``: sessions, half days and lunch breaks from the schedules of the library
  ``exchange_calendars``; a bar outside the schedule is refused, a session that is missing is seen.

Symbols of one table may have different calendars: given by symbol, or inferred where their bars show it.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, UnknownNameError
from lem_models.guard.text import shown
from lem_models.markets.calendar.frequency import (
    DAY,
    GROUP,
    clock,
    count_values,
    infer_frequency,
    length_of,
    moment,
    symbol_groups,
    symbol_of,
    winner,
)
from lem_models.markets.calendar.inference import (
    CHANCE,
    RARE,
    InferredSessions,
    SessionClock,
    date_stretches,
    infer_clock,
    infer_days,
    infer_sessions,
    log_choose,
    never_closes,
)
from lem_models.markets.calendar.kinds import Calendar, Placement, RoundTheClock, Scheduled

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

__all__ = [
    "CALENDAR_COLUMN",
    "Calendar",
    "CalendarChoice",
    "Calendars",
    "Exchange",
    "Placement",
    "RoundTheClock",
    "Scheduled",
    "build_calendars",
    "calendar_column",
    "check_calendar_names",
    "check_on_grid",
]

Integers = npt.NDArray[np.int64]
CalendarChoice: TypeAlias = "str | Mapping[str, str]"
"""Name of a calendar for all symbols, or names by symbol; symbols that a mapping leaves out are inferred."""

CALENDAR_COLUMN = "calendar"
"""Column of a table of bars that names each symbol's calendar, where the caller names none."""
_OWN = ("auto", "24/7", "sessions")
_MARGIN = pd.Timedelta(days=21)  # around the bars of an exchange: more than its longest holiday
_DAY = pd.Timedelta(days=1)
_ENDS = 10  # bars
_MARKETS = 3  # that have the same hours; with more of them in few symbols, days are missing at random


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
        """One calendar for so many symbols."""
        return cls((calendar,), np.zeros(symbols, dtype=np.int64))

    def take(self, symbols: Integers) -> Calendars:
        """The calendars of some symbols, by number."""
        kept, which = np.unique(self.which[symbols], return_inverse=True)
        return Calendars(tuple(self.kinds[number] for number in kept.tolist()), which.astype(np.int64))


def build_calendars(
    calendar: CalendarChoice,
    symbols: tuple[str, ...],
    offsets: Integers,
    timestamp: Integers,
    frequency: pd.Timedelta | None = None,
) -> Calendars:
    """Build the calendars of a table of bars and check that every bar lies on its grid.

    Args:
        calendar: ``"auto"``, ``"24/7"``, ``"sessions"``, or an exchange code (``"XNYS"``), for all symbols or by
            symbol.
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1]; the rows of symbol ``i`` are ``offsets[i]:offsets[i + 1]``.
        timestamp: int64 [bars], nanoseconds UTC, symbol-major, ascending inside a symbol.
        frequency: Length of a bar; inferred when ``None``.

    Returns:
        The calendars. ``place(timestamp)`` of a symbol's calendar works for all of its bars.

    Raises:
        BarsError: The bars do not have one frequency, a bar is not on the grid, or a calendar is given for a symbol
            without bars.
        UnknownNameError: There is no calendar of this name.
    """
    names = _names_by_symbol(calendar, symbols)
    if frequency is None:
        frequency = infer_frequency(symbols, offsets, timestamp)
    step = frequency.as_unit("ns").value
    kinds: list[Calendar] = []
    which = np.zeros(len(symbols), dtype=np.int64)
    for name in dict.fromkeys(names):
        named = np.flatnonzero(np.array([one == name for one in names]))
        groups = _same_hours(named, offsets, timestamp, step) if name in ("auto", "sessions") else [named]
        for members in groups:
            which[members] = len(kinds)
            kinds.append(_built(name, _union(members, offsets, timestamp), step))
    calendars = Calendars(tuple(kinds), which)
    check_on_grid(calendars, symbols, offsets, timestamp)
    return calendars


def calendar_column(column: pd.Series, symbols: tuple[str, ...], offsets: Integers) -> dict[str, str]:
    """Names of calendars by symbol, from a column of a table of bars; symbols without a name are left out.

    Args:
        column: The column, symbol-major.
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1].

    Raises:
        BarsError: A symbol has several names, or a value is no text.
    """
    codes, names = pd.factorize(column)
    for name in names:
        if not isinstance(name, str):
            raise BarsError(
                f"the column of calendars holds {shown(name)}, a calendar is a name such as 'XNYS'",
                column=CALENDAR_COLUMN,
                rule="calendar",
            )
    lowest, highest = np.minimum.reduceat(codes, offsets[:-1]), np.maximum.reduceat(codes, offsets[:-1])
    several = np.flatnonzero(lowest != highest)
    if len(several):
        raise BarsError(
            "the symbol has several calendars in one table; give it one name on every row",
            symbol=symbols[several[0]],
            column=CALENDAR_COLUMN,
            rule="calendar",
        )
    return {symbol: str(names[code]) for symbol, code in zip(symbols, highest.tolist(), strict=True) if code >= 0}


def check_calendar_names(calendar: CalendarChoice) -> None:
    """Refuse names that :func:`build_calendars` does not know.

    Raises:
        UnknownNameError: There is no calendar of this name.
        BarsError: It is neither a name nor a mapping from symbols to names.
    """
    names = list(calendar.values()) if isinstance(calendar, Mapping) else [calendar]
    for name in names:
        if not isinstance(name, str):
            raise BarsError(
                f"a calendar is a name such as 'XNYS', or a mapping from symbols to names; got {name!r}",
                rule="calendar",
            )
        if name in _OWN:
            continue
        import exchange_calendars

        known = [*_OWN, *exchange_calendars.get_calendar_names()]
        if name not in known:
            raise UnknownNameError.among("calendar", name, known)


def _names_by_symbol(calendar: CalendarChoice, symbols: tuple[str, ...]) -> list[str]:
    check_calendar_names(calendar)
    if isinstance(calendar, str):
        return [calendar] * len(symbols)
    for symbol in calendar:
        if symbol not in symbols:
            raise BarsError(
                f"a calendar is given for a symbol without bars; there are {', '.join(symbols[:5])}"
                + (" and others" if len(symbols) > 5 else ""),
                symbol=str(symbol),
                rule="calendar",
            )
    return [calendar.get(symbol, "auto") for symbol in symbols]


def _built(name: str, union: Integers, step: int) -> Calendar:
    """The calendar of this name for symbols that have these bar starts together."""
    if name == "24/7" or (name == "auto" and never_closes(union, step)):
        slots = max(1, -(-DAY // step))
        return RoundTheClock("24/7", length_of(step), slots, is_session_bound=False, phase=_phase(union, step))
    if name in ("auto", "sessions"):
        return infer_days(union, step, _phase(union, DAY)) if step >= DAY else infer_sessions(union, step)
    return Exchange.of(name, int(union[0]), int(union[-1]), step, at_midnight=bool(np.all(union % DAY == 0)))


def check_on_grid(calendars: Calendars, symbols: tuple[str, ...], offsets: Integers, timestamp: Integers) -> None:
    """Refuse bars that do not start on the grid of their symbol's calendar, and two in one place of it.

    Args:
        calendars: The calendars of the symbols.
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1].
        timestamp: int64 [bars], symbol-major, ascending inside a symbol.

    Raises:
        BarsError: The first such bar of the first symbol that has one, and how many of its calendar there are.
    """
    for kind, calendar in enumerate(calendars.kinds):
        outside, first = 0, None
        for begin, end in _pieces(calendars, kind, offsets):
            inside = calendar.contains(timestamp[begin:end])
            if not inside.all():
                outside += int(np.sum(~inside))
                first = begin + int(np.argmin(inside)) if first is None else first
        if first is not None:
            members = calendars.which == kind
            raise BarsError(
                f"the bar does not start on the grid of the calendar {calendar.name!r} at "
                f"{clock(calendar.frequency)}; {outside:,} of {int(np.diff(offsets)[members].sum()):,} bars do not"
                + (
                    "; if the market has breaks of its own, name the exchange: calendar='XTKS' (--calendar XTKS), say"
                    if isinstance(calendar, InferredSessions)
                    else ""
                ),
                symbol=symbol_of(symbols, offsets, first),
                timestamp=moment(timestamp[first]),
                column="timestamp",
                rule="one grid",
            )
        if calendar.frequency.value < DAY:
            continue  # the grid is the bar starts themselves
        for begin, end in _pieces(calendars, kind, offsets):
            begin = max(begin - 1, 0)  # across the border of two pieces too
            step = np.diff(calendar.ordinal(timestamp[begin:end]))
            borders = offsets[(offsets > begin) & (offsets < end)]
            step[borders - 1 - begin] = 1
            if np.any(step <= 0):
                row = begin + int(np.argmax(step <= 0)) + 1
                raise BarsError(
                    f"two bars of one symbol fall on one {clock(calendar.frequency)} bar of the calendar "
                    f"{calendar.name!r}",
                    symbol=symbol_of(symbols, offsets, row),
                    timestamp=moment(timestamp[row]),
                    column="timestamp",
                    rule="one frequency",
                )


def _pieces(calendars: Calendars, kind: int, offsets: Integers) -> Iterator[tuple[int, int]]:
    """Rows of the symbols that have one of the calendars, piece by piece: first, and one past the last."""
    if len(calendars.kinds) == 1:
        ranges = [(0, int(offsets[-1]))]
    else:
        members = np.flatnonzero(calendars.which == kind)
        ranges = list(zip(offsets[members].tolist(), offsets[members + 1].tolist(), strict=True))
    for begin, end in ranges:
        for first in range(begin, end, GROUP):
            yield first, min(first + GROUP, end)


# --- symbols that keep the same hours --------------------------------------------------------------------------------


def _same_hours(members: Integers, offsets: Integers, timestamp: Integers, step: int) -> list[Integers]:
    """Symbols by the hours of the week that they keep, and by their trading days; the most complete ones first.

    A symbol keeps the hours of a group if its bars lie in them, and if it would be no coincidence that they leave out
    some of them: a stock beside pairs that trade at night has hours of its own, a pair with few bars does not.
    """
    if len(members) == 1:
        return [members]
    union = _union(members, offsets, timestamp)
    first, last = offsets[members], offsets[members + 1] - 1
    # The places of a symbol's first and last bar among all: it is complete if it has all bars between.
    begin, end = np.searchsorted(union, timestamp[first]), np.searchsorted(union, timestamp[last])
    is_complete = last - first >= 0.999 * (end - begin)
    if is_complete.all():
        return [members]
    is_complete &= 2 * (timestamp[last] - timestamp[first]) >= union[-1] - union[0]
    groups: list[_Hours] = []
    if is_complete.any():
        whole = members[is_complete]
        groups.append(_Hours.of(whole.tolist(), _union(whole, offsets, timestamp), union, step))
    rest = members[~is_complete]
    for number in rest[np.argsort(-(offsets[rest + 1] - offsets[rest]), kind="stable")].tolist():
        mine = timestamp[offsets[number] : offsets[number + 1]]
        rows = np.searchsorted(union, mine)
        fitting = [group for group in groups if group.are_kept_by(rows)]
        if fitting:
            min(fitting, key=lambda group: group.length).members.append(number)
        else:
            groups.append(_Hours.of([number], mine, union, step))
    parts = [part for group in groups for part in group.by_trading_days(offsets, timestamp, union)]
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts]


@dataclass(frozen=True, eq=False)
class _Hours:
    """When some symbols trade, on the clock of their market.

    Attributes:
        members: Numbers of the symbols.
        days: Days of the trading week that usually have bars; one where a trading day is a week.
        first: Usual start of the first bar, nanoseconds since the trading day began.
        last: Usual start of the last bar.
        step: Length of a bar.
        never_closes: Whether there are bars round the clock.
        day: int64 [all bar starts], trading day of each, on this clock.
        since: int64 [all bar starts], nanoseconds since it began.
        fits: bool [all bar starts], whether it lies in the hours, whole bars from those of the group.
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
        """The hours of symbols that have these bar starts together; ``union`` are those of all symbols."""
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
        # Of the hours on its trading days, and of the days in its time: how many there are, and how many it keeps to.
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        all_days, all_since = self.day[span], self.since[span]
        possible = np.isin(all_days, traded) & self.fits[span]
        own = possible & (all_since >= earliest) & (all_since <= latest)
        open_days = np.unique(all_days[self.fits[span]])
        own_days = int(np.isin(open_days % 7, np.unique(traded % 7)).sum())
        chance = _log_chance(len(rows), int(own.sum()), int(possible.sum()))
        return bool(chance + _log_chance(len(traded), own_days, len(open_days)) > math.log(CHANCE))

    def by_trading_days(self, offsets: Integers, timestamp: Integers, union: Integers) -> list[list[int]]:
        """The symbols by market: those of two exchanges each lack days that the other has.

        Only days count that many symbols have and many lack. A symbol that lacks days, and has none that its market
        lacks, has gaps; and so have symbols of which nearly everyone lacks other days.
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
    """Days that a tenth or more of the symbols have, and a tenth or more lack, of those that have days around them."""
    every, count = np.unique(np.concatenate(days), return_counts=True)
    begins = np.sort([mine[0] for mine in days])
    ends = np.sort([mine[-1] for mine in days])
    active = np.searchsorted(begins, every, side="right") - np.searchsorted(ends, every, side="left")
    return every[(count >= 0.1 * active) & (count <= 0.9 * active)]


def _log_chance(bars: int, own: int, possible: int) -> float:
    """Logarithm of the chance that bars at random places all lie among ``own`` of the ``possible`` ones.

    Few bars say less: some of them make up the hours that they are held against.
    """
    bars, own = min(bars, own), min(own, possible)
    chance = log_choose(own, bars) - log_choose(possible, bars)
    return chance if 10 * bars >= 9 * own else chance * max(bars - _ENDS, 0) / bars


def _usual(values: Integers) -> list[int]:
    """Values that are not rare among these."""
    distinct, count = np.unique(values, return_counts=True)
    kept: list[int] = distinct[count > RARE * count.max()].tolist()
    return kept


def _union(members: Integers, offsets: Integers, timestamp: Integers) -> Integers:
    """All bar starts of some symbols, ascending, each once. Symbols share most of them: memory is that of the union."""
    union = np.zeros(0, dtype=np.int64)
    whole = len(members) == len(offsets) - 1
    # Many small symbols at once where they lie side by side, as a whole table does.
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


# --- exchanges -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Exchange(Scheduled):
    """Sessions, half days and breaks of an exchange, over the period of the bars and some weeks around it.

    Attributes:
        until: Last moment of the schedule, nanoseconds UTC.
    """

    until: int

    @classmethod
    def of(cls, code: str, first: int, last: int, step: int, *, at_midnight: bool) -> Exchange:
        """The calendar of an exchange.

        Args:
            code: Its code in the library ``exchange_calendars``.
            first: First bar start that it is to hold, nanoseconds UTC.
            last: Last one.
            step: Length of a bar, nanoseconds; a day at most.
            at_midnight: Whether daily bars are stamped at midnight UTC, and not on the clock of the exchange.

        Raises:
            BarsError: The library has no schedule for that time, or the bars are longer than a day.
        """
        if step > DAY:
            raise BarsError(
                f"an exchange calendar places bars of a day or less; for bars of {clock(step)} leave "
                f"calendar={code!r} out, or say calendar='sessions'",
                rule="calendar",
            )
        library, schedule = _schedule(code, *(moment(edge).tz_localize(None).normalize() for edge in (first, last)))
        until = int(pd.Timestamp(schedule.index[-1]).as_unit("ns").value)
        if step == DAY:
            days = np.asarray(pd.DatetimeIndex(schedule.index).as_unit("ns").asi8 // DAY)
            return cls(
                code,
                length_of(step),
                1,
                is_session_bound=False,
                opening=np.zeros(0, dtype=np.int64),
                zone=None if at_midnight else str(library.tz),
                until=until,
                **date_stretches(days, np.arange(len(days)), 1),
            )
        opening, pause, resume, closing = (
            np.array(pd.DatetimeIndex(schedule[name]).as_unit("ns").asi8)
            for name in ("open", "break_start", "break_end", "close")
        )
        # With a lunch break a session is two stretches; bars start whole steps after the first bar of theirs.
        split = pause != pd.NaT.value
        begin = np.stack([opening, np.where(split, resume, closing)], 1)
        end = np.stack([np.where(split, pause, closing), closing], 1)
        count = -((begin - end) // step)
        first_of = np.cumsum(count).reshape(count.shape) - count
        exists = count > 0
        return cls(
            code,
            length_of(step),
            int(count.sum(1).max()),
            is_session_bound=True,
            start=begin[exists],
            number=first_of[exists],
            count=count[exists],
            opening=first_of[:, 0],
            stride=step,
            until=until,
        )

    def followed_by(self, timestamp: Integers) -> Exchange:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.followed_by`; positions may count from another day."""
        if not len(timestamp) or int(timestamp[-1]) + 7 * DAY < self.until:
            return self
        step, first = self.frequency.value, int(self.start[0])
        first = first * DAY if step >= DAY else first
        return Exchange.of(self.name, first, int(timestamp[-1]), step, at_midnight=self.zone is None)


def _schedule(code: str, first: pd.Timestamp, last: pd.Timestamp) -> tuple[ExchangeCalendar, pd.DataFrame]:
    """Schedule of an exchange from some weeks before a day to some weeks after another, as far as it is known."""
    import exchange_calendars

    error: Exception | None = None
    for before, after in ((_MARGIN, _MARGIN), (_MARGIN, _DAY), (_DAY, _MARGIN), (_DAY, _DAY)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the library's own, about pandas
                library = exchange_calendars.get_calendar(code, start=first - before, end=last + after)
                return library, library.schedule
        except (ValueError, exchange_calendars.errors.CalendarError) as caught:
            error = caught
    raise BarsError(
        f"the exchange calendar {code!r} has no schedule from {first:%Y-%m-%d} to {last:%Y-%m-%d}: {error}",
        column="timestamp",
        rule="one grid",
    ) from error


def _phase(timestamp: Integers, step: int) -> int:
    """The most common lateness of bar starts against whole multiples of the step."""
    counts: Counter[int] = Counter()
    for part in _blocks(timestamp):
        count_values(part % step, counts)
    return winner(counts)


def _blocks(timestamp: Integers) -> Iterator[Integers]:
    """The bar starts in pieces, so that what is computed from them stays small."""
    return (timestamp[begin : begin + GROUP] for begin in range(0, len(timestamp), GROUP))
