"""Fills of a programme: what was really bought, from a table or a CSV file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import OrderError
from lem_models.guard.text import shown
from lem_models.markets.calendar.frequency import DAY
from lem_models.programmes.terms import Dates

__all__ = ["Fills", "FillsLike"]

FillsLike: TypeAlias = "pd.DataFrame | str | os.PathLike[str] | None"
"""A table of fills, a CSV file of them, or ``None`` for none."""

_NEEDED = ("timestamp", "quantity", "price")
_KNOWN = (*_NEEDED, "id")


class Fills:
    """Fills, checked and in time order.

    Columns: ``timestamp`` (a day, or a time with its zone), ``quantity`` in shares (negative where a fill was
    busted, at the price of that fill; a programme does not sell), ``price``, and an optional ``id``. The same fill
    twice, by its id, counts once.

    Args:
        fills: The table.

    Attributes:
        quantity: Shares, int64 [fills].
        price: Price, [fills].
        dates: Days in UTC, datetime64[D] [fills].
        time: Nanoseconds UTC, [fills].
        has_time: Whether the fill has a time of the day, bool [fills].

    Raises:
        OrderError: A column is missing or unknown, a value is no fill, or two fills share an id and differ; names the
            row.
    """

    def __init__(self, fills: FillsLike = None) -> None:
        table = _table_of(fills)
        for name in _NEEDED:
            if name not in table.columns:
                raise OrderError(
                    f"the fills lack the column {name!r}; they need {', '.join(_NEEDED)}, and may have id",
                    field=name,
                    rule="columns of fills",
                )
        unknown = [str(name) for name in table.columns if name not in _KNOWN]
        if unknown:
            raise OrderError(
                f"nothing reads the column {shown(unknown[0])} of the fills; leave it out", rule="columns of fills"
            )
        table = _once(table.reset_index(drop=True))
        quantity, price = (_numbers(table, name) for name in ("quantity", "price"))
        _refuse(table, quantity != np.rint(quantity), "quantity", "must be a whole number of shares")
        _refuse(table, ~(price > 0), "price", "must be positive")
        _refuse_sales(table, quantity, price)
        stamp = _moments(table)
        order = np.argsort(stamp.asi8, kind="stable")
        self.quantity = quantity[order].astype(np.int64)
        self.price = price[order]
        self.time = stamp.asi8[order]
        self.has_time = self.time % DAY != 0
        self.dates: Dates = self.time.astype("datetime64[ns]").astype("datetime64[D]")

    def __len__(self) -> int:
        """Number of fills."""
        return len(self.quantity)

    def up_to(self, day: np.datetime64) -> Fills:
        """The fills up to a day, that day included."""
        kept = Fills()
        mine = self.dates <= day
        for name in ("quantity", "price", "time", "has_time", "dates"):
            setattr(kept, name, getattr(self, name)[mine])
        return kept

    def by_day(self, days: Dates) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Shares and money of each of some days, ascending. Fills between two of them count for the later one.

        Returns:
            Shares, int64 [days], and money, [days]. Fills after the last day are left out.
        """
        at = np.searchsorted(days, self.dates)
        inside = at < len(days)
        shares, money = np.zeros(len(days), dtype=np.int64), np.zeros(len(days))
        np.add.at(shares, at[inside], self.quantity[inside])
        np.add.at(money, at[inside], (self.quantity * self.price)[inside])
        return shares, money


def _table_of(fills: FillsLike) -> pd.DataFrame:
    if fills is None:
        return pd.DataFrame({name: [] for name in _NEEDED})
    if isinstance(fills, pd.DataFrame):
        return fills
    path = Path(fills)
    if not path.is_file():
        raise OrderError(f"there is no file of fills {path}", rule="readable file")
    try:
        return pd.read_csv(path, dtype={"timestamp": str, "id": str}, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise OrderError(f"cannot read the fills {path}: {error}", rule="readable file") from None


def _once(table: pd.DataFrame) -> pd.DataFrame:
    """The table without repeated fills."""
    if "id" not in table.columns:
        return table
    table = table.drop_duplicates().reset_index(drop=True)
    named = table["id"].notna() & (table["id"].astype(str) != "")
    twice = (table["id"].duplicated() & named).to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        raise OrderError(
            f"two fills have the id {shown(table['id'].iloc[row])} and differ; report a correction under an id of its "
            "own, with a negative quantity for what was busted",
            field="id",
            rule="unique fills",
            row=row,
        )
    return table


def _numbers(table: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
    _refuse(table, ~np.isfinite(values), name, "must be a number")
    return np.asarray(values)


def _refuse_sales(table: pd.DataFrame, quantity: npt.NDArray[np.float64], price: npt.NDArray[np.float64]) -> None:
    """Refuse a negative quantity that takes back no purchase: it would be a sale, and a programme only buys."""
    bought = pd.Series(quantity).groupby(price).transform("sum").to_numpy()
    wrong = (quantity < 0) & (bought < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise OrderError(
            f"the quantity is {quantity[row]:g}, and not so many shares were bought at {price[row]:g}: a negative "
            "quantity takes back a busted purchase at its own price, and a programme does not sell",
            field="quantity",
            rule="a busted purchase",
            row=row,
        )


def _moments(table: pd.DataFrame) -> pd.DatetimeIndex:
    """Times in UTC; a day is its midnight."""
    moments = []
    for row, value in enumerate(table["timestamp"].tolist()):
        try:
            moment = pd.Timestamp(value)
        except (ValueError, TypeError, OverflowError):
            moment = pd.NaT  # type: ignore[assignment]
        if pd.isna(moment):
            problem = f"timestamp must be a day (2024-01-31) or a time with its zone; got {shown(value)}"
            raise OrderError(problem, field="timestamp", rule="time of a fill", row=row)
        if moment.tzinfo is None:
            if moment != moment.normalize():
                problem = f"timestamp {shown(value)} needs a zone, such as {moment.isoformat()}Z"
                raise OrderError(problem, field="timestamp", rule="time zone", row=row)
            moment = moment.tz_localize("UTC")
        moments.append(moment.tz_convert("UTC"))
    return pd.DatetimeIndex(moments, tz="UTC").as_unit("ns")


def _refuse(table: pd.DataFrame, wrong: npt.NDArray[np.bool_], name: str, rule: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise OrderError(f"{name} {rule}; got {shown(table[name].iloc[row])}", field=name, rule=rule, row=row)
