"""A transaction cost analysis as one HTML page: numbers, causes, comparison, and orders bar by bar."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lem_models.evaluation.tca.analysis import TransactionCosts
from lem_models.markets.calendar.frequency import clock
from lem_models.report.execution_plot import execution
from lem_models.report.html import (
    FigureGroup,
    Headline,
    Report,
    ReportFigure,
    SampleExecution,
    SampleGroup,
    write_report,
)
from lem_models.report.numbers import MISSING, number, number_text
from lem_models.report.tables import Column, Table
from lem_models.report.tca.figures import causes_figure, progress_figure
from lem_models.report.tca.tables import (
    causes_table,
    comparison_table,
    issues_table,
    liquidity_table,
    orders_table,
    reversion_table,
    totals_table,
)

__all__ = ["chosen_orders", "write_page"]

_DEFINITIONS: Mapping[str, str] = {
    "Slippage": "Cost against a price, positive is worse. Side is +1 for a buy, \u22121 for a sell. Net: with fees.",
    "Own benchmark": (
        "The price that the order was to be measured against. VWAP and TWAP run from the bar of the start to "
        "the bar of its last fill, and at least over its minimum duration."
    ),
    "Implementation shortfall": (
        "The whole order against a paper portfolio that trades at the arrival price. What did not fill counts at the "
        "last close of the horizon (Perold 1988)."
    ),
    "Timing": "When the order traded: its schedule at the VWAPs of the bars, against the weights of the benchmark.",
    "Price within the bar": "The fills against the VWAP of all trades of the same bar: spread, impact, routing.",
    "Interval": (
        "Bootstrap over days, all orders of a day together, because orders that are close in time share the market's "
        "moves and are not independent observations."
    ),
}
_FEW = 3  # orders that are shown bar by bar
_MOST_PERIODS = 240  # of an order that is drawn bar by bar


def write_page(analysis: TransactionCosts, path: str | os.PathLike[str], *, title: str, command: str) -> Path:
    """Write the page.

    Args:
        analysis: The analysis.
        path: The HTML file.
        title: Title of the page.
        command: Command that reproduces it.
    """
    orders, bars = analysis.orders, analysis.bars
    sections: list[Table | FigureGroup | SampleGroup | None] = [totals_table(analysis)]
    if len(orders):
        waterfall = ReportFigure.from_plot(
            "Where the cost arose",
            "Each cause begins where the one before ends; the last bar is their sum. Weighted by money.",
            lambda theme: causes_figure(analysis.causes, theme=theme),
        )
        sections += [causes_table(analysis), FigureGroup("Causes", [waterfall])]
    sections += [comparison_table(analysis), reversion_table(analysis), liquidity_table(analysis)]
    if len(orders):
        sections += [_samples(analysis), orders_table(analysis)]
    sections.append(issues_table(analysis))
    span = ""
    if len(orders):
        span = f", {orders['start'].min():%Y-%m-%d} to {orders['start'].max():%Y-%m-%d}"
    report = Report(
        title=title,
        subtitle=f"{_counted(len(orders), 'order')}, {_counted(len(analysis.fills), 'fill')}, "
        f"bars of {clock(bars.frequency)}{span}",
        policies=() if analysis.comparison is None else tuple(analysis.comparison.results),
        warnings=_warnings(analysis),
        headlines=_headlines(analysis),
        definitions=_DEFINITIONS,
        data=_facts(analysis),
        excluded=_left_out(analysis),
        sections=[section for section in sections if section is not None],
        command=command,
    )
    return write_report(path, report)


def chosen_orders(analysis: TransactionCosts) -> dict[str, int]:
    """Rows of the orders that are shown bar by bar: the only one, or cheapest, median and most expensive."""
    known = analysis.orders[analysis.orders["filled_quantity"] > 0]
    ranked = known.sort_values(["net_slippage_bps", "order_id"], kind="stable")
    if len(ranked) == 0:
        return {}
    if len(ranked) == 1:
        names, places = ["The order"], [0]
    elif len(ranked) < _FEW:
        names, places = ["Cheaper order", "More expensive order"], [0, len(ranked) - 1]
    else:
        names = ["Cheapest order", "Median order", "Most expensive order"]
        places = [0, len(ranked) // 2, len(ranked) - 1]
    return {name: int(ranked.index[place]) for name, place in zip(names, places, strict=True)}


def _headlines(analysis: TransactionCosts) -> list[Headline]:
    total = {str(row["measure"]): row for row in analysis.totals.to_dict("records")}
    mean = {str(row["cause"]): float(row["value_mean"]) for row in analysis.causes.to_dict("records")}
    lines = [
        _headline("slippage against the own benchmark, with fees", total["net_slippage_bps"]),
        _headline("implementation shortfall, with fees", total["shortfall_bps"]),
    ]
    if np.isfinite(mean["price"]):
        timing = number_text(f"timing of the schedule {mean['timing']:+.2f} bps")
        lines.append(Headline("of it price within the bar", number_text(f"{mean['price']:+.2f} bps"), timing))
    share, filled = (float(total[name]["value_mean"]) for name in ("participation", "filled"))
    detail = "amounts are not known" if np.isnan(filled) else f"{filled:.1%} of the amounts filled"
    lines.append(Headline("participation in the volume", MISSING if np.isnan(share) else f"{share:.2%}", detail))
    return lines


def _headline(label: str, row: Mapping[Any, Any]) -> Headline:
    """A cost in bps: bad only if its interval lies above zero."""
    mean, low, high = (float(row[f"value_{name}"]) for name in ("mean", "low", "high"))
    if np.isnan(mean):
        return Headline(label, MISSING)
    money = number_text(f"{float(row['money']):+,.2f} in money")
    if np.isnan(low):
        return Headline(label, number_text(f"{mean:+.2f} bps"), money)
    interval = number_text(f"interval {low:+.2f} to {high:+.2f}; ") + money
    tone: Literal["good", "bad", "plain"] = "bad" if round(low, 2) > 0 else "good" if round(high, 2) < 0 else "plain"
    return Headline(label, number_text(f"{mean:+.2f} bps"), interval, tone)


def _warnings(analysis: TransactionCosts) -> list[str]:
    texts = [f"{note[0].upper()}{note[1:]}." for note in analysis.notes]
    if analysis.comparison is not None and analysis.comparison.remark:
        texts.append(analysis.comparison.remark)
    out = len(analysis.left_out)
    if out:
        texts.append(f"{out:,} of {out + len(analysis.fills):,} fills are not measured; the reasons are below.")
    return texts


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _facts(analysis: TransactionCosts) -> dict[str, object]:
    orders, bars = analysis.orders, analysis.bars
    return {
        "orders": len(orders),
        "fills": len(analysis.fills),
        "symbols": orders["symbol"].nunique(),
        "buys": int((orders["side"] == "buy").sum()),
        "money at the benchmark prices": f"{np.nansum(orders['value']):,.2f}",
        "cost in money, with fees": number(float(np.nansum(orders["cost"])), ",.2f"),
        "benchmarks": ", ".join(sorted(orders["benchmark"].unique())),
        "bars": repr(bars),
    }


def _left_out(analysis: TransactionCosts) -> dict[str, int]:
    counts = {f"orders: {reason}": int(n) for reason, n in analysis.excluded["reason"].value_counts().items()}
    left = analysis.issues[analysis.issues["effect"] == "left out"]
    counts |= {f"fills: {row['issue']}": int(row["fills"]) for row in left.to_dict("records")}
    if analysis.comparison is not None:
        for row in analysis.comparison.left_out.to_dict("records"):
            counts[f"orders of {row['policy']}: {row['reason']}"] = int(row["orders"])
    return counts


def _samples(analysis: TransactionCosts) -> SampleGroup | None:
    """Orders bar by bar."""
    samples = []
    for name, row in chosen_orders(analysis).items():
        order = analysis.orders.iloc[row]
        periods = analysis.periods_of(str(order["order_id"]))
        if len(periods) <= _MOST_PERIODS:
            samples.append(_sample(name, order, periods))
        samples.append(_progress(name, order, periods))
    if not samples:
        return None
    note = "Chosen by the slippage with fees in bps." if len(analysis.orders) > 1 else ""
    return SampleGroup("Orders bar by bar", samples, note)


def _sample(name: str, order: pd.Series[Any], periods: pd.DataFrame) -> SampleExecution:
    """Price path with fills and running benchmark."""
    traded = periods[periods["units"] > 0]
    schedule = pd.DataFrame(
        {
            "order_id": order["order_id"],
            "timestamp": traded["timestamp"],
            "fraction": traded["filled"],
            "price": traded["fill_price"],
        }
    )
    drawn = order.copy()
    drawn["max_periods"] = len(periods)  # later fills belong to the picture
    drawn["completed"] = order["completed"] != 0
    drawn["target"] = "quantity"  # fills are units, whatever was fixed
    market = periods.rename(columns={"price": "vwap"})[["timestamp", "volume", "vwap"]]
    facts: dict[str, object] = {
        "order": f"{order['side']} {order['symbol']}",
        "start (UTC)": order["start"],
        "filled": float(order["filled_quantity"]),
        "executed price": float(order["executed_price"]),
        f"benchmark ({order['benchmark']})": float(order["benchmark_price"]),
        "slippage with fees": number_text(f"{order['net_slippage_bps']:+.1f} bps"),
        "in money": number_text(f"{order['cost']:+,.2f}"),
    }
    figure = ReportFigure.from_plot(
        name,
        "Dots: fills of each bar at their average price, sized by their share. Shaded: after the last fill.",
        lambda theme: execution(drawn, schedule, market, theme=theme),
    )
    return SampleExecution(f"{name}: {order['order_id']}", facts, _bars_table(name, periods), figure)


def _progress(name: str, order: pd.Series[Any], periods: pd.DataFrame) -> SampleExecution:
    """Filled against expected volume."""
    facts: dict[str, object] = {
        "timing": number_text(f"{order['cause_timing_bps']:+.1f} bps"),
        "price within the bar": number_text(f"{order['cause_price_bps']:+.1f} bps"),
        "fees": number_text(f"{order['cause_fees_bps']:+.1f} bps"),
        "participation": f"{order['participation']:.2%}",
    }
    if order["cause_sizing"]:
        facts["sizing"] = number_text(f"{order['cause_sizing_bps']:+.1f} bps")
    figure = ReportFigure.from_plot(
        f"{name}: progress",
        "Shares so far: what was filled, the market's volume, and the volume that 20 sessions before let expect.",
        lambda theme: progress_figure(periods, theme=theme),
    )
    return SampleExecution(f"{name}: filled against the volume", facts, _bars_table(name, periods), figure)


def _bars_table(name: str, periods: pd.DataFrame) -> Table:
    columns = [
        Column("period", "bar", "{:.0f}"),
        Column("timestamp", "start (UTC)"),
        Column("filled", "filled", "{:.1%}"),
        Column("benchmark", "benchmark", "{:.1%}"),
        Column("price", "VWAP", "{:,.6g}"),
        Column("fill_price", "fill", "{:,.6g}"),
        Column("timing", "timing, money", "{:+,.2f}"),
        Column("price_cost", "price, money", "{:+,.2f}"),
    ]
    shown = periods[periods["units"] > 0].head(_MOST_PERIODS)
    return Table(shown.assign(period=shown["period"] + 1), columns, title=f"Bars: {name}")
