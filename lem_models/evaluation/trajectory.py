r"""Trajectory shortfall: in which periods of an order its slippage arose.

With fills ``w_s`` at prices ``P_s``, ``W = sum_s w_s`` filled, executed price ``E`` and benchmark ``B``, the slippage
``side * (E / B - 1)`` is the sum of one term per period. For a fixed quantity ``E = sum_s (w_s / W) P_s``, so

.. math::  \mathrm{side} \sum_s \frac{w_s}{W} \Big(\frac{P_s}{B} - 1\Big),

and for a fixed notional ``1 / E = sum_s (w_s / W) / P_s``, so

.. math::  \mathrm{side} \sum_s \frac{w_s}{W} \, \frac{E}{B} \Big(1 - \frac{B}{P_s}\Big).

Both are exact and nothing is left over. A period's term is the slippage of its own fills, weighted by what they filled.
Against the arrival price this is the path of the implementation shortfall (Perold, "The implementation shortfall: paper
versus reality", J. Portfolio Management 14 (1988)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.execution.result import ExecutionResult, with_ends
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.groups import Row, groups, stack

__all__ = ["TENTHS", "slippage_by_part", "trajectory_shortfall"]

TENTHS = 10
_COLUMNS = ("part", "orders", "filled_percent", "mean_bps", "low_bps", "high_bps")


def slippage_by_part(
    result: ExecutionResult, parts: int | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fraction filled and slippage of each order, by part of its maximum duration.

    Args:
        result: Result of an execution.
        parts: Equal parts of the maximum duration of each order, :data:`TENTHS` for tenths; ``None`` for one part per
            period. A period belongs to the part in which it begins.

    Returns:
        Fractions [orders, parts] that sum to ``filled``, and slippages in bps [orders, parts] that sum to
        ``slippage_bps``: NaN throughout where that is NaN.

    Raises:
        ConfigError: If ``parts`` is below 1.
    """
    if parts is not None and parts < 1:
        raise ConfigError(f"an order has at least one part, got {parts}")
    orders, schedule = result.orders, result.schedule
    longest = orders["max_periods"].to_numpy(np.int64)
    count = parts or int(longest.max(initial=0))
    place = pd.Index(orders["order_id"]).get_indexer(pd.Index(schedule["order_id"]))
    period = schedule["period"].to_numpy(np.int64)
    part = period if parts is None else period * parts // longest[place]
    side = orders["side"].map({"buy": 1.0, "sell": -1.0}).to_numpy(np.float64)[place]
    benchmark, executed = (orders[name].to_numpy(np.float64)[place] for name in ("benchmark_price", "executed_price"))
    fraction, price = (schedule[name].to_numpy(np.float64) for name in ("fraction", "price"))
    total = np.bincount(place, fraction, len(orders))
    is_quantity = (orders["target"] == "quantity").to_numpy()[place]
    relative = np.where(is_quantity, price / benchmark - 1.0, executed / benchmark * (1.0 - benchmark / price))
    term = side * fraction / total[place] * relative * 1e4
    filled, slippage = np.zeros((2, len(orders), count))
    np.add.at(filled, (place, part), fraction)
    np.add.at(slippage, (place, part), term)
    slippage[~np.isfinite(orders["slippage_bps"].to_numpy(np.float64))] = np.nan
    return filled, slippage


def trajectory_shortfall(
    results: Mapping[str, ExecutionResult],
    by: Sequence[str] | str | None = None,
    *,
    parts: int | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean slippage of each policy by part of the order.

    Args:
        results: Result of each policy by its name.
        by: Columns or derived keys to group by; ``None`` for all orders.
        parts: See :func:`slippage_by_part`.
        level: Coverage of the intervals, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per policy, group and part: ``policy``, the keys, ``part`` (from 1), ``orders`` (those with a
        slippage), ``filled_percent`` (mean share of the order filled in it), ``mean_bps`` with ``low_bps`` and
        ``high_bps``. The means of a group sum to its mean slippage; positive is a cost.

    Raises:
        ConfigError: If ``parts`` is below 1, or ``level`` or ``draws`` is out of range.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
    """
    rows: list[Row] = []
    for name, result in results.items():
        filled, slippage = slippage_by_part(result, parts)
        orders = with_ends(result.orders, result.bars)
        bootstrap = OrderBootstrap(orders, draws, seed)
        for keys, group in groups(orders, by):
            values = pd.DataFrame(slippage[group])
            low, high = bootstrap.means(values, group).interval(level)
            for part in range(values.shape[1]):
                statistics = {
                    "policy": name,
                    "part": part + 1,
                    "orders": int(values[part].notna().sum()),
                    "filled_percent": 100.0 * filled[group, part].mean(),
                    "mean_bps": values[part].mean(),
                    "low_bps": low[part],
                    "high_bps": high[part],
                }
                rows.append(Row(keys, statistics))
    table = stack(rows, by, ("policy", *_COLUMNS))
    return table[["policy", *(column for column in table if column != "policy")]]
