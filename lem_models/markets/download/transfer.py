"""Polite downloads over HTTP: few requests a second, and longer and longer waits when a server asks for them.

One :class:`Transfer` serves all threads of a download. If the server answers 429 to one of them, all wait: it counts
the requests of an address, not of a thread. ``Retry-After`` is obeyed, as seconds or as a date. Proxies are those of
the environment (``HTTPS_PROXY``).
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from importlib import metadata
from urllib.parse import urlsplit

from lem_models.errors import ConfigError, DownloadError
from lem_models.guard.text import shown

__all__ = ["TEMPORARY", "Manners", "Transfer", "check_address", "seconds_to_wait"]

TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""

_BLOCK = 1 << 16
_SLOWEST = 1 << 15  # bytes a second


@dataclass(frozen=True)
class Manners:
    """How hard a server is asked.

    Attributes:
        per_second: Most requests that are started in a second, by all threads together.
        attempts: How often a request is made before it fails.
        first_wait: Seconds before the second attempt; they double with each attempt.
        longest_wait: Longest wait in seconds. A server that asks for more ends the download.
        timeout: Seconds without a byte after which a connection is given up.
        patience: Seconds that a body may take, besides its size at 32 KiB a second.
    """

    per_second: float = 10.0
    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0
    timeout: float = 30.0
    patience: float = 60.0


def check_address(address: str) -> str:
    """Check the base address of a source; it has no slash at its end.

    Raises:
        ConfigError: It is not an address of HTTP, or it holds a user, a password, a query or a fragment.

    Example:
        >>> check_address("http://127.0.0.1:8000/archive/")
        'http://127.0.0.1:8000/archive'
        >>> check_address("file:///etc")
        Traceback (most recent call last):
        lem_models.errors.ConfigError: 'file:///etc' is not the address of a source: write it as https://host/path
    """
    try:
        parts = urlsplit(address)
        plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        plain = False
    if not plain or parts.query or parts.fragment or not address.isprintable() or " " in address:
        raise ConfigError(f"{shown(address)} is not the address of a source: write it as https://host/path")
    return address.rstrip("/")


def seconds_to_wait(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for; ``None`` if there is none that can be read.

    Args:
        header: Seconds, or a date of HTTP.
        now: The present; default the clock of the machine.

    Example:
        >>> seconds_to_wait("7"), seconds_to_wait("soon")
        (7.0, None)
        >>> seconds_to_wait("Sun, 06 Nov 1994 08:49:37 GMT", datetime(1994, 11, 6, 8, 49, 7, tzinfo=timezone.utc))
        30.0
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    return max((until - (now or datetime.now(timezone.utc))).total_seconds(), 0.0)


class Transfer:
    """Downloads for several threads.

    Args:
        manners: How hard the server is asked.
    """

    def __init__(self, manners: Manners | None = None) -> None:
        self._manners = manners or Manners()
        self._lock = threading.Lock()
        self._next = 0.0  # when the next request may start, on the monotonic clock
        self._stopped = threading.Event()
        self._agent = f"lem-models/{metadata.version('lem_models')}"

    def stop(self) -> None:
        """Let every thread give up at its next request, wait or block."""
        self._stopped.set()

    def get(self, url: str, limit: int) -> bytes:
        """Get the body of an address.

        Args:
            url: The address.
            limit: Largest body in bytes.

        Raises:
            DownloadError: The server refuses, fails again and again, cannot be reached, sends too much, or asks for a
                longer wait than ours; or the transfer was stopped.
        """
        wait = self._manners.first_wait
        for attempt in range(1, self._manners.attempts + 1):
            self._take_turn(url)
            try:
                return self._attempt(url, limit)
            except _Temporary as error:
                problem = error.problem
            pause = wait if problem.retry_after is None else problem.retry_after
            if attempt == self._manners.attempts or pause > self._manners.longest_wait:
                break
            self._postpone(pause)
            wait = min(2 * wait, self._manners.longest_wait)
        raise problem

    def _take_turn(self, url: str) -> None:
        """Wait until the next request may start."""
        while True:
            with self._lock:
                now = time.monotonic()
                pause = self._next - now
                if pause <= 0.0:
                    self._next = now + 1.0 / self._manners.per_second
            if self._stopped.wait(max(pause, 0.0)):
                raise DownloadError(f"the download of {url} was stopped", url=url)
            if pause <= 0.0:
                return

    def _postpone(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def _attempt(self, url: str, limit: int) -> bytes:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": self._agent})
            with urllib.request.urlopen(request, timeout=self._manners.timeout) as response:
                stated = _stated_length(response.headers.get("Content-Length"))
                if stated is not None and stated > limit:
                    raise DownloadError(f"{url} sends {stated:,} bytes, more than {limit:,}", url=url)
                seconds = self._manners.patience + (limit if stated is None else stated) / _SLOWEST
                deadline = time.monotonic() + seconds
                content = bytearray()
                # read1 gives what has arrived, so a server that drips meets the deadline.
                while block := response.read1(_BLOCK):
                    content += block
                    if len(content) > limit:
                        raise DownloadError(f"{url} sends more than {limit:,} bytes", url=url)
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"after {seconds:.0f} s {len(content):,} bytes have arrived")
                    if self._stopped.is_set():
                        raise DownloadError(f"the download of {url} was stopped", url=url)
                if stated is not None and len(content) < stated:
                    raise http.client.IncompleteRead(b"", stated - len(content))
                return bytes(content)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            problem, again = _problem(url, error)
        # Raise outside the handler: the context must not hold the request.
        raise _Temporary(problem) if again else problem


def _stated_length(header: str | None) -> int | None:
    """Length that a server states; ``None`` if it states none."""
    return int(header) if header is not None and header.isascii() and header.isdigit() and len(header) < 16 else None


class _Temporary(Exception):
    """A failure after which the same request may succeed."""

    def __init__(self, problem: DownloadError) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _problem(url: str, error: Exception) -> tuple[DownloadError, bool]:
    """The typed error for a failure, and whether the same request may succeed later."""
    if isinstance(error, urllib.error.HTTPError):
        after = seconds_to_wait(error.headers.get("Retry-After"))
        error.close()
        advice = {403: ": the server does not allow it", 404: ": there is no such file"}.get(error.code, "")
        if error.code in TEMPORARY:
            later = "later" if after is None else f"in {after:.0f} seconds"
            advice = f": try again {later}; files that are here stay"
        message = f"{url} answers {error.code} {error.reason}{advice}"
        return DownloadError(message, url=url, status=error.code, retry_after=after), error.code in TEMPORARY
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    kind = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason)
    # A refused connection or an unknown host is not tried again: the machine is probably offline.
    again = not isinstance(reason, ConnectionRefusedError | socket.gaierror)
    cure = "try again; files that are here stay" if again else "are you online?"
    return DownloadError(f"{url} cannot be fetched ({kind}): {cure}", url=url), again
