"""The expected volume curve: trade in proportion to the average volume of each time slot."""

from __future__ import annotations

from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.errors import ConfigError
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.orders.rules import MAX_SESSIONS

__all__ = ["VolumeCurve"]


@register_policy("volume_curve")
class VolumeCurve(Policy):
    """In proportion to the average volume of the same time slots over the past sessions, as known at the start.

    Missing bars and sessions are skipped. Without a session before the order the pace is even.

    Args:
        sessions: Sessions averaged, 1 to 60; in practice about 20.

    Raises:
        ConfigError: The number of sessions is out of range.
    """

    def __init__(self, *, sessions: int = 20) -> None:
        if not 1 <= sessions <= MAX_SESSIONS:
            raise ConfigError(f"sessions must be from 1 to {MAX_SESSIONS}; got {sessions!r}")
        self.sessions = sessions

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """``remaining`` times this period's share of the expected volume still to come."""
        expected = state.expected_volume[:, state.period :]
        share = expected[:, 0] / expected.sum(1).clamp(min=1e-12)
        return Decision(fraction=state.remaining * share, finish=False)
