"""Requests to a desk that another process runs: amend, cancel, pause and resume without its lease.

A request is left in the database. The process that runs the desk carries it out when it observes bars or looks at the
clock, in one transaction with its removal, so it is carried out once, whatever dies in between.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from lem_models.desk.log.events import Answered
from lem_models.desk.store.database import DatabaseStore
from lem_models.desk.store.event_store import EventStore
from lem_models.errors import DeskError

__all__ = ["ACTIONS", "answer", "ask", "read_request"]

ACTIONS = ("amend", "cancel", "pause", "resume")
"""What may be asked for."""


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
        DeskError: There is no such action, or the database cannot be opened.
    """
    if action not in ACTIONS:
        raise DeskError(f"a desk can be asked to {', '.join(ACTIONS)}; got {action!r}", rule="known action")
    told = {
        name: value if value is None or isinstance(value, int | float | str) else str(value)
        for name, value in fields.items()
    }
    return _store(place).request(json.dumps({"action": action, "order": order, "fields": told}))


def answer(place: str | os.PathLike[str] | EventStore, number: int) -> str | None:
    """What became of a request: empty where it was carried out, else why not; ``None`` while it waits."""
    for recorded in _store(place).read():
        if isinstance(recorded.event, Answered) and recorded.event.number == number:
            return recorded.event.outcome
    return None


def read_request(body: str) -> Mapping[str, Any]:
    """A request as it was left."""
    values: Mapping[str, Any] = json.loads(body)
    return values


def _store(place: str | os.PathLike[str] | EventStore) -> EventStore:
    return DatabaseStore(place) if isinstance(place, str | os.PathLike) else place
