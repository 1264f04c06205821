"""Fills on the bars of their orders: what can be measured, what is left out, and what looks wrong.

Nothing is dropped in silence. A fill that belongs to no order, or to no bar, is left out and listed with its reason. A
fill that looks wrong but happened (outside the range of its bar, after the end, too much) is kept and counted.
An order whose bars have a gap is left out with its fills, because its benchmark is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.evaluation.tca.bar_times import bar_times
from lem_models.evaluation.tca.parents import Parents
from lem_models.execution.execute import NO_SYMBOL
from lem_models.execution.result import first_bars
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars
from lem_models.markets.origins import REASONS

__all__ = ["PlacedFills", "outside_range", "place_fills"]

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

NO_ORDER = "the table of orders has no such order"
OTHER_SYMBOL = "the fill is of another symbol than its order"
OTHER_SIDE = "the fill is of the other side than its order"
NO_BAR = "no bar holds its time"
EARLY = "it comes before the first bar of its order"
LEFT_OUT = "its order is left out"

_EDGE = 1e-9


@dataclass(frozen=True)
class PlacedFills:
    """Fills and orders that can be measured.

    Attributes:
        orders: Complete orders, a row each, with ``arrival_price`` as given.
        start: Flat index of each order's first bar, [orders].
        periods: Bars that each order is measured over, [orders]: its maximum, or until its last fill if that is later.
        fills: A row per fill: columns of :class:`~lem_models.evaluation.tca.fills.Fills`, ``order`` (row of the order),
            ``bar`` (flat index) and ``period``.
        left_out: Fills that are not measured: their columns and ``reason``.
        excluded: Orders that are not measured: ``order_id``, ``symbol``, ``start``, ``reason``.
        issues: A row per kind of problem: ``issue``, ``fills``, ``effect`` (``"kept"`` or ``"left out"``), ``first``.
        notes: Further sentences for the reader.
    """

    orders: pd.DataFrame
    start: Integers
    periods: Integers
    fills: pd.DataFrame
    left_out: pd.DataFrame
    excluded: pd.DataFrame
    issues: pd.DataFrame
    notes: tuple[str, ...]


def place_fills(parents: Parents, bars: Bars, *, tolerance_bps: float = 1.0) -> PlacedFills:
    """Match fills with orders and bars.

    Args:
        parents: Orders and fills.
        bars: The bars.
        tolerance_bps: How far outside the range of its bar a price may lie before it is counted.
    """
    table, fills = parents.frame, parents.fills.reset_index(drop=True)
    order = np.asarray(pd.Index(table["order_id"]).get_indexer(pd.Index(fills["order_id"])))
    of_order = table.iloc[np.maximum(order, 0)].reset_index(drop=True)
    symbol = of_order["symbol"].to_numpy(dtype=object)
    side = np.where(of_order["side"] == "buy", 1, -1)
    placed = bar_times(bars, symbol, fills["nanoseconds"].to_numpy())
    start = first_bars(bars, table)
    first = start[np.maximum(order, 0)]
    reasons: list[tuple[str, Booleans]] = [
        (NO_ORDER, order < 0),
        (OTHER_SYMBOL, (fills["symbol"].notna() & (fills["symbol"] != symbol)).to_numpy()),
        (OTHER_SIDE, ((fills["side"] != 0) & (fills["side"] != side)).to_numpy()),
        (NO_SYMBOL, ~np.isin(symbol, list(bars.symbols))),
        (NO_BAR, placed.row < 0),
        (EARLY, (first >= 0) & (placed.row < first)),
    ]
    reason = np.full(len(fills), "", dtype=object)
    for text, holds in reasons:
        reason[holds & (reason == "")] = text
    good = reason == ""
    # Fills after the end are real: the order is measured until the last of them.
    periods = table["max_periods"].to_numpy(np.int64).copy()
    late = good & (first >= 0) & (placed.row - first >= periods[np.maximum(order, 0)])
    np.maximum.at(periods, order[late], placed.row[late] - first[late] + 1)
    codes = _codes(bars, start, periods)
    why = np.array([REASONS[int(code)] for code in codes], dtype=object)
    why[~table["symbol"].isin(list(bars.symbols)).to_numpy()] = NO_SYMBOL
    out = codes > 0
    excluded = table.loc[out, ["order_id", "symbol", "start"]].assign(reason=why[out]).reset_index(drop=True)
    reason[good & out[np.maximum(order, 0)]] = LEFT_OUT
    good = reason == ""
    number = np.cumsum(~out) - 1  # of each order among those that stay
    kept = fills[good].assign(order=number[order[good]], bar=placed.row[good], period=placed.row[good] - first[good])
    orders = table[~out].reset_index(drop=True)
    rows = [_issue(text, fills, reason == text, "left out") for text in (*(text for text, _ in reasons), LEFT_OUT)]
    rows += _doubts(bars, orders, kept.reset_index(drop=True), late[good], placed.after_close[good], tolerance_bps)
    issues = pd.DataFrame([row for row in rows if row[1]], columns=["issue", "fills", "effect", "first"])
    return PlacedFills(
        orders,
        start[~out],
        periods[~out],
        kept.reset_index(drop=True),
        fills[~good].assign(reason=reason[~good]).reset_index(drop=True),
        excluded,
        issues,
        parents.notes,
    )


def _codes(bars: Bars, start: Integers, periods: Integers) -> Integers:
    """Why orders cannot be measured, keys of :data:`~lem_models.markets.origins.REASONS`; 0 for those that can."""
    first = np.maximum(start, 0)
    stop = first + periods
    ends = stop > bars.offsets[bars.grid.symbol(first) + 1]
    gap = stop > bars.grid.gapless_end(first)
    return np.select([start < 0, ends, gap], [1, 4, 5], 0).astype(np.int64)


def outside_range(bars: Bars, fills: pd.DataFrame, tolerance_bps: float) -> Booleans:
    """Whether the price of each placed fill lies outside the range of its bar, [fills]."""
    bar, price, slack = fills["bar"].to_numpy(), fills["price"].to_numpy(), tolerance_bps * 1e-4
    return np.asarray((price > bars.high[bar] * (1 + slack)) | (price < bars.low[bar] * (1 - slack)))


def _doubts(
    bars: Bars, orders: pd.DataFrame, fills: pd.DataFrame, late: Booleans, after_close: Booleans, tolerance_bps: float
) -> list[tuple[str, int, str, str]]:
    """Fills that are measured and look wrong."""
    bar = fills["bar"].to_numpy()
    price, quantity = fills["price"].to_numpy(), fills["quantity"].to_numpy()
    outside = outside_range(bars, fills, tolerance_bps)
    idle = bars.volume[bar] == 0
    of_bar = fills.groupby(["order", "bar"])["quantity"].transform("sum").to_numpy()
    crowded = ~idle & (of_bar > bars.volume[bar] * (1 + _EDGE))
    size = fills["order"].map(orders["amount"]).to_numpy(np.float64)
    is_notional = fills["order"].map(orders["target"] == "notional").to_numpy(bool)
    done = (quantity * np.where(is_notional, price, 1.0)).astype(np.float64)
    in_time = fills.assign(done=done).sort_values(["nanoseconds", "row"], kind="stable")
    filled = in_time.groupby("order")["done"].cumsum().reindex(fills.index).to_numpy()
    over = filled > size * (1 + _EDGE)
    return [
        _issue(
            f"the price lies outside the range of its bar by more than {tolerance_bps:g} bps", fills, outside, "kept"
        ),
        _issue("the fills of a bar are more than its volume", fills, crowded, "kept"),
        _issue("its bar has no volume", fills, idle, "kept"),
        _issue("it comes after the end of its order, which is measured until then", fills, late, "kept"),
        _issue("it makes the order larger than its amount", fills, over, "kept"),
        _issue("it comes after the close and belongs to the last bar of the session", fills, after_close, "kept"),
    ]


def _issue(text: str, fills: pd.DataFrame, holds: Booleans, effect: str) -> tuple[str, int, str, str]:
    rows = np.flatnonzero(holds)
    if not rows.size:
        return text, 0, effect, ""
    first = fills.iloc[rows[0]]
    when = pd.Timestamp(int(first["nanoseconds"]), tz="UTC")
    order = "" if first["order_id"] is None else f"order {shown(first['order_id'])}, "
    example = f"row {first['row']}: {order}{first['quantity']:g} at {first['price']:g}, {when:%Y-%m-%d %H:%M:%S} UTC"
    return text, int(rows.size), effect, example
