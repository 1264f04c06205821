"""Figures of executed orders: improvement, performance curves, frontier, distribution, completion.

Every function takes tables of :mod:`lem_models.statistics.summary`, or the orders of results, and returns a figure for
a light or a dark page. Its background is transparent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lem_models.report.charts.chart import Chart, Drawn, Mark, Panel, Points, Stairs
from lem_models.report.charts.matplotlib_chart import matplotlib_figure
from lem_models.report.figure_style import (
    NULL_DASH,
    UNIT_LABELS,
    Theme,
    dress,
    empty_figure,
    ink_of,
    legend_above,
    mark,
    plain_axes,
    policy_styles,
)
from lem_models.statistics.summary import Unit, improvement

__all__ = [
    "completion",
    "distribution_panel",
    "frontier",
    "improvement_by_minimum",
    "improvement_distribution",
    "performance_curves",
]


def improvement_by_minimum(
    comparison: pd.DataFrame,
    null: pd.DataFrame | None = None,
    *,
    unit: Unit = "vol",
    theme: Theme = "light",
) -> Figure:
    """Mean improvement with its interval against the minimum duration, one line per policy.

    Args:
        comparison: Table of ``statistics.compare(results, by="min_periods")``.
        null: Table of ``statistics.null_split(..., by="min_periods")`` of the first policy, drawn as a dashed line.
        unit: Unit of the improvement.
        theme: Page that the figure is made for.

    Returns:
        The figure.
    """
    ink = ink_of(theme)
    figure = empty_figure(7.2, 4.2, ink)
    axes = plain_axes(figure, ink)
    styles = policy_styles(comparison["policy"], theme)
    for policy, style in styles.items():
        table = comparison[comparison["policy"] == policy].sort_values("min_periods")
        minimum = table["min_periods"].to_numpy(dtype=float)
        mean, low, high = (table[f"{name}_{unit}"].to_numpy(dtype=float) for name in ("mean", "low", "high"))
        axes.fill_between(minimum, low, high, color=style.colour, alpha=0.16, linewidth=0)
        axes.plot(minimum, mean, color=style.colour, marker=style.marker, linestyle=style.dash, label=policy)
    if null is not None:
        table = null.sort_values("min_periods")
        minimum = table["min_periods"].to_numpy(dtype=float)
        colour = next(iter(styles.values())).colour
        low, high = (table[f"option_{end}_{unit}"].to_numpy(dtype=float) for end in ("low", "high"))
        axes.fill_between(minimum, low, high, color=colour, alpha=0.08, linewidth=0)
        axes.plot(
            minimum, table[f"option_{unit}"], color=colour, linestyle=NULL_DASH, linewidth=1.3, label="martingale null"
        )
    axes.axhline(0.0, color=ink.muted, linewidth=0.9, zorder=1)
    axes.set_xticks(sorted(comparison["min_periods"].unique()))
    axes.set_xlabel("minimum duration (periods)")
    axes.set_ylabel(f"mean improvement ({UNIT_LABELS[unit]})")
    legend_above(figure, ink)
    return figure


def performance_curves(
    comparison: pd.DataFrame, split: pd.DataFrame | None = None, *, theme: Theme = "light"
) -> Figure:
    """Improvement against the minimum duration, a panel per policy: mean, its interval, and the spread of the orders.

    Args:
        comparison: Table of ``statistics.compare(results, by="min_periods")``.
        split: Table of ``statistics.null_split(..., by="min_periods")``: option value as a dashed line in the panel of
            its column ``policy``, or of the first policy without one.
        theme: Page that the figure is made for.

    Returns:
        The figure, all panels on one scale: the light band holds the central 90 % of the orders.
    """
    ink = ink_of(theme)
    styles = policy_styles(comparison["policy"], theme)
    down = -(-len(styles) // 5)
    across = -(-len(styles) // down)
    figure = empty_figure(14.0, 3.4 * down, ink)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (policy, style) in zip(panels, styles.items(), strict=False):
        dress(axes, ink)
        table = comparison[comparison["policy"] == policy].sort_values("min_periods")
        minimum = table["min_periods"].to_numpy(dtype=float)
        mean, low, high, q05, q95 = (
            table[f"{name}_bps"].to_numpy(dtype=float) for name in ("mean", "low", "high", "q05", "q95")
        )
        axes.fill_between(minimum, q05, q95, color=style.colour, alpha=0.13, linewidth=0)
        axes.fill_between(minimum, low, high, color=style.colour, alpha=0.35, linewidth=0)
        axes.plot(minimum, mean, color=style.colour, marker=style.marker, linewidth=1.8)
        if split is not None:
            own = policy == (next(iter(styles)) if "policy" not in split else policy)
            option = split[split["policy"] == policy] if "policy" in split else split
            if own and len(option):
                option = option.sort_values("min_periods")
                axes.plot(
                    option["min_periods"], option["option_bps"], color=ink.text, linestyle=NULL_DASH, linewidth=1.2
                )
        axes.axhline(0.0, color=ink.muted, linewidth=0.9, zorder=1)
        axes.set_title(policy, color=ink.text, fontsize=10, fontweight="bold", loc="left")
        axes.set_xticks(sorted(comparison["min_periods"].unique()))
    for axes in panels[len(styles) :]:
        axes.set_visible(False)
    figure.supxlabel("minimum duration (periods)", color=ink.text, fontsize=9.5)
    figure.supylabel("improvement (bps)", color=ink.text, fontsize=9.5)
    return figure


def frontier(comparison: pd.DataFrame, *, unit: Unit = "vol", theme: Theme = "light") -> Figure:
    """Mean against standard deviation of the improvement, by policy and minimum duration: up and left is better.

    Args:
        comparison: Table of ``statistics.compare(results, by="min_periods")``.
        unit: Unit of both axes.
        theme: Page that the figure is made for.

    Returns:
        The figure; the number at a point is the minimum duration.
    """
    ink = ink_of(theme)
    figure = empty_figure(7.2, 4.2, ink)
    axes = plain_axes(figure, ink)
    spread = [max(float(np.ptp(comparison[f"{name}_{unit}"].dropna())), 1e-9) for name in ("std", "mean")]
    for policy, style in policy_styles(comparison["policy"], theme).items():
        table = comparison[comparison["policy"] == policy].sort_values("min_periods")
        std, mean = table[f"std_{unit}"].to_numpy(dtype=float), table[f"mean_{unit}"].to_numpy(dtype=float)
        low, high = table[f"low_{unit}"].to_numpy(dtype=float), table[f"high_{unit}"].to_numpy(dtype=float)
        axes.vlines(std, low, high, color=style.colour, linewidth=1.2, alpha=0.7)
        axes.plot(std, mean, color=style.colour, marker=style.marker, linestyle="-", linewidth=0.8, label=policy)
        last: tuple[float, float] | None = None
        for x, y, minimum in zip(std / spread[0], mean / spread[1], table["min_periods"], strict=True):
            if last is not None and abs(x - last[0]) + abs(y - last[1]) < 0.06:
                continue  # one label for points on top of each other (a policy that cannot choose its end)
            last = (x, y)
            axes.annotate(
                f"{minimum}",
                (x * spread[0], y * spread[1]),
                xytext=(7, 4),
                textcoords="offset points",
                color=style.colour,
                fontsize=8.5,
            ).set_path_effects([withStroke(linewidth=2.5, foreground=ink.page)])
    axes.axhline(0.0, color=ink.muted, linewidth=0.9, zorder=1)
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel(f"standard deviation of the improvement ({UNIT_LABELS[unit]})")
    axes.set_ylabel(f"mean improvement ({UNIT_LABELS[unit]})")
    legend_above(figure, ink)
    return figure


def improvement_distribution(
    results: Mapping[str, pd.DataFrame],
    *,
    min_periods: int | None = None,
    unit: Unit = "vol",
    theme: Theme = "light",
) -> Figure:
    """Distribution of the improvement per policy as a figure of matplotlib; see :func:`distribution_panel`."""
    return matplotlib_figure(Chart([[distribution_panel(results, min_periods=min_periods, unit=unit)]]), theme)


def distribution_panel(
    results: Mapping[str, pd.DataFrame], *, min_periods: int | None = None, unit: Unit = "vol"
) -> Panel:
    """Distribution of the improvement per policy, as densities over common bins, with the means marked.

    Args:
        results: Orders table of each policy.
        min_periods: Minimum duration of the orders shown; ``None`` for all.
        unit: Unit of the improvement.

    Returns:
        A panel; the axis spans the central 99 % of all orders, and the legend gives the share outside.
    """
    samples = {policy: improvement(_at(orders, min_periods), unit).dropna() for policy, orders in results.items()}
    pooled = np.concatenate([sample.to_numpy() for sample in samples.values()] or [np.zeros(0)])
    low, high = np.quantile(pooled, [0.005, 0.995]) if pooled.size else (-1.0, 1.0)
    low, high = (low, high) if high - low > 1e-9 else (low - 1.0, high + 1.0)
    fewest = min((len(sample) for sample in samples.values() if len(sample)), default=0)
    edges = np.linspace(low, high, int(np.clip(2 * np.sqrt(fewest), 12, 60)) + 1)
    drawn: list[Drawn] = []
    peaks: list[float] = []
    for position, (policy, style) in enumerate(policy_styles(results).items()):
        sample = samples[policy].to_numpy()
        if not sample.size:
            continue
        inside, _ = np.histogram(sample, edges)
        density = inside / (sample.size * (edges[1] - edges[0]))
        outside = 100.0 * (1.0 - inside.sum() / sample.size)
        label = f"{policy} ({outside:.1f} % outside)" if outside >= 0.05 else policy
        drawn.append(Stairs(density, edges, style.colour, label, fill=0.0 if position else 0.15))
        drawn.append(Points([sample.mean()], [0.0], [64.0], style.colour, opacity=1.0, marker="^"))
        peaks.append(float(density.max()))
    # A policy that equals its benchmark is a spike at 0. It may leave the axis, so that it does not flatten the rest.
    top = min(max(peaks), 1.8 * float(np.median(peaks))) * 1.08 if peaks else 1.0
    return Panel(
        [*drawn, Mark(0.0)],
        x_label=f"improvement of an order ({UNIT_LABELS[unit]}); triangles: means",
        y_label="density",
        y_format="none",
        x_limits=(float(low), float(high)),
        y_limits=(0.0, top),
    )


def completion(
    results: Mapping[str, pd.DataFrame], *, min_periods: int | None = None, theme: Theme = "light"
) -> Figure:
    """Share of orders complete after each period, per policy; an order left incomplete never counts.

    Args:
        results: Orders table of each policy.
        min_periods: Minimum duration of the orders shown (marked in the figure); ``None`` for all.
        theme: Page that the figure is made for.

    Returns:
        The figure; the legend gives the mean number of periods used and the share completed.
    """
    ink = ink_of(theme)
    figure = empty_figure(7.2, 4.2, ink)
    axes = plain_axes(figure, ink)
    tables = {policy: _at(orders, min_periods) for policy, orders in results.items()}
    longest = max((int(orders["max_periods"].max()) for orders in tables.values() if len(orders)), default=1)
    periods = np.arange(longest + 1)
    for policy, style in policy_styles(results, theme).items():
        orders = tables[policy]
        if orders.empty:
            continue
        used = orders["periods_used"].to_numpy(dtype=float)
        done = orders["completed"].to_numpy(dtype=bool)
        share = [float((done & (used <= period)).mean()) for period in periods]
        label = f"{policy}: {used.mean():.1f} periods, {100.0 * done.mean():.4g} % done"
        axes.step(
            periods, share, where="post", color=style.colour, linestyle=style.dash, marker=style.marker, label=label
        )
    if min_periods is not None:
        mark(axes, ink, min_periods, "minimum")
    axes.set_xlim(-0.2, longest + 0.4)
    axes.set_ylim(-0.02, 1.06)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("periods used")
    axes.set_ylabel("orders complete")
    legend_above(figure, ink)
    return figure


def _at(orders: pd.DataFrame, min_periods: int | None) -> pd.DataFrame:
    """Orders with one minimum duration, or all of them."""
    chosen: pd.DataFrame = orders if min_periods is None else orders[orders["min_periods"] == min_periods]
    return chosen
