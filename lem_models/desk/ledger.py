"""The ledger of a desk: its log, the state that the log folds to, and the bars of its symbols.

A change is a transaction. Its events are folded into the state as they are made, and appended to the log together at
its end. If the append fails, or anything in between does, the state is read from the log again: what is not in the log
has not happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lem_models.desk.log.events import DESK, Decided, DecisionEntry, Event, Recorded
from lem_models.desk.log.state import DeskState, OrderState, fold, replay
from lem_models.desk.market_data.symbol_market import SymbolMarket, read_history
from lem_models.desk.store.event_store import EventStore
from lem_models.errors import OrderError
from lem_models.guard.text import shown

__all__ = ["Ledger", "Transaction"]


class Transaction:
    """Events that are appended together.

    Args:
        state: State of the desk, which the events are folded into.
        at: The time, nanoseconds UTC.
    """

    def __init__(self, state: DeskState, at: int) -> None:
        self._state, self.at = state, at
        self.records: list[Recorded] = []
        self.blobs: dict[str, bytes] = {}
        self.answered: list[int] = []

    def add(self, stream: str, event: Event) -> None:
        """Add an event to a stream."""
        known = self._state.orders.get(stream)
        before = self._state.seq if stream == DESK else 0 if known is None else known.seq
        recorded = Recorded(stream, before + 1, self.at, event)
        fold(self._state, recorded)
        self.records.append(recorded)

    def decide(self, entries: list[DecisionEntry]) -> None:
        """Add the decisions of one bar close, as one event."""
        if entries:
            self.add(DESK, Decided(tuple(entries)))


class Ledger:
    """Log, state and bars of a desk.

    Args:
        store: Where the log is kept; its lease is taken.
        clock: The time, nanoseconds UTC.

    Attributes:
        state: The state.
        version: Grows each time that the state was read from the log again.
    """

    def __init__(self, store: EventStore, clock: Callable[[], int]) -> None:
        self.store, self.clock = store, clock
        self.state = replay(store.read())
        self.version = 0
        self._markets: dict[str, SymbolMarket] = {}
        self._digests: dict[str, str] = {}
        self._open: Transaction | None = None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Make a change.

        Raises:
            DeskError: The log cannot be written; nothing has changed.
        """
        if self._open is not None:  # part of a larger change
            yield self._open
            return
        self._open = change = Transaction(self.state, self.clock())
        try:
            yield change
            if change.records:
                placed = self.store.append(change.records, change.blobs, change.answered)
                self.state.position = placed[-1].position
        except BaseException:
            if change.records:
                self.reload()
            raise
        finally:
            self._open = None

    def reload(self) -> None:
        """Read the state from the log again."""
        self.state = replay(self.store.read())
        self._markets.clear()
        self.version += 1

    def market(self, symbol: str) -> SymbolMarket:
        """Bars of a symbol that has some."""
        known = self.state.market[symbol]
        if self._digests.get(symbol) != known.digest:
            self._markets.pop(symbol, None)
        if symbol not in self._markets:
            pending = self._open.blobs if self._open is not None else {}
            data = pending.get(known.digest) or self.store.blob(known.digest)
            self._markets[symbol] = SymbolMarket(read_history(data), known.bars)
            self._digests[symbol] = known.digest
        return self._markets[symbol]

    def order(self, label: str) -> OrderState:
        """An order.

        Raises:
            OrderError: There is none of this label.
        """
        if label not in self.state.orders:
            known = ", ".join(list(self.state.orders)[-8:]) or "none"
            raise OrderError(
                f"the desk has no order {shown(label)}; its last ones: {known}", field="id", rule="known order"
            )
        return self.state.orders[label]

    def labels(self, label: str) -> list[str]:
        """The order of a label, or the orders of the basket of that label.

        Raises:
            OrderError: There is neither.
        """
        if label in self.state.orders:
            return [label]
        basket = [name for name, order in self.state.orders.items() if order.order.parent == label]
        return basket or [self.order(label).order.label]
