"""Charts drawn by plotly, to look closer with the pointer: ``pip install 'lem-models[plotly]'``."""

from __future__ import annotations

import html
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np

from lem_models.errors import ConfigError
from lem_models.report.charts.chart import (
    Bands,
    Chart,
    Columns,
    Dash,
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
from lem_models.report.figure_style import Ink, Theme, ink_of, themed

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["plotly_figure"]

_PIXELS = 100  # an inch
_POINT = 1.33  # pixels
_MARKERS = {"o": "circle", "v": "triangle-down", "P": "cross", "X": "x", "*": "star", "s": "square"}
_MARKERS |= {"^": "triangle-up", "D": "diamond"}


def plotly_figure(chart: Chart, theme: Theme = "light") -> Figure:
    """Draw a chart.

    Args:
        chart: The chart.
        theme: Page that the figure is made for.

    Returns:
        The figure, on the page of its theme.

    Raises:
        ConfigError: If plotly is not installed, or the theme is unknown.
    """
    ink = ink_of(theme)
    try:
        from plotly.subplots import make_subplots
    except ImportError:
        raise ConfigError(
            "backend='plotly' needs the package plotly: pip install 'lem-models[plotly]', or use backend='matplotlib'"
        ) from None
    across = len(chart.rows[0])
    names_inside = any(
        isinstance(each, HorizontalBars | HeatMap)
        for row in chart.rows
        for panel in row[1:]
        if panel is not None
        for each in panel.drawn
    )
    figure = make_subplots(
        rows=len(chart.rows),
        cols=across,
        shared_xaxes="columns" if chart.share_x else False,
        shared_yaxes="rows" if chart.share_y else False,
        row_heights=list(chart.heights) or None,
        column_widths=list(chart.widths) or None,
        horizontal_spacing=min(0.24 if names_inside else 0.09, 0.9 / across),
        vertical_spacing=0.06 if chart.share_x else min(0.12, 0.6 / len(chart.rows)),
        specs=[[{} if panel is not None else None for panel in row] for row in chart.rows],
        subplot_titles=[_text(panel.title) for row in chart.rows for panel in row if panel is not None],
    )
    figure.update_annotations(font={"size": 12, "color": ink.text})
    names: set[str] = set()
    for row_number, row in enumerate(chart.rows, 1):
        for column, panel in enumerate(row, 1):
            if panel is not None:
                _draw_panel(figure, panel, (row_number, column), ink, theme, names)
    figure.update_layout(
        width=chart.width * _PIXELS,
        height=chart.height * _PIXELS,
        title=_text(chart.title) or None,
        paper_bgcolor=ink.page,
        plot_bgcolor=ink.page,
        font={"color": ink.text, "size": 12},
        showlegend=chart.has_legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.04, "x": 0},
        margin={"l": 60, "r": 20, "t": 80 if chart.title or chart.has_legend else 40, "b": 50},
        bargap=0,
        barmode="overlay",
    )
    if chart.x_label:
        for column in range(1, across + 1):
            figure.update_xaxes(title_text=_text(chart.x_label), row=len(chart.rows), col=column)
    return figure


def _draw_panel(figure: Figure, panel: Panel, at: tuple[int, int], ink: Ink, theme: Theme, names: set[str]) -> None:
    for drawn in panel.drawn:
        for trace in _traces(drawn, theme, ink):
            label = trace.name or ""
            # One entry of the legend for lines of one name in several panels, and none for lines without a name.
            trace.update(showlegend=bool(label) and label not in names, legendgroup=label or None)
            names.add(label)
            figure.add_trace(trace, row=at[0], col=at[1])
    place = {"row": at[0], "col": at[1]}
    for drawn in panel.drawn:
        if isinstance(drawn, Mark):
            figure.add_vline(
                drawn.x,
                line={"color": ink.text, "width": 1, "dash": "dot"},
                annotation={
                    "text": _text(drawn.text),
                    "xanchor": "right" if drawn.left else "left",
                    "yshift": -14 if drawn.low else 0,
                    "font": {"size": 10, "color": ink.text},
                },
                **place,
            )
        elif isinstance(drawn, Level):
            figure.add_hline(drawn.y, line={"color": ink.muted, "width": 1}, **place)
        elif isinstance(drawn, Span):
            figure.add_vrect(drawn.x, drawn.to, fillcolor=ink.muted, opacity=0.07, line_width=0, **place)
    has_names = any(isinstance(each, HorizontalBars | HeatMap) for each in panel.drawn)
    axis: dict[str, Any] = {"zeroline": False, "linecolor": ink.muted, "gridcolor": ink.grid}
    down: dict[str, Any] = axis | {"title_text": _text(panel.y_label), "showgrid": not has_names}
    across: dict[str, Any] = axis | {
        "title_text": _text(panel.x_label),
        "showgrid": any(isinstance(each, HorizontalBars) for each in panel.drawn),
    }
    down |= {"tickformat": ".0%"} if panel.y_format == "percent" else {}
    down |= {"showticklabels": False} if panel.y_format == "none" else {}
    across |= {"tickformat": ".0%"} if panel.x_format == "percent" else {}
    if panel.x_ticks is not None:
        across |= {"tickvals": np.asarray(panel.x_ticks[0]).tolist(), "ticktext": [_text(t) for t in panel.x_ticks[1]]}
    across |= {"range": list(panel.x_limits)} if panel.x_limits is not None else {}
    down |= {"range": list(panel.y_limits)} if panel.y_limits is not None else {}
    down |= {"autorange": "reversed"} if has_names else {}
    figure.update_xaxes(**across, **place)
    figure.update_yaxes(**down, **place)


@singledispatch
def _traces(drawn: Drawn, theme: Theme, ink: Ink) -> list[Any]:
    """What plotly draws a thing with; marks, levels and spans are shapes."""
    return []


@_traces.register
def _(drawn: Line, theme: Theme, ink: Ink) -> list[Any]:
    from plotly.graph_objects import Scatter

    colour = themed(drawn.colour, theme)
    line = {"color": colour, "width": drawn.width * _POINT, "dash": _dash(drawn.dash)}
    line |= {"shape": "hvh"} if drawn.is_step else {}
    marker = {"symbol": _MARKERS.get(drawn.marker, "circle"), "size": 7}
    mode = "lines+markers" if drawn.marker else "lines"
    return [Scatter(x=_list(drawn.x), y=_list(drawn.y), name=_text(drawn.label), mode=mode, line=line, marker=marker)]


@_traces.register
def _(drawn: Bands, theme: Theme, ink: Ink) -> list[Any]:
    from plotly.graph_objects import Scatter

    x = _list(drawn.x)
    return [
        Scatter(
            x=x + x[::-1],
            y=_list(drawn.low) + _list(drawn.high)[::-1],
            name=_text(drawn.label),
            fill="toself",
            fillcolor=_faint(themed(drawn.colour, theme), drawn.opacity),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
        )
    ]


@_traces.register
def _(drawn: Columns, theme: Theme, ink: Ink) -> list[Any]:
    from plotly.graph_objects import Bar

    marker = {"color": themed(drawn.colour, theme), "line": {"width": 0}}
    return [
        Bar(
            x=_list(drawn.x),
            y=_list(drawn.y),
            width=drawn.width,
            name=_text(drawn.label),
            marker=marker,
            opacity=drawn.opacity,
        )
    ]


@_traces.register
def _(drawn: HorizontalBars, theme: Theme, ink: Ink) -> list[Any]:
    from plotly.graph_objects import Bar

    return [
        Bar(
            x=_list(drawn.values),
            y=[_text(name) for name in drawn.names],
            text=[_text(text) for text in drawn.texts],
            textposition="outside",
            orientation="h",
            width=0.62,
            marker={"color": [themed(colour, theme) for colour in drawn.colours], "line": {"width": 0}},
        )
    ]


@_traces.register
def _(drawn: Points, theme: Theme, ink: Ink) -> list[Any]:
    from plotly.graph_objects import Scatter

    # The area of a disc in points squared is its size in matplotlib; plotly takes the diameter.
    size = np.sqrt(np.asarray(drawn.size, dtype=float)) * _POINT
    marker = {"color": themed(drawn.colour, theme), "size": _list(size), "opacity": drawn.opacity, "line": {"width": 0}}
    marker |= {"symbol": _MARKERS.get(drawn.marker, "circle")}
    return [Scatter(x=_list(drawn.x), y=_list(drawn.y), name=_text(drawn.label), mode="markers", marker=marker)]


@_traces.register
def _(drawn: Stairs, theme: Theme, ink: Ink) -> list[Any]:
    from plotly.graph_objects import Scatter

    edges, heights = np.asarray(drawn.edges, dtype=float), np.asarray(drawn.heights, dtype=float)
    colour = themed(drawn.colour, theme)
    return [
        Scatter(
            x=_list(np.repeat(edges, 2)),
            y=[0.0, *_list(np.repeat(heights, 2)), 0.0],
            name=_text(drawn.label),
            mode="lines",
            line={"color": colour, "width": 1.9},
            fill="tozeroy" if drawn.fill else "none",
            fillcolor=_faint(colour, drawn.fill),
        )
    ]


@_traces.register
def _(drawn: HeatMap, theme: Theme, ink: Ink) -> list[Any]:
    from plotly.graph_objects import Heatmap

    return [
        Heatmap(
            x=_list(drawn.x),
            y=[_text(name) for name in drawn.names],
            z=np.asarray(drawn.values, dtype=float).tolist(),
            zmin=0.0,
            colorscale=[[0.0, ink.page], [1.0, themed(drawn.colour, theme)]],
            showscale=False,
            hovertemplate=f"%{{y}}: %{{z:.3f}} {_text(drawn.unit)}<extra></extra>",
        )
    ]


def _list(values: Any) -> list[float]:  # noqa: ANN401
    return np.asarray(values, dtype=float).tolist()  # type: ignore[no-any-return]


def _text(text: str) -> str:
    """A text as plotly shows it: it would read tags."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def _dash(dash: Dash) -> str:
    """A line style of matplotlib for plotly: lengths in pixels."""
    if isinstance(dash, str):
        return "solid" if dash == "-" else "dash"
    return ",".join(f"{3 * length:g}px" for length in dash[1])


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
