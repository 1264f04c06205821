"""Who listens to decisions: WebSocket connections, and the decisions in force for those that come new."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson

from lem_models.desk.service.desk_thread import Change, Stages

__all__ = ["Hub", "Listener", "encoded"]

_MOST_PENDING = 64 << 20  # bytes that wait for one slow listener
_KEPT = 512  # closes whose times are kept


def encoded(message: Mapping[str, Any]) -> str:
    """A message as JSON."""
    try:
        return orjson.dumps(message).decode()
    except (
        orjson.JSONEncodeError
    ):  # numbers of more than 64 bits, halves of characters: what a client may send as its ref
        return json.dumps(message, separators=(",", ":"), allow_nan=False)


class Listener:
    """What waits to be sent to one connection.

    Attributes:
        is_slow: Whether so much waits that the connection is to be closed.
    """

    def __init__(self) -> None:
        self._texts: deque[str] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self.is_slow = False

    def put(self, text: str) -> None:
        """Add a message."""
        self._size += len(text)
        self.is_slow = self.is_slow or self._size > _MOST_PENDING
        if not self.is_slow:
            self._texts.append(text)
        self._filled.set()

    async def next(self) -> str | None:
        """The next message; ``None`` once the listener is too slow."""
        while not self._texts and not self.is_slow:
            self._filled.clear()
            await self._filled.wait()
        if self.is_slow:
            return None
        text = self._texts.popleft()
        self._size -= len(text)
        return text


class Hub:
    """The decisions in force, and who listens. It lives on the event loop.

    Attributes:
        decisions: Rows of the decisions in force by order.
        position: Place in the log that they follow from.
        stages: Times of the last closes.
    """

    def __init__(self) -> None:
        self.decisions: dict[str, dict[str, Any]] = {}
        self.position = 0
        self.stages: deque[Stages] = deque(maxlen=_KEPT)
        self._listeners: set[Listener] = set()

    def __len__(self) -> int:
        """Number of listeners."""
        return len(self._listeners)

    def join(self) -> Listener:
        """A new listener, with the decisions in force as its first message."""
        listener = Listener()
        listener.put(encoded({"type": "snapshot", **self.snapshot()}))
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Forget a listener."""
        self._listeners.discard(listener)

    def snapshot(self) -> dict[str, Any]:
        """The decisions in force."""
        return {"position": self.position, "decisions": list(self.decisions.values())}

    def changed(self, change: Change, text: str | None) -> None:
        """Take over new decisions and send them.

        Args:
            change: What has changed.
            text: The message to send; ``None`` for none.
        """
        self.position = max(self.position, change.position)
        for row in change.decisions:
            self.decisions[row["order_id"]] = row
        for label in change.over:
            self.decisions.pop(label, None)
        if change.stages is not None:
            self.stages.append(change.stages)
        if text is not None:
            for listener in self._listeners:
                listener.put(text)
