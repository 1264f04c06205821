"""Taking and amending orders: placed on the bars, held against the volume that can be expected, and refused by rule."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import numpy as np

from lem_models.desk.ledger import Ledger, Transaction
from lem_models.desk.log.events import DESK, Added, Amended, HistoryTaken
from lem_models.desk.market_data.symbol_market import SymbolMarket, read_history, stored_history
from lem_models.desk.orders.amounts import plain_text
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.orders.terms import Terms, first_bar, late_start, resolve
from lem_models.errors import BarsError, OrderError
from lem_models.execution.encoding_stream import kept_bars
from lem_models.execution.policy import Policy, PolicySettings, sessions_of
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars, BarsLike
from lem_models.markets.calendar.frequency import moment

__all__ = ["AMENDABLE", "Intake"]

_LOG = logging.getLogger("lem_models")

AMENDABLE = ("amount", "end", "max_duration", "min_duration", "max_participation", "risk_aversion")
"""Fields that :meth:`Desk.amend` changes."""

_DIGITS = 9  # of an expected volume in the log
_KEPT = 1000  # expected volumes that are kept


class Intake:
    """Takes orders for a desk.

    Args:
        ledger: The ledger.
        policy: The desk's policy: its horizon, and the sessions of its expected volume.

    Attributes:
        has_retaken: Whether the bars of a symbol were replaced by a later history, which policies do not know yet.
    """

    def __init__(self, ledger: Ledger, policy: Policy) -> None:
        self._ledger, self._policy = ledger, policy
        self._volumes: dict[tuple[str, int, int, int], list[float]] = {}
        self._horizon, self._sessions = PolicySettings.of(policy).horizon, sessions_of(policy)
        self.has_retaken = False

    def add(self, change: Transaction, orders: Sequence[DeskOrder], history: BarsLike | None) -> list[str]:
        """Add orders to the log; see :meth:`Desk.add`."""
        given = None if history is None else _as_bars(history, orders)
        labels: list[str] = []
        taken: list[Added] = []  # logged once none of the orders is refused: a refusal then has nothing to undo
        starts: dict[str, int] = {}
        for order in orders:
            label = self._label(order, labels)
            try:
                taken.append(self._added(change, order.replaced(id=label), given, starts))
            except OrderError as error:
                if error.order_id is not None:
                    raise
                raise error.at(error.row, label) from None
            labels.append(label)
        for label, order, added in zip(labels, orders, taken, strict=True):
            change.add(label, added)
            late = late_start(order, self._ledger.market(order.symbol).last.timestamp, int(added.terms["start"]))
            if late is not None:
                _LOG.warning("order %s: %s", label, late)
        return labels

    def _added(self, change: Transaction, order: DeskOrder, given: Bars | None, starts: dict[str, int]) -> Added:
        """An order as it is logged; ``starts`` has the first bars of baskets."""
        market = self._market(change, order, given)
        start = first_bar(order, market.calendar, market.last.timestamp, change.at)
        if order.parent is not None and starts.setdefault(order.parent, start) != start:
            raise OrderError(
                f"the orders of the basket {order.parent!r} start at {moment(starts[order.parent])} and "
                f"{moment(start)}: a basket has one clock; give a start at which all of its markets are open",
                field="start",
                rule="one clock",
            )
        terms, expected = self._placed(order, market, start)
        price = market.last.close
        self._check(order, order.amount, expected, price)
        body = order.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        return Added(body, asdict(terms), tuple(expected), price)

    def amend(self, change: Transaction, label: str, changes: Mapping[str, Any]) -> None:
        """Add an amendment to the log; see :meth:`Desk.amend`."""
        state = self._ledger.order(label)
        unknown = [name for name in changes if name not in AMENDABLE]
        if unknown or not changes:
            what = shown(unknown[0]) if unknown else "nothing"
            raise OrderError(
                f"{what} cannot be amended, only {', '.join(AMENDABLE)}: cancel the order and add another one",
                field=str(unknown[0]) if unknown else None,
                rule="amendable field",
            )
        if not state.is_active:
            raise OrderError(
                f"order {label!r} is {state.status}: it cannot be amended", rule="active order", order_id=label
            )
        wanted = dict(changes)
        if "amount" in wanted and not isinstance(wanted["amount"], str):
            wanted["amount"] = str(wanted["amount"])
        if "end" in wanted:
            wanted.setdefault("max_duration", None)
        elif "max_duration" in wanted:
            wanted["end"] = None
        order = state.order.replaced(**wanted)
        market = self._ledger.market(order.symbol)
        if order.amount < state.used:
            raise OrderError(
                f"{plain_text(state.used)} of the order are filled: the amount cannot become "
                f"{plain_text(order.amount)}",
                field="amount",
                rule="at least what is filled",
                order_id=label,
            )
        terms, expected = self._placed(order, market, state.terms.start)
        if terms.max_periods <= state.period:
            raise OrderError(
                f"the order has taken {state.period} bars, and would end after {terms.max_periods}: cancel it instead",
                field="end",
                rule="end in the future",
                order_id=label,
            )
        if order.amount > state.used:
            self._check(order, order.amount - state.used, expected[state.period :], market.last.close)
        body = order.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        told = {name: None if value is None else str(value) for name, value in changes.items()}
        change.add(label, Amended(told, body, asdict(terms), tuple(expected), market.last.close))

    # -- parts -------------------------------------------------------------------------------------------------------

    def _label(self, order: DeskOrder, before: Sequence[str]) -> str:
        known = self._ledger.state.orders
        if order.id is None:
            number = len(known) + 1
            while str(number) in known or str(number) in before:
                number += 1
            return str(number)
        if order.id in known or order.id in before:
            raise OrderError(
                f"the desk has an order {order.id!r} already: choose another id", field="id", rule="unique id"
            )
        return order.id

    def _market(self, change: Transaction, order: DeskOrder, history: Bars | None) -> SymbolMarket:
        """The bars of the order's symbol: those that the desk follows, or the history."""
        symbol, state = order.symbol, self._ledger.state
        known = state.market.get(symbol)
        if history is None or symbol not in history.symbols:
            if known is None:
                has = "no history was given" if history is None else f"the history has {', '.join(history.symbols[:8])}"
                raise OrderError(
                    f"the desk has no bars of {symbol}, and {has}: add the order with a history",
                    field="symbol",
                    rule="known symbol",
                )
            return self._ledger.market(symbol)
        self._take(change, symbol, order.calendar, history)
        return self._ledger.market(symbol)

    def follow(self, change: Transaction, history: Bars) -> list[str]:
        """Take the history of every symbol that the desk does not follow up to there; see :meth:`Desk.follow`."""
        return [symbol for symbol in history.symbols if self._take(change, symbol, None, history)]

    def _take(self, change: Transaction, symbol: str, calendar: str | None, history: Bars) -> bool:
        """Take the history of a symbol, unless the desk has its bars already.

        Raises:
            BarsError: The history goes on after the bars that orders of the symbol are decided on.
        """
        state = self._ledger.state
        known = state.market.get(symbol)
        number = history.number_of(symbol)
        last = int(history.timestamp[history.offsets[number + 1] - 1])
        if known is not None and last <= known.last:
            return False
        self.has_retaken |= known is not None
        if known is not None and state.active.get(symbol):
            raise BarsError(
                f"the history ends at {moment(last):%Y-%m-%d %H:%M} UTC, after the bars that the desk follows for its "
                f"orders ({moment(known.last):%Y-%m-%d %H:%M}): observe the bars between first",
                symbol=symbol,
                rule="history",
            )
        count = min(kept_bars(self._policy, history), len(history))
        digest, data = stored_history(history, symbol, calendar, count)
        change.blobs[digest] = data
        own = read_history(data)
        change.add(
            DESK,
            HistoryTaken(
                symbol,
                digest,
                own.grid.calendars.kinds[0].name,
                int(own.frequency.value),
                int(own.timestamp[-1]),
                float(own.close[-1]),
            ),
        )
        return True

    def _placed(self, order: DeskOrder, market: SymbolMarket, start: int) -> tuple[Terms, list[float]]:
        terms = resolve(order, market.calendar, start, self._horizon)
        key = market.symbol, market.last.timestamp, start, terms.max_periods
        if key not in self._volumes:  # orders that come together ask for the same
            volume = market.expected_volume(start, terms.max_periods, self._sessions)
            self._volumes = {key: [float(f"{each:.{_DIGITS}g}") for each in np.maximum(volume, 0.0).tolist()]} | dict(
                list(self._volumes.items())[:_KEPT]
            )
        return terms, self._volumes[key]

    @staticmethod
    def _check(order: DeskOrder, left: Decimal, expected: Sequence[float], price: float) -> None:
        """Refuse an order that its constraints forbid at the last close and the expected volume.

        Args:
            order: The order.
            left: What of its amount is to be traded.
            expected: Volume expected in each bar that is left.
            price: Last close.
        """
        value, limits = Decimal(repr(price)), order.constraints
        units = left / value if order.is_notional else left
        least, rule = limits.smallest(value, limits.step(units))
        if units < least:
            raise OrderError(
                f"the order is {_few(units)} {order.symbol} at the last close {price:g}, and {rule} allows no child "
                f"order of less than {plain_text(least)}",
                field="amount",
                rule=rule,
                order_id=order.id,
            )
        if order.max_participation is None or order.allow_incomplete:
            return
        part = Decimal(repr(order.max_participation))
        most = part * Decimal(repr(sum(expected)))
        if units > most:
            share = units / Decimal(repr(sum(expected))) if sum(expected) else Decimal("Infinity")
            worth = f", {most * value:,.0f} {order.unit}".rstrip() + " at the last close," if order.is_notional else ""
            raise OrderError(
                f"the order is {share:.1%} of the volume expected in its {len(expected)} bars, and max_participation "
                f"is {order.max_participation:.1%}: {_few(most)} {order.symbol}{worth} can be traded. Take less, give "
                "it more time, or say allow_incomplete",
                field="max_participation",
                rule="max_participation",
                order_id=order.id,
            )
        if max(expected) and part * Decimal(repr(max(expected))) < least:
            raise OrderError(
                f"max_participation allows at most {_few(part * Decimal(repr(max(expected))))} {order.symbol} in a "
                f"bar, and {rule} allows no child order of less than {plain_text(least)}",
                field="max_participation",
                rule=rule,
                order_id=order.id,
            )


def _as_bars(history: BarsLike, orders: Sequence[DeskOrder]) -> Bars:
    """The history; the orders may name the calendar of a table."""
    if isinstance(history, Bars):
        return history
    calendars = {order.symbol: order.calendar for order in orders if order.calendar is not None}
    if not calendars:
        return Bars.of(history)
    if isinstance(history, str | os.PathLike):
        return Bars.read(history, calendar=calendars)
    return Bars.from_frame(history, calendar=calendars)


def _few(value: Decimal) -> str:
    """A number with few digits, for messages."""
    return f"{value:,.6g}"
