"""Columns of bars, their places on the market's grid, and what follows from both.

A derived column is computed on first use, and kept: for users, tests and small tables. Code for markets of any size
asks the grid, and :meth:`PlacedBars.vwap_at`, for the rows that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import UnknownNameError
from lem_models.markets.calendar.frequency import Moment, nanoseconds
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.calendar.kinds import Calendar

__all__ = ["PlacedBars"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, repr=False)
class PlacedBars:
    """Columns of bars and their places on the market's grid; see :class:`~lem_models.markets.bars.Bars`."""

    symbols: tuple[str, ...]
    offsets: Integers
    timestamp: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    notional: Floats
    grid: Grid

    def vwap_at(self, rows: Integers | slice) -> Floats:
        """``notional / volume`` of some rows, the close where nothing was traded; float64, shape of the rows."""
        return _vwap(self.notional[rows], self.volume[rows], self.close[rows])

    @cached_property
    def symbol_numbers(self) -> dict[str, int]:
        """Number of each symbol: its position in ``symbols``."""
        return {symbol: number for number, symbol in enumerate(self.symbols)}

    def number_of(self, symbol: str) -> int:
        """Number of a symbol: its position in ``symbols``.

        Raises:
            UnknownNameError: The symbol has no bars.
        """
        if symbol not in self.symbol_numbers:
            raise UnknownNameError.among("symbol", symbol, self.symbols)
        return self.symbol_numbers[symbol]

    def rows_between(self, start: Moment | None = None, end: Moment | None = None) -> Integers:
        """Find the bars of each symbol that start in a period.

        Args:
            start: First moment, inclusive; a date or time without a zone is UTC.
            end: Last moment, exclusive.

        Returns:
            int64 [symbols, 2]: flat index of the first of them, and one past the last; equal if there is none.

        Raises:
            BarsError: A moment cannot be read.
        """
        lowest = np.iinfo(np.int64).min if start is None else nanoseconds(start)
        highest = np.iinfo(np.int64).max if end is None else nanoseconds(end)
        rows = np.empty((len(self.symbols), 2), dtype=np.int64)
        for index, (low, high) in enumerate(pairwise(self.offsets.tolist())):
            rows[index] = np.searchsorted(self.timestamp[low:high], [lowest, highest]) + low
        return np.maximum(rows, rows[:, :1])

    def locate(self, symbol: str, timestamp: npt.ArrayLike) -> Integers:
        """Find bars by their start.

        Args:
            symbol: Name of the symbol.
            timestamp: int64 [n], nanoseconds UTC.

        Returns:
            int64 [n], flat indices; -1 where the symbol has no such bar.

        Raises:
            UnknownNameError: The symbol has no bars.
        """
        wanted = np.asarray(timestamp, dtype=np.int64)
        index = self.number_of(symbol)
        low, high = int(self.offsets[index]), int(self.offsets[index + 1])
        at = np.searchsorted(self.timestamp[low:high], wanted) + low
        exists = self.timestamp[np.minimum(at, high - 1)] == wanted
        return np.asarray(np.where(exists, at, -1), dtype=np.int64)

    @cached_property
    def vwap(self) -> Floats:
        """``notional / volume``, the close where nothing was traded; float64 [bars]."""
        return _locked(self.vwap_at(slice(None)))

    @cached_property
    def symbol_index(self) -> npt.NDArray[np.int32]:
        """Number of each bar's symbol, int32 [bars]."""
        return _locked(np.repeat(np.arange(len(self.symbols), dtype=np.int32), np.diff(self.offsets)))

    @cached_property
    def ordinal(self) -> Integers:
        """Position on the market's grid, int64 [bars].

        Neighbouring bars without a gap between them differ by exactly 1, also over a night or a weekend.
        """
        run = self.grid.run
        return _locked(np.arange(len(self.timestamp)) + np.repeat(self.grid.number - run[:-1], np.diff(run)))

    @cached_property
    def session(self) -> Integers:
        """Number of the session, int64 [bars] (the UTC day number for a market round the clock)."""
        return _locked(self.grid.session(np.arange(len(self.timestamp))))

    @cached_property
    def slot(self) -> Integers:
        """Position inside the session, from 0, int64 [bars]."""
        return _locked(self.grid.slot(np.arange(len(self.timestamp))))

    @cached_property
    def usual_slots(self) -> Integers:
        """Usual number of slots of each bar's session, known when the session begins, int64 [bars]."""
        return _locked(self.grid.usual_slots(np.arange(len(self.timestamp))))

    @cached_property
    def knows_slots(self) -> Booleans:
        """Whether the slots of each bar's session count from its opening, bool [bars].

        Unknown of the first session of intraday hours that are inferred from the bars.
        """
        return _locked(self.grid.knows_slots(np.arange(len(self.timestamp))))

    @property
    def calendar(self) -> Calendar:
        """The market's grid: ``calendar.name`` is ``"24/7"``, ``"sessions"`` or an exchange code.

        Raises:
            BarsError: The symbols have different calendars; :meth:`Bars.by_calendar` splits them.
        """
        return self.grid.calendar

    @property
    def calendar_names(self) -> dict[str, str]:
        """Name of each symbol's calendar."""
        kinds, which = self.grid.calendars.kinds, self.grid.calendars.which.tolist()
        return {symbol: kinds[number].name for symbol, number in zip(self.symbols, which, strict=True)}

    @cached_property
    def gapless_start(self) -> Integers:
        """Flat index of the first bar of the gapless run that each bar belongs to, int64 [bars]."""
        run = self.grid.run
        return _locked(np.repeat(run[:-1], np.diff(run)))

    @cached_property
    def gapless_end(self) -> Integers:
        """Flat index one past the last bar of that run, int64 [bars]."""
        run = self.grid.run
        return _locked(np.repeat(run[1:], np.diff(run)))

    @cached_property
    def session_end(self) -> Integers:
        """Flat index one past the last bar of this session of this symbol, int64 [bars]."""
        bounds = self.grid.session_bounds
        return _locked(np.repeat(bounds[1:], np.diff(bounds)))

    @property
    def frequency(self) -> pd.Timedelta:
        """Length of a bar."""
        return self.grid.calendars.kinds[0].frequency

    @property
    def slots_per_session(self) -> int:
        """Largest number of bars in a session: 24 for hourly bars round the clock, 1 for daily bars."""
        return self.calendar.slots_per_session

    @property
    def is_session_bound(self) -> bool:
        """Whether an order stays inside its session by default: intraday bars of a market that closes."""
        return self.calendar.is_session_bound

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """Table of gaps: symbol, start of the bar before and of the bar after, number of missing bars."""
        last = self.grid.run[1:-1] - 1
        symbol = self.grid.symbol(last)
        inside = self.offsets[symbol + 1] > last + 1
        last, symbol = last[inside], symbol[inside]
        return pd.DataFrame(
            {
                "symbol": [self.symbols[index] for index in symbol],
                "before": pd.DatetimeIndex(self.timestamp[last], tz="UTC"),
                "after": pd.DatetimeIndex(self.timestamp[last + 1], tz="UTC"),
                "missing": self.grid.ordinal(last + 1) - self.grid.ordinal(last) - 1,
            }
        )


_Array = TypeVar("_Array", bound=npt.NDArray[Any])


def _locked(array: _Array) -> _Array:
    array.flags.writeable = False
    return array


def _vwap(notional: Floats, volume: Floats, close: Floats) -> Floats:
    """``notional / volume``, the close where nothing was traded; float64 [bars]."""
    return np.asarray(np.divide(notional, volume, out=close.copy(), where=volume > 0.0))
