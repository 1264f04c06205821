"""Figure of one order under several policies, as it stood after some bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lem_models.report.execution_plot import bar_labels, is_daily
from lem_models.report.figure_style import Theme, dress, empty_figure, ink_of, legend_above, policy_styles

__all__ = ["order_progress"]


def order_progress(
    paths: pd.DataFrame,
    through: int | None = None,
    *,
    size: tuple[float, float] = (5.8, 4.9),
    theme: Theme = "light",
) -> Figure:
    """One order under several policies bar by bar: executed prices and the benchmark above, what is done below.

    Args:
        paths: Rows of :func:`~lem_models.evaluation.order_path.order_paths`. The first policy is under test; the
            benchmark is that of its run.
        through: Number of bars that have closed; nothing of a later bar is drawn. ``None`` for all.
        size: Width and height, in inches.
        theme: Page that the figure is made for.

    Returns:
        The figure. Its axis always has room for all bars of the order.
    """
    ink = ink_of(theme)
    policies = [str(name) for name in paths["policy"].unique()]
    styles = policy_styles(policies, theme)
    longest = int(paths["period"].max())
    through = longest if through is None else min(max(through, 1), longest)
    seen = paths[paths["period"] <= through]
    figure = empty_figure(*size)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.5, 1.0])
    dress(upper, ink)
    dress(lower, ink)
    tested = seen[seen["policy"] == policies[0]]
    period = tested["period"].to_numpy()
    amber = ink.baselines["volume_curve"]
    upper.step(period, tested["vwap"], where="mid", color=ink.muted, linewidth=1.0, label="bar VWAP")
    upper.plot(period, tested["benchmark"], color=amber, linestyle=(0, (5, 1.5)), label="benchmark so far")
    for number, policy in enumerate(policies):
        own, style = seen[seen["policy"] == policy], styles[policy]
        width = 2.0 if number == 0 else 1.2
        upper.plot(own["period"], own["executed"], color=style.colour, linestyle=style.dash, linewidth=width)
        done = np.concatenate([[0.0], own["done"].to_numpy(dtype=float)])
        lower.step(
            np.concatenate([[0], own["period"].to_numpy()]) + 0.5,
            done,
            where="post",
            color=style.colour,
            linestyle=style.dash,
            linewidth=width,
            label=policy,
        )
    fills = tested[tested["fraction"] > 0]
    upper.scatter(
        fills["period"],
        fills["traded_price"],
        s=14.0 + 170.0 * fills["fraction"],
        color=styles[policies[0]].colour,
        alpha=0.75,
        linewidths=0,
        zorder=4,
    )
    upper.set_ylabel("price")
    upper.ticklabel_format(axis="y", useOffset=False, style="plain")
    upper.yaxis.set_major_locator(MaxNLocator(5))
    upper.margins(y=0.14)
    lower.set_ylabel("order done")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    lower.set_ylim(-0.03, 1.06)
    lower.set_xlim(0.4, longest + 0.6)
    # The calendar is known in advance: the labels of the bars to come tell nothing of their prices.
    times = paths[paths["policy"] == policies[0]]["timestamp"].reset_index(drop=True)
    lower.set_xticks(np.arange(1, longest + 1), bar_labels(times, most=int(1.5 * size[0])))
    form = "%Y-%m-%d" if is_daily(times) else "%Y-%m-%d %H:%M"
    lower.set_xlabel(f"bar start (UTC), from {times.iloc[0].strftime(form)}")
    for axes in (upper, lower):
        if through < longest:
            axes.axvspan(through + 0.5, longest + 0.6, color=ink.muted, alpha=0.07, linewidth=0, zorder=0)
    legend_above(figure, ink)
    return figure
