"""Schedules that ignore prices: even pace, and the pace of the expected volume."""

from __future__ import annotations

from torch import Tensor

from lem_models.execution.policy import Decision, ExecutionState, OrderBatch, Policy

__all__ = ["TWAP", "VolumeCurve"]


class TWAP(Policy):
    """The same fraction in every period up to the maximum; what could not be traded is spread over what is left."""

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """``remaining / periods left``."""
        left = (orders.max_periods - state.period).clamp(min=1)
        return Decision(fraction=state.remaining / left, finish=False)


class VolumeCurve(Policy):
    """In proportion to the average volume of the same time slots over the past sessions, as known at the start.

    Sessions averaged: as :func:`~lem_models.features.profile.profile_days` says for 256 bars. With no session before
    the order, an even pace.
    """

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """``remaining`` times this period's share of the expected volume still to come."""
        expected = state.expected_volume[:, state.period :]
        share = expected[:, 0] / expected.sum(1).clamp(min=1e-12)
        return Decision(fraction=state.remaining * share, finish=False)
