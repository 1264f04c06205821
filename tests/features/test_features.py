"""Features: one causal pipeline for a whole market and for one new bar, free of units."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.features.causal import FEATURES, SIGNED, SUPPORT, bar_volatility, compute_features
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.features.profile import VolumeProfile, profile_days, slot_profile
from lem_models.markets.bars import Bars
from lem_models.markets.synthetic import synthetic_bars
from tests.helpers import flat_bars, hourly, perturbed, rebuilt, reflected, scaled, sessions

BARS = hourly(symbols=1)
MARKETS = {
    "hourly": BARS,
    "sessions": sessions(),
    "half hours with sessions": sessions(days=40, frequency="30min"),
    "daily": synthetic_bars(symbols=1, days=300, frequency="1D"),
    "5 minutes round the clock": synthetic_bars(symbols=1, days=4, frequency="5min"),
}
markets = pytest.mark.parametrize("bars", MARKETS.values(), ids=MARKETS)


@markets
def test_features_are_bounded_numbers(bars):
    features = compute_features(bars)
    assert features.values.shape == (len(bars), len(FEATURES))
    assert features.values.dtype == np.float32
    assert np.isfinite(features.values).all()
    assert (np.abs(features.values) <= 6.0).all()
    assert (features.volatility > 0).all()


@markets
def test_a_row_depends_on_its_support_only(bars):
    row = len(bars) - 2
    # Cut like this, the bars keep their places in the sessions.
    cut = bars.between(start=pd.Timestamp(int(bars.timestamp[row - SUPPORT + 1]), tz="UTC"))
    full, alone = compute_features(bars), compute_features(cut)
    np.testing.assert_allclose(alone.values[-2], full.values[row], atol=1e-6)
    assert alone.volatility[-2] == pytest.approx(full.volatility[row], rel=1e-12)


@pytest.mark.parametrize("units", [{"prices": 1000.0}, {"volumes": 1000.0}, {"prices": 1e-4, "volumes": 1e-4}], ids=str)
@markets
def test_units_drop_out(bars, units):
    one, other = compute_features(bars), compute_features(scaled(bars, **units))
    np.testing.assert_allclose(one.values, other.values, atol=1e-5)
    np.testing.assert_allclose(one.volatility, other.volatility, rtol=1e-9)


def test_a_reflection_in_log_price_turns_the_signed_features_and_no_other():
    one, other = compute_features(BARS).values, compute_features(reflected(BARS)).values
    for column, name in enumerate(FEATURES):
        expected = -one[:, column] if SIGNED[name] else one[:, column]
        # The place in the bar's range is linear in price: right to the width of the bar.
        tolerance = 0.06 if name.endswith("in_range") else 1e-4
        np.testing.assert_allclose(other[:, column], expected, atol=tolerance, err_msg=name)


def test_constant_prices_and_no_volume_are_finite():
    bars = flat_bars([5.0] * 200, np.r_[np.ones(20), np.zeros(180)])
    features = compute_features(bars)
    assert np.isfinite(features.values).all()
    assert features.values[-1, FEATURES.index("return_close")] == 0.0


def test_signs_and_sizes_by_hand():
    prices = [100.0] * 150 + [101.0]
    features = compute_features(flat_bars(prices))
    values = dict(zip(FEATURES, features.values[-1].astype(float), strict=True))
    move = np.log(1.01) / features.volatility[-1]
    assert move > 6
    assert values["return_vwap"] == values["return_close"] == 6.0  # clipped
    assert values["momentum_4"] == pytest.approx(move / 2, rel=1e-5)
    assert values["momentum_24"] == pytest.approx(move / np.sqrt(24), rel=1e-5)
    assert values["volume_to_level"] == pytest.approx(np.log(1.02))
    assert values["volume_to_profile"] == pytest.approx(0.0, abs=1e-6)


def test_calendar_features_come_round():
    values = compute_features(BARS).values
    for name, period in (("time_sin", 24), ("time_cos", 24), ("week_sin", 168), ("week_cos", 168)):
        column = values[:, FEATURES.index(name)]
        np.testing.assert_allclose(column[period:], column[:-period], atol=1e-6)
        assert np.ptp(column) == pytest.approx(2.0, abs=0.02)


# --- volatility ------------------------------------------------------------------------------------------------------


def test_bar_volatility_by_the_formula():
    vwap = BARS.vwap
    returns = np.diff(np.log(vwap), prepend=np.log(vwap[0]))
    weights = 0.5 ** (np.arange(120) / 32.0)
    for row in (150, 300, 383):
        window = returns[row - 119 : row + 1][::-1]
        assert bar_volatility(vwap)[row] == pytest.approx(np.sqrt((weights * window**2).sum() / weights.sum()))


def test_bar_volatility_is_that_of_the_market():
    bars = synthetic_bars(symbols=1, days=200, volatility=0.01, martingale=True, price_process="bar")
    assert np.median(bar_volatility(bars.vwap)[200:]) == pytest.approx(0.01, rel=0.05)


def test_the_market_s_volatility_does_not_depend_on_what_was_asked_first():
    bars = hourly()
    early, late = Market(bars), Market(bars)
    late.features  # noqa: B018 (computes and keeps them)
    np.testing.assert_array_equal(early.volatility, late.volatility)


# --- the volume profile ----------------------------------------------------------------------------------------------


def _mean_of_slot(bars, row, slot, days):
    """Mean volume of a slot over the days before a row's own, by hand."""
    day = int(bars.session[row])
    rows = [np.flatnonzero((bars.session == day - lag) & (bars.slot == slot)) for lag in range(1, days + 1)]
    return np.mean([bars.volume[r[0]] for r in rows if len(r)])


def test_the_profile_is_the_mean_of_the_same_slots():
    table, first = slot_profile(BARS, 5)
    for bar in (200, 300, 383):
        expected = _mean_of_slot(BARS, bar, int(BARS.slot[bar]), 5)
        row = np.searchsorted(first, bar, side="right") - 1
        assert table[row, BARS.slot[bar]] == pytest.approx(expected)


def test_expected_volume_by_hand():
    start, days = 24 * 10 + 20, 5
    expected = VolumeProfile.of(BARS, days).expected(np.array([start]), 8)[0]
    for period in range(8):
        # Over midnight: the slots of the new day that have passed before the start are known one day later.
        bar = start + period
        assert expected[period] == pytest.approx(_mean_of_slot(BARS, bar, int(BARS.slot[bar]), days))


def test_expected_volume_of_an_order_longer_than_a_day_repeats_what_is_known():
    start = 24 * 10 + 20
    expected = VolumeProfile.of(BARS, 5).expected(np.array([start]), 40)[0]
    bar = start + 26  # 22:00 of the next day: that of the start's own day is not known at 20:00
    assert expected[26] == pytest.approx(_mean_of_slot(BARS, start, int(BARS.slot[bar]), 5))


def test_nothing_known_is_an_even_pace():
    for start in (3, 20):
        expected = VolumeProfile.of(BARS, 5).expected(np.array([start]), 12)
        np.testing.assert_allclose(expected, BARS.volume[:start].mean(), rtol=1e-12)
    np.testing.assert_array_equal(VolumeProfile.of(BARS, 5).expected(np.array([0]), 12), 1.0)


@pytest.mark.parametrize("days", [1, 2, 5, 7, 8, 12])
def test_fewer_sessions_than_the_profile_averages(days):
    bars = synthetic_bars(symbols=1, days=days, seed=2)
    assert np.isfinite(VolumeProfile.of(bars, 9).expected(np.array([5]), 12)).all()
    assert np.isfinite(compute_features(bars).values).all()


def test_profiles_fit_into_the_lookback():
    assert profile_days(24, MAX_LOOKBACK) == 9
    assert profile_days(78, MAX_LOOKBACK) == 2
    assert profile_days(1, MAX_LOOKBACK) == 20
    assert profile_days(288, MAX_LOOKBACK) == 0


@markets
def test_what_is_known_at_the_start_depends_on_256_bars(bars):
    start = len(bars) - 20
    moved = perturbed(bars, np.arange(start - MAX_LOOKBACK), seed=4)
    horizon = np.array([12])
    before, after = (Market(market).over_orders(np.array([start]), horizon, 12) for market in (bars, moved))
    for name in ("expected_volume", "arrival_price", "volume_unit"):
        np.testing.assert_allclose(before[name], after[name], rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(before["volatility"], after["volatility"], rtol=1e-12)


def test_over_orders_by_hand():
    bars = flat_bars([10.0, 20.0, 30.0, 60.0], [1.0, 2.0, 4.0, 6.0])
    arrays = Market(bars).over_orders(np.array([1]), np.array([2]), 3)
    assert arrays["arrival_price"].tolist() == [10.0]
    assert arrays["price"].tolist() == [[2.0, 3.0, 6.0]]
    assert arrays["volume"].tolist() == [[2.0, 4.0, 0.0]]  # the third period is after the order's maximum
    assert arrays["expected_volume"].tolist() == [[1.0, 1.0, 0.0]]
    assert arrays["volume_unit"].tolist() == [1.0]


@pytest.mark.parametrize("block", [1, 16, 64])
def test_blocks_are_cut_at_fixed_times(block):
    bars = sessions()
    starts = Market(bars).block_starts_at(block, np.arange(len(bars)))
    rows = np.arange(len(bars))
    assert (starts <= rows).all()
    assert (rows - starts < block).all()
    cut = 78 * 2 + 11
    rest = rebuilt(bars, bars.frame.iloc[cut:])
    later = Market(rest).block_starts_at(block, np.arange(len(rest)))
    np.testing.assert_array_equal(later[block:] + cut, starts[cut + block :])


# --- a history that begins inside a session --------------------------------------------------------------------------

SESSIONS = synthetic_bars(symbols=2, days=40, frequency="30min", session=("14:30", "21:00"), seed=8)


def cut_at(bars, rows, **how):
    """The table without its first rows of each symbol."""
    frame = bars.frame
    kept = frame.groupby("symbol", sort=False).cumcount() >= rows
    return Bars.from_frame(frame[kept.to_numpy()], **how)


@settings(max_examples=12, deadline=None)
@given(rows=st.integers(1, 12), sessions=st.sampled_from([None, 1, 5, 20]))
def test_a_first_session_that_lacks_its_opening_is_in_no_profile(rows, sessions):
    """Slots would count from the cut; nothing of it may reach a later session."""
    cut = cut_at(SESSIONS, rows)
    assert cut.calendar.name == "sessions"
    whole, some = (VolumeProfile.of(bars, sessions) for bars in (SESSIONS, cut))
    start = np.concatenate([np.arange(low + 13, high) for low, high in pairwise(SESSIONS.offsets)])
    moved = start - rows * (1 + SESSIONS.grid.symbol(start))
    np.testing.assert_array_equal(cut.timestamp[moved], SESSIONS.timestamp[start])
    later = start[SESSIONS.session[start] > 1]
    np.testing.assert_array_equal(whole.at(later), some.at(moved[SESSIONS.session[start] > 1]))
    np.testing.assert_array_equal(whole.expected(later, 6), some.expected(moved[SESSIONS.session[start] > 1], 6))


@pytest.mark.parametrize("rows", [1, 5, 12])
def test_the_volumes_of_a_first_session_move_no_profile(rows):
    cut = cut_at(SESSIONS, rows)
    moved = perturbed(cut, np.flatnonzero(cut.session == 0), seed=2)
    later = np.flatnonzero(cut.session > 0)
    before, after = (VolumeProfile.of(bars, 20) for bars in (cut, moved))
    np.testing.assert_array_equal(before.at(later), after.at(later))
    # In the second session nothing is known of its slots, in the third those of the second.
    assert np.isnan(before.at(np.flatnonzero(cut.session == 1))).all()
    assert np.isfinite(before.at(np.flatnonzero(cut.session == 2))).all()


def test_hours_that_are_known_leave_no_session_out():
    """The slots of a named exchange, or of UTC days, are right wherever the history begins."""
    between_holidays = SESSIONS.select(SESSIONS.symbols[:1]).between(start="2024-01-16", end="2024-02-16")
    named = cut_at(between_holidays, 5, calendar="XNYS")
    days = cut_at(synthetic_bars(symbols=1, days=6, seed=3), 5)
    for bars, length in ((named, 13), (days, 24)):
        last = length - 5 - 1  # of the first session
        assert bars.slot[last] == length - 1
        assert VolumeProfile.of(bars, 5).at(np.array([last + length])) == pytest.approx(bars.volume[last])
