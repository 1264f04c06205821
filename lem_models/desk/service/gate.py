"""The gate in front of every request: who may come in, and how much they may bring.

With a token every request carries it: ``Authorization: Bearer TOKEN``. Without one the service listens on this machine
only, and the gate makes sure that a page in this machine's browser cannot use that: the ``Host`` must be this machine,
and the ``Origin`` of a WebSocket must be the service itself.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lem_models.desk.service.problems import ProblemError, answer
from lem_models.desk.service.settings import ServiceSettings, is_loopback

__all__ = ["OPEN_PATHS", "Gate"]

OPEN_PATHS = frozenset(["/", "/health"])
"""Paths that need no token: the page, which asks for it, and the answer that the service runs."""

_CLOSED_POLICY = 1008
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
        b"frame-ancestors 'none'; base-uri 'none'",
    ),
]


class Gate:
    """Checks token, host, origin and size before a request is read.

    Args:
        app: What is behind the gate.
        settings: Token and limits.
        refused: Is told of the status of every refusal.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, refused: Callable[[int], None]) -> None:
        self._app, self._settings, self._refused = app, settings, refused
        token = settings.token
        self._token = None if token is None else token.get_secret_value().encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ProblemError as error:
            await self._refuse(error, scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._limit(scope["path"]))

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
                if message["status"] >= HTTPStatus.BAD_REQUEST:
                    self._refused(message["status"])
            await send(message)

        await self._app(scope, body.receive, sent)

    def _limit(self, path: str) -> int:
        return self._settings.max_history if path == "/history" else self._settings.max_body

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._token is None:
            self._check_host(headers)
        elif scope["path"] not in OPEN_PATHS or scope["type"] == "websocket":
            self._check_token(headers)
        if scope["type"] == "http":
            length = headers.get("content-length", "0")
            if not length.isascii() or not length.isdigit() or int(length) > self._limit(scope["path"]):
                raise too_large(self._limit(scope["path"]))

    def _check_host(self, headers: Headers) -> None:
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if not is_loopback(host):
            raise ProblemError(
                HTTPStatus.MISDIRECTED_REQUEST, "host", "without a token the service answers to 127.0.0.1 and localhost"
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise ProblemError(
                HTTPStatus.FORBIDDEN, "origin", "without a token the service answers to no other page of a browser"
            )

    def _check_token(self, headers: Headers) -> None:
        kind, _, given = headers.get("authorization", "").partition(" ")
        right = self._token or b""
        # The comparison takes as long whatever is given.
        if not hmac.compare_digest(given.strip().encode("utf-8", "replace"), right) or kind.lower() != "bearer":
            raise ProblemError(HTTPStatus.UNAUTHORIZED, "token", "send the token: Authorization: Bearer TOKEN")

    async def _refuse(self, error: ProblemError, scope: Scope, receive: Receive, send: Send) -> None:
        self._refused(error.problem.status)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _CLOSED_POLICY, "reason": error.problem.detail})
            return
        headers = {"WWW-Authenticate": "Bearer"} if error.problem.status == HTTPStatus.UNAUTHORIZED else {}
        await answer(error.problem, {**headers, "Connection": "close"})(scope, receive, send)


class _Body:
    """A body that is counted while it is read."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._size = receive, limit, 0

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            HTTPException: The body is too large.
        """
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > self._limit:
                # The one kind of error that FastAPI lets through while it reads a body.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large(self._limit).problem.detail)
        return message


def too_large(limit: int) -> ProblemError:
    """The problem of a body or message that is too large."""
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "size", f"at most {limit:,} bytes are taken: send it in pieces"
    )
