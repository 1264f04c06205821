"""Figure of one executed order, bar by bar: prices above, fractions traded and market volume below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lem_models.evaluation.order_path import order_path
from lem_models.report.charts.chart import Chart, Columns, Line, Mark, Panel, Points, Span
from lem_models.report.charts.matplotlib_chart import matplotlib_figure
from lem_models.report.figure_style import Theme, ink_of, policy_styles

__all__ = ["bar_labels", "execution", "execution_chart", "is_daily"]

_LABELS = {
    "vwap": "VWAP so far (benchmark)",
    "twap": "TWAP so far (benchmark)",
    "full_vwap": "VWAP so far (benchmark: of all periods)",
    "arrival": "arrival price (benchmark)",
}


def execution(
    order: Mapping[str, Any] | pd.Series[Any], schedule: pd.DataFrame, market: pd.DataFrame, *, theme: Theme = "light"
) -> Figure:
    """One order bar by bar as a figure of matplotlib; see :func:`execution_chart`."""
    return matplotlib_figure(execution_chart(order, schedule, market), theme)


def execution_chart(order: Mapping[str, Any] | pd.Series[Any], schedule: pd.DataFrame, market: pd.DataFrame) -> Chart:
    """One order bar by bar: prices above, fractions traded and market volume below.

    Args:
        order: Row of the orders table of a result.
        schedule: Schedule of a result; rows of other orders are ignored.
        market: Bars of the symbol over the order's periods, time ascending, columns ``timestamp``, ``volume`` and
            ``vwap`` (or ``notional`` and ``close``, from which the VWAP follows). Bars before the start and after the
            maximum are ignored.

    Returns:
        The chart; period 1 is the first bar that the order trades in.

    Raises:
        ConfigError: If the market has no bar at or after the start of the order.
    """
    ink = ink_of("light")
    path = order_path(order, schedule, market)
    style = policy_styles(["model"])["model"]
    period, finish, minimum = path["period"].to_numpy(), int(order["periods_used"]), int(order["min_periods"])
    name, ends = str(order["benchmark"]), max(minimum, finish)
    if name == "full_vwap":
        ends = len(path)
    measured, known, traded = path["period"] <= ends, path["period"] <= finish, path["fraction"] > 0
    after = [Span(finish + 0.5, len(path) + 0.6)] if finish < len(path) else []
    ended = f"finished ({finish})" if bool(order["completed"]) else "ended, incomplete"
    left = finish > len(path) / 2
    if finish == minimum:
        marks = [Mark(finish + 0.5, f"minimum, {ended}", left=left)]
    else:
        marks = [
            Mark(minimum + 0.5, f"minimum ({minimum})", low=True, left=minimum > len(path) / 2),
            Mark(finish + 0.5, ended, left=left),
        ]
    amber = ink.baselines["volume_curve"]
    upper = Panel(
        [
            *after,
            Line(period, path["vwap"], ink.muted, "bar VWAP", width=1.1, is_step=True),
            Line(period[measured], path["benchmark"][measured], amber, _LABELS[name], dash=(0, (5, 1.5))),
            Line(period[known], path["executed"][known], style.colour, "executed so far", width=2.0),
            Points(period[traded], path["traded_price"][traded], 14.0 + 170.0 * path["fraction"][traded], style.colour),
            *marks,
        ],
        y_label="price",
        y_margin=0.14,
    )
    total = path["volume"].sum()
    share = path["volume"] / total if total > 0 else path["volume"]
    start = pd.Timestamp(order["start"]).strftime("%Y-%m-%d" if is_daily(path["timestamp"]) else "%Y-%m-%d %H:%M")
    lower = Panel(
        [
            *after,
            Columns(period, share, ink.muted, 1.0, 0.22, "share of the market's volume"),
            Columns(period, path["fraction"], style.colour, 0.55, label="share of the order traded"),
            Mark(minimum + 0.5),
            Mark(finish + 0.5),
        ],
        y_label="share",
        y_format="percent",
        y_ticks=4,
        y_limits=(0.0, 1.18 * max(float(path["fraction"].max()), float(share.max()), 1e-9)),
        x_limits=(0.4, len(path) + 0.6),
        x_ticks=(period, bar_labels(path["timestamp"])),
        x_label=f"bar start (UTC), from {start}",
    )
    return Chart([[upper], [lower]], 7.2, 5.2, heights=(1.7, 1.0), share_x=True)


def bar_labels(timestamps: pd.Series[pd.Timestamp], most: int = 12) -> list[str]:
    """Short label of each bar: the time of day, or the date when bars are a day or longer; at most so many of them."""
    labels = timestamps.dt.strftime("%d %b" if is_daily(timestamps) else "%H:%M").tolist()
    every = -(-len(labels) // most)
    return [label if position % every == 0 else "" for position, label in enumerate(labels)]


def is_daily(timestamps: pd.Series[pd.Timestamp]) -> bool:
    """Whether bars are a day or longer, so that the time of day says nothing."""
    return bool((timestamps == timestamps.dt.normalize()).all())
