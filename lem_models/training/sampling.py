"""Random training orders and fixed kinds of validation orders."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator

from lem_models.execution.records import BENCHMARKS, OrderBatch
from lem_models.guard.settings import Settings
from lem_models.modeling.config import LEMConfig

__all__ = ["OrderSampling", "draw_orders", "validation_orders"]


class OrderSampling(Settings):
    """How training orders are drawn. Fields are probabilities unless noted.

    Attributes:
        twap: Orders with the TWAP as benchmark.
        notional: Orders with a fixed notional.
        full_horizon: Orders whose maximum is the horizon; the others are uniform from 1.
        fixed_duration: Orders whose minimum is their maximum; the others are uniform from 1 to the maximum.
        capped: Orders with a cap per period, log-uniform from the lowest feasible cap to 1.
        floored: Orders with a minimum rate, uniform up to the even pace.
        risk_aversion: Range of the log-uniform risk aversion.
    """

    refusal: ClassVar[str] = "order sampling refused"

    twap: float = Field(0.25, ge=0, le=1)
    notional: float = Field(0.3, ge=0, le=1)
    full_horizon: float = Field(0.7, ge=0, le=1)
    fixed_duration: float = Field(0.25, ge=0, le=1)
    capped: float = Field(0.3, ge=0, le=1)
    floored: float = Field(0.15, ge=0, le=1)
    risk_aversion: tuple[float, float] = (0.05, 2.0)

    @field_validator("risk_aversion", mode="before")
    @classmethod
    def _two(cls, ends: object) -> object:
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            raise ValueError("must be two positive numbers, the smaller first")
        return ends

    @field_validator("risk_aversion")
    @classmethod
    def _positive_range(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not 0 < ends[0] <= ends[1] < float("inf"):
            raise ValueError("must be two positive numbers, the smaller first")
        return ends


def draw_orders(
    rng: np.random.Generator, side: npt.NDArray[np.float32], horizon: int, sampling: OrderSampling
) -> OrderBatch:
    """Random orders of given sides [orders], float32."""
    count = len(side)
    maximum = np.where(rng.random(count) < sampling.full_horizon, horizon, rng.integers(1, horizon + 1, count))
    minimum = rng.integers(1, maximum + 1)
    minimum = np.where(rng.random(count) < sampling.fixed_duration, maximum, minimum)
    # Slightly above the lowest feasible cap, so that orders complete in float32.
    cap = np.minimum(1.0, (1 + 1e-4) * maximum ** -rng.random(count))
    cap = np.where(rng.random(count) < sampling.capped, cap, 1.0)
    floor = np.where(rng.random(count) < sampling.floored, rng.random(count) * np.minimum(1 / maximum, cap), 0.0)
    low, high = sampling.risk_aversion
    risk = np.exp(rng.uniform(np.log(low), np.log(high), count))
    return _batch(
        side,
        minimum,
        maximum,
        benchmark=np.where(rng.random(count) < sampling.twap, BENCHMARKS.index("twap"), BENCHMARKS.index("vwap")),
        is_notional=rng.random(count) < sampling.notional,
        cap=cap,
        floor=floor,
        risk=risk,
    )


def validation_orders(side: npt.NDArray[np.float32], model: LEMConfig, horizon: int) -> OrderBatch:
    """Uncapped VWAP orders for a quantity at ``horizon``: five minimum durations in turn, the model's risk aversion."""
    count = len(side)
    minima = np.unique(np.ceil(np.array([1 / horizon, 0.25, 0.5, 0.75, 1.0]) * horizon)).astype(np.int64)
    minimum = minima[np.arange(count) % len(minima)]
    none = np.zeros(count, dtype=bool)
    return _batch(
        side,
        minimum,
        np.full(count, horizon),
        benchmark=np.full(count, BENCHMARKS.index("vwap")),
        is_notional=none,
        cap=np.ones(count),
        floor=np.zeros(count),
        risk=np.where(minimum == horizon, model.fixed_risk_aversion, model.risk_aversion),
    )


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
    )
