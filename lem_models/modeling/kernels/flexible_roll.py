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

from lem_models.execution.records import MarketWindow, OrderBatch, Paths
from lem_models.execution.roll import dust
from lem_models.modeling.kernels.flexible_decision import Limits, order_columns
from lem_models.modeling.kernels.library import Table, call, is_available, outside_graphs

__all__ = ["can_roll_out", "rolled_out"]


class _Shape(NamedTuple):
    """Sizes in the order of the kernels' arguments, and constants."""

    orders: int
    periods: int
    horizon: int
    width: int
    layers: int
    has_exponent: int
    is_double: int
    limits: tuple[float, ...]

    @property
    def arguments(self) -> tuple[float, ...]:
        return (*self[:-1], *self.limits)


@outside_graphs
def can_roll_out(
    contexts: Tensor,
    orders: OrderBatch,
    window: MarketWindow,
    weights: Sequence[Tensor],
    horizon: int,
    *,
    has_exponent: bool,
) -> bool:
    """Whether the kernels can roll these orders out, by the arguments of :func:`rolled_out`.

    They take plain tensors on the CPU, weights and contexts of one type, orders and market of that type or in double
    precision, and orders without lots and participation limits. Gradients reach contexts and weights alone. Shapes are
    checked too, because the kernels read raw memory: whatever does not fit is left to the modules and their errors.
    """
    like, real = weights[0], window.price.dtype
    by_period = (window.price, window.close, window.volume, window.expected_volume)
    by_order = (window.volatility, orders.side, orders.min_rate, orders.max_rate, orders.risk_aversion)
    whole = (orders.benchmark, orders.is_notional, orders.min_periods, orders.max_periods, orders.lot)
    count, periods = len(orders), window.price.shape[-1]
    depth = len(weights[1]) + horizon + int(has_exponent)
    return (
        all(is_available(tensor, like.dtype) for tensor in (contexts, *weights, *by_period, *by_order, *whole))
        and all(tensor.dtype == like.dtype for tensor in (contexts, *weights))
        and real in (like.dtype, torch.float64)
        and all(tensor.dtype == real and not tensor.requires_grad for tensor in (*by_period, *by_order))
        and all(tensor.shape == (count, periods) for tensor in by_period)
        and all(tensor.shape == (count,) for tensor in (*by_order, *whole))
        and contexts.shape == (count, periods, depth)
        and 0 < periods <= horizon
        and not torch.is_autocast_enabled("cpu")
        and not bool((orders.lot > 0).any())
        and not bool(torch.isfinite(orders.participation).any())
    )


@outside_graphs
def rolled_out(
    contexts: Tensor,
    orders: OrderBatch,
    window: MarketWindow,
    weights: Sequence[Tensor],
    horizon: int,
    *,
    has_exponent: bool,
    limits: Limits,
) -> Paths | None:
    """Roll orders out; see :func:`can_roll_out`.

    Args:
        contexts: What the head takes from the context before each period, [orders, periods, width + horizon (+ 1)].
        orders: The orders.
        window: Their market.
        weights: Weight and bias of the layer of the path, of each residual layer and of the output.
        horizon: Longest order in periods.
        has_exponent: Whether the context ends with a power of the expected volumes.
        limits: Constants of the head.

    Returns:
        The continuing paths; ``None`` if the network answered with something that is not finite.
    """
    real = window.price.dtype
    count, periods = window.price.shape
    shape = _Shape(
        *(count, periods, horizon, len(weights[1]), len(weights) // 2 - 2, int(has_exponent)),
        is_double=int(real == torch.float64),
        limits=(*limits, dust(real)),
    )
    market = [window.volatility, window.expected_volume, window.price, window.close, window.volume]
    arrays = [order_columns(orders, real), *(values.contiguous() for values in market)]
    tensors = [tensor.contiguous() for tensor in (contexts, *weights)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        paths = Paths(*_RollOut.apply(shape, arrays, *tensors))  # type: ignore[no-untyped-call]
    else:
        paths = _forward(shape, arrays, tensors, None)
    return paths if bool(torch.isfinite(paths.finish.detach().sum())) else None


class _RollOut(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        shape: _Shape,
        arrays: list[Tensor],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        contexts, columns = tensors[0], arrays[0]
        rows = int(columns[4].clamp(max=shape.periods).long().sum())  # of the maxima; whole numbers, which never round
        kept = contexts.new_empty(rows, tensors[1].shape[1] + (shape.layers + 1) * shape.width)
        paths = _forward(shape, arrays, tensors, kept)
        ctx.shape, ctx.count = shape, len(tensors)
        ctx.save_for_backward(*tensors, *arrays, *vars(paths).values(), kept)
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
            *(kept, to_tensors[0], Table(to_tensors[1:]), *ctx.shape.arguments),
        )
        return None, None, *to_tensors


def _forward(shape: _Shape, arrays: list[Tensor], tensors: Sequence[Tensor], kept: Tensor | None) -> Paths:
    results = [torch.empty_like(arrays[-1]) for _ in range(4)]
    call(
        *("flexible_roll_forward", tensors[0], Table(tensors[1:]), Table([*arrays, *results]), kept),
        *shape.arguments,
    )
    return Paths(*results)
