"""Orders under way inside a graph: each row in a period of its own, by the rules of :class:`Roll`.

An order in period ``p`` obeys the rules of an order in its first period whose durations are ``p`` shorter. So one
:class:`Roll` books and bounds rows in any periods, from tensors that the state carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lem_models.execution.costs import order_impacts, relative_sizes
from lem_models.execution.policy import Policy
from lem_models.execution.records import BENCHMARKS, Decision, ExecutionState, MarketWindow, OrderBatch
from lem_models.execution.roll import Roll, dust
from lem_models.modeling.heads.path_state import RaggedState
from lem_models.orders.rules import rates_in_lots

__all__ = ["CARRIED", "ORDER_INPUTS", "PATHS", "CarriedOrders", "CarriedRoll", "OrderInput", "feasible", "order_batch"]

CARRIED = (
    *(
        "under_way",
        "refused",
        "finishing",
        "period",
        "remaining",
        "fraction",
        "weighted",
        "money",
        "units",
        "price_sum",
    ),
    *("price_count", "executed_price", "vwap", "twap", "last_price", "last_close", "volatility", "arrival_price"),
    "volume_unit",
)
"""Numbers of an order that the state carries, in order; flags are 0 or 1."""

PATHS = ("expected_volume", "prices", "volumes")
"""Numbers of an order and its periods that the state carries, [rows, horizon] each."""

_SLACK = 1e-9  # as in the rules of orders


@dataclass(frozen=True)
class OrderInput:
    """An input that describes the orders.

    Attributes:
        name: Its name.
        dtype: Its type.
        default: What stands for "not given".
        meaning: What it is.
    """

    name: str
    dtype: torch.dtype
    default: float
    meaning: str


ORDER_INPUTS = (
    OrderInput("begin", torch.bool, 0, "whether an order begins with the next bar; it replaces the order of the row"),
    OrderInput("side", torch.int64, 1, "1 buy, -1 sell; the same for a row from its first bar on"),
    OrderInput("benchmark", torch.int64, 0, f"place in {', '.join(BENCHMARKS)}"),
    OrderInput("is_notional", torch.bool, 0, "whether the target is a notional"),
    OrderInput("min_periods", torch.int64, 1, "minimum duration in bars"),
    OrderInput("max_periods", torch.int64, 1, "maximum duration in bars"),
    OrderInput("min_rate", torch.float64, 0, "smallest fraction of the order in a bar"),
    OrderInput("max_rate", torch.float64, 1, "largest fraction of the order in a bar"),
    OrderInput("risk_aversion", torch.float64, 0.5, "weight of the squared slippage"),
    OrderInput("amount", torch.float64, 0, "size in units, or in money for a notional target; 0: none"),
    OrderInput("lot_size", torch.float64, 0, "size of a lot in the unit of the amount; 0: none"),
    OrderInput("max_participation", torch.float64, 0, "largest part of a bar's volume; 0: no limit"),
)
"""Inputs that describe the orders; they stay the same while an order is under way."""


def order_batch(inputs: Mapping[str, Tensor]) -> OrderBatch:
    """Orders of the inputs as the rules take them; the tensor twin of :meth:`OrderBatch.from_frame`."""
    amount, lot_size, limit = inputs["amount"], inputs["lot_size"], inputs["max_participation"]
    has_lots = lot_size > 0
    lots = torch.round(amount / torch.where(has_lots, lot_size, 1.0)).clamp(min=1)
    rates = rates_in_lots(inputs["min_rate"], inputs["max_rate"], lots, torch)
    min_rate, max_rate = (
        torch.where(has_lots, in_lots, inputs[name])
        for in_lots, name in zip(rates, ("min_rate", "max_rate"), strict=True)
    )
    real = torch.float64
    return OrderBatch(
        side=inputs["side"].to(real),
        benchmark=inputs["benchmark"],
        is_notional=inputs["is_notional"],
        min_periods=inputs["min_periods"],
        max_periods=inputs["max_periods"],
        min_rate=min_rate,
        max_rate=max_rate,
        risk_aversion=inputs["risk_aversion"],
        lot=torch.where(has_lots, 1.0 / lots, 0.0),
        participation=torch.where(limit > 0, limit / torch.where(amount > 0, amount, 1.0), torch.inf),
        impact=torch.zeros_like(amount),
    )


def feasible(orders: OrderBatch, inputs: Mapping[str, Tensor], horizon: int, benchmarks: tuple[str, ...]) -> Tensor:
    """Whether orders keep the rules that every order obeys, bool [rows]: a graph has no other way to refuse one."""
    minimum, maximum = orders.min_periods, orders.max_periods
    amount, lot_size, limit = inputs["amount"], inputs["lot_size"], inputs["max_participation"]
    needs_amount = (lot_size > 0) | (limit > 0)
    return (
        (orders.side.abs() == 1)
        & orders.has_benchmark(*benchmarks)
        & (minimum >= 1)
        & (minimum <= maximum)
        & (maximum <= horizon)
        & (orders.min_rate >= 0)
        & (orders.min_rate <= orders.max_rate)
        & (orders.max_rate > 0)
        & (orders.max_rate <= 1)
        & (orders.max_rate * maximum >= 1 - _SLACK)
        & (orders.risk_aversion >= 0)
        & (amount >= 0)
        & (lot_size >= 0)
        & (limit >= 0)
        & ((amount > 0) | ~needs_amount)
    )


@dataclass(frozen=True)
class CarriedOrders:
    """What the state carries of the orders of rows.

    Attributes:
        numbers: By the names of :data:`CARRIED`, float64 [rows] each.
        paths: By the names of :data:`PATHS`, float64 [rows, horizon] each.
    """

    numbers: Mapping[str, Tensor]
    paths: Mapping[str, Tensor]

    @classmethod
    def of(cls, order: Tensor, paths: Tensor) -> CarriedOrders:
        """From tensors [rows, numbers] and [rows, paths, horizon]."""
        return cls(dict(zip(CARRIED, order.unbind(1), strict=True)), dict(zip(PATHS, paths.unbind(1), strict=True)))

    def tensors(self) -> tuple[Tensor, Tensor]:
        """What :meth:`of` takes."""
        numbers = torch.stack([self.numbers[name].to(torch.float64) for name in CARRIED], 1)
        return numbers, torch.stack([self.paths[name] for name in PATHS], 1)

    @property
    def under_way(self) -> Tensor:
        """Whether a row has an order, bool [rows]."""
        return self.numbers["under_way"] > 0

    @property
    def period(self) -> Tensor:
        """Period of each order, int64 [rows]."""
        return self.numbers["period"].to(torch.int64)

    def booked(self, orders: OrderBatch, price: Tensor, close: Tensor, volume: Tensor) -> CarriedOrders:
        """Fill what was decided, now that the bar has closed; rows without an order stay as they are.

        Args:
            orders: The orders.
            price: VWAP of the bar, [rows].
            close: Its close, [rows].
            volume: Its volume, [rows].
        """
        numbers, period = self.numbers, self.period
        roll = CarriedRoll(orders, self)
        arrival, unit = (torch.where(self.under_way, numbers[name], 1.0) for name in ("arrival_price", "volume_unit"))
        bar = price / arrival, close / arrival, volume / unit
        roll.book(*bar)
        after = roll.carried() | {"period": numbers["period"] + 1}
        after["under_way"] = ((after["remaining"] > 0) & (orders.max_periods > period + 1)).to(price.dtype)
        column = torch.arange(self.paths["prices"].shape[1], device=price.device) == period[:, None]
        paths = {
            "prices": torch.where(column, bar[0][:, None], self.paths["prices"]),
            "volumes": torch.where(column, bar[2][:, None], self.paths["volumes"]),
        }
        return self.replaced(self.under_way, after, paths)

    def begun(
        self,
        begin: Tensor,
        expected: Tensor,
        close: Tensor,
        volatility: Tensor,
        max_periods: Tensor,
        refused: Tensor,
    ) -> CarriedOrders:
        """With new orders where they begin.

        Args:
            begin: Whether an order begins, bool [rows].
            expected: Volume expected in each period, in units of volume, [rows, horizon].
            close: The last close, [rows].
            volatility: Volatility per bar, [rows].
            max_periods: Maximum durations, int64 [rows].
            refused: Whether an order that begins cannot run, bool [rows]; it keeps the row and gets no fraction.
        """
        own = torch.arange(expected.shape[1], device=expected.device) < max_periods[:, None]
        unit = torch.where(own, expected, 0.0).sum(1) / max_periods.clamp(min=1)
        one, zero = torch.ones_like(close), torch.zeros_like(close)
        fresh = {name: zero for name in CARRIED} | {
            name: one
            for name in ("under_way", "remaining", "executed_price", "vwap", "twap", "last_price", "last_close")
        }
        fresh |= {
            "refused": refused.to(close.dtype),
            "volatility": volatility,
            "arrival_price": close,
            "volume_unit": unit,
        }
        return self.replaced(begin, fresh, {"expected_volume": torch.where(own, expected, 0.0) / unit[:, None]})

    def replaced(self, which: Tensor, numbers: Mapping[str, Tensor], paths: Mapping[str, Tensor]) -> CarriedOrders:
        """With other values in some rows, bool [rows]."""
        return CarriedOrders(
            {
                name: torch.where(which, numbers[name], values) if name in numbers else values
                for name, values in self.numbers.items()
            },
            {
                name: torch.where(which[:, None], paths[name], values) if name in paths else values
                for name, values in self.paths.items()
            },
        )

    def sized(self, orders: OrderBatch, amount: Tensor, impact: float) -> OrderBatch:
        """The orders with what trading each at once costs, by a factor of the square-root law."""
        nothing = torch.full_like(amount, torch.nan)
        window = MarketWindow(
            **{name: nothing[:, None] for name in ("price", "close", "volume", "expected_volume")},
            **{name: self.numbers[name] for name in ("volatility", "arrival_price", "volume_unit")},
            horizon_volume=nothing,
        )
        size = relative_sizes(orders, window, torch.where(amount > 0, amount, torch.nan))
        return replace(orders, impact=order_impacts(size, impact))

    def state(self, roll: CarriedRoll) -> RaggedState:
        """What the head may know before the period."""
        return RaggedState(**vars(roll.state()) | {"period": self.period})


class CarriedRoll(Roll):
    """Orders that go on where the state left them, each in a period of its own.

    Args:
        orders: The orders.
        carried: What the state carries.
    """

    def __init__(self, orders: OrderBatch, carried: CarriedOrders) -> None:
        # What Roll.__init__ works out by looking at the numbers is taken for granted: a graph serves any numbers.
        values, period = carried.numbers, carried.period
        self._orders = replace(orders, min_periods=orders.min_periods - period, max_periods=orders.max_periods - period)
        self._expected = carried.paths["expected_volume"]
        self._volatility, self._arrival = values["volatility"], values["arrival_price"]
        self._tiny = dust(torch.float64)
        self._like = torch.ones_like(self._volatility)
        self._has_lots = self._is_limited = self._any_notional = True
        self._caps_ahead = False
        self._periods = 1
        maximum, minimum = (each[:, None] for each in (self._orders.max_periods, self._orders.min_periods))
        self._reserve = orders.max_rate[:, None] * (maximum - 1).clamp(min=0)
        self._live = maximum > 0
        self._must_finish = (maximum <= 1).to(self._like)
        self._may_finish = ((minimum <= 1) | (maximum <= 1)).to(self._like)
        self.largest = self._to_lots(orders.max_rate, down=True)
        self._unit = torch.where(orders.is_notional, values["volume_unit"] * self._arrival, values["volume_unit"])
        self._last_price, self._last_close = values["last_price"], values["last_close"]
        self._vwap, self._twap, self._executed = values["vwap"], values["twap"], values["executed_price"]
        self._money, self._units = values["money"], values["units"]
        self._price_sum, self._price_count = values["price_sum"], values["price_count"]
        self._weighted = values["weighted"]
        self._start_context = None
        self._prices, self._volumes, self._booked = [], [], []
        self._paths = carried.paths
        self.period, self.remaining = 0, values["remaining"]
        self.fraction, self.finish = values["fraction"], torch.zeros_like(self._like)
        self._bound()

    @property
    def prices(self) -> Tensor:
        """VWAP of the bars booked so far, [orders, horizon]; of the first ``period`` columns only."""
        return self._paths["prices"]

    @property
    def volumes(self) -> Tensor:
        """Their volumes, likewise."""
        return self._paths["volumes"]

    def carried(self) -> dict[str, Tensor]:
        """Numbers of :data:`CARRIED` that trading changes."""
        return {
            "remaining": self.remaining,
            "fraction": self.fraction,
            "weighted": self._weighted,
            "money": self._money,
            "units": self._units,
            "price_sum": self._price_sum,
            "price_count": self._price_count,
            "executed_price": self._executed,
            "vwap": self._vwap,
            "twap": self._twap,
            "last_price": self._last_price,
            "last_close": self._last_close,
        }

    def settle(self, decision: Decision, finishing: Tensor) -> Tensor:
        """Take a decision, and complete the orders that are finishing, bool [rows].

        Returns:
            Orders that are finishing now.
        """
        self.decide(_Decided(decision), None, finishing)
        finishing = finishing | (self.finish > 0.5)
        self.complete(finishing)
        return finishing

    def _check_finite(self, fraction: Tensor, finish: Tensor) -> None:
        """A graph cannot refuse: what is not finite goes out as it is."""


class _Decided(Policy):
    """A decision that has been taken already."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """The decision."""
        return self._decision
