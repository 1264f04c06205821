"""The same fills at other costs are what executing again gives, to the last digit."""

import numpy as np
import pandas as pd
import pytest

from lem_models import CostModel, Order, execute, load_policy, synthetic_bars
from lem_models.baselines.oracle_vwap import OracleVWAP
from lem_models.errors import OrderError
from lem_models.evaluation.bound import execute_bound
from lem_models.evaluation.repricing import participations, repriced
from lem_models.features.market import Market
from tests.helpers import Scripted, flat_bars, hourly, order_table, random_model, sessions, tiny_config

BARS = hourly()
ORDERS = Order.sample(
    BARS,
    every=7,
    side="both",
    min_periods=[1, 6],
    max_periods=12,
    target=["quantity", "notional"],
    benchmark=["vwap", "twap", "full_vwap", "arrival"],
)
COSTS = CostModel(half_spread_bps=1, fee_bps=2, impact=0.8)
SIZES = (0.001, 0.03, 0.5)


@pytest.mark.parametrize("policy", ["stopping_rule", "pov", "a model that reads no sizes"])
def test_repricing_is_executing_again(policy):
    policy = random_model(tiny_config(horizon=12)) if policy.startswith("a model") else load_policy(policy)
    assert not policy.reads_size
    models = [COSTS.at(size) for size in SIZES]
    orders = ORDERS if policy.benchmarks is None else ORDERS[ORDERS["benchmark"].isin(policy.benchmarks)]
    found = repriced(execute(policy, BARS, orders), models)
    for model, net in zip(models, found, strict=True):
        again = execute(policy, BARS, orders, costs=model).orders
        pd.testing.assert_frame_equal(net, again, check_exact=True)
    assert found[2]["cost_bps"].mean() > 10 * found[0]["cost_bps"].mean()


def test_size_zero_is_executing_without_impact():
    result = execute("twap", BARS, ORDERS)
    flat = execute("twap", BARS, ORDERS, costs=CostModel(half_spread_bps=1, fee_bps=2)).orders
    pd.testing.assert_frame_equal(repriced(result, [COSTS.at(0)])[0], flat, check_exact=True)


def test_costs_of_the_first_execution_do_not_matter():
    free, dear = execute("twap", BARS, ORDERS), execute("twap", BARS, ORDERS, costs=COSTS.at(0.1))
    one, two = (repriced(result, [COSTS.at(0.02)])[0] for result in (free, dear))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_several_calendars_symbols_of_their_own_spread_and_bounds():
    frames = [hourly(days=20, symbols=1).frame, sessions(days=20, frequency="1h").frame.assign(symbol="Y")]
    from lem_models import Bars

    bars = Bars.from_frame(pd.concat(frames), calendar={"S000": "24/7", "Y": "sessions"}, frequency="1h")
    model = CostModel(half_spread_bps=1, impact=0.5, order_size=0.05, half_spreads_bps={"Y": 4.0})
    orders = Order.sample(bars, every=5, max_periods=4, lookback=64)
    assert orders["symbol"].nunique() == 2
    again = execute("volume_curve", bars, orders, costs=model).orders
    # A policy with a memory of its own counts volumes in another unit than the pricing does: the same up to rounding.
    pd.testing.assert_frame_equal(repriced(execute("volume_curve", bars, orders), [model])[0], again, rtol=1e-12)
    market, table = Market(BARS), ORDERS[ORDERS["benchmark"] == "vwap"]
    bound, costly = (execute_bound(OracleVWAP(), market, table, costs=c) for c in (None, COSTS.at(0.03)))
    pd.testing.assert_frame_equal(repriced(bound, [COSTS.at(0.03)])[0], costly.orders, check_exact=True)


def test_amounts_and_their_participation_limits_are_priced_as_they_filled():
    unit = synthetic_bars(symbols=2, days=16).volume.mean()
    orders = Order.sample(BARS, every=11, max_periods=6).assign(amount=0.4 * unit, max_participation=0.05)
    limited = execute("twap", BARS, orders)
    assert (limited.orders["filled"] < 1).any()  # the limit binds
    again = execute("twap", BARS, orders, costs=COSTS).orders
    pd.testing.assert_frame_equal(repriced(limited, [COSTS])[0], again, check_exact=True)
    assert participations(limited)["largest"].max() == pytest.approx(0.05)


def test_an_impact_needs_a_size():
    with pytest.raises(OrderError, match="impact depends on the size"):
        repriced(execute("twap", BARS, ORDERS), [COSTS])


@pytest.mark.parametrize(("target", "largest"), [("quantity", 4 / 10), ("notional", 4 * 100 / (10 * 104))])
def test_participation_by_hand(target, largest):
    """8 units, or the money of 8 at the arrival price, over bars of 20, 10 and 30 units; done after two of three."""
    bars = flat_bars([*([100.0] * 201), 100.0, 104.0, 96.0], [*([10.0] * 201), 20.0, 10.0, 30.0])
    amount = 8.0 if target == "quantity" else 800.0
    orders = order_table(bars, 201, max_periods=3, min_periods=1, amount=amount, target=target)
    result = execute(Scripted([0.5, 0.0, 0.0], [0.0, 1.0, 1.0]), bars, orders)
    assert result.orders["periods_used"].item() == 2
    found = participations(result).iloc[0]
    assert found["largest"] == pytest.approx(largest)
    assert found["mean"] == pytest.approx(8 / 30 if target == "quantity" else 800 / (20 * 100 + 10 * 104))


def test_participation_is_proportional_to_the_size_and_unknown_without_one():
    result = execute("stopping_rule", BARS, ORDERS)
    one, three = (participations(result, CostModel(order_size=size)) for size in (0.01, 0.03))
    np.testing.assert_allclose(three, 3 * one)
    assert (one["mean"] <= one["largest"] + 1e-12).all()
    assert participations(result).isna().all(axis=None)
