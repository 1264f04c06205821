"""The tables of a desk in a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lem_models.errors import DeskError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Index, MetaData, Table

__all__ = ["FOUND_BY_KIND", "LEASE", "Tables"]

_SCHEMA = 1
LEASE = "desk"
"""Name of the one lease."""

FOUND_BY_KIND = ("decided", "answered", "bar_fault")
"""Events of the whole desk that are looked up for one order, one request or one symbol: an index leads to them."""


@dataclass(frozen=True)
class Tables:
    """The tables.

    Attributes:
        metadata: All of them.
        events: The log: ``position`` in the whole, ``stream`` and ``seq`` in it, ``kind``, ``payload``.
        by_kind: Index of the events of :data:`FOUND_BY_KIND`. Fills, which are most of a log, are not in it.
        blobs: Stored histories by their hash.
        lease: Who may append.
        requests: Requests of other processes.
        schema: Version of the tables.
    """

    metadata: MetaData
    events: Table
    by_kind: Index
    blobs: Table
    lease: Table
    requests: Table
    schema: Table

    @classmethod
    def of(cls, sql: Any) -> Tables:  # noqa: ANN401
        """The tables.

        Args:
            sql: The module SQLAlchemy.
        """
        metadata = sql.MetaData()
        events = sql.Table(
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
        # Alternatives and not IN: SQLite sees that a query of one kind is covered only so.
        found = sql.or_(*(events.c.kind == sql.literal_column(f"'{kind}'") for kind in FOUND_BY_KIND))
        by_kind = sql.Index(
            "desk_events_by_kind", events.c.kind, events.c.position, sqlite_where=found, postgresql_where=found
        )
        blobs = sql.Table(
            "desk_histories",
            metadata,
            sql.Column("digest", sql.String(64), primary_key=True),
            sql.Column("data", sql.LargeBinary, nullable=False),
        )
        lease = sql.Table(
            "desk_lease",
            metadata,
            sql.Column("name", sql.String(32), primary_key=True),
            sql.Column("holder", sql.String(255), nullable=False),
            sql.Column("token", sql.BigInteger, nullable=False),
            sql.Column("expires", sql.Float, nullable=False),
        )
        requests = sql.Table(
            "desk_requests",
            metadata,
            sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
            sql.Column("body", sql.Text, nullable=False),
            sqlite_autoincrement=True,  # a number is never used twice
        )
        schema = sql.Table("desk_schema", metadata, sql.Column("version", sql.Integer, primary_key=True))
        return cls(metadata, events, by_kind, blobs, lease, requests, schema)

    def create(self, connection: Connection, name: str) -> None:
        """Make what is not there.

        Args:
            connection: A connection that writes.
            name: What messages call the desk.

        Raises:
            DeskError: A newer version of the package has made the tables.
        """
        self.metadata.create_all(connection)
        self.by_kind.create(connection, checkfirst=True)  # tables of before may lack it
        if self._is_known(connection, name):
            return
        connection.execute(self.schema.insert().values(version=_SCHEMA))
        connection.execute(self.lease.insert().values(name=LEASE, holder="", token=0, expires=0.0))

    def check(self, connection: Connection, name: str) -> None:
        """Refuse a database that no desk is kept in.

        Args:
            connection: A connection.
            name: What messages call the desk.

        Raises:
            DeskError: It has no tables of a desk, or those of a newer version of the package.
        """
        if not connection.dialect.has_table(connection, self.schema.name) or not self._is_known(connection, name):
            raise DeskError(f"there is no desk in the database {name}", rule="desk")

    def _is_known(self, connection: Connection, name: str) -> bool:
        """Whether the tables have a version, which this package knows."""
        version = connection.execute(self.schema.select()).scalar_one_or_none()
        if version is not None and version > _SCHEMA:
            raise DeskError(
                f"{name} was written by a newer version of the package (tables of version {version}, this one "
                f"knows {_SCHEMA}): update lem-models",
                rule="known version",
            )
        return version is not None
