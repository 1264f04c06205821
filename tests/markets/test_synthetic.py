"""Simulated bars: valid, reproducible, and with the laws they claim."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lem_models.errors import ConfigError
from lem_models.markets.bars import Bars
from lem_models.markets.synthetic import SyntheticMarket, synthetic_bars


def by_symbol(bars, values):
    """Flat values as [symbols, bars]."""
    return values.reshape(len(bars.symbols), -1)


def log_returns(bars):
    return np.diff(by_symbol(bars, np.log(bars.close)), axis=1)


def correlation(x, y):
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


@settings(max_examples=25)
@given(
    symbols=st.integers(1, 3),
    days=st.floats(3.0, 6.0),
    frequency=st.sampled_from(["5min", "1h", "90min", "4h"]),
    seed=st.integers(0, 2**32),
    volatility=st.floats(0.0, 0.2),
    tail_degrees=st.none() | st.floats(2.1, 30.0),
    volume_noise=st.floats(0.0, 2.0),
    market_correlation=st.floats(0.0, 1.0),
    intrabar_steps=st.integers(1, 20),
    martingale=st.booleans(),
    price_process=st.sampled_from(["path", "bar"]),
    session=st.none() | st.just(("14:30", "21:00")),
)
def test_simulated_bars_are_valid_bars(**fields):
    bars = synthetic_bars(start="2024-01-01", **fields)
    assert isinstance(bars, Bars)
    assert bars.gaps.empty
    assert bars.is_session_bound == (fields["session"] is not None)
    assert np.all((bars.vwap >= bars.low * (1 - 1e-12)) & (bars.vwap <= bars.high * (1 + 1e-12)))
    assert np.all(bars.volume > 0)
    np.testing.assert_array_equal(by_symbol(bars, bars.open)[:, 1:], by_symbol(bars, bars.close)[:, :-1])


def test_equal_settings_give_equal_bars():
    market = SyntheticMarket(symbols=3, days=5, seed=7)
    assert market.bars().content_hash == SyntheticMarket(symbols=3, days=5, seed=7).bars().content_hash
    assert market.bars().content_hash != SyntheticMarket(symbols=3, days=5, seed=8).bars().content_hash


def test_the_generator_of_numpy_at_large_is_not_used():
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (it is what must stay untouched)
    synthetic_bars(days=2)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.parametrize("price_process", ["path", "bar"])
def test_more_symbols_leave_the_first_ones_as_they_are(price_process):
    few = synthetic_bars(symbols=2, days=5, price_process=price_process)
    many = synthetic_bars(symbols=5, days=5, price_process=price_process)
    assert many.select(few.symbols).content_hash == few.content_hash


def test_names_period_and_frequency():
    bars = synthetic_bars(symbols=("BTCUSDT", "ETHUSDT"), days=2.5, frequency="30min", start="2023-06-01")
    assert bars.symbols == ("BTCUSDT", "ETHUSDT")
    assert len(bars) == 2 * 120
    assert bars.frame["timestamp"].min() == pd.Timestamp("2023-06-01", tz="UTC")
    assert bars.calendar.name == "24/7"
    assert synthetic_bars(symbols=2, days=365).offsets[1] == 365 * 24


def test_a_market_with_sessions():
    bars = synthetic_bars(symbols=1, days=14, frequency="5min", session=("14:30", "21:00"))
    assert (bars.slots_per_session, bars.is_session_bound) == (78, True)
    assert len(bars) == 10 * 78
    assert set(bars.frame["timestamp"].dt.day_of_week) == {0, 1, 2, 3, 4}
    by_slot = np.log(bars.volume).reshape(10, 78).mean(axis=0)
    assert by_slot[[0, -1]].mean() > by_slot[35:43].mean()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbols", 0),
        ("symbols", ("A", "A")),
        ("days", 0.01),
        ("days", -1.0),
        ("frequency", "often"),
        ("frequency", "2D"),
        ("tail_degrees", 2.0),
        ("volatility", -0.1),
        ("volatility_persistence", 1.0),
        ("session", ("21:00", "14:30")),
        ("colour", "red"),
    ],
)
def test_settings_that_make_no_market_are_refused(field, value):
    with pytest.raises(ConfigError, match=r"^synthetic market refused: "):
        SyntheticMarket(**{field: value})


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        SyntheticMarket().seed = 3


# Laws


def test_the_default_market_has_the_facts_of_a_market():
    bars = synthetic_bars(symbols=20, days=200, seed=1)
    returns = log_returns(bars)
    assert np.sqrt(np.mean(returns**2)) == pytest.approx(0.0075, rel=0.1)
    kurtosis = np.mean(returns**4) / np.mean(returns**2) ** 2
    assert kurtosis > 5
    assert correlation(np.abs(returns[:, 1:]), np.abs(returns[:, :-1])) > 0.05
    assert abs(correlation(returns[:, 1:], returns[:, :-1])) < 0.02
    log_volume = by_symbol(bars, np.log(bars.volume))
    assert correlation(log_volume[:, 1:], log_volume[:, :-1]) > 0.5
    assert correlation(log_volume[:, 1:], np.abs(returns)) > 0.1
    by_hour = log_volume.reshape(20, -1, 24).mean(axis=(0, 1))
    assert np.ptp(by_hour) > 0.5
    between_symbols = np.corrcoef(returns)[np.triu_indices(20, 1)]
    assert 0.15 < between_symbols.mean() < 0.35


def test_clustering_tails_seasons_and_links_can_be_switched_off():
    bars = synthetic_bars(
        symbols=20,
        days=200,
        volatility_clustering=0.0,
        tail_degrees=None,
        volume_seasonality=0.0,
        volume_persistence=0.0,
        market_correlation=0.0,
    )
    returns = log_returns(bars)
    assert returns.std() == pytest.approx(0.0075, rel=0.02)
    assert np.mean(returns**4) / np.mean(returns**2) ** 2 == pytest.approx(3.0, abs=0.1)
    assert abs(correlation(np.abs(returns[:, 1:]), np.abs(returns[:, :-1]))) < 0.02
    log_volume = by_symbol(bars, np.log(bars.volume))
    assert log_volume.std() == pytest.approx(0.6, rel=0.02)
    assert abs(correlation(log_volume[:, 1:], log_volume[:, :-1])) < 0.02
    assert abs(np.corrcoef(returns)[np.triu_indices(20, 1)].mean()) < 0.02


@pytest.mark.parametrize("price_process", ["path", "bar"])
def test_a_martingale_cannot_be_forecast(price_process):
    bars = synthetic_bars(
        symbols=40, days=200, volatility=0.01, market_correlation=0.0, martingale=True, price_process=price_process
    )
    returns = log_returns(bars)
    error = 0.01 / np.sqrt(returns.size)
    simple = np.expm1(returns)
    assert abs(simple.mean()) < 4 * error
    assert returns.std() == pytest.approx(0.01, rel=0.01)
    assert np.mean(returns**4) / np.mean(returns**2) ** 2 == pytest.approx(3.0, abs=0.1)
    log_volume = by_symbol(bars, np.log(bars.volume))
    for known in (returns[:, :-1], returns[:, :-1] ** 2, log_volume[:, 1:-1]):
        assert abs(correlation(returns[:, 1:], known)) < 4 / np.sqrt(returns.size)
        assert abs(correlation(np.abs(returns[:, 1:]), known)) < 4 / np.sqrt(returns.size)


def test_the_price_of_a_martingale_expects_to_stay():
    bars = synthetic_bars(
        symbols=400, days=10, volatility=0.02, market_correlation=0.0, martingale=True, price=50.0, intrabar_steps=3
    )
    growth = by_symbol(bars, bars.close)[:, -1] / 50.0
    assert abs(growth.mean() - 1.0) < 4 * growth.std() / np.sqrt(400)
    assert growth.std() > 0.2


def test_averages_over_bars_of_a_walk_are_correlated_by_themselves():
    # Working (1960): +1/4 for plain averages of a continuous walk; trades are few and their sizes unequal here.
    bars = synthetic_bars(symbols=20, days=200, martingale=True, intrabar_steps=50, market_correlation=0.0)
    returns = np.diff(by_symbol(bars, np.log(bars.vwap)), axis=1)
    assert correlation(returns[:, 1:], returns[:, :-1]) == pytest.approx(0.25, abs=0.03)


def test_bars_as_the_martingale():
    bars = synthetic_bars(symbols=30, days=200, volatility=0.01, market_correlation=0.0, price_process="bar")
    np.testing.assert_allclose(bars.close, bars.vwap, rtol=1e-14)
    returns = np.diff(by_symbol(bars, np.log(bars.vwap)), axis=1)
    assert returns.std() == pytest.approx(0.01, rel=0.01)
    assert abs(correlation(returns[:, 1:], returns[:, :-1])) < 0.01
    log_volume = by_symbol(bars, np.log(bars.volume))
    assert log_volume.std() == pytest.approx(0.6, rel=0.01)
    assert abs(correlation(log_volume[:, 1:], log_volume[:, :-1])) < 0.01
