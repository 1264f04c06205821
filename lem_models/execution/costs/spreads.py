r"""Half-spreads estimated from the high, low and close of bars.

**Corwin and Schultz** (2012), "A simple way to estimate bid-ask spreads from daily high and low prices", Journal of
Finance 67. The highest trade of a bar is a buy and the lowest a sale, so the range holds the spread once, whatever its
length, and the volatility in proportion to the root of the length. Of two neighbouring bars, with ``H, L`` their highs
and lows and ``H_2, L_2`` those of both together,

.. math:: \beta = \ln^2 \frac{H_t}{L_t} + \ln^2 \frac{H_{t+1}}{L_{t+1}}, \quad \gamma = \ln^2 \frac{H_2}{L_2}, \quad
    \alpha = \frac{\sqrt{2 \beta} - \sqrt \beta}{3 - 2 \sqrt 2} - \sqrt{\frac{\gamma}{3 - 2 \sqrt 2}}, \quad
    S = \frac{2 (e^\alpha - 1)}{1 + e^\alpha},

their closed form for the spread ``S`` of two days. A gap between the close and the range of the next bar is taken out
of the next bar, negative estimates of two bars count as 0, and the estimates are averaged, all as in the paper.

**Abdi and Ranaldo** (2017), "A simple estimation of bid-ask spreads from daily close, high, and low prices", Review of
Financial Studies 30. With ``c`` the log close and ``eta`` the middle of log high and log low, the close lies half a
spread off the efficient price, and the middles around it do not:

.. math:: S^2 = 4 \, E[(c_t - \eta_t)(c_t - \eta_{t+1})].

The mean is over a calendar month, a negative mean counts as 0 (their "monthly corrected" version), and the root of each
month is averaged.

Both assume many trades in a bar. Both were made for daily bars of shares, where spreads are a sizeable part of the
range. Where the spread is a hundredth of the range the estimates are mostly noise: zeros for negative estimates make
their mean positive, and what is measured is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import DAY

__all__ = ["SPREAD_ESTIMATORS", "abdi_ranaldo", "corwin_schultz", "half_spreads_bps"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

_ROOTS = 3 - 2 * np.sqrt(2)
_FEWEST_PAIRS = 20


def corwin_schultz(high: Floats, low: Floats, close: Floats, paired: Flags, month: Integers) -> float:
    """Spread by Corwin and Schultz (2012), as a fraction of the price.

    Args:
        high: Highest price of each bar, [bars].
        low: Lowest price, [bars].
        close: Last price, [bars].
        paired: Whether a bar is the neighbour of the next one, bool [bars - 1].
        month: Not read: the estimates of all pairs are averaged.

    Returns:
        The spread, at least 0; NaN without a pair.
    """
    if not paired.any():
        return float("nan")
    top, bottom, before = np.log(high), np.log(low), np.log(close)[:-1]
    # A gap from the close to the range of the next bar is no part of the range of both.
    gap = np.maximum(bottom[1:] - before, 0) + np.minimum(top[1:] - before, 0)
    next_top, next_bottom = top[1:] - gap, bottom[1:] - gap
    beta = (top[:-1] - bottom[:-1]) ** 2 + (next_top - next_bottom) ** 2
    gamma = (np.maximum(top[:-1], next_top) - np.minimum(bottom[:-1], next_bottom)) ** 2
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / _ROOTS - np.sqrt(gamma / _ROOTS)
    spread = 2 * np.expm1(alpha) / (1 + np.exp(alpha))
    return float(np.maximum(spread[paired], 0).mean())


def abdi_ranaldo(high: Floats, low: Floats, close: Floats, paired: Flags, month: Integers) -> float:
    """Spread by Abdi and Ranaldo (2017), as a fraction of the price.

    Args:
        high: Highest price of each bar, [bars].
        low: Lowest price, [bars].
        close: Last price, [bars].
        paired: Whether a bar is the neighbour of the next one, bool [bars - 1].
        month: Number of the month of each bar, [bars].

    Returns:
        The spread, at least 0; NaN without a pair.
    """
    if not paired.any():
        return float("nan")
    middle, last = (np.log(high) + np.log(low)) / 2, np.log(close)[:-1]
    square = 4 * (last - middle[:-1]) * (last - middle[1:])
    means = pd.Series(square[paired]).groupby(month[:-1][paired]).mean()
    return float(np.sqrt(means.clip(lower=0)).mean())


Estimator = Callable[[Floats, Floats, Floats, Flags, Integers], float]

SPREAD_ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {"abdi_ranaldo": abdi_ranaldo, "corwin_schultz": corwin_schultz}
)
"""Estimators by name."""


def half_spreads_bps(bars: Bars, method: str, *, before: pd.Timestamp | None = None) -> dict[str, float]:
    """Half-spread of each symbol of a market.

    Args:
        bars: The market. Intraday bars are neighbours if no bar and no session end lies between them; daily and longer
            ones if they follow each other.
        method: A name of :data:`SPREAD_ESTIMATORS`.
        before: Only bars that have closed by then are read; ``None`` for all.

    Returns:
        Half-spread in bps by symbol.

    Raises:
        UnknownNameError: There is no such estimator.
        BarsError: A symbol has fewer than 20 pairs of neighbours.
    """
    if method not in SPREAD_ESTIMATORS:
        raise UnknownNameError.among("estimator of the spread", method, SPREAD_ESTIMATORS)
    step = bars.frequency.value
    last = np.inf if before is None else pd.Timestamp(before).value - step
    spreads = {}
    for number, symbol in enumerate(bars.symbols):
        rows = np.arange(bars.offsets[number], bars.offsets[number + 1])
        rows = rows[(bars.timestamp[rows] <= last) & (bars.volume[rows] > 0)]
        time = bars.timestamp[rows]
        paired = np.ones(max(len(rows) - 1, 0), dtype=bool) if step >= DAY else np.diff(time) == step
        if paired.sum() < _FEWEST_PAIRS:
            raise BarsError(
                f"{symbol} has {int(paired.sum())} pairs of neighbouring bars to estimate its spread; at least "
                f"{_FEWEST_PAIRS} are needed",
                symbol=symbol,
                rule="pairs of bars",
            )
        month = time.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
        spread = SPREAD_ESTIMATORS[method](bars.high[rows], bars.low[rows], bars.close[rows], paired, month)
        spreads[symbol] = spread * 1e4 / 2
    return spreads
