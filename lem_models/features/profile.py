"""Time-of-day profile of the volume: the mean of the same time slots over the sessions before.

The profile of session ``d`` and slot ``s`` is the mean volume of slot ``s`` over the sessions ``d - 1, ..., d - days``
of the same symbol. Sessions without the slot do not count. Nor does the first session of inferred hours: the history
may begin inside it, and its slots count from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import symbol_groups
from lem_models.markets.parts import BarColumns, BarIntervals, reaching_back
from lem_models.orders.rules import MAX_LOOKBACK, MAX_SESSIONS

__all__ = [
    "LEVEL_WINDOW",
    "MAX_LOOKBACK",
    "MAX_SESSIONS",
    "VolumeProfile",
    "expected_of_profile",
    "profile_days",
    "slot_profile",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVEL_WINDOW = 96
"""Bars whose mean volume is the level of the volume."""


SessionCount: TypeAlias = "int | Callable[[Integers], Integers]"
"""How many sessions an average takes: a number, or a function of the usual slots of each session, int64 [sessions]."""


def profile_days(slots: npt.ArrayLike, lookback: int = MAX_LOOKBACK) -> Integers:
    """Sessions that a time-of-day profile averages: as many as fit into the lookback, at most 20 (0: no profile).

    Args:
        slots: Usual slots of a session, int64 [...].
        lookback: Bars.

    Returns:
        int64 [...].
    """
    return np.asarray(np.clip(lookback // np.asarray(slots) - 1, 0, 20))


def slot_profile(columns: BarColumns, days: SessionCount) -> tuple[Floats, Integers]:
    """Mean volume of each time slot over the sessions before.

    Args:
        columns: Bars.
        days: Sessions averaged.

    Returns:
        ``(table, first)``: ``table`` [sessions of all symbols, slots], the mean volume of that slot over so many
        sessions *before* that row's session (NaN where there is none); ``first`` [sessions], the row of ``columns``
        with which each session begins.
    """
    session = columns.session
    new_session = np.ones(len(session), dtype=bool)
    new_session[1:] = session[1:] != session[:-1]
    new_session[columns.offsets[:-1]] = True
    first = np.flatnonzero(new_session)
    row = np.repeat(np.arange(len(first)), np.diff(first, append=len(session)))
    volume = np.full((len(first), columns.slots_per_session), np.nan)
    volume[row, columns.slot] = columns.volume
    volume[~columns.knows_slots[first]] = np.nan
    symbol = np.searchsorted(columns.offsets, first, side="right")
    averaged = _averaged(days, columns.usual_slots[first])
    total = np.zeros_like(volume)
    count = np.zeros_like(volume)
    for lag in range(1, min(int(averaged.max(initial=0)), len(volume) - 1) + 1):
        earlier = volume[:-lag]
        known = ((symbol[lag:] == symbol[:-lag]) & (averaged[lag:] >= lag))[:, None] & ~np.isnan(earlier)
        total[lag:] += np.where(known, earlier, 0.0)
        count[lag:] += known
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), first


def expected_of_profile(profile: Floats, expected: Floats, recent: Floats, xp: Any = np) -> Floats:  # noqa: ANN401
    """Expected volumes where the profile may not know every slot.

    Args:
        profile: Profile of the session in which each order starts, [orders, slots]; NaN where nothing is known.
        expected: Profile of the slot of each period, [orders, periods]; NaN likewise.
        recent: Mean volume of the last bars, [orders], positive.
        xp: Library of the arrays, numpy or torch.

    Returns:
        [orders, periods], positive: the level of the volume where nothing is known, and never far below it.
    """
    known = ~xp.isnan(profile)
    mean = xp.where(known, profile, 0.0).sum(1) / xp.clip(known.sum(1), 1, None)
    # Level of the volume at the start, in units of volume: the mean of the profile, or else of the last bars.
    profiled = mean[:, None] > 0
    level = xp.where(profiled, mean[:, None], recent[:, None])
    filled: Floats = xp.where(profiled & ~xp.isnan(expected), xp.maximum(expected, 0.02 * level), level)
    return filled


def _averaged(days: SessionCount, slots: Integers) -> Integers:
    return days(slots) if callable(days) else np.full(np.shape(slots), days)


@dataclass(frozen=True, eq=False)
class VolumeProfile:
    """Time-of-day profile of the volume. Build it with :meth:`of`, and ask it with :meth:`expected`.

    Attributes:
        bars: The market.
        table: float64 [sessions, slots], see :func:`slot_profile`; no row if nothing is averaged.
        first: int64 [sessions], row of the first bar of each session; ``None`` if every bar is a session.
    """

    bars: Bars
    table: Floats
    first: Integers | None

    @classmethod
    def of(
        cls, bars: Bars, days: SessionCount | None = None, rows: Integers | None = None, horizon: int = 1
    ) -> VolumeProfile:
        """Average the volumes of a market, or of the bars that some orders need.

        Args:
            bars: The market.
            days: Sessions averaged; default :func:`profile_days`, those that fit into the longest lookback.
            rows: First bars of the orders; default: the whole market.
            horizon: Periods of the orders.
        """
        # A session has at most so many bars: missing ones only make the reach longer.
        back = (days + 1) * bars.slots_per_session if isinstance(days, int) else MAX_LOOKBACK
        days = profile_days if days is None else days
        # The usual slots never fall after the second session. Sessions longer than any lookback have no profile.
        if not _averaged(days, bars.calendar.usual_slots(np.arange(2))).any():
            return cls(bars, np.zeros((0, bars.slots_per_session)), None)
        if rows is not None:
            last = np.minimum(rows + horizon, bars.offsets[bars.grid.symbol(rows) + 1])
            parts = reaching_back(bars, rows, last, back)
            table, begin = slot_profile(parts, days)
            return cls(bars, table, parts.rows[begin])
        bounds = [bars.offsets[low : high + 1] for low, high in symbol_groups(bars.offsets)]
        tables = [slot_profile(BarIntervals(bars, bound[:-1], bound[1:]), days)[0] for bound in bounds]
        first = None if bars.slots_per_session == 1 else bars.grid.session_bounds[:-1]
        return cls(bars, tables[0] if len(tables) == 1 else np.concatenate(tables), first)

    def at(self, index: Integers) -> Floats:
        """Profile of some bars: the mean volume of their slot over the sessions before their own.

        Args:
            index: Flat indices of bars, [...].

        Returns:
            float64 [...], in units of volume; NaN where nothing is known.
        """
        if not len(self.table):
            return np.full(index.shape, np.nan)
        return np.asarray(self.table[self._session(index), self.bars.grid.slot(index)])

    def expected(self, start: Integers, horizon: int) -> Floats:
        """Volume expected in each period of orders, from the same time slots of the sessions before the order.

        Period ``j`` of an order takes the profile of its own session if all bars of that average have closed before the
        order starts. Otherwise (orders longer than a session) it takes the profile of the session in which the order
        starts. So no entry depends on a bar at or after ``start``.

        Args:
            start: Flat index of each order's first bar, [orders].
            horizon: Number of periods; periods beyond the symbol's last bar repeat it.

        Returns:
            float64 [orders, horizon], in units of volume, positive; 1 where nothing is known.
        """
        bars = self.bars
        if not len(self.table):
            return np.repeat(self._recent(start)[:, None], horizon, axis=1)
        last = bars.offsets[bars.grid.symbol(start) + 1] - 1
        index = np.minimum(start[:, None] + np.arange(horizon), last[:, None])
        slot, own = bars.grid.slot(index), self._session(index)
        first = self._session(start)
        # The latest bar in the average table[own] belongs to the session before. It must close before the order starts.
        # This holds in the session of the start. In the next session it holds for slots before that of the start.
        before = np.maximum(own - 1, 0)
        latest = (before if self.first is None else self.first[before]) + slot
        source = np.where((own == first[:, None]) | (latest < start[:, None]), own, first[:, None])
        return expected_of_profile(self.table[first], self.table[source, slot], self._recent(start))

    def _session(self, rows: Integers) -> Integers:
        """Row of the session in the table."""
        return rows if self.first is None else np.asarray(np.searchsorted(self.first, rows, side="right") - 1)

    def _recent(self, start: Integers) -> Floats:
        """Mean volume of the last bars before each start, within the symbol; 1 where there is none, [orders]."""
        bars = self.bars
        index = start[:, None] - 1 - np.arange(LEVEL_WINDOW)
        inside = index >= bars.offsets[bars.grid.symbol(start)][:, None]
        total = np.where(inside, bars.volume[np.maximum(index, 0)], 0.0).sum(1)
        return np.where(total > 0, total / np.maximum(inside.sum(1), 1), 1.0)
