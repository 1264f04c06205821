"""A live session decides what execution decides in hindsight, bar by bar, knowing only closed bars."""

import pandas as pd
import pytest

from lem_models import Order, execute, load_policy, synthetic_bars
from lem_models.errors import BarsError, OrderError

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


@pytest.mark.parametrize("name", ["twap", "volume_curve", "stopping_rule", "lem-crypto-hourly"])
@pytest.mark.parametrize("max_rate", [1.0, 0.15])
def test_a_session_decides_what_execution_decides_in_hindsight(bars, name, max_rate):
    policy = load_policy(name)
    order = Order(symbol="S001", start=START, side="sell", min_periods=2, max_periods=12, max_rate=max_rate)
    hindsight = execute(policy, bars, order).schedule["fraction"].to_list()
    assert _run(policy, order, bars) == pytest.approx(hindsight, abs=1e-6)


def test_a_history_that_reaches_into_the_order_is_refused(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    with pytest.raises(BarsError, match="closed bars only"):
        load_policy("twap").session(order, history=bars)


def test_a_bar_out_of_turn_is_refused_and_changes_nothing(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    session = load_policy("twap").session(order, history=bars.between(end=START))
    later = bars.between(START + bars.frequency, START + 2 * bars.frequency).select(["S000"]).frame.iloc[0].to_dict()
    with pytest.raises(BarsError, match="next bar"):
        session.observe(later)
    assert (session.period, session.remaining) == (0, 1.0)


def test_a_bad_bar_changes_nothing(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=12)
    session = load_policy("twap").session(order, history=bars.between(end=START))
    good = bars.between(START, START + bars.frequency).select(["S000"]).frame.iloc[0].to_dict()
    for bad, problem in (
        ({}, "lacks the columns"),
        ({**good, "symbol": "S001"}, "another symbol"),
        ({**good, "high": good["low"] / 2}, "high"),
    ):
        with pytest.raises(BarsError, match=problem):
            session.observe(bad)
        assert (session.period, session.remaining) == (0, 1.0)
    session.observe(good)
    assert session.period == 1


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
    order = Order(symbol="NOPE", start=START, side="buy", max_periods=12)
    with pytest.raises(OrderError, match="NOPE"):
        load_policy("twap").session(order, history=bars)


def test_a_finished_order_has_nothing_left_to_decide(bars):
    order = Order(symbol="S000", start=START, side="buy", max_periods=1)
    session = load_policy("twap").session(order, history=bars.between(end=START))
    session.observe(bars.between(START, START + bars.frequency).select(["S000"]).frame.iloc[0].to_dict())
    assert session.done
    with pytest.raises(OrderError, match="nothing is left"):
        session.decide()
