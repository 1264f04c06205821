"""Figures of executed orders: improvement, frontier, distribution, completion, and one order bar by bar.

Every function takes tables (of :mod:`lem_models.evaluation.statistics`, or orders and schedule of a result) and returns
a ``matplotlib.figure.Figure`` for a light or a dark page; its background is transparent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from lem_models.errors import ConfigError
from lem_models.evaluation.figure_style import (
    NULL_DASH,
    UNIT_LABELS,
    Ink,
    Theme,
    dress,
    empty_figure,
    ink_of,
    legend_above,
    plain_axes,
    policy_styles,
)
from lem_models.evaluation.statistics import Unit, improvement

__all__ = [
    "completion",
    "execution",
    "frontier",
    "improvement_by_minimum",
    "improvement_distribution",
]


def improvement_by_minimum(
    comparison: pd.DataFrame,
    null: pd.DataFrame | None = None,
    *,
    unit: Unit = "vol",
    theme: Theme = "light",
    null_label: str = "martingale null",
) -> Figure:
    """Mean improvement with its interval against the minimum duration, one line per policy.

    Args:
        comparison: Table of ``statistics.compare(results, by="min_periods")``.
        null: Table of ``statistics.null_split(..., by="min_periods")`` of the first policy, drawn as a dashed line.
        unit: Unit of the improvement.
        theme: Page that the figure is made for.
        null_label: Name of the null in the legend.

    Returns:
        The figure.
    """
    ink, figure = ink_of(theme), empty_figure(7.2, 4.2)
    axes = plain_axes(figure, ink)
    styles = policy_styles(comparison["policy"], theme)
    for policy, style in styles.items():
        table = comparison[comparison["policy"] == policy].sort_values("min_periods")
        minimum = table["min_periods"].to_numpy(dtype=float)
        mean, low, high = (table[f"{part}_{unit}"].to_numpy(dtype=float) for part in ("mean", "low", "high"))
        axes.fill_between(minimum, low, high, color=style.colour, alpha=0.16, linewidth=0)
        axes.plot(minimum, mean, color=style.colour, marker=style.marker, linestyle=style.dash, label=policy)
    if null is not None:
        table = null.sort_values("min_periods")
        minimum = table["min_periods"].to_numpy(dtype=float)
        colour = next(iter(styles.values())).colour
        low, high = (table[f"option_{end}_{unit}"].to_numpy(dtype=float) for end in ("low", "high"))
        axes.fill_between(minimum, low, high, color=colour, alpha=0.08, linewidth=0)
        axes.plot(minimum, table[f"option_{unit}"], color=colour, linestyle=NULL_DASH, linewidth=1.3, label=null_label)
    axes.axhline(0.0, color=ink.muted, linewidth=0.9, zorder=1)
    axes.set_xticks(sorted(comparison["min_periods"].unique()))
    axes.set_xlabel("minimum duration (periods)")
    axes.set_ylabel(f"mean improvement ({UNIT_LABELS[unit]})")
    legend_above(figure, ink)
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
    ink, figure = ink_of(theme), empty_figure(7.2, 4.2)
    axes = plain_axes(figure, ink)
    spread = [max(float(np.ptp(comparison[f"{part}_{unit}"].dropna())), 1e-9) for part in ("std", "mean")]
    for policy, style in policy_styles(comparison["policy"], theme).items():
        table = comparison[comparison["policy"] == policy].sort_values("min_periods")
        std, mean = table[f"std_{unit}"].to_numpy(dtype=float), table[f"mean_{unit}"].to_numpy(dtype=float)
        low, high = table[f"low_{unit}"].to_numpy(dtype=float), table[f"high_{unit}"].to_numpy(dtype=float)
        axes.vlines(std, low, high, color=style.colour, linewidth=1.2, alpha=0.7)
        axes.plot(std, mean, color=style.colour, marker=style.marker, linestyle="-", linewidth=0.8, label=policy)
        last: tuple[float, float] | None = None
        for x, y, minimum in zip(std / spread[0], mean / spread[1], table["min_periods"], strict=True):
            if last is not None and abs(x - last[0]) + abs(y - last[1]) < 0.06:
                continue  # points on top of each other (a policy without a choice of the end): one number is enough
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
    bins: int = 60,
) -> Figure:
    """Distribution of the improvement per policy, as densities over common bins, with the means marked.

    Args:
        results: Orders table of each policy.
        min_periods: Minimum duration of the orders shown; ``None`` for all.
        unit: Unit of the improvement.
        theme: Page that the figure is made for.
        bins: Number of bins.

    Returns:
        The figure; the axis spans the central 99 % of all orders, and the legend counts what lies outside.
    """
    ink, figure = ink_of(theme), empty_figure(7.2, 4.2)
    axes = plain_axes(figure, ink)
    samples = {policy: improvement(_at(orders, min_periods), unit).dropna() for policy, orders in results.items()}
    pooled = np.concatenate([sample.to_numpy() for sample in samples.values()] or [np.zeros(0)])
    low, high = np.quantile(pooled, [0.005, 0.995]) if pooled.size else (-1.0, 1.0)
    low, high = (low, high) if high - low > 1e-9 else (low - 1.0, high + 1.0)
    edges = np.linspace(low, high, bins + 1)
    peaks: list[float] = []
    for position, (policy, style) in enumerate(policy_styles(results, theme).items()):
        sample = samples[policy].to_numpy()
        if not sample.size:
            continue
        inside, _ = np.histogram(sample, edges)
        density = inside / (sample.size * (edges[1] - edges[0]))
        outside = 100.0 * (1.0 - inside.sum() / sample.size)
        label = f"{policy} ({outside:.1f} % outside)" if outside >= 0.05 else policy
        axes.stairs(density, edges, color=style.colour, linewidth=1.4, label=label)
        if position == 0:
            axes.stairs(density, edges, color=style.colour, alpha=0.15, fill=True)
        axes.plot(sample.mean(), 0.0, color=style.colour, marker="^", markersize=8, clip_on=False, zorder=5)
        peaks.append(float(density.max()))
    if (
        len(peaks) > 1
    ):  # a policy that is its own benchmark is a spike at 0: let it leave the axis, not flatten the rest
        axes.set_ylim(0.0, min(max(peaks), 3.0 * float(np.median(peaks))) * 1.08)
    axes.axvline(0.0, color=ink.muted, linewidth=0.9, zorder=1)
    axes.set_xlim(low, high)
    axes.set_yticks([])
    axes.set_xlabel(f"improvement of an order ({UNIT_LABELS[unit]}); triangles: means")
    axes.set_ylabel("density")
    legend_above(figure, ink)
    return figure


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
    ink, figure = ink_of(theme), empty_figure(7.2, 4.2)
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
        _mark(axes, ink, min_periods, "minimum")
    axes.set_xlim(-0.2, longest + 0.4)
    axes.set_ylim(-0.02, 1.06)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("periods used")
    axes.set_ylabel("orders complete")
    legend_above(figure, ink)
    return figure


def execution(
    order: Mapping[str, Any] | pd.Series[Any], schedule: pd.DataFrame, market: pd.DataFrame, *, theme: Theme = "light"
) -> Figure:
    """One order bar by bar: prices above, fractions traded and market volume below.

    Args:
        order: Row of the orders table of a result.
        schedule: Rows of the schedule of a result; those of other orders are left out.
        market: Bars of the symbol over the order's periods, time ascending, columns ``timestamp``, ``volume`` and
            ``vwap`` (or ``notional`` and ``close``, from which the VWAP follows). Bars before the start and beyond the
            maximum are left out.
        theme: Page that the figure is made for.

    Returns:
        The figure; period 1 is the first bar that the order trades in.

    Raises:
        ConfigError: If the market has no bar at or after the start of the order.
    """
    ink = ink_of(theme)
    path = _execution_path(order, schedule, market)
    style = policy_styles(["model"], theme)["model"]
    figure = empty_figure(7.2, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1.0])
    dress(upper, ink)
    dress(lower, ink)
    period, finish, minimum = path["period"].to_numpy(), int(order["periods_used"]), int(order["min_periods"])
    ends = max(minimum, finish)

    upper.step(period, path["vwap"], where="mid", color=ink.muted, linewidth=1.1, label="bar VWAP")
    measured = path["period"] <= ends
    benchmark_name = f"{str(order['benchmark']).upper()} so far (benchmark)"
    amber = ink.baselines["volume_curve"]
    known = path["period"] <= finish
    upper.plot(
        period[measured], path["benchmark"][measured], color=amber, linestyle=(0, (5, 1.5)), label=benchmark_name
    )
    upper.plot(period[known], path["executed"][known], color=style.colour, linewidth=2.0, label="executed so far")
    traded = path["fraction"] > 0
    upper.scatter(
        period[traded],
        path["traded_price"][traded],
        s=14.0 + 170.0 * path["fraction"][traded],
        color=style.colour,
        alpha=0.75,
        linewidths=0,
        zorder=4,
    )
    upper.set_ylabel("price")
    upper.ticklabel_format(axis="y", useOffset=False, style="plain")
    upper.yaxis.set_major_locator(MaxNLocator(5))
    upper.margins(y=0.14)

    total = path["volume"].sum()
    share = path["volume"] / total if total > 0 else path["volume"]
    lower.bar(period, share, width=1.0, color=ink.muted, alpha=0.22, label="share of the market's volume")
    lower.bar(period, path["fraction"], width=0.55, color=style.colour, label="share of the order traded")
    lower.set_ylabel("share")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    lower.yaxis.set_major_locator(MaxNLocator(4))
    lower.set_ylim(0.0, 1.18 * max(float(path["fraction"].max()), float(share.max()), 1e-9))
    lower.set_xlim(0.4, len(path) + 0.6)
    lower.set_xticks(period, _bar_labels(path["timestamp"]))
    lower.set_xlabel(f"bar start (UTC), from {pd.Timestamp(order['start']).strftime('%Y-%m-%d %H:%M')}")
    for axes in (upper, lower):
        if finish < len(path):
            axes.axvspan(finish + 0.5, len(path) + 0.6, color=ink.muted, alpha=0.07, linewidth=0, zorder=0)
    _mark(upper, ink, minimum + 0.5, f"minimum ({minimum})", high=finish != minimum)
    _mark(upper, ink, finish + 0.5, f"finished ({finish})" if bool(order["completed"]) else "ended, incomplete")
    _mark(lower, ink, minimum + 0.5)
    _mark(lower, ink, finish + 0.5)
    legend_above(figure, ink)
    return figure


def _execution_path(
    order: Mapping[str, Any] | pd.Series[Any], schedule: pd.DataFrame, market: pd.DataFrame
) -> pd.DataFrame:
    """What happened period by period: market, fills, running benchmark, running executed price."""
    start = pd.Timestamp(order["start"])
    bars = market[market["timestamp"] >= start].head(int(order["max_periods"])).reset_index(drop=True)
    if bars.empty:
        raise ConfigError(f"the market to draw has no bar at or after the start of the order ({start})")
    volume = bars["volume"].to_numpy(dtype=float)
    if "vwap" in bars.columns:
        vwap = bars["vwap"].to_numpy(dtype=float)
    else:
        traded = volume > 0
        notional = bars["notional"].to_numpy(dtype=float)
        vwap = np.where(traded, notional / np.where(traded, volume, 1.0), bars["close"].to_numpy(dtype=float))
    fills = (
        schedule[schedule["order_id"] == order["order_id"]]
        .groupby("timestamp")
        .agg({"fraction": "sum", "price": "mean"})
    )
    fills = fills.reindex(pd.DatetimeIndex(bars["timestamp"]))
    fraction = fills["fraction"].fillna(0.0).to_numpy(dtype=float)
    price = np.where(fraction > 0, fills["price"].to_numpy(dtype=float), 0.0)
    bought = np.cumsum(fraction)
    with np.errstate(invalid="ignore", divide="ignore"):
        if str(order["benchmark"]) == "vwap":
            benchmark = np.cumsum(vwap * volume) / np.cumsum(volume)
        else:
            benchmark = np.cumsum(vwap) / np.arange(1, len(bars) + 1)
        if str(order["target"]) == "quantity":
            executed = np.cumsum(fraction * price) / bought
        else:
            executed = bought / np.cumsum(np.where(fraction > 0, fraction / price, 0.0))
    columns: dict[str, NDArray[np.float64]] = {
        "vwap": vwap,
        "volume": volume,
        "fraction": fraction,
        "traded_price": price,
        "benchmark": benchmark,
        "executed": executed,
    }
    path: pd.DataFrame = bars[["timestamp"]].assign(period=np.arange(1, len(bars) + 1), **columns)
    return path


def _at(orders: pd.DataFrame, min_periods: int | None) -> pd.DataFrame:
    """Orders with one minimum duration, or all of them."""
    chosen: pd.DataFrame = orders if min_periods is None else orders[orders["min_periods"] == min_periods]
    return chosen


def _bar_labels(timestamps: pd.Series[pd.Timestamp]) -> list[str]:
    """Short label of each bar: the time of day, or the date when bars are a day or longer; at most 12 of them."""
    daily = bool((timestamps == timestamps.dt.normalize()).all())
    labels = timestamps.dt.strftime("%d %b" if daily else "%H:%M").tolist()
    every = -(-len(labels) // 12)
    return [label if position % every == 0 else "" for position, label in enumerate(labels)]


def _mark(axes: Axes, ink: Ink, x: float, text: str | None = None, *, high: bool = False) -> None:
    """Vertical line with a small label beside its top."""
    axes.axvline(x, color=ink.text, linewidth=0.9, linestyle=(0, (2, 2)), zorder=2)
    if text:
        axes.annotate(
            text,
            (x, 0.93 if high else 0.995),
            xycoords=axes.get_xaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            color=ink.text,
            fontsize=8,
            va="top",
        )
