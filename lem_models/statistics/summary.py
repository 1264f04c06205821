"""Statistics of executed orders: the mean improvement with an interval that allows for dependent orders.

The improvement of an order is minus its slippage, ``improvement = -side * (executed / benchmark - 1) * 1e4`` basis
points; positive is better than the benchmark. It has two units: basis points (bps), and bar volatilities, i.e. each
order is divided by the bar volatility known at its start, which makes calm and volatile assets comparable. The sign is
the same net of costs, weighted by the orders' values, and against other benchmarks.

Intervals come from the bootstrap over calendar days (:mod:`lem_models.statistics.bootstrap`), p-values from the test of
Diebold and Mariano (:mod:`lem_models.statistics.accuracy_tests`). Rows are grouped by columns or by derived keys,
``"hour"``, ``"weekday"``, ``"month"`` or ``"volatility"`` (:mod:`lem_models.statistics.groups`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lem_models.errors import ConfigError
from lem_models.statistics.accuracy_tests import DieboldMariano, diebold_mariano, holm
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.groups import Row, align, groups, require, stack
from lem_models.statistics.null_draws import NullDraws
from lem_models.statistics.reference_prices import REFERENCE_PRICES

__all__ = [
    "ROUNDING_BPS",
    "SUMMARY_COLUMNS",
    "Unit",
    "adjusted",
    "compare",
    "improvement",
    "null_split",
    "paired_difference",
    "summarise",
]

_Name = TypeVar("_Name")

Unit = Literal["bps", "vol"]
"""Unit of an improvement: basis points, or bar volatilities."""

ROUNDING_BPS = 1e-6
"""Rounding of a slippage: an order with a smaller improvement has paid its benchmark."""

SUMMARY_COLUMNS = (
    "orders",
    "mean_bps",
    "low_bps",
    "high_bps",
    "std_bps",
    "median_bps",
    "q05_bps",
    "q95_bps",
    "better_percent",
    "mean_vol",
    "low_vol",
    "high_vol",
    "std_vol",
    "volatility_bps",
    "periods_used",
    "completed_percent",
    "filled_percent",
    "weighted_bps",
    "weighted_low_bps",
    "weighted_high_bps",
    "net_bps",
    "net_low_bps",
    "net_high_bps",
    "cost_bps",
    *(reference.improvement for reference in REFERENCE_PRICES),
)
"""Columns of :func:`summarise`, after the columns it is grouped by."""

_UNITS: tuple[Unit, ...] = ("bps", "vol")
_ROUNDING = 1e-9  # a mean difference below it, in either unit, is rounding
_NEEDED = ("order_id", "start", "slippage_bps", "volatility_bps")
_SUMMARISED = ("periods_used", "completed", "filled")
_AVERAGED = ("bps", "vol", "bps", "net")  # values with an interval, and what they are weighed by
_WEIGHING = ("one", "one", "value", "one")


def improvement(orders: pd.DataFrame, unit: Unit = "bps") -> pd.Series[float]:
    """Improvement over the benchmark, order by order.

    Args:
        orders: Orders table of a result.
        unit: ``"bps"``, or ``"vol"`` for bar volatilities (NaN where the volatility is not positive).

    Returns:
        One value per row, positive is better than the benchmark; NaN where nothing was filled.
    """
    bps: pd.Series[float] = 0.0 - orders["slippage_bps"].astype(float)  # not "-x", which makes -0.0 of 0
    if unit == "bps":
        return bps
    volatility = orders["volatility_bps"].astype(float)
    ratio: pd.Series[float] = bps / volatility.where(volatility > 0)
    return ratio


def summarise(
    orders: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarise executed orders: mean improvement with its interval, spread, quantiles, completion.

    Args:
        orders: Orders table of a result.
        by: Column or columns to group by, derived keys included; ``None`` for one row over all orders.
        level: Coverage of the intervals, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws, the same for every group: groups of the same days have the same draws.

    Returns:
        One row per group, sorted by the keys: the keys, then :data:`SUMMARY_COLUMNS`. ``orders`` counts every order of
        the group. Orders without a fill (NaN slippage) do not count in the price statistics, but in
        ``completed_percent`` and ``filled_percent``. Standard deviations are those of a sample (``n - 1``).
        ``weighted_*`` weighs orders by their value, ``net_*`` is after costs, ``cost_bps`` is the mean cost.
        ``arrival_bps`` and the columns after it are mean improvements against other benchmarks; only ``arrival_bps``
        counts the unfilled fraction. A statistic whose columns the table lacks is NaN.

    Raises:
        OrderError: If a column is missing from the table.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    require(orders, (*_NEEDED, *_SUMMARISED))
    measured, bootstrap = _measured(orders), OrderBootstrap(orders, draws, seed)
    place, table = {name: number for number, name in enumerate(measured)}, np.stack(list(measured.values()))
    averaged, weighing = ([place[name] for name in names] for names in (_AVERAGED, _WEIGHING))
    rows: list[Row] = []
    for keys, group in groups(orders, by):
        members = table.take(group, axis=1)
        low, high = bootstrap.means(members[averaged].T, group, members[weighing].T).interval(level)
        mean, std = _mean_and_std(members, place)
        bps, value = members[place["bps"]], members[place["value"]]
        known = ~np.isnan(bps)
        priced, valued = int(known.sum()), np.nansum(value[known])
        quantiles = np.quantile(bps[known], [0.5, 0.05, 0.95]) if priced else np.full(3, np.nan)
        statistics = {
            "orders": len(group),
            "mean_bps": mean["bps"],
            "low_bps": low[0],
            "high_bps": high[0],
            "std_bps": std["bps"],
            "median_bps": quantiles[0],
            "q05_bps": quantiles[1],
            "q95_bps": quantiles[2],
            "better_percent": 100.0 * int((bps > ROUNDING_BPS).sum()) / priced if priced else np.nan,
            "mean_vol": mean["vol"],
            "low_vol": low[1],
            "high_vol": high[1],
            "std_vol": std["vol"],
            "volatility_bps": mean["volatility_bps"],
            "periods_used": mean["periods_used"],
            "completed_percent": 100.0 * mean["completed"],
            "filled_percent": 100.0 * mean["filled"],
            "weighted_bps": np.nansum(value * bps) / valued if valued > 0 else np.nan,
            "weighted_low_bps": low[2],
            "weighted_high_bps": high[2],
            "net_bps": mean["net"],
            "net_low_bps": low[3],
            "net_high_bps": high[3],
            **{name: mean[name] for name in ("cost_bps", *(price.improvement for price in REFERENCE_PRICES))},
        }
        rows.append(Row(keys, statistics))
    return stack(rows, by, SUMMARY_COLUMNS)


def _mean_and_std(values: NDArray[np.float64], names: Iterable[_Name]) -> tuple[dict[_Name, float], dict[_Name, float]]:
    """Mean and standard deviation (``n - 1``) of values [names, orders] without what is missing, by name.

    NaN where nothing is left.
    """
    names = list(names)
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0.0).sum(axis=1) / count
        squares = np.where(known, (values - mean[:, None]) ** 2, 0.0).sum(axis=1)
        std = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))
    return dict(zip(names, mean.tolist(), strict=True)), dict(zip(names, std.tolist(), strict=True))


def _measured(orders: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Values to average, each [orders], by name; NaN for columns that the table lacks."""

    def column(name: str) -> NDArray[np.float64]:
        return orders[name].to_numpy(np.float64) if name in orders else np.full(len(orders), np.nan)

    require(orders, ["side"])
    side = orders["side"].map({"buy": 1.0, "sell": -1.0}).to_numpy(np.float64)
    columns = {name: column(name) for name in ("volatility_bps", *_SUMMARISED, "cost_bps")}
    columns |= {unit: np.asarray(improvement(orders, unit), np.float64) for unit in _UNITS}
    columns |= {"net": 0.0 - column("net_slippage_bps"), "value": column("order_value"), "one": np.ones(len(orders))}
    executed = column("executed_price")
    for price in REFERENCE_PRICES:
        if price.slippage is None:
            columns[price.improvement] = side * (1.0 - executed / column(price.column)) * 1e4
        else:
            columns[price.improvement] = 0.0 - column(price.slippage)
    return columns


def compare(
    results: Mapping[str, pd.DataFrame],
    by: Sequence[str] | str | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Summaries of several policies in one long table.

    Args:
        results: Orders table of each policy by its name; the order of the mapping is kept.
        by: As for :func:`summarise`.
        level: Level, draws and seed as for :func:`summarise`.
        draws: See ``level``.
        seed: See ``level``.

    Returns:
        The rows of :func:`summarise` policy after policy, with a first column ``policy``.

    Raises:
        OrderError: If a column is missing from a table.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If there is no policy, or ``level`` or ``draws`` is out of range.
    """
    if not results:
        raise ConfigError("there is no policy to compare")
    tables = []
    for policy, orders in results.items():
        table = summarise(orders, by, level=level, draws=draws, seed=seed)
        table.insert(0, "policy", policy)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def paired_difference(
    a: pd.DataFrame,
    b: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Improvement of ``a`` minus that of ``b`` on the same orders, with an interval.

    Pairing order by order removes the moves of the market that both share, so the interval is much narrower than two
    separate ones.

    Args:
        a: Orders table of one policy; groups are made from its columns.
        b: Orders table of the other policy, the same orders in any order.
        by: As for :func:`summarise`.
        level: Level, draws and seed as for :func:`summarise`.
        draws: See ``level``.
        seed: See ``level``.

    Returns:
        One row per group: the keys, ``orders`` (those priced in both), ``mean``, ``low``, ``high`` and ``std`` of the
        improvement of ``a`` minus that of ``b`` in both units (``mean_bps`` ... ``std_vol``), ``better_percent``
        (orders in which ``a`` is better). The test that the mean difference is zero, in each unit by itself, gives
        ``dm_bps`` and ``dm_vol`` (statistic, positive if ``a`` is better), ``p_value_*`` (two-sided) and ``p_holm_*``
        (adjusted for all rows of the table). A p-value is quoted beside the mean of its own unit only.

    Raises:
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    for table in (a, b):
        require(table, _NEEDED)
    other = align(a, b)
    gain = np.stack([improvement(a, unit).to_numpy() - improvement(other, unit).to_numpy() for unit in _UNITS])
    bootstrap = OrderBootstrap(a, draws, seed)
    rows: list[Row] = []
    for keys, group in groups(a, by):
        members = gain.take(group, axis=1)
        low, high = bootstrap.means(members.T, group).interval(level)
        mean, std = _mean_and_std(members, _UNITS)
        priced = int(np.isfinite(members[0]).sum())
        statistics: dict[str, float] = {"orders": priced}
        for column, unit in enumerate(_UNITS):
            statistics |= {f"mean_{unit}": mean[unit], f"low_{unit}": low[column], f"high_{unit}": high[column]}
            statistics[f"std_{unit}"] = std[unit]
        statistics["better_percent"] = 100.0 * int((members[0] > ROUNDING_BPS).sum()) / priced if priced else np.nan
        # Schedules that read no prices earn the opposite on the two sides: their means hold rounding alone.
        ends = [f"{name}_{unit}" for name in ("mean", "low", "high") for unit in _UNITS]
        statistics |= {name: 0.0 for name in ends if abs(statistics[name]) < _ROUNDING}
        for column, unit in enumerate(_UNITS):
            test = diebold_mariano(members[column], bootstrap.start[group], bootstrap.end[group])
            if not any(statistics[name] for name in ends):
                test = DieboldMariano(np.nan, np.nan, test.lags)
            statistics |= {f"dm_{unit}": test.statistic, f"p_value_{unit}": test.p_value}
        rows.append(Row(keys, statistics))
    names = [f"{name}_{unit}" for unit in _UNITS for name in ("mean", "low", "high", "std")]
    tests = [f"{name}_{unit}" for unit in _UNITS for name in ("dm", "p_value")]
    return adjusted(stack(rows, by, ("orders", *names, "better_percent", *tests)))


def adjusted(differences: pd.DataFrame) -> pd.DataFrame:
    """The table with ``p_holm_bps`` and ``p_holm_vol``: the p-values of each unit, adjusted for all of its rows (Holm).

    Args:
        differences: Table with ``p_value_bps`` and ``p_value_vol``, such as stacked ones of :func:`paired_difference`.
    """
    return differences.assign(**{f"p_holm_{unit}": holm(differences[f"p_value_{unit}"]) for unit in _UNITS})


def null_split(
    real: pd.DataFrame,
    nulls: NullDraws | Iterable[pd.DataFrame],
    by: Sequence[str] | str | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Split the improvement into the option value and what is above the null.

    On the martingale null nothing can be forecast. The improvement there is the option value: the policy chooses
    when the order, and with it the benchmark, ends. Above the null is the real improvement of each order minus the mean
    improvement of the same order over the draws of the null. It is not skill by itself, because policies that forecast
    nothing earn some of it too.

    The signs of the null are independent between bars, so the noise of its few draws differs from day to day. The
    bootstrap over days covers this noise, and intervals get narrower with more draws.

    Args:
        real: Orders table on the real bars; groups are made from its columns.
        nulls: Results of the same policy and orders on draws of the martingale null, at least one: as
            :class:`NullDraws`, or as orders tables.
        by: As for :func:`summarise`.
        level: Level, draws and seed as for :func:`summarise`.
        draws: See ``level``.
        seed: See ``level``.

    Returns:
        One row per group: the keys, ``orders`` (those priced on the real bars and on a null), and for each of ``real``,
        ``option``, ``above`` the mean and its interval in both units: ``real_bps``, ``real_low_bps``,
        ``real_high_bps``, ``option_bps`` ... ``above_high_vol``; ``real = option + above`` up to rounding.

    Raises:
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If there is no null, or ``level`` or ``draws`` is out of range.
    """
    require(real, _NEEDED)
    if not isinstance(nulls, NullDraws):
        nulls = NullDraws.join([NullDraws.of(align(real, null)) for null in nulls])
    option = nulls.of_orders(real["order_id"]).means()
    gained = np.column_stack([improvement(real, unit).to_numpy() for unit in _UNITS])
    values = np.stack([gained, option, gained - option], axis=1)  # [orders, parts, units]
    # The three means are over the same orders, or they would not add up.
    values = np.where(np.isnan(values[:, 2:]), np.nan, values).reshape(len(real), -1).T
    names = [(part, unit) for part in ("real", "option", "above") for unit in _UNITS]
    bootstrap = OrderBootstrap(real, draws, seed)
    rows: list[Row] = []
    for keys, group in groups(real, by):
        members = values.take(group, axis=1)
        low, high = bootstrap.means(members.T, group).interval(level)
        mean, _ = _mean_and_std(members, range(len(names)))
        statistics: dict[str, float] = {"orders": int(np.isfinite(members[0]).sum())}
        for column, (part, unit) in enumerate(names):
            statistics[f"{part}_{unit}"] = mean[column]
            statistics |= {f"{part}_low_{unit}": low[column], f"{part}_high_{unit}": high[column]}
        rows.append(Row(keys, statistics))
    parts = ("real", "option", "above")
    ordered = [f"{part}{end}_{unit}" for unit in _UNITS for part in parts for end in ("", "_low", "_high")]
    return stack(rows, by, ("orders", *ordered))
