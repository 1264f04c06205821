"""Transaction cost analysis: causes add up, simulated fills are measured as simulated, nothing is lost."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models import Decision, Order, execute
from lem_models.errors import FillError, OrderError, UnknownNameError
from lem_models.evaluation.tca import analyse_fills
from lem_models.evaluation.tca.comparison import ONE_DAY, ONE_ORDER
from lem_models.evaluation.tca.decomposition import CAUSES
from lem_models.execution.costs import CostModel
from tests.helpers import flat_bars, hourly, sessions, tiny_config

HOUR = pd.Timedelta("1h")
DAY = pd.Timestamp("2024-01-01T00:00Z")
QUICK = {"draws": 50}


def fills_of(rows, **columns):
    """Fills of the order "a": hour after the first bar, quantity, price."""
    table = pd.DataFrame(rows, columns=["hour", "quantity", "price"])
    return table.assign(time=DAY + table["hour"] * HOUR, order_id="a", **columns).drop(columns="hour")


def order(**changes):
    return {"order_id": "a", "symbol": "X", "start": DAY + HOUR, "side": "buy", "max_periods": 3} | changes


def analysed(fills, bars, orders, **more):
    table = None if orders is None else pd.DataFrame([orders] if isinstance(orders, dict) else orders)
    return analyse_fills(fills, bars, table, **QUICK, **more)


def test_a_case_by_hand():
    """Prices 10 (before), 10, 12, 14; volumes 1, 2, 1: VWAP 12. Bought 3 at 10.1 and 1 at 12, of 5; fees of 0.4."""
    bars = flat_bars([10, 10, 12, 14, 15, 16], [1, 1, 2, 1, 1, 1])
    result = analysed(fills_of([(1.5, 3, 10.1), (2.5, 1, 12.0)], fee=[0.3, 0.1]), bars, order(amount=5))
    row = result.orders.iloc[0]
    executed, vwap = 42.3 / 4, 12.0
    assert row["executed_price"] == pytest.approx(executed)
    assert row["benchmark_price"] == pytest.approx(vwap)  # incomplete: it took all three periods
    assert row["slippage_bps"] == pytest.approx((executed / vwap - 1) * 1e4)
    assert row["cost"] == pytest.approx(42.3 - 48.0 + 0.4)
    assert row["cause_timing"] == pytest.approx(3 * 10 + 12 - 48)
    assert row["cause_price"] == pytest.approx(0.3)
    assert row["cause_fees"] == pytest.approx(0.4)
    assert (row["cause_sizing"], row["cause_opportunity"]) == (0, 0)
    assert row["net_slippage_bps"] == pytest.approx((42.3 - 48.0 + 0.4) / 48 * 1e4)
    # One unit was not filled: it counts at the last close, 14, against the arrival price 10.
    assert row["shortfall"] == pytest.approx(42.3 - 40 + 0.4 + 4)
    assert row["shortfall_bps"] == pytest.approx((42.3 - 40 + 0.4 + 4) / 50 * 1e4)
    assert row["opportunity_bps"] == pytest.approx(4 / 50 * 1e4)
    assert row["filled"] == pytest.approx(0.8)
    assert row["participation"] == pytest.approx(4 / 4)
    assert row["largest_participation"] == pytest.approx(3.0)
    assert row["reversion_last_fill_1_bps"] == pytest.approx((12 / 14 - 1) * 1e4)
    assert np.isnan(row["reversion_last_fill_24_bps"])
    assert row["full_vwap"] == pytest.approx(12)
    assert row["interval_twap"] == pytest.approx(12)


def test_what_was_wanted_splits_timing_from_sizing():
    bars = flat_bars([10, 10, 12, 14], [1, 1, 2, 1])
    wanted = pd.DataFrame({"order_id": "a", "start": [DAY + HOUR, DAY + 2 * HOUR], "quantity": [2, 2]})
    result = analysed(fills_of([(1.5, 3, 10.0), (2.5, 1, 12.0)]), bars, order(), decisions=wanted)
    row = result.orders.iloc[0]
    assert row["benchmark_price"] == pytest.approx(12)
    assert row["cause_timing"] == pytest.approx(4 * (11 - 12))
    assert row["cause_sizing"] == pytest.approx(4 * (10.5 - 11))
    assert row["cost"] == pytest.approx(42 - 48)


def test_a_window_of_several_bars_counts_by_time():
    bars = flat_bars([10, 10, 12, 14], [1, 1, 2, 1])
    wanted = pd.DataFrame({"start": [DAY + 1.5 * HOUR], "end": [DAY + 3 * HOUR], "quantity": [3]})
    result = analysed(fills_of([(1.5, 1, 10.0), (2.5, 1, 12.0)]), bars, order(), decisions=wanted)
    assert result.periods_of("a")["wanted"].tolist() == pytest.approx([1 / 3, 2 / 3, 0])


def test_against_arrival_the_sum_is_the_shortfall():
    bars = flat_bars([10, 10, 12, 14], [1, 1, 2, 1])
    result = analysed(fills_of([(1.5, 3, 10.1)], fee=[0.2]), bars, order(amount=5, benchmark="arrival", side="buy"))
    row = result.orders.iloc[0]
    assert row["cost"] == pytest.approx(row["shortfall"])
    assert row["net_slippage_bps"] == pytest.approx(row["shortfall_bps"])
    assert row["cause_opportunity"] == pytest.approx(2 * (14 - 10))


def test_an_order_without_fills_has_its_opportunity_cost():
    bars = flat_bars([10, 10, 12, 14], [1, 1, 2, 1])
    two = [order(amount=5), order(order_id="b", amount=5)]
    row = analysed(fills_of([(1.5, 5, 10.0)]), bars, two).orders.set_index("order_id").loc["b"]
    assert np.isnan(row["slippage_bps"])
    assert np.isnan(row["cost"])
    assert row["shortfall_bps"] == pytest.approx(4000)
    assert row["filled"] == 0


PRICES = st.lists(st.floats(1.0, 100.0), min_size=8, max_size=8)
VOLUMES = st.lists(st.sampled_from([0.0, 0.5, 1.0, 7.0]), min_size=8, max_size=8)
FILLS = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0.01, 10.0), st.floats(0.5, 200.0), st.floats(-1.0, 1.0)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40)
@given(
    prices=PRICES,
    volumes=VOLUMES,
    rows=FILLS,
    side=st.sampled_from(["buy", "sell"]),
    benchmark=st.sampled_from(["vwap", "twap", "full_vwap", "arrival"]),
    target=st.sampled_from(["quantity", "notional"]),
    minimum=st.integers(1, 5),
    amount=st.one_of(st.none(), st.floats(0.5, 50.0)),
    wanted=st.one_of(st.none(), st.lists(st.floats(0.0, 5.0), min_size=5, max_size=5)),
)
def test_the_causes_add_up(prices, volumes, rows, side, benchmark, target, minimum, amount, wanted):
    volumes[1] = 1.0  # or the market has no price
    bars = flat_bars(prices, volumes)
    table = pd.DataFrame(rows, columns=["bar", "quantity", "price", "fee"])
    fills = table.assign(time=DAY + (table["bar"] + 1.5) * HOUR, order_id="a").drop(columns="bar")
    parent = order(side=side, benchmark=benchmark, target=target, min_periods=minimum, max_periods=5)
    if amount is not None:
        parent["amount"] = amount
    decisions = None
    if wanted is not None:
        decisions = pd.DataFrame({"start": [DAY + (k + 1) * HOUR for k in range(5)], "quantity": wanted})
    result = analysed(fills, bars, parent, decisions=decisions)
    row, periods = result.orders.iloc[0], result.periods_of("a")
    sign = 1 if side == "buy" else -1
    money, units = (table["price"] * table["quantity"]).sum(), table["quantity"].sum()
    scale = 1e-9 * (abs(money) + 1e4)
    expected = sign * (money - units * row["benchmark_price"]) + table["fee"].sum() + row["cause_opportunity"]
    assert row["cost"] == pytest.approx(expected, abs=scale)
    assert sum(row[f"cause_{cause}"] for cause in CAUSES) == pytest.approx(row["cost"], abs=scale)
    bps = sum(row[f"cause_{cause}_bps"] for cause in CAUSES)
    assert bps == pytest.approx(row["net_slippage_bps"], rel=1e-9, abs=1e-5)
    # Bar by bar they add up to the same.
    assert periods["timing"].sum() == pytest.approx(row["cause_timing"], abs=scale)
    assert periods["sizing"].sum() == pytest.approx(row["cause_sizing"], abs=scale)
    assert periods["price_cost"].sum() == pytest.approx(row["cause_price"], abs=scale)
    assert result.fills["price_cost"].sum() == pytest.approx(row["cause_price"], abs=scale)
    if benchmark == "arrival":
        assert row["cost"] == pytest.approx(row["shortfall"], abs=scale)


def test_the_benchmark_of_a_flexible_order_ends_with_its_last_fill():
    fills = fills_of([(1.5, 3, 10.0), (2.5, 1, 12.0)])
    row = analysed(fills, flat_bars([10, 10, 12, 14], [1, 1, 2, 1]), order(min_periods=1)).orders.iloc[0]
    assert row["benchmark_price"] == pytest.approx((10 + 24) / 3)
    assert row["full_vwap"] == pytest.approx(12)


@pytest.fixture(scope="module")
def simulated():
    """Orders, the result of a policy on them, and its fills."""
    bars = hourly()
    orders = Order.sample(bars, every=37, side="both", min_periods=[1, 4, 6], max_periods=6, amount=10.0)
    orders["benchmark"] = [("vwap", "twap", "full_vwap", "arrival")[n % 4] for n in range(len(orders))]
    orders["order_id"] = [f"o{n}" for n in range(len(orders))]
    result = execute("pov", bars, orders)
    fills = result.schedule.assign(quantity=10.0 * result.schedule["fraction"])
    return bars, result, fills[["order_id", "timestamp", "quantity", "price"]]


def test_simulated_fills_are_measured_as_the_simulator_does(simulated):
    bars, result, fills = simulated
    analysis = analyse_fills(fills, bars, result.orders[[*result.orders.columns[:14]]], **QUICK)
    ours = analysis.orders.set_index("order_id").loc[result.orders["order_id"]].reset_index()
    for name in (
        *("executed_price", "benchmark_price", "arrival_price", "interval_vwap", "interval_twap", "full_vwap"),
        *("slippage_bps", "shortfall_bps", "filled", "periods_used"),
    ):
        np.testing.assert_allclose(ours[name], result.orders[name], rtol=1e-9, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(ours["cause_price"], 0.0, atol=1e-6)
    assert not len(analysis.issues)
    causes = analysis.causes.set_index("cause")
    assert causes["money"].drop("total").sum() == pytest.approx(causes.loc["total", "money"])
    assert causes["value_mean"].drop("total").sum() == pytest.approx(causes.loc["total", "value_mean"])
    assert causes["equal_mean"].drop("total").sum() == pytest.approx(causes.loc["total", "equal_mean"])


def test_the_same_schedule_differs_from_its_policy_by_nothing(simulated):
    bars, result, fills = simulated
    orders = result.orders[[*result.orders.columns[:14]]]
    comparison = analyse_fills(fills, bars, orders, against=("pov", "twap"), **QUICK).comparison
    table = comparison.table.set_index(["policy", "against", "weighting"]).sort_index()
    assert (table["orders"] == len(orders)).all()
    np.testing.assert_allclose(table.loc["pov", "difference_bps"], 0.0, atol=1e-6)
    assert (table.loc["twap", "difference_bps"].abs() > 1e-3).any()
    inside = (table["low_bps"] <= table["difference_bps"]) & (table["difference_bps"] <= table["high_bps"])
    assert inside.all()
    assert comparison.remark == ""


def test_with_costs_net_prices_are_compared(simulated):
    bars, result, fills = simulated
    orders = result.orders[[*result.orders.columns[:14]]]
    costs = CostModel(half_spread_bps=2.0, fee_bps=1.0)
    dear = fills.assign(fee=fills["quantity"] * fills["price"] * 5e-4)
    table = analyse_fills(dear, bars, orders, against=["pov"], costs=costs, **QUICK).comparison.table
    # Yours pays 5 bps of fees, the policy 3.
    np.testing.assert_allclose(table["net_difference_bps"], 2.0, atol=0.2)


def test_one_order_says_nothing_about_skill(simulated):
    bars, result, fills = simulated
    one = result.orders.iloc[:1][[*result.orders.columns[:14]]]
    mine = fills[fills["order_id"] == one["order_id"].iloc[0]]
    comparison = analyse_fills(mine, bars, one, against=["twap"], **QUICK).comparison
    assert comparison.remark == ONE_ORDER
    assert comparison.table["low_bps"].isna().all()


def test_orders_of_one_day_have_no_interval(simulated):
    bars, result, fills = simulated
    orders = result.orders[[*result.orders.columns[:14]]]
    day = orders[orders["start"].dt.floor("D") == orders["start"].dt.floor("D").mode()[0]]
    if len(day) > 1:
        mine = fills[fills["order_id"].isin(day["order_id"])]
        assert analyse_fills(mine, bars, day, against=["twap"], **QUICK).comparison.remark == ONE_DAY


def test_what_a_policy_cannot_execute_is_counted(simulated):
    bars, result, fills = simulated

    class Short:
        horizon = 3

        def decide(self, context, orders, state):
            raise AssertionError("no order is this short")

    orders = result.orders[[*result.orders.columns[:14]]]
    comparison = analyse_fills(fills, bars, orders, against={"short": Short()}, **QUICK).comparison
    assert comparison.left_out.to_dict("records") == [
        {"policy": "short", "reason": "longer than its horizon of 3 periods", "orders": len(orders)}
    ]
    assert not len(comparison.table)


def test_orders_in_the_days_of_the_training_are_named(simulated):
    bars, result, fills = simulated

    class Trained:
        horizon = None
        config = tiny_config(unseen_from={"1h": date(2030, 1, 1)})

        def decide(self, context, orders, state):
            return Decision(fraction=1.0 / orders.max_periods, finish=False)

    orders = result.orders[[*result.orders.columns[:14]]]
    comparison = analyse_fills(fills, bars, orders, against={"mine": Trained()}, **QUICK).comparison
    assert f"mine used bars before 2030-01-01 in training or validation, and {len(orders)} of" in comparison.remark


def test_an_unknown_policy_is_refused_before_anything_is_read():
    with pytest.raises(UnknownNameError, match="twap"):
        analyse_fills("missing.csv", hourly(), against=["twop"])


# --- orders ----------------------------------------------------------------------------------------------------------

BARS = flat_bars([10, 10, 12, 14, 15, 16], [1, 1, 2, 1, 1, 1])


def test_parents_are_inferred_by_order_id():
    fills = fills_of([(1.5, 3, 10.0), (3.5, 1, 14.0)], symbol="X", side="buy")
    result = analysed(fills, BARS, None)
    row = result.orders.iloc[0]
    assert (row["order_id"], row["max_periods"], row["start"]) == ("a", 3, DAY + HOUR)
    assert np.isnan(row["filled"])
    assert "1 parent orders are inferred from the fills, by order_id" in result.notes[0]


def test_parents_are_inferred_by_symbol_side_and_day():
    fills = fills_of([(1.5, 3, 10.0), (3.5, -1, 14.0)], symbol="X").drop(columns="order_id")
    labels = analysed(fills, BARS, None, benchmark="twap").orders[["order_id", "benchmark"]]
    assert labels.to_numpy().tolist() == [["X buy 2024-01-01", "twap"], ["X sell 2024-01-01", "twap"]]


def test_the_only_symbol_of_the_bars_is_that_of_the_fills():
    assert analysed(fills_of([(1.5, 3, 10.0)], side="sell"), BARS, None).orders["symbol"].tolist() == ["X"]


@pytest.mark.parametrize(
    ("fills", "message"),
    [
        (fills_of([(1.5, 3, 10.0)], symbol="X"), "the fill has no side"),
        (fills_of([(1.5, 3, 10.0), (2.5, 3, 10.0)], symbol="X", side=["buy", "sell"]), "are of both sides"),
        (fills_of([(1.5, 3, 10.0), (2.5, 3, 10.0)], symbol=["X", "Y"], side="buy"), "are of two symbols"),
    ],
)
def test_what_cannot_be_inferred_is_refused(fills, message):
    with pytest.raises(FillError, match=message):
        analysed(fills, BARS, None)


def test_fills_without_an_order_belong_to_the_only_one():
    fills = fills_of([(1.5, 3, 10.0)]).drop(columns="order_id")
    assert analysed(fills, BARS, order()).orders["filled_quantity"].tolist() == [3.0]
    with pytest.raises(FillError, match="the fill names no order, and there are 2 orders"):
        analysed(fills, BARS, [order(), order(order_id="b")])


def test_an_order_may_end_at_a_time_or_with_its_last_fill():
    fills = fills_of([(1.5, 3, 10.0), (2.5, 1, 12.0)])
    plain = {key: value for key, value in order().items() if key != "max_periods"}
    until = analysed(fills, BARS, plain | {"end": "2024-01-01T05:00Z"})
    assert until.orders["max_periods"].tolist() == [4]
    last = analysed(fills, BARS, plain)
    assert last.orders["max_periods"].tolist() == [2]
    assert "end with their last fill" in last.notes[0]
    with pytest.raises(OrderError, match="end and max_periods"):
        analysed(fills, BARS, order(end="2024-01-01T05:00Z"))
    with pytest.raises(OrderError, match="ends before its first bar"):
        analysed(fills, BARS, plain | {"end": "2024-01-01T01:00Z"})
    with pytest.raises(OrderError, match=r"end: .* has no time zone"):
        analysed(fills, BARS, plain | {"end": "2024-01-01T05:00"})


def test_an_order_begins_with_the_bar_that_holds_its_start():
    result = analysed(fills_of([(1.5, 3, 10.0)]), BARS, order(start=DAY + 1.4 * HOUR))
    assert result.orders["start"].tolist() == [DAY + HOUR]
    assert "start inside a bar" in result.notes[0]


def test_the_arrival_price_may_be_given():
    result = analysed(fills_of([(1.5, 3, 10.0)]), BARS, order(arrival_price=8.0))
    assert result.orders["arrival_bps"].tolist() == pytest.approx([2500.0])
    with pytest.raises(OrderError, match="the arrival price is -1"):
        analysed(fills_of([(1.5, 3, 10.0)]), BARS, order(arrival=-1))


# --- fills that do not fit -------------------------------------------------------------------------------------------

GOOD = (1.5, 3, 10.0)


@pytest.mark.parametrize(
    ("fills", "issue"),
    [
        (fills_of([GOOD, GOOD]).assign(order_id=["a", "z"]), "the table of orders has no such order"),
        (fills_of([GOOD, GOOD], symbol=["X", "Y"]), "another symbol"),
        (fills_of([GOOD, GOOD], side=["buy", "sell"]), "the other side"),
        (fills_of([GOOD, (99, 1, 10.0)]), "no bar holds its time"),
        (fills_of([GOOD, (0.5, 1, 10.0)]), "before the first bar of its order"),
        (fills_of([GOOD, GOOD], fill_id="same"), "its id was there before"),
    ],
)
def test_fills_that_cannot_be_measured_are_listed(fills, issue):
    result = analysed(fills, BARS, order())
    assert result.orders["filled_quantity"].tolist() == [3.0]
    (row,) = [row for row in result.issues.to_dict("records") if row["effect"] == "left out"]
    assert issue in row["issue"]
    assert row["fills"] == 1
    assert "row " in row["first"]


@pytest.mark.parametrize(
    ("rows", "issue"),
    [
        ([GOOD, (2.5, 0.1, 12.1)], "outside the range of its bar"),
        ([(1.5, 0.5, 10.0), (2.5, 3, 12.0)], "more than its volume"),
        ([(1.5, 0.5, 10.0), (4.5, 0.5, 15.0)], "after the end of its order"),
        ([(1.5, 0.5, 10.0), (2.5, 1.0, 12.0)], "larger than its amount"),
    ],
)
def test_fills_that_look_wrong_are_kept_and_counted(rows, issue):
    result = analysed(fills_of(rows), BARS, order(amount=1.2))
    assert result.orders["filled_quantity"].tolist() == [sum(quantity for _, quantity, _ in rows)]
    assert any(issue in row["issue"] and row["effect"] == "kept" for row in result.issues.to_dict("records"))


def test_prices_that_are_mostly_outside_their_bars_are_said_to_be_of_something_else():
    cents = fills_of([GOOD]).assign(price=1000.0)
    (note,) = [note for note in analysed(cents, BARS, order()).notes if "outside the range" in note]
    assert note.startswith("100% of the fills have prices outside the range of their bars: the times may be of another")
    assert not any("outside the range" in note for note in analysed(fills_of([GOOD]), BARS, order()).notes)


def test_symbols_that_the_bars_lack_are_named():
    result = analysed(fills_of([GOOD], symbol="X-USD", side="buy").drop(columns="order_id"), BARS, None)
    held = ", ".join(map(repr, BARS.symbols))
    assert f"the bars hold no 'X-USD'; they hold {held}" in result.notes


def test_a_tolerance_for_the_range_of_a_bar():
    fills = fills_of([(1.5, 0.5, 10.05)])
    assert len(analysed(fills, BARS, order()).issues) == 1
    assert not len(analysed(fills, BARS, order(), tolerance_bps=60).issues)


def test_an_order_with_late_fills_is_measured_until_the_last_of_them():
    result = analysed(fills_of([(1.5, 0.5, 10.0), (4.5, 0.5, 15.0)]), BARS, order(amount=1))
    assert len(result.periods_of("a")) == 4
    assert result.orders["interval_vwap"].tolist() == pytest.approx([(10 + 24 + 14 + 15) / 5])


def test_a_fill_after_the_close_belongs_to_the_last_bar():
    bars = sessions()
    last = int(np.flatnonzero(np.diff(bars.session))[2])
    close = pd.Timestamp(bars.timestamp[last], tz="UTC") + bars.frequency
    table = pd.DataFrame({"time": [close + pd.Timedelta("2s"), close + pd.Timedelta("2h")], "quantity": 1.0})
    fills = table.assign(price=bars.close[last], side="buy", order_id="a")
    result = analysed(fills, bars, None)
    assert result.fills["bar"].tolist() == [last]
    texts = result.issues["issue"].tolist()
    assert any("after the close" in text for text in texts)
    assert "no bar holds its time" in texts


def test_an_order_over_a_gap_is_left_out_with_its_fills():
    frame = BARS.frame.drop(index=2).reset_index(drop=True)
    from lem_models import Bars

    bars = Bars.from_frame(frame, calendar="24/7", frequency="1h")
    result = analysed(fills_of([(1.5, 3, 10.0)]), bars, [order(), order(order_id="b", symbol="Y")])
    assert result.excluded["reason"].tolist() == ["a gap inside the order", "the bars hold no such symbol"]
    assert result.issues["issue"].tolist() == ["its order is left out"]
    assert not len(result.orders)
    assert "nothing filled" in repr(result)
    assert "a gap inside the order" in str(result)


def test_fills_by_liquidity():
    fills = fills_of([(1.5, 1, 10.1), (2.5, 1, 11.9)], is_maker=[False, True], fee=[0.1, -0.1])
    table = analysed(fills, BARS, order()).by_liquidity.set_index("liquidity")
    assert table.loc["taker", "price_bps"] == pytest.approx(100.0)
    assert table.loc["maker", "price_bps"] == pytest.approx(-0.1 / 12 * 1e4)
    assert table["share"].sum() == pytest.approx(1.0)


def test_the_order_of_the_rows_of_fills_does_not_matter(simulated):
    bars, result, fills = simulated
    orders = result.orders[[*result.orders.columns[:14]]]
    shuffled = fills.sample(frac=1.0, random_state=0)
    a, b = (analyse_fills(each, bars, orders, **QUICK).orders for each in (fills, shuffled))
    pd.testing.assert_frame_equal(a, b)


def test_print_and_frame(simulated):
    bars, result, fills = simulated
    analysis = analyse_fills(fills, bars, result.orders[[*result.orders.columns[:14]]], against=["twap"], **QUICK)
    text = str(analysis)
    for words in ("Slippage by cause", "timing of the schedule", "What policies would have paid", "Reversion"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 120
    frame = analysis.to_frame()
    frame["cost"] = 0.0
    assert (analysis.orders["cost"] != 0).any()
    with pytest.raises(UnknownNameError):
        analysis.periods_of("none")
