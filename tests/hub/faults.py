"""Faults of the test Hub: errors, connections that are cut, bytes that change on their way.

Each is asked for by a pattern of the path, and happens a number of times or for good.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Literal

from tests.hub.connection import HangUp, Refusal, Reply, Request


@dataclass
class Fault:
    """One fault.

    Attributes:
        kind: ``status`` (an error, or None for no answer), ``cut answer`` and ``cut request`` (the connection ends
            after so many bytes of the body), ``flip`` (a byte of the body, sent or received, is another one).
        pattern: What the path must contain, a regular expression.
        method: Method of the request, any if None.
        times: How often; None for always.
    """

    kind: Literal["status", "cut answer", "cut request", "flip"]
    pattern: str
    method: str | None = None
    times: int | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0
    happened: int = 0

    def meets(self, method: str, path: str) -> bool:
        """Whether it happens to this request; counts."""
        if self.times is not None and self.happened >= self.times:
            return False
        if self.method not in (None, method) or not re.search(self.pattern, path):
            return False
        self.happened += 1
        return True


class Faults:
    """All faults of a server."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """From now on, this one too; it counts how often it happened."""
        self.all.append(fault)
        return fault

    def received_bytes(self, method: str, path: str) -> int | None:
        """Bytes of the body after which a request is cut; None for all."""
        cuts = [fault for fault in self.all if fault.kind == "cut request" and fault.meets(method, path)]
        return cuts[0].after if cuts else None

    def before(self, request: Request) -> Request:
        """The request as it arrives; an error or no answer, if that was asked for."""
        for fault in self.all:
            if fault.kind == "status" and fault.meets(request.method, request.path):
                if fault.status is None:
                    raise HangUp
                raise Refusal(fault.status, "a fault that was asked for", **fault.headers)
            if fault.kind == "flip" and request.body and fault.meets(request.method, request.path):
                request = dataclasses.replace(request, body=_flipped(request.body))
        return request

    def after(self, request: Request, reply: Reply) -> Reply:
        """The answer as it is sent."""
        for fault in self.all:
            if not reply.body or request.method == "HEAD" or fault.kind not in ("cut answer", "flip"):
                continue
            if fault.meets(request.method, request.path):
                if fault.kind == "flip":
                    reply.body = _flipped(reply.body)
                else:
                    reply.cut = fault.after
        return reply


def _flipped(body: bytes) -> bytes:
    """The last byte differs, the length does not."""
    return body[:-1] + bytes([body[-1] ^ 1])
