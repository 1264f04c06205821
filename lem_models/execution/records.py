"""Records of execution: orders, what is known of them, decisions, their market and what came of it, as tensors.

Prices are multiples of each order's arrival price (the last close before it starts) and volumes multiples of its
expected volume per period, so that nothing depends on units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lem_models.orders.rules import Benchmark, lot_counts, rates_in_lots

if TYPE_CHECKING:
    from lem_models.features.market import Market

__all__ = [
    "BENCHMARKS",
    "CostlyWindow",
    "Decision",
    "ExecutionState",
    "MarketWindow",
    "OrderBatch",
    "OrderContexts",
    "Outcome",
    "Paths",
    "mapped",
]

BENCHMARKS: tuple[str, ...] = tuple(benchmark.value for benchmark in Benchmark)
"""Benchmarks of orders, in the order of their places in :attr:`OrderBatch.benchmark`."""

Integers = npt.NDArray[np.int64]
Mapped = TypeVar("Mapped")


@dataclass(frozen=True)
class Decision:
    """Answer of a policy for one period.

    Attributes:
        fraction: Fraction of the whole order to trade in this period, [orders]. The simulator holds it inside
            ``[state.lower, state.upper]``.
        finish: Probability of finishing now, [orders] (bool or float): trade the rest at once, or at the cap until
            done. In force from the period that reaches ``min_periods``; acted on when above 1/2.
    """

    fraction: Any
    finish: Any


@dataclass(frozen=True)
class OrderBatch:
    """A table of orders as tensors, each [orders].

    Attributes:
        side: +1 buy, -1 sell.
        benchmark: Place of the benchmark in :data:`BENCHMARKS` (int64).
        is_notional: Whether the notional is fixed.
        min_periods: Minimum duration in periods (int64).
        max_periods: Maximum duration in periods (int64).
        min_rate: Smallest fraction per period.
        max_rate: Largest fraction per period.
        risk_aversion: Weight of the squared slippage.
        lot: Lot size as a fraction of the order, 0 where any size can be traded.
        participation: Largest part of a bar that may be filled, as a fraction of the order per unit of volume (or of
            notional, for a notional target); inf where unlimited.
        impact: What trading the whole order in one bar of the mean expected volume costs, in bar volatilities: the
            factor of the square-root law times the root of the order's size in such bars
            (:func:`~lem_models.execution.costs.order_impacts`). 0 for an order without a size.
    """

    side: Tensor
    benchmark: Tensor
    is_notional: Tensor
    min_periods: Tensor
    max_periods: Tensor
    min_rate: Tensor
    max_rate: Tensor
    risk_aversion: Tensor
    lot: Tensor
    participation: Tensor
    impact: Tensor

    def __len__(self) -> int:
        """Number of orders."""
        return len(self.side)

    @classmethod
    def from_frame(cls, orders: pd.DataFrame, dtype: torch.dtype = torch.float64) -> OrderBatch:
        """Tensors of a complete table of orders (see :func:`lem_models.orders.table.complete_orders`).

        The impact, for which the market must be known, is 0.
        """
        amount = orders["amount"].to_numpy(dtype=np.float64)
        limit = orders["max_participation"].to_numpy(dtype=np.float64) / amount
        lots = lot_counts(amount, orders["lot_size"].to_numpy(dtype=np.float64))
        has_lots = ~np.isnan(lots)
        max_rate, min_rate = orders["max_rate"].to_numpy(np.float64), orders["min_rate"].to_numpy(np.float64)
        rates = rates_in_lots(min_rate, max_rate, lots)
        min_rate, max_rate = (np.where(has_lots, *pair) for pair in zip(rates, (min_rate, max_rate), strict=True))

        def real(values: npt.NDArray[Any]) -> Tensor:
            return torch.tensor(np.asarray(values, dtype=np.float64), dtype=dtype)

        return cls(
            side=real(np.where(orders["side"].to_numpy() == "buy", 1.0, -1.0)),
            benchmark=torch.from_numpy(
                pd.Index(BENCHMARKS).get_indexer(pd.Index(orders["benchmark"])).astype(np.int64)
            ),
            is_notional=torch.tensor(np.asarray(orders["target"].to_numpy() == "notional")),
            min_periods=torch.tensor(orders["min_periods"].to_numpy(dtype=np.int64)),
            max_periods=torch.tensor(orders["max_periods"].to_numpy(dtype=np.int64)),
            min_rate=real(min_rate),
            max_rate=real(max_rate),
            risk_aversion=real(orders["risk_aversion"].to_numpy()),
            lot=real(np.where(has_lots, 1.0 / lots, 0.0)),
            participation=real(np.where(np.isnan(limit), np.inf, limit)),
            impact=real(np.zeros(len(orders))),
        )

    def has_benchmark(self, *names: str) -> Tensor:
        """Whether the benchmark of each order is one of these, bool [orders]."""
        places = [BENCHMARKS.index(name) for name in names]
        mask = self.benchmark == places[0]
        for place in places[1:]:
            mask = mask | (self.benchmark == place)
        return mask

    @property
    def is_twap(self) -> Tensor:
        """Whether the benchmark is the TWAP, bool [orders]."""
        return self.has_benchmark("twap")

    def copy(self) -> OrderBatch:
        """The same orders in tensors of their own."""
        return OrderBatch(*(getattr(self, name).clone() for name in _COLUMNS))

    def __getitem__(self, rows: slice | Tensor) -> OrderBatch:
        """Some of the orders."""
        return OrderBatch(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


_COLUMNS = tuple(f.name for f in fields(OrderBatch))


@dataclass(frozen=True)
class ExecutionState:
    """What is known before a period; tensors are [orders] unless said.

    Attributes:
        period: Period to decide, 0-based, the same for the whole batch.
        remaining: Fraction still to trade.
        lower: Smallest feasible fraction for this period.
        upper: Largest feasible fraction for this period.
        executed_price: Average price of what has been traded, by the order's own target rule; the last close when
            nothing has.
        vwap: Market VWAP of the periods so far; the last close when nothing traded.
        twap: Mean bar price of the periods so far, bars without volume left out; the last close when nothing traded.
        last_price: VWAP of the last closed bar of the order; the last close before the first period.
        last_close: Close of the last closed bar.
        prices: Bar prices of the periods so far, [orders, period].
        volumes: Volumes of the periods so far in units of the order's expected volume per period, [orders, period].
        expected_volume: Volume expected in each period from the same time slots of past sessions, as known at the
            start, mean 1, [orders, horizon].
        volatility: Volatility per bar at the start, as a fraction.
        arrival_price: Last close before the order in units of the bars; multiply any price above with it.
        start_context: Context of the last bar closed before the order, as ``decide`` was handed it for the first
            period, [orders, width]; ``None`` for a policy that encodes nothing.
    """

    period: int
    remaining: Tensor
    lower: Tensor
    upper: Tensor
    executed_price: Tensor
    vwap: Tensor
    twap: Tensor
    last_price: Tensor
    last_close: Tensor
    prices: Tensor
    volumes: Tensor
    expected_volume: Tensor
    volatility: Tensor
    arrival_price: Tensor
    start_context: Tensor | None = None

    def benchmark(self, orders: OrderBatch) -> Tensor:
        """Each order's benchmark so far, [orders]: VWAP or TWAP of its periods, or the arrival price, which is 1."""
        so_far = torch.where(orders.is_twap, self.twap, self.vwap)
        return torch.where(orders.has_benchmark("arrival"), 1.0, so_far)


@dataclass(frozen=True)
class MarketWindow:
    """The market over the periods of each order; only the simulator sees it whole.

    Attributes:
        price: VWAP of each bar over the arrival price, [orders, periods].
        close: Close of each bar over the arrival price, [orders, periods].
        volume: Volume of each bar in units of the order's mean expected volume, [orders, periods]; 0 = cannot trade.
        expected_volume: Expected volume as known at the start, same unit, mean 1, [orders, periods].
        volatility: Volatility per bar at the start, as a fraction, [orders].
        arrival_price: Last close before the order, in units of the bars, [orders].
        volume_unit: Mean expected volume per period, in units of the bars, [orders].
        horizon_volume: Volume expected over the order's maximum duration from the last 20 sessions, in ``volume_unit``,
            [orders]. Sizes are parts of it, so they are the same for policies of any memory.
    """

    price: Tensor
    close: Tensor
    volume: Tensor
    expected_volume: Tensor
    volatility: Tensor
    arrival_price: Tensor
    volume_unit: Tensor
    horizon_volume: Tensor

    @classmethod
    def of(
        cls,
        market: Market,
        start: Integers,
        max_periods: Integers,
        horizon: int,
        dtype: torch.dtype = torch.float64,
        *,
        sessions: int = 0,
        sized: bool = True,
    ) -> MarketWindow:
        """The market over some orders.

        Args:
            market: The market.
            start: Flat index of each order's first bar, int64 [orders]; each has a bar before it.
            max_periods: Maximum duration of each order, int64 [orders].
            horizon: Periods of the tensors; periods after an order's maximum have volume 0.
            dtype: Type of the tensors.
            sessions: Sessions of the expected volume, :attr:`~lem_models.execution.policy.Policy.sessions`.
            sized: Whether ``horizon_volume`` is wanted; else it is NaN.
        """
        arrays = market.over_orders(start, max_periods, horizon, sessions, sized=sized)
        return cls(**{name: torch.from_numpy(values).to(dtype) for name, values in arrays.items()})


@dataclass(frozen=True)
class CostlyWindow(MarketWindow):
    """A market in which trading costs; made by :meth:`lem_models.execution.costs.CostModel.priced`.

    Attributes:
        flat_cost: Half-spread and fees, as a fraction of the price, [orders].
        impact: Impact of trading as much as a bar's volume, as a fraction of the price, [orders].
        size: Size of each order in units of ``volume_unit``, or of the money of one for a notional target, [orders].
    """

    flat_cost: Tensor
    impact: Tensor
    size: Tensor


@dataclass(frozen=True)
class OrderContexts:
    """Contexts before the periods of orders: rows of a table, because many orders read the same bars.

    Attributes:
        values: [bars, width].
        rows: Row of the last closed bar before each period, int64 [orders, periods]; any row where an order is over.
    """

    values: Tensor
    rows: Tensor

    @classmethod
    def of(cls, contexts: Tensor) -> OrderContexts:
        """Contexts [orders, periods, width], each read once."""
        count, periods = contexts.shape[:2]
        rows = torch.arange(count * periods, device=contexts.device).view(count, periods)
        return cls(contexts.flatten(0, 1), rows)

    def dense(self) -> Tensor:
        """The contexts themselves, [orders, periods, width]."""
        return self.values[self.rows]


@dataclass(frozen=True)
class Paths:
    """What a policy did, were it never to finish early.

    Attributes:
        fills: Fraction filled in each period, [orders, periods].
        remaining: Fraction left before each period, [orders, periods].
        finish: Probability of finishing in each period, 0 before the minimum and 1 in the last, [orders, periods].
        capacity: Largest fill of each period once finishing, [orders, periods].
    """

    fills: Tensor
    remaining: Tensor
    finish: Tensor
    capacity: Tensor


@dataclass(frozen=True)
class Outcome:
    """Result of a vector of fills; tensors have the fills' shape without the period axis.

    Attributes:
        executed_price: Average price of the fills over the arrival price; NaN when nothing filled.
        net_price: The same with costs; the executed price where trading is free.
        benchmark_price: The order's benchmark, same unit.
        improvement: ``-side * (net / benchmark - 1)``, a fraction, positive = good; what training maximises. Against
            the arrival price what is unfilled counts at the last close of ``max_periods``.
        periods_used: Periods until the last fill; ``max_periods`` for an order that did not complete.
        filled: Fraction filled.
    """

    executed_price: Tensor
    net_price: Tensor
    benchmark_price: Tensor
    improvement: Tensor
    periods_used: Tensor
    filled: Tensor


def mapped(of: Callable[..., Tensor], values: Sequence[Mapped]) -> Mapped:
    """A function of tensors, applied to every tensor of some alike records: rows taken out, or records joined.

    Args:
        of: Takes one tensor of each record.
        values: Records, sequences or tensors. Other values must agree, flags apart: one is set if it is in any of them.
    """
    first: Any = values[0]
    result: Any = first
    if isinstance(first, Tensor):
        result = of(*values)
    elif isinstance(first, list | tuple):
        result = type(first)(mapped(of, each) for each in zip(*values, strict=True))
    elif is_dataclass(first):
        result = copy(first)
        for name in vars(first):
            object.__setattr__(result, name, mapped(of, [getattr(each, name) for each in values]))
    elif isinstance(first, bool):
        result = any(values)
    return result  # type: ignore[no-any-return]
