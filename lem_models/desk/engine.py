"""The policies behind a desk: live orders that are told what was filled.

Two :class:`~lem_models.execution.live.LiveOrders` run side by side, those of the desk's policy and those of its
fallback. An order is in one of them. The engine is a cache: it is made from the state of the desk at any time, with
``begun`` orders, and it is thrown away when in doubt.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lem_models.desk.log.state import OrderState, Traded
from lem_models.desk.orders.sizing import engine_lots
from lem_models.errors import LEMError
from lem_models.execution.live import Begun, Filled, LiveOrders
from lem_models.execution.policy import Policy, lookback_of
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.live_bars import ClosedBar

__all__ = ["Engine", "Entry", "Fills", "Wish", "begun_of", "engine_order", "fraction_of"]

Fills = Mapping[str, Filled]
_NOTHING = Filled(0.0, float("nan"))
_FAR_TOO_MANY_OVER = 100_000
_MOST_OVER = 10_000  # orders that are over and still in the tables; making the engine anew takes as long as many closes


class Wish(NamedTuple):
    """What a policy wishes for the coming bar.

    Attributes:
        fraction: Fraction of the order.
        finish: Whether the order is finishing.
    """

    fraction: float
    finish: bool


@dataclass(frozen=True)
class Entry:
    """An order that the engine takes up.

    Attributes:
        label: Its label.
        order: The order, and what it has done.
        start: Start of its first bar, nanoseconds UTC.
    """

    label: str
    order: OrderState
    start: int


class _Book:
    """Live orders of one policy, by label."""

    def __init__(self, policy: Policy, *, allow_frequency: bool) -> None:
        self.policy, self._allow_frequency = policy, allow_frequency
        self._live: LiveOrders | None = None
        self._gone: list[str] = []  # orders that the live orders are yet to let go of, together
        self.row: dict[str, int] = {}  # row of each order in the arrays of the live orders
        self.name: dict[str, str] = {}  # its label there: another one each time that it is added
        self._added = 0

    @property
    def live(self) -> LiveOrders | None:
        """The live orders, without those that were dropped; ``None`` before the first order."""
        if self._gone and self._live is not None:
            self._live.drop(self._gone)
        self._gone = []
        return self._live

    def add(self, entries: Sequence[Entry], bars: Bars) -> None:
        """Take orders up, with what they have done already: all or none.

        Raises:
            OrderError: An order breaks a rule of the policy.
            BarsError: The policy lacks the lookback of an order.
            PolicyError: The policy breaks its protocol.
        """
        names = [f"{entry.label}#{self._added + place}" for place, entry in enumerate(entries)]
        table = [engine_order(entry, name) for entry, name in zip(entries, names, strict=True)]
        begun: dict[Hashable, Begun] | None = {
            name: begun_of(entry.order) for entry, name in zip(entries, names, strict=True) if entry.order.period
        } or None
        live = self.live
        if live is None:
            self._live = LiveOrders(
                self.policy,
                table,
                bars,
                fills="reported",
                cap_ahead=True,
                begun=begun,
                allow_frequency=self._allow_frequency,
            )
        else:
            live.add(table, bars, begun=begun)
        self.drop([entry.label for entry in entries])
        for entry, name in zip(entries, names, strict=True):
            self.row[entry.label], self.name[entry.label] = self._added, name
            self._added += 1

    def drop(self, labels: Iterable[str]) -> None:
        """Let go of orders."""
        for label in labels:
            if label in self.row:
                del self.row[label]
                self._gone.append(self.name.pop(label))

    def of(self, fills: Fills) -> dict[Hashable, Filled]:
        """Fills of its orders, by their labels in the live orders."""
        name = self.name
        return {name[label]: fill for label, fill in fills.items() if label in name and fill.fraction}

    def is_worn(self, most_over: int = _MOST_OVER) -> bool:
        """Whether so many of its orders are over that it should be made anew."""
        return self._added > 2 * len(self.row) + most_over


class Engine:
    """Policies that decide the orders of a desk.

    Args:
        policy: The desk's policy.
        fallback: Who stands in for it.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.
    """

    def __init__(self, policy: Policy, fallback: Policy, *, allow_frequency: bool = False) -> None:
        self._own = _Book(policy, allow_frequency=allow_frequency)
        self._fallback = _Book(fallback, allow_frequency=True)
        self.lookback = lookback_of(policy)

    @property
    def _books(self) -> tuple[_Book, _Book]:
        return self._own, self._fallback

    def __contains__(self, label: object) -> bool:
        """Whether an order is decided by one of the policies."""
        return label in self._own.row or label in self._fallback.row

    @property
    def labels(self) -> Set[str]:
        """The orders that one of the policies decides."""
        own, fallback = self._own.row, self._fallback.row
        return own.keys() | fallback.keys() if own and fallback else own.keys() or fallback.keys()

    def is_worn(self, *, badly: bool = False) -> bool:
        """Whether it should be made anew from the state: when there is time, or, badly worn, at once."""
        return any(book.is_worn(_FAR_TOO_MANY_OVER if badly else _MOST_OVER) for book in self._books)

    def add(self, entries: Sequence[Entry], bars: Bars, *, fallback: bool) -> None:
        """Take orders up; those that the engine has already are replaced.

        Args:
            entries: The orders.
            bars: Bars of their symbols up to now.
            fallback: Whether the fallback decides them.

        Raises:
            LEMError: One of them cannot be decided; nothing has changed.
        """
        book, other = (self._fallback, self._own) if fallback else (self._own, self._fallback)
        book.add(entries, bars)
        other.drop([entry.label for entry in entries])

    def drop(self, labels: Iterable[str]) -> None:
        """Let go of orders."""
        labels = list(labels)
        for book in self._books:
            book.drop(labels)

    def observe(self, bars: Mapping[str, ClosedBar], fills: Fills) -> dict[str, str]:
        """Take in closed bars and what was filled in them.

        Returns:
            Orders of the policy that failed, with the reason; they are in the engine no more.
        """
        failed: dict[str, str] = {}
        for book in self._books:
            live = book.live
            if live is None:
                continue
            try:
                live.observe(bars, fills=book.of(fills))
            except LEMError as error:
                if book is self._fallback:
                    raise
                failed = self._failed(error)
        return failed

    def report(self, fills: Fills) -> None:
        """Take in fills between bars."""
        for book in self._books:
            live, mine = book.live, book.of(fills)
            if mine and live is not None:
                live.report(fills=mine)

    def decide(self) -> tuple[dict[str, Wish], dict[str, str]]:
        """Wishes of all orders for their coming bars, and the orders of the policy that failed with the reason."""
        wishes: dict[str, Wish] = {}
        failed: dict[str, str] = {}
        for book in self._books:
            live = book.live
            if live is None or not book.row:
                continue
            try:
                decision = live.decide()
            except LEMError as error:
                if book is self._fallback:
                    raise
                failed = self._failed(error)
                continue
            fraction, finish = decision.fraction.tolist(), decision.finish.tolist()
            wishes |= {label: Wish(fraction[row], finish[row]) for label, row in book.row.items()}
        return wishes, failed

    def ended(self) -> dict[str, str]:
        """Orders whose session is over, with the reason."""
        over: dict[str, str] = {}
        for book in self._books:
            live = book.live
            if live is None or not book.row:
                continue
            ended = live.ended
            if not np.any(ended):
                continue
            for label, row in book.row.items():
                if ended[row]:
                    over[label] = f"its trading session ended at {moment(int(ended[row])):%Y-%m-%d %H:%M} UTC"
        return over

    def _failed(self, error: LEMError) -> dict[str, str]:
        """Give up on the policy until the next order."""
        reason = f"the policy failed: {error}"
        failed = dict.fromkeys(self._own.row, reason)
        self._own = _Book(self._own.policy, allow_frequency=self._own._allow_frequency)
        return failed


def fraction_of(order: OrderState, traded: Traded) -> Filled:
    """What was traded as a fraction of the order, and its price."""
    if not traded.units:
        return _NOTHING
    used = traded.money if order.order.is_notional else traded.units
    return Filled(float(used / order.order.amount), float(traded.money / traded.units))


def begun_of(order: OrderState) -> Begun:
    """What an order has filled in the bars that have closed."""
    fills = [fraction_of(order, traded) for traded in order.periods]
    return Begun([fill.fraction for fill in fills], [fill.price for fill in fills])


def engine_order(entry: Entry, name: str) -> dict[str, Any]:
    """The order as the simulator takes it."""
    wanted, terms = entry.order.order, entry.order.terms
    row: dict[str, Any] = {
        "order_id": name,
        "symbol": wanted.symbol,
        "start": moment(entry.start),
        "side": wanted.side.value,
        "benchmark": wanted.benchmark.value,
        "target": wanted.target.value,
        "min_periods": terms.min_periods,
        "max_periods": terms.max_periods,
        "amount": float(wanted.amount),
    }
    if not wanted.is_notional and engine_lots(wanted.amount, wanted.lot_size, terms.max_periods):
        row["lot_size"] = float(wanted.lot_size or 0)
    if wanted.max_participation is not None:
        row["max_participation"] = wanted.max_participation
    if wanted.risk_aversion is not None:
        row["risk_aversion"] = wanted.risk_aversion
    return row
