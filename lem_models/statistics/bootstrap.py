r"""The bootstrap over calendar days: intervals for orders that depend on each other.

Orders of one day share the moves of the market, across assets and overlapping windows, and orders that last longer than
a day share them with the following days: they are no independent observations. So days are resampled, all assets of a
day together, in blocks of consecutive days. With day sums ``S_d`` and day counts ``n_d`` (sums of weights where
orders have weights), a draw in which day ``d`` comes up ``w_d`` times has the mean

.. math::  \bar x^{*} = \sum_d w_d S_d \big/ \sum_d w_d n_d,

and the interval is the central part of the draws. Resampling is the stationary bootstrap, whose blocks have random
lengths, or single days where the mean length of a block is 1. The length is the optimum of Politis and White for the
daily means (package ``arch``), but at least as many days as one order spans, and at most
``min(3 sqrt(D), D / 3)`` of ``D`` days. Columns resampled together with blocks of one length see the same draws.

A few blocks give only a rough estimate of their own spread, and draws from them spread too little. With blocks of mean
length ``b`` the variance of the draws is too small by a factor of ``1 - (2 b - 1) / D``: lag ``k`` counts with the
weight ``(1 - 1/b)^k``, which sums to ``2 b - 1`` over both sides. So the draws are widened about the mean by its root,
and by the ratio of Student's quantile with ``D / b - 1`` degrees of freedom to the normal one: by 2 % for a year in
blocks of 3 days, by 10 % for three years in blocks of 30. A remainder stays: of 95 % intervals for orders that overlap
over 20 days, about 90 % hold the true mean in three years of data.

Sources: Politis and Romano, "The stationary bootstrap", J. Am. Statist. Assoc. 89 (1994); Politis and White, "Automatic
block-length selection for the dependent bootstrap", Econometric Reviews 23 (2004), with the correction of Patton,
Politis and White, ibid. 28 (2009); Field and Welsh, "Bootstrapping clustered data", J. R. Statist. Soc. B 69 (2007).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lem_models.errors import ConfigError
from lem_models.statistics.groups import end_times, start_times

__all__ = [
    "DayDraws",
    "MeanDraws",
    "OrderBootstrap",
    "block_length",
    "bootstrap_mean_interval",
    "bootstrap_mean_intervals",
    "bootstrap_means",
    "resample_weights",
]

_Stream: TypeAlias = "tuple[NDArray[np.int16], NDArray[np.float64]]"

_FEWEST_DAYS = 12  # from which a block length is estimated


def block_length(means: ArrayLike, span: int = 1) -> int:
    """Mean length of the blocks of the bootstrap, in days.

    Args:
        means: Daily means in the order of the days ``[days]``; NaN where a day has none.
        span: Days that one order spans: a lower limit of the length, unless there are too few days.

    Returns:
        The length, at least 1.
    """
    return int(_block_lengths(np.asarray(means, dtype=np.float64)[None], span)[0])


def _block_lengths(means: NDArray[np.float64], span: int) -> NDArray[np.int64]:
    """:func:`block_length` of several series [columns, days]: the package ``arch`` takes most of its time per call."""
    from arch.bootstrap import optimal_block_length

    lengths = np.empty(len(means), dtype=np.int64)
    known = np.isfinite(means)
    alike: dict[bytes, list[int]] = {}  # columns that have the same days
    for column, days in enumerate(known):
        alike.setdefault(days.tobytes(), []).append(column)
    for columns in alike.values():
        series = means[columns][:, known[columns[0]]]
        count = series.shape[1]
        best = np.ones(len(columns))
        varies = np.ptp(series, axis=1) > 0 if count else np.zeros(len(columns), dtype=bool)
        if count >= _FEWEST_DAYS and varies.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                found = optimal_block_length(series[varies].T)["stationary"].to_numpy(np.float64)
            best[varies] = np.nan_to_num(found, nan=1.0)
        longest = min(3 * np.sqrt(count), count / 3)
        lengths[columns] = np.maximum(np.minimum(np.maximum(np.rint(best), span), longest), 1).astype(np.int64)
    return lengths


_CACHED: OrderedDict[tuple[int, int, int, int], NDArray[np.int16]] = OrderedDict()
"""Weights drawn last, the newest at the end: the tables of a report need the same ones many times."""
_CACHED_BYTES = 256_000_000
_CHUNK = 1_000_000  # numbers drawn at a time
_STREAMS: OrderedDict[tuple[int, int, int, bool], _Stream] = OrderedDict()
"""Random numbers drawn last: blocks of all lengths are made of the same ones."""
_STREAMS_BYTES = 64_000_000


def resample_weights(days: int, draws: int, seed: int = 0, block: int = 1) -> NDArray[np.int16]:
    """How often each day comes up in each draw of the bootstrap.

    Args:
        days: Number of days, at least 1 and below 32,768 (90 years).
        draws: Number of draws.
        seed: Seed of the draws.
        block: Mean length of the blocks, in days; 1 for independent days.

    Returns:
        Weights ``[draws, days]``, read-only; every row sums to ``days``.
    """
    key = (days, draws, seed, block)
    if key in _CACHED:
        _CACHED.move_to_end(key)
        return _CACHED[key]
    weights = np.empty((draws, days), dtype=np.int16)
    if draws * days <= _CHUNK:
        weights[:] = _weights(_kept_stream(days, draws, seed, block > 1), block)
    else:
        generator, chunk = np.random.default_rng(seed), max(_CHUNK // days, 1)
        for first in range(0, draws, chunk):
            part = weights[first : first + chunk]
            part[:] = _weights(_drawn(generator, len(part), days, block > 1), block)
    weights.setflags(write=False)
    _CACHED[key] = weights
    while len(_CACHED) > 1 and sum(each.nbytes for each in _CACHED.values()) > _CACHED_BYTES:
        _CACHED.popitem(last=False)
    return weights


def _kept_stream(days: int, draws: int, seed: int, has_blocks: bool) -> _Stream:
    key = (days, draws, seed, has_blocks)
    if key not in _STREAMS:
        _STREAMS[key] = _drawn(np.random.default_rng(seed), draws, days, has_blocks)
        while len(_STREAMS) > 1 and sum(f.nbytes + u.nbytes for f, u in _STREAMS.values()) > _STREAMS_BYTES:
            _STREAMS.popitem(last=False)
    _STREAMS.move_to_end(key)
    return _STREAMS[key]


def _drawn(generator: np.random.Generator, draws: int, days: int, has_blocks: bool) -> _Stream:
    """Random days and uniform numbers, [draws, days] each, in the sequence of the package ``arch``."""
    fresh, u = np.empty((draws, days), dtype=np.int16), np.zeros((draws, days))
    for draw in range(draws):
        fresh[draw] = generator.integers(days, size=days)
        if has_blocks:
            generator.random(out=u[draw])
    return fresh, u


def _weights(stream: _Stream, block: int) -> NDArray[np.int64]:
    """Weights [draws, days] of the stationary bootstrap, for all draws at once.

    A day starts a new block with probability ``1 / block``; else it follows the day before it, and the first day
    follows the last. These are the draws of the package ``arch``, bit for bit, and a test compares them.
    """
    fresh, u = stream
    draws, days = fresh.shape
    place = np.arange(days)
    starts = u <= 1.0 / block
    starts[:, 0] = True
    last = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    picked = np.take_along_axis(fresh, last, axis=1) + place - last
    picked = np.where(picked >= days, picked - days, picked)
    flat = picked + days * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * days).reshape(draws, days)


@dataclass(frozen=True)
class MeanDraws:
    """Means of several columns in every draw of a bootstrap.

    Attributes:
        estimate: Means of the observations, [columns].
        means: Means of the draws, [draws, columns]; NaN in a draw that missed every observation of a column, and
            throughout for a column with observations on fewer than two days.
        days: Number of days with observations, [columns].
        blocks: Mean length of the blocks in days, [columns].
    """

    estimate: NDArray[np.float64]
    means: NDArray[np.float64]
    days: NDArray[np.int64]
    blocks: NDArray[np.int64]

    def interval(self, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper ends [columns]; NaN for a column with observations on fewer than two days.

        Args:
            level: Coverage of the interval, inside (0, 1).

        Raises:
            ConfigError: If ``level`` is out of range.
        """
        from scipy.special import ndtri, stdtrit

        if not 0.0 < level < 1.0:
            raise ConfigError(f"the level of an interval lies inside (0, 1), got {level}")
        tail = (1.0 - level) / 2.0
        freedom = np.maximum(self.days / self.blocks - 1, 1)
        students = stdtrit(freedom, tail) / ndtri(tail)
        shortfall = np.maximum(1.0 - (2 * self.blocks - 1) / self.days.clip(1), 1 / self.days.clip(1))
        ends = np.full((2, len(self.days)), np.nan)
        known = np.isfinite(self.means)
        whole = known.all(axis=0)
        if whole.any():
            ends[:, whole] = np.quantile(self.means[:, whole], [tail, 1.0 - tail], axis=0)
        for column in np.flatnonzero(~whole & known.any(axis=0)):  # a draw missed every observation
            ends[:, column] = np.quantile(self.means[known[:, column], column], [tail, 1.0 - tail])
        low, high = self.estimate + students / np.sqrt(shortfall) * (ends - self.estimate)
        return low, high


def bootstrap_means(
    values: ArrayLike,
    days: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    last_days: ArrayLike | None = None,
    block: int | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> MeanDraws:
    """Means of several columns in every draw of one bootstrap over days that all of them share.

    Args:
        values: Observations ``[orders, columns]``; NaN is a missing observation of that column.
        days: Day on which each order starts ``[orders]``: anything that sorts (dates, integers).
        weights: Weights, not negative, that broadcast to the values; ``None`` for equal ones. NaN is a missing one.
        last_days: Day on which each order ends at the latest ``[orders]``; ``None`` for the day on which it starts.
        block: Mean length of the blocks in days; ``None`` to let :func:`block_length` choose.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        The draws.

    Raises:
        ConfigError: If ``draws`` or ``block`` is out of range, or the shapes do not match.
    """
    if draws < 1:
        raise ConfigError(f"the bootstrap needs at least one draw, got draws={draws}")
    if block is not None and block < 1:
        raise ConfigError(f"a block is at least one day long, got block={block}")
    observed = np.asarray(values, dtype=np.float64)
    labels, day = np.unique(np.asarray(days), return_inverse=True)
    if observed.ndim != 2 or day.shape != observed.shape[:1]:
        raise ConfigError(f"values [orders, columns] and days [orders] do not match: {observed.shape} and {day.shape}")
    weight = None if weights is None else np.broadcast_to(np.asarray(weights, float), observed.shape)
    last = day if last_days is None else np.searchsorted(labels, np.asarray(last_days), side="right") - 1
    return _means(observed, _Days(day, len(labels), last), weight, block, draws, seed)


@dataclass(frozen=True)
class _Days:
    """Days of some orders, numbered from 0; each has an order that starts on it.

    Attributes:
        first: Day on which each order starts, [orders].
        count: Number of days.
        last: Last of the days on which each order may still be under way, [orders].
    """

    first: NDArray[np.int64]
    count: int
    last: NDArray[np.int64]

    @property
    def span(self) -> int:
        """Days that one order spans at most."""
        return int((self.last - self.first).max(initial=0)) + 1

    def of(self, rows: NDArray[np.int64]) -> _Days:
        """Days of some of the orders."""
        first = self.first[rows]
        is_there = np.zeros(self.count, dtype=bool)
        is_there[first] = True
        number = np.cumsum(is_there) - 1  # of the day, or of the last one before it
        return _Days(number[first], int(number[-1]) + 1 if self.count else 0, number[self.last[rows]])


def _means(
    observed: NDArray[np.float64],
    days: _Days,
    weight: NDArray[np.float64] | None,
    block: int | Literal["longest"] | None,
    draws: int,
    seed: int,
) -> MeanDraws:
    """:func:`bootstrap_means` of orders whose days are numbered; with ``"longest"`` all columns share a block."""
    columns = observed.shape[1]
    sums, counts = np.empty((2, days.count, columns))
    present = np.isfinite(observed) if weight is None else np.isfinite(observed) & np.isfinite(weight)
    for column, known in enumerate(present.T):
        value = observed[:, column]
        if known.all():  # no copies
            counts[:, column] = np.bincount(days.first, None if weight is None else weight[:, column], days.count)
            value = value if weight is None else weight[:, column] * value
            sums[:, column] = np.bincount(days.first, value, days.count)
            continue
        there, one = days.first[known], np.ones(int(known.sum())) if weight is None else weight[known, column]
        counts[:, column] = np.bincount(there, one, days.count)
        sums[:, column] = np.bincount(there, one * value[known], days.count)
    filled = (counts > 0).sum(axis=0)
    enough = filled >= 2
    means = np.full((draws, columns), np.nan)
    with np.errstate(invalid="ignore"):  # 0 / 0: no observation at all, on a day, or in a draw
        estimate = sums.sum(axis=0) / counts.sum(axis=0)
        if isinstance(block, int):
            blocks = np.full(columns, block, dtype=np.int64)
        else:
            blocks = _block_lengths((sums / counts).T, days.span)
            if block == "longest":
                blocks[:] = blocks.max(initial=1)
        for length in np.unique(blocks[enough]):
            chosen = enough & (blocks == length)
            picked = resample_weights(days.count, draws, seed, int(length)).astype(np.float64)
            means[:, chosen] = (picked @ sums[:, chosen]) / (picked @ counts[:, chosen])
    return MeanDraws(estimate, means, filled, blocks)


def bootstrap_mean_intervals(
    values: ArrayLike,
    days: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    last_days: ArrayLike | None = None,
    block: int | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals of the means of several columns, from one bootstrap over days that all of them share.

    Args:
        values: See :func:`bootstrap_means`.
        days: See :func:`bootstrap_means`.
        weights: See :func:`bootstrap_means`.
        last_days: See :func:`bootstrap_means`.
        block: See :func:`bootstrap_means`.
        level: Coverage of the interval, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        Lower and upper ends ``[columns]``; NaN for a column with observations on fewer than two days.

    Raises:
        ConfigError: If ``level``, ``draws`` or ``block`` is out of range, or the shapes do not match.
    """
    drawn = bootstrap_means(values, days, weights=weights, last_days=last_days, block=block, draws=draws, seed=seed)
    return drawn.interval(level)


def bootstrap_mean_interval(
    values: ArrayLike,
    days: ArrayLike,
    *,
    block: int | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of one mean from a bootstrap over days; see :func:`bootstrap_mean_intervals`.

    Args:
        values: Observations ``[orders]``; NaN is a missing one.
        days: Day of each observation ``[orders]``.
        block: Mean length of the blocks in days; ``None`` to let :func:`block_length` choose.
        level: Coverage of the interval, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        Lower and upper end; NaN with fewer than two days.

    Raises:
        ConfigError: If ``level``, ``draws`` or ``block`` is out of range, or the shapes do not match.

    Example:
        >>> low, high = bootstrap_mean_interval([1.0, 1.2, 0.9, 1.1], [0, 0, 1, 2])
        >>> bool(low < 1.05 < high)
        True
    """
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise ConfigError(f"values are one column [orders], got the shape {column.shape}")
    low, high = bootstrap_mean_intervals(column[:, None], days, block=block, level=level, draws=draws, seed=seed)
    return float(low[0]), float(high[0])


@dataclass(frozen=True)
class DayDraws:
    """How often the day of each order comes up in every draw, for statistics that are no functions of means.

    Attributes:
        weights: How often each day comes up, [draws, days].
        day: Place of each order's day, [orders].
        block: Mean length of the blocks in days.
    """

    weights: NDArray[np.int16]
    day: NDArray[np.int64]
    block: int

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of each column of values [orders, columns] in every draw, [draws, columns]."""
        days = self.weights.shape[1]
        sums = np.stack([np.bincount(self.day, column, days) for column in values.T], axis=1)
        picked = self.weights.astype(np.float64)
        with np.errstate(invalid="ignore"):  # a draw without any order
            means: NDArray[np.float64] = (picked @ sums) / (picked @ np.bincount(self.day, minlength=days))[:, None]
        return means

    def quantiles(self, values: NDArray[np.float64], quantiles: Sequence[float]) -> NDArray[np.float64]:
        """Quantiles of values [orders] in every draw, [draws, quantiles]: the smallest value that so many reach."""
        order = np.argsort(values, kind="stable")
        ranked, day = values[order], self.day[order]
        found = np.full((len(self.weights), len(quantiles)), np.nan)
        for row, weights in enumerate(self.weights):
            reached = np.cumsum(weights[day], dtype=np.int64)
            if len(reached) and reached[-1]:
                found[row] = ranked[np.searchsorted(reached, np.asarray(quantiles) * reached[-1] * (1 - 1e-12))]
        return found

    def interval(
        self, estimate: ArrayLike, drawn: NDArray[np.float64], level: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ends of the intervals of statistics [columns] from their draws [draws, columns]; see :class:`MeanDraws`."""
        count = drawn.shape[1]
        days = np.full(count, np.count_nonzero(np.bincount(self.day)), dtype=np.int64)
        drawn = np.where(days >= 2, drawn, np.nan)
        return MeanDraws(np.asarray(estimate, float), drawn, days, np.full(count, self.block)).interval(level)


class OrderBootstrap:
    """The bootstrap over the days of an orders table, for groups of its rows.

    Args:
        orders: Orders table of a result.
        draws: Number of bootstrap draws.
        seed: Seed of the draws (the same for every group).
    """

    def __init__(self, orders: pd.DataFrame, draws: int, seed: int) -> None:
        self.start, self.end = start_times(orders), end_times(orders)
        labels, first = np.unique(self.start.astype("datetime64[D]"), return_inverse=True)
        last = (self.end - np.timedelta64(1, "us")).astype("datetime64[D]")  # the end is exclusive
        self._days = _Days(first, len(labels), np.maximum(np.searchsorted(labels, last, side="right") - 1, first))
        self._draws, self._seed = draws, seed

    def means(
        self,
        values: ArrayLike,
        rows: NDArray[np.int64],
        weights: ArrayLike | None = None,
        *,
        shared_block: bool = False,
    ) -> MeanDraws:
        """Draws of the means of values [orders, columns] that belong to these rows of the table.

        With ``shared_block`` all columns have the longest of their blocks, and so the same draws, as functions of
        several means need.
        """
        observed = np.asarray(values, dtype=np.float64)
        weight = None if weights is None else np.asarray(weights, dtype=np.float64)
        block: Literal["longest"] | None = "longest" if shared_block else None
        return _means(observed, self._days.of(rows), weight, block, self._draws, self._seed)

    def day_draws(self, values: NDArray[np.float64], rows: NDArray[np.int64]) -> DayDraws:
        """Draws of the days of these rows of the table, in the longest block that a column of values needs.

        Args:
            values: Observations that belong to the rows, [orders, columns], all of them present.
            rows: Rows of the table, at least one.
        """
        days = self._days.of(rows)
        day, orders = days.first, np.bincount(days.first)
        daily = np.stack([np.bincount(day, column) / orders for column in values.T])
        block = int(_block_lengths(daily, days.span).max())
        return DayDraws(resample_weights(days.count, self._draws, self._seed, block), day, block)
