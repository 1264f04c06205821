"""All periods of many orders under the flexible head in one call, with a backward pass: for training and execution.

The kernels of ``flexible_roll.cpp`` compute what the simulator books for the decisions of
:class:`~lem_models.modeling.heads.flexible.FlexibleHead`, up to rounding. Only periods in which an order is live
(before its maximum, with something left to trade) go through the network. Results of an order do not depend on the
others, and gradients are the same on any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lem_models.execution.records import MarketWindow, OrderBatch, OrderContexts, Paths
from lem_models.execution.roll import dust
from lem_models.modeling.kernels.flexible_decision import Limits, order_columns
from lem_models.modeling.kernels.library import Table, call, is_available, outside_graphs

__all__ = ["can_roll_out", "rolled_out"]

_HALVES = (torch.bfloat16, torch.float16)


class _Shape(NamedTuple):
    """Sizes in the order of the kernels' arguments, and constants."""

    orders: int
    periods: int
    bars: int
    horizon: int
    width: int
    layers: int
    has_exponent: int
    half_products: int
    is_double: int
    limits: tuple[float, ...]


@outside_graphs
def can_roll_out(
    contexts: OrderContexts,
    orders: OrderBatch,
    window: MarketWindow,
    weights: Sequence[Tensor],
    horizon: int,
    *,
    has_exponent: bool,
) -> bool:
    """Whether the kernels can roll these orders out, by the arguments of :func:`rolled_out`.

    They take plain tensors on the CPU, weights and contexts of one type (under ``torch.autocast`` contexts in half
    precision too), orders and market of the type of the weights or in double precision. Gradients reach contexts and
    weights alone, and not through lots and participation limits. Shapes are checked too, because the kernels read raw
    memory: whatever does not fit is left to the modules and their errors.
    """
    needs_gradients = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (contexts.values, *weights))
    like, real = weights[0], window.price.dtype
    by_period = (window.price, window.close, window.volume, window.expected_volume)
    by_order = (
        *(window.volatility, window.arrival_price, window.volume_unit, orders.side, orders.min_rate, orders.max_rate),
        *(orders.risk_aversion, orders.lot, orders.participation, orders.impact),
    )
    whole = (orders.benchmark, orders.is_notional, orders.min_periods, orders.max_periods)
    table, rows = contexts.values, contexts.rows
    count, periods = len(orders), window.price.shape[-1]
    depth = len(weights[1]) + horizon + int(has_exponent)
    return (
        all(is_available(tensor, like.dtype) for tensor in (table, rows, *weights, *by_period, *by_order, *whole))
        and all(tensor.dtype == like.dtype for tensor in weights)
        and (table.dtype == like.dtype or (torch.is_autocast_enabled("cpu") and table.dtype in _HALVES))
        and real in (like.dtype, torch.float64)
        and all(tensor.dtype == real and not tensor.requires_grad for tensor in (*by_period, *by_order))
        and all(tensor.shape == (count, periods) for tensor in by_period)
        and all(tensor.shape == (count,) for tensor in (*by_order, *whole))
        and table.shape[1:] == (depth,)
        and rows.shape == (count, periods)
        and rows.dtype == torch.int64
        and 0 < periods <= horizon
        and (not count or (int(rows.min()) >= 0 and int(rows.max()) < len(table)))
        and not (needs_gradients and _has_grain(orders))
    )


def _has_grain(orders: OrderBatch) -> bool:
    """Whether an order has a lot or a participation limit."""
    return bool((orders.lot > 0).any()) or bool(torch.isfinite(orders.participation).any())


def _grain(orders: OrderBatch, window: MarketWindow) -> Tensor:
    """Lots, participation limits, and what a unit of volume counts towards these, [3, orders]; empty without any."""
    if not _has_grain(orders):
        return window.volume_unit.new_empty(0)  # its address is null
    unit = torch.where(orders.is_notional, window.volume_unit * window.arrival_price, window.volume_unit)
    return torch.stack([orders.lot, orders.participation, unit])


@outside_graphs
def rolled_out(
    contexts: OrderContexts,
    orders: OrderBatch,
    window: MarketWindow,
    weights: Sequence[Tensor],
    horizon: int,
    *,
    has_exponent: bool,
    limits: Limits,
    to_finish: bool,
) -> Paths | None:
    """Roll orders out; see :func:`can_roll_out`.

    Under ``torch.autocast`` to bfloat16, the products of weights in single precision take bfloat16 inputs, where the
    processor knows them, and sum in single precision; all else is as without.

    Args:
        contexts: What the head takes from the context before each period, of width ``width + horizon (+ 1)``.
        orders: The orders.
        window: Their market.
        weights: Weight and bias of the layer of the path, of each residual layer and of the output.
        horizon: Longest order in periods.
        has_exponent: Whether the context ends with a power of the expected volumes.
        limits: Constants of the head.
        to_finish: Whether an order's periods after the first with a probability of finishing above 1/2 are not wanted;
            without gradients they are not computed.

    Returns:
        The continuing paths; ``None`` if the network answered with something that is not finite.
    """
    real = window.price.dtype
    count, periods = window.price.shape
    shape = _Shape(
        *(count, periods, len(contexts.values), horizon, len(weights[1]), len(weights) // 2 - 2, int(has_exponent)),
        half_products=int(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16),
        is_double=int(real == torch.float64),
        limits=(*limits, dust(real)),
    )
    market = [window.volatility, window.expected_volume, window.price, window.close, window.volume]
    arrays = [order_columns(orders, real), *(values.contiguous() for values in market)]
    shared = [contexts.rows.contiguous(), _grain(orders, window)]
    tensors = [tensor.contiguous() for tensor in (contexts.values.to(weights[0].dtype), *weights)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        paths = Paths(*_RollOut.apply(shape, arrays, shared, *tensors))  # type: ignore[no-untyped-call]
    else:
        paths = _forward(shape, arrays, shared, tensors, None, to_finish=to_finish)
    return paths if bool(torch.isfinite(paths.finish.detach().sum())) else None


class _RollOut(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        shape: _Shape,
        arrays: list[Tensor],
        shared: list[Tensor],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        contexts, columns = tensors[0], arrays[0]
        most = int(columns[4].clamp(max=shape.periods).long().sum())  # of the maxima; whole numbers, which never round
        kept = contexts.new_empty(most, tensors[1].shape[1] + (shape.layers + 1) * shape.width)
        paths = _forward(shape, arrays, shared, tensors, kept, to_finish=False)
        ctx.shape, ctx.count = shape, len(tensors)
        ctx.save_for_backward(*tensors, *arrays, *vars(paths).values(), *shared, kept)
        ctx.mark_non_differentiable(paths.capacity)
        return tuple(vars(paths).values())

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        *gradients: Tensor,
    ) -> tuple[Tensor | None, ...]:
        *saved, kept = ctx.saved_tensors
        tensors, arrays = saved[: ctx.count], saved[ctx.count :]
        to_tensors = [torch.empty_like(tensor) for tensor in tensors]
        call(
            *("flexible_roll_backward", tensors[0], Table(tensors[1:])),
            Table([*arrays, *(gradient.contiguous() for gradient in gradients[:3])]),
            *(kept, to_tensors[0], Table(to_tensors[1:]), *ctx.shape[:-1], *ctx.shape.limits),
        )
        return None, None, None, *to_tensors


def _forward(
    shape: _Shape,
    arrays: list[Tensor],
    shared: list[Tensor],
    tensors: Sequence[Tensor],
    kept: Tensor | None,
    *,
    to_finish: bool,
) -> Paths:
    results = [torch.empty_like(arrays[-1]) for _ in range(4)]
    call(
        *("flexible_roll_forward", tensors[0], Table(tensors[1:]), Table([*arrays, *results, *shared]), kept),
        *(*shape[:-1], int(to_finish), *shape.limits),
    )
    return Paths(*results)
