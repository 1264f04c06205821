"""Bars from a websocket.

A message is JSON: a bar, ``{"symbol": ..., "timestamp": ..., "open": ..., ...}``, a list of bars, or an object with the
list under ``bars``. Messages of other forms are passed over. The connection is opened again when it breaks; what the
server sends twice the desk knows as duplicates.

websockets is needed: ``pip install 'lem-models[serve]'``.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from lem_models.errors import BarsError, ConfigError, one_line
from lem_models.guard.timestamps import MomentError, read_moment
from lem_models.markets.validation import VALUES

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

__all__ = ["BarSocket"]

_LONGEST_WAIT = 30.0  # seconds between attempts to connect
_MOST_MESSAGES = 10_000
_MOST_BYTES = 1 << 24


class BarSocket:
    """A :class:`~lem_models.desk.running.bar_sources.BarSource` on a websocket.

    Args:
        url: ``ws://`` or ``wss://`` address.
        token: Sent as ``Authorization: Bearer ...``; ``None`` for none.
        wait: Seconds before the first further attempt to connect; they double up to 30.

    Raises:
        ConfigError: websockets is not installed, or the address is no websocket's.
    """

    def __init__(self, url: str, token: str | None = None, *, wait: float = 0.5) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise ConfigError(f"{url} is no address of a websocket: it begins with ws:// or wss://")
        try:
            from websockets.sync import client
        except ModuleNotFoundError:
            raise ConfigError("a websocket needs the package websockets: pip install 'lem-models[serve]'") from None
        self.url, self._connect, self._wait = url, client.connect, wait
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._arrived: queue.Queue[tuple[str, str]] = queue.Queue(_MOST_MESSAGES)
        self._stop = threading.Event()
        self._connection: Any = None
        self._thread = threading.Thread(target=self._listen, name="bars of a websocket", daemon=True)
        self._thread.start()

    def history(self) -> Bars | None:
        """See :class:`~lem_models.desk.running.bar_sources.BarSource`."""
        return None

    def follow(self, after: Mapping[str, int]) -> None:
        """See :class:`~lem_models.desk.running.bar_sources.BarSource`; the desk picks out its symbols itself."""

    def poll(self) -> tuple[list[pd.DataFrame], list[str]]:
        """See :class:`~lem_models.desk.running.bar_sources.BarSource`."""
        rows: list[dict[str, Any]] = []
        messages: list[str] = []
        while True:
            try:
                kind, text = self._arrived.get_nowait()
            except queue.Empty:
                break
            if kind == "note":
                messages.append(text)
                continue
            try:
                rows += bars_of(text)
            except BarsError as error:
                messages.append(f"{self.url}: {error}; the message is passed over")
        if not rows:
            return [], messages
        table = pd.DataFrame(rows)
        return [each for _, each in table.groupby("timestamp", sort=True)], messages

    def close(self) -> None:
        """See :class:`~lem_models.desk.running.bar_sources.BarSource`."""
        self._stop.set()
        connection = self._connection
        if connection is not None:
            connection.close()
        self._thread.join(timeout=5)

    def _listen(self) -> None:
        wait = self._wait
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                with self._connect(self.url, additional_headers=self._headers, max_size=_MOST_BYTES) as connection:
                    self._connection = connection
                    self._put("note", f"{self.url}: connected")
                    for message in connection:
                        self._put("bars", message if isinstance(message, str) else message.decode("utf-8", "replace"))
                        wait = self._wait
                reason = "the server closed the connection"
            except Exception as error:  # whatever breaks a connection; it is said, and tried again
                reason = one_line(str(error) or type(error).__name__)
            finally:
                self._connection = None
            if self._stop.is_set():
                return
            if time.monotonic() - began > _LONGEST_WAIT:
                wait = self._wait
            self._put("note", f"{self.url}: {reason}; again in {wait:g} s")
            self._stop.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _put(self, kind: str, text: str) -> None:
        while not self._stop.is_set():
            try:
                self._arrived.put((kind, text), timeout=1)
                return
            except queue.Full:  # the desk is slower than the server: the server waits
                continue


def bars_of(text: str) -> list[dict[str, Any]]:
    """The bars of a message; none for messages of other forms.

    Raises:
        BarsError: The message is no JSON, or a bar in it lacks a column.
    """
    try:
        content = json.loads(text)
    except ValueError:
        raise BarsError("a message is no JSON", rule="JSON") from None
    if isinstance(content, Mapping) and "bars" in content:
        content = content["bars"]
    elif isinstance(content, Mapping) and isinstance(content.get("bar"), Mapping):
        content = [content["bar"]]
    elif isinstance(content, Mapping):
        content = [content] if "symbol" in content and "open" in content else []
    if not isinstance(content, list):
        return []
    rows = []
    for bar in content:
        lacking = [each for each in ("symbol", "timestamp", *VALUES) if not isinstance(bar, Mapping) or each not in bar]
        if lacking:
            raise BarsError(f"a bar lacks {lacking[0]!r}", column=lacking[0], rule="required columns")
        try:
            at = pd.Timestamp(read_moment(bar["timestamp"], needs_zone=True), tz="UTC")
            values = {each: float(bar[each]) for each in VALUES}
        except MomentError as error:
            raise BarsError(error.reason, column="timestamp", rule="timestamp") from None
        except (TypeError, ValueError):
            raise BarsError("a value of a bar is no number", rule="numeric column") from None
        rows.append({"timestamp": at, "symbol": str(bar["symbol"]), **values})
    return rows
