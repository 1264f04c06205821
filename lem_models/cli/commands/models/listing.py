"""The bundled models as a table for the terminal."""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from lem_models.evaluation.prices import AGAINST
from lem_models.hub.models.zoo import Headline, ZooList
from lem_models.report.terminal.width import fits

__all__ = ["print_models"]

MISSING = "\u2013"

_COLUMNS = (
    *("model", "for", "bars", "horizon", "size", "measured on", "minimum"),
    *("own benchmark", "full VWAP", "arrival", "- TWAP", "errors × TWAP"),
)

_LEGEND = (
    "Mean improvement in bps, gross / net of costs for orders of 1 % of the volume expected over their maximum, at the "
    "shortest minimum: against the own benchmark, which ends when the order does; the VWAP of all periods; the price "
    "at arrival. - TWAP: net against the VWAP of all periods minus that of TWAP; below 0, TWAP is better. errors × "
    "TWAP: std and median of the absolute slippage over TWAP's at a fixed duration. The model cards have intervals, "
    "baselines, the null and the limits."
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
        about = f"{model.market}, bars of {model.frequency}, up to {model.horizon} periods, {model.size / 1e6:.1f} MB"
        console.print(f"\n[bold]{model}[/bold]  {about}", soft_wrap=True, highlight=False)
        lines = []
        for headline in model.headlines:
            market, minimum, own, full, arrival, twap, errors = _cells(headline)
            line = f"{market}, {minimum}: own benchmark {own}, full VWAP {full}, arrival {arrival}, - TWAP {twap}"
            lines.append(line + (f", errors {errors} × TWAP" if errors else ""))
        for line in lines:
            console.print(Padding(line, (0, 0, 0, 2)), highlight=False)
    console.print()


def _cells(headline: Headline) -> tuple[str, ...]:
    measured = headline.market if headline.split == "test" else f"{headline.market} ({headline.split})"
    by_price = {each.against: each for each in headline.prices}
    prices = [f"{each.gross:+.1f} / {each.net:+.1f}" if (each := by_price.get(price)) else MISSING for price in AGAINST]
    full = by_price.get("full_vwap")
    twap = MISSING if full is None or math.isnan(full.difference) else f"{full.difference:+.1f}"
    errors = [value for value in (headline.tracking, headline.median_tracking) if value is not None]
    return (
        measured,
        f"{headline.min_periods} of {headline.max_periods}",
        *prices,
        twap,
        ", ".join(f"{value:.2f}" for value in errors),
    )
