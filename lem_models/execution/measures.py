"""Measures of execution quality: differences from reference prices.

The reference prices themselves are in :mod:`lem_models.statistics.reference_prices`.

Signs are the same everywhere: buy +1, sell -1, positive = cost. Prices may be in any unit, the same for all arguments.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["shortfall", "shortfall_bps", "slippage_bps"]


def slippage_bps(price: Tensor, benchmark: Tensor, side: Tensor) -> Tensor:
    """``side * (price / benchmark - 1) * 1e4``: positive = cost.

    Args:
        price: Executed price, any shape; NaN where nothing filled.
        benchmark: Benchmark price, broadcast against ``price``.
        side: +1 buy, -1 sell.

    Example:
        >>> slippage_bps(torch.tensor([101.0]), torch.tensor([100.0]), torch.tensor([-1.0])).round()
        tensor([-100.])
    """
    return side * (price / benchmark - 1) * 1e4


def shortfall(executed: Tensor, filled: Tensor, last: Tensor, arrival: Tensor | float, side: Tensor) -> Tensor:
    """Implementation shortfall (Perold 1988): the order against a paper portfolio that trades it all on arrival.

    The unfilled rest counts at the last price of the horizon, as the cost of the missed opportunity:
    ``side * (filled * executed + (1 - filled) * last - arrival) / arrival``.

    Args:
        executed: Executed price, any shape; not read where nothing filled.
        filled: Fraction filled.
        last: Price of the unfilled rest.
        arrival: Price on arrival.
        side: +1 buy, -1 sell.

    Returns:
        Same shape, as a fraction of the arrival price, positive = cost.
    """
    done = torch.where(filled > 0, filled * executed, 0.0)
    return side * (done + (1 - filled) * last - arrival) / arrival


def shortfall_bps(executed: Tensor, filled: Tensor, last: Tensor, arrival: Tensor, side: Tensor) -> Tensor:
    """:func:`shortfall` in bps.

    Example:
        Half bought at 101, the rest missed at 104, arrival at 100:

        >>> shortfall_bps(*(torch.tensor(value) for value in (101.0, 0.5, 104.0, 100.0, 1.0)))
        tensor(250.)
    """
    return shortfall(executed, filled, last, arrival, side) * 1e4
