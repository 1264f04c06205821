r"""Tests whether one policy is better than another: Diebold and Mariano on orders that overlap, and Holm's correction.

The differences of all orders that start at one time ``t``, across all assets, make one observation: their sum ``S_t``
of ``n_t`` orders. The mean difference ``d = sum_t S_t / sum_t n_t`` is tested against zero with

.. math::  DM = d \,/\, \mathrm{se}(d), \qquad y_t = d + (S_t - d \, n_t) / \bar n,

where ``se`` is the standard error, robust to heteroskedasticity and autocorrelation (HAC, Bartlett kernel), of the mean
of ``y``: that mean is ``d``, and starts with more orders weigh more. Orders that start before another has ended share
bars with it, so the errors are correlated over as many starts as one order lasts, ``h``. A Bartlett kernel cut off
there would see only two thirds of their variance: the lag is ``L = max(2 h, 1.3 sqrt(T))`` for ``T`` starts, and the
statistic is compared with Student's distribution of ``1.5 T / (L + 1)`` degrees of freedom, the kernel's equivalent
ones, because few independent observations give only a rough estimate of their variance.

Sources: Diebold and Mariano, "Comparing predictive accuracy", J. Bus. Econ. Stat. 13 (1995); Newey and West,
Econometrica 55 (1987); Lazarus, Lewis, Stock and Watson, "HAR inference: recommendations for practice", J. Bus. Econ.
Stat. 36 (2018) for lag and equivalent degrees of freedom; Holm, "A simple sequentially rejective multiple test
procedure", Scand. J. Statist. 6 (1979).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lem_models.errors import ConfigError

__all__ = ["MULTIPLE_TESTING_NOTE", "DieboldMariano", "diebold_mariano", "holm"]

MULTIPLE_TESTING_NOTE = (
    "p: two-sided test of Diebold and Mariano (1995) that the mean difference of the unit beside it is zero, on "
    "differences summed by start time over all assets, with autocorrelation over at least twice the longest order "
    "allowed for. Of 20 rows without any difference one is expected to have p below 0.05 by chance; p (Holm) is "
    "adjusted for all rows of the table: below 0.05, the chance that any such row is a false one is at most 5 %. "
    "Intervals are not adjusted."
)
"""Note below a table of differences."""


class DieboldMariano(NamedTuple):
    """Result of the test.

    Attributes:
        statistic: Mean difference in units of its standard error; NaN if the differences do not vary between starts,
            or with fewer than two starts.
        p_value: Two-sided; NaN with the statistic.
        lags: Number of autocovariances that the standard error takes in.
    """

    statistic: float
    p_value: float
    lags: int


def diebold_mariano(difference: ArrayLike, start: ArrayLike, end: ArrayLike) -> DieboldMariano:
    """Test that the mean difference of paired orders is zero.

    Args:
        difference: Improvement of one policy minus that of the other, order by order ``[orders]``; NaN is left out.
        start: Start of each order ``[orders]``, times or numbers.
        end: When each order is over at the latest, exclusive ``[orders]``.

    Returns:
        Statistic (positive: the first is better), p-value and lags.

    Raises:
        ConfigError: If the shapes do not match.
    """
    from scipy.stats import t as student
    from statsmodels.regression.linear_model import OLS

    values, begins, ends = np.asarray(difference, dtype=np.float64), np.asarray(start), np.asarray(end)
    if values.ndim != 1 or not values.shape == begins.shape == ends.shape:
        raise ConfigError(f"difference, start and end are [orders]: {values.shape}, {begins.shape}, {ends.shape}")
    known = np.isfinite(values)
    times, place = np.unique(begins[known], return_inverse=True)
    count = len(times)
    if count < 2:
        return DieboldMariano(np.nan, np.nan, 0)
    overlap = int((np.searchsorted(times, ends[known], side="left") - place).max())  # starts from an order's own on
    lags = min(max(2 * overlap, round(1.3 * count**0.5)), count // 2)
    sums, orders = np.bincount(place, values[known], count), np.bincount(place, minlength=count)
    mean = sums.sum() / orders.sum()
    observed = mean + (sums - mean * orders) / orders.mean()
    fit = OLS(observed, np.ones(count)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True})
    error = float(fit.bse[0])
    if not error > 1e-9 * np.abs(observed).max():
        return DieboldMariano(np.nan, np.nan, lags)
    statistic = float(mean / error)
    return DieboldMariano(statistic, float(2 * student.sf(abs(statistic), 1.5 * count / (lags + 1))), lags)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values adjusted for their number, so that the chance of any false rejection stays below the level.

    Args:
        p_values: p-values ``[tests]``; NaN is no test and stays NaN.

    Returns:
        Adjusted p-values ``[tests]``.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.06, 0.06]
    """
    # The version of statsmodels runs the garbage collector each time.
    adjusted = np.array(p_values, dtype=np.float64)
    rising = np.argsort(adjusted, kind="stable")[: int(np.isfinite(adjusted).sum())]  # NaN sorts last
    factors = np.arange(len(rising), 0, -1)
    adjusted[rising] = np.minimum(np.maximum.accumulate(factors * adjusted[rising]), 1.0)
    return adjusted
