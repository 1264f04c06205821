"""Market calendars: the grid that bars lie on. It distinguishes a gap from a night.

A calendar gives every bar three numbers:

- ``ordinal``: its position on the market's grid. Bars that follow each other without a gap differ by exactly 1, over a
  night or a weekend too; a missing bar leaves its number out.
- ``session``: the number of its trading session (the UTC day of a market that never closes).
- ``slot``: its position inside the session, from 0.

Three kinds exist:

- ``"24/7"``: ``ordinal = timestamp // frequency``, sessions are UTC days.
- ``"sessions"``: inferred from the bars (:mod:`~lem_models.markets.calendar.inferred_sessions`,
  :mod:`~lem_models.markets.calendar.inferred_days`). The grid is the union of the timestamps of all symbols that keep
  the same hours (:mod:`~lem_models.markets.calendar.same_hours`). A session that *none* of them has is not detected.
- an exchange code such as ``"XNYS"``: sessions, half days and lunch breaks from the schedules of the library
  ``exchange_calendars`` (:mod:`~lem_models.markets.calendar.exchange`). A bar outside the schedule is refused, and a
  missing session is detected.

Symbols of one table may have different calendars: named by symbol, or inferred from their bars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, UnknownNameError
from lem_models.guard.text import shown
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import (
    DAY,
    GROUP,
    clock,
    count_values,
    infer_frequency,
    length_of,
    moment,
    symbol_of,
    winner,
)
from lem_models.markets.calendar.inferred_days import infer_days
from lem_models.markets.calendar.inferred_sessions import InferredSessions, infer_sessions, never_closes
from lem_models.markets.calendar.kinds import Calendar, Calendars, RoundTheClock
from lem_models.markets.calendar.same_hours import same_hours, union_of

__all__ = [
    "CALENDAR_COLUMN",
    "CalendarChoice",
    "build_calendars",
    "calendar_column",
    "check_calendar_names",
    "check_on_grid",
]

Integers = npt.NDArray[np.int64]
CalendarChoice: TypeAlias = "str | Mapping[str, str]"
"""Name of a calendar for all symbols, or names by symbol; other symbols are inferred."""

CALENDAR_COLUMN = "calendar"
"""Column of a table of bars that names each symbol's calendar, if the caller names none."""
_OWN = ("auto", "24/7", "sessions")


def build_calendars(
    calendar: CalendarChoice,
    symbols: tuple[str, ...],
    offsets: Integers,
    timestamp: Integers,
    frequency: pd.Timedelta | None = None,
) -> Calendars:
    """Build the calendars of a table of bars and check that every bar lies on its grid.

    Args:
        calendar: ``"auto"``, ``"24/7"``, ``"sessions"`` or an exchange code (``"XNYS"``), for all symbols or by symbol.
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
        groups = same_hours(named, offsets, timestamp, step) if name in ("auto", "sessions") else [named]
        for members in groups:
            which[members] = len(kinds)
            kinds.append(_built(name, union_of(members, offsets, timestamp), step))
    calendars = Calendars(tuple(kinds), which)
    check_on_grid(calendars, symbols, offsets, timestamp)
    return calendars


def calendar_column(column: pd.Series, symbols: tuple[str, ...], offsets: Integers) -> dict[str, str]:
    """Read the names of calendars by symbol from a column of a table of bars; symbols without a name are left out.

    Args:
        column: The column, symbol-major.
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1].

    Raises:
        BarsError: A symbol has several names, or a value is not a text.
    """
    codes, names = pd.factorize(column)
    for name in names:
        if not isinstance(name, str):
            raise BarsError(
                f"the column of calendars holds {shown(name)}; a calendar is a name such as 'XNYS'",
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
        BarsError: The argument is neither a name nor a mapping from symbols to names.
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
    """Build the calendar of this name from the bar starts of its symbols."""
    if name == "24/7" or (name == "auto" and never_closes(union, step)):
        slots = max(1, -(-DAY // step))
        return RoundTheClock("24/7", length_of(step), slots, is_session_bound=False, phase=_phase(union, step))
    if name in ("auto", "sessions"):
        return infer_days(union, step, _phase(union, DAY)) if step >= DAY else infer_sessions(union, step)
    return Exchange.of(name, int(union[0]), int(union[-1]), step, at_midnight=bool(np.all(union % DAY == 0)))


def check_on_grid(calendars: Calendars, symbols: tuple[str, ...], offsets: Integers, timestamp: Integers) -> None:
    """Refuse bars that do not start on the grid of their symbol's calendar, and two bars in one place of it.

    Args:
        calendars: The calendars of the symbols.
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1].
        timestamp: int64 [bars], symbol-major, ascending inside a symbol.

    Raises:
        BarsError: There is such a bar; the error names the first one and the number of them.
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
                    "; if the market has breaks, name the exchange, e.g. calendar='XTKS' (--calendar XTKS)"
                    if isinstance(calendar, InferredSessions)
                    else ""
                ),
                symbol=symbol_of(symbols, offsets, first),
                timestamp=moment(timestamp[first]),
                column="timestamp",
                rule="one grid",
            )
        if calendar.frequency.value < DAY:
            continue  # the grid consists of the bar starts themselves
        for begin, end in _pieces(calendars, kind, offsets):
            begin = max(begin - 1, 0)  # also across the border of two pieces
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


def _phase(timestamp: Integers, step: int) -> int:
    """The most common distance of bar starts from whole multiples of the step before them."""
    counts: Counter[int] = Counter()
    for block in _blocks(timestamp):
        count_values(block % step, counts)
    return winner(counts)


def _blocks(timestamp: Integers) -> Iterator[Integers]:
    """The bar starts block by block, to bound memory."""
    return (timestamp[begin : begin + GROUP] for begin in range(0, len(timestamp), GROUP))
