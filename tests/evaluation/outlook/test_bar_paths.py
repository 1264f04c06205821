"""Simulated bars: bands cover what comes, nothing of the future is read, bars are bars."""

import numpy as np
import pandas as pd
import pytest

from lem_models import Bars, synthetic_bars
from lem_models.errors import BarsError, ConfigError
from lem_models.evaluation.outlook.bar_paths import simulate_bars


def until(bars, row):
    return bars.between(end=pd.Timestamp(int(bars.timestamp[row]), tz="UTC"))


def test_bands_cover_what_comes():
    # 80 % bands over 12 hours on a market with volatility that comes and goes; 150 origins, none overlapping.
    bars = synthetic_bars(symbols=1, days=200, seed=2)
    price, volume, rank = [], [], []
    for origin in range(150):
        row = len(bars) - 13 * (origin + 1)
        paths = simulate_bars(until(bars, row), 12, paths=100, seed=origin)
        ends, sums = paths.close[:, -1], paths.volume.sum(1)
        for inside, simulated, value in (
            (price, ends, bars.close[row + 11]),
            (volume, sums, bars.volume[row : row + 12].sum()),
        ):
            low, high = np.quantile(simulated, [0.1, 0.9])
            inside.append(low <= value <= high)
        rank.append((ends < bars.close[row + 11]).mean())
    assert 0.7 <= np.mean(price) <= 0.9  # 0.8 within three standard errors
    assert 0.7 <= np.mean(volume) <= 0.9
    assert 0.42 <= np.mean(rank) <= 0.58  # no drift


def test_paths_are_bars_at_the_coming_times():
    bars = synthetic_bars(symbols=1, days=60, seed=3)
    paths = simulate_bars(bars, 40, paths=30)
    step = int(bars.frequency.value)
    assert paths.timestamp.tolist() == [int(bars.timestamp[-1]) + step * (each + 1) for each in range(40)]
    slack = 1 + 1e-9
    assert (paths.low <= paths.high * slack).all()
    for name in ("open", "close", "vwap"):
        values = getattr(paths, name)
        assert (paths.low <= values * slack).all(), name
        assert (values <= paths.high * slack).all(), name
    assert (paths.volume >= 0).all()


def test_equal_seeds_give_equal_paths_and_later_bars_play_no_part():
    bars = synthetic_bars(symbols=1, days=60, seed=4)
    row = len(bars) - 30
    frame = bars.frame
    later = frame["timestamp"] >= frame["timestamp"].iloc[row]
    frame.loc[later, ["open", "high", "low", "close", "notional"]] *= 3.0
    first = simulate_bars(until(bars, row), 6, paths=20, seed=7)
    second = simulate_bars(until(Bars.from_frame(frame), row), 6, paths=20, seed=7)
    assert np.array_equal(first.close, second.close)
    assert not np.array_equal(first.close, simulate_bars(until(bars, row), 6, paths=20, seed=8).close)


def test_volumes_follow_the_time_of_the_day():
    frame = synthetic_bars(symbols=1, days=60, seed=5).frame
    busy = frame["timestamp"].dt.hour == 14
    frame.loc[busy, ["volume", "notional"]] *= 20
    bars = Bars.from_frame(frame)
    paths = simulate_bars(bars, 24, paths=100)
    hours = pd.to_datetime(paths.timestamp, unit="ns", utc=True).hour
    usual = np.median(paths.volume, axis=0)
    assert usual[hours == 14][0] > 5 * np.median(usual[hours != 14])


def test_daily_bars_and_a_short_history_work():
    frame = synthetic_bars(symbols=1, days=600, frequency="1D", seed=4).frame
    frame = frame[frame["timestamp"].dt.day_of_week < 5].reset_index(drop=True)
    paths = simulate_bars(Bars.from_frame(frame, calendar="sessions"), 12, paths=10)
    assert paths.close.shape == (10, 12)
    assert simulate_bars(synthetic_bars(symbols=1, days=5, seed=1), 3, paths=10).blocks >= 10


def test_refusals():
    with pytest.raises(BarsError, match="too few to simulate"):
        simulate_bars(synthetic_bars(symbols=1, days=2.5, seed=1), 12)
    with pytest.raises(ConfigError, match="one symbol"):
        simulate_bars(synthetic_bars(symbols=2, days=5, seed=1), 12)
    with pytest.raises(ConfigError, match="at least 1"):
        simulate_bars(synthetic_bars(symbols=1, days=5, seed=1), 0)
