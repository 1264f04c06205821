"""One order under several policies as one HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lem_models.evaluation.capacity import net_improvements
from lem_models.execution.result import ExecutionResult
from lem_models.markets.calendar.frequency import clock
from lem_models.report.dial.figure import risk_dial
from lem_models.report.html import FigureGroup, Headline, Report, ReportFigure, write_report
from lem_models.report.numbers import MISSING, number
from lem_models.report.order.figure import order_progress
from lem_models.report.order.tables import outcome_table, schedule_table

__all__ = ["write_order_page"]


def write_order_page(
    path: str | os.PathLike[str],
    results: Mapping[str, ExecutionResult],
    paths: pd.DataFrame,
    *,
    points: pd.DataFrame | None = None,
    facts: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write one order, executed by several policies, as a page.

    Args:
        path: The file; missing folders are made.
        results: Result of each policy by name, the policy under test first; the order is their first row.
        paths: Rows of :func:`~lem_models.evaluation.order_path.order_paths`.
        points: Rows of :func:`~lem_models.evaluation.risk_dial.dial_point`, for the figure of the risk dial; ``None``
            for none.
        facts: Further facts by name.
        notes: What a reader must know, one sentence each, without full stops.
    """
    tested = next(iter(results))
    result = results[tested]
    order, bars = result.orders.iloc[0], result.bars
    better = net_improvements(result.orders.iloc[[0]]).iloc[0]
    own = str(order["benchmark"])
    headlines = [
        Headline("executed price", number(order["executed_price"], ",.6g"), f"done {order['filled']:.1%}"),
        Headline(
            f"better than its benchmark, {own.replace('_', ' ')}",
            f"{number(better['gross_own'], '+.1f')} bps",
            f"net of costs {number(better['net_own'], '+.1f')} bps",
        ),
        Headline("better than the full-horizon VWAP", f"{number(better['net_full_vwap'], '+.1f')} bps", "net of costs"),
        Headline("bars used", f"{order['periods_used']} of {order['max_periods']}", f"minimum {order['min_periods']}"),
    ]
    amount = MISSING if pd.isna(order["amount"]) else f"{order['amount']:,.12g} ({order['target']})"
    data = {
        "order": f"{order['side']} {order['symbol']}",
        "start (UTC)": order["start"],
        "amount": amount,
        "duration": f"{order['min_periods']} to {order['max_periods']} bars of {clock(bars.frequency)}",
        "benchmark": own,
        "risk aversion": float(order["risk_aversion"]),
        "one bar moves": f"{float(order['volatility_bps']):.0f} bps",
        "content hash of the bars": bars.content_hash,
        **(facts or {}),
    }
    figures = [
        ReportFigure.from_plot(
            "Bar by bar",
            "Above: the benchmark and the executed price so far, dots are fills. Below: the part of the order done.",
            lambda theme: order_progress(paths, theme=theme),
        )
    ]
    if points is not None and len(points):
        figures.append(
            ReportFigure.from_plot(
                "The risk dial",
                "Orders like this one at many starts: mean against standard deviation, net of costs. Up and left is "
                "better. Vertical lines are 95 % intervals over days; λ is the risk aversion.",
                lambda theme: risk_dial(points, [tested], unit="bps", panel=(5.8, 4.2), theme=theme),
            )
        )
    return write_report(
        path,
        Report(
            title=f"{str(order['side']).capitalize()} {order['symbol']}: {tested} beside {len(results) - 1} baselines",
            subtitle=f"one order from {order['start']:%Y-%m-%d %H:%M} UTC, bars of {clock(bars.frequency)}",
            policies=list(results),
            warnings=["One order says little: its outcome is mostly luck.", *(f"{note}." for note in notes)],
            headlines=headlines,
            data=data,
            sections=[
                outcome_table(results),
                FigureGroup("Figures", figures),
                *(schedule_table(paths, policy) for policy in results),
            ],
        ),
    )
