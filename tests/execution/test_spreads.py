"""Half-spreads from high, low and close: by hand, in a market with a known spread, and on real bars."""

import numpy as np
import pandas as pd
import pytest

from lem_models import Bars
from lem_models.errors import BarsError, UnknownNameError
from lem_models.execution.costs import SPREAD_ESTIMATORS, half_spreads_bps
from lem_models.execution.costs.spreads import abdi_ranaldo, corwin_schultz


def _market(spread, *, bars=4000, volatility=0.01, trades=390, seed=0, start="2024-01-01", frequency="h"):
    """Bars of trades at bid or ask around an efficient price that is a random walk."""
    generator = np.random.default_rng(seed)
    log_price = np.cumsum(volatility / np.sqrt(trades) * generator.standard_normal(bars * trades))
    sign = generator.choice([-1.0, 1.0], bars * trades)
    trade = (100 * np.exp(log_price) * (1 + sign * spread / 2)).reshape(bars, trades)
    frame = pd.DataFrame({"timestamp": pd.date_range(start, periods=bars, freq=frequency, tz="UTC"), "symbol": "X"})
    frame = frame.assign(open=trade[:, 0], high=trade.max(1), low=trade.min(1), close=trade[:, -1], volume=1.0)
    return frame.assign(notional=trade.mean(1))


def _bars(frame):
    return Bars.from_frame(frame, calendar="24/7", frequency="1h")


@pytest.mark.parametrize(("method", "tolerance"), [("abdi_ranaldo", 0.1), ("corwin_schultz", 0.25)])
@pytest.mark.parametrize("spread", [0.01, 0.03])
def test_a_known_spread_is_found(method, tolerance, spread):
    found = half_spreads_bps(_bars(_market(spread)), method)["X"]
    assert found == pytest.approx(1e4 * spread / 2, rel=tolerance)


@pytest.mark.parametrize("method", SPREAD_ESTIMATORS)
def test_a_wider_spread_is_a_larger_estimate_and_no_spread_a_small_one(method):
    found = [half_spreads_bps(_bars(_market(spread)), method)["X"] for spread in (0.0, 0.005, 0.02)]
    assert found == sorted(found)
    assert found[0] < 30  # zeros for negative estimates leave a positive mean: a third of a bar's volatility
    assert found[2] > 80


def _of_two(first, second):
    """Equations (14) and (18) for two bars, each (low, high), without setting negative values to 0."""
    beta = np.log(first[1] / first[0]) ** 2 + np.log(second[1] / second[0]) ** 2
    gamma = np.log(max(first[1], second[1]) / min(first[0], second[0])) ** 2
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / (3 - 2 * np.sqrt(2)) - np.sqrt(gamma / (3 - 2 * np.sqrt(2)))
    return 2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))


def test_corwin_and_schultz_by_hand():
    """A plain pair, a pair with a gap, and a pair whose estimate is negative and counts as 0."""
    low, high = np.array([10.0, 10.01, 12.0, 14.0]), np.array([10.2, 10.21, 12.3, 14.1])
    close, month = np.array([10.1, 10.2, 12.3, 14.1]), np.zeros(4, dtype=np.int64)

    def estimate(*pairs):
        return corwin_schultz(high, low, close, np.isin(np.arange(3), pairs), month)

    plain = _of_two((10.0, 10.2), (10.01, 10.21))
    # From the close 10.2 up to the low 12.0 is a gap: the next bar moves down by it, in logs.
    gap = _of_two((10.01, 10.21), (10.2, 12.3 * 10.2 / 12.0))
    rising = _of_two((10.0, 10.1), (10.1, 10.2))
    assert plain > 0.01
    assert rising < 0
    assert estimate(0) == pytest.approx(plain)
    assert estimate(1) == pytest.approx(max(gap, 0))
    assert estimate(0, 1) == pytest.approx((plain + max(gap, 0)) / 2)
    trend = np.array([10.0, 10.1]), np.array([10.1, 10.2])
    assert corwin_schultz(trend[1], trend[0], trend[1], np.array([True]), month[:2]) == 0
    assert np.isnan(estimate())


def test_abdi_and_ranaldo_by_hand():
    """The root of each month's mean, and 0 for a month whose mean is negative."""
    middle, close = np.array([0.0, 0.0, 0.0, 0.0, 1.0]), np.array([0.01, -0.02, 0.0, 0.3, 0.0])
    high, low, month = np.exp(middle + 0.5), np.exp(middle - 0.5), np.array([0, 0, 0, 1, 1])
    pairs = np.array([True, True, False, True])
    january = np.sqrt(4 * (0.01**2 + 0.02**2) / 2)
    assert abdi_ranaldo(high, low, np.exp(close), pairs, month) == pytest.approx((january + 0.0) / 2)


@pytest.mark.filterwarnings("ignore:.*gaps exclude")
def test_pairs_over_a_gap_do_not_count():
    whole = _market(0.02, bars=400)
    holes = whole.drop(index=range(5, 400, 7)).reset_index(drop=True)
    row = int(np.flatnonzero(holes["timestamp"].diff() > pd.Timedelta("1h"))[20])
    jump = np.where(np.arange(len(holes)) >= row, 3.0, 1.0)
    columns = ["open", "high", "low", "close", "notional"]
    jumped = holes.assign(**{name: holes[name] * jump for name in columns})
    for method in SPREAD_ESTIMATORS:
        found, same = (half_spreads_bps(_bars(frame), method)["X"] for frame in (jumped, holes))
        assert found == pytest.approx(same)  # a jump in a gap is no spread


def test_only_bars_closed_by_then_are_read():
    frame = _market(0.02, bars=300)
    later = frame.assign(**{name: frame[name] * np.where(frame.index >= 200, 2.0, 1.0) for name in ("high",)})
    before = frame["timestamp"].iloc[200]
    for method in SPREAD_ESTIMATORS:
        found, same = (half_spreads_bps(_bars(f), method, before=before) for f in (frame, later))
        assert found == same
        assert half_spreads_bps(_bars(later), method) != half_spreads_bps(_bars(frame), method)


def test_too_few_bars_and_unknown_names_are_refused():
    with pytest.raises(BarsError, match=r"X has 9 pairs of neighbouring bars.*'pairs of bars'"):
        half_spreads_bps(_bars(_market(0.01, bars=10)), "abdi_ranaldo")
    with pytest.raises(UnknownNameError, match="corwin_schultz"):
        half_spreads_bps(_bars(_market(0.01, bars=30)), "corwin")


def test_on_real_bars_estimates_are_of_the_order_of_a_spread(shared_data):
    """Upper bounds: a few bps for five-minute bars of large US shares."""
    bars = Bars.read(shared_data / "equity_intraday_5min.parquet")
    found = pd.Series(half_spreads_bps(bars, "abdi_ranaldo"))
    assert 0 < found.median() < 3
    assert found["AAPL"] < found.median()
