"""Tables for the terminal: a benchmark run, and one order bar by bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lem_models.evaluation.benchmark import Benchmark
from lem_models.execution.result import ExecutionResult
from lem_models.guard.output import is_missing
from lem_models.report.benchmark_tables import GROUPS, cost_text, excluded_counts
from lem_models.report.terminal_width import fits
from lem_models.report.text import SIGN_CONVENTION, p_text

__all__ = ["print_benchmark", "print_execution"]

_Cell: TypeAlias = "tuple[tuple[str, ...], str | Callable[..., str]]"
_LEAST_FIRST = ("complete", "periods", "better", "orders", "net 95 %", "std", "p", "± std", "95 %", "bar vol.")
"""Columns that a narrow terminal does without."""


def print_benchmark(console: Console, run: Benchmark) -> None:
    """Print the main table, the split against the null, and what was left out."""
    settings, model = run.settings, escape(run.model)
    comparison = run.comparison(GROUPS)
    differences = run.differences(GROUPS)
    split = run.split(GROUPS)
    orders = next(iter(run.results.values())).orders
    console.print(
        f"\n[bold]{model}[/bold] on {len(orders):,} orders of up to {settings.max_periods} periods, "
        f"{orders['symbol'].nunique()} symbols, {orders['start'].min():%Y-%m-%d} to {orders['start'].max():%Y-%m-%d}"
    )
    console.print(f"[dim]{SIGN_CONVENTION}[/dim]")
    if run.seen_percent:
        console.print(
            f"[yellow]{run.seen_percent:.0f} % of the orders start before {run.unseen_from}, in days that {model} "
            "was trained on: these numbers are too good.[/yellow]"
        )
    for note in run.notes:
        console.print(f"[yellow]{escape(note)}.[/yellow]")
    for benchmark in settings.benchmark:
        for target in settings.target:
            rows = _scenario(comparison, benchmark, target)
            tested = _scenario(differences, benchmark, target) if len(differences) else None
            part = None if split is None else _scenario(split, benchmark, target)
            console.print(f"\n[bold]Improvement against the {benchmark.upper()}, fixed {target}[/bold]")
            console.print(_fitting_table(console, run, rows, tested, part))
    if settings.costs is not None:
        console.print(f"[dim]costs: {cost_text(settings.costs)}[/dim]")
    if len(differences):
        console.print(f"[dim]p: {model} minus this policy is zero (Diebold-Mariano, Holm over all rows)[/dim]")
    if split is not None:
        console.print(
            f"[dim]null: {model} on {settings.null} draws of the martingale null, the value of the option to end; "
            "forecast: real minus null[/dim]"
        )
    for reason, count in excluded_counts(run).items():
        console.print(f"[dim]left out: {count:,} starts: {reason}[/dim]")


def _scenario(table: pd.DataFrame, benchmark: str, target: str) -> pd.DataFrame:
    return table[(table["benchmark"] == benchmark) & (table["target"] == target)]


def _fitting_table(
    console: Console,
    run: Benchmark,
    comparison: pd.DataFrame,
    differences: pd.DataFrame | None,
    split: pd.DataFrame | None,
) -> Table:
    """One scenario with as many columns as there is room for."""
    columns = _columns(run, differences is not None)
    table = _table(run, comparison, differences, split, columns)
    for heading in _LEAST_FIRST:
        if fits(console, table):
            break
        columns.pop(heading, None)
        table = _table(run, comparison, differences, split, columns)
    return table


def _table(
    run: Benchmark,
    comparison: pd.DataFrame,
    differences: pd.DataFrame | None,
    split: pd.DataFrame | None,
    columns: dict[str, _Cell],
) -> Table:
    """One scenario: its policies under each minimum duration, then the split of the policy under test."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("min", "policy", *columns):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    p_values = {} if differences is None else differences.set_index(["min_periods", "policy"])["p_holm"].to_dict()
    for minimum, rows in comparison.groupby("min_periods", sort=True):
        records = [row | {"p": p_values.get((minimum, row["policy"]), float("nan"))} for row in rows.to_dict("records")]
        parts = [] if split is None else split[split["min_periods"] == minimum].to_dict("records")
        lines = [
            (
                "bold cyan" if row["policy"] == run.model else "",
                escape(str(row["policy"])),
                _cells(row, columns.values()),
            )
            for row in records
        ]
        lines += [
            ("dim", name, _cells(_as_row(part, value), columns.values()))
            for part in parts
            for name, value in (("  on the null", "option"), ("  forecast", "forecast"))
        ]
        for position, (style, name, cells) in enumerate(lines):
            first, last = position == 0, position == len(lines) - 1
            table.add_row(str(minimum) if first else "", name, *cells, style=style, end_section=last)
    return table


def _columns(run: Benchmark, tested: bool) -> dict[str, _Cell]:
    """Columns by heading: which numbers fill a cell, and how."""
    columns: dict[str, _Cell] = {
        "orders": (("orders",), "{:,}"),
        "bar vol.": (("mean_vol",), "{:+.3f}"),
        "± std": (("std_vol",), "{:.3f}"),
        "bps": (("mean_bps",), "{:+.1f}"),
        "95 %": (("low_bps", "high_bps"), "{:+.1f} {:+.1f}"),
        "std": (("std_bps",), "{:.1f}"),
    }
    if run.settings.costs is not None:
        columns["net bps"] = (("net_bps",), "{:+.1f}")
        columns["net 95 %"] = (("net_low_bps", "net_high_bps"), "{:+.1f} {:+.1f}")
    if tested:
        columns["p"] = (("p",), p_text)
    return columns | {
        "better": (("better_percent",), "{:.1f} %"),
        "periods": (("periods_used",), "{:.1f}"),
        "complete": (("completed_percent",), "{:.4g} %"),
    }


def _as_row(part: dict[Any, Any], value: str) -> dict[Any, Any]:
    """A part of the split under the names of a summary."""
    names = {"mean": value, "low": f"{value}_low", "high": f"{value}_high"}
    return {"orders": part["orders"]} | {
        f"{name}_{unit}": part[f"{column}_{unit}"] for name, column in names.items() for unit in ("bps", "vol")
    }


def _cells(row: dict[Any, Any], columns: Iterable[_Cell]) -> list[str]:
    """Texts of a row; empty where a number is missing."""
    texts = []
    for names, shape in columns:
        values = [row.get(name) for name in names]
        missing = any(is_missing(value) for value in values)
        texts.append("" if missing else shape(*values) if callable(shape) else shape.format(*values))
    return texts


def print_execution(console: Console, result: ExecutionResult, row: int) -> None:
    """Print one order bar by bar."""
    order = result.orders.iloc[row]
    console.print(
        f"\n[bold]One order, bar by bar:[/bold] {order['side']} {escape(str(order['symbol']))} from "
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
