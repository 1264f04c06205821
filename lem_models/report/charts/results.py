"""Charts of a result: one order bar by bar, or the distribution of all with their capacity curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.evaluation.capacity import capacity_curve
from lem_models.execution.costs import CostModel, cost_model, cost_model_for
from lem_models.execution.result import ExecutionResult
from lem_models.guard.text import shown
from lem_models.report.capacity.figure import capacity_panels
from lem_models.report.charts.chart import Chart
from lem_models.report.charts.draw import Backend, Drawing, draw_chart
from lem_models.report.execution_plot import execution_chart
from lem_models.report.figure_style import Theme
from lem_models.report.plots import distribution_panel

__all__ = ["order_chart", "plot_result", "result_chart"]

_DRAWS = 400  # of the bootstrap: a picture in a notebook is wanted at once


def plot_result(
    result: ExecutionResult,
    order: int | str | None = None,
    *,
    costs: CostModel | None = None,
    sizes: Sequence[float] = (0.0, 0.001, 0.003, 0.01, 0.03),
    theme: Theme = "light",
    backend: Backend = "matplotlib",
) -> Drawing:
    """Plot a result; see :meth:`ExecutionResult.plot <lem_models.execution.result.ExecutionResult.plot>`."""
    chart = result_chart(result, costs=costs, sizes=sizes) if order is None else order_chart(result, order)
    return draw_chart(chart, theme=theme, backend=backend)


def order_chart(result: ExecutionResult, order: int | str) -> Chart:
    """One order bar by bar; see :func:`~lem_models.report.execution_plot.execution_chart`.

    Raises:
        KeyError: No order that ran has this id.
    """
    market = result.periods_of(order).rename(columns={"price": "vwap"})
    row: pd.Series[Any] = result.orders[result.orders["order_id"] == order].iloc[0]
    return execution_chart(row, result.schedule, market)


def result_chart(
    result: ExecutionResult,
    *,
    costs: CostModel | None = None,
    sizes: Sequence[float] = (0.0, 0.001, 0.003, 0.01, 0.03),
) -> Chart:
    """The distribution of the improvement, and the capacity curve of orders that name no amount.

    Args:
        result: The result.
        costs: Costs of the curve; default those of the named model for the market.
        sizes: Sizes of the curve.

    Raises:
        ConfigError: No order ran, or a size is negative.
    """
    orders = result.orders
    if not len(orders):
        raise ConfigError("no order ran, so there is nothing to plot: result.excluded has the reasons")
    if not all(np.isfinite(size) and size >= 0 for size in sizes):
        raise ConfigError(f"sizes are fractions of the expected volume, at least 0; got {shown(list(sizes))}")
    name = "orders"
    distribution = distribution_panel({name: orders}, unit="bps")
    if orders["amount"].notna().any() or not len(sizes):
        return Chart([[distribution]], has_legend=False)
    known = costs if costs is not None else cost_model(cost_model_for(result.bars))
    curve = capacity_curve({name: result}, known, list(sizes), draws=_DRAWS)
    model = f"half-spread {known.half_spread_bps:g} + fee {known.fee_bps:g} bps, impact {known.impact:g}"
    drawn = curve[curve["against"].isin(["own", "full_vwap"])]
    low, high = float(drawn["low_bps"].min()), float(drawn["high_bps"].max())
    room = 0.05 * (high - low)
    limits = (low - room, high + room) if np.isfinite(room) and room > 0 else None
    labelled = [
        replace(panel, x_label="size, of the expected volume" + (f"; {model}" if not place else ""), y_limits=limits)
        for place, panel in enumerate(capacity_panels(curve))
    ]
    return Chart([[distribution, *labelled]], 14.0, 4.2, widths=(1.2, 1.0, 1.0), has_legend=False)
