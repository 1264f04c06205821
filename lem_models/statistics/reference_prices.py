"""Reference prices: what the executed price of an order is compared with.

One table, :data:`REFERENCE_PRICES`, is read wherever they occur: the simulator computes them, results have a column of
each, summaries and metrics measure the slippage against each, and reports print its label. A new one is a function
:class:`OrderMarket` -> prices and a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "REFERENCE_PRICES",
    "OrderMarket",
    "ReferencePrice",
    "arrival_price",
    "full_vwap",
    "interval_price",
    "interval_twap",
    "interval_vwap",
    "participation_weighted_price",
    "pwp",
]


@dataclass(frozen=True)
class OrderMarket:
    """The market over the whole horizon of orders, and the interval that each of them took.

    Attributes:
        price: VWAP of each bar over the arrival price, [orders, periods].
        volume: Volume of each bar, in any unit, [orders, periods]; 0 where nothing traded.
        end: Last period of the interval of ``max(min_periods, periods_used)`` periods, int64 [orders, choices].
        last: Last period of the horizon, int64 [orders, 1].
        is_notional: Whether the target is a notional, [orders].
        size: Size of each order in units of the volume, or of price times volume for a notional target, [orders]; NaN
            where it is not known. ``None`` stands for NaN everywhere.
    """

    price: Tensor
    volume: Tensor
    end: Tensor
    last: Tensor
    is_notional: Tensor
    size: Tensor | None = None


@dataclass(frozen=True)
class ReferencePrice:
    """A row of :data:`REFERENCE_PRICES`.

    Attributes:
        name: Name of the measure: a metric, and with ``_bps`` a column of a summary.
        column: Its column in the orders table of a result.
        price: Computes it over the arrival price, [orders, choices] or [orders, 1]; NaN where it is not defined.
        label: Heading in a report.
        note: Sentence below the table of a report.
        benchmark: Value of an order's ``benchmark`` that means this price, if one does.
        slippage: Column of a result with the slippage against it, where that is more than ``executed / price - 1``.
    """

    name: str
    column: str
    price: Callable[[OrderMarket], Tensor]
    label: str
    note: str
    benchmark: str | None = None
    slippage: str | None = None

    @property
    def improvement(self) -> str:
        """Column of a summary with the mean improvement over this price, in bps."""
        return f"{self.name}_bps"


def arrival_price(market: OrderMarket) -> Tensor:
    """The last close before the order, which is the unit of prices."""
    return torch.ones_like(market.price[:, :1])


def interval_vwap(market: OrderMarket) -> Tensor:
    """Volume-weighted average over the interval."""
    return interval_price(market.price, market.volume, market.end)


def interval_twap(market: OrderMarket) -> Tensor:
    """Plain mean over the bars of the interval that traded."""
    return interval_price(market.price, (market.volume > 0).to(market.price.dtype), market.end)


def full_vwap(market: OrderMarket) -> Tensor:
    """Volume-weighted average over the whole horizon."""
    return interval_price(market.price, market.volume, market.last)


def pwp(market: OrderMarket) -> Tensor:
    """:func:`participation_weighted_price` at a tenth of the volume."""
    size = torch.full_like(market.price[:, 0], torch.nan) if market.size is None else market.size
    return participation_weighted_price(market.price, market.volume, size, market.is_notional)[:, None]


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


REFERENCE_PRICES: tuple[ReferencePrice, ...] = (
    ReferencePrice(
        name="arrival",
        column="arrival_price",
        price=arrival_price,
        label="arrival price",
        note="Arrival price: implementation shortfall (what was not filled counts at the last close).",
        benchmark="arrival",
        slippage="shortfall_bps",
    ),
    ReferencePrice(
        name="interval_vwap",
        column="interval_vwap",
        price=interval_vwap,
        label="interval VWAP",
        note="Interval: over the periods that the order took, at least its minimum.",
        benchmark="vwap",
    ),
    ReferencePrice(
        name="interval_twap",
        column="interval_twap",
        price=interval_twap,
        label="interval TWAP",
        note="Interval: over the periods that the order took, at least its minimum.",
        benchmark="twap",
    ),
    ReferencePrice(
        name="full_vwap",
        column="full_vwap",
        price=full_vwap,
        label="full-horizon VWAP",
        note="Full horizon: over its maximum, whatever it took.",
        benchmark="full_vwap",
    ),
    ReferencePrice(
        name="pwp",
        column="pwp_price",
        price=pwp,
        label="part.-weighted",
        note="Participation-weighted: the market's VWAP until it has traded ten times the order, where the order has a "
        "size.",
    ),
)
"""Every reference price, in the order of columns and reports."""
