"""Stock splits for which the prices are not adjusted: the price jumps, and the traded money stays the same.

In a split the price jumps by a ratio ``a / b`` of small whole numbers from a bar's close to the next open, and the
volume changes by about ``b / a``: the traded money stays the same. In a crash of the same size it rises many times,
most of all in the first bar. Bars are compared with bars in the same slot of other sessions, because an opening
trades more than a close. Features, benchmark and slippage over such a jump are meaningless, so a warning reports it.
It does not change decisions, because it is detected from bars after the jump.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsWarning
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.live_bars import ClosedBar
from lem_models.markets.parts import reaching_back

__all__ = ["REACH", "LiveSplits", "Split", "Traded", "find_splits", "is_wide", "split_ratio", "warn_of_splits"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SMALLEST = 1.4
"""Smallest ratio of a price jump that is examined: smaller jumps of crashes come too near to 4/3 and 5/4."""
REACH = 4096
"""Most bars on each side of a jump that are examined."""
_SESSIONS = 20  # most sessions on each side that are examined
_RATIOS = sorted(
    {a / b for a in range(1, 11) for b in range(1, 5) if math.gcd(a, b) == 1 and a / b > SMALLEST}
    | {12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0}
)
_RETURN = 0.06  # largest log return of the market beside the split
_FIRST = 4.0  # most money that the first bar trades, as a multiple of the usual money of its slot
# Sessions after the jump, and the largest difference of the log money of their slots to that before. It is larger for
# fewer sessions: on real bars 19 of 20 moments without a split are within it.
_APART = ((10.0, 0.6), (3.0, 0.8), (0.0, math.log(_FIRST)))
_MOST_JUMPS = 1000  # most jumps that are examined; a price with more jumps has a large tick
_SHOWN = 3


@dataclass(frozen=True)
class Split:
    """A split for which the prices are not adjusted.

    Attributes:
        symbol: The symbol.
        timestamp: Start of the first bar after it.
        ratio: New price over old price: 0.5 for a split of two for one.
    """

    symbol: str
    timestamp: pd.Timestamp
    ratio: float


@dataclass(frozen=True)
class Traded:
    """Money that neighbouring bars of a symbol trade.

    Attributes:
        slot: int64 [bars], position of each in its session.
        notional: float64 [bars].
    """

    slot: Integers
    notional: Floats

    def by_slot(self) -> pd.Series[float]:
        """The typical money of each slot, of the bars that traded."""
        traded = self.notional > 0
        return pd.Series(self.notional[traded]).groupby(self.slot[traded]).median()


def is_wide(close: float, opened: float) -> bool:
    """Whether the jump from a close to the next open is large enough for a split."""
    return not 1 / SMALLEST <= opened / close <= SMALLEST


def split_ratio(close: float, opened: float, before: Traded, after: Traded) -> float | None:
    """Ratio of the split between two bars, new price over old; ``None`` if there is no sign of a split.

    Args:
        close: Close of the bar before.
        opened: Open of the bar after.
        before: The bars before, in order of time.
        after: The bars after, at least one.
    """
    if not is_wide(close, opened):
        return None
    jump = opened / close
    size = max(jump, 1 / jump)
    nearest = min(_RATIOS, key=lambda ratio: abs(math.log(size / ratio)))
    if abs(math.log(size / nearest)) > _RETURN:
        return None
    old, new = before.by_slot(), after.by_slot()
    if not len(old) or not len(new):
        return None
    # A slot without bars before is compared with all bars before.
    known = old.reindex(new.index).fillna(old.median())
    first = int(after.slot[0])
    if first in new.index and float(after.notional[0]) > _FIRST * float(known[first]):
        return None
    sessions = len(after.notional) / len(old)
    allowed = next(apart for least, apart in _APART if sessions >= least)
    # The change of the volume must also be nearer to the inverse of the jump than to 1.
    if abs(float(np.median(np.log(new / known)))) >= max(allowed, math.log(size) / 2):
        return None
    return nearest if jump > 1 else 1 / nearest


def find_splits(bars: Bars, first: Integers, last: Integers, back: int) -> list[Split]:
    """Splits inside orders and their lookbacks for which the prices are not adjusted.

    Args:
        bars: The market.
        first: int64 [orders], first bar of each order.
        last: int64 [orders], one past its last bar.
        back: Bars of the lookback.

    Returns:
        The splits, by symbol and time.
    """
    if not len(first):
        return []
    parts = reaching_back(bars, first, last, back)
    jump = parts.open[1:] / parts.close[:-1]
    wide = (jump > SMALLEST) | (jump < 1 / SMALLEST)
    wide[parts.offsets[1:-1] - 1] = False
    splits = []
    for place in (np.flatnonzero(wide)[:_MOST_JUMPS] + 1).tolist():
        row = int(parts.rows[place])
        symbol = int(bars.grid.symbol(np.array([row]))[0])
        ratio = split_ratio(float(bars.close[row - 1]), float(bars.open[row]), *_around(bars, symbol, row))
        if ratio is not None:
            splits.append(Split(bars.symbols[symbol], moment(bars.timestamp[row]), ratio))
    return splits


def _around(bars: Bars, symbol: int, row: int) -> tuple[Traded, Traded]:
    """The examined bars of a symbol before a row, and from the row on."""
    slots = bars.grid.calendars.kinds[bars.grid.calendars.which[symbol]].slots_per_session
    reach = _reach(slots)
    begin, end = max(int(bars.offsets[symbol]), row - reach), min(int(bars.offsets[symbol + 1]), row + reach)
    slot = bars.grid.slot(np.arange(begin, end))
    return (
        Traded(slot[: row - begin], bars.notional[begin:row]),
        Traded(slot[row - begin :], bars.notional[row:end]),
    )


def _reach(slots: int) -> int:
    """Most bars on each side of a jump that are examined, if sessions have this many slots."""
    return min(_SESSIONS * slots, REACH)


class LiveSplits:
    """Looks for splits between live bars of a symbol.

    Args:
        history: Closed bars.
        index: Number of the symbol in them.
    """

    def __init__(self, history: Bars, index: int) -> None:
        self._symbol = history.symbols[index]
        before, _ = _around(history, index, int(history.offsets[index + 1]))
        slots = history.grid.calendars.kinds[history.grid.calendars.which[index]].slots_per_session
        missing = (_reach(slots) - len(before.slot), 0)  # a bar without money says nothing
        self._traded = Traded(np.pad(before.slot, missing), np.pad(before.notional, missing))

    def observe(self, last: ClosedBar, bar: ClosedBar) -> None:
        """Add a bar, and warn if a split lies between the last one and this one."""
        splits = []
        if is_wide(last.close, bar.open):
            now = Traded(np.array([bar.slot]), np.array([bar.notional]))
            ratio = split_ratio(last.close, bar.open, self._traded, now)
            if ratio is not None:
                splits = [Split(self._symbol, moment(bar.timestamp), ratio)]
        for kept, newest in ((self._traded.slot, bar.slot), (self._traded.notional, bar.notional)):
            kept[:-1] = kept[1:]
            kept[-1] = newest
        warn_of_splits(splits)


def warn_of_splits(splits: list[Split]) -> None:
    """Warn of splits, if there are any; the warning names the first of them."""
    if not splits:
        return
    named = "; ".join(
        f"{split.symbol} at {split.timestamp:%Y-%m-%d %H:%M} UTC by {_written(split)}" for split in splits[:_SHOWN]
    )
    more = f" and {len(splits) - _SHOWN} more" if len(splits) > _SHOWN else ""
    warnings.warn(
        "prices jump like a stock split for which they are not adjusted, inside an order or its lookback: "
        f"{named}{more}; results over it are meaningless: adjust prices and volumes",
        BarsWarning,
        stacklevel=3,
    )


def _written(split: Split) -> str:
    return f"{split.ratio:.4g}" if split.ratio > 1 else f"1/{1 / split.ratio:.4g}"
