"""What the quality of an execution is measured by: reference prices and differences from them.

Signs are the same everywhere: buy +1, sell -1, positive = cost. Prices may be in any unit, the same for all arguments.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["interval_price", "participation_weighted_price", "shortfall_bps", "slippage_bps"]


def slippage_bps(price: Tensor, benchmark: Tensor, side: Tensor) -> Tensor:
    """``side * (price / benchmark - 1) * 1e4``: positive = cost.

    Args:
        price: Executed price, any shape; NaN where nothing filled.
        benchmark: What it is compared with, broadcast against it.
        side: +1 buy, -1 sell.

    Example:
        >>> slippage_bps(torch.tensor([101.0]), torch.tensor([100.0]), torch.tensor([-1.0])).round()
        tensor([-100.])
    """
    return side * (price / benchmark - 1) * 1e4


def shortfall_bps(executed: Tensor, filled: Tensor, last: Tensor, arrival: Tensor, side: Tensor) -> Tensor:
    """Implementation shortfall (Perold 1988): the order against a paper portfolio that trades all of it on arrival.

    What did not fill is valued at the last price of the horizon: the cost of the missed opportunity,
    ``side * (filled * executed + (1 - filled) * last - arrival) / arrival * 1e4``.

    Args:
        executed: Executed price of what filled, any shape; not read where nothing did.
        filled: Fraction filled.
        last: Price of the rest.
        arrival: Price on arrival.
        side: +1 buy, -1 sell.

    Returns:
        Same shape, in bps of the arrival price, positive = cost.

    Example:
        Half bought at 101, the rest missed at 104, arrival at 100:

        >>> shortfall_bps(*(torch.tensor(value) for value in (101.0, 0.5, 104.0, 100.0, 1.0)))
        tensor(250.)
    """
    done = torch.where(filled > 0, filled * executed, 0.0)
    return side * (done + (1 - filled) * last - arrival) / arrival * 1e4


def interval_price(price: Tensor, weight: Tensor, end: Tensor) -> Tensor:
    """Average price of the market from the start up to some periods.

    Args:
        price: Price of each bar, [orders, periods].
        weight: Its weight, [orders, periods]: the volume for the VWAP, 1 where anything traded for the TWAP.
        end: Last period of each average, int64 [orders, choices].

    Returns:
        [orders, choices]; NaN where nothing traded.
    """
    numerator, denominator = torch.cumsum(price * weight, 1).gather(1, end), torch.cumsum(weight, 1).gather(1, end)
    return numerator / torch.where(denominator > 0, denominator, torch.nan)


def participation_weighted_price(
    price: Tensor, volume: Tensor, size: Tensor, is_notional: Tensor, rate: float = 0.1
) -> Tensor:
    """Price of an order that takes a constant part of the volume until it is done (PWP).

    It is the market's VWAP from the start until the market has traded ``size / rate``, the last bar pro rata. A
    notional order counts money instead of units.

    Args:
        price: Price of each bar, [orders, periods].
        volume: Volume of each bar, [orders, periods].
        size: Units to trade, or money (units times price) for a notional order, [orders].
        is_notional: Whether it is money, [orders].
        rate: Participation.

    Returns:
        [orders]; NaN where the volume does not suffice or the size is not known (NaN).

    Example:
        5 units at 10 %: 30 from the first bar, 20 of the second.

        >>> price, volume = torch.tensor([[10.0, 20.0, 30.0]]), torch.tensor([[30.0, 40.0, 10.0]])
        >>> participation_weighted_price(price, volume, torch.tensor([5.0]), torch.tensor([False]))
        tensor([14.])
    """
    notional = is_notional[:, None]
    counted = torch.where(notional, price * volume, volume)
    wanted = (size / rate)[:, None]
    passed = torch.cumsum(counted, 1)
    # Of each bar what is still wanted when it comes: not less than nothing, not more than there is.
    taken = torch.minimum((wanted - (passed - counted)).clamp(min=0), counted)
    units, money = (
        torch.where(notional, taken / price, taken).sum(1),
        torch.where(notional, taken, taken * price).sum(1),
    )
    # Sums of fractions carry rounding errors: an order that wants exactly what there is gets it.
    suffices = passed[:, -1:] >= wanted * (1 - 1e-9)
    return torch.where(suffices[:, 0] & (units > 0), money / units, torch.nan)
