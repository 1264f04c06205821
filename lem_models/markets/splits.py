"""Stock splits that the prices are not adjusted for: a jump of the price while the volume jumps the other way.

A price that jumps by a ratio ``a / b`` of small whole numbers from one bar's close to the next bar's open, while the
typical volume changes by about ``b / a``, is a split and not a return. Features, benchmark and slippage over such a
jump mean nothing, so it is reported. It changes no decision: what follows the jump is looked at.
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
from lem_models.markets.frequency import moment
from lem_models.markets.parts import reaching_back

__all__ = ["TYPICAL", "Split", "find_splits", "split_ratio", "warn_of_splits"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SMALLEST = 1.2
"""Ratio of a price jump from which on it is looked at; 5 for 4 is the smallest usual split."""
TYPICAL = 20
"""Bars whose median volume is the typical one."""
_RATIOS = sorted(
    {a / b for a in range(1, 11) for b in range(1, 5) if math.gcd(a, b) == 1 and a / b > SMALLEST}
    | {12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0}
)
_RETURN = 0.06  # how far the market may have moved beside the split, in logarithms
_SHOWN = 3


@dataclass(frozen=True)
class Split:
    """A split that the prices are not adjusted for.

    Attributes:
        symbol: The symbol.
        timestamp: Start of the first bar after it.
        ratio: New price over old price: 0.5 for a split of two for one.
    """

    symbol: str
    timestamp: pd.Timestamp
    ratio: float


def split_ratio(close: float, opened: float, before: Floats, after: Floats) -> float | None:
    """Ratio of the split between two bars, new price over old; ``None`` if nothing speaks for one.

    Args:
        close: Close of the bar before.
        opened: Open of the bar after.
        before: Volumes of the bars before, the last ones count.
        after: Volumes of the bars after, the first ones count.
    """
    jump = opened / close
    size = max(jump, 1 / jump)
    if size < SMALLEST:
        return None
    nearest = min(_RATIOS, key=lambda ratio: abs(math.log(size / ratio)))
    if abs(math.log(size / nearest)) > _RETURN:
        return None
    old, new = (float(np.median(volume)) if len(volume) else 0.0 for volume in (before[-TYPICAL:], after[:TYPICAL]))
    if old <= 0 or new <= 0:
        return None
    # Nearer to the inverse of the jump than to no change.
    if abs(math.log(new / old) + math.log(jump)) >= abs(math.log(jump)) / 2:
        return None
    return nearest if jump > 1 else 1 / nearest


def find_splits(bars: Bars, first: Integers, last: Integers, back: int) -> list[Split]:
    """Splits inside orders and their lookbacks that the prices are not adjusted for.

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
    found = []
    for place in (np.flatnonzero(wide) + 1).tolist():
        row = int(parts.rows[place])
        symbol = int(bars.grid.symbol(np.array([row]))[0])
        begin, end = int(bars.offsets[symbol]), int(bars.offsets[symbol + 1])
        before, after = bars.volume[max(begin, row - TYPICAL) : row], bars.volume[row : min(end, row + TYPICAL)]
        ratio = split_ratio(float(bars.close[row - 1]), float(bars.open[row]), before, after)
        if ratio is not None:
            found.append(Split(bars.symbols[symbol], moment(bars.timestamp[row]), ratio))
    return found


def warn_of_splits(splits: list[Split]) -> None:
    """Warn of splits, if there are any: one line that names the first of them."""
    if not splits:
        return
    named = "; ".join(
        f"{split.symbol} at {split.timestamp:%Y-%m-%d %H:%M} UTC by {_written(split)}" for split in splits[:_SHOWN]
    )
    more = f" and {len(splits) - _SHOWN} more" if len(splits) > _SHOWN else ""
    warnings.warn(
        "prices jump like a stock split that they are not adjusted for, inside an order or its lookback: "
        f"{named}{more}; results over it mean nothing: adjust prices and volumes",
        BarsWarning,
        stacklevel=3,
    )


def _written(split: Split) -> str:
    return f"{split.ratio:.4g}" if split.ratio > 1 else f"1/{1 / split.ratio:.4g}"
