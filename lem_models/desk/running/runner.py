"""The loop of a desk that runs as a process: bars, fills and requests in, decisions out.

At each look it books the fills that have come, carries out requests, takes in new bars moment by moment, and says what
is to be done. Everything is in the desk's log before it is said, so the process may be killed at any time; started
again, it says the decisions in force once more. Child orders have labels, by which who sends them knows them.

With assumed fills (paper trading) a child order fills at its bar's VWAP, in the transaction in which the bar is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lem_models.desk.decision import Decision
from lem_models.desk.desk import Desk
from lem_models.desk.market_data.feed import Fill
from lem_models.desk.outlook.next_bar import paper_fill
from lem_models.desk.running.bar_sources import BarSource
from lem_models.desk.running.fill_files import FillFile
from lem_models.errors import DeskError, LEMError
from lem_models.markets.calendar.frequency import moment

__all__ = ["PAPER", "Line", "Runner"]

PAPER = "fills assumed at the bar's VWAP"
"""What every line of paper trading says."""

_RENEWED = 3.0  # seconds after which the lease is renewed
_LIVE = 2  # bars, and at least five minutes: a bar that closed no longer ago is live
_FIVE_MINUTES = 300 * 10**9


@dataclass(frozen=True)
class Line:
    """What a running desk says.

    Attributes:
        kind: ``"decision"``, ``"message"`` (about bars and fills), ``"request"`` or ``"end"`` (an order is over).
        text: In a sentence.
        values: The same for JSON.
    """

    kind: str
    text: str
    values: dict[str, Any]


class Runner:
    """Runs a desk.

    Args:
        desk: The desk.
        bars: Where its bars come from.
        fills: File of fills; ``None`` to assume them.
        until: Market time at which to stop, nanoseconds UTC; ``None`` to go on until all orders are over.
        once: Whether to stop when everything that is there has been taken in.
        poll: Seconds between looks.
        clock: The time, nanoseconds UTC.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        desk: Desk,
        bars: BarSource,
        fills: FillFile | None = None,
        *,
        until: int | None = None,
        once: bool = False,
        poll: float = 1.0,
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.desk, self._bars, self._fills = desk, bars, fills
        self._until, self._once, self._poll, self._clock, self._sleep = until, once, poll, clock, sleep
        self._told: dict[str, tuple[str, str, str]] = {}
        self._over = {label for label, order in desk.state.orders.items() if not order.is_active}
        self._is_live = False
        self._renewed = time.monotonic()
        self._waits_for_clock = until is not None and until > clock()

    @property
    def is_paper(self) -> bool:
        """Whether fills are assumed."""
        return self._fills is None

    def lines(self) -> Iterator[Line]:
        """Run until all orders are over, or as long as was asked for.

        Yields:
            What is to be said, each after it is in the log.

        Raises:
            DeskError: Another process has taken the desk over, or its log cannot be written.
            BarsError: A bar breaks a rule.
        """
        yield from self._booked()
        yield from self._asked()
        yield from self._decided()
        while True:
            tables, messages = self._bars.poll()
            yield from (self._message(text) for text in messages)
            for table in tables:
                if self._is_over():
                    return
                yield from self._taken(table)
            yield from self._booked()
            yield from self._asked()
            if self._feed_is_live():
                yield from (self._message(text) for text in self.desk.watch())
            yield from self._decided()
            if self._is_over() or (self._once and not tables):
                return
            self._renew()
            if not tables:
                self._sleep(self._poll)

    def catch_up(self) -> Iterator[Line]:
        """Take in what is there, and stop: before orders are added to a desk that has some.

        Yields:
            See :meth:`lines`.
        """
        yield from self._booked()
        yield from self._asked()
        yield from self._decided()
        tables, messages = self._bars.poll()
        yield from (self._message(text) for text in messages)
        for table in tables:
            yield from self._taken(table)

    def _taken(self, table: pd.DataFrame) -> Iterator[Line]:
        """Take in the bars of a moment."""
        yield from self._booked()
        yield from (self._message(text) for text in self.desk.observe(table, fills=self._paper(table)))
        yield from self._decided()
        self._renew()

    # -- in ----------------------------------------------------------------------------------------------------------

    def _booked(self) -> Iterator[Line]:
        """Book the fills that have come."""
        if self._fills is None:
            return
        rows, messages = self._fills.poll()
        yield from (self._message(text) for text in messages)
        for row in rows:
            labels = list(self.desk.state.orders)
            if row.order is None and len(labels) != 1:
                yield self._message(
                    f"fill {row.id!r} names no order, and the desk has {len(labels)}; it is passed over"
                )
                continue
            try:
                fill = row.of(labels[0])
                texts = self.desk.fills([fill])
            except DeskError:
                raise
            except LEMError as error:
                yield self._message(f"fill {row.id!r} is passed over: {error}")
                continue
            yield from (self._message(text) for text in texts)

    def _paper(self, table: pd.DataFrame) -> list[Fill]:
        """Assumed fills of a moment."""
        if self._fills is not None:
            return []
        bars = {row["symbol"]: row for row in table.to_dict("records")}
        fills = []
        for decision in self.desk.decide():
            bar = bars.get(decision.symbol)
            if bar is None or bar["timestamp"] != decision.window[0] or self._is_open(decision):
                continue
            fill = paper_fill(decision, float(bar["volume"]), float(bar["notional"]))
            if fill is not None:
                fills.append(fill)
        return fills

    def _is_open(self, decision: Decision) -> bool:
        """Whether the bar of a decision has not closed: the desk refuses such a bar, and nothing fills in it."""
        return int(decision.window[1].value) - self._clock() > self.desk.rules.skew * 10**9

    def _asked(self) -> Iterator[Line]:
        """Carry out requests."""
        for text in self.desk.serve():
            yield Line("request", text, {"text": text})

    # -- out ---------------------------------------------------------------------------------------------------------

    def _decided(self) -> Iterator[Line]:
        """Decisions that were not said yet, and orders that are over."""
        for decision in self.desk.decide():
            key = decision.child, str(decision.quantity), decision.reason
            if self._told.get(decision.order_id) == key:
                continue
            self._told[decision.order_id] = key
            values = decision.as_dict() | {"fills": "assumed" if self.is_paper else "reported"}
            text = f"{decision.order_id}: {decision}"
            yield Line("decision", f"{text} [paper: {PAPER}]" if self.is_paper else text, values)
        for label, order in self.desk.state.orders.items():
            if order.is_active or label in self._over:
                continue
            self._over.add(label)
            status = next(each for each in self.desk.status().orders if each.order_id == label)
            values = status.as_dict() | {"fills": "assumed" if self.is_paper else "reported"}
            text = str(status)
            yield Line("end", f"{text} [paper: {PAPER}]" if self.is_paper else text, values)

    @staticmethod
    def _message(text: str) -> Line:
        return Line("message", text, {"text": text})

    # -- the time ----------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        if time.monotonic() - self._renewed > _RENEWED:
            self.desk.renew()
            self._renewed = time.monotonic()

    def _feed_is_live(self) -> bool:
        """Whether the clock may bridge bars: a bar has come that closed just now, in this process.

        Bars of the past that are replayed, or that a restart after a long pause has yet to catch up with, are not held
        against the clock.
        """
        if not self._is_live:
            now = self._clock()
            for name in self.desk.state.active:
                market = self.desk.state.market[name]
                if now - (market.last + market.frequency) <= max(_LIVE * market.frequency, _FIVE_MINUTES):
                    self._is_live = True
        return self._is_live

    def _is_over(self) -> bool:
        if not self.desk.is_active:
            return True
        if self._until is None:
            return False
        markets = [self.desk.state.market[name] for name, labels in self.desk.state.active.items() if labels]
        if all(market.last + market.frequency >= self._until for market in markets):
            return True
        return self._waits_for_clock and self._clock() >= self._until + int(self.desk.rules.patience * 10**9)

    def left_in_words(self) -> str:
        """What is under way, for the last line."""
        active = [label for label, order in self.desk.state.orders.items() if order.is_active]
        last = [moment(each.last + each.frequency) for each in self.desk.state.market.values()]
        until = f" after the bar that ended at {max(last):%Y-%m-%d %H:%M} UTC" if last else ""
        return f"stopped{until}; orders under way: {', '.join(active) or 'none'}"
