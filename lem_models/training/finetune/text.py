"""Fine-tuning in the terminal: before and after by minimum duration and by price, the fixed duration, the verdict."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich.console import Console

from lem_models.execution.costs import cost_model_name
from lem_models.report.benchmark_tables import cost_text
from lem_models.report.console import fitting_table
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.policy_tables import CHANGE, before_after_prices_table, before_after_table
from lem_models.report.tables import Table
from lem_models.statistics.tracking import tracking_verdict
from lem_models.training.finetune.run import FinetuneResult, Verdict
from lem_models.training.finetune.verdict import AFTER, BEFORE

__all__ = ["print_finetune"]

_COLOURS: dict[Verdict, str] = {
    "better": "green",
    "worse": "red",
    "no measurable difference": "yellow",
    "start kept": "yellow",
}


def print_finetune(console: Console, result: FinetuneResult) -> None:
    """Print the comparison on the test part and the verdict."""
    comparison = result.comparison
    test = result.split.test
    console.print(
        f"\n[bold]{result.model.name}[/bold] (after) and {result.start.name} (before) on {comparison.orders:,} orders "
        f"of up to {result.model.horizon} periods in the test part, {test.start} to {test.end}; VWAP, quantity, both "
        "sides"
    )
    costs = " after costs" if comparison.net else ""
    console.print(f"[dim]{SIGN_CONVENTION}{costs}. bar vol.: in bar volatilities. \\[ ]: interval.[/dim]")
    console.print(fitting_table(console, _table(result)))
    name = cost_model_name(comparison.costs)
    named = "" if name is None else f" ({name})"
    console.print("[bold]Mean improvement in bps against three prices[/bold], all minimum durations together")
    console.print(
        "[dim]own: the order's own benchmark, which ends when the order does. full VWAP: the VWAP over the maximum "
        f"duration. Net of costs{named}: {cost_text(comparison.costs)}.[/dim]"
    )
    console.print(fitting_table(console, _price_table(result)))
    for reason, count in comparison.excluded.items():
        console.print(f"[dim]left out of the test: {count:,} starts: {reason}[/dim]")
    if comparison.untested:
        console.print(f"[yellow]without any test order: {_listed(comparison.untested)}[/yellow]", soft_wrap=True)
    for row in () if result.kept_start else comparison.differences.to_dict("records"):
        console.print(f"minimum {row['min_periods']}, {AFTER} against {BEFORE}: {row['verdict']}", soft_wrap=True)
    for other, rows in comparison.tracking.groupby("against", sort=False):
        if not (result.kept_start and other == BEFORE):
            console.print(f"fixed duration: {AFTER} {tracking_verdict(rows)}", soft_wrap=True)
    colour = _COLOURS[result.verdict]
    console.print(f"\n[bold {colour}]{result.sentence}[/bold {colour}]", soft_wrap=True)


def _table(result: FinetuneResult) -> Table:
    """Before, after and their difference; one row if the start was kept, because the weights are the same."""
    policies, differences = result.comparison.policies, result.comparison.differences
    if not result.kept_start:
        return before_after_table(policies, differences)
    return before_after_table(_without_after(policies))


def _price_table(result: FinetuneResult) -> Table:
    """The same against three prices, over all minimum durations."""
    comparison = result.comparison
    table = comparison.by_price[comparison.by_price["min_periods"].isna()]
    if result.kept_start:
        table = _without_after(table)
    return before_after_prices_table(table, comparison.costs.order_size or 0.0)


def _without_after(table: pd.DataFrame) -> pd.DataFrame:
    """The table of a start that was kept: before is after."""
    kept: pd.DataFrame = table[~table["policy"].isin([AFTER, CHANGE])]
    return kept.replace({"policy": {BEFORE: f"{BEFORE} = {AFTER}"}})


def _listed(symbols: Sequence[str]) -> str:
    """Names of the first ten symbols, and the number of the others."""
    more = len(symbols) - 10
    return ", ".join(symbols[:10]) + (f" and {more:,} more" if more > 0 else "")
