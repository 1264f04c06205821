"""One period of the flexible head for many orders in one call: for live orders.

The kernel of ``flexible_decision.cpp`` computes what :meth:`~lem_models.modeling.heads.flexible.FlexibleHead.decide`
computes, up to rounding and without gradients, instead of some hundred small operations of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.modeling.kernels.library import Table, call

__all__ = ["FlexibleWeights", "Limits", "decided", "order_columns"]


class Limits(NamedTuple):
    """Constants of the head.

    Attributes:
        outlook: Largest size of the outlook.
        expected: Least expected volume.
        prior: Bars of expected volume that shrink the level of the volume.
        edge: Least distance of an anchor from the ends of the feasible interval.
        shift: Shift of the schedule for an answer of 1.
    """

    outlook: float
    expected: float
    prior: float
    edge: float
    shift: float


class FlexibleWeights(NamedTuple):
    """The network of a flexible head as the kernel takes it.

    Attributes:
        table: Weight and bias of the layer of the path, of each residual layer and of the output.
        horizon: Longest order in periods.
        width: Width of the network.
        layers: Residual layers.
        has_exponent: Whether the context ends with a power of the expected volumes.
        limits: Constants.
    """

    table: Table
    horizon: int
    width: int
    layers: int
    has_exponent: bool
    limits: Limits

    @classmethod
    def of(cls, weights: Sequence[Tensor], horizon: int, *, has_exponent: bool, limits: Limits) -> FlexibleWeights:
        """Make the weights ready; they are copied.

        Args:
            weights: Weight and bias of the first layer, of each residual layer and of the output.
            horizon: Longest order in periods.
            has_exponent: Whether the context ends with a power of the expected volumes.
            limits: Constants.
        """
        table = Table([weight.detach().contiguous().clone() for weight in weights])
        return cls(table, horizon, len(weights[1]), len(weights) // 2 - 2, has_exponent, limits)


def order_columns(orders: OrderBatch, real: torch.dtype) -> Tensor:
    """What the kernels take of orders, [columns, orders], in the order of ``flexible_head.h``."""
    return torch.stack(
        [
            *(orders.side, orders.is_twap.to(real), orders.is_notional.to(real)),
            *(orders.min_periods.to(real), orders.max_periods.to(real)),
            *(orders.min_rate, orders.max_rate, orders.risk_aversion, orders.impact),
            *(orders.has_benchmark(name).to(real) for name in ("full_vwap", "arrival")),
        ]
    )


def decided(context: Tensor, orders: OrderBatch, state: ExecutionState, weights: FlexibleWeights) -> Decision:
    """Decide one period.

    Args:
        context: What the head takes from the context, [orders, width + horizon (+ 1)], in the type of the weights.
        orders: The orders, in double precision.
        state: What has happened so far, in double precision.
        weights: The network.
    """
    count, periods = state.expected_volume.shape
    real = state.remaining.dtype
    columns = order_columns(orders, real)
    known = torch.stack(
        [
            *(state.remaining, state.lower, state.upper, state.executed_price, state.vwap, state.twap),
            *(state.last_price, state.last_close, state.volatility),
        ]
    )
    answers = torch.empty(2, count, dtype=real)
    fraction, finish = answers.unbind(0)
    expected = state.expected_volume.contiguous()
    call(
        *("flexible_decision", context.contiguous(), weights.table),
        Table([columns, known, state.prices.contiguous(), state.volumes.contiguous(), expected, fraction, finish]),
        *(count, state.period, periods, weights.horizon, weights.width, weights.layers, int(weights.has_exponent)),
        *weights.limits,
    )
    return Decision(fraction=fraction, finish=finish)
