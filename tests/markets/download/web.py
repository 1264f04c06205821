"""A web server on 127.0.0.1 with planned faults, for downloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """What a client asked."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    at: float  # on the monotonic clock


@dataclass(frozen=True)
class Answer:
    """What the server answers; with ``cut`` the connection ends after so many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip: float = 0.0  # seconds between bytes


Route = Callable[[Asked], Answer]


class Web:
    """The server: routes answer, and faults come first, each once.

    Attributes:
        url: Its address.
        asked: Requests so far.
        faults: Answers that replace those of the route, by path, the first one first.
    """

    def __init__(self, route: Route) -> None:
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(parts.path, dict(parse_qsl(parts.query)), headers, time.monotonic())
                with web._lock:
                    web.asked.append(asked)
                    waiting = web.faults.get(asked.path)
                    fault = waiting.pop(0) if waiting else None
                answer = fault or route(asked)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                body = answer.body[: answer.cut]
                step = 1 if answer.drip else max(len(body), 1)
                for start in range(0, len(body), step):
                    time.sleep(answer.drip)
                    try:
                        self.wfile.write(body[start : start + step])
                    except ConnectionError:  # the client has given up
                        return
                if answer.cut is not None:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        self.faults: dict[str, list[Answer]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def paths(self) -> list[str]:
        """Paths that were asked for, in order."""
        return [asked.path for asked in self.asked]


@contextmanager
def serving(route: Route) -> Iterator[Web]:
    """Serve on a free port."""
    web = Web(route)
    thread = threading.Thread(target=web._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web._server.shutdown()
        web._server.server_close()
        thread.join()
