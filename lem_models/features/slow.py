r"""Slow statistics: level, volatility and day of the week from the last sessions before a bar.

They reach back over sessions, not over bars. A session that is missing, or lacks bars, is skipped or counts with the
bars that it has. So no order is excluded for them. Of a bar they read the sessions before its own, all of them closed.
The first session of inferred hours is left out, because the history may begin inside it. With ``v_d`` the volume of
session ``d``, ``n_d`` its bars and ``q_d`` the sum of its squared returns ``r_k^2``, over the last ``D`` sessions,

    level = sum v_d / sum n_d,    volatility = sqrt(sum q_d / sum m_d),
    weekday(w) = (M_w / M + s) / (1 + s),   s = _PRIOR / (sessions of weekday w),

``r_k`` the log return of the VWAP over the bar before where no bar is missing between them, ``m_d`` their number,
``M`` the mean of ``v_d`` and ``M_w`` that over the sessions of weekday ``w``. The time-of-day profile over the same
sessions is :class:`~lem_models.features.profile.VolumeProfile`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lem_models.errors import BarsError
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import DAY
from lem_models.markets.parts import reaching_back
from lem_models.orders.rules import MAX_SESSIONS

__all__ = ["SlowStatistics", "slow_statistics"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_PRIOR = 4.0  # sessions of a weekday that weigh as much as the mean of all days
_WEEK = 7


@dataclass(frozen=True)
class SlowStatistics:
    """Slow statistics of some bars.

    Attributes:
        level: Mean volume of a bar, [rows], in units of volume; NaN where no session before had volume.
        volatility: Volatility per bar as a fraction, [rows]; NaN where no session before had a return.
        weekday: Volume of a session of the bar's weekday over that of a mean session, [rows]; 1 where nothing is known.
        sessions: Sessions that were there, int64 [rows].
    """

    level: Floats
    volatility: Floats
    weekday: Floats
    sessions: Integers


def slow_statistics(bars: Bars, rows: npt.ArrayLike, sessions: int = MAX_SESSIONS) -> SlowStatistics:
    """Slow statistics of the sessions before those of some bars.

    A result depends on the bars of those sessions alone, bit for bit: not on what else is in the table, nor on the
    other rows. Symbols may have different calendars.

    Args:
        bars: The market.
        rows: Flat indices, [rows].
        sessions: Most sessions, 1 to 60.

    Raises:
        BarsError: The number of sessions is out of range.
    """
    if not 1 <= sessions <= MAX_SESSIONS:
        raise BarsError(f"sessions must be from 1 to {MAX_SESSIONS}; got {sessions!r}", rule="sessions")
    wanted = np.asarray(rows, dtype=np.int64)
    if not wanted.size:
        none = np.empty(0)
        return SlowStatistics(none, none, none, np.empty(0, np.int64))
    slots = max(kind.slots_per_session for kind in bars.grid.calendars.kinds)
    # One session more, for the return of the first bar; a session has at most so many bars.
    parts = reaching_back(bars, wanted, wanted + 1, (sessions + 2) * slots)
    index = parts.rows
    session, symbol, timestamp = bars.grid.session(index), bars.grid.symbol(index), bars.timestamp[index]
    begins = np.ones(len(index), dtype=bool)
    begins[1:] = (session[1:] != session[:-1]) | (symbol[1:] != symbol[:-1]) | (np.diff(index) != 1)
    first = np.flatnonzero(begins)
    squared, counted = np.zeros(len(index)), np.zeros(len(index))
    joined = (np.diff(index) == 1) & (symbol[1:] == symbol[:-1]) & (bars.grid.gapless_start(index[1:]) < index[1:])
    log_vwap = np.log(bars.vwap_at(index))
    squared[1:], counted[1:] = np.where(joined, np.diff(log_vwap) ** 2, 0.0), joined
    by_session = [np.add.reduceat(values, first) for values in (bars.volume[index], squared, counted)]
    volume, variance, returns = by_session
    length = np.diff(first, append=len(index)).astype(np.float64)
    # The weekday of the middle of a session: of daily bars, which may start at local midnight, too.
    day = ((timestamp[first] + timestamp[first + length.astype(np.int64) - 1]) // 2 + DAY // 4) // DAY
    weekday = (day + 3) % _WEEK  # 1970-01-01 was a Thursday
    is_whole = bars.grid.knows_slots(index[first])
    own = np.searchsorted(first, parts.find(wanted), side="right") - 1
    gaps = index[first] - first  # the same in a stretch of neighbouring bars
    totals = np.zeros((5, len(wanted)))  # volume, bars, squared returns, returns, sessions
    of_weekday = np.zeros((2, len(wanted)))  # volume, sessions
    for lag in range(1, sessions + 1):
        earlier = own - lag
        there = earlier >= 0
        at = np.maximum(earlier, 0)
        there &= is_whole[at] & (symbol[first[at]] == symbol[first[own]]) & (gaps[at] == gaps[own])
        for total, values in zip(totals, (volume, length, variance, returns, np.ones(len(first))), strict=True):
            total += np.where(there, values[at], 0.0)
        same = there & (weekday[at] == weekday[own])
        of_weekday += np.where(same, np.stack([volume[at], np.ones(len(at))]), 0.0)
    total_volume, total_bars, total_variance, total_returns, count = totals
    mean = total_volume / np.maximum(count, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shrunk = _PRIOR / of_weekday[1]
        factor = (of_weekday[0] / of_weekday[1] / mean + shrunk) / (1 + shrunk)
        return SlowStatistics(
            level=np.where(total_volume > 0, total_volume / total_bars, np.nan),
            volatility=np.where(total_variance > 0, np.sqrt(total_variance / total_returns), np.nan),
            weekday=np.where((of_weekday[1] > 0) & (mean > 0), factor, 1.0),
            sessions=count.astype(np.int64),
        )
