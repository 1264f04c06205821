"""The gate before the app: what Gradio would do for a stranger and this app does not.

Gradio fetches the file behind a URL that a request names as an upload, passes on files of other hosts, and has routes
for tools of developers. All of that is refused here, before Gradio sees it. Pages get a content security policy: a
browser that shows the app asks no other host for anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import unquote

from lem_models.app.limits import LIMITS, Limits

__all__ = ["Gate"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

_UPLOAD = "/gradio_api/upload"
_CLOSED = re.compile(
    r"/(gradio_api/)?(file=[a-z0-9+.-]*:|proxy=|mcp|monitoring|vibe|undo-vibe|process_recording|run-history|dev/)", re.I
)
_ELSEWHERE = re.compile(r"\s*([a-z][a-z0-9+.-]*:|//|\\\\)", re.I)
_DEEPEST = 16
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


class Gate:
    """ASGI middleware.

    Args:
        app: What it stands before.
        limits: Limits of requests.
    """

    def __init__(self, app: Application, limits: Limits = LIMITS) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = unquote(str(scope["path"]))
        if _CLOSED.match(path):
            await _refuse(send, 404, "this app has no such page")
            return
        if scope["method"] == "POST" and not path.startswith(_UPLOAD):
            body = await _read(receive, self._limits.body_bytes)
            if body is None:
                await _refuse(send, 413, f"a request has at most {self._limits.body_bytes:,} bytes")
                return
            if _names_elsewhere(body):
                await _refuse(send, 400, "a file is uploaded, and never fetched from an address")
                return
            receive = _again(body, receive)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The body of a request; ``None`` if it is longer."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and bool(message.get("more_body"))
        if len(body) > limit:
            return None
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more, then what follows it."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


def _names_elsewhere(body: bytes) -> bool:
    """Whether a JSON body holds a file whose path is an address, or is nested too deeply to say."""
    try:
        content = json.loads(body) if body.strip() else None
        paths = list(_paths(content, 0))
    except RecursionError:
        return True
    except ValueError:
        return False  # no JSON: Gradio refuses it
    return any(_ELSEWHERE.match(path) for path in paths)


def _paths(content: object, depth: int) -> Iterator[str]:
    """Paths of the files in a JSON value."""
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(content, dict):
        path = content.get("path")
        if isinstance(path, str):
            yield path
        for value in content.values():
            yield from _paths(value, depth + 1)
    elif isinstance(content, list):
        for value in content:
            yield from _paths(value, depth + 1)


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
