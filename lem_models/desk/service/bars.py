"""Bars of requests: checked by the rules of the desk before they reach it, and gathered by the moment that they close.

What breaks a rule is refused here, with the request that brought it. So one wrong bar does not take the other bars of
its close with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lem_models.desk.service.messages import BarIn
from lem_models.errors import BarsError
from lem_models.guard.timestamps import MomentError, read_moment
from lem_models.markets.live_bars import checked_bar

__all__ = ["Close", "Expected", "Gathering", "bar_row"]

Expected = Mapping[int, frozenset[str]]
"""Symbols with active orders whose next bar starts at each moment, nanoseconds UTC."""


def bar_row(bar: BarIn) -> dict[str, Any]:
    """A bar as the desk takes it: a mapping of the columns.

    Raises:
        BarsError: It breaks a rule.
    """
    row = bar.__dict__.copy()
    symbol = row.pop("symbol")
    try:
        row["timestamp"] = pd.Timestamp(read_moment(bar.timestamp, needs_zone=True), tz="UTC")
    except MomentError as error:
        raise BarsError(error.reason, symbol=symbol, column="timestamp", rule="timestamp") from None
    checked_bar(row, symbol)
    return row


@dataclass
class Close:
    """Bars that close together.

    Attributes:
        timestamp: Their start, nanoseconds UTC.
        bars: Bars by symbol.
        waiting: Is answered once they are in the log: the messages of the desk.
        last: When the last of them came, by ``time.perf_counter``.
    """

    timestamp: int
    bars: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: list[asyncio.Future[list[str]]] = field(default_factory=list)
    last: float = 0.0


class Gathering:
    """Gathers the bars of a close until all of those that orders wait for have come, or until a deadline.

    It lives on the event loop.

    Args:
        seconds: Deadline after the first bar of a close.
        send: Takes a close to the desk.
    """

    def __init__(self, seconds: float, send: Callable[[Close], None]) -> None:
        self._seconds, self._send = seconds, send
        self._closes: dict[int, Close] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._expected: Expected = {}

    def expect(self, expected: Expected) -> None:
        """Say which bars orders wait for; closes that are complete by that are sent."""
        self._expected = expected
        for timestamp in sorted(self._closes):
            if timestamp in self._closes and self._is_complete(self._closes[timestamp]):
                self._flush(timestamp)

    def add(self, bars: Sequence[tuple[str, dict[str, Any]]], now: float) -> asyncio.Future[list[list[str]]]:
        """Take bars in.

        Args:
            bars: Symbol and columns of each.
            now: The time, by ``time.perf_counter``.

        Returns:
            Is done once all of them are in the log, with the desk's messages about their closes.
        """
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[list[str]]] = []
        touched: dict[int, None] = {}
        for symbol, row in bars:
            timestamp = int(row["timestamp"].value)
            close = self._closes.get(timestamp)
            if close is not None and symbol in close.bars:  # it came again: the desk says what of it
                self._flush(timestamp)
                close = None
            if close is None:
                close = self._closes[timestamp] = Close(timestamp)
                self._timers[timestamp] = loop.call_later(self._seconds, self._flush, timestamp)
            close.bars[symbol], close.last = row, now
            if timestamp not in touched or not close.waiting:
                future: asyncio.Future[list[str]] = loop.create_future()
                close.waiting.append(future)
                answers.append(future)
                touched[timestamp] = None
        for timestamp in sorted(touched):
            if timestamp in self._closes and self._is_complete(self._closes[timestamp]):
                self._flush(timestamp)
        return asyncio.gather(*answers)

    def flush(self) -> None:
        """Send every close as it is."""
        for timestamp in sorted(self._closes):
            self._flush(timestamp)

    def _is_complete(self, close: Close) -> bool:
        expected = self._expected.get(close.timestamp)
        return expected is not None and len(close.bars) >= len(expected) and expected <= close.bars.keys()

    def _flush(self, timestamp: int) -> None:
        """Send a close, and those before it first."""
        for earlier in sorted(self._closes):
            if earlier > timestamp:
                break
            self._timers.pop(earlier).cancel()
            self._send(self._closes.pop(earlier))
