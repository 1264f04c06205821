"""Figure of one executed order, bar by bar: prices above, fractions traded and market volume below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lem_models.evaluation.order_path import order_path
from lem_models.report.figure_style import Theme, dress, empty_figure, ink_of, legend_above, mark, policy_styles

__all__ = ["bar_labels", "execution", "is_daily"]

_LABELS = {
    "vwap": "VWAP so far (benchmark)",
    "twap": "TWAP so far (benchmark)",
    "full_vwap": "VWAP so far (benchmark: of all periods)",
    "arrival": "arrival price (benchmark)",
}


def execution(
    order: Mapping[str, Any] | pd.Series[Any], schedule: pd.DataFrame, market: pd.DataFrame, *, theme: Theme = "light"
) -> Figure:
    """One order bar by bar: prices above, fractions traded and market volume below.

    Args:
        order: Row of the orders table of a result.
        schedule: Schedule of a result; rows of other orders are ignored.
        market: Bars of the symbol over the order's periods, time ascending, columns ``timestamp``, ``volume`` and
            ``vwap`` (or ``notional`` and ``close``, from which the VWAP follows). Bars before the start and after the
            maximum are ignored.
        theme: Page that the figure is made for.

    Returns:
        The figure; period 1 is the first bar that the order trades in.

    Raises:
        ConfigError: If the market has no bar at or after the start of the order.
    """
    ink = ink_of(theme)
    path = order_path(order, schedule, market)
    style = policy_styles(["model"], theme)["model"]
    figure = empty_figure(7.2, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1.0])
    dress(upper, ink)
    dress(lower, ink)
    period, finish, minimum = path["period"].to_numpy(), int(order["periods_used"]), int(order["min_periods"])
    name, ends = str(order["benchmark"]), max(minimum, finish)
    if name == "full_vwap":
        ends = len(path)

    upper.step(period, path["vwap"], where="mid", color=ink.muted, linewidth=1.1, label="bar VWAP")
    measured = path["period"] <= ends
    amber = ink.baselines["volume_curve"]
    known = path["period"] <= finish
    upper.plot(period[measured], path["benchmark"][measured], color=amber, linestyle=(0, (5, 1.5)), label=_LABELS[name])
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
    lower.set_xticks(period, bar_labels(path["timestamp"]))
    start = pd.Timestamp(order["start"]).strftime("%Y-%m-%d" if is_daily(path["timestamp"]) else "%Y-%m-%d %H:%M")
    lower.set_xlabel(f"bar start (UTC), from {start}")
    for axes in (upper, lower):
        if finish < len(path):
            axes.axvspan(finish + 0.5, len(path) + 0.6, color=ink.muted, alpha=0.07, linewidth=0, zorder=0)
    ended = f"finished ({finish})" if bool(order["completed"]) else "ended, incomplete"
    if finish == minimum:
        mark(upper, ink, finish + 0.5, f"minimum, {ended}", left=finish > len(path) / 2)
    else:
        mark(upper, ink, minimum + 0.5, f"minimum ({minimum})", low=True, left=minimum > len(path) / 2)
        mark(upper, ink, finish + 0.5, ended, left=finish > len(path) / 2)
    mark(lower, ink, minimum + 0.5)
    mark(lower, ink, finish + 0.5)
    legend_above(figure, ink)
    return figure


def bar_labels(timestamps: pd.Series[pd.Timestamp]) -> list[str]:
    """Short label of each bar: the time of day, or the date when bars are a day or longer; at most 12 of them."""
    labels = timestamps.dt.strftime("%d %b" if is_daily(timestamps) else "%H:%M").tolist()
    every = -(-len(labels) // 12)
    return [label if position % every == 0 else "" for position, label in enumerate(labels)]


def is_daily(timestamps: pd.Series[pd.Timestamp]) -> bool:
    """Whether bars are a day or longer, so that the time of day says nothing."""
    return bool((timestamps == timestamps.dt.normalize()).all())
