"""The desk behind the event loop: what routes and WebSocket connections call."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from lem_models.baselines import list_policies
from lem_models.desk.booking import Booked
from lem_models.desk.desk import Desk
from lem_models.desk.market_data.feed import Fill
from lem_models.desk.orders.amounts import decimal_of
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.report import OrderReport
from lem_models.desk.service.bars import Close, Expected, Gathering, bar_row
from lem_models.desk.service.desk_thread import Change, DeskThread
from lem_models.desk.service.hub import Hub, encoded
from lem_models.desk.service.messages import BarIn, FillIn, OrderIn
from lem_models.desk.service.metrics import Metrics
from lem_models.desk.service.problems import ProblemError
from lem_models.desk.service.settings import ServiceSettings
from lem_models.desk.service.tapped_store import TappedStore
from lem_models.desk.service.views import order_row
from lem_models.errors import OrderError, UnknownNameError
from lem_models.hub.models.zoo import list_models

__all__ = ["Service"]


class Service:
    """A desk that is served.

    Args:
        settings: How.
        store: Where the log is kept.
        opened: Opens the desk on its store.

    Attributes:
        hub: Decisions in force, and who listens to them.
        metrics: Counts and times.
        desk: The thread that owns the desk.
    """

    def __init__(self, settings: ServiceSettings, store: TappedStore, opened: Any) -> None:  # noqa: ANN401
        self.settings, self.hub, self.metrics = settings, Hub(), Metrics()
        self.desk = DeskThread(store, opened, self._published, watch=settings.watch, most_waiting=settings.max_waiting)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[tuple[Change, str | None, Expected | None]] = []  # before there was a loop
        self._gathering = Gathering(settings.gather, self._send)
        self._measuring = asyncio.Lock()
        self.on_failure: Any = lambda: None

    # -- the process -------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Use the running event loop."""
        self._loop = asyncio.get_running_loop()
        for each in self._early:
            self._apply(*each)
        self._early.clear()

    async def detach(self) -> None:
        """Send the bars that wait, finish what waits, and close the desk."""
        self._gathering.flush()
        await asyncio.to_thread(self.desk.stop)

    def _published(self, change: Change, expected: Expected | None) -> None:
        """Is called on the thread of the desk; makes the message there, and hands it to the event loop."""
        text = None
        if change.decisions or change.over:
            text = encoded(
                {
                    "type": "decisions",
                    "position": change.position,
                    "decisions": change.decisions,
                    "over": change.over,
                }
            )
        if self._loop is None:
            self._early.append((change, text, expected))
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._apply, change, text, expected)

    def _apply(self, change: Change, text: str | None, expected: Expected | None) -> None:
        self.hub.changed(change, text)
        self.metrics.changed(change)
        if expected is not None:
            self._gathering.expect(expected)
        if self.desk.failure is not None:
            self.on_failure()

    # -- orders ------------------------------------------------------------------------------------------------------

    async def add(self, orders: Sequence[OrderIn]) -> tuple[list[dict[str, Any]], list[str]]:
        """Take orders, all or none; those that were sent before are taken once.

        Returns:
            Rows of the orders, and the labels of those that had been taken before.

        Raises:
            OrderError: An order is refused, or another one of its label was taken (rule ``"unique id"``).
        """
        wanted = [DeskOrder(**each.model_dump(exclude_defaults=True)) for each in orders]
        labels = [each.label for each in wanted]
        twice = next((label for place, label in enumerate(labels) if label in labels[:place]), None)
        if twice is not None:
            raise OrderError(f"two of the orders have the id {twice!r}", field="id", rule="unique id", order_id=twice)

        def work(desk: Desk) -> tuple[list[dict[str, Any]], list[str]]:
            known = [each for each in wanted if each.label in desk.state.orders]
            for each in known:
                if desk.order(each.label).asked != each:
                    raise OrderError(
                        f"another order {each.label!r} was taken before: send that one again, or choose another id",
                        field="id",
                        rule="unique id",
                        order_id=each.label,
                    )
            new = [each for each in wanted if each.label not in desk.state.orders]
            active = sum(map(len, desk.state.active.values()))
            if active + len(new) > self.settings.max_orders:
                raise ProblemError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "full",
                    f"{active} orders are active, and at most {self.settings.max_orders} may be: wait for some to end",
                )
            if new:
                desk.add(new)
            return [order_row(desk, label) for label in labels], [each.label for each in known]

        return await self.desk.change(work)

    # -- bars and fills ----------------------------------------------------------------------------------------------

    def take_bars(self, bars: Sequence[BarIn]) -> tuple[asyncio.Future[list[list[str]]], list[str]]:
        """Check bars and gather them.

        Returns:
            What is done once they are in the log, with the desk's messages; and the symbols that nobody follows.

        Raises:
            BarsError: A bar breaks a rule; none of them is taken.
        """
        now, followed = time.perf_counter(), self.desk.followed
        rows = [(bar.symbol, bar_row(bar)) for bar in bars if bar.symbol in followed]
        ignored = list(dict.fromkeys(bar.symbol for bar in bars if bar.symbol not in followed))
        return self._gathering.add(rows, now), ignored

    def _send(self, close: Close) -> None:
        try:
            logged = self.desk.close(close)
        except ProblemError as error:
            for future in close.waiting:
                if not future.done():
                    future.set_exception(error)
            return
        logged.add_done_callback(lambda done: _answer(close, done))

    async def fill(self, fills: Sequence[FillIn]) -> list[Booked]:
        """Book fills, all or none.

        Raises:
            OrderError: There is no such order or child order, or a number is not positive.
        """
        return await self.desk.fill([_fill(each) for each in fills])

    # -- sights ------------------------------------------------------------------------------------------------------

    async def report(self, label: str, against: str) -> OrderReport:
        """What an order cost. The desk's thread only reads the log; the policies run beside it, one report at a time.

        Args:
            label: The order.
            against: Names of policies, separated by commas.

        Raises:
            OrderError: See :meth:`~lem_models.desk.desk.Desk.report`.
            UnknownNameError: There is no such policy.
        """
        names = [name for name in against.split(",") if name]
        known = [*list_policies(), *list_models()]  # and not folders or models of a hub: requests open no files
        for name in names:
            if name not in known:
                raise UnknownNameError.among("policy", name, known)
        logged = await self.desk.read(lambda of: of.logged(label))
        async with self._measuring:
            return await asyncio.to_thread(lambda: logged.measured(against=names))


def _answer(close: Close, done: asyncio.Future[list[str]]) -> None:
    """Tell those whose bars they were what became of a close."""
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    for future in close.waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(error)
            future.exception()  # who does not wait for the log need not fetch it


def _fill(fill: FillIn) -> Fill:
    quantity, price = decimal_of(fill.quantity, "quantity"), decimal_of(fill.price, "price")
    for field, value in (("quantity", quantity), ("price", price)):
        if value <= 0:
            raise OrderError(f"{field} must be positive", field=field, rule="positive", order_id=fill.order)
    return Fill(fill.order, quantity, price, fill.id, fill.child, fill.time)
