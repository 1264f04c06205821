"""Requests to a desk that another process runs: amend, cancel, pause and resume without its lease.

A request is left in the database. The process that runs the desk carries it out when it observes bars or looks at the
clock, in one transaction with its removal, so it is carried out once, whatever dies in between.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from lem_models.desk.decision import Decision
from lem_models.desk.log.events import Answered
from lem_models.desk.log.state import OrderState
from lem_models.desk.store.database import DatabaseStore
from lem_models.desk.store.event_store import EventStore
from lem_models.errors import DeskError

__all__ = ["ACTIONS", "Request", "answer", "ask", "carry_out", "waiting"]

ACTIONS = ("amend", "cancel", "pause", "resume")
"""What may be asked for."""


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        number: Its number.
        action: One of :data:`ACTIONS`.
        order: Label of the order, or of the basket.
        fields: What :meth:`Desk.amend` takes, or ``reason``.
    """

    number: int
    action: str
    order: str
    fields: Mapping[str, Any]


class OrdersUnderWay(Protocol):
    """What a request changes: a :class:`~lem_models.desk.desk.Desk`."""

    def amend(self, order: str, **changes: Any) -> Decision | None:
        """Change an order."""

    def cancel(self, order: str, reason: str = "") -> None:
        """End an order, or a basket."""

    def pause(self, order: str, reason: str = "") -> None:
        """Send nothing until it is resumed."""

    def resume(self, order: str, reason: str = "") -> None:
        """Go on."""

    def order(self, order: str) -> OrderState:
        """An order."""
        ...

    def labels(self, order: str) -> list[str]:
        """Labels of an order, or of the orders of a basket."""
        ...


def ask(place: str | os.PathLike[str] | EventStore, action: str, order: str, **fields: Any) -> int:
    """Leave a request.

    Args:
        place: The desk.
        action: One of :data:`ACTIONS`.
        order: Label of the order, or of the basket.
        **fields: What :meth:`Desk.amend` takes, or ``reason``.

    Returns:
        Number of the request, for :func:`answer`.

    Raises:
        DeskError: There is no such action or no such desk, or the database cannot be opened.
    """
    if action not in ACTIONS:
        raise DeskError(f"a desk can be asked to {', '.join(ACTIONS)}; got {action!r}", rule="known action")
    told = {
        name: value if value is None or isinstance(value, int | float | str) else str(value)
        for name, value in fields.items()
    }
    store = DatabaseStore.existing(place) if isinstance(place, str | os.PathLike) else place
    try:
        return store.request(json.dumps({"action": action, "order": order, "fields": told}))
    finally:
        if store is not place:
            store.close()


def waiting(place: str | os.PathLike[str] | EventStore) -> list[Request]:
    """The requests that are not carried out yet, the oldest first."""
    with _reading(place) as store:
        return [Request(number, **json.loads(body)) for number, body in store.requests()]


def answer(
    place: str | os.PathLike[str] | EventStore, number: int, *, wait: float = 0.0, poll: float = 0.1
) -> Answered | None:
    """What became of a request; ``None`` while it waits.

    Args:
        place: The desk.
        number: Number of the request.
        wait: Seconds to wait for an answer.
        poll: Seconds between looks.

    Raises:
        DeskError: There was no such request.
    """
    until = time.monotonic() + wait
    with _reading(place) as store:
        while any(number == each for each, _ in store.requests()):
            if time.monotonic() >= until:
                return None
            time.sleep(poll)
        for recorded in store.read(kind=Answered.kind):
            if isinstance(recorded.event, Answered) and recorded.event.number == number:
                return recorded.event
        raise DeskError(f"{store.name} has no request {number}", rule="known request")


def carry_out(desk: OrdersUnderWay, action: str, order: str, fields: Mapping[str, Any]) -> str:
    """Do on a desk what a request asks for.

    Returns:
        What was done, in a sentence.

    Raises:
        LEMError: It cannot be done; nothing has then changed.
    """
    if action == "amend":
        decision = desk.amend(order, **fields)
        what = ", ".join(f"{name} {value}" for name, value in fields.items())
        return f"order {order!r} is amended: {what}" + (f"; {decision}" if decision is not None else "")
    wanted = {"cancel": ("cancelled",), "pause": ("paused",), "resume": ("waiting", "working")}[action]
    reason, labels = str(fields.get("reason", "")), desk.labels(order)
    {"cancel": desk.cancel, "pause": desk.pause, "resume": desk.resume}[action](order, reason)
    status = {label: desk.order(label).status for label in labels}
    if not any(each in wanted for each in status.values()):
        raise DeskError(
            f"order {order!r} is {', '.join(dict.fromkeys(status.values()))}: there is nothing to {action}",
            rule="active order",
        )
    return ", ".join(f"order {label!r} is {each}" for label, each in status.items())


@contextmanager
def _reading(place: str | os.PathLike[str] | EventStore) -> Iterator[EventStore]:
    """The log of a desk, opened for reading unless it is open."""
    if not isinstance(place, str | os.PathLike):
        yield place
        return
    store = DatabaseStore(place, read_only=True)
    try:
        yield store
    finally:
        store.close()
