r"""The slippage of an order as a linear function of its schedule.

Let ``W_s`` be the fraction traded up to and including period ``s`` of ``n``, ``P_s`` the price of its bar and ``B`` the
VWAP of all of them. The executed price ``sum_s (W_s - W_{s-1}) P_s`` summed by parts, with ``W_{n-1} = 1``, gives

.. math:: \frac{1}{\sigma}\left(\frac{P}{B} - 1\right) = \underbrace{\frac{P_{n-1} - B}{B \sigma}}_{last}
    + \sum_{s < n-1} W_s \underbrace{\frac{P_s - P_{s+1}}{B \sigma}}_{step_s}

in bar volatilities ``sigma``. It holds exactly for a quantity, and to first order in the price moves for a notional.
The side is a sign in front of all of it, so what fits a buy fits a sell. Least squares in ``W`` are least squares of
the slippage: :func:`fitted` needs no model of prices or volumes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lem_models.execution.records import MarketWindow

__all__ = ["LinearSlippage", "fitted"]

_MOST_STEPS = 30  # of reweighting; it has settled after about ten
_SETTLED = 1e-3  # bar volatilities per standard deviation of a column
_FLAT = 1e-6  # a column below this never varies


class LinearSlippage(NamedTuple):
    """Slippage ``last + (W * steps).sum(1)`` of buys in bar volatilities.

    Attributes:
        last: Slippage of trading everything in the last period, [orders].
        steps: What a fraction traded up to a period adds, [orders, periods - 1].
    """

    last: Tensor
    steps: Tensor

    @classmethod
    def of(cls, window: MarketWindow) -> LinearSlippage:
        """The slippage of orders that all last as long as the window, against its VWAP."""
        price, volume = window.price, window.volume
        vwap = (price * volume).sum(1) / volume.sum(1)
        unit = vwap * window.volatility
        return cls((price[:, -1] - vwap) / unit, (price[:, :-1] - price[:, 1:]) / unit[:, None])


def fitted(design: Tensor, slippage: Tensor, *, huber: float, ridge: float, start: Tensor | None = None) -> Tensor:
    """Coefficients ``b`` with the least mean Huber loss of ``slippage + design @ b``, by reweighted least squares.

    Args:
        design: float32 [orders, columns].
        slippage: float32 [orders], in bar volatilities.
        huber: Threshold: errors above it count linearly.
        ridge: Penalty of the squared coefficients, of columns scaled to a mean square of 1.
        start: Coefficients to start from, [columns]; default 0.

    Returns:
        float32 [columns].
    """
    scale = design.square().mean(0).sqrt().clamp(min=_FLAT)
    columns = design / scale
    found = torch.zeros_like(scale) if start is None else start * scale
    for _ in range(_MOST_STEPS):
        error = slippage + columns @ found
        weight = (huber / error.abs().clamp(min=1e-9)).clamp(max=1.0)
        weighted = columns.t() * (weight / weight.sum())
        normal = (weighted @ columns).double()
        normal.diagonal().add_(ridge)
        before, found = found, -torch.linalg.solve(normal, (weighted @ slippage).double()).float()
        if float((found - before).abs().max()) < _SETTLED:
            break
    return found / scale
