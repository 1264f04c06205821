"""The tables of a benchmark, by scenario (benchmark price and target). Each is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from lem_models.evaluation.benchmark import Benchmark
from lem_models.evaluation.post_trade import post_trade_reversion
from lem_models.evaluation.prices import PriceImprovement
from lem_models.evaluation.trajectory import TENTHS, trajectory_shortfall
from lem_models.execution.costs import CostModel
from lem_models.report.capacity import break_even_table, capacity_table, price_improvements
from lem_models.report.policy_tables import (
    attribution_table,
    breakdown_table,
    cost_table,
    difference_table,
    information_table,
    main_table,
    overview_table,
    placebo_table,
    reference_price_table,
    statistics_table,
)
from lem_models.report.quality.tables import (
    dominance_table,
    reversion_table,
    tracking_ratio_table,
    tracking_sentences,
    tracking_value_table,
    trajectory_table,
)
from lem_models.report.tables import Column, Table
from lem_models.statistics.accuracy_tests import MULTIPLE_TESTING_NOTE
from lem_models.statistics.reference_prices import REFERENCE_PRICES

__all__ = ["BOUND", "BenchmarkTables", "cost_text", "excluded_counts", "seen_text", "universe_table"]

BOUND = "(bound)"
"""End of the name of a bound. Bounds know the future and are not rivals."""

_SCENARIO = ["benchmark", "target"]
_GROUPS = [*_SCENARIO, "min_periods"]
_BY = ["min_periods"]
_MOST_SYMBOLS = 300
_MOST_PERIODS = 12  # from more on the trajectory is by tenths
_TRACKING_NOTE = (
    "Slippage of the orders that cannot end early, in bar volatilities. Ratios: the policy's number over that of the "
    "policy it stands against, paired; below 1 it tracks more closely. Clipped std: of errors clipped at 2 bar "
    "volatilities; mean, median, 95 % and 99 % are of the absolute errors; closer: share of the orders with the "
    "smaller absolute error. Closer is said only where std, clipped std, mean and median all say so."
)
_DOMINANCE_NOTE = (
    "In bar volatilities. Better at equal or lower risk: the interval of the mean difference above 0, its p-value "
    "adjusted for all rows (Holm) below 0.05, and the upper end of the interval of the ratio of the standard "
    "deviations at or below 1."
)
_REVERSION_NOTE = (
    "Measured after the fact; no policy is given it. The price that the order got against the VWAP of a later bar, "
    "positive = cost: it fell after a purchase or rose after a sale."
)
_TRAJECTORY_NOTE = "Mean slippage of the fills of each part, positive = cost; the parts sum to that of the order."
_BENCHMARK_NOTE = (
    "Mean improvement of the same fills. Own benchmark: with equal weights, and weighted by the orders' value."
)


_INFORMATION_NOTE = (
    "Information is the improvement minus that of the same policy with contexts of {draws} of the martingale null, on "
    "the same real path, order by order: what the policy gains from what it reads in the market."
)
_PAIRED_SIDES = "Every start is run both ways, so the drift of the market cancels; values of one side hold drift."
_ONE_SIDE = "Orders have one side only, so the numbers hold the drift of the market."


class BenchmarkTables:
    """Every table of a benchmark, each computed on first use.

    Attributes:
        benchmark: The benchmark.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        settings = benchmark.settings
        self.scenarios = [(name, target) for name in settings.benchmark for target in settings.target]

    @classmethod
    def of(cls, benchmark: Benchmark | BenchmarkTables) -> BenchmarkTables:
        """The tables of a benchmark; tables that are there already stay as they are."""
        return benchmark if isinstance(benchmark, BenchmarkTables) else cls(benchmark)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Every policy by benchmark price, target and minimum duration."""
        return self.benchmark.comparison(_GROUPS)

    @cached_property
    def detail(self) -> pd.DataFrame:
        """Every policy by benchmark price, target, minimum duration and side."""
        return self.benchmark.comparison([*_GROUPS, "side"])

    @cached_property
    def differences(self) -> pd.DataFrame:
        """The policy under test minus each other policy; empty without others."""
        return self.benchmark.differences(_GROUPS)

    @cached_property
    def splits(self) -> pd.DataFrame | None:
        """Option value, and what is above the null, of the policies that it was drawn for; ``None`` without a null."""
        return self.benchmark.splits(_GROUPS)

    @property
    def split(self) -> pd.DataFrame | None:
        """Option value, and what is above the null, of the policy under test; ``None`` without a null."""
        if self.splits is None:
            return None
        own = self.splits[self.splits["policy"] == self.benchmark.model]
        return own.drop(columns="policy").reset_index(drop=True)

    @cached_property
    def information(self) -> pd.DataFrame | None:
        """Information of the policies of the ablation; ``None`` without one."""
        return self.benchmark.information(_GROUPS)

    @cached_property
    def placebos(self) -> pd.DataFrame | None:
        """The policy under test minus each placebo at its risk; ``None`` without placebos."""
        return self.benchmark.placebo_differences(_GROUPS)

    @cached_property
    def tracking(self) -> pd.DataFrame:
        """How closely every policy tracks at the fixed duration; empty without such orders or without TWAP."""
        return self.benchmark.tracking(_SCENARIO)

    @cached_property
    def reversion(self) -> pd.DataFrame:
        """Post-trade reversion of every policy by benchmark price and target."""
        return post_trade_reversion(self.benchmark.results, _SCENARIO, **self._bootstrap)

    @cached_property
    def trajectory(self) -> pd.DataFrame:
        """Slippage of every policy by period, or by tenth of long orders, by benchmark price and target."""
        return trajectory_shortfall(self.benchmark.results, _SCENARIO, parts=self._parts, **self._bootstrap)

    @property
    def _parts(self) -> int | None:
        return None if self.benchmark.settings.max_periods <= _MOST_PERIODS else TENTHS

    @property
    def _bootstrap(self) -> dict[str, Any]:
        return {"draws": self.benchmark.settings.bootstrap, "seed": self.benchmark.settings.seed}

    @cached_property
    def breakdowns(self) -> dict[str, pd.DataFrame]:
        """Every policy by each further key and by side."""
        return {key: self.benchmark.breakdown(key) for key in self.benchmark.settings.by if key != "side"}

    @property
    def costs(self) -> CostModel | None:
        """The cost model, if a cost is positive; a cost model may also name only the size of orders."""
        costs = self.benchmark.settings.costs
        return None if costs is None or costs.is_free else costs

    @cached_property
    def capacity(self) -> pd.DataFrame | None:
        """Net improvement against the size by minimum duration, of the first scenario; ``None`` without costs."""
        return None if self.costs is None else self.benchmark.capacity(_BY)

    @cached_property
    def gross(self) -> pd.DataFrame:
        """The same without costs, at size 0."""
        return self.benchmark.gross(_BY)

    def prices(self, policy: str) -> list[PriceImprovement]:
        """Improvement of a policy against each price at the shortest minimum, of the first scenario; gross and net.

        Without costs net is gross. A price that is the order's own benchmark is not repeated.
        """
        curve = self.gross if self.capacity is None else self.capacity
        shortest = min(self.benchmark.settings.min_periods)
        found = price_improvements(curve[curve["min_periods"] == shortest], policy)
        return [each for each in found if each.against != self.scenarios[0][0]]

    def first(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of the first benchmark price and target, for headlines and figures."""
        return _rows(table, *self.scenarios[0])

    def overview(self, benchmark: str, target: str) -> Table:
        """One scenario in one table, for the terminal."""
        return overview_table(
            _rows(self.comparison, benchmark, target),
            _rows(self.differences, benchmark, target) if len(self.differences) else None,
            None if self.split is None else _rows(self.split, benchmark, target),
            model=self.benchmark.model,
            with_costs=self.benchmark.settings.costs is not None,
        )

    def open_sections(self) -> list[Table]:
        """Sections that a report shows open: improvements, differences, null, costs, other benchmark prices."""
        statistics_by = [*(_GROUPS if len(self.scenarios) > 1 else _BY), "side"]
        statistics = replace(
            statistics_table(self.detail, statistics_by),
            title="All statistics by side: spread, quantiles, durations",
        )
        sections = [
            self._by_scenario(
                main_table,
                (self.comparison, self.detail),
                "Improvement by minimum duration and side",
                "Every policy on the same orders, by the same simulator, gross of costs.",
                more=[statistics],
            )
        ]
        if len(self.differences):
            title = f"{self.benchmark.model} minus each rival, order by order"
            sections.append(self._by_scenario(difference_table, (self.differences,), title, MULTIPLE_TESTING_NOTE))
            title = f"Is {self.benchmark.model} better at equal or lower risk?"
            sections.append(self._by_scenario(dominance_table, (self.differences,), title, _DOMINANCE_NOTE))
        if len(self.tracking):
            sections.append(self._tracking_section())
        sections += self.attribution_sections()
        if self.costs is not None:
            note = f"Costs: {cost_text(self.costs)}. The same fills, priced without and with them."
            sections.append(self._by_scenario(cost_table, (self.comparison, self.detail), "Costs: gross and net", note))
        sections += self.capacity_sections()
        shown = [price.note for price in REFERENCE_PRICES if self.comparison[price.improvement].notna().any()]
        note = " ".join(dict.fromkeys([_BENCHMARK_NOTE, *shown]))
        title = "The same fills against other benchmarks"
        sections.append(self._by_scenario(reference_price_table, (self.comparison,), title, note))
        return sections

    def attribution_sections(self, *, for_terminal: bool = False) -> list[Table]:
        """Where the improvement comes from: the null, the ablation, and placebos at matched risk.

        Args:
            for_terminal: Bar volatilities only, in few columns.
        """
        sections, model = [], self.benchmark.model
        if self.splits is not None:
            frames = (self.splits,) if self.information is None else (self.splits, self.information)
            title, note = "Attribution: option value, above the null, information", _attribution_note(self.benchmark)
            attribution = partial(_attribution_table, for_terminal=for_terminal)
            sections.append(self._by_scenario(attribution, frames, title, note))
        elif self.information is not None:
            note = _INFORMATION_NOTE.format(draws=_draws(self.benchmark.settings.information))
            information = partial(information_table, for_terminal=for_terminal)
            sections.append(self._by_scenario(information, (self.information,), "Information", note))
        if self.placebos is not None and len(self.placebos):
            note = (
                f"{_scenario_text(*self.scenarios[0])}. Placebos forecast nothing. The risk aversion of a placebo with "
                "a risk dial is chosen on these orders, so that its standard deviation comes as near to that of "
                f"{model} as its grid allows; both are in the table. Claims of skill rest on this difference and on "
                f"the information. {_PAIRED_SIDES if self.benchmark.settings.side == 'both' else _ONE_SIDE}"
            )
            title = f"{model} minus placebos at matched risk, order by order"
            placebos = placebo_table(self.placebos, _BY, for_terminal=for_terminal)
            sections.append(replace(placebos, title=title, note=note))
        return sections

    def _tracking_section(self) -> Table:
        """Tracking of the first scenario: ratios, and folded below them the measures and the other scenarios."""
        model = self.benchmark.model
        first, *others = self.scenarios
        rows = self.first(self.tracking)
        values = replace(tracking_value_table(rows, model=model), title="The measures themselves, bar volatilities")
        folded = [
            replace(tracking_ratio_table(each, model=model), title=_scenario_text(*scenario))
            for scenario in others
            if len(each := _rows(self.tracking, *scenario))
        ]
        periods = self.benchmark.settings.max_periods
        said = " ".join(tracking_sentences(rows, model))
        return replace(
            tracking_ratio_table(rows, model=model),
            title=f"Tracking at a fixed duration of {periods} periods",
            note=f"{_scenario_text(*first)}. {said} {_TRACKING_NOTE}",
            more=[values, *folded],
        )

    def capacity_sections(self) -> list[Table]:
        """How large orders may be: break-even sizes, and the numbers at each size; empty without costs."""
        if self.capacity is None or self.costs is None:
            return []
        model, of = self.benchmark.model, _scenario_text(*self.scenarios[0])
        shortest, *others = sorted(self.benchmark.settings.min_periods)
        curve = self.capacity
        by_minimum = {minimum: curve[curve["min_periods"] == minimum] for minimum in (shortest, *others)}
        title = f"Net improvement against the size of the order, minimum {shortest}"
        note = (
            f"{of}. Costs: {cost_text(self.costs, with_size=False)}. The same orders at every size, in per cent of the "
            "volume expected over the maximum duration: policies that read sizes decide for each, the fills of the "
            "others stay. At size 0 half-spread and fees only. Participation above a bar: orders that trade more in a "
            "bar than the market did, which no market would fill."
        )
        folded = [
            replace(capacity_table(rows, model=model), title=f"Minimum {minimum}")
            for minimum, rows in by_minimum.items()
            if minimum != shortest
        ]
        numbers = replace(capacity_table(by_minimum[shortest], model=model), title=title, note=note, more=folded)
        if curve["size"].nunique() < 2:  # no curve
            return [numbers]
        note = (
            "Size at which the mean net improvement is 0, interpolated in the square root of the size; none up to the "
            "largest size looked at where it says so. In brackets, in per cent: the sizes at which the 95 % interval "
            "of the mean holds 0."
        )
        sizes = replace(
            break_even_table(curve, _BY, model=model), title="How large an order may be", note=f"{of}. {note}"
        )
        return [numbers, sizes]

    def folded_sections(self) -> list[Table]:
        """Sections that a report shows folded: reversion, trajectory, and the improvement by further keys."""
        return [*self._after_trade(), *self._breakdown_sections()]

    def _after_trade(self) -> list[Table]:
        """Reversion and trajectory of the first scenario."""
        model, text = self.benchmark.model, _scenario_text(*self.scenarios[0])
        heading = "period" if self._parts is None else "tenth of the maximum"
        return [
            replace(
                reversion_table(self.first(self.reversion), model=model),
                title="Post-trade reversion",
                note=f"{text}, all minimum durations together. {_REVERSION_NOTE}",
                collapsed=True,
            ),
            replace(
                trajectory_table(self.first(self.trajectory), model=model, heading=heading),
                title="Where in the order the slippage arose",
                note=f"{text}, all minimum durations together. {_TRAJECTORY_NOTE}",
                collapsed=True,
            ),
        ]

    def _breakdown_sections(self) -> list[Table]:
        """The improvement by further keys."""
        note = f"{_scenario_text(*self.scenarios[0])}, all minimum durations together."
        return [
            replace(
                breakdown_table(comparison, key, model=self.benchmark.model),
                title=f"By {key.replace('_', ' ')}",
                note=note,
            )
            for key, comparison in self.breakdowns.items()
        ]

    def _by_scenario(
        self,
        table: Callable[..., Table],
        frames: tuple[pd.DataFrame, ...],
        title: str,
        note: str,
        *,
        more: Sequence[Table] = (),
    ) -> Table:
        """The table of the first scenario; below it, folded, the tables of the others."""

        def of(benchmark: str, target: str) -> Table:
            rows = (_rows(frame, benchmark, target) for frame in frames)
            return table(*rows, _BY, model=self.benchmark.model)

        first, *others = self.scenarios
        folded = [replace(of(*scenario), title=_scenario_text(*scenario)) for scenario in others]
        return replace(of(*first), title=title, note=f"{_scenario_text(*first)}. {note}", more=[*folded, *more])


def excluded_counts(benchmark: Benchmark) -> dict[str, int]:
    """Starts left out, by reason: bars at which no order may start, and orders that could not run."""
    counts = dict(benchmark.excluded)
    for reason, number in benchmark.results[benchmark.model].excluded["reason"].value_counts().items():
        counts[str(reason)] = counts.get(str(reason), 0) + int(number)
    return counts


def seen_text(benchmark: Benchmark) -> str:
    """A warning if orders start in days that the policy under test was trained or selected on; else empty."""
    if not benchmark.seen_percent:
        return ""
    return (
        f"{benchmark.seen_percent:.0f} % of the orders start before {benchmark.unseen_from}, in days that "
        f"{benchmark.model} was trained or selected on: these numbers are too good."
    )


def universe_table(benchmark: Benchmark) -> Table:
    """Bars, period and orders of each symbol. A very large universe shows the symbols with most orders."""
    bars = benchmark.bars
    counts = benchmark.results[benchmark.model].orders["symbol"].astype(str).value_counts()
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
    return Table(frame, columns, title=f"Universe: bars and orders of {len(filled):,} symbols", note=note)


def cost_text(costs: CostModel, *, with_size: bool = True) -> str:
    """A cost model in words; without its size where there are several."""
    spread = f"{costs.half_spread_bps:g}"
    if costs.half_spreads_bps:
        low, high = min(costs.half_spreads_bps.values()), max(costs.half_spreads_bps.values())
        spread = f"by symbol from {low:.1f} to {high:.1f}"
    terms = [f"half-spread {spread} bps", f"fees {costs.fee_bps:g} bps"]
    if costs.impact > 0:
        terms.append(f"impact {costs.impact:g} \u00d7 bar volatility \u00d7 \u221aparticipation")
    if with_size and costs.order_size is not None:
        terms.append(f"orders of {100 * costs.order_size:g} % of the volume expected over their maximum duration")
    return ", ".join(terms)


def _draws(count: int) -> str:
    return f"{count} draw{'s'[: count != 1]}"


def _attribution_note(benchmark: Benchmark) -> str:
    """What the columns of the table of attribution are."""
    settings = benchmark.settings
    note = (
        f"Option value: the improvement of the same orders on {_draws(settings.null)} of the martingale null, where "
        "nothing can be forecast. Above the null: the improvement minus the option value. It is not skill by itself, "
        "because policies that forecast nothing earn some of it too."
    )
    if benchmark.ablated:
        note += f" {_INFORMATION_NOTE.format(draws=_draws(settings.information))} Policies without contexts have none."
        note += (
            " Control: the same difference on paths of the null, where contexts tell an order about its own path. "
            "Beyond control: information minus control, order by order."
        )
    return note + f" {_PAIRED_SIDES if settings.side == 'both' else _ONE_SIDE}"


def _attribution_table(*frames: Any, model: str, for_terminal: bool) -> Table:
    """The table of attribution from the split, the information where there is one, and the keys."""
    splits, *rest, by = frames
    information = rest[0] if rest else None
    return attribution_table(splits, information, by, model=model, for_terminal=for_terminal)


def _rows(table: pd.DataFrame, benchmark: str, target: str) -> pd.DataFrame:
    """Rows of one scenario."""
    return table[(table["benchmark"] == benchmark) & (table["target"] == target)].reset_index(drop=True)


def _scenario_text(benchmark: str, target: str) -> str:
    return f"Against the {benchmark.upper()}, fixed {target}"
