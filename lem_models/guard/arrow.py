"""The size of an Arrow file in memory, computed before it is read.

Arrow files may be compressed, buffer by buffer. Each compressed buffer begins with its expanded size, and a reader
allocates that much memory. The metadata of a message say whether it is compressed. They are a flatbuffer (Arrow's
``Message.fbs``). pyarrow gives only its bytes, so the needed fields are read here.

    Message:     2 header (RecordBatch, or DictionaryBatch: 1 data, a RecordBatch), 4 custom metadata
    RecordBatch: 2 buffers (offset and length in the body, 8 bytes each), 3 compression
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

__all__ = ["check_size", "expanded_size"]

_MAGIC = b"ARROW1"
_MAX_MESSAGES = 1 << 20
_FREE = 1 << 30
_RATIO = 100


def check_size(path: Path, *, compressed: bool = True) -> None:
    """Check that an Arrow file or stream does not expand to far more memory than its size.

    Args:
        path: The file.
        compressed: Whether it may be compressed at all.

    Raises:
        ValueError: The file is compressed and may not be, or expands to more than 100 times its size and 1 GiB.
        OSError: The file cannot be read; also ``pyarrow.ArrowException`` and ``struct.error``.
    """
    expanded = expanded_size(path)
    if expanded is None:
        return
    if not compressed:
        raise ValueError("it is compressed, and a file of bars that is mapped into memory must not be")
    if expanded > max(_FREE, _RATIO * path.stat().st_size):
        raise ValueError(f"it would expand to {expanded:,} bytes in memory, too many for its size")


def expanded_size(path: Path) -> int | None:
    """Expanded size of all compressed buffers in bytes; ``None`` if no message is compressed.

    Raises:
        OSError: The file cannot be read; also ``ValueError``, ``pyarrow.ArrowException`` and ``struct.error``.
    """
    total, is_compressed = 0, False
    with pa.memory_map(str(path)) as source:
        for message in _messages(source):
            size = _expanded(message)
            if size is not None:
                total, is_compressed = total + size, True
    return total if is_compressed else None


def _messages(source: pa.MemoryMappedFile) -> Iterator[pa.Message]:
    """All messages with data: those in the footer of a file, or all messages of a stream."""
    size = source.size()
    source.seek(max(size - 10, 0))
    end = source.read(10)
    if end[4:] == _MAGIC:
        (length,) = struct.unpack_from("<i", end)
        if not 0 < length <= size - 10:
            raise ValueError(f"its footer claims {length} bytes")
        source.seek(size - 10 - length)
        for offset in _blocks(_Table.root(source.read(length))):
            source.seek(offset)
            try:
                message = pa.ipc.read_message(source)
            except EOFError:
                raise ValueError("a record batch is empty") from None
            yield message
        return
    source.seek(0)
    reader = pa.ipc.MessageReader.open_stream(source)
    try:
        while True:
            yield reader.read_next_message()
    except StopIteration:
        return


def _blocks(footer: _Table) -> Iterator[int]:
    """Offsets of the messages that a footer lists: dictionaries, then record batches."""
    for field in (2, 3):
        at, count = footer.vector(field)
        if count > _MAX_MESSAGES:
            raise ValueError(f"it claims to have {count:,} record batches")
        for number in range(count):
            (offset,) = struct.unpack_from("<q", footer.content, at + 24 * number)
            if offset < 0:
                raise ValueError("a record batch lies before the file")
            yield offset


def _expanded(message: pa.Message) -> int | None:
    """Expanded size of the buffers of a message in bytes; ``None`` if it is not compressed."""
    if message.type not in ("record batch", "dictionary"):
        return None
    table = _Table.root(message.metadata.to_pybytes())
    if table.vector(4)[1]:  # early versions of Arrow wrote the compression there; no version writes there now
        raise ValueError("a record batch has metadata of its own")
    batch = table.table(2)
    if batch is not None and message.type == "dictionary":
        batch = batch.table(1)
    if batch is None:
        raise ValueError("a record batch is missing")
    if batch.field(3) is None:
        return None
    at, count = batch.vector(2)
    body, total = message.body, 0
    for number in range(count):
        offset, length = struct.unpack_from("<qq", batch.content, at + 16 * number)
        if length > 0:
            if offset < 0 or offset + length > body.size or length < 8:
                raise ValueError("a buffer lies outside of its record batch")
            (size,) = struct.unpack_from("<q", body.slice(offset, 8).to_pybytes())
            total += length if size < 0 else size
    return total


class _Table:
    """A table of a flatbuffer, for the places of its fields; ``struct.error`` if it points outside of the bytes."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at
        (back,) = struct.unpack_from("<i", content, at)
        self._fields = self._inside(at - back)
        (self._size,) = struct.unpack_from("<H", content, self._fields)

    @classmethod
    def root(cls, content: bytes) -> _Table:
        """The root table of the bytes."""
        return cls(content, struct.unpack_from("<I", content)[0])

    def field(self, number: int) -> int | None:
        """Where a field lies; ``None`` if it is missing."""
        slot = 4 + 2 * number
        if slot + 2 > self._size:
            return None
        (offset,) = struct.unpack_from("<H", self.content, self._fields + slot)
        return self.at + offset if offset else None

    def table(self, number: int) -> _Table | None:
        """A field that is a table."""
        at = self._target(number)
        return None if at is None else _Table(self.content, at)

    def vector(self, number: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        at = self._target(number)
        return (0, 0) if at is None else (at + 4, struct.unpack_from("<I", self.content, at)[0])

    def _target(self, number: int) -> int | None:
        at = self.field(number)
        return None if at is None else self._inside(at + struct.unpack_from("<I", self.content, at)[0])

    def _inside(self, at: int) -> int:
        if not 0 <= at < len(self.content):
            raise ValueError("an offset points outside the file")
        return at
