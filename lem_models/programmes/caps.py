"""The daily cap of a programme: a part of the average daily volume (ADTV) before the day.

SEC rule 10b-18(b)(4) allows 25 % of it, and (a)(1) defines it as the average over the four calendar weeks preceding the
week of the purchase. Many programmes count the 20 sessions before the day instead. Both read closed days only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lem_models.programmes.terms import DailyCap, Dates

__all__ = ["average_daily_volumes", "cap_shares"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_SESSIONS = 20
_FOUR_WEEKS = np.timedelta64(28, "D")
_MONDAY = np.datetime64("1970-01-05", "D")
_NO_CAP = 10**12


def average_daily_volumes(volume: Floats, known: Dates, days: Dates, cap: DailyCap | None) -> Floats:
    """Average daily volume as it is known before each of some days.

    Args:
        volume: Volume of each closed session, [sessions].
        known: Their days, ascending, datetime64[D] [sessions].
        days: Days asked about, ascending. Of those after the next session all have its average: nothing more is known.
        cap: The cap whose basis is averaged; ``None`` for 20 sessions.

    Returns:
        [days]; NaN where the sessions do not reach back so far.

    Example:
        >>> known = np.datetime64("2024-01-01", "D") + np.arange(30)
        >>> average_daily_volumes(np.arange(30.0), known, known[[19, 20, 29]], DailyCap())
        array([ nan,  9.5, 18.5])
    """
    total = np.concatenate([[0.0], np.cumsum(volume)])
    if cap is None or cap.basis == "20 sessions":
        end = np.searchsorted(known, days)
        start = end - _SESSIONS
        reaches = start >= 0
    else:
        coming = days[days > known[-1]] if len(known) else days
        asked = np.minimum(days, coming[0]) if len(coming) else days
        monday = asked - (asked - _MONDAY) % np.timedelta64(7, "D")
        start, end = np.searchsorted(known, monday - _FOUR_WEEKS), np.searchsorted(known, monday)
        # Complete weeks only: the sessions must begin before the four weeks do, or in their first days.
        reaches = (end > start) & (known[0] <= monday - _FOUR_WEEKS + np.timedelta64(4, "D"))
    start = np.maximum(start, 0)
    mean = (total[end] - total[start]) / np.maximum(end - start, 1)
    return np.asarray(np.where(reaches, mean, np.nan))


def cap_shares(average: Floats, cap: DailyCap | None, lot_size: int) -> Integers:
    """Most shares of a day in whole lots, int64 [...] as the averages; 0 where the average is not known.

    Example:
        >>> cap_shares(np.array([13_139_733.0]), DailyCap(), 100)
        array([3284900])
    """
    if cap is None:
        return np.full(np.shape(average), _NO_CAP // lot_size * lot_size, dtype=np.int64)
    # The slack: a quarter of a whole number of lots may come out a rounding error short.
    lots = np.floor(np.nan_to_num(average) * cap.fraction / lot_size * (1 + 1e-12))
    return np.asarray(lots.astype(np.int64) * lot_size)
