"""The flexible head in plain numbers decides what the head decides in tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.execution.policy import Decision, OrderBatch
from lem_models.execution.simulator import simulate
from lem_models.features.market import Market
from lem_models.modeling.heads.base import build_head
from lem_models.modeling.heads.flexible import FlexibleHead
from lem_models.modeling.row_head import RowHead
from tests.helpers import hourly, policy_named, random_model, random_orders, random_window, tiny_config


class Comparing:
    """Decides as the head does, and keeps how far the row head is from it."""

    def __init__(self, head):
        self.head, self.row, self.worst, self.decided = head, RowHead(head), 0.0, 0

    def decide(self, context, orders, state):
        expected, decision = self.head.decide(context, orders, state), self.row.decide(context, orders, state)
        if state.period < orders.max_periods.item():
            for name in ("fraction", "finish"):
                got = getattr(decision, name)
                assert isinstance(got, float)
                self.worst = max(self.worst, abs(got - getattr(expected, name).item()))
            self.decided += 1
        return expected


def _head(context_size, horizon, seed, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head("flexible", context_size, horizon, settings)
    with torch.no_grad():
        head.output.weight.mul_(20.0)
        head.outlook.weight.mul_(10.0)
    return head


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    horizon=st.integers(1, 14),
    layers=st.integers(1, 4),
    silent=st.sampled_from([0.0, 0.3, 1.0]),
    exponent=st.booleans(),
)
@torch.no_grad()
def test_every_decision_of_every_kind_of_order_is_the_heads(seed, horizon, layers, silent, exponent):
    rng = np.random.default_rng(seed)
    orders = OrderBatch.from_frame(random_orders(rng, 1, horizon))
    periods = int(orders.max_periods)
    head = _head(10, horizon + 2, seed % 1000, hidden_size=16, layers=layers, profile_exponent=exponent)
    if exponent:
        head.exponent.weight.normal_()
    policy = Comparing(head)
    contexts = policy.head.project(torch.from_numpy(rng.normal(size=(1, periods, 10)).astype(np.float32)))
    simulate(policy, orders, random_window(rng, 1, periods, silent=silent), contexts)
    assert policy.decided == periods
    assert policy.worst < 1e-5


@torch.no_grad()
def test_the_bundled_head_in_plain_numbers_is_within_some_millionths():
    model, rng = policy_named("lem-crypto-hourly"), np.random.default_rng(0)
    bars = hourly()
    policy = Comparing(model.head)
    for _ in range(40):
        orders = OrderBatch.from_frame(random_orders(rng, 1, 12))
        periods = int(orders.max_periods)
        rows = rng.integers(256, len(bars) // 2, periods)
        contexts = model.encode(Market(bars), rows, np.ones(periods))[None]
        simulate(policy, orders, random_window(rng, 1, periods, silent=0.1), contexts)
    assert policy.worst < 5e-6


def test_weights_are_those_of_the_moment():
    head = _head(6, 4, 0)
    policy = Comparing(head)
    with torch.no_grad():
        head.output.bias.add_(1.0)
        rng = np.random.default_rng(0)
        orders = OrderBatch.from_frame(random_orders(rng, 1, 4))
        simulate(policy, orders, random_window(rng, 1, 4), head.project(torch.zeros(1, 4, 6)))
    assert policy.worst > 1e-3


@pytest.mark.parametrize("kind", ["flexible", "a head of a user"])
def test_a_stream_decides_for_its_model(kind):
    class Mine(FlexibleHead):
        def decide(self, context, orders, state):
            return Decision(torch.full_like(state.remaining, 0.125), torch.zeros_like(state.remaining))

    model = random_model(tiny_config())
    if kind == "a head of a user":
        model.head.__class__ = Mine
    stream = model.stream(hourly(16, 1), 1)
    told = []

    class Listening:
        def decide(self, context, orders, state):
            told.append((stream.decide(context, orders, state), model.decide(context, orders, state)))
            return told[-1][1]

    rng = np.random.default_rng(1)
    orders = OrderBatch.from_frame(random_orders(rng, 1, 6).assign(max_periods=6, min_periods=1, max_rate=1.0))
    with torch.no_grad():
        simulate(Listening(), orders, random_window(rng, 1, 6), stream.context.expand(1, 6, -1))
    for mine, models in told:
        assert float(mine.fraction) == pytest.approx(models.fraction.item(), abs=1e-5)
        assert float(mine.finish) == pytest.approx(models.finish.item(), abs=1e-5)
        assert kind == "flexible" or float(mine.fraction) == 0.125
