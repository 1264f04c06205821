"""The path of an order as numbers for a network: where it stands against its benchmark, its schedule and the clock.

Everything is oriented so that positive is good for the order (prices times the side), in units of the bar volatility,
and free of units of price and volume. Expected weights of future bars in the benchmark are the expected volumes times
the volume seen so far over the volume expected so far (VWAP), or 1 (TWAP).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.execution.policy import ExecutionState, OrderBatch

__all__ = ["PATH_FEATURES", "expected_share", "path_features"]

PATH_FEATURES = 36
_PRIOR = 2.0  # bars of expected volume that the day's level is shrunk with


def _future_weights(orders: OrderBatch, state: ExecutionState) -> tuple[Tensor, Tensor, Tensor]:
    """Weight of the past, expected weights of the periods from now on, and log volume level of the order so far.

    Returns:
        past [orders], future [orders, horizon - period] (0 after the maximum), log_level [orders].
    """
    s = state.period
    expected = state.expected_volume[:, s:]
    seen, hoped = state.volumes.sum(1), state.expected_volume[:, :s].sum(1)
    level = (seen + _PRIOR) / (hoped + _PRIOR)
    periods = torch.arange(s, s + expected.shape[1], device=expected.device)
    live = (periods < orders.max_periods[:, None]).to(expected.dtype)
    future = torch.where(orders.is_twap[:, None], live, expected * level[:, None] * live)
    past = torch.where(orders.is_twap, torch.full_like(seen, float(s)), seen)
    return past, future, torch.log(level)


def expected_share(orders: OrderBatch, state: ExecutionState) -> Tensor:
    """This period's share of the expected weight from now to the maximum, [orders]: the pace of the volume curve."""
    _, future, _ = _future_weights(orders, state)
    return future[:, 0] / future.sum(1).clamp(min=1e-6)


def path_features(orders: OrderBatch, state: ExecutionState) -> Tensor:
    """Path features, [orders, PATH_FEATURES], roughly of unit size, clipped to +-6."""
    s = state.period
    maximum, minimum = orders.max_periods.to(state.remaining.dtype), orders.min_periods.to(state.remaining.dtype)
    side, sigma = orders.side, state.volatility
    past, future, log_level = _future_weights(orders, state)
    cumulative = torch.cumsum(future, 1)
    to_end = cumulative[:, -1]
    next_weight = future[:, 0]
    zero = torch.zeros_like(sigma)

    # Finishing now takes `needed` periods at the cap; the benchmark then ends at the later of that and the minimum.
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
        return (past * benchmark + weight * close) / (past + weight).clamp(min=1e-6)

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
        log_level,
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
