"""A store that tells the service what was appended, once it is on the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from lem_models.desk.log.events import Recorded
from lem_models.desk.store.event_store import EventStore

__all__ = ["TappedStore"]


class TappedStore:
    """An :class:`~lem_models.desk.store.event_store.EventStore` in front of another one.

    Args:
        store: Where the log is kept.

    Attributes:
        name: See the protocol.
        seconds: Time of the last append.
    """

    def __init__(self, store: EventStore) -> None:
        self._store, self._appended = store, list[Recorded]()
        self.name, self.seconds = store.name, 0.0

    @property
    def token(self) -> int:
        """Fencing token of the lease."""
        return self._store.token

    @token.setter
    def token(self, value: int) -> None:
        self._store.token = value

    def acquire(self, *, takeover: bool = False) -> int:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        return self._store.acquire(takeover=takeover)

    def renew(self) -> None:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        self._store.renew()

    def append(
        self,
        records: Sequence[Recorded],
        blobs: Mapping[str, bytes] | None = None,
        answered: Sequence[int] = (),
    ) -> list[Recorded]:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        begin = time.perf_counter()
        placed = self._store.append(records, blobs, answered)
        self.seconds = time.perf_counter() - begin
        self._appended += placed
        return placed

    def take(self) -> list[Recorded]:
        """What was appended since this was called last."""
        taken, self._appended = self._appended, []
        return taken

    def read(self, after: int = 0, *, stream: str | None = None, kind: str | None = None) -> Iterator[Recorded]:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        return self._store.read(after, stream=stream, kind=kind)

    def blob(self, digest: str) -> bytes:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        return self._store.blob(digest)

    def request(self, body: str) -> int:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        return self._store.request(body)

    def requests(self) -> list[tuple[int, str]]:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        return self._store.requests()

    def close(self) -> None:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        self._store.close()
