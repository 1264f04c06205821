"""The detector of look-ahead: compares decisions before and after bars are changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lem_models.execution.execute import execute
from lem_models.execution.result import ExecutionResult
from lem_models.markets.bars import Bars
from tests.helpers.policies import Recorder


@dataclass(frozen=True)
class Moved:
    """A decision that moved although nothing it may know did."""

    order_id: Any
    period: int
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class Decided:
    """What a policy decided for orders, and what came of it."""

    decisions: np.ndarray
    result: ExecutionResult


def decided(policy: Any, bars: Bars, orders: pd.DataFrame) -> Decided:
    """Execute orders and keep the decisions of the continuing path."""
    recorder = Recorder(policy)
    result = execute(recorder, bars, orders)
    return Decided(recorder.decisions(), result)


def first_moved(
    policy: Any, bars: Bars, changed: Bars, orders: pd.DataFrame, *, before: Decided | None = None
) -> Moved | None:
    """The first decision about a bar at or before the first changed one that is not bit-identical, or None.

    Compares the decisions of the continuing path (fraction and finish probability), and then what was traded before the
    first changed bar. ``before`` are the decisions on the unchanged bars, where they are known.
    """
    first_changed = _first_change(bars, changed)
    both = [before or decided(policy, bars, orders), decided(policy, changed, orders)]
    # A bar silenced just before an order may exclude it: compare the orders that ran in both.
    ids = [each.result.orders["order_id"].to_numpy() for each in both]
    _, *rows = np.intersect1d(*ids, return_indices=True)
    executed = both[0].result.orders.iloc[rows[0]]
    start = executed["start"].astype("int64").to_numpy()
    limit = np.array([first_changed.get(symbol, np.iinfo(np.int64).max) for symbol in executed["symbol"]])
    decisions = [each.decisions[chosen] for each, chosen in zip(both, rows, strict=True)]
    periods = np.arange(decisions[0].shape[1])
    at = np.stack([_bar_times(bars, s, t, len(periods)) for s, t in zip(executed["symbol"], start, strict=True)])
    known = (at <= limit[:, None]) & (periods < executed["max_periods"].to_numpy()[:, None])
    old, new = decisions
    moved = np.argwhere(known & (old.view(np.int64) != new.view(np.int64)).any(-1))
    if len(moved):
        order, period = moved[0]
        return Moved(
            executed["order_id"].iloc[order], int(period), tuple(old[order, period]), tuple(new[order, period])
        )
    traded = [_traded_before(each.result, first_changed, set(executed["order_id"])) for each in both]
    if not traded[0].equals(traded[1]):
        return Moved(None, -1, (len(traded[0]), 0.0), (len(traded[1]), 0.0))
    return None


def _first_change(bars: Bars, changed: Bars) -> dict[str, int]:
    differs = np.zeros(len(bars), dtype=bool)
    for name in ("open", "high", "low", "close", "volume", "notional"):
        differs |= getattr(bars, name) != getattr(changed, name)
    rows = np.flatnonzero(differs)[::-1]
    return {bars.symbols[bars.symbol_index[row]]: int(bars.timestamp[row]) for row in rows}


def _bar_times(bars: Bars, symbol: str, start: int, periods: int) -> np.ndarray:
    first = int(bars.locate(symbol, [start])[0])
    last = int(bars.offsets[bars.symbols.index(symbol) + 1]) - 1
    return bars.timestamp[np.minimum(first + np.arange(periods), last)]


def _traded_before(result: ExecutionResult, first_changed: dict[str, int], ids: set[Any]) -> pd.DataFrame:
    schedule = result.schedule.merge(result.orders[["order_id", "symbol"]], on="order_id")
    limit = schedule["symbol"].map(first_changed).fillna(np.iinfo(np.int64).max)
    early = (schedule["timestamp"].astype("int64") < limit) & schedule["order_id"].isin(ids)
    return schedule.loc[early, ["order_id", "period", "fraction"]].reset_index(drop=True)


def first_moved_row(compute: Any, bars: Bars, changed: Bars) -> int | None:
    """The first row before its symbol's first changed bar where an array per bar is not bit-identical, or None."""
    first_changed = _first_change(bars, changed)
    names = np.array(bars.symbols, dtype=object)[bars.symbol_index]
    limit = np.array([first_changed.get(name, np.iinfo(np.int64).max) for name in names])
    before, after = (np.asarray(compute(market)).reshape(len(bars), -1) for market in (bars, changed))
    moved = (before != after) & ~(np.isnan(before) & np.isnan(after))
    rows = np.flatnonzero(moved.any(1) & (bars.timestamp < limit))
    return int(rows[0]) if len(rows) else None
