"""Many live orders decide what each of them decides in hindsight, whenever they start and whichever bars come."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models import Bars, CostModel, Decision, Order, execute, load_policy, synthetic_bars
from lem_models.errors import BarsError, BarsWarning, OrderError, PolicyError
from lem_models.execution.live import LIVE_TOLERANCE, LiveOrders
from lem_models.execution.policy import Policy
from tests.helpers import Erratic, flat_bars, random_model, rebuilt, sessions, tiny_config

BARS = synthetic_bars(symbols=4, days=20, seed=9)
START = pd.Timestamp("2024-01-14 00:00", tz="UTC")
HOUR = pd.Timedelta("1h")
COSTS = CostModel(half_spread_bps=1, impact=0.8)


def _orders(rng, start, horizon, count):
    return pd.DataFrame(
        {
            "order_id": [f"{start}-{number}" for number in range(count)],
            "symbol": rng.choice(BARS.symbols, count),
            "start": start,
            "side": rng.choice(["buy", "sell"], count),
            "benchmark": rng.choice(["vwap", "twap"], count),
            "target": rng.choice(["quantity", "notional"], count),
            "min_periods": rng.integers(1, horizon + 1, count),
            "max_periods": rng.integers(horizon // 2, horizon + 1, count),
            "max_rate": rng.choice([0.4, 1.0], count),
            "amount": rng.uniform(1, 50, count),
        }
    ).assign(min_periods=lambda table: table[["min_periods", "max_periods"]].min(axis=1))


@pytest.mark.parametrize("name", ["twap", "volume_curve", "stopping_rule", "lem-crypto-hourly", "random weights"])
@pytest.mark.parametrize("late", [0.0, 0.3])
def test_orders_that_start_one_after_the_other_fill_as_in_hindsight(name, late):
    rng = np.random.default_rng(3)
    policy = random_model(tiny_config(horizon=12), seed=1) if name == "random weights" else load_policy(name)
    tables = [_orders(rng, START + number * HOUR, 12, 7) for number in range(3)]
    expected = execute(policy, BARS, pd.concat(tables, ignore_index=True), costs=COSTS)
    rows = {symbol: BARS.select([symbol]).frame.to_dict("records") for symbol in BARS.symbols}
    first = int((START - pd.Timestamp("2024-01-01", tz="UTC")) / HOUR)
    at = dict.fromkeys(BARS.symbols, first)
    live, fills = LiveOrders(policy, tables[0], BARS.between(end=START), costs=COSTS), []
    for step in range(60):
        if step in (1, 2):
            live.add(tables[step], BARS.between(end=START + step * HOUR))
        if live.done.all():
            break
        before = live.remaining
        decided = live.decide()
        assert (decided.fraction[live.done] == 0).all()
        assert not decided.finish[live.done].any()
        # From the time on that no order starts any more, some symbols' bars come late.
        waits = {symbol for symbol in BARS.symbols if step >= 3 and rng.random() < late}
        live.observe({symbol: rows[symbol][at[symbol]] for symbol in BARS.symbols if symbol not in waits})
        for symbol in set(BARS.symbols) - waits:
            at[symbol] += 1
        fills.append(np.pad(before - live.remaining, (0, 21 - len(before))))
    assert live.done.all()
    assert len(live) == 21
    np.testing.assert_array_equal(live.orders["order_id"], expected.orders["order_id"])
    np.testing.assert_allclose(live.remaining, 1 - expected.orders["filled"], atol=1e-9)
    np.testing.assert_array_equal(live.period, expected.orders["periods_used"])
    for number in range(21):
        traded = expected.periods_of(expected.orders["order_id"][number])["fraction"].to_numpy()
        filled = np.array([fill[number] for fill in fills])
        np.testing.assert_allclose(filled[filled > 0], traded[traded > 0], atol=LIVE_TOLERANCE)
    np.testing.assert_allclose(live.executed_price, expected.orders["executed_price"], rtol=1e-5)
    np.testing.assert_allclose(live.net_price, expected.orders["net_price"], rtol=1e-5)


def test_a_refused_bar_changes_nothing():
    table = _orders(np.random.default_rng(0), START, 6, 8)
    live = LiveOrders("volume_curve", table, BARS.between(end=START))
    bars = {symbol: BARS.select([symbol]).between(START).frame.iloc[0].to_dict() for symbol in BARS.symbols}
    decided = live.decide()
    bad = {**bars, BARS.symbols[-1]: {**bars[BARS.symbols[-1]], "close": -1.0}}
    if BARS.symbols[-1] not in set(table["symbol"]):
        pytest.fail("the bad bar must be of a symbol that is traded")
    with pytest.raises(BarsError):
        live.observe(bad)
    assert live.decide() is decided
    assert (live.remaining == 1).all()
    live.observe(bars)
    assert (live.period == 1).all()


def test_orders_must_follow_the_bars_that_were_observed():
    live = LiveOrders("twap", Order(symbol="S000", start=START, side="buy", max_periods=4), BARS.between(end=START))
    again = Order(symbol="S000", start=START + HOUR, side="buy", max_periods=4)
    with pytest.raises(BarsError, match="the history must end with the bar that was observed last"):
        live.add(again, BARS.between(end=START + HOUR))
    assert len(live) == 1
    with pytest.raises(OrderError, match="symbol of the history"):
        live.add({"symbol": "S009", "start": START, "side": "buy", "max_periods": 4}, BARS.between(end=START))


# --- a period is decided once ----------------------------------------------------------------------------------------


def _bars_at(time, symbols=BARS.symbols):
    frame = BARS.between(time, time + HOUR).frame
    return {row["symbol"]: row for row in frame.to_dict("records") if row["symbol"] in symbols}


@pytest.mark.parametrize("later", ["S000", "S001"])
def test_orders_may_be_added_after_the_others_have_decided(later):
    model = random_model(tiny_config(), seed=2)
    orders = [Order(symbol=name, start=START, side="sell", max_periods=6) for name in ("S000", later)]
    live = LiveOrders(model, orders[0], BARS.between(end=START))
    decided = live.decide()
    live.add(orders[1], BARS.between(end=START))
    assert live.decide().fraction[0] == decided.fraction[0]
    for period in range(6):
        live.observe(_bars_at(START + period * HOUR))
    expected = execute(model, BARS, [{**order.model_dump(), "order_id": n} for n, order in enumerate(orders)])
    np.testing.assert_allclose(live.executed_price, expected.orders["executed_price"], rtol=1e-6)


def test_what_was_decided_is_traded_whatever_happens_before_the_bar_closes():
    orders = [Order(symbol=name, start=START, side="buy", max_periods=9) for name in BARS.symbols]
    live = LiveOrders(Erratic(0), orders[:3], BARS.between(end=START))
    decided = live.decide().fraction
    live.observe(_bars_at(START, ["S000"]))  # the bars of the others come late
    live.add(orders[3], BARS.between(end=START))
    np.testing.assert_array_equal(live.decide().fraction[1:3], decided[1:3])
    live.observe(_bars_at(START, ["S001", "S002"]))
    np.testing.assert_allclose(live.remaining[:3], 1 - decided, atol=1e-12)


def test_what_is_handed_out_cannot_change_the_orders():
    live = LiveOrders("twap", Order(symbol="S000", start=START, side="buy", max_periods=4), BARS.between(end=START))
    with pytest.raises(ValueError, match="read-only"):
        live.decide().fraction[0] = 1.0
    table = live.orders
    table["symbol"] = "S001"
    live.remaining[:] = 0
    assert live.orders["symbol"].tolist() == ["S000"]
    assert live.remaining[0] == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda live: pickle.loads(pickle.dumps(live))])
def test_a_copy_goes_on_by_itself(copied):
    model = random_model(tiny_config(), seed=2)
    live = LiveOrders(model, Order(symbol="S000", start=START, side="sell", max_periods=6), BARS.between(end=START))
    live.observe(_bars_at(START))
    other = copied(live)
    other.observe(_bars_at(START + HOUR))
    assert (live.period[0], other.period[0]) == (1, 2)
    live.observe(_bars_at(START + HOUR))
    assert live.decide().fraction == other.decide().fraction


# --- labels and bars that are refused --------------------------------------------------------------------------------


def test_labels_go_on_over_the_tables_and_a_label_is_taken_once():
    order = Order(symbol="S000", start=START, side="buy", max_periods=4)
    live = LiveOrders("twap", [order, order], BARS.between(end=START))
    live.add(order, BARS.between(end=START))
    assert live.orders["order_id"].tolist() == [0, 1, 2]
    with pytest.raises(OrderError, match="order_id 1 is the label of an order that was added before"):
        live.add({**order.model_dump(), "order_id": 1}, BARS.between(end=START))
    assert len(live) == 3


def test_an_order_that_cannot_run_is_named():
    bars = sessions(60, "30min")
    start = bars.frame["timestamp"].iloc[-6]
    orders = [Order(symbol=bars.symbols[0], start=start, side="buy", max_periods=n, order_id=f"of {n}") for n in (4, 9)]
    with pytest.raises(OrderError, match="would cross the end of the session") as caught:
        LiveOrders("twap", orders, bars.between(end=start))
    assert (caught.value.row, caught.value.order_id) == (1, "of 9")


@pytest.mark.parametrize("bars", [_bars_at(START)["S000"], BARS.between(START, START + HOUR).frame, None])
def test_bars_that_are_not_one_for_each_symbol_are_refused(bars):
    live = LiveOrders("twap", Order(symbol="S000", start=START, side="buy", max_periods=4), BARS.between(end=START))
    with pytest.raises(BarsError, match="a mapping from symbols to bars"):
        live.observe(bars)


# --- a policy that fails ---------------------------------------------------------------------------------------------


class Reading(Policy):
    """Trades by the last close. Its contexts lie in one tensor, which it uses again; ``fails`` names a symbol."""

    lookback = 10
    fails: str | None = None

    def __init__(self):
        self.contexts = torch.empty(1000, 1, dtype=torch.float64)

    def encode(self, market, rows, side):
        contexts = self.contexts[: len(rows)]
        contexts[:, 0] = torch.from_numpy(np.log(market.bars.close[rows]))
        if self.fails in market.bars.symbols:
            contexts[:] = torch.nan
        return contexts

    def decide(self, context, orders, state):
        return Decision(context[:, 0] / 50, False)


def _in_hindsight(orders, period):
    schedule = execute(Reading(), BARS, orders).schedule
    return schedule.loc[schedule["period"] == period, "fraction"].to_numpy()


def test_a_policy_that_fails_on_new_bars_changes_nothing():
    policy = Reading()
    orders = [Order(symbol=name, start=START, side="buy", max_periods=6) for name in BARS.symbols]
    live = LiveOrders(policy, orders, BARS.between(end=START))
    np.testing.assert_allclose(live.decide().fraction, _in_hindsight(orders, 0), rtol=1e-12)
    policy.fails = "S002"
    with pytest.raises(PolicyError, match="order_id 2, symbol 'S002'"):
        live.observe(_bars_at(START))
    assert (live.period == 0).all()
    policy.fails = None
    for period in range(2):
        live.observe(_bars_at(START + period * HOUR))
    np.testing.assert_allclose(live.decide().fraction, _in_hindsight(orders, 2), rtol=1e-12)


def test_orders_that_a_policy_fails_to_take_up_leave_no_trace():
    bars = Bars.from_frame(
        BARS.frame, calendar={name: "sessions" if name == "S002" else "24/7" for name in BARS.symbols}
    )
    policy, start = Reading(), pd.Timestamp("2024-01-16 00:00", tz="UTC")  # a Tuesday
    live = LiveOrders(policy, Order(symbol="S000", start=start, side="buy", max_periods=6), bars.between(end=start))
    policy.fails = "S002"
    # Two calendars: the policy reads the first one, and fails on the second.
    with pytest.raises(PolicyError, match="order_id 2, symbol 'S002'"):
        live.add(
            [Order(symbol=name, start=start, side="buy", max_periods=6) for name in ("S001", "S002")],
            bars.between(end=start),
        )
    assert (len(live), len(live.decide().fraction)) == (1, 1)
    policy.fails = None
    live.observe(_bars_at(start))
    later = [Order(symbol=name, start=start + HOUR, side="buy", max_periods=6) for name in ("S001", "S002")]
    live.add(later, bars.between(end=start + HOUR))
    np.testing.assert_allclose(live.decide().fraction[1:], _in_hindsight(later, 0), rtol=1e-12)


def test_a_warning_that_is_an_error_comes_when_the_bar_is_taken_in():
    bars = flat_bars([100.0] * 40 + [50.0] * 2, [10.0] * 40 + [20.0] * 2)
    start = pd.Timestamp(int(bars.timestamp[40]), tz="UTC")
    live = LiveOrders("twap", Order(symbol="X", start=start, side="buy", max_periods=2), bars.between(end=start))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BarsWarning, match="by 1/2"):
            live.observe({"X": bars.frame.iloc[40].to_dict()})
        live.observe({"X": bars.frame.iloc[41].to_dict()})
    assert live.done.all()


# --- sessions that end early -----------------------------------------------------------------------------------------


def test_an_order_whose_session_ends_before_it_begins_is_over_and_the_others_go_on():
    whole = sessions(60, "30min")
    symbol, last = whole.symbols[0], whole.frame["timestamp"].iloc[-1].normalize()
    day = whole.frame["timestamp"][whole.frame["timestamp"] < last].iloc[-1].normalize()
    close = day + pd.Timedelta("16h30min")
    bars = rebuilt(whole, whole.frame[~whole.frame["timestamp"].between(close, last)].reset_index(drop=True))
    begin = close - pd.Timedelta("30min")

    def known(time):
        return rebuilt(bars, bars.frame[bars.frame["timestamp"] < time])

    live = LiveOrders("twap", Order(symbol=symbol, start=begin, side="buy", max_periods=4), known(begin))
    live.observe({symbol: bars.between(begin).frame.iloc[0].to_dict()})
    live.add(Order(symbol=symbol, start=close, side="sell", max_periods=4), known(close))
    live.observe({symbol: bars.between(last).frame.iloc[0].to_dict()})
    assert live.done.all()
    np.testing.assert_array_equal(live.ended, [close.value, close.value])
    np.testing.assert_allclose(live.remaining, [0.75, 1.0])
    following = bars.between(last).frame["timestamp"].iloc[1]
    live.add(Order(symbol=symbol, start=following, side="sell", max_periods=4), known(following))
    live.observe({symbol: bars.between(following).frame.iloc[0].to_dict()})
    np.testing.assert_array_equal(live.period, [1, 0, 1])


def _weekdays(closed):
    frame = synthetic_bars(symbols=2, days=200, frequency="1D", seed=4).frame
    is_open = (frame["timestamp"].dt.day_of_week < 5) & (frame["timestamp"] != closed)
    return Bars.from_frame(frame[is_open].reset_index(drop=True), calendar="sessions")


def test_an_order_whose_day_is_a_holiday_that_nobody_foresaw_is_over_and_the_others_go_on():
    holiday = pd.Timestamp("2024-06-05", tz="UTC")
    bars = _weekdays(holiday)
    before = holiday - pd.Timedelta("1D")
    live = LiveOrders(
        "twap",
        Order(symbol="S000", start=before, side="buy", max_periods=3),
        rebuilt(bars, bars.between(end=before).frame),
    )
    rows = bars.select(["S000"]).between(before).frame.to_dict("records")
    live.observe({"S000": rows[0]})
    live.add(
        Order(symbol="S000", start=holiday, side="buy", max_periods=3), rebuilt(bars, bars.between(end=holiday).frame)
    )
    live.observe({"S000": rows[1]})
    np.testing.assert_array_equal(live.period, [2, 0])
    np.testing.assert_array_equal(live.done, [False, True])
    assert live.ended[1] == holiday.value


@pytest.mark.parametrize("symbol", ["S000", "S001"])
def test_orders_over_a_holiday_that_the_bars_of_another_symbol_show_run_as_in_hindsight(symbol):
    holiday = pd.Timestamp("2024-06-05", tz="UTC")
    bars = _weekdays(holiday)
    starts = {"S000": pd.Timestamp("2024-06-03", tz="UTC"), "S001": pd.Timestamp("2024-06-07", tz="UTC")}
    history = pd.concat([bars.select([name]).between(end=start).frame for name, start in starts.items()])
    order = Order(symbol=symbol, start=starts[symbol], side="buy", max_periods=5)
    assert len(execute("twap", bars, order).orders) == 1
    live = LiveOrders("twap", order, rebuilt(bars, history.reset_index(drop=True)))
    for row in bars.select([symbol]).between(starts[symbol]).frame.to_dict("records")[:5]:
        live.observe({symbol: row})
    assert (live.done[0], live.remaining[0]) == (True, pytest.approx(0))


def test_orders_of_a_session_that_ends_early_are_over_and_the_others_go_on():
    bars = sessions(60, "30min")
    day = pd.Timestamp(bars.frame["timestamp"].iloc[-1]).normalize()
    own = bars.frame[bars.frame["timestamp"] >= day]
    start = own["timestamp"].iloc[3]
    live = LiveOrders(
        "twap",
        [Order(symbol=bars.symbols[0], start=start, side="buy", max_periods=4)],
        bars.between(end=start),
    )
    live.observe({bars.symbols[0]: own.iloc[3].to_dict()})
    assert not live.done.any()
    assert live.ended[0] == 0
    np.testing.assert_allclose(live.remaining, 0.75)


class _Looking(Policy):
    """The model's contexts by ``encode`` alone."""

    lookback, horizon = 256, 12

    def __init__(self, model):
        self.model = model

    def encode(self, market, rows, side):
        return self.model.encode(market, rows, side)

    def decide(self, context, orders, state):
        return self.model.decide(context, orders, state)


@pytest.mark.parametrize("kind", ["stream", "encode", "plain"])
def test_a_symbol_whose_bars_were_missed_is_followed_anew(kind):
    model = random_model(tiny_config(horizon=12), seed=1)
    policy = {"stream": model, "encode": _Looking(model), "plain": load_policy("volume_curve")}[kind]

    def order(start, periods):
        return Order(symbol="S001", start=start, side="sell", max_periods=periods, min_periods=periods)

    rows = BARS.select(["S001"]).frame.set_index("timestamp", drop=False)
    live = LiveOrders(policy, order(START, 2), BARS.between(end=START))
    for number in range(2):
        live.observe({"S001": rows.loc[START + number * HOUR].to_dict()})
    assert live.done.all()
    later = START + 9 * HOUR
    live.add(order(later, 6), BARS.between(end=later))
    fills = []
    while not live.done.all():
        fills.append(live.decide().fraction[1])
        live.observe({"S001": rows.loc[later + (len(fills) - 1) * HOUR].to_dict()})
    expected = execute(policy, BARS, order(later, 6)).schedule["fraction"]
    np.testing.assert_allclose(fills, expected, atol=LIVE_TOLERANCE)


def test_a_key_of_a_bar_that_nothing_reads_is_refused_and_changes_nothing():
    live = LiveOrders("twap", Order(symbol="S000", start=START, side="buy", max_periods=4), BARS.between(end=START))
    bars = {name: {**bar, "Volume": 1.0} for name, bar in _bars_at(START).items()}
    with pytest.raises(BarsError, match="nothing reads 'Volume'"):
        live.observe(bars)
    assert live.period[0] == 0
    live.observe(_bars_at(START))
