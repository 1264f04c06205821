"""The orders that a report shows bar by bar, chosen by a rule that knows no favourites.

Of the orders with the middle one of the minimum durations, those at the 95 % quantile, the median and the 5 % quantile
of the improvement in bar volatilities, of each side: a good, a usual and a bad one.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lem_models.evaluation.benchmark import Benchmark
from lem_models.execution.result import ExecutionResult
from lem_models.report.execution_plot import execution
from lem_models.report.figure_style import Theme
from lem_models.report.parts import Column, ReportFigure, SampleExecution, SampleGroup
from lem_models.report.text import number_text
from lem_models.statistics.summary import improvement

__all__ = ["RULE", "execution_inputs", "sample_executions", "sample_order", "sample_rows"]

RULE = (
    "Chosen by rule, not by hand: of the orders with the middle minimum duration, those at the 95 % quantile, the "
    "median and the 5 % quantile of the improvement in bar volatilities, for each side."
)
_QUANTILES = {"good (95 % quantile)": 0.95, "median": 0.5, "bad (5 % quantile)": 0.05}


def sample_rows(orders: pd.DataFrame, min_periods: int | None = None) -> dict[tuple[str, str], int]:
    """Orders at fixed quantiles of the improvement.

    Args:
        orders: Orders table of a result; orders with a price are chosen from.
        min_periods: Minimum duration of the orders; ``None`` for the middle one of those that occur.

    Returns:
        Index label of the order at each (quantile, side), good ones first; ties by ``order_id``. (In the tables of a
        run that is the row in the result.)
    """
    if not len(orders):
        return {}
    minima = sorted(orders["min_periods"].unique())
    chosen = orders[orders["min_periods"] == (minima[len(minima) // 2] if min_periods is None else min_periods)]
    gained = chosen.assign(_vol=improvement(chosen, "vol")).dropna(subset="_vol")
    gained = gained.sort_values(["_vol", "order_id"], kind="stable")
    found = {}
    for name, quantile in _QUANTILES.items():
        for side, rows in gained.groupby("side", sort=True):
            found[name, str(side)] = int(rows.index[round(quantile * (len(rows) - 1))])
    return found


def execution_inputs(result: ExecutionResult, row: int) -> tuple[pd.Series[Any], pd.DataFrame, pd.DataFrame]:
    """One order, its schedule and its market, as :func:`~lem_models.report.execution_plot.execution` takes them."""
    order = result.orders.iloc[row]
    schedule = result.schedule[result.schedule["order_id"] == order["order_id"]]
    return order, schedule, result.periods_of(order["order_id"]).rename(columns={"price": "vwap"})


def sample_executions(run: Benchmark) -> SampleGroup:
    """The sample orders of a run, of the policy under test and the first benchmark and target."""
    result = run.results[run.model]
    rows = sample_rows(run.main()[run.model])
    return SampleGroup(
        f"Sample executions of {run.model}",
        [_sample(result, f"{side.capitalize()}: {name}", row) for (name, side), row in rows.items()],
        RULE,
    )


def sample_order(run: Benchmark) -> int:
    """The one order to show where there is room for one: the median one of the first side."""
    rows = sample_rows(run.main()[run.model])
    return next((row for (name, _), row in rows.items() if name == "median"), 0)


def _sample(result: ExecutionResult, title: str, row: int) -> SampleExecution:
    order, schedule, market = execution_inputs(result, row)

    def draw(theme: Theme) -> Figure:
        return execution(order, schedule, market, theme=theme)

    benchmark = str(order["benchmark"]).upper()
    gained, costs = 0.0 - float(order["slippage_bps"]), float(order["cost_bps"])
    net = number_text(f", net {0.0 - float(order['net_slippage_bps']):+.1f}") if costs > 0 else ""
    facts: dict[str, object] = {
        "order": f"{order['side']} {order['symbol']}",
        "start (UTC)": order["start"],
        "periods used": f"{order['periods_used']} (allowed {order['min_periods']} to {order['max_periods']})",
        "executed price": float(order["executed_price"]),
        f"{benchmark} of the interval": float(order["benchmark_price"]),
        "improvement": number_text(f"{gained:+.1f} bps") + net,
        "in bar volatilities": number_text(f"{gained / float(order['volatility_bps']):+.2f}"),
        "one bar moves": f"{float(order['volatility_bps']):.0f} bps",
    }
    return SampleExecution(
        title,
        facts,
        schedule.assign(period=schedule["period"] + 1),
        ReportFigure.from_plot(title, "Dots: fills, sized by the fraction. Shaded: time not needed.", draw),
        columns=[
            Column("period", "period", "{:.0f}"),
            Column("timestamp", "bar start (UTC)"),
            Column("fraction", "fraction", "{:.1%}"),
            Column("price", "price", "{:,.6g}"),
        ],
    )
