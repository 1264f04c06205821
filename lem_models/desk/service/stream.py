"""The WebSocket: bars and fills in, decisions out.

Messages are JSON objects with a ``type``. In: ``bars`` (``{"type": "bars", "bars": [...]}``) and ``fills``. With a
``ref`` they are answered once they are in the log: ``{"type": "logged", "ref": ...}``. Out: first ``snapshot``, the
decisions in force; then ``decisions``, what has changed since, and ``refused`` with a problem.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from pydantic import Field, TypeAdapter, ValidationError

from lem_models.desk.service.gate import too_large
from lem_models.desk.service.hub import Listener, encoded
from lem_models.desk.service.messages import BarsIn, FillsIn
from lem_models.desk.service.problems import ProblemError, problem_of
from lem_models.desk.service.service import Service
from lem_models.errors import LEMError

__all__ = ["add_stream"]

_TRY_LATER = 1013
_MOST_UNANSWERED = 1000  # messages of one connection that are not in the log yet

Ref: TypeAlias = Annotated[str, Field(max_length=120)] | int | None


class _BarsMessage(BarsIn):
    type: Literal["bars"]
    ref: Ref = None


class _FillsMessage(FillsIn):
    type: Literal["fills"]
    ref: Ref = None


_MESSAGE: TypeAdapter[_BarsMessage | _FillsMessage] = TypeAdapter(
    Annotated[_BarsMessage | _FillsMessage, Field(discriminator="type")]
)


def add_stream(app: FastAPI, service: Service) -> None:
    """Add the WebSocket ``/stream``."""

    @app.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        if len(service.hub) >= service.settings.max_clients:
            await socket.close(_TRY_LATER, "too many connections")
            return
        await socket.accept()
        listener = service.hub.join()
        connection = _Connection(service, listener)
        sending = asyncio.create_task(_send(socket, listener))
        try:
            while True:
                await connection.take(await socket.receive_text())
        except (WebSocketDisconnect, RuntimeError, KeyError):  # gone, or it sent bytes instead of a text
            pass
        finally:
            service.hub.leave(listener)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sending


async def _send(socket: WebSocket, listener: Listener) -> None:
    while True:
        text = await listener.next()
        if text is None:
            await socket.close(_TRY_LATER, "too slow: connect again for the decisions in force")
            return
        await socket.send_text(text)


class _Connection:
    """What one connection sends."""

    def __init__(self, service: Service, listener: Listener) -> None:
        self._service, self._listener = service, listener
        self._room = asyncio.Semaphore(_MOST_UNANSWERED)
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, text: str) -> None:
        """Take a message in."""
        ref: Any = None
        try:
            if len(text) > self._service.settings.max_body:
                raise too_large(self._service.settings.max_body)
            message = _MESSAGE.validate_json(text)
            ref = message.ref
            if isinstance(message, _BarsMessage):
                logged, ignored = self._service.take_bars(message.bars)
                await self._follow(self._bars(logged, ignored, ref))
            else:
                await self._follow(self._fills(message, ref))
        except (LEMError, ProblemError, ValidationError) as error:
            self._refuse(error, ref if ref is not None else _ref(text))

    async def _follow(self, work: Any) -> None:  # noqa: ANN401
        """Wait for the log beside the messages that follow; a connection with too much in flight waits here."""
        await self._room.acquire()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _bars(self, logged: asyncio.Future[list[list[str]]], ignored: list[str], ref: Any) -> None:  # noqa: ANN401
        try:
            messages = [each for found in await logged for each in found]
        except (LEMError, ProblemError) as error:
            self._refuse(error, ref)
            return
        if ref is not None:
            self._listener.put(
                encoded({"type": "logged", "ref": ref, "ignored": ignored, "messages": messages, "fills": []})
            )

    async def _fills(self, message: _FillsMessage, ref: Any) -> None:  # noqa: ANN401
        try:
            booked = await self._service.fill(message.fills)
        except (LEMError, ProblemError) as error:
            self._refuse(error, ref)
            return
        rows = [
            {"order": fill.order, "id": fill.id, "kind": each.kind, "message": each.message}
            for fill, each in zip(message.fills, booked, strict=True)
        ]
        if ref is not None or any(row["kind"] in ("over", "conflict") for row in rows):
            self._listener.put(encoded({"type": "logged", "ref": ref, "ignored": [], "messages": [], "fills": rows}))

    def _refuse(self, error: Exception, ref: Any) -> None:  # noqa: ANN401
        problem = problem_of(error)
        self._service.metrics.refused(problem.status)
        self._listener.put(encoded({"type": "refused", "ref": ref, "problem": problem.model_dump(exclude_none=True)}))


def _ref(text: str) -> str | int | None:
    """The ``ref`` of a message that has the wrong form, if it can be read."""
    try:
        ref = json.loads(text[:1_000_000]).get("ref")
    except (ValueError, AttributeError, RecursionError):
        return None
    return ref[:120] if isinstance(ref, str) else ref if isinstance(ref, int) and not isinstance(ref, bool) else None
