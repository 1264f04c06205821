"""Groups of the rows of an orders table, the time that orders span, and the alignment of two tables.

Derived keys need no column: ``hour`` (UTC hour of the start), ``weekday``, ``month`` (2024-03) and ``volatility``
(tercile of the bar volatility known at the start, over the whole table). A column of the same name has priority.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lem_models.errors import OrderError, UnknownNameError

__all__ = [
    "DERIVED_KEYS",
    "Row",
    "Times",
    "align",
    "end_times",
    "groups",
    "key_names",
    "require",
    "stack",
    "start_times",
]

Times: TypeAlias = "NDArray[np.datetime64]"

_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_TERCILES = ["low", "middle", "high"]
_IDENTITY = ("symbol", "start", "side", "benchmark", "target", "min_periods", "max_periods")


def _named(codes: pd.Series[int], names: list[str]) -> pd.Series:
    """Names that sort by their code, not by alphabet; missing where the code is -1."""
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names), ordered=True), index=codes.index)


def _terciles(volatility: pd.Series[float]) -> pd.Series:
    """Tercile of each order; missing where the volatility is."""
    low, high = volatility.quantile([1 / 3, 2 / 3])
    codes = (volatility > low).astype(int) + (volatility > high).astype(int)
    return _named(codes.where(volatility.notna(), -1), _TERCILES)


_DERIVED: dict[str, tuple[str, Callable[[pd.Series], pd.Series]]] = {
    "hour": ("start", lambda start: _utc(start).dt.hour),
    "weekday": ("start", lambda start: _named(_utc(start).dt.day_of_week, _WEEKDAYS)),
    "month": ("start", lambda start: _utc(start).dt.strftime("%Y-%m")),
    "volatility": ("volatility_bps", lambda volatility: _terciles(volatility.astype(float))),
}
DERIVED_KEYS = tuple(_DERIVED)
"""Keys to group by that are computed from the columns that every result has."""


def _utc(start: pd.Series) -> pd.Series:
    return pd.to_datetime(start, utc=True)


def key_names(by: Sequence[str] | str | None) -> list[str]:
    """Keys to group by, as a list."""
    if by is None:
        return []
    return [by] if isinstance(by, str) else list(by)


def groups(orders: pd.DataFrame, by: Sequence[str] | str | None) -> Iterator[tuple[pd.DataFrame, NDArray[np.int64]]]:
    """Yield (one-row table of the keys, rows of the group), sorted by the keys; without keys the whole table.

    Args:
        orders: Orders table of a result.
        by: Columns or derived keys.

    Raises:
        UnknownNameError: If ``by`` names neither a column nor a derived key.
    """
    names = key_names(by)
    if not names:
        yield pd.DataFrame(index=[0]), np.arange(len(orders))
        return
    keys = pd.DataFrame({name: _key(orders, name) for name in names}, index=orders.index).reset_index(drop=True)
    number = keys.groupby(names, sort=True, dropna=False, observed=True).ngroup().to_numpy()
    by_group = np.argsort(number, kind="stable")
    for rows in np.split(by_group, np.flatnonzero(np.diff(number[by_group])) + 1):
        if len(rows):
            yield keys.iloc[rows[:1]].reset_index(drop=True), rows


def _key(orders: pd.DataFrame, name: str) -> pd.Series:
    """Values of a key, order by order."""
    if name in orders.columns:
        return orders[name]
    if name not in _DERIVED:
        known = [*(str(column) for column in orders.columns), *DERIVED_KEYS]
        raise UnknownNameError.among("column to group by", name, known)
    source, derive = _DERIVED[name]
    require(orders, [source])
    return derive(orders[source])


class Row(NamedTuple):
    """The row of a group in a table of statistics.

    Attributes:
        keys: One-row table of its keys.
        statistics: Its statistics by name.
    """

    keys: pd.DataFrame
    statistics: Mapping[str, object]


def stack(rows: Sequence[Row], by: Sequence[str] | str | None, columns: Sequence[str]) -> pd.DataFrame:
    """Table of the rows of all groups: the keys, then the statistics; an empty table keeps its columns."""
    if not rows:
        return pd.DataFrame(columns=[*key_names(by), *columns])
    # Much faster than a table per row.
    keys = pd.concat([each.keys for each in rows], ignore_index=True)
    statistics = pd.DataFrame({name: [each.statistics[name] for each in rows] for name in columns})
    return pd.concat([keys[key_names(by)], statistics], axis=1)


def require(orders: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table that lacks a column."""
    for column in columns:
        if column not in orders.columns:
            raise OrderError("the orders table of a result lacks a column", field=column, rule="column present")


# --- time ------------------------------------------------------------------------------------------------------------


def start_times(orders: pd.DataFrame) -> Times:
    """When each order starts, UTC, [orders]."""
    times: Times = _utc(orders["start"]).dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    return times


def end_times(orders: pd.DataFrame) -> Times:
    """When each order is over at the latest, UTC, exclusive, [orders].

    That is the column ``end``. A table without this column does not show the length of its bars: then a period is the
    smallest step between two starts, which may be too long, but not too short.
    """
    if "end" in orders.columns:
        times: Times = _utc(orders["end"]).dt.tz_localize(None).to_numpy().astype("datetime64[us]")
        return times
    start = start_times(orders)
    steps = np.diff(np.unique(start))
    if "max_periods" not in orders.columns or not len(steps):
        return start + np.timedelta64(1, "us")
    ended: Times = start + orders["max_periods"].to_numpy().astype(np.int64) * steps.min()
    return ended


# --- two tables ------------------------------------------------------------------------------------------------------


def align(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``b`` in the order of ``a``; both must hold the same orders.

    Raises:
        OrderError: If order ids are missing or not unique, or the tables hold different orders.
    """
    for table in (a, b):
        require(table, ["order_id"])
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
