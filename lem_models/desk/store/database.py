"""The log of a desk in a database: SQLite by path, PostgreSQL by URL.

SQLite keeps a write-ahead log and waits for the disk at every commit (``journal_mode=WAL``, ``synchronous=FULL``), so
what was appended survives a power cut. PostgreSQL does so by default.

SQLAlchemy is needed, and for PostgreSQL psycopg: ``pip install 'lem-models[desk]'`` or ``'lem-models[postgres]'``.
"""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lem_models.desk.log.events import Recorded, from_payload, to_payload
from lem_models.desk.store.event_store import lost_lease
from lem_models.errors import DeskError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["DatabaseStore"]

_SCHEMA = 1
_LEASE = "desk"
_ATTEMPTS = 5
_PAGE = 5000  # events that are read at once
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class DatabaseStore:
    """An :class:`~lem_models.desk.store.event_store.EventStore` in a database.

    Args:
        place: Path of an SQLite file, which is made, or URL of a PostgreSQL database.
        term: Seconds for which the lease holds without a renewal.

    Raises:
        DeskError: SQLAlchemy is not installed, the database cannot be opened, or it has the tables of a newer version.
    """

    def __init__(self, place: str | os.PathLike[str], *, term: float = 10.0) -> None:
        self._sql, self._term = _sqlalchemy(), term
        self.name, self.token = _shown(str(place)), 0
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{uuid.uuid4().hex[:8]}"
        self._engine = self._opened(str(place))
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        self._define()
        for attempt in range(_ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    self._create(connection)
                return
            except (self._sql.exc.IntegrityError, self._sql.exc.ProgrammingError) as error:
                if attempt + 1 == _ATTEMPTS:  # several processes may make the tables of a new desk at once
                    raise self._unopened(error) from None
            except self._sql.exc.SQLAlchemyError as error:
                raise self._unopened(error) from None

    def _unopened(self, error: Exception) -> DeskError:
        return DeskError(f"the desk {self.name} cannot be opened: {_first_line(error)}", rule="database")

    # -- the lease ---------------------------------------------------------------------------------------------------

    def acquire(self, *, takeover: bool = False) -> int:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        with self._engine.begin() as connection:
            row = self._lease_row(connection)
            now = self._now(connection)
            if not takeover and row.holder and row.expires > now and not _is_dead(row.holder):
                raise DeskError(
                    f"the process {row.holder.rsplit(':', 2)[0]} runs the desk {self.name}: two processes never run "
                    f"one desk. Stop it, wait {row.expires - now:.0f} s if it died on another machine, or take the "
                    "desk over (takeover=True)",
                    rule="lease",
                )
            token = int(row.token) + 1
            values = {"holder": self._holder, "token": token, "expires": now + self._term}
            connection.execute(self._lease.update().where(self._lease.c.name == _LEASE).values(**values))
        self.token = token
        return token

    def renew(self) -> None:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        with self._engine.begin() as connection:
            self._fence(connection)

    def close(self) -> None:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        lease = self._lease
        if self.token:
            mine = (lease.c.name == _LEASE) & (lease.c.token == self.token)
            try:
                with self._engine.begin() as connection:
                    connection.execute(lease.update().where(mine).values(holder="", expires=0.0))
            except self._sql.exc.SQLAlchemyError:
                pass  # it expires by itself
        self.token = 0
        self._engine.dispose()

    def _lease_row(self, connection: Connection) -> Any:  # noqa: ANN401
        query = self._sql.select(self._lease).where(self._lease.c.name == _LEASE)
        return connection.execute(query.with_for_update()).one()

    def _fence(self, connection: Connection) -> None:
        """Refuse to write with a lease that another process has taken; hold it for another term."""
        row = self._lease_row(connection)
        if row.token != self.token or not self.token:
            raise lost_lease(self.name, self.token, str(row.holder) or "none")
        lease = self._lease
        expires = self._now(connection) + self._term
        connection.execute(lease.update().where(lease.c.name == _LEASE).values(expires=expires))

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
            with self._engine.begin() as connection:
                self._fence(connection)
                for digest, data in (blobs or {}).items():
                    self._keep(connection, digest, data)
                highest = self._sql.select(self._sql.func.coalesce(self._sql.func.max(events.c.position), 0))
                first = int(connection.execute(highest).scalar_one()) + 1
                for place, row in enumerate(rows):
                    row["position"] = first + place
                connection.execute(events.insert(), rows)
                if answered:
                    asked = self._requests
                    connection.execute(asked.delete().where(asked.c.number.in_(list(answered))))
        except self._sql.exc.IntegrityError as error:
            raise DeskError(
                f"an event is in the log of {self.name} already: {_first_line(error)}", rule="unique (order, seq)"
            ) from None
        except self._sql.exc.SQLAlchemyError as error:
            raise DeskError(
                f"the log of {self.name} cannot be written: {_first_line(error)}", rule="database"
            ) from None
        return [replace(each, position=first + place) for place, each in enumerate(records)]

    def request(self, body: str) -> int:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        with self._engine.begin() as connection:
            added = self._requests.insert().values(body=body).returning(self._requests.c.number)
            return int(connection.execute(added).scalar_one())

    def requests(self) -> list[tuple[int, str]]:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        with self._reading() as connection:
            query = self._sql.select(self._requests).order_by(self._requests.c.number)
            return [(int(row.number), str(row.body)) for row in connection.execute(query)]

    def _keep(self, connection: Connection, digest: str, data: bytes) -> None:
        blobs = self._blobs
        known = connection.execute(self._sql.select(blobs.c.digest).where(blobs.c.digest == digest)).one_or_none()
        if known is None:
            connection.execute(blobs.insert().values(digest=digest, data=data))

    def read(self, after: int = 0) -> Iterator[Recorded]:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        events = self._events
        while True:
            query = self._sql.select(events).where(events.c.position > after).order_by(events.c.position).limit(_PAGE)
            with self._reading() as connection:
                rows = connection.execute(query).all()
            for row in rows:
                event = from_payload(row.kind, row.version, row.payload)
                yield Recorded(row.stream, row.seq, row.at, event, row.position)
            if len(rows) < _PAGE:
                return
            after = int(rows[-1].position)

    def blob(self, digest: str) -> bytes:
        """See :class:`~lem_models.desk.store.event_store.EventStore`."""
        with self._reading() as connection:
            query = self._sql.select(self._blobs.c.data).where(self._blobs.c.digest == digest)
            data = connection.execute(query).scalar_one_or_none()
        if data is None:
            raise DeskError(f"{self.name} has no history {digest[:12]}", rule="stored history")
        return bytes(data)

    def _reading(self) -> Connection:
        """A connection that does not keep others from writing."""
        return self._engine.connect().execution_options(desk_reads=True)

    # -- the database ------------------------------------------------------------------------------------------------

    def _opened(self, place: str) -> Engine:
        sql = self._sql
        if not _URL.match(place):
            engine: Engine = sql.create_engine(sql.URL.create("sqlite", database=place), pool_size=1, max_overflow=4)
            sql.event.listen(engine, "connect", _sqlite_settings)
            sql.event.listen(engine, "begin", _sqlite_begin)
            return engine
        url = sql.make_url(place)
        if url.get_backend_name() == "postgresql" and url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() not in ("postgresql", "sqlite"):
            raise DeskError(
                "a desk is kept in SQLite (a path) or PostgreSQL (postgresql://...), not in "
                f"{url.get_backend_name()!r}",
                rule="database",
            )
        if url.get_backend_name() == "sqlite":
            return self._opened(url.database or ":memory:")
        try:
            made: Engine = sql.create_engine(url, pool_size=1, max_overflow=4, pool_pre_ping=True)
            return made
        except ModuleNotFoundError:
            raise DeskError(
                "PostgreSQL needs psycopg: pip install 'lem-models[postgres]'", rule="installed extra"
            ) from None

    def _define(self) -> None:
        sql = self._sql
        metadata = sql.MetaData()
        self._events = sql.Table(
            "desk_events",
            metadata,
            sql.Column("position", sql.BigInteger, primary_key=True, autoincrement=False),
            sql.Column("stream", sql.String(128), nullable=False),
            sql.Column("seq", sql.Integer, nullable=False),
            sql.Column("kind", sql.String(32), nullable=False),
            sql.Column("version", sql.Integer, nullable=False),
            sql.Column("at", sql.BigInteger, nullable=False),
            sql.Column("token", sql.BigInteger, nullable=False),
            sql.Column("payload", sql.Text, nullable=False),
            sql.UniqueConstraint("stream", "seq", name="desk_one_event_a_number"),
        )
        self._blobs = sql.Table(
            "desk_histories",
            metadata,
            sql.Column("digest", sql.String(64), primary_key=True),
            sql.Column("data", sql.LargeBinary, nullable=False),
        )
        self._lease = sql.Table(
            "desk_lease",
            metadata,
            sql.Column("name", sql.String(32), primary_key=True),
            sql.Column("holder", sql.String(255), nullable=False),
            sql.Column("token", sql.BigInteger, nullable=False),
            sql.Column("expires", sql.Float, nullable=False),
        )
        self._requests = sql.Table(
            "desk_requests",
            metadata,
            sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
            sql.Column("body", sql.Text, nullable=False),
            sqlite_autoincrement=True,  # a number is never used twice
        )
        self._schema = sql.Table("desk_schema", metadata, sql.Column("version", sql.Integer, primary_key=True))
        self._metadata = metadata

    def _create(self, connection: Connection) -> None:
        self._metadata.create_all(connection)
        version = connection.execute(self._sql.select(self._schema.c.version)).scalar_one_or_none()
        if version is None:
            connection.execute(self._schema.insert().values(version=_SCHEMA))
            connection.execute(self._lease.insert().values(name=_LEASE, holder="", token=0, expires=0.0))
        elif version > _SCHEMA:
            raise DeskError(
                f"{self.name} was written by a newer version of the package (tables of version {version}, this one "
                f"knows {_SCHEMA}): update lem-models",
                rule="known version",
            )


def _sqlalchemy() -> Any:  # noqa: ANN401
    try:
        import sqlalchemy
    except ModuleNotFoundError:
        raise DeskError(
            "a desk in a database needs SQLAlchemy: pip install 'lem-models[desk]' (for PostgreSQL "
            "'lem-models[postgres]')",
            rule="installed extra",
        ) from None
    return sqlalchemy


def _sqlite_settings(connection: Any, record: object) -> None:  # noqa: ANN401
    connection.isolation_level = None  # the transactions are those of _sqlite_begin
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _sqlite_begin(connection: Any) -> None:  # noqa: ANN401
    # At once for writing: a transaction that reads the lease first could not become one that writes.
    reads = connection.get_execution_options().get("desk_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


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
