"""Connections to the database of a desk: SQLite by path, PostgreSQL by URL; for reading and writing, or for reading.

SQLite keeps a write-ahead log and waits for the disk at every commit (``journal_mode=WAL``, ``synchronous=FULL``), so
what was appended survives a power cut. PostgreSQL does so by default.

Who only reads makes no file and needs no right to write. A SQLite file with a write-ahead log beside it is opened with
``mode=ro``. Without one no process has it open, and it is opened with ``immutable=1``, because ``mode=ro`` alone would
make the log and leave it there. If a process begins to write in the meantime, what was read is read again.
"""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lem_models.errors import DeskError

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["SQLiteFile", "open_engine", "sqlalchemy_module"]

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WAIT = 5.0  # seconds to wait for a lock


def sqlalchemy_module() -> Any:  # noqa: ANN401
    """The module SQLAlchemy.

    Raises:
        DeskError: It is not installed.
    """
    try:
        import orjson  # noqa: F401, which writes the log
        import sqlalchemy
    except ModuleNotFoundError as error:
        raise DeskError(
            f"a desk in a database needs SQLAlchemy and orjson, and {error.name} is not installed: pip install "
            "'lem-models[desk]' (for PostgreSQL 'lem-models[postgres]')",
            rule="installed extra",
        ) from None
    return sqlalchemy


class SQLiteFile:
    """The file of a desk, for who only reads.

    Args:
        path: Its path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @classmethod
    def of(cls, place: str | os.PathLike[str]) -> SQLiteFile | None:
        """The file of a place; ``None`` for another database."""
        text = str(place)
        if not _URL.match(text):
            return cls(text)
        url = sqlalchemy_module().make_url(text)
        return cls(url.database or ":memory:") if url.get_backend_name() == "sqlite" else None

    def check(self) -> None:
        """Refuse a file that is not there.

        Raises:
            DeskError: There is none.
        """
        if not self.path.is_file():
            raise DeskError(
                f"there is no desk {self.path}: name the file of one; `lem desk run`, `lem serve` and Desk(...) make "
                "one",
                rule="desk",
            )

    def has_log(self) -> bool:
        """Whether a write-ahead log is beside it: a process has it open, or died with it."""
        return self.path.with_name(f"{self.path.name}-wal").exists()

    def mark(self) -> tuple[int, int]:
        """What a change changes: the time of the file and its size.

        Raises:
            DeskError: There is no file.
        """
        self.check()
        about = self.path.stat()
        return about.st_mtime_ns, about.st_size

    def connect(self) -> sqlite3.Connection:
        """A connection that can write nothing."""
        how = "mode=ro" if self.has_log() else "mode=ro&immutable=1"
        place = f"file:{quote(str(self.path.absolute()))}?{how}"
        return sqlite3.connect(place, uri=True, timeout=_WAIT, check_same_thread=False)


def open_engine(place: str, *, read_only: bool = False) -> Engine:
    """The database of a desk.

    Args:
        place: Path of an SQLite file, or URL of a PostgreSQL database.
        read_only: Whether it is only read.

    Raises:
        DeskError: It is another database, psycopg is not installed, or a file to be read is not there.
    """
    sql, file = sqlalchemy_module(), SQLiteFile.of(place)
    if file is not None:
        return _reading_sqlite(sql, file) if read_only else _sqlite(sql, str(file.path))
    url = sql.make_url(place)
    if url.get_backend_name() != "postgresql":
        raise DeskError(
            f"a desk is kept in SQLite (a path) or PostgreSQL (postgresql://...), not in {url.get_backend_name()!r}",
            rule="database",
        )
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        made: Engine = sql.create_engine(
            url,
            pool_size=1,
            max_overflow=4,
            pool_pre_ping=True,
            execution_options={"postgresql_readonly": True} if read_only else {},
        )
        return made
    except ModuleNotFoundError:
        raise DeskError(
            "PostgreSQL needs psycopg: pip install 'lem-models[postgres]'", rule="installed extra"
        ) from None


def _sqlite(sql: Any, path: str) -> Engine:  # noqa: ANN401
    engine: Engine = sql.create_engine(sql.URL.create("sqlite", database=path), pool_size=1, max_overflow=4)
    sql.event.listen(engine, "connect", _set_sqlite)
    sql.event.listen(engine, "begin", _begin)
    return engine


def _reading_sqlite(sql: Any, file: SQLiteFile) -> Engine:  # noqa: ANN401
    file.check()
    # A new connection each time: how the file is to be opened may have changed.
    engine: Engine = sql.create_engine("sqlite://", creator=file.connect, poolclass=sql.pool.NullPool)
    return engine


def _set_sqlite(connection: Any, record: object) -> None:  # noqa: ANN401
    connection.isolation_level = None  # the transactions are those of _begin
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(_WAIT * 1000)}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Any) -> None:  # noqa: ANN401
    # At once for writing: a transaction that reads the lease first could not become one that writes.
    reads = connection.get_execution_options().get("desk_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
