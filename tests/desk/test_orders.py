"""Desk orders: amounts in words, times, and refusals that name the rule."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest

from lem_models.desk import Desk, DeskOrder
from lem_models.desk.orders.amounts import read_amount
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import OrderError
from tests.helpers.markets import hourly, sessions

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ORDER = {"symbol": "S000", "side": "buy", "max_duration": "6h"}


@pytest.mark.parametrize(
    ("text", "symbol", "value", "target"),
    [
        ("40 BTC", "BTCUSDT", "40", "quantity"),
        ("1.5 million USD", "KO", "1500000", "notional"),
        ("1,500,000.5 USDT", "BTCUSDT", "1500000.5", "notional"),
        ("2 million shares", "KO", "2000000", "quantity"),
        ("25k KO", "KO", "25000", "quantity"),
        ("2_000", "KO", "2000", None),
        (0.1, "KO", "0.1", None),
    ],
)
def test_amounts_in_words(text, symbol, value, target):
    amount = read_amount(text, symbol)
    assert (amount.value, amount.target) == (Decimal(value), target)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lotsize", "did you mean 'lot_size'?"),
        ("max_periods", "did you mean 'max_duration'?"),
        ("order_id", "did you mean 'id'?"),
        ("notional", 'amount = "40 BTC"'),
        ("qty", 'amount = "40 BTC"'),
        ("colour", "known: symbol"),
    ],
)
def test_an_unknown_field_comes_with_the_one_that_is_meant(name, hint):
    with pytest.raises(OrderError, match="known field") as error:
        DeskOrder(**ORDER, **{name: 1})
    assert hint in str(error.value)


def test_a_participation_may_be_written_in_per_cent():
    assert DeskOrder(**ORDER, amount=4, max_participation="7 %").max_participation == 0.07
    with pytest.raises(OrderError, match=r"max_participation must be a number"):
        DeskOrder(**ORDER, amount=4, max_participation="ten%")


@pytest.mark.parametrize("text", ["40 ETH", "1,50 BTC", "forty BTC", "40 BTC now", "-4 BTC", ""])
def test_amounts_are_never_guessed(text):
    with pytest.raises(OrderError):
        read_amount(text, "BTCUSDT")


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"amount": "40.05", "lot_size": "0.1"}, "amount", "lot_size"),
        ({"amount": "5", "min_quantity": "10"}, "amount", "min_quantity"),
        ({"amount": "5 USD", "min_notional": "10"}, "amount", "min_notional"),
        ({"amount": "0"}, "amount", "positive"),
        ({"amount": "1e19", "lot_size": "0.1"}, "lot_size", "most lots"),
        ({"amount": "1.0000000000000000000000001"}, "amount", "digits"),
        ({"amount": "5", "max_participation": 1.5}, "max_participation", "(0, 1]"),
        ({"amount": "5", "end": "6h"}, "max_duration", "one end"),
        ({"amount": "5 USD", "target": "quantity"}, "target", "one size"),
        ({"amount": "5", "start": "2024-05-01"}, "start", "time"),
        ({"amount": "5", "min_duration": "a while"}, "min_duration", "duration"),
        ({"amount": "5", "sort": "good"}, "sort", "known field"),
        ({}, "amount", "required"),
        ({"amount": "nan"}, "amount", "amount"),
        ({"amount": 5, "id": "@desk"}, "id", "label"),
    ],
)
def test_what_the_constraints_forbid(fields, field, rule):
    with pytest.raises(OrderError) as error:
        DeskOrder(**ORDER | fields)
    assert (error.value.field, error.value.rule) == (field, rule)


def test_an_order_is_a_table_of_toml():
    text = """
    symbol = "BTCUSDT"
    side = "sell"
    amount = "40 BTC"
    lot_size = "0.001"
    max_participation = 0.05
    start = 2024-05-01T12:20:00Z
    end = "12h"
    """
    order = DeskOrder(**tomllib.loads(text))
    assert order.lot_size == Decimal("0.001")
    assert order.start == "2024-05-01T12:20:00+00:00"
    assert DeskOrder(**order.model_dump(mode="json", exclude_none=True)) == order


def desk_of(bars, last):
    history = bars.between(end=last)
    desk = Desk(MemoryStore(), "volume_curve", clock=lambda: pd.Timestamp(last, tz="UTC").value)
    return desk, history


@pytest.mark.parametrize(
    ("times", "first", "periods"),
    [
        ({"start": "now", "max_duration": "6h"}, "00:00", 6),
        ({"start": "2 h", "max_duration": 6}, "02:00", 6),
        ({"start": "2024-01-11T12:20Z", "end": "2024-01-11T18:30Z"}, "13:00", 5),
        ({"start": "2024-01-11T12:00Z", "end": "1 day"}, "12:00", 24),
    ],
)
def test_times_on_the_bars(times, first, periods):
    desk, history = desk_of(hourly(), "2024-01-11")
    label = desk.add(DeskOrder(symbol="S000", side="buy", amount=100, **times), history)
    terms = desk.order(label).terms
    assert (pd.Timestamp(terms.start).strftime("%H:%M"), terms.max_periods) == (first, periods)


def test_a_start_that_is_past_is_said(caplog):
    desk, history = desk_of(hourly(), "2024-01-11")
    order = {"symbol": "S000", "side": "buy", "amount": 100, "max_duration": "6h"}
    for start in ("now", "1h", "2024-01-11T00:00Z"):
        desk.add(DeskOrder(**order, start=start), history)
    assert caplog.messages == []
    desk.add(DeskOrder(**order, start="2024-01-09T07:30Z"), history)
    (said,) = caplog.messages
    assert said == "order 4: its start, 2024-01-09 07:30 UTC, is past: it trades from 2024-01-11 00:00 UTC"


def test_the_rest_of_a_session():
    desk, history = desk_of(sessions(), "2024-01-10 20:00")
    label = desk.add(DeskOrder(symbol="S000", side="buy", amount=100, max_duration="session"), history)
    assert desk.order(label).terms.max_periods == 12


def test_a_refused_order_is_named_among_several():
    desk, history = desk_of(sessions(), "2024-01-10 20:00")
    good = DeskOrder(symbol="S000", side="buy", amount=100, max_duration="session")
    for changes in ({"symbol": "S009"}, {"max_duration": "5h"}):
        with pytest.raises(OrderError) as error:
            desk.add([good, good.replaced(id="late", **changes)], history)
        assert error.value.order_id == "late"
    assert not desk.state.orders


def test_participation_that_cannot_complete_is_refused():
    desk, history = desk_of(hourly(), "2024-01-11")
    order = {"symbol": "S000", "side": "buy", "amount": 1_000_000, "max_duration": "6h", "max_participation": 0.01}
    with pytest.raises(OrderError, match="of the volume expected in its 6 bars") as error:
        desk.add(DeskOrder(**order), history)
    assert error.value.rule == "max_participation"
    assert not desk.state.orders
    assert desk.add(DeskOrder(**order, allow_incomplete=True), history) == "1"


def test_a_notional_that_buys_no_lot_is_refused():
    desk, history = desk_of(hourly(), "2024-01-11")
    with pytest.raises(OrderError, match="lot_size allows no child order") as error:
        desk.add(DeskOrder(symbol="S000", side="buy", amount="5 USD", lot_size=1, max_duration="6h"), history)
    assert error.value.rule == "lot_size"
