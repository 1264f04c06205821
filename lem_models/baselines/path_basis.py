"""The state of an order as regressors: the basis functions of :mod:`lem_models.baselines.longstaff_schwartz`.

Positive is good for the order, and the unit is the bar volatility. With ``B`` the benchmark so far, ``c`` the last
close, ``E`` the average price executed so far and ``f`` the fraction filled, before period ``s``,

    z = side * log(B / c) / sigma / sqrt(s + 1)            the benchmark so far against the current price
    g = - f * side * log(E / c) / sigma / sqrt(s + 1)      the fills so far against the current price
    h = log(past weight / (s * weight of this period))     weight of the past periods in the benchmark

``z`` and ``h`` are the same whatever the order has traded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lem_models.execution.records import ExecutionState, OrderBatch

__all__ = ["BASIS", "fills_term", "market_terms", "path_basis", "polynomials"]

BASIS = 24
"""Number of basis functions."""

_LIMIT = 2.5


def path_basis(orders: OrderBatch, state: ExecutionState) -> Tensor:
    """Basis functions, [24, orders]: polynomials of ``z, g, h, f`` with a kink in ``z`` at 0."""
    z, h = market_terms(orders, state)
    filled = 1 - state.remaining
    scale = state.volatility * math.sqrt(state.period + 1)
    return polynomials(z, fills_term(filled, orders.side, state.executed_price, state.last_close, scale), h, filled)


def market_terms(orders: OrderBatch, state: ExecutionState) -> tuple[Tensor, Tensor]:
    """``z`` and ``h``, [orders] each."""
    s = state.period
    scale = state.volatility * math.sqrt(s + 1)
    z = (orders.side * torch.log(state.benchmark(orders) / state.last_close) / scale).clamp(-_LIMIT, _LIMIT)
    h = torch.zeros_like(z)
    if s:
        heavy = (state.volumes.sum(1) + 1e-3) / (s * state.expected_volume[:, s] + 1e-3)
        counts = orders.has_benchmark("vwap", "full_vwap")
        h = torch.where(counts, torch.log(heavy).clamp(-_LIMIT, _LIMIT), h)
    return z, h


def fills_term(filled: Tensor, side: Tensor, executed_price: Tensor, last_close: Tensor, scale: Tensor) -> Tensor:
    """``g``, [orders]; ``scale`` is the volatility of the periods so far and this one."""
    return (-filled * side * torch.log(executed_price / last_close) / scale).clamp(-_LIMIT, _LIMIT)


def polynomials(z: Tensor, g: Tensor, h: Tensor, filled: Tensor) -> Tensor:
    """The basis functions of terms [orders], [24, orders]."""
    basis = z.new_empty(BASIS, len(z))
    # Written in place: columns of their own would be copied once more.
    one, first, zz, zzz, zzzz, up, upup, *rest = basis.unbind(0)
    one.fill_(1.0)
    first.copy_(z)
    torch.mul(z, z, out=zz)
    torch.mul(zz, z, out=zzz)
    torch.mul(zz, zz, out=zzzz)
    torch.clamp(z, min=0, out=up)
    torch.mul(up, up, out=upup)
    own_h, hh, zh, zzh, zhh, zzzh, own_g, gg, gz, gzz, ggz, f, ff, fz, fg, fzz, fh = rest
    own_h.copy_(h)
    torch.mul(h, h, out=hh)
    torch.mul(z, h, out=zh)
    torch.mul(zz, h, out=zzh)
    torch.mul(z, hh, out=zhh)
    torch.mul(zzz, h, out=zzzh)
    own_g.copy_(g)
    torch.mul(g, g, out=gg)
    torch.mul(g, z, out=gz)
    torch.mul(g, zz, out=gzz)
    torch.mul(gg, z, out=ggz)
    f.copy_(filled)
    torch.mul(filled, filled, out=ff)
    torch.mul(filled, z, out=fz)
    torch.mul(filled, g, out=fg)
    torch.mul(filled, zz, out=fzz)
    torch.mul(filled, h, out=fh)
    return basis
