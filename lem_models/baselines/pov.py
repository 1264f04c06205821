r"""POV, percentage of volume: a constant part of what the market trades.

Before period ``s`` the order should have traded the part ``rho`` of the volume so far, and trades what is missing for
that once the next bar has traded its forecast, the mean volume of the last bars:

.. math:: w_s = \max\Big( \rho \, \big( \sum_{j<s} V_j + \hat V_s \big) - F_s, 0 \Big), \qquad
    \hat V_s = \frac{1}{m} \sum_{j=s-m}^{s-1} V_j,

with ``F_s`` the fraction filled. The errors of the forecast are made up for in the next bar, so the participation is
constant over the order. An order without size has no participation of its own: ``rho`` is such that the order completes
in its maximum duration if the volume is as expected. The rest is traded in the last period.
"""

from __future__ import annotations

from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.errors import ConfigError
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, OrderBatch

__all__ = ["POV"]


@register_policy("pov")
class POV(Policy):
    """A constant part of the volume; see the module.

    The first period has no bar of the order behind it and takes the expected volume as its forecast.

    Args:
        pace: Multiple of the participation that completes the order in its maximum duration, positive. Above 1 the
            order completes earlier where the volume is as expected.
        window: Bars whose mean volume is the forecast of the next, ``m``, at least 1.

    Raises:
        ConfigError: A setting is out of range.
    """

    def __init__(self, *, pace: float = 1.0, window: int = 3) -> None:
        if not pace > 0:
            raise ConfigError(f"pace must be positive; got {pace!r}")
        if window < 1:
            raise ConfigError(f"window must be at least 1 bar; got {window!r}")
        self.pace, self.window = pace, window

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """What is missing for the participation once the next bar has traded its forecast."""
        s = state.period
        forecast = state.volumes[:, -self.window :].mean(1) if s else state.expected_volume[:, 0]
        volume = state.volumes.sum(1) + forecast
        # Volumes are in units of the mean expected volume: that of the whole order is max_periods.
        due = self.pace * volume / orders.max_periods
        return Decision(fraction=(due - (1 - state.remaining)).clamp(min=0), finish=False)
