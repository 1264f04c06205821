"""The report of a benchmark: an HTML page, the tables as CSV and JSON, the figures as PNG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from lem_models.evaluation.attribution import PLACEBOS
from lem_models.evaluation.benchmark import Benchmark
from lem_models.guard.output import to_csv, to_json, write_bytes
from lem_models.markets.calendar.frequency import clock
from lem_models.report import plots
from lem_models.report.benchmark_tables import (
    BOUND,
    BenchmarkTables,
    cost_text,
    excluded_counts,
    seen_text,
    universe_table,
)
from lem_models.report.capacity import capacity_figure, difference_text, gross_text, net_text, size_text
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.execution_plot import execution
from lem_models.report.figure_style import Theme, figure_to_png_bytes
from lem_models.report.html import FigureGroup, Headline, Report, ReportFigure, SampleGroup, write_report
from lem_models.report.numbers import number_text, p_text
from lem_models.report.quality.tables import tracking_sentences
from lem_models.report.samples import (
    execution_inputs,
    sample_executions,
    sample_order,
    worst_executions,
    worst_table,
)

__all__ = ["benchmark_facts", "headlines", "strongest_rival", "summary", "write_benchmark"]

_OWN = {
    "VWAP": "the VWAP of the periods it took",
    "TWAP": "the TWAP of the periods it took",
    "FULL_VWAP": "the VWAP of all periods",
    "ARRIVAL": "the price at arrival",
}
_WORDS = {"own": "its own benchmark", "full_vwap": "the VWAP of all periods", "arrival": "the price at arrival"}


def write_benchmark(
    benchmark: Benchmark | BenchmarkTables, out: str | Path, *, command: str, title: str | None = None
) -> Path:
    """Write ``report.html``, ``summary.csv``, ``summary.json`` and the figures as PNG into a folder.

    Also ``orders.parquet``, the orders of the policy under test, by which ``lem compare`` pairs two reports.

    Args:
        benchmark: The benchmark, or its tables, where they serve for more than the report.
        out: Folder, made if needed.
        command: Command that reproduces the report.
        title: Title of the report.

    Returns:
        Path of the HTML report.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tables = BenchmarkTables.of(benchmark)
    benchmark = tables.benchmark
    figures = _figures(tables)
    to_csv(tables.detail, out / "summary.csv")
    to_json(benchmark_facts(tables, command), out / "summary.json")
    write_bytes(out / "orders.parquet", benchmark.orders[benchmark.model].to_parquet(index=False))
    for name, figure in figures.items():
        write_bytes(out / f"{name}.png", figure.png)
    samples = sample_executions(benchmark)
    write_bytes(out / "execution.png", _execution_png(benchmark, samples))
    title = title or f"{benchmark.model}: slippage against the market"
    return write_report(out / "report.html", _report(tables, list(figures.values()), samples, command, title))


def _execution_png(benchmark: Benchmark, samples: SampleGroup) -> bytes:
    """The order to show where there is room for one: the picture of the samples, if they have it."""
    for sample in samples.samples:
        if sample.figure.png:
            return sample.figure.png
    inputs = execution_inputs(benchmark.results[benchmark.model], sample_order(benchmark))
    return figure_to_png_bytes(execution(*inputs))


def _figures(tables: BenchmarkTables) -> dict[str, ReportFigure]:
    """Each figure by file name, drawn once for the report and the file."""
    return {
        name: ReportFigure.from_plot(*plot, wide=name == "performance_curves", png=True)
        for name, plot in _plots(tables).items()
    }


def _plots(tables: BenchmarkTables) -> dict[str, tuple[str, str, Callable[[Theme], Figure]]]:
    """Title, caption and drawing function of each figure by file name."""
    benchmark = tables.benchmark
    comparison = tables.first(tables.comparison)
    split = None if tables.split is None else tables.first(tables.split)
    splits = None if tables.splits is None else tables.first(tables.splits)
    main, minimum = benchmark.main(), min(benchmark.settings.min_periods)
    figures: dict[str, tuple[str, str, Callable[[Theme], Figure]]] = {
        "performance_curves": (
            "Performance by minimum duration",
            "Line: mean improvement; dark band: its 95 % interval; light band: 5 % to 95 % quantile of the orders. "
            "Dashed: mean on the martingale null (option value).",
            lambda theme: plots.performance_curves(comparison, splits, theme=theme),
        ),
        "improvement_by_minimum": (
            "Mean improvement by minimum duration",
            "Means with 95 % intervals. Dashed: the policy under test on the martingale null (option value).",
            lambda theme: plots.improvement_by_minimum(comparison, split, theme=theme),
        ),
        "frontier": (
            "Mean against standard deviation",
            "Each point is a policy at one minimum duration (the number beside it); up and left is better.",
            lambda theme: plots.frontier(comparison, theme=theme),
        ),
        "distribution": (
            f"Distribution of the improvement, minimum {minimum}",
            "Improvement in bar volatilities; triangles mark the means.",
            lambda theme: plots.improvement_distribution(main, min_periods=minimum, theme=theme),
        ),
        "duration": (
            f"How long orders take, minimum {minimum}",
            "Share of orders complete after each period.",
            lambda theme: plots.completion(main, min_periods=minimum, theme=theme),
        ),
    }
    curve = tables.capacity
    if curve is not None and curve["size"].nunique() > 1:
        shortest = curve[curve["min_periods"] == minimum]
        figures["capacity"] = (
            f"Net improvement against the size, minimum {minimum}",
            "Means of the same orders at every size, with 95 % intervals. Sizes stand at their square roots.",
            lambda theme: capacity_figure(shortest, theme=theme),
        )
    return figures


def _report(
    tables: BenchmarkTables, figures: list[ReportFigure], samples: SampleGroup, command: str, title: str
) -> Report:
    benchmark, settings = tables.benchmark, tables.benchmark.settings
    bars = benchmark.bars
    orders = benchmark.results[benchmark.model].orders
    period = f"{orders['start'].min():%Y-%m-%d} to {orders['start'].max():%Y-%m-%d}"
    sides = "every start both ways" if settings.side == "both" else f"{settings.side} orders"
    universe = universe_table(benchmark)
    known = f"{universe.frame['first'].min():%Y-%m-%d} to {universe.frame['last'].max():%Y-%m-%d}"
    every = settings.every if isinstance(settings.every, str) else f"{settings.every} bars"
    every = "bar" if every == "1 bars" else every
    at_most = "" if settings.limit is None else f", at most {settings.limit:,} drawn at random"
    return Report(
        title=title,
        subtitle=(
            f"{len(orders):,} orders of up to {settings.max_periods} periods of {clock(bars.frequency)}, {period}, "
            f"{orders['symbol'].nunique()} symbols, {sides}"
        ),
        policies=list(benchmark.results),
        warnings=[*(f"{note}." for note in benchmark.notes), *filter(None, [seen_text(benchmark)])],
        headlines=headlines(tables),
        summary=summary(tables),
        data={
            "content hash of the bars": bars.content_hash,
            "bars": f"{len(bars):,} of {clock(bars.frequency)}, {len(bars.symbols):,} symbols, {known}",
            "orders": f"{len(orders):,}, started {period}",
            "starts": f"every {every}{at_most} (seed {settings.seed})",
            "minimum durations": ", ".join(map(str, settings.min_periods)),
            "maximum duration": settings.max_periods,
            "cap per period": settings.max_rate,
            "costs": "none" if settings.costs is None else cost_text(settings.costs),
        },
        excluded={f"starts: {reason}": count for reason, count in excluded_counts(benchmark).items()},
        universe=universe,
        sections=[
            *tables.open_sections(),
            FigureGroup("Figures", figures),
            samples,
            worst_executions(benchmark),
            worst_table(benchmark),
            *tables.folded_sections(),
        ],
        model=_policy_facts(benchmark),
        command=command,
    )


def _policy_facts(benchmark: Benchmark) -> dict[str, object]:
    facts: dict[str, object] = {
        "policy under test": benchmark.model,
        "rivals": ", ".join(name for name in benchmark.results if name != benchmark.model),
    }
    if benchmark.unseen_from is not None:
        facts["first day seen neither in training nor validation"] = benchmark.unseen_from
        facts["orders before that day"] = f"{benchmark.seen_percent:.1f} %"
    return facts


def benchmark_facts(tables: BenchmarkTables, command: str) -> dict[str, Any]:
    """The content of ``summary.json``: settings and tables, with the command that reproduces them."""
    benchmark = tables.benchmark
    return {
        "command": command,
        "sign": SIGN_CONVENTION,
        "model": benchmark.model,
        "settings": benchmark.settings.model_dump(mode="json"),
        "data": {
            "content_hash": benchmark.bars.content_hash,
            "symbols": list(benchmark.bars.symbols),
            "bars": len(benchmark.bars),
            "frequency": clock(benchmark.bars.frequency),
        },
        "unseen_from": None if benchmark.unseen_from is None else str(benchmark.unseen_from),
        "seen_percent": benchmark.seen_percent,
        "notes": benchmark.notes,
        "excluded": excluded_counts(benchmark),
        "comparison": tables.comparison,
        "by_side": tables.detail,
        "differences": tables.differences,
        "attribution": tables.splits,
        "information": tables.information,
        "placebos": tables.placebos,
        "tracking": tables.tracking,
        "reversion": tables.reversion,
        "trajectory": tables.trajectory,
        "capacity": tables.capacity,
        "breakdowns": tables.breakdowns,
    }


def headlines(tables: BenchmarkTables) -> list[Headline]:
    """Improvement against three prices gross and net, information, lead over a placebo and over the best rival.

    All are for the first benchmark and target, at the shortest minimum duration.
    """
    benchmark, settings = tables.benchmark, tables.benchmark.settings
    shortest = min(settings.min_periods)
    row = _row(tables.first(tables.comparison), shortest, benchmark.model)
    if row is None:
        return []
    shown = _price_headlines(tables)
    vol = number_text(f"{row['mean_vol']:+.3f} ± {row['std_vol']:.2f} bar volatilities")
    shown[0] = replace(shown[0], detail=f"{shown[0].detail}; gross {vol}")
    split = None if tables.split is None else _row(tables.first(tables.split), shortest)
    if tables.information is not None:
        read = _row(tables.first(tables.information), shortest, benchmark.model)
        if read is not None:
            names = ("information_bps", "information_low_bps", "information_high_bps")
            more = "" if split is None else number_text(f"option value {split['option_bps']:+.1f} bps")
            shown.append(
                _headline("Information: contexts of real bars minus those of null bars", read, names, more=more)
            )
    matched = None if tables.placebos is None else _row(tables.first(tables.placebos), shortest)
    if (ahead := matched) is not None:
        label = f"Ahead of {ahead['placebo']}, a placebo, on the same orders"
        more = f"std {ahead['std_vol']:.2f}, the placebo's {ahead['placebo_std_vol']:.2f} bar volatilities"
        shown.append(_headline(label, ahead, more=more))
    rival = strongest_rival(tables)
    # A placebo without a risk dial that is the strongest rival too is shown once.
    is_shown = matched is not None and matched["placebo"] == rival and not PLACEBOS.get(str(rival))
    ahead = None if rival is None or is_shown else _row(tables.first(tables.differences), shortest, rival)
    if ahead is not None:
        more = f"p {p_text(ahead['p_value_bps'])}, Holm {p_text(ahead['p_holm_bps'])}"
        shown.append(_headline(f"Ahead of {rival}, the strongest rival, on the same orders", ahead, more=more))
    return shown


def _price_headlines(tables: BenchmarkTables) -> list[Headline]:
    """A headline per price: gross and net beside each other. The net improvement decides whether it is good or bad."""
    settings = tables.benchmark.settings
    own, shortest, longest = settings.benchmark[0].upper(), min(settings.min_periods), settings.max_periods
    labels = {
        "own": f"Against its own benchmark, {_OWN.get(own, own)}; minimum {shortest} of {longest} periods",
        "full_vwap": f"Against the VWAP of all {longest} periods, whenever the order ends",
        "arrival": "Against the price at arrival",
    }
    twap = {each.against: each for each in tables.prices("twap")} if "twap" in tables.benchmark.results else {}
    shown = []
    for each in tables.prices(tables.benchmark.model):
        if tables.costs is None:
            ends = (each.gross, each.gross_low, each.gross_high)
            shown.append(Headline.interval(labels[each.against], *ends, unit="bps gross"))
            continue
        detail = f"95 %: gross {gross_text(each)}, net {net_text(each)} with costs at {size_text(each.size)}"
        if each.against in twap and tables.benchmark.model != "twap":
            detail += f"; TWAP {net_text(twap[each.against], ends=False)} net, difference {difference_text(each)}"
        value = f"{gross_text(each, ends=False)} gross, {net_text(each, ends=False)} net, bps"
        tone: Literal["good", "bad", "plain"] = "good" if each.net_low > 0 else "bad" if each.net_high < 0 else "plain"
        shown.append(Headline(labels[each.against], value, detail, tone))
    return shown


def _headline(
    label: str, row: pd.Series[Any], names: tuple[str, str, str] = ("mean_bps", "low_bps", "high_bps"), *, more: str
) -> Headline:
    """Headline of a mean in bps and its interval, from three columns of a row."""
    mean, low, high = (row[name] for name in names)
    return Headline.interval(label, mean, low, high, unit="bps", more=more)


def strongest_rival(tables: BenchmarkTables) -> str | None:
    """The other policy with the best mean improvement at the shortest minimum duration; bounds are no rivals."""
    comparison = tables.first(tables.comparison)
    rows = comparison[comparison["min_periods"] == min(tables.benchmark.settings.min_periods)]
    is_rival = (rows["policy"] != tables.benchmark.model) & ~rows["policy"].str.endswith(BOUND)
    rows = rows[is_rival].dropna(subset="mean_bps")
    return None if rows.empty else str(rows["policy"].iloc[int(rows["mean_bps"].argmax())])


def summary(tables: BenchmarkTables) -> str:
    """One paragraph: improvement, option value, information, costs, tracking at a fixed duration."""
    benchmark, settings = tables.benchmark, tables.benchmark.settings
    shortest = min(settings.min_periods)
    comparison = tables.first(tables.comparison)
    row = _row(comparison, shortest, benchmark.model)
    if row is None:
        return ""
    own, prices = settings.benchmark[0].upper(), tables.prices(benchmark.model)
    text = (
        f"Free to end after {shortest} of {settings.max_periods} periods, {benchmark.model} improves on "
        f"{_OWN.get(own, own)} by {row['mean_bps']:+.1f} bps on average (standard deviation {row['std_bps']:.0f} bps; "
        f"one bar moves {row['volatility_bps']:.0f} bps)."
    )
    others = " and ".join(f"{each.gross:+.1f} bps against {_WORDS[each.against]}" for each in prices[1:])
    text += f" The same fills gain {others}." if others else ""
    if tables.split is not None and (split := _row(tables.first(tables.split), shortest)) is not None:
        text += (
            " On the martingale null, where nothing can be forecast, the same orders gain "
            f"{split['option_bps']:+.1f} bps: the value of choosing when to end."
        )
    if tables.information is not None:
        read = _row(tables.first(tables.information), shortest, benchmark.model)
        if read is not None:
            text += f" What it reads from the market adds {read['information_bps']:+.1f} bps (contexts of null bars)."
    if tables.costs is not None:
        left = ", ".join(f"{each.net:+.1f} bps against {_WORDS[each.against]}" for each in prices)
        size = size_text(prices[0].size)
        size = f"at {size} of the expected volume" if size.endswith("%") else size
        text += f" Net of costs, {size}, it gains {left}."
    if len(tables.tracking):
        said = " ".join(tracking_sentences(tables.first(tables.tracking), benchmark.model))
        text += f" At a fixed duration of {settings.max_periods} periods: {said}"
    return number_text(text)


def _row(table: pd.DataFrame, minimum: int, policy: str | None = None) -> pd.Series[Any] | None:
    """Row of a minimum duration (and policy), if there is one."""
    rows = table[table["min_periods"] == minimum]
    if policy is not None:
        rows = rows[rows["policy"] == policy]
    return None if rows.empty else rows.iloc[0]
