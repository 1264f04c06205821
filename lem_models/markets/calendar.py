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
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.calendar_kinds import Calendar, Placement, RoundTheClock, Scheduled, nearest
from lem_models.markets.frequency import (
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

__all__ = ["Calendar", "Placement", "RoundTheClock", "Scheduled", "build_calendar", "check_calendar_name"]

Integers = npt.NDArray[np.int64]

_OWN = ("auto", "24/7", "sessions")

LONGEST_DAILY_PAUSE = 7
"""Daily bars further apart than this many days have a gap between them (September 2001 was a pause of 7 days)."""


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
    union = _union(offsets, timestamp)
    if calendar == "auto":
        calendar = "24/7" if _never_closes(union, step) else "sessions"
    built: Calendar
    if calendar == "24/7":
        built = _round_the_clock(union, step)
    elif calendar == "sessions":
        built = _daily_sessions(union, step) if step >= DAY else _intraday_sessions(union, step)
    else:
        built = _exchange(calendar, union, step)
    if not all(built.contains(part).all() for part in _blocks(union)):
        inside = built.contains(timestamp)
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


def check_calendar_name(calendar: str) -> None:
    """Refuse a name that :func:`build_calendar` does not know.

    Raises:
        UnknownNameError: There is no calendar of this name.
    """
    if calendar in _OWN:
        return
    import exchange_calendars

    known = [*_OWN, *exchange_calendars.get_calendar_names()]
    if calendar not in known:
        raise UnknownNameError.among("calendar", calendar, known)


def _union(offsets: Integers, timestamp: Integers) -> Integers:
    """All bar starts of a market, ascending, each once. Symbols share most of them: memory is that of the union."""
    union = np.zeros(0, dtype=np.int64)
    for first, last in symbol_groups(offsets):
        mine = timestamp[offsets[first] : offsets[last]]
        if last - first > 1:
            mine = np.unique(mine)
        if len(union):
            mine = mine[union[np.minimum(np.searchsorted(union, mine), len(union) - 1)] != mine]
        if len(mine):
            union = np.sort(np.concatenate([union, mine]), kind="stable") if len(union) else mine
    return union


def _never_closes(union: Integers, step: int) -> bool:
    """Whether bars are there round the clock and at weekends.

    Only days that lie wholly between the first and the last bar count. Saturdays after a Friday with bars must be at
    least half full, as the median day; without such a Saturday the days must be nearly full. A table shorter than that
    must span a whole day nearly without holes.
    """
    first, last = union[0] // DAY, union[-1] // DAY
    per_day = max(1.0, DAY / step)
    if last - first < 2:
        span = union[-1] - union[0] + step
        return bool(step < DAY <= span and len(union) >= 0.9 * span / step)
    if step > DAY:
        return False
    fill = np.diff(np.searchsorted(union, np.arange(first + 1, last + 1) * DAY)) / per_day
    weekday = (np.arange(first + 1, last) + 3) % 7  # 1970-01-01 was a Thursday
    open_days = fill > 0
    after_open_friday = (weekday == 5) & np.concatenate([[True], open_days[:-1]])
    if after_open_friday.any():
        return bool(np.median(fill[after_open_friday]) >= 0.5 and np.median(fill[open_days]) >= 0.5)
    return bool(step < DAY and open_days.any() and np.median(fill[open_days]) >= 0.9)


def _round_the_clock(union: Integers, step: int) -> RoundTheClock:
    """The grid of whole steps that most bars lie on."""
    slots = max(1, -(-DAY // step))
    return RoundTheClock("24/7", length_of(step), slots, is_session_bound=False, phase=_phase(union, step))


def _intraday_sessions(union: Integers, step: int) -> Scheduled:
    """Sessions from the union of all bars: a hole from one trading day to the next ends one, any other is a halt.

    Bars start whole steps after the first bar of their session; others are left out of the grid, to be refused. (With
    daylight saving, the sessions themselves need not start on one grid.)
    """
    closes = (np.diff(union) > step) & (np.diff((union - _closing_time(union, step)) // DAY) > 0)
    begins = np.concatenate([[0], np.flatnonzero(closes) + 1])
    start = union[begins]
    ahead = union - np.repeat(start, np.diff(begins, append=len(union)))
    last_slot = np.maximum.reduceat(np.where(ahead % step == 0, ahead // step, 0), begins)
    opening = np.cumsum(last_slot + 1) - last_slot - 1
    return Scheduled(
        "sessions",
        length_of(step),
        int(last_slot.max()) + 1,
        is_session_bound=True,
        start=start,
        number=opening,
        count=last_slot + 1,
        opening=opening,
        stride=step,
    )


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
    day = np.unique(nearest(union, DAY, phase))
    pause = np.diff(day)
    is_gap = pause > max(LONGEST_DAILY_PAUSE, 1.5 * step / DAY)
    # Over a gap the ordinal moves on by about the number of bars that are missing: five daily ones a week.
    beyond = np.maximum(2, pause * 5 // 7 if step == DAY else pause * DAY // step)
    ordinal = np.concatenate([[0], np.cumsum(np.where(is_gap, beyond, 1))])
    return _by_date("sessions", step, day, ordinal, phase=phase)


def _by_date(
    name: str, step: int, day: Integers, ordinal: Integers, *, phase: int = 0, zone: str | None = None
) -> Scheduled:
    """Calendar of daily (or longer) bars from the day number and the ordinal of each."""
    stride = max(1, step // DAY)
    regular = (np.diff(day) == stride) & (np.diff(ordinal) == 1)
    begins = np.concatenate([[0], np.flatnonzero(~regular) + 1])
    return Scheduled(
        name,
        length_of(step),
        1,
        is_session_bound=False,
        start=day[begins],
        number=ordinal[begins],
        count=np.diff(begins, append=len(day)),
        opening=np.zeros(0, dtype=np.int64),
        stride=stride,
        phase=phase,
        zone=zone,
    )


def _exchange(code: str, union: Integers, step: int) -> Scheduled:
    """Sessions, half days and breaks of an exchange over the period of the bars."""
    import exchange_calendars

    check_calendar_name(code)
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
    if step >= DAY:
        midnight = bool(np.all(union % DAY == 0))
        days = np.asarray(pd.DatetimeIndex(schedule.index).as_unit("ns").asi8 // DAY)
        return _by_date(code, step, days, np.arange(len(days)), zone=None if midnight else str(library.tz))
    opening, pause, resume, closing = (
        np.array(pd.DatetimeIndex(schedule[name]).as_unit("ns").asi8)
        for name in ("open", "break_start", "break_end", "close")
    )
    # With a lunch break a session is two stretches; bars start whole steps after the first bar of theirs.
    split = pause != pd.NaT.value
    begin = np.stack([opening, np.where(split, resume, closing)], 1)
    until = np.stack([np.where(split, pause, closing), closing], 1)
    count = -((begin - until) // step)
    first = np.cumsum(count).reshape(count.shape) - count
    exists = count > 0
    return Scheduled(
        code,
        length_of(step),
        int(count.sum(1).max()),
        is_session_bound=True,
        start=begin[exists],
        number=first[exists],
        count=count[exists],
        opening=first[:, 0],
        stride=step,
    )


def _check_one_bar_per_position(
    calendar: Calendar, symbols: tuple[str, ...], offsets: Integers, timestamp: Integers
) -> None:
    """Refuse two bars of a symbol in one place of the grid (two daily bars on one date)."""
    if calendar.frequency.value < DAY:
        return  # the grid is the bar starts themselves
    for first, last in symbol_groups(offsets):
        begin = int(offsets[first])
        step = np.diff(calendar.ordinal(timestamp[begin : offsets[last]]))
        step[offsets[first + 1 : last] - 1 - begin] = 1
        if np.any(step <= 0):
            row = begin + int(np.argmax(step <= 0)) + 1
            raise BarsError(
                f"two bars of one symbol fall on one {clock(calendar.frequency)} bar of the calendar {calendar.name!r}",
                symbol=symbol_of(symbols, offsets, row),
                timestamp=moment(timestamp[row]),
                column="timestamp",
                rule="one frequency",
            )


def _phase(timestamp: Integers, step: int) -> int:
    """The most common lateness of bar starts against whole multiples of the step."""
    counts: Counter[int] = Counter()
    for part in _blocks(timestamp):
        count_values(part % step, counts)
    return winner(counts)


def _blocks(timestamp: Integers) -> Iterator[Integers]:
    """The bar starts in pieces, so that what is computed from them stays small."""
    return (timestamp[begin : begin + GROUP] for begin in range(0, len(timestamp), GROUP))
