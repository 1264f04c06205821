"""The classical policies: what each does, by hand."""

import numpy as np
import pytest

from lem_models.baselines import list_policies, load_policy
from lem_models.errors import UnknownNameError
from lem_models.execution.execute import execute
from lem_models.features.profile import VolumeProfile
from lem_models.orders import Order
from tests.helpers import flat_bars, hourly, order_table, rebuilt

BARS = hourly()


def _fractions(name, bars, **order):
    result = execute(load_policy(name), bars, order_table(bars, order.pop("row", 1), **order))
    return result.schedule["fraction"].tolist(), result.orders.iloc[0]


# --- by name ---------------------------------------------------------------------------------------------------------


def test_names():
    assert list_policies() == [
        "almgren_chriss",
        "backloaded_curve",
        "convex",
        "dynamic_volume_curve",
        "kalman_volume",
        "longstaff_schwartz",
        "longstaff_schwartz_net",
        "pov",
        "stopping_rule",
        "twap",
        "volume_curve",
    ]
    for name in list_policies():
        policy = load_policy(name)
        assert policy.horizon is None
        assert policy.lookback == {"dynamic_volume_curve": 256, "kalman_volume": 256, "convex": 128}.get(name, 1)
        assert policy.risk_aversion == (0.5 if name == "almgren_chriss" else 0.0)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="unknown policy 'twop'; did you mean 'twap'"):
        load_policy("twop")


# --- twap ------------------------------------------------------------------------------------------------------------


def test_twap_trades_the_same_in_every_period():
    fractions, row = _fractions("twap", BARS, row=100, max_periods=7)
    assert fractions == pytest.approx([1 / 7] * 7)
    assert row["periods_used"] == 7


def test_twap_spreads_what_a_silent_bar_left_over():
    bars = flat_bars([1.0] * 6, [1, 1, 0, 1, 1, 1])
    fractions, _ = _fractions("twap", bars, max_periods=4)
    assert fractions == pytest.approx([0.25, 0.375, 0.375])


def test_twap_in_lots():
    fractions, _ = _fractions("twap", BARS, row=100, max_periods=4, amount=10.0, lot_size=1.0)
    assert np.round(np.array(fractions) * 10).tolist() == [3, 2, 3, 2]  # half a lot is rounded up


# --- volume curve ----------------------------------------------------------------------------------------------------


def test_the_volume_curve_trades_the_expected_volume():
    row = 24 * 12 + 7
    expected = VolumeProfile.of(BARS, 20).expected(np.array([row]), 8)[0]
    fractions, _ = _fractions("volume_curve", BARS, row=row, max_periods=8)
    assert fractions == pytest.approx(expected / expected.sum())


def test_the_volume_curve_is_an_even_pace_when_nothing_is_known():
    assert _fractions("volume_curve", BARS, row=4, max_periods=8)[0] == pytest.approx([1 / 8] * 8)
    assert _fractions("volume_curve", BARS, row=20, max_periods=8)[0] == pytest.approx([1 / 8] * 8)


def test_the_volume_curve_finds_the_busy_hours():
    frame = BARS.frame
    busy = BARS.slot == 15
    frame.loc[busy, ["volume", "notional"]] *= 50.0
    fractions, _ = _fractions("volume_curve", rebuilt(BARS, frame), row=24 * 12 + 12, max_periods=8)
    assert np.argmax(fractions) == 3
    assert fractions[3] > 0.7


def test_the_volume_curve_is_closer_to_the_vwap_than_an_even_pace():
    orders = Order.sample(BARS, every=2, max_periods=12, lookback=256)
    spread = {name: execute(load_policy(name), BARS, orders).orders["slippage_bps"].std() for name in list_policies()}
    assert spread["volume_curve"] < spread["twap"]


# --- stopping rule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "minimum", "used"),
    [
        ("buy", 1, 3),  # after two bars the last price, 9, is below their average
        ("buy", 4, 5),  # not before the minimum; after four bars 12 is above, after the fifth period it is the end
        ("sell", 1, 4),  # after three bars the last price, 11, is above their average
        ("sell", 5, 5),
    ],
)
def test_the_stopping_rule_finishes_at_the_first_favourable_price_after_the_minimum(side, minimum, used):
    bars = flat_bars([10.0, 10.0, 9.0, 11.0, 12.0, 13.0])
    fractions, row = _fractions("stopping_rule", bars, side=side, min_periods=minimum, max_periods=5, benchmark="twap")
    assert row["periods_used"] == used
    pace = [0.2] * (used - 1)
    assert fractions == pytest.approx([*pace, 1 - sum(pace)])


@pytest.mark.parametrize(("benchmark", "used"), [("vwap", 4), ("twap", 5)])
def test_the_stopping_rule_compares_with_the_order_s_own_benchmark(benchmark, used):
    # After three bars the last price, 9, is their mean; but most of the volume was at 8.
    bars = flat_bars([10.0, 10.0, 8.0, 9.0, 9.5, 9.0, 9.0], [1.0, 1.0, 1000.0, 1.0, 1.0, 1.0, 1.0])
    _, row = _fractions("stopping_rule", bars, side="sell", min_periods=1, max_periods=6, benchmark=benchmark)
    assert row["periods_used"] == used


def test_the_stopping_rule_does_not_stop_for_a_rounding_error():
    # After one bar the benchmark so far is that bar's own price, whatever a division makes of it.
    orders = Order.sample(BARS, every=1, min_periods=1, max_periods=12)
    assert not (execute(load_policy("stopping_rule"), BARS, orders).orders["periods_used"] == 2).any()
    flat = flat_bars(np.full(300, 0.1), np.random.default_rng(0).uniform(1, 9, 300))
    orders = Order.sample(flat, lookback=1, every=1, min_periods=1, max_periods=12)
    assert (execute(load_policy("stopping_rule"), flat, orders).orders["periods_used"] == 12).all()


def test_the_stopping_rule_earns_the_value_of_the_option():
    orders = Order.sample(BARS, every=1, min_periods=1, max_periods=12)
    result = execute(load_policy("stopping_rule"), BARS, orders).orders
    assert (-result["slippage_bps"] / result["volatility_bps"]).mean() > 0.1
