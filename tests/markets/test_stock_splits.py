"""Stock splits that prices are not adjusted for: told in bars of any length, live too, and not where there is none."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lem_models import Order, execute
from lem_models.errors import BarsWarning
from lem_models.execution.session import LiveSession
from lem_models.markets.bars import Bars
from lem_models.markets.stock_splits import find_splits

RATIOS = [(0.25, "1/4"), (0.5, "1/2"), (1 / 3, "1/3"), (2 / 3, "1/1.5"), (0.1, "1/10"), (10, "10")]


def traded(starts, slots, seed=0):
    """A random walk of which every session trades most at its opening, and each session more or less than another."""
    rng = np.random.default_rng(seed)
    count = len(starts)
    close = 100 * np.exp(np.cumsum(0.002 * rng.normal(size=count)))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = 1.001 * np.maximum(opened, close), 0.999 * np.minimum(opened, close)
    in_session = 3 * np.exp(-(np.arange(count) % slots) / 8)
    by_session = np.repeat(0.3 * rng.normal(size=count // slots + 1), slots)[:count]
    volume = np.exp(5 + in_session + by_session + 0.25 * rng.normal(size=count))
    prices = {"open": opened, "high": high, "low": low, "close": close}
    return pd.DataFrame(
        {"timestamp": starts, "symbol": "KO", **prices, "volume": volume, "notional": volume * (high + low) / 2}
    )


def sessions(step, first="2024-03-18", last="2024-06-28"):
    days = [
        pd.date_range(f"{day:%Y-%m-%d} 13:30", f"{day:%Y-%m-%d} 20:00", freq=step, tz="UTC", inclusive="left")
        for day in pd.bdate_range(first, last)
    ]
    return days[0].append(days[1:]), len(days[0])


def with_split(frame, row, ratio, volume=None, first=1.0):
    """The price jumps by a ratio; the volume by its inverse or ``1 / volume``, at first ``first`` times that."""
    frame = frame.copy()
    frame.loc[row:, ["open", "high", "low", "close"]] *= ratio
    frame.loc[row:, "volume"] /= ratio if volume is None else volume
    frame.loc[row:, "notional"] *= 1.0 if volume is None else ratio / volume
    frame.loc[row, ["volume", "notional"]] *= first
    return frame


DAILY = traded(pd.bdate_range("2022-01-03", periods=600, tz="UTC"), 1)
FIVE, HOURLY = traded(*sessions("5min")), traded(*sessions("1h"))
MARKETS = {"daily": (DAILY, 1), "5-minute": (FIVE, 78), "hourly": (HOURLY, 7)}


def splits_of(frame):
    bars = Bars.from_frame(frame)
    return find_splits(bars, bars.offsets[:-1], bars.offsets[1:], 0)


def told(frame, row):
    """Whether a live session tells of a split as it sees the bar of a row."""
    order = Order(symbol="KO", start=frame["timestamp"][row].isoformat(), side="buy", max_periods=4)
    session = LiveSession("twap", order, frame.iloc[:row])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session.observe(frame.iloc[row].to_dict())
    return any("stock split" in str(each.message) for each in caught)


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("ratio", [ratio for ratio, _ in RATIOS])
def test_splits_at_openings_are_found_in_hindsight_and_live(market, ratio):
    frame, slots = MARKETS[market]
    openings = range(25 * slots, 45 * slots, 2 * slots)
    split = {row: with_split(frame, row, ratio) for row in openings}
    found = [[each.ratio for each in splits_of(table)] == [pytest.approx(ratio)] for table in split.values()]
    live = [told(table, row) for row, table in split.items()]
    assert np.mean(found) >= 0.9
    assert np.mean(live) >= 0.9


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("ratio", [0.5, 2 / 3])
def test_a_crash_that_trades_much_money_at_first_is_no_split(market, ratio):
    frame, slots = MARKETS[market]
    row = 30 * slots
    crash = with_split(frame, row, ratio, first=12.0)
    assert splits_of(crash) == []
    assert not told(crash, row)


@pytest.mark.parametrize(("ratio", "named"), RATIOS)
def test_an_unadjusted_split_is_told_with_symbol_and_date(ratio, named):
    bars = Bars.from_frame(with_split(DAILY, 400, ratio))
    orders = pd.DataFrame({"symbol": "KO", "start": [DAILY["timestamp"][420]], "side": "buy", "max_periods": 10})
    day = DAILY["timestamp"][400]
    with pytest.warns(BarsWarning, match=f"KO at {day:%Y-%m-%d} 00:00 UTC by {named};"):
        execute("kalman_volume", bars, orders)


@pytest.mark.parametrize(
    "frame",
    [
        DAILY,
        with_split(DAILY, 400, 0.5, volume=1.0),  # the volume does not follow
        with_split(DAILY, 400, 0.5, first=12.0),  # a crash: the first day trades much more money
        with_split(DAILY, 400, 0.8),  # crashes come too near to it
        with_split(DAILY, 400, 0.045),  # no ratio of small numbers
        with_split(DAILY, 100, 0.5),  # before every lookback
    ],
    ids=["no jump", "prices alone", "a crash", "a small jump", "another ratio", "long before"],
)
@pytest.mark.filterwarnings("error::lem_models.errors.BarsWarning")
def test_no_split_is_told_where_there_is_none(frame):
    orders = pd.DataFrame({"symbol": "KO", "start": [DAILY["timestamp"][420]], "side": "buy", "max_periods": 10})
    assert len(execute("kalman_volume", Bars.from_frame(frame), orders).orders) == 1


def test_bars_without_volume_say_nothing_of_a_split():
    frame = with_split(FIVE, 30 * 78, 0.5)
    frame.loc[30 * 78 :, ["volume", "notional"]] = 0.0
    assert splits_of(frame) == []
    assert not told(frame, 30 * 78)
