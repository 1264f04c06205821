"""Moments on bars: the bar in which a trade happened, and the bar with which an order begins.

A moment belongs to the bar whose interval holds it, the start included and the end not. A trade shortly after the last
bar of a session belongs to that bar: closing auctions print seconds after the close. An order that begins inside a bar
begins with this bar, because a real order trades in it at once. (An order for a policy begins with the next bar: it is
decided before the bar.) Its VWAP then holds trades from before the order: finer bars, smaller error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.markets.bars import Bars
from lem_models.markets.order_placing import BarPlacement
from lem_models.orders.durations import Duration

__all__ = ["BarTimes", "ContainingPlacement", "bar_times"]

Integers = npt.NDArray[np.int64]

AFTER_CLOSE = 300 * 10**9
"""Longest time after the last bar of a session in which a trade belongs to it; at most the length of a bar."""


class BarTimes(NamedTuple):
    """Bars of moments.

    Attributes:
        row: Flat index of the bar, int64 [moments]; -1 where there is none.
        after_close: Whether the moment lies after the end of this bar, bool [moments].
    """

    row: Integers
    after_close: npt.NDArray[np.bool_]


def bar_times(bars: Bars, symbols: npt.NDArray[Any], moments: Integers) -> BarTimes:
    """The bar of each moment.

    Args:
        bars: The bars.
        symbols: Symbol of each moment, object [moments].
        moments: Nanoseconds UTC, [moments].
    """
    row, after_close = np.full(len(moments), -1, dtype=np.int64), np.zeros(len(moments), dtype=bool)
    step = bars.frequency.as_unit("ns").value
    for symbol, mine in pd.Series(moments).groupby(symbols, sort=False).indices.items():
        if symbol not in bars.symbol_numbers:
            continue
        number = bars.number_of(str(symbol))
        low, high = int(bars.offsets[number]), int(bars.offsets[number + 1])
        at = np.searchsorted(bars.timestamp[low:high], moments[mine], side="right") - 1 + low
        begun = at >= low
        at = np.maximum(at, low)
        passed = moments[mine] - bars.timestamp[at]
        inside = begun & (passed < step)
        following = np.minimum(at + 1, high - 1)
        # The next bar follows on the market's grid, and not at once: the session has ended.
        closes = (following > at) & (bars.grid.ordinal(following) - bars.grid.ordinal(at) == 1)
        late = begun & ~inside & closes & (passed < step + min(step, AFTER_CLOSE))
        row[mine] = np.where(inside | late, at, -1)
        after_close[mine] = late
    return BarTimes(row, after_close)


class ContainingPlacement:
    """A :class:`~lem_models.orders.table.Placement` that begins an order with the bar that holds its start.

    A start while the market is closed moves to the next bar, as everywhere.

    Args:
        bars: The bars.

    Attributes:
        note: A line about the starts that lie inside a bar; empty if there was none.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars, self._next = bars, BarPlacement(bars)
        self.note = ""

    def starts(self, symbols: npt.NDArray[Any], starts: Integers, labels: Sequence[object]) -> Integers:
        """See :meth:`~lem_models.orders.table.Placement.starts`."""
        placed = bar_times(self._bars, symbols, starts)
        inside = (placed.row >= 0) & ~placed.after_close
        moved = self._next.starts(symbols, starts, labels)
        moved[inside] = self._bars.timestamp[placed.row[inside]]
        earlier = int((inside & (moved < starts)).sum())
        if earlier:
            self.note = (
                f"{earlier:,} of {len(starts):,} orders start inside a bar: they are measured from its start "
                "on, and their arrival price is the close before it"
            )
        return moved

    def periods(self, duration: Duration, field: str, symbol: str, start: int) -> float:
        """See :meth:`~lem_models.orders.table.Placement.periods`."""
        return self._next.periods(duration, field, symbol, start)
