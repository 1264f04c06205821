"""The risk dial: mean against standard deviation of the improvement as the risk aversion of the orders changes.

``risk_aversion`` of an order is a number that a model reads: nothing is trained again. A *point* is the mean and the
standard deviation over the same orders at one risk aversion. A policy without a dial has one point.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lem_models.execution.result import ExecutionResult, with_ends
from lem_models.statistics.summary import summarise
from lem_models.statistics.tracking import std_interval

__all__ = ["DIAL", "dial_orders", "dial_point"]

DIAL = tuple(float(value) for value in np.geomspace(0.05, 2.0, 8).round(3))
"""Risk aversions of a model: the range that it is trained for."""

_MEANS = [f"{name}_{unit}" for unit in ("vol", "bps") for name in ("mean", "low", "high", "std")]


def dial_orders(result: ExecutionResult, *, net: bool) -> pd.DataFrame:
    """Orders of a result as points are made of them.

    Args:
        result: The result.
        net: Whether ``slippage_bps`` becomes the slippage with costs.

    Returns:
        The orders with ``end``, the latest time at which each is over.
    """
    orders = with_ends(result.orders, result.bars)
    return orders.assign(slippage_bps=orders["net_slippage_bps"]) if net else orders


def dial_point(
    orders: pd.DataFrame, policy: str, risk_aversion: float | None = None, *, draws: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Points of a policy at one risk aversion.

    Args:
        orders: Orders of :func:`dial_orders`.
        policy: Name of the policy.
        risk_aversion: Risk aversion of the orders; ``None`` for a policy without a dial.
        draws: Draws of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        A row per minimum duration: ``policy, risk_aversion, min_periods, orders``; mean with its interval and standard
        deviation in both units (``mean_vol, low_vol, high_vol, std_vol``, and the same in bps); and the interval of the
        standard deviation in bar volatilities, ``std_low_vol, std_high_vol``. Intervals are at 95 %, over days.
    """
    spread = std_interval(orders, "min_periods", draws=draws, seed=seed)
    mean = summarise(orders, "min_periods", draws=draws, seed=seed)
    point = mean[["min_periods", "orders", *_MEANS]].assign(std_low_vol=spread["low"], std_high_vol=spread["high"])
    point.insert(0, "policy", policy)
    point.insert(1, "risk_aversion", np.nan if risk_aversion is None else float(risk_aversion))
    return point
