"""The log of a desk in a database: SQLite by path, PostgreSQL by URL.

SQLAlchemy is needed, and for PostgreSQL psycopg: ``pip install 'lem-models[desk]'`` or ``'lem-models[postgres]'``.
"""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from lem_models.desk.log.events import Recorded, from_payload, to_payload
from lem_models.desk.store.connections import SQLiteFile, open_engine, sqlalchemy_module
from lem_models.desk.store.event_store import lost_lease
from lem_models.desk.store.tables import FOUND_BY_KIND, LEASE, Tables
from lem_models.errors import DeskError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row, Select
    from typing_extensions import Self

__all__ = ["DatabaseStore"]

_ATTEMPTS = 5
_PAGE = 5000  # events that are read at once
_SMALL_PAGE = 200  # the same where some of them are looked for
_T = TypeVar("_T")


class DatabaseStore:
    """An :class:`~lem_models.desk.store.event_store.EventStore` in a database.

    Args:
        place: Path of an SQLite file, which is made, or URL of a PostgreSQL database.
        term: Seconds for which the lease holds without a renewal.
        read_only: Whether the log is only read: nothing is made, and what would write is refused. Another process may
            run the desk meanwhile, and the right to write is not needed.

    Raises:
        DeskError: SQLAlchemy is not installed, the database cannot be opened, it has the tables of a newer version, or
            there is no desk to read (rule ``"desk"``).
    """

    def __init__(self, place: str | os.PathLike[str], *, term: float = 10.0, read_only: bool = False) -> None:
        self._sql, self._term, self._is_read_only = sqlalchemy_module(), term, read_only
        self.name, self.token = _shown(str(place)), 0
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{uuid.uuid4().hex[:8]}"
        self._engine = open_engine(str(place), read_only=read_only)
        self._file = SQLiteFile.of(place) if read_only else None
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        self._tables = Tables.of(self._sql)
        self._events, self._lease = self._tables.events, self._tables.lease
        if read_only:
            self._read(lambda connection: self._tables.check(connection, self.name))
            return
        for attempt in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    self._tables.create(connection, self.name)
                return
            except (self._sql.exc.IntegrityError, self._sql.exc.ProgrammingError) as error:
                if attempt + 1 == _ATTEMPTS:  # several processes may make the tables of a new desk at once
                    raise self._unopened(error) from None
            except self._sql.exc.SQLAlchemyError as error:
                raise self._unopened(error) from None

    @classmethod
    def existing(cls, place: str | os.PathLike[str], *, term: float = 10.0, read_only: bool = False) -> Self:
        """The database of a desk that is there already: no file is made.

        Raises:
            DeskError: There is none (rule ``"desk"``), or it cannot be opened.
        """
        file = SQLiteFile.of(place)
        if file is not None:
            file.check()
        return cls(place, term=term, read_only=read_only)

    def _unopened(self, error: Exception) -> DeskError:
        why = _first_line(error)
        file = None if self._engine.dialect.name != "sqlite" else SQLiteFile.of(self.name)
        folder = None if file is None else file.path.absolute().parent
        if folder is not None and not folder.is_dir():
            why += f"; there is no folder {folder}: make it, or name another place"
        elif folder is not None and not os.access(folder, os.W_OK):
            why += f"; nothing can be written in {folder}: name another place"
        return DeskError(f"the desk {self.name} cannot be opened: {why}", rule="database")

    @property
    def engine(self) -> Engine:
        """The database, for tables beside the log."""
        return self._engine

    # -- the lease ---------------------------------------------------------------------------------------------------

    def acquire(self, *, takeover: bool = False) -> int:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        with self._writing() as connection:
            row = self._lease_row(connection)
            now = self._now(connection)
            if not takeover and row.holder and row.expires > now and not _is_dead(row.holder):
                raise DeskError(
                    f"the process {row.holder.rsplit(':', 2)[0]} runs the desk {self.name}: two processes never run "
                    f"one desk. Stop it, wait {row.expires - now:.0f} s if it died on another machine, or take the "
                    "desk over (takeover=True, --takeover)",
                    rule="lease",
                )
            token = int(row.token) + 1
            values = {"holder": self._holder, "token": token, "expires": now + self._term}
            connection.execute(self._lease.update().where(self._lease.c.name == LEASE).values(**values))
        self.token = token
        return token

    def renew(self) -> None:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        with self._writing() as connection:
            self._fence(connection)

    def close(self) -> None:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        lease = self._lease
        if self.token:
            mine = (lease.c.name == LEASE) & (lease.c.token == self.token)
            try:
                with self._engine.begin() as connection:
                    connection.execute(lease.update().where(mine).values(holder="", expires=0.0))
            except self._sql.exc.SQLAlchemyError:
                pass  # it expires by itself
        self.token = 0
        self._engine.dispose()

    def _lease_row(self, connection: Connection) -> Any:  # noqa: ANN401
        query = self._sql.select(self._lease).where(self._lease.c.name == LEASE)
        return connection.execute(query.with_for_update()).one()

    def _fence(self, connection: Connection) -> None:
        """Refuse to write with a lease that another process has taken; hold it for another term."""
        row = self._lease_row(connection)
        if row.token != self.token or not self.token:
            raise lost_lease(self.name, self.token, str(row.holder) or "none")
        lease = self._lease
        expires = self._now(connection) + self._term
        connection.execute(lease.update().where(lease.c.name == LEASE).values(expires=expires))

    def _now(self, connection: Connection) -> float:
        """Seconds by the clock of the database, which all processes share."""
        if self._is_sqlite:
            return time.time()
        return float(connection.execute(self._sql.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    # -- the log -----------------------------------------------------------------------------------------------------

    def append(
        self,
        records: Sequence[Recorded],
        blobs: Mapping[str, bytes] | None = None,
        answered: Sequence[int] = (),
    ) -> list[Recorded]:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        events = self._events
        rows = [
            {
                "stream": each.stream,
                "seq": each.seq,
                "kind": each.event.kind,
                "version": each.event.version,
                "at": each.at,
                "token": self.token,
                "payload": to_payload(each.event),
            }
            for each in records
        ]
        try:
            with self._writing() as connection:
                self._fence(connection)
                for digest, data in (blobs or {}).items():
                    self._keep(connection, digest, data)
                highest = self._sql.select(self._sql.func.coalesce(self._sql.func.max(events.c.position), 0))
                first = int(connection.execute(highest).scalar_one()) + 1
                for place, row in enumerate(rows):
                    row["position"] = first + place
                connection.execute(events.insert(), rows)
                if answered:
                    asked = self._tables.requests
                    connection.execute(asked.delete().where(asked.c.number.in_(list(answered))))
        except self._sql.exc.IntegrityError as error:
            raise DeskError(
                f"an event is in the log of {self.name} already: {_first_line(error)}", rule="unique (order, seq)"
            ) from None
        return [replace(each, position=first + place) for place, each in enumerate(records)]

    def request(self, body: str) -> int:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        asked = self._tables.requests
        with self._writing() as connection:
            return int(connection.execute(asked.insert().values(body=body).returning(asked.c.number)).scalar_one())

    def requests(self) -> list[tuple[int, str]]:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        asked = self._tables.requests
        return [
            (int(row.number), str(row.body)) for row in self._rows(self._sql.select(asked).order_by(asked.c.number))
        ]

    def read(self, after: int = 0, *, stream: str | None = None, kind: str | None = None) -> Iterator[Recorded]:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        events = self._events
        wanted = self._sql.select(events).where(events.c.position > after)
        if stream is not None:
            wanted = wanted.where(events.c.stream == stream)
        if kind is not None:
            # A literal where there is an index: a value that is bound later would not show that the index serves.
            value = self._sql.literal_column(f"'{kind}'") if kind in FOUND_BY_KIND else kind
            wanted = wanted.where(events.c.kind == value)
        # An index leads to the events of a stream by their numbers, which grow with their positions.
        by = events.c.position if stream is None else events.c.seq
        size = _PAGE if stream is None and kind is None else _SMALL_PAGE
        last = 0
        while True:
            rows = self._rows(wanted.where(by > last).order_by(by).limit(size))
            for row in rows:
                event = from_payload(row.kind, row.version, row.payload)
                yield Recorded(row.stream, row.seq, row.at, event, row.position)
            if len(rows) < size:
                return
            last = int(rows[-1].position if stream is None else rows[-1].seq)

    def blob(self, digest: str) -> bytes:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        blobs = self._tables.blobs
        rows = self._rows(self._sql.select(blobs.c.data).where(blobs.c.digest == digest))
        if not rows:
            raise DeskError(f"{self.name} has no history {digest[:12]}", rule="stored history")
        return bytes(rows[0].data)

    def _keep(self, connection: Connection, digest: str, data: bytes) -> None:
        blobs = self._tables.blobs
        known = connection.execute(self._sql.select(blobs.c.digest).where(blobs.c.digest == digest)).one_or_none()
        if known is None:
            connection.execute(blobs.insert().values(digest=digest, data=data))

    # -- transactions ------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that writes.

        Raises:
            DeskError: The store only reads, or the database cannot be written.
        """
        if self._is_read_only:
            raise DeskError(
                f"the desk {self.name} was opened for reading: open it without read_only to change it", rule="read only"
            )
        try:
            with self._engine.begin() as connection:
                yield connection
        except self._sql.exc.IntegrityError:
            raise
        except self._sql.exc.SQLAlchemyError as error:
            raise DeskError(
                f"the log of {self.name} cannot be written: {_first_line(error)}", rule="database"
            ) from None

    def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Rows of a query."""
        return self._read(lambda connection: connection.execute(query).all())

    def _read(self, work: Callable[[Connection], _T]) -> _T:
        """Read without keeping others from writing.

        Raises:
            DeskError: The database cannot be read.
        """
        failure: DeskError | None = None
        for _ in range(_ATTEMPTS):
            before = self._mark()
            try:
                with self._engine.connect().execution_options(desk_reads=True) as connection:
                    result = work(connection)
                failure = None
            except self._sql.exc.SQLAlchemyError as error:
                failure = DeskError(f"the desk {self.name} cannot be read: {_first_line(error)}", rule="database")
            except DeskError as error:
                failure = error
            if self._mark() == before:  # else what was read without locks may be torn
                if failure is not None:
                    raise failure
                return result
        raise failure or DeskError(f"the desk {self.name} changes while it is read: look again", rule="database")

    def _mark(self) -> tuple[int, int] | None:
        """What must stay while a file is read without locks; ``None`` where there are locks."""
        return None if self._file is None or self._file.has_log() else self._file.mark()


def _shown(place: str) -> str:
    """The place without a password."""
    return re.sub(r"://([^:@/]*):[^@]*@", r"://\1:***@", place)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def _started(process: int) -> str:
    """When a process of this machine started, in ticks; empty where the system does not say."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_dead(holder: str) -> bool:
    """Whether the holder of a lease was a process of this machine that has ended."""
    host, process, started, _ = holder.rsplit(":", 3)
    if host != socket.gethostname() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return bool(started) and _started(int(process)) != started
