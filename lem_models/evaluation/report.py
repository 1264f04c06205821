"""Report of an evaluation: one self-contained HTML file, and the tables as CSV and JSON.

The HTML carries its styles and figures inside itself: it needs no network, no script and no font, follows the light or
dark setting of the reader, and can be mailed. Whatever comes from outside (symbols, policy names, commands) is escaped.
Files are written to a temporary name beside the target and renamed, so a reader never meets half a file. The same
content gives the same bytes: a date is printed only when one is given.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.evaluation.figure_style import Theme, figure_to_data_uri, policy_styles
from lem_models.evaluation.output import is_missing, write_text

__all__ = [
    "DEFINITIONS",
    "SIGN_CONVENTION",
    "Column",
    "Headline",
    "ReportData",
    "ReportFigure",
    "ReportTable",
    "SampleExecution",
    "write_report",
]

SIGN_CONVENTION = (
    "slippage = side \u00d7 (executed / benchmark \u2212 1) \u00d7 1e4 bps, positive = cost; improvement is minus that"
)
"""The sign convention, printed on every report; side is +1 for a buy and -1 for a sell."""

DEFINITIONS: Mapping[str, str] = {
    "Slippage": (
        "side \u00d7 (executed price / benchmark price \u2212 1) \u00d7 1e4 basis points; side is +1 for a buy, "
        "\u22121 for a sell. Positive slippage is a cost."
    ),
    "Improvement": "Minus the slippage: positive means better than the benchmark.",
    "Executed price": (
        "Quantity target: the mean of the prices of the fills, weighted by the fractions traded. Notional target: "
        "their harmonic mean, weighted alike. A fill is at the VWAP of its bar; costs come on top only where a cost "
        "model is named."
    ),
    "Benchmark price": (
        "VWAP (weighted by market volume) or TWAP (plain mean) of the bars from the start of the order to its end, and "
        "at least over its minimum duration. When a flexible order ends, so does its benchmark."
    ),
    "Bar volatility": (
        "Standard deviation of one bar's return as known when the order starts. Improvements in bar volatilities are "
        "divided order by order."
    ),
    "Interval": (
        "Bootstrap over calendar days, all orders of a day together: orders of one day share the market's moves and "
        "are no independent observations."
    ),
    "Martingale null": (
        "The same bars, each reflected in log price about the previous close with a random sign: sizes and volumes "
        "stay, nothing is left to forecast. What is gained there is the value of choosing when to end (option value); "
        "the rest of the improvement is forecast value."
    ),
    "Completion": (
        "Share of orders filled in full within the maximum duration. An order of which nothing was filled has no "
        "price: it counts here and in no price statistic."
    ),
}
"""Definitions printed at the top of a report, term by term."""

_MISSING = "\u2013"
_SIGNED_ZERO = re.compile(r"[+-](?=0(?:\.0+)?(?![\d.]))")
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")


@dataclass(frozen=True)
class Column:
    """One printed column of a table.

    Attributes:
        source: Column of the data frame, or several that fill one cell (the two ends of an interval).
        label: Heading.
        format: Format string, one placeholder per source; the cell is a dash where a value is missing.
        group: Heading above neighbouring columns of the same group; empty for none.
    """

    source: str | tuple[str, ...]
    label: str
    format: str = "{}"
    group: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Columns of the data frame that fill the cell."""
        return (self.source,) if isinstance(self.source, str) else self.source


@dataclass(frozen=True)
class ReportTable:
    """A table of the report.

    Attributes:
        title: Heading.
        frame: The numbers.
        note: Sentence below the heading.
        columns: What is printed and how; ``None`` prints every column plainly.
        highlight: Column and value of the rows that stand out, e.g. ``("policy", "lem-crypto-hourly")``.
        grouped: Columns printed once, as a heading above the rows that share them (neighbouring rows).
        collapsed: Whether the table is folded away until it is opened.

    Raises:
        UnknownNameError: If a column is asked for that the frame does not have.
    """

    title: str
    frame: pd.DataFrame
    note: str = ""
    columns: Sequence[Column] | None = None
    highlight: tuple[str, object] | None = None
    grouped: Sequence[Column] = ()
    collapsed: bool = False

    def __post_init__(self) -> None:
        """Refuse columns that are not there, before anything is written."""
        wanted = [source for column in (*(self.columns or ()), *self.grouped) for source in column.sources]
        wanted += [self.highlight[0]] if self.highlight else []
        for name in wanted:
            if name not in self.frame.columns:
                raise UnknownNameError.among("column", name, (str(known) for known in self.frame.columns))


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report, in a variant for light pages and one for dark pages.

    Attributes:
        title: Heading.
        caption: What the figure shows, also its text for readers who do not see it.
        light: Image as a ``data:`` URI.
        dark: Variant for dark pages; ``None`` shows the light one everywhere.
        wide: Whether the figure takes the full width of the page.

    Raises:
        ConfigError: If an image is anything but a ``data:image/...`` URI.
    """

    title: str
    caption: str
    light: str
    dark: str | None = None
    wide: bool = False

    def __post_init__(self) -> None:
        """Refuse images that live outside the report."""
        for uri in (self.light, self.dark):
            if uri is not None and not uri.startswith("data:image/"):
                raise ConfigError(f"a figure of a report is a data:image/ URI, got {uri[:40]!r}")

    @classmethod
    def from_plot(
        cls, title: str, caption: str, draw: Callable[[Theme], Figure], *, wide: bool = False
    ) -> ReportFigure:
        """Draw both variants.

        Args:
            title: Heading.
            caption: What the figure shows.
            draw: Function of the theme that returns the figure, e.g. ``lambda theme: frontier(table, theme=theme)``.
            wide: Whether the figure takes the full width of the page.

        Returns:
            The figure with both variants as SVG.
        """
        return cls(title, caption, figure_to_data_uri(draw("light")), figure_to_data_uri(draw("dark")), wide)


@dataclass(frozen=True)
class Headline:
    """One number of the executive summary.

    Attributes:
        label: What it is.
        value: The number with its unit.
        detail: What stands below it, e.g. the interval.
        tone: ``"good"``, ``"bad"`` or ``"plain"``.
    """

    label: str
    value: str
    detail: str = ""
    tone: Literal["good", "bad", "plain"] = "plain"

    @classmethod
    def interval(
        cls, label: str, mean: float, low: float, high: float, *, unit: str, decimals: int = 1, level: float = 0.95
    ) -> Headline:
        """Headline of a mean: good or bad only if its interval lies on one side of zero.

        Args:
            label: What it is.
            mean: The mean, positive is better.
            low: Lower end of its interval.
            high: Upper end of its interval.
            unit: Unit, e.g. ``"bps"``.
            decimals: Decimals printed.
            level: Level of the interval.

        Returns:
            The headline.
        """
        shape = f"{{:+.{decimals}f}}"
        ends = " to ".join(_number(shape.format(end)) if math.isfinite(end) else _MISSING for end in (low, high))
        value = _number(shape.format(mean)) if math.isfinite(mean) else _MISSING
        tone: Literal["good", "bad", "plain"] = "good" if low > 0 else "bad" if high < 0 else "plain"
        return cls(label, f"{value} {unit}", f"{100 * level:.4g} % interval {ends}", tone)


@dataclass(frozen=True)
class SampleExecution:
    """One order shown bar by bar.

    Attributes:
        title: Heading, e.g. ``"Buy BTCUSDT, done in 5 of 12 periods"``.
        facts: Facts of the order and its outcome.
        schedule: One row per period traded.
        figure: Figure of the execution.
        columns: How the schedule is printed; ``None`` prints every column plainly.
    """

    title: str
    facts: Mapping[str, object]
    schedule: pd.DataFrame
    figure: ReportFigure | None = None
    columns: Sequence[Column] | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows, in the sequence in which it shows it.

    Attributes:
        title: Title of the report.
        subtitle: Sentence below the title.
        generated_at: Time printed on the report; ``None`` prints none and keeps the file reproducible.
        summary: Executive summary, one paragraph.
        headlines: The three or four numbers that matter.
        definitions: Definitions by term; the sign convention stands above them in any case.
        tables: Tables, the main one first.
        null_split: Table of option value and forecast value.
        figures: Figures.
        sample: One order executed bar by bar.
        model: Facts of the model by name.
        data: Facts of the data by name: hash, symbols, period, bars.
        excluded: Number of orders that could not run, by reason.
        command: Command that prints the report again.
    """

    title: str
    subtitle: str = ""
    generated_at: datetime | None = None
    summary: str = ""
    headlines: Sequence[Headline] = ()
    definitions: Mapping[str, str] = field(default_factory=lambda: dict(DEFINITIONS))
    tables: Sequence[ReportTable] = ()
    null_split: ReportTable | None = None
    figures: Sequence[ReportFigure] = ()
    sample: SampleExecution | None = None
    model: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    command: str = ""


def write_report(path: str | os.PathLike[str], report: ReportData) -> Path:
    """Write the report as one HTML file.

    Args:
        path: Where to; folders that are missing are made.
        report: What it shows.

    Returns:
        The path of the file.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lem_models.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["fact"] = _fact
    sample = report.sample
    schedule = None if sample is None else _view(ReportTable("Schedule", sample.schedule, columns=sample.columns))
    html = environment.get_template("report.html.j2").render(
        report=report,
        sign_convention=SIGN_CONVENTION,
        null_split=None if report.null_split is None else _view(report.null_split),
        tables=[_view(table) for table in report.tables],
        schedule=schedule,
        generated_at=report.generated_at.strftime("%Y-%m-%d %H:%M %Z").strip() if report.generated_at else "",
    )
    return write_text(path, html)


def _view(table: ReportTable) -> dict[str, Any]:
    """Texts and classes of a table, ready for the template."""
    frame = table.frame
    columns = (
        list(table.columns) if table.columns is not None else [Column(str(name), str(name)) for name in frame.columns]
    )
    numeric = [all(pd.api.types.is_numeric_dtype(frame[source]) for source in column.sources) for column in columns]
    groups: list[list[Any]] = []
    for column in columns:
        if groups and groups[-1][0] == column.group:
            groups[-1][1] += 1
        else:
            groups.append([column.group, 1])
    starts = [position == 0 or column.group != columns[position - 1].group for position, column in enumerate(columns)]
    swatches = _swatches(frame)
    rows = []
    previous = ""
    for record in frame.to_dict("records"):
        heading = ", ".join(f"{column.label} {_text(column, record)}" for column in table.grouped)
        cells = [
            {
                "text": _text(column, record),
                "number": number,
                "start": start and bool(column.group),
                "swatch": swatches.get(str(record["policy"])) if column.source == "policy" else None,
            }
            for column, number, start in zip(columns, numeric, starts, strict=True)
        ]
        rows.append(
            {
                "cells": cells,
                "highlight": table.highlight is not None and record[table.highlight[0]] == table.highlight[1],
                "heading": heading if heading != previous else "",
            }
        )
        previous = heading
    heads = [
        {"label": column.label, "number": number, "start": start and bool(column.group)}
        for column, number, start in zip(columns, numeric, starts, strict=True)
    ]
    return {
        "title": table.title,
        "note": table.note,
        "groups": groups if any(name for name, _ in groups) else [],
        "heads": heads,
        "rows": rows,
        "collapsed": table.collapsed,
    }


def _swatches(frame: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Colour of each policy in both themes, the ones it has in the figures."""
    if "policy" not in frame.columns:
        return {}
    names = [str(name) for name in frame["policy"].unique()]
    light, dark = policy_styles(names, "light"), policy_styles(names, "dark")
    return {name: {"light": light[name].colour, "dark": dark[name].colour} for name in names}


def _text(column: Column, record: Mapping[Any, Any]) -> str:
    """Text of one cell."""
    values = [record[source] for source in column.sources]
    if any(is_missing(value) for value in values):
        return _MISSING
    if column.format == "{}":
        return _fact(values[0])
    return _number(column.format.format(*values))


def _number(text: str) -> str:
    """Formatted number with a true minus sign (as wide as the plus) and no sign before a zero."""
    return _MINUS.sub("\u2212", _SIGNED_ZERO.sub("", text))


def _fact(value: object) -> str:
    """Any value as text."""
    if is_missing(value):
        return _MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return _number(f"{value:,}")
    if isinstance(value, float | np.floating):
        return _number(f"{value:,.6g}")
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M")
    return str(value)
