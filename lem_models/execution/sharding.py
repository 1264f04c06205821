"""One job in several processes: each takes a share of the orders, the first one puts the results together.

Orders are independent of each other, so a table of orders is cut into consecutive parts of equal length, one per
process (*rank*). Sort the table by symbol and start: a part then needs the bars of few symbols only, and orders that
read the same contexts lie in the same part. The parts, joined in their order, equal the result of one process.

``torchrun`` starts the processes, on one node or on several; or the caller makes a process group. Results travel over
gloo, because they are tables in main memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import pandas as pd

from lem_models.execution.costs import CostModel
from lem_models.execution.execute import execute_silently, warn_of_excluded
from lem_models.execution.policy import Policy, lookback_of
from lem_models.execution.result import ExecutionResult
from lem_models.features.market import Market
from lem_models.markets.bars import Bars

__all__ = ["Ranks", "SharedOrders", "join_ranks", "launched_ranks", "shard"]

_Value = TypeVar("_Value")
_PATIENCE = timedelta(days=1)  # wait of a rank for the slowest one; torchrun notices a dead rank at once


@dataclass(frozen=True)
class Ranks:
    """The processes that share a job, and the number of this one.

    Attributes:
        rank: Number of this process; 0 is the one that reports.
        size: Number of processes.
        group: Process group that results travel over; ``None`` for the default one.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    def gather(self, value: _Value) -> list[_Value] | None:
        """The values of all processes in the order of their ranks, on rank 0; ``None`` on the others.

        Every process must call it, with a value that pickles.
        """
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] | None = [None] * self.size if self.rank == 0 else None
        distributed.gather_object(value, values, group=self.group)
        return values

    def share(self, value: _Value) -> _Value:
        """The value of rank 0 on every process; all must call it, with a value that pickles."""
        if self.size == 1:
            return value
        from torch import distributed

        values: list[Any] = [value]
        distributed.broadcast_object_list(values, src=0, group=self.group)
        shared: _Value = values[0]
        return shared


def launched_ranks() -> Ranks:
    """The processes of this job. No process group is made, so :meth:`Ranks.gather` does not work yet."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    return Ranks()


def join_ranks() -> Ranks:
    """The processes of this job, able to gather. The first call makes the process group and waits for every process."""
    from torch import distributed

    ranks = launched_ranks()
    if ranks.size == 1:
        return ranks
    if not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=_PATIENCE)
    if distributed.get_backend() == "gloo":
        return ranks
    return Ranks(ranks.rank, ranks.size, distributed.new_group(backend="gloo", timeout=_PATIENCE))


def shard(count: int, ranks: Ranks) -> slice:
    """The share of one process in ``count`` things: consecutive, sizes that differ by one at most.

    Example:
        >>> [shard(7, Ranks(rank, 3)) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    return slice(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)


class SharedOrders:
    """A table of orders that several processes execute together.

    Args:
        orders: The whole table, the same in every process, with ``order_id``; best sorted by symbol and start.
        ranks: The processes; see :func:`join_ranks`.
    """

    def __init__(self, orders: pd.DataFrame, ranks: Ranks) -> None:
        self.ranks = ranks
        self.mine = orders.iloc[shard(len(orders), ranks)].reset_index(drop=True)

    def market(self, bars: Bars) -> Market:
        """The market for this process: only the symbols of its share, if the market caches what it computes."""
        whole = Market(bars)
        if self.ranks.size == 1 or not len(self.mine) or not whole.is_cached:
            return whole
        wanted = set(self.mine["symbol"])
        return Market(bars.select([symbol for symbol in bars.symbols if symbol in wanted] or bars.symbols))

    def execute(
        self, policy: Policy, market: Market, bars: Bars, *, costs: CostModel | None = None
    ) -> ExecutionResult | None:
        """Execute the orders; every process must call it.

        Args:
            policy: The policy.
            market: The market from :meth:`market`; use one for several policies.
            bars: The bars.
            costs: Trading costs.

        Returns:
            On rank 0 the result of the whole table, as :func:`~lem_models.execution.execute.execute` gives it; ``None``
            on the others.
        """
        if self.ranks.size == 1:
            result = execute_silently(policy, market, self.mine, costs=costs)
            warn_of_excluded(result, lookback=lookback_of(policy))
            return result
        # With more processes than orders, some processes have no order.
        part = execute_silently(policy, market, self.mine, costs=costs, whole=bars).part if len(self.mine) else None
        parts = self.ranks.gather(part)
        if parts is None:
            return None
        result = ExecutionResult.join(bars, [part for part in parts if part is not None])
        warn_of_excluded(result, lookback=lookback_of(policy))
        return result
