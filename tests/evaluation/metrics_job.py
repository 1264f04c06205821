"""What each of two processes does in the test of the metrics: ``-m tests.evaluation.metrics_job FILE``."""

import sys
from datetime import timedelta
from pathlib import Path

import torch

from lem_models import CostModel, Order, load_policy, synthetic_bars
from lem_models.evaluation.metrics import execution_metrics
from lem_models.execution.execute import execute_silently
from lem_models.execution.sharding import Ranks, SharedOrders, join_ranks

BARS = synthetic_bars(symbols=2, days=30, seed=9)
ORDERS = Order.sample(BARS, every=7, min_periods=[1, 6], max_periods=6, side="both", limit=301)
COSTS = CostModel(half_spread_bps=1, impact=1, order_size=0.01)
POLICY = load_policy("stopping_rule")


def share(ranks: Ranks):
    """The result of the share of one process."""
    shared = SharedOrders(ORDERS, ranks)
    return execute_silently(POLICY, shared.market(BARS), shared.mine, costs=COSTS, whole=BARS)


def main(path):
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    ranks = join_ranks()
    assert ranks.size == 2
    metrics = execution_metrics()
    result = share(ranks)
    half = len(result.orders) // 3
    metrics.update(result.orders[:half])
    metrics.update(result.orders[half:])
    local = {name: metric.total.clone() for name, metric in metrics.items()}
    values = metrics.compute()
    # What was synchronised for the value is undone: the process goes on with sums of its own.
    assert all(torch.equal(metric.total, local[name]) for name, metric in metrics.items())
    shared = SharedOrders(ORDERS, ranks)
    whole = shared.execute(POLICY, shared.market(BARS), BARS, costs=COSTS)
    gathered = ranks.gather(values)
    if ranks.rank == 0:
        torch.save({"values": gathered, "own": local}, path)
        whole.orders.to_pickle(path.with_suffix(".pkl"))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
