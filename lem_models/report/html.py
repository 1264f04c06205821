"""A report as one HTML file, which contains its styles and figures.

The page needs no network, no script and no font, and follows the light or dark setting of the reader. Text from outside
(symbols, policy names, commands) is escaped. The file is written under a temporary name and renamed, so nobody reads
half of it. The same content gives the same bytes: a date is printed only if it is given.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import jinja2
from matplotlib.figure import Figure

from lem_models.errors import ConfigError
from lem_models.guard.output import write_text
from lem_models.report.definitions import DEFINITIONS, SIGN_CONVENTION
from lem_models.report.figure_style import Theme, figure_to_data_uris, figure_to_png_bytes, policy_styles
from lem_models.report.numbers import MISSING, fact_text, number_text
from lem_models.report.tables import Table

__all__ = [
    "FigureGroup",
    "Headline",
    "Report",
    "ReportFigure",
    "SampleExecution",
    "SampleGroup",
    "table_html",
    "write_report",
]


@dataclass(frozen=True)
class Headline:
    """One of the few numbers at the top.

    Attributes:
        label: What the number measures.
        value: The number with its unit.
        detail: Text below the number, e.g. the interval.
        tone: ``"good"``, ``"bad"`` or ``"plain"``.
    """

    label: str
    value: str
    detail: str = ""
    tone: Literal["good", "bad", "plain"] = "plain"

    @classmethod
    def interval(cls, label: str, mean: float, low: float, high: float, *, unit: str, more: str = "") -> Headline:
        """Headline of a mean: good or bad only if its 95 % interval lies on one side of zero.

        Args:
            label: What the mean measures.
            mean: The mean, positive is better.
            low: Lower end of its interval.
            high: Upper end of its interval.
            unit: Unit, e.g. ``"bps"``.
            more: Further text below the number, after the interval.
        """
        value, *ends = (number_text(f"{x:+.1f}") if math.isfinite(x) else MISSING for x in (mean, low, high))
        # Rounded as printed: an interval that reads "to 0.0" contains zero.
        shown_low, shown_high = round(low, 1), round(high, 1)
        tone: Literal["good", "bad", "plain"] = "good" if shown_low > 0 else "bad" if shown_high < 0 else "plain"
        return cls(label, f"{value} {unit}", f"95 % interval {' to '.join(ends)}" + (more and f"; {more}"), tone)


@dataclass(frozen=True)
class ReportFigure:
    """A figure, in a variant for light pages and one for dark pages.

    Attributes:
        title: Heading.
        caption: What the figure shows; also its alternative text.
        light: Image as a ``data:`` URI.
        dark: Variant for dark pages; ``None`` shows the light one everywhere.
        wide: Whether the figure takes the full width of the page.
        png: The light one as a PNG file, for others than the report; empty if it was not asked for.

    Raises:
        ConfigError: If an image is anything but a ``data:image/...`` URI.
    """

    title: str
    caption: str
    light: str
    dark: str | None = None
    wide: bool = False
    png: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse images that live outside the report."""
        for uri in (self.light, self.dark):
            if uri is not None and not uri.startswith("data:image/"):
                raise ConfigError(f"a figure of a report is a data:image/ URI, got {uri[:40]!r}")

    @classmethod
    def from_plot(
        cls, title: str, caption: str, draw: Callable[[Theme], Figure], *, wide: bool = False, png: bool = False
    ) -> ReportFigure:
        """Draw the light variant as SVG, and colour the dark one.

        Args:
            title: Heading.
            caption: What the figure shows.
            draw: Function of the theme that returns the figure, e.g. ``lambda theme: frontier(table, theme=theme)``;
                it is called for the light one.
            wide: Whether the figure takes the full width of the page.
            png: Whether it is wanted as a PNG file too.
        """
        figure = draw("light")
        light, dark = figure_to_data_uris(figure)
        return cls(title, caption, light, dark, wide, figure_to_png_bytes(figure) if png else b"")


@dataclass(frozen=True)
class FigureGroup:
    """Figures side by side.

    Attributes:
        title: Heading.
        figures: The figures.
    """

    title: str
    figures: Sequence[ReportFigure]


@dataclass(frozen=True)
class SampleExecution:
    """One order shown bar by bar.

    Attributes:
        title: Heading, e.g. ``"Buy, median order"``.
        facts: Facts of the order and its outcome.
        schedule: A row per period traded, folded below the figure.
        figure: Figure of the execution.
    """

    title: str
    facts: Mapping[str, object]
    schedule: Table
    figure: ReportFigure


@dataclass(frozen=True)
class SampleGroup:
    """Orders shown bar by bar, side by side.

    Attributes:
        title: Heading.
        samples: The orders.
        note: How they were chosen.
    """

    title: str
    samples: Sequence[SampleExecution]
    note: str


@dataclass(frozen=True)
class Report:
    """Everything that a report shows, from top to bottom.

    Attributes:
        title: Title of the report.
        subtitle: Sentence below the title.
        policies: Policies in the sequence of the figures, so that they have the same colours in tables.
        generated_at: Time printed on the report; ``None`` prints none and keeps the file reproducible.
        warnings: Warnings above the first number, e.g. that orders lie in training days.
        headlines: The three or four numbers that matter.
        summary: One paragraph.
        definitions: Definitions by term.
        has_orders: Whether the page measures orders: it then has the sign convention, and says how many are left out.
        data: Facts of the data by name: hash, symbols, period, bars.
        excluded: Number of orders that could not run, by reason.
        universe: Table of the symbols, folded below the data.
        sections: Tables, figures and sample executions.
        model: Facts of the model by name.
        command: Command that reproduces the report.
    """

    title: str
    subtitle: str = ""
    policies: Sequence[str] = ()
    generated_at: datetime | None = None
    warnings: Sequence[str] = ()
    headlines: Sequence[Headline] = ()
    summary: str = ""
    definitions: Mapping[str, str] = field(default_factory=lambda: dict(DEFINITIONS))
    has_orders: bool = True
    data: Mapping[str, object] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    universe: Table | None = None
    sections: Sequence[Table | FigureGroup | SampleGroup] = ()
    model: Mapping[str, object] = field(default_factory=dict)
    command: str = ""


def write_report(path: str | os.PathLike[str], report: Report) -> Path:
    """Write the report as one HTML file.

    Args:
        path: The file; missing folders are made.
        report: The content.

    Returns:
        The path of the file.
    """
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            sign_convention=SIGN_CONVENTION,
            universe=None if report.universe is None else _table_view(report.universe, report.policies),
            sections=[_section_view(section, report.policies) for section in report.sections],
            generated_at=report.generated_at.strftime("%Y-%m-%d %H:%M %Z").strip() if report.generated_at else "",
        )
    )
    return write_text(path, html)


def table_html(table: Table, policies: Sequence[str] = ()) -> str:
    """A table alone, as reports show it: HTML without styles, every text escaped.

    Args:
        table: The table.
        policies: Policies in the sequence of the figures, so that they have the same colours.
    """
    template = _environment().get_template("table.html.j2")
    return str(template.module.table(_table_view(table, policies)))  # type: ignore[attr-defined]  # a macro


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lem_models.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["fact"] = fact_text
    return environment


def _section_view(section: Table | FigureGroup | SampleGroup, policies: Sequence[str]) -> dict[str, Any]:
    """A section, ready for the template, with its kind."""
    if isinstance(section, Table):
        return {"kind": "table", **_table_view(section, policies)}
    if isinstance(section, FigureGroup):
        return {"kind": "figures", "title": section.title, "figures": section.figures}
    return {
        "kind": "samples",
        "title": section.title,
        "note": section.note,
        "samples": [
            {
                "title": sample.title,
                "facts": sample.facts,
                "figure": sample.figure,
                "schedule": _table_view(sample.schedule, ()),
            }
            for sample in section.samples
        ],
    }


def _table_view(table: Table, policies: Sequence[str]) -> dict[str, Any]:
    """Texts and classes of a table, ready for the template."""
    columns = table.columns
    classes = []
    for position, column in enumerate(columns):
        begins = column.group and position and column.group != columns[position - 1].group
        names = {
            "num": table.is_numeric(column),
            "policy": column.source == "policy",
            "interval": len(column.sources) > 1,
            "start": begins,
        }
        classes.append(" ".join(name for name, holds in names.items() if holds))
    groups = [(name, len(list(members))) for name, members in groupby(columns, lambda column: column.group)]
    swatches = _swatches(table, policies)
    rows = [
        {
            "heading": ", ".join(
                f"{column.label} {text}" for column, text in zip(table.grouped, row.group, strict=True)
            )
            if row.is_first
            else "",
            "highlight": row.emphasis == "strong",
            "cells": [
                {"text": text, "css": css, "swatch": swatches.get(text) if column.source == "policy" else None}
                for column, text, css in zip(columns, row.cells, classes, strict=True)
            ],
        }
        for row in table.rows()
    ]
    return {
        "title": table.title,
        "note": table.note,
        "groups": groups if any(name for name, _ in groups) else [],
        "heads": [{"label": column.label, "css": css} for column, css in zip(columns, classes, strict=True)],
        "rows": rows,
        "collapsed": table.collapsed,
        "more": [_table_view(other, policies) for other in table.more],
    }


def _swatches(table: Table, policies: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour of each policy in both themes, as in the figures."""
    if "policy" not in table.frame.columns:
        return {}
    names = [*policies, *(str(name) for name in table.frame["policy"].unique())]
    light, dark = policy_styles(names, "light"), policy_styles(names, "dark")
    return {name: {"light": light[name].colour, "dark": dark[name].colour} for name in names}
