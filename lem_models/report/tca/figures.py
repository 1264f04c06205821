"""Figures of a transaction cost analysis: the causes, and the progress of an order against the market's volume."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lem_models.report.figure_style import Theme, dress, empty_figure, ink_of, legend_above, plain_axes, policy_styles
from lem_models.report.numbers import number_text
from lem_models.report.tca.tables import CAUSE_LABELS

__all__ = ["causes_figure", "progress_figure"]


def causes_figure(causes: pd.DataFrame, *, theme: Theme = "light") -> Figure:
    """Slippage by cause as a waterfall: each cause begins where the one before ends, and the last bar is their sum.

    Args:
        causes: Table ``causes`` of an analysis.
        theme: Page that the figure is made for.
    """
    ink = ink_of(theme)
    figure = empty_figure(7.2, 3.4, ink)
    axes = plain_axes(figure, ink)
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x", color=ink.grid, linewidth=0.8)
    shown = causes[(causes["money"] != 0) | causes["cause"].isin(["timing", "price", "total"])]
    value = np.nan_to_num(shown["value_mean"].to_numpy(dtype=float))
    begin = np.concatenate([[0.0], np.cumsum(value[:-1])])
    begin[-1] = 0.0  # of the total
    good, bad = ink.accents[1], ink.accents[2]
    place = np.arange(len(shown))
    axes.barh(place, value, left=begin, height=0.6, color=[bad if each > 0 else good for each in value])
    ends = begin + value
    for row in range(len(value) - 1):
        axes.plot([ends[row]] * 2, [row - 0.3, row + 1.3], color=ink.muted, linewidth=0.8)
    for row, (left, width) in enumerate(zip(begin, value, strict=True)):
        axes.annotate(
            number_text(f"{width:+.2f}"),
            (max(left, left + width), row),
            xytext=(5, 0),
            textcoords="offset points",
            color=ink.text,
            fontsize=9,
            va="center",
        )
    axes.axvline(0.0, color=ink.muted, linewidth=0.9)
    axes.set_yticks(place, [CAUSE_LABELS[cause] for cause in shown["cause"]])
    axes.invert_yaxis()
    axes.margins(x=0.16)
    axes.set_xlabel("bps of the money traded, positive is a cost")
    return figure


def progress_figure(periods: pd.DataFrame, *, theme: Theme = "light") -> Figure:
    """What was filled and wanted, the volume of the market, expected and real, and other weights of the benchmark.

    Args:
        periods: Table ``periods_of`` of an analysis.
        theme: Page that the figure is made for.
    """
    ink = ink_of(theme)
    figure = empty_figure(7.2, 3.4, ink)
    axes = figure.subplots()
    dress(axes, ink)
    period = np.concatenate([[0], periods["period"].to_numpy() + 1])

    def summed(name: str) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(periods[name].to_numpy(dtype=float))])

    colour = policy_styles(["model"], theme)["model"].colour
    traded = np.concatenate([[0.0], np.cumsum(periods["volume"].to_numpy(dtype=float))])
    traded /= max(traded[-1], 1e-300)
    weights = summed("benchmark")
    if weights[-1] > 0 and not np.allclose(weights, traded):
        axes.plot(period, weights, color=ink.accents[1], linestyle=(0, (3, 1, 1, 1)), label="benchmark's weights")
    axes.plot(period, traded, color=ink.muted, linewidth=1.1, label="market's volume")
    if periods["expected"].notna().all():
        amber = ink.baselines["volume_curve"]
        axes.plot(period, summed("expected"), color=amber, linestyle=(0, (5, 1.5)), label="expected volume")
    if periods["wanted"].notna().any():
        axes.plot(period, summed("wanted"), color=ink.accents[3], linestyle=(0, (1, 1.2)), label="wanted")
    axes.plot(period, summed("filled"), color=colour, linewidth=2.0, label="filled")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("so far")
    axes.set_xlabel("bars of the order")
    legend_above(figure, ink)
    return figure
