"""What can happen on a desk: typed events, the only source of its state.

Every event belongs to a *stream*: that of an order, or :data:`DESK` for bars and for the decisions of all orders at the
close of a bar. A stream numbers its events from 1 without a gap. Events are frozen and have a version; their payload is
JSON, in which decimal numbers are texts.

A decision is an event too. A replay reads what was decided and never asks a policy, so it gives the same state on every
machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, TypeAlias

from lem_models.desk.orders.amounts import plain_text
from lem_models.errors import DeskError

__all__ = [
    "DESK",
    "EVENTS",
    "Added",
    "Amended",
    "Answered",
    "BarFault",
    "BarsClosed",
    "Cancelled",
    "ChildClosed",
    "Decided",
    "DecisionEntry",
    "Ended",
    "Event",
    "FellBack",
    "FillConflict",
    "Filled",
    "HistoryTaken",
    "Opened",
    "Paused",
    "Recorded",
    "Rejected",
    "Restored",
    "Resumed",
    "from_payload",
    "to_payload",
]

DESK = "@desk"
"""Stream of what concerns the whole desk."""

Bar: TypeAlias = "tuple[int, float, float, float, float, float, float]"
"""Timestamp in nanoseconds UTC, open, high, low, close, volume, notional."""


@dataclass(frozen=True)
class Event:
    """Base class of events.

    Attributes:
        kind: Name in the log.
        version: Version of its payload.
    """

    kind: ClassVar[str] = ""
    version: ClassVar[int] = 1


@dataclass(frozen=True)
class Opened(Event):
    """A process opened the desk.

    Attributes:
        policy: Name of the policy that decides from now on.
        fallback: Name of the policy that stands in for it.
        token: Fencing token of the lease.
    """

    kind: ClassVar[str] = "opened"
    policy: str
    fallback: str
    token: int


@dataclass(frozen=True)
class HistoryTaken(Event):
    """Closed bars of a symbol were taken over, before the ones that are observed.

    Attributes:
        symbol: Symbol.
        digest: SHA-256 of the stored bars.
        calendar: Name of their calendar.
        frequency: Length of a bar, nanoseconds.
        last: Start of the last one, nanoseconds UTC.
        close: Its close.
    """

    kind: ClassVar[str] = "history"
    symbol: str
    digest: str
    calendar: str
    frequency: int
    last: int
    close: float


@dataclass(frozen=True)
class BarsClosed(Event):
    """Bars closed, one of each symbol at most.

    Attributes:
        bars: Numbers of the bars by symbol.
        bridged: Symbols whose bar is missing: a bar without volume at the last close stands for it.
    """

    kind: ClassVar[str] = "bars"
    bars: Mapping[str, Bar]
    bridged: tuple[str, ...] = ()


@dataclass(frozen=True)
class BarFault(Event):
    """A bar, or its absence, that changes nothing but must be known.

    Attributes:
        symbol: Symbol.
        fault: See :class:`~lem_models.desk.market_data.feed.Fault`.
        timestamp: Start of the bar, nanoseconds UTC.
        bar: The bar as it came; empty where none came.
        message: What happened, in a sentence.
    """

    kind: ClassVar[str] = "bar_fault"
    symbol: str
    fault: str
    timestamp: int
    bar: tuple[float, ...]
    message: str


class DecisionEntry(NamedTuple):
    """The decision of one order; one row of :class:`Decided`.

    Attributes:
        order: Label of the order.
        seq: Number of the event in the stream of the order.
        period: Bar of the order, from 0.
        revision: Number of the decision for this bar, from 0.
        start: Start of the bar, nanoseconds UTC.
        quantity: Units to trade.
        notional: Their money.
        wish: Fraction of the order that the policy wished.
        carry: What is carried to the next bar, in what the amount is.
        finish: Whether the order is finishing.
        takes_all: Whether the child order is meant to be the last one.
        reason: See :class:`~lem_models.desk.decision.Decision`.
    """

    order: str
    seq: int
    period: int
    revision: int
    start: int
    quantity: Decimal
    notional: Decimal
    wish: float
    carry: Decimal
    finish: bool
    takes_all: bool
    reason: str

    @property
    def child(self) -> str:
        """Label of the child order."""
        return f"{self.order}/{self.period}.{self.revision}"


@dataclass(frozen=True)
class Decided(Event):
    """What the orders do in their coming bars."""

    kind: ClassVar[str] = "decided"
    decisions: tuple[DecisionEntry, ...]


@dataclass(frozen=True)
class Answered(Event):
    """A request of another process was carried out, or refused.

    Attributes:
        number: Number of the request.
        request: What was asked for.
        text: What was done, or why not.
        is_refused: Whether it was not carried out.
    """

    kind: ClassVar[str] = "answered"
    number: int
    request: Mapping[str, Any]
    text: str
    is_refused: bool = False


@dataclass(frozen=True)
class Added(Event):
    """An order was taken.

    Attributes:
        order: The order, as JSON.
        terms: When it trades.
        expected: Volume expected in each of its bars, in units, as known when it was added.
        price: Last close.
    """

    kind: ClassVar[str] = "added"
    order: Mapping[str, Any]
    terms: Mapping[str, int]
    expected: tuple[float, ...]
    price: float


@dataclass(frozen=True)
class Amended(Event):
    """An order was changed; see :class:`Added`.

    Attributes:
        changes: What was asked for.
        order: See above.
        terms: See above.
        expected: See above.
        price: See above.
    """

    kind: ClassVar[str] = "amended"
    changes: Mapping[str, Any]
    order: Mapping[str, Any]
    terms: Mapping[str, int]
    expected: tuple[float, ...]
    price: float


@dataclass(frozen=True)
class Paused(Event):
    """An order sends nothing until it is resumed."""

    kind: ClassVar[str] = "paused"
    reason: str = ""


@dataclass(frozen=True)
class Resumed(Event):
    """A paused order goes on."""

    kind: ClassVar[str] = "resumed"
    reason: str = ""


@dataclass(frozen=True)
class Cancelled(Event):
    """An order was ended by its owner; fills that come later are booked."""

    kind: ClassVar[str] = "cancelled"
    reason: str = ""


@dataclass(frozen=True)
class Ended(Event):
    """An order ended before it was complete, for another reason than its time."""

    kind: ClassVar[str] = "ended"
    reason: str


@dataclass(frozen=True)
class Filled(Event):
    """A fill.

    Attributes:
        fill: Label of the fill, unique in the order.
        quantity: Units.
        price: Price.
        child: Child order that it belongs to; empty where none was open.
        late: Whether the bar of the child order had closed.
        over: Units (or money) beyond the amount of the order, through this fill.
        time: When the venue filled it, nanoseconds UTC; when it was taken in where the venue did not say, ``None`` in
            logs of version 1.
    """

    kind: ClassVar[str] = "filled"
    version: ClassVar[int] = 2
    fill: str
    quantity: Decimal
    price: Decimal
    child: str
    late: bool = False
    over: Decimal = Decimal(0)
    time: int | None = None


@dataclass(frozen=True)
class FillConflict(Event):
    """A fill whose label was booked with other numbers; it is not booked.

    Attributes:
        fill: Its label.
        quantity: Units.
        price: Price.
    """

    kind: ClassVar[str] = "fill_conflict"
    fill: str
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True)
class Rejected(Event):
    """The venue refused a child order, or the rest of it."""

    kind: ClassVar[str] = "rejected"
    child: str
    reason: str = ""


@dataclass(frozen=True)
class ChildClosed(Event):
    """A child order will not fill any more: what it has not filled is free."""

    kind: ClassVar[str] = "child_closed"
    child: str


@dataclass(frozen=True)
class FellBack(Event):
    """The fallback policy decides an order from now on."""

    kind: ClassVar[str] = "fell_back"
    reason: str


@dataclass(frozen=True)
class Restored(Event):
    """The desk's own policy decides an order again."""

    kind: ClassVar[str] = "restored"
    reason: str


@dataclass(frozen=True)
class Recorded:
    """An event in the log.

    Attributes:
        stream: Its stream.
        seq: Its number in the stream, from 1.
        at: When it was appended, nanoseconds UTC; plays no part in the state.
        event: The event.
        position: Its place in the whole log; 0 before it is appended.
    """

    stream: str
    seq: int
    at: int
    event: Event
    position: int = 0


EVENTS: dict[str, type[Event]] = {each.kind: each for each in Event.__subclasses__()}
"""Kinds of events by name."""

_DECIMALS = {kind: {f.name for f in fields(kind) if f.type == "Decimal"} for kind in EVENTS.values()}
_TUPLES = {kind: {f.name for f in fields(kind) if str(f.type).startswith("tuple")} for kind in EVENTS.values()}


def to_payload(event: Event) -> str:
    """The payload of an event."""
    if isinstance(event, Decided):  # thousands of rows at the close of a bar
        import orjson  # of the extra `desk`, as all stores that write payloads

        return orjson.dumps({"decisions": [_row(each) for each in event.decisions]}).decode()
    values = {f.name: _plain(getattr(event, f.name)) for f in fields(event)}
    return json.dumps(values, separators=(",", ":"), allow_nan=False)


def from_payload(kind: str, version: int, payload: str) -> Event:
    """The event of a payload.

    Raises:
        DeskError: This version of the package does not know the event.
    """
    known = EVENTS.get(kind)
    if known is None or version > known.version:
        raise DeskError(
            f"the log holds an event {kind!r} of version {version}, which this version of the package does not know: "
            "open the desk with a newer one",
            rule="known event",
        )
    values = json.loads(payload)
    if known is Decided:
        return Decided(tuple(_entry(row) for row in values["decisions"]))
    decimals, tuples = _DECIMALS[known], _TUPLES[known]
    if known is BarsClosed:
        return BarsClosed({name: _bar(bar) for name, bar in values["bars"].items()}, tuple(values["bridged"]))
    read = {
        name: Decimal(value) if name in decimals else tuple(value) if name in tuples else value
        for name, value in values.items()
    }
    return known(**read)


def _bar(row: list[Any]) -> Bar:
    stamp, opened, high, low, close, volume, notional = row
    return int(stamp), float(opened), float(high), float(low), float(close), float(volume), float(notional)


def _row(entry: DecisionEntry) -> list[object]:
    """The values of a decision in the order of its fields; written out, because a bar close has thousands."""
    order, seq, period, revision, start, quantity, notional, wish, carry, finish, takes_all, reason = entry
    amounts = plain_text(quantity), plain_text(notional), wish, plain_text(carry)
    return [order, seq, period, revision, start, *amounts, finish, takes_all, reason]


def _entry(row: list[Any]) -> DecisionEntry:
    order, seq, period, revision, start, quantity, notional, wish, carry, finish, takes_all, reason = row
    amounts = Decimal(quantity), Decimal(notional), wish, Decimal(carry)
    return DecisionEntry(order, seq, period, revision, start, *amounts, finish, takes_all, reason)


def _plain(value: object) -> object:
    return plain_text(value) if isinstance(value, Decimal) else value
