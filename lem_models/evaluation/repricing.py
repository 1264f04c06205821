"""The same fills at other costs: results of other sizes without another execution.

Of a policy that does not read sizes (:attr:`Policy.reads_size <lem_models.execution.policy.Policy>`) only the net
prices depend on the cost model. So one execution of an order without an amount serves every size: :func:`repriced`
gives, to the last digit, what executing again with another cost model would. (An order with an amount has that size,
and a participation limit that depends on it; its fills are priced as they are.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lem_models.execution.costs import CostModel, relative_sizes
from lem_models.execution.execute import by_calendar, settled
from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.execution.result import ExecutionResult
from lem_models.execution.simulator import participation
from lem_models.features.market import Market

__all__ = ["participations", "repriced"]

_CELLS_PER_PASS = 2_000_000  # orders times periods: bounds the memory
_SIZED = ("net_price", "net_slippage_bps", "cost_bps", "order_value", "pwp_price")
"""Columns of a result that depend on costs or sizes."""


@dataclass(frozen=True)
class _Pass:
    """Some orders of a result with their market.

    Attributes:
        rows: Their rows in the result, int64 [orders].
        table: Their rows of the orders table.
        fills: Fraction filled in each period, [orders, periods].
        finish: Period in which the policy decided to finish, int64 [orders].
        orders: The orders.
        window: Their market, without costs.
    """

    rows: npt.NDArray[np.int64]
    table: pd.DataFrame
    fills: Tensor
    finish: Tensor
    orders: OrderBatch
    window: MarketWindow

    def size(self, costs: CostModel | None) -> Tensor:
        """Sizes of the orders, [orders]; see :func:`~lem_models.execution.costs.model.relative_sizes`."""
        amount = torch.from_numpy(self.table["amount"].to_numpy(dtype=np.float64, copy=True))
        return relative_sizes(self.orders, self.window, amount, costs)


def _passes(result: ExecutionResult, market: Market) -> Iterator[_Pass]:
    """The orders of a result, so many at a time."""
    parts = result.part.fills
    bases = np.cumsum([0, *(len(fills) for fills in parts)])
    for fills, base in zip(parts, bases, strict=False):
        table = result.orders.iloc[base : base + len(fills)]
        start = result.start[base : base + len(fills)]
        for one_calendar, members, first_bars in by_calendar(market, table, start):
            size = max(_CELLS_PER_PASS // max(fills.shape[1], 1), 1)
            for first in range(0, len(members), size):
                chosen = members[first : first + size]
                some = table.iloc[chosen]
                maximum = some["max_periods"].to_numpy()
                window = MarketWindow.of(one_calendar, first_bars[first : first + size], maximum, fills.shape[1])
                finish = torch.from_numpy(result.finish_period[base + chosen])
                filled = torch.from_numpy(fills[chosen])
                yield _Pass(base + chosen, some, filled, finish, OrderBatch.from_frame(some), window)


def repriced(result: ExecutionResult, costs: Sequence[CostModel], market: Market | None = None) -> list[pd.DataFrame]:
    """Orders tables of a result under other cost models.

    Args:
        result: The result.
        costs: The cost models. Their ``order_size`` is the size of orders that name no amount.
        market: Market of the result, to compute its features only once for several results.

    Returns:
        For each cost model the orders table that executing with it gives.

    Raises:
        OrderError: when the costs depend on the size of an order that has none.
    """
    for model in costs:
        model.check(result.orders)
    columns = [{name: result.orders[name].to_numpy(copy=True) for name in _SIZED} for _ in costs]
    for each in _passes(result, Market(result.bars) if market is None else market):
        for model, values in zip(costs, columns, strict=True):
            size = each.size(model)
            window = model.priced(each.window, size, each.table["symbol"])
            priced = settled(each.fills, each.finish, each.orders, window, size)
            for name in _SIZED:
                values[name][each.rows] = priced[name]
    return [result.orders.assign(**values) for values in columns]


def participations(
    result: ExecutionResult, costs: CostModel | None = None, market: Market | None = None
) -> pd.DataFrame:
    """Part of the market's volume that each order traded.

    Args:
        result: The result.
        costs: Names the size of orders without an amount.
        market: See :func:`repriced`.

    Returns:
        A row per order: ``mean`` (what it traded over the volume until its last fill; money over money for a notional
        target) and ``largest`` (in one bar). Fractions; NaN without a size or a fill.
    """
    found = np.full((len(result.orders), 2), np.nan)
    for each in _passes(result, Market(result.bars) if market is None else market):
        size, volume = each.size(costs), each.window.volume
        volume = torch.where(each.orders.is_notional[:, None], volume * each.window.price, volume)
        filled = each.fills > 0
        lasted = filled.flip(1).cumsum(1).flip(1) > 0  # until the last fill
        traded, market_traded = each.fills.sum(1) * size, torch.where(lasted, volume, 0.0).sum(1)
        largest = participation(each.fills[:, None], each.orders, each.window, size)[:, 0].amax(1)
        known = market_traded > 0
        mean = traded / torch.where(known, market_traded, torch.nan)
        found[each.rows] = torch.stack([mean, torch.where(known, largest, torch.nan)], 1).numpy()
    return pd.DataFrame(found, columns=["mean", "largest"], index=result.orders.index)
