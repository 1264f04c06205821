"""A benchmark run on paper: one HTML report, the tables as CSV and JSON, the figures as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lem_models.evaluation import plots
from lem_models.evaluation.benchmark import Benchmark
from lem_models.evaluation.figure_style import figure_to_png_bytes
from lem_models.evaluation.output import to_csv, to_json
from lem_models.evaluation.report import (
    SIGN_CONVENTION,
    Column,
    Headline,
    ReportData,
    ReportFigure,
    SampleExecution,
    write_report,
)
from lem_models.evaluation.report_tables import comparison_table, difference_table, null_table
from lem_models.evaluation.statistics import compare
from lem_models.execution.result import ExecutionResult
from lem_models.markets.frequency import clock

__all__ = ["GROUPS", "excluded_counts", "sample_order", "write_benchmark"]

GROUPS = ["benchmark", "target", "min_periods"]
_DETAIL = [*GROUPS, "side"]


class _Tables:
    """Every table of a run, computed once."""

    def __init__(self, run: Benchmark) -> None:
        self.comparison = run.comparison(GROUPS)
        self.detail = run.comparison(_DETAIL)
        self.differences = run.differences(GROUPS)
        self.split = run.split(GROUPS)
        self.symbols = compare({run.model: run.main()[run.model]}, ["symbol"], draws=200)
        self.run = run

    def first(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of the first benchmark and target."""
        settings = self.run.settings
        rows = (table["benchmark"] == settings.benchmark[0]) & (table["target"] == settings.target[0])
        return table[rows].reset_index(drop=True)


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
    tables = _Tables(run)
    figures = _figures(run, tables)
    report = _report(run, tables, figures, command, title or f"{run.model}: slippage against the market")
    to_csv(tables.detail, out / "summary.csv")
    to_json(_json(run, tables, command), out / "summary.json")
    for name, figure in figures.items():
        (out / f"{name}.png").write_bytes(figure_to_png_bytes(figure[2]("light"), background="white"))
    return write_report(out / "report.html", report)


def _figures(run: Benchmark, tables: _Tables) -> dict[str, tuple[str, str, Any]]:
    """Title, caption and drawing function of each figure by file name."""
    comparison = tables.first(tables.comparison)
    split = None if tables.split is None else tables.first(tables.split)
    main, minimum = run.main(), min(run.settings.min_periods)
    sample = sample_order(run.results[run.model])
    return {
        "improvement_by_minimum": (
            "Improvement by minimum duration",
            "Mean with 95 % interval over calendar days. Dashed: the model on the martingale null (option value).",
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
        "execution": (
            "One order, bar by bar",
            "Dots: fills, sized by the fraction traded. Shaded: time that the order did not need.",
            lambda theme: plots.execution(*_execution_inputs(run.results[run.model], sample), theme=theme),
        ),
    }


def _report(
    run: Benchmark, tables: _Tables, figures: dict[str, tuple[str, str, Any]], command: str, title: str
) -> ReportData:
    settings, bars = run.settings, run.bars
    drawn = {name: ReportFigure.from_plot(*figure) for name, figure in figures.items()}
    sample_figure = drawn.pop("execution")
    result = run.results[run.model]
    order = result.orders.iloc[sample_order(result)]
    executed = next(iter(run.results.values())).orders
    period = f"{executed['start'].min():%Y-%m-%d} to {executed['start'].max():%Y-%m-%d}"
    orders_text = (
        f"{len(executed):,} orders of up to {settings.max_periods} periods, {period}, "
        f"{executed['symbol'].nunique()} symbols, {'both sides' if settings.side == 'both' else settings.side}"
    )
    return ReportData(
        title=title,
        subtitle=orders_text,
        summary=_summary(run, tables),
        headlines=_headlines(run, tables),
        tables=[
            comparison_table(
                tables.comparison,
                GROUPS,
                title="Improvement by minimum duration",
                note="Every policy on the same orders, by the same simulator. Both sides together; per side below.",
                model=run.model,
            ),
            *(
                [
                    difference_table(
                        tables.differences,
                        GROUPS,
                        title=f"{run.model} minus each baseline, order by order",
                        note="An interval on one side of zero is significant at the 5 % level (not adjusted for many).",
                    )
                ]
                if len(tables.differences)
                else []
            ),
            comparison_table(
                tables.detail, _DETAIL, title="By side, benchmark, target and minimum", model=run.model, collapsed=True
            ),
            comparison_table(tables.symbols, ["symbol"], title=f"{run.model} by symbol", collapsed=True),
        ],
        null_split=None
        if tables.split is None
        else null_table(
            tables.split,
            GROUPS,
            note=f"The same orders on the real bars and on {settings.null} draws of the martingale null.",
        ),
        figures=list(drawn.values()),
        sample=SampleExecution(
            f"{str(order['side']).capitalize()} {order['symbol']} from {order['start']:%Y-%m-%d %H:%M} UTC, between "
            f"{order['min_periods']} and {order['max_periods']} periods, against the {str(order['benchmark']).upper()}",
            {
                "periods used": int(order["periods_used"]),
                "executed price": float(order["executed_price"]),
                "benchmark price": float(order["benchmark_price"]),
                "improvement, bps": -float(order["slippage_bps"]),
            },
            result.schedule[result.schedule["order_id"] == order["order_id"]].assign(period=lambda t: t["period"] + 1),
            sample_figure,
            columns=[
                Column("period", "period", "{:.0f}"),
                Column("timestamp", "bar start"),
                Column("fraction", "fraction", "{:.1%}"),
                Column("price", "price", "{:,.6g}"),
            ],
        ),
        model={
            "policy under test": run.model,
            "baselines": ", ".join(n for n in run.results if n != run.model),
            **_seen_facts(run),
        },
        data={
            "content hash": bars.content_hash,
            "symbols": ", ".join(bars.symbols),
            "frequency": clock(bars.frequency),
            "bars": len(bars),
            "orders from": period,
        },
        excluded=excluded_counts(run),
        command=command,
    )


def _seen_facts(run: Benchmark) -> dict[str, object]:
    if run.seen_percent is None:
        return {}
    return {"unseen from": str(run.unseen_from), "orders in days seen in training": f"{run.seen_percent:.1f} %"}


def excluded_counts(run: Benchmark) -> dict[str, int]:
    """Starts left out, by reason: candidates that no order may start at, and orders that could not run."""
    counts = dict(run.excluded)
    for reason, number in run.results[run.model].excluded["reason"].value_counts().items():
        counts[str(reason)] = counts.get(str(reason), 0) + int(number)
    return counts


def _row(table: pd.DataFrame, minimum: int, policy: str | None = None) -> pd.Series[Any] | None:
    rows = table[table["min_periods"] == minimum]
    if policy is not None:
        rows = rows[rows["policy"] == policy]
    return None if rows.empty else rows.iloc[0]


def _headlines(run: Benchmark, tables: _Tables) -> list[Headline]:
    shortest = min(run.settings.min_periods)
    found = []
    row = _row(tables.first(tables.comparison), shortest, run.model)
    if row is not None:
        found.append(
            Headline.interval(
                f"Improvement, minimum {shortest}", row["mean_bps"], row["low_bps"], row["high_bps"], unit="bps"
            )
        )
        found.append(
            Headline.interval(
                "the same in bar volatilities, ± std",
                row["mean_vol"],
                row["low_vol"],
                row["high_vol"],
                unit=f"± {row['std_vol']:.2f}",
                decimals=3,
            )
        )
    if tables.split is not None:
        part = _row(tables.first(tables.split), shortest)
        if part is not None:
            found.append(
                Headline.interval(
                    "of which forecast (real minus null)",
                    part["forecast_bps"],
                    part["forecast_low_bps"],
                    part["forecast_high_bps"],
                    unit="bps",
                )
            )
    if len(tables.differences) and "stopping_rule" in run.results:
        ahead = _row(tables.first(tables.differences), shortest, "stopping_rule")
        if ahead is not None:
            found.append(
                Headline.interval(
                    "ahead of the stopping rule", ahead["mean_bps"], ahead["low_bps"], ahead["high_bps"], unit="bps"
                )
            )
    return found


def _summary(run: Benchmark, tables: _Tables) -> str:
    settings = run.settings
    shortest, longest = min(settings.min_periods), max(settings.min_periods)
    comparison = tables.first(tables.comparison)
    row, fixed = _row(comparison, shortest, run.model), _row(comparison, longest, run.model)
    if row is None or fixed is None:
        return ""
    name = settings.benchmark[0].upper()
    text = (
        f"Free to end after {shortest} of {settings.max_periods} periods, {run.model} improves on the {name} of the "
        f"periods it used by {row['mean_bps']:+.1f} bps on average (standard deviation {row['std_bps']:.0f} bps; "
        f"one bar moves {row['volatility_bps']:.0f} bps)."
    )
    if tables.split is not None and (part := _row(tables.first(tables.split), shortest)) is not None:
        text += (
            " On the martingale null, where nothing can be forecast, the same orders gain "
            f"{part['option_bps']:.1f} bps: the value of choosing when to end. The difference, "
            f"{part['forecast_bps']:.1f} bps, is what forecasting adds."
        )
    twap = _row(comparison, longest, "twap")
    if longest == settings.max_periods and twap is not None and twap["std_vol"] > 0:
        ratio = fixed["std_vol"] / twap["std_vol"]
        text += f" At a fixed duration of {longest} periods its tracking error is {ratio:.2f} times TWAP's."
    return text


def _json(run: Benchmark, tables: _Tables, command: str) -> dict[str, Any]:
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
        "excluded": excluded_counts(run),
        "comparison": tables.comparison.to_dict("records"),
        "by_side": tables.detail.to_dict("records"),
        "differences": tables.differences.to_dict("records"),
        "null": None if tables.split is None else tables.split.to_dict("records"),
        "by_symbol": tables.symbols.to_dict("records"),
    }


def sample_order(result: ExecutionResult) -> int:
    """Row of an order worth showing: the first flexible one that took a few periods, else the first."""
    orders = result.orders
    flexible = (orders["min_periods"] < orders["max_periods"]) & (orders["min_periods"] > 1)
    used = (orders["periods_used"] > orders["min_periods"]) & (orders["periods_used"] < orders["max_periods"])
    for candidates in (flexible & used, used, pd.Series(True, index=orders.index)):
        if candidates.any():
            return int(candidates.to_numpy().argmax())
    return 0


def _execution_inputs(result: ExecutionResult, row: int) -> tuple[pd.Series[Any], pd.DataFrame, pd.DataFrame]:
    order = result.orders.iloc[row]
    periods = result.periods_of(order["order_id"])
    return (
        order,
        result.schedule[result.schedule["order_id"] == order["order_id"]],
        periods.rename(columns={"price": "vwap"}),
    )
