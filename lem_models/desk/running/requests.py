"""Requests to a desk that another process runs: amend, cancel, pause and resume.

Only the process with the lease changes a desk. Another process writes what it wants into a table beside the log, and
the running desk takes it at its next look, at the latest at the next bar. A request is taken at least once: after a
crash between the change and its mark it is taken again, which changes nothing more (an order is set to the same values,
is cancelled or paused already).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lem_models.desk.store.database import DatabaseStore
from lem_models.errors import DeskError, LEMError
from lem_models.guard.text import shown

if TYPE_CHECKING:
    from lem_models.desk.desk import Desk

__all__ = ["KINDS", "Request", "RequestQueue", "carry_out", "take_requests"]

KINDS = ("amend", "cancel", "pause", "resume")
"""What can be asked for."""

_OPEN, _DONE, _REFUSED = "open", "done", "refused"


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        number: Its number.
        kind: One of :data:`KINDS`.
        order: Label of the order or basket.
        values: What is to change, for ``"amend"``; a reason, for the others.
        status: ``"open"``, ``"done"`` or ``"refused"``.
        answer: What became of it; empty while it is open.
    """

    number: int
    kind: str
    order: str
    values: Mapping[str, Any]
    status: str = _OPEN
    answer: str = ""


class RequestQueue:
    """The requests of a desk in its database.

    Args:
        store: The database; its lease is not needed.
        clock: The time, nanoseconds UTC.
        read_only: Whether the table is left out where there is none; there are then no requests.
    """

    def __init__(
        self, store: DatabaseStore, clock: Callable[[], int] = time.time_ns, *, read_only: bool = False
    ) -> None:
        import sqlalchemy

        self._sql, self._engine, self._clock, self._name = sqlalchemy, store.engine, clock, store.name
        self._table = sqlalchemy.Table(
            "desk_requests",
            sqlalchemy.MetaData(),
            sqlalchemy.Column(
                "number",
                sqlalchemy.BigInteger().with_variant(sqlalchemy.Integer(), "sqlite"),
                primary_key=True,
                autoincrement=True,
            ),
            sqlalchemy.Column("kind", sqlalchemy.String(16), nullable=False),
            sqlalchemy.Column("order_id", sqlalchemy.String(128), nullable=False),
            sqlalchemy.Column("payload", sqlalchemy.Text, nullable=False),
            sqlalchemy.Column("asked", sqlalchemy.BigInteger, nullable=False),
            sqlalchemy.Column("status", sqlalchemy.String(16), nullable=False, index=True),
            sqlalchemy.Column("answer", sqlalchemy.Text, nullable=False),
            sqlalchemy.Column("answered", sqlalchemy.BigInteger, nullable=False),
        )
        self._is_there = True
        try:
            if read_only:
                with self._engine.connect().execution_options(desk_reads=True) as connection:
                    self._is_there = sqlalchemy.inspect(connection).has_table(self._table.name)
                return
            with self._engine.begin() as connection:
                self._table.metadata.create_all(connection)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise self._failed(error) from None

    def ask(self, kind: str, order: str, values: Mapping[str, Any]) -> int:
        """Write a request.

        Returns:
            Its number.

        Raises:
            DeskError: There is no such kind, or the database cannot be written.
        """
        if kind not in KINDS:
            raise DeskError(f"a request is {', '.join(KINDS)}; got {shown(kind)}", rule="known request")
        row = {
            "kind": kind,
            "order_id": order,
            "payload": json.dumps(dict(values)),
            "asked": self._clock(),
            "status": _OPEN,
            "answer": "",
            "answered": 0,
        }
        try:
            with self._engine.begin() as connection:
                inserted = connection.execute(self._table.insert().values(**row))
                return int((inserted.inserted_primary_key or [0])[0])
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None

    def waiting(self) -> list[Request]:
        """The open requests, the oldest first."""
        return self._read(self._table.c.status == _OPEN)

    def get(self, number: int) -> Request:
        """A request.

        Raises:
            DeskError: There is none of this number.
        """
        rows = self._read(self._table.c.number == number)
        if not rows:
            raise DeskError(f"{self._name} has no request {number}", rule="known request")
        return rows[0]

    def answer(self, number: int, answer: str, *, refused: bool = False) -> None:
        """Mark a request as done or refused."""
        values = {"status": _REFUSED if refused else _DONE, "answer": answer, "answered": self._clock()}
        try:
            with self._engine.begin() as connection:
                connection.execute(self._table.update().where(self._table.c.number == number).values(**values))
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None

    def answered(self, number: int, wait: float, poll: float = 0.1) -> Request:
        """A request once it is answered, or as it is after some seconds."""
        until = time.monotonic() + wait
        while True:
            request = self.get(number)
            if request.status != _OPEN or time.monotonic() >= until:
                return request
            time.sleep(poll)

    def _read(self, which: Any) -> list[Request]:  # noqa: ANN401
        if not self._is_there:
            return []
        query = self._sql.select(self._table).where(which).order_by(self._table.c.number)
        try:
            with self._engine.connect().execution_options(desk_reads=True) as connection:
                rows = connection.execute(query).all()
        except self._sql.exc.SQLAlchemyError as error:
            raise self._failed(error) from None
        return [
            Request(int(row.number), row.kind, row.order_id, json.loads(row.payload), row.status, row.answer)
            for row in rows
        ]

    def _failed(self, error: Exception) -> DeskError:
        text = str(getattr(error, "orig", None) or error).partition("\n")[0]
        return DeskError(f"the requests of {self._name} cannot be read or written: {text}", rule="database")


def carry_out(desk: Desk, kind: str, order: str, values: Mapping[str, Any]) -> str:
    """Do on a desk what a request asks for.

    Returns:
        What was done, in a sentence.

    Raises:
        LEMError: It cannot be done; nothing has then changed.
    """
    if kind == "amend":
        decision = desk.amend(order, **values)
        what = ", ".join(f"{name} {value}" for name, value in values.items())
        return f"order {order!r} is amended: {what}" + (f"; {decision}" if decision is not None else "")
    wanted = {"cancel": ("cancelled",), "pause": ("paused",), "resume": ("waiting", "working")}[kind]
    reason, labels = str(values.get("reason", "")), desk.labels(order)
    {"cancel": desk.cancel, "pause": desk.pause, "resume": desk.resume}[kind](order, reason)
    status = {label: desk.order(label).status for label in labels}
    if not any(each in wanted for each in status.values()):
        raise DeskError(
            f"order {order!r} is {', '.join(dict.fromkeys(status.values()))}: there is nothing to {kind}",
            rule="active order",
        )
    return ", ".join(f"order {label!r} is {each}" for label, each in status.items())


def take_requests(desk: Desk, queue: RequestQueue) -> list[str]:
    """Carry out the open requests, and answer them.

    Returns:
        What was done or refused, a sentence each.
    """
    texts = []
    for request in queue.waiting():
        try:
            text = carry_out(desk, request.kind, request.order, request.values)
            queue.answer(request.number, text)
        except LEMError as error:
            if isinstance(error, DeskError) and error.rule in ("lease", "database"):
                raise
            text = f"refused to {request.kind} order {request.order!r}: {error}"
            queue.answer(request.number, str(error), refused=True)
        texts.append(text)
    return texts
