"""Diebold and Mariano on orders that overlap, against a direct formula and against chance; Holm's correction."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lem_models.errors import ConfigError
from lem_models.statistics.accuracy_tests import diebold_mariano, holm


def direct(difference, start, end):
    """The statistic and its p-value, sum by sum."""
    times = sorted(set(start))
    sums = np.array([difference[start == t].sum() for t in times])
    counts = np.array([(start == t).sum() for t in times])
    mean = sums.sum() / counts.sum()
    z = sums - mean * counts
    overlap = max(sum(1 for t in times if s <= t < e) for s, e in zip(start, end, strict=True))
    lags = max(2 * overlap, round(1.3 * len(times) ** 0.5))
    variance = (z * z).sum()
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (z[lag:] * z[:-lag]).sum()
    variance *= len(times) / (len(times) - 1)
    statistic = mean / (np.sqrt(variance) / counts.sum())
    freedom = 1.5 * len(times) / (lags + 1)
    return statistic, 2 * stats.t.cdf(-abs(statistic), freedom), lags


def overlapping(generator, starts, span, assets=4):
    """Differences of orders at every time and asset, of mean 0, that live on the moves of the next ``span`` times."""
    common = np.convolve(generator.normal(size=starts + span - 1), np.ones(span), mode="valid")
    start = np.repeat(np.arange(starts), assets)
    return np.repeat(common, assets) + generator.normal(size=starts * assets), start, start + span


@pytest.mark.parametrize("span", [1, 3, 12])
def test_it_is_the_direct_formula(span):
    generator = np.random.default_rng(span)
    difference, start, end = overlapping(generator, 150, span)
    kept = generator.random(len(start)) < 0.4 + 0.5 * (start % 2)  # starts of different weight
    found = diebold_mariano(difference[kept] + 0.3, start[kept], end[kept])
    assert tuple(found) == pytest.approx(direct(difference[kept] + 0.3, start[kept], end[kept]), rel=1e-9)


def test_lags_reach_over_twice_the_longest_order():
    difference, start, end = overlapping(np.random.default_rng(0), 400, 30)
    assert diebold_mariano(difference, start, end).lags == 60
    assert diebold_mariano(difference, start, start + 1).lags == 26  # 1.3 sqrt(400)
    assert diebold_mariano(difference[:40], start[:40], end[:40]).lags == 5  # ten starts: no more than half of them


def test_chance_alone_is_called_significant_about_as_often_as_it_says():
    """Orders of twelve periods that start in every one of them: an order-by-order test is wrong most of the time."""
    generator = np.random.default_rng(1)
    false, naive = 0, 0
    for _ in range(300):
        difference, start, end = overlapping(generator, 400, 12, assets=3)
        false += diebold_mariano(difference, start, end).p_value < 0.05
        naive += stats.ttest_1samp(difference, 0.0).pvalue < 0.05
    assert 0.02 <= false / 300 <= 0.11
    assert naive / 300 > 0.5


def test_a_difference_is_found_and_has_a_sign():
    difference, start, end = overlapping(np.random.default_rng(2), 400, 4)
    better, worse = diebold_mariano(difference + 1.5, start, end), diebold_mariano(-difference - 1.5, start, end)
    assert better.statistic > 4
    assert better.p_value < 1e-3
    assert worse == pytest.approx((-better.statistic, better.p_value, better.lags))


def test_times_may_be_dates_and_unpriced_orders_are_left_out():
    difference, start, end = overlapping(np.random.default_rng(3), 100, 3)
    holes = np.where(np.arange(len(start)) % 7 == 0, np.nan, difference)
    known = np.isfinite(holes)
    hours = pd.Timestamp("2024-01-01").to_datetime64() + np.array([start, end]) * np.timedelta64(1, "h")
    assert diebold_mariano(holes, *hours) == diebold_mariano(difference[known], start[known], end[known])


@pytest.mark.parametrize(
    "difference", [np.zeros(20), np.full(20, 3.0), 3.0 + 1e-14 * np.arange(20), np.full(20, np.nan)]
)
def test_differences_that_do_not_vary_have_no_test(difference):
    found = diebold_mariano(difference, np.arange(20), np.arange(1, 21))
    assert np.isnan(found[:2]).all()


def test_one_start_has_no_test_and_two_are_no_error():
    assert np.isnan(diebold_mariano([1.0, 2.0], [0, 0], [3, 3]).p_value)
    assert 0.0 < diebold_mariano([1.0, 2.0], [0, 1], [3, 4]).p_value <= 1.0


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ConfigError, match="are \\[orders\\]"):
        diebold_mariano([1.0, 2.0], [0], [1])


def test_holm_is_that_of_statsmodels():
    p_values = np.random.default_rng(0).uniform(size=40) ** 4
    p_values[:4] = p_values[4:8]  # ties
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-15)


def test_holm_by_hand():
    """Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5; each at least the one before; what is no test does not count."""
    assert holm([0.02, np.nan, 0.5, 0.01, 0.03]) == pytest.approx([0.06, np.nan, 0.5, 0.04, 0.06], nan_ok=True)
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
