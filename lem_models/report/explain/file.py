"""The picture of an explanation as a file."""

from __future__ import annotations

import io
import os
from importlib.util import find_spec
from pathlib import Path

from lem_models.errors import ConfigError
from lem_models.evaluation.explain.explanation import Explanation
from lem_models.guard.output import check_file, write_bytes, write_text
from lem_models.report.charts.matplotlib_chart import matplotlib_figure
from lem_models.report.charts.plotly_chart import plotly_figure
from lem_models.report.explain.picture import explanation_chart
from lem_models.report.figure_style import Theme, figure_to_png_bytes

__all__ = ["check_picture", "write_picture"]

_FORMATS = (".png", ".svg", ".pdf", ".html")


def check_picture(path: str | os.PathLike[str]) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Raises:
        ConfigError: The name has another ending, its folder cannot be made, or plotly is missing for a page.
    """
    file = Path(path)
    if file.suffix.lower() not in _FORMATS:
        raise ConfigError(f"a picture is a file ending in {', '.join(_FORMATS)}; got {file.name!r}")
    if file.suffix.lower() == ".html" and find_spec("plotly") is None:
        raise ConfigError("a picture as .html needs the package plotly: pip install 'lem-models[plotly]', or take .png")
    check_file(file)


def write_picture(explanation: Explanation, path: str | os.PathLike[str], *, theme: Theme = "light") -> Path:
    """Write the picture, complete or not at all; a page in HTML holds its script and needs no network.

    Args:
        explanation: The explanation.
        path: A .png, .svg, .pdf or .html file.
        theme: Page that it is made for.

    Returns:
        The path.

    Raises:
        ConfigError: See :func:`check_picture`.
    """
    check_picture(path)
    file, chart = Path(path), explanation_chart(explanation)
    kind = file.suffix.lower()
    if kind == ".html":
        return write_text(file, plotly_figure(chart, theme).to_html(include_plotlyjs=True))
    figure = matplotlib_figure(chart, theme)
    if kind == ".png":
        return write_bytes(file, figure_to_png_bytes(figure, page=figure.page))
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind[1:], facecolor=figure.page)
    return write_bytes(file, buffer.getvalue())
