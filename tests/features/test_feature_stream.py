"""Features one bar at a time are those of the whole market, bit for bit."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError
from lem_models.features.causal import SUPPORT, compute_features
from lem_models.features.stream import FeatureStream
from lem_models.markets.bars import Bars
from lem_models.markets.synthetic import synthetic_bars
from tests.helpers import hourly, perturbed, rebuilt, sessions


def _weekdays(days: int, *, without: tuple[str, ...] = ()) -> Bars:
    frame = synthetic_bars(symbols=1, days=days, frequency="1D", seed=4).frame
    kept = (frame["timestamp"].dt.day_of_week < 5) & ~frame["timestamp"].dt.strftime("%Y-%m-%d").isin(without)
    return Bars.from_frame(frame[kept].reset_index(drop=True), calendar="sessions")


def _short_days(bars: Bars) -> Bars:
    """Some sessions close early."""
    frame = bars.frame
    closed = (frame["timestamp"].dt.day % 4 == 0) & (frame["timestamp"].dt.hour >= 18)
    return rebuilt(bars, frame[~closed].reset_index(drop=True))


MARKETS = {
    "hourly": lambda: hourly(30, 1),
    "idle bars": lambda: perturbed(hourly(30, 1), np.arange(720), silent=0.3),
    "every 15 minutes": lambda: synthetic_bars(symbols=1, days=9, frequency="15min", seed=1),
    "minutes": lambda: synthetic_bars(symbols=1, days=0.5, frequency="1min", seed=1),
    "5-minute sessions": lambda: sessions(),
    "half-hourly sessions": lambda: sessions(60, "30min"),
    "short days": lambda: _short_days(sessions(60, "30min")),
    "daily": lambda: synthetic_bars(symbols=1, days=500, frequency="1D", seed=2),
    "weekdays": lambda: _weekdays(700, without=("2024-12-25", "2025-01-01")),
}


def _checked(bars, history, known):
    whole = compute_features(bars)
    stream = FeatureStream(known)
    np.testing.assert_array_equal(stream.row, whole.values[history - 1])
    rows = bars.frame.to_dict("records")[history : history + 400]
    for row, bar in enumerate(rows, history):
        np.testing.assert_array_equal(stream.push(bar), whole.values[row])
        assert stream.volatility == whole.volatility[row]


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("history", [SUPPORT, 300, 2])
def test_every_bar_has_the_features_and_the_volatility_of_the_whole_market(market, history):
    bars = MARKETS[market]()
    _checked(bars, history, bars.between(end=pd.Timestamp(int(bars.timestamp[history]), tz="UTC")))


@pytest.mark.parametrize("market", MARKETS)
def test_the_calendar_is_told_from_the_bars_so_far(market):
    bars = MARKETS[market]()
    _checked(bars, 350, rebuilt(bars, bars.frame.iloc[:350]))


def test_a_row_of_a_table_is_as_good_as_a_mapping():
    bars = hourly(20, 1)
    one, other = (FeatureStream(bars.between(end="2024-01-15")) for _ in range(2))
    for _, bar in bars.between(start="2024-01-15").frame.head(30).iterrows():
        np.testing.assert_array_equal(one.push(bar), other.push(bar.to_dict()))


def test_a_refused_bar_leaves_the_stream_as_it_was():
    bars = hourly(20, 1)
    stream = FeatureStream(bars.between(end="2024-01-15"))
    good = bars.between(start="2024-01-15").frame.iloc[0].to_dict()
    before = stream.row.copy(), stream.volatility
    for bad in ({**good, "close": np.nan}, {**good, "timestamp": good["timestamp"] + pd.Timedelta("1h")}):
        with pytest.raises(BarsError):
            stream.push(bad)
        np.testing.assert_array_equal(stream.row, before[0])
        assert stream.volatility == before[1]
    row = int(bars.locate("S000", [good["timestamp"].value])[0])
    np.testing.assert_array_equal(stream.push(good), compute_features(bars).values[row])


def test_a_stream_follows_one_symbol():
    with pytest.raises(BarsError, match="follows one symbol, the history holds 2"):
        FeatureStream(hourly())
