"""From bar to bar: the engine in step with the state, wishes, and child orders out of wishes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal

from lem_models.desk.engine import Engine, Entry, Wish, fraction_of
from lem_models.desk.ledger import Ledger, Transaction
from lem_models.desk.log.events import DESK, BarsClosed, DecisionEntry, Ended, FellBack, Restored
from lem_models.desk.log.state import OrderState, Traded
from lem_models.desk.market_data.feed import FeedRules
from lem_models.desk.market_data.symbol_market import joined_bars
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.orders.sizing import Sized, size_notional, size_quantity
from lem_models.errors import LEMError, OrderError
from lem_models.execution.live import Filled
from lem_models.markets.bars import Bars
from lem_models.markets.live_bars import ClosedBar

__all__ = ["Trading"]

_LOG = logging.getLogger("lem_models")
_ZERO = Decimal(0)
_MONEY = Decimal("1e-12")
_WISH = 1e12  # wishes are logged with 12 digits
_MISSING = "are missing"


class Trading:
    """Runs the orders of a desk.

    Args:
        ledger: The ledger.
        make: Makes a new engine.
        rules: When the fallback stands in.

    Attributes:
        policy_seconds: Time that the policies have taken.
    """

    def __init__(self, ledger: Ledger, make: Callable[[], Engine], rules: FeedRules) -> None:
        self._ledger, self._make, self._rules = ledger, make, rules
        self._engine: Engine | None = None
        self._version = -1
        self.policy_seconds = 0.0
        self._refused: dict[str, str] = {}  # orders that nobody can decide now, with the reason
        self._ready: dict[str, tuple[OrderState, Decimal, DeskOrder, Filled]] = {}  # see `prepare`

    def forget(self) -> None:
        """Throw the engine away; it is made anew from the state."""
        self._engine = None

    @property
    def is_worn(self) -> bool:
        """Whether most orders of the engine are over, so that it should be made anew."""
        return self._engine is not None and self._engine.is_worn()

    def engine(self, change: Transaction) -> Engine:
        """The engine, in step with the state."""
        if self._engine is None or self._version != self._ledger.version or self._engine.is_worn(badly=True):
            self._engine, self._version = self._make(), self._ledger.version
            self._refused.clear()
        self._take_up(change, self._engine)
        return self._engine

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Count what the policy takes."""
        begin = time.perf_counter()
        yield
        self.policy_seconds += time.perf_counter() - begin

    # -- orders in the engine ----------------------------------------------------------------------------------------

    def _take_up(self, change: Transaction, engine: Engine) -> None:
        """Give the engine the active orders that it lacks and whose first bar is the coming one, or has been."""
        state, lacking = self._ledger.state, list[Entry]()
        known = engine.labels
        for symbol, labels in state.active.items():
            if labels.keys() <= known:
                continue
            new = [label for label in labels if label not in known]
            coming = self._ledger.market(symbol).coming if new else 0
            for label in new:
                order = state.orders[label]
                if order.period or order.terms.start <= coming:
                    lacking.append(self._entry_of(label, order))
        if not lacking:
            return
        reasons = {entry.label: entry.order.fallback or self._too_many_bridged(entry, engine) for entry in lacking}
        for fallback in (False, True):
            alike = [entry for entry in lacking if bool(reasons[entry.label]) == fallback]
            if alike and not self._added(engine, alike, fallback=fallback):
                for entry in alike:  # one by one, to see which of them cannot
                    self._add(change, engine, entry, reasons[entry.label])
            elif fallback:
                for entry in alike:
                    if reasons[entry.label] != entry.order.fallback:
                        self._fall_back(change, entry.label, reasons[entry.label])

    def _entry_of(self, label: str, order: OrderState) -> Entry:
        known = self._ledger.state.market[order.order.symbol]
        coming = self._ledger.market(order.order.symbol).coming
        return Entry(label, order, known.bars[-order.period][0] if order.period else coming)

    def _bars_of(self, entries: Sequence[Entry]) -> Bars:
        symbols = dict.fromkeys(entry.order.order.symbol for entry in entries)
        return joined_bars([self._ledger.market(symbol).bars() for symbol in symbols])

    def _added(self, engine: Engine, entries: Sequence[Entry], *, fallback: bool) -> bool:
        """Give orders to the engine; those whose bars have other lengths apart. Whether all of them could be."""
        by_length: dict[int, list[Entry]] = {}
        for entry in entries:
            by_length.setdefault(entry.order.terms.step, []).append(entry)
        for alike in by_length.values():
            try:
                engine.add(alike, self._bars_of(alike), fallback=fallback)
            except LEMError:
                engine.drop([entry.label for entry in entries])
                return False
        for entry in entries:
            self._refused.pop(entry.label, None)
        return True

    def _add(self, change: Transaction, engine: Engine, entry: Entry, reason: str) -> None:
        label, bars = entry.label, self._bars_of([entry])
        if not reason:
            try:
                engine.add([entry], bars, fallback=False)
                self._refused.pop(label, None)
                return
            except LEMError as error:
                reason = str(error)
        try:
            engine.add([entry], bars, fallback=True)
        except LEMError as error:
            if self._refused.get(label) != str(error):
                _LOG.warning("order %s waits: neither the policy nor the fallback can decide it: %s", label, error)
            self._refused[label] = str(error)
            return
        self._refused.pop(label, None)
        if reason != entry.order.fallback:
            self._fall_back(change, label, reason)

    def check(self, labels: Collection[str]) -> None:
        """Refuse new orders that neither the policy nor the fallback can decide.

        Raises:
            OrderError: There is one; it names the reason.
        """
        for label in labels:
            if label in self._refused:
                raise OrderError(self._refused[label], rule="can be decided", order_id=label)

    def _fall_back(self, change: Transaction, label: str, reason: str) -> None:
        _LOG.warning("order %s: the fallback decides from now on: %s", label, reason)
        change.add(label, FellBack(reason))

    def _too_many_bridged(self, entry: Entry, engine: Engine) -> str:
        """Why the policy lacks its lookback; empty where it has it."""
        symbol = entry.order.order.symbol
        known = self._ledger.state.market[symbol]
        if not known.bridged or engine.lookback <= 1:
            return ""
        recent = [bar[0] for bar in known.bars[-engine.lookback :]]
        count = sum(at in known.bridged for at in recent)
        if count <= self._rules.most_bridged:
            return ""
        return f"{count} of the last {engine.lookback} bars of {symbol} {_MISSING}"

    def _move(self, change: Transaction, engine: Engine, symbols: Collection[str]) -> None:
        """Move orders to the fallback when too many bars are missing, and back when they are not."""
        state = self._ledger.state
        for symbol in symbols:
            if not state.market[symbol].bridged:
                continue
            for label in list(state.active.get(symbol, ())):
                order = state.orders[label]
                entry = self._entry_of(label, order)
                reason = self._too_many_bridged(entry, engine)
                if label not in engine or bool(reason) == bool(order.fallback):
                    continue
                if order.fallback and not order.fallback.endswith(_MISSING):
                    continue  # it fell back for another reason
                try:
                    engine.add([entry], self._bars_of([entry]), fallback=bool(reason))
                except LEMError as error:
                    _LOG.warning("order %s stays with its policy: %s", label, error)
                    continue
                if reason:
                    self._fall_back(change, label, reason)
                else:
                    _LOG.info("order %s: the policy has its lookback again", label)
                    change.add(label, Restored("the policy has its lookback again"))

    def renew(self, change: Transaction, label: str) -> None:
        """Give the engine an order anew that was amended.

        Raises:
            LEMError: The policy does not take it as it is now.
        """
        engine, order = self.engine(change), self._ledger.order(label)
        if not order.is_active or label not in engine:
            return
        entry = self._entry_of(label, order)
        engine.add([entry], self._bars_of([entry]), fallback=bool(order.fallback))

    # -- one bar -----------------------------------------------------------------------------------------------------

    def close(self, change: Transaction, bars: Mapping[str, ClosedBar], bridged: Collection[str]) -> None:
        """Take in bars that have closed, one of each symbol."""
        engine, state = self.engine(change), self._ledger.state
        fills: dict[str, Filled] = {}
        known = engine.labels
        for name, bar in bars.items():
            for label in state.active.get(name, ()):
                order = state.orders[label]
                if label in known and bar.timestamp >= order.terms.start:
                    fills[label] = self._filled(label, order)
        with self._timed():
            failed = engine.observe(bars, fills)
        change.add(DESK, BarsClosed({name: bar[:7] for name, bar in bars.items()}, tuple(bridged)))
        for name, bar in bars.items():
            self._ledger.market(name).accept(bar)
        for label, reason in failed.items():
            if state.orders[label].is_active:
                self._fall_back(change, label, reason)
        for label, reason in engine.ended().items():
            if state.orders[label].is_active:
                change.add(label, Ended(reason))
        engine.drop([label for label in fills if not state.orders[label].is_active])
        self._move(change, engine, list(bars))

    def prepare(self, label: str) -> None:
        """Compute what an order has filled in the running bar, now that there is time: at its close there is none."""
        order = self._ledger.order(label)
        if order.is_active:
            self._ready[label] = order, order.in_bar.units, order.order, fraction_of(order, order.in_bar)

    def _filled(self, label: str, order: OrderState) -> Filled:
        """What an order has filled in the running bar: prepared, if nothing has changed since."""
        ready = self._ready.pop(label, None)
        if ready is not None:
            known, units, wanted, filled = ready
            if known is order and units is order.in_bar.units and wanted is order.order:
                return filled
        return fraction_of(order, order.in_bar)

    def late(self, change: Transaction, label: str, quantity: Decimal, price: Decimal) -> None:
        """Tell the engine of a fill of a bar that has closed."""
        engine, order = self.engine(change), self._ledger.order(label)
        if label in engine:
            engine.report({label: fraction_of(order, Traded(quantity, quantity * price))})

    def drop(self, label: str) -> None:
        """Let go of an order that is over."""
        self._ready.pop(label, None)
        if self._engine is not None:
            self._engine.drop([label])

    # -- decisions ---------------------------------------------------------------------------------------------------

    def decide(self, change: Transaction, anew: Collection[str] = ()) -> None:
        """Decide every order that has no decision for its coming bar, and those that are to be decided anew."""
        engine, state = self.engine(change), self._ledger.state
        orders, known = state.orders, engine.labels
        open_labels = [
            label
            for labels in state.active.values()
            for label in labels
            if (orders[label].revisions == 0 or label in anew) and orders[label].status != "paused" and label in known
        ]
        if not open_labels:
            return
        with self._timed():
            wishes, failed = engine.decide()
        if failed:
            for label, reason in failed.items():
                self._fall_back(change, label, reason)
            self._take_up(change, engine)
            wishes |= engine.decide()[0]
        coming: dict[str, tuple[int, Decimal]] = {}
        entries = []
        for label in open_labels:
            wish = wishes.get(label)
            if wish is None:
                continue
            order = state.orders[label]
            symbol = order.order.symbol
            at = coming.get(symbol)
            if at is None:
                at = coming[symbol] = self._ledger.market(symbol).coming, Decimal(repr(state.market[symbol].close))
            entries.append(self._entry(label, order, wish, *at))
        change.decide(entries)

    def _entry(self, label: str, order: OrderState, wish: Wish, start: int, price: Decimal) -> DecisionEntry:
        finish = wish.finish
        is_last = order.period + 1 >= order.terms.max_periods
        sized = self._sized(order, wish.fraction, price)
        notional = sized.quantity * price
        if order.order.is_notional:
            notional = min(notional, order.left)
        return DecisionEntry(
            label,
            order.seq + 1,
            order.period,
            order.revisions,
            start,
            sized.quantity,
            _money(notional),
            round(wish.fraction * _WISH) / _WISH,
            sized.carry,
            finish,
            is_last or finish,
            sized.reason,
        )

    def _sized(self, order: OrderState, wish: float, price: Decimal) -> Sized:
        wanted = order.order
        # What an amended or cut child order of this bar has not filled is free again, unless it is held open.
        left = order.left - (order.reserved(price) if wanted.hold_open else _ZERO)
        cap = None
        if wanted.max_participation is not None:
            volume = order.expected[order.period] if order.period < len(order.expected) else 0.0
            cap = Decimal(repr(volume)) * Decimal(repr(wanted.max_participation)) - order.in_bar.units
        size = size_notional if wanted.is_notional else size_quantity
        return size(
            wish,
            wanted.amount,
            left,
            carry=order.carry,
            constraints=wanted.constraints,
            price=price,
            cap=cap,
        )

    def cut(self, change: Transaction, label: str) -> None:
        """Cut a child order that is larger than what is left since a late fill."""
        order = self._ledger.order(label)
        entry = order.decision
        child = order.children.get(entry.child) if entry is not None else None
        if entry is None or child is None or not child.is_open or not order.is_active or entry.period != order.period:
            return
        price = Decimal(repr(self._ledger.state.market[order.order.symbol].close))
        others = order.reserved(price) - child.unfilled * (price if order.order.is_notional else 1)
        room = order.left - others
        room = room / price if order.order.is_notional else room
        if child.unfilled <= room:
            return
        step = order.order.constraints.step(child.quantity)
        quantity = max(room // step * step, _ZERO)
        change.decide(
            [
                DecisionEntry(
                    label,
                    order.seq + 1,
                    order.period,
                    order.revisions,
                    entry.start,
                    quantity,
                    _money(quantity * price),
                    entry.wish,
                    _ZERO,
                    entry.finish,
                    True,
                    "cut: a late fill left less",
                )
            ]
        )


def _money(value: Decimal) -> Decimal:
    """Money with at most 12 digits after the point."""
    return value.quantize(_MONEY) if value else _ZERO
