"""Charts drawn by matplotlib."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lem_models.report.charts.chart import (
    Bands,
    Chart,
    Columns,
    Drawn,
    HeatMap,
    HorizontalBars,
    Level,
    Line,
    Mark,
    Panel,
    Points,
    Span,
    Stairs,
)
from lem_models.report.figure_style import (
    Ink,
    PageFigure,
    Theme,
    dress,
    empty_figure,
    ink_of,
    legend_above,
    mark,
    themed,
)

__all__ = ["matplotlib_figure"]


def matplotlib_figure(chart: Chart, theme: Theme = "light") -> PageFigure:
    """Draw a chart.

    Args:
        chart: The chart.
        theme: Page that the figure is made for.

    Returns:
        The figure, with a transparent background.

    Raises:
        ConfigError: If the theme is unknown.
    """
    ink = ink_of(theme)
    figure = empty_figure(chart.width, chart.height, ink)
    panels = figure.subplots(
        len(chart.rows),
        len(chart.rows[0]),
        squeeze=False,
        sharex="col" if chart.share_x else "none",
        sharey="row" if chart.share_y else "none",
        height_ratios=list(chart.heights) or None,
        width_ratios=list(chart.widths) or None,
    )
    for axes_of, row in zip(panels, chart.rows, strict=True):
        for axes, panel in zip(axes_of, row, strict=True):
            if panel is None:
                axes.set_visible(False)
            else:
                _draw_panel(axes, panel, ink, theme)
    if chart.x_label:
        figure.supxlabel(chart.x_label, color=ink.text, fontsize=9.5)
    if chart.title:
        figure.suptitle(chart.title, color=ink.text, fontsize=11, fontweight="bold", x=0.01, ha="left")
    if chart.has_legend:
        legend_above(figure, ink)
    return figure


def _draw_panel(axes: Axes, panel: Panel, ink: Ink, theme: Theme) -> None:
    """Draw what a panel has, then its axes: marks go to the top of the final axes."""
    dress(axes, ink)
    for drawn in panel.drawn:
        _draw(drawn, axes, ink, theme)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.title:
        axes.set_title(panel.title, color=ink.text, fontsize=9.5, loc="left")
    if panel.y_format == "percent":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif panel.y_format == "number" and not any(isinstance(each, HorizontalBars | HeatMap) for each in panel.drawn):
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    if panel.y_format == "none":
        axes.set_yticks([])
    elif not any(isinstance(each, HorizontalBars | HeatMap) for each in panel.drawn):
        axes.yaxis.set_major_locator(MaxNLocator(panel.y_ticks))
    if panel.x_format == "percent":
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(x=panel.x_margin, y=panel.y_margin)
    if panel.x_ticks is not None:
        axes.set_xticks(panel.x_ticks[0], panel.x_ticks[1])
    if panel.x_limits is not None:
        axes.set_xlim(*panel.x_limits)
    if panel.y_limits is not None:
        axes.set_ylim(*panel.y_limits)


@singledispatch
def _draw(drawn: Drawn, axes: Axes, ink: Ink, theme: Theme) -> None:
    """Draw one thing."""
    raise NotImplementedError(f"matplotlib does not draw {type(drawn).__name__}")


@_draw.register
def _(drawn: Line, axes: Axes, ink: Ink, theme: Theme) -> None:
    axes.plot(
        np.asarray(drawn.x),
        np.asarray(drawn.y),
        color=themed(drawn.colour, theme),
        linewidth=drawn.width,
        linestyle=drawn.dash,
        marker=drawn.marker or None,
        drawstyle="steps-mid" if drawn.is_step else "default",
        label=drawn.label or None,
    )


@_draw.register
def _(drawn: Bands, axes: Axes, ink: Ink, theme: Theme) -> None:
    axes.fill_between(
        np.asarray(drawn.x),
        np.asarray(drawn.low),
        np.asarray(drawn.high),
        color=themed(drawn.colour, theme),
        alpha=drawn.opacity,
        linewidth=0,
        label=drawn.label or None,
    )


@_draw.register
def _(drawn: Columns, axes: Axes, ink: Ink, theme: Theme) -> None:
    axes.bar(
        np.asarray(drawn.x),
        np.asarray(drawn.y),
        width=drawn.width,
        color=themed(drawn.colour, theme),
        alpha=drawn.opacity,
        label=drawn.label or None,
    )


@_draw.register
def _(drawn: HorizontalBars, axes: Axes, ink: Ink, theme: Theme) -> None:
    places, values = np.arange(len(drawn.names)), np.asarray(drawn.values, dtype=float)
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x", color=ink.grid, linewidth=0.8)
    axes.barh(places, values, height=0.62, color=[themed(colour, theme) for colour in drawn.colours])
    for place, value, text in zip(places, values, drawn.texts, strict=True):
        axes.annotate(
            text,
            (value, place),
            xytext=(4 if value >= 0 else -4, 0),
            textcoords="offset points",
            color=ink.text,
            fontsize=8,
            ha="left" if value >= 0 else "right",
            va="center",
        )
    axes.axvline(0.0, color=ink.muted, linewidth=0.9)
    axes.set_yticks(places, list(drawn.names))
    axes.tick_params(axis="y", labelcolor=ink.text, labelsize=8.5)
    axes.invert_yaxis()


@_draw.register
def _(drawn: Points, axes: Axes, ink: Ink, theme: Theme) -> None:
    axes.scatter(
        np.asarray(drawn.x),
        np.asarray(drawn.y),
        s=np.asarray(drawn.size),
        color=themed(drawn.colour, theme),
        alpha=drawn.opacity,
        linewidths=0,
        zorder=4,
        clip_on=drawn.marker == "o",
        marker=drawn.marker,
        label=drawn.label or None,
    )


@_draw.register
def _(drawn: Stairs, axes: Axes, ink: Ink, theme: Theme) -> None:
    colour = themed(drawn.colour, theme)
    heights, edges = np.asarray(drawn.heights, dtype=float), np.asarray(drawn.edges, dtype=float)
    axes.stairs(heights, edges, color=colour, linewidth=1.4, label=drawn.label or None)
    if drawn.fill:
        axes.stairs(heights, edges, color=colour, alpha=drawn.fill, fill=True)


@_draw.register
def _(drawn: HeatMap, axes: Axes, ink: Ink, theme: Theme) -> None:
    places, values = np.asarray(drawn.x, dtype=float), np.asarray(drawn.values, dtype=float)
    axes.grid(visible=False)
    colours = LinearSegmentedColormap.from_list("chart", [ink.page, themed(drawn.colour, theme)])
    half = (places[1] - places[0]) / 2 if len(places) > 1 else 0.5
    edges = np.append(places - half, places[-1] + half)
    axes.pcolormesh(
        edges, np.arange(len(values) + 1) - 0.5, values, cmap=colours, vmin=0.0, vmax=max(values.max(), 1e-12)
    )
    axes.set_yticks(np.arange(len(values)), list(drawn.names))
    axes.tick_params(axis="y", labelcolor=ink.text, labelsize=8)
    axes.set_ylim(len(values) - 0.5, -0.5)


@_draw.register
def _(drawn: Mark, axes: Axes, ink: Ink, theme: Theme) -> None:
    mark(axes, ink, drawn.x, drawn.text or None, low=drawn.low, left=drawn.left)


@_draw.register
def _(drawn: Level, axes: Axes, ink: Ink, theme: Theme) -> None:
    axes.axhline(drawn.y, color=ink.muted, linewidth=0.9, zorder=1)


@_draw.register
def _(drawn: Span, axes: Axes, ink: Ink, theme: Theme) -> None:
    axes.axvspan(drawn.x, drawn.to, color=ink.muted, alpha=0.07, linewidth=0, zorder=0)
