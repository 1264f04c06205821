"""Measures of executed orders: slippage against six prices, shortfall, participation, completion, reversion.

Signs and prices are those of the whole package. The interval of an order is its periods ``0 .. max(min_periods, periods
used) - 1``; the horizon is ``max_periods``, longer where fills came later. A number that has no meaning is NaN: a
slippage where nothing filled, a completion where no amount is known.

The money of the whole order on arrival is ``paper * A``, with ``paper`` units: ``Q / c`` for an order that filled ``Q``
units and the part ``c`` of its amount, ``Q`` for one that filled more or has no amount. The implementation shortfall is

    side * (M - Q A) + fees + side * (paper - Q) (L - A),

the cost of what was traded and of what was not, at the last close ``L`` of the horizon (Perold 1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.evaluation.post_trade import reversion_from
from lem_models.evaluation.tca.decomposition import CAUSES, Cells, decompose
from lem_models.evaluation.tca.fills import Decisions
from lem_models.evaluation.tca.placing import PlacedFills
from lem_models.markets.bars import Bars

__all__ = ["AGAINST", "cells_of", "measure"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_COMPLETE = 1 - 1e-9

AGAINST = ("interval_vwap", "full_vwap", "interval_twap", "arrival")
"""Prices that every order is measured against, beside its own benchmark: column ``<name>_bps``."""


def cells_of(placed: PlacedFills, bars: Bars, decisions: Decisions | None = None) -> tuple[Cells, int]:
    """The bars of orders with what was filled in them.

    Args:
        placed: The orders and their fills.
        bars: The bars.
        decisions: What was wanted.

    Returns:
        The cells, and the number of decisions that lie on no bar of their order.
    """
    count = placed.periods
    base = np.cumsum(count) - count
    order = np.repeat(np.arange(len(count)), count)
    period = np.arange(int(count.sum())) - np.repeat(base, count)
    rows = placed.start[order] + period
    fills = placed.fills
    at = base[fills["order"].to_numpy(np.int64)] + fills["period"].to_numpy(np.int64)
    quantity = fills["quantity"].to_numpy(np.float64)
    units, money, fees = (
        np.bincount(at, values, len(order)).astype(np.float64)
        for values in (quantity, quantity * fills["price"].to_numpy(), fills["fee"].to_numpy())
    )
    wanted, missed = (None, 0) if decisions is None else _wanted(decisions, placed, bars, base)
    cells = Cells(order, period, bars.vwap_at(rows), bars.volume[rows], units, money, fees, wanted, len(count))
    return cells, missed


def _wanted(decisions: Decisions, placed: PlacedFills, bars: Bars, base: Integers) -> tuple[Floats, int]:
    """Units wanted in each cell; a window over several bars counts in each by its share of the window's time."""
    frame, step = decisions.frame, bars.frequency.as_unit("ns").value
    wanted = np.zeros(int(placed.periods.sum()))
    labels = pd.Index(placed.orders["order_id"])
    only = len(labels) == 1 and bool(frame["order_id"].isna().all())
    order = (
        np.zeros(len(frame), dtype=np.int64) if only else np.asarray(labels.get_indexer(pd.Index(frame["order_id"])))
    )
    missed = 0
    for number, begin, end, quantity in zip(order, frame["start"], frame["end"], frame["quantity"], strict=True):
        if number < 0:
            missed += 1
            continue
        first, count = int(placed.start[number]), int(placed.periods[number])
        opens = bars.timestamp[first : first + count]
        stop = int(end) if end else int(begin) + 1
        overlap = np.minimum(opens + step, stop) - np.maximum(opens, int(begin))
        overlap = np.maximum(overlap, 0).astype(np.float64)
        if not overlap.any():
            missed += 1
            continue
        wanted[base[number] : base[number] + count] += quantity * overlap / overlap.sum()
    return wanted, missed


def measure(placed: PlacedFills, cells: Cells, bars: Bars, after: Sequence[int]) -> pd.DataFrame:
    """Measure every order.

    Args:
        placed: The orders and their fills.
        cells: Their bars, of :func:`cells_of`.
        bars: The bars.
        after: Bars after the last fill for the reversion.

    Returns:
        The orders with further columns, see :class:`~lem_models.evaluation.tca.analysis.TransactionCosts`.
    """
    orders, start = placed.orders, placed.start
    side = np.where(orders["side"] == "buy", 1.0, -1.0)
    units, money, fees = cells.total(cells.units), cells.total(cells.money), cells.total(cells.fees)
    something = units > 0
    executed = money / np.where(something, units, np.nan)
    amount = orders["amount"].to_numpy(np.float64)
    done = np.where(orders["target"] == "notional", money, units)
    filled = done / amount
    complete = something & ~(filled < _COMPLETE)  # an unknown amount is what filled
    last = np.full(len(orders), -1, dtype=np.int64)
    np.maximum.at(last, cells.order[cells.units > 0], cells.period[cells.units > 0])
    used = np.where(complete, last + 1, placed.periods)
    interval = cells.period < np.maximum(used, orders["min_periods"].to_numpy())[cells.order]
    traded = (cells.volume > 0).astype(np.float64)
    given = orders["arrival_price"].to_numpy(np.float64)
    arrival = np.where(np.isnan(given), _close_before(bars, start), given)
    prices = {
        "interval_vwap": cells.mean_price(cells.volume * interval),
        "full_vwap": cells.mean_price(cells.volume),
        "interval_twap": cells.mean_price(traded * interval),
        "arrival": arrival,
    }
    own = {"vwap": "interval_vwap", "twap": "interval_twap", "full_vwap": "full_vwap", "arrival": "arrival"}
    names = orders["benchmark"].map(own).to_numpy()
    benchmark = np.select([names == name for name in prices], list(prices.values()), np.nan)
    close = bars.close[start + placed.periods - 1]
    paper = _paper_units(units, filled, amount, orders["target"].to_numpy(), arrival)
    missed = side * (paper - units) * (close - arrival)
    is_arrival = names == "arrival"
    causes = decompose(cells, side, benchmark, np.where(is_arrival, missed, 0.0))
    base = np.where(is_arrival, paper * arrival, units * benchmark)
    base = np.where(base > 0, base, np.nan)
    shortfall = np.where(something, side * (money - units * arrival), 0.0) + fees + missed
    paper_money = np.where(paper > 0, paper * arrival, np.nan)
    columns: dict[str, Any] = {
        "periods_used": used,
        "fills": np.bincount(placed.fills["order"].to_numpy(np.int64), minlength=len(orders)),
        "filled_quantity": units,
        "filled": filled,
        "completed": np.where(np.isnan(amount), np.nan, complete),
        "executed_price": executed,
        "schedule_price": cells.total(cells.units * cells.price) / np.where(something, units, np.nan),
        "benchmark_price": benchmark,
        "arrival_price": arrival,
        **{name: prices[name] for name in AGAINST if name != "arrival"},
        "value": base,
        "paper_value": paper_money,
        "slippage_bps": causes.gross / base * 1e4,
        "net_slippage_bps": causes.total / base * 1e4,
        "cost": causes.total,
        **{f"{name}_bps": side * (executed / prices[name] - 1) * 1e4 for name in AGAINST},
        "shortfall_bps": shortfall / paper_money * 1e4,
        "shortfall": np.where(np.isnan(paper_money), np.nan, shortfall),
        "opportunity_bps": missed / paper_money * 1e4,
        "participation": units / _positive(cells.total(cells.volume * interval)),
        "largest_participation": _largest_participation(cells),
    }
    for name in CAUSES:
        columns[f"cause_{name}"] = getattr(causes, name)
        columns[f"cause_{name}_bps"] = getattr(causes, name) / base * 1e4
    at_end = reversion_from(bars, side, _last_price(placed, len(orders)), start + np.maximum(last, 0), after)
    whole = reversion_from(bars, side, executed, start + np.maximum(last, 0), after)
    for place, ahead in enumerate(after):
        columns[f"reversion_last_fill_{ahead}_bps"] = at_end[:, place]
        columns[f"reversion_executed_{ahead}_bps"] = whole[:, place]
    return orders.drop(columns="arrival_price").assign(**columns)


def _positive(values: Floats) -> Floats:
    return np.asarray(np.where(values > 0, values, np.nan))


def _close_before(bars: Bars, start: Integers) -> Floats:
    """Last close before each order, [orders]; the open of its first bar where the bars begin with it."""
    is_first = start == bars.offsets[bars.grid.symbol(start)] if len(start) else np.zeros(0, dtype=bool)
    return np.asarray(np.where(is_first, bars.open[start], bars.close[np.maximum(start - 1, 0)]))


def _paper_units(units: Floats, filled: Floats, amount: Floats, target: npt.NDArray[Any], arrival: Floats) -> Floats:
    """Units of the paper portfolio that trades the whole order on arrival, [orders]; see the module."""
    part = np.where(np.isnan(filled), 1.0, np.minimum(filled, 1.0))
    nothing = np.where(np.isnan(amount), 0.0, np.where(target == "notional", amount / arrival, amount))
    return np.asarray(np.where(units > 0, units / np.where(part > 0, part, 1.0), nothing))


def _largest_participation(cells: Cells) -> Floats:
    """Largest part of a bar's volume that an order filled, [orders]; NaN where nothing filled in a bar with volume."""
    there = (cells.units > 0) & (cells.volume > 0)
    largest = np.full(cells.orders, -1.0)
    np.maximum.at(largest, cells.order[there], cells.units[there] / cells.volume[there])
    return np.where(largest >= 0, largest, np.nan)


def _last_price(placed: PlacedFills, orders: int) -> Floats:
    """Price of the last fill of each order, [orders]; NaN without one."""
    fills = placed.fills.sort_values(["nanoseconds", "row"], kind="stable")
    price = np.full(orders, np.nan)
    price[fills["order"].to_numpy(np.int64)] = fills["price"].to_numpy()
    return price
