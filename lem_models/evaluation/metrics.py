"""Execution quality as torchmetrics: the value does not depend on batches and processes.

Every measure is one number per order, positive = cost
(:class:`~lem_models.statistics.order_statistics.OrderStatistics`).

Metrics are updated with tensors, or with a whole result:

    metrics = execution_metrics()
    metrics.update(execute(model, bars, orders, costs=CostModel(half_spread_bps=1)))
    metrics.compute()["net_slippage_mean"]
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lem_models.execution.measures import shortfall_bps, slippage_bps
from lem_models.execution.result import ExecutionResult
from lem_models.statistics.order_statistics import OrderStatistics
from lem_models.statistics.reference_prices import REFERENCE_PRICES

__all__ = [
    "ImplementationShortfall",
    "Improvement",
    "NetSlippage",
    "Slippage",
    "TradingCost",
    "execution_metrics",
]

Result: TypeAlias = "ExecutionResult | pd.DataFrame"
"""A result, or its table of orders."""


class Slippage(OrderStatistics):
    """Slippage of a price against a benchmark in bps, positive = cost: mean, deviation, share better, weighted mean.

    Args:
        benchmark: Column of the benchmark, when updated with a result: ``"benchmark_price"`` is each order's own,
            others are ``"arrival_price"``, ``"interval_vwap"``, ``"interval_twap"``, ``"full_vwap"``, ``"pwp_price"``.
        price: Column of the price: ``"executed_price"``, or ``"net_price"`` for the price with costs.
        dtype: See :class:`OrderStatistics`.
        **settings: See there.

    Example:
        >>> slippage = Slippage()
        >>> slippage.update(torch.tensor([101.0, 101.0]), torch.tensor([100.0, 100.0]), torch.tensor([1.0, -1.0]))
        >>> slippage.compute()["better"].item()
        0.5
    """

    def __init__(
        self,
        benchmark: str = "benchmark_price",
        price: str = "executed_price",
        dtype: torch.dtype = torch.float64,
        **settings: Any,
    ) -> None:
        super().__init__(dtype=dtype, **settings)
        self.benchmark, self.price = benchmark, price

    def update(  # type: ignore[override]
        self,
        price: Tensor | Result,
        benchmark: Tensor | None = None,
        side: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:
        """Add orders.

        Args:
            price: Price of each order, [orders]; orders with NaN (nothing filled) are left out. Or a result in place of
                all arguments, with the orders' values as weights.
            benchmark: Benchmark price, [orders].
            side: +1 buy, -1 sell, [orders].
            weight: Weights for the weighted mean, [orders]; default: equal.
        """
        if not isinstance(price, Tensor):
            price, benchmark, weight, side = _columns(price, self.price, self.benchmark, "order_value", "side")
        if benchmark is None or side is None:
            raise TypeError("update() takes price, benchmark and side, or a result alone")
        super().update(slippage_bps(*(values.to(self.total) for values in (price, benchmark, side))), weight)


class Improvement(Slippage):
    """Minus the :class:`Slippage`: positive = gain. Deviation and share better are the same."""

    def compute(self) -> dict[str, Tensor]:
        """See :meth:`OrderStatistics.compute`."""
        values = super().compute()
        return values | {name: -values[name] for name in ("mean", "weighted_mean")}


class NetSlippage(Slippage):
    """Slippage with costs; see :class:`Slippage`."""

    def __init__(self, benchmark: str = "benchmark_price", **settings: Any) -> None:
        super().__init__(benchmark, "net_price", **settings)


class TradingCost(Slippage):
    """Half-spread, fees and impact in bps of the executed price: ``update(net, executed, side)``, or with a result."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("executed_price", "net_price", **settings)


class ImplementationShortfall(OrderStatistics):
    """Implementation shortfall against the arrival price in bps, the unfilled rest at the last price (Perold 1988).

    Example:
        >>> shortfall = ImplementationShortfall()
        >>> shortfall.update(*(torch.tensor([value]) for value in (101.0, 0.5, 104.0, 100.0, 1.0)))
        >>> shortfall.compute()["mean"].item()
        250.0
    """

    def __init__(self, dtype: torch.dtype = torch.float64, **settings: Any) -> None:
        super().__init__(dtype=dtype, **settings)

    def update(  # type: ignore[override]
        self,
        executed: Tensor | Result,
        filled: Tensor | None = None,
        last: Tensor | None = None,
        arrival: Tensor | None = None,
        side: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:
        """Add orders.

        Args:
            executed: Executed price, [orders]. Or a result in place of all arguments, with the orders' values as
                weights.
            filled: Fraction filled, [orders].
            last: Price of the unfilled rest, [orders].
            arrival: Price on arrival, [orders].
            side: +1 buy, -1 sell, [orders].
            weight: Weights for the weighted mean, [orders]; default: equal.
        """
        if not isinstance(executed, Tensor):
            shortfall, weight = _columns(executed, "shortfall_bps", "order_value")
        elif filled is None or last is None or arrival is None or side is None:
            raise TypeError("update() takes executed, filled, last, arrival and side, or a result alone")
        else:
            given = (values.to(self.total) for values in (executed, filled, last, arrival, side))
            shortfall = shortfall_bps(*given)
        super().update(shortfall, weight)


def execution_metrics(dtype: torch.dtype = torch.float64, **settings: Any) -> MetricCollection:
    """All measures of a result, by name; update it with results.

    ``slippage``, ``net_slippage`` and ``cost``; ``shortfall`` against the arrival price; the slippage of the executed
    price against each other reference price, by its name in :mod:`lem_models.statistics.reference_prices`.

    Args:
        dtype: See :class:`OrderStatistics`.
        **settings: See there.
    """
    given: dict[str, Any] = {"dtype": dtype, **settings}
    metrics: dict[str, Metric | MetricCollection] = {
        "slippage": Slippage(**given),
        "net_slippage": NetSlippage(**given),
        "cost": TradingCost(**given),
        "shortfall": ImplementationShortfall(**given),
    }
    metrics |= {row.name: Slippage(row.column, **given) for row in REFERENCE_PRICES if row.slippage is None}
    # No compute groups: torchmetrics groups metrics whose states agree after one update, and they may differ later.
    return MetricCollection(metrics, compute_groups=False)


def _columns(result: Result, *names: str) -> tuple[Tensor, ...]:
    """Columns of a table of orders; the side as +1 or -1."""
    table = result.orders if isinstance(result, ExecutionResult) else result
    signs = np.where(table["side"] == "buy", 1.0, -1.0)
    return tuple(
        torch.from_numpy(signs if name == "side" else table[name].to_numpy(dtype=np.float64, copy=True))
        for name in names
    )
