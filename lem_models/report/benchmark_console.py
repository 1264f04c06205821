"""A benchmark in the terminal: its overview, and one order bar by bar."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from lem_models.evaluation.benchmark import Benchmark
from lem_models.execution.result import ExecutionResult
from lem_models.markets.calendar.frequency import DAY
from lem_models.report.benchmark_tables import BenchmarkTables, cost_text, excluded_counts, seen_text
from lem_models.report.capacity import AGAINST_LABELS, capacity_overview, gross_text, net_text, size_text
from lem_models.report.console import fitting_table
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.tables import Column, Table

__all__ = ["print_benchmark", "print_execution", "print_overview"]

_BLOCKS = 40  # length of the line for a bar that trades the whole order
_SCHEDULE = (
    Column("number", "period"),
    Column("timestamp", "bar start"),
    Column("price", "bar VWAP", "{:,.6g}"),
    Column("volume", "volume", "{:,.4g}"),
    Column("fraction", "traded", "{:.1%}"),
    Column("remaining", "left", "{:.1%}"),
    Column("blocks", "", dropped=1),
)


def print_overview(console: Console, benchmark: Benchmark | BenchmarkTables) -> None:
    """Print what was run, what its reader must know, and an overview of each benchmark price and target."""
    tables = BenchmarkTables.of(benchmark)
    benchmark = tables.benchmark
    settings, model = benchmark.settings, escape(benchmark.model)
    orders = next(iter(benchmark.results.values())).orders
    console.print(
        f"\n[bold]{model}[/bold] on {len(orders):,} orders of up to {settings.max_periods} periods, "
        f"{orders['symbol'].nunique()} symbols, {orders['start'].min():%Y-%m-%d} to {orders['start'].max():%Y-%m-%d}"
    )
    console.print(f"[dim]{SIGN_CONVENTION}[/dim]")
    for warning in (seen_text(benchmark), *(f"{note}." for note in benchmark.notes)):
        if warning:
            console.print(f"[yellow]{escape(warning)}[/yellow]")
    minimum, has_costs = min(settings.min_periods), tables.costs is not None
    for each in tables.prices(benchmark.model):
        net = f", net {net_text(each)} with costs at {size_text(each.size)}" if has_costs else ""
        of = f"against {AGAINST_LABELS[each.against]}"
        console.print(f"minimum {minimum}, {of}: gross {gross_text(each)}{net} bps", highlight=False)

    for name, target in tables.scenarios:
        console.print(f"\n[bold]Improvement against the {name.upper()}, fixed {target}[/bold]")
        console.print(fitting_table(console, tables.overview(name, target)))


def print_benchmark(console: Console, benchmark: Benchmark | BenchmarkTables) -> None:
    """Print an overview, the capacity curve, the attribution, and the starts left out."""
    tables = BenchmarkTables.of(benchmark)
    benchmark = tables.benchmark
    settings, model = benchmark.settings, escape(benchmark.model)
    print_overview(console, tables)
    if tables.capacity is not None:
        minimum = min(settings.min_periods)
        curve = tables.capacity[tables.capacity["min_periods"] == minimum]
        console.print(f"\n[bold]Net improvement against the size of the order, minimum {minimum}, bps[/bold]")
        console.print(fitting_table(console, capacity_overview(curve, model=benchmark.model)))
    if settings.costs is not None:
        console.print(f"[dim]costs: {cost_text(settings.costs)}[/dim]")
    if len(tables.differences):
        console.print(f"[dim]p: {model} minus this policy is zero in bps (Diebold-Mariano, Holm over all rows)[/dim]")
    for section in tables.attribution_sections(for_terminal=True):
        console.print(f"\n[bold]{escape(section.title)}[/bold]")
        console.print(fitting_table(console, replace(section, title="")))
        console.print(f"[dim]{escape(section.note)}[/dim]")
    for reason, count in excluded_counts(benchmark).items():
        console.print(f"[dim]left out: {count:,} starts: {reason}[/dim]")


def print_execution(console: Console, result: ExecutionResult, row: int) -> None:
    """Print one order bar by bar."""
    order = result.orders.iloc[row]
    is_daily = result.bars.frequency.value >= DAY  # then the time of day says nothing
    start = f"{order['start']:%Y-%m-%d}" if is_daily else f"{order['start']:%Y-%m-%d %H:%M} UTC"
    console.print(
        f"\n[bold]One order, bar by bar:[/bold] {order['side']} {escape(str(order['symbol']))} from "
        f"{start}, done between {order['min_periods']} and {order['max_periods']} periods, "
        f"against the {str(order['benchmark']).upper()}"
    )
    bars = result.periods_of(order["order_id"])
    bars = bars[bars["period"] < max(order["periods_used"], order["min_periods"])]
    fraction = bars["fraction"].astype(float)
    bars = bars.assign(number=bars["period"] + 1, remaining=1.0 - fraction.cumsum(), blocks=fraction.map(_blocks))
    bars["timestamp"] = bars["timestamp"].dt.strftime("%Y-%m-%d" if is_daily else "%m-%d %H:%M")
    console.print(fitting_table(console, Table(bars, _SCHEDULE)))
    console.print(
        f"Finished after {order['periods_used']} periods at {order['executed_price']:,.6g}; "
        f"{str(order['benchmark']).upper()} {order['benchmark_price']:,.6g}: "
        f"improvement {-order['slippage_bps']:+.1f} bps (one bar moves {order['volatility_bps']:.0f} bps)"
    )


def _blocks(fraction: float) -> str:
    """A line as long as the fraction of the order."""
    return "█" * round(_BLOCKS * fraction) or ("▏" if fraction > 0 else "")
