"""Policies on the orders that were executed: what would they have paid, on the same bars and the same sides?

A policy trades at the VWAP of each bar, and pays no spread there. Real fills do. So what is compared is the schedule:
the price that the order would have paid had each fill got the VWAP of its bar, against the price of the policy. What
the fills lost within their bars, and fees, are added to neither side. With a cost model net prices are compared too:
all that was paid against the policy with its modelled costs.

Differences are paired, order by order, yours minus the policy's: positive means that the policy would have paid less.
Their intervals come from the bootstrap over days (:mod:`lem_models.statistics.bootstrap`), as orders of one day share
the market's moves. One order says nothing about skill, and then the comparison says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.baselines import load_policy
from lem_models.execution.costs import CostModel
from lem_models.execution.execute import execute_silently
from lem_models.execution.frequency_check import check_frequency
from lem_models.execution.policy import Policy, PolicySettings, policy_of
from lem_models.execution.result import ExecutionResult, with_ends
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock
from lem_models.modeling.config import LEMConfig
from lem_models.orders.table import COLUMNS
from lem_models.statistics.bootstrap import OrderBootstrap

__all__ = ["Comparison", "compare_with_policies", "named"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PRICES = ("own", "full_vwap", "arrival")
"""Prices of a comparison: the order's own benchmark, the full-horizon VWAP, the arrival price."""

ONE_ORDER = (
    "One order says nothing about skill: its slippage is one draw from a wide distribution, as is the difference to "
    "a policy."
)
ONE_DAY = "All orders start on one day and share its moves: there is no interval, and the differences prove nothing."

_MEASURES = ("policy", "yours", "difference")


@dataclass(frozen=True)
class Comparison:
    """Policies on the same orders.

    Attributes:
        table: A row per policy, price and weighting (``"equal"``, ``"value"``): ``policy``, ``against``, ``weighting``,
            ``orders``, ``policy_bps`` and ``yours_bps`` (schedules), ``difference_bps`` with ``low_bps`` and
            ``high_bps``; with a cost model also ``policy_net_bps``, ``yours_net_bps``, ``net_difference_bps``,
            ``net_low_bps``, ``net_high_bps``. Positive = cost, and a positive difference speaks for the policy.
        left_out: ``policy``, ``reason``, ``orders``: orders that a policy cannot execute.
        remark: What the comparison cannot show; empty if nothing is special.
        results: Result of each policy by its name.
    """

    table: pd.DataFrame
    left_out: pd.DataFrame
    remark: str
    results: Mapping[str, ExecutionResult]


def named(policies: Mapping[str, Policy | str] | Sequence[Policy | str]) -> dict[str, Policy]:
    """Policies by name; those of a list are called by their own name, or their class.

    Raises:
        UnknownNameError: There is no such policy.
        PolicyError: An object has no ``decide``.
    """
    if not isinstance(policies, Mapping):
        policies = {_name(policy): policy for policy in policies}
    loaded = {name: load_policy(each) if isinstance(each, str) else each for name, each in policies.items()}
    return {name: policy_of(policy) for name, policy in loaded.items()}


def _name(policy: Policy | str) -> str:
    return policy if isinstance(policy, str) else type(policy).__name__


def compare_with_policies(
    policies: Mapping[str, Policy],
    measured: pd.DataFrame,
    bars: Bars,
    *,
    costs: CostModel | None = None,
    allow_frequency: bool = False,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Execute the same orders with policies.

    Args:
        policies: The policies by name.
        measured: Table of :func:`~lem_models.evaluation.tca.measures.measure`.
        bars: The market.
        costs: Costs of the policies' net prices.
        allow_frequency: Whether a model may run on bars of another length than it was trained on.
        level: Coverage of the intervals.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Raises:
        BarsError: A policy was trained on bars of another length, or no symbol has enough bars for it.
        OrderError: The costs depend on the size of an order that has none.
        PolicyError: A policy breaks its protocol.
    """
    market = Market(bars)
    for policy in policies.values():
        check_frequency(policy, bars, allow=allow_frequency)
    done = np.where(measured["target"] == "notional", measured["paper_value"], measured["filled_quantity"])
    amount = measured["amount"].fillna(pd.Series(np.where(done > 0, done, np.nan), measured.index))
    orders = measured[list(COLUMNS)].assign(amount=amount)
    results, rows, left_out = {}, [], []
    for name, policy in policies.items():
        suits, reasons = _suitable(policy, orders)
        left_out += [(name, reason, count) for reason, count in reasons.items()]
        if not suits.any():
            continue
        result = execute_silently(policy, market, orders[suits].reset_index(drop=True), costs=costs)
        left_out += [(name, str(reason), int(n)) for reason, n in result.excluded["reason"].value_counts().items()]
        if len(result.orders):
            results[name] = result
            rows += _rows(name, result, measured, bars, costs, level, draws, seed)
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["policy", "against", "weighting", "orders"])
    remarks = [_seen(name, policies[name], result, bars) for name, result in results.items()]
    if len(measured) == 1:
        remarks.insert(0, ONE_ORDER)
    elif measured["start"].dt.floor("D").nunique() < 2:
        remarks.insert(0, ONE_DAY)
    remark = " ".join(text for text in remarks if text)
    return Comparison(table, pd.DataFrame(left_out, columns=["policy", "reason", "orders"]), remark, results)


def _seen(name: str, policy: Policy, result: ExecutionResult, bars: Bars) -> str:
    """A warning if orders lie in days that a model used in training or validation; empty if none do."""
    config = getattr(policy, "config", None)
    unseen = config.first_unseen(clock(bars.frequency)) if isinstance(config, LEMConfig) else None
    if unseen is None:
        return ""
    seen = int((result.orders["start"] < pd.Timestamp(unseen, tz="UTC")).sum())
    if not seen:
        return ""
    return (
        f"{name} used bars before {unseen} in training or validation, and {seen:,} of {len(result.orders):,} orders "
        "start there: its result on them is no evidence."
    )


def _suitable(policy: Policy, orders: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Orders that a policy can execute, and how many it cannot by reason."""
    settings = PolicySettings.of(policy)
    suits = np.ones(len(orders), dtype=bool)
    reasons = {}
    if settings.horizon is not None:
        fits = (orders["max_periods"] <= settings.horizon).to_numpy()
        reasons[f"longer than its horizon of {settings.horizon} periods"] = int((~fits).sum())
        suits &= fits
    if settings.benchmarks is not None:
        knows = orders["benchmark"].isin(list(settings.benchmarks)).to_numpy()
        reasons["it does not know the benchmark"] = int((suits & ~knows).sum())
        suits &= knows
    return suits, {reason: count for reason, count in reasons.items() if count}


def _rows(
    name: str,
    result: ExecutionResult,
    measured: pd.DataFrame,
    bars: Bars,
    costs: CostModel | None,
    level: float,
    draws: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Rows of a policy: a price and a weighting each."""
    theirs = result.orders
    place = pd.Index(measured["order_id"]).get_indexer(pd.Index(theirs["order_id"]))
    mine = measured.iloc[place].reset_index(drop=True)
    columns = _paired(theirs, mine, mine["schedule_price"], "executed_price", "slippage_bps", result.start, bars)
    if costs is not None:
        side = np.where(mine["side"] == "buy", 1.0, -1.0)
        paid = mine["executed_price"] + side * mine["cause_fees"] / mine["filled_quantity"]
        net = _paired(theirs, mine, paid, "net_price", "net_slippage_bps", result.start, bars)
        columns |= {f"net_{key}": values for key, values in net.items()}
    values = np.stack(list(columns.values()), axis=1)
    every = np.arange(len(theirs))
    bootstrap = OrderBootstrap(with_ends(theirs, bars), draws, seed)
    rows = []
    for weighting, weight in (("equal", None), ("value", mine["value"].to_numpy(np.float64)[:, None])):
        weights = None if weight is None else np.broadcast_to(weight, values.shape)
        drawn = bootstrap.means(values, every, weights)
        low, high = drawn.interval(level)
        at = {key: number for number, key in enumerate(columns)}
        for price in PRICES:
            known = np.isfinite(columns[f"{price}_difference"])
            row: dict[str, Any] = {
                "policy": name,
                "against": price,
                "weighting": weighting,
                "orders": int(known.sum()),
                "policy_bps": drawn.estimate[at[f"{price}_policy"]],
                "yours_bps": drawn.estimate[at[f"{price}_yours"]],
                "difference_bps": drawn.estimate[at[f"{price}_difference"]],
                "low_bps": low[at[f"{price}_difference"]],
                "high_bps": high[at[f"{price}_difference"]],
            }
            if costs is not None:
                row |= {
                    "policy_net_bps": drawn.estimate[at[f"net_{price}_policy"]],
                    "yours_net_bps": drawn.estimate[at[f"net_{price}_yours"]],
                    "net_difference_bps": drawn.estimate[at[f"net_{price}_difference"]],
                    "net_low_bps": low[at[f"net_{price}_difference"]],
                    "net_high_bps": high[at[f"net_{price}_difference"]],
                }
            rows.append(row)
    return rows


def _paired(
    theirs: pd.DataFrame,
    mine: pd.DataFrame,
    price: pd.Series,
    their_price: str,
    their_slippage: str,
    start: Integers,
    bars: Bars,
) -> dict[str, Floats]:
    """Slippage of both and their difference against each price, each [orders]; NaN where either is not known."""
    side = np.where(mine["side"] == "buy", 1.0, -1.0)
    paid = price.to_numpy(np.float64)
    full, arrival = theirs["full_vwap"].to_numpy(np.float64), theirs["arrival_price"].to_numpy(np.float64)
    close = bars.close[start + theirs["max_periods"].to_numpy(np.int64) - 1]
    part = np.minimum(mine["filled"].fillna(1.0).to_numpy(np.float64), 1.0)

    def shortfall(executed: Floats, filled: Floats) -> Floats:
        done = np.where(filled > 0, filled * executed, 0.0)
        return np.asarray(side * (done + (1 - filled) * close - arrival) / arrival * 1e4)

    other = theirs[their_price].to_numpy(np.float64)
    their_shortfall = shortfall(other, theirs["filled"].to_numpy(np.float64))
    my_shortfall = shortfall(paid, part)
    is_arrival = (mine["benchmark"] == "arrival").to_numpy()
    own = side * (paid / mine["benchmark_price"].to_numpy(np.float64) - 1) * 1e4
    both = {
        "own": (theirs[their_slippage].to_numpy(np.float64), np.where(is_arrival, my_shortfall, own)),
        "full_vwap": (side * (other / full - 1) * 1e4, side * (paid / full - 1) * 1e4),
        "arrival": (their_shortfall, my_shortfall),
    }
    columns: dict[str, Floats] = {}
    for name, (policy, yours) in both.items():
        known = np.isfinite(policy) & np.isfinite(yours)
        values = (policy, yours, yours - policy)
        columns |= {f"{name}_{m}": np.where(known, v, np.nan) for m, v in zip(_MEASURES, values, strict=True)}
    return columns
