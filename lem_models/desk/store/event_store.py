"""What a desk needs of the place where its log is kept, and such a place in memory.

A store is append-only. One append is one transaction: all of its events are kept, or none. Two rules make it safe for
several processes. The pair (stream, seq) is unique. And only the holder of the *lease* may append: the lease has a
*fencing token* that grows each time somebody takes it, and an append with another token than the last one is refused
inside its own transaction. A process that slept through the loss of its lease can therefore write nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from lem_models.desk.log.events import Recorded
from lem_models.errors import DeskError

__all__ = ["EventStore", "MemoryStore", "lost_lease"]


class EventStore(Protocol):
    """An append-only log with a lease.

    Attributes:
        name: What messages call it.
        token: Fencing token of the lease; 0 before it is taken.
    """

    name: str
    token: int

    def acquire(self, *, takeover: bool = False) -> int:
        """Take the lease.

        Args:
            takeover: Take it although another process holds it. That process can write nothing from then on.

        Returns:
            The fencing token.

        Raises:
            DeskError: Another process holds the lease (rule ``"lease"``).
        """
        ...

    def renew(self) -> None:
        """Hold the lease for another term; an append does so too.

        Raises:
            DeskError: Another process has taken it.
        """
        ...

    def append(
        self,
        records: Sequence[Recorded],
        blobs: Mapping[str, bytes] | None = None,
        answered: Sequence[int] = (),
    ) -> list[Recorded]:
        """Append events in one transaction.

        Args:
            records: The events.
            blobs: Stored histories by their hash; those that are there already stay.
            answered: Numbers of the requests that are answered by them, and so removed.

        Returns:
            The events with their positions.

        Raises:
            DeskError: Another process has taken the lease, or an event of this number is in the stream already; nothing
                was appended.
        """
        ...

    def read(self, after: int = 0, *, stream: str | None = None, kind: str | None = None) -> Iterator[Recorded]:
        """Events in their order.

        Args:
            after: Those after this position.
            stream: Those of this stream.
            kind: Those of this kind.
        """
        ...

    def blob(self, digest: str) -> bytes:
        """A stored history.

        Raises:
            DeskError: There is none of this hash.
        """
        ...

    def request(self, body: str) -> int:
        """Leave a request for the process that holds the lease; its number."""
        ...

    def requests(self) -> list[tuple[int, str]]:
        """Requests that are not answered, by their numbers."""
        ...

    def close(self) -> None:
        """Give the lease back."""
        ...


class MemoryStore:
    """A log in memory, for one process: sessions and tests."""

    name = "memory"

    def __init__(self) -> None:
        self.token = 0
        self._records: list[Recorded] = []
        self._seen: set[tuple[str, int]] = set()
        self._blobs: dict[str, bytes] = {}
        self._requests: dict[int, str] = {}
        self._asked = 0

    def acquire(self, *, takeover: bool = False) -> int:
        """See :class:`EventStore`."""
        self.token += 1
        return self.token

    def renew(self) -> None:
        """See :class:`EventStore`."""

    def append(
        self,
        records: Sequence[Recorded],
        blobs: Mapping[str, bytes] | None = None,
        answered: Sequence[int] = (),
    ) -> list[Recorded]:
        """See :class:`EventStore`."""
        keys = [(each.stream, each.seq) for each in records]
        twice = next((key for key in keys if key in self._seen), None)
        if twice is not None or len(set(keys)) < len(keys):
            raise DeskError(f"event {twice} is in the log already", rule="unique (order, seq)")
        first = len(self._records) + 1
        placed = [replace(each, position=first + place) for place, each in enumerate(records)]
        self._records += placed
        self._seen.update(keys)
        self._blobs |= blobs or {}
        for number in answered:
            del self._requests[number]
        return placed

    def request(self, body: str) -> int:
        """See :class:`EventStore`."""
        self._asked += 1
        self._requests[self._asked] = body
        return self._asked

    def requests(self) -> list[tuple[int, str]]:
        """See :class:`EventStore`."""
        return list(self._requests.items())

    def read(self, after: int = 0, *, stream: str | None = None, kind: str | None = None) -> Iterator[Recorded]:
        """See :class:`EventStore`."""
        for each in self._records[after:]:
            if stream in (None, each.stream) and kind in (None, each.event.kind):
                yield each

    def blob(self, digest: str) -> bytes:
        """See :class:`EventStore`."""
        if digest not in self._blobs:
            raise DeskError(f"the log has no history {digest[:12]}", rule="stored history")
        return self._blobs[digest]

    def close(self) -> None:
        """See :class:`EventStore`."""


def lost_lease(name: str, token: int, holder: str) -> DeskError:
    """The error of a process that has lost its lease."""
    return DeskError(
        f"another process ({holder}) has taken the desk {name} over: this one (lease {token}) may not write any more; "
        "open the desk anew",
        rule="lease",
    )
