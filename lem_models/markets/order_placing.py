"""Orders on the grid of the bars: starts inside a bar, and durations as numbers of bars.

A start between two bars that follow each other, inside a bar or when the market is closed, is moved to the next bar: an
order that comes at 12:20 trades from the bar of 13:00 on, because the bar of 12:00 has begun without it. Starts before
the first bar, after the last one, or at a gap stay, and such orders are excluded with their reason.

A duration becomes a number of bars by the calendar of its symbol:

- In a market round the clock it is divided by the length of a bar.
- Of intraday bars of a market that closes, seconds, minutes and hours are trading time. ``session`` is the rest of the
  session from the start of the order: by the schedule of an exchange; where hours are inferred, by the longest session
  before. Days are refused, because a day there is no fixed number of bars.
- Of daily bars of a market that closes, days are trading days, and ``session`` is one of them. Hours are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import OrderError
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import DAY, clock, moment
from lem_models.markets.calendar.kinds import Calendar, RoundTheClock
from lem_models.orders.durations import Duration

__all__ = ["BarPlacement", "StartRule", "bars_in"]

Integers = npt.NDArray[np.int64]

StartRule: TypeAlias = Literal["next", "exact"]
"""A start inside a bar moves to the ``"next"`` bar, or is refused because starts are ``"exact"``."""


class BarPlacement:
    """A :class:`~lem_models.orders.table.Placement` on bars.

    Args:
        bars: The bars.
        starts: See :data:`StartRule`.
        to_come: Whether the bars are a history, after which the orders start. Then starts stay as they are: a live
            order checks its start against the calendar.

    Attributes:
        note: A line about the starts that were moved; empty if there was none.

    Raises:
        OrderError: There is no such rule for starts.
    """

    def __init__(self, bars: Bars, *, starts: StartRule = "next", to_come: bool = False) -> None:
        if starts not in ("next", "exact"):
            raise OrderError(f"starts is 'next' or 'exact'; got {shown(starts)}", field="start", rule="known value")
        self._bars, self._rule, self._to_come = bars, starts, to_come
        self._lengths: dict[tuple[str, str, str, int], float] = {}
        self.note = ""

    def starts(self, symbols: npt.NDArray[Any], starts: Integers, labels: Sequence[object]) -> Integers:
        """See :meth:`~lem_models.orders.table.Placement.starts`."""
        moved = starts.copy()
        if self._to_come:
            return moved
        for symbol, mine in pd.Series(starts).groupby(symbols, sort=False).indices.items():
            if symbol in self._bars.symbol_numbers:
                moved[mine] = self._next_starts(self._bars.number_of(str(symbol)), starts[mine])
        late = np.flatnonzero(moved != starts)
        if not len(late):
            return moved
        first = int(late[0])
        asked, given = (f"{moment(int(each[first])):%Y-%m-%d %H:%M:%S}" for each in (starts, moved))
        if self._rule == "exact":
            more = f" (and {len(late) - 1} more rows)" if len(late) > 1 else ""
            raise OrderError(
                f"no bar of {symbols[first]} starts at {asked} UTC; the next valid start is {given} UTC{more}",
                field="start",
                rule="a bar starts then",
                row=first,
                order_id=labels[first],
            )
        self.note = (
            f"{len(late)} of {len(starts)} orders start inside a bar or while the market is closed, and are moved to "
            f"the next bar (first: order {str(labels[first])!r}, {symbols[first]!r} from {asked} to {given} UTC); "
            "starts='exact' (--starts exact) refuses them"
        )
        return moved

    def _next_starts(self, number: int, starts: Integers) -> Integers:
        """Starts of one symbol on its bars."""
        grid = self._bars.grid
        low, high = int(self._bars.offsets[number]), int(self._bars.offsets[number + 1])
        timestamp = self._bars.timestamp[low:high]
        before = np.searchsorted(timestamp, starts, side="right") - 1
        off = (before >= 0) & (timestamp[np.maximum(before, 0)] != starts)
        moved = starts.copy()
        inner = np.flatnonzero(off & (before < high - low - 1))
        following = grid.ordinal(low + before[inner] + 1) - grid.ordinal(low + before[inner]) == 1
        moved[inner[following]] = timestamp[before[inner[following]] + 1]
        return moved

    def _calendar_of(self, number: int, start: int) -> Calendar:
        """Calendar of a symbol; that of a history reaches to the start of an order."""
        calendars = self._bars.grid.calendars
        calendar = calendars.kinds[int(calendars.which[number])]
        return calendar.followed_by(np.array([start], dtype=np.int64)) if self._to_come else calendar

    def periods(self, duration: Duration, field: str, symbol: str, start: int) -> float:
        """See :meth:`~lem_models.orders.table.Placement.periods`."""
        key = (duration.text, field, symbol, start if duration.is_session else 0)
        if key not in self._lengths:
            # An order of an unknown symbol is excluded later; any calendar will do until then.
            number = self._bars.symbol_numbers.get(symbol, 0)
            calendar = self._calendar_of(number, start)
            self._lengths[key] = bars_in(duration, field, calendar, start)
        return self._lengths[key]


def bars_in(duration: Duration, field: str, calendar: Calendar, start: int | None = None) -> int:
    """Number of bars that a duration is.

    Args:
        duration: The duration.
        field: Field of the order that it stands in.
        calendar: Calendar of the bars.
        start: Start of the order, nanoseconds UTC; ``None`` for orders with several starts.

    Raises:
        OrderError: It is no whole number of bars, or this market has no such unit.
    """
    step, closes = calendar.frequency.value, not isinstance(calendar, RoundTheClock)
    if duration.is_session:
        return _rest_of_session(duration, field, calendar, start)
    length = duration.nanoseconds or Fraction(0)
    if closes and step < DAY and duration.in_days:
        raise _refused(
            duration,
            field,
            f"a day is no fixed number of bars of {clock(step)} in a market that closes: write hours of trading time, "
            "'session' for the rest of the session, or a whole number of bars",
        )
    if closes and step >= DAY and not duration.in_days:
        raise _refused(
            duration, field, f"bars of {clock(step)} in a market that closes are counted in days: write days"
        )
    count = length / step
    if count.denominator == 1:
        return int(count)
    whole = [bars for bars in (int(count), int(count) + 1) if bars]
    near = " or ".join(f"'{clock(bars * step)}' ({bars} bar{'s' if bars > 1 else ''})" for bars in whole)
    raise _refused(duration, field, f"it is {float(count):.6g} bars of {clock(step)}: take {near}")


def _rest_of_session(duration: Duration, field: str, calendar: Calendar, start: int | None) -> int:
    """Bars from the start of an order to the end of its session."""
    if isinstance(calendar, RoundTheClock):
        raise _refused(duration, field, "the market never closes and has no sessions: write hours or days")
    if calendar.frequency.value >= DAY:
        if calendar.slots_per_session > 1 or calendar.frequency.value > DAY:
            raise _refused(duration, field, f"bars of {clock(calendar.frequency)} hold more than a session: write days")
        return 1
    if start is None:
        raise _refused(duration, field, "orders that start at different times have different rests of their sessions")
    at = np.array([start], dtype=np.int64)
    if not calendar.contains(at)[0]:
        return calendar.slots_per_session  # no bar starts then, and the order is excluded
    ordinal = calendar.ordinal(at)
    session = calendar.session(ordinal)
    if isinstance(calendar, Exchange):
        return int(calendar.first_of(session + 1)[0] - ordinal[0])
    # What is inferred is known from the sessions before: bars that come later change nothing.
    return max(int(calendar.usual_slots(session)[0] - calendar.slot(ordinal)[0]), 1)


def _refused(duration: Duration, field: str, reason: str) -> OrderError:
    return OrderError(f"{field} is {shown(duration.text)}, and {reason}", field=field, rule="whole number of bars")
