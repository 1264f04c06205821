"""Parent orders: given as a table of orders, or inferred from the fills.

A table of parents is a table of orders (:mod:`lem_models.orders.table`) with two more columns that real orders have:
``end``, the moment at which the order ended, in place of ``max_periods``; and ``arrival_price`` (or ``arrival``), where
the desk wrote it down. An order with neither ``end`` nor ``max_periods`` ends with its last fill.

Without a table there is a parent for each order id of the fills, or, without ids, for each symbol, side and day.
It begins and ends with the bars of its fills. Such a window is chosen by the fills themselves: waiting before the first
fill, and what was never filled, cannot be seen. So the amount is unknown, and completion and opportunity cost are too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import FillError, OrderError
from lem_models.evaluation.tca.bar_times import ContainingPlacement, bar_times
from lem_models.evaluation.tca.fills import Fills
from lem_models.guard.frames import as_pandas
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, read_moments
from lem_models.markets.bars import Bars
from lem_models.orders.fields import is_missing, plain_name, read_number
from lem_models.orders.files import read_orders
from lem_models.orders.order import Order
from lem_models.orders.table import OrdersLike, complete_orders, orders_frame

__all__ = ["Parents", "given_parents", "inferred_parents"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_ARRIVAL = ("arrival", "arrivalprice", "decisionprice")
_END = ("end", "endtime", "endat")

_NO_SYMBOL = (
    "the fill has no symbol, and the bars have several: add a column symbol, or give the orders (--orders); an order "
    "of a desk is measured from its log (lem desk report)"
)


@dataclass(frozen=True)
class Parents:
    """Parent orders on the bars.

    Attributes:
        frame: A complete table of orders; ``order_id`` is a text, and ``start`` the start of a bar. Column
            ``arrival_price``: that of the table, NaN where the bars have to say it.
        fills: Fills with the ``order_id`` of their parent, None where they have none.
        notes: How the parents came about, one sentence each.
        are_inferred: Whether they follow from the fills.
    """

    frame: pd.DataFrame
    fills: pd.DataFrame
    notes: tuple[str, ...]
    are_inferred: bool


def given_parents(orders: OrdersLike, fills: Fills, bars: Bars) -> Parents:
    """Parents from a table of orders.

    Args:
        orders: Orders as :func:`~lem_models.execution.execute.execute` takes them, with the columns of the module.
        fills: The fills. Without order ids they belong to the only order.
        bars: The bars.

    Raises:
        OrderError: The table breaks a rule of orders, has two ends for an order, or an end before its start.
        FillError: The fills name no order, and there are several.
    """
    table, end, arrival = _split(orders)
    frame = fills.frame
    if not fills.has("order_id"):
        if len(table) != 1:
            row = int(np.argmax(frame["order_id"].isna()))
            raise FillError(
                f"the fill names no order, and there are {len(table)} orders: give each fill its order_id",
                field="order_id",
                rule="order of the fill",
                row=int(frame["row"].iloc[row]),
            )
        label = table["order_id"].iloc[0] if "order_id" in table and not is_missing(table["order_id"].iloc[0]) else 0
        frame = frame.assign(order_id=frame["order_id"].fillna(str(label)))
    placement = ContainingPlacement(bars)
    named = [name for name in ("order_id", "symbol", "start", "side") if name in table]
    placed = complete_orders(table[named].assign(max_periods=1), horizon=None, risk_aversion=None, placement=placement)
    notes = [placement.note] if placement.note else []
    ids = placed["order_id"].map(str)
    twice = ids.duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        raise OrderError(f"order_id {ids[row]!r} occurs twice", field="order_id", rule="unique", row=row)
    periods, from_fills = _periods(table, placed, ids, end, frame, bars)
    if from_fills:
        notes.append(f"{from_fills:,} orders have neither end nor max_periods: they end with their last fill")
    complete = complete_orders(
        table.assign(max_periods=periods), horizon=None, risk_aversion=None, placement=ContainingPlacement(bars)
    )
    return Parents(complete.assign(order_id=ids, arrival_price=arrival), frame, tuple(notes), are_inferred=False)


def inferred_parents(fills: Fills, bars: Bars, benchmark: str = "vwap") -> Parents:
    """Parents that follow from the fills.

    Args:
        fills: The fills, with symbol and side. Without symbols they are of the only symbol of the bars.
        bars: The bars.
        benchmark: Benchmark of the parents.

    Raises:
        FillError: A fill has no symbol or no side, or an order has fills of two symbols or both sides.
        OrderError: There is no such benchmark.
    """
    frame = fills.frame
    if not fills.has("symbol"):
        if len(bars.symbols) != 1:
            _refuse(frame, frame["symbol"].isna(), _NO_SYMBOL, "symbol")
        frame = frame.assign(symbol=frame["symbol"].fillna(bars.symbols[0]))
    _refuse(frame, frame["side"] == 0, "the fill has no side: add a column, or give the orders (--orders)", "side")
    by_id = fills.has("order_id")
    if not by_id and frame["order_id"].notna().any():
        _refuse(frame, frame["order_id"].isna(), "the fill names no order, and others do", "order_id")
    if not by_id:
        day = pd.to_datetime(frame["nanoseconds"], utc=True).dt.strftime("%Y-%m-%d")
        side = np.where(frame["side"] > 0, "buy", "sell")
        frame = frame.assign(order_id=frame["symbol"] + " " + side + " " + day)
    first = frame.groupby("order_id", sort=False)[["symbol", "side"]].transform("first")
    for name in ("symbol", "side"):
        both = "both sides" if name == "side" else "two symbols"
        _refuse(frame, frame[name] != first[name], f"the fills of an order are of {both}: give the orders", name)
    row = bar_times(bars, frame["symbol"].to_numpy(), frame["nanoseconds"].to_numpy()).row
    span = frame.assign(bar=row).groupby("order_id", sort=False)
    table = span[["symbol", "side"]].first()
    table["start"] = pd.to_datetime(span["nanoseconds"].min(), utc=True)
    known = frame[row >= 0].assign(bar=row[row >= 0]).groupby("order_id", sort=False)["bar"].agg(["min", "max"])
    known = known.reindex(table.index)
    on_bars = known["min"].notna().to_numpy()
    stamps = pd.Series(pd.to_datetime(bars.timestamp[known["min"].fillna(0).astype(np.int64)], utc=True), table.index)
    table["start"] = table["start"].where(~on_bars, stamps)
    table["max_periods"] = (known["max"] - known["min"] + 1).fillna(1).astype(np.int64)
    table["side"] = np.where(table["side"] > 0, "buy", "sell")
    complete = complete_orders(table.reset_index().assign(benchmark=benchmark), horizon=None, risk_aversion=None)
    key = "order_id" if by_id else "symbol, side and day (UTC)"
    note = (
        f"{len(complete):,} parent orders are inferred from the fills, by {key}: each begins and ends with its "
        "first and last fill, so waiting before the first fill and what was never filled cannot be seen"
    )
    return Parents(complete.assign(arrival_price=np.nan), frame, (note,), are_inferred=True)


def _refuse(frame: pd.DataFrame, wrong: pd.Series, message: str, field: str) -> None:
    rows = np.flatnonzero(wrong.to_numpy())
    if rows.size:
        first = frame.iloc[rows[0]]
        more = f" (and {rows.size - 1} more rows)" if rows.size > 1 else ""
        raise FillError(message + more, field=field, rule="required", row=int(first["row"]), order_id=first["order_id"])


def _split(orders: OrdersLike) -> tuple[pd.DataFrame, Sequence[object] | None, Floats]:
    """The table of orders without the columns of this module, their ends, if any, and their arrival prices."""
    if isinstance(orders, Order | dict):
        orders = [orders]
    if isinstance(orders, list | tuple) and all(isinstance(each, Order) for each in orders):
        table = orders_frame(orders)
        return table, None, np.full(len(table), np.nan)
    raw = read_orders(orders) if isinstance(orders, str | os.PathLike) else as_pandas(orders, "orders", OrderError)
    raw = raw.reset_index(drop=True)
    ends = [name for name in raw.columns if plain_name(name) in _END]
    arrivals = [name for name in raw.columns if plain_name(name) in _ARRIVAL]
    for names, field in ((ends, "end"), (arrivals, "arrival_price")):
        if len(names) > 1:
            raise OrderError(f"the orders have {' and '.join(map(shown, names))}", field=field, rule="one column")
    table = orders_frame(raw.drop(columns=[*ends, *arrivals]))
    arrival = np.full(len(table), np.nan)
    for row, cell in enumerate(raw[arrivals[0]].tolist() if arrivals else ()):
        arrival[row] = _price(cell, row)
    return table, list(raw[ends[0]].array) if ends else None, arrival


def _price(cell: object, row: int) -> float:
    """An arrival price; NaN in an empty cell. A CSV of orders leaves columns that are no fields as it read them."""
    if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
        return float("nan")
    try:
        price = float(cell) if isinstance(cell, str) else read_number(cell, "arrival_price")
    except (OrderError, ValueError):
        price = float("nan")
    if not 0 < price < float("inf"):
        raise OrderError(f"the arrival price is {shown(cell)}", field="arrival_price", rule="positive price", row=row)
    return price


def _periods(
    table: pd.DataFrame,
    placed: pd.DataFrame,
    ids: pd.Series,
    end: Sequence[object] | None,
    fills: pd.DataFrame,
    bars: Bars,
) -> tuple[pd.Series, int]:
    """``max_periods`` of each order, and how many follow from the fills."""
    cells = list(table["max_periods"].array) if "max_periods" in table else [None] * len(table)
    symbols = placed["symbol"].to_numpy(dtype=object)
    first = bar_times(bars, symbols, np.asarray(placed["start"].astype("int64"), dtype=np.int64)).row
    order = pd.Index(ids).get_indexer(pd.Index(fills["order_id"]))
    mine = order >= 0
    rows = np.full(len(fills), -1, dtype=np.int64)
    moments = np.asarray(fills["nanoseconds"], dtype=np.int64)
    rows[mine] = bar_times(bars, symbols[order[mine]], moments[mine]).row
    last = np.full(len(table), -1, dtype=np.int64)
    np.maximum.at(last, order[mine], rows[mine])
    from_fills = 0
    for row, cell in enumerate(cells):
        stop = None if end is None or _is_empty(end[row]) else _moment(end[row], row)
        if stop is not None:
            if not is_missing(cell):
                raise OrderError(
                    "the order has end and max_periods: leave one out", field="end", rule="one end", row=row
                )
            cells[row] = _bars_until(bars, int(first[row]), stop, row)
        elif is_missing(cell):
            cells[row] = max(int(last[row] - first[row]) + 1, 1) if first[row] >= 0 else 1
            from_fills += 1
    return pd.Series(cells, dtype=object), from_fills


def _is_empty(cell: object) -> bool:
    return is_missing(cell) or cell is pd.NaT or (isinstance(cell, str) and not cell.strip())


def _moment(cell: object, row: int) -> int:
    try:
        return int(read_moments(pd.Series([cell], dtype=object))[0])
    except MomentError as error:
        raise OrderError(f"end: {error.reason}", field="end", rule="timestamp", row=row) from None


def _bars_until(bars: Bars, first: int, stop: int, row: int) -> int:
    """Bars from a first one that start before a moment."""
    if first < 0:
        return 1  # the order is left out, because no bar starts with it
    number = int(bars.grid.symbol(np.array([first]))[0])
    high = int(bars.offsets[number + 1])
    count = int(np.searchsorted(bars.timestamp[first:high], stop, side="left"))
    if not count:
        raise OrderError("the order ends before its first bar starts", field="end", rule="after the start", row=row)
    return count
