"""Report of an evaluation: one self-contained HTML file.

The HTML carries its styles and figures inside itself: it needs no network, no script and no font, follows the light or
dark setting of the reader, and can be mailed. Whatever comes from outside (symbols, policy names, commands) is escaped.
Files are written to a temporary name beside the target and renamed, so a reader never meets half a file. The same
content gives the same bytes: a date is printed only when one is given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from lem_models.guard.output import is_missing, write_text
from lem_models.report.figure_style import policy_styles
from lem_models.report.parts import (
    Column,
    FigureGroup,
    Headline,
    ReportTable,
    SampleExecution,
    SampleGroup,
)
from lem_models.report.text import DEFINITIONS, MISSING, SIGN_CONVENTION, fact_text, number_text

__all__ = ["ReportData", "write_report"]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows, in the sequence in which it shows it.

    Attributes:
        title: Title of the report.
        subtitle: Sentence below the title.
        policies: Policies in the sequence of the figures, so that they have the same colours in tables.
        generated_at: Time printed on the report; ``None`` prints none and keeps the file reproducible.
        warnings: What a reader must know before the first number, e.g. that orders lie in training days.
        headlines: The three or four numbers that matter.
        summary: Executive summary, one paragraph.
        definitions: Definitions by term; the sign convention stands above them in any case.
        data: Facts of the data by name: hash, symbols, period, bars.
        excluded: Number of orders that could not run, by reason.
        universe: Table of the symbols, folded below the data.
        sections: Tables, figures and sample executions.
        model: Facts of the model by name.
        command: Command that prints the report again.
    """

    title: str
    subtitle: str = ""
    policies: Sequence[str] = ()
    generated_at: datetime | None = None
    warnings: Sequence[str] = ()
    headlines: Sequence[Headline] = ()
    summary: str = ""
    definitions: Mapping[str, str] = field(default_factory=lambda: dict(DEFINITIONS))
    data: Mapping[str, object] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    universe: ReportTable | None = None
    sections: Sequence[ReportTable | FigureGroup | SampleGroup] = ()
    model: Mapping[str, object] = field(default_factory=dict)
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
        loader=jinja2.PackageLoader("lem_models.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["fact"] = fact_text
    html = environment.get_template("report.html.j2").render(
        report=report,
        sign_convention=SIGN_CONVENTION,
        universe=None if report.universe is None else _table_view(report.universe, report.policies),
        sections=[_section_view(section, report.policies) for section in report.sections],
        generated_at=report.generated_at.strftime("%Y-%m-%d %H:%M %Z").strip() if report.generated_at else "",
    )
    return write_text(path, html)


def _section_view(section: ReportTable | FigureGroup | SampleGroup, policies: Sequence[str]) -> dict[str, Any]:
    """A section, ready for the template, with its kind."""
    if isinstance(section, ReportTable):
        return {"kind": "table", **_table_view(section, policies)}
    if isinstance(section, FigureGroup):
        return {"kind": "figures", "title": section.title, "figures": section.figures}
    return {
        "kind": "samples",
        "title": section.title,
        "note": section.note,
        "samples": [_sample_view(sample) for sample in section.samples],
    }


def _sample_view(sample: SampleExecution) -> dict[str, Any]:
    schedule = ReportTable(f"Schedule: {sample.title}", sample.schedule, columns=sample.columns)
    return {
        "title": sample.title,
        "facts": sample.facts,
        "figure": sample.figure,
        "schedule": _table_view(schedule, ()),
    }


def _table_view(table: ReportTable, policies: Sequence[str]) -> dict[str, Any]:
    """Texts and classes of a table, ready for the template."""
    frame = table.frame
    columns = (
        list(table.columns) if table.columns is not None else [Column(str(name), str(name)) for name in frame.columns]
    )
    groups: list[list[Any]] = []
    for column in columns:
        if groups and groups[-1][0] == column.group:
            groups[-1][1] += 1
        else:
            groups.append([column.group, 1])
    classes = []
    for position, column in enumerate(columns):
        names = ["num"] if all(pd.api.types.is_numeric_dtype(frame[source]) for source in column.sources) else []
        names += ["policy"] if column.source == "policy" else []
        names += ["interval"] if len(column.sources) > 1 else []
        names += ["start"] if column.group and position and column.group != columns[position - 1].group else []
        classes.append(" ".join(names))
    swatches = _swatches(frame, policies)
    rows = []
    previous = ""
    for record in frame.to_dict("records"):
        heading = ", ".join(f"{column.label} {_text(column, record)}" for column in table.grouped)
        cells = [
            {
                "text": _text(column, record),
                "css": css,
                "swatch": swatches.get(str(record["policy"])) if column.source == "policy" else None,
            }
            for column, css in zip(columns, classes, strict=True)
        ]
        rows.append(
            {
                "cells": cells,
                "highlight": table.highlight is not None and record[table.highlight[0]] == table.highlight[1],
                "heading": heading if heading != previous else "",
            }
        )
        previous = heading
    return {
        "title": table.title,
        "note": table.note,
        "groups": groups if any(name for name, _ in groups) else [],
        "heads": [{"label": column.label, "css": css} for column, css in zip(columns, classes, strict=True)],
        "rows": rows,
        "collapsed": table.collapsed,
        "more": [_table_view(other, policies) for other in table.more],
    }


def _swatches(frame: pd.DataFrame, policies: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour of each policy in both themes, the ones it has in the figures."""
    if "policy" not in frame.columns:
        return {}
    names = [*policies, *(str(name) for name in frame["policy"].unique())]
    light, dark = policy_styles(names, "light"), policy_styles(names, "dark")
    return {name: {"light": light[name].colour, "dark": dark[name].colour} for name in names}


def _text(column: Column, record: Mapping[Any, Any]) -> str:
    """Text of one cell."""
    values = [record[source] for source in column.sources]
    if any(is_missing(value) for value in values):
        return MISSING
    if callable(column.format):
        return column.format(*values)
    if column.format == "{}":
        return fact_text(values[0])
    return number_text(column.format.format(*values))
