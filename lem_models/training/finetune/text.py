"""Fine-tuning in the terminal: before and after by minimum duration, the fixed duration, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from lem_models.report.console import fitting_table
from lem_models.report.definitions import SIGN_CONVENTION
from lem_models.report.policy_tables import before_after_table
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
    same = policies[policies["policy"] != AFTER].replace({"policy": {BEFORE: f"{BEFORE} = {AFTER}"}})
    return before_after_table(same)


def _listed(symbols: Sequence[str]) -> str:
    """Names of the first ten symbols, and the number of the others."""
    more = len(symbols) - 10
    return ", ".join(symbols[:10]) + (f" and {more:,} more" if more > 0 else "")
