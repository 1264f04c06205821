"""A desk from bar to bar: decisions, fills of every kind, and changes of orders under way."""

from __future__ import annotations

import itertools
import logging
from decimal import Decimal

import pandas as pd
import pytest

from lem_models import Bars
from lem_models.baselines import load_policy
from lem_models.desk import ChildDone, Desk, DeskOrder, DeskSession, FeedRules, Fill
from lem_models.desk.log.state import replay
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import OrderError
from tests.helpers.markets import hourly, sessions

START = pd.Timestamp("2024-01-11", tz="UTC")
BARS = hourly()


def rows(symbol="S000", bars=BARS, start=START):
    """Closed bars of a symbol, one after the other."""
    frame = bars.between(start=start).frame
    for row in frame[frame["symbol"] == symbol].to_dict("records"):
        yield {symbol: {name: value for name, value in row.items() if name != "symbol"}}


def desk_with(policy="twap", *, symbol="S000", store=None, rules=None, bars=BARS, start=START, **fields):
    desk = Desk(store or MemoryStore(), policy, rules=rules)
    given = {"side": "buy", "amount": 120, "lot_size": 1, "max_duration": "12h"} | fields
    label = desk.add(DeskOrder(symbol=symbol, **given), bars.between(end=start))
    return desk, label


def traded(desk, label):
    order = desk.order(label)
    return [str(each.units) for each in order.periods]


def test_a_decision_in_a_sentence():
    bars = BARS.between(end=START + pd.Timedelta("12h"))
    desk = Desk(MemoryStore(), "twap")
    order = DeskOrder(
        symbol="S000",
        side="buy",
        amount="40 coins",
        lot_size="0.1",
        min_duration="3h",
        max_duration="33h",
        max_participation=0.02,
    ).replaced(unit="BTC")
    desk.add(order, bars)
    decision = desk.decide()[0]
    assert str(decision) == (
        "buy 1.2 BTC from 12:00 to 13:00 UTC (3.0 % of the order, at most 2 % of volume); 38.8 BTC left; "
        "may finish from 14:00"
    )
    assert decision.window == (START + pd.Timedelta("12h"), START + pd.Timedelta("13h"))
    assert (decision.quantity, decision.fraction) == (Decimal("1.2"), 0.03)
    assert decision.allowed(30.0) == Decimal("0.6")
    assert decision.as_dict()["quantity"] == "1.2"


@pytest.mark.parametrize(
    ("side", "tick", "bps", "limit"),
    [
        ("buy", "0.05", 5, "100.05"),
        ("sell", "0.05", 5, "100.00"),
        ("buy", None, 0, "100.03"),
        ("sell", "0.05", 0, "100.05"),
    ],
)
def test_a_limit_price_is_on_the_grid_and_not_worse_than_asked_for(side, tick, bps, limit):
    desk, _ = desk_with(side=side, tick_size=tick)
    (decision,) = desk.decide()
    assert decision.limit_price(100.03, bps) == Decimal(limit)
    with pytest.raises(OrderError, match="a limit is positive"):
        decision.limit_price(-1)


def test_sixty_per_cent_filled_each_time_is_not_done():
    desk, label = desk_with(amount=100, max_duration="10h")
    for number, bar in zip(range(10), rows(), strict=False):
        quantity = desk.decision(label).quantity
        desk.fill(label, quantity * 6 // 10 or quantity, 100, f"{number}")
        desk.observe(bar)
    order = desk.order(label)
    assert order.status == "expired"
    assert order.filled + order.left == 100
    assert order.left > 0


def test_what_was_not_filled_is_caught_up_with():
    desk, label = desk_with(amount=100, max_duration="10h")
    for number, bar in zip(range(10), rows(), strict=False):
        if number % 2:
            desk.fill(label, desk.decision(label).quantity, 100, f"{number}")
        desk.observe(bar)
    assert desk.order(label).status == "done"
    assert desk.order(label).filled == 100


def test_fills_partial_doubled_late_contradictory_and_beyond():
    desk, label = desk_with()
    feed = rows()
    assert desk.fill(label, 4, 100, "a").kind == "booked"
    assert desk.fill(label, 4, 100, "a").kind == "duplicate"
    with pytest.raises(OrderError, match="book a correction under another label") as error:
        desk.fill(label, 5, 100, "a")
    assert error.value.rule == "one fill a label"
    child = desk.decision(label).child
    desk.observe(next(feed))
    late = desk.fill(label, 3, 101, "b", child=child)
    assert (late.kind, late.message) == ("late", "fill 'b' of order '1' came late: the bar of its child order has "
                                         "closed; it is booked")  # fmt: skip
    assert desk.order(label).filled == 7
    beyond = desk.fill(label, 120, 100, "c")
    assert beyond.kind == "over"
    assert "7 S000 more than 120" in beyond.message
    order = desk.order(label)
    assert (order.status, order.over, order.filled, order.conflicts) == ("done", 7, 127, 1)
    assert "7 more than the amount were filled" in desk.status().orders[0].notes
    with pytest.raises(OrderError, match="no child order 'x'"):
        desk.fill(label, 1, 100, "d", child="x")
    with pytest.raises(OrderError, match="must be positive"):
        desk.fill(label, 0, 100, "d")


def test_a_late_fill_cuts_the_child_order_in_force():
    desk, label = desk_with(amount=10, max_duration="2h")
    feed = rows()
    first = desk.decision(label)
    desk.observe(next(feed))
    assert desk.decision(label).quantity == 10
    desk.fill(label, 4, 100, "late", child=first.child)
    decision = desk.decision(label)
    assert (decision.quantity, decision.child) == (6, "1/1.1")
    assert "late fill" in decision.reason


def test_what_is_in_flight_can_be_held():
    desk, label = desk_with(amount=10, max_duration="2h", hold_open=True)
    first = desk.decision(label)
    desk.observe(next(rows()))
    assert desk.decision(label).quantity == 10 - first.quantity
    desk.fills([ChildDone(label, first.child)])
    assert desk.order(label).reserved(Decimal(1)) == desk.decision(label).quantity


def test_a_refused_child_order_is_tried_again():
    desk, label = desk_with(amount=10, max_duration="2h")
    desk.reject(label, "insufficient margin")
    desk.observe(next(rows()))
    assert desk.decision(label).quantity == 10
    assert "the venue refused 1 child orders" in desk.status().orders[0].notes


def test_pause_resume_and_cancel():
    desk, label = desk_with()
    feed = rows()
    desk.pause(label)
    assert desk.decision(label).quantity == 0
    assert "paused" in str(desk.decision(label))
    desk.observe(next(feed))
    desk.observe(next(feed))
    desk.resume(label)
    assert desk.decision(label).quantity == 12  # 120 over the ten bars that are left
    desk.cancel(label, "the client called")
    assert not desk.is_active
    assert desk.decide() == []
    assert desk.fill(label, 2, 100, "late").kind == "late"
    assert desk.order(label).filled == 2
    assert desk.order(label).status == "cancelled"


def test_amend_amount_deadline_cap_and_risk_aversion():
    desk, label = desk_with()
    feed = rows()
    desk.fill(label, 10, 100, "1")
    desk.observe(next(feed))
    first = desk.decision(label)
    assert desk.amend(label, amount=340).quantity == 30  # 330 over eleven bars
    assert desk.decision(label).child != first.child
    assert desk.amend(label, max_duration="23h").quantity == 15
    assert desk.amend(label, end=str(START + pd.Timedelta("12h"))).quantity == 30
    assert desk.amend(label, risk_aversion=0.5).quantity == 30
    with pytest.raises(OrderError, match="10 of the order are filled"):
        desk.amend(label, amount=9)
    with pytest.raises(OrderError, match="cannot be amended"):
        desk.amend(label, symbol="S001")
    with pytest.raises(OrderError) as error:
        desk.amend(label, max_participation=1e-6)
    assert error.value.rule == "max_participation"
    assert desk.order(label).order.max_participation is None
    assert desk.amend(label, amount=10) is None
    assert desk.order(label).status == "done"


def test_money_is_spent_to_the_lot():
    desk, label = desk_with(amount="100000 USD", lot_size=1, max_duration="5h")
    feed = rows()
    for number in range(5):
        decision = desk.decision(label)
        if decision is None:
            break
        price = Decimal(repr(desk.state.market["S000"].close))
        assert decision.quantity == int(decision.quantity)
        desk.fill(label, decision.quantity, price, f"{number}")
        desk.observe(next(feed))
    order = desk.order(label)
    assert order.status == "done"
    assert 0 <= order.left < price
    assert "USD left" in str(decision)


def test_the_dust_that_units_leave_of_money_is_nothing_to_read():
    desk, label = desk_with(amount="30000 USD", lot_size=None, min_duration="1h", max_duration="5h")
    said = []
    for number, bar in zip(range(5), rows(), strict=False):
        decision = desk.decision(label)
        if decision is None:
            break
        said.append(str(decision))
        desk.fill(label, decision.quantity, desk.state.market["S000"].close, f"{number}")
        desk.observe(bar)
    assert "; 0 USD left" in said[-1]
    assert not any("0.000" in text for text in said)


def test_the_cap_holds_beforehand():
    desk, label = desk_with(amount=100_000, max_participation=0.02, allow_incomplete=True)
    for number, bar in zip(range(6), rows(), strict=False):
        decision, order = desk.decision(label), desk.order(label)
        assert decision.quantity <= Decimal(repr(order.expected[number])) * Decimal("0.02")
        assert decision.limit_participation == 0.02
        desk.fill(label, decision.quantity, 100, f"{number}")
        desk.observe(bar)
    assert desk.order(label).status != "done"


def test_a_basket_has_one_clock():
    desk = Desk(MemoryStore(), "twap")
    history = BARS.between(end=START)
    labels = desk.add(
        [DeskOrder(symbol=s, side="buy", amount=12, parent="basket", max_duration="4h") for s in ("S000", "S001")],
        history,
    )
    assert labels == ["1", "2"]
    assert len({decision.window for decision in desk.decide()}) == 1
    desk.pause("basket")
    assert [each.quantity for each in desk.decide()] == [0, 0]
    desk.cancel("basket")
    assert not desk.is_active
    with pytest.raises(OrderError):  # all or none
        desk.add(
            [DeskOrder(symbol="S000", side="buy", amount=1), DeskOrder(symbol="nope", side="buy", amount=1)], history
        )
    assert len(desk.state.orders) == 2


def test_an_order_may_wait_for_its_start():
    desk, _ = desk_with(amount=8, max_duration="2h")
    start = str(START + pd.Timedelta("2h"))
    later = desk.add(DeskOrder(symbol="S000", side="sell", amount=8, start=start, max_duration="2h"))
    feed = rows()
    assert desk.decision(later) is None
    assert desk.order(later).status == "waiting"
    desk.observe(next(feed))
    desk.observe(next(feed))
    assert desk.decision(later).quantity == 4


def test_the_state_is_the_replay_of_its_events():
    store = MemoryStore()
    desk, label = desk_with(store=store, amount=50)
    feed = rows()
    desk.fill(label, 2, 100, "1")
    desk.observe(next(feed))
    desk.amend(label, amount=60)
    desk.pause(label)
    desk.observe(next(feed))
    desk.resume(label)
    assert replay(store.read()) == desk.state
    assert [each.seq for each in desk.events(label)] == list(range(1, desk.order(label).seq + 1))
    again = Desk(store)
    assert again.decide() == desk.decide()


@pytest.mark.parametrize("policy", ["twap", "volume_curve", "almgren_chriss"])
def test_a_restart_at_every_bar_decides_the_same(policy):
    def run(restarts):
        store = MemoryStore()
        desk, label = desk_with(policy, store=store, amount=977, max_participation=0.3)
        made = []
        for number, bar in zip(range(12), rows(), strict=False):
            if restarts:
                desk = Desk(store)
            decision = desk.decision(label)
            if decision is None:
                break
            made.append(str(decision))
            desk.fill(label, decision.quantity // 2 or decision.quantity, 100, f"{number}")
            desk.observe(bar)
        return made

    assert run(restarts=True) == run(restarts=False)


def test_an_order_ends_with_its_session():
    bars = sessions()
    start = pd.Timestamp("2024-01-10 20:30", tz="UTC")
    desk, label = desk_with(bars=bars, start=start, max_duration="30 min", amount=60)
    feed = rows(bars=bars, start=start)
    for _ in range(7):
        if desk.is_active:
            desk.observe(next(feed))
    assert desk.order(label).status in ("expired", "ended")


def test_a_policy_makes_a_session():
    session = load_policy("twap").desk(
        {"symbol": "S000", "side": "sell", "amount": 12, "lot_size": 1, "max_duration": "3h"}, BARS.between(end=START)
    )
    assert isinstance(session, DeskSession)
    feed = rows()
    number = 0
    while not session.done:
        session.fill(session.decide().quantity, 100, f"{number}")
        session.observe(next(feed)["S000"]) if not session.done else None
        number += 1
    assert session.state.filled == 12
    with pytest.raises(OrderError, match="the order is done"):
        session.decide()


def test_many_fills_come_with_a_bar():
    desk, label = desk_with(amount=10, max_duration="5h")
    messages = desk.observe(
        next(rows()), fills=[Fill(label, Decimal(1), Decimal(100), "a"), Fill(label, Decimal(1), Decimal(100), "a")]
    )
    assert messages == []
    assert desk.order(label).filled == 1


def test_a_policy_that_fails_is_replaced_by_the_fallback(caplog):
    class Broken(type(load_policy("twap"))):
        def decide(self, context, orders, state):
            decision = super().decide(context, orders, state)
            return decision if state.period < 2 else type(decision)(fraction=float("nan"), finish=False)

    desk, label = desk_with(Broken(), rules=FeedRules())
    feed = rows()
    for _ in range(4):
        desk.observe(next(feed))
    assert desk.decision(label).quantity > 0
    assert "the policy failed" in desk.order(label).fallback
    assert "decided by the fallback" in desk.decision(label).reason
    assert desk.status().orders[0].policy == "volume_curve"


def test_a_symbol_can_be_left_for_days_whoever_decided_before(caplog):
    """The fallback decided the first order, for want of history; nobody may hold the second one to its old bars."""
    caplog.set_level(logging.ERROR)
    early, late = START - pd.Timedelta("8D"), START + pd.Timedelta("2D")
    desk, first = desk_with("lem-crypto-hourly", start=early)
    for bar in itertools.islice(rows(start=early), 3):
        desk.observe(bar)
    desk.cancel(first)
    assert desk.order(first).fallback
    second = desk.add(DeskOrder(symbol="S000", side="buy", amount=60, max_duration="3h"), BARS.between(end=late))
    for bar in itertools.islice(rows(start=late), 2):
        assert desk.observe(bar) == []
    assert (desk.order(second).fallback, desk.order(second).period) == ("", 2)


def test_an_exchange_and_its_night():
    frame = sessions().frame
    frame = frame[(frame["timestamp"] >= "2024-01-02") & (frame["timestamp"] < "2024-01-13")]
    start = pd.Timestamp("2024-01-11 20:30", tz="UTC")
    store = MemoryStore()
    desk = Desk(store, "volume_curve")
    order = DeskOrder(symbol="S000", side="buy", amount=60, lot_size=1, max_duration="session", calendar="XNYS")
    label = desk.add(order, frame[frame["timestamp"] < start])
    assert desk.order(label).terms.max_periods == 6
    following = frame[frame["timestamp"] >= start]
    desk.observe(following[following["timestamp"] < "2024-01-11 20:45"])
    desk = Desk(store)
    assert desk.order(label).period == 3
    desk.fill(label, desk.decision(label).quantity, 100, "1")
    desk.observe(following[following["timestamp"] < "2024-01-12 14:35"])
    assert desk.order(label).status == "expired"
    assert desk.state.market["S000"].bridged == set()  # a night is no gap
    with pytest.raises(OrderError, match="end of the session"):
        desk.add(order.replaced(max_duration="7h"))
    late = desk.add(order.replaced(start="2024-01-12T20:00Z", end="2024-01-12T21:00Z", max_duration=None))
    assert (desk.order(late).status, desk.order(late).terms.max_periods) == ("waiting", 12)


def test_days_over_a_weekend():
    bars = Bars.sample("us-index-daily")
    start = pd.Timestamp("2017-03-09", tz="UTC")
    desk = Desk(MemoryStore(), "twap")
    order = DeskOrder(symbol="SPX", side="sell", amount="1 million USD", lot_size=1, max_duration="5 sessions")
    label = desk.add(order, bars.between(start="2015-01-01", end=start))
    assert str(desk.decision(label)).startswith("sell 84 SPX for ")
    assert " on 2017-03-09 (" in str(desk.decision(label))
    frame = bars.between(start=start, end="2017-03-17").frame
    for number, (_, rows) in enumerate(frame[frame["symbol"] == "SPX"].groupby("timestamp")):
        decision = desk.decision(label)
        if decision is not None and decision.quantity:
            desk.fill(label, decision.quantity, rows["close"].iloc[0], f"{number}")
        desk.observe(rows)
    assert desk.order(label).status == "done"
    assert len(desk.order(label).periods) in (4, 5)
    assert desk.state.market["SPX"].bridged == set()
