"""A live session decides what execution decides in hindsight, bar by bar, knowing only closed bars."""

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models import CostModel, Decision, Order, execute, list_policies, load_policy, synthetic_bars
from lem_models.errors import BarsError, OrderError, PolicyError, UnknownNameError
from lem_models.execution.policy import Policy
from lem_models.execution.session import LiveSession
from lem_models.markets.bars import Bars
from lem_models.modeling.model import LEMModel
from tests.helpers import (
    KINDS,
    SIZED,
    hourly,
    perturbed,
    policy_named,
    random_model,
    random_orders,
    rebuilt,
    tiny_config,
)

START = pd.Timestamp("2024-01-20 07:00", tz="UTC")


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=2, days=25, seed=5)


def _run(policy, order, bars):
    session = policy.session(order, history=bars.between(end=START))
    fractions, period = [], 0
    while not session.done:
        decision = session.decide()
        fractions.append(decision.fraction)
        assert 0 <= decision.fraction <= session.remaining + 1e-12
        moment = START + period * bars.frequency
        session.observe(bars.between(moment, moment + bars.frequency).select([order.symbol]).frame.iloc[0].to_dict())
        period += 1
    return fractions


def _first_bar(bars, symbol="S000"):
    return bars.between(START, START + bars.frequency).select([symbol]).frame.iloc[0].to_dict()


# --- live and in hindsight -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["twap", "volume_curve", "stopping_rule", "lem-crypto-hourly"])
@pytest.mark.parametrize("max_rate", [1.0, 0.15])
def test_a_session_decides_what_execution_decides_in_hindsight(bars, name, max_rate):
    policy = load_policy(name)
    order = Order(symbol="S001", start=START, side="sell", min_periods=2, max_periods=12, max_rate=max_rate)
    hindsight = execute(policy, bars, order).schedule["fraction"].to_list()
    assert _run(policy, order, bars) == pytest.approx(hindsight, abs=1e-6)


@pytest.mark.parametrize("target", ["quantity", "notional"])
def test_a_session_has_the_prices_that_execution_has_in_hindsight(bars, target):
    policy, costs = load_policy("volume_curve"), CostModel(half_spread_bps=2, fee_bps=1, impact=0.8)
    order = Order(symbol="S001", start=START, side="sell", max_periods=8, max_rate=0.3, target=target, amount=50.0)
    session = policy.session(order, history=bars.between(end=START), costs=costs)
    free = policy.session(order, history=bars.between(end=START))
    assert np.isnan([session.executed_price, session.net_price]).all()
    coming = bars.between(START, START + 8 * bars.frequency).select(["S001"]).frame
    prices = []
    for row in coming.to_dict("records"):
        for one in (session, free):
            one.observe(row)
        prices.append((session.executed_price, session.net_price))
        assert (free.executed_price, free.net_price) == (session.executed_price, session.executed_price)
    assert session.done
    found = execute(policy, bars, order, costs=costs).orders.iloc[0]
    assert prices[-1] == pytest.approx((found["executed_price"], found["net_price"]), rel=1e-12)
    # After the first bar: its price, and what a sale of that fraction of it loses.
    schedule = execute(policy, bars, order, costs=costs).schedule.iloc[0]
    price, units = schedule["price"], schedule["fraction"] * 50.0 / (1.0 if target == "quantity" else schedule["price"])
    sigma = found["volatility_bps"] / 1e4
    paid = price * (1 - 0.0003 - 0.8 * sigma * (units / coming["volume"].iloc[0]) ** 0.5)
    assert prices[0] == pytest.approx((price, paid), rel=1e-12)


def test_a_session_of_costs_without_a_size_is_refused(bars):
    order = Order(symbol="S001", start=START, side="sell", max_periods=8)
    with pytest.raises(OrderError, match="impact depends on the size of an order"):
        load_policy("twap").session(order, history=bars.between(end=START), costs=CostModel(impact=1))


class Vandal(Policy):
    """Changes whatever it is handed."""

    def decide(self, context, orders, state):
        for values in [*vars(orders).values(), *(v for v in vars(state).values() if isinstance(v, torch.Tensor))]:
            values.zero_()
        return Decision(0.25, False)


def test_a_policy_cannot_reach_the_prices_of_its_session(bars):
    order = Order(symbol="S001", start=START, side="sell", max_periods=4, amount=50.0)
    costs = CostModel(half_spread_bps=5, impact=1)
    sessions = [
        policy.session(order, history=bars.between(end=START), costs=costs)
        for policy in (Vandal(), load_policy("twap"))
    ]
    for row in bars.between(START, START + 4 * bars.frequency).select(["S001"]).frame.to_dict("records"):
        for session in sessions:
            session.observe(row)
    vandal, honest = sessions
    assert (vandal.executed_price, vandal.net_price) == (honest.executed_price, honest.net_price)
    assert honest.net_price < honest.executed_price * (1 - 0.0005)


class Bare:
    """A policy of a user who has read no manual: one method, a plain pair, all in numpy."""

    def decide(self, context, orders, state):
        assert context is None
        pace = np.asarray(state.remaining) / (np.asarray(orders.max_periods) - state.period).clip(1)
        return pace * (1 + 0.5 * np.sin(1e4 * np.asarray(state.last_close))), np.asarray(state.vwap) > 1


class Looking(Policy):
    """A policy with ``encode`` and no ``stream``: its context is what the model's would be, and it goes by it."""

    lookback, horizon = 256, 12

    def __init__(self, model):
        self.model = model

    def encode(self, market, rows, side):
        return self.model.encode(market, rows, side)

    def decide(self, context, orders, state):
        return self.model.decide(context, orders, state)


@lru_cache
def _policy(name):
    # Blocks of 5 bars: every order crosses several.
    short = {"block": 5, "warmup": 20, "horizon": 12, **SIZED}
    if name == "short blocks":
        return random_model(tiny_config(**short), seed=3)
    if name == "two layers":
        return random_model(tiny_config(**short | {"block": 7, "tkan_layers": 2, "warmup": 0}), seed=4)
    return {"bare": Bare, "looking": lambda: Looking(random_model(tiny_config(**short), seed=3))}.get(
        name, lambda: policy_named(name)
    )()


@lru_cache
def _market(name):
    if name == "hourly":
        return perturbed(hourly(30, 1), np.arange(300, 720), silent=0.15)
    if name == "sessions":
        bars = synthetic_bars(symbols=1, days=40, frequency="30min", session=("14:30", "21:00"), seed=8)
        return perturbed(bars, np.arange(300, len(bars)), silent=0.1)
    if name == "5-minute sessions":
        return synthetic_bars(symbols=1, days=14, frequency="5min", session=("14:30", "21:00"), seed=9)
    frame = synthetic_bars(symbols=1, days=600, frequency="1D", seed=4).frame
    return Bars.from_frame(frame[frame["timestamp"].dt.day_of_week < 5].reset_index(drop=True), calendar="sessions")


def _orders(bars, count, seed, benchmarks=None):
    """Orders of every kind that fit into their market."""
    rng = np.random.default_rng(seed)
    table = random_orders(rng, count, 12, benchmarks=benchmarks)
    start = rng.integers(260, len(bars) - 12, count)
    if bars.is_session_bound:
        room = bars.session_end[start] - start
        start = np.where(room < table["max_periods"], bars.session_end[start] - 12, start)
    # Of the size of some bars' volume, so that participation limits bind now and then.
    size = rng.choice([1.0, 50.0], count) * np.where(table["target"] == "notional", bars.close[start].round(2), 1.0)
    # Without the rounding errors of the products: an amount is exactly so many lots.
    table["amount"], table["lot_size"] = (table["amount"] * size).round(6), (table["lot_size"] * size).round(6)
    return table.assign(
        symbol=bars.symbols[0],
        start=pd.to_datetime(bars.timestamp[start], utc=True),
        risk_aversion=rng.choice([0.1, 1.0, 2.0], count),
    )


def _replayed(policy, order, bars, *, as_rows):
    """Fills of every period and the period of finishing (None when all was filled before)."""
    frame = bars.frame
    history = rebuilt(bars, frame[frame["timestamp"] < order["start"]])
    session = LiveSession(policy, {k: v for k, v in order.items() if v == v}, history)
    first = int(bars.locate(order["symbol"], [order["start"].value])[0])
    coming = frame.iloc[first : first + order["max_periods"]]
    fills, finish = np.zeros(order["max_periods"]), None
    while not session.done:
        period, before = session.period, session.remaining
        decision = session.decide()
        assert 0 <= decision.fraction <= before + 1e-12
        assert session.decide() == decision
        if decision.finish and finish is None:
            finish = period
        bar = coming.iloc[period]
        session.observe(bar if as_rows else bar.to_dict())
        fills[period] = before - session.remaining
        assert fills[period] <= decision.fraction + 1e-12
        if bar["volume"] > 0 and not order["max_participation"] >= 0:
            assert fills[period] == pytest.approx(decision.fraction, abs=1e-9)
    return fills, finish


NAMES = (*KINDS, "short blocks", "two layers", "looking", "bare")
_OWN_MARKETS = ("hourly", "sessions", "5-minute sessions", "daily")
# Models stream: every one in every market. Other policies meet two kinds of market; the slow tests have the others.
_LIVE = [
    pytest.param(name, market, marks=() if name not in list_policies() or (row + column) % 2 == 0 else pytest.mark.slow)
    for row, name in enumerate(NAMES)
    for column, market in enumerate(_OWN_MARKETS)
]


@pytest.mark.parametrize(("name", "market"), _LIVE)
def test_many_orders_of_every_kind_go_live_as_in_hindsight(name, market):
    policy, bars = _policy(name), _market(market)
    horizon = getattr(policy, "horizon", None) or 12
    orders = _orders(bars, 12, NAMES.index(name), getattr(policy, "benchmarks", None))
    orders["max_periods"] = orders["max_periods"].clip(upper=horizon)
    orders["min_periods"] = orders["min_periods"].clip(upper=orders["max_periods"])
    orders = orders[orders["max_rate"] * orders["max_periods"] >= 1]
    hindsight = execute(policy, bars, orders)
    assert len(hindsight.orders) > 5
    records = hindsight.orders.to_dict("records")
    for number, order in enumerate(records[:4]):
        fills, finish = _replayed(policy, {k: order[k] for k in orders.columns}, bars, as_rows=number % 2)
        np.testing.assert_allclose(fills, hindsight.periods_of(order["order_id"])["fraction"], atol=1e-6)
        assert finish in (None, hindsight.finish_period[number])
    for order in orders[orders["order_id"].isin(hindsight.excluded["order_id"])].to_dict("records"):
        with pytest.raises((BarsError, OrderError)):
            _replayed(policy, order, bars, as_rows=False)


def test_orders_finish_early_and_stay_incomplete_live_too():
    # Otherwise the test above would prove less than it says.
    bars = _market("hourly")
    results = [execute(_policy(name), bars, _orders(bars, 200, seed=1)) for name in ("stopping_rule", "bare")]
    for result in results:
        assert (result.finish_period < result.orders["max_periods"] - 1).any()
        assert (~result.orders["completed"]).any()


def test_what_a_policy_is_told_live_is_what_it_is_told_in_hindsight(bars):
    class Noting(Policy):
        def __init__(self):
            self.told = []

        def decide(self, context, orders, state):
            self.told.append((dict(vars(orders)), dict(vars(state))))
            return Decision(state.remaining / (orders.max_periods - state.period), False)

    order = Order(symbol="S001", start=START, side="sell", target="notional", amount=1e5, max_periods=9)
    live, hindsight = Noting(), Noting()
    execute(hindsight, bars, order)
    _run(live, order, bars)
    assert len(live.told) == len(hindsight.told) == 9
    for one, other in zip(live.told, hindsight.told, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert mine.keys() == theirs.keys()
            for name, value in mine.items():
                if isinstance(value, torch.Tensor):
                    assert value.dtype == theirs[name].dtype, name
                    torch.testing.assert_close(value, theirs[name], rtol=1e-12, atol=0, msg=name)
                else:
                    assert value == theirs[name]


def test_a_session_does_not_look_at_what_is_far_behind(bars):
    model = load_policy("lem-crypto-hourly")
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    whole = model.session(order, bars.between(end=START)).decide()
    read = max(256, 24 * model.sessions)  # its lookback, and the sessions of its expected volumes
    recent = model.session(order, bars.between(START - read * bars.frequency, START)).decide()
    assert recent.fraction == pytest.approx(whole.fraction, abs=1e-6)


@pytest.mark.parametrize("how", ["decide", "contexts", "on the instance"])
def test_what_a_subclass_of_the_model_does_otherwise_it_does_live_too(bars, how):
    class Halving(LEMModel):
        def decide(self, context, orders, state):
            decision = super().decide(context, orders, state)
            return Decision(decision.fraction / 2, 0.0) if how == "decide" else decision

        def contexts(self, features):
            contexts = super().contexts(features)
            return contexts * 1.5 if how == "contexts" else contexts

    model = random_model(tiny_config())
    usual = execute(model, bars, order := Order(symbol="S001", start=START, side="sell", max_periods=6))
    if how == "on the instance":
        model.decide = lambda context, orders, state: Decision(state.remaining / 3, 0.0)
    else:
        model.__class__ = Halving
    hindsight = execute(model, bars, order).schedule["fraction"].to_list()
    assert hindsight != usual.schedule["fraction"].to_list()
    assert _run(model, order, bars) == pytest.approx(hindsight, abs=1e-6)


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_history_that_reaches_into_the_order_is_refused(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    with pytest.raises(BarsError, match="closed bars only"):
        load_policy("twap").session(order, history=bars)


def test_a_history_that_ends_too_early_is_refused(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    with pytest.raises(
        BarsError, match="must end with the bar before the order starts; its last one is of 2024-01-20 05"
    ):
        load_policy("twap").session(order, history=bars.between(end=START - bars.frequency))


def test_a_history_that_is_too_short_is_refused(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    with pytest.raises(BarsError, match="not enough history"):
        load_policy("lem-crypto-hourly").session(order, history=bars.between(START - 255 * bars.frequency, START))


def test_a_gap_or_a_halt_in_the_lookback_is_refused(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    frame = bars.select(["S000"]).between(end=START).frame
    model = load_policy("lem-crypto-hourly")
    with pytest.raises(BarsError, match="a gap in the lookback"):
        model.session(order, rebuilt(bars, frame.drop(index=len(frame) - 100)))
    silent = frame.copy()
    silent.loc[len(frame) - 200 :, ["volume", "notional"]] = 0.0
    with pytest.raises(BarsError, match="a halt"):
        model.session(order, rebuilt(bars, silent))


def test_a_bar_out_of_turn_is_refused_and_changes_nothing(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    session = load_policy("twap").session(order, history=bars.between(end=START))
    later = bars.between(START + bars.frequency, START + 2 * bars.frequency).select(["S000"]).frame.iloc[0].to_dict()
    with pytest.raises(BarsError, match="next bar"):
        session.observe(later)
    assert (session.period, session.remaining) == (0, 1.0)


@pytest.mark.parametrize("name", ["twap", "lem-crypto-hourly", "looking"])
def test_a_bad_bar_changes_nothing(bars, name):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    disturbed, calm = (_policy(name).session(order, history=bars.between(end=START)) for _ in range(2))
    stamps = pd.date_range(START, periods=11, freq="1h")
    for period, moment in enumerate(stamps):
        good = bars.between(moment, moment + bars.frequency).select(["S000"]).frame.iloc[0].to_dict()
        for bad, problem in (
            ({}, "lacks the columns"),
            ({**good, "symbol": "S001"}, "another symbol"),
            ({**good, "high": good["low"] / 2}, "high"),
            ({**good, "close": float("nan")}, "not a finite number"),
            ({**good, "volume": -1.0}, "volume is negative"),
            ({**good, "timestamp": moment.tz_localize(None)}, "no time zone"),
            ({**good, "timestamp": moment + pd.Timedelta("1h")}, "not the next one"),
        ):
            with pytest.raises(BarsError, match=problem):
                disturbed.observe(bad)
        assert disturbed.period == period
        assert disturbed.decide() == calm.decide()
        disturbed.observe(good)
        calm.observe(good)
        assert disturbed.remaining == calm.remaining


def test_two_orders_are_one_too_many(bars):
    orders = [dict(symbol=s, start=START, side="buy", max_periods=12) for s in ("S000", "S001")]
    with pytest.raises(OrderError, match="one order, got 2"):
        load_policy("twap").session(orders, history=bars.between(end=START))


def test_a_session_stays_inside_the_trading_session():
    bars = synthetic_bars(symbols=1, days=10, frequency="30min", session=("14:30", "21:00"))
    start = pd.Timestamp("2024-01-09 19:30", tz="UTC")
    order = Order(symbol="S000", start=start, side="buy", max_periods=4)
    with pytest.raises(OrderError, match="end of the session"):
        load_policy("twap").session(order, history=bars.between(end=start))
    assert load_policy("twap").session({**order.model_dump(), "max_periods": 3}, bars.between(end=start)).decide()


def test_an_unknown_symbol_is_refused(bars):
    order = Order(symbol="s00", start=START, side="buy", max_periods=12)
    with pytest.raises(OrderError, match="unknown symbol of the history 's00'; did you mean 'S00"):
        load_policy("twap").session(order, history=bars)


def test_a_finished_order_has_nothing_left_to_decide(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=1)
    session = load_policy("twap").session(order, history=bars.between(end=START))
    session.observe(_first_bar(bars))
    assert session.done
    for call in (session.decide, lambda: session.observe(_first_bar(bars))):
        with pytest.raises(OrderError, match="nothing is left"):
            call()


class Wrong(Policy):
    """Answers with something that is no number from some period on."""

    def __init__(self, answer, period=0):
        self.answer, self.period = answer, period

    def decide(self, context, orders, state):
        return self.answer if state.period >= self.period else Decision(0.05, False)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Decision(float("nan"), False), "fraction is not finite"),
        (Decision(0.1, float("inf")), "finish is not finite"),
        (Decision(torch.tensor([0.1, 0.2]), False), "fraction is not one number per order"),
        (Decision("much", False), "fraction is not one number per order"),
        (None, "fraction is not one number per order"),
        (0.1, "fraction is not one number per order"),
    ],
)
def test_an_answer_that_is_no_number_is_refused(bars, answer, problem):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    session = Wrong(answer, period=1).session(order, history=bars.between(end=START))
    session.observe(_first_bar(bars))
    with pytest.raises(PolicyError, match=problem):
        session.decide()
    assert (session.period, session.remaining) == (1, 0.95)


@pytest.mark.parametrize("answer", [1e308, -1e308, 7, np.float32(0.5), torch.tensor(1e30), True])
def test_any_finite_answer_is_held_inside_the_feasible_interval(bars, answer):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12, max_rate=0.5, amount=4.0, lot_size=0.001)
    decision = Wrong(Decision(answer, answer)).session(order, history=bars.between(end=START)).decide()
    assert decision.fraction in (0.0, 0.5)


def test_what_is_no_policy_is_refused(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    for thing, problem in ((Wrong, "is a class"), (object(), "no method decide")):
        with pytest.raises(PolicyError, match=problem):
            LiveSession(thing, order, bars.between(end=START))


def test_a_policy_may_not_ask_for_more_history_than_there_is_to_be_had(bars):
    class Greedy(Wrong):
        lookback = 257

    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    with pytest.raises(PolicyError, match="256 bars of history at most"):
        Greedy(None).session(order, bars.between(end=START))


@pytest.mark.parametrize(
    ("key", "closest"),
    [
        *(("Volume", "volume"), ("volum", "volume"), ("v", None), ("vwap", None), ("Close ", "close"), ("time", None)),
        *(("time_stamp", "timestamp"), (3, None), (None, None)),
    ],
)
@pytest.mark.parametrize("as_row", [True, False])
def test_a_key_of_a_bar_that_nothing_reads_is_refused_and_changes_nothing(bars, key, closest, as_row):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    session = load_policy("twap").session(order, history=bars.between(end=START))
    bar = {**_first_bar(bars), key: 1.0}
    with pytest.raises(BarsError, match="nothing reads") as error:
        session.observe(pd.Series(bar) if as_row else bar)
    assert error.value.column in (str(key), "nan")
    assert closest is None or f"did you mean '{closest}'" in str(error.value)
    assert (session.period, session.remaining) == (0, 1.0)
    session.observe(_first_bar(bars))


def test_columns_that_the_history_carries_along_may_come_with_a_bar(bars):
    frame = bars.frame.assign(trades=7)
    more = rebuilt(bars, frame)
    session = load_policy("twap").session(
        Order(symbol="S000", start=START, side="buy", max_periods=12), more.between(end=START)
    )
    session.observe(_first_bar(more))
    assert session.period == 1
    assert more.columns == tuple(frame.columns)


def test_a_history_that_is_too_short_names_the_bars_needed_and_there(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    model = load_policy("lem-crypto-hourly")
    with pytest.raises(BarsError, match="256 bars are needed, the history ends with 255 without a gap"):
        model.session(order, history=bars.between(START - 255 * bars.frequency, START))
    frame = bars.select(["S000"]).between(end=START).frame
    with pytest.raises(BarsError, match="256 bars are needed, the history ends with 99 without a gap"):
        model.session(order, rebuilt(bars, frame.drop(index=len(frame) - 100)))


def test_a_session_takes_whatever_stands_for_bars_and_policies(bars, tmp_path):
    order = Order(symbol="S000", start=START, side="buy", max_periods=4)
    history = bars.between(end=START)
    history.write(tmp_path / "bars.parquet")
    for form in (history, history.frame, tmp_path / "bars.parquet", str(tmp_path / "bars.parquet")):
        assert LiveSession("twap", order, form).decide().fraction == 0.25
        assert load_policy("twap").session(order, history=form).decide().fraction == 0.25
    with pytest.raises(UnknownNameError, match="did you mean 'twap'"):
        LiveSession("twop", order, history)
    with pytest.raises(BarsError):
        LiveSession("twap", order, None)


def test_an_order_that_would_end_after_the_years_of_nanoseconds_is_refused():
    daily = _market("daily")
    start = pd.Timestamp(daily.timestamp[-1], tz="UTC")
    order = {"symbol": daily.symbols[0], "start": start, "side": "buy", "max_periods": 10**6}
    with pytest.raises(OrderError, match="after the year 2261"):
        LiveSession("twap", order, daily.between(end=start))
