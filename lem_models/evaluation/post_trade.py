r"""Post-trade reversion: does the price come back once an order has ended?

With ``P`` a price that the order got and ``P_h`` the VWAP of the bar that comes ``h`` bars after that of its last fill,

.. math::  \mathrm{reversion}_h = \mathrm{side} \cdot (P / P_h - 1) \cdot 10^4 .

Positive is a cost, as everywhere: the price fell after a purchase, or rose after a sale, so the order traded at a price
that did not last. Against the last fill it is the short-term error of the end; against the executed price it also holds
the move during the order. A simulator without impact moves no price: what it shows is the timing of the policy and not
the footprint of the order.

These numbers are measured after the fact, from bars that no decision has seen, and no policy is given them.

Source: Kissell, "The Science of Algorithmic Trading and Portfolio Management", 2013, chapter 3 (post-trade analysis).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.execution.result import ExecutionResult, with_ends
from lem_models.markets.bars import Bars
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.groups import Row, groups, stack

__all__ = ["AFTER", "post_trade_reversion", "reversion_bps", "reversion_from"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

AFTER = (1, 6, 24)
"""Bars after the last fill."""

_REFERENCES = ("last_fill", "executed")
_COLUMNS = ("reference", "bars_after", "orders", "unknown", "mean_bps", "low_bps", "high_bps", "std_bps")


def reversion_bps(result: ExecutionResult, after: Sequence[int] = AFTER) -> pd.DataFrame:
    """Reversion of each order.

    Args:
        result: Result of an execution.
        after: Numbers of bars after the last fill, each at least 1.

    Returns:
        One row per order, in the order of ``result.orders``: ``order_id``, and for each number of bars
        ``last_fill_<h>`` and ``executed_<h>`` in bps, positive = cost. NaN where nothing filled, where the bars end
        before, or where a gap lies between.

    Raises:
        ConfigError: If a number of bars is below 1.
    """
    orders, bars = result.orders, result.bars
    side = np.where(orders["side"] == "buy", 1.0, -1.0)
    schedule, period = result.schedule, np.full(len(orders), -1, dtype=np.int64)
    place = pd.Index(orders["order_id"]).get_indexer(pd.Index(schedule["order_id"]))
    np.maximum.at(period, place, schedule["period"].to_numpy(np.int64))
    filled, last = period >= 0, result.start + np.maximum(period, 0)
    # The executed price is a mean of bar prices: the last fill's own price is the VWAP of its bar.
    prices = {"last_fill": bars.vwap_at(last), "executed": orders["executed_price"].to_numpy(np.float64)}
    columns: dict[str, object] = {"order_id": orders["order_id"].to_numpy()}
    for name in _REFERENCES:
        moved = reversion_from(bars, side, np.where(filled, prices[name], np.nan), last, after)
        for place, ahead in enumerate(after):
            columns[f"{name}_{ahead}"] = moved[:, place]
    return pd.DataFrame(columns)


def reversion_from(bars: Bars, side: Floats, price: Floats, last: Integers, after: Sequence[int]) -> Floats:
    """Reversion from prices that orders got.

    Args:
        bars: The market.
        side: +1 buy, -1 sell, [orders].
        price: The price, [orders]; NaN where nothing filled.
        last: Flat index of the bar of the last fill, [orders].
        after: Numbers of bars after it, each at least 1.

    Returns:
        In bps, positive = cost, [orders, after]; NaN where the bars end before, or where a gap lies between.

    Raises:
        ConfigError: If a number of bars is below 1.
    """
    if any(ahead < 1 for ahead in after):
        raise ConfigError(f"reversion is measured at least one bar after the end, got {list(after)}")
    moved = np.full((len(last), len(after)), np.nan)
    for place, ahead in enumerate(after):
        later = np.minimum(last + ahead, len(bars) - 1)
        is_known = (last + ahead < len(bars)) & (bars.grid.gapless_start(later) <= last)
        moved[:, place] = np.where(is_known, side * (price / bars.vwap_at(later) - 1.0) * 1e4, np.nan)
    return moved


def post_trade_reversion(
    results: Mapping[str, ExecutionResult],
    by: Sequence[str] | str | None = None,
    *,
    after: Sequence[int] = AFTER,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean reversion of each policy, with an interval over days.

    Args:
        results: Result of each policy by its name.
        by: Columns or derived keys to group by; ``None`` for all orders.
        after: Numbers of bars after the last fill, each at least 1.
        level: Coverage of the intervals, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per policy, group, reference price and number of bars: ``policy``, the keys, ``reference``
        (``"last_fill"`` or ``"executed"``), ``bars_after``, ``orders``, ``unknown`` (orders without a later price),
        ``mean_bps`` with ``low_bps`` and ``high_bps``, ``std_bps``. Positive is a cost.

    Raises:
        ConfigError: If a number of bars is below 1, or ``level`` or ``draws`` is out of range.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
    """
    rows: list[Row] = []
    for name, result in results.items():
        each = reversion_bps(result, after)
        orders = with_ends(result.orders, result.bars)
        # Orders overlap until the last price that is measured, not only until they end.
        orders["end"] += max(after, default=0) * result.bars.frequency
        bootstrap = OrderBootstrap(orders, draws, seed)
        for keys, group in groups(orders, by):
            values = each.drop(columns="order_id").iloc[group]
            drawn = bootstrap.means(values, group)
            low, high = drawn.interval(level)
            for column, label in enumerate(values):
                reference, _, ahead = str(label).rpartition("_")
                known = int(values[label].notna().sum())
                statistics = {
                    "policy": name,
                    "reference": reference,
                    "bars_after": int(ahead),
                    "orders": known,
                    "unknown": len(group) - known,
                    "mean_bps": values[label].mean(),
                    "low_bps": low[column],
                    "high_bps": high[column],
                    "std_bps": values[label].std(),
                }
                rows.append(Row(keys, statistics))
    table = stack(rows, by, ("policy", *_COLUMNS))
    return table[["policy", *(column for column in table if column != "policy")]]
