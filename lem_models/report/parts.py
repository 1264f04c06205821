"""What a report is made of: headlines, tables, figures, sample executions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from lem_models.errors import ConfigError, UnknownNameError
from lem_models.report.figure_style import Theme, figure_to_data_uri
from lem_models.report.text import MISSING, number_text

__all__ = ["Column", "FigureGroup", "Headline", "ReportFigure", "ReportTable", "SampleExecution", "SampleGroup"]


@dataclass(frozen=True)
class Column:
    """One printed column of a table.

    Attributes:
        source: Column of the data frame, or several that fill one cell (the two ends of an interval).
        label: Heading.
        format: Format string with one placeholder per source, or a function of the values; the cell is a dash where a
            value is missing.
        group: Heading above neighbouring columns of the same group; empty for none.
    """

    source: str | tuple[str, ...]
    label: str
    format: str | Callable[..., str] = "{}"
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
        more: Further tables of the same subject, folded below this one.

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
    more: Sequence[ReportTable] = ()

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
        cls,
        label: str,
        mean: float,
        low: float,
        high: float,
        *,
        unit: str,
        decimals: int = 1,
        level: float = 0.95,
        more: str = "",
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
            more: What else stands below the number, after the interval.

        Returns:
            The headline.
        """
        shape = f"{{:+.{decimals}f}}"
        ends = " to ".join(number_text(shape.format(end)) if math.isfinite(end) else MISSING for end in (low, high))
        value = number_text(shape.format(mean)) if math.isfinite(mean) else MISSING
        shown_low, shown_high = round(low, decimals), round(high, decimals)  # as read: "to 0.0" is no news
        tone: Literal["good", "bad", "plain"] = "good" if shown_low > 0 else "bad" if shown_high < 0 else "plain"
        return cls(label, f"{value} {unit}", f"{100 * level:.4g} % interval {ends}" + (more and f"; {more}"), tone)


@dataclass(frozen=True)
class SampleExecution:
    """One order shown bar by bar.

    Attributes:
        title: Heading, e.g. ``"Buy, median order"``.
        facts: Facts of the order and its outcome.
        schedule: One row per period traded, folded below the figure.
        figure: Figure of the execution.
        columns: How the schedule is printed; ``None`` prints every column plainly.
    """

    title: str
    facts: Mapping[str, object]
    schedule: pd.DataFrame
    figure: ReportFigure | None = None
    columns: Sequence[Column] | None = None


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
class SampleGroup:
    """Orders shown bar by bar, side by side.

    Attributes:
        title: Heading.
        samples: The orders.
        note: How they were chosen.
    """

    title: str
    samples: Sequence[SampleExecution]
    note: str = ""
