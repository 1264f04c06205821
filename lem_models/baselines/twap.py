"""TWAP, the time-weighted average price: the same fraction in every period."""

from __future__ import annotations

from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, OrderBatch

__all__ = ["TWAP"]


@register_policy("twap")
class TWAP(Policy):
    """The same fraction in every period up to the maximum. What could not be traded is spread over the periods left."""

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """``remaining / periods left``."""
        left = (orders.max_periods - state.period).clamp(min=1)
        return Decision(fraction=state.remaining / left, finish=False)
