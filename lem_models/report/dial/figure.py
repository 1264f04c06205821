"""Mean against standard deviation of the improvement, as the risk aversion changes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lem_models.report.figure_style import (
    UNIT_LABELS,
    Theme,
    dress,
    empty_figure,
    ink_of,
    legend_above,
    policy_styles,
)
from lem_models.statistics.summary import Unit

__all__ = ["risk_dial"]

_SAME = 1e-9


def risk_dial(
    points: pd.DataFrame,
    models: Collection[str],
    *,
    unit: Unit = "vol",
    chosen: float | None = None,
    panel: tuple[float, float] = (4.3, 3.9),
    theme: Theme = "light",
) -> Figure:
    """Mean against standard deviation, a panel per minimum: curves for what has a dial, points for what has none.

    Args:
        points: Rows of :func:`~lem_models.evaluation.risk_dial.dial_point`.
        models: Policies that are drawn above the others.
        unit: Unit of both axes.
        chosen: Risk aversion whose point of the models is ringed.
        panel: Width and height of a panel, in inches.
        theme: Page that the figure is made for.

    Returns:
        The figure; up and left is better. Bars are 95 % intervals, of the standard deviation in bar volatilities only.
    """
    ink, minima = ink_of(theme), sorted(points["min_periods"].unique())
    styles = policy_styles(dict.fromkeys(points["policy"]), theme)
    figure = empty_figure(panel[0] * len(minima), panel[1])
    panels = figure.subplots(1, len(minima), squeeze=False, sharey=True)[0]
    for axes, minimum in zip(panels, minima, strict=True):
        dress(axes, ink)
        axes.grid(visible=True, axis="x", color=ink.grid, linewidth=0.8)
        for policy, own in points[points["min_periods"] == minimum].groupby("policy", sort=False):
            own = own.sort_values("risk_aversion")
            style, has_dial = styles[str(policy)], len(own) > 1
            x, y = own[f"std_{unit}"].to_numpy(), own[f"mean_{unit}"].to_numpy()
            spread = {"yerr": _ends(own, y, f"low_{unit}", f"high_{unit}")}
            if f"std_low_{unit}" in own:
                spread["xerr"] = _ends(own, x, f"std_low_{unit}", f"std_high_{unit}")
            axes.errorbar(
                *(x, y),
                **spread,
                color=style.colour,
                marker=style.marker,
                markersize=4.5 if has_dial else 6.5,
                linestyle=style.dash if has_dial else "none",
                linewidth=1.6,
                elinewidth=0.6,
                ecolor=(style.colour, 0.55),
                label=str(policy) if axes is panels[0] else None,
                zorder=4 if policy in models else 3,
            )
            if has_dial:
                for at in (0, -1):
                    _label(axes, x[at], y[at], f"λ {own['risk_aversion'].iloc[at]:g}", style.colour)
            if chosen is not None and policy in models:
                ringed = np.flatnonzero(np.abs(own["risk_aversion"] - chosen) < _SAME)
                axes.plot(x[ringed], y[ringed], "o", markersize=13, markerfacecolor="none", color=ink.text, zorder=6)
        title = f"minimum {minimum}" if len(minima) > 1 else f"minimum duration: {minimum} {_bars(minimum)}"
        axes.set_title(title, fontsize=9.5, color=ink.text, loc="left")
        axes.set_xlabel(f"standard deviation ({UNIT_LABELS[unit]})")
        axes.axhline(0.0, color=ink.muted, linewidth=0.9, zorder=1)
    panels[0].set_ylabel(f"mean improvement ({UNIT_LABELS[unit]})")
    legend_above(figure, ink)
    return figure


def _bars(number: int) -> str:
    return "bar" if number == 1 else "bars"


def _ends(own: pd.DataFrame, value: np.ndarray, low: str, high: str) -> list[np.ndarray]:
    """Lengths of error bars, both ends; rounding may put an end beyond the value."""
    return [np.maximum(value - own[low].to_numpy(), 0.0), np.maximum(own[high].to_numpy() - value, 0.0)]


def _label(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """Text right above a point, clear of its error bars."""
    axes.annotate(text, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7.5, color=colour)
