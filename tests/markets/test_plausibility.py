"""Timestamps that cannot be true are refused or doubted, with the evidence; good ones are not."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError, BarsWarning
from lem_models.markets.bars import Bars, doubts_of

FIVE = pd.Timedelta(minutes=5)


def session_times(zone="America/New_York", opens="09:30", closes="15:55", days=8, start="2025-07-07"):
    """Starts of five-minute bars in a market's hours, with its zone."""
    dates = pd.bdate_range(start, periods=days)
    pieces = [pd.date_range(f"{day:%Y-%m-%d} {opens}", f"{day:%Y-%m-%d} {closes}", freq="5min") for day in dates]
    return pd.DatetimeIndex(np.concatenate(pieces)).tz_localize(zone)


def candles(times, **changes) -> pd.DataFrame:
    values = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 4.0} | changes
    return pd.DataFrame(values, index=pd.DatetimeIndex(times, name="timestamp"))


def read(frame, **options) -> Bars:
    return Bars.from_frame(frame, symbol="A", notional="hlc3", **options)


def doubts(frame, **options) -> list[str]:
    """Messages of the warnings of reading, other than those of gaps."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(frame, **options)
    return [str(each.message) for each in caught if issubclass(each.category, BarsWarning) and "gaps" not in str(each)]


MARKETS = {
    "New York": ("America/New_York", "09:30", "15:55"),
    "London": ("Europe/London", "08:00", "16:25"),
    "Tokyo": ("Asia/Tokyo", "09:00", "15:25"),
    "Mumbai": ("Asia/Kolkata", "09:15", "15:25"),
    "futures": ("America/New_York", "00:00", "16:55"),
}


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
@pytest.mark.parametrize("start", ["2025-01-06", "2025-07-07"])
def test_true_times_raise_no_doubt(market, start):
    assert doubts(candles(session_times(*market, start=start).tz_convert("UTC"))) == []


def test_days_and_nights_raise_no_doubt():
    assert doubts(candles(pd.date_range("2024-01-01", periods=500, freq="h", tz="UTC"))) == []
    assert doubts(candles(pd.bdate_range("2024-01-01", periods=60, tz="UTC"))) == []


@pytest.mark.parametrize("market", ["New York", "Tokyo", "Mumbai"])
def test_ends_of_bars_are_doubted(market):
    times = session_times(*MARKETS[market]) + FIVE
    (message,) = doubts(candles(times))
    assert "look like the ends of bars, not their starts: most days of 'A' begin at" in message
    assert f"in {market}" in message
    # The cure that the message names works.
    frame = candles(times).reset_index()
    columns = {name: name for name in ("open", "high", "low", "close", "volume")} | {"end": "timestamp"}
    bars = read(frame, columns=columns)
    assert bars.timestamp.tolist() == session_times(*MARKETS[market]).as_unit("ns").asi8.tolist()
    assert doubts(frame, columns=columns) == []


@pytest.mark.parametrize("market", ["New York", "Tokyo", "Mumbai"])
def test_local_times_that_are_labelled_utc_are_doubted(market):
    labelled = session_times(*MARKETS[market]).tz_localize(None).tz_localize("UTC")
    (message,) = doubts(candles(labelled))
    assert "local times that are labelled UTC" in message
    assert f"tz={MARKETS[market][0]!r}" in message
    assert doubts(candles(labelled.tz_localize(None)), tz=MARKETS[market][0]) == []


def test_daily_bars_stamped_at_their_ends_are_doubted():
    days = pd.bdate_range("2024-01-01", periods=60, tz="UTC")
    (message,) = doubts(candles(days + pd.Timedelta(days=1)))
    assert "12 daily bars of 'A' are stamped on a Saturday and none on a Monday" in message


def test_prints_after_hours_are_doubted():
    times = session_times(opens="04:00", closes="19:55")
    minutes = times.hour * 60 + times.minute
    regular = (minutes >= 570) & (minutes < 960)
    (message,) = doubts(candles(times, volume=np.where(regular, 100.0, 1.0)))
    assert "59.4% of the bars of 'A', with 1.4% of the volume, lie before 09:30 or after 16:00" in message
    plain = candles(times, volume=np.where(regular, 100.0, 1.0)).assign(symbol="A").reset_index()
    with pytest.warns(BarsWarning, match=r"59\.4% of the bars"):
        Bars.from_frame(plain.assign(notional=11.0 * plain["volume"]))
    # Where as much is traded at night as at day, the hours are not regular ones.
    assert doubts(candles(times, volume=1.0)) == []


CERTAIN = {
    "ends": (session_times() + FIVE, "moved back by 5min, all bars lie on the grid of XNYS; read them as ends"),
    "labelled UTC": (session_times().tz_localize(None).tz_localize("UTC"), "read as times in America/New_York, all"),
    "after hours": (session_times(opens="04:00", closes="19:55"), "59.4% of the bars lie outside of the regular hours"),
}


@pytest.mark.parametrize(("times", "reason"), CERTAIN.values(), ids=CERTAIN)
def test_against_a_named_calendar_they_are_refused_with_the_reason(times, reason):
    with pytest.raises(BarsError, match=reason) as caught:
        read(candles(times), calendar="XNYS")
    assert caught.value.rule == "one grid"


@pytest.mark.parametrize("before", ["1ms", "1us", "1ns"])
def test_closing_times_are_refused_in_every_table(before):
    times = pd.date_range("2024-01-01 01:00", periods=5, freq="h", tz="UTC") - pd.Timedelta(before)
    with pytest.raises(BarsError, match="these are closing times; the timestamp of a bar is its start"):
        read(candles(times))
    plain = candles(times, notional=40.0).reset_index().assign(symbol="A")
    with pytest.raises(BarsError, match="these are closing times"):
        Bars.from_frame(plain)


def test_a_bar_that_has_not_ended_is_doubted_and_dropped():
    now = pd.Timestamp.now(tz="UTC").floor("h")
    frame = candles(pd.date_range(now - pd.Timedelta(hours=4), periods=5, freq="h"))
    (message,) = doubts(frame)
    assert "the last bar of 1 symbols had not ended when the table was written" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bars = read(frame, repair="drop_open")
    assert len(bars) == 4
    assert bars.repairs[["repair", "timestamp"]].to_numpy().tolist() == [["drop_open", now]]
    assert doubts(frame.iloc[:-1]) == []


def test_daily_bars_are_final_when_the_last_exchange_has_closed():
    weekdays = pd.bdate_range("2025-07-07", periods=10, tz="UTC")
    for days, hours in ((weekdays, 21), (pd.date_range("2025-07-07", periods=10, tz="UTC"), 24)):
        bars = read(candles(days))
        last = int(bars.timestamp[-1])
        assert [doubt.rule for doubt in doubts_of(bars, last + hours * 3600 * 10**9 - 1)] == ["ended bar"]
        assert doubts_of(bars, last + hours * 3600 * 10**9) == []


def test_doubts_of_bars_that_exist():
    with pytest.warns(BarsWarning, match="ends of bars"):
        bars = read(candles(session_times() + FIVE))
    assert [doubt.rule for doubt in doubts_of(bars)] == ["start of the bar"]
    last = int(bars.timestamp[-1])
    assert [doubt.rule for doubt in doubts_of(bars, last + 1)] == ["start of the bar", "ended bar"]
    assert [doubt.rule for doubt in doubts_of(bars, last + FIVE.value)] == ["start of the bar"]
