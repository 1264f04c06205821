"""Draw a chart with the library that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, Union

from lem_models.errors import ConfigError
from lem_models.guard.text import shown
from lem_models.report.charts.chart import Chart
from lem_models.report.figure_style import Theme

if TYPE_CHECKING:
    import plotly.graph_objects

    from lem_models.report.figure_style import PageFigure

__all__ = ["Backend", "Drawing", "draw_chart"]

Backend = Literal["matplotlib", "plotly"]
"""Library that draws."""

Drawing: TypeAlias = Union["PageFigure", "plotly.graph_objects.Figure"]
"""A figure of either library."""


def draw_chart(chart: Chart, *, theme: Theme = "light", backend: Backend = "matplotlib") -> Drawing:
    """Draw a chart.

    Args:
        chart: The chart.
        theme: Page that the figure is made for: ``"light"`` or ``"dark"``.
        backend: ``"matplotlib"``, or ``"plotly"`` (extra ``plotly``).

    Raises:
        ConfigError: If the theme or the backend is unknown, or plotly is not installed.
    """
    if backend == "matplotlib":
        from lem_models.report.charts.matplotlib_chart import matplotlib_figure

        return matplotlib_figure(chart, theme)
    if backend == "plotly":
        from lem_models.report.charts.plotly_chart import plotly_figure

        return plotly_figure(chart, theme)
    raise ConfigError(f"backend is 'matplotlib' or 'plotly'; got {shown(backend)}")
