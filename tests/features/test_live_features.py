"""Features one bar at a time are those of the whole market, bit for bit."""

import numpy as np
import pandas as pd
import pytest

from lem_models.features.causal import SUPPORT, compute_features
from lem_models.features.live import LiveFeatures
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.live_bars import BarReader
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
    "cut in the first session": lambda: rebuilt(sessions(), sessions().frame.iloc[30:]),
    "short days": lambda: _short_days(sessions(60, "30min")),
    "daily": lambda: synthetic_bars(symbols=1, days=500, frequency="1D", seed=2),
    "weekdays": lambda: _weekdays(700, without=("2024-12-25", "2025-01-01")),
}


class Follower:
    """The features of one symbol."""

    def __init__(self, history):
        self.features, self.reader = LiveFeatures(), BarReader(history)
        self.number = self.features.add(Market(history), np.array([len(history) - 1]))

    def push(self, bar):
        closed = self.reader.read(bar)
        self.reader.accept(closed)
        values, volatility = self.features.push(self.number, [closed])
        return values[0], volatility[0]


def _checked(bars, history, known):
    whole = compute_features(bars)
    follower = Follower(known)
    for row, bar in enumerate(bars.frame.to_dict("records")[history : history + 400], history):
        values, volatility = follower.push(bar)
        np.testing.assert_array_equal(values, whole.values[row])
        assert volatility == whole.volatility[row]


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("history", [SUPPORT, 300, 2])
def test_every_bar_has_the_features_and_the_volatility_of_the_whole_market(market, history):
    bars = MARKETS[market]()
    _checked(bars, history, bars.between(end=pd.Timestamp(int(bars.timestamp[history]), tz="UTC")))


@pytest.mark.parametrize("market", MARKETS)
def test_the_calendar_is_inferred_from_the_bars_so_far(market):
    bars = MARKETS[market]()
    _checked(bars, 350, rebuilt(bars, bars.frame.iloc[:350]))


def test_many_symbols_advance_together_or_apart():
    bars = synthetic_bars(symbols=5, days=20, seed=3)
    whole, known = compute_features(bars), bars.between(end="2024-01-12")
    features, readers = LiveFeatures(), [BarReader(known.select([symbol])) for symbol in bars.symbols]
    # Two calls of add: symbols come one after the other.
    last = known.offsets[1:] - 1
    numbers = np.concatenate([features.add(Market(known), last[:2]), features.add(Market(known), last[2:])])
    coming = [bars.select([symbol]).between(start="2024-01-12").frame.to_dict("records") for symbol in bars.symbols]
    next_bar, rng = np.zeros(5, int), np.random.default_rng(0)
    for _ in range(100):
        chosen = np.flatnonzero(rng.random(5) < 0.7) if rng.random() < 0.5 else np.arange(5)
        rng.shuffle(chosen)
        if not len(chosen):
            continue
        closed = [readers[number].read(coming[number][next_bar[number]]) for number in chosen]
        for number, bar in zip(chosen, closed, strict=True):
            readers[number].accept(bar)
        values, volatility = features.push(numbers[chosen], closed)
        rows = bars.offsets[chosen] + np.diff(known.offsets)[chosen] + next_bar[chosen]
        np.testing.assert_array_equal(values, whole.values[rows])
        np.testing.assert_array_equal(volatility, whole.volatility[rows])
        next_bar[chosen] += 1
