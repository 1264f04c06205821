"""Booking of fills: partial, late, doubled, beyond the amount, contradictory; and of refusals by the venue."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from lem_models.desk.ledger import Ledger, Transaction
from lem_models.desk.log.events import ChildClosed, FillConflict, Filled, Rejected
from lem_models.desk.log.state import Child, OrderState
from lem_models.desk.market_data.feed import ChildDone, Fill
from lem_models.desk.orders.amounts import plain_text
from lem_models.desk.trading import Trading
from lem_models.errors import OrderError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, read_moment

__all__ = ["Booked", "Booking"]

_LOG = logging.getLogger("lem_models")
_ZERO = Decimal(0)
_MOST_LABEL = 120


@dataclass(frozen=True)
class Booked:
    """What became of a fill.

    Attributes:
        kind: ``"booked"``, ``"duplicate"`` (booked before), ``"late"`` (booked, after its bar had closed), ``"over"``
            (booked, beyond the amount) or ``"conflict"`` (not booked: it contradicts one that is).
        message: The same in a sentence.
    """

    kind: str
    message: str


_DUPLICATE = Booked("duplicate", "the fill was booked before")


class Booking:
    """Books fills of a desk.

    Args:
        ledger: The ledger.
        trading: Is told of fills of bars that have closed.
    """

    def __init__(self, ledger: Ledger, trading: Trading) -> None:
        self._ledger, self._trading = ledger, trading

    def book(self, change: Transaction, reports: Iterable[Fill | ChildDone]) -> list[str]:
        """Book what a venue reports; a contradictory fill is said and not booked, and the others are.

        Returns:
            Messages about fills that are neither simply booked nor doubled.
        """
        messages = []
        for each in reports:
            if isinstance(each, Fill):
                booked = self.fill(change, each)
                messages += [booked.message] if booked.kind not in ("booked", "duplicate") else []
            elif each.refused is not None:
                messages += self.reject(change, each.order, each.refused, each.child)
            else:
                self.close_child(change, each.order, each.child)
        return messages

    def fill(self, change: Transaction, fill: Fill) -> Booked:
        """Book one fill; see :meth:`Desk.fill`. A contradictory one is logged and not booked."""
        order = self._ledger.order(fill.order)
        if fill.quantity <= 0 or fill.price <= 0:
            raise OrderError(
                f"fill {shown(fill.id)}: quantity and price must be positive; got {plain_text(fill.quantity)} at "
                f"{plain_text(fill.price)}",
                field="quantity",
                rule="positive",
                order_id=fill.order,
            )
        if not fill.id or len(fill.id) > _MOST_LABEL or not fill.id.isprintable():
            raise OrderError(
                f"a fill needs a label of 1 to {_MOST_LABEL} printable signs, by which one that comes twice is known; "
                f"got {shown(fill.id)}",
                field="id",
                rule="label",
                order_id=fill.order,
            )
        at = _time_of(fill, change.at)
        before = order.fills.get(fill.id)
        if before is not None:
            return self._again(change, fill, before)
        return self._booked(change, order, fill, at)

    def _again(self, change: Transaction, fill: Fill, before: tuple[Decimal, Decimal]) -> Booked:
        if before == (fill.quantity, fill.price):
            return _DUPLICATE
        change.add(fill.order, FillConflict(fill.id, fill.quantity, fill.price))
        text = (
            f"fill {shown(fill.id)} of order {fill.order!r} was booked as {plain_text(before[0])} at "
            f"{plain_text(before[1])}, and comes again as {plain_text(fill.quantity)} at {plain_text(fill.price)}: the "
            "first stays; book a correction under another label"
        )
        _LOG.warning("%s", text)
        return Booked("conflict", text)

    def _booked(self, change: Transaction, order: OrderState, fill: Fill, at: int) -> Booked:
        label = fill.order
        last = next(reversed(order.children), "")
        child = last if fill.child is None else fill.child
        known = order.children.get(child)
        if fill.child is not None and known is None:
            raise OrderError(
                f"order {label!r} has no child order {shown(fill.child)}; its last one is {last or 'none'}",
                field="child",
                rule="known child order",
                order_id=label,
            )
        was_active = order.is_active
        late = not was_active or known is None or known.period < order.period
        beyond = _beyond(order, fill, known)
        if late and was_active:
            self._trading.engine(change)  # before the fill is in the state: it is told of the fill below, once
        change.add(label, Filled(fill.id, fill.quantity, fill.price, child if known else "", late, beyond, at))
        if late and was_active:
            self._trading.late(change, label, fill.quantity, fill.price)
        if not order.is_active:
            self._trading.drop(label)
        elif late:
            self._trading.cut(change, label)
        else:
            self._trading.prepare(label)
        return self._message(order, fill, beyond, late=late)

    @staticmethod
    def _message(order: OrderState, fill: Fill, beyond: Decimal, *, late: bool) -> Booked:
        what = f"fill {shown(fill.id)} of order {fill.order!r}"
        if beyond:
            text = (
                f"{what} is beyond its amount: {plain_text(beyond)} {order.order.unit or order.order.symbol} more than "
                f"{plain_text(order.order.amount)} are filled by it; trade them back, or amend the amount"
            )
            _LOG.warning("%s", text)
            return Booked("over", text)
        if late:
            text = f"{what} came late: the bar of its child order has closed; it is booked"
            _LOG.info("%s", text)
            return Booked("late", text)
        return Booked("booked", f"{what} is booked")

    def reject(self, change: Transaction, label: str, reason: str, child: str | None) -> list[str]:
        """Book a refusal; one that is booked already is passed over."""
        order = self._ledger.order(label)
        name = self._child(order, label, child)
        if not order.children[name].is_open:
            return []
        change.add(label, Rejected(name, reason))
        text = f"the venue refused child order {name}: {reason or 'no reason given'}"
        _LOG.warning("%s", text)
        return [text]

    def close_child(self, change: Transaction, label: str, child: str | None) -> None:
        """Book that a child order fills no more."""
        order = self._ledger.order(label)
        name = self._child(order, label, child)
        if order.children[name].is_open:
            change.add(label, ChildClosed(name))

    @staticmethod
    def _child(order: OrderState, label: str, child: str | None) -> str:
        name = next(reversed(order.children), "") if child is None else child
        if name not in order.children:
            raise OrderError(
                f"order {label!r} has no child order {shown(child)}",
                field="child",
                rule="known child order",
                order_id=label,
            )
        return name


def _time_of(fill: Fill, now: int) -> int:
    """When a fill was, nanoseconds UTC; now where the venue does not say."""
    if fill.time is None:
        return now
    try:
        return read_moment(fill.time, needs_zone=True)
    except MomentError as error:
        raise OrderError(
            f"the time of fill {shown(fill.id)}: {error.reason}", field="time", rule="time", order_id=fill.order
        ) from None


def _beyond(order: OrderState, fill: Fill, child: Child | None) -> Decimal:
    """How much of a fill is beyond the amount of its order, in what the amount is.

    Units that a notional order sent at the last close may cost a little more money than it meant to spend. They are
    beyond the amount only where they are beyond the child order.
    """
    wanted = order.order
    if not wanted.is_notional:
        return max(order.used + fill.quantity - max(wanted.amount, order.used), _ZERO)
    money = max(order.used + fill.quantity * fill.price - max(wanted.amount, order.used), _ZERO)
    units = fill.quantity if child is None else max(child.filled + fill.quantity - child.quantity, _ZERO)
    return min(money, units * fill.price)
