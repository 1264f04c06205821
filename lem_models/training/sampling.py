"""Random training orders and fixed kinds of validation orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from lem_models.execution.records import BENCHMARKS, OrderBatch
from lem_models.guard.settings import Settings
from lem_models.modeling.config import LEMConfig

__all__ = ["VALIDATION_SIZES", "DrawnOrders", "OrderSampling", "draw_orders", "validation_orders"]

VALIDATION_SIZES = (0.0, 0.0, 0.01, 0.1)
"""Sizes of validation orders, as fractions of the volume expected over the maximum duration."""
_VALIDATION_IMPACT = 0.8
_ROUNDING = 1e-9


class OrderSampling(Settings):
    """How training orders are drawn. Fields are probabilities unless noted.

    Attributes:
        twap: Orders with the TWAP as benchmark.
        full_vwap: Orders with the VWAP of the full horizon as benchmark.
        arrival: Orders with the arrival price as benchmark. The others have the VWAP.
        notional: Orders with a fixed notional.
        full_horizon: Orders whose maximum is the horizon; the others are uniform from 1.
        fixed_duration: Orders whose minimum is their maximum; the others are uniform from 1 to the maximum.
        capped: Orders with a cap per period, log-uniform from the lowest feasible cap to 1.
        floored: Orders with a minimum rate, uniform up to the even pace.
        risk_aversion: Range of the log-uniform risk aversion.
        sized: Orders with a size; the others are infinitesimal.
        size: Range of the log-uniform size, as a fraction of the volume expected over the maximum duration.
        impact: Range of the log-uniform factor of the square-root law of impact, in bar volatilities.
    """

    refusal: ClassVar[str] = "order sampling refused"

    twap: float = Field(0.25, ge=0, le=1)
    full_vwap: float = Field(0.0, ge=0, le=1)
    arrival: float = Field(0.0, ge=0, le=1)
    notional: float = Field(0.3, ge=0, le=1)
    full_horizon: float = Field(0.7, ge=0, le=1)
    fixed_duration: float = Field(0.25, ge=0, le=1)
    capped: float = Field(0.3, ge=0, le=1)
    floored: float = Field(0.15, ge=0, le=1)
    risk_aversion: tuple[float, float] = (0.05, 2.0)
    sized: float = Field(0.0, ge=0, le=1)
    size: tuple[float, float] = (1e-4, 0.2)
    impact: tuple[float, float] = (0.5, 1.2)

    @field_validator("risk_aversion", "size", "impact", mode="before")
    @classmethod
    def _two(cls, ends: object) -> object:
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            raise ValueError("must be two positive numbers, the smaller first")
        return ends

    @field_validator("risk_aversion", "size", "impact")
    @classmethod
    def _positive_range(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not 0 < ends[0] <= ends[1] < float("inf"):
            raise ValueError("must be two positive numbers, the smaller first")
        return ends

    @model_validator(mode="after")
    def _shares(self) -> OrderSampling:
        if self.twap + self.full_vwap + self.arrival > 1:
            raise ValueError("twap, full_vwap and arrival together exceed 1")
        return self

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks that are drawn, in the order of :data:`~lem_models.execution.records.BENCHMARKS`."""
        shares = {name: getattr(self, name) for name in BENCHMARKS if name != "vwap"}
        shares["vwap"] = 1 - sum(shares.values())
        return tuple(name for name in BENCHMARKS if shares[name] > _ROUNDING)


@dataclass(frozen=True)
class DrawnOrders:
    """Orders with sizes, before their market is known.

    Attributes:
        orders: The orders; their :attr:`~lem_models.execution.records.OrderBatch.impact` is 0 as yet.
        size: Fraction of the volume expected over the maximum duration, 0 for an infinitesimal order, [orders].
        impact: Factor of the square-root law, [orders].
    """

    orders: OrderBatch
    size: Tensor
    impact: Tensor

    def __getitem__(self, rows: slice) -> DrawnOrders:
        """Some of the orders."""
        return DrawnOrders(self.orders[rows], self.size[rows], self.impact[rows])


def draw_orders(
    rng: np.random.Generator, side: npt.NDArray[np.float32], horizon: int, sampling: OrderSampling
) -> DrawnOrders:
    """Random orders of given sides [orders], float32."""
    count = len(side)

    def log_uniform(ends: tuple[float, float]) -> npt.NDArray[np.float64]:
        return np.exp(rng.uniform(np.log(ends[0]), np.log(ends[1]), count))

    maximum = np.where(rng.random(count) < sampling.full_horizon, horizon, rng.integers(1, horizon + 1, count))
    minimum = rng.integers(1, maximum + 1)
    minimum = np.where(rng.random(count) < sampling.fixed_duration, maximum, minimum)
    # Slightly above the lowest feasible cap, so that orders complete in float32.
    cap = np.minimum(1.0, (1 + 1e-4) * maximum ** -rng.random(count))
    cap = np.where(rng.random(count) < sampling.capped, cap, 1.0)
    floor = np.where(rng.random(count) < sampling.floored, rng.random(count) * np.minimum(1 / maximum, cap), 0.0)
    risk = log_uniform(sampling.risk_aversion)
    shares = {name: getattr(sampling, name) for name in BENCHMARKS if name != "vwap"}
    ends = np.cumsum([*shares.values(), 1 - sum(shares.values())])
    place = np.minimum(np.searchsorted(ends, rng.random(count), side="right"), len(shares))
    orders = _batch(
        side,
        minimum,
        maximum,
        benchmark=np.array([BENCHMARKS.index(name) for name in (*shares, "vwap")])[place],
        is_notional=rng.random(count) < sampling.notional,
        cap=cap,
        floor=floor,
        risk=risk,
    )
    size = np.where(rng.random(count) < sampling.sized, log_uniform(sampling.size), 0.0)
    return DrawnOrders(orders, _single(size), _single(log_uniform(sampling.impact)))


def _single(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def validation_orders(side: npt.NDArray[np.float32], model: LEMConfig, horizon: int, *, sized: bool) -> DrawnOrders:
    """Uncapped VWAP orders for a quantity at ``horizon``, the model's risk aversion.

    Five minimum durations in turn; of each, in turn, if they are ``sized``, one order of every size in
    :data:`VALIDATION_SIZES`.
    """
    count = len(side)
    minima = np.unique(np.ceil(np.array([1 / horizon, 0.25, 0.5, 0.75, 1.0]) * horizon)).astype(np.int64)
    minimum = minima[np.arange(count) % len(minima)]
    sizes = np.array(VALIDATION_SIZES if sized else (0.0,))
    size = sizes[np.arange(count) // len(minima) % len(sizes)]
    none = np.zeros(count, dtype=bool)
    orders = _batch(
        side,
        minimum,
        np.full(count, horizon),
        benchmark=np.full(count, BENCHMARKS.index("vwap")),
        is_notional=none,
        cap=np.ones(count),
        floor=np.zeros(count),
        risk=np.where(minimum == horizon, model.fixed_risk_aversion, model.risk_aversion),
    )
    return DrawnOrders(orders, _single(size), torch.full((count,), _VALIDATION_IMPACT))


def _batch(
    side: npt.NDArray[np.float32],
    minimum: npt.NDArray[np.int64],
    maximum: npt.NDArray[np.int64],
    *,
    benchmark: npt.NDArray[np.int64],
    is_notional: npt.NDArray[np.bool_],
    cap: npt.NDArray[np.float64],
    floor: npt.NDArray[np.float64],
    risk: npt.NDArray[np.float64],
) -> OrderBatch:
    count = len(side)
    return OrderBatch(
        side=torch.from_numpy(side.astype(np.float32)),
        benchmark=torch.from_numpy(benchmark),
        is_notional=torch.from_numpy(is_notional),
        min_periods=torch.from_numpy(minimum.astype(np.int64)),
        max_periods=torch.from_numpy(maximum.astype(np.int64)),
        min_rate=torch.from_numpy(floor.astype(np.float32)),
        max_rate=torch.from_numpy(cap.astype(np.float32)),
        risk_aversion=torch.from_numpy(risk.astype(np.float32)),
        lot=torch.zeros(count),
        participation=torch.full((count,), torch.inf),
        impact=torch.zeros(count),
    )
