"""A run: one order, executed by the chosen policy and by baselines in the same simulator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lem_models.app.market import AppMarket, policy_named
from lem_models.errors import LEMError, OrderError
from lem_models.evaluation.order_path import order_paths
from lem_models.execution.costs import CostModel, cost_model
from lem_models.execution.execute import execute_silently
from lem_models.execution.frequency_check import check_frequency
from lem_models.execution.policy import PolicySettings
from lem_models.execution.result import ExecutionResult
from lem_models.guard.output import to_csv
from lem_models.markets.calendar.frequency import clock
from lem_models.modeling.config import LEMConfig
from lem_models.orders import Order
from lem_models.orders.rules import Target
from lem_models.report.order.page import write_order_page

__all__ = ["Run", "run_order", "tested_horizon"]


@dataclass(frozen=True, eq=False)
class Run:
    """An executed order.

    Attributes:
        market: The bars.
        order: The order.
        results: Result of each policy by name, the chosen one first.
        paths: See :func:`~lem_models.evaluation.order_path.order_paths`.
        costs: Name of the cost model.
        allow_frequency: Whether the model was allowed to run on bars of another length.
        notes: What a reader must know, one sentence each.
    """

    market: AppMarket
    order: Order
    results: Mapping[str, ExecutionResult]
    paths: pd.DataFrame
    costs: str
    allow_frequency: bool = False
    notes: tuple[str, ...] = ()
    _folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="lem-run-"), repr=False
    )

    @property
    def tested(self) -> str:
        """Name of the chosen policy."""
        return next(iter(self.results))

    @property
    def bars(self) -> int:
        """Bars of the order, at most."""
        return int(self.paths["period"].max())

    def write(self, points: pd.DataFrame | None = None) -> tuple[str, str, str]:
        """Write the report, the orders and the schedule into a folder that goes with the run.

        Args:
            points: Points of the risk dial for the report.

        Returns:
            Paths of ``report.html``, ``orders.csv`` (a row per policy) and ``schedule.csv`` (a row per policy and bar).
        """
        folder = Path(self._folder.name)
        facts = {"bars": self.market.title, "costs": self.costs}
        report = write_order_page(
            folder / "report.html", self.results, self.paths, points=points, facts=facts, notes=self.notes
        )
        orders = [result.orders.assign(policy=policy) for policy, result in self.results.items()]
        table = pd.concat(orders, ignore_index=True)
        table = table[["policy", *(name for name in table if name != "policy")]]
        schedule = self.paths[self.paths["fraction"] > 0].drop(columns="traded_price")
        return (
            str(report),
            str(to_csv(table, folder / "orders.csv")),
            str(to_csv(schedule, folder / "schedule.csv")),
        )


def tested_horizon(model: str) -> int | None:
    """Longest order of a policy in bars; ``None`` for any."""
    return PolicySettings.of(policy_named(model)).horizon


def run_order(
    market: AppMarket,
    order: Order,
    model: str,
    baselines: Sequence[str],
    costs: str,
    size: float,
    *,
    allow_frequency: bool = False,
    notes: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Run:
    """Execute an order with a policy and with baselines.

    A baseline that cannot run the order is left out with a note.

    Args:
        market: The bars.
        order: The order.
        model: Name of the policy under test.
        baselines: Names of policies to compare it with.
        costs: Name of the cost model.
        size: Size of an order without an amount, a part of the volume expected over its duration.
        allow_frequency: Whether a model may run on bars of another length than it was trained on.
        notes: What a reader must know already.
        progress: Called with the name of each policy.

    Raises:
        LEMError: The policy under test cannot run the order; the error says why.
    """
    policy = policy_named(model)
    paid = cost_model(costs).at(size) if order.amount is None else cost_model(costs)
    said = [*market.notes, *notes, check_frequency(policy, market.bars, allow=allow_frequency, name=model)]
    said.append(_seen(model, market, order))
    results: dict[str, ExecutionResult] = {}
    for name in dict.fromkeys([model, *baselines]):
        progress(name)
        try:
            results[name] = _executed(market, order, name, paid)
        except LEMError as error:
            if name == model:
                raise
            said.append(f"{name} is left out: {error}")
    said += results[model].doubts_in_words()
    if not results[model].orders["completed"].iloc[0]:
        said.append(f"{model} did not complete the order: prices are those of what was filled")
    paths = order_paths(results)
    said.append(_too_much(order, paths))
    kept = tuple(dict.fromkeys(sentence for sentence in said if sentence))
    return Run(market, order, results, paths, costs, allow_frequency, kept)


def _executed(market: AppMarket, order: Order, name: str, costs: CostModel) -> ExecutionResult:
    result = execute_silently(policy_named(name), market.market, order, costs=costs)
    if len(result.excluded):
        reason, there = result.excluded["reason"].iloc[0], int(result.history_of_excluded[0])
        raise OrderError(
            f"the order cannot run: {reason}. {max(there, 0):,} bars without a gap lie before it: choose another start",
            field="start",
            rule="valid origin",
        )
    return result


def _too_much(order: Order, paths: pd.DataFrame) -> str | None:
    """A sentence if a policy trades more in a bar than the bar's whole volume, which the simulator lets happen."""
    units = paths["amount"] / (paths["vwap"] if order.target is Target.NOTIONAL else 1.0)
    share = (units / paths["volume"]).where(paths["fraction"] > 0)
    if not (share > 1).any():
        return None
    most = paths.iloc[int(share.argmax())]
    return (
        f"The order is too large for these bars: {most['policy']} trades {share.max():,.1f} times the volume of the "
        f"bar at {most['timestamp']:%Y-%m-%d %H:%M} UTC. No market fills that at such prices; a cap on a bar's volume "
        "prevents it"
    )


def _seen(model: str, market: AppMarket, order: Order) -> str | None:
    """A sentence if the order lies in days that the model was trained or chosen on."""
    config = getattr(policy_named(model), "config", None)
    unseen = config.first_unseen(clock(market.bars.frequency)) if isinstance(config, LEMConfig) else None
    if unseen is None or order.start.date() >= unseen:
        return None
    return f"{model} was trained or chosen on days up to {unseen}: this order lies before that day"
