"""The state of a desk: a fold over its events. Replaying a log gives the same state again, whatever the machine.

:func:`fold` is the only place where the state changes. It reads events and nothing else: no clock, no policy, no
market.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from lem_models.desk.log import events as log
from lem_models.desk.log.events import DESK, Bar, DecisionEntry, Recorded
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.orders.terms import Terms
from lem_models.errors import DeskError

__all__ = ["ACTIVE", "Child", "DeskState", "MarketState", "OrderState", "fold", "replay"]

ACTIVE = ("waiting", "working", "paused")
"""States of an order that may still trade."""

_ZERO = Decimal(0)
_DUST = Decimal("1e-12")  # of an order: no policy can tell it from nothing


@dataclass(slots=True)
class Child:
    """A child order.

    Attributes:
        period: Bar of the order that it was sent for.
        quantity: Its units.
        notional: Its money at the price it was sized at.
        takes_all: Whether it was meant to be the last one.
        filled: Units filled.
        is_open: Whether it may still fill: what it has not filled is reserved.
    """

    period: int
    quantity: Decimal
    notional: Decimal
    takes_all: bool
    filled: Decimal = _ZERO
    is_open: bool = True

    @property
    def unfilled(self) -> Decimal:
        """Units that may still fill; 0 once it is closed."""
        return max(self.quantity - self.filled, _ZERO) if self.is_open else _ZERO


@dataclass(slots=True)
class Traded:
    """Fills of one bar of an order.

    Attributes:
        units: Units.
        money: Their money.
    """

    units: Decimal = _ZERO
    money: Decimal = _ZERO


@dataclass(slots=True)
class OrderState:
    """An order, and what has become of it.

    Attributes:
        order: The order.
        terms: When it trades.
        expected: Volume expected in each of its bars, in units.
        arrival: Last close before it.
        asked: The order as it was added, before amendments: who sends it again after a crash means the same one.
        seq: Number of its last event.
        status: ``"waiting"`` for its start, ``"working"``, ``"paused"``, ``"done"``, ``"cancelled"``, ``"expired"``
            (its time is over and something is left) or ``"ended"``.
        filled: Units filled.
        spent: Their money.
        over: How much more was filled than the amount, in what the amount is.
        fills: Quantity and price of each fill, by its label.
        period: Bar to decide next, from 0.
        periods: Fills of each bar that has closed.
        in_bar: Fills of the bar that runs.
        decision: The decision in force.
        revisions: Decisions of the bar that runs.
        children: Child orders by label.
        carry: What is carried to the next bar.
        fallback: Why the fallback decides; empty where the desk's policy does.
        rejections: Child orders that the venue refused.
        conflicts: Fills that contradict a fill that was booked.
        bridged: Bars of the order that were missing.
        reason: Why it ended.
    """

    order: DeskOrder
    terms: Terms
    expected: tuple[float, ...]
    arrival: float
    asked: DeskOrder
    seq: int = 0
    status: str = "waiting"
    filled: Decimal = _ZERO
    spent: Decimal = _ZERO
    over: Decimal = _ZERO
    fills: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    period: int = 0
    periods: list[Traded] = field(default_factory=list)
    in_bar: Traded = field(default_factory=Traded)
    decision: DecisionEntry | None = None
    revisions: int = 0
    children: dict[str, Child] = field(default_factory=dict)
    carry: Decimal = _ZERO
    fallback: str = ""
    rejections: int = 0
    conflicts: int = 0
    bridged: int = 0
    reason: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it may still trade."""
        return self.status in ACTIVE

    @property
    def used(self) -> Decimal:
        """What of the amount is filled."""
        return self.spent if self.order.is_notional else self.filled

    @property
    def left(self) -> Decimal:
        """What of the amount is not filled."""
        return max(self.order.amount - self.used, _ZERO)

    @property
    def average_price(self) -> Decimal | None:
        """Average price of the fills; ``None`` before the first."""
        return self.spent / self.filled if self.filled else None

    def reserved(self, price: Decimal) -> Decimal:
        """What open child orders may still fill, in what the amount is."""
        units = sum((child.unfilled for child in self.children.values() if child.is_open), _ZERO)
        return units * price if self.order.is_notional else units

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left that can be traded."""
        left, step = self.left, self.order.lot_size
        if left <= self.order.amount * _DUST:
            return True
        if not self.order.is_notional:
            return step is not None and left < step
        if not self.fills:
            return False
        price = next(reversed(self.fills.values()))[1]
        if step is not None and left < step * price:
            return True
        last = self.children.get(self.decision.child) if self.decision is not None else None
        return last is not None and last.takes_all and last.filled >= last.quantity > 0


@dataclass
class MarketState:
    """Bars of a symbol.

    Attributes:
        digest: SHA-256 of the stored history.
        calendar: Name of the calendar.
        frequency: Length of a bar, nanoseconds.
        first: Start of the last bar of the history, nanoseconds UTC.
        last: Start of the last bar, nanoseconds UTC.
        close: Its close.
        bars: Bars after the history, those that stand for missing ones too.
        places: Place in ``bars`` of each of them, by its start.
        bridged: Starts of bars that stand for missing ones.
        faults: How often each fault of a bar came.
        message: The last of their messages.
    """

    digest: str
    calendar: str
    frequency: int
    first: int
    last: int
    close: float
    bars: list[Bar] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    bridged: set[int] = field(default_factory=set)
    faults: dict[str, int] = field(default_factory=dict)
    message: str = ""


@dataclass
class DeskState:
    """Everything that is known on a desk.

    Attributes:
        orders: Orders by label, in the order in which they came.
        market: Bars by symbol.
        active: Labels of the active orders of each symbol.
        seq: Number of the last event in the stream of the desk.
        policy: Name of the policy that decides.
        openings: How often the desk was opened.
        position: Place of the last event in the log.
    """

    orders: dict[str, OrderState] = field(default_factory=dict)
    market: dict[str, MarketState] = field(default_factory=dict)
    active: dict[str, dict[str, None]] = field(default_factory=dict)
    seq: int = 0
    policy: str = ""
    openings: int = 0
    position: int = 0


def replay(records: Iterable[Recorded]) -> DeskState:
    """The state of a log."""
    state = DeskState()
    for recorded in records:
        fold(state, recorded)
    return state


def fold(state: DeskState, recorded: Recorded) -> None:
    """Take one event into the state.

    Raises:
        DeskError: The event does not follow the one before it in its stream.
    """
    event, position = recorded.event, recorded.position
    state.position = max(state.position, position)
    if recorded.stream == DESK:
        _check_seq(DESK, state.seq, recorded.seq)
        state.seq = recorded.seq
        _OF_DESK[type(event)](state, event)
        return
    if isinstance(event, log.Added):
        order = state.orders[recorded.stream] = _added(event)
    else:
        known = state.orders.get(recorded.stream)
        if known is None:
            raise DeskError(f"the log begins order {recorded.stream!r} with {event.kind!r}", rule="first event")
        order = known
        _OF_ORDER[type(event)](order, event)
    _check_seq(recorded.stream, order.seq, recorded.seq)
    order.seq = recorded.seq
    _settle(state, recorded.stream, order)


def _check_seq(stream: str, before: int, seq: int) -> None:
    if seq != before + 1:
        raise DeskError(
            f"the log of {stream!r} goes from event {before} to {seq}: an event is missing or was written twice; "
            "restore the database from a copy",
            rule="unique (order, seq)",
        )


def _settle(state: DeskState, label: str, order: OrderState) -> None:
    """Follow an order as long as it is active."""
    if order.is_active and order.is_complete:
        order.status = "done"
    active = state.active.setdefault(order.order.symbol, {})
    if order.is_active:
        active[label] = None
    else:
        active.pop(label, None)


# -- events of an order ----------------------------------------------------------------------------------------------


def _added(event: log.Added) -> OrderState:
    order = DeskOrder(**event.order)
    return OrderState(order, Terms(**event.terms), event.expected, event.price, order)


def _amended(order: OrderState, event: log.Amended) -> None:
    order.order, order.terms, order.expected = DeskOrder(**event.order), Terms(**event.terms), event.expected
    order.carry = _ZERO
    _release(order)


def _paused(order: OrderState, event: log.Paused) -> None:
    order.status = "paused"
    order.carry = _ZERO
    _release(order)


def _resumed(order: OrderState, event: log.Resumed) -> None:
    order.status = "working" if order.decision is not None else "waiting"


def _cancelled(order: OrderState, event: log.Cancelled) -> None:
    order.status, order.reason = "cancelled", event.reason
    _release(order)


def _ended(order: OrderState, event: log.Ended) -> None:
    order.status, order.reason = "ended", event.reason


def _filled(order: OrderState, event: log.Filled) -> None:
    order.fills[event.fill] = event.quantity, event.price
    money = event.quantity * event.price
    order.filled, order.spent = order.filled + event.quantity, order.spent + money
    order.over += event.over
    child = order.children.get(event.child)
    if child is not None:
        child.filled += event.quantity
        child.is_open = child.is_open and child.filled < child.quantity
    # What comes late counts with the last bar that has closed, as it does for the policy.
    bar = order.periods[-1] if event.late and order.periods else order.in_bar
    bar.units, bar.money = bar.units + event.quantity, bar.money + money
    if order.status == "expired" and order.is_complete:
        order.status = "done"


def _rejected(order: OrderState, event: log.Rejected) -> None:
    order.rejections += 1
    _close(order, event.child)


def _child_closed(order: OrderState, event: log.ChildClosed) -> None:
    _close(order, event.child)


def _close(order: OrderState, label: str) -> None:
    child = order.children.get(label)
    if child is not None:
        child.is_open = False


def _release(order: OrderState) -> None:
    """Take back the decision in force. Open child orders stay reserved where the order says so."""
    if not order.order.hold_open:
        for child in reversed(order.children.values()):
            if not child.is_open:  # and none before it is
                break
            child.is_open = False


def _conflict(order: OrderState, event: log.FillConflict) -> None:
    order.conflicts += 1


def _fell_back(order: OrderState, event: log.FellBack) -> None:
    order.fallback = event.reason


def _restored(order: OrderState, event: log.Restored) -> None:
    order.fallback = ""


_OF_ORDER: dict[type[log.Event], Callable[[OrderState, Any], None]] = {
    log.Amended: _amended,
    log.Paused: _paused,
    log.Resumed: _resumed,
    log.Cancelled: _cancelled,
    log.Ended: _ended,
    log.Filled: _filled,
    log.FillConflict: _conflict,
    log.Rejected: _rejected,
    log.ChildClosed: _child_closed,
    log.FellBack: _fell_back,
    log.Restored: _restored,
}


# -- events of the desk ----------------------------------------------------------------------------------------------


def _opened(state: DeskState, event: log.Opened) -> None:
    state.policy, state.openings = event.policy, state.openings + 1


def _history(state: DeskState, event: log.HistoryTaken) -> None:
    before = state.market.get(event.symbol)
    market = MarketState(event.digest, event.calendar, event.frequency, event.last, event.last, event.close)
    if before is not None:
        market.faults, market.message = before.faults, before.message
    state.market[event.symbol] = market


def _bar_fault(state: DeskState, event: log.BarFault) -> None:
    market = state.market.get(event.symbol)
    if market is not None:
        market.faults[event.fault] = market.faults.get(event.fault, 0) + 1
        market.message = event.message


def _bars_closed(state: DeskState, event: log.BarsClosed) -> None:
    for name, bar in event.bars.items():
        market = state.market[name]
        market.places[bar[0]] = len(market.bars)
        market.bars.append(bar)
        market.last, market.close = bar[0], bar[4]
        if name in event.bridged:
            market.bridged.add(bar[0])
        for label in list(state.active.get(name, ())):
            order = state.orders[label]
            if bar[0] >= order.terms.start:
                _close_bar(order, is_bridged=name in event.bridged)
                if not order.is_active:  # a bar completes nothing: fills do
                    _settle(state, label, order)


def _close_bar(order: OrderState, *, is_bridged: bool) -> None:
    """A bar of an order has closed: its child orders are over, and the next bar is to be decided."""
    order.bridged += is_bridged
    order.periods.append(order.in_bar)
    order.in_bar = Traded()
    order.period += 1
    order.revisions = 0
    _release(order)
    if order.status == "waiting":
        order.status = "working"
    if order.period >= order.terms.max_periods and not order.is_complete:
        order.status, order.reason = "expired", "its time is over"


def _decided(state: DeskState, event: log.Decided) -> None:
    for entry in event.decisions:
        order = state.orders[entry.order]
        _check_seq(entry.order, order.seq, entry.seq)
        order.seq = entry.seq
        if entry.revision:  # otherwise the close of the bar before has done it
            _release(order)
        order.decision, order.carry, order.revisions = entry, entry.carry, entry.revision + 1
        if order.status == "waiting":
            order.status = "working"
        if entry.quantity:
            order.children[entry.child] = Child(entry.period, entry.quantity, entry.notional, entry.takes_all)


def _answered(state: DeskState, event: log.Answered) -> None:
    """What was asked for has events of its own."""


_OF_DESK: dict[type[log.Event], Callable[[DeskState, Any], None]] = {
    log.Opened: _opened,
    log.HistoryTaken: _history,
    log.BarFault: _bar_fault,
    log.BarsClosed: _bars_closed,
    log.Decided: _decided,
    log.Answered: _answered,
}
