"""A chart as data: what is drawn, in which colours, on which axes, whichever library draws it.

:func:`lem_models.report.charts.draw.draw_chart` draws a chart with matplotlib or plotly. Colours are those of the light
theme (:mod:`lem_models.report.figure_style`); a renderer of a dark page translates them. So a chart is made once for
both themes and both libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Bands",
    "Chart",
    "Columns",
    "Dash",
    "Drawn",
    "HeatMap",
    "HorizontalBars",
    "Level",
    "Line",
    "Mark",
    "Panel",
    "Points",
    "Span",
    "Stairs",
]

Floats = npt.NDArray[np.float64]
Dash = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Line:
    """A line.

    Attributes:
        x: Places, [points].
        y: Heights, [points]; NaN leaves a hole.
        colour: Colour of the light theme.
        label: Entry of the legend; empty for none.
        width: Width in points.
        dash: Line style of matplotlib.
        marker: Marker of matplotlib; empty for none.
        is_step: Whether the line steps midway between the points.
    """

    x: npt.ArrayLike
    y: npt.ArrayLike
    colour: str
    label: str = ""
    width: float = 1.5
    dash: Dash = "-"
    marker: str = ""
    is_step: bool = False


@dataclass(frozen=True)
class Bands:
    """The area between two lines over ``x``, [points] each."""

    x: npt.ArrayLike
    low: npt.ArrayLike
    high: npt.ArrayLike
    colour: str
    opacity: float = 0.16
    label: str = ""


@dataclass(frozen=True)
class Columns:
    """Upright bars at ``x`` of height ``y``, [bars] each, ``width`` wide in units of x."""

    x: npt.ArrayLike
    y: npt.ArrayLike
    colour: str
    width: float = 0.8
    opacity: float = 1.0
    label: str = ""


@dataclass(frozen=True)
class HorizontalBars:
    """Bars to the right (positive) and to the left, from the top down, each in its own colour, with its text.

    Attributes:
        names: Names at the axis, [bars].
        values: Lengths, [bars].
        colours: Colours, [bars].
        texts: What is written at their ends, [bars].
    """

    names: Sequence[str]
    values: npt.ArrayLike
    colours: Sequence[str]
    texts: Sequence[str]


@dataclass(frozen=True)
class Points:
    """Discs at ``x``, ``y`` of areas ``size`` in points squared, [points] each."""

    x: npt.ArrayLike
    y: npt.ArrayLike
    size: npt.ArrayLike
    colour: str
    opacity: float = 0.75
    label: str = ""
    marker: str = "o"


@dataclass(frozen=True)
class Stairs:
    """A histogram: ``heights`` [bins] between ``edges`` [bins + 1]."""

    heights: npt.ArrayLike
    edges: npt.ArrayLike
    colour: str
    label: str = ""
    fill: float = 0.0


@dataclass(frozen=True)
class HeatMap:
    """Cells ``values`` [rows, columns] from the page's colour (0) to ``colour`` (the largest), rows from the top down.

    Attributes:
        x: Places of the columns, evenly spaced, [columns].
        names: Names of the rows, [rows].
        values: Numbers that are not negative, [rows, columns].
        colour: Colour of the largest.
        unit: What a number is, for the text under the pointer, e.g. ``"weight"``.
    """

    x: npt.ArrayLike
    names: Sequence[str]
    values: npt.ArrayLike
    colour: str
    unit: str = ""


@dataclass(frozen=True)
class Mark:
    """An upright dashed line with a small text at its top, or a little lower; right or left of it."""

    x: float
    text: str = ""
    low: bool = False
    left: bool = False


@dataclass(frozen=True)
class Level:
    """A thin level line at ``y``."""

    y: float


@dataclass(frozen=True)
class Span:
    """A faint grey background from ``x`` to ``to``."""

    x: float
    to: float


Drawn: TypeAlias = Line | Bands | Columns | HorizontalBars | Points | Stairs | HeatMap | Mark | Level | Span


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        drawn: What is drawn, the first lowest.
        title: Small heading.
        x_label: Label of the x-axis.
        y_label: Label of the y-axis.
        x_ticks: Places and labels; ``None``: by the library.
        y_format: ``"percent"`` for fractions as per cent, ``"none"`` for no ticks.
        x_format: The same.
        x_limits: Ends of the x-axis; ``None``: by the library.
        y_limits: Ends of the y-axis.
        y_margin: Room above and below what is drawn, as a fraction of it, where there are no limits.
        x_margin: The same left and right.
        y_ticks: Number of ticks at most.
    """

    drawn: Sequence[Drawn]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_ticks: tuple[npt.ArrayLike, Sequence[str]] | None = None
    y_format: Literal["number", "percent", "none"] = "number"
    x_format: Literal["number", "percent"] = "number"
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    y_margin: float = 0.05
    x_margin: float = 0.05
    y_ticks: int = 5


@dataclass(frozen=True)
class Chart:
    """Panels in rows.

    Attributes:
        rows: Rows of panels, from the top; all rows have the same number of panels. ``None`` leaves a place empty.
        width: Inches.
        height: Inches.
        heights: Relative heights of the rows; empty for equal ones.
        widths: Relative widths of the columns; empty for equal ones.
        share_x: Whether the panels of a column have one x-axis.
        share_y: Whether the panels of a row have one y-axis.
        x_label: Label below all panels.
        title: Heading above all.
        has_legend: Whether labels are listed above the panels.
    """

    rows: Sequence[Sequence[Panel | None]]
    width: float = 7.2
    height: float = 4.2
    heights: Sequence[float] = field(default_factory=tuple)
    widths: Sequence[float] = field(default_factory=tuple)
    share_x: bool = False
    share_y: bool = False
    x_label: str = ""
    title: str = ""
    has_legend: bool = True
