"""The check of a file of bars as a page, with a picture of its coverage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from lem_models.markets.calendar.frequency import clock
from lem_models.markets.quality.report import DataCheck, coverage
from lem_models.report.data.tables import finding_tables, symbols_table
from lem_models.report.figure_style import Theme, dress, empty_figure, ink_of
from lem_models.report.html import FigureGroup, Headline, Report, ReportFigure, write_report

__all__ = ["coverage_figure", "write_data_page"]

_SYMBOLS = 40  # rows of the picture


def write_data_page(check: DataCheck, path: Path, *, title: str, command: str) -> Path:
    """Write the page.

    Args:
        check: The check.
        path: The HTML file.
        title: Title of the page.
        command: Command that reproduces it.
    """
    bars, facts = check.bars, check.facts()
    lost = check.starts_lost / check.starts if check.starts else 0.0
    shown = f"{_SYMBOLS} of {len(bars.symbols):,} symbols. " if len(bars.symbols) > _SYMBOLS else ""
    caption = (
        f"{shown}Share of the bars of the market's grid that each symbol has, over time; white where there is none."
    )
    figure = ReportFigure.from_plot("Coverage", caption, lambda theme: coverage_figure(check, theme=theme), wide=True)
    report = Report(
        title=title,
        subtitle=f"{len(bars):,} bars of {clock(bars.frequency)}, {len(bars.symbols):,} symbols",
        warnings=[f"{text}." for text in check.warnings()],
        headlines=[
            Headline("missing bars", f"{facts['missing bars']:,}", f"in {facts['gaps']:,} gaps"),
            Headline("starts lost to gaps", f"{100 * lost:.1f} %", str(facts["starts of orders lost to gaps"])),
            Headline("without volume", f"{facts['bars without volume']:,}", "bars"),
            Headline("estimated notionals", str(facts["bars with an estimated notional"]), "of the bars"),
        ],
        definitions={},
        has_orders=False,
        data=facts,
        sections=[FigureGroup("Coverage", [figure]), symbols_table(check), *finding_tables(check)],
        command=command,
    )
    return write_report(path, report)


def coverage_figure(check: DataCheck, *, theme: Theme = "light") -> Figure:
    """Share of the bars of the grid that each symbol has, over time: a row per symbol.

    Args:
        check: The check.
        theme: Page that the figure is made for.
    """
    edges, shares = coverage(check.bars)
    shares, names = shares[:_SYMBOLS], check.bars.symbols[:_SYMBOLS]
    ink = ink_of(theme)
    figure = empty_figure(9.0, 1.0 + 0.22 * len(names), ink)
    axes = figure.subplots()
    dress(axes, ink)
    axes.grid(visible=False)
    colours = LinearSegmentedColormap.from_list("coverage", ["#e69f00", ink.accents[0]])
    times = pd.DatetimeIndex(edges).to_numpy()
    masked = np.ma.masked_where(~(shares > 0.0), shares)
    axes.pcolormesh(times, np.arange(len(names) + 1), masked, cmap=colours, vmin=0.0, vmax=1.0)
    for row in range(1, len(names)):
        axes.axhline(row, color=ink.page, linewidth=2.0)
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    return figure
