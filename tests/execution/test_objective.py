"""The objective: exact expectation over the finishing period, differentiable in every decision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.execution.objective import expected_utility, finishing_probabilities, utility
from lem_models.execution.policy import Policy
from lem_models.execution.records import BENCHMARKS, Decision, OrderBatch
from lem_models.execution.simulator import simulate
from tests.helpers import Scripted, order_batch, random_orders, random_window


def test_utility_by_hand():
    x, risk = torch.tensor([1.0, -2.0, 10.0, -12.0, 50.0]), torch.tensor([0.0, 0.5, 1.0, 1.0, 0.25])
    # The square goes on as its tangent beyond 1, and everything beyond 20 counts as 20.
    tail = [(10 - (1 + 2 * 9)) / 2, (-12 - (1 + 2 * 11)) / 2, (20 - 0.25 * (1 + 2 * 19)) / 1.25]
    expected = [1.0, (-2 - 0.5 * (1 + 2 * 1)) / 1.5, *tail]
    assert utility(x, risk, torch.tensor(12)).tolist() == pytest.approx(expected)


def test_the_unit_of_the_utility_grows_with_the_root_of_the_horizon():
    x, risk = torch.tensor([0.3, -1.1]), torch.tensor(0.7)
    for maximum in (3, 48):
        own = utility(x * (maximum / 12) ** 0.5, risk, torch.tensor(maximum))
        torch.testing.assert_close(own, utility(x, risk, torch.tensor(12)))


def test_utility_prefers_less_risk_the_more_averse():
    sure, bet, twelve = torch.tensor([0.3]), torch.tensor([-1.0, 1.8]), torch.tensor(12)
    for risk, prefers_bet in ((0.0, True), (1.0, False)):
        aversion = torch.tensor(risk)
        assert (utility(bet, aversion, twelve).mean() > utility(sure, aversion, twelve).item()).item() is prefers_bet


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_finishing_probabilities_sum_to_one(finish):
    finish[-1] = 1.0
    probabilities = finishing_probabilities(torch.tensor([finish], dtype=torch.float64))
    assert (probabilities >= 0).all()
    assert probabilities.sum().item() == pytest.approx(1.0, abs=1e-12)


def _utility_by_hand(fills, order, orders, window):
    """Utility of one vector of fills of one order, in plain Python."""
    fills = np.array(fills)
    price, volume = window.price[order, : len(fills)].numpy(), window.volume[order, : len(fills)].numpy()
    executed = 1 / (fills / price).sum() if orders.is_notional[order] else (fills * price).sum()
    name = BENCHMARKS[int(orders.benchmark[order])]
    end = max(int(np.flatnonzero(fills > 0)[-1]) + 1, int(orders.min_periods[order]))
    if name == "full_vwap":
        end = int(orders.max_periods[order])
    weights = np.ones(end) if name == "twap" else volume[:end]
    benchmark = 1.0 if name == "arrival" else (weights * price[:end]).sum() / weights.sum()
    x = -float(orders.side[order]) * (executed / benchmark - 1) / float(window.volatility[order])
    x = min(max(x / (int(orders.max_periods[order]) / 12) ** 0.5, -20.0), 20.0)
    square = x * x if abs(x) <= 1 else 2 * abs(x) - 1
    risk = float(orders.risk_aversion[order])
    return (x - risk * square) / (1 + risk)


def _fills_by_hand(paths, order, finish_at, maximum, cap):
    fills, left = [], 1.0
    for period in range(maximum):
        fill = paths.fills[order, period].item() if period < finish_at else min(left, cap)
        fills.append(fill)
        left -= fill
    return fills


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_expected_utility_is_the_sum_over_all_ways_to_finish(seed):
    rng = np.random.default_rng(seed)
    orders = OrderBatch.from_frame(random_orders(rng, 5, 6, sized=False))
    window = random_window(rng, 5, 6)
    # Each order's market ends with it, as in a training batch.
    window.volume[torch.arange(6) >= orders.max_periods[:, None]] = 0.0
    paths = simulate(Scripted(rng.random((5, 6)) / 3, rng.random((5, 6))), orders, window)
    value = expected_utility(paths, orders, window)
    for order in range(5):
        maximum, expected, going_on = int(orders.max_periods[order]), 0.0, 1.0
        for period in range(maximum):
            fills = _fills_by_hand(paths, order, period, maximum, float(orders.max_rate[order]))
            finish = paths.finish[order, period].item()
            expected += going_on * finish * _utility_by_hand(fills, order, orders, window)
            going_on *= 1 - finish
        assert going_on == 0.0
        assert value[order].item() == pytest.approx(expected, abs=1e-9)


def test_expected_utility_is_the_mean_over_random_stopping():
    rng = np.random.default_rng(1)
    window = random_window(rng, 1, 5)
    orders = order_batch(max_periods=5, min_periods=2, max_rate=0.5, risk_aversion=0.4)
    paths = simulate(Scripted([0.1, 0.2, 0.1, 0.2, 0.0], [0.9, 0.3, 0.4, 0.2, 0.0]), orders, window)
    outcomes = [_utility_by_hand(_fills_by_hand(paths, 0, s, 5, 0.5), 0, orders, window) for s in range(5)]
    stops = rng.random((20_000, 5)) < paths.finish[0].numpy()
    drawn = np.array(outcomes)[stops.argmax(1)]
    error = drawn.std() / np.sqrt(len(drawn))
    assert abs(drawn.mean() - expected_utility(paths, orders, window).item()) < 4 * error


class _Given(Policy):
    """Decisions as tensors that carry gradients."""

    def __init__(self, fraction, finish):
        self.fraction, self.finish = fraction, finish

    def decide(self, context, orders, state):
        return Decision(self.fraction[:, state.period], self.finish[:, state.period])


@pytest.mark.parametrize("cap", [1.0, 0.37])
def test_gradients_in_fractions_and_probabilities_are_exact(cap):
    rng = np.random.default_rng(2)
    orders = order_batch(
        4,
        max_periods=[4, 4, 3, 4],
        min_periods=[1, 2, 1, 4],
        max_rate=cap,
        side=["buy", "sell", "buy", "sell"],
        benchmark=["vwap", "twap", "vwap", "twap"],
        target=["quantity", "notional", "notional", "quantity"],
        risk_aversion=0.5,
    )
    window = random_window(rng, 4, 4)

    def value(fraction, finish):
        return expected_utility(simulate(_Given(fraction, finish), orders, window), orders, window)

    # Away from the kinks: no fraction at an end of its interval.
    fraction = torch.tensor(rng.uniform(0.28, 0.31, (4, 4)), requires_grad=True)
    finish = torch.tensor(rng.uniform(0.1, 0.9, (4, 4)), requires_grad=True)
    assert torch.autograd.gradcheck(value, (fraction, finish))
    value(fraction, finish).sum().backward()
    assert (fraction.grad[:, 0] != 0).all()
    # Before the minimum and in the last period the probability has no say.
    assert (finish.grad[3] == 0).all()
    assert (finish.grad[0, :3] != 0).all()


def test_single_precision_agrees_with_double():
    rng = np.random.default_rng(3)
    table, window = random_orders(rng, 200, 12, sized=False), random_window(rng, 200, 12)
    policy = Scripted(rng.random((200, 12)) / 4, rng.random((200, 12)))
    values = []
    for dtype in (torch.float64, torch.float32):
        orders = OrderBatch.from_frame(table, dtype)
        narrow = type(window)(**{k: v.to(dtype) for k, v in vars(window).items()})
        values.append(expected_utility(simulate(policy, orders, narrow), orders, narrow))
    assert (values[0] - values[1]).abs().max() < 2e-3
