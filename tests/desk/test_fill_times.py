"""When a fill was: as the venue says, or when the desk took it in; in the log, in old logs, and in the report."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pandas as pd
import pytest

from lem_models.desk import Desk, DeskOrder, DeskSession, Fill
from lem_models.desk.log.events import Filled, from_payload, to_payload
from lem_models.desk.log.state import replay
from lem_models.desk.running.fill_files import FillFile
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import OrderError
from tests.helpers.markets import hourly

START = pd.Timestamp("2024-01-11", tz="UTC")
HOUR = pd.Timedelta("1h")


@pytest.fixture
def now():
    """The desk's clock, which the test sets."""
    return [START.value]


@pytest.fixture
def desk(now):
    desk = Desk(MemoryStore(), "twap", clock=lambda: now[0])
    desk.add(DeskOrder(symbol="S000", side="buy", amount=12, max_duration="3h"), hourly().between(end=START))
    return desk


def close(desk, now, number):
    """The bar of an hour closes."""
    now[0] = (START + (number + 1) * HOUR).value
    desk.observe(hourly().between(start=START + number * HOUR, end=START + (number + 1) * HOUR).frame)


def times(desk):
    return [each.event.time for each in desk.events("1") if isinstance(each.event, Filled)]


def test_the_venue_says_when(desk, now):
    when = START + pd.Timedelta("12min 3.000000007s")
    desk.fill("1", 1, 100, "a", time=when)
    desk.fill("1", 1, 100, "b", time="2024-01-11T01:13:00+01:00")
    desk.fills([Fill("1", Decimal(1), Decimal(100), "c", time=datetime(2024, 1, 11, 0, 14, tzinfo=timezone.utc))])
    assert times(desk) == [when.value, (START + 13 * HOUR / 60).value, (START + 14 * HOUR / 60).value]


def test_else_the_clock_does(desk, now):
    now[0] += 5
    desk.fill("1", 1, 100, "a")
    assert desk.fill("1", 1, 100, "a", time=START).kind == "duplicate"  # the label says which fill it is
    assert times(desk) == [START.value + 5]


@pytest.mark.parametrize("when", ["2024-01-11T00:10", "11/1/2024", datetime(2024, 1, 11), 1704931200])
def test_a_time_that_could_be_another_is_refused(desk, when):
    with pytest.raises(OrderError, match="the time of fill 'a'") as error:
        desk.fill("1", 1, 100, "a", time=when)
    assert (error.value.field, error.value.order_id) == ("time", "1")
    assert desk.order("1").filled == 0
    assert times(desk) == []


def test_a_session_takes_it_too():
    session = DeskSession("twap", {"symbol": "S000", "side": "buy", "amount": 3, "max_duration": "3h"}, hourly())
    session.fill(1, 100, "a", time=START)
    assert [each.event.time for each in session.events if isinstance(each.event, Filled)] == [START.value]


def test_logs_of_before_replay(desk):
    desk.fill("1", 4, 100, "a", time=START)
    event = desk.events("1")[-1].event
    assert event.version == 2
    old = json.loads(to_payload(event))
    del old["time"]
    assert from_payload("filled", 1, json.dumps(old)) == Filled("a", Decimal(4), Decimal(100), "1/0.0")
    records = [
        each if not isinstance(each.event, Filled) else type(each)(
            each.stream, each.seq, each.at, from_payload("filled", 1, json.dumps(old)), each.position
        )
        for each in desk._ledger.store.read()
    ]  # fmt: skip
    assert replay(records) == desk.state


def test_a_file_of_fills_says_when(tmp_path):
    path = tmp_path / "fills.csv"
    path.write_text("order,time,quantity,price,id\n1,2024-01-11T00:10:00Z,1,100,a\n1,,1,100,b\n")
    rows, _ = FillFile(path).poll()
    assert [each.of("1").time for each in rows] == [START + timedelta(minutes=10), None]


def test_a_report_measures_at_the_time_of_the_venue(desk, now):
    desk.fill("1", 2, 100, "in time", time=START + pd.Timedelta("10min"))
    now[0] = (START + pd.Timedelta("20min")).value
    desk.fill("1", 1, 100, "taken in")
    close(desk, now, 0)
    first = desk.order("1").children["1/0.0"]
    assert first.filled == 3
    now[0] += 5 * 60 * 10**9
    desk.fill("1", 1, 100, "taken in late", child="1/0.0")
    desk.fill("1", 1, 100, "said late", child="1/0.0", time=START + pd.Timedelta("59min"))
    desk.fill("1", 1, 100, "after its bar", child="1/0.0", time=START + pd.Timedelta("61min"))
    desk.fill("1", 1, 100, "before the order", time=START - HOUR)
    close(desk, now, 1)
    desk.fill("1", 1, 100, "ahead of the bars", child="1/1.0", time=START + 5 * HOUR)
    fills = desk.report("1", against=()).costs.fills.set_index("fill_id")
    minutes = (pd.to_datetime(fills["nanoseconds"], utc=True) - START) / pd.Timedelta("1min")
    assert minutes.to_dict() == {
        "in time": 10,
        "taken in": 20,
        "taken in late": 0,  # at the start of its bar: all that is known
        "said late": 59,
        "after its bar": 61,  # in the market of the next one
        "before the order": 60,  # no such bar: that of its child order
        "ahead of the bars": 60,
    }
    assert fills["period"].to_dict() == {name: int(value >= 60) for name, value in minutes.items()}


def test_the_bar_of_the_last_fill_must_have_closed(desk, now):
    desk.fill("1", 2, 100, "a", time=START + pd.Timedelta("10min"))
    with pytest.raises(OrderError, match="report the order after its first bar has closed"):
        desk.report("1", against=())
    close(desk, now, 0)
    desk.report("1", against=())
    desk.fill("1", 2, 100, "b")
    with pytest.raises(OrderError, match="the bar of the last fill, 2024-01-11 01:00 UTC, has not closed"):
        desk.report("1", against=())
