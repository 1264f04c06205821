r"""The bootstrap over calendar days: intervals that know that orders of one day move together.

Orders of one day share the market's moves, across assets and overlapping windows: they are no independent observations.
The interval is a cluster bootstrap over calendar days: with day sums ``S_d`` and day counts ``n_d``, every draw weights
the days by how often each comes up when as many days are picked with replacement,

.. math::  \bar x^{*} = \sum_d w_d S_d \big/ \sum_d w_d n_d, \qquad w \sim \mathrm{Multinomial}(D; 1/D, \dots, 1/D),

and the interval is the central part of the draws. Sources: Efron, "Bootstrap methods", Ann. Statist. 7 (1979); Field
and Welsh, "Bootstrapping clustered data", J. R. Statist. Soc. B 69 (2007). Columns resampled together see the same
draws. A day is the UTC day on which the order starts; what an order carries over midnight is not accounted for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lem_models.errors import ConfigError

__all__ = ["bootstrap_mean_interval", "bootstrap_mean_intervals", "resample_weights"]


def resample_weights(days: int, draws: int, seed: int = 0) -> NDArray[np.int64]:
    """Multinomial weights of the bootstrap: how often each day is picked in each draw.

    Args:
        days: Number of days, at least 1.
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        Weights ``[draws, days]``; every row sums to ``days``.
    """
    picked = np.random.default_rng(seed).integers(0, days, size=(draws, days))
    picked += np.arange(draws)[:, None] * days
    return np.bincount(picked.ravel(), minlength=draws * days).reshape(draws, days)


def bootstrap_mean_intervals(
    values: ArrayLike, days: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals of the means of several columns, from one bootstrap over days that all of them share.

    Args:
        values: Observations ``[orders, columns]``; NaN is a missing observation of that column.
        days: Day of each order ``[orders]``: anything that sorts (dates, integers).
        level: Probability that the interval shall cover, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        Lower and upper ends ``[columns]``; NaN for a column with observations on fewer than two days.

    Raises:
        ConfigError: If ``level`` or ``draws`` is out of range, or the shapes do not match.
    """
    if not 0.0 < level < 1.0:
        raise ConfigError(f"the level of an interval lies inside (0, 1), got {level}")
    if draws < 1:
        raise ConfigError(f"the bootstrap needs at least one draw, got draws={draws}")
    observed = np.asarray(values, dtype=np.float64)
    labels, day = np.unique(np.asarray(days), return_inverse=True)
    if observed.ndim != 2 or day.shape != observed.shape[:1]:
        raise ConfigError(f"values [orders, columns] and days [orders] do not match: {observed.shape} and {day.shape}")
    present = np.isfinite(observed)
    known = np.where(present, observed, 0.0)
    sums = np.empty((len(labels), observed.shape[1]))
    counts = np.empty_like(sums)
    for column in range(observed.shape[1]):
        sums[:, column] = np.bincount(day, known[:, column], len(labels))
        counts[:, column] = np.bincount(day, present[:, column], len(labels))
    low, high = np.full((2, observed.shape[1]), np.nan)
    enough = np.flatnonzero((counts > 0).sum(axis=0) >= 2)
    if enough.size:
        weights = resample_weights(len(labels), draws, seed).astype(np.float64)
        with np.errstate(invalid="ignore"):  # a draw may miss every day of a sparse column: 0 / 0, left out below
            means = (weights @ sums[:, enough]) / (weights @ counts[:, enough])
        tail = (1.0 - level) / 2.0
        for position, observed_column in enumerate(enough):
            drawn = means[np.isfinite(means[:, position]), position]
            if drawn.size:
                low[observed_column], high[observed_column] = np.quantile(drawn, [tail, 1.0 - tail])
    return low, high


def bootstrap_mean_interval(
    values: ArrayLike, days: ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of one mean from a bootstrap over days; see :func:`bootstrap_mean_intervals`.

    Args:
        values: Observations ``[orders]``; NaN is a missing one.
        days: Day of each observation ``[orders]``.
        level: Probability that the interval shall cover, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        Lower and upper end; NaN with fewer than two days.

    Raises:
        ConfigError: If ``level`` or ``draws`` is out of range, or the shapes do not match.

    Example:
        >>> low, high = bootstrap_mean_interval([1.0, 1.2, 0.9, 1.1], [0, 0, 1, 2])
        >>> bool(0.9 <= low <= 1.05 <= high <= 1.1)
        True
    """
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise ConfigError(f"values are one column [orders], got the shape {column.shape}")
    low, high = bootstrap_mean_intervals(column[:, None], days, level=level, draws=draws, seed=seed)
    return float(low[0]), float(high[0])
