r"""Trading costs, on top of the bar's VWAP at which the simulator fills.

A fill of period ``s`` at the bar's VWAP ``P_s`` has the net price ``P_s (1 + side * c_s)``,

.. math:: c_s = \text{half-spread} + \text{fee} + Y \sigma \sqrt{q_s / V_s},

with ``q_s`` the quantity traded in that bar, ``V_s`` the bar's volume and ``sigma`` the volatility per bar known at the
start of the order. The last term is the square-root law of market impact: Torre, "Market Impact Model Handbook", BARRA
1997; Toth et al., "Anomalous price impact and the critical nature of liquidity in financial markets", Physical Review X
1, 021006, 2011, where ``Y`` is about 1. (Almgren, Thum, Hauptmann and Li, "Direct estimation of equity market impact",
Risk, 2005, find a power of 3/5.) The impact is temporary: it is paid in the bar that causes it and is gone in the next.

Costs change the net prices and no fill by themselves. A policy that reads sizes
(:attr:`~lem_models.execution.policy.Policy.reads_size`) is told the impact of each order, and decides by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from lem_models.errors import ConfigError, OrderError
from lem_models.execution.records import CostlyWindow, MarketWindow, OrderBatch
from lem_models.guard.settings import Settings

__all__ = ["CostModel", "order_impacts", "relative_sizes"]


class CostModel(Settings):
    """Costs of trading; see the module for the formula.

    Args:
        half_spread_bps: Half of the bid-ask spread, in bps of the price.
        fee_bps: Fees, commission and taxes, in bps of the price.
        impact: ``Y`` of the square-root law: the impact, in bar volatilities, of trading the bar's whole volume.
        order_size: Size of an order that names no amount, as a fraction of the volume expected over its maximum
            duration; needed for the impact of such orders.
        half_spreads_bps: Half-spread of some symbols in place of ``half_spread_bps``
            (:func:`~lem_models.execution.costs.spreads.half_spreads_bps` estimates them from bars).

    Raises:
        ConfigError: naming every field that is wrong.

    Example:
        >>> CostModel(half_spread_bps=1, fee_bps=0.5, impact=0.8, order_size=0.01).fee_bps
        0.5
    """

    refusal: ClassVar[str] = "cost model refused"

    half_spread_bps: float = Field(0.0, ge=0, le=1000)
    fee_bps: float = Field(0.0, ge=0, le=1000)
    impact: float = Field(0.0, ge=0, allow_inf_nan=False)
    order_size: float | None = Field(None, gt=0, allow_inf_nan=False)
    half_spreads_bps: Mapping[str, Annotated[float, Field(ge=0, le=1000)]] = Field(default_factory=dict)

    @property
    def is_free(self) -> bool:
        """Whether trading costs nothing; the model may still name the size of orders."""
        return not (self.half_spread_bps or self.fee_bps or self.impact or any(self.half_spreads_bps.values()))

    @property
    def needs_size(self) -> bool:
        """Whether every order must name its amount."""
        return self.impact > 0 and self.order_size is None

    def check(self, table: pd.DataFrame) -> None:
        """Refuse a complete table of orders whose costs are not defined.

        Raises:
            OrderError: when the impact depends on the size of an order that has none.
        """
        if self.needs_size and table["amount"].isna().any():
            raise OrderError(
                "impact depends on the size of an order: give it an amount, or the cost model an order_size "
                "(--order-size 1%)",
                field="amount",
                rule="size for impact",
                row=int(table["amount"].isna().to_numpy().argmax()),
            )

    def at(self, size: float) -> CostModel:
        """The same costs for orders of one size.

        Args:
            size: As :attr:`order_size`. An order of size 0 pays half-spread and fees and has no impact.
        """
        return self.model_copy(update={"order_size": size} if size > 0 else {"order_size": None, "impact": 0.0})

    def priced(self, window: MarketWindow, size: Tensor, symbols: Iterable[str] | None = None) -> CostlyWindow:
        """The market with these costs.

        Args:
            window: The market.
            size: Sizes of its orders, [orders], see :func:`relative_sizes`; may be NaN where there is no impact.
            symbols: Symbol of each order, [orders]; needed where symbols have half-spreads of their own.

        Raises:
            ConfigError: when they have, and the symbols are not given.
        """
        flat_cost = torch.full_like(window.volatility, (self.half_spread_bps + self.fee_bps) / 1e4)
        if self.half_spreads_bps:
            if symbols is None:
                raise ConfigError("half_spreads_bps depends on symbols, which are not known here; set half_spread_bps")
            own = [self.half_spreads_bps.get(symbol, self.half_spread_bps) + self.fee_bps for symbol in symbols]
            flat_cost = torch.tensor(own, dtype=flat_cost.dtype, device=flat_cost.device) / 1e4
        return CostlyWindow(
            **vars(window),
            flat_cost=flat_cost,
            impact=self.impact * window.volatility,
            size=size if self.impact > 0 else torch.zeros_like(window.volatility),
        )


def relative_sizes(
    orders: OrderBatch, window: MarketWindow, amount: Tensor | None = None, costs: CostModel | None = None
) -> Tensor:
    """Sizes of orders in units of ``window.volume_unit``.

    An assumed size is a part of the volume expected over the order's maximum duration (``window.horizon_volume``).

    A notional order's size is money: that volume times the arrival price is its unit.

    Args:
        orders: The orders.
        window: Their market.
        amount: Their amounts, [orders], NaN where an order names none; ``None`` if no order does.
        costs: Cost model that may name the size of such orders.

    Returns:
        [orders], NaN where the size is not known.
    """
    assumed = torch.nan if costs is None or costs.order_size is None else costs.order_size
    size = assumed * window.horizon_volume
    if amount is None:
        return size
    unit = torch.where(orders.is_notional, window.volume_unit * window.arrival_price, window.volume_unit)
    return torch.where(torch.isnan(amount), size, amount / unit)


def order_impacts(size: Tensor, impact: float | Tensor) -> Tensor:
    """What trading each order at once costs, :attr:`~lem_models.execution.records.OrderBatch.impact`.

    By the law in the module a fill ``w`` of an order of size ``q`` in a bar of volume ``v`` costs
    ``w Y sqrt(w q / v)`` bar volatilities; ``Y sqrt(q)`` is all of it that belongs to the order.

    Args:
        size: Sizes in mean expected bars, [orders], see :func:`relative_sizes`; NaN where not known.
        impact: The factor ``Y``, [orders] or one for all.

    Returns:
        In bar volatilities, [orders]; 0 where the size is not known.
    """
    return torch.sqrt(torch.nan_to_num(size)) * impact
