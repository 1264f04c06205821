"""The VWAP oracle: trades in proportion to volumes that nobody knows in advance. A bound, never a policy to run.

With the volumes of the order's periods known, the oracle trades the same share of each and pays the VWAP itself:
nothing tracks the benchmark closer. (The bound is on the spread; a mean better than 0 is possible without knowing
volumes.) ``decide`` does not get the future and refuses. :func:`lem_models.evaluation.bound.execute_bound` asks for the
fills as a whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.errors import PolicyError
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch

__all__ = ["OracleVWAP"]


@register_policy("oracle_vwap")
class OracleVWAP(Policy):
    """A bound that cannot be executed.

    Attributes:
        executable: ``False``: no market lets anybody trade like this, and reports say so.
    """

    executable = False

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Refuse.

        Raises:
            PolicyError: always.
        """
        raise PolicyError(
            "oracle_vwap is a bound, not a policy: it needs the volumes of bars that have not closed. "
            "lem_models.evaluation.bound.execute_bound(policy, bars, orders) and `lem benchmark` compute it"
        )

    def fills(self, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Fills up to the maximum in proportion to the weights of the benchmark, held under the cap.

        For a fixed quantity the weights are volumes, for a fixed notional they are volumes times prices; against the
        TWAP every bar that trades has the same. Floors, lots and participation limits are left aside: it is a bound.

        Args:
            orders: The orders.
            window: Their market, later bars included.

        Returns:
            [orders, periods].
        """
        periods = torch.arange(window.volume.shape[1])
        live = (periods < orders.max_periods[:, None]) & (window.volume > 0)
        weight = torch.where(orders.is_twap[:, None], torch.ones_like(window.volume), window.volume) * live
        weight = torch.where(orders.is_notional[:, None], weight * window.price, weight)
        cap = orders.max_rate[:, None] * live
        filled = torch.zeros_like(weight)
        for _ in range(window.volume.shape[1]):  # each turn fills up at least one period to its cap, or is the last
            free = torch.where(filled < cap - 1e-12, weight, 0.0)
            missing = 1 - filled.sum(1, keepdim=True)
            filled = torch.minimum(filled + missing * free / free.sum(1, keepdim=True).clamp(min=1e-300), cap)
        return filled
