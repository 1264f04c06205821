"""How closely policies track the VWAP over fixed durations, as ratios to TWAP on the same orders."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lem_models.baselines.twap import TWAP
from lem_models.execution.execute import execute_silently
from lem_models.execution.policy import Policy
from lem_models.features.market import Market
from lem_models.statistics.tracking import tracking_errors

__all__ = ["RATIOS", "tracking_ratios"]

RATIOS = ("std", "clipped_std", "median_abs")
"""Measures of :func:`~lem_models.statistics.tracking.tracking_errors` that are reported."""


def tracking_ratios(
    policies: Mapping[str, Policy], market: Market, orders: pd.DataFrame, *, draws: int = 400
) -> pd.DataFrame:
    """Execute orders with policies, and compare their errors with those of TWAP.

    Args:
        policies: Policies by name: classical ones, fitted ones, models.
        market: The market.
        orders: The orders; see :func:`~lem_models.baselines.tracking.fit.fixed_orders`.
        draws: Bootstrap draws of the intervals.

    Returns:
        One row per policy, TWAP first with its own measures in bar volatilities: ``policy``, ``orders``, each of
        :data:`RATIOS`, and the ends of its interval as ``<measure>_low`` and ``<measure>_high``. Below 1 a policy
        tracks more closely. Errors are clipped at 2 bar volatilities.
    """
    results = {name: execute_silently(policy, market, orders).orders for name, policy in policies.items()}
    even = execute_silently(TWAP(), market, orders).orders
    kept = set.intersection(*(set(table["order_id"]) for table in results.values()))
    results = {name: table[table["order_id"].isin(kept)] for name, table in {**results, "twap": even}.items()}
    errors = tracking_errors(results, against=("twap",), draws=draws)
    own = errors.drop_duplicates("measure").set_index("measure")["other"]
    rows = [{"policy": "twap", "orders": errors["orders"].iloc[0], **{name: own[name] for name in RATIOS}}]
    for name, group in errors.groupby("policy", sort=False):
        group = group.set_index("measure")
        row = {"policy": name, "orders": group["orders"].iloc[0]}
        for measure in RATIOS:
            row[measure] = group.loc[measure, "ratio"]
            row[f"{measure}_low"], row[f"{measure}_high"] = group.loc[measure, ["ratio_low", "ratio_high"]]
        rows.append(row)
    return pd.DataFrame(rows)
