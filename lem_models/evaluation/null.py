r"""The martingale null: the same bars with nothing left to forecast.

Each bar is reflected in log price about the previous close with a random sign ``e_t``:

.. math:: \log x'_t = \log c'_{t-1} + e_t \, (\log x_t - \log c_{t-1}), \qquad x \in \{open, high, low, close, vwap\},

High and low swap where ``e_t = -1``, and the later bars shift along. Volumes, the sizes of moves, and the dependence of
a bar's VWAP on its last close stay as they are. Signs are independent between bars and symbols.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lem_models.markets.bars import Bars, BarsLike

__all__ = ["martingale_null"]


def martingale_null(bars: BarsLike, seed: int) -> Bars:
    """One draw of the null.

    Args:
        bars: The market: bars, a table of bars, or a file of them.
        seed: Seed of the signs; equal seeds give equal bars.

    Returns:
        Bars with the same grid, symbols and volumes.
    """
    bars = Bars.of(bars)
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), len(bars))
    first = bars.offsets[:-1]
    log_close = np.log(bars.close)
    previous = np.roll(log_close, 1)
    previous[first] = np.log(bars.open[first])  # the first bar of a symbol has no previous close
    steps = signs * (log_close - previous)
    # Log close of the null before each bar: where the symbol starts, plus its reflected moves so far.
    walked = np.cumsum(steps) - steps
    anchor = np.repeat(previous[first] - walked[first], np.diff(bars.offsets)) + walked

    def reflected(price: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        result: npt.NDArray[np.float64] = np.exp(anchor + signs * (np.log(price) - previous))
        return result

    high, low = reflected(bars.high), reflected(bars.low)
    open_, close, vwap = reflected(bars.open), reflected(bars.close), reflected(bars.vwap)
    # exp and log round: keep every price inside its bar to the last bit.
    top, bottom = np.maximum(high, low), np.minimum(high, low)
    return bars.with_prices(
        open=np.clip(open_, bottom, top),
        high=top,
        low=bottom,
        close=np.clip(close, bottom, top),
        notional=vwap * bars.volume,
    )
