"""The desk: live orders in units and money that survive everything.

A desk runs orders bar by bar. It is told of closed bars and of fills, and says for every order what to do in the coming
bar. Its state is the replay of an append-only log, so a process may be killed at any moment: the next one opens the
same desk and goes on with the same decisions.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from lem_models.baselines import load_policy
from lem_models.baselines.volume_curve import VolumeCurve
from lem_models.desk.booking import Booked, Booking
from lem_models.desk.decision import Decision
from lem_models.desk.engine import Engine
from lem_models.desk.intake import Intake
from lem_models.desk.ledger import Ledger, Transaction
from lem_models.desk.log.events import DESK, Answered, Cancelled, Opened, Paused, Recorded, Resumed
from lem_models.desk.log.state import DeskState, OrderState, replay
from lem_models.desk.market_data.arrivals import Arrivals
from lem_models.desk.market_data.feed import ChildDone, ClosedBars, FeedRules, Fill, bars_by_symbol
from lem_models.desk.orders.amounts import decimal_of
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.report import LoggedOrder, OrderReport, read_order
from lem_models.desk.requests import carry_out, waiting
from lem_models.desk.status import DeskStatus, decision_of, status_of
from lem_models.desk.store.database import DatabaseStore
from lem_models.desk.store.event_store import EventStore
from lem_models.desk.store.order_log import order_log
from lem_models.desk.trading import Trading
from lem_models.errors import DeskError, LEMError, OrderError
from lem_models.execution.costs import CostModel
from lem_models.execution.policy import Policy
from lem_models.markets.bars import Bars
from lem_models.notebook import describe

if TYPE_CHECKING:
    from typing_extensions import Self

    from lem_models.markets.bars import BarsLike

__all__ = ["Desk"]

_LOG = logging.getLogger("lem_models")


class Desk:
    """Orders under way, kept in a database.

    One process runs a desk at a time: it holds a lease, which every change renews. :meth:`renew` holds it while nothing
    happens. A process that lost its lease cannot write.

    Args:
        place: Path of an SQLite file, which is made; URL of a PostgreSQL database; or an
            :class:`~lem_models.desk.store.event_store.EventStore`.
        policy: Who decides: a policy, or a name as :func:`~lem_models.load_policy` takes it. Default: the policy that
            decided last, by its name.
        rules: How long to wait for bars, and when the fallback decides. The fallback is a volume curve of 20 sessions.
        clock: The time, nanoseconds UTC; the system's by default.
        takeover: Whether to take the lease from a process that still holds it.
        term: Seconds for which the lease holds without a renewal.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.

    Raises:
        DeskError: The database cannot be opened, or another process runs the desk (rule ``"lease"``).
        UnknownNameError: There is no policy of this name.
    """

    def __init__(
        self,
        place: str | os.PathLike[str] | EventStore,
        policy: Policy | str | None = None,
        *,
        rules: FeedRules | None = None,
        clock: Callable[[], int] = time.time_ns,
        takeover: bool = False,
        term: float = 10.0,
        allow_frequency: bool = False,
    ) -> None:
        store = DatabaseStore(place, term=term) if isinstance(place, str | os.PathLike) else place
        try:
            self.token = store.acquire(takeover=takeover)
            self._ledger = Ledger(store, clock)
            self.policy, self.policy_name = _policy(policy, self.state.policy)
        except BaseException:
            store.close()
            raise
        self.rules = rules or FeedRules()
        self._allow_frequency = allow_frequency
        self._trading = Trading(self._ledger, self._engine, self.rules)
        self._arrivals = Arrivals(self._ledger, self._trading, self.rules)
        self._intake = Intake(self._ledger, self.policy)
        self._booking = Booking(self._ledger, self._trading)
        if self.state.policy and self.state.policy != self.policy_name:
            _LOG.warning(
                "the desk was run by the policy %s, and %s decides from now on", self.state.policy, self.policy_name
            )
        with self._ledger.transaction() as change:
            change.add(DESK, Opened(self.policy_name, "volume_curve", self.token))

    def _know_histories(self) -> None:
        """Let no policy go on from the bars before, where a later history has taken their place."""
        if self._intake.has_retaken:
            self._intake.has_retaken = False
            self._trading.forget()

    def _engine(self) -> Engine:
        fallback = VolumeCurve(sessions=20)
        return Engine(self.policy, fallback, allow_frequency=self._allow_frequency)

    # -- orders ------------------------------------------------------------------------------------------------------

    @overload
    def add(self, order: DeskOrder, history: BarsLike | None = None) -> str: ...

    @overload
    def add(self, order: Sequence[DeskOrder], history: BarsLike | None = None) -> list[str]: ...

    def add(self, order: DeskOrder | Sequence[DeskOrder], history: BarsLike | None = None) -> str | list[str]:
        """Take an order, or several in one go: all or none.

        Args:
            order: The order or orders. Orders with one ``parent`` are a basket: they start together.
            history: Closed bars of their symbols up to now, as :meth:`Bars.of` takes them. Not needed for symbols that
                the desk follows.

        Returns:
            Its label, or theirs.

        Raises:
            OrderError: The constraints forbid an order; the error names the rule.
            BarsError: The history breaks a rule.
        """
        orders = [order] if isinstance(order, DeskOrder) else list(order)
        with self._changing() as change:
            labels = self._intake.add(change, orders, history)
            self._know_histories()
            self._trading.decide(change)
            self._trading.check(labels)
        return labels[0] if isinstance(order, DeskOrder) else labels

    def follow(self, history: BarsLike) -> list[str]:
        """Follow the symbols of a table of closed bars, so that orders can be added without a history.

        Args:
            history: Closed bars up to now, as :meth:`Bars.of` takes them.

        Returns:
            The symbols whose bars were taken; the desk had those of the others already.

        Raises:
            BarsError: A symbol has orders under way, and the history goes on after their bars.
        """
        bars = Bars.of(history)
        with self._changing() as change:
            taken = self._intake.follow(change, bars)
            self._know_histories()
            return taken

    def amend(self, order: str, **changes: Any) -> Decision | None:
        """Change an order under way: ``amount``, ``end``, ``max_duration``, ``min_duration``, ``max_participation``,
        ``risk_aversion``.

        Durations count from the order's start. The decision in force is replaced: its child order is to be cancelled.

        Returns:
            The new decision; ``None`` if none is due.

        Raises:
            OrderError: The field cannot be amended, or the order would be forbidden; nothing has then changed.
        """  # noqa: D205
        with self._changing() as change:
            for label in self._ledger.labels(order):
                self._intake.amend(change, label, changes)
                state = self._ledger.order(label)
                if not state.is_active:
                    self._trading.drop(label)
                    continue
                self._trading.renew(change, label)
                self._trading.decide(change, anew=[label])
        return self.decision(order) if order in self.state.orders else None

    def cancel(self, order: str, reason: str = "") -> None:
        """End an order, or a basket. Fills of its child orders that still come are booked."""
        with self._changing() as change:
            for label in self._ledger.labels(order):
                if self._ledger.order(label).is_active:
                    change.add(label, Cancelled(reason))
                    self._trading.drop(label)

    def pause(self, order: str, reason: str = "") -> None:
        """Send nothing for an order, or a basket, until it is resumed; its time goes on."""
        with self._changing() as change:
            for label in self._ledger.labels(order):
                if self._ledger.order(label).status in ("waiting", "working"):
                    change.add(label, Paused(reason))

    def resume(self, order: str, reason: str = "") -> None:
        """Go on with a paused order, or basket: it is decided anew."""
        with self._changing() as change:
            labels = [each for each in self._ledger.labels(order) if self._ledger.order(each).status == "paused"]
            for label in labels:
                change.add(label, Resumed(reason))
            self._trading.decide(change, anew=labels)

    # -- bars and fills ----------------------------------------------------------------------------------------------

    def observe(self, bars: ClosedBars, fills: Iterable[Fill | ChildDone] = ()) -> list[str]:
        """Take in bars that have closed, and the fills until then, and decide the coming bars: one transaction.

        Args:
            bars: Bars of any symbols; those that the desk does not follow are ignored. A table may hold several
                moments.
            fills: Fills and finished child orders, booked before the bars.

        Returns:
            Messages: what was wrong with bars and fills.

        Raises:
            BarsError: A bar breaks a rule; nothing has then changed.
        """
        rows = bars_by_symbol(bars)
        messages = self.serve()
        with self._changing() as change:
            messages += self._booking.book(change, fills)
            messages += self._arrivals.take(change, rows)
            self._trading.decide(change)
        return messages

    def watch(self, now: int | None = None) -> list[str]:
        """Look at the clock: say which feeds are stale, and bridge bars that are overdue (:class:`FeedRules`).

        Args:
            now: The time, nanoseconds UTC; the desk's clock by default.
        """
        messages = self.serve()
        with self._changing() as change:
            messages += self._arrivals.watch(change, self._ledger.clock() if now is None else now)
            self._trading.decide(change)
        return messages

    def serve(self) -> list[str]:
        """Carry out the requests of other processes (:mod:`lem_models.desk.requests`).

        Returns:
            What was done, or why not, a sentence for each.
        """
        said = []
        for request in waiting(self._ledger.store):
            asked = {"action": request.action, "order": request.order, "fields": request.fields}
            try:
                with self._changing() as change:
                    text = carry_out(self, request.action, request.order, request.fields)
                    change.add(DESK, Answered(request.number, asked, text))
                    change.answered.append(request.number)
            except (LEMError, KeyError, TypeError) as error:
                if isinstance(error, DeskError) and error.rule in ("lease", "database"):
                    raise
                text = f"refused to {request.action} order {request.order!r}: {error}"
                with self._changing() as change:
                    change.add(DESK, Answered(request.number, asked, str(error), is_refused=True))
                    change.answered.append(request.number)
                _LOG.warning("%s", text)
            said.append(text)
        return said

    def fill(
        self,
        order: str,
        quantity: Decimal | float | str,
        price: Decimal | float | str,
        id: str,
        child: str | None = None,
        time: datetime | str | None = None,
    ) -> Booked:
        """Book a fill.

        Args:
            order: Label of the order.
            quantity: Units.
            price: Price.
            id: Label of the fill: one that was booked is not booked again.
            child: Label of the child order, :attr:`Decision.child`; by default the last one.
            time: When the venue filled it, with a zone; by default now, by the desk's clock.

        Returns:
            What became of it: ``kind`` is ``"booked"``, ``"duplicate"``, ``"late"`` or ``"over"``.

        Raises:
            OrderError: There is no such order, the numbers are not positive, the time has no zone, or the fill
                contradicts a booked one.
        """
        fill = Fill(order, decimal_of(quantity, "quantity"), decimal_of(price, "price"), id, child, time)
        with self._changing() as change:
            booked = self._booking.fill(change, fill)
        if booked.kind == "conflict":
            raise OrderError(booked.message, field="id", rule="one fill a label", order_id=order)
        return booked

    def fills(self, fills: Iterable[Fill | ChildDone]) -> list[str]:
        """Book several fills and finished child orders in one transaction; messages about what is not simply booked."""
        with self._changing() as change:
            return self._booking.book(change, fills)

    def book(self, fills: Iterable[Fill]) -> list[Booked]:
        """Book several fills in one transaction, and say of each what became of it, see :meth:`fill`.

        Raises:
            OrderError: There is no such order or child order, the numbers are not positive, or a time has no zone.
        """
        with self._changing() as change:
            return [self._booking.fill(change, each) for each in fills]

    def reject(self, order: str, reason: str = "", child: str | None = None) -> None:
        """Say that the venue refused a child order, or the rest of it; it is decided again at the next bar."""
        with self._changing() as change:
            self._booking.reject(change, order, reason, child)

    def close_child(self, order: str, child: str | None = None) -> None:
        """Say that a child order fills no more; for orders with ``hold_open``."""
        with self._changing() as change:
            self._booking.close_child(change, order, child)

    # -- what is known -----------------------------------------------------------------------------------------------

    def decide(self) -> list[Decision]:
        """What every active order does in its coming bar: the same list until something changes."""
        if any(self._lacks_decision(each) for each in self._active()):
            with self._changing() as change:
                self._trading.decide(change)
        decisions = [decision_of(order, self.policy_name) for order in self._active()]
        return [each for each in decisions if each is not None]

    def decision(self, order: str) -> Decision | None:
        """What one order does in its coming bar; ``None`` if none is due."""
        return decision_of(self._ledger.order(order), self.policy_name)

    def status(self) -> DeskStatus:
        """Orders, feeds and faults at a glance."""
        return status_of(self.state, self.policy_name)

    def __repr__(self) -> str:
        """One line."""
        status = self.status()
        active = sum(order.is_active for order in self.state.orders.values())
        return describe(
            "Desk",
            {"policy": self.policy_name, "orders": f"{len(status.orders)} ({active} active)"}
            | {"symbols": len(status.feeds)},
        )

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        return self.status()._repr_html_()

    def tidy(self) -> bool:
        """Let go of what orders that are over have left behind; takes a while, so call it when there is time.

        Returns:
            Whether there was enough of it.
        """
        if not self._trading.is_worn:
            return False
        with self._changing() as change:
            self._trading.forget()
            self._trading.engine(change)
        return True

    def coming(self, symbol: str) -> int:
        """Expected start of the next bar of a symbol, nanoseconds UTC."""
        return self._ledger.market(symbol).coming

    @property
    def policy_seconds(self) -> float:
        """Time that the policy and its fallback have taken in this process."""
        return self._trading.policy_seconds

    @property
    def state(self) -> DeskState:
        """The state; read it, and change it only through the desk."""
        return self._ledger.state

    @property
    def is_active(self) -> bool:
        """Whether an order may still trade."""
        return any(self.state.active.values())

    def order(self, order: str) -> OrderState:
        """An order and what has become of it."""
        return self._ledger.order(order)

    def labels(self, order: str) -> list[str]:
        """The order of a label, or the orders of the basket of that label."""
        return self._ledger.labels(order)

    def report(
        self,
        order: str,
        *,
        against: Mapping[str, Policy | str] | Sequence[Policy | str] = ("twap", "volume_curve"),
        costs: CostModel | None = None,
        bars: Bars | None = None,
    ) -> OrderReport:
        """What an order cost and why, measured from the log, beside policies that execute it on the same bars.

        Args:
            order: Label of the order.
            against: Policies, names as :func:`~lem_models.load_policy` takes them.
            costs: Costs of these policies.
            bars: Bars of its symbol that reach further than the desk's own.

        Returns:
            ``report.costs`` has the slippage against each price, its causes and the comparison
            (:class:`~lem_models.evaluation.tca.TransactionCosts`); ``report.costs.to_html(path)`` writes the page.

        Raises:
            OrderError: There is no such order, it has no fills, or the bar of its last fill has not closed.
            BarsError: The bars do not hold the order.
        """
        return self.logged(order, bars=bars).measured(against=against, costs=costs)

    def logged(self, order: str, *, bars: Bars | None = None) -> LoggedOrder:
        """What the log says of an order, to be measured elsewhere, on another thread for one: :meth:`report`.

        Raises:
            OrderError: See :meth:`report`.
            BarsError: See :meth:`report`.
        """
        return read_order(self._ledger, order, bars=bars)

    def events(self, order: str) -> list[Recorded]:
        """Every event of an order, its decisions too, in their sequence."""
        return order_log(self._ledger.store, order, self._ledger.order(order).seq)

    @staticmethod
    def peek(place: str | os.PathLike[str]) -> DeskStatus:
        """The status of a desk that another process may run; takes no lease and changes nothing.

        Raises:
            DeskError: There is no desk (rule ``"desk"``), or the database cannot be read.
        """
        store = DatabaseStore(place, read_only=True)
        try:
            state = replay(store.read())
        finally:
            store.close()
        return status_of(state, state.policy)

    # -- the process -------------------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Hold the lease for another term.

        Raises:
            DeskError: Another process has taken it.
        """
        self._ledger.store.renew()

    def close(self) -> None:
        """Give the lease back; the orders stay."""
        self._ledger.store.close()

    def __enter__(self) -> Self:
        """The desk itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def together(self) -> AbstractContextManager[Transaction]:
        """Make several changes one transaction: all of them are kept, or none."""
        return self._ledger.transaction()

    def _changing(self) -> AbstractContextManager[Transaction]:
        return self._ledger.transaction()

    def _active(self) -> list[OrderState]:
        return [order for order in self.state.orders.values() if order.is_active]

    @staticmethod
    def _lacks_decision(order: OrderState) -> bool:
        return order.status != "paused" and order.revisions == 0


def _policy(policy: Policy | str | None, last: str) -> tuple[Policy, str]:
    """The policy and its name."""
    if policy is None and not last:
        raise DeskError("the desk is new: name the policy that decides, such as 'lem-crypto-hourly'", rule="policy")
    chosen = last if policy is None else policy
    if isinstance(chosen, str):
        return load_policy(chosen), chosen
    name = getattr(chosen, "name", None)
    return chosen, name if isinstance(name, str) else type(chosen).__name__
