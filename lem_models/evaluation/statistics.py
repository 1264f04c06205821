"""Statistics of executed orders: mean improvement with an interval that knows that orders of one day move together.

The improvement of an order is minus its slippage, ``improvement = -side * (executed / benchmark - 1) * 1e4`` basis
points; positive is better than the benchmark. It comes in two units: basis points (bps), and bar volatilities, i.e.
divided, order by order, by the bar volatility known at the start, which makes calm and wild assets comparable.

Intervals come from the bootstrap over calendar days (:mod:`lem_models.evaluation.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lem_models.errors import ConfigError, OrderError, UnknownNameError
from lem_models.evaluation.bootstrap import bootstrap_mean_intervals

__all__ = [
    "SUMMARY_COLUMNS",
    "Unit",
    "compare",
    "improvement",
    "null_split",
    "paired_difference",
    "summarise",
]

Unit = Literal["bps", "vol"]
"""Unit of an improvement: basis points, or bar volatilities."""

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
)
"""Columns of :func:`summarise`, after the columns it is grouped by."""

_NEEDED = ("order_id", "start", "slippage_bps", "volatility_bps")
_SUMMARISED = ("periods_used", "completed", "filled")
_IDENTITY = ("symbol", "start", "side", "benchmark", "target", "min_periods", "max_periods")
_NO_KEYS = pd.DataFrame(index=[0])


def improvement(orders: pd.DataFrame, unit: Unit = "bps") -> pd.Series[float]:
    """Improvement over the benchmark, order by order.

    Args:
        orders: Orders table of a result.
        unit: ``"bps"``, or ``"vol"`` for bar volatilities (NaN where the volatility is not positive).

    Returns:
        One value per row, positive is better than the benchmark; NaN where nothing was filled.
    """
    bps: pd.Series[float] = 0.0 - orders["slippage_bps"].astype(float)  # not "-x": an exact 0 shall not become -0.0
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
        by: Column or columns to group by; ``None`` for one row over all orders.
        level: Probability that the intervals shall cover.
        draws: Number of bootstrap draws.
        seed: Seed of the draws (the same for every group: groups of the same days see the same draws).

    Returns:
        One row per group, sorted by the keys: the keys, then :data:`SUMMARY_COLUMNS`. ``orders`` counts every order of
        the group; orders of which nothing was filled (NaN slippage) are left out of the price statistics and show in
        ``completed_percent`` and ``filled_percent``. Standard deviations are those of a sample (``n - 1``).

    Raises:
        OrderError: If a column is missing from the table.
        UnknownNameError: If ``by`` names a column that is not there.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    _require(orders, (*_NEEDED, *_SUMMARISED))
    rows: list[pd.DataFrame] = []
    for keys, group in _groups(orders, by):
        bps, vol = improvement(group, "bps"), improvement(group, "vol")
        values = np.column_stack([bps, vol])
        low, high = bootstrap_mean_intervals(values, _days(group), level=level, draws=draws, seed=seed)
        priced = int(bps.notna().sum())
        quantiles = bps.quantile([0.5, 0.05, 0.95])
        statistics = {
            "orders": len(group),
            "mean_bps": bps.mean(),
            "low_bps": low[0],
            "high_bps": high[0],
            "std_bps": bps.std(),
            "median_bps": quantiles.iloc[0],
            "q05_bps": quantiles.iloc[1],
            "q95_bps": quantiles.iloc[2],
            "better_percent": 100.0 * int((bps > 0).sum()) / priced if priced else np.nan,
            "mean_vol": vol.mean(),
            "low_vol": low[1],
            "high_vol": high[1],
            "std_vol": vol.std(),
            "volatility_bps": group["volatility_bps"].astype(float).mean(),
            "periods_used": group["periods_used"].astype(float).mean(),
            "completed_percent": 100.0 * group["completed"].astype(float).mean(),
            "filled_percent": 100.0 * group["filled"].astype(float).mean(),
        }
        rows.append(keys.assign(**statistics))
    return _table(rows, by, SUMMARY_COLUMNS)


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
        UnknownNameError: If ``by`` names a column that is not there.
        ConfigError: If there is no policy, or ``level`` or ``draws`` is out of range.
    """
    if not results:
        raise ConfigError("there is nothing to compare: no policy was given")
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
    """How much better ``a`` did than ``b`` on the same orders, with an interval of the difference.

    Pairing order by order removes what the market did to both, so the interval is much narrower than two separate ones.

    Args:
        a: Orders table of one policy; groups are made from its columns.
        b: Orders table of the other policy, the same orders in any sequence.
        by: As for :func:`summarise`.
        level: Level, draws and seed as for :func:`summarise`.
        draws: See ``level``.
        seed: See ``level``.

    Returns:
        One row per group: the keys, ``orders`` (those priced in both), ``mean``, ``low``, ``high`` and ``std`` of the
        improvement of ``a`` minus that of ``b`` in both units (``mean_bps`` ... ``std_vol``), and ``better_percent``
        (orders in which ``a`` is ahead).

    Raises:
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names a column that is not there.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    other = _aligned(a, b)
    both = a.assign(
        _bps=improvement(a, "bps").to_numpy() - improvement(other, "bps").to_numpy(),
        _vol=improvement(a, "vol").to_numpy() - improvement(other, "vol").to_numpy(),
    )
    rows: list[pd.DataFrame] = []
    for keys, group in _groups(both, by):
        gain = group[["_bps", "_vol"]]
        low, high = bootstrap_mean_intervals(gain, _days(group), level=level, draws=draws, seed=seed)
        mean, std, priced = gain.mean().to_numpy(), gain.std().to_numpy(), int(group["_bps"].notna().sum())
        statistics: dict[str, float] = {"orders": priced}
        for column, unit in enumerate(("bps", "vol")):
            statistics |= {f"mean_{unit}": mean[column], f"low_{unit}": low[column], f"high_{unit}": high[column]}
            statistics[f"std_{unit}"] = std[column]
        statistics["better_percent"] = 100.0 * int((group["_bps"] > 0).sum()) / priced if priced else np.nan
        rows.append(keys.assign(**statistics))
    parts = [f"{part}_{unit}" for unit in ("bps", "vol") for part in ("mean", "low", "high", "std")]
    return _table(rows, by, ("orders", *parts, "better_percent"))


def null_split(
    real: pd.DataFrame,
    nulls: Sequence[pd.DataFrame],
    by: Sequence[str] | str | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Split the improvement into the value of the option and the value of the forecast.

    On the martingale null there is nothing to forecast. What is gained there is the value of the option to choose when
    the order, and with it the benchmark, ends. The rest is what the forecast is worth: the real improvement of each
    order minus the mean improvement of the same order over the draws of the null.

    Args:
        real: Orders table on the real bars; groups are made from its columns.
        nulls: Orders tables of the same policy and orders on draws of the martingale null, at least one.
        by: As for :func:`summarise`.
        level: Level, draws and seed as for :func:`summarise`.
        draws: See ``level``.
        seed: See ``level``.

    Returns:
        One row per group: the keys, ``orders`` (those priced on the real bars and on a null), and for each of ``real``,
        ``option``, ``forecast`` the mean and its interval in both units: ``real_bps``, ``real_low_bps``,
        ``real_high_bps``, ``option_bps`` ... ``forecast_high_vol``; ``real = option + forecast`` up to rounding.

    Raises:
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names a column that is not there.
        ConfigError: If there is no null, or ``level`` or ``draws`` is out of range.
    """
    if not nulls:
        raise ConfigError("the split needs at least one draw of the martingale null")
    aligned = [_aligned(real, null) for null in nulls]
    names = [f"{part}_{unit}" for unit in ("bps", "vol") for part in ("real", "option", "forecast")]
    values = np.empty((len(real), len(names)))
    units: tuple[Unit, ...] = ("bps", "vol")
    for position, unit in enumerate(units):
        drawn = np.stack([improvement(null, unit).to_numpy() for null in aligned])  # [draws of the null, orders]
        known = np.isfinite(drawn).sum(axis=0)
        option = np.where(known > 0, np.nansum(drawn, axis=0) / np.maximum(known, 1), np.nan)
        gained = improvement(real, unit).to_numpy()
        parts = np.column_stack([gained, option, gained - option])
        parts[np.isnan(parts[:, 2])] = np.nan  # the three means are over the same orders, or they would not add up
        values[:, 3 * position : 3 * position + 3] = parts
    split = real.assign(**{f"_{name}": values[:, column] for column, name in enumerate(names)})
    rows: list[pd.DataFrame] = []
    for keys, group in _groups(split, by):
        table = group[[f"_{name}" for name in names]].to_numpy()
        low, high = bootstrap_mean_intervals(table, _days(group), level=level, draws=draws, seed=seed)
        priced = np.isfinite(table).sum(axis=0)
        mean = np.where(priced > 0, np.nansum(table, axis=0) / np.maximum(priced, 1), np.nan)
        statistics: dict[str, float] = {"orders": int(priced[0])}
        for column, name in enumerate(names):
            part, unit_name = name.rsplit("_", 1)
            statistics[name] = mean[column]
            statistics[f"{part}_low_{unit_name}"] = low[column]
            statistics[f"{part}_high_{unit_name}"] = high[column]
        rows.append(keys.assign(**statistics))
    ordered = [f"{part}{end}_{unit}" for unit in units for part in ("real", "option", "forecast") for end in _ENDS]
    return _table(rows, by, ("orders", *ordered))


_ENDS = ("", "_low", "_high")


def _days(orders: pd.DataFrame) -> NDArray[np.int64]:
    """UTC day on which each order starts, as a day number [orders]."""
    start = pd.to_datetime(orders["start"], utc=True)
    return start.dt.tz_localize(None).to_numpy().astype("datetime64[D]").astype(np.int64)


def _require(orders: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table that lacks a column."""
    for column in columns:
        if column not in orders.columns:
            raise OrderError("the orders table of a result lacks a column", field=column, rule="column present")


def _keys(by: Sequence[str] | str | None) -> list[str]:
    """Columns to group by, as a list."""
    if by is None:
        return []
    return [by] if isinstance(by, str) else list(by)


def _groups(orders: pd.DataFrame, by: Sequence[str] | str | None) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield (one-row table of the keys, rows of the group), sorted by the keys; without keys the whole table."""
    columns = _keys(by)
    for column in columns:
        if column not in orders.columns:
            raise UnknownNameError.among("column to group by", column, (str(name) for name in orders.columns))
    if not columns:
        yield _NO_KEYS, orders
        return
    for _, group in orders.groupby(columns, sort=True, dropna=False, observed=True):
        yield group[columns].iloc[:1].reset_index(drop=True), group


def _table(rows: list[pd.DataFrame], by: Sequence[str] | str | None, columns: Sequence[str]) -> pd.DataFrame:
    """Stack the rows of all groups; an empty table keeps its columns."""
    names = [*_keys(by), *columns]
    table: pd.DataFrame = pd.concat(rows, ignore_index=True)[names] if rows else pd.DataFrame(columns=names)
    return table


def _aligned(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``b`` in the sequence of ``a``, after checking that both hold the same orders."""
    for table in (a, b):
        _require(table, _NEEDED)
        repeated = table["order_id"].duplicated().to_numpy()
        if repeated.any():
            row = int(repeated.argmax())
            raise OrderError(
                f"order ids repeat ({table['order_id'].iloc[row]}); orders cannot be paired",
                field="order_id",
                rule="unique",
                row=row,
            )
    position = pd.Index(b["order_id"]).get_indexer(pd.Index(a["order_id"]))
    if len(a) != len(b) or (position < 0).any():
        missing = a["order_id"].to_numpy()[position < 0]
        example = f", e.g. {missing[0]} is only in the first" if len(missing) else ""
        raise OrderError(
            f"the two results hold different orders ({len(a)} and {len(b)}{example}); run both on the same orders",
            field="order_id",
            rule="same orders",
        )
    other: pd.DataFrame = b.iloc[position].reset_index(drop=True)
    for column in _IDENTITY:  # default ids are row numbers: two unrelated tables can share them
        if column in a.columns and column in b.columns:
            different = (a[column].reset_index(drop=True) != other[column]).to_numpy()
            if different.any():
                row = int(different.argmax())
                raise OrderError(
                    f"order {a['order_id'].iloc[row]} is not the same order in both results: {column} is "
                    f"{a[column].iloc[row]} and {other[column].iloc[row]}",
                    field=column,
                    rule="same orders",
                    row=row,
                )
    return other
