"""Longstaff-Schwartz net of the costs of a market: the regressions of orders that have a size.

Finishing trades the rest in one bar, which the square-root impact makes dear. The regressions of
:mod:`lem_models.baselines.longstaff_schwartz` weigh that when they are net of costs. Here the costs are those of the
named cost model for the kind of market (:mod:`lem_models.execution.costs.named`), and the size is 1 % of the volume
expected over an order's maximum duration. The kind of market is known from the symbol's calendar.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.baselines.longstaff_schwartz import LongstaffSchwartz
from lem_models.baselines.registry import register_policy
from lem_models.execution.costs import COST_MODELS, cost_model_of
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.features.market import Market

__all__ = ["LongstaffSchwartzNet"]

_NAMES = tuple(COST_MODELS)


@register_policy("longstaff_schwartz_net")
class LongstaffSchwartzNet(Policy):
    """Longstaff-Schwartz with the costs of each symbol's market in its regressions; see the module.

    For other costs or sizes: ``LongstaffSchwartz(costs=..., size=...)``.

    Args:
        size: Size of the orders in the regressions, as a fraction of the volume expected over their maximum duration.
        paths: As for :class:`~lem_models.baselines.longstaff_schwartz.LongstaffSchwartz`.
        seed: As there.
        risk_aversion: As there.

    Example:
        >>> LongstaffSchwartzNet().size
        0.01
    """

    def __init__(self, *, size: float = 0.01, paths: int = 8192, seed: int = 0, risk_aversion: float = 0.0) -> None:
        self.size, self.paths, self.seed, self.risk_aversion = size, paths, seed, risk_aversion
        self._of_costs: dict[str, LongstaffSchwartz] = {}

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor:
        """Number of the cost model of each bar's symbol, [rows, 1]; it reads calendars alone."""
        calendars = market.bars.calendar_names
        numbers = [_NAMES.index(cost_model_of(calendars[symbol])) for symbol in market.bars.symbols]
        of_rows = np.asarray(numbers, dtype=np.float64)[market.bars.grid.symbol(rows)]
        return torch.from_numpy(of_rows[:, None])

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decision of the regressions with the costs of each order's market."""
        assert context is not None
        number = context[:, 0].round().long()
        fraction, finish = torch.zeros_like(state.remaining), torch.zeros_like(state.remaining, dtype=torch.bool)
        for one in sorted(set(number.tolist())):
            decision, own = self._policy(_NAMES[one]).decide(None, orders, state), number == one
            fraction = torch.where(own, torch.as_tensor(decision.fraction), fraction)
            finish = torch.where(own, torch.as_tensor(decision.finish), finish)
        return Decision(fraction, finish)

    def _policy(self, costs: str) -> LongstaffSchwartz:
        """The policy with the regressions of a named cost model."""
        if costs not in self._of_costs:
            self._of_costs[costs] = LongstaffSchwartz(
                paths=self.paths,
                seed=self.seed,
                risk_aversion=self.risk_aversion,
                costs=COST_MODELS[costs].costs,
                size=self.size,
            )
        return self._of_costs[costs]
