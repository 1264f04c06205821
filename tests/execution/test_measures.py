"""Reference prices of a result: by hand, and against loops that follow the definitions word by word."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models import CostModel, Order, execute, load_policy
from lem_models.features.market import Market
from lem_models.markets.synthetic import synthetic_bars
from lem_models.statistics.reference_prices import participation_weighted_price
from tests.helpers import Scripted, flat_bars, order_table, perturbed, random_orders

NEW = [
    "interval_vwap",
    "interval_twap",
    "full_vwap",
    "pwp_price",
    "shortfall_bps",
    "order_value",
    "cost_bps",
    "net_price",
    "net_slippage_bps",
]


def _row(policy, bars, row=1, **order):
    return execute(policy, bars, order_table(bars, row, **order)).orders.iloc[0]


# --- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "sign"), [("buy", 1), ("sell", -1)])
def test_an_order_that_ends_early_by_hand(side, sign):
    bars = flat_bars([50.0, 40.0, 60.0, 70.0, 90.0], [9.0, 10.0, 30.0, 20.0, 40.0])
    finish = [0.0, 1.0, 0.0, 0.0]
    row = _row(Scripted([0.5] * 4, finish), bars, side=side, min_periods=2, max_periods=4, amount=4.0)
    assert row["periods_used"] == 2
    assert row["executed_price"] == pytest.approx(50.0)
    assert row["interval_vwap"] == row["benchmark_price"] == pytest.approx((400 + 1800) / 40)
    assert row["interval_twap"] == pytest.approx(50.0)
    assert row["full_vwap"] == pytest.approx((400 + 1800 + 1400 + 3600) / 100)
    # 40 units trade in the first two bars.
    assert row["pwp_price"] == pytest.approx((400 + 1800) / 40)
    assert row["shortfall_bps"] == 0.0  # executed at the arrival price of 50
    assert row["order_value"] == pytest.approx(4 * 50)
    assert row["net_price"] == row["executed_price"]
    assert row["net_slippage_bps"] == row["slippage_bps"] == pytest.approx(sign * (50 / 55 - 1) * 1e4)


def test_the_interval_reaches_to_the_minimum():
    bars = flat_bars([50.0, 40.0, 60.0, 70.0], [9.0, 10.0, 30.0, 20.0])
    # All of it fills in the first period; the minimum is 3.
    row = _row(Scripted([1.0, 0.0, 0.0]), bars, min_periods=3, max_periods=3, benchmark="twap")
    assert row["periods_used"] == 1
    assert row["interval_twap"] == row["benchmark_price"] == pytest.approx(170 / 3)
    assert row["interval_vwap"] == pytest.approx((400 + 1800 + 1400) / 60)


@pytest.mark.parametrize(("amount", "expected"), [(1.0, 40.0), (2.0, 50.0), (4.0, 55.0), (6.0, 60.0), (6.1, np.nan)])
def test_participation_weighted_price_by_hand(amount, expected):
    bars = flat_bars([50.0, 40.0, 60.0, 70.0, 90.0], [9.0, 10.0, 30.0, 20.0, 40.0])
    # Until 10, 20, 40, 60 units have traded within 3 periods; there are no 61.
    row = _row(load_policy("twap"), bars, max_periods=3, amount=amount)
    np.testing.assert_allclose(row["pwp_price"], expected)


def test_an_order_that_wants_all_there_is_gets_it():
    price, volume = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.tensor([[0.1, 0.6]], dtype=torch.float64)
    assert volume.sum() < 0.07 / 0.1  # by a rounding error
    found = participation_weighted_price(
        price, volume, torch.tensor([0.07], dtype=torch.float64), torch.tensor([False])
    )
    assert found.item() == pytest.approx((0.1 + 1.2) / 0.7)


def test_participation_weighted_price_of_a_notional_counts_money():
    bars = flat_bars([50.0, 40.0, 60.0, 70.0], [9.0, 10.0, 30.0, 20.0])
    # 1000 of money: 400 at 40 buy 10 units, 600 at 60 another 10.
    row = _row(load_policy("twap"), bars, max_periods=3, amount=100.0, target="notional")
    assert row["pwp_price"] == pytest.approx(1000 / 20)
    assert row["order_value"] == pytest.approx(100.0)
    row = _row(load_policy("twap"), bars, max_periods=3, amount=361.0, target="notional")
    assert np.isnan(row["pwp_price"])  # 3600 trade, 3610 are wanted


def test_an_order_without_size_has_no_participation_and_the_value_of_what_is_expected():
    bars = flat_bars([50.0] * 400, [9.0] * 400)
    orders = order_table(bars, [300, 300], max_periods=[3, 6], target=["quantity", "notional"])
    found = execute(load_policy("twap"), bars, orders).orders
    assert found["pwp_price"].isna().all()
    np.testing.assert_allclose(found["order_value"], [3 * 9 * 50, 6 * 9 * 50])
    found = execute(load_policy("twap"), bars, orders, costs=CostModel(order_size=0.02)).orders
    np.testing.assert_allclose(found["pwp_price"], 50.0)
    np.testing.assert_allclose(found["order_value"], [0.02 * 3 * 9 * 50, 0.02 * 6 * 9 * 50])


@pytest.mark.parametrize(("side", "sign"), [("buy", 1), ("sell", -1)])
def test_what_does_not_fill_falls_short_at_the_last_close(side, sign):
    bars = flat_bars([10.0, 11.0, 12.0, 13.0, 15.0, 99.0], [1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    row = _row(load_policy("twap"), bars, side=side, max_periods=4)
    assert row["filled"] == pytest.approx(0.5)
    assert row["shortfall_bps"] == pytest.approx(sign * (0.5 * 11.5 + 0.5 * 15.0 - 10) / 10 * 1e4)
    assert row["interval_twap"] == pytest.approx(11.5)  # the bars that traded


def test_an_order_that_never_trades_misses_the_whole_move():
    bars = flat_bars([10.0, 11.0, 12.0, 13.0], [1.0, 0.0, 0.0, 1.0])
    row = _row(load_policy("twap"), bars, max_periods=2, amount=1.0)
    assert row["shortfall_bps"] == pytest.approx(2000.0)
    undefined = ["interval_vwap", "interval_twap", "full_vwap", "pwp_price", "net_price", "net_slippage_bps"]
    assert row[undefined].isna().all()
    assert row["order_value"] == pytest.approx(10.0)


# --- by definition ---------------------------------------------------------------------------------------------------


def _expected(bars, order, fills):
    """The columns of one order by loops over its bars."""
    first = bars.locate(order["symbol"], [order["start"].value])[0]
    sign = 1 if order["side"] == "buy" else -1
    n = order["max_periods"]
    price, volume = bars.vwap[first : first + n], bars.volume[first : first + n]
    end = max(order["min_periods"], order["periods_used"])
    traded = volume > 0
    arrival = bars.close[first - 1]
    done = sum(w * p for w, p in zip(fills, price, strict=True))
    if order["target"] == "notional" and fills.sum() > 0:
        done = fills.sum() ** 2 / sum(w / p for w, p in zip(fills, price, strict=True))
    missed = (1 - fills.sum()) * bars.close[first + n - 1]
    wanted, units, money = order["amount"] * 10, 0.0, 0.0
    for p, v in zip(price, volume, strict=True):
        take = min(v, max((wanted - money) / p if order["target"] == "notional" else wanted - units, 0.0))
        units, money = units + take, money + take * p
    reached = (money if order["target"] == "notional" else units) >= wanted * (1 - 1e-9)
    with np.errstate(invalid="ignore"):
        return {
            "interval_vwap": (price * volume)[:end].sum() / volume[:end].sum(),
            "interval_twap": price[:end][traded[:end]].sum() / np.float64(traded[:end].sum()),
            "full_vwap": (price * volume).sum() / volume.sum(),
            "pwp_price": money / units if reached else np.nan,
            "shortfall_bps": sign * (done + missed - arrival) / arrival * 1e4,
            "order_value": order["amount"] * (1 if order["target"] == "notional" else arrival),
        }


@pytest.mark.parametrize("policy", ["twap", "stopping_rule"])
def test_every_column_by_its_definition(policy):
    calm = synthetic_bars(symbols=1, days=40, seed=8)
    bars = perturbed(calm, np.arange(300, len(calm)), seed=1, silent=0.15)
    rng = np.random.default_rng(2)
    starts = np.sort(rng.choice(np.arange(300, len(bars) - 12), 150, replace=False))
    orders = random_orders(rng, 150, 9).assign(
        symbol=bars.symbols[0], start=pd.to_datetime(bars.timestamp[starts], utc=True)
    )
    # Sizes from a thousandth of a bar to many bars.
    scale = bars.volume.mean() * 10.0 ** rng.uniform(-3, 0, 150)
    scale *= np.where(orders["target"] == "notional", bars.close[starts - 1], 1.0)
    lots = orders["amount"] / orders["lot_size"]
    orders["lot_size"] = (scale / lots).round(6)
    orders["amount"] = (lots * orders["lot_size"]).round(6).fillna(pd.Series(scale))
    result = execute(load_policy(policy), bars, orders, within_session=False)
    assert len(result.orders) > 100
    assert 5 < result.orders["pwp_price"].isna().sum() < len(result.orders) - 50
    assert (result.orders["filled"] < 1).sum() > 5
    for _, order in result.orders.iterrows():
        expected = _expected(bars, order, result.periods_of(order["order_id"])["fraction"].to_numpy())
        np.testing.assert_allclose(order[list(expected)].to_numpy(float), list(expected.values()), rtol=1e-9, atol=1e-6)


def test_the_own_benchmark_is_one_of_the_two_interval_prices():
    bars = synthetic_bars(symbols=2, days=30, seed=3)
    orders = Order.sample(bars, every=5, max_periods=12, min_periods=[1, 6, 12], benchmark=["vwap", "twap"])
    found = execute(load_policy("stopping_rule"), bars, orders).orders
    own = np.where(found["benchmark"] == "vwap", found["interval_vwap"], found["interval_twap"])
    assert (found["benchmark_price"] == own).all()
    fixed = found[found["periods_used"] == found["max_periods"]]
    np.testing.assert_allclose(fixed["full_vwap"], fixed["interval_vwap"], rtol=1e-12)


@given(seed=st.integers(0, 2**16), rate=st.floats(0.01, 1.0), is_notional=st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_participation_weighted_price_lies_between_the_bars_and_has_no_units(seed, rate, is_notional):
    rng = np.random.default_rng(seed)
    price, volume = torch.tensor(rng.uniform(1, 2, (20, 6))), torch.tensor(rng.integers(0, 3, (20, 6)) * 1.0)
    size, notional = torch.tensor(rng.uniform(0.01, 1, 20)), torch.full((20,), is_notional)
    found = participation_weighted_price(price, volume, size, notional, rate)
    known = ~found.isnan()
    assert torch.equal(known, (volume * (price if is_notional else 1)).sum(1) >= size / rate)
    assert (found[known] >= price[known].amin(1) - 1e-12).all()
    assert (found[known] <= price[known].amax(1) + 1e-12).all()
    units = participation_weighted_price(3 * price, 7 * volume, size * (21 if is_notional else 7), notional, rate)
    torch.testing.assert_close(units, 3 * found, equal_nan=True)


def test_the_new_columns_follow_the_old_ones_and_are_numbers():
    bars = synthetic_bars(symbols=1, days=20, seed=3)
    orders = order_table(bars, [300, 2], max_periods=4)
    found = execute(load_policy("twap"), Market(bars), orders)
    assert list(found.orders.columns[-len(NEW) :]) == NEW
    assert (found.orders[NEW].dtypes == np.float64).all()
    nothing = execute(load_policy("twap"), Market(bars), orders.assign(symbol="ZZZ"))
    assert list(nothing.orders.columns) == list(found.orders.columns)
    again = execute(load_policy("twap"), bars, found.orders)
    pd.testing.assert_frame_equal(again.orders, found.orders)
