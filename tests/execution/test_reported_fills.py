"""Orders of which fills are reported: what filled counts, whatever was decided, and a restart changes nothing."""

import copy
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models import Bars, CostModel, Order, execute, load_policy, synthetic_bars
from lem_models.errors import ConfigError, OrderError
from lem_models.execution.live import LIVE_TOLERANCE, Begun, Filled, LiveOrders
from lem_models.execution.session import LiveSession
from tests.helpers import Recorder, Scripted, flat_bars, random_model, rebuilt, sessions, tiny_config

BARS = synthetic_bars(symbols=2, days=13, seed=9)
START = pd.Timestamp("2024-01-12 00:00", tz="UTC")
HOUR = pd.Timedelta("1h")
HISTORY = BARS.between(end=START)


def _bars_at(time, bars=BARS):
    return {row["symbol"]: row for row in bars.between(time, time + HOUR).frame.to_dict("records")}


def _order(**fields):
    return Order(**{"symbol": "S000", "start": START, "side": "buy", "max_periods": 4, "order_id": "a"} | fields)


def _live(policy="twap", *orders, **settings):
    return LiveOrders(policy, list(orders) or [_order()], HISTORY, fills="reported", **settings)


# --- what filled counts ----------------------------------------------------------------------------------------------


def test_nothing_fills_but_what_is_reported_and_the_order_catches_up():
    live = _live()
    assert live.decide().fraction[0] == pytest.approx(0.25)
    live.observe(_bars_at(START), fills={"a": Filled(0.15, 100.0)})  # 60 % of what was decided
    assert live.remaining[0] == pytest.approx(0.85)
    assert live.decide().fraction[0] == pytest.approx(0.85 / 3)
    live.observe(_bars_at(START + HOUR))  # nothing is reported
    assert live.remaining[0] == pytest.approx(0.85)
    live.observe(_bars_at(START + 2 * HOUR), fills={"a": Filled(0.425, 110.0)})
    assert live.decide().fraction[0] == pytest.approx(0.425)  # the last period decides everything that is left
    assert live.decide().finish[0]
    live.observe(_bars_at(START + 3 * HOUR), fills={"a": Filled(0.4, 90.0)})
    assert live.done[0]
    assert live.remaining[0] == pytest.approx(0.025)
    assert live.executed_price[0] == pytest.approx((0.15 * 100 + 0.425 * 110 + 0.4 * 90) / 0.975)


def test_an_order_is_complete_once_its_fills_sum_to_one_whatever_was_decided():
    live = _live()
    live.observe(_bars_at(START), fills={"a": Filled(0.4, 100.0)})
    live.observe(_bars_at(START + HOUR), fills={"a": Filled(0.6, 100.0)})
    assert (live.done[0], live.remaining[0], live.period[0]) == (True, 0.0, 2)


def test_a_cap_holds_while_an_order_catches_up_and_its_floor_rises_in_time():
    live = _live("twap", _order(max_rate=0.3))
    for period, expected in enumerate([0.25, 0.3, 0.3, 0.3]):
        assert live.decide().fraction[0] == pytest.approx(expected)
        live.observe(_bars_at(START + period * HOUR), fills={"a": Filled(0.1, 100.0)})
    assert live.remaining[0] == pytest.approx(0.6)


@pytest.mark.parametrize(("target", "expected"), [("quantity", 97.5), ("notional", 1 / (0.25 / 90 + 0.75 / 100))])
def test_policies_read_the_price_that_was_reported(target, expected):
    recorder = Recorder(Scripted([0.25] * 4))
    live = _live(recorder, _order(target=target))
    live.observe(_bars_at(START), fills={"a": Filled(0.25, 90.0)})
    live.observe(_bars_at(START + HOUR), fills={"a": Filled(0.75 - 0.01, 100.0)})
    live.decide()
    arrival = recorder.states[0].arrival_price
    assert (recorder.states[1].executed_price * arrival).item() == pytest.approx(90.0)
    assert recorder.states[2].remaining.item() == pytest.approx(0.01)
    live.observe(_bars_at(START + 2 * HOUR), fills={"a": Filled(0.01, 100.0)})
    assert live.executed_price[0] == pytest.approx(expected)


def test_reported_prices_hold_spread_and_impact_and_fees_come_on_top():
    costs = CostModel(half_spread_bps=5, fee_bps=2, impact=0.8)
    orders = [_order(amount=10), _order(amount=10, side="sell", order_id="b")]
    live = _live("twap", *orders, costs=costs)
    live.observe(_bars_at(START), fills={label: Filled(0.5, 100.0) for label in "ab"})
    np.testing.assert_allclose(live.net_price, [100 * 1.0002, 100 * 0.9998])


# --- late and busted fills -------------------------------------------------------------------------------------------


def test_a_late_fill_is_decided_upon_anew_and_other_orders_keep_their_decisions():
    live = _live("twap", _order(), _order(order_id="b"))
    live.observe(_bars_at(START), fills={"b": Filled(0.25, 100.0)})
    before = live.decide()
    np.testing.assert_allclose(before.fraction, [1 / 3, 0.25])
    live.report({"a": Filled(0.25, 104.0)})
    np.testing.assert_allclose(live.decide().fraction, [0.25, 0.25])
    np.testing.assert_allclose(live.executed_price, [104.0, 100.0])
    live.report({"a": Filled(0.75, 100.0)})
    np.testing.assert_array_equal(live.done, [True, False])
    np.testing.assert_allclose(live.decide().fraction, [0.0, 0.25])
    live.observe(_bars_at(START + HOUR), fills={"b": Filled(0.25, 100.0)})
    np.testing.assert_array_equal(live.period, [1, 2])


def test_who_would_finish_decides_that_anew_after_a_late_fill():
    class Impatient(Scripted):
        def decide(self, context, orders, state):
            return type(super().decide(context, orders, state))(0.2, state.remaining > 0.9)

    live = _live(Impatient([0.2] * 4), _order(min_periods=1))
    live.observe(_bars_at(START), fills={"a": Filled(0.05, 100.0)})
    assert live.decide().finish[0]  # it was finishing in the first period
    live = _live(Impatient([0.2] * 4), _order(min_periods=2))
    live.observe(_bars_at(START), fills={"a": Filled(0.05, 100.0)})
    assert (live.decide().finish[0], live.decide().fraction[0]) == (True, pytest.approx(0.95))
    live.report({"a": Filled(0.15, 100.0)})
    assert (live.decide().finish[0], live.decide().fraction[0]) == (False, pytest.approx(0.2))


def test_a_busted_fill_comes_back():
    live = _live()
    live.observe(_bars_at(START), fills={"a": Filled(0.25, 100.0)})
    live.observe(_bars_at(START + HOUR), fills={"a": Filled(-0.25, 100.0)})
    assert live.remaining[0] == pytest.approx(1.0)
    assert math.isnan(live.executed_price[0])
    assert live.decide().fraction[0] == pytest.approx(0.5)
    live.report({"a": Filled(0.1, 101.0)})
    assert live.executed_price[0] == pytest.approx(101.0)


def test_a_late_fill_counts_although_the_session_has_ended():
    bars = sessions(60, "30min")
    day = pd.Timestamp(bars.frame["timestamp"].iloc[-1]).normalize()
    before = bars.frame[bars.frame["timestamp"] < day]
    last = before[before["timestamp"] >= before["timestamp"].iloc[-1].normalize()]
    begin, symbol = last["timestamp"].iloc[-4], bars.symbols[0]
    orders = [
        Order(symbol=symbol, start=begin, side="buy", max_periods=4, order_id=label) for label in ("complete", "not")
    ]
    known = before[before["timestamp"] < begin]
    live = LiveOrders("twap", orders, rebuilt(bars, known), fills="reported")
    for row in last.iloc[-4:-2].to_dict("records"):  # the session closes early
        live.observe({symbol: row}, fills={"complete": Filled(0.25, row["close"])})
    coming = bars.between(day).frame.iloc[0].to_dict()
    live.observe({symbol: coming}, fills={"complete": Filled(0.5, 7.0), "not": Filled(0.5, 7.0)})
    assert live.done.all()
    np.testing.assert_allclose(live.remaining, [0.0, 0.5])
    np.testing.assert_array_equal(live.ended > 0, [False, True])
    assert live.executed_price[1] == pytest.approx(7.0)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fills", "message"),
    [
        ({"z": Filled(0.1, 100.0)}, "there is no order 'z' here"),
        ({"done": Filled(0.1, 100.0)}, r"the order is done.*order_id 'done'"),
        ({"a": Filled(0.85, 100.0)}, r"an over-fill of 0.1 .*order_id 'a', rule 'over-fill'"),
        ({"a": Filled(-0.3, 100.0)}, r"0.3 of the order was busted where 0.25 of it had filled"),
        ({"a": Filled(0.1, 0.0)}, "price of a fill is finite and positive; got 0.0"),
        ({"a": Filled(0.1, math.nan)}, "price of a fill is finite and positive"),
        ({"a": Filled(math.nan, 100.0)}, "fraction of a fill is finite"),
        ({"a": Filled("some", 100.0)}, "fraction of a fill is a number; got 'some'"),
        ({"a": 0.1}, r"a fill is Filled\(fraction, price\); got 0.1"),
        ({"other": Filled(0.1, 100.0)}, r"no bar of S001 here; fills of its earlier bars go to report\(\)"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_an_impossible_fill_changes_nothing(fills, message):
    live = _live("twap", _order(), _order(order_id="done"), _order(order_id="other", symbol="S001"))
    filled = {"a": Filled(0.25, 100.0), "done": Filled(1.0, 100.0), "other": Filled(0.25, 100.0)}
    live.observe(_bars_at(START), fills=filled)
    decided, remaining = live.decide(), live.remaining
    bar = _bars_at(START + HOUR)["S000"]
    with pytest.raises(OrderError, match=message):
        live.observe({"S000": bar}, fills={"a": Filled(0.1, 100.0)} | fills)
    assert live.decide() is decided
    np.testing.assert_array_equal(live.remaining, remaining)
    live.observe({"S000": bar}, fills={"a": Filled(0.25 + 1e-13, 100.0)})


def test_where_fills_are_assumed_none_are_taken():
    live = LiveOrders("twap", [_order()], HISTORY)
    for call in (
        lambda: live.observe(_bars_at(START), fills={}),
        lambda: live.report({}),
        lambda: live.add(_order(order_id="b"), HISTORY, begun={"b": Begun([], [])}),
    ):
        with pytest.raises(OrderError, match="fills are assumed here"):
            call()
    assert (live.period[0], len(live)) == (0, 1)
    with pytest.raises(ConfigError, match="fills is 'assumed' or 'reported'; got 'real'"):
        LiveOrders("twap", [_order()], HISTORY, fills="real")


def test_a_fill_before_the_first_bar_has_closed_is_refused():
    with pytest.raises(OrderError, match="none of its bars has closed"):
        _live().report({"a": Filled(0.1, 100.0)})


# --- orders that are let go ------------------------------------------------------------------------------------------


def test_a_dropped_order_is_done_and_its_label_is_free():
    live = _live("twap", _order(), _order(order_id="b"))
    live.observe(_bars_at(START), fills={"a": Filled(0.25, 100.0), "b": Filled(0.25, 101.0)})
    live.decide()
    with pytest.raises(OrderError, match="there is no order 'c'"):
        live.drop(["a", "c"])
    live.drop(["a"])
    np.testing.assert_array_equal(live.done, [True, False])
    np.testing.assert_allclose(live.decide().fraction, [0.0, 0.25])
    assert live.executed_price[0] == pytest.approx(100.0)
    with pytest.raises(OrderError, match="there is no order 'a'"):
        live.report({"a": Filled(0.1, 100.0)})
    # Amended: half the amount, of which half has filled, and another deadline.
    live.add(_order(max_periods=8), BARS.between(end=START + HOUR), begun={"a": Begun([0.5], [100.0])})
    np.testing.assert_array_equal(live.period, [1, 1, 1])
    np.testing.assert_allclose(live.decide().fraction, [0.0, 0.25, 0.5 / 7])
    live.observe(_bars_at(START + HOUR), fills={"a": Filled(0.1, 106.0)})
    assert live.executed_price[2] == pytest.approx((0.5 * 100 + 0.1 * 106) / 0.6)
    with pytest.raises(OrderError, match="order_id 'b' is the label of an order that was added before"):
        live.add(_order(order_id="b"), BARS.between(end=START + 2 * HOUR), begun={"b": Begun([0, 0], [1, 1])})


# --- orders that have begun ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "message"),
    [
        ({"b": Begun([0.1], [100.0])}, "begun names order_id 'b', which is not among the orders"),
        ({"a": Begun([0.1], [100.0])}, "1 periods of the order have elapsed, and .* holds 2 bars from its start on"),
        ({"a": Begun([0.1] * 3, [100.0] * 3)}, "3 periods of the order have elapsed, and .* holds 2 bars"),
        ({"a": Begun([0.1] * 2, [100.0])}, "2 fractions and 1 prices"),
        ({"a": Begun([0.1] * 5, [100.0] * 5)}, "5 periods have elapsed of an order that has 4: it is over"),
        ({"a": Begun([0.1, 0.95], [100.0] * 2)}, "period 1: 0.95 of the order filled where 0.9 of it remained"),
        ({"a": Begun([0.1, -0.2], [100.0] * 2)}, "period 1: 0.2 of the order was busted where 0.1"),
        ({"a": Begun([0.1, 0.1], [100.0, math.nan])}, "period 1: the price of a fill is finite and positive; got nan"),
        ({"a": ([0.1], [100.0])}, r"what has begun is Begun\(fractions, prices\)"),
        ({}, "the history must end before the order starts"),
    ],
    ids=range(10),
)
def test_orders_that_began_otherwise_than_their_fills_say_are_refused(begun, message):
    later = BARS.between(end=START + 2 * HOUR)
    live = LiveOrders("twap", [_order(order_id="new", start=START + 2 * HOUR)], later, fills="reported")
    with pytest.raises((OrderError, ValueError), match=message):
        live.add(_order(), later, begun=begun)
    assert len(live) == 1
    with pytest.raises(OrderError, match="holds no bar that starts at 2024-01-13 00:00 UTC"):
        live.add(_order(start=START + 24 * HOUR), later, begun={"a": Begun([0.1], [100.0])})


def test_orders_that_are_complete_or_whose_time_is_over_are_done_when_they_are_taken_up():
    later = BARS.between(end=START + 4 * HOUR)
    orders = [
        _order(order_id="complete", max_periods=9),
        _order(order_id="over"),
        _order(order_id="going on", max_periods=9),
    ]
    begun = {
        "complete": Begun([0.5, 0.5, 0, 0], [100.0, 102.0, math.nan, math.nan]),
        "over": Begun([0.1, 0, 0, 0], [100.0] * 4),
        "going on": Begun([0.1, 0, 0, 0], [100.0] * 4),
    }
    live = LiveOrders("twap", orders, later, fills="reported", begun=begun)
    np.testing.assert_array_equal(live.done, [True, True, False])
    np.testing.assert_allclose(live.executed_price, [101.0, 100.0, 100.0])
    np.testing.assert_allclose(live.decide().fraction, [0.0, 0.0, 0.9 / 5])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda live: pickle.loads(pickle.dumps(live))])
def test_a_copy_of_orders_that_have_begun_goes_on_by_itself(copied):
    model = random_model(tiny_config(), seed=2)
    later = BARS.between(end=START + HOUR)
    live = LiveOrders(model, [_order()], later, fills="reported", begun={"a": Begun([0.1], [100.0])})
    other = copied(live)
    other.observe(_bars_at(START + HOUR), fills={"a": Filled(0.2, 100.0)})
    live.observe(_bars_at(START + HOUR), fills={"a": Filled(0.2, 100.0)})
    assert live.decide().fraction == other.decide().fraction


def test_a_bar_that_was_missed_and_bridged_is_no_obstacle_to_a_restart():
    model, first = random_model(tiny_config(), seed=2), _bars_at(START)["S000"]
    silent = {**_bars_at(START + HOUR)["S000"], "volume": 0.0, "notional": 0.0}
    known = pd.concat([HISTORY.select(["S000"]).frame, pd.DataFrame([first, silent])], ignore_index=True)
    live = _live(model, _order(max_periods=6))
    live.observe({"S000": first}, fills={"a": Filled(0.1, 100.0)})
    live.observe({"S000": silent})
    again = LiveOrders(
        model,
        [_order(max_periods=6)],
        Bars.from_frame(known),
        fills="reported",
        begun={"a": Begun([0.1, 0.0], [100.0, math.nan])},
    )
    np.testing.assert_allclose(again.decide().fraction, live.decide().fraction, atol=LIVE_TOLERANCE)


# --- participation capped ahead, and whole lots ----------------------------------------------------------------------


def test_participation_is_capped_ahead_by_the_volume_expected_and_what_does_not_fit_stays():
    bars = flat_bars([100.0] * 60, [10.0] * 40 + [1000.0] * 20)  # 10 a bar are expected, 1000 come
    start = pd.Timestamp(int(bars.timestamp[40]), tz="UTC")
    fields = {
        "symbol": "X",
        "start": start,
        "side": "buy",
        "max_periods": 4,
        "max_participation": 0.25,
        "lot_size": 1.0,
    }
    orders = [
        Order(**fields, amount=6.0),  # fits: two lots a period are allowed
        Order(**fields, amount=20.0),  # does not
        Order(**fields | {"lot_size": None, "target": "notional"}, amount=2000.0),  # 250 a period
    ]
    result = execute("twap", bars, orders, cap_ahead=True)
    fractions = [result.periods_of(number)["fraction"].to_numpy() for number in range(3)]
    np.testing.assert_allclose(fractions[0].sum(), 1.0)
    np.testing.assert_allclose(fractions[1], [0.1] * 4)
    np.testing.assert_allclose(fractions[2], [0.125] * 4)
    np.testing.assert_array_equal(result.orders["completed"], [True, False, False])
    np.testing.assert_allclose(execute("twap", bars, orders).orders["filled"], 1.0)


def test_an_order_leaves_to_later_periods_what_they_are_expected_to_take():
    rng = np.random.default_rng(0)
    frame = flat_bars([100.0] * 24 * 12, np.tile([40.0] * 12 + [4.0] * 12, 12) * rng.uniform(0.99, 1.01, 288))
    start = pd.Timestamp(int(frame.timestamp[24 * 11 + 8]), tz="UTC")  # four periods of 40, then four of 4
    order = Order(symbol="X", start=start, side="buy", max_periods=8, amount=16.0, max_participation=0.1)
    result = execute("twap", frame, order, cap_ahead=True)
    fractions = result.periods_of(0)["fraction"].to_numpy()
    # TWAP would trade an eighth; the later periods are expected to take 0.85 of the order, and are left no more.
    np.testing.assert_allclose(fractions[:4], [0.15, 0.25, 0.25, 0.25], rtol=0.02)
    np.testing.assert_allclose(fractions[4:], 0.025, rtol=0.05)
    assert result.orders["filled"].item() > 0.99


@pytest.mark.parametrize("lots", [3, 5, 6, 7])
def test_an_order_with_fewer_lots_than_periods_trades_whole_lots_in_time(lots):
    order = _order(max_periods=12, amount=float(lots), lot_size=1.0)
    fractions = execute("twap", BARS, order).periods_of("a")["fraction"].to_numpy()
    np.testing.assert_allclose(fractions[fractions > 0] * lots, 1.0)  # and no bunch of lots at the end
    assert (fractions > 0).sum() == lots


def test_half_a_lot_rounds_up_whatever_the_last_digit_says():
    from lem_models.execution.roll import Roll
    from tests.helpers import order_batch, random_window

    for lots in (3, 7, 10, 12, 49, 1000):
        orders = order_batch(max_periods=4, amount=float(lots), lot_size=1.0)
        roll = Roll.of(orders, random_window(np.random.default_rng(0), 1, 4))
        for below in range(min(lots, 20)):
            roll.decide(Scripted([(below + 0.5) / lots] * 4))
            assert round(roll.fraction.item() * lots, 9) == below + 1
            assert torch.isfinite(roll.fraction).all()


# --- one order -------------------------------------------------------------------------------------------------------


def test_a_session_takes_reported_fills():
    session = LiveSession("twap", _order(), HISTORY, fills="reported")
    session.observe(_bars_at(START)["S000"], Filled(0.15, 100.0))
    session.observe(_bars_at(START + HOUR)["S000"])
    assert session.remaining == pytest.approx(0.85)
    assert session.decide().fraction == pytest.approx(0.425)
    assert session.executed_price == pytest.approx(100.0)


def test_the_session_of_a_policy_takes_reported_fills_and_caps_ahead():
    policy, order = load_policy("twap"), _order(amount=100.0, max_participation=1e-3)
    whole = policy.session(order, HISTORY).decide().fraction
    session = policy.session(order, HISTORY, fills="reported", cap_ahead=True)
    capped = session.decide().fraction
    assert 0 < capped < whole == 0.25
    session.observe(_bars_at(START)["S000"], Filled(capped / 2, 100.0))
    assert session.remaining == pytest.approx(1 - capped / 2)
    with pytest.raises(OrderError, match="fills are assumed here"):
        policy.session(order, HISTORY).observe(_bars_at(START)["S000"], Filled(0.1, 100.0))
