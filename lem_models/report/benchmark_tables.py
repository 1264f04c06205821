"""The tables of a benchmark run: computed once, printed by scenario (benchmark and target), the first one open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lem_models.evaluation.benchmark import Benchmark
from lem_models.execution.costs import CostModel
from lem_models.report.parts import Column, ReportTable
from lem_models.report.tables import (
    benchmark_table,
    breakdown_table,
    comparison_table,
    cost_table,
    difference_table,
    main_table,
    null_table,
)
from lem_models.statistics.accuracy_tests import MULTIPLE_TESTING_NOTE
from lem_models.statistics.reference_prices import REFERENCE_PRICES

__all__ = ["BOUND", "GROUPS", "BenchmarkTables", "cost_text", "excluded_counts", "universe_table"]

GROUPS = ["benchmark", "target", "min_periods"]
"""What the tables of a run are grouped by."""

BOUND = "(bound)"
"""What the names of bounds end with: they know the future and are no rivals."""

_BY = "min_periods"
_MOST_SYMBOLS = 300
_BENCHMARK_NOTE = (
    "Mean improvement of the same fills. Own benchmark: with equal weights, and weighted by the orders' value."
)


class BenchmarkTables:
    """Every table of a run.

    Attributes:
        run: The run.
        comparison: Every policy by benchmark, target and minimum duration.
        detail: The same by side too.
        differences: The policy under test minus each other one.
        splits: Option value and forecast value of the policies that the null was drawn for; ``None`` without a null.
        breakdowns: Every policy by each further key, and by side.
    """

    def __init__(self, run: Benchmark) -> None:
        self.run = run
        self.comparison = run.comparison(GROUPS)
        self.detail = run.comparison([*GROUPS, "side"])
        self.differences = run.differences(GROUPS)
        self.splits = run.splits(GROUPS)
        self.breakdowns = {key: run.breakdown(key) for key in run.settings.by if key != "side"}  # all are by side
        settings = run.settings
        self.scenarios = [(benchmark, target) for benchmark in settings.benchmark for target in settings.target]

    def first(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of the first benchmark and target: what headlines and figures show."""
        return _rows(table, *self.scenarios[0])

    @property
    def costs(self) -> CostModel | None:
        """The cost model, if anything costs (it may only say how large orders are)."""
        costs = self.run.settings.costs
        return costs if costs and (costs.half_spread_bps or costs.fee_bps or costs.impact) else None

    @property
    def split(self) -> pd.DataFrame | None:
        """The split of the policy under test alone."""
        if self.splits is None:
            return None
        return self.splits[self.splits["policy"] == self.run.model].drop(columns="policy").reset_index(drop=True)

    def printed(self) -> list[ReportTable]:
        """What a report shows open: improvements, differences, null, costs, other benchmarks."""
        model = self.run.model
        tables = [
            self._by_scenario(
                main_table,
                (self.comparison, self.detail),
                "Improvement by minimum duration and side",
                "Every policy on the same orders, by the same simulator, gross of costs.",
                more=[self._all_statistics()],
            )
        ]
        if len(self.differences):
            title = f"{model} minus each rival, order by order"
            tables.append(self._by_scenario(difference_table, (self.differences,), title, MULTIPLE_TESTING_NOTE))
        if self.splits is not None:
            count = self.run.settings.null
            note = (
                f"The same orders on the real bars and on {count} draw{'s'[: count != 1]} of the martingale "
                "null. Option value is what the null earns; forecast value is real minus null. A policy that forecasts "
                "nothing has none."
            )
            tables.append(self._by_scenario(null_table, (self.splits,), "Option value and forecast value", note))
        if self.costs is not None:
            note = f"Costs: {cost_text(self.costs)}. The same fills, priced without and with them."
            tables.append(self._by_scenario(cost_table, (self.comparison, self.detail), "Costs: gross and net", note))
        shown = [row.note for row in REFERENCE_PRICES if self.comparison[row.improvement].notna().any()]
        note = " ".join(dict.fromkeys([_BENCHMARK_NOTE, *shown]))
        title = "The same fills against other benchmarks"
        tables.append(self._by_scenario(benchmark_table, (self.comparison,), title, note))
        return tables

    def printed_breakdowns(self) -> list[ReportTable]:
        """What a report shows folded: the improvement by further keys."""
        benchmark, target = self.scenarios[0]
        note = f"{_scenario(benchmark, target)}, all minimum durations together."
        return [
            breakdown_table(table, key, title=f"By {key.replace('_', ' ')}", note=note, model=self.run.model)
            for key, table in self.breakdowns.items()
        ]

    def _all_statistics(self) -> ReportTable:
        by = [_BY, "side"]
        if len(self.scenarios) > 1:
            by = [*GROUPS, "side"]
        return comparison_table(self.detail, by, title="All statistics by side: spread, quantiles, durations")

    def _by_scenario(
        self,
        table: Callable[..., ReportTable],
        frames: tuple[pd.DataFrame, ...],
        title: str,
        note: str,
        *,
        more: Sequence[ReportTable] = (),
    ) -> ReportTable:
        """The first scenario's table, those of the others folded below it."""

        def of(benchmark: str, target: str, **texts: Any) -> ReportTable:
            rows = (_rows(frame, benchmark, target) for frame in frames)
            return table(*rows, _BY, model=self.run.model, **texts)

        first, *others = self.scenarios
        folded = [of(*scenario, title=_scenario(*scenario)) for scenario in others]
        return of(*first, title=title, note=f"{_scenario(*first)}. {note}", more=[*folded, *more])


def excluded_counts(run: Benchmark) -> dict[str, int]:
    """Starts left out, by reason: candidates that no order may start at, and orders that could not run."""
    counts = dict(run.excluded)
    for reason, number in run.results[run.model].excluded["reason"].value_counts().items():
        counts[str(reason)] = counts.get(str(reason), 0) + int(number)
    return counts


def universe_table(run: Benchmark) -> ReportTable:
    """Bars, period and orders of each symbol; of a very large universe the symbols with most orders."""
    bars = run.bars
    counts = run.results[run.model].orders["symbol"].astype(str).value_counts()
    edges = bars.offsets
    filled = np.flatnonzero(np.diff(edges) > 0)
    frame = pd.DataFrame(
        {
            "symbol": np.array(bars.symbols, dtype=object)[filled],
            "bars": np.diff(edges)[filled],
            "first": pd.to_datetime(bars.timestamp[edges[filled]], utc=True),
            "last": pd.to_datetime(bars.timestamp[edges[filled + 1] - 1], utc=True),
        }
    )
    frame["orders"] = frame["symbol"].map(counts).fillna(0).astype(int)
    note = ""
    if len(frame) > _MOST_SYMBOLS:
        note = f"The {_MOST_SYMBOLS} symbols with most orders, of {len(frame):,}."
        frame = frame.sort_values(["orders", "symbol"], ascending=[False, True]).head(_MOST_SYMBOLS)
    columns = [
        Column("symbol", "symbol"),
        Column("first", "first bar (UTC)"),
        Column("last", "last bar (UTC)"),
        Column("bars", "bars", "{:,}"),
        Column("orders", "orders", "{:,}"),
    ]
    return ReportTable(f"Universe: bars and orders of {len(filled):,} symbols", frame, note, columns)


def cost_text(costs: CostModel) -> str:
    """A cost model in words."""
    parts = [f"half-spread {costs.half_spread_bps:g} bps", f"fees {costs.fee_bps:g} bps"]
    if costs.impact > 0:
        parts.append(f"impact {costs.impact:g} \u00d7 bar volatility \u00d7 \u221aparticipation")
    if costs.order_size is not None:
        parts.append(f"orders of {100 * costs.order_size:g} % of the volume expected over their maximum duration")
    return ", ".join(parts)


def _rows(table: pd.DataFrame, benchmark: str, target: str) -> pd.DataFrame:
    """Rows of one scenario."""
    return table[(table["benchmark"] == benchmark) & (table["target"] == target)].reset_index(drop=True)


def _scenario(benchmark: str, target: str) -> str:
    return f"Against the {benchmark.upper()}, fixed {target}"
