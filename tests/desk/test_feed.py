"""Bars that are late, missing, out of order, revised, doubled, too early or stale: each with a message of its own."""

from __future__ import annotations

import pandas as pd
import pytest

from lem_models.baselines import TWAP
from lem_models.desk import Desk, DeskOrder, FeedRules, follow
from lem_models.desk.log.events import BarFault
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import BarsError
from tests.helpers.markets import hourly
from tests.helpers.models import random_model, tiny_config
from tests.helpers.venue import FakeVenue

START = pd.Timestamp("2024-01-11", tz="UTC")
BARS = hourly()
HOUR = pd.Timedelta("1h")


class Looking(TWAP):
    """Needs six bars without a gap."""

    lookback = 6


class Clock:
    """The time of a test, nanoseconds UTC."""

    def __init__(self) -> None:
        self.now = pd.Timestamp("2030-01-01", tz="UTC")

    def __call__(self) -> int:
        return self.now.value


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def desk(clock):
    desk = Desk(MemoryStore(), "twap", clock=clock)
    desk.add(DeskOrder(symbol="S000", side="buy", amount=120, lot_size=1, max_duration="12h"), BARS.between(end=START))
    return desk


def bar(number, **changes):
    frame = BARS.between(start=START).frame
    row = frame[frame["symbol"] == "S000"].iloc[number].to_dict() | changes
    return {"S000": {name: value for name, value in row.items() if name != "symbol"}}


def faults(desk):
    return [each.event.fault for each in desk._ledger.store.read() if isinstance(each.event, BarFault)]


def test_a_missing_bar_is_bridged_and_marked(desk):
    desk.observe(bar(0))
    messages = desk.observe(bar(2))
    assert messages == [
        "S000: the bar of 2024-01-11 01:00 UTC is missing; a bar without volume at the last close stands for it"
    ]
    order = desk.order("1")
    assert (order.period, order.bridged, len(desk.state.market["S000"].bars)) == (3, 1, 3)
    assert desk.state.market["S000"].bars[1][5] == 0
    assert "1 of its bars was missing" in desk.status().orders[0].notes
    assert "1 missing" in str(desk.status())


def test_a_late_bar_changes_nothing(desk):
    desk.observe(bar(0))
    desk.observe(bar(2))
    before = desk.decide()
    (message,) = desk.observe(bar(1))
    assert "came late" in message
    assert desk.decide() == before
    assert faults(desk) == ["missing", "late"]


def test_a_revised_bar_is_kept_in_the_log_and_changes_no_decision(desk):
    desk.observe(bar(0))
    before = desk.decide()
    values = bar(0)["S000"]
    (message,) = desk.observe(bar(0, volume=values["volume"] * 2, notional=values["notional"] * 2))
    assert "was revised" in message
    assert desk.decide() == before
    event = next(each.event for each in desk._ledger.store.read() if isinstance(each.event, BarFault))
    assert event.bar[4] == values["volume"] * 2
    assert Desk(desk._ledger.store).decide() == before


def test_doubled_and_old_bars_have_messages_of_their_own(desk):
    desk.observe(bar(0))
    assert desk.observe(bar(0)) == ["S000: the bar of 2024-01-11 00:00 UTC came again"]
    (message,) = desk.observe(bar(0, timestamp=pd.Timestamp("2023-12-01", tz="UTC")))
    assert "is older than what the desk follows" in message
    (message,) = desk.observe(bar(1, timestamp=START + 1.5 * HOUR))
    assert "no bar of 1h on the calendar 24/7 starts at" in message
    assert faults(desk) == ["duplicate", "out_of_order", "off_grid"]
    assert desk.order("1").period == 1


def test_bars_of_one_call_may_come_in_any_order(desk):
    frame = BARS.between(start=START, end=START + 4 * HOUR).frame
    assert desk.observe(frame[frame["symbol"] == "S000"].iloc[::-1]) == []
    assert desk.order("1").period == 4
    assert desk.decision("1").window[0] == START + 4 * HOUR


def test_a_bar_from_the_future_is_not_used(desk, clock):
    clock.now = START + 0.5 * HOUR
    (message,) = desk.observe(bar(0))
    assert "ends 1800.0 s after the desk's clock" in message
    assert desk.order("1").period == 0
    clock.now = START + HOUR
    assert desk.observe(bar(0)) == []


def test_a_stale_feed_is_said_once_and_then_bridged(desk, clock):
    clock.now = START + HOUR + pd.Timedelta("5s")
    assert desk.watch() == []
    clock.now = START + HOUR + pd.Timedelta("15s")
    (message,) = desk.watch()
    assert "the feed is stale: the bar of 2024-01-11 00:00 UTC should have closed at 2024-01-11 01:00 UTC" in message
    assert desk.watch() == []
    clock.now = START + HOUR + pd.Timedelta("61s")
    (message,) = desk.watch()
    assert "a bar without volume at the last close stands for it" in message
    assert desk.decision("1").window[0] == START + HOUR


def test_a_bar_that_breaks_a_rule_changes_nothing(desk):
    with pytest.raises(BarsError, match="positive"):
        desk.observe(bar(0, low=-1.0))
    assert desk.order("1").period == 0
    with pytest.raises(BarsError, match="lacks the columns"):
        desk.observe({"S000": {"timestamp": START}})
    desk.observe(bar(0))
    assert desk.order("1").period == 1


@pytest.mark.parametrize("bars", [[{"symbol": "BTC"}], {"BTC": 1.0}, None], ids=["rows", "numbers", "nothing"])
def test_what_is_no_bar_of_a_symbol_is_refused_with_the_cure(desk, bars):
    with pytest.raises(BarsError, match=r"a mapping from symbols to bars, \{'BTCUSDT': .*; got "):
        desk.observe(bars)


def test_the_longest_gap(clock):
    desk = Desk(MemoryStore(), "twap", clock=clock, rules=FeedRules(longest_gap=3))
    desk.add(DeskOrder(symbol="S000", side="buy", amount=120, max_duration="12h"), BARS.between(end=START))
    with pytest.raises(BarsError, match="more than 3 bars are missing"):
        desk.observe(bar(6))


def test_the_fallback_trades_until_the_model_has_its_lookback_again(clock, caplog):
    model = Looking()
    desk = Desk(MemoryStore(), model, clock=clock, rules=FeedRules(most_bridged=1))
    order = DeskOrder(symbol="S000", side="buy", amount=4000, lot_size=1, max_duration="40h")
    desk.add(order, BARS.between(end=START))
    desk.observe(bar(0))
    desk.observe(bar(2))  # one missing bar: the model goes on
    assert desk.order("1").fallback == ""
    desk.observe(bar(4))  # two
    assert "bars of S000 are missing" in desk.order("1").fallback
    assert "decided by the fallback" in str(desk.decision("1").reason)
    assert "the fallback decides from now on" in caplog.text
    before, desk = desk.decide(), Desk(desk._ledger.store, model, clock=clock, rules=FeedRules(most_bridged=1))
    assert desk.decide() == before
    number = 5
    while desk.order("1").fallback:
        desk.observe(bar(number))
        number += 1
    assert number == 8  # the first of the two missing bars is more than six bars ago
    assert desk.order("1").is_active
    kinds = [each.event.kind for each in desk.events("1")]
    assert kinds.index("fell_back") < kinds.index("restored")


def test_an_order_that_lacks_its_lookback_starts_with_the_fallback(clock):
    model = random_model(tiny_config())
    gap = BARS.frame
    gap = gap[(gap["symbol"] == "S000") & (gap["timestamp"] < START)]
    gap = gap[gap["timestamp"] != START - 5 * HOUR]
    desk = Desk(MemoryStore(), model, clock=clock)
    desk.add(DeskOrder(symbol="S000", side="buy", amount=4000, lot_size=1, max_duration="6h"), gap)
    assert "gap" in desk.order("1").fallback
    assert desk.decision("1").quantity > 0


def test_the_venue_of_a_user_is_one_class(tmp_path, clock):
    desk = Desk(MemoryStore(), "volume_curve", clock=clock)
    frame = BARS.between(start=START).frame
    venue = FakeVenue(tmp_path / "venue.jsonl", frame)
    for symbol in BARS.symbols:
        order = DeskOrder(symbol=symbol, side="sell", amount=300, lot_size=1, max_duration="9h")
        desk.add(order, BARS.between(end=START))
    closes = sum(1 for _ in follow(desk, venue))
    assert closes == 10  # the first decisions, and those of each of nine bars
    assert [order.status for order in desk.state.orders.values()] == ["done", "done"]
    assert {label: order.filled for label, order in desk.state.orders.items()} == venue.filled()
