"""Path features: an order's position against its benchmark, its schedule and its durations, for a network.

Prices are multiplied by the side, so that positive is good for the order. They are in bar volatilities, and no feature
depends on the units of price or volume. The expected weight of a future bar in the VWAP is its expected volume times
the factor that the context forecasts (the outlook). In the TWAP it is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lem_models.execution.records import ExecutionState, OrderBatch

__all__ = ["LEAST_EXPECTED", "PATH_FEATURES", "PRIOR", "Weights", "benchmark_weights", "path_features"]

PATH_FEATURES = 36
LEAST_EXPECTED = 1e-3  # of the mean: keeps the logarithm of an expected volume finite
PRIOR = 2.0  # bars of expected volume that shrink the level of the volume so far towards 1


@dataclass(frozen=True)
class Weights:
    """Weights of the order's bars in its benchmark.

    Attributes:
        past: Weight of the periods so far, [orders].
        future: Expected weights of the periods from now on, 0 after the maximum, [orders, horizon - period].
        log_level: Log of the volume so far over its expectation, shrunk, [orders].
    """

    past: Tensor
    future: Tensor
    log_level: Tensor

    @property
    def pace(self) -> Tensor:
        """This period's share of the expected weight from now to the maximum, [orders]."""
        return self.future[:, 0] / self.future.sum(1).clamp(min=1e-6)

    @property
    def schedule(self) -> Tensor:
        """Share of the whole expected weight up to and including this period, [orders]."""
        return (self.past + self.future[:, 0]) / (self.past + self.future.sum(1)).clamp(min=1e-6)


def benchmark_weights(
    orders: OrderBatch, state: ExecutionState, outlook: Tensor, exponent: Tensor | None = None
) -> Weights:
    """Past and expected weights.

    Args:
        orders: The orders.
        state: What has happened so far.
        outlook: Log of the volume to come over the expected one, for the next bars, [orders, horizon].
        exponent: Power of the expected volumes, [orders, 1]; 1 without it.
    """
    s = state.period
    expected = state.expected_volume[:, s:]
    volume_so_far, expected_so_far = state.volumes.sum(1), state.expected_volume[:, :s].sum(1)
    periods = torch.arange(s, s + expected.shape[1], device=expected.device)
    live = (periods < orders.max_periods[:, None]).to(expected.dtype)
    promised = expected if exponent is None else expected.clamp(min=LEAST_EXPECTED) ** exponent.to(expected)
    volume = promised * torch.exp(outlook[:, : expected.shape[1]].to(expected))
    return Weights(
        past=torch.where(orders.is_twap, torch.full_like(volume_so_far, float(s)), volume_so_far),
        future=torch.where(orders.is_twap[:, None], live, volume * live),
        log_level=torch.log((volume_so_far + PRIOR) / (expected_so_far + PRIOR)),
    )


def path_features(orders: OrderBatch, state: ExecutionState, weights: Weights) -> Tensor:
    """Path features, [orders, PATH_FEATURES], roughly of unit size, clipped to +-6."""
    s = state.period
    maximum, minimum = orders.max_periods.to(state.remaining.dtype), orders.min_periods.to(state.remaining.dtype)
    side, sigma = orders.side, state.volatility
    past, future = weights.past, weights.future
    cumulative = torch.cumsum(future, 1)
    to_end = cumulative[:, -1]
    next_weight = future[:, 0]
    zero = torch.zeros_like(sigma)

    # Finishing takes `needed` periods at the cap. The benchmark ends after them, but not before the minimum.
    needed = torch.ceil(state.remaining / orders.max_rate - 1e-6).clamp(min=1)
    finish_index = (torch.maximum(needed, minimum - s) - 1).long().clamp(0, future.shape[1] - 1)
    to_finish = cumulative.gather(1, finish_index[:, None]).squeeze(1)
    minimum_index = (orders.min_periods - s - 1).clamp(0, future.shape[1] - 1)
    to_minimum = torch.where(minimum > s, cumulative.gather(1, minimum_index[:, None]).squeeze(1), zero)

    benchmark = torch.where(orders.is_twap, state.twap, state.vwap)
    close = state.last_close
    filled = 1 - state.remaining
    average = filled * state.executed_price + state.remaining * close  # executed price if the rest trades at the close

    def gain(reference: Tensor, price: Tensor) -> Tensor:
        return side * torch.log(reference / price) / sigma

    def benchmark_after(weight: Tensor) -> Tensor:
        # Without any weight this is 0. The least value, far outside the features' limits, gives its log a gradient.
        return ((past * benchmark + weight * close) / (past + weight).clamp(min=1e-6)).clamp(min=1e-30)

    if s:
        prices = state.prices.clamp(min=1e-6)
        against = side[:, None] * torch.log(prices / close[:, None]) / sigma[:, None]
        best, worst = against.amin(1), against.amax(1)
        last_expected = torch.where(orders.is_twap, torch.ones_like(zero), state.expected_volume[:, s - 1])
        surprise = torch.log((state.volumes[:, -1] + 0.05) / (state.expected_volume[:, s - 1] + 0.05))
        drift = torch.log((state.expected_volume[:, s] + 0.05) / (state.expected_volume[:, s - 1] + 0.05))
        step = gain(state.prices[:, -2], state.prices[:, -1]) if s > 1 else zero
    else:
        best = worst = last_expected = surprise = step = zero
        drift = torch.log(state.expected_volume[:, 0] + 0.05)
    share_past = past / (past + to_end).clamp(min=1e-6)
    share_minimum = past / (past + to_minimum).clamp(min=1e-6)
    left = (maximum - s).clamp(min=1)
    one = torch.ones_like(zero)
    columns = [
        s / maximum,
        left / 12,
        (minimum - s - 1).clamp(min=0) / 12,
        (minimum <= s + 1).to(zero.dtype),
        minimum / maximum,
        one / left,
        filled,
        state.lower,
        state.upper,
        orders.max_rate,
        torch.log(orders.max_rate * maximum),
        orders.min_rate * maximum,
        state.remaining / orders.max_rate / left,
        share_past,
        2 * (filled - share_past),
        share_minimum,
        next_weight / to_end.clamp(min=1e-6),
        next_weight / (past + next_weight).clamp(min=1e-6),
        weights.log_level,
        surprise,
        drift,
        last_expected - 1,
        gain(benchmark, close),
        filled * gain(benchmark, state.executed_price),
        gain(benchmark, state.last_price),
        gain(one, close),
        gain(benchmark_after(to_finish), average),
        gain(benchmark_after(to_end), average),
        gain(benchmark_after(to_minimum), average),
        best,
        worst,
        step,
        torch.log(orders.risk_aversion + 0.02) / 2,
        orders.risk_aversion / (1 + orders.risk_aversion),
        orders.is_twap.to(zero.dtype),
        orders.is_notional.to(zero.dtype),
    ]
    return torch.stack(columns, 1).clamp(-6.0, 6.0)
