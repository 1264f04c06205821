"""The tables of a transaction cost analysis."""

from __future__ import annotations

import pandas as pd

from lem_models.evaluation.tca.analysis import TransactionCosts
from lem_models.report.numbers import MISSING, number, number_text
from lem_models.report.tables import Column, Table

__all__ = [
    "CAUSE_LABELS",
    "causes_table",
    "comparison_table",
    "issues_table",
    "liquidity_table",
    "orders_table",
    "reversion_table",
    "totals_table",
]

CAUSE_LABELS = {
    "timing": "timing of the schedule",
    "sizing": "fills against what was wanted",
    "price": "price within the bar",
    "fees": "fees",
    "opportunity": "not filled",
    "total": "total",
}
"""Names of the causes in tables and figures."""

_MEASURE_LABELS = {
    "slippage_bps": "own benchmark",
    "net_slippage_bps": "own benchmark, with fees",
    "interval_vwap_bps": "VWAP of the interval",
    "full_vwap_bps": "full-horizon VWAP",
    "interval_twap_bps": "TWAP of the interval",
    "arrival_bps": "arrival price, what filled",
    "shortfall_bps": "implementation shortfall, with fees",
    "opportunity_bps": "of it what was not filled",
    "participation": "participation",
    "filled": "completion",
}
_PRICE_LABELS = {"own": "own benchmark", "full_vwap": "full-horizon VWAP", "arrival": "arrival price"}
_REFERENCES = {"last_fill": "last fill", "executed": "executed price"}
_SHOWN = 200  # rows of the table of orders


def totals_table(analysis: TransactionCosts) -> Table:
    """Every measure in total, weighted by money and with each order the same."""
    frame = analysis.totals
    percent = frame["measure"].isin(["participation", "filled"])
    texts = {
        name: [
            _share(mean) if part else _interval(mean, low, high)
            for part, mean, low, high in zip(
                percent, frame[f"{name}_mean"], frame[f"{name}_low"], frame[f"{name}_high"], strict=True
            )
        ]
        for name in ("value", "equal")
    }
    frame = frame.assign(label=frame["measure"].map(_MEASURE_LABELS), by_value=texts["value"], by_order=texts["equal"])
    frame = frame[frame["orders"] > 0]
    columns = [
        Column("label", "against"),
        Column("orders", "orders", "{:,}", dropped=2),
        Column("money", "money", "{:+,.2f}"),
        Column("by_value", "weighted by money"),
        Column("by_order", "each order the same", dropped=1),
    ]
    note = "Positive is a cost; bps with 95 % intervals over days, which need two days at least."
    return Table(frame, columns, title="Slippage", note=_at_level(note, analysis.level))


def causes_table(analysis: TransactionCosts) -> Table:
    """The slippage against the own benchmark by cause; the causes add up to the total."""
    frame = analysis.causes
    is_absent = (frame["money"] == 0) & frame["cause"].isin(["sizing", "opportunity"])
    frame = frame[~is_absent]
    frame = frame.assign(
        label=frame["cause"].map(CAUSE_LABELS),
        policy=frame["cause"],
        by_value=_intervals(frame, "value"),
        by_order=_intervals(frame, "equal"),
    )
    columns = [
        Column("label", "cause"),
        Column("money", "money", "{:+,.2f}"),
        Column("by_value", "bps, weighted by money"),
        Column("by_order", "bps, each order the same", dropped=1),
    ]
    note = (
        "Timing: when the order traded, at the VWAPs of the bars, against the weights of its benchmark. Price in the "
        "bar: the fills against the VWAP of their bar, which is spread, impact and routing. They add up to the total."
    )
    return Table(frame.drop(columns="policy"), columns, title="Slippage by cause", note=note)


def comparison_table(analysis: TransactionCosts) -> Table | None:
    """Policies on the same orders; ``None`` if no order could be compared."""
    comparison = analysis.comparison
    if comparison is None or not len(comparison.table):
        return None
    frame = comparison.table[comparison.table["weighting"] == "equal"]
    has_net = "net_difference_bps" in frame
    frame = frame.assign(
        price=frame["against"].map(_PRICE_LABELS),
        interval=[
            _interval(*row) for row in zip(frame["difference_bps"], frame["low_bps"], frame["high_bps"], strict=True)
        ],
    )
    columns = [
        Column("price", "against"),
        Column("orders", "orders", "{:,}", dropped=1),
        Column("yours_bps", "yours", "{:+.2f}"),
        Column("policy_bps", "policy", "{:+.2f}"),
        Column("interval", "difference"),
    ]
    if has_net:
        ends = zip(frame["net_difference_bps"], frame["net_low_bps"], frame["net_high_bps"], strict=True)
        frame = frame.assign(net_interval=[_interval(*row) for row in ends])
        columns += [
            Column("yours_net_bps", "yours, net", "{:+.2f}"),
            Column("policy_net_bps", "policy, net", "{:+.2f}"),
            Column("net_interval", "difference, net"),
        ]
    note = (
        "The same orders, bars and sides, bps of slippage, each order the same. Fills count at VWAPs of bars, as "
        "those of the policies do. Difference: yours minus the policy's; positive: the policy would have paid less. "
        "The own benchmark of a flexible order ends with the order, so it differs between policies."
    )
    if comparison.remark:
        note = f"{comparison.remark} {note}"
    return Table(frame, columns, title="What policies would have paid", note=note, grouped=[Column("policy", "policy")])


def orders_table(analysis: TransactionCosts) -> Table:
    """A row per order, the most expensive first."""
    frame = analysis.orders.sort_values("cost", ascending=False, kind="stable", na_position="last").head(_SHOWN)
    more = len(analysis.orders)
    columns = [
        Column("order_id", "order"),
        Column("symbol", "symbol"),
        Column("side", "side"),
        Column("start", "start (UTC)", dropped=2),
        Column("filled_quantity", "filled", "{:,.6g}"),
        Column("filled", "of the amount", "{:.1%}"),
        Column("executed_price", "price", "{:,.6g}", dropped=4),
        Column("participation", "participation", "{:.2%}", dropped=3),
        Column("cost", "cost, money", "{:+,.2f}"),
        Column("net_slippage_bps", "cost, bps", "{:+.1f}"),
        Column("cause_timing_bps", "timing", "{:+.1f}", "bps", dropped=1),
        Column("cause_sizing_bps", "sizing", "{:+.1f}", "bps", dropped=1),
        Column("cause_price_bps", "price", "{:+.1f}", "bps", dropped=1),
        Column("cause_fees_bps", "fees", "{:+.1f}", "bps", dropped=1),
        Column("shortfall_bps", "shortfall, bps", "{:+.1f}", dropped=5),
    ]
    note = f"The {_SHOWN} most expensive of {more:,} orders." if more > _SHOWN else ""
    return Table(frame, columns, title="Orders", note=note, collapsed=more > 12)


def reversion_table(analysis: TransactionCosts) -> Table | None:
    """Whether prices came back; ``None`` where no later bar is known."""
    frame = analysis.reversion
    frame = frame[frame["orders"] > 0]
    if not len(frame):
        return None
    ends = zip(frame["mean_bps"], frame["low_bps"], frame["high_bps"], strict=True)
    frame = frame.assign(label=frame["reference"].map(_REFERENCES), interval=[_interval(*row) for row in ends])
    columns = [
        Column("label", "price of the"),
        Column("bars_after", "bars after the last fill", "{:,}"),
        Column("orders", "orders", "{:,}"),
        Column("interval", "reversion, bps"),
    ]
    note = (
        "Positive: the price came back after the order, so it was pushed, or the price did not last. Beside "
        "the causes, and no part of their sum."
    )
    return Table(frame, columns, title="Reversion", note=note)


def liquidity_table(analysis: TransactionCosts) -> Table | None:
    """Price within the bar and fees by liquidity flag; ``None`` without flags."""
    frame = analysis.by_liquidity
    if not len(frame):
        return None
    columns = [
        Column("liquidity", "liquidity"),
        Column("fills", "fills", "{:,}"),
        Column("share", "of the money", "{:.1%}"),
        Column("price_bps", "price within the bar, bps", "{:+.2f}"),
        Column("fee_bps", "fees, bps", "{:+.2f}"),
    ]
    return Table(frame, columns, title="Fills by liquidity")


def issues_table(analysis: TransactionCosts) -> Table | None:
    """Fills that were left out or look wrong; ``None`` if there are none."""
    if not len(analysis.issues):
        return None
    columns = [
        Column("issue", "fill"),
        Column("fills", "fills", "{:,}"),
        Column("effect", "effect"),
        Column("first", "first of them", dropped=1),
    ]
    return Table(analysis.issues, columns, title="Fills to look at")


def _intervals(frame: pd.DataFrame, name: str) -> list[str]:
    rows = zip(frame[f"{name}_mean"], frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
    return [_interval(*row) for row in rows]


def _interval(mean: float, low: float, high: float) -> str:
    """A mean in bps with its interval, without one where it is not known."""
    if pd.isna(mean):
        return MISSING
    plain = number_text(f"{mean:+.2f}")
    return plain if pd.isna(low) else f"{plain} [{number(low, '+.2f')}, {number(high, '+.2f')}]"


def _share(mean: float) -> str:
    return MISSING if pd.isna(mean) else f"{mean:.2%}"


def _at_level(text: str, level: float) -> str:
    return text.replace("95 %", f"{100 * level:g} %")
