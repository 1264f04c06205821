"""A market: what is computed for the rows asked for is what is computed for all of them, bit for bit."""

import numpy as np
import pandas as pd
import pytest

from lem_models.features import market as market_module
from lem_models.features.causal import FEATURES, SUPPORT, compute_features
from lem_models.features.market import CACHED_BARS, Market
from lem_models.markets.bars import Bars
from lem_models.markets.origins import stretch_starts
from lem_models.markets.parts import reaching_back
from lem_models.markets.synthetic import synthetic_bars
from tests.helpers import hourly


def _with_holes(bars, seed=0):
    rng = np.random.default_rng(seed)
    frame = bars.frame[rng.random(len(bars)) > 0.01].reset_index(drop=True)
    frame.loc[rng.random(len(frame)) < 0.02, ["volume", "notional"]] = 0.0
    return Bars.from_frame(frame, calendar=bars.calendar.name, frequency=bars.frequency)


MARKETS = {
    "hours": synthetic_bars(symbols=3, days=25),
    "hours with gaps and halts": _with_holes(synthetic_bars(symbols=3, days=25)),
    "half hours with sessions": _with_holes(
        synthetic_bars(symbols=3, days=30, frequency="30min", session=("14:30", "21:00"))
    ),
    "days": _with_holes(synthetic_bars(symbols=3, days=300, frequency="1D")),
    "minutes": _with_holes(synthetic_bars(symbols=2, days=2, frequency="1min")),
    "short symbols": synthetic_bars(symbols=40, days=1.5),
    # Of 127 slots in a session the profile reaches exactly as far back as the features may.
    "sessions as long as the support": synthetic_bars(symbols=2, days=5, frequency="3min", session=("14:00", "20:21")),
}
markets = pytest.mark.parametrize("bars", MARKETS.values(), ids=MARKETS)


def same_bits(one, other):
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    return one.tobytes() == other.tobytes()


def both(bars):
    return Market(bars, cache=True), Market(bars, cache=False)


@markets
@pytest.mark.parametrize("length", [1, 30, 2 * SUPPORT])
def test_features_of_windows_are_those_of_the_whole_market(bars, length):
    rng = np.random.default_rng(length)
    size = len(bars)
    # Anywhere, over the ends of symbols, and beyond the ends of the table.
    some = np.concatenate(
        [rng.integers(-length, size, 40), bars.offsets[:-1], bars.offsets[1:] - 2, [-length, size - 1]]
    )
    kept, fresh = both(bars)
    whole = compute_features(bars).values
    # All together, where the stretches that they reach overlap, and one by one, where each stands alone.
    for first in (some, *some[:, None]):
        windows = fresh.feature_windows(first, length)
        assert same_bits(kept.feature_windows(first, length), windows)
        assert same_bits(whole[np.clip(first[:, None] + np.arange(length), 0, size - 1)], windows)


@markets
def test_volatilities_and_windows_of_orders_are_those_of_the_whole_market(bars):
    rng = np.random.default_rng(1)
    some = np.setdiff1d(np.concatenate([rng.integers(1, len(bars), 60), bars.offsets[:-1] + 1]), bars.offsets)
    kept, fresh = both(bars)
    for start in (some, *some[:, None]):
        maximum = rng.integers(1, 13, len(start))
        assert same_bits(kept.volatility_at(start), fresh.volatility_at(start))
        assert same_bits(kept.features.volatility[start], fresh.volatility_at(start))
        for sessions in (0, 1, 20, 60):
            one, other = (market.over_orders(start, maximum, 12, sessions) for market in (kept, fresh))
            assert one.keys() == other.keys()
            for name in one:
                assert same_bits(one[name], other[name]), name
    grid = some[: len(some) // 4 * 4].reshape(4, -1)
    assert same_bits(kept.volatility_at(grid), fresh.volatility_at(grid))


@markets
def test_stretches_are_computed_as_symbols_of_their_own(bars):
    whole = compute_features(bars)
    first = np.array([int(bars.offsets[1]) - 20, 3, len(bars) - 1])
    parts = reaching_back(bars, first, first + 1, SUPPORT - 1)
    computed = compute_features(parts)
    assert same_bits(computed.values[parts.find(first)], whole.values[first])
    assert same_bits(computed.volatility[parts.find(first)], whole.volatility[first])


def test_a_market_longer_than_one_piece_is_computed_without_a_seam():
    bars = synthetic_bars(symbols=2, days=16, frequency="1min")
    assert len(bars) > 1 << 15
    whole = compute_features(bars).values
    one = compute_features(bars.select(bars.symbols[1])).values
    assert same_bits(whole[bars.offsets[1] :], one)
    first = np.array([(1 << 15) - 5, (1 << 15) - 1, 1 << 15])
    assert same_bits(Market(bars, cache=False).feature_windows(first, 10), whole[first[:, None] + np.arange(10)])


def test_nothing_asked_for_gives_nothing():
    for market in both(hourly()):
        assert market.feature_windows(np.zeros(0, dtype=np.int64), 5).shape == (0, 5, len(FEATURES))
        assert market.volatility_at(np.zeros((0, 3), dtype=np.int64)).shape == (0, 3)


def test_a_large_market_computes_nothing_for_all_its_bars(monkeypatch):
    bars = synthetic_bars(symbols=2, days=16)
    assert Market(bars).is_cached
    monkeypatch.setattr(market_module, "CACHED_BARS", len(bars) - 1)
    market = Market(bars)
    assert not market.is_cached
    starts = stretch_starts(bars, length=50, support=SUPPORT)
    first = starts.take([0, 7])
    market.feature_windows(first, 50)
    market.over_orders(first, np.array([12, 12]), 12)
    market.block_starts_at(16, first)
    assert set(vars(market)) == {"bars", "cache"}
    columns = {"vwap", "symbol_index", "ordinal", "session", "slot", "gapless_start", "gapless_end", "session_end"}
    assert not columns & set(vars(bars))
    assert CACHED_BARS >= 1_000_000


def test_a_small_market_computes_once():
    market = Market(hourly())
    market.feature_windows([0], 3)
    assert market.features is market.features
    assert same_bits(market.feature_windows([0], 3)[0], market.features.values[:3])


@markets
@pytest.mark.parametrize("block", [1, 16, 64])
def test_blocks_of_rows_are_those_of_all_bars(bars, block):
    market = Market(bars)
    number = bars.timestamp // bars.frequency.value // block
    new = np.ones(len(bars), dtype=bool)
    new[1:] = (np.diff(number) != 0) | (np.diff(bars.gapless_start) != 0)
    expected = np.maximum.accumulate(np.where(new, np.arange(len(bars)), 0))
    rows = np.random.default_rng(0).integers(0, len(bars), (5, 40))
    np.testing.assert_array_equal(market.block_starts_at(block, rows), expected[rows])


def test_blocks_of_daily_bars_stamped_at_midnight_in_london_hold_no_more_than_they_may():
    days = pd.date_range("2024-03-01", periods=60, freq="D", tz="Europe/London").tz_convert("UTC")
    table = {"timestamp": days, "symbol": "VOD", "volume": 1.0, "notional": 2.0}
    bars = Bars.from_frame(pd.DataFrame({**table, "open": 2.0, "high": 2.0, "low": 2.0, "close": 2.0}), calendar="24/7")
    starts = Market(bars).block_starts_at(8, np.arange(len(bars)))
    assert np.bincount(starts).max() == 8
