"""Bounds: what could be had with knowledge of the future, settled by the simulator beside the policies.

A bound is not executed. It gives the fills of its orders as a whole, knowing all of their bars, and they are priced
like everybody's; nothing of the future ever reaches a policy's ``decide``.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor

from lem_models.errors import PolicyError
from lem_models.execution.execute import complete_for, settled
from lem_models.execution.policy import OrderBatch, Policy
from lem_models.execution.result import ExecutionResult, first_bars
from lem_models.execution.simulator import MarketWindow
from lem_models.markets.market import Market
from lem_models.markets.windows import REASONS, exclusion_codes

__all__ = ["Bound", "execute_bound", "is_executable"]


@runtime_checkable
class Bound(Protocol):
    """Something that gives fills with knowledge of the future, such as
    :class:`~lem_models.baselines.oracle_vwap.OracleVWAP`.
    """  # noqa: D205

    def fills(self, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Fills of orders, [orders, periods]."""
        ...


def is_executable(policy: object) -> bool:
    """Whether a policy could be run in a market; bounds say ``executable = False``."""
    return bool(getattr(policy, "executable", True))


@torch.no_grad()
def execute_bound(
    policy: Policy, market: Market, orders: pd.DataFrame, *, within_session: bool | None = None
) -> ExecutionResult:
    """What a bound would have traded.

    Args:
        policy: A bound: ``executable`` is ``False``, and it has ``fills``.
        market: The market.
        orders: Table of orders.
        within_session: See :func:`~lem_models.execution.execute.execute`.

    Returns:
        The result, as of a policy.

    Raises:
        PolicyError: when the policy is not a bound.
    """
    if is_executable(policy) or not isinstance(policy, Bound):
        raise PolicyError(f"{type(policy).__name__} is not a bound; run it with lem_models.execute")
    table = complete_for(policy, orders)
    start, maximum = first_bars(market.bars, table), table["max_periods"].to_numpy()
    codes = exclusion_codes(market.bars, start, maximum, lookback=policy.lookback, within_session=within_session)
    valid = codes == 0
    excluded = table.loc[~valid, ["order_id", "symbol", "start"]].assign(
        reason=[REASONS[int(c)] for c in codes[~valid]]
    )
    table, start, maximum = table[valid].reset_index(drop=True), start[valid], maximum[valid]
    if not len(table):
        return ExecutionResult.assemble(market.bars, table, excluded.reset_index(drop=True), None)
    batch = OrderBatch.from_frame(table)
    arrays = market.window_arrays(start, maximum, int(maximum.max()))
    window = MarketWindow(**{name: torch.from_numpy(values) for name, values in arrays.items()})
    found = settled(policy.fills(batch, window), batch.max_periods - 1, batch, window, arrays)
    return ExecutionResult.assemble(market.bars, table, excluded.reset_index(drop=True), found)
