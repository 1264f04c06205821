"""Tables for the terminal: a benchmark run, and one order bar by bar."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from lem_models.evaluation.benchmark import Benchmark
from lem_models.evaluation.benchmark_report import GROUPS, excluded_counts
from lem_models.evaluation.report import SIGN_CONVENTION
from lem_models.execution.result import ExecutionResult

__all__ = ["print_benchmark", "print_execution"]

_NARROW = 145  # columns of the terminal below which quantiles stay in the report


def print_benchmark(console: Console, run: Benchmark) -> None:
    """Print the main table, the split against the null, and what was left out."""
    settings = run.settings
    comparison = run.comparison(GROUPS)
    split = run.split(GROUPS)
    orders = next(iter(run.results.values())).orders
    console.print(
        f"\n[bold]{run.model}[/bold] on {len(orders):,} orders of up to {settings.max_periods} periods, "
        f"{orders['symbol'].nunique()} symbols, {orders['start'].min():%Y-%m-%d} to {orders['start'].max():%Y-%m-%d}"
    )
    console.print(f"[dim]{SIGN_CONVENTION}[/dim]")
    if run.seen_percent:
        console.print(
            f"[yellow]{run.seen_percent:.0f} % of the orders start before {run.unseen_from}, in days that {run.model} "
            "was trained on: these numbers are too good.[/yellow]"
        )
    for keys, group in comparison.groupby(["benchmark", "target"], sort=True, observed=True):
        benchmark, target = keys
        part = None
        if split is not None:
            part = split[(split["benchmark"] == benchmark) & (split["target"] == target)]
        console.print(f"\n[bold]Improvement against the {str(benchmark).upper()}, fixed {target}[/bold]")
        console.print(_table(group, part, run.model, wide=console.width >= _NARROW))
    if split is not None:
        console.print(
            f"[dim]null: {run.model} on {settings.null} draws of the martingale null, the value of the option to end; "
            "forecast: real minus null[/dim]"
        )
    for reason, count in excluded_counts(run).items():
        console.print(f"[dim]left out: {count:,} starts: {reason}[/dim]")


def _table(group: pd.DataFrame, split: pd.DataFrame | None, model: str, *, wide: bool) -> Table:
    table = Table(header_style="bold", pad_edge=False)
    headings = ["min", "policy", "orders", "bar vol.", "95 %", "std", "bps", "95 %", "std", "better"]
    headings += ["median", "5 %", "95 %", "periods", "complete"] if wide else []
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    for minimum, rows in group.groupby("min_periods", sort=True):
        records = rows.to_dict("records")
        for position, row in enumerate(records):
            cells = _cells(row, wide=wide)
            last = position == len(records) - 1 and split is None
            style = "bold cyan" if row["policy"] == model else None
            table.add_row(str(minimum) if position == 0 else "", *cells, style=style, end_section=last)
        if split is not None:
            row = split[split["min_periods"] == minimum].to_dict("records")[0]
            blank = [""] * (len(headings) - 9)
            table.add_row("", "  on the null", *_part(row, "option"), *blank, style="dim")
            table.add_row("", "  forecast", *_part(row, "forecast"), *blank, style="dim", end_section=True)
    return table


def _part(row: dict[Any, Any], part: str) -> list[str]:
    return [
        f"{row['orders']:,}",
        f"{row[f'{part}_vol']:+.3f}",
        f"{row[f'{part}_low_vol']:+.3f} {row[f'{part}_high_vol']:+.3f}",
        "",
        f"{row[f'{part}_bps']:+.1f}",
        f"{row[f'{part}_low_bps']:+.1f} {row[f'{part}_high_bps']:+.1f}",
        "",
    ]


def _cells(row: dict[Any, Any], *, wide: bool) -> list[str]:
    cells = [
        str(row["policy"]),
        f"{row['orders']:,}",
        f"{row['mean_vol']:+.3f}",
        f"{row['low_vol']:+.3f} {row['high_vol']:+.3f}",
        f"{row['std_vol']:.3f}",
        f"{row['mean_bps']:+.1f}",
        f"{row['low_bps']:+.1f} {row['high_bps']:+.1f}",
        f"{row['std_bps']:.1f}",
        f"{row['better_percent']:.1f} %",
    ]
    if wide:
        cells += [f"{row['median_bps']:+.1f}", f"{row['q05_bps']:+.0f}", f"{row['q95_bps']:+.0f}"]
        cells += [f"{row['periods_used']:.1f}", f"{row['completed_percent']:.4g} %"]
    return cells


def print_execution(console: Console, result: ExecutionResult, row: int) -> None:
    """Print one order bar by bar."""
    order = result.orders.iloc[row]
    console.print(
        f"\n[bold]One order, bar by bar:[/bold] {order['side']} {order['symbol']} from "
        f"{order['start']:%Y-%m-%d %H:%M} UTC, done between {order['min_periods']} and {order['max_periods']} periods, "
        f"against the {str(order['benchmark']).upper()}"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("period", "bar start", "bar VWAP", "volume", "traded", "left", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    left = 1.0
    for bar in result.periods_of(order["order_id"]).to_dict("records"):
        fraction = float(bar["fraction"])
        if bar["period"] >= max(order["periods_used"], order["min_periods"]):
            break
        left -= fraction
        blocks = "█" * round(40 * fraction) or ("▏" if fraction > 0 else "")
        table.add_row(
            str(bar["period"] + 1),
            f"{bar['timestamp']:%m-%d %H:%M}",
            f"{bar['price']:,.6g}",
            f"{bar['volume']:,.4g}",
            f"{fraction:.1%}",
            f"{abs(left):.1%}",
            f"[cyan]{blocks}[/cyan]",
        )
    console.print(table)
    console.print(
        f"Finished after {order['periods_used']} periods at {order['executed_price']:,.6g}; "
        f"{str(order['benchmark']).upper()} {order['benchmark_price']:,.6g}: "
        f"improvement {-order['slippage_bps']:+.1f} bps (one bar moves {order['volatility_bps']:.0f} bps)"
    )
