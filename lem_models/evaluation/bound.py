"""Bounds: results that use knowledge of the future, priced by the same simulator as the policies.

A bound is not executed. It computes all fills of its orders at once, from all of their bars, and the simulator prices
them as it prices those of a policy. A bound has no ``decide``, so no policy sees the future.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor

from lem_models.errors import PolicyError
from lem_models.execution.costs import CostModel
from lem_models.execution.execute import complete_for, settled, traded_market
from lem_models.execution.policy import Policy
from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.execution.result import ExecutionResult, first_bars
from lem_models.features.market import Market
from lem_models.markets.origins import REASONS, exclusion_codes

__all__ = ["Bound", "execute_bound", "is_executable"]


@runtime_checkable
class Bound(Protocol):
    """Computes fills from the future, as :class:`~lem_models.baselines.oracle_vwap.OracleVWAP` does."""

    def fills(self, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Fills of orders, [orders, periods]."""
        ...


def is_executable(policy: object) -> bool:
    """Whether a policy could trade in a market; the classes of bounds have ``executable = False``."""
    # Of the class: a model that is asked for an attribute that it lacks may go and look for it.
    return bool(getattr(policy if isinstance(policy, type) else type(policy), "executable", True))


@torch.no_grad()
def execute_bound(
    policy: Policy,
    market: Market,
    orders: pd.DataFrame,
    *,
    costs: CostModel | None = None,
    within_session: bool | None = None,
) -> ExecutionResult:
    """Price the fills of a bound with the simulator.

    Args:
        policy: A bound: ``executable`` is ``False``, and it has ``fills``.
        market: The market.
        orders: Table of orders.
        costs: Trading costs; the fills do not depend on them.
        within_session: See :func:`~lem_models.execution.execute.execute`.

    Returns:
        The result, as for a policy.

    Raises:
        PolicyError: when the policy is not a bound.
        OrderError: when the costs depend on the size of an order that has none.
    """
    if is_executable(policy) or not isinstance(policy, Bound):
        raise PolicyError(f"{type(policy).__name__} is not a bound; run it with lem_models.execute")
    table = complete_for(policy, orders)
    if costs is not None:
        costs.check(table)
    start = first_bars(market.bars, table)
    codes = exclusion_codes(
        market.bars, start, table["max_periods"].to_numpy(), lookback=policy.lookback, within_session=within_session
    )
    valid = codes == 0
    excluded = table.loc[~valid, ["order_id", "symbol", "start"]].assign(
        reason=[REASONS[int(c)] for c in codes[~valid]]
    )
    table, start = table[valid].reset_index(drop=True), start[valid]
    if not len(table):
        return ExecutionResult.assemble(market.bars, table, excluded.reset_index(drop=True), None)
    batch, window, size = traded_market(market, table, start, costs)
    outcome = settled(policy.fills(batch, window), batch.max_periods - 1, batch, window, size)
    return ExecutionResult.assemble(market.bars, table, excluded.reset_index(drop=True), outcome)
