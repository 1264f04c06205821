"""Compare a model before and after fine-tuning on the same orders of the test part, and give a verdict.

The verdict uses one number that is fixed in advance: the difference of the mean utility that training maximises, over
all minimum durations together. Its 95 % interval is from the bootstrap over days. Improvements and standard deviations
by minimum duration show the sources of the difference.

That utility is against each order's own benchmark, which ends when the order does. So the improvements also stand
against the VWAP of the full horizon and against arrival, before costs and net of them (:func:`improvements_by_price`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lem_models.baselines import load_policy
from lem_models.errors import ConfigError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.capacity import capacity_curve
from lem_models.execution.costs import CostModel, cost_model, cost_model_for, cost_model_name
from lem_models.execution.objective import utility
from lem_models.execution.policy import Policy
from lem_models.execution.result import ExecutionResult
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.modeling.model import LEMModel
from lem_models.report.benchmark_tables import excluded_counts
from lem_models.report.policy_tables import CHANGE
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.dominance import paired_comparison
from lem_models.statistics.groups import align
from lem_models.statistics.summary import compare, improvement
from lem_models.statistics.tracking import tracking_errors

__all__ = [
    "AFTER",
    "BEFORE",
    "SIZE",
    "Comparison",
    "Outcome",
    "compare_models",
    "comparison_settings",
    "facts",
    "improvements_by_price",
]

BEFORE, AFTER = "before", "after"

SIZE = 0.01
"""Size of the orders whose net improvement is shown, unless the cost model names one: a fraction of the volume expected
over their maximum duration."""

_RIVALS = ("twap", "volume_curve")
_INFINITESIMAL = 1e-9
_BY = ["min_periods"]

Outcome: TypeAlias = Literal["better", "no measurable difference", "worse"]
"""Result of a test of two models."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same orders.

    Attributes:
        orders: Number of orders.
        days: Days on which they start.
        net: Whether improvements are net of costs.
        policies: ``before``, ``after``, TWAP and the volume curve by minimum duration; columns of
            :func:`~lem_models.statistics.summary.summarise`.
        differences: After minus before by minimum duration; columns of
            :func:`~lem_models.statistics.dominance.paired_comparison`, with its verdicts.
        by_price: Improvements against the three prices, gross and net; see :func:`improvements_by_price`.
        costs: Costs of the net ones, with the size of the orders.
        tracking: Errors of ``after`` at the fixed duration beside those of each other policy (``against``); columns of
            :func:`~lem_models.statistics.tracking.tracking_errors`.
        utility_before: Mean utility of the start model, in the unit of :mod:`~lem_models.execution.objective`.
        utility_after: Mean utility of the new model.
        difference: After minus before.
        low: Lower end of its 95 % interval.
        high: Upper end.
        excluded: Number of starts of the test part without an order, by reason.
        untested: Symbols without any order.
    """

    orders: int
    days: int
    net: bool
    policies: pd.DataFrame
    differences: pd.DataFrame
    by_price: pd.DataFrame
    costs: CostModel
    tracking: pd.DataFrame
    utility_before: float
    utility_after: float
    difference: float
    low: float
    high: float
    excluded: Mapping[str, int]
    untested: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        """Verdict from the interval of the difference in utility."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no measurable difference"

    @property
    def means_in_words(self) -> str:
        """What has to stand behind the verdict where no mean slippage shows it; empty where one does."""
        if not self.differences["verdict"].str.startswith("no measurable difference").all():
            return ""
        return " The mean slippages alone show no measurable difference: the utility also counts risk."


def comparison_settings(
    horizon: int, *, start: date, costs: CostModel | None = None, limit: int = 20_000, seed: int = 0
) -> BenchmarkSettings:
    """Settings of the orders of :func:`compare_models`.

    Args:
        horizon: Longest order in periods.
        start: First day on which an order may start.
        costs: Trading costs.
        limit: Largest number of orders, drawn at random from every possible start. (A step between starts would leave
            out whole days if only the first bar of a session is a possible start.)
        seed: Seed of the draws.
    """
    return BenchmarkSettings(
        every=1,
        min_periods=tuple(sorted({max(1, horizon * quarter // 4) for quarter in range(1, 5)} | {1})),
        max_periods=horizon,
        start=str(start),
        limit=limit,
        costs=costs,
        null=0,
        information=0,
        placebos=(),
        seed=seed,
        allow_frequency=True,  # the start may come from bars of another length
    )


def compare_models(before: LEMModel, after: LEMModel, bars: Bars, settings: BenchmarkSettings) -> Comparison:
    """Execute the same orders with two models of one horizon, TWAP and the volume curve.

    Args:
        before: The start model.
        after: The new model.
        bars: The bars, with the history before the test orders.
        settings: Settings from :func:`comparison_settings`. With costs every improvement is net of costs. The table by
            price is gross and net in any case: without costs, of the cost model for the kind of market.

    Raises:
        OrderError: when no order fits.
    """
    costs, seed = settings.costs, settings.seed
    policies: dict[str, Policy] = {AFTER: after, BEFORE: before} | {name: load_policy(name) for name in _RIVALS}
    priced = cost_model(cost_model_for(bars)) if costs is None else costs
    priced = priced.at(priced.order_size or SIZE)
    # Without costs policies that read sizes decide as for infinitesimal orders, and once more for the net prices.
    sizes = {"costs": costs or priced.at(_INFINITESIMAL), "sizes": (priced.order_size,)}
    benchmark = run_benchmark(policies, bars, settings.model_copy(update=sizes))
    if benchmark is None:
        raise ConfigError("models are compared in one process, not under torchrun")
    tables = {name: _net(benchmark.orders[name], costs) for name in (BEFORE, AFTER, *_RIVALS)}
    ours, theirs = tables[AFTER], tables[BEFORE]
    fixed = {
        name: table[table["min_periods"] == settings.max_periods].reset_index(drop=True)
        for name, table in tables.items()
    }
    errors = tracking_errors(fixed, (BEFORE, *_RIVALS), seed=seed)
    gained, had = _utility(ours, after), _utility(align(ours, theirs), before)
    change = pd.DataFrame({"utility": gained - had})
    low, high = OrderBootstrap(ours, 2000, seed).means(change, np.arange(len(ours))).interval(0.95)
    known = change["utility"].notna().to_numpy()
    return Comparison(
        orders=len(ours),
        days=ours["start"].dt.floor("D").nunique(),
        net=costs is not None,
        policies=compare(tables, _BY, seed=seed),
        differences=paired_comparison(ours, {BEFORE: theirs}, _BY, seed=seed),
        by_price=improvements_by_price(
            {name: benchmark.results[name] for name in tables}, benchmark.sized, priced, seed=seed
        ),
        costs=priced,
        tracking=errors[errors["policy"] == AFTER].reset_index(drop=True),
        utility_before=float(had[known].mean()),
        utility_after=float(gained[known].mean()),
        difference=float(change["utility"].mean()),
        low=float(low[0]),
        high=float(high[0]),
        excluded=excluded_counts(benchmark),
        untested=tuple(symbol for symbol in bars.symbols if symbol not in set(ours["symbol"])),
    )


def improvements_by_price(
    results: Mapping[str, ExecutionResult],
    sized: Mapping[str, Sequence[ExecutionResult]],
    costs: CostModel,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Improvements of both models and their rivals against the three prices, before costs and net of them.

    Args:
        results: Result of each policy on the same orders, ``before`` and ``after`` among them.
        sized: Of policies that read sizes the result for the size of the costs, alone in its sequence.
        costs: Costs with the size of the orders.
        seed: Seed of the bootstrap.

    Returns:
        A row per policy, minimum duration (missing: all of them together), ``costs`` ("gross" or "net") and ``against``
        (:data:`~lem_models.evaluation.capacity.AGAINST`), with ``orders``, ``mean_bps``, ``low_bps`` and ``high_bps``:
        the mean improvement and its 95 % interval. The rows of :data:`~lem_models.report.policy_tables.CHANGE` are the
        difference order by order.
    """
    market = Market(next(iter(results.values())).bars)
    names = {"net_bps": "mean_bps", "low_bps": "low_bps", "high_bps": "high_bps"}
    changes = {f"difference_{column}": column for column in ("low_bps", "high_bps")} | {"difference_bps": "mean_bps"}
    tables = []
    for label, model, size in (("gross", CostModel(), 0.0), ("net", costs, costs.order_size or 0.0)):
        executed = dict(results) | (dict(sized) if size else {})
        curve = capacity_curve(executed, model, (size,), _BY, reference=BEFORE, market=market, overall=True, seed=seed)
        change = curve[curve["policy"] == AFTER].assign(policy=CHANGE)
        for table, columns in ((curve, names), (change, changes)):
            tables.append(table[["policy", *_BY, "against", "orders", *columns]].rename(columns=columns))
            tables[-1]["costs"] = label
    stacked = pd.concat(tables, ignore_index=True)
    ordered: pd.DataFrame = stacked[
        ["policy", "min_periods", "costs", "against", "orders", "mean_bps", "low_bps", "high_bps"]
    ]
    return ordered.astype({"min_periods": "Int64"})


def _net(orders: pd.DataFrame, costs: CostModel | None) -> pd.DataFrame:
    """The orders, with net slippages if there are costs."""
    return orders if costs is None else orders.assign(slippage_bps=orders["net_slippage_bps"])


def _utility(orders: pd.DataFrame, model: LEMModel) -> npt.NDArray[np.float64]:
    """Utility of each order at the model's own risk aversion, [orders]."""
    is_fixed = (orders["min_periods"] == orders["max_periods"]).to_numpy()
    risk = torch.from_numpy(np.where(is_fixed, model.fixed_risk_aversion, model.risk_aversion))
    x = torch.from_numpy(improvement(orders, "vol").to_numpy(copy=True))
    maximum = torch.from_numpy(orders["max_periods"].to_numpy(copy=True))
    values: npt.NDArray[np.float64] = utility(x, risk, maximum).numpy()
    return values


def facts(comparison: Comparison) -> dict[str, Any]:
    """The comparison as tables and numbers for a file."""
    columns = ["policy", "min_periods", "orders", "mean_bps", "low_bps", "high_bps", "std_bps"]
    columns += ["mean_vol", "low_vol", "high_vol", "std_vol", "periods_used"]
    return {
        "orders": comparison.orders,
        "days": comparison.days,
        "excluded": dict(comparison.excluded),
        "symbols_without_orders": list(comparison.untested),
        "net_of_costs": comparison.net,
        "utility": {
            "before": comparison.utility_before,
            "after": comparison.utility_after,
            "difference": comparison.difference,
            "low": comparison.low,
            "high": comparison.high,
        },
        "policies": comparison.policies[columns],
        "differences": comparison.differences,
        "by_price": {
            "cost_model": cost_model_name(comparison.costs),
            "costs": comparison.costs.model_dump(mode="json"),
            "improvements": comparison.by_price,
        },
        "fixed_duration_std_ratio": _std_ratios(comparison.tracking),
        "fixed_duration_errors": comparison.tracking,
    }


def _std_ratios(tracking: pd.DataFrame) -> pd.DataFrame:
    """Ratios of the standard deviations alone: ``policy, ratio, low, high``."""
    names = {"against": "policy", "ratio": "ratio", "ratio_low": "low", "ratio_high": "high"}
    ratios: pd.DataFrame = tracking[tracking["measure"] == "std"][list(names)].rename(columns=names)
    return ratios
