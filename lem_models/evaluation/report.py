"""Report of an evaluation: one self-contained HTML file, and the tables as CSV and JSON.

The HTML carries its styles and figures inside itself: it needs no network, no script and no font, follows the light or
dark setting of the reader, and can be mailed. Whatever comes from outside (symbols, policy names, commands) is escaped.
Files are written to a temporary name beside the target and renamed, so a reader never meets half a file. The same
content gives the same bytes: a date is printed only when one is given.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.evaluation.plots import Theme, figure_to_data_uri, policy_styles

__all__ = [
    "DEFINITIONS",
    "SIGN_CONVENTION",
    "Column",
    "Headline",
    "Json",
    "ReportData",
    "ReportFigure",
    "ReportTable",
    "SampleExecution",
    "comparison_table",
    "difference_table",
    "null_table",
    "to_csv",
    "to_json",
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

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""What a JSON file can hold."""

_KEY_LABELS = {
    "min_periods": "minimum",
    "max_periods": "maximum",
    "benchmark": "benchmark",
    "risk_aversion": "risk av.",
}
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


def comparison_table(
    comparison: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str,
    note: str = "",
    model: str | None = None,
    level: float = 0.95,
    collapsed: bool = False,
) -> ReportTable:
    """Table of ``statistics.compare``: the policies beneath each other, group after group (one policy: row after row).

    Args:
        comparison: The long table.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        model: Policy whose rows stand out.
        level: Level of the intervals, for the heading.
        collapsed: Whether the table is folded away until it is opened.

    Returns:
        The table.
    """
    keys = _keys(by)
    frame = comparison.sort_values(keys, kind="stable", ignore_index=True) if keys else comparison
    several = comparison["policy"].nunique() > 1
    columns = [Column("policy", "policy")] if several or not keys else _key_columns(keys)
    columns.append(Column("orders", "orders", "{:,.0f}"))
    for unit, group, shape in (
        ("vol", "improvement, bar volatilities", "{:+.3f}"),
        ("bps", "improvement, bps", "{:+.1f}"),
    ):
        spread = shape.replace("+", "")
        columns += _interval_columns(("mean", "low", "high"), unit, group, shape, level)
        columns.append(Column(f"std_{unit}", "std", spread, group))
    columns += [
        Column("median_bps", "median", "{:+.1f}", "improvement, bps"),
        Column("q05_bps", "5 %", "{:+.0f}", "improvement, bps"),
        Column("q95_bps", "95 %", "{:+.0f}", "improvement, bps"),
        Column("better_percent", "better", "{:.1f} %", "improvement, bps"),
        Column("periods_used", "periods", "{:.1f}", "execution"),
        Column("completed_percent", "complete", "{:.4g} %", "execution"),
    ]
    highlight = ("policy", model) if model is not None and several else None
    return ReportTable(title, frame, note, columns, highlight, _key_columns(keys) if several else (), collapsed)


def null_table(
    split: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str = "Option value and forecast value",
    note: str = "",
    level: float = 0.95,
) -> ReportTable:
    """Table of ``statistics.null_split``.

    Args:
        split: The split; a column ``policy`` in front is printed when there is one.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        level: Level of the intervals, for the heading.

    Returns:
        The table.
    """
    columns = [Column("policy", "policy")] if "policy" in split.columns else []
    columns += [*_key_columns(_keys(by)), Column("orders", "orders", "{:,.0f}")]
    groups = {
        "real": "real bars",
        "option": "null: option value",
        "forecast": "real minus null: forecast value",
    }
    for part, group in groups.items():
        for unit, shape, heading in (("vol", "{:+.3f}", "bar vol."), ("bps", "{:+.1f}", "bps")):
            columns.append(Column(f"{part}_{unit}", heading, shape, group))
            if unit == "vol" or part == "forecast":
                ends = (f"{part}_low_{unit}", f"{part}_high_{unit}")
                columns.append(Column(ends, f"{100 * level:.4g} % interval", f"{shape} to {shape}", group))
    return ReportTable(title, split, note, columns)


def difference_table(
    differences: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    title: str,
    note: str = "",
    level: float = 0.95,
    collapsed: bool = False,
) -> ReportTable:
    """Table of ``statistics.paired_difference``.

    Args:
        differences: The differences; a column ``policy`` (the policy that was subtracted) is printed when there is one.
        by: Columns that it was grouped by.
        title: Heading.
        note: Sentence below the heading.
        level: Level of the intervals, for the heading.
        collapsed: Whether the table is folded away until it is opened.

    Returns:
        The table.
    """
    columns = [Column("policy", "against")] if "policy" in differences.columns else []
    columns += [*_key_columns(_keys(by)), Column("orders", "orders", "{:,.0f}")]
    for unit, group, shape in (
        ("vol", "difference, bar volatilities", "{:+.3f}"),
        ("bps", "difference, bps", "{:+.1f}"),
    ):
        columns += _interval_columns(("mean", "low", "high"), unit, group, shape, level)
    columns.append(Column("better_percent", "ahead", "{:.1f} %"))
    return ReportTable(title, differences, note, columns, collapsed=collapsed)


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
    return _write_atomically(path, html)


def to_csv(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a table as CSV with every digit, without the index.

    Args:
        frame: The table.
        path: Where to; folders that are missing are made.

    Returns:
        The path of the file.
    """
    return _write_atomically(path, frame.to_csv(index=False, lineterminator="\n"))


def to_json(content: object, path: str | os.PathLike[str]) -> Path:
    """Write tables and facts as strict JSON.

    Args:
        content: Mappings, sequences, numbers, strings, times and data frames, nested at will. A data frame becomes a
            list of records; NaN, infinities and missing times become null; keys keep their sequence.
        path: Where to; folders that are missing are made.

    Returns:
        The path of the file.

    Raises:
        ConfigError: If something in it has no form in JSON.
    """
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    return _write_atomically(path, text + "\n")


def _keys(by: Sequence[str] | str | None) -> list[str]:
    """Columns grouped by, as a list."""
    return [] if by is None else [by] if isinstance(by, str) else list(by)


def _key_columns(keys: Sequence[str]) -> list[Column]:
    """Printed columns of the keys."""
    return [Column(key, _KEY_LABELS.get(key, key.replace("_", " "))) for key in keys]


def _interval_columns(parts: tuple[str, str, str], unit: str, group: str, shape: str, level: float) -> list[Column]:
    """Printed columns of a mean and its interval."""
    mean, low, high = (f"{part}_{unit}" for part in parts)
    interval = Column((low, high), f"{100 * level:.4g} % interval", f"{shape} to {shape}", group)
    return [Column(mean, "mean", shape, group), interval]


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
    if any(_missing(value) for value in values):
        return _MISSING
    if column.format == "{}":
        return _fact(values[0])
    return _number(column.format.format(*values))


def _number(text: str) -> str:
    """Formatted number with a true minus sign (as wide as the plus) and no sign before a zero."""
    return _MINUS.sub("\u2212", _SIGNED_ZERO.sub("", text))


def _fact(value: object) -> str:
    """Any value as text."""
    if _missing(value):
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


def _missing(value: object) -> bool:
    """Whether a value is NaN, NaT or None."""
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and not math.isfinite(value))


def _plain(value: object) -> Json:
    """Content in the types that JSON knows."""
    if _missing(value):
        return None
    if isinstance(value, pd.DataFrame):
        return [_plain(record) for record in value.to_dict("records")]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | pd.Series | np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str | os.PathLike):
        return str(value)
    raise ConfigError(f"a {type(value).__name__} has no form in JSON")


def _write_atomically(path: str | os.PathLike[str], text: str) -> Path:
    """Write beside the target and rename; nothing is left behind when that fails."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
