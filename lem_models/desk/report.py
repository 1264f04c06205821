"""The execution of an order of a desk, measured from the desk's log.

The fills, the decisions and the bars are in the log, so nothing else is needed; bars from a file may reach further. The
measures are those of :func:`~lem_models.evaluation.tca.analyse_fills`.

A fill is measured at the time that the venue gave, if that lies in the closed bars of the order. Else it belongs to the
bar of its child order: it counts at the time when it was taken in if the bar was open then, or at the start of the bar.
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
from lem_models.desk.status import OrderStatus, order_status
from lem_models.desk.store.order_log import order_log
from lem_models.errors import BarsError, OrderError
from lem_models.evaluation.tca import TransactionCosts, analyse_fills
from lem_models.execution.costs import CostModel
from lem_models.execution.policy import Policy
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment

__all__ = ["LoggedOrder", "OrderReport", "read_order"]


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


@dataclass(frozen=True)
class LoggedOrder:
    """What the log says of an order: all that its report needs. The desk may go on meanwhile.

    Attributes:
        status: Where it stands.
        order: Its row of a table of orders.
        bars: Closed bars of its symbol.
        fills: Its fills: ``fill_id``, ``order_id``, ``symbol``, ``side``, ``time``, ``quantity``, ``price``.
        decisions: What was decided for each bar: ``order_id``, ``start``, ``quantity``.
        notes: What happened on the way.
    """

    status: OrderStatus
    order: pd.DataFrame
    bars: Bars
    fills: pd.DataFrame
    decisions: pd.DataFrame
    notes: tuple[str, ...]

    def measured(
        self,
        *,
        against: Mapping[str, Policy | str] | Sequence[Policy | str] = (),
        costs: CostModel | None = None,
        allow_frequency: bool = False,
        seed: int = 0,
    ) -> OrderReport:
        """Measure the execution.

        Args:
            against: Policies to execute the same order with.
            costs: Costs of those policies.
            allow_frequency: Whether a model may run on bars of another length than it was trained on.
            seed: Seed of the intervals.

        Raises:
            BarsError: The bars do not suit a policy.
            UnknownNameError: There is no such policy.
        """
        analysis = analyse_fills(
            self.fills,
            self.bars,
            self.order,
            decisions=self.decisions if len(self.decisions) else None,
            against=against,
            costs=costs,
            allow_frequency=allow_frequency,
            seed=seed,
        )
        return OrderReport(self.status, analysis, self.notes)


def read_order(ledger: Ledger, order: str, *, bars: Bars | None = None) -> LoggedOrder:
    """Read an order from the log.

    Args:
        ledger: The desk's ledger; its lease is not needed.
        order: Label of the order.
        bars: Bars of its symbol; default those of the desk's log.

    Raises:
        OrderError: There is no such order, it has no fills, or the bar of its last fill has not closed.
        BarsError: The bars do not hold the order.
    """
    state, label = ledger.order(order), order
    if not state.fills:
        raise OrderError(
            f"order {label!r} is {state.status} and has no fills: there is nothing to measure", rule="fills"
        )
    known = ledger.state.market[state.order.symbol]
    own = ledger.market(state.order.symbol).bars() if bars is None else bars.select([state.order.symbol])
    start = state.terms.start
    end = int(own.timestamp[-1]) + known.frequency
    if end <= start:
        raise OrderError(
            f"the order starts at {moment(start):%Y-%m-%d %H:%M} UTC, and the bars end at "
            f"{moment(end):%Y-%m-%d %H:%M}: report the order after its first bar has closed",
            rule="closed bars only",
        )
    if int(own.timestamp[0]) > start:
        raise BarsError(
            f"the bars do not hold the start of the order, {moment(start):%Y-%m-%d %H:%M} UTC",
            symbol=state.order.symbol,
            rule="history",
        )
    rows, wanted, notes = _from_log(ledger, label, state, end)
    last = max(row["time"] for row in rows)
    if last.value >= end:
        raise OrderError(
            f"the bar of the last fill, {last:%Y-%m-%d %H:%M} UTC, has not closed: report the order after it",
            rule="closed bars only",
        )
    periods = min(state.terms.max_periods, int((own.timestamp >= start).sum()))
    if periods < state.terms.max_periods:
        notes.append(f"measured over the {periods} of {state.terms.max_periods} bars that have closed")
    missing = sum(start <= at for at in known.bridged)
    notes += [f"{missing} bars were missing and count without volume"] if missing else []
    decisions = [
        {"order_id": label, "start": moment(at), "quantity": quantity}
        for at, quantity in sorted(wanted.items())
        if quantity
    ]
    status = order_status(label, state, ledger.state.policy)
    return LoggedOrder(
        status,
        pd.DataFrame([_order_row(label, state, periods)]),
        own,
        pd.DataFrame(rows),
        pd.DataFrame(decisions),
        (*status.notes, *notes),
    )


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
    ledger: Ledger, label: str, state: OrderState, end: int
) -> tuple[list[dict[str, Any]], dict[int, float], list[str]]:
    """Rows of the fills, what was wanted in each bar by its start, and what happened."""
    windows: dict[str, int] = {}
    wanted: dict[int, float] = {}
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    at = state.terms.start
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
            at = windows.get(event.child, at)  # one without a child order counts with the one before it
            rows.append(_fill_row(event, label, state, _time_of(event, recorded.at, at, state, end)))
        elif isinstance(event, FellBack | Restored):
            what = "the fallback decided from" if isinstance(event, FellBack) else "the policy decided again from"
            notes.append(f"{what} {moment(recorded.at):%Y-%m-%d %H:%M} UTC: {event.reason}")
    return rows, wanted, notes


def _time_of(fill: Filled, taken: int, start: int, state: OrderState, end: int) -> int:
    """When a fill is measured, nanoseconds UTC.

    Args:
        fill: The fill.
        taken: When it was taken in.
        start: Start of the bar of its child order.
        state: Its order.
        end: End of the last closed bar.
    """
    if fill.time is None:
        return start
    is_of_venue = fill.time != taken
    first, last = (state.terms.start, end) if is_of_venue else (start, start + state.terms.step)
    return fill.time if first <= fill.time < last else start


def _fill_row(fill: Filled, label: str, state: OrderState, time: int) -> dict[str, Any]:
    """A row of the table of fills."""
    return {
        "fill_id": fill.fill,
        "order_id": label,
        "symbol": state.order.symbol,
        "side": state.order.side.value,
        "time": moment(time),
        "quantity": float(fill.quantity),
        "price": float(fill.price),
    }
