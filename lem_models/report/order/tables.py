"""Tables of one order under several policies: where it stands after a bar, what it paid, what it traded."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lem_models.evaluation.capacity import net_improvements
from lem_models.execution.result import ExecutionResult
from lem_models.report.tables import Column, Emphasis, Table

__all__ = ["outcome_table", "schedule_table", "standing_table"]

_BPS = "{:+.1f}"
_PRICES = (
    Column("executed_price", "executed", "{:,.6g}"),
    Column("benchmark_price", "benchmark", "{:,.6g}"),
)


def standing_table(paths: pd.DataFrame, through: int) -> Table:
    """Where each policy stands after some bar.

    Args:
        paths: Rows of :func:`~lem_models.evaluation.order_path.order_paths`.
        through: Number of bars that have closed, at least 1.
    """
    frame = paths[paths["period"] == through].reset_index(drop=True)
    columns = [
        Column("policy", "policy"),
        Column("fraction", "this bar", "{:.1%}"),
        Column("done", "done", "{:.1%}"),
        Column("executed", "executed", "{:,.6g}"),
        Column("benchmark", "benchmark", "{:,.6g}"),
        Column("improvement_bps", "better, bps", _BPS),
    ]
    note = (
        "Prices and improvement so far, before costs. This bar, done: parts of the order. Better: bps against the "
        "benchmark, positive is good."
    )
    return Table(frame, columns, title="Standing", note=note, emphasis=_first(paths))


def outcome_table(results: Mapping[str, ExecutionResult], row: int = 0, *, prices: bool = True) -> Table:
    """What the order paid under each policy, against three prices, before and after costs.

    Args:
        results: Result of each policy on the same orders, by name.
        row: Row of the order in the results.
        prices: Whether the executed price and the benchmark have columns.
    """
    rows = []
    for policy, result in results.items():
        order = result.orders.iloc[[row]].reset_index(drop=True)
        rows.append(pd.concat([order, net_improvements(order)], axis=1).assign(policy=policy))
    frame = pd.concat(rows, ignore_index=True)
    better = "better than its benchmark, bps"
    columns = [
        Column("policy", "policy"),
        Column("periods_used", "bars", "{:.0f}"),
        Column("filled", "done", "{:.1%}"),
        *(_PRICES if prices else ()),
        Column("gross_own", "gross", _BPS, better),
        Column("cost_bps", "cost", "{:.1f}", better),
        Column("net_own", "net", _BPS, better),
        Column("net_full_vwap", "full VWAP", _BPS, "net, bps"),
        Column("net_arrival", "arrival", _BPS, "net, bps"),
    ]
    note = (
        "In bps, positive is good. Its benchmark ends when the order does. Net is after costs: against the VWAP of the "
        "full horizon, and against the price before the order (arrival), which also moves with the market."
    )
    return Table(frame, columns, title="Outcome", note=note, emphasis=_first(frame))


def schedule_table(paths: pd.DataFrame, policy: str) -> Table:
    """What a policy traded bar by bar.

    Args:
        paths: Rows of :func:`~lem_models.evaluation.order_path.order_paths`.
        policy: Name of the policy.
    """
    frame = paths[paths["policy"] == policy].reset_index(drop=True)
    columns = [
        Column("period", "bar", "{:.0f}"),
        Column("timestamp", "bar start (UTC)"),
        Column("fraction", "fraction", "{:.1%}"),
        *([Column("amount", "amount", "{:,.6g}")] if frame["amount"].notna().any() else []),
        Column("vwap", "bar VWAP", "{:,.6g}"),
        Column("done", "done", "{:.1%}"),
        Column("executed", "executed so far", "{:,.6g}"),
        Column("benchmark", "benchmark so far", "{:,.6g}"),
        Column("improvement_bps", "better so far, bps", _BPS),
    ]
    return Table(frame, columns, title=f"{policy}, bar by bar", collapsed=True)


def _first(frame: pd.DataFrame) -> dict[str, Emphasis]:
    """The policy under test stands out."""
    return {str(frame["policy"].iloc[0]): "strong"}
