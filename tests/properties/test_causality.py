"""Causality: a decision about bar k depends on bars before k only. And the test itself catches a one-bar leak."""

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.baselines import list_policies
from lem_models.execution.execute import execute
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision
from lem_models.features.causal import FEATURES, bar_volatility, compute_features
from lem_models.features.market import Market
from lem_models.features.profile import VolumeProfile
from lem_models.orders import Order
from tests.helpers import (
    POLICIES,
    Recorder,
    decided,
    first_moved,
    first_moved_row,
    from_bar,
    hourly,
    perturbed,
    policy_named,
    random_model,
    rebuilt,
    sessions,
)

BARS = hourly()
LENGTH = len(BARS) // 2
SCHEDULES = ("twap", "almgren_chriss", "backloaded_curve")


def _orders(every=5, **settings):
    settings = {"min_periods": [1, 6, 12], "max_periods": 12, "benchmark": ["vwap", "twap"]} | settings
    return Order.sample(BARS, every=every, **settings)


ORDERS = _orders()


@lru_cache(maxsize=1)
def _decided(name):
    """The decisions on the unchanged bars."""
    return decided(policy_named(name), BARS, ORDERS)


# --- the policies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=4)
@given(
    row=st.integers(258, LENGTH - 2),
    symbol=st.sampled_from([0, 1]),
    both=st.booleans(),
    silent=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 2**16),
)
def test_no_policy_reads_the_bar_it_trades(name, row, symbol, both, silent, seed):
    rows = from_bar(BARS, row + symbol * LENGTH, BARS.symbols if both else None)
    changed = perturbed(BARS, rows, seed=seed, silent=silent)
    assert first_moved(policy_named(name), BARS, changed, ORDERS, before=_decided(name)) is None


@pytest.mark.parametrize("name", POLICIES)
def test_a_change_of_the_traded_bar_alone_moves_no_decision_about_it(name):
    rows = (280, 300, LENGTH + 320)
    orders = _orders(every=1, min_periods=[1, 12], benchmark="vwap", target=["quantity", "notional"], max_rate=[0.2, 1])
    # Those of either symbol that may be under way.
    starts = np.concatenate([BARS.timestamp[row - 12 : row + 1] for row in rows])
    orders = orders[orders["start"].isin(pd.to_datetime(starts, utc=True))].reset_index(drop=True)
    assert len(orders) > 500
    before = decided(policy_named(name), BARS, orders)
    for row in rows:
        changed = perturbed(BARS, np.array([row]), seed=row)
        assert first_moved(policy_named(name), BARS, changed, orders, before=before) is None


@pytest.mark.parametrize("name", [*(n for n in list_policies() if n not in SCHEDULES), "random weights"])
def test_the_past_does_move_decisions(name):
    # Otherwise the tests above would prove nothing. (Schedules depend on nothing.)
    before, after = BARS, perturbed(BARS, np.arange(250, LENGTH), seed=1)
    orders = _orders().query("start > @BARS.frame.timestamp[260]")
    recorders = [Recorder(policy_named(name)) for _ in range(2)]
    for recorder, market in zip(recorders, (before, after), strict=True):
        execute(recorder, market, orders)
    assert not np.array_equal(*(recorder.decisions() for recorder in recorders))


# --- the test catches leaks ------------------------------------------------------------------------------------------


class LeakyModel(Policy):
    """A model that encodes one bar too late: the decision sees the very bar that it trades."""

    def __init__(self):
        self.model = random_model()
        self.lookback, self.horizon, self.risk_aversion = self.model.lookback, self.model.horizon, 0.5

    def encode(self, market, rows, side):
        return self.model.encode(market, np.minimum(rows + 1, len(market.bars) - 1), side)

    def decide(self, context, orders, state):
        return self.model.decide(context, orders, state)


class PeekingPolicy(Policy):
    """TWAP that trades more when the bar it trades turns out cheap; it keeps the market for itself."""

    def encode(self, market, rows, side):
        self.vwap = market.bars.vwap
        return torch.from_numpy(rows.astype(np.float64))[:, None]

    def advantage(self, context, orders, state):
        traded = torch.from_numpy(self.vwap[context[:, 0].long().numpy() + 1]) / state.arrival_price
        return orders.side * (state.last_close - traded)

    def pace(self, orders, state):
        return state.remaining / (orders.max_periods - state.period).clamp(min=1)

    def decide(self, context, orders, state):
        return Decision(self.pace(orders, state) * (1 + self.advantage(context, orders, state)), False)


class PeekingFinish(PeekingPolicy):
    """Trades at an even pace, but is the more likely to finish the cheaper the bar."""

    def decide(self, context, orders, state):
        return Decision(self.pace(orders, state), torch.sigmoid(100 * self.advantage(context, orders, state)))


@pytest.mark.parametrize("policy", [LeakyModel, PeekingPolicy, PeekingFinish])
@pytest.mark.parametrize("only_one_bar", [True, False])
def test_a_one_bar_leak_is_caught(policy, only_one_bar):
    rows = np.array([300]) if only_one_bar else from_bar(BARS, 300)
    moved = first_moved(policy(), BARS, perturbed(BARS, rows, seed=3), _orders(every=1, benchmark="vwap"))
    assert moved is not None
    assert moved.before != moved.after


def test_a_leak_in_the_features_is_caught():
    def leaky(bars):
        return np.roll(compute_features(bars).values, -1, axis=0)

    changed = perturbed(BARS, from_bar(BARS, 300), seed=3)
    assert first_moved_row(leaky, BARS, changed) == 299
    assert first_moved_row(lambda bars: compute_features(bars).values, BARS, changed) is None


# --- what policies are built from ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bars", [hourly(), sessions()], ids=["round the clock", "sessions"])
@settings(max_examples=12)
@given(data=st.data())
def test_features_of_a_row_do_not_depend_on_later_bars(bars, data):
    row = data.draw(st.integers(1, len(bars) - 1))
    changed = perturbed(bars, from_bar(bars, row), seed=row, silent=data.draw(st.sampled_from([0.0, 0.3])))
    assert first_moved_row(lambda market: compute_features(market).values, bars, changed) is None
    assert first_moved_row(lambda market: compute_features(market).volatility, bars, changed) is None
    assert first_moved_row(lambda market: Market(market).volatility, bars, changed) is None
    assert compute_features(bars).values.shape[1] == len(FEATURES)


def test_symbols_do_not_depend_on_each_other():
    changed = perturbed(BARS, np.arange(LENGTH), seed=1)
    before, after = compute_features(BARS), compute_features(changed)
    np.testing.assert_array_equal(before.values[LENGTH:], after.values[LENGTH:])
    assert not np.array_equal(before.values[:LENGTH], after.values[:LENGTH])


def test_bar_volatility_of_a_row_does_not_depend_on_later_bars():
    vwap = BARS.vwap[:LENGTH].copy()
    before = bar_volatility(vwap)
    vwap[300:] *= 2.0
    np.testing.assert_array_equal(before[:300], bar_volatility(vwap)[:300])


def _with_quiet_slots(bars):
    """Night hours with next to no volume: where a profile falls back on its level."""
    frame = bars.frame
    quiet = np.isin(bars.slot, [2, 3, 4])
    frame.loc[quiet, ["volume", "notional"]] *= 1e-4
    return rebuilt(bars, frame)


KNOWN_AT_START = ("expected_volume", "volatility", "arrival_price", "volume_unit")


@pytest.mark.parametrize(
    "bars", [hourly(), _with_quiet_slots(hourly()), sessions()], ids=["hourly", "quiet nights", "sessions"]
)
@pytest.mark.parametrize("horizon", [12, 60])
@settings(max_examples=15)
@given(data=st.data())
def test_what_is_known_at_the_start_does_not_depend_on_the_order_s_bars(bars, horizon, data):
    row = data.draw(st.integers(2, int(bars.offsets[1]) - horizon - 1))
    changed = perturbed(bars, from_bar(bars, row), seed=row, silent=data.draw(st.sampled_from([0.0, 0.2])))
    # Orders that start at or before the first changed bar: it is not known to any of them.
    start = np.arange(max(1, row - 40), row + 1)
    before, after = (VolumeProfile.of(market, 5).expected(start, horizon) for market in (bars, changed))
    np.testing.assert_array_equal(before, after)
    maximum = np.full(len(start), horizon)
    before, after = (Market(market).over_orders(start, maximum, horizon) for market in (bars, changed))
    for name in KNOWN_AT_START:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
