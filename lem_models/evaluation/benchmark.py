"""The benchmark protocol: several policies on the same orders and one simulator, and where their gain comes from.

Under ``torchrun``, or in any process group, the processes share the orders (:mod:`lem_models.execution.sharding`). The
first process has the results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from lem_models.errors import ConfigError, OrderError, PolicyError
from lem_models.evaluation.attribution import (
    PLACEBOS,
    MatchedPlacebo,
    PlaceboRun,
    WithContextsOf,
    control_draw,
    information_split,
    placebo_difference,
    reads_contexts,
)
from lem_models.evaluation.bound import execute_bound, is_executable
from lem_models.evaluation.capacity import Results, capacity_curve
from lem_models.evaluation.null import martingale_null
from lem_models.execution.costs import CostModel
from lem_models.execution.execute import complete_for, warn_of_moved
from lem_models.execution.frequency_check import check_frequency
from lem_models.execution.policy import Policy, PolicySettings, policy_faults
from lem_models.execution.result import ExecutionResult, with_ends
from lem_models.execution.sharding import SharedOrders, join_ranks
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.guard.settings import Settings
from lem_models.markets.bars import Bars, BarsLike
from lem_models.markets.calendar.frequency import clock
from lem_models.markets.order_placing import BarPlacement, StartRule
from lem_models.modeling.config import LEMConfig
from lem_models.notebook import cells_html, describe, facts_html
from lem_models.orders import Order
from lem_models.orders.table import COLUMNS, OrdersLike, orders_frame
from lem_models.statistics.dominance import paired_comparison
from lem_models.statistics.groups import DERIVED_KEYS
from lem_models.statistics.null_draws import NullDraws
from lem_models.statistics.summary import adjusted, compare, null_split
from lem_models.statistics.tracking import tracking_errors

__all__ = ["Benchmark", "BenchmarkSettings", "run_benchmark", "sample_orders"]


class BenchmarkSettings(Settings):
    """Settings of a benchmark: the orders, the costs, the attribution, and the further tables.

    Attributes:
        every: Step between starts, a duration on the UTC grid or a number of bars.
        min_periods: Minimum durations.
        max_periods: Maximum duration.
        side: ``"both"``, ``"buy"`` or ``"sell"``.
        benchmark: Benchmarks.
        target: Targets.
        max_rate: Cap per period.
        risk_aversion: Risk aversion; ``None`` for each policy's own.
        start: First start, inclusive.
        end: Time by which orders have ended, exclusive.
        limit: Largest number of orders, drawn at random; ``None`` for all.
        costs: Trading costs; ``None`` for none. Policies that read sizes decide for orders of their ``order_size``.
        sizes: Sizes of the capacity curve, as fractions of the volume expected over an order's maximum duration; no
            curve without costs or sizes.
        by: Further keys by which the policies are compared: columns of the orders, or derived ones
            (:mod:`lem_models.statistics.groups`).
        null: Draws of the martingale null; 0 for none.
        null_of: Policies whose improvement is split by the null: ``"all"`` for every policy, ``"model"`` for the policy
            under test, or their names.
        information: Draws of the null whose contexts the ablation uses; 0 for no ablation. It covers the policy under
            test, and those of ``null_of`` that read contexts.
        placebos: Policies that forecast nothing, executed at the risk of the policy under test
            (:data:`~lem_models.evaluation.attribution.PLACEBOS`), on the first benchmark and target.
        seed: Seed of the draws of orders, null and bootstrap.
        bootstrap: Draws of the bootstrap.
        allow_frequency: Whether models may run on bars of another length than they were trained on.
    """

    refusal: ClassVar[str] = "benchmark settings refused"

    every: str | int = 6
    min_periods: tuple[int, ...] = Field((1, 3, 6, 9, 12), min_length=1)
    max_periods: int = Field(12, ge=1)
    side: str = "both"
    benchmark: tuple[str, ...] = ("vwap",)
    target: tuple[str, ...] = ("quantity",)
    max_rate: float = 1.0
    risk_aversion: float | None = None
    start: str | None = None
    end: str | None = None
    limit: int | None = Field(100_000, ge=1)
    costs: CostModel | None = None
    sizes: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = (0.0, 0.01)
    by: tuple[str, ...] = ("symbol", "hour", "volatility")
    null: int = Field(20, ge=0)
    null_of: Literal["model", "all"] | tuple[str, ...] = "all"
    information: int = Field(5, ge=0)
    placebos: tuple[str, ...] = tuple(PLACEBOS)
    seed: int = 0
    bootstrap: int = Field(1000, ge=100)
    allow_frequency: bool = False

    @field_validator("by")
    @classmethod
    def _known_keys(cls, by: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse an unknown key before the orders run, not when the last table is made."""
        known = (*COLUMNS, *DERIVED_KEYS)
        for key in by:
            if key not in known:
                raise ValueError(f"{key!r} is not a key to compare by; the keys are {', '.join(known)}")
        return by

    @field_validator("placebos")
    @classmethod
    def _known_placebos(cls, placebos: tuple[str, ...]) -> tuple[str, ...]:
        for name in placebos:
            if name not in PLACEBOS:
                raise ValueError(f"{name!r} is not a placebo; the placebos are {', '.join(PLACEBOS)}")
        return placebos


@dataclass(frozen=True, repr=False)
class Benchmark:
    """Results of a benchmark.

    Attributes:
        settings: The settings.
        bars: The market.
        model: Name of the policy under test (the first one).
        results: Result of every policy by name. The name of a bound is marked: "oracle_vwap (bound)".
        nulls: Improvements of policies on the draws of the null, by name; the policy under test comes first. Empty
            without a null.
        ablated: Improvements of policies on the real bars with contexts of draws of the null, by name; empty without
            the ablation.
        controls: The ablation on paths of the null, by name; empty without, or with fewer than two draws.
        placebos: The placebos of the policy under test, on its orders of the first benchmark and target.
        sized: Results of the policies that read sizes at each of ``settings.sizes``, by name.
        excluded: Candidate origins left out, by reason.
        unseen_from: First day that the policy under test saw neither in training nor in validation, if known.
        notes: Notes for the reader about policies on bars of this length, estimated VWAPs and repairs, one sentence
            each.
    """

    settings: BenchmarkSettings
    bars: Bars
    model: str
    results: Mapping[str, ExecutionResult]
    nulls: Mapping[str, NullDraws]
    excluded: Mapping[str, int] = field(default_factory=dict)
    unseen_from: date | None = None
    notes: tuple[str, ...] = ()
    ablated: Mapping[str, NullDraws] = field(default_factory=dict)
    controls: Mapping[str, NullDraws] = field(default_factory=dict)
    placebos: tuple[MatchedPlacebo, ...] = ()
    sized: Mapping[str, Sequence[ExecutionResult]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """One line."""
        mean = -self.results[self.model].orders["slippage_bps"].mean()
        facts = {
            "model": repr(self.model),
            "policies": len(self.results),
            "orders": f"{len(self.results[self.model].orders):,}",
            "improvement": None if pd.isna(mean) else f"{mean:+.2f} bps against the own benchmark",
        }
        return describe("Benchmark", facts)

    def _repr_html_(self) -> str:
        """A card for a notebook: means of every policy, without intervals; a report has those."""
        head = ("policy", "orders", "mean, bps", "median, bps", "std, bps", "bars used", "incomplete")
        rows = []
        for name, result in self.results.items():
            gain, incomplete = -result.orders["slippage_bps"], int((~result.orders["completed"]).sum())
            numbers = [f"{value:+.2f}" for value in (gain.mean(), gain.median())] + [f"{gain.std(ddof=0):.2f}"]
            used = f"{result.orders['periods_used'].mean():.1f}"
            rows.append((name, f"{len(gain):,}", *numbers, used, f"{incomplete:,}"))
        facts = {
            "policy under test": self.model,
            "bars": f"{len(self.bars):,} of {len(self.bars.symbols)} symbols, every {clock(self.bars.frequency)}",
            "left out": f"{sum(self.excluded.values()):,} origins" if self.excluded else None,
        }
        title = "Benchmark: improvement against the own benchmark, gross, positive = good"
        return facts_html(title, facts, cells_html(head, rows), note=" ".join(self.notes))

    @property
    def seen_percent(self) -> float | None:
        """Share of the orders that start before the first day unseen in training; ``None`` if that day is unknown."""
        if self.unseen_from is None:
            return None
        start = self.results[self.model].orders["start"]
        return 100.0 * float((start < pd.Timestamp(self.unseen_from, tz="UTC")).mean())

    @cached_property
    def orders(self) -> dict[str, pd.DataFrame]:
        """Orders table of every policy, with ``end``, the latest time at which an order is over."""
        return {name: with_ends(result.orders, self.bars) for name, result in self.results.items()}

    def main(self) -> dict[str, pd.DataFrame]:
        """Orders tables of the first benchmark and target, for headlines and figures."""
        return {name: main_orders(orders, self.settings) for name, orders in self.orders.items()}

    def comparison(self, by: list[str]) -> pd.DataFrame:
        """Every policy by group; see :func:`~lem_models.statistics.summary.compare`."""
        return self._in_order(compare(self.orders, by, **self._bootstrap()))

    def differences(self, by: list[str]) -> pd.DataFrame:
        """The policy under test minus each other policy; the column ``policy`` names the other.

        See :func:`~lem_models.statistics.dominance.paired_comparison`: differences order by order, ratios of the
        standard deviations, and what they allow to say. p-values are adjusted for every row of this table.
        """
        common = self._common(self.orders)
        ours = common.pop(self.model)
        return self._in_order(paired_comparison(ours, common, by, **self._bootstrap()))

    def tracking(self, by: list[str]) -> pd.DataFrame:
        """How closely every policy tracks on the orders of a fixed duration, beside TWAP and the volume curves.

        See :func:`~lem_models.statistics.tracking.tracking_errors`. Empty without such orders, or without a policy to
        compare with.
        """
        fixed = {name: table[table["min_periods"] == table["max_periods"]] for name, table in self.orders.items()}
        against = [name for name in fixed if name == "twap" or name.startswith("volume_curve")]
        if len(fixed) < 2 or not against or not len(fixed[self.model]):
            return pd.DataFrame()
        return self._in_order(tracking_errors(self._common(fixed), against, by, **self._bootstrap()))

    def _common(self, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        """The orders that every policy has: a bound may lack some."""
        common = set.intersection(*(set(table["order_id"]) for table in tables.values()))
        return {name: table[table["order_id"].isin(common)] for name, table in tables.items()}

    def breakdown(self, key: str) -> pd.DataFrame:
        """Every policy by a key and side, on the first benchmark and target, all minimum durations together.

        Args:
            key: A column of the orders, or a derived key such as ``"hour"`` or ``"volatility"``.
        """
        return compare(self.main(), list(dict.fromkeys([key, "side"])), **self._bootstrap())

    def capacity(self, by: list[str]) -> pd.DataFrame | None:
        """Net improvement against the size, on the first benchmark and target; ``None`` without costs or sizes.

        See :func:`~lem_models.evaluation.capacity.capacity_curve`.
        """
        settings = self.settings
        if settings.costs is None or not settings.sizes:
            return None
        return self._capacity(dict(self.results) | dict(self.sized), settings.costs, settings.sizes, by)

    def gross(self, by: list[str]) -> pd.DataFrame:
        """The capacity curve of trading that is free: one size, 0, and nothing to pay."""
        return self._capacity(self.results, CostModel(), (0.0,), by)

    def _capacity(
        self, results: Mapping[str, Results], costs: CostModel, sizes: tuple[float, ...], by: list[str]
    ) -> pd.DataFrame:
        has_amounts = any(result.orders["amount"].notna().any() for result in self.results.values())
        first, target = self.settings.benchmark[0], self.settings.target[0]
        rows = {
            name: ((result.orders["benchmark"] == first) & (result.orders["target"] == target)).to_numpy()
            for name, result in self.results.items()
        }
        return capacity_curve(results, costs, None if has_amounts else sizes, by, rows=rows, **self._bootstrap())

    def splits(self, by: list[str]) -> pd.DataFrame | None:
        """Option value, and what is above the null, of every policy that the null was drawn for; ``None`` without one.

        The first column is ``policy``; the policy under test comes first, placebos with a risk dial come last.
        """
        tables = [
            null_split(self.orders[name], draws, by, **self._bootstrap()).assign(policy=name)
            for name, draws in self.nulls.items()
        ]
        tables += [
            null_split(each.orders, each.draws, by, **self._bootstrap()).assign(policy=each.label)
            for each in self.placebos
            if each.draws is not None and each.label not in self.nulls
        ]
        return self._stacked(tables, "policy") if tables else None

    def information(self, by: list[str]) -> pd.DataFrame | None:
        """Information of every policy of the ablation; ``None`` without an ablation. The first column is ``policy``.

        See :func:`~lem_models.evaluation.attribution.information_split`.
        """
        tables = [
            information_split(self.orders[name], draws, self.controls.get(name), by, **self._bootstrap()).assign(
                policy=name
            )
            for name, draws in self.ablated.items()
        ]
        return self._stacked(tables, "policy") if tables else None

    def placebo_differences(self, by: list[str]) -> pd.DataFrame | None:
        """The policy under test minus each placebo at its risk, on the first benchmark and target; ``None`` without.

        See :func:`~lem_models.evaluation.attribution.placebo_difference`; the p-values are adjusted for every row.
        """
        if not self.placebos:
            return None
        bootstrap = {"bootstrap": self.settings.bootstrap, "seed": self.settings.seed}
        model, draws = self.main()[self.model], self.nulls.get(self.model)
        tables = [placebo_difference(model, draws, each, by, **bootstrap) for each in self.placebos]
        stacked = self._stacked(tables, "placebo")
        return adjusted(stacked)

    def _stacked(self, tables: list[pd.DataFrame], first: str) -> pd.DataFrame:
        """Tables in one, with a column in the first place."""
        stacked = pd.concat(tables, ignore_index=True)
        return self._in_order(stacked[[first, *(name for name in stacked if name != first)]])

    def _in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with benchmarks and targets in the order of the settings."""
        for name in ("benchmark", "target"):
            if name in table:
                table[name] = pd.Categorical(table[name], categories=getattr(self.settings, name), ordered=True)
        return table

    def _bootstrap(self) -> dict[str, Any]:
        return {"draws": self.settings.bootstrap, "seed": self.settings.seed}


def main_orders(orders: pd.DataFrame, settings: BenchmarkSettings) -> pd.DataFrame:
    """The orders of the first benchmark and target."""
    return orders[(orders["benchmark"] == settings.benchmark[0]) & (orders["target"] == settings.target[0])]


def sample_orders(bars: BarsLike, settings: BenchmarkSettings) -> pd.DataFrame:
    """Sample the orders of a benchmark with :meth:`~lem_models.orders.Order.sample`.

    Raises:
        OrderError: If no order fits.
    """
    extra: dict[str, Any] = {} if settings.risk_aversion is None else {"risk_aversion": settings.risk_aversion}
    return Order.sample(
        bars,
        every=settings.every,
        side=settings.side,
        min_periods=settings.min_periods,
        max_periods=settings.max_periods,
        lookback=MAX_LOOKBACK,
        start=settings.start,
        end=settings.end,
        limit=settings.limit,
        seed=settings.seed,
        benchmark=settings.benchmark,
        target=settings.target,
        max_rate=settings.max_rate,
        **extra,
    )


def run_benchmark(
    policies: Mapping[str, Policy],
    bars: BarsLike,
    settings: BenchmarkSettings,
    *,
    orders: OrdersLike | None = None,
    starts: StartRule = "next",
    progress: Callable[[str, int, int], None] = lambda text, done, steps: None,
) -> Benchmark | None:
    """Run every policy on the same orders.

    Every process of a group must call it with the same arguments.

    Args:
        policies: Policies by name. The first is under test, the others are its rivals.
        bars: The market: bars, a table of bars, or a file of them.
        settings: The settings.
        orders: The orders, which may name amounts; then the settings of sampled orders are not read. Default: they are
            sampled.
        starts: What happens to their starts inside a bar; see :func:`~lem_models.execution.execute.execute`.
        progress: Called before each step with what comes next, the steps done, and all steps.

    Returns:
        The results; ``None`` on every rank but the first.

    Raises:
        OrderError: when no order fits, or a policy's horizon is shorter than the orders.
        BarsError: when a policy was trained on bars of another length.
        PolicyError: when one of them is not a policy, or looks ahead.
    """
    bars = Bars.of(bars)
    model, policy = next(iter(policies.items()))
    tested = [name for name, each in policies.items() if is_executable(each)]
    on_null = _null_of(settings.null_of, tested)
    if not is_executable(policy):
        raise PolicyError(f"{model} is a bound, which cannot be the policy under test: name it after a policy")
    notes = []
    for name, policy in policies.items():
        with policy_faults(policy):
            horizon = PolicySettings.of(policy).horizon
        notes.append(check_frequency(policy, bars, allow=settings.allow_frequency, name=name))
        if orders is None and horizon is not None and horizon < settings.max_periods:
            raise OrderError(
                f"max_periods is {settings.max_periods}, but the horizon of {name} is {horizon} periods",
                field="max_periods",
                rule="within the horizon",
            )
    if orders is None and max(settings.min_periods) > settings.max_periods:
        raise OrderError(
            f"min_periods {max(settings.min_periods)} exceeds max_periods {settings.max_periods}", field="min_periods"
        )
    if orders is None:
        table = sample_orders(bars, settings)
        excluded = dict(table.attrs["excluded"])
    else:
        placement = BarPlacement(bars, starts=starts)
        table, excluded = _own_orders(policies[model], orders, placement), {}
        warn_of_moved(placement)
        settings = _settings_of(table, settings)
    shared = SharedOrders(table, join_ranks())
    market = shared.market(bars)
    results = {}
    steps = _Steps(progress, _step_count(policies, settings, table, on_null))
    for name, policy in policies.items():
        steps.next(f"{name}: {len(table):,} orders")
        if is_executable(policy):
            results[name] = shared.execute(policy, market, bars, costs=settings.costs)
        elif not shared.ranks.rank:
            results[f"{name} (bound)"] = execute_bound(policy, Market(bars), table, costs=settings.costs)
    sized = _at_sizes(shared, policies, results, market, bars, settings, table, steps)
    tested_result = results[model]
    placebos = []
    for name in settings.placebos:
        if name != model:
            steps.next(f"{name} at the risk of {model}")
            placebo = PlaceboRun(name, main_orders(table, settings), bars, shared.ranks, settings.costs)
            tested_orders = None if tested_result is None else main_orders(tested_result.orders, settings)
            placebo.execute(market, tested_orders)
            placebos.append(placebo)
    drawn: dict[str, list[NullDraws]] = {name: [] for name in on_null}
    ablation = _ablation(policies, on_null)
    ablated: dict[str, list[NullDraws]] = {name: [] for name in ablation}
    controls: dict[str, list[NullDraws]] = {name: [] for name in ablation}
    before: dict[str, Policy] = {}
    for draw in range(max(settings.null, settings.information)):
        null = martingale_null(bars, seed=settings.seed + 1000 + draw)
        null_market = shared.market(null)
        # With contexts of this draw, on any path. One object for all executions: it encodes the draw once.
        reading = {
            name: WithContextsOf(policies[name], null_market) for name in ablation if draw < settings.information
        }
        if draw < settings.null:
            for name, kept in drawn.items():
                steps.next(f"{name} on the martingale null, draw {draw + 1} of {settings.null}")
                result = shared.execute(reading.get(name, policies[name]), null_market, null, costs=settings.costs)
                if result is not None:
                    kept.append(NullDraws.of(result.orders))  # not the whole results: 20 of them take gigabytes
            for placebo in placebos:
                placebo.execute_null(null_market, null)
        if draw < settings.information:
            for name, kept in ablated.items():
                steps.next(f"{name} with contexts of the null, draw {draw + 1} of {settings.information}")
                result = shared.execute(reading[name], market, bars, costs=settings.costs)
                if result is not None:
                    kept.append(NullDraws.of(result.orders))
                if before and name in drawn and draw < settings.null:
                    result = shared.execute(before[name], null_market, null, costs=settings.costs)
                    if result is not None:
                        controls[name].append(control_draw(drawn[name][-1], NullDraws.of(result.orders)))
            before = dict(reading)
    if shared.ranks.rank:
        return None
    config = getattr(policies[model], "config", None)
    unseen = config.first_unseen(clock(bars.frequency)) if isinstance(config, LEMConfig) else None
    kept_results = {name: result for name, result in results.items() if result is not None}
    notes += kept_results[model].doubts_in_words()
    nulls = {name: NullDraws.join(kept) for name, kept in drawn.items() if kept}
    return Benchmark(
        settings,
        bars,
        model,
        kept_results,
        nulls,
        excluded,
        unseen,
        tuple(note for note in notes if note),
        {name: NullDraws.join(kept) for name, kept in ablated.items() if kept},
        {name: NullDraws.join(kept) for name, kept in controls.items() if kept},
        tuple(matched for each in placebos if (matched := each.matched()) is not None),
        sized,
    )


def _at_sizes(
    shared: SharedOrders,
    policies: Mapping[str, Policy],
    results: Mapping[str, ExecutionResult | None],
    market: Market,
    bars: Bars,
    settings: BenchmarkSettings,
    table: pd.DataFrame,
    steps: _Steps,
) -> dict[str, list[ExecutionResult]]:
    """Results at each of the settings' sizes of the policies that read them; on every rank but the first, none."""
    costs = settings.costs
    found: dict[str, list[ExecutionResult]] = {}
    for name in _sized_names(policies, settings, table):
        policy = policies[name]
        assert costs is not None
        same_contexts = WithContextsOf(policy, market) if reads_contexts(policy) else policy
        for size in settings.sizes:
            result = results[name]
            if size != costs.order_size:
                steps.next(f"{name}: {len(table):,} orders of {100 * size:g} % of the expected volume")
                result = shared.execute(same_contexts, market, bars, costs=costs.at(size))
            if result is not None:
                found.setdefault(name, []).append(result)
    return found


def _sized_names(policies: Mapping[str, Policy], settings: BenchmarkSettings, table: pd.DataFrame) -> list[str]:
    """Names of the policies that run at each of the settings' sizes."""
    if settings.costs is None or ("amount" in table and table["amount"].notna().any()):
        return []
    return [name for name, each in policies.items() if getattr(each, "reads_size", False) and is_executable(each)]


def _ablation(policies: Mapping[str, Policy], on_null: Sequence[str]) -> list[str]:
    """Names of the policies of the ablation: the one under test, and those on the null that read contexts."""
    model = next(iter(policies))
    return [name for name in dict.fromkeys([model, *on_null]) if name == model or reads_contexts(policies[name])]


class _Steps:
    """Counts the steps of a benchmark.

    Attributes:
        report: See :func:`run_benchmark`.
        total: All steps.
        done: Steps done, the one that runs included.
    """

    def __init__(self, report: Callable[[str, int, int], None], total: int) -> None:
        self.report, self.total, self.done = report, total, 0

    def next(self, text: str) -> None:
        """Report what comes next; the step before it is done."""
        self.report(text, self.done, self.total)
        self.done += 1


def _step_count(
    policies: Mapping[str, Policy], settings: BenchmarkSettings, table: pd.DataFrame, on_null: Sequence[str]
) -> int:
    """How many executions a benchmark has."""
    sizes = [] if settings.costs is None else [size for size in settings.sizes if size != settings.costs.order_size]
    placebos = [name for name in settings.placebos if name != next(iter(policies))]
    return (
        len(policies)
        + len(_sized_names(policies, settings, table)) * len(sizes)
        + len(placebos)
        + len(on_null) * settings.null
        + len(_ablation(policies, on_null)) * settings.information
    )


def _own_orders(policy: Policy, orders: OrdersLike, placement: BarPlacement) -> pd.DataFrame:
    """A user's orders, sorted by symbol and start, with the durations of the policy under test where they name none.

    Raises:
        OrderError: when there is none, or one breaks a rule.
    """
    given = orders_frame(orders)
    if given.empty:
        raise OrderError("the table of orders is empty", rule="at least one order")
    table = complete_for(policy, given, placement=placement)
    # Where none is named, each policy has its own.
    table["risk_aversion"] = given["risk_aversion"].to_numpy() if "risk_aversion" in given else np.nan
    return table.sort_values(["symbol", "start"], kind="stable", ignore_index=True)


def _settings_of(orders: pd.DataFrame, settings: BenchmarkSettings) -> BenchmarkSettings:
    """The settings with what a user's orders have in place of what sampled ones would."""
    sides = orders["side"].unique()
    values = {name: tuple(orders[name].unique()) for name in ("benchmark", "target")}
    return settings.model_copy(
        update=values
        | {
            "min_periods": tuple(sorted(int(minimum) for minimum in orders["min_periods"].unique())),
            "max_periods": int(orders["max_periods"].max()),
            "side": "both" if len(sides) > 1 else str(sides[0]),
            "limit": None,
        }
    )


def _null_of(wanted: str | tuple[str, ...], policies: list[str]) -> list[str]:
    """Names of the policies that run on the null."""
    if isinstance(wanted, str):
        return policies if wanted == "all" else policies[:1]
    for name in wanted:
        if name not in policies:
            raise ConfigError(f"null_of names {name!r}, which is not one of the policies {', '.join(policies)}")
    return list(wanted)
