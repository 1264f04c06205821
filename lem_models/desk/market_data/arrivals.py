"""Bars as they arrive at a desk: the next ones are taken in, and everything else becomes a fault with a message."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lem_models.desk.ledger import Ledger, Transaction
from lem_models.desk.log.events import DESK, Bar, BarFault
from lem_models.desk.market_data.feed import Fault, FeedRules
from lem_models.desk.market_data.symbol_market import SymbolMarket
from lem_models.desk.trading import Trading
from lem_models.errors import BarsError
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.live_bars import ClosedBar
from lem_models.markets.validation import VALUES

__all__ = ["Arrivals"]

_LOG = logging.getLogger("lem_models")
_SECOND = 10**9


class Arrivals:
    """Takes bars in.

    Args:
        ledger: The ledger.
        trading: Runs the orders.
        rules: How long the desk waits, and how many bars may be missing.
    """

    def __init__(self, ledger: Ledger, trading: Trading, rules: FeedRules) -> None:
        self._ledger, self._trading, self._rules = ledger, trading, rules

    def take(self, change: Transaction, bars: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
        """Take in bars of any number of moments, by symbol in time order.

        Returns:
            Messages of the faults.

        Raises:
            BarsError: A bar breaks a rule; nothing has then changed.
        """
        messages: list[str] = []
        waiting = {
            name: [row for row in rows if not self._is_fault(change, name, row, messages)]
            for name, rows in bars.items()
            if name in self._ledger.state.market
        }
        while any(waiting.values()):
            self._step(change, waiting, messages)
        return messages

    def _step(self, change: Transaction, waiting: dict[str, list[dict[str, Any]]], messages: list[str]) -> None:
        """Close the earliest of the bars that wait, and those of its moment; bridge what is missing before them."""
        coming: dict[str, tuple[int, dict[str, Any], bool]] = {}
        for name, rows in waiting.items():
            if not rows:
                continue
            market, stamp = self._ledger.market(name), int(rows[0]["timestamp"].value)
            arrival = market.arrival(stamp, self._rules.longest_gap)
            if arrival.fault is not None:
                self._fault(change, name, arrival.fault, stamp, rows.pop(0), arrival.message, messages)
                return
            if arrival.missing:
                coming[name] = arrival.missing[0], market.bridging(arrival.missing[0]), True
            else:
                coming[name] = stamp, rows[0], False
        if not coming:
            return
        earliest = min(at for at, _, _ in coming.values())
        closed: dict[str, ClosedBar] = {}
        bridged: list[str] = []
        for name, (at, row, is_missing) in coming.items():
            if at > earliest:
                continue
            closed[name] = self._ledger.market(name).read(row)
            if is_missing:
                bridged.append(name)
                self._missing(change, name, at, messages)
            else:
                waiting[name].pop(0)
        self._trading.close(change, closed, bridged)

    def watch(self, change: Transaction, now: int) -> list[str]:
        """Say which feeds are stale at a moment, and bridge bars that are overdue."""
        messages: list[str] = []
        overdue = True
        while overdue:
            closed: dict[str, ClosedBar] = {}
            for name, labels in self._ledger.state.active.items():
                market = self._ledger.market(name) if labels else None
                if market is None:
                    continue
                at = market.coming
                late = now - (at + market.step)
                if late > self._rules.grace * _SECOND:
                    self._stale(change, name, at, market, late, messages)
                if late > self._rules.patience * _SECOND:
                    closed[name] = market.read(market.bridging(at))
            for name, bar in closed.items():
                self._missing(change, name, bar.timestamp, messages)
            if closed:
                self._trading.close(change, closed, list(closed))
            overdue = bool(closed)
        return messages

    # -- faults ------------------------------------------------------------------------------------------------------

    def _is_fault(self, change: Transaction, name: str, row: dict[str, Any], messages: list[str]) -> bool:
        """Whether a bar was seen before, or has not closed; it is then said."""
        stamp, known = int(row["timestamp"].value), self._ledger.state.market[name]
        market = self._ledger.market(name)
        ahead = stamp + market.step - change.at
        if ahead > self._rules.skew * _SECOND:
            text = (
                f"{name}: the bar of {_when(stamp)} ends {ahead / _SECOND:.1f} s after the desk's clock: it is still "
                "open, or a clock is wrong; it is not used"
            )
            self._fault(change, name, Fault.SKEW, stamp, row, text, messages)
            return True
        if stamp > market.last.timestamp:
            return False
        before = self._seen(market, stamp)
        if before is None:
            text = market.arrival(stamp, 0).message
            self._fault(change, name, Fault.OUT_OF_ORDER, stamp, row, text, messages)
            return True
        numbers, when = _numbers(row, name), _when(stamp)
        if stamp in known.bridged:
            text = (
                f"{name}: the bar of {when} came late, after a bar without volume had stood for it; past decisions "
                "stay, and the bar is kept in the log"
            )
            self._fault(change, name, Fault.LATE, stamp, row, text, messages)
        elif numbers == before[1:]:
            self._fault(change, name, Fault.DUPLICATE, stamp, row, f"{name}: the bar of {when} came again", messages)
        else:
            text = (
                f"{name}: the bar of {when} was revised (close {before[4]:g} to {numbers[3]:g}, volume {before[5]:g} "
                f"to {numbers[4]:g}); past decisions stay, and the revision is kept in the log"
            )
            self._fault(change, name, Fault.REVISED, stamp, row, text, messages)
        return True

    def _seen(self, market: SymbolMarket, stamp: int) -> Bar | None:
        """The bar of this start that the desk has, also in the history."""
        known = self._ledger.state.market[market.symbol]
        if stamp in known.places:
            return known.bars[known.places[stamp]]
        if stamp > known.first:  # after the history
            return None
        row = int(market.history.locate(market.symbol, [stamp])[0])
        if row < 0:
            return None
        opened, high, low, close, volume, notional = (float(getattr(market.history, each)[row]) for each in VALUES)
        return stamp, opened, high, low, close, volume, notional

    def _missing(self, change: Transaction, name: str, at: int, messages: list[str]) -> None:
        text = f"{name}: the bar of {_when(at)} is missing; a bar without volume at the last close stands for it"
        self._fault(change, name, Fault.MISSING, at, None, text, messages)

    def _stale(
        self, change: Transaction, name: str, at: int, market: SymbolMarket, late: int, messages: list[str]
    ) -> None:
        """Say once that a bar has not come."""
        text = (
            f"{name}: the feed is stale: the bar of {_when(at)} should have closed at {_when(at + market.step)}, and "
            f"nothing has come since that of {_when(market.last.timestamp)}"
        )
        if self._ledger.state.market[name].message != text:
            self._fault(change, name, Fault.STALE, at, None, text, messages)

    def _fault(
        self,
        change: Transaction,
        name: str,
        fault: Fault,
        stamp: int,
        row: dict[str, Any] | None,
        text: str,
        messages: list[str],
    ) -> None:
        bar = () if row is None else _numbers(row, name)
        change.add(DESK, BarFault(name, fault.value, stamp, bar, text))
        (_LOG.info if fault is Fault.DUPLICATE else _LOG.warning)("%s", text)
        messages.append(text)


def _numbers(row: dict[str, Any], name: str) -> tuple[float, ...]:
    """Open, high, low, close, volume and notional of a bar as it came."""
    try:
        return tuple(float(row[each]) for each in VALUES)
    except (TypeError, ValueError):
        raise BarsError(
            "a value of the bar is no number", symbol=name, timestamp=row["timestamp"], rule="numeric column"
        ) from None


def _when(timestamp: int) -> str:
    return f"{moment(timestamp):%Y-%m-%d %H:%M} UTC"
