"""A new bar is refused for what a table of bars is refused for, and for not being the next one."""

import datetime
import math
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.errors import BarsError, BarsWarning
from lem_models.markets.bars import Bars
from lem_models.markets.live_bars import BarReader, followed_by
from lem_models.markets.synthetic import synthetic_bars
from lem_models.markets.validation import REQUIRED, VALUES, validate_frame
from tests.helpers import hourly, rebuilt, sessions

BARS = hourly(10, 1)
LAST = 100
GOOD = BARS.frame.iloc[LAST].to_dict()


def _reader(bars=BARS, last=LAST):
    return BarReader(bars.between(end=pd.Timestamp(int(bars.timestamp[last]), tz="UTC")))


def _table(bar):
    return validate_frame(pd.DataFrame([{name: bar[name] for name in REQUIRED}]))


def _table_error(bar):
    try:
        _table(bar)
    except BarsError as error:
        return error
    return None


# --- the rules of a bar ----------------------------------------------------------------------------------------------

BAD = {
    "NaN price": {"close": math.nan},
    "missing price": {"open": None},
    "infinite price": {"high": math.inf},
    "infinite low": {"low": -math.inf},
    "infinite volume": {"volume": math.inf, "notional": math.inf},
    "NaN volume": {"volume": math.nan},
    "NaN notional": {"notional": math.nan},
    "zero price": {"low": 0.0},
    "negative price": {"open": -1.0},
    "all prices negative": {name: -1.0 for name in ("open", "high", "low", "close")},
    "negative volume": {"volume": -1.0},
    "negative notional": {"notional": -1.0},
    "low above high": {"low": 2 * GOOD["high"]},
    "open below low": {"open": GOOD["low"] * (1 - 2e-6)},
    "open above high": {"open": GOOD["high"] * (1 + 2e-6)},
    "close below low": {"close": GOOD["low"] / 2},
    "close above high": {"close": GOOD["high"] * 2},
    "notional without volume": {"volume": 0.0},
    "volume without notional": {"notional": 0.0},
    "vwap below low": {"notional": GOOD["volume"] * GOOD["low"] * 0.999},
    "vwap above high": {"notional": GOOD["volume"] * GOOD["high"] * 1.001},
    "text price": {"close": "12.5"},
    "text": {"close": "a lot"},
    "a decimal": {"close": Decimal("100")},
    "a boolean": {"volume": True},
    "a complex number": {"close": 1j},
    "a list": {"close": [GOOD["close"]]},
    "a huge whole number": {"volume": 2**70},
    "naive timestamp": {"timestamp": GOOD["timestamp"].tz_localize(None)},
    "no timestamp": {"timestamp": pd.NaT},
    "timestamp as a number": {"timestamp": GOOD["timestamp"].value},
    "timestamp as a text without a zone": {"timestamp": "2024-01-05 04:00"},
    "timestamp as another text": {"timestamp": "tomorrow"},
    "far future": {"timestamp": "3024-01-05T04:00:00Z"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bar_gets_the_error_of_a_table(name):
    bar = {**GOOD, **BAD[name]}
    expected = _table_error(bar)
    assert expected is not None, "the table of bad bars holds a good one"
    reader = _reader()
    with pytest.raises(BarsError) as caught:
        reader.read(bar)
    assert str(caught.value) == str(expected)
    assert (caught.value.rule, caught.value.column) == (expected.rule, expected.column)
    assert reader.last.timestamp == BARS.timestamp[LAST - 1]


@pytest.mark.parametrize(
    "bar",
    [
        {"timestamp": "2024-01-05T04:00:00Z"},
        {"timestamp": datetime.datetime(2024, 1, 5, 4, tzinfo=datetime.timezone.utc)},
        {"timestamp": GOOD["timestamp"].tz_convert("Asia/Tokyo")},
        {"volume": 0, "notional": 0},
        {name: np.float32(100.0) for name in ("open", "high", "low", "close")} | {"volume": 1, "notional": 100},
        {name: np.int64(100) for name in ("open", "high", "low", "close")} | {"volume": 1, "notional": np.float64(100)},
        {"open": GOOD["low"] * (1 - 1e-10), "close": GOOD["high"] * (1 + 1e-10)},
        {"notional": GOOD["volume"] * GOOD["high"] * (1 + 4e-4)},
    ],
    ids=lambda bar: ", ".join(bar),
)
def test_what_a_table_accepts_is_accepted(bar):
    bar = {**GOOD, **bar}
    assert _table_error(bar) is None
    read = _reader().read(bar)
    assert read.timestamp == BARS.timestamp[LAST]
    assert read[1:7] == tuple(float(bar[name]) for name in VALUES)
    assert read.vwap == (read.notional / read.volume if read.volume else read.close)


_near = st.sampled_from(
    [0.0, -1.0, 1e-300, 1.0, 1 - 1e-9, 1 - 2e-9, 1 + 1e-9, 1 + 1e-7, 1 + 5e-4, 1.0005000001, 2.0, math.nan]
)


SHARED = _reader()  # reading changes nothing


@settings(max_examples=300)
@given(factors=st.lists(_near, min_size=6, max_size=6), base=st.sampled_from([1.0, 3e-7, 123.456, 1e15]))
def test_the_short_way_decides_as_the_table_does(factors, base):
    values = dict(zip(VALUES, (factor * base for factor in factors), strict=True))
    bar = {**GOOD, **values, "volume": factors[4], "notional": factors[4] * factors[5] * base}
    expected = _table_error(bar)
    if expected is None:
        table = _table(bar)
        with warnings.catch_warnings():
            warnings.simplefilter("error" if not len(table.widened) else "ignore", BarsWarning)
            read = SHARED.read(bar)
        assert read[1:7] == tuple(table.values[name][0] for name in VALUES)
    else:
        with pytest.raises(BarsError) as caught:
            SHARED.read(bar)
        assert str(caught.value) == str(expected)


def test_a_number_beyond_all_floats_is_refused_too():
    with pytest.raises(BarsError, match="not a number") as caught:
        _reader().read({**GOOD, "volume": 10**400})
    assert caught.value.rule == "numeric column"


@pytest.mark.parametrize(
    ("bar", "problem"),
    [
        ({}, r"lacks the columns \['timestamp', 'open', 'high'"),
        ({k: v for k, v in GOOD.items() if k != "notional"}, r"lacks the columns \['notional'\]"),
        ({**GOOD, "symbol": "S001"}, "of another symbol, the order of S000"),
        ({**GOOD, "symbol": None}, "of another symbol"),
        ([1, 2, 3], "a bar is a mapping from columns to values, or a row of a table; got list"),
        (BARS.frame.iloc[LAST : LAST + 1], "got DataFrame"),
        (None, "got NoneType"),
    ],
    ids=["nothing", "a column short", "another symbol", "no symbol", "a list", "a table", "none"],
)
def test_what_is_not_a_bar_of_this_symbol_is_refused(bar, problem):
    with pytest.raises(BarsError, match=problem):
        _reader().read(bar)


def test_the_symbol_may_be_left_out():
    assert _reader().read({k: v for k, v in GOOD.items() if k != "symbol"}) == _reader().read(GOOD)


# --- the next bar ----------------------------------------------------------------------------------------------------


def _moved(bars, row, **delta):
    bar = bars.frame.iloc[row].to_dict()
    return {**bar, "timestamp": bar["timestamp"] + pd.Timedelta(**delta)}


@pytest.mark.parametrize("hours", [-24, -1, 0.5, 1, 24, -0.0001])
def test_round_the_clock_only_the_next_hour_is_next(hours):
    reader = _reader()
    with pytest.raises(BarsError, match="not the next one after 2024-01-05 03:00 UTC") as caught:
        reader.read(_moved(BARS, LAST, hours=hours))
    assert (caught.value.rule, caught.value.symbol, caught.value.column) == ("next bar", "S000", "timestamp")
    reader.read(GOOD)


def _walk(reader, bars, first):
    """Read every bar; sessions and slots are those of the whole table."""
    base = reader.last.session - int(bars.session[first - 1])
    for row, bar in enumerate(bars.frame.to_dict("records")[first:], first):
        read = reader.read(bar)
        assert (read.session - base, read.slot) == (bars.session[row], bars.slot[row])
        reader.accept(read)


def _xnys(frequency):
    """Regular hours of New York around Thanksgiving 2024, which has a holiday and a short day."""
    if frequency == "1D":
        days = pd.bdate_range("2024-11-18", "2024-12-05", tz="UTC")
        stamps = days[days != "2024-11-28"]
    else:
        stamps = pd.date_range("2024-11-18 14:30", "2024-12-04 21:00", freq=frequency, tz="UTC", inclusive="left")
        minute = stamps.hour * 60 + stamps.minute
        close = np.where(stamps.day == 29, 18 * 60, 21 * 60)
        open_ = (stamps.day_of_week < 5) & (stamps.normalize() != pd.Timestamp("2024-11-28", tz="UTC"))
        stamps = stamps[open_ & (minute >= 14 * 60 + 30) & (minute < close)]
    frame = pd.DataFrame({"timestamp": stamps, "symbol": "KO"})
    for name in ("open", "high", "low", "close"):
        frame[name] = 100.0
    return Bars.from_frame(frame.assign(volume=1.0, notional=100.0), calendar="XNYS", frequency=frequency)


def _weekdays():
    frame = synthetic_bars(symbols=1, days=300, frequency="1D", seed=4).frame
    kept = (frame["timestamp"].dt.day_of_week < 5) & (frame["timestamp"].dt.day_of_year != 55)
    return Bars.from_frame(frame[kept].reset_index(drop=True), calendar="sessions")


CALENDARS = {
    "24/7, hourly": (BARS, 30),
    "24/7, daily": (synthetic_bars(symbols=1, days=60, frequency="1D"), 20),
    "24/7, 7 hours": (Bars.from_frame(synthetic_bars(symbols=1, days=60, frequency="7h").frame, calendar="24/7"), 20),
    "sessions, 5 minutes": (sessions(), 200),
    "sessions, daily": (_weekdays(), 40),
    "XNYS, 30 minutes": (_xnys("30min"), 20),
    "XNYS, daily": (_xnys("1D"), 3),
}


@pytest.mark.parametrize("name", CALENDARS)
@pytest.mark.parametrize("knows_the_future", [True, False])
def test_the_bars_that_come_are_placed_where_the_whole_table_has_them(name, knows_the_future):
    bars, first = CALENDARS[name]
    history = bars.between(end=pd.Timestamp(int(bars.timestamp[first]), tz="UTC"))
    _walk(BarReader(history if knows_the_future else rebuilt(bars, history.frame)), bars, first)


@pytest.mark.parametrize("name", CALENDARS)
def test_a_bar_left_out_is_noticed(name):
    bars, first = CALENDARS[name]
    history = rebuilt(bars, bars.frame.iloc[:first])
    reader = BarReader(history)
    inside = int(np.flatnonzero(bars.slot[first + 1 :] > 0)[0]) + first + 1 if bars.slots_per_session > 1 else first + 2
    if name != "sessions, daily":  # a day that nobody has cannot be told from a holiday
        for bar in bars.frame.to_dict("records")[first : inside - 1]:
            reader.accept(reader.read(bar))
        with pytest.raises(BarsError, match="not the next one"):
            reader.read(bars.frame.iloc[inside].to_dict())
    reader.accept(reader.read(bars.frame.iloc[reader_row(reader, bars)].to_dict()))


def reader_row(reader, bars):
    """Row of the bar after the reader's last."""
    return int(np.searchsorted(bars.timestamp, reader.last.timestamp)) + 1


@pytest.mark.parametrize(
    ("name", "row", "delta"),
    [
        ("sessions, 5 minutes", 200, {"minutes": 2}),
        ("sessions, daily", 40, {"days": 20}),
        ("XNYS, 30 minutes", 13, {"hours": -12}),  # after the close
        ("XNYS, daily", 4, {"days": 1}),  # a Saturday
        ("24/7, daily", 20, {"days": 1}),
    ],
)
def test_a_bar_off_the_calendar_is_refused(name, row, delta):
    bars, _ = CALENDARS[name]
    reader = BarReader(rebuilt(bars, bars.frame.iloc[:row]))
    with pytest.raises(BarsError, match="not the next one"):
        reader.read(_moved(bars, row, **delta))
    assert reader.read(bars.frame.iloc[row].to_dict()).timestamp == bars.timestamp[row]


# --- a history and what followed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CALENDARS)
def test_a_history_followed_by_bars_is_the_table_of_both(name):
    bars, first = CALENDARS[name]
    history = rebuilt(bars, bars.frame.iloc[:first])
    reader, values = BarReader(history), []
    for bar in bars.frame.to_dict("records")[first : first + 9]:
        read = reader.read(bar)
        values.append(read[:7])
        reader.accept(read)
    grown = followed_by(history, reader.calendar, [values])
    part = bars.between(end=pd.Timestamp(int(bars.timestamp[first + 9]), tz="UTC"))
    for column in ("timestamp", "open", "high", "low", "close", "volume", "notional", "vwap", "slot", "gapless_start"):
        np.testing.assert_array_equal(getattr(grown, column), getattr(part, column), err_msg=column)
    np.testing.assert_array_equal(np.diff(grown.session), np.diff(part.session))


def test_a_bar_that_another_reader_has_read_is_taken_if_it_is_the_next_one():
    later = pd.Timestamp(int(BARS.timestamp[48]), tz="UTC")
    read = _reader(BARS.between(start=later), LAST - 48).read(GOOD)
    assert _reader().read(read) == _reader().read(GOOD)
    with pytest.raises(BarsError, match="not the next one"):
        _reader(last=LAST - 1).read(read)
