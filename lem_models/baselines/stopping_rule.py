"""The two-line stopping rule: even pace, then finish at the first favourable price after the minimum.

On a random walk this earns the value of the option to end (the benchmark ends when the order does): no forecast.
"""

from __future__ import annotations

from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.baselines.twap import TWAP
from lem_models.execution.records import Decision, ExecutionState, OrderBatch

__all__ = ["StoppingRule"]


@register_policy("stopping_rule")
class StoppingRule(TWAP):
    """TWAP pace; finishes when the last price is better than the benchmark so far."""

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Even pace, and whether ``side * (last price - benchmark so far) < 0``."""
        benchmark = state.benchmark(orders)
        # One bar's VWAP differs from its own price by rounding: only a real difference counts.
        favourable = orders.side * (state.last_price - benchmark) < -1e-9
        return Decision(fraction=super().decide(context, orders, state).fraction, finish=favourable)
