"""The state of an order as regressors: the basis functions of :mod:`lem_models.baselines.longstaff_schwartz`.

Positive is good for the order, and the unit is the bar volatility. With ``B`` the benchmark so far, ``c`` the last
close, ``E`` the average price executed so far and ``f`` the fraction filled, before period ``s``,

    z = side * log(B / c) / sigma / sqrt(s + 1)            the benchmark so far against the current price
    g = - f * side * log(E / c) / sigma / sqrt(s + 1)      the fills so far against the current price
    h = log(past weight / (s * weight of this period))     weight of the past periods in the benchmark
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lem_models.execution.records import ExecutionState, OrderBatch

__all__ = ["path_basis"]

_LIMIT = 2.5


def path_basis(orders: OrderBatch, state: ExecutionState) -> Tensor:
    """Basis functions, [24, orders]: polynomials of ``z, g, h, f`` with a kink in ``z`` at 0."""
    s = state.period
    scale = state.volatility * math.sqrt(s + 1)
    benchmark = state.benchmark(orders)
    filled = 1 - state.remaining
    one = torch.ones_like(filled)
    z = (orders.side * torch.log(benchmark / state.last_close) / scale).clamp(-_LIMIT, _LIMIT)
    g = (-filled * orders.side * torch.log(state.executed_price / state.last_close) / scale).clamp(-_LIMIT, _LIMIT)
    h = torch.zeros_like(filled)
    if s:
        heavy = (state.volumes.sum(1) + 1e-3) / (s * state.expected_volume[:, s] + 1e-3)
        counts = orders.has_benchmark("vwap", "full_vwap")
        h = torch.where(counts, torch.log(heavy).clamp(-_LIMIT, _LIMIT), h)
    up = z.clamp(min=0)
    zz, hh, gg = z * z, h * h, g * g
    columns = [
        *(one, z, zz, zz * z, zz * zz, up, up * up),
        *(h, hh, z * h, zz * h, z * hh, zz * z * h),
        *(g, gg, g * z, g * zz, gg * z),
        *(filled, filled * filled, filled * z, filled * g, filled * zz, filled * h),
    ]
    return torch.stack(columns)
