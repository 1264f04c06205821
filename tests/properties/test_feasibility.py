"""Feasibility: whatever a policy says, what is traded is feasible on every period, the last included."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.errors import PolicyError
from lem_models.execution.execute import execute
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, OrderBatch
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from lem_models.orders import Order
from tests.helpers import POLICIES, Erratic, Recorder, hourly, policy_named, random_orders, random_window

TOLERANCE = 1e-9
SEEDS = st.integers(0, 2**32 - 1)


def _simulate(seed, horizon, *, silent=0.0, sized=True, count=24):
    rng = np.random.default_rng(seed)
    table = random_orders(rng, count, horizon, sized=sized)
    orders, window = OrderBatch.from_frame(table), random_window(rng, count, horizon, silent=silent)
    policy = Recorder(Erratic(seed))
    return table, orders, window, policy, simulate(policy, orders, window)


def _every_way_to_finish(paths):
    """Fills when finishing at each period, and as chosen, [orders, choices, periods]."""
    count, periods = paths.fills.shape
    every = torch.arange(periods).expand(count, periods)
    return finishing_fills(paths, torch.cat([every, chosen_period(paths)[:, None]], 1))


@settings(max_examples=40)
@given(seed=SEEDS, horizon=st.integers(1, 10), silent=st.sampled_from([0.0, 0.3]))
def test_fractions_stay_inside_cap_order_and_bar(seed, horizon, silent):
    table, orders, window, _, paths = _simulate(seed, horizon, silent=silent)
    fills = _every_way_to_finish(paths)
    assert (fills >= 0).all()
    assert (fills <= orders.max_rate[:, None, None] + 1e-12).all()
    assert (orders.max_rate.numpy() <= table["max_rate"].to_numpy() * (1 + 1e-8)).all()
    assert (fills.sum(-1) <= 1 + TOLERANCE).all()
    # Nothing after the maximum, and nothing in a bar without volume.
    over = torch.arange(horizon) >= orders.max_periods[:, None]
    assert (fills.masked_select((over | (window.volume == 0))[:, None]) == 0).all()


@settings(max_examples=40)
@given(seed=SEEDS, horizon=st.integers(1, 10))
def test_an_order_completes_when_every_bar_trades(seed, horizon):
    _, _orders, _, _, paths = _simulate(seed, horizon, sized=False)
    fills = _every_way_to_finish(paths)
    torch.testing.assert_close(fills.sum(-1), torch.ones(fills.shape[:2], dtype=torch.float64), atol=1e-11, rtol=0)


@settings(max_examples=40)
@given(seed=SEEDS, horizon=st.integers(1, 10), silent=st.sampled_from([0.0, 0.3]))
def test_the_continuing_path_fills_what_was_decided_inside_the_interval(seed, horizon, silent):
    table, orders, _window, policy, paths = _simulate(seed, horizon, silent=silent)
    floor, cap = orders.min_rate.numpy(), orders.max_rate.numpy()
    for s, state in enumerate(policy.states):
        left = np.maximum(orders.max_periods.numpy() - 1 - s, 0)
        remaining, lower, upper = (x.numpy() for x in (state.remaining, state.lower, state.upper))
        np.testing.assert_allclose(upper, np.minimum(cap, remaining), atol=1e-12)
        must = np.maximum(np.minimum(floor, remaining), remaining - cap * left)
        np.testing.assert_allclose(lower, np.minimum(np.maximum(must, 0), upper), atol=1e-12)
        live = s < orders.max_periods.numpy()
        expected = np.clip(policy.decisions()[:, s, 0], lower, upper)
        last = s + 1 == orders.max_periods.numpy()
        expected = np.where(last, upper, expected)
        capacity, fill = paths.capacity[:, s].numpy(), paths.fills[:, s].numpy()
        whole = table["lot_size"].notna().to_numpy()
        lot = np.where(whole, orders.lot.numpy(), 0.0)
        allowed = np.where(live, np.minimum(expected, capacity), 0.0)
        assert (np.abs(fill - allowed) <= lot / 2 + TOLERANCE).all()


@settings(max_examples=40)
@given(seed=SEEDS, horizon=st.integers(1, 10), silent=st.sampled_from([0.0, 0.3]))
def test_no_order_is_finished_before_its_minimum_or_after_its_maximum(seed, horizon, silent):
    _, orders, window, _, paths = _simulate(seed, horizon, silent=silent)
    chosen = chosen_period(paths)
    assert (chosen >= orders.min_periods - 1).all()
    assert (chosen <= orders.max_periods - 1).all()
    used = settle(finishing_fills(paths, chosen[:, None]), orders, window).periods_used[:, 0]
    assert (used >= 1).all()
    assert (used <= orders.max_periods).all()
    # Before the minimum what is traded is the continuing path.
    early = torch.arange(horizon) < orders.min_periods[:, None] - 1
    fills = finishing_fills(paths, chosen[:, None])[:, 0]
    assert torch.equal(fills[early], paths.fills[early])


@settings(max_examples=40)
@given(seed=SEEDS, horizon=st.integers(1, 10))
def test_fills_are_whole_lots_and_stay_within_the_participation(seed, horizon):
    table, _, window, _, paths = _simulate(seed, horizon, silent=0.1)
    amounts = _every_way_to_finish(paths).numpy() * table["amount"].to_numpy()[:, None, None]
    lots = amounts / table["lot_size"].to_numpy()[:, None, None]
    whole = table["lot_size"].notna().to_numpy()
    np.testing.assert_allclose(lots[whole], np.round(lots[whole]), atol=1e-6)

    limited = table["max_participation"].notna().to_numpy()
    bar = (window.volume * window.volume_unit[:, None]).numpy()
    money = bar * (window.price * window.arrival_price[:, None]).numpy()
    bar = np.where((table["target"] == "notional").to_numpy()[:, None], money, bar)
    limit = table["max_participation"].to_numpy()[:, None] * bar
    assert (amounts[limited] <= limit[limited][:, None] * (1 + 1e-9) + 1e-9).all()


@settings(max_examples=30)
@given(seed=SEEDS, horizon=st.integers(2, 10))
def test_finishing_never_leaves_more_than_going_on(seed, horizon):
    _, _, _, _, paths = _simulate(seed, horizon, silent=0.3)
    filled = finishing_fills(paths, torch.arange(horizon).expand(len(paths.fills), horizon)).sum(-1)
    assert (filled >= paths.fills.sum(-1)[:, None] - TOLERANCE).all()


@settings(max_examples=30)
@given(seed=SEEDS)
def test_an_order_that_cannot_complete_says_how_much_it_filled(seed):
    _table, orders, window, _, paths = _simulate(seed, 4, silent=0.6)
    fills = finishing_fills(paths, chosen_period(paths)[:, None])
    outcome = settle(fills, orders, window)
    torch.testing.assert_close(outcome.filled, fills.sum(-1))
    incomplete = outcome.filled[:, 0] < 1 - TOLERANCE
    assert (outcome.periods_used[incomplete, 0] == orders.max_periods[incomplete]).all()
    nothing = outcome.filled[:, 0] == 0
    assert torch.isnan(outcome.executed_price[nothing, 0]).all()
    assert torch.isfinite(outcome.executed_price[~nothing, 0]).all()


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_end_to_end(name):
    bars = hourly()
    orders = Order.sample(
        bars,
        every=8,
        min_periods=[1, 4],
        max_periods=12,
        max_rate=[0.1, 1.0],
        min_rate=[0.0, 0.05],
        benchmark=["vwap", "twap"],
        target=["quantity", "notional"],
    )
    result = execute(policy_named(name), bars, orders)
    assert len(result.orders) == len(orders)
    assert result.orders["completed"].all()
    assert (result.orders["filled"] == 1.0).all()
    schedule = result.schedule.merge(result.orders, on="order_id")
    total = schedule.groupby("order_id")["fraction"].sum()
    np.testing.assert_allclose(total, 1.0, atol=1e-11)
    assert (schedule["fraction"] > 0).all()
    assert (schedule["fraction"] <= schedule["max_rate"] + 1e-12).all()
    assert (schedule["period"] < schedule["periods_used"]).all()
    assert result.orders["periods_used"].between(1, 12).all()
    # A floor holds in every period but the one that trades the rest.
    rest = schedule.groupby("order_id")["period"].transform("max") == schedule["period"]
    assert (schedule["fraction"] >= schedule["min_rate"] - 1e-12)[~rest].all()


class _Answer(Policy):
    def __init__(self, answer):
        self.answer = answer

    def decide(self, context, orders, state):
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        Decision(float("nan"), False),
        Decision(float("inf"), False),
        Decision(0.1, float("nan")),
        Decision(np.array([0.1, np.nan, 0.1]), False),
        Decision(np.array([0.1, 0.2]), False),
        Decision("half", False),
        Decision(0.1, None),
        None,
        (0.1,),
        (0.1, False, 0.0),
    ],
    ids=repr,
)
def test_an_answer_that_is_not_a_number_per_order_is_refused(answer):
    rng = np.random.default_rng(0)
    orders, window = OrderBatch.from_frame(random_orders(rng, 3, 4)), random_window(rng, 3, 4)
    with pytest.raises(PolicyError, match=r"decide\(\) of period 0"):
        simulate(_Answer(answer), orders, window)


def test_a_plain_pair_is_an_answer():
    rng = np.random.default_rng(0)
    orders, window = OrderBatch.from_frame(random_orders(rng, 3, 4)), random_window(rng, 3, 4)
    fills = [simulate(_Answer(answer), orders, window).fills for answer in ((0.1, False), Decision(0.1, False))]
    assert torch.equal(*fills)


def test_something_without_decide_is_no_policy():
    bars = hourly()
    with pytest.raises(PolicyError, match="decide"):
        execute(object(), bars, Order.sample(bars, every=50))


def test_what_a_policy_says_of_orders_that_are_over_does_not_matter():
    class Careless(Policy):
        def decide(self, context, orders, state):
            return Decision(state.remaining / (orders.max_periods - state.period), False)

    bars = hourly()
    mixed = Order.sample(bars, every=50, max_periods=[3, 6])
    together = execute(Careless(), bars, mixed).orders
    alone = execute(Careless(), bars, mixed[mixed["max_periods"] == 3]).orders
    both = together[together["max_periods"] == 3].reset_index(drop=True)
    np.testing.assert_array_equal(both["slippage_bps"], alone["slippage_bps"])
