"""Fine-tuning in the terminal: before and after by minimum duration, the fixed duration, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from lem_models.report.text import SIGN_CONVENTION
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
    console.print(f"[dim]{SIGN_CONVENTION}{costs}. vol: in bar volatilities. [ ]: 95 % interval.[/dim]")
    console.print(_table(result))
    for reason, count in comparison.excluded.items():
        console.print(f"[dim]left out of the test: {count:,} starts: {reason}[/dim]")
    if comparison.untested:
        console.print(f"[yellow]without any test order: {_listed(comparison.untested)}[/yellow]", soft_wrap=True)
    for row in comparison.tracking.to_dict("records"):
        if result.kept_start and row["policy"] == BEFORE:
            continue
        console.print(
            f"fixed duration: std of {AFTER} is {row['ratio']:.3f} times that of {row['policy']} "
            f"[dim]\\[{row['low']:.3f}, {row['high']:.3f}][/dim]"
        )
    colour = _COLOURS[result.verdict]
    console.print(f"\n[bold {colour}]{result.sentence}[/bold {colour}]", soft_wrap=True)


def _table(result: FinetuneResult) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("min", "policy", "bps", "std", "vol", "", "std vol"):
        table.add_column(heading, justify="left" if heading in ("policy", "") else "right", no_wrap=True)
    comparison = result.comparison
    changes = {row["min_periods"]: row for row in comparison.differences.to_dict("records")}
    for minimum, rows in comparison.policies.groupby("min_periods", sort=True):
        for row in rows.to_dict("records"):
            if result.kept_start and row["policy"] == AFTER:
                continue  # the same weights
            table.add_row(
                str(minimum) if row["policy"] == BEFORE else "",
                f"{BEFORE} = {AFTER}" if result.kept_start and row["policy"] == BEFORE else row["policy"],
                f"{row['mean_bps']:.2f}",
                f"{row['std_bps']:.1f}",
                f"{row['mean_vol']:.4f}",
                _interval(row["low_vol"], row["high_vol"]),
                f"{row['std_vol']:.4f}",
                style="bold" if row["policy"] == AFTER else "",
            )
        if result.kept_start:
            table.add_section()
            continue
        change = changes[minimum]
        table.add_row(
            "",
            f"  {AFTER} \u2212 {BEFORE}",
            f"{change['mean_bps']:+.2f}",
            "",
            f"{change['mean_vol']:+.4f}",
            _interval(change["low_vol"], change["high_vol"]),
            "",
            style="cyan",
            end_section=True,
        )
    return table


def _listed(symbols: Sequence[str]) -> str:
    """Names of the first ten, and how many there are beyond them."""
    more = len(symbols) - 10
    return ", ".join(symbols[:10]) + (f" and {more:,} more" if more > 0 else "")


def _interval(low: float, high: float) -> str:
    return f"[dim]\\[{low:.4f}, {high:.4f}][/dim]"
