"""The capacity curve as a figure: net improvement against the size of the order, one line per policy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from lem_models.report.capacity.table import AGAINST_LABELS, size_text
from lem_models.report.charts.chart import Bands, Chart, Drawn, Level, Line, Panel
from lem_models.report.charts.matplotlib_chart import matplotlib_figure
from lem_models.report.figure_style import Theme, policy_styles

__all__ = ["capacity_figure", "capacity_panels"]

_PANELS = ("full_vwap", "own")


def capacity_figure(curve: pd.DataFrame, *, theme: Theme = "light") -> Figure:
    """The capacity curve as a figure of matplotlib; see :func:`capacity_panels`."""
    return matplotlib_figure(
        Chart(
            [capacity_panels(curve)],
            share_y=True,
            x_label="size, of the volume expected over the maximum duration",
        ),
        theme,
    )


def capacity_panels(curve: pd.DataFrame) -> list[Panel]:
    """Net improvement against the size, with its interval: against the full-horizon VWAP and the own benchmark.

    Args:
        curve: Table of :func:`~lem_models.evaluation.capacity.capacity_curve`, one group of it.

    Returns:
        Two panels. The axis of sizes is that of their square roots, on which the impact is a straight line.
    """
    sizes = sorted(curve["size"].dropna().unique())
    shown = _apart(np.sqrt(sizes))
    panels: list[Panel] = []
    for price in _PANELS:
        drawn: list[Drawn] = []
        for policy, style in policy_styles(curve["policy"]).items():
            rows = curve[(curve["policy"] == policy) & (curve["against"] == price)].sort_values("size")
            root = np.sqrt(rows["size"].to_numpy(dtype=float))
            mean, low, high = (rows[f"{name}_bps"].to_numpy(dtype=float) for name in ("net", "low", "high"))
            label = policy if price == _PANELS[0] else ""
            drawn.append(Bands(root, low, high, style.colour, 0.12))
            drawn.append(Line(root, mean, style.colour, label, dash=style.dash, marker=style.marker))
        panels.append(
            Panel(
                [*drawn, Level(0.0)],
                title=f"against the {AGAINST_LABELS[price]}",
                y_label="" if panels else "mean net improvement (bps)",
                x_ticks=(np.sqrt(sizes)[shown], [size_text(sizes[place]) for place in shown]),
            )
        )
    return panels


def _apart(places: npt.NDArray[np.float64]) -> list[int]:
    """Numbers of the places that have room for a label: the last, and those before it that are not too near."""
    room = 0.09 * float(np.ptp(places)) if len(places) else 0.0
    shown: list[int] = []
    for number in reversed(range(len(places))):
        if not shown or places[shown[-1]] - places[number] >= room:
            shown.append(number)
    return shown[::-1]
