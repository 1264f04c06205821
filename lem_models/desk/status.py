"""What a desk shows: decisions in force, orders, feeds and faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from lem_models.desk.decision import Decision
from lem_models.desk.log.events import DecisionEntry
from lem_models.desk.log.state import DeskState, OrderState
from lem_models.desk.orders.amounts import grouped_text, plain_text
from lem_models.markets.calendar.frequency import moment
from lem_models.notebook import cells_html, facts_html

__all__ = ["DeskStatus", "FeedStatus", "OrderStatus", "decision_of", "order_status", "status_of"]

_ZERO = Decimal(0)
_ROWS_SHOWN = 20  # of a card


@dataclass(frozen=True)
class OrderStatus:
    """One order.

    Attributes:
        order_id: Its label.
        parent: Its basket; ``None`` for none.
        symbol: Symbol.
        side: Side.
        status: See :class:`~lem_models.desk.log.state.OrderState`.
        amount: Its amount.
        unit: Word for the amount.
        filled: Units filled.
        left: What of the amount is not filled.
        over: What was filled beyond the amount.
        average_price: Average price; ``None`` before the first fill.
        period: Bar to decide next, from 0.
        max_periods: Bars that it may take.
        end: End of its last bar, ISO 8601.
        policy: Who decides it.
        bridged: Bars of it that were missing.
        rejections: Child orders that the venue refused.
        notes: What a person should look at.
        decision: What it does in the coming bar; ``None`` if none is due.
    """

    order_id: str
    parent: str | None
    symbol: str
    side: str
    status: str
    amount: Decimal
    unit: str
    filled: Decimal
    left: Decimal
    over: Decimal
    average_price: Decimal | None
    period: int
    max_periods: int
    end: str
    policy: str
    bridged: int
    rejections: int
    notes: tuple[str, ...]
    decision: Decision | None

    def as_dict(self) -> dict[str, Any]:
        """The order for JSON."""
        values = {name: _plain(value) for name, value in vars(self).items() if name != "decision"}
        return values | {"decision": None if self.decision is None else self.decision.as_dict()}

    @property
    def line(self) -> str:
        """The order in one line."""
        done = f"{_percent(self)} done"
        price = "" if self.average_price is None else f" at {self.average_price:.8g}"
        return (
            f"{self.order_id}: {self.side} {grouped_text(self.amount)} {self.unit or self.symbol}, {self.status}, "
            f"{done}{price}, {min(self.period, self.max_periods)} of {self.max_periods} bars closed"
        )

    def __str__(self) -> str:
        """One line, and what should be looked at."""
        coming = [str(self.decision)] if self.decision is not None else []
        return "\n  ".join([self.line, *coming, *self.notes])

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        unit = self.unit or self.symbol
        facts = {
            "status": f"{self.status}, {_percent(self)} done",
            "amount": f"{grouped_text(self.amount)} {unit}",
            "left": f"{grouped_text(self.left)} {unit}",
            "average price": None if self.average_price is None else f"{self.average_price:.8g}",
            "bars closed": f"{min(self.period, self.max_periods)} of {self.max_periods}, until {self.end}",
            "policy": self.policy,
            "coming bar": self.decision,
        }
        return facts_html(f"Order {self.order_id}: {self.side} {self.symbol}", facts, note="; ".join(self.notes))


@dataclass(frozen=True)
class FeedStatus:
    """Bars of one symbol.

    Attributes:
        symbol: Symbol.
        last: Start of the last bar, ISO 8601.
        close: Its close.
        bars: Bars observed.
        bridged: How many of them stand for missing ones.
        faults: How often each fault came.
        message: The last message about a fault; empty before the first.
    """

    symbol: str
    last: str
    close: float
    bars: int
    bridged: int
    faults: Mapping[str, int]
    message: str


@dataclass(frozen=True)
class DeskStatus:
    """A desk at a glance.

    Attributes:
        policy: Name of the policy that decides.
        orders: Its orders.
        feeds: Its symbols.
        openings: How often it was opened.
    """

    policy: str
    orders: tuple[OrderStatus, ...]
    feeds: tuple[FeedStatus, ...] = field(default=())
    openings: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The desk for JSON."""
        return {
            "policy": self.policy,
            "openings": self.openings,
            "orders": [order.as_dict() for order in self.orders],
            "feeds": [vars(feed) | {"faults": dict(feed.faults)} for feed in self.feeds],
        }

    def _repr_html_(self) -> str:
        """A card for a notebook: the desk, a row per order, and feeds with faults."""
        head = ("order", "side", "symbol", "status", "amount", "done", "average price", "bars closed")
        rows = [
            (
                *(order.order_id, order.side, order.symbol, order.status),
                f"{grouped_text(order.amount)} {order.unit or order.symbol}",
                _percent(order),
                "" if order.average_price is None else f"{order.average_price:.8g}",
                f"{min(order.period, order.max_periods)} of {order.max_periods}",
            )
            for order in self.orders[:_ROWS_SHOWN]
        ]
        facts = {"policy": self.policy, "orders": len(self.orders), "symbols": len(self.feeds)}
        faults = [f"{feed.symbol}: {feed.message}" for feed in self.feeds if feed.message]
        table = cells_html(head, rows, left=4, rest=len(self.orders) - _ROWS_SHOWN) if rows else ""
        return facts_html("Desk", facts, table, note="; ".join(faults[:_ROWS_SHOWN]))

    def __str__(self) -> str:
        """Orders, then the feeds that something is wrong with."""
        lines = [str(order) for order in self.orders] or ["no orders"]
        for feed in self.feeds:
            if feed.faults:
                counts = ", ".join(f"{count} {name}" for name, count in sorted(feed.faults.items()))
                lines.append(f"{feed.symbol}: bars {counts}; last: {feed.message}")
        return "\n".join(lines)


def decision_of(order: OrderState, policy: str) -> Decision | None:
    """The decision in force of an order; ``None`` if none is due."""
    entry, wanted, terms = order.decision, order.order, order.terms
    if not order.is_active or entry is None or entry.period != order.period:
        return None
    paused = order.status == "paused"
    quantity = _ZERO if paused else entry.quantity
    notional = _ZERO if paused else entry.notional
    size = notional if wanted.is_notional else quantity
    reason = "paused" if paused else entry.reason
    if order.fallback and not paused:
        reason = f"{reason}; " * bool(reason) + "decided by the fallback, a volume curve of 20 sessions"
    window = moment(entry.start), moment(entry.start + terms.step)
    return Decision(
        order_id=entry.order,
        child=entry.child,
        symbol=wanted.symbol,
        side=wanted.side.value,
        quantity=quantity,
        notional=notional,
        fraction=float(size / wanted.amount),
        window=window,
        limit_participation=wanted.max_participation,
        finish=entry.finish and not paused,
        reason=reason,
        left=max(order.left - (_ZERO if paused else _unfilled(order, entry)), _ZERO),
        unit=wanted.unit or wanted.symbol,
        is_notional=wanted.is_notional,
        may_finish=max(moment(terms.may_finish), window[0]),
        period=entry.period,
        lot_size=wanted.lot_size,
        tick_size=wanted.tick_size,
    )


def _unfilled(order: OrderState, entry: DecisionEntry) -> Decimal:
    """What the child order in force may still fill, in what the amount is."""
    child = order.children.get(entry.child)
    if child is None:
        return _ZERO
    return child.unfilled * entry.notional / entry.quantity if order.order.is_notional else child.unfilled


def status_of(state: DeskState, policy: str) -> DeskStatus:
    """The status of a desk."""
    orders = tuple(order_status(label, order, policy) for label, order in state.orders.items())
    feeds = tuple(
        FeedStatus(
            name,
            moment(market.last).isoformat(),
            market.close,
            len(market.bars),
            len(market.bridged),
            dict(market.faults),
            market.message,
        )
        for name, market in state.market.items()
    )
    return DeskStatus(policy, orders, feeds, state.openings)


def order_status(label: str, order: OrderState, policy: str) -> OrderStatus:
    """The status of one order."""
    wanted = order.order
    notes = []
    if order.fallback:
        notes.append(f"the fallback decides: {order.fallback}")
    if order.bridged:
        notes.append(f"{order.bridged} of its bars {'was' if order.bridged == 1 else 'were'} missing")
    if order.over:
        notes.append(f"{plain_text(order.over)} more than the amount were filled")
    if order.conflicts:
        notes.append(f"{order.conflicts} fills contradict booked ones")
    if order.rejections:
        notes.append(f"the venue refused {order.rejections} child orders")
    if order.reason:
        notes.append(order.reason)
    return OrderStatus(
        order_id=label,
        parent=wanted.parent,
        symbol=wanted.symbol,
        side=wanted.side.value,
        status=order.status,
        amount=wanted.amount,
        unit=wanted.unit,
        filled=order.filled,
        left=order.left,
        over=order.over,
        average_price=order.average_price,
        period=order.period,
        max_periods=order.terms.max_periods,
        end=moment(order.terms.end).isoformat(),
        policy="volume_curve" if order.fallback else policy,
        bridged=order.bridged,
        rejections=order.rejections,
        notes=tuple(notes),
        decision=decision_of(order, policy),
    )


def _percent(order: OrderStatus) -> str:
    used = (order.amount - order.left) / order.amount
    return f"{used:.1%}"


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return plain_text(value)
    return list(value) if isinstance(value, tuple) else value
