"""Places of bars on their market's grid, in memory that does not grow with the bars.

A *run* is a maximal sequence of bars of one symbol without a gap. Inside a run the ordinal rises by one from bar to
bar, so the index and the ordinal of its first bar are enough. With ``i`` the run of row ``k``, by bisection,

    ordinal_k = number_i + (k - run_i),    session_k, slot_k = calendar of the symbol(ordinal_k)

That takes two numbers per gap and two per symbol. Rows without volume are listed too, so the number of halts in a
window is the difference of two bisections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lem_models.errors import BarsError
from lem_models.markets.calendar.frequency import GROUP
from lem_models.markets.calendar.kinds import Calendar, Calendars

__all__ = ["Grid"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Grid:
    """Places of the rows of a table of bars; every method takes int64 rows of any shape and gives the same shape.

    Attributes:
        calendars: The calendars of the symbols.
        offsets: int64 [symbols + 1]; the rows of symbol ``i`` are ``offsets[i]:offsets[i + 1]``.
        run: int64 [runs + 1]; first row of each run, and the number of rows.
        number: int64 [runs]; ordinal of the first row of each run.
        idle: int64 [idle]; rows without volume, ascending.
    """

    calendars: Calendars
    offsets: Integers = field(repr=False)
    run: Integers = field(repr=False)
    number: Integers = field(repr=False)
    idle: Integers = field(repr=False)

    def __post_init__(self) -> None:
        """Make every array read-only."""
        for array in (self.offsets, self.run, self.number, self.idle):
            array.flags.writeable = False

    def __getstate__(self) -> dict[str, Any]:
        """State of a pickle, without arrays that can be computed again."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled object; pickling forgets that arrays are read-only."""
        self.__dict__.update(state)
        self.__post_init__()

    @classmethod
    def build(cls, calendars: Calendars, offsets: Integers, timestamp: Integers, volume: Floats) -> Grid:
        """Place rows by their timestamps.

        Args:
            calendars: The calendars of the symbols; every timestamp lies on its symbol's.
            offsets: int64 [symbols + 1].
            timestamp: int64 [bars], nanoseconds UTC, symbol-major.
            volume: float64 [bars].

        Returns:
            The grid.
        """
        runs, numbers, idle = [], [], []
        last = np.zeros(0, dtype=np.int64)
        for begin in range(0, len(timestamp), GROUP):
            block = slice(begin, begin + GROUP)
            ordinal = _ordinals(calendars, offsets, timestamp[block], begin)
            breaks = np.diff(ordinal, prepend=last) != 1
            if not begin:
                breaks = np.append(True, breaks)
            symbols = offsets[np.searchsorted(offsets, begin) : np.searchsorted(offsets, begin + len(ordinal))]
            breaks[symbols - begin] = True
            first = np.flatnonzero(breaks)
            runs.append(first + begin)
            numbers.append(ordinal[first])
            idle.append(np.flatnonzero(volume[block] == 0.0) + begin)
            last = ordinal[-1:]
        return cls(
            calendars, offsets, np.concatenate([*runs, offsets[-1:]]), np.concatenate(numbers), np.concatenate(idle)
        )

    def take(self, pieces: Integers) -> Grid:
        """Places of some pieces of the rows; ordinals stay.

        Args:
            pieces: int64 [pieces, 2]; first row and one past the last row of each, in one symbol each. Every piece
                becomes a symbol.
        """
        runs, numbers, idle = [], [], []
        offsets = np.concatenate([[0], np.cumsum(pieces[:, 1] - pieces[:, 0])])
        for (first, last), begin in zip(pieces.tolist(), offsets.tolist(), strict=False):
            low, high = np.searchsorted(self.run, [first, last])
            inner = self.run[low:high]
            starts = inner if len(inner) and inner[0] == first else np.append(first, inner)
            runs.append(starts + (begin - first))
            numbers.append(self.ordinal(starts))
            low, high = np.searchsorted(self.idle, [first, last])
            idle.append(self.idle[low:high] + (begin - first))
        calendars = self.calendars.take(self.symbol(pieces[:, 0]))
        return Grid(
            calendars, offsets, np.concatenate([*runs, offsets[-1:]]), np.concatenate(numbers), np.concatenate(idle)
        )

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.offsets[-1])

    def symbol(self, rows: Integers) -> Integers:
        """Number of the symbol."""
        return np.asarray(np.searchsorted(self.offsets, rows, side="right") - 1)

    def ordinal(self, rows: Integers) -> Integers:
        """Position on the market's grid."""
        at = self._run_of(rows)
        return np.asarray(self.number[at] + (rows - self.run[at]))

    @property
    def calendar(self) -> Calendar:
        """The calendar of all symbols.

        Raises:
            BarsError: Symbols have different ones.
        """
        if len(self.calendars.kinds) > 1:
            names = ", ".join(kind.name for kind in self.calendars.kinds)
            raise BarsError(
                f"the symbols have different calendars ({names}); split the bars first: "
                "bars.by_calendar() returns the bars of each calendar",
                rule="one calendar",
            )
        return self.calendars.kinds[0]

    def session(self, rows: Integers) -> Integers:
        """Number of the session."""
        return self._by_calendar(rows, lambda calendar, ordinal: calendar.session(ordinal))

    def slot(self, rows: Integers) -> Integers:
        """Position inside the session, from 0."""
        return self._by_calendar(rows, lambda calendar, ordinal: calendar.slot(ordinal))

    def usual_slots(self, rows: Integers) -> Integers:
        """Usual number of slots of the session, known when the session begins."""
        return self._by_calendar(rows, lambda calendar, ordinal: calendar.usual_slots(calendar.session(ordinal)))

    def knows_slots(self, rows: Integers) -> Booleans:
        """Whether the slots of the session count from its opening."""
        known = self._by_calendar(
            rows, lambda calendar, ordinal: calendar.knows_slots(calendar.session(ordinal)).astype(np.int64)
        )
        return known.astype(bool)

    def is_session_bound(self, rows: Integers) -> Booleans:
        """Whether an order that starts there stays inside its session by default."""
        bound = np.array([kind.is_session_bound for kind in self.calendars.kinds])
        return np.asarray(bound[self.calendars.which[self.symbol(rows)]])

    def _by_calendar(self, rows: Integers, of: Callable[[Calendar, Integers], Integers]) -> Integers:
        """A function of calendar and ordinal, for rows whose symbols may have different calendars."""
        rows = np.asarray(rows)
        ordinal, kinds = self.ordinal(rows), self.calendars.kinds
        if len(kinds) == 1:
            return of(kinds[0], ordinal)
        which = self.calendars.which[self.symbol(rows)]
        values = np.empty_like(ordinal)
        for number, calendar in enumerate(kinds):
            values[which == number] = of(calendar, ordinal[which == number])
        return values

    def until(self, rows: Integers, ahead: Integers) -> Integers:
        """Time from the start of each row to the start of the place ``ahead`` positions later, nanoseconds."""
        ordinal, which = self.ordinal(rows), self.calendars.which[self.symbol(rows)]
        distance = np.empty_like(ordinal)
        for number, calendar in enumerate(self.calendars.kinds):
            mine = which == number
            distance[mine] = calendar.start_of((ordinal + ahead)[mine]) - calendar.start_of(ordinal[mine])
        return distance

    def gapless_start(self, rows: Integers) -> Integers:
        """First row of the run."""
        return np.asarray(self.run[self._run_of(rows)])

    def gapless_end(self, rows: Integers) -> Integers:
        """One past the last row of the run."""
        return np.asarray(self.run[self._run_of(rows) + 1])

    def session_end(self, rows: Integers) -> Integers:
        """One past the last row of this session of this symbol."""
        if self._has_one_slot:
            return np.asarray(rows) + 1
        bounds = self.session_bounds
        return np.asarray(bounds[np.searchsorted(bounds, rows, side="right")])

    @property
    def _has_one_slot(self) -> bool:
        """Whether every session of every symbol is one bar."""
        return all(kind.slots_per_session == 1 for kind in self.calendars.kinds)

    def idle_between(self, first: Integers, last: Integers) -> Integers:
        """Number of rows without volume among ``first .. last - 1``."""
        return np.asarray(np.searchsorted(self.idle, last) - np.searchsorted(self.idle, first))

    @cached_property
    def session_bounds(self) -> Integers:
        """First row of each session of each symbol, and the number of rows; int64 [sessions + 1]."""
        if self._has_one_slot:
            return np.arange(len(self) + 1)
        first, last = self.session(self.run[:-1]), self.session(self.run[1:] - 1)
        count = last - first + 1
        at = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
        # Ordinal of the first bar of each of these sessions, on the calendar of its run's symbol.
        begin, which = first[at] + within, self.calendars.which[self.symbol(self.run[:-1])][at]
        for number, calendar in enumerate(self.calendars.kinds):
            begin[which == number] = calendar.first_of(begin[which == number])
        ahead = begin - self.number[at]
        row = self.run[at] + np.maximum(ahead, 0)
        # After a gap inside a session, a run begins, but not a session.
        goes_on = np.zeros(len(first), dtype=bool)
        goes_on[1:] = (first[1:] == last[:-1]) & ~np.isin(self.run[1:-1], self.offsets)
        bounds = np.append(row[~(goes_on[at] & (within == 0))], len(self))
        bounds.flags.writeable = False
        return bounds

    def _run_of(self, rows: Integers) -> Integers:
        return np.asarray(np.searchsorted(self.run, rows, side="right") - 1)


def _ordinals(calendars: Calendars, offsets: Integers, timestamp: Integers, begin: int) -> Integers:
    """Positions on the grid of neighbouring rows from ``begin`` on, by their timestamps."""
    if len(calendars.kinds) == 1:
        return calendars.kinds[0].ordinal(timestamp)
    rows = np.arange(begin, begin + len(timestamp))
    which = calendars.which[np.searchsorted(offsets, rows, side="right") - 1]
    ordinal = np.empty_like(timestamp)
    for number, calendar in enumerate(calendars.kinds):
        ordinal[which == number] = calendar.ordinal(timestamp[which == number])
    return ordinal
