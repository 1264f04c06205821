"""Streams of untrusted bytes with a limit, because a packed file may expand to a thousand times its size."""

from __future__ import annotations

import io
from typing import Protocol

__all__ = ["BoundedStream", "Readable", "unpacked_limit"]

_PACKED_FREE = 1 << 28
_PACKED_RATIO = 100


def unpacked_limit(size: int) -> int:
    """How many bytes a packed file of a size may expand to."""
    return max(_PACKED_FREE, _PACKED_RATIO * size)


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Read some bytes, or all that are left."""


class BoundedStream(io.RawIOBase):
    """A stream that gives at most so many bytes.

    Args:
        stream: The stream.
        limit: Most bytes.

    Raises:
        ValueError: It has more bytes, when they are read.
    """

    def __init__(self, stream: Readable, limit: int) -> None:
        super().__init__()
        self._stream, self._limit, self._given = stream, limit, 0

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read some bytes, or all that are left."""
        content = self._stream.read(size if size >= 0 else self._limit - self._given + 1) or b""
        self._given += len(content)
        if self._given > self._limit:
            raise ValueError(f"it would expand to more than {self._limit:,} bytes, too many for its size")
        return content
