"""A live order starts when its market trades and ends where its trading session ends."""

import numpy as np
import pandas as pd
import pytest

from lem_models import Order, execute, load_policy
from lem_models.errors import BarsError, BarsWarning, OrderError
from lem_models.execution.session import LiveSession
from lem_models.markets.bars import Bars
from tests.markets.calendar.test_calendar_inference import hours, priced

TWAP = load_policy("twap")
STARTS = hours("2024-11-11", "2024-12-03", early=("2024-11-29",))
STARTS = STARTS[STARTS.strftime("%Y-%m-%d") != "2024-11-28"]
CALENDARS = ["XNYS", "sessions"]


def market(calendar):
    return Bars.from_frame(priced(STARTS, "KO"), calendar=calendar)


def session(bars, start, periods, policy=TWAP):
    order = Order(symbol="KO", start=start, side="buy", max_periods=periods)
    return LiveSession(policy, order, bars.between(end=pd.Timestamp(start)))


def rows(bars, first, count):
    return bars.between(start=first).frame.head(count).to_dict("records")


def test_an_order_that_crosses_an_early_close_is_refused_as_in_hindsight():
    bars = market("XNYS")
    order = Order(symbol="KO", start="2024-11-29T17:30Z", side="buy", max_periods=12)
    assert execute(TWAP, bars, order).excluded["reason"].tolist() == ["the order would cross the end of the session"]
    with pytest.raises(OrderError, match=r"expected at 2024-11-29 18:00 UTC, 6 bars from its start"):
        session(bars, "2024-11-29T17:30Z", 12)
    live = session(bars, "2024-11-29T17:30Z", 6)
    for row in rows(bars, "2024-11-29T17:30Z", 6):
        live.observe(row)
    assert (live.done, live.remaining) == (True, pytest.approx(0))


def test_an_early_close_that_nobody_foresaw_ends_the_order():
    bars = Bars.from_frame(market("sessions").between(end="2024-11-29T17:30Z").frame)  # knows nothing of what comes
    live = session(bars, "2024-11-29T17:30Z", 12)
    later = rows(market("sessions"), "2024-11-29T17:30Z", 7)
    for row in later[:6]:
        live.observe(row)
    assert (live.done, live.remaining) == (False, pytest.approx(0.5))
    message = r"trading session of KO ended at 2024-11-29 18:00 UTC, before the order was complete: 0.5 of it is left"
    with pytest.raises(OrderError, match=message):
        live.observe(later[6])
    assert (live.done, live.remaining) == (True, pytest.approx(0.5))
    for act in (live.decide, lambda: live.observe(later[6])):
        with pytest.raises(OrderError, match=message):
            act()


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize(
    ("start", "following"),
    [
        ("2024-11-23T15:00Z", "2024-11-25 14:30"),  # a Saturday
        ("2024-11-22T21:00Z", "2024-11-25 14:30"),  # after the close
        ("2024-11-26T14:29Z", "2024-11-26 14:30"),  # off the grid
    ],
)
def test_an_order_that_starts_when_the_market_is_closed_is_told_the_next_start(calendar, start, following):
    with pytest.raises(OrderError, match=rf"no bar of KO starts at .*\(calendar {calendar}\).* starts at {following}"):
        session(market(calendar).between(end=start), start, 6)


@pytest.mark.parametrize("start", ["2024-11-23T14:30Z", "2024-11-22T21:00Z", "2024-11-22T23:00Z", "2024-11-24T16:00Z"])
def test_a_history_that_knows_nothing_of_what_comes_does_not_open_the_market(start):
    history = Bars.from_frame(market("sessions").between(end=pd.Timestamp(start)).frame)
    order = Order(symbol="KO", start=start, side="buy", max_periods=4)
    with pytest.raises(OrderError, match="the next one starts at 2024-11-25 14:30 UTC"):
        LiveSession(TWAP, order, history)


def test_an_exchange_knows_a_holiday():
    with pytest.raises(OrderError, match="the next one starts at 2024-11-29 14:30 UTC"):
        session(market("XNYS"), "2024-11-28T15:00Z", 6)


@pytest.mark.parametrize("calendar", ["auto", "XNYS"])
@pytest.mark.parametrize("start", ["2022-01-01T00:00Z", "2022-01-02T00:00Z"])
def test_a_daily_order_on_a_weekend_is_told_the_next_day(calendar, start):
    days = pd.bdate_range("2021-01-01", "2021-12-31", tz="UTC")
    holidays = ["2021-01-01", "2021-01-18", "2021-02-15", "2021-04-02", "2021-05-31", "2021-07-05", "2021-09-06"]
    days = days[~days.strftime("%Y-%m-%d").isin([*holidays, "2021-11-25", "2021-12-24"])]
    bars = Bars.from_frame(priced(days, "KO"), calendar=calendar)
    with pytest.raises(OrderError, match=r"no bar of KO starts at .*; the next one starts at 2022-01-03 00:00 UTC"):
        session(bars, start, 6)
    assert session(bars, "2022-01-03T00:00Z", 6).decide().fraction == pytest.approx(1 / 6)


@pytest.mark.parametrize("calendar", CALENDARS)
def test_a_start_beyond_the_next_bar_asks_for_the_bars_between(calendar):
    with pytest.raises(BarsError, match="must end with the bar before the order starts"):
        session(market(calendar).between(end="2024-11-26T16:00Z"), "2024-11-26T16:30Z", 6)


def test_the_next_day_opens_later_in_utc_after_the_clock_has_changed():
    starts = hours("2024-10-01", "2024-11-04")
    bars = Bars.from_frame(priced(starts, "KO"))
    live = session(bars.between(end="2024-11-02"), "2024-11-04T14:30Z", 6)
    live.observe(rows(bars, "2024-11-04T14:30Z", 1)[0])
    with pytest.raises(OrderError, match="the next one starts at 2024-11-04 14:30 UTC"):
        session(bars.between(end="2024-11-02"), "2024-11-04T13:30Z", 6)


@pytest.mark.parametrize("policy", ["volume_curve", "lem-equity-5min"])
def test_live_orders_after_a_change_of_the_clock_and_an_early_close_are_those_of_hindsight(policy):
    starts = hours("2024-10-21", "2024-12-03", early=("2024-11-29",))
    bars = Bars.from_frame(priced(starts, "KO"))
    loaded = load_policy(policy)
    for first in ("2024-11-04T14:30Z", "2024-11-05T16:00Z", "2024-12-02T14:45Z"):
        order = Order(symbol="KO", start=first, side="sell", max_periods=8)
        hindsight = execute(loaded, bars, order).schedule["fraction"].to_list()
        # A history that knows nothing of what comes.
        history = Bars.from_frame(bars.between(end=pd.Timestamp(first)).frame)
        live = LiveSession(loaded, order, history)
        fractions = []
        for row in rows(bars, first, 8):
            fractions.append(live.decide().fraction)
            live.observe(row)
        assert fractions == pytest.approx(hindsight, abs=1e-6)


@pytest.mark.parametrize(
    ("last", "start", "following"), [("2024-01-04", "2024-01-05", None), ("2024-01-05", "2024-01-06", "2024-01-08")]
)
@pytest.mark.parametrize("step", ["15min", "1D"])
def test_a_history_of_some_days_does_not_close_the_days_after_it(step, last, start, following):
    starts = (
        hours("2024-01-02", last, step="15min") if step == "15min" else pd.bdate_range("2024-01-02", last, tz="UTC")
    )
    time = "14:30" if step == "15min" else "00:00"
    history = Bars.from_frame(priced(starts, "KO"), frequency=step)
    order = Order(symbol="KO", start=f"{start}T{time}Z", side="buy", max_periods=4)
    if following is None:
        assert LiveSession(TWAP, order, history).decide().fraction == pytest.approx(0.25)
    else:
        with pytest.raises(OrderError, match=f"the next one starts at {following} {time} UTC"):
            LiveSession(TWAP, order, history)


def test_a_split_between_two_bars_is_told_live():
    days = pd.bdate_range("2022-01-03", periods=400, tz="UTC")
    frame = priced(days, "KO")
    bars = Bars.from_frame(frame)
    live = session(bars, days[300].isoformat(), 6)
    row = frame.iloc[300].to_dict()
    row |= {name: row[name] / 2 for name in ("open", "high", "low", "close")}
    row |= {"volume": float(np.median(frame["volume"][280:300])) * 2}
    row |= {"notional": row["volume"] * row["close"]}
    with pytest.warns(BarsWarning, match=r"KO at 2023-02-27 00:00 UTC by 1/2"):
        live.observe(row)
