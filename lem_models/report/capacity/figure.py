"""The capacity curve as a figure: net improvement against the size of the order, one line per policy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from lem_models.report.capacity.table import AGAINST_LABELS, size_text
from lem_models.report.figure_style import Theme, dress, empty_figure, ink_of, legend_above, policy_styles

__all__ = ["capacity_figure"]

_PANELS = ("full_vwap", "own")


def capacity_figure(curve: pd.DataFrame, *, theme: Theme = "light") -> Figure:
    """Net improvement against the size, with its interval: against the full-horizon VWAP and the own benchmark.

    Args:
        curve: Table of :func:`~lem_models.evaluation.capacity.capacity_curve`, one group of it.
        theme: Page that the figure is made for.

    Returns:
        The figure. The axis of sizes is that of their square roots, on which the impact is a straight line.
    """
    ink, figure = ink_of(theme), empty_figure(7.2, 4.2)
    panels = figure.subplots(1, 2, sharey=True)
    sizes = sorted(curve["size"].dropna().unique())
    for axes, price in zip(panels, _PANELS, strict=True):
        dress(axes, ink)
        for policy, style in policy_styles(curve["policy"], theme).items():
            rows = curve[(curve["policy"] == policy) & (curve["against"] == price)].sort_values("size")
            root = np.sqrt(rows["size"].to_numpy(dtype=float))
            mean, low, high = (rows[f"{name}_bps"].to_numpy(dtype=float) for name in ("net", "low", "high"))
            axes.fill_between(root, low, high, color=style.colour, alpha=0.12, linewidth=0)
            label = policy if price == _PANELS[0] else None
            axes.plot(root, mean, color=style.colour, marker=style.marker, linestyle=style.dash, label=label)
        axes.axhline(0.0, color=ink.muted, linewidth=0.9, zorder=1)
        axes.set_title(f"against the {AGAINST_LABELS[price]}", color=ink.text, fontsize=9.5, loc="left")
        shown = _apart(np.sqrt(sizes))
        axes.set_xticks(np.sqrt(sizes)[shown], [size_text(sizes[place]) for place in shown])
    figure.supxlabel("size, of the volume expected over the maximum duration", color=ink.text, fontsize=9.5)
    panels[0].set_ylabel("mean net improvement (bps)")
    legend_above(figure, ink)
    return figure


def _apart(places: npt.NDArray[np.float64]) -> list[int]:
    """Numbers of the places that have room for a label: the last, and those before it that are not too near."""
    room = 0.09 * float(np.ptp(places)) if len(places) else 0.0
    shown: list[int] = []
    for number in reversed(range(len(places))):
        if not shown or places[shown[-1]] - places[number] >= room:
            shown.append(number)
    return shown[::-1]
