"""Style of the figures: colours for light and dark pages, a style per policy, axes, legends, and images.

Figures use the object interface of matplotlib: no window, no pyplot, no global state. A policy has the same colour in
every figure, and its own marker and dash, so that its line is distinct in grey print. Colours follow
Okabe and Ito, "Color universal design" (2008), shifted in lightness per theme.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lem_models.errors import ConfigError
from lem_models.statistics.summary import Unit

__all__ = [
    "NULL_DASH",
    "UNIT_LABELS",
    "Ink",
    "PageFigure",
    "PolicyStyle",
    "Theme",
    "dress",
    "empty_figure",
    "figure_to_data_uris",
    "figure_to_png_bytes",
    "ink_of",
    "legend_above",
    "mark",
    "plain_axes",
    "policy_styles",
    "themed",
]

Theme = Literal["light", "dark"]
"""Page that a figure is made for."""


@dataclass(frozen=True)
class PolicyStyle:
    """How one policy is drawn, in every figure of a theme.

    Attributes:
        colour: Line and fill colour.
        marker: Marker of its points.
        dash: Line style.
    """

    colour: str
    marker: str
    dash: str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Ink:
    """Colours of a theme that belong to no policy."""

    text: str
    muted: str
    grid: str
    page: str
    accents: tuple[str, ...]
    baselines: Mapping[str, str]


_INKS: Mapping[Theme, Ink] = {
    "light": Ink(
        text="#1c2430",
        muted="#667085",
        grid="#e3e7ed",
        page="#ffffff",
        accents=("#0b62a8", "#00806a", "#b3261e", "#7a5195", "#4d7c0f"),
        baselines={"twap": "#7b8794", "volume_curve": "#c07a00", "stopping_rule": "#b0447f"},
    ),
    "dark": Ink(
        text="#e6eaf0",
        muted="#98a2b3",
        grid="#2c3541",
        page="#12171e",
        accents=("#5fb3f0", "#3fcfae", "#ff8a80", "#c3a5e6", "#a7d15a"),
        baselines={"twap": "#9aa5b1", "volume_curve": "#f0b040", "stopping_rule": "#ee8fc0"},
    ),
}
_BASELINE_MARKS: Mapping[str, tuple[str, str | tuple[float, tuple[float, ...]]]] = {
    "twap": ("s", (0, (1, 1.2))),
    "volume_curve": ("^", (0, (3, 1, 1, 1))),
    "stopping_rule": ("D", (0, (5, 1.5))),
}
_ACCENT_MARKERS = "ovPX*"
_ROW, _ROW_INCHES = 108, 7.2
"""Letters that fit into a row of a legend, and the width of the figure in which they do."""
NULL_DASH: tuple[float, tuple[float, ...]] = (0, (4, 3))
UNIT_LABELS: Mapping[Unit, str] = {"bps": "bps", "vol": "bar volatilities"}


def policy_styles(policies: Iterable[str], theme: Theme = "light") -> dict[str, PolicyStyle]:
    """Style of each policy: the known baselines have fixed ones, the others take the accents in sequence.

    Args:
        policies: Names of the policies.
        theme: Page that the figure is made for.

    Returns:
        Style by name, in the sequence of ``policies``.

    Raises:
        ConfigError: If the theme is unknown.
    """
    ink = ink_of(theme)
    styles: dict[str, PolicyStyle] = {}
    accent = 0
    for policy in dict.fromkeys(policies):
        if policy in ink.baselines:
            marker, dash = _BASELINE_MARKS[policy]
            styles[policy] = PolicyStyle(ink.baselines[policy], marker, dash)
        else:
            position = accent % len(ink.accents)
            styles[policy] = PolicyStyle(ink.accents[position], _ACCENT_MARKERS[position], "-")
            accent += 1
    return styles


def ink_of(theme: Theme) -> Ink:
    """Colours of a theme."""
    if theme not in _INKS:
        raise ConfigError(f"the theme of a figure is 'light' or 'dark', got {theme!r}")
    return _INKS[theme]


class PageFigure(Figure):
    """A figure with a transparent background that a notebook shows on the page of its theme.

    A figure made without pyplot has no picture of its own in a notebook.
    """

    page: str = "white"

    def _repr_png_(self) -> bytes:
        """The picture for a notebook, on the page of its theme."""
        return figure_to_png_bytes(self, dpi=110, page=self.page)


def empty_figure(width: float, height: float, ink: Ink | None = None) -> PageFigure:
    """Empty figure with a transparent background.

    Args:
        width: Inches.
        height: Inches.
        ink: Colours of its theme: a notebook shows it on that page; ``None`` for a white one.
    """
    figure = PageFigure(figsize=(width, height), layout="constrained")
    figure.patch.set_facecolor("none")
    figure.page = "white" if ink is None else ink.page
    return figure


def plain_axes(figure: Figure, ink: Ink) -> Axes:
    """The one pair of axes of a figure, dressed."""
    axes = figure.subplots()
    dress(axes, ink)
    return axes


def dress(axes: Axes, ink: Ink) -> None:
    """Format axes: horizontal grid, no box, muted ticks."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(ink.muted)
    axes.grid(visible=True, axis="y", color=ink.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=ink.muted, labelsize=9, length=3, width=0.8)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.label.set_color(ink.text)
    axes.yaxis.label.set_color(ink.text)
    axes.xaxis.label.set_fontsize(9.5)
    axes.yaxis.label.set_fontsize(9.5)


def legend_above(figure: Figure, ink: Ink) -> None:
    """Put the legend of all axes above the figure."""
    entries = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = [handle for some, _ in entries for handle in some]
    labels = [label for _, some in entries for label in some]
    if handles:
        widths = [len(label) + 7 for label in labels]  # in letters
        row = min(_ROW, int(_ROW / _ROW_INCHES * figure.get_figwidth()))
        columns = (
            len(widths) if sum(widths) <= row else 3 if 3 * max(widths) <= row else 2 if 2 * max(widths) <= row else 1
        )
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=columns,
            frameon=False,
            fontsize=8.5,
            labelcolor=ink.text,
            handlelength=2.4,
            columnspacing=1.6,
        )


def mark(axes: Axes, ink: Ink, x: float, text: str | None = None, *, low: bool = False, left: bool = False) -> None:
    """Draw a vertical line with a small label at its top, or a little lower; right or left of it."""
    axes.axvline(x, color=ink.text, linewidth=0.9, linestyle=(0, (2, 2)), zorder=2)
    if text:
        axes.annotate(
            text,
            (x, 0.93 if low else 0.995),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-4 if left else 4, 0),
            textcoords="offset points",
            color=ink.text,
            fontsize=8,
            ha="right" if left else "left",
            va="top",
        )


def figure_to_png_bytes(figure: Figure, *, dpi: int = 160, page: str = "white") -> bytes:
    """Render a figure as PNG.

    Args:
        figure: The figure.
        dpi: Dots per inch.
        page: Colour of the page behind it.

    Returns:
        The file's content, the same bytes for figures made from the same numbers.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=page, metadata={"Software": None})
    return buffer.getvalue()


def figure_to_data_uris(figure: Figure) -> tuple[str, str]:
    """Render a figure made for a light page as SVG, in ``data:`` URIs for a light page and for a dark one.

    The dark variant is the same drawing in the colours of the dark theme: it is not drawn twice. Letters are drawn as
    paths, so that the figure looks the same without our fonts. Figures made from the same numbers give the same URIs.
    The layout is computed here, and stays for later renderings of the figure.
    """
    buffer, layout = io.StringIO(), figure.get_layout_engine()
    with mpl.rc_context({"svg.hashsalt": "lem-models", "svg.fonttype": "path"}):
        if layout is not None:
            # Left to savefig, the layout costs a whole drawing that is thrown away.
            FigureCanvasSVG(figure)
            layout.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
    light = buffer.getvalue()
    dark = _COLOUR.sub(lambda colour: _DARK.get(colour[0], colour[0]), light)
    uris = (f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}" for svg in (light, dark))
    return next(uris), next(uris)


_COLOUR = re.compile(r"#[0-9a-f]{6}\b")


def _colours(theme: Theme) -> tuple[str, ...]:
    """Every colour of a theme, in one sequence."""
    ink = _INKS[theme]
    return (ink.text, ink.muted, ink.grid, ink.page, *ink.accents, *ink.baselines.values())


def themed(colour: str, theme: Theme) -> str:
    """A colour of the light theme in a theme; colours of no theme stay."""
    ink_of(theme)
    return _DARK.get(colour, colour) if theme == "dark" else colour


_DARK = dict(zip(_colours("light"), _colours("dark"), strict=True))
"""Colour of the dark theme in place of each colour of the light one."""
