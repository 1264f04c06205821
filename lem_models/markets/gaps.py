"""Gaps in bars: how many orders they exclude, their likely reason, and bars that fill them.

A gap excludes every order whose lookback or duration touches it. If gaps exclude many orders, there are two usual
reasons: the market has a break that the inferred calendar does not know, or the vendor leaves out bars in which nothing
traded. :func:`gap_advice` distinguishes them; :func:`missing_bars` gives bars without volume for the gaps.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, BarsWarning
from lem_models.markets.calendar.frequency import DAY
from lem_models.markets.placed_bars import PlacedBars
from lem_models.orders.rules import MAX_LOOKBACK

__all__ = ["gap_advice", "missing_bars", "starts_lost", "warn_of_gaps"]

Integers = npt.NDArray[np.int64]

_MANY = 0.25  # share of the possible starts
_LONGEST_IDLE = 12  # missing bars in a row that a vendor may leave out because nothing traded; more are likely a halt
_NAMED = 3
_LEAST_DAYS = 5  # with a hole, before it counts as a break of the market
_MINUTE, _MINUTES = 60_000_000_000, 1440
# Lunch breaks of exchanges without daylight saving, UTC: first missing moment, first moment after, exchange code.
_BREAKS = (
    ("02:30", "03:30", "XTKS"),
    ("03:30", "05:00", "XSHG"),
    ("04:00", "05:00", "XHKG"),
)


def warn_of_gaps(bars: PlacedBars) -> None:
    """Warn if gaps exclude a quarter or more of the possible orders."""
    lost, possible = starts_lost(bars)
    if possible and lost > _MANY * possible:
        warnings.warn(
            f"{len(bars.gaps):,} gaps exclude {lost:,} of {possible:,} possible starts of orders, with "
            f"{MAX_LOOKBACK} bars of history each; {gap_advice(bars)}",
            BarsWarning,
            stacklevel=3,
        )


def starts_lost(bars: PlacedBars) -> tuple[int, int]:
    """Starts whose lookback touches a gap, and starts with enough bars of their symbol before them."""
    whole = np.maximum(np.diff(bars.offsets) - MAX_LOOKBACK, 0).sum()
    kept = np.maximum(np.diff(bars.grid.run) - MAX_LOOKBACK, 0).sum()
    return int(whole - kept), int(whole)


def gap_advice(bars: PlacedBars) -> str:
    """The likely reason of the gaps, and the cure, in one sentence."""
    return f"{_advice(bars)} (--calendar and --fill-gaps on the command line)"


def _advice(bars: PlacedBars) -> str:
    holes = _recurring(bars)
    if holes:
        return _hours_in_words(holes)
    weeks = _holidays(bars)
    if weeks is not None:
        return weeks
    _, missing = _before_gaps(bars)
    longest = int(missing.max(initial=0))
    short = missing[missing <= _LONGEST_IDLE]
    count = int(missing.sum())
    counted = f"{count:,} bars are missing, at most {longest:,} in a row" if count > 1 else "1 bar is missing"
    fill = "if the vendor leaves out bars in which nothing traded, fill them with bars without volume"
    if longest <= _LONGEST_IDLE:
        return f"{counted}: {fill}: fill_gaps={longest}"
    if not len(short):
        return f"{counted}, never fewer than {missing.min():,}: these may be halts, or bars that another source has"
    return (
        f"{counted}: {fill}: fill_gaps={short.max()} fills {len(short):,} of the {len(missing):,} gaps; longer ones "
        "may be halts, and stay"
    )


class _Hole(NamedTuple):
    """Hours that a symbol lacks on most of its days, in minutes after midnight UTC."""

    symbol: str
    begin: int
    end: int
    days: int
    bars: int

    def __str__(self) -> str:
        return f"{self.begin // 60:02d}:{self.begin % 60:02d} to {self.end // 60:02d}:{self.end % 60:02d}"


def _recurring(bars: PlacedBars) -> list[_Hole]:
    """Holes that most days of a symbol have, largest first, of the symbol with the most frequent hole."""
    last, missing = _before_gaps(bars)
    before, after = bars.timestamp[last] + bars.frequency.value, bars.timestamp[last + 1]
    short = after - before < DAY
    # Symbol, begin and end as one number, because counting texts would take seconds.
    symbol = bars.grid.symbol(last[short])
    begin, end = before[short] % DAY // _MINUTE, after[short] % DAY // _MINUTE
    kinds, place, count = np.unique(
        symbol * _MINUTES**2 + begin * _MINUTES + end, return_index=True, return_counts=True
    )
    if not len(kinds):
        return []
    chosen = int(kinds[np.argmax(count)]) // _MINUTES**2
    usual = (kinds // _MINUTES**2 == chosen) & (count >= max(_LEAST_DAYS, _days(bars, chosen) / 2))
    name = bars.symbols[chosen]
    if bars.calendar_names[name].startswith("X"):
        return []
    holes = [
        _Hole(name, int(begin[at]), int(end[at]), days, int(missing[short][at]))
        for at, days in zip(place[usual].tolist(), count[usual].tolist(), strict=True)
    ]
    return sorted(holes, key=lambda hole: -hole.bars)


def _before_gaps(bars: PlacedBars) -> tuple[Integers, Integers]:
    """The row before each gap, and how many bars it lacks; int64 [gaps] both."""
    grid = bars.grid
    last = grid.run[1:-1] - 1
    last = last[grid.symbol(last) == grid.symbol(last + 1)]
    return last, np.asarray(grid.ordinal(last + 1) - grid.ordinal(last) - 1)


def _days(bars: PlacedBars, symbol: int) -> int:
    """Number of dates, UTC, on which a symbol has bars."""
    date = bars.timestamp[bars.offsets[symbol] : bars.offsets[symbol + 1]] // DAY
    return 1 + int(np.count_nonzero(np.diff(date)))


def _hours_in_words(holes: list[_Hole]) -> str:
    """Name the hours that are missing on most days, and a calendar that may have them as a break."""
    largest = holes[0]
    named = ", ".join(str(hole) for hole in holes[:_NAMED])
    missing = f"{largest.symbol} lacks {named} UTC on {min(hole.days for hole in holes[:_NAMED])} days"
    fill = f"fill_gaps={largest.bars} fills them with bars without volume"
    if len(holes) > 1:
        return f"{missing}: if these are breaks of the market: no exchange calendar has several a day; {fill}"
    code = next((name for begin, end, name in _BREAKS if str(largest) == f"{begin} to {end}"), None)
    cure = (
        f"calendar={code!r} knows it"
        if code
        else f"calendar='XTKS' (or another code) takes an exchange's hours; if these have no break, {fill}"
    )
    return f"{missing}: if that is a lunch break or the pause before a night session, name the exchange: {cure}"


def _holidays(bars: PlacedBars) -> str | None:
    """Describe whole weeks that daily bars of a symbol lack, if this happens more than once."""
    last, missing = _before_gaps(bars)
    if bars.frequency.value != DAY or not len(last):
        return None
    symbol = bars.grid.symbol(last)
    count = np.bincount(symbol)
    chosen = int(np.argmax(count))
    name, times = bars.symbols[chosen], int(count[chosen])
    if times < 2 or bars.calendar_names[name] != "sessions":
        return None
    longest = int(missing[symbol == chosen].max())
    return (
        f"{name} lacks a week of days or more {times} times, at most {longest:,} days: if those are holidays, such as "
        "China's, name the exchange: calendar='XSHG' (or another code) knows them"
    )


def missing_bars(bars: PlacedBars, at_most: int) -> pd.DataFrame:
    """Bars without volume, at the close before them, for the bars that short gaps lack.

    A bar without volume cannot be traded, so an order carries over it. Each of them depends on earlier bars alone.

    Args:
        bars: The bars.
        at_most: Gaps of more bars than this stay.

    Returns:
        One row per missing bar, the columns of a table of bars.

    Raises:
        BarsError: ``at_most`` is not a positive whole number.
    """
    if isinstance(at_most, bool) or not isinstance(at_most, int | np.integer) or at_most < 1:
        raise BarsError(
            f"fill_gaps is the largest number of missing bars to fill in a row, at least 1; got {at_most!r}",
            rule="gaps",
        )
    last, missing = _before_gaps(bars)
    last, missing = last[missing <= at_most], missing[missing <= at_most]
    gap = np.repeat(np.arange(len(last)), missing)
    ahead = np.arange(len(gap)) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    rows = last[gap]
    return pd.DataFrame(
        {
            "timestamp": pd.DatetimeIndex(bars.timestamp[rows] + bars.grid.until(rows, ahead), tz="UTC"),
            "symbol": np.array(bars.symbols, dtype=object)[bars.grid.symbol(rows)],
            **dict.fromkeys(("open", "high", "low", "close"), bars.close[rows]),
            "volume": 0.0,
            "notional": 0.0,
        }
    )
