"""Fetch from the Hub within bounds: no more bytes than stated, and no longer than a slow connection takes.

The client's own downloads have neither bound. The client reads an answer of any length to its end. It waits as long as
some bytes arrive. It names files of its cache by headers of the server (``ETag``, ``X-Repo-Commit``). So answers and
files are fetched here, over the client's connection and with its token. Files of the cache are named by the hash of
their content (:mod:`~lem_models.hub.repository`).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from lem_models.errors import HubError
from lem_models.guard.text import shown

__all__ = ["Deadline", "fetch_answer", "fetch_file", "fetch_range"]

_MAX_ANSWER = 64 << 20
_MAX_ERROR = 64 << 10
_MAX_REDIRECTS = 10
_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})
_PARTIAL = 206
_OF_BODY = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})
_PATIENCE = 60.0  # seconds for an answer, in addition to those for its bytes
_SLOWEST = 32 << 10  # bytes a second


class Deadline:
    """Time limit of a transfer.

    Args:
        what: Name of the content, for the message.
        repo_id: The repository.
        size: Bytes.
    """

    def __init__(self, what: str, repo_id: str, size: int) -> None:
        self._what, self._repo_id = what, repo_id
        self._seconds = _PATIENCE + size / _SLOWEST
        self._end = time.monotonic() + self._seconds

    def check(self) -> None:
        """Check that time is left.

        Raises:
            HubError: The time is over.
        """
        if time.monotonic() > self._end:
            raise HubError(
                f"{self._what} did not arrive within {self._seconds:,.0f} seconds: the server or the line is too slow. "
                "Try again, or get it with `hf download`",
                repo_id=self._repo_id,
            )


def fetch_answer(url: str, what: str, repo_id: str, token: str | bool | None) -> Any:  # noqa: ANN401
    """Ask the Hub; return its JSON answer.

    Raises:
        HubError: The answer is too long, comes too slowly, or is not JSON. Errors of the client pass through.
    """
    parts: list[bytes] = []
    with _answer(url, what, repo_id, token, _MAX_ANSWER, Deadline(what, repo_id, 0)) as (_, chunks):
        parts.extend(chunks)
    try:
        return json.loads(b"".join(parts))
    except (ValueError, RecursionError) as error:
        raise HubError(f"{what} cannot be read: the Hub's answer is not JSON: {error}", repo_id=repo_id) from None


def fetch_range(url: str, first: int, last: int, what: str, repo_id: str, token: str | bool | None) -> bytes:
    """Bytes ``first`` to before ``last`` of a file.

    Raises:
        HubError: The server sends other bytes, or too slowly. Errors of the client pass through.
    """
    size = last - first
    if not size:
        return b""
    parts: list[bytes] = []
    wanted = {"Range": f"bytes={first}-{last - 1}"}
    with _answer(url, what, repo_id, token, size, Deadline(what, repo_id, size), wanted) as (status, chunks):
        if status != _PARTIAL:
            raise HubError(
                f"the server of {what} does not send ranges of a file; read it without streaming", repo_id=repo_id
            )
        parts.extend(chunks)
    return b"".join(parts)


def fetch_file(
    url: str, file: BinaryIO, size: int, what: str, repo_id: str, token: str | bool | None, deadline: Deadline
) -> None:
    """Fetch the rest of a partial copy of a file. A broken connection is made again as long as bytes arrive.

    Raises:
        HubError: The server sends more or fewer bytes than ``size``, or too slowly. Errors of the client pass through.
    """
    while (start := file.seek(0, os.SEEK_END)) < size:
        have = start
        try:
            with _answer(url, what, repo_id, token, size, deadline, {"Range": f"bytes={start}-"} if start else {}) as (
                status,
                chunks,
            ):
                if status != _PARTIAL:
                    have = file.seek(0)
                    file.truncate()
                for chunk in chunks:
                    if have + len(chunk) > size:
                        raise _too_long(what, repo_id, size)
                    have += file.write(chunk)
            if have < size:
                raise HubError(f"the Hub sent {have:,} bytes of {what} instead of {size:,}: try again", repo_id=repo_id)
        except (HubError, OSError):
            raise
        except Exception:  # errors of the client's HTTP library, which depends on the client's version
            if have <= start:
                raise


@contextlib.contextmanager
def _answer(
    url: str,
    what: str,
    repo_id: str,
    token: str | bool | None,
    largest: int,
    deadline: Deadline,
    wanted: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Status and body of an answer without error, after redirections."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    headers = build_hf_headers(token=token, library_name="lem_models")
    # Not compressed: the expanded size of a compressed answer is not known in advance.
    headers = {**headers, "Accept-Encoding": "identity", **(wanted or {})}
    for _ in range(_MAX_REDIRECTS):
        with get_session().stream(
            "GET", url, headers=headers, follow_redirects=False, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        ) as response:
            deadline.check()
            status = int(response.status_code)
            target = response.headers.get("Location") if status in _REDIRECTIONS else None
            if target is None:
                if status >= 400:
                    # The client reads the body of an error to its end, so it gets a bounded one.
                    text = _start(response.iter_raw(), deadline)
                    kept = [(key, value) for key, value in response.headers.raw if key.lower() not in _OF_BODY]
                    hf_raise_for_status(type(response)(status, headers=kept, content=text, request=response.request))
                if status not in (200, _PARTIAL):
                    raise HubError(
                        f"{what} cannot be fetched: the server answers with status {status}", repo_id=repo_id
                    )
                if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
                    raise HubError(
                        f"the server sends {what} compressed, which was not requested: it is not read", repo_id=repo_id
                    )
                if (_length(response.headers.get("Content-Length")) or 0) > largest:
                    raise _too_long(what, repo_id, largest)
                yield status, _bounded(response.iter_raw(), what, repo_id, largest, deadline)
                return
        before, url = url, urljoin(url, target)
        if urlsplit(url).scheme not in {urlsplit(before).scheme, "https"}:
            raise HubError(
                f"{what} cannot be fetched: the server redirects from https to {shown(url)}", repo_id=repo_id
            )
        if urlsplit(url).netloc != urlsplit(before).netloc:
            headers.pop("authorization", None)  # the token is for the first host only
    raise HubError(f"{what} cannot be fetched: the server redirects too often", repo_id=repo_id)


def _bounded(chunks: Iterator[bytes], what: str, repo_id: str, largest: int, deadline: Deadline) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        deadline.check()
        size += len(chunk)
        if size > largest:
            raise _too_long(what, repo_id, largest)
        yield chunk


def _start(chunks: Iterator[bytes], deadline: Deadline) -> bytes:
    """The beginning of an answer."""
    text = b""
    for chunk in chunks:
        deadline.check()
        text += chunk
        if len(text) >= _MAX_ERROR:
            break
    return text[:_MAX_ERROR]


def _length(stated: str | None) -> int | None:
    return int(stated) if stated is not None and stated.isascii() and stated.isdigit() and len(stated) < 20 else None


def _too_long(what: str, repo_id: str, largest: int) -> HubError:
    return HubError(
        f"the server sends more than the {largest:,} bytes that {what} may have: the download was ended",
        repo_id=repo_id,
    )
