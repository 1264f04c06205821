"""The bundled models as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from lem_models.hub.models.zoo import Headline, ZooList
from lem_models.report.terminal_width import fits

__all__ = ["print_models"]

_COLUMNS = ("model", "for", "bars", "horizon", "size", "measured on", "minimum", "improvement", "std × TWAP")

_LEGEND = (
    "improvement over the VWAP in bar volatilities, mean ± std \\[95 % interval], at the shortest minimum of the "
    "longest duration;\nstd × TWAP: standard deviation over TWAP's at the fixed duration. "
    "The model cards have the baselines, the null and the limits."
)


def print_models(console: Console, models: ZooList) -> None:
    """Print a line per model and market that it was measured on, and a legend.

    If the console is too narrow for the table, print paragraphs, so that no cell is cut.
    """
    table = _table(models)
    if fits(console, table):
        console.print(table)
    else:
        _print_paragraphs(console, models)
    console.print(_LEGEND, style="dim", highlight=False)


def _table(models: ZooList) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in ("horizon", "size") else "left", no_wrap=column != "for")
    for model in models:
        known = (str(model), model.market, model.frequency, str(model.horizon), f"{model.size / 1e6:.1f} MB")
        headlines = model.headlines
        table.add_row(*known, *(_cells(headlines[0]) if headlines else ("nothing recorded", "", "", "")))
        for headline in headlines[1:]:
            table.add_row(*[""] * len(known), *_cells(headline))
    return table


def _print_paragraphs(console: Console, models: ZooList) -> None:
    for model in models:
        console.print(f"\n[bold]{model}[/bold]", soft_wrap=True)
        lines = [f"{model.market}, bars of {model.frequency}, up to {model.horizon} periods, {model.size / 1e6:.1f} MB"]
        for headline in model.headlines:
            market, minimum, improvement, tracking = _cells(headline)
            lines.append(f"{market}, {minimum}: {improvement}" + (f", std {tracking} × TWAP" if tracking else ""))
        for line in lines:
            console.print(Padding(line, (0, 0, 0, 2)), highlight=False)
    console.print()


def _cells(headline: Headline) -> tuple[str, ...]:
    measured = headline.market if headline.split == "test" else f"{headline.market} ({headline.split})"
    return (
        measured,
        f"{headline.min_periods} of {headline.max_periods}",
        f"{headline.mean_vol:+.3f} ± {headline.std_vol:.3f} \\[{headline.low_vol:.3f}, {headline.high_vol:.3f}]",
        "" if headline.tracking is None else f"{headline.tracking:.2f}",
    )
