"""Gaps in bars: what they cost, what they look like, and how to close them.

A gap keeps every order away whose lookback or life touches it. Where that is much of the data, the reason is as a rule
one of two: the market has a break that the inferred calendar does not know, or the vendor leaves out bars in which
nothing traded. :func:`gap_advice` tells them apart; :func:`filled_gaps` closes gaps with bars without volume.
"""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, BarsWarning
from lem_models.markets.bars import Bars

__all__ = ["filled_gaps", "gap_advice", "warn_of_gaps"]

Integers = npt.NDArray[np.int64]

LOOKBACK = 256  # bars of history that orders of models need
_MUCH = 0.25  # of the starts that the bars have room for
# Lunch breaks, UTC, of exchanges without daylight saving: first missing moment, first moment after, codes.
_BREAKS = (
    ("02:30", "03:30", "XTKS"),
    ("03:30", "05:00", "XSHG"),
    ("04:00", "05:00", "XHKG"),
    ("05:00", "06:30", "XIDX"),
    ("05:30", "07:00", "XBKK"),
)


def warn_of_gaps(bars: Bars) -> None:
    """Warn where gaps keep a quarter or more of the possible orders away."""
    lost, possible = starts_lost(bars)
    if possible and lost > _MUCH * possible:
        warnings.warn(
            f"{lost:,} of {possible:,} possible starts of orders are lost to {len(bars.gaps):,} gaps, with "
            f"{LOOKBACK} bars of history each; {gap_advice(bars)}",
            BarsWarning,
            stacklevel=3,
        )


def starts_lost(bars: Bars) -> tuple[int, int]:
    """Bars whose lookback touches a gap, and bars that have as many bars of their symbol before them as it takes."""
    whole = np.maximum(np.diff(bars.offsets) - LOOKBACK, 0).sum()
    kept = np.maximum(np.diff(bars.grid.run) - LOOKBACK, 0).sum()
    return int(whole - kept), int(whole)


def gap_advice(bars: Bars) -> str:
    """What the gaps look like, and the cure; one sentence."""
    gaps = bars.gaps
    missing = int(gaps["missing"].sum())
    daily = _recurring(gaps)
    if daily is not None and not bars.calendar_names[daily[0]].startswith("X"):
        symbol, begin, end, count = daily
        code = next((name for opens, closes, name in _BREAKS if (begin, end) == (opens, closes)), None)
        named = f"calendar={code!r} knows it" if code else "calendar='XTKS' (or another code) takes an exchange's hours"
        return (
            f"{symbol} lacks {begin} to {end} UTC on {count} days: if that is a lunch break or the pause before a "
            f"night session, name the exchange: {named}"
        )
    longest = int(gaps["missing"].max()) if len(gaps) else 0
    return (
        f"{missing:,} bars are missing, at most {longest:,} in a row: if the vendor leaves out bars in which nothing "
        f"traded, fill them with bars without volume: fill_gaps={min(longest, 12)}"
    )


def _recurring(gaps: pd.DataFrame) -> tuple[str, str, str, int] | None:
    """The hole that most days of a symbol have: symbol, first and last moment (UTC), number of days."""
    if not len(gaps):
        return None
    same_day = gaps["before"].dt.normalize() == gaps["after"].dt.normalize()
    inside = gaps[same_day]
    holes = Counter(
        zip(inside["symbol"], inside["before"].dt.strftime("%H:%M"), inside["after"].dt.strftime("%H:%M"), strict=True)
    )
    if not holes:
        return None
    (symbol, before, after), count = holes.most_common(1)[0]
    if count < 5 or count < 0.5 * int((gaps["symbol"] == symbol).sum()):
        return None
    step = _step(inside)
    begin = (pd.Timestamp(f"2000-01-01 {before}") + step).strftime("%H:%M")
    return str(symbol), begin, after, count


def _step(gaps: pd.DataFrame) -> pd.Timedelta:
    distance = gaps["after"].iloc[0] - gaps["before"].iloc[0]
    return pd.Timedelta(distance / (int(gaps["missing"].iloc[0]) + 1))


def filled_gaps(bars: Bars, at_most: int) -> Bars:
    """Close gaps with bars without volume, at the close before them.

    A bar without volume cannot be traded, so an order carries over it. What is filled in depends on earlier bars alone.

    Args:
        bars: The bars.
        at_most: Gaps of more bars than this stay.

    Returns:
        The bars with those filled in; other columns have no value there.

    Raises:
        BarsError: ``at_most`` is not a positive whole number.
    """
    if isinstance(at_most, bool) or not isinstance(at_most, int | np.integer) or at_most < 1:
        raise BarsError(
            f"fill_gaps is the largest number of missing bars to fill in a row, at least 1; got {at_most!r}",
            rule="gaps",
        )
    grid = bars.grid
    last = grid.run[1:-1] - 1
    last = last[grid.symbol(last) == grid.symbol(last + 1)]
    missing = grid.ordinal(last + 1) - grid.ordinal(last) - 1
    last, missing = last[missing <= at_most], missing[missing <= at_most]
    if not len(last):
        return bars
    at = np.repeat(np.arange(len(last)), missing)
    ahead = np.arange(len(at)) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    rows = last[at]
    close = bars.close[rows]
    symbol = grid.symbol(rows)
    added = pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(bars.timestamp[rows] + grid.until(rows, ahead), tz="UTC"),
            "symbol": np.array(bars.symbols, dtype=object)[symbol],
            **dict.fromkeys(("open", "high", "low", "close"), close),
            "volume": 0.0,
            "notional": 0.0,
        }
    )
    number = np.concatenate([bars.symbol_index, symbol])
    frame = pd.concat([bars.frame, added], ignore_index=True)
    order = np.lexsort([frame["timestamp"].to_numpy(), number])
    return Bars.from_frame(
        frame.iloc[order].reset_index(drop=True), calendar=bars.calendar_names, frequency=bars.frequency
    )
