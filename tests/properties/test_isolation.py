"""A policy holds nothing from which it could reach later bars, or change what the simulator knows."""

import torch

from lem_models import Decision, Order, execute, load_policy, synthetic_bars
from lem_models.execution.records import OrderBatch

BARS = synthetic_bars(symbols=2, days=20, seed=6)
ORDERS = Order.sample(BARS, every="6h", min_periods=[1, 12], max_periods=12)


def _tensors(state):
    return {name: value for name, value in vars(state).items() if isinstance(value, torch.Tensor)}


class _Reaching:
    """Looks behind every tensor that it is given."""

    def decide(self, context, orders, state):
        for name, value in _tensors(state).items():
            assert value._base is None, name
            periods = state.period if value.ndim == 2 and name != "expected_volume" else None
            reachable = value.untyped_storage().nbytes() // value.element_size()
            assert reachable == value.numel(), name
            assert periods is None or value.shape[1] == periods
        return Decision(state.remaining / (orders.max_periods - state.period), False)


class _Vandal:
    """Writes into every tensor that it is given."""

    def decide(self, context, orders, state):
        answer = state.remaining / (orders.max_periods - state.period)
        for value in _tensors(state).values():
            value.mul_(0.5)
        if isinstance(orders, OrderBatch):
            orders.max_rate.mul_(0.01)
            orders.side.neg_()
        return Decision(answer, False)


def test_nothing_handed_over_reaches_beyond_what_is_known():
    execute(_Reaching(), BARS, ORDERS)


def test_writing_into_what_is_handed_over_changes_nothing():
    honest = execute(load_policy("twap"), BARS, ORDERS)
    vandal = execute(_Vandal(), BARS, ORDERS)
    assert vandal.schedule.equals(honest.schedule)
    assert vandal.orders.equals(honest.orders)
