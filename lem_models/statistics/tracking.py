r"""How closely policies track: measures of their errors, ratios of them, intervals over days, and a verdict in words.

Errors have heavy tails. A policy that serves the worst 1 % of orders has a small standard deviation and may leave the
median order behind that of a rival, so :func:`tracking_errors` measures both, and :func:`tracking_verdict` says
"closer" only where all measures agree.

With ``x`` the improvement of one policy and ``y`` that of another on the same orders, the ratio is

.. math::  r = \mathrm{std}(x) / \mathrm{std}(y), \qquad
           \log r^{*} = \tfrac12 \log\frac{\overline{x^2}^{*} - (\bar x^{*})^2}{\overline{y^2}^{*} - (\bar y^{*})^2},

the four means of each draw from one bootstrap over blocks of days (:mod:`lem_models.statistics.bootstrap`), so that a
volatile week counts for both or for neither. The interval is computed for ``log r``, whose draws are nearly symmetric;
those of a single measure are computed for its logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.statistics.bootstrap import DayDraws, MeanDraws, OrderBootstrap
from lem_models.statistics.groups import Row, align, groups, key_names, require, stack
from lem_models.statistics.summary import ROUNDING_BPS, Unit, improvement

__all__ = [
    "CLIP",
    "DECISIVE",
    "MEASURES",
    "Measure",
    "std_interval",
    "std_ratio",
    "tracking_errors",
    "tracking_verdict",
]

Floats = npt.NDArray[np.float64]
_NEEDED = ("order_id", "start", "slippage_bps", "volatility_bps")
Measure = Literal["std", "clipped_std", "mean_abs", "median_abs", "q95_abs", "q99_abs", "closer_percent"]
"""Measure of how closely orders track; see :func:`tracking_errors`."""

MEASURES: tuple[Measure, ...] = get_args(Measure)
DECISIVE: tuple[Measure, ...] = ("std", "clipped_std", "mean_abs", "median_abs")
"""Measures that must agree before one policy is called closer than another."""
CLIP = 2.0
"""Largest |error| that counts in ``clipped_std`` unless another is named, in bar volatilities."""
_QUANTILES = (0.5, 0.95, 0.99)
_COLUMNS = ("value", "value_low", "value_high", "other", "ratio", "ratio_low", "ratio_high")
_WORDS: Mapping[Measure, str] = {
    "std": "std",
    "clipped_std": "clipped std",
    "mean_abs": "mean",
    "median_abs": "median",
}


def std_ratio(
    a: pd.DataFrame,
    b: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    unit: Unit = "vol",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Standard deviation of the improvement of ``a`` as a multiple of that of ``b``, on the same orders.

    Args:
        a: Orders table of one policy; groups are made from its columns.
        b: Orders table of the other policy, the same orders in any order.
        by: Columns or derived keys to group by; ``None`` for one row over all orders.
        unit: Unit of the improvements: ``"vol"`` (bar volatilities) or ``"bps"``.
        level: Coverage of the interval, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per group: the keys, ``orders`` (those priced in both), ``ratio`` and the ends ``low`` and ``high`` of
        its interval. Below 1, ``a`` tracks more closely. NaN where one of the two does not vary.

    Raises:
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    for table in (a, b):
        require(table, _NEEDED)
    ours, theirs = (improvement(table, unit).to_numpy(np.float64) for table in (a, align(a, b)))
    known = np.isfinite(ours) & np.isfinite(theirs)
    return _spread(a, [np.where(known, ours, np.nan), np.where(known, theirs, np.nan)], "ratio", by, level, draws, seed)


def std_interval(
    orders: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    unit: Unit = "vol",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Standard deviation of the improvement with its interval.

    Args:
        orders: Orders table of a result.
        by: Columns or derived keys to group by; ``None`` for one row over all orders.
        unit: Unit of the improvement: ``"vol"`` (bar volatilities) or ``"bps"``.
        level: Coverage of the interval, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per group: the keys, ``orders`` (those with a price), ``std`` (of the population) and the ends ``low``
        and ``high`` of its interval. NaN where the improvement does not vary.

    Raises:
        OrderError: If a column is missing from the table.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    require(orders, _NEEDED)
    return _spread(orders, [improvement(orders, unit).to_numpy(np.float64)], "std", by, level, draws, seed)


def _spread(
    orders: pd.DataFrame,
    values: list[npt.NDArray[Any]],
    name: str,
    by: Sequence[str] | str | None,
    level: float,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Standard deviation of the first column of values [orders], divided by that of the second if there is one."""
    known = np.isfinite(values[0])
    # Squares of values about their mean lose no digits.
    centred = [column - column[known].mean() for column in values] if known.any() else values
    moments = np.stack([power for column in centred for power in (column, column * column)])
    bootstrap = OrderBootstrap(orders, draws, seed)
    rows: list[Row] = []
    for keys, group in groups(orders, by):
        drawn = bootstrap.means(moments.take(group, axis=1).T, group, shared_block=True)
        estimate = _log_spread(drawn.estimate[None])
        log = MeanDraws(estimate, _log_spread(drawn.means)[:, None], drawn.days[:1], drawn.blocks[:1])
        low, high = log.interval(level)
        ends = {name: np.exp(estimate[0]), "low": np.exp(low[0]), "high": np.exp(high[0])}
        rows.append(Row(keys, {"orders": int(known[group].sum()), **ends}))
    return stack(rows, by, ("orders", name, "low", "high"))


def _log_spread(means: Floats) -> Floats:
    """Log of the standard deviation, or of the ratio of two, from the means of ``x, x^2, ...``, [draws, 2 or 4]."""
    variance = means[:, 1::2] - means[:, ::2] ** 2
    logs = 0.5 * np.log(np.where(variance > 0, variance, np.nan))
    spread: Floats = logs[:, 0] - (logs[:, 1] if logs.shape[1] > 1 else 0.0)
    return spread


def tracking_errors(
    results: Mapping[str, pd.DataFrame],
    against: Sequence[str] = ("twap",),
    by: Sequence[str] | str | None = None,
    *,
    unit: Unit = "vol",
    clip: float = CLIP,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    r"""How closely every policy tracks its benchmark, beside other policies on the same orders.

    The error of an order is its slippage. ``std`` is the standard deviation of the errors, ``clipped_std`` that of the
    errors clipped at ``clip`` bar volatilities, ``mean_abs``, ``median_abs``, ``q95_abs`` and ``q99_abs`` are mean
    and quantiles of their absolute values; a quantile is the smallest value that at least that share of the orders
    does not exceed. ``closer_percent`` is the share of orders whose absolute error is below that of the other policy;
    orders on which both err alike count half.

    Standard deviations are ruled by the worst orders, the median does not see them: :func:`tracking_verdict` asks all.

    Args:
        results: Orders table of each policy, the same orders in any sequence; groups are made from the first one.
        against: Policies that each of the others is compared with.
        by: Columns or derived keys to group by; ``None`` for one row over all orders.
        unit: Unit of the errors: ``"vol"`` (bar volatilities) or ``"bps"``.
        clip: Largest |error| that counts in ``clipped_std``, in bar volatilities.
        level: Coverage of the intervals, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws, the same for all policies: ratios are paired.

    Returns:
        One row per group, policy, other policy and measure: the keys, ``policy``, ``against``, ``measure``, ``orders``
        (those priced by every policy), ``value`` with the interval ``value_low`` to ``value_high``, ``other`` (the
        measure of the other policy) and ``ratio`` of the two with ``ratio_low`` to ``ratio_high``; below 1 the policy
        tracks more closely. Of ``closer_percent`` there is no ``other`` and no ratio. NaN where nothing varies.

    Raises:
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``against`` names no policy, or ``by`` neither a column nor a derived key.
        ConfigError: If there is no policy, or ``level`` or ``draws`` is out of range.
    """
    if not results:
        raise ConfigError("there is no policy whose tracking could be measured")
    for name in against:
        if name not in results:
            raise UnknownNameError.among("policy", name, results)
    for table in results.values():
        require(table, _NEEDED)
    first = next(iter(results.values()))
    aligned = {name: align(first, table) for name, table in results.items()}
    errors: dict[str, Floats] = {
        name: np.asarray(improvement(table, unit), dtype=np.float64) for name, table in aligned.items()
    }
    bound = np.full(len(first), clip) if unit == "vol" else clip * first["volatility_bps"].to_numpy(np.float64)
    priced = np.asarray(np.isfinite(np.stack([bound, *errors.values()])).all(axis=0))
    bootstrap = OrderBootstrap(first, draws, seed)
    tables: list[pd.DataFrame] = []
    for keys, group in groups(first, by):
        chosen = group[priced[group]]
        if not len(chosen):
            continue
        moments = {name: _moments(error[chosen], bound[chosen]) for name, error in errors.items()}
        drawn = bootstrap.day_draws(np.concatenate([each[:, [1, 3, 4]] for each in moments.values()], axis=1), chosen)
        measured = {name: _measures(each, _no_draw(len(chosen)))[0] for name, each in moments.items()}
        redrawn = {name: _measures(each, drawn) for name, each in moments.items()}
        for name, other in ((name, other) for name in errors for other in against if other != name):
            table = _beside(measured[name], redrawn[name], measured[other], redrawn[other], drawn, level)
            table.loc[len(table)] = _closer(errors[name][chosen], errors[other][chosen], drawn, level)
            table = table.assign(policy=name, against=other, measure=MEASURES, orders=len(chosen))
            tables.append(keys.merge(table, how="cross"))
    names = [*key_names(by), "policy", "against", "measure", "orders", *_COLUMNS]
    stacked: pd.DataFrame = pd.concat(tables, ignore_index=True)[names] if tables else pd.DataFrame(columns=names)
    return stacked


def tracking_verdict(errors: pd.DataFrame) -> str:
    """Whether a policy tracks closer than another one, in words.

    "Closer" needs the whole interval of the ratio below 1 for each of :data:`DECISIVE`: standard deviation, clipped
    standard deviation, mean and median; "less closely" needs all of them above 1. As every one must agree, the chance
    of a false "closer" is at most that of one test, and no correction for their number is needed.

    Args:
        errors: Rows of :func:`tracking_errors` of one policy, one other policy and one group.

    Returns:
        The end of a sentence whose subject is the policy, with the numbers that decide.

    Raises:
        ConfigError: If a decisive measure is missing or occurs twice.

    Example:
        >>> ends = {"ratio": 0.8, "ratio_low": 0.7, "ratio_high": 0.9, "against": "twap"}
        >>> tracking_verdict(pd.DataFrame([{"measure": name, **ends} for name in DECISIVE]))
        'tracks closer than twap: std 0.80, clipped std 0.80, mean 0.80 and median 0.80 of its errors, all below 1'
    """
    rows = errors[errors["measure"].isin(DECISIVE)]
    if sorted(rows["measure"]) != sorted(DECISIVE):
        raise ConfigError(f"a verdict on tracking needs {', '.join(DECISIVE)}, each once")
    rows = rows.set_index("measure")
    sides: dict[str, list[str]] = {"below": [], "not measurably different": [], "above": []}
    if rows["ratio"].isna().any():
        return f"cannot be compared with {rows['against'].iloc[0]}: the errors of one of them do not vary"
    for name in DECISIVE:
        row = rows.loc[name]
        side = "below" if row["ratio_high"] < 1 else "above" if row["ratio_low"] > 1 else "not measurably different"
        sides[side].append(f"{_WORDS[name]} {row['ratio']:.2f}")
    other = rows["against"].iloc[0]
    for side, words in (("below", "tracks closer than"), ("above", "tracks less closely than")):
        if len(sides[side]) == len(DECISIVE):
            return f"{words} {other}: {_listed(sides[side])} of its errors, all {side} 1"
    said = "; ".join(f"{_listed(ratios)} {side}" for side, ratios in sides.items() if ratios)
    return f"tracks neither closer nor less closely than {other}: of its errors {said}"


def _moments(error: Floats, clip: Floats) -> Floats:
    """Of each error: itself, its square, clipped, squared, and absolute, [orders, 5]; the first two about the mean."""
    centred, clipped = error - error.mean(), np.clip(error, -clip, clip)
    clipped = clipped - clipped.mean()
    return np.column_stack([centred, centred**2, clipped, clipped**2, np.abs(error)])


def _no_draw(orders: int) -> DayDraws:
    """The orders as they are: every one of them once."""
    return DayDraws(np.ones((1, 1), dtype=np.int16), np.zeros(orders, dtype=np.int64), 1)


def _measures(moments: Floats, draws: DayDraws) -> Floats:
    """The six measures of one policy in every draw, [draws, 6]."""
    means = draws.means(moments)
    variance = np.maximum(means[:, [1, 3]] - means[:, [0, 2]] ** 2, 0.0)
    return np.column_stack([np.sqrt(variance), means[:, 4], draws.quantiles(moments[:, 4], _QUANTILES)])


def _beside(
    ours: Floats, drawn: Floats, theirs: Floats, their_draws: Floats, draws: DayDraws, level: float
) -> pd.DataFrame:
    """The table of one policy beside another: the six measures and their ratios, intervals from the logarithms."""

    def logs(values: Floats) -> Floats:
        return np.log(np.where(values > 0, values, np.nan))

    value = np.exp(draws.interval(logs(ours), logs(drawn), level))
    difference = logs(ours) - logs(theirs)
    ratio = np.exp(draws.interval(difference, logs(drawn) - logs(their_draws), level))
    return pd.DataFrame(np.stack([ours, *value, theirs, np.exp(difference), *ratio], axis=1), columns=list(_COLUMNS))


def _closer(ours: Floats, theirs: Floats, draws: DayDraws, level: float) -> list[float]:
    """Share of the orders with the smaller absolute error in percent, and its interval."""
    gap = np.abs(theirs) - np.abs(ours)
    wins = 100.0 * np.where(np.abs(gap) <= ROUNDING_BPS, 0.5, gap > 0)
    low, high = draws.interval(wins[None].mean(axis=1), draws.means(wins[:, None]), level)
    return [wins.mean(), max(low[0], 0.0), min(high[0], 100.0), *[np.nan] * 4]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
