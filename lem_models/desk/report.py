"""The execution of an order of a desk, measured from the desk's log.

The fills, the decisions and the bars are in the log, so nothing else is needed; bars from a file may reach further. A
fill belongs to the bar of its child order. The measures are those of :func:`~lem_models.evaluation.tca.analyse_fills`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pandas as pd

from lem_models.desk.ledger import Ledger
from lem_models.desk.log.events import BarFault, Decided, FellBack, Filled, Restored
from lem_models.desk.log.state import OrderState
from lem_models.desk.status import OrderStatus, status_of
from lem_models.desk.store.order_log import order_log
from lem_models.errors import BarsError, OrderError
from lem_models.evaluation.tca import TransactionCosts, analyse_fills
from lem_models.execution.costs import CostModel
from lem_models.execution.policy import Policy
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment

__all__ = ["OrderReport", "order_report"]


@dataclass(frozen=True)
class OrderReport:
    """The report of an order.

    Attributes:
        status: Where it stands.
        costs: What its fills cost, beside what policies would have paid on the same bars.
        notes: What happened on the way: fallbacks, faults of its bars, refusals; one sentence each.
    """

    status: OrderStatus
    costs: TransactionCosts
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        status = self.status.as_dict()
        status.pop("decision")
        return {"schema": 1, "status": status, "notes": list(self.notes), "costs": self.costs.as_dict()}

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        return self.status._repr_html_() + self.costs._repr_html_()

    def __str__(self) -> str:
        """The report as text."""
        lines = [str(self.status).partition("\n")[0], *(f"! {note}" for note in self.notes)]
        return "\n".join([*lines, "", str(self.costs)])


def order_report(
    ledger: Ledger,
    order: str,
    *,
    bars: Bars | None = None,
    against: Mapping[str, Policy | str] | Sequence[Policy | str] = (),
    costs: CostModel | None = None,
    allow_frequency: bool = False,
    seed: int = 0,
) -> OrderReport:
    """Measure the execution of an order.

    Args:
        ledger: The desk's ledger; its lease is not needed.
        order: Label of the order.
        bars: Bars of its symbol; default those of the desk's log.
        against: Policies to execute the same order with.
        costs: Costs of those policies.
        allow_frequency: Whether a model may run on bars of another length than it was trained on.
        seed: Seed of the intervals.

    Raises:
        OrderError: There is no such order, it has no fills, or no bar of it has closed.
        BarsError: The bars do not hold the order.
    """
    state, label = ledger.order(order), order
    if not state.fills:
        raise OrderError(
            f"order {label!r} is {state.status} and has no fills: there is nothing to measure", rule="fills"
        )
    known = ledger.state.market[state.order.symbol]
    own = ledger.market(state.order.symbol).bars() if bars is None else bars.select([state.order.symbol])
    windows, wanted, fills, notes = _from_log(ledger, label, state)
    start = state.terms.start
    if int(own.timestamp[0]) > start or int(own.timestamp[-1]) < start:
        raise BarsError(
            f"the bars do not hold the start of the order, {moment(start):%Y-%m-%d %H:%M} UTC",
            symbol=state.order.symbol,
            rule="history",
        )
    rows = _fill_rows(fills, windows, label, state)
    last = max(row["time"] for row in rows)
    closed = int((own.timestamp >= start).sum())
    taken = int(((own.timestamp >= start) & (own.timestamp <= last.value)).sum())
    periods = min(state.terms.max_periods, closed)
    if taken > periods or int(own.timestamp[-1]) < last.value:
        raise OrderError(
            f"the bar of the last fill, {last:%Y-%m-%d %H:%M} UTC, has not closed: report the order after it",
            rule="closed bars only",
        )
    if periods < state.terms.max_periods:
        notes.append(f"measured over the {periods} of {state.terms.max_periods} bars that have closed")
    if known.bridged:
        missing = sum(start <= at for at in known.bridged)
        notes += [f"{missing} bars were missing and count without volume"] if missing else []
    wanted_rows = [
        {"order_id": label, "start": moment(at), "quantity": quantity}
        for at, quantity in sorted(wanted.items())
        if quantity
    ]
    analysis = analyse_fills(
        pd.DataFrame(rows),
        own,
        pd.DataFrame([_order_row(label, state, periods)]),
        decisions=pd.DataFrame(wanted_rows) if wanted_rows else None,
        against=against,
        costs=costs,
        allow_frequency=allow_frequency,
        seed=seed,
    )
    status = next(each for each in status_of(ledger.state, ledger.state.policy).orders if each.order_id == label)
    return OrderReport(status, analysis, tuple([*status.notes, *notes]))


def _order_row(label: str, state: OrderState, periods: int) -> dict[str, Any]:
    wanted = state.order
    row = {
        "order_id": label,
        "symbol": wanted.symbol,
        "start": moment(state.terms.start),
        "side": wanted.side.value,
        "benchmark": wanted.benchmark.value,
        "target": wanted.target.value,
        "min_periods": min(state.terms.min_periods, periods),
        "max_periods": periods,
        "amount": float(wanted.amount),
    }
    if wanted.max_participation is not None:
        row["max_participation"] = wanted.max_participation
    if wanted.risk_aversion is not None:
        row["risk_aversion"] = wanted.risk_aversion
    return row


def _from_log(
    ledger: Ledger, label: str, state: OrderState
) -> tuple[dict[str, int], dict[int, float], dict[str, Filled], list[str]]:
    """Start of the bar of each child order, what was wanted in each bar, the fills, and what happened."""
    windows: dict[str, int] = {}
    wanted: dict[int, float] = {}
    fills: dict[str, Filled] = {}
    notes: list[str] = []
    events = order_log(ledger.store, label, state.seq)
    faults = ledger.store.read(events[0].position, kind=BarFault.kind)
    for recorded in sorted([*events, *faults], key=attrgetter("position")):
        event = recorded.event
        if isinstance(event, Decided):
            for entry in event.decisions:
                windows[entry.child] = entry.start
                wanted[entry.start] = float(entry.quantity)
        elif isinstance(event, BarFault):
            is_own = event.symbol == state.order.symbol and event.timestamp >= state.terms.start
            notes += [event.message] if is_own and event.fault != "duplicate" else []
        elif isinstance(event, Filled):
            fills[event.fill] = event
        elif isinstance(event, FellBack | Restored):
            what = "the fallback decided from" if isinstance(event, FellBack) else "the policy decided again from"
            notes.append(f"{what} {moment(recorded.at):%Y-%m-%d %H:%M} UTC: {event.reason}")
    return windows, wanted, fills, notes


def _fill_rows(
    fills: Mapping[str, Filled], windows: Mapping[str, int], label: str, state: OrderState
) -> list[dict[str, Any]]:
    """The table of fills. One without a child order counts with the one before it."""
    rows, at = [], state.terms.start
    for name, fill in fills.items():
        at = windows.get(fill.child, at)
        rows.append(
            {
                "fill_id": name,
                "order_id": label,
                "symbol": state.order.symbol,
                "side": state.order.side.value,
                "time": moment(at),
                "quantity": float(fill.quantity),
                "price": float(fill.price),
            }
        )
    return rows
