"""The expected volume curve: trade in proportion to the average volume of each time slot."""

from __future__ import annotations

from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, OrderBatch

__all__ = ["VolumeCurve"]


@register_policy("volume_curve")
class VolumeCurve(Policy):
    """In proportion to the average volume of the same time slots over the past sessions, as known at the start.

    :func:`~lem_models.features.profile.profile_days` says how many sessions of 256 bars are averaged. Without a session
    before the order the pace is even.
    """

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """``remaining`` times this period's share of the expected volume still to come."""
        expected = state.expected_volume[:, state.period :]
        share = expected[:, 0] / expected.sum(1).clamp(min=1e-12)
        return Decision(fraction=state.remaining * share, finish=False)
