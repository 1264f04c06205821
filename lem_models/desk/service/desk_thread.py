"""The one thread that owns the desk: it makes every change and every read, so the event loop never waits for either.

Work waits in three lanes. Fills and closes of bars come first, in the sequence in which they arrived; then changes of
orders; then reads. Fills that wait together are booked in one transaction, and with the close that follows them: a
commit waits for the disk, so many small ones would be slower than one.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from lem_models.desk.booking import Booked
from lem_models.desk.desk import Desk
from lem_models.desk.log.events import DESK, BarFault, BarsClosed, Decided, Filled, Recorded
from lem_models.desk.market_data.feed import Fill
from lem_models.desk.service.bars import Close, Expected
from lem_models.desk.service.problems import ProblemError
from lem_models.desk.service.tapped_store import TappedStore
from lem_models.desk.service.views import decision_row
from lem_models.errors import BarsError, DeskError, LEMError

__all__ = ["Change", "DeskThread", "Stages"]

_LOG = logging.getLogger("lem_models")
_T = TypeVar("_T")
_RENEW = 2.0  # seconds between renewals of the lease
_WATCH = 1.0  # seconds between looks at the clock
_COLLECT = 60.0  # seconds between searches for garbage, where the process leaves them to this thread
_MOST_TOGETHER = 5000  # fills in one transaction


@dataclass(frozen=True)
class Stages:
    """Seconds that the stages of a close took.

    Attributes:
        wait: From the last bar's arrival until the desk thread took the close.
        policy: The policy: contexts of the new bars and the wishes of all orders.
        decide: All else on the desk: bars checked, fills booked, child orders sized, the state folded.
        commit: The log on the disk.
        publish: Rows of the decisions.
        total: From the last bar's arrival until the decisions left the thread.
        cpu: CPU time of the thread after ``wait``: what the same takes on a machine with nothing else to do.
    """

    wait: float
    policy: float
    decide: float
    commit: float
    publish: float
    total: float
    cpu: float


@dataclass
class Change:
    """What became of the desk in one transaction.

    Attributes:
        position: Place of its last event in the log.
        decisions: New decisions.
        over: Orders without a decision from now on.
        closes: Starts of the bars that closed, nanoseconds UTC.
        bars: Bars that closed.
        fills: Fills that were booked.
        faults: Kinds of the faults of bars.
        stages: How long a close took.
    """

    position: int
    decisions: list[dict[str, Any]] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    closes: list[int] = field(default_factory=list)
    bars: int = 0
    fills: int = 0
    faults: list[str] = field(default_factory=list)
    stages: Stages | None = None


@dataclass
class _Task:
    """A change or a read, and who waits for it."""

    work: Callable[[Desk], Any]
    future: Future[Any]


@dataclass
class _Fills:
    """Fills, and who waits for them."""

    fills: Sequence[Fill]
    future: Future[list[Booked]]


@dataclass
class _Bars:
    """A close, and who waits for it."""

    close: Close
    future: Future[list[str]]


class DeskThread:
    """Runs a desk on a thread of its own.

    Args:
        store: Where the log is kept.
        opened: Opens the desk.
        publish: Is told of every change and of the bars that orders wait for; called on the thread.
        watch: Whether to look at the clock.
        most_waiting: Most tasks that may wait; more are refused.

    Attributes:
        failure: Why the thread ended by itself.
    """

    def __init__(
        self,
        store: TappedStore,
        opened: Callable[[TappedStore], Desk],
        publish: Callable[[Change, Expected | None], None],
        *,
        watch: bool = True,
        most_waiting: int = 10_000,
    ) -> None:
        self._store, self._opened, self._publish = store, opened, publish
        self._watch, self._most_waiting = watch, most_waiting
        self._first: deque[_Fills | _Bars] = deque()
        self._changes: deque[_Task] = deque()
        self._reads: deque[_Task] = deque()
        self._condition = threading.Condition()
        self._stopping = False
        self._with_decision: dict[str, str] = {}  # orders that have been published with a decision, and their symbols
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)
        self._ready: Future[None] = Future()
        self.failure: Exception | None = None
        self.followed: frozenset[str] = frozenset()
        self.active = 0

    # -- from other threads ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the desk.

        Raises:
            LEMError: It cannot be opened.
        """
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        """Do what waits, and give the lease back."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Tasks that wait."""
        return len(self._first) + len(self._changes) + len(self._reads)

    def change(self, work: Callable[[Desk], _T]) -> asyncio.Future[_T]:
        """Change orders; done once it is in the log."""
        return self._put(self._changes, lambda future: _Task(work, future))

    def read(self, work: Callable[[Desk], _T]) -> asyncio.Future[_T]:
        """Read the desk, when nothing else is to be done."""
        return self._put(self._reads, lambda future: _Task(work, future))

    def fill(self, fills: Sequence[Fill]) -> asyncio.Future[list[Booked]]:
        """Book fills; done once they are in the log."""
        return self._put(self._first, lambda future: _Fills(fills, future))

    def close(self, close: Close) -> asyncio.Future[list[str]]:
        """Take in the bars of a close and decide; done once it is in the log."""
        return self._put(self._first, lambda future: _Bars(close, future))

    def _put(self, lane: deque[Any], made: Callable[[Future[Any]], Any]) -> asyncio.Future[Any]:
        future: Future[Any] = Future()
        with self._condition:
            if self._stopping or self.failure is not None:
                raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "stopped", f"the desk is closed: {self.failure}")
            if self.waiting >= self._most_waiting:
                raise ProblemError(
                    HTTPStatus.SERVICE_UNAVAILABLE, "busy", f"{self.waiting} requests wait for the desk: send it later"
                )
            lane.append(made(future))
            self._condition.notify()
        return asyncio.wrap_future(future)

    # -- on the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            desk = self._opened(self._store)
        except BaseException as error:
            self._ready.set_exception(error)
            return
        try:
            self._open(desk)
            self._ready.set_result(None)
            self._loop(desk)
        except Exception as error:
            _LOG.error("the desk thread ends: %s", error, exc_info=not isinstance(error, LEMError))
            with self._condition:
                self.failure = error
            if not self._ready.done():
                self._ready.set_exception(error)
            self._refuse_all(error)
            self._publish(Change(0), None)
        finally:
            desk.close()

    def _open(self, desk: Desk) -> None:
        """Decide what was not decided when the last process ended, and say everything."""
        desk.decide()
        self._store.take()
        change = Change(desk.state.position)
        for labels in desk.state.active.values():
            for label in labels:
                self._note(desk, label, change)
        self._tell(desk, change)
        # What is there by now stays: searching it for garbage again and again would take longer than a decision.
        gc.collect()
        gc.freeze()

    def _loop(self, desk: Desk) -> None:
        renewed = watched = collected = time.monotonic()
        while True:
            task = self._next()
            now = time.monotonic()
            if now - renewed > _RENEW:
                desk.renew()
                renewed = now
            if isinstance(task, _Task):
                self._do(desk, task)
            elif task:
                self._take(desk, task)
            elif self._stopping:
                return
            elif desk.tidy():
                self._tell_all(desk)
            elif now - collected > _COLLECT and not gc.isenabled():
                gc.collect()  # while nothing waits: in the middle of a close it would take longer than the close
                collected = time.monotonic()
            elif now - watched > _WATCH:
                watched = now
                for message in desk.serve():
                    _LOG.info("%s", message)
                if self._watch:
                    desk.watch()
                self._tell_all(desk)

    def _next(self) -> list[_Fills | _Bars] | _Task | None:
        """What is to be done next; nothing after a while without work."""
        with self._condition:
            if not self.waiting and not self._stopping:
                self._condition.wait(timeout=min(_WATCH, _RENEW) / 2)
            if self._first:
                return self._together()
            if self._changes:
                return self._changes.popleft()
            return self._reads.popleft() if self._reads else None

    def _together(self) -> list[_Fills | _Bars]:
        """Fills that wait, and the close that follows them."""
        taken: list[_Fills | _Bars] = []
        count = 0
        while self._first and count < _MOST_TOGETHER:
            each = self._first.popleft()
            taken.append(each)
            if isinstance(each, _Bars):
                break
            count += len(each.fills)
        return taken

    def _do(self, desk: Desk, task: _Task) -> None:
        if not task.future.set_running_or_notify_cancel():
            return
        try:
            result = task.work(desk)
        except Exception as error:
            task.future.set_exception(error)
            self._check(error)
        else:
            self._tell_all(desk)
            task.future.set_result(result)

    def _take(self, desk: Desk, tasks: Sequence[_Fills | _Bars]) -> None:
        """Book fills and close bars, in one transaction where none of them is refused."""
        begin, busy = time.perf_counter(), time.thread_time()
        policy = desk.policy_seconds
        try:
            results = self._at_once(desk, tasks)
        except Exception as error:
            if len(tasks) > 1:  # one by one, to see which of them is refused
                for each in tasks:
                    self._take(desk, [each])
                return
            tasks[0].future.set_exception(error)
            self._check(error)
            return
        done = time.perf_counter()
        change = self._changed(desk)
        close = next((each.close for each in tasks if isinstance(each, _Bars)), None)
        if close is not None and change is not None:
            end, spent, commit = time.perf_counter(), desk.policy_seconds - policy, self._store.seconds
            change.stages = Stages(
                begin - close.last,
                spent,
                done - begin - spent - commit,
                commit,
                end - done,
                end - close.last,
                time.thread_time() - busy,
            )
        if change is not None:
            self._publish(change, None)
        for each, result in zip(tasks, results, strict=True):
            each.future.set_result(result)
        if change is not None:
            self._publish(Change(change.position), self._expected(desk))

    def _at_once(self, desk: Desk, tasks: Sequence[_Fills | _Bars]) -> list[Any]:
        results: list[Any] = []
        fills = [fill for each in tasks if isinstance(each, _Fills) for fill in each.fills]
        for fill in fills:
            desk.order(fill.order)  # refused before anything is booked: there is nothing to undo then
        with desk.together():
            for each in tasks:
                if isinstance(each, _Fills):
                    results.append(desk.book(each.fills))
                else:
                    results.append(desk.observe(each.close.bars))
        return results

    def _check(self, error: Exception) -> None:
        """End the thread when the lease is lost: another process runs the desk."""
        if isinstance(error, DeskError) and error.rule == "lease":
            raise error
        if not isinstance(error, LEMError | ProblemError):
            _LOG.error("a request failed: %s", error, exc_info=error)

    def _refuse_all(self, error: Exception) -> None:
        with self._condition:
            for lane in (self._first, self._changes, self._reads):
                while lane:
                    lane.popleft().future.set_exception(error)

    # -- what changed ------------------------------------------------------------------------------------------------

    def _tell_all(self, desk: Desk) -> None:
        change = self._changed(desk)
        if change is not None:
            self._tell(desk, change)

    def _tell(self, desk: Desk, change: Change) -> None:
        self._publish(change, self._expected(desk))

    def _changed(self, desk: Desk) -> Change | None:
        """What the last transactions changed; ``None`` if there were none."""
        records = self._store.take()
        if not records:
            return None
        change = Change(desk.state.position)
        touched: dict[str, None] = {}
        closed: set[str] = set()
        for recorded in records:
            self._read_event(recorded, change, touched, closed)
        if closed:  # orders that ended with the bar have no decision any more
            touched |= dict.fromkeys(label for label, symbol in self._with_decision.items() if symbol in closed)
        for label in touched:
            self._note(desk, label, change)
        return change

    @staticmethod
    def _read_event(recorded: Recorded, change: Change, touched: dict[str, None], closed: set[str]) -> None:
        """Note the orders that an event is about, the symbols whose bars closed, and what is counted."""
        event = recorded.event
        if isinstance(event, Decided):
            touched.update(dict.fromkeys(entry.order for entry in event.decisions))
        elif isinstance(event, BarsClosed):
            change.bars += len(event.bars) - len(event.bridged)
            change.closes += {bar[0] for bar in event.bars.values()}
            closed.update(event.bars)
        elif isinstance(event, BarFault):
            change.faults.append(event.fault)
        elif recorded.stream != DESK:
            touched[recorded.stream] = None
        change.fills += isinstance(event, Filled)

    def _note(self, desk: Desk, label: str, change: Change) -> None:
        order = desk.state.orders[label]
        row = decision_row(order)
        if row is not None:
            change.decisions.append(row)
            self._with_decision[label] = order.order.symbol
        elif self._with_decision.pop(label, None) is not None:
            change.over.append(label)

    def _expected(self, desk: Desk) -> Expected:
        """The bars that orders wait for."""
        state = desk.state
        self.followed = frozenset(state.market)
        self.active = sum(map(len, state.active.values()))
        expected: dict[int, set[str]] = {}
        for symbol, labels in state.active.items():
            if labels:
                try:
                    expected.setdefault(desk.coming(symbol), set()).add(symbol)
                except BarsError as error:
                    _LOG.warning("%s: the coming bar is not known: %s", symbol, error)
        return {timestamp: frozenset(symbols) for timestamp, symbols in expected.items()}
