"""The headers of the pages of a parquet file, read without unpacking a page.

A reader allocates the size in the header of a page, even if the footer of the file claims less. So the headers (Thrift,
compact protocol) are read here first, and compared with the footer. Format:
https://parquet.apache.org/docs/file-format/data-pages/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lem_models.guard.thrift import ThriftError, read_struct, whole

__all__ = ["Page", "pages_of"]

DATA, INDEX, DICTIONARY, DATA_V2 = range(4)
_MAX_HEADER = 1 << 20


@dataclass(frozen=True)
class Page:
    """The header of a page.

    Attributes:
        kind: 0 data, 1 index, 2 dictionary, 3 data of version 2.
        size: Bytes that it unpacks to.
        values: Number of values.
        encoding: Number of their encoding.
    """

    kind: int
    size: int
    values: int
    encoding: int


def pages_of(chunk: memoryview) -> Iterator[Page]:
    """Pages of a column chunk.

    Raises:
        ThriftError: The bytes are not pages.
    """
    at = 0
    while at < len(chunk):
        header, at = read_struct(chunk[: at + _MAX_HEADER], at)
        kind, size, packed = (whole(header, field) for field in (1, 2, 3))
        detail = header.get({DATA: 5, INDEX: 6, DICTIONARY: 7, DATA_V2: 8}.get(kind, -1), {})
        if packed < 0 or size < 0 or packed > len(chunk) - at or not isinstance(detail, dict):
            raise ThriftError("the header of a page is wrong")
        values = whole(detail, 1) if kind != INDEX else 0
        encoding = whole(detail, 4 if kind == DATA_V2 else 2) if kind != INDEX else 0
        yield Page(kind, size, values, encoding)
        at += packed
