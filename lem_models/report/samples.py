"""The orders that a report shows bar by bar, chosen by a fixed rule.

The candidates are the orders with the middle minimum duration. For each side the report shows those at the 95 %
quantile, the median and the 5 % quantile of the improvement in bar volatilities: a good, a usual and a bad order.

And the worst: the 1 % of all orders with the lowest improvement in bar volatilities, as a table and the worst few as
pictures. What goes wrong is in the tail, and means hide it.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from lem_models.evaluation.benchmark import Benchmark
from lem_models.execution.result import ExecutionResult
from lem_models.report.execution_plot import execution
from lem_models.report.html import ReportFigure, SampleExecution, SampleGroup
from lem_models.report.numbers import number_text
from lem_models.report.tables import Column, Table
from lem_models.statistics.summary import improvement

__all__ = [
    "execution_inputs",
    "sample_executions",
    "sample_order",
    "sample_rows",
    "worst_executions",
    "worst_rows",
    "worst_table",
]

_RULE = (
    "Chosen by a fixed rule. The candidates are the orders with the middle minimum duration. For each side these are "
    "the orders at the 95 % quantile, the median and the 5 % quantile of the improvement in bar volatilities."
)
_WORST_SHARE = 0.01
_MOST_RIVALS = 3
_MOST_WORST = 200  # rows of the table
_WORST_PICTURES = 3
_QUANTILES = {"good (95 % quantile)": 0.95, "median": 0.5, "bad (5 % quantile)": 0.05}
_SCHEDULE = (
    Column("period", "period", "{:.0f}"),
    Column("timestamp", "bar start (UTC)"),
    Column("fraction", "fraction", "{:.1%}"),
    Column("price", "price", "{:,.6g}"),
)


def sample_rows(orders: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Orders with the middle minimum duration at fixed quantiles of the improvement.

    Args:
        orders: Orders table of a result; orders without a price are ignored.

    Returns:
        Index label of the order at each (quantile, side), good orders first; ties by ``order_id``. In the tables of a
        benchmark the label is the row in the result.
    """
    if not len(orders):
        return {}
    minima = sorted(orders["min_periods"].unique())
    middle = orders[orders["min_periods"] == minima[len(minima) // 2]]
    ranked = middle.assign(_vol=improvement(middle, "vol")).dropna(subset="_vol")
    ranked = ranked.sort_values(["_vol", "order_id"], kind="stable")
    return {
        (name, str(side)): int(rows.index[round(quantile * (len(rows) - 1))])
        for name, quantile in _QUANTILES.items()
        for side, rows in ranked.groupby("side", sort=True)
    }


def execution_inputs(result: ExecutionResult, row: int) -> tuple[pd.Series[Any], pd.DataFrame, pd.DataFrame]:
    """One order, its schedule and its market, as :func:`~lem_models.report.execution_plot.execution` takes them."""
    order = result.orders.iloc[row]
    schedule = result.schedule[result.schedule["order_id"] == order["order_id"]]
    return order, schedule, result.periods_of(order["order_id"]).rename(columns={"price": "vwap"})


def sample_executions(benchmark: Benchmark) -> SampleGroup:
    """The sample orders of the policy under test, against the first benchmark price and target.

    The figure of the order that :func:`sample_order` chooses is there as a PNG file too.
    """
    result = benchmark.results[benchmark.model]
    rows = sample_rows(benchmark.main()[benchmark.model])
    chosen = sample_order(benchmark)
    return SampleGroup(
        f"Sample executions of {benchmark.model}",
        [_sample(result, f"{side.capitalize()}: {name}", row, png=row == chosen) for (name, side), row in rows.items()],
        _RULE,
    )


def sample_order(benchmark: Benchmark) -> int:
    """Row of the order to show where there is room for one: the median order of the first side."""
    rows = sample_rows(benchmark.main()[benchmark.model])
    return next((row for (name, _), row in rows.items() if name == "median"), 0)


def worst_rows(orders: pd.DataFrame) -> list[int]:
    """The worst 1 % of the orders by the improvement in bar volatilities, at least one if any has a price.

    Args:
        orders: Orders table of a result; orders without a price are ignored.

    Returns:
        Index labels, the worst first; ties by ``order_id``.
    """
    ranked = orders.assign(_vol=improvement(orders, "vol")).dropna(subset="_vol")
    ranked = ranked.sort_values(["_vol", "order_id"], kind="stable")
    return [int(row) for row in ranked.index[: math.ceil(_WORST_SHARE * len(ranked))]]


def worst_table(benchmark: Benchmark) -> Table:
    """The worst 1 % of the orders of the policy under test, beside what its rivals paid for the same orders.

    Against the first benchmark price and target, all minimum durations together; folded away.
    """
    tables, model = benchmark.main(), benchmark.model
    rows = worst_rows(tables[model])
    frame = tables[model].loc[rows[:_MOST_WORST]].reset_index(drop=True)
    frame = frame.assign(_bps=improvement(frame), _vol=improvement(frame, "vol"))
    columns = [
        Column("symbol", "symbol"),
        Column("start", "start (UTC)"),
        Column("side", "side"),
        Column("min_periods", "minimum", "{:.0f}"),
        Column("periods_used", "used", "{:.0f}"),
        Column("volatility_bps", "one bar, bps", "{:.0f}"),
        Column("_vol", "bar vol.", "{:+.2f}", model),
        Column("_bps", "bps", "{:+.1f}", model),
    ]
    others = [name for name in tables if name != model][:_MOST_RIVALS]
    for name in others:
        theirs = pd.Series(improvement(tables[name]).to_numpy(), index=tables[name]["order_id"].to_numpy())
        frame[f"of {name}"] = theirs.reindex(frame["order_id"]).to_numpy()
        columns.append(Column(f"of {name}", name.replace("_", " "), "{:+.1f}", "the same orders, bps"))
    cut = f" The worst {_MOST_WORST} of {len(rows):,}." if len(rows) > _MOST_WORST else ""
    note = f"The {len(rows):,} orders with the lowest improvement in bar volatilities, the worst first.{cut}"
    return Table(frame, columns, title=f"The worst 1 % of the orders of {model}", note=note, collapsed=True)


def worst_executions(benchmark: Benchmark) -> SampleGroup:
    """Pictures of the worst few orders of the policy under test, against the first benchmark price and target."""
    result = benchmark.results[benchmark.model]
    rows = worst_rows(benchmark.main()[benchmark.model])[:_WORST_PICTURES]
    return SampleGroup(
        f"The worst orders of {benchmark.model}",
        [_sample(result, f"Number {number} from below", row) for number, row in enumerate(rows, start=1)],
        "Chosen by a fixed rule: the lowest improvements in bar volatilities, all minimum durations together.",
    )


def _sample(result: ExecutionResult, title: str, row: int, *, png: bool = False) -> SampleExecution:
    order, schedule, market = execution_inputs(result, row)
    improvement_bps, costs = 0.0 - float(order["slippage_bps"]), float(order["cost_bps"])
    net = number_text(f", net {0.0 - float(order['net_slippage_bps']):+.1f}") if costs > 0 else ""
    facts: dict[str, object] = {
        "order": f"{order['side']} {order['symbol']}",
        "start (UTC)": order["start"],
        "periods used": f"{order['periods_used']} (allowed {order['min_periods']} to {order['max_periods']})",
        "executed price": float(order["executed_price"]),
        f"{str(order['benchmark']).upper()} of the interval": float(order["benchmark_price"]),
        "improvement": number_text(f"{improvement_bps:+.1f} bps") + net,
        "in bar volatilities": number_text(f"{improvement_bps / float(order['volatility_bps']):+.2f}"),
        "one bar moves": f"{float(order['volatility_bps']):.0f} bps",
    }
    figure = ReportFigure.from_plot(
        title,
        "Dots: fills, sized by the fraction. Shaded: periods not used.",
        lambda theme: execution(order, schedule, market, theme=theme),
        png=png,
    )
    table = Table(schedule.assign(period=schedule["period"] + 1), _SCHEDULE, title=f"Schedule: {title}")
    return SampleExecution(title, facts, table, figure)
