"""An execution algorithm of NautilusTrader 1.x that executes parent orders with any policy of this package.

A strategy submits a market order (or a limit order) with the id of the algorithm and the terms in
``exec_algorithm_params``. At every bar close the algorithm takes in the bar, lets the policy decide the coming one, and
sends a child order. What is sent comes from the :class:`~lem_models.integrations.nautilus.core.ChildLedger`: the
engine's own counter of child orders lives in memory, and its state of algorithms is not saved.

- Bars are read from the cache, by a timer at bar closes. In a backtest it fires after the bar and the fills of its time
  were processed. Where the bar is not there yet the algorithm looks again after a second.
- It never waits for a fill. What a child order has not filled stays reserved until the venue says that it is over.
- The parent order itself is never sent and keeps its quantity (children are spawned with ``reduce_primary=False``). It
  is closed with an ``OrderCanceled`` if its time is over and something is left, or with an ``OrderDenied`` if it is
  refused. A parent order that was executed to the end stays as it is:
  ``cache.exec_spawn_total_filled_qty(client_order_id)`` is then its quantity.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from nautilus_trader.config import ExecAlgorithmConfig
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.algorithm import ExecAlgorithm
from nautilus_trader.execution.messages import CancelOrder
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import OrderSide, OrderType, TimeInForce
from nautilus_trader.model.events import (
    OrderCanceled,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)
from nautilus_trader.model.identifiers import ClientOrderId, ExecAlgorithmId
from nautilus_trader.model.orders import LimitOrder, MarketOrder, Order

from lem_models.desk import DeskOrder, FeedRules
from lem_models.errors import BarsError, ConfigError, LEMError, OrderError
from lem_models.integrations.nautilus.bars import bar_row, closed_after, history_table
from lem_models.integrations.nautilus.core import ChildLedger, ChildOrder
from lem_models.integrations.nautilus.parameters import VenueRules, desk_order
from lem_models.integrations.nautilus.tags import participation_tag
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment

__all__ = ["LEMExecAlgorithm", "LEMExecAlgorithmConfig"]

_SECOND = 10**9  # nanoseconds
_ENDED = (OrderCanceled, OrderExpired)
_REFUSED = (OrderRejected, OrderDenied)


class LEMExecAlgorithmConfig(ExecAlgorithmConfig, frozen=True, kw_only=True):  # type: ignore[call-arg]
    """Settings of :class:`LEMExecAlgorithm`.

    Args:
        model: Who decides: a name as :func:`~lem_models.load_policy` takes it, such as ``"lem-crypto-hourly"`` or
            ``"twap"``, or the folder of a model.
        bar_type: Bars that it decides on, of the one instrument that it trades.
        state_path: File of the ledger, which is made; ``None`` to keep it in memory, for backtests.
        calendar: Calendar of the bars, such as ``"XNYS"`` or ``"24/7"``; inferred from the bars by default.
        patience: Seconds after a bar's close before a bar without volume stands for one that has not come.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.
        exec_algorithm_id: Id by which orders name the algorithm.
    """

    model: str
    bar_type: BarType
    state_path: str | None = None
    calendar: str | None = None
    patience: float = 60.0
    allow_frequency: bool = False
    exec_algorithm_id: ExecAlgorithmId | None = ExecAlgorithmId("LEM")


class LEMExecAlgorithm(ExecAlgorithm):
    """Executes parent orders with a policy of this package.

    Parameters of a parent order (``exec_algorithm_params``), all optional: ``min_periods`` and ``max_periods`` in bars
    or as durations, ``benchmark``, ``risk_aversion``, ``max_participation``; as in :class:`~lem_models.Order`.

    Args:
        config: The settings.

    Raises:
        ConfigError: The bars are not of a fixed length.
    """

    def __init__(self, config: LEMExecAlgorithmConfig) -> None:
        super().__init__(config)
        self._bar_type = config.bar_type
        self._symbol = str(config.bar_type.instrument_id)
        if not config.bar_type.spec.is_time_aggregated():
            raise ConfigError(f"bar_type {config.bar_type}: take bars of a fixed length, such as 1-HOUR")
        self._step = int(config.bar_type.spec.timedelta.total_seconds() * _SECOND)
        self._ledger: ChildLedger | None = None
        self._pending: list[Order] = []  # parents that came while a bar close is being worked through
        self._working: set[str] = set()  # parents to be closed once they are over
        self._fell_back: set[str] = set()  # parents of which it was said
        self._followed: set[str] = set()  # strategies whose events are subscribed to
        self._timer = f"{self.id}-{config.bar_type}"
        self._late_timer = f"{self._timer}-late"

    # -- life --------------------------------------------------------------------------------------------------------

    @property
    def ledger(self) -> ChildLedger:
        """Its ledger.

        Raises:
            ConfigError: The algorithm has not started.
        """
        if self._ledger is None:
            raise ConfigError(f"the algorithm {self.id} has not started: its ledger is opened by on_start")
        return self._ledger

    def on_start(self) -> None:
        """Open the ledger, and go on with the parent orders that it has."""
        if self._ledger is not None and not any(self._has(parent) for parent in self._ledger.parents):
            self._shut()  # in memory, of a backtest that has been reset
        if self._ledger is None:
            self._ledger = ChildLedger(
                self.config.state_path,
                self.config.model,
                clock=self.clock.timestamp_ns,
                rules=FeedRules(patience=self.config.patience),
                allow_frequency=self.config.allow_frequency,
            )
        self.subscribe_bars(self._bar_type)
        for parent in self._ledger.active:
            self._reconcile(parent)
            if self._has(parent):
                self._go_on(parent)
            else:
                self.log.warning(f"Parent order {parent} is under way: it goes on once it is submitted again")
        self._keep_time()

    def on_stop(self) -> None:
        """Stop deciding; the ledger keeps the parent orders."""
        self.clock.cancel_timers()
        if self.config.state_path is not None:
            self._shut()

    def on_reset(self) -> None:
        """Forget what is only in memory; the ledger stays."""
        self._pending.clear()
        self._working.clear()
        self._fell_back.clear()
        self._followed.clear()

    def on_dispose(self) -> None:
        """Give the ledger back."""
        self._shut()

    def _shut(self) -> None:
        if self._ledger is not None:
            self._ledger.shut()
            self._ledger = None

    # -- parent orders -----------------------------------------------------------------------------------------------

    def on_order(self, order: Order) -> None:
        """Take a parent order: check its terms, read the history, and send the first child order."""
        try:
            wanted = self._wanted(order)
        except LEMError as error:
            self._deny(order, str(error))
            return
        newest = self.cache.bar(self._bar_type)
        is_behind = newest is not None and newest.ts_init > (self.ledger.last_close(self._symbol) or 0)
        if is_behind and self.ledger.active:
            # The bar close is worked through once the fills of the closed bar are known: the parent comes after that.
            self._pending.append(order)
        elif self._take(order, wanted):
            self._send()
        self._keep_time()

    def _wanted(self, order: Order) -> DeskOrder:
        """The parent order as an order of the desk.

        Raises:
            OrderError: It cannot be executed.
        """
        instrument = self.cache.instrument(order.instrument_id)
        if order.instrument_id != self._bar_type.instrument_id:
            raise OrderError(f"this algorithm trades {self._symbol}, and not {order.instrument_id}", field="symbol")
        if instrument is None:
            raise OrderError(f"the cache has no instrument {order.instrument_id}: add it", field="symbol")
        if order.order_type not in (OrderType.MARKET, OrderType.LIMIT):
            raise OrderError("only market and limit orders are executed", field="order_type", rule="order type")
        rules = VenueRules(
            lot_size=instrument.size_increment.as_decimal(),
            tick_size=instrument.price_increment.as_decimal(),
            min_quantity=None if instrument.min_quantity is None else instrument.min_quantity.as_decimal(),
            min_notional=None if instrument.min_notional is None else instrument.min_notional.as_decimal(),
        )
        return desk_order(
            order.client_order_id.value,
            self._symbol,
            "buy" if order.side == OrderSide.BUY else "sell",
            order.quantity.as_decimal(),
            rules,
            order.exec_algorithm_params,
            is_money=order.is_quote_quantity,
            start=self._first_moment(),
            calendar=self.config.calendar,
        )

    def _first_moment(self) -> str:
        """When a parent order that comes now may trade: in the bar that has begun, but not in one that has closed."""
        newest, now = self.cache.bar(self._bar_type), self.clock.timestamp_ns()
        if newest is None:
            raise BarsError(
                f"the cache has no bars of {self._bar_type}: request them, or let the data begin before the order",
                symbol=self._symbol,
                rule="history",
            )
        elapsed = max(now - newest.ts_init, 0) // self._step
        return "now" if not elapsed else moment(newest.ts_init + elapsed * self._step).isoformat()

    def _take(self, order: Order, wanted: DeskOrder) -> bool:
        """Give a parent order to the ledger, or refuse it."""
        ledger = self.ledger
        try:
            history = None
            if not ledger.active:
                table = history_table(closed_after(self.cache.bars(self._bar_type), 0), self._symbol, self._step)
                frequency = pd.Timedelta(self._step, unit="ns")
                history = Bars.from_frame(table, calendar=self.config.calendar or "auto", frequency=frequency)
            is_new = ledger.take(wanted, history)
        except LEMError as error:
            self._deny(order, str(error))
            return False
        if is_new:
            self._working.add(wanted.label)
            self.log.info(f"Parent order {wanted.label}: {ledger.parent(wanted.label).terms.max_periods} bars at most")
            self._say_fallback()
        else:
            self._go_on(wanted.label)
        return True

    def _go_on(self, parent: str) -> None:
        """Go on with a parent order of the ledger."""
        self._working.add(parent)
        self._reconcile(parent)
        self._follow(self.cache.order(ClientOrderId(parent)))
        self.log.info(f"Parent order {parent} goes on: {self.ledger.parent(parent).filled} are filled")

    def _reconcile(self, parent: str) -> None:
        """Learn what has become of the child orders of a parent order while nobody listened."""
        for child in self.ledger.children(parent):
            order = self.cache.order(ClientOrderId(child))
            if order is None:
                continue
            fills = [event for event in order.events if isinstance(event, OrderFilled)]
            self.ledger.catch_up(
                child,
                [
                    (
                        event.last_qty.as_decimal(),
                        event.last_px.as_decimal(),
                        event.trade_id.value,
                        self._traded_at(event),
                    )
                    for event in fills
                ],
            )
            for event in order.events:
                if event not in fills:
                    self._note(event)

    def _follow(self, primary: Order) -> None:
        """Subscribe to the events of a strategy; the engine does so only once it has submitted an order."""
        topic = f"events.order.{primary.strategy_id}"
        if topic not in self._followed:
            self._followed.add(topic)
            self.msgbus.subscribe(topic=topic, handler=self._on_own_event)

    def _on_own_event(self, event: Any) -> None:  # noqa: ANN401
        order = self.cache.order(event.client_order_id)
        if order is not None and order.exec_algorithm_id == self.id and self.is_running:
            self.on_order_event(event)

    def _deny(self, order: Order, reason: str) -> None:
        """Refuse a parent order."""
        self.log.error(f"Parent order {order.client_order_id} is refused: {reason}")
        denied = OrderDenied(
            order.trader_id,
            order.strategy_id,
            order.instrument_id,
            order.client_order_id,
            reason,
            UUID4(),
            self.clock.timestamp_ns(),
        )
        order.apply(denied)
        self.cache.update_order(order)
        self.msgbus.publish(topic=f"events.order.{order.strategy_id}", msg=denied)

    # -- events ------------------------------------------------------------------------------------------------------

    def on_order_event(self, event: Any) -> None:  # noqa: ANN401
        """Book what becomes of child orders; end a parent order that its strategy cancels."""
        if self._ledger is None:
            return
        identifier = event.client_order_id.value
        if identifier in self._ledger and isinstance(event, _ENDED):
            self._ledger.cancel(identifier, "its strategy cancelled it")
            self._cancel_children(identifier)
        elif isinstance(event, OrderCanceled) and any(
            each.client_order_id == event.client_order_id for each in self._pending
        ):
            self._pending = [each for each in self._pending if each.client_order_id != event.client_order_id]
        else:
            self._note(event)
        self._settle()

    def _note(self, event: Any) -> None:  # noqa: ANN401
        """Book one event of a child order; any number of times."""
        child = event.client_order_id.value
        if isinstance(event, OrderFilled):
            quantity, price = event.last_qty.as_decimal(), event.last_px.as_decimal()
            try:
                booked = self.ledger.fill(child, quantity, price, event.trade_id.value, self._traded_at(event))
            except OrderError as error:  # a trade that was booked with other numbers: the first stays
                self.log.error(str(error))
                return
            if booked is not None and booked.kind not in ("booked", "duplicate"):
                self.log.warning(booked.message)
        elif isinstance(event, _ENDED):
            self.ledger.close(child)
        elif isinstance(event, _REFUSED):
            self.ledger.close(child, refused=event.reason)

    def _traded_at(self, event: Any) -> int:  # noqa: ANN401
        """When a fill was traded: one at the moment of a close belongs to the bar that closes then."""
        order = self.cache.order(event.client_order_id)
        return int(max(event.ts_event - 1, 0 if order is None else order.ts_init))

    def _cancel_children(self, parent: str) -> None:
        for child in self.ledger.children(parent):
            order = self.cache.order(ClientOrderId(child))
            if order is not None and not order.is_closed and not order.is_pending_cancel:
                self.cancel_order(order)

    # -- bar closes --------------------------------------------------------------------------------------------------

    def _on_time(self, event: Any) -> None:  # noqa: ANN401
        """A bar has closed, or should have; or the bar of a child order begins."""
        self._observe()
        self._cancel_overdue()
        pending, self._pending = self._pending, []
        for order in pending:
            try:
                self._take(order, self._wanted(order))
            except LEMError as error:
                self._deny(order, str(error))
        self._send()
        self._settle()
        self._keep_time()
        self._look_again()

    def _observe(self) -> None:
        """Take in the bars that have closed since."""
        ledger, now = self.ledger, self.clock.timestamp_ns()
        last = ledger.last_close(self._symbol)
        if last is None or not ledger.active:
            return
        # A backtest may run a late alert with its clock set back, when later bars are in the cache already.
        newer = [bar for bar in closed_after(self.cache.bars(self._bar_type), last) if bar.ts_init <= now]
        try:
            messages = ledger.observe(self._symbol, [bar_row(bar, self._step) for bar in newer])
        except BarsError as error:
            self.log.error(f"Bar not used: {error}")
            messages = []
        if not newer:
            messages += ledger.watch(now)
        for message in messages:
            self.log.warning(message)
        self._say_fallback()

    def _say_fallback(self) -> None:
        """Say once of each parent order that its model does not decide."""
        for parent in self.ledger.active:
            reason = self.ledger.parent(parent).fallback
            if reason and parent not in self._fell_back:
                self._fell_back.add(parent)
                self.log.warning(f"Parent order {parent}: a volume curve decides, and not the model: {reason}")

    def _cancel_overdue(self) -> None:
        """Cancel what is still open of child orders whose bar has closed."""
        for child in self.ledger.open_children(of_the_past=True):
            order = self.cache.order(ClientOrderId(child))
            if order is None:
                self.ledger.close(child)  # the process died before it was sent
            elif order.is_open and not order.is_pending_cancel:
                self.cancel_order(order)

    def _send(self) -> None:
        """Send the child orders in force whose bar has begun, those that were not sent."""
        now = self.clock.timestamp_ns()
        for child in self.ledger.wanted():
            primary = self.cache.order(ClientOrderId(child.parent))
            if child.start > now or self._has(child.id) or primary is None or primary.is_closed:
                continue
            self.submit_order(self._spawned(primary, child))

    def _spawned(self, primary: Order, child: ChildOrder) -> Order:
        """The child order, as ``spawn_market`` and ``spawn_limit`` make it, with the ledger's id."""
        instrument, limit = self.cache.instrument(primary.instrument_id), child.decision.limit_participation
        common: dict[str, Any] = {
            "trader_id": primary.trader_id,
            "strategy_id": primary.strategy_id,
            "instrument_id": primary.instrument_id,
            "client_order_id": ClientOrderId(child.id),
            "order_side": primary.side,
            "quantity": instrument.make_qty(child.decision.quantity),
            "init_id": UUID4(),
            "ts_init": self.clock.timestamp_ns(),
            "reduce_only": primary.is_reduce_only,
            "contingency_type": primary.contingency_type,
            "order_list_id": primary.order_list_id,
            "linked_order_ids": primary.linked_order_ids,
            "parent_order_id": primary.parent_order_id,
            "exec_algorithm_id": self.id,
            "exec_spawn_id": primary.client_order_id,
            "tags": [*(primary.tags or ()), *([] if limit is None else [participation_tag(limit)])] or None,
        }
        if primary.order_type == OrderType.LIMIT:
            return LimitOrder(price=primary.price, time_in_force=TimeInForce.GTC, **common)
        # With a participation limit the rest must not fill beyond what the bar offers: it comes back to the ledger.
        return MarketOrder(time_in_force=TimeInForce.GTC if limit is None else TimeInForce.IOC, **common)

    def _settle(self) -> None:
        """Close the parent orders that are over and were not executed to the end."""
        for parent in [each for each in self._working if self.ledger.is_over(each)]:
            self._working.discard(parent)
            order, primary = self.ledger.parent(parent), self.cache.order(ClientOrderId(parent))
            self.log.info(f"Parent order {parent} is {order.status}: {order.filled} of {order.order.amount} are filled")
            if order.status != "done" and primary is not None and not primary.is_closed:
                self.execute(
                    CancelOrder(
                        trader_id=primary.trader_id,
                        strategy_id=primary.strategy_id,
                        instrument_id=primary.instrument_id,
                        client_order_id=primary.client_order_id,
                        venue_order_id=None,
                        command_id=UUID4(),
                        ts_init=self.clock.timestamp_ns(),
                    )
                )

    def _keep_time(self) -> None:
        """Run the timer while a parent order is under way.

        The timer repeats, and is not set anew at each close: a backtest runs what is set within a callback only after
        the next data.
        """
        ledger, now, names = self.ledger, self.clock.timestamp_ns(), self.clock.timer_names
        is_busy = bool(ledger.active or self._pending)
        if not is_busy:
            for name in (self._timer, self._late_timer):
                if name in names:
                    self.clock.cancel_timer(name)
            return
        if self._timer not in names:
            newest = self.cache.bar(self._bar_type)
            close = ledger.last_close(self._symbol) if newest is None else newest.ts_init
            start = now if close is None else close + (now - close) // self._step * self._step
            self.clock.set_timer_ns(self._timer, self._step, start, 0, self._on_time, fire_immediately=True)

    def _look_again(self) -> None:
        """Look again soon if the bar that should have closed is not there."""
        due, now = self.ledger.next_close(self._symbol), self.clock.timestamp_ns()
        if self.ledger.active and due is not None and due <= now and self._late_timer not in self.clock.timer_names:
            self.clock.set_time_alert_ns(self._late_timer, now + _SECOND, self._on_time)

    def _has(self, identifier: str) -> bool:
        return bool(self.cache.order_exists(ClientOrderId(identifier)))
