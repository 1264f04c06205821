"""A table of orders executed in parts is the table executed at once."""

import pickle

import numpy as np
import pandas as pd
import pytest

from lem_models.execution.execute import execute, execute_silently
from lem_models.execution.result import ExecutionResult
from lem_models.execution.sharding import Ranks, SharedOrders, launched_ranks, shard
from lem_models.features.market import Market
from lem_models.orders import Order
from tests.helpers import KINDS, hourly, policy_named

BARS = hourly(symbols=3, seed=6)


def _orders():
    """Orders of three symbols, some without enough history, one of a symbol that is not there."""
    orders = Order.sample(BARS, every=23, min_periods=[1, 5], max_periods=6, lookback=200, benchmark=["vwap", "twap"])
    early = orders.groupby("symbol").head(2).assign(start=pd.Timestamp(BARS.timestamp[20], tz="UTC"))
    unknown = orders.tail(1).assign(symbol="ZZZ")
    table = pd.concat([orders, early, unknown]).sort_values(["symbol", "start"], ignore_index=True)
    return table.assign(order_id=[f"order {n}" for n in range(len(table))], desk="A")


def _in_parts(policy, orders, size):
    parts = []
    for rank in range(size):
        shared = SharedOrders(orders, Ranks(rank, size))
        if len(shared.mine):
            part = execute_silently(policy, shared.market(BARS), shared.mine, whole=BARS).part
            parts.append(pickle.loads(pickle.dumps(part)))
    return ExecutionResult.join(BARS, parts)


@pytest.mark.parametrize(("count", "size"), [(0, 2), (1, 3), (7, 3), (100, 7)])
def test_shares_are_equal_consecutive_and_complete(count, size):
    shares = [np.arange(count)[shard(count, Ranks(rank, size))] for rank in range(size)]
    assert np.concatenate(shares).tolist() == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("name", KINDS)
def test_parts_join_to_the_whole(name):
    policy, orders = policy_named(name), _orders()
    whole = execute(policy, BARS, orders)
    assert {"the bars hold no such symbol"} <= set(whole.excluded["reason"])
    parts = _in_parts(policy, orders, 4)
    # Contexts are sums of float32, and these depend in their last bit on how many sequences are computed together.
    exact = {"check_exact": True} if name in ("twap", "volume_curve", "stopping_rule") else {"atol": 1e-4, "rtol": 1e-7}
    pd.testing.assert_frame_equal(parts.orders, whole.orders, **exact)
    pd.testing.assert_frame_equal(parts.excluded, whole.excluded)
    pd.testing.assert_frame_equal(parts.schedule, whole.schedule, **exact)
    assert np.array_equal(parts.finish_period, whole.finish_period)
    last = whole.orders["order_id"].iloc[-1]
    pd.testing.assert_frame_equal(parts.periods_of(last), whole.periods_of(last), **exact)


def test_there_may_be_more_processes_than_orders():
    policy, orders = policy_named("twap"), _orders().tail(3)
    parts = _in_parts(policy, orders, 5)
    pd.testing.assert_frame_equal(parts.orders, execute(policy, BARS, orders).orders)
    assert len(parts.excluded) == 1


def test_a_part_without_a_valid_order_does_not_change_the_others():
    policy, orders = policy_named("twap"), _orders()
    only_unknown = pd.concat([orders.head(8), orders.tail(8).assign(symbol="ZZZ")], ignore_index=True)
    parts, whole = _in_parts(policy, only_unknown, 2), execute(policy, BARS, only_unknown)
    pd.testing.assert_frame_equal(parts.orders, whole.orders)
    pd.testing.assert_frame_equal(parts.excluded, whole.excluded)
    nothing = _in_parts(policy, only_unknown.tail(8), 2)
    assert len(nothing.orders) == len(nothing.schedule) == 0
    assert len(nothing.excluded) == 8


def test_a_process_needs_the_bars_of_its_own_symbols_only():
    orders = _orders()
    for rank in range(3):
        shared = SharedOrders(orders, Ranks(rank, 3))
        symbols = shared.market(BARS).bars.symbols
        assert set(symbols) == set(shared.mine["symbol"]) & set(BARS.symbols)
        assert len(symbols) < len(BARS.symbols)
    assert SharedOrders(orders, Ranks()).market(BARS) == Market(BARS)


def test_alone_there_is_one_rank():
    assert launched_ranks() == Ranks(0, 1)
    assert Ranks().gather("mine") == ["mine"]
    assert SharedOrders(_orders(), Ranks()).execute(policy_named("twap"), Market(BARS), BARS) is not None
