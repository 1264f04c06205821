"""Durations become numbers of bars, and starts come to lie on bars."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lem_models import Bars, Order, execute, load_policy
from lem_models.errors import OrderError
from lem_models.markets.order_placing import BarPlacement, bars_in
from lem_models.orders.durations import read_duration
from tests.helpers import flat_bars, hourly, sessions


@cache
def daily():
    frame = flat_bars(np.linspace(10, 12, 120)).frame
    frame["timestamp"] = pd.bdate_range("2024-01-01", periods=120, tz="UTC")
    return Bars.from_frame(frame)


@cache
def new_york():
    """Five-minute bars of New York from Monday, 2023-11-20; the 23rd is a holiday, the 24th a half day."""
    days = [("2023-11-20", 78), ("2023-11-21", 78), ("2023-11-22", 78), ("2023-11-24", 42), ("2023-11-27", 78)]
    frames = []
    for day, count in days:
        frame = flat_bars(np.full(count, 10.0)).frame
        frame["timestamp"] = pd.date_range(f"{day} 14:30", periods=count, freq="5min", tz="UTC")
        frames.append(frame)
    return Bars.from_frame(pd.concat(frames), calendar="XNYS")


def _executed(bars, start, **settings):
    order = {"symbol": bars.symbols[0], "start": pd.Timestamp(start, tz="UTC"), "side": "buy", **settings}
    return execute("twap", bars, order)


def _periods(bars, start, length):
    result = _executed(bars, start, max_periods=length)
    assert result.excluded.empty, result.excluded
    return result.orders["max_periods"].item()


# --- durations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "periods"),
    [("12h", 12), (" 12 Hours ", 12), ("1 day", 24), ("2D", 48), ("120 min", 2), ("7200s", 2), ("0.5 days", 12)],
)
def test_round_the_clock_a_duration_is_divided_by_the_length_of_a_bar(length, periods):
    assert _periods(hourly(), "2024-01-05", length) == periods


@pytest.mark.parametrize(("length", "periods"), [("20 days", 20), ("1 day", 1), ("session", 1), ("5d", 5)])
def test_of_daily_bars_days_are_trading_days(length, periods):
    assert _periods(daily(), "2024-02-01", length) == periods


def test_20_days_from_a_thursday_end_four_weeks_later():
    schedule = _executed(daily(), "2024-02-01", max_periods="20 days").schedule
    assert schedule["timestamp"].iloc[-1] == pd.Timestamp("2024-02-28", tz="UTC")


@pytest.mark.parametrize(
    ("start", "length", "periods"),
    [
        ("2023-11-21 14:30", "session", 78),
        ("2023-11-21 20:00", "Session", 12),
        ("2023-11-24 14:30", "session", 42),  # a half day
        ("2023-11-24 17:55", "session", 1),
        ("2023-11-21 14:30", "2h", 24),
        ("2023-11-21 14:30", "2.5 min", None),
    ],
)
def test_of_intraday_bars_hours_are_trading_time_and_a_session_is_its_rest(start, length, periods):
    if periods is None:
        with pytest.raises(OrderError, match=r"it is 0.5 bars of 5min: take '5min' \(1 bar\)"):
            _periods(new_york(), start, length)
    else:
        assert _periods(new_york(), start, length) == periods


def test_where_hours_are_inferred_a_session_is_as_long_as_the_longest_before():
    bars = sessions()
    days = np.flatnonzero(bars.slot == 0)
    assert _periods(bars, pd.Timestamp(bars.timestamp[days[3]]), "session") == 78
    assert _periods(bars, pd.Timestamp(bars.timestamp[days[3] + 70]), "session") == 8
    # The last session is cut: what is missing of it may come, and an order of its rest is as long as before.
    cut = Bars.from_frame(bars.frame.iloc[: days[5] + 20])
    orders = pd.DataFrame({"symbol": "S000", "start": pd.to_datetime([cut.timestamp[days[5] + 10]], utc=True)})
    result = execute("twap", cut, orders.assign(side="buy", max_periods="session"))
    assert len(result.excluded) == 1  # the bars end before the order does
    whole = execute("twap", bars, orders.assign(side="buy", max_periods="session"))
    assert whole.orders["max_periods"].tolist() == [68]


@pytest.mark.parametrize(
    ("bars", "length", "problem"),
    [
        (hourly, "90 min", r"it is 1.5 bars of 1h: take '1h' \(1 bar\) or '2h' \(2 bars\)"),
        (hourly, "1 min", r"take '1h' \(1 bar\)"),
        (hourly, "session", "never closes and has no sessions: write hours or days"),
        (daily, "12h", "counted in days: write days"),
        (daily, "1.5 days", r"it is 1.5 bars of 1D: take '1D' \(1 bar\) or '2D' \(2 bars\)"),
        (new_york, "1 day", "a day is no fixed number of bars of 5min"),
        (hourly, "2 months", "must be a number of bars, or a duration such as '12h'"),
        (hourly, "1m", "must be a number of bars, or a duration"),
        (hourly, "12", "must be a number of bars, or a duration"),
    ],
)
@pytest.mark.parametrize("field", ["min_periods", "max_periods"])
def test_what_is_no_whole_number_of_bars_is_refused(bars, length, problem, field):
    bars = bars()
    good = {"symbol": bars.symbols[0], "start": pd.Timestamp(bars.timestamp[5], tz="UTC"), "side": "buy"}
    table = pd.DataFrame([{**good, "order_id": each, "max_periods": 4, "min_periods": 1} for each in "ab"])
    table = table.astype({"min_periods": object, "max_periods": object})
    table.loc[1, field] = length
    with pytest.raises(OrderError, match=problem) as error:
        execute("twap", bars, table)
    assert (error.value.field, error.value.row, error.value.order_id) == (field, 1, "b")


def test_an_order_keeps_its_durations_until_it_meets_bars():
    order = Order(symbol="S000", start="2024-01-05T00:00Z", side="buy", min_periods="1h", max_periods="0.5 days")
    assert (order.min_periods, order.max_periods) == ("1h", "0.5 days")
    result = execute("twap", hourly(), order).orders
    assert result[["min_periods", "max_periods"]].to_numpy().tolist() == [[1, 12]]
    with pytest.raises(OrderError, match="min_periods must not exceed max_periods"):
        _executed(hourly(), "2024-01-05", min_periods="6h", max_periods="2h")
    with pytest.raises(OrderError, match="max_rate times max_periods must be at least 1"):
        _executed(hourly(), "2024-01-05", max_rate=0.1, max_periods="2h")


def test_samples_take_durations_too():
    table = Order.sample(hourly(), every=24, min_periods=["1h", 6], max_periods="0.5 days", lookback=24)
    assert set(zip(table["min_periods"], table["max_periods"], strict=True)) == {(1, 12), (6, 12)}
    with pytest.raises(OrderError, match="different rests of their sessions"):
        Order.sample(sessions(), max_periods="session")


def test_an_unknown_symbol_is_excluded_whatever_its_duration():
    order = {"symbol": "NOPE", "start": "2024-01-05T00:00Z", "side": "buy", "max_periods": "6h"}
    assert len(execute("twap", hourly(), order).excluded) == 1


# --- starts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bars", "start", "moved"),
    [
        (hourly, "2024-01-05 12:20", "2024-01-05 13:00"),
        (hourly, "2024-01-05 12:00:00.000000001", "2024-01-05 13:00"),
        (hourly, "2024-01-05 12:00", "2024-01-05 12:00"),
        (daily, "2024-02-01 14:30", "2024-02-02"),
        (daily, "2024-02-03 09:00", "2024-02-05"),  # a Saturday
        (new_york, "2023-11-21 20:57", "2023-11-22 14:30"),
        (new_york, "2023-11-23 15:00", "2023-11-24 14:30"),  # a holiday
    ],
)
def test_a_start_between_two_bars_is_moved_to_the_next_with_a_line(bars, start, moved, caplog):
    result = _executed(bars(), start, max_periods=2)
    assert result.orders["start"].tolist() == [pd.Timestamp(moved, tz="UTC")]
    assert ("1 of 1 orders start inside a bar or while the market is closed" in caplog.text) == (start != moved)
    expected = _executed(bars(), moved, max_periods=2)
    pd.testing.assert_frame_equal(result.orders, expected.orders)


@given(seconds=st.lists(st.integers(0, 119 * 24 * 3600), min_size=1, max_size=20))
def test_a_start_becomes_the_first_bar_that_starts_no_earlier(seconds):
    for bars in (hourly(), daily(), new_york()):
        timestamp = bars.timestamp[bars.offsets[0] : bars.offsets[1]]
        starts = timestamp[0] + np.array(seconds, dtype=np.int64) * 10**9 % (timestamp[-1] - timestamp[0] + 1)
        symbols = np.full(len(starts), bars.symbols[0], dtype=object)
        placed = BarPlacement(bars).starts(symbols, starts, range(len(starts)))
        assert placed.tolist() == timestamp[np.searchsorted(timestamp, starts)].tolist()


@given(count=st.integers(1, 10_000), unit=st.sampled_from(["s", "min", "h", "days"]))
def test_a_duration_is_so_many_bars_or_refused(count, unit):
    length = count * {"s": 1, "min": 60, "h": 3600, "days": 86400}[unit]
    duration = read_duration(f"{count} {unit}")
    if length % 3600:
        with pytest.raises(OrderError, match="take '"):
            bars_in(duration, "max_periods", hourly().calendar)
    else:
        assert bars_in(duration, "max_periods", hourly().calendar) == length // 3600


def test_later_bars_move_no_start_elsewhere():
    bars = hourly()
    start = pd.Timestamp("2024-01-05 12:20", tz="UTC")
    short = bars.between(end="2024-01-06")
    results = [_executed(each, start.tz_localize(None), max_periods=2).orders for each in (short, bars)]
    pd.testing.assert_frame_equal(*results)


def test_exact_starts_are_asked_for_and_refused_with_the_next_valid_one():
    table = pd.DataFrame({"symbol": "S000", "side": "buy", "max_periods": 2, "order_id": ["a", "b", "c"]})
    table["start"] = pd.to_datetime(["2024-01-05 12:00", "2024-01-05 12:20", "2024-01-05 14:01"], utc=True)
    problem = (
        r"no bar of S000 starts at 2024-01-05 12:20:00 UTC; the next valid start is 2024-01-05 13:00:00 UTC .and 1"
    )
    with pytest.raises(OrderError, match=problem) as error:
        execute("twap", hourly(), table, starts="exact")
    assert (error.value.field, error.value.row, error.value.order_id) == ("start", 1, "b")
    with pytest.raises(OrderError, match="starts is 'next' or 'exact'; got 'later'"):
        execute("twap", hourly(), table, starts="later")
    assert len(execute("twap", hourly(), table.head(1), starts="exact").orders) == 1


@pytest.mark.parametrize("starts", ["next", "exact"])
@pytest.mark.parametrize("start", ["2023-12-31 23:30", "2024-02-20 00:30", "2024-01-05 09:30", "2024-01-05 10:00"])
def test_a_start_before_the_bars_after_them_or_at_a_gap_is_excluded_as_it_is(start, starts, caplog):
    frame = hourly().select("S000").frame
    bars = Bars.from_frame(frame[frame["timestamp"] != pd.Timestamp("2024-01-05 10:00", tz="UTC")], calendar="24/7")
    order = {"symbol": "S000", "start": pd.Timestamp(start, tz="UTC"), "side": "buy", "max_periods": 2}
    result = execute("twap", bars, order, starts=starts)
    assert result.excluded["start"].tolist() == [order["start"]]
    assert result.excluded["reason"].tolist() == ["no bar of this symbol starts at this time"]
    assert "moved" not in caplog.text


# --- live ------------------------------------------------------------------------------------------------------------


def test_live_orders_have_durations():
    bars = hourly().select("S000")
    history, row = bars.between(end="2024-01-12T12:00Z"), int(bars.rows_between("2024-01-12T12:00Z")[0, 0])
    order = Order(symbol="S000", start="2024-01-12T12:00Z", side="buy", min_periods="1h", max_periods="3h")
    session = load_policy("twap").session(order, history=history)
    for bar in range(row, row + 3):
        session.decide()
        session.observe(bars.frame.iloc[bar])
    assert session.done
    assert session.executed_price == pytest.approx(bars.vwap[row : row + 3].mean())
    with pytest.raises(OrderError, match=r"it is 1\.5 bars of 1h"):
        load_policy("twap").session({**order.model_dump(), "max_periods": "90 min"}, history=history)


def test_a_live_order_starts_with_a_bar():
    history = hourly().select("S000").between(end="2024-01-12T12:00Z")
    order = {"symbol": "S000", "start": "2024-01-12T11:40Z", "side": "buy", "max_periods": 3}
    with pytest.raises(OrderError, match="the next one starts at 2024-01-12 12:00 UTC"):
        load_policy("twap").session(order, history=history)


def test_a_live_order_of_a_session_ends_with_it():
    bars = new_york()
    history, row = bars.between(end="2023-11-24T17:50Z"), int(bars.rows_between("2023-11-24T17:50Z")[0, 0])
    order = Order(symbol="X", start="2023-11-24T17:50Z", side="buy", max_periods="session")
    session = load_policy("twap").session(order, history=history)
    for bar in range(row, row + 2):  # a half day ends at 18:00 UTC
        assert not session.done
        session.observe(bars.frame.iloc[bar])
    assert session.done
    assert session.remaining == 0
