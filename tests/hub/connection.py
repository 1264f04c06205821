"""HTTP of the test Hub: requests, replies, and the ports that they go through."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked; ``path`` is quoted as it came."""

    host: str  # "hub" or "storage"
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def token(self) -> str | None:
        """The token of the request."""
        return self.headers["authorization"].removeprefix("Bearer ") if "authorization" in self.headers else None

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def fields(self, name: str) -> list[str]:
        """Values of a field of a form."""
        return [value for key, value in parse_qsl(self.body.decode()) if key == name]


@dataclass
class Reply:
    """What the server answers; with ``cut`` the connection ends after so many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Reply:
        """An answer in JSON."""
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    @classmethod
    def content(cls, data: bytes, request: Request) -> Reply:
        """A file, or the range of it that was asked for."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not wanted:
            return cls(200, data, {"Accept-Ranges": "bytes"})
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        if first > last:
            return cls(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        return cls(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.reply = Reply.json({"error": message}, status)
        self.reply.headers["X-Error-Message"] = message
        if code:
            self.reply.headers["X-Error-Code"] = code
        self.reply.headers.update(headers)


class HangUp(Exception):
    """Close the connection without an answer."""


class Listener(ThreadingHTTPServer):
    """One host: a port that hands its requests to a function."""

    daemon_threads = True

    def __init__(
        self, host: str, answer: Callable[[Request], Reply], received_bytes: Callable[[str, str], int | None]
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.host, self.answer, self.received_bytes = host, answer, received_bytes

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no error of the server's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """One request. HTTP/1.0, so a connection ends with its answer and a closed server is gone for every client."""

    server: Listener

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        query = dict(parse_qsl(url.query))
        cut = self.server.received_bytes(self.command, url.path)
        if cut is not None:
            self.rfile.read(min(cut, int(self.headers.get("Content-Length", cut))))
            return
        request = Request(self.server.host, self.command, url.path, query, headers, self._read())
        try:
            reply = self.server.answer(request)
        except HangUp:
            return
        self.send_response(reply.status)
        for key, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: reply.cut])

    do_HEAD = do_POST = do_PUT = do_GET

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""
