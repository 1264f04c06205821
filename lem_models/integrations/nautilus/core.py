"""The ledger of child orders: what is to be sent, what was sent, and what became of it, also after a crash.

It is a :class:`~lem_models.desk.Desk` in the words of an execution algorithm. The desk's event log is the only record:
a child order is decided in one transaction, before it is sent, and its id is its place in that log. An id therefore
never repeats and never changes, whatever is restarted, and a venue that knows an id takes it once.

Nothing here imports ``nautilus_trader``.
"""

from __future__ import annotations

import os
import re
import time as system_time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from lem_models.desk import Decision, Desk, DeskOrder, FeedRules
from lem_models.desk.booking import Booked
from lem_models.desk.log.state import OrderState
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import OrderError
from lem_models.execution.policy import Policy
from lem_models.markets.bars import BarsLike
from lem_models.markets.calendar.frequency import moment

__all__ = ["ChildLedger", "ChildOrder", "child_id", "parent_of"]

_ZERO = Decimal(0)
_ID = re.compile(r"(?P<parent>.+)-E(?P<number>[1-9]\d*)")
_TERMS = (
    *("symbol", "side", "amount", "target", "benchmark", "lot_size", "min_duration", "max_duration"),
    *("max_participation", "risk_aversion"),
)
"""What a parent order that is handed in again must have in common with the one that the ledger has."""


def child_id(parent: str, number: int) -> str:
    """Id of a child order.

    Args:
        parent: Id of the parent order.
        number: Place of the child among the parent's child orders, from 1.
    """
    return f"{parent}-E{number}"


def parent_of(identifier: str) -> tuple[str, int] | None:
    """The parent and the number of a child order; ``None`` if this is no id of one.

    Example:
        >>> parent_of("O-1-E12"), parent_of("O-1")
        (('O-1', 12), None)
    """
    match = _ID.fullmatch(identifier)
    return (match["parent"], int(match["number"])) if match else None


@dataclass(frozen=True)
class ChildOrder:
    """A child order to send.

    Attributes:
        id: Its id.
        decision: What it does.
    """

    id: str
    decision: Decision

    @property
    def parent(self) -> str:
        """Id of the parent order."""
        return self.decision.order_id

    @property
    def start(self) -> int:
        """When its bar begins, nanoseconds UTC: it is not sent before."""
        return int(self.decision.window[0].value)


class ChildLedger:
    """Parent orders and their child orders.

    Args:
        place: Path of an SQLite file, which is made; URL of a PostgreSQL database; ``None`` for memory.
        policy: Who decides: a policy, or a name as :func:`~lem_models.load_policy` takes it.
        clock: The time, nanoseconds UTC; the system's by default.
        rules: How long to wait for bars.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.

    Raises:
        DeskError: The file cannot be opened, or another process runs it (rule ``"lease"``).
        UnknownNameError: There is no policy of this name.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | None,
        policy: Policy | str,
        *,
        clock: Callable[[], int] = system_time.time_ns,
        rules: FeedRules | None = None,
        allow_frequency: bool = False,
    ) -> None:
        self.desk = Desk(
            MemoryStore() if place is None else place,
            policy,
            rules=rules,
            clock=clock,
            allow_frequency=allow_frequency,
        )

    # -- parent orders -----------------------------------------------------------------------------------------------

    def __contains__(self, parent: object) -> bool:
        """Whether the ledger has a parent order."""
        return parent in self.desk.state.orders

    @property
    def parents(self) -> list[str]:
        """Ids of all parent orders, in the order in which they came."""
        return list(self.desk.state.orders)

    @property
    def active(self) -> list[str]:
        """Ids of the parent orders that may still trade."""
        return [label for labels in self.desk.state.active.values() for label in labels]

    def parent(self, parent: str) -> OrderState:
        """A parent order, and what has become of it.

        Raises:
            OrderError: There is none of this id.
        """
        return self.desk.order(parent)

    def take(self, order: DeskOrder, history: BarsLike | None = None) -> bool:
        """Take a parent order. One that the ledger has goes on where it was.

        Args:
            order: The order; its ``id`` is that of the parent order.
            history: Closed bars of its symbol up to now. Not needed while the ledger follows the symbol.

        Returns:
            Whether the order is new.

        Raises:
            OrderError: The terms forbid the order, it is over, or the ledger has another order of this id.
            BarsError: The history breaks a rule.
        """
        if order.label not in self:
            self.desk.add(order, history)
            return True
        known = self.parent(order.label)
        other = [name for name in _TERMS if getattr(known.asked, name) != getattr(order, name)]
        if other or not known.is_active:
            what = (
                f"another order of the id {order.label!r}, which differs in {', '.join(other)}"
                if other
                else f"the order {order.label!r}, and it is {known.status}"
            )
            raise OrderError(
                f"the ledger has {what}: give the new order another id, or start with another state_path",
                field="id",
                rule="one order an id",
                order_id=order.label,
            )
        return False

    def cancel(self, parent: str, reason: str = "") -> None:
        """End a parent order; fills of its child orders that still come are booked."""
        if self.parent(parent).is_active:
            self.desk.cancel(parent, reason)

    def is_over(self, parent: str) -> bool:
        """Whether nothing can be traded any more: no child order is due, and none is open at the venue."""
        order = self.parent(parent)
        return not order.is_active and not any(child.is_open for child in order.children.values())

    # -- bars --------------------------------------------------------------------------------------------------------

    def last_close(self, symbol: str) -> int | None:
        """When the last bar of a symbol closed, nanoseconds UTC; ``None`` for a symbol that is not followed."""
        market = self.desk.state.market.get(symbol)
        return None if market is None else market.last + market.frequency

    def next_close(self, symbol: str) -> int | None:
        """When the coming bar of a symbol closes as its calendar expects it, nanoseconds UTC."""
        market = self.desk.state.market.get(symbol)
        return None if market is None else self.desk.coming(symbol) + market.frequency

    def observe(self, symbol: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Take in bars of a symbol that have closed, and decide the coming one.

        Returns:
            What was wrong with them, in sentences.

        Raises:
            BarsError: A bar breaks a rule; nothing has then changed.
        """
        closed = list(rows)
        if len(closed) == 1:
            return self.desk.observe({symbol: closed[0]})
        # In one call, so that only the coming bar is decided and not those that passed meanwhile.
        return self.desk.observe(pd.DataFrame(closed).assign(symbol=symbol)) if closed else []

    def watch(self, now: int) -> list[str]:
        """Let a bar without volume stand for one that is overdue; messages."""
        return self.desk.watch(now)

    # -- child orders ------------------------------------------------------------------------------------------------

    def wanted(self) -> list[ChildOrder]:
        """The child orders in force that may still fill: those to send, as far as they were not sent."""
        due = []
        for decision in self.desk.decide():
            order = self.parent(decision.order_id)
            child = order.children.get(decision.child) if decision.quantity else None
            if child is not None and child.is_open:
                due.append(ChildOrder(self._id(order, decision.order_id, decision.child), decision))
        return due

    def children(self, parent: str) -> list[str]:
        """Ids of all child orders of a parent order."""
        return [child_id(parent, number) for number in range(1, len(self.parent(parent).children) + 1)]

    def open_children(self, *, of_the_past: bool = False) -> list[str]:
        """Ids of the child orders that may still fill.

        Args:
            of_the_past: Only those whose bar has closed.
        """
        found = []
        for label, order in self.desk.state.orders.items():
            for number, child in enumerate(order.children.values(), start=1):
                past = child.period < order.period or not order.is_active
                if child.is_open and (past or not of_the_past):
                    found.append(child_id(label, number))
        return found

    def fill(
        self,
        child: str,
        quantity: Decimal | float | str,
        price: Decimal | float | str,
        trade: str,
        time: int | None = None,
    ) -> Booked | None:
        """Book a fill of a child order; one that was booked is not booked again.

        Args:
            child: Id of the child order.
            quantity: Units.
            price: Price.
            trade: The venue's id of the trade.
            time: When it was filled, nanoseconds UTC; now by default.

        Returns:
            What became of it; ``None`` if the ledger has no such child order.

        Raises:
            OrderError: The numbers are not positive, or another fill of this id was booked.
        """
        place = self._place(child)
        if place is None:
            return None
        parent, label = place
        when = None if time is None else moment(time)
        return self.desk.fill(parent, quantity, price, f"{child}:{trade}", label, when)

    def catch_up(self, child: str, fills: Iterable[tuple[Decimal, Decimal, str, int]]) -> Decimal:
        """Book what a child order has filled in all, as the venue tells of it after a restart.

        A node that reconciles may know a trade by another id than the one under which it was booked, or several trades
        as one. Therefore no more is booked than the sum of the fills exceeds what was booked.

        Args:
            child: Id of the child order; one that the ledger does not have is passed over.
            fills: Quantity, price, id and time (nanoseconds UTC) of every fill of the child order.

        Returns:
            Units that were booked.
        """
        place, known = self._place(child), list(fills)
        if place is None:
            return _ZERO
        order = self.parent(place[0])
        room = sum((quantity for quantity, _, _, _ in known), _ZERO) - order.children[place[1]].filled
        booked = _ZERO
        for quantity, price, trade, when in known:
            units = min(quantity, room - booked)
            if units > 0 and f"{child}:{trade}" not in order.fills:
                self.fill(child, units, price, trade, when)
                booked += units
        return booked

    def close(self, child: str, refused: str | None = None) -> None:
        """Say that a child order fills no more: what it has not filled is decided again at the next bar.

        Args:
            child: Id of the child order; one that the ledger does not have is passed over.
            refused: Why the venue refused it; ``None`` where it did not.
        """
        place = self._place(child)
        if place is None:
            return
        if refused is None:
            self.desk.close_child(*place)
        else:
            self.desk.reject(place[0], refused, place[1])

    def shut(self) -> None:
        """Give the file back; the orders stay."""
        self.desk.close()

    def _place(self, child: str) -> tuple[str, str] | None:
        """The parent of a child order, and its label on the desk."""
        parsed = parent_of(child)
        if parsed is None or parsed[0] not in self:
            return None
        parent, number = parsed
        labels = list(self.parent(parent).children)
        return (parent, labels[number - 1]) if number <= len(labels) else None

    @staticmethod
    def _id(order: OrderState, parent: str, label: str) -> str:
        return child_id(parent, list(order.children).index(label) + 1)
