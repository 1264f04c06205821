"""A benchmark run on paper: one HTML report, the tables as CSV and JSON, the figures as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lem_models.evaluation.benchmark import Benchmark
from lem_models.guard.output import to_csv, to_json, write_bytes
from lem_models.markets.calendar.frequency import clock
from lem_models.report import plots
from lem_models.report.benchmark_tables import BenchmarkTables, cost_text, excluded_counts, universe_table
from lem_models.report.execution_plot import execution
from lem_models.report.figure_style import figure_to_png_bytes
from lem_models.report.html import ReportData, write_report
from lem_models.report.parts import FigureGroup, ReportFigure
from lem_models.report.samples import execution_inputs, sample_executions, sample_order
from lem_models.report.summary import headlines, summary
from lem_models.report.text import SIGN_CONVENTION

__all__ = ["write_benchmark"]


def write_benchmark(run: Benchmark, out: str | Path, *, command: str, title: str | None = None) -> Path:
    """Write ``report.html``, ``summary.csv``, ``summary.json`` and the figures as PNG into a folder.

    Args:
        run: The run.
        out: Folder, made if needed.
        command: Command that prints the run again.
        title: Title of the report.

    Returns:
        Path of the HTML report.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    tables = BenchmarkTables(run)
    figures = _figures(tables)
    to_csv(tables.detail, out / "summary.csv")
    to_json(_json(tables, command), out / "summary.json")
    for name, (_, _, draw) in figures.items():
        write_bytes(out / f"{name}.png", figure_to_png_bytes(draw("light"), background="white"))
    inputs = execution_inputs(run.results[run.model], sample_order(run))
    write_bytes(out / "execution.png", figure_to_png_bytes(execution(*inputs), background="white"))
    title = title or f"{run.model}: slippage against the market"
    return write_report(out / "report.html", _report(tables, figures, command, title))


def _figures(tables: BenchmarkTables) -> dict[str, tuple[str, str, Any]]:
    """Title, caption and drawing function of each figure by file name."""
    run = tables.run
    comparison = tables.first(tables.comparison)
    split = None if tables.split is None else tables.first(tables.split)
    splits = None if tables.splits is None else tables.first(tables.splits)
    main, minimum = run.main(), min(run.settings.min_periods)
    return {
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


def _report(tables: BenchmarkTables, figures: dict[str, tuple[str, str, Any]], command: str, title: str) -> ReportData:
    run, settings = tables.run, tables.run.settings
    bars = run.bars
    orders = run.results[run.model].orders
    period = f"{orders['start'].min():%Y-%m-%d} to {orders['start'].max():%Y-%m-%d}"
    sides = "both sides" if settings.side == "both" else f"{settings.side} orders"
    universe = universe_table(run)
    known = f"{universe.frame['first'].min():%Y-%m-%d} to {universe.frame['last'].max():%Y-%m-%d}"
    drawn = [ReportFigure.from_plot(*figure, wide=name == "performance_curves") for name, figure in figures.items()]
    every = settings.every if isinstance(settings.every, str) else f"{settings.every} bars"
    every = "bar" if every == "1 bars" else every
    at_most = "" if settings.limit is None else f", at most {settings.limit:,} drawn at random"
    return ReportData(
        title=title,
        subtitle=(
            f"{len(orders):,} orders of up to {settings.max_periods} periods of {clock(bars.frequency)}, {period}, "
            f"{orders['symbol'].nunique()} symbols, {sides}"
        ),
        policies=list(run.results),
        warnings=_warnings(run),
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
        excluded={f"starts: {reason}": count for reason, count in excluded_counts(run).items()},
        universe=universe,
        sections=[
            *tables.printed(),
            FigureGroup("Figures", drawn),
            sample_executions(run),
            *tables.printed_breakdowns(),
        ],
        model={
            "policy under test": run.model,
            "rivals": ", ".join(name for name in run.results if name != run.model),
            **(
                {}
                if run.unseen_from is None
                else {"first day seen neither in training nor validation": run.unseen_from}
            ),
            **({} if run.seen_percent is None else {"orders before that day": f"{run.seen_percent:.1f} %"}),
        },
        command=command,
    )


def _warnings(run: Benchmark) -> list[str]:
    """What must be known before the first number."""
    notes = [f"{note}." for note in run.notes]
    if not run.seen_percent:
        return notes
    return [
        *notes,
        f"{run.seen_percent:.0f} % of the orders start before {run.unseen_from}, in days that {run.model} was trained "
        "or selected on: these numbers are too good.",
    ]


def _json(tables: BenchmarkTables, command: str) -> dict[str, Any]:
    run = tables.run
    return {
        "command": command,
        "sign": SIGN_CONVENTION,
        "model": run.model,
        "settings": run.settings.model_dump(mode="json"),
        "data": {
            "content_hash": run.bars.content_hash,
            "symbols": list(run.bars.symbols),
            "bars": len(run.bars),
            "frequency": clock(run.bars.frequency),
        },
        "unseen_from": None if run.unseen_from is None else str(run.unseen_from),
        "seen_percent": run.seen_percent,
        "notes": run.notes,
        "excluded": excluded_counts(run),
        "comparison": tables.comparison,
        "by_side": tables.detail,
        "differences": tables.differences,
        "null": tables.split,
        "null_by_policy": tables.splits,
        "breakdowns": tables.breakdowns,
    }
