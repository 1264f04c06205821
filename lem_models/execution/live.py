"""Live orders: many orders decided together, bar by bar as the bars close.

Live orders decide what :func:`~lem_models.execution.execute.execute` decides in hindsight: they are the same
:class:`~lem_models.execution.roll.Roll`, told of each bar when it has closed. The two differ by rounding, which a model
does in single precision, in other sums for one bar than for many. Its fractions agree to :data:`LIVE_TOLERANCE`
whatever the prices do, and so do the probabilities of finishing, so that one of them finishes earlier only where that
probability is 1/2 to within it. Policies that encode nothing agree to 1e-8.

What is known in advance (the volume expected in each period, for one) is computed when an order is added. Afterwards a
bar costs one step of the policy's :class:`~lem_models.execution.policy.ContextStream` for all symbols, and one decision
for all orders in the same period.

Fills are assumed, or reported by who trades (:mod:`lem_models.execution.fills`). Orders under way can be taken up again
in another process: the fills of their elapsed periods are replayed over the bars since their start.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lem_models.errors import BarsError, ConfigError, OrderError, PolicyError, UnknownNameError
from lem_models.execution.context_table import OrderBars
from lem_models.execution.costs import CostModel
from lem_models.execution.encoding_stream import kept_bars, stream_of
from lem_models.execution.execute import complete_for, traded_market
from lem_models.execution.fills import (
    Begun,
    Filled,
    Reported,
    book_bars,
    check_closed,
    check_elapsed,
    elapsed_fills,
    paid_prices,
    refused,
)
from lem_models.execution.frequency_check import check_frequency
from lem_models.execution.policy import (
    ContextStream,
    Policy,
    lookback_of,
    policy_faults,
    policy_of,
)
from lem_models.execution.records import Decision, MarketWindow, OrderBatch, mapped
from lem_models.execution.roll import Roll
from lem_models.features.market import Market
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars, BarsLike
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.calendar.kinds import Calendar
from lem_models.markets.live_bars import BarReader, ClosedBar, followed_by
from lem_models.markets.order_placing import BarPlacement
from lem_models.markets.origins import REASONS, exclusion_codes
from lem_models.markets.stock_splits import LiveSplits, find_splits, warn_of_splits
from lem_models.orders.table import OrdersLike

__all__ = ["LIVE_TOLERANCE", "Begun", "Filled", "LiveOrders"]

LIVE_TOLERANCE = 1e-4
"""How far fractions decided live may differ from those decided in hindsight, by a model in single precision."""

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_LOG = logging.getLogger("lem_models")
_FILLS = ("assumed", "reported")
_CROSSES = next(code for code, reason in REASONS.items() if "cross the end of the session" in reason)
_FAR = 1000  # bars after the history among which the next start is looked for


@dataclass
class _Cohort:
    """Orders that are in the same period.

    Attributes:
        order: Number of each order, int64 [orders].
        symbol: Symbol of each.
        context: Row of each order's context in the stream, int64 [orders].
        roll: The orders under way.
        orders: The orders.
        window: Their market as it was known at the start.
        finishing: Orders that were finishing before the period, bool [orders].
        finishes: Orders that are finishing in it, as it was decided last, bool [orders].
        under_way: Orders that are not done, bool [orders]. The others stay until they are the most.
        is_decided: Whether the period is decided. It is decided once, even if orders are added before its bar closes.
    """

    order: Integers
    symbol: npt.NDArray[np.object_]
    context: Integers
    roll: Roll
    orders: OrderBatch
    window: MarketWindow
    finishing: Tensor
    finishes: Tensor
    under_way: Booleans
    is_decided: bool = False

    def select(self, rows: Booleans) -> _Cohort:
        """Some of the orders."""
        which = torch.from_numpy(rows)
        return _Cohort(
            self.order[rows],
            self.symbol[rows],
            self.context[rows],
            self.roll.select(which),
            self.orders[which],
            _taken(self.window, which),
            self.finishing[which],
            self.finishes[which],
            self.under_way[rows],
            self.is_decided,
        )

    @classmethod
    def joined(cls, cohorts: Sequence[_Cohort]) -> _Cohort:
        """The orders of several cohorts."""
        if len(cohorts) == 1:
            return cohorts[0]

        def together(*values: Tensor) -> Tensor:
            return torch.cat(values)

        return cls(
            np.concatenate([each.order for each in cohorts]),
            np.concatenate([each.symbol for each in cohorts]),
            np.concatenate([each.context for each in cohorts]),
            Roll.joined([each.roll for each in cohorts]),
            mapped(together, [each.orders for each in cohorts]),
            mapped(together, [each.window for each in cohorts]),
            torch.cat([each.finishing for each in cohorts]),
            torch.cat([each.finishes for each in cohorts]),
            np.concatenate([each.under_way for each in cohorts]),
            cohorts[0].is_decided,
        )

    @property
    def kind(self) -> tuple[int, int, type, bool]:
        """What cohorts that can be joined have in common: period, periods, whether trading costs and it is decided."""
        return self.roll.period, self.window.expected_volume.shape[1], type(self.window), self.is_decided


class LiveOrders:
    """Orders under way. Alternate :meth:`decide` and :meth:`observe` until every order is :attr:`done`.

    By default fills are taken to be what was decided, at the bar's VWAP, less where the bar did not trade or a
    participation limit of the order was reached. With ``fills="reported"`` nothing fills but what is reported: the rest
    of what was decided is caught up with in later periods, and an order is complete once its fills sum to 1.

    Args:
        policy: Who decides, or a name as :func:`~lem_models.load_policy` takes it.
        orders: The orders, see :meth:`add`.
        history: Closed bars, see :meth:`add`.
        costs: What trading costs: :attr:`net_price`. A policy that reads the size of orders decides by its impact;
            default the costs that the policy assumes, which change no price.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.
        limit: Most orders there may be.
        fills: ``"assumed"``, or ``"reported"`` to :meth:`observe` and :meth:`report`.
        cap_ahead: Whether ``max_participation`` also caps decisions, as in :func:`~lem_models.execute`.
        begun: Orders already under way, see :meth:`add`.

    Raises:
        ConfigError: When there is no such kind of fills.
        OrderError: See :meth:`add`.
        BarsError: See :meth:`add`; also when the bars have another length than those that the policy was trained on.
        PolicyError: When the policy breaks its protocol.
    """

    def __init__(
        self,
        policy: Policy | str,
        orders: OrdersLike,
        history: BarsLike,
        *,
        costs: CostModel | None = None,
        allow_frequency: bool = False,
        limit: int | None = None,
        fills: Literal["assumed", "reported"] = "assumed",
        cap_ahead: bool = False,
        begun: Mapping[Hashable, Begun] | None = None,
    ) -> None:
        if fills not in _FILLS:
            raise ConfigError(f"fills is {' or '.join(map(repr, _FILLS))}; got {shown(fills)}")
        self._limit, self._is_reported, self._cap_ahead = limit, fills == "reported", cap_ahead
        self._policy, self._costs, self._allow_frequency = policy_of(policy), costs, allow_frequency
        self._readers: dict[str, BarReader] = {}
        self._splits: dict[str, LiveSplits] = {}
        self._stream: ContextStream | None = None
        self._looks: bool | None = None  # whether the policy reads contexts, once it is known
        self._cohorts: list[_Cohort] = []
        self._tables: list[pd.DataFrame] = []
        self._numbers: dict[Hashable, int] = {}  # of the orders by their labels, dropped ones left out
        self._decided: Decision | None = None
        self._period, self._remaining = np.empty(0, np.int64), np.empty(0)
        self._executed, self._net = np.empty(0), np.empty(0)
        self._start, self._ended = np.empty(0, np.int64), np.empty(0, np.int64)
        self.add(orders, history, begun)

    # -- what is known of the orders ---------------------------------------------------------------------------------

    @property
    def orders(self) -> pd.DataFrame:
        """The orders with every default filled in, in the order in which they were added."""
        return pd.concat(self._tables, ignore_index=True)

    def __len__(self) -> int:
        """Number of orders."""
        return len(self._period)

    @property
    def period(self) -> Integers:
        """Period that each order decides next, 0-based, int64 [orders]."""
        return self._period.copy()

    @property
    def remaining(self) -> Floats:
        """Fraction of each order left after the bars observed so far, [orders]."""
        return self._remaining.copy()

    @property
    def executed_price(self) -> Floats:
        """Average price of what has filled, before costs; NaN before anything has; [orders]."""
        self._price_all()
        return self._executed.copy()

    @property
    def net_price(self) -> Floats:
        """The same with costs, [orders]. Reported prices hold spread and impact already, so only fees are added."""
        self._price_all()
        return self._net.copy()

    def _price_all(self) -> None:
        for cohort in self._cohorts:
            self._price(cohort, cohort.under_way)

    @property
    def ended(self) -> Integers:
        """When the trading session of an order ended before the order did, or before it began; [orders].

        Nanoseconds UTC; 0 for other orders.
        """
        return self._ended.copy()

    @property
    def done(self) -> Booleans:
        """Whether an order is complete, its time is over, or its session has ended, bool [orders]."""
        under_way = np.zeros(len(self), dtype=bool)
        for cohort in self._cohorts:
            under_way[cohort.order] = cohort.under_way
        return ~under_way

    # -- one bar -----------------------------------------------------------------------------------------------------

    def decide(self) -> Decision:
        """Fraction of every order to trade in its coming bar, and whether it is finishing.

        Returns:
            Read-only arrays [orders]: 0 and False for orders that are done.

        Raises:
            PolicyError: When the policy answers with something that is not a finite number.
        """
        if self._decided is None:
            fraction, finish = np.zeros(len(self)), np.zeros(len(self), dtype=bool)
            self._cohorts = _by_period(self._cohorts)
            for cohort in self._cohorts:
                if not cohort.is_decided:
                    with self._faults(cohort):
                        self._decide(cohort)
                decided = torch.minimum(cohort.roll.fraction, cohort.roll.largest).numpy()
                fraction[cohort.order] = np.where(cohort.under_way, decided, 0.0)
                finish[cohort.order] = cohort.finishes.numpy() & cohort.under_way
            fraction.flags.writeable = finish.flags.writeable = False
            self._decided = Decision(fraction=fraction, finish=finish)
        return self._decided

    @torch.no_grad()
    def _decide(self, cohort: _Cohort) -> None:
        stream, over = self._stream, ~torch.from_numpy(cohort.under_way)
        contexts = None if stream is None else stream.contexts(cohort.context)
        decider = self._policy if stream is None else stream
        cohort.finishes = _decide_period(cohort.roll, decider, contexts, cohort.finishing, over)
        cohort.is_decided = True

    def observe(
        self,
        bars: Mapping[str, Mapping[str, Any] | pd.Series[Any] | ClosedBar],
        fills: Mapping[Hashable, Filled] | None = None,
    ) -> None:
        """Take in the bars that have closed.

        An order whose symbol has no bar waits for it.

        Args:
            bars: For each symbol the columns of a table of bars, as a mapping or a row of a table; ``symbol`` may be
                left out. The columns that the history carries along may be there too, and no others. A bar that another
                reader has checked is taken as it is. Symbols that no order has traded are ignored.
            fills: With ``fills="reported"``: what really filled in these bars, by ``order_id``; what came late from
                earlier bars is included. Orders without an entry filled nothing.

        Raises:
            BarsError: When a bar breaks a rule or is not the next one; nothing has then changed.
            OrderError: When a fill is of no order under way, or impossible; nothing has then changed.
            PolicyError: When the policy breaks its protocol; nothing has then changed.
        """
        reported = None if fills is None else self._checked(fills)
        self.decide()
        _check_bars(bars, self._readers)
        closed = {name: self._readers[name].read(bar) for name, bar in bars.items() if name in self._readers}
        ended = [self._ended_in(cohort, closed) for cohort in self._cohorts]
        if reported is not None:
            self._check_closed(reported, closed, ended)
        self._push(closed)
        self._end_sessions(ended, reported)
        last = {name: self._readers[name].last for name in closed}
        for name, bar in closed.items():
            self._readers[name].accept(bar)
        booked: list[_Cohort] = []
        for cohort in self._cohorts:
            has_bar = np.array([name in closed for name in cohort.symbol], dtype=bool)
            waits = cohort.under_way & ~has_bar
            if waits.any():
                booked.append(cohort.select(waits))
            if (cohort.under_way & has_bar).any():
                traded = cohort if has_bar.all() else cohort.select(has_bar)
                booked.append(self._booked(traded, [closed[name] for name in traded.symbol], reported))
        self._cohorts = [cohort for cohort in booked if cohort.under_way.any()]
        self._decided = None
        for name, bar in closed.items():
            self._splits[name].observe(last[name], bar)

    def report(self, fills: Mapping[Hashable, Filled]) -> None:
        """Take in fills of bars observed before that were reported late: these orders decide their period anew.

        They count as fills of the last period. An order that was finishing before the period still is.

        Args:
            fills: As in :meth:`observe`.

        Raises:
            OrderError: When a fill is of no order under way, or impossible, or none of the order's bars has closed;
                nothing has then changed.
        """
        reported = self._checked(fills)
        for number in np.flatnonzero(reported.is_given & (self._period == 0)).tolist():
            problem = "none of its bars has closed: report its fills with the bar"
            raise refused(self._label(number), problem, "closed bars")
        kept: list[_Cohort] = []
        for cohort in self._cohorts:
            late = reported.is_given[cohort.order] & cohort.under_way
            if (cohort.under_way & ~late).any():
                kept.append(cohort.select(~late) if late.any() else cohort)
            if late.any():
                corrected = cohort.select(late)
                corrected.roll.correct(*reported.of(corrected.order, corrected.window.arrival_price))
                corrected.is_decided = False
                kept.append(self._settled(corrected))
        self._cohorts = [cohort for cohort in kept if cohort.under_way.any()]
        self._decided = None

    def drop(self, order_ids: Iterable[Hashable]) -> None:
        """Let go of orders, cancelled ones for instance: they are done, and their labels may be added again.

        Raises:
            OrderError: When there is no such order; nothing has then changed.
        """
        labels = list(order_ids)
        dropped = np.array([self._number(label) for label in labels], dtype=np.int64)
        for cohort in self._cohorts:
            gone = np.isin(cohort.order, dropped) & cohort.under_way
            if gone.any():
                self._price(cohort, gone)
                cohort.under_way = cohort.under_way & ~gone
        self._cohorts = [cohort for cohort in self._cohorts if cohort.under_way.any()]
        for label in labels:
            self._numbers.pop(label, None)
        self._decided = None

    # -- what was reported -------------------------------------------------------------------------------------------

    def _number(self, label: Hashable) -> int:
        """Number of an order by its label."""
        try:
            return self._numbers[label]
        except (KeyError, TypeError):
            raise OrderError(
                f"there is no order {shown(label)} here; orders are named by their order_id, and dropped ones are "
                "unknown until they are added again",
                field="order_id",
                rule="known order",
            ) from None

    def _label(self, number: int) -> Hashable:
        """Label of an order by its number."""
        label: Hashable = self.orders["order_id"].tolist()[number]
        return label

    def _checked(self, fills: Mapping[Hashable, Filled]) -> Reported:
        """Fills by the numbers of their orders."""
        if not self._is_reported:
            raise OrderError(
                "fills are assumed here; make LiveOrders(..., fills='reported') to report them", rule="reported fills"
            )
        return Reported.checked(fills, self._number, self._label, self.done, self._remaining)

    def _check_closed(self, reported: Reported, closed: Container[str], ended: Sequence[Booleans]) -> None:
        """Refuse fills of orders that no bar has closed for."""
        for cohort, over in zip(self._cohorts, ended, strict=True):
            given = np.flatnonzero(reported.is_given[cohort.order] & cohort.under_way)
            has_ended = over[given] if cohort.roll.period == 0 else np.zeros(len(given), dtype=bool)
            check_closed(cohort.order[given], cohort.symbol[given], has_ended, closed, self._label)

    def _push(self, closed: Mapping[str, ClosedBar]) -> None:
        """Let the policy read the bars."""
        if self._stream is None:
            return
        try:
            self._stream.push(closed)
        except PolicyError as error:
            # Its positions are rows of the stream: name an order that reads one of them.
            reads = [np.isin(cohort.context, error.positions) for cohort in self._cohorts]
            order = np.concatenate([cohort.order[mine] for cohort, mine in zip(self._cohorts, reads, strict=True)])
            with policy_faults(self._policy, self.orders.iloc[order] if len(order) else None):
                raise PolicyError(error.message) from error

    def _ended_in(self, cohort: _Cohort, closed: Mapping[str, ClosedBar]) -> Booleans:
        """Orders under way whose trading session ended before they were complete, or before they began."""
        over = {
            name
            for name, bar in closed.items()
            if self._readers[name].calendar.is_session_bound and bar.session != self._readers[name].last.session
        }
        start = self._start[cohort.order].tolist()
        ended = [
            name in over if cohort.roll.period else name in closed and closed[name].timestamp != first
            for name, first in zip(cohort.symbol, start, strict=True)
        ]
        return np.array(ended, dtype=bool) & cohort.under_way

    def _end_sessions(self, ended: Sequence[Booleans], reported: Reported | None) -> None:
        """Let go of the orders whose session has ended, with what was reported late."""
        kept: list[_Cohort] = []
        for cohort, over in zip(self._cohorts, ended, strict=True):
            if not over.any():
                kept.append(cohort)
                continue
            gone = cohort.select(over)
            if reported is not None and gone.roll.period:
                gone.roll.correct(*reported.of(gone.order, gone.window.arrival_price))
                self._settled(gone)
            self._price(gone, np.ones(len(gone.order), dtype=bool))
            readers = [self._readers[name] for name in gone.symbol]
            left = self._remaining[gone.order] > 0
            self._ended[gone.order[left]] = [
                reader.last.timestamp + reader.calendar.frequency.value
                for reader, unfilled in zip(readers, left.tolist(), strict=True)
                if unfilled
            ]
            if (cohort.under_way & ~over).any():
                kept.append(cohort.select(~over))
        self._cohorts = kept

    def _booked(self, cohort: _Cohort, bars: Sequence[ClosedBar], reported: Reported | None) -> _Cohort:
        """Fill what was decided, or reported, and let go of the orders that are done."""
        filled: tuple[Tensor, ...] = ()
        if self._is_reported:
            known = Reported.none(len(self)) if reported is None else reported
            filled = known.of(cohort.order, cohort.window.arrival_price)
        book_bars(cohort.roll, cohort.window, bars, filled)
        cohort.is_decided, cohort.finishing = False, cohort.finishes
        return self._settled(cohort)

    def _settled(self, cohort: _Cohort) -> _Cohort:
        """Note what is left of orders, and let go of those that are done."""
        roll, before = cohort.roll, cohort.under_way
        self._remaining[cohort.order[before]] = roll.remaining.numpy()[before]
        self._period[cohort.order[before]] = roll.period
        cohort.under_way = before & ((roll.remaining > 0) & (cohort.orders.max_periods > roll.period)).numpy()
        if (before & ~cohort.under_way).any():
            self._price(cohort, before & ~cohort.under_way)
        # Taking orders out costs more than to roll some on that are done.
        few = 2 * int(cohort.under_way.sum()) < len(cohort.order)
        return cohort.select(cohort.under_way) if few else cohort

    def _price(self, cohort: _Cohort, which: Booleans) -> None:
        """Set the average prices of some orders of a cohort."""
        if not cohort.roll.period:
            return
        prices = paid_prices(cohort.roll, cohort.orders, cohort.window, self._costs, is_reported=self._is_reported)
        self._executed[cohort.order[which]], self._net[cohort.order[which]] = (each.numpy()[which] for each in prices)

    @contextmanager
    def _faults(self, cohort: _Cohort) -> Iterator[None]:
        """Name the policy and the order in errors of the policy."""
        try:
            yield
        except PolicyError:
            with policy_faults(self._policy, self.orders.iloc[cohort.order]):
                raise

    # -- the start ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def add(self, orders: OrdersLike, history: BarsLike, begun: Mapping[Hashable, Begun] | None = None) -> None:
        """Add orders that start with the first bar after the history, or that are under way.

        Args:
            orders: One order, several, a table of orders, or a file of them; durations become numbers of bars.
            history: Closed bars of their symbols, at least the policy's lookback, as :meth:`Bars.of` takes them. For a
                symbol with orders under way they end with the bar observed last. A symbol without such orders may have
                missed bars: it is followed anew. Other symbols are ignored.
            begun: With ``fills="reported"``: what filled in the elapsed periods of orders that are under way, by
                ``order_id``. Such an order began as many bars before the end of the history, which holds its bars and
                the lookback before them. It goes on as if it had been here all the time: its elapsed periods are
                decided again, because who was finishing still is.

        Raises:
            OrderError: When an order breaks a rule, starts when the market is closed, would cross the end of its
                session, has no size that the costs depend on, or began at another time than its fills say.
            BarsError: When the history of an order ends elsewhere than right before its start, is too short, or holds a
                gap or a halt.
        """
        bars = Bars.of(history)
        note = check_frequency(self._policy, bars, allow=self._allow_frequency)
        if note is not None:
            _LOG.warning(note)
        table = self._completed(orders, BarPlacement(bars, to_come=True))
        if self._limit is not None and len(self) + len(table) > self._limit:
            raise OrderError(f"a session decides one order, got {len(table)}", rule="one order")
        if self._costs is not None:
            self._costs.check(table)
        elapsed = self._elapsed(table, {} if begun is None else begun)
        symbols = table["symbol"].to_numpy(dtype=object)
        names = list(dict.fromkeys(symbols))
        for name in names:
            if name not in bars.symbols:
                problem = UnknownNameError.among("symbol of the history", name, bars.symbols)
                raise OrderError(str(problem), field="symbol", rule="known symbol")
        kept = kept_bars(self._policy, bars) + max(map(len, elapsed))
        groups = [
            self._prepared(table, np.flatnonzero(np.isin(symbols, group.symbols)), group, elapsed)
            for group in bars.select(names).last(kept).by_calendar()
        ]
        contexts = [self._contexts_of(added) for added in groups]  # the policy may fail: nothing has changed yet
        first, count = len(self), len(table)
        self._tables.append(table)
        self._numbers |= {label: first + row for row, label in enumerate(table["order_id"].tolist())}
        self._period = np.append(self._period, np.zeros(count, np.int64))
        self._remaining = np.append(self._remaining, np.ones(count))
        self._executed, self._net = (np.append(each, np.full(count, np.nan)) for each in (self._executed, self._net))
        self._start, self._ended = (
            np.append(self._start, _starts(table)),
            np.append(self._ended, np.zeros(count, np.int64)),
        )
        for added, context in zip(groups, contexts, strict=True):
            self._follow(first, added, context)
        self._decided = None

    def _elapsed(self, table: pd.DataFrame, begun: Mapping[Hashable, Begun]) -> list[Floats]:
        """Fractions and prices of the elapsed periods of each order of a table, [periods, 2] each."""
        if begun and not self._is_reported:
            raise OrderError(
                "fills are assumed here; make LiveOrders(..., fills='reported') to take up orders that have begun",
                rule="reported fills",
            )
        return elapsed_fills(table, begun)

    def _completed(self, orders: OrdersLike, placement: BarPlacement) -> pd.DataFrame:
        """The complete table of orders. Its labels are numbers by default, and differ from those of the orders before.

        Raises:
            OrderError: When an order breaks a rule.
        """
        table = complete_for(self._policy, orders, first_label=len(self), placement=placement)
        for row, label in enumerate(table["order_id"].tolist()):
            if label in self._numbers:
                raise OrderError(
                    f"order_id {shown(label)} is the label of an order that was added before",
                    field="order_id",
                    rule="unique",
                    row=row,
                )
        return table

    def _prepared(self, orders: pd.DataFrame, rows: Integers, own: Bars, elapsed: Sequence[Floats]) -> _Added:
        """Orders of symbols with one calendar and their market as far as it is known; nothing has changed yet.

        Args:
            orders: The table of orders.
            rows: Those of them that trade these symbols.
            own: Closed bars of the symbols.
            elapsed: Fractions and prices of the elapsed periods of each order of the table, [periods, 2] each.
        """
        table, taken = orders.iloc[rows], [elapsed[row] for row in rows.tolist()]
        count = np.array([len(periods) for periods in taken], dtype=np.int64)
        symbols, start = table["symbol"].to_numpy(dtype=object), _starts(table)
        maximum = table["max_periods"].to_numpy(dtype=np.int64)
        ends = [
            first + length * own.frequency.value for first, length in zip(start.tolist(), maximum.tolist(), strict=True)
        ]
        latest = ends.index(max(ends))
        if ends[latest] > pd.Timestamp.max.value:
            error = OrderError("the order would end after the year 2261", field="max_periods", rule="range of times")
            raise error.at(int(rows[latest]), table["order_id"].iloc[latest])
        readers = {name: self._reader(own, index) for index, name in enumerate(own.symbols)}
        number = np.array([own.symbol_numbers[name] for name in symbols])
        new = list(zip(symbols[count == 0], start[count == 0].tolist(), strict=True))
        for name, one in dict.fromkeys(new):
            _check_start(readers[name], one)
        for row in np.flatnonzero(count).tolist():
            try:
                check_elapsed(own, int(number[row]), int(start[row]), int(count[row]))
            except OrderError as error:
                raise error.at(int(rows[row]), table["order_id"].tolist()[row]) from None
        following = dict(new)
        for name in set(symbols[count > 0]) - following.keys():
            following[name] = _next_start(readers[name])
        market = Market(_with_coming(own, following, int(maximum.max())), cache=False)
        at = market.bars.offsets[number] + np.diff(own.offsets)[number] - count
        codes = exclusion_codes(market.bars, at, maximum, lookback=lookback_of(self._policy))
        # The session of an order that has begun may have ended early since: the next bar tells.
        codes[(codes == _CROSSES) & (count > 0)] = 0
        if codes.any():
            wrong = int(np.argmax(codes > 0))
            reason = self._exclusion(market.bars, symbols[wrong], at[wrong], int(codes[wrong]))
            if isinstance(reason, OrderError):
                reason = reason.at(int(rows[wrong]), table["order_id"].iloc[wrong])
            raise reason
        batch, window, _ = traded_market(market, table, at, self._costs, self._policy)
        rolls = self._rolls(market, table, at, taken, batch, window)
        last = own.offsets[1:] - 1
        warn_of_splits(find_splits(own, last, last + 1, lookback_of(self._policy) - 1))
        return _Added(rows, table, symbols, own, readers, batch, window, rolls)

    def _rolls(
        self,
        market: Market,
        table: pd.DataFrame,
        at: Integers,
        elapsed: Sequence[Floats],
        orders: OrderBatch,
        window: MarketWindow,
    ) -> list[tuple[Integers, Roll, Tensor]]:
        """Orders under way after their elapsed periods: by their number, the rows, the roll and who is finishing.

        Args:
            market: The history and the bars to come.
            table: The orders.
            at: Flat index of the first bar of each, [orders].
            elapsed: Fractions and prices of the elapsed periods of each, [periods, 2] each.
            orders: The orders.
            window: Their market.
        """
        count, is_buy = np.array([len(periods) for periods in elapsed]), (table["side"] == "buy").to_numpy()
        old = np.flatnonzero(count)
        encoded = OrderBars(self._policy, market, at[old], count[old], is_buy[old], table.iloc[old])
        rolls = []
        for periods in np.unique(count).tolist():
            rows = np.flatnonzero(count == periods)
            which = torch.from_numpy(rows)
            own, seen = orders[which], _taken(window, which)
            roll = Roll.of(own, seen, cap_ahead=self._cap_ahead)
            finishing = torch.zeros(len(rows), dtype=torch.bool)
            read = encoded.of(at[rows], is_buy[rows], periods) if periods else None
            contexts = None if read is None else read.dense()
            fills = torch.from_numpy(np.stack([elapsed[row] for row in rows.tolist()]))
            for s in range(periods):
                context = None if contexts is None else contexts[:, s]
                with policy_faults(self._policy, table.iloc[rows]):
                    finishing = _decide_period(roll, self._policy, context, finishing, roll.remaining <= 0)
                paid = fills[:, s, 1] / seen.arrival_price
                roll.book(seen.price[:, s], seen.close[:, s], seen.volume[:, s], fills[:, s, 0], paid)
            rolls.append((rows, roll, finishing))
        return rolls

    def _reader(self, own: Bars, index: int) -> BarReader:
        """What reads the bars of a symbol after the history."""
        name, reader = own.symbols[index], BarReader(own, index)
        known = self._readers.get(name)
        if known is not None and known.last.timestamp != reader.last.timestamp:
            if known.last.timestamp < reader.last.timestamp and not self._is_under_way(name):
                return reader
            raise BarsError(
                "the history must end with the bar that was observed last, that of "
                f"{moment(known.last.timestamp):%Y-%m-%d %H:%M} UTC",
                symbol=name,
                timestamp=moment(reader.last.timestamp),
                rule="history",
            )
        return known or reader

    def _is_under_way(self, symbol: str) -> bool:
        """Whether an order of the symbol is not done."""
        return any((cohort.under_way & (cohort.symbol == symbol)).any() for cohort in self._cohorts)

    def _exclusion(self, bars: Bars, symbol: str, start: int, code: int) -> OrderError | BarsError:
        """Why an order cannot run.

        Args:
            bars: The bars so far and those to come.
            symbol: Symbol of the order.
            start: Flat index of the first bar of the order.
            code: Place of the reason in :data:`REASONS`.
        """
        row = np.array([start])
        if code == _CROSSES:
            last = int(bars.grid.session_end(row)[0]) - 1
            ends = moment(int(bars.timestamp[last]) + bars.frequency.value)
            return OrderError(
                f"the order would cross the end of the session, which is expected at {ends:%Y-%m-%d %H:%M} UTC, "
                f"{last + 1 - start} bars from its start",
                field="max_periods",
                rule="one session",
            )
        gapless = start - int(bars.grid.gapless_start(row - 1)[0])
        return BarsError(
            f"the order cannot run: {REASONS[code]}; {lookback_of(self._policy)} bars are needed, the history ends "
            f"with {gapless} without a gap",
            symbol=symbol,
            rule="history",
        )

    def _contexts_of(self, added: _Added) -> Integers:
        """Row of each order's context in the stream; zeros for a policy that does not read the market."""
        own, number = added.own, np.array([added.own.symbol_numbers[name] for name in added.symbol])
        side = np.where(added.orders.side.numpy() > 0, 1, -1)
        with policy_faults(self._policy, added.table):
            if self._looks is None:
                self._stream = stream_of(self._policy)
            missed = [name for name, reader in added.readers.items() if self._readers.get(name, reader) is not reader]
            if self._stream is not None and missed:
                self._stream.drop(missed)
            last = own.offsets[1:] - 1
            rows = None if self._stream is None else self._stream.add(Market(own, cache=False), last[number], side)
        if rows is None:
            self._stream = None
        self._looks = rows is not None
        return np.zeros(len(number), np.int64) if rows is None else rows

    def _follow(self, first: int, added: _Added, context: Integers) -> None:
        """Take up orders that have been checked; ``first`` is the number of the first row of their table."""
        for index, name in enumerate(added.own.symbols):
            if self._readers.get(name) is not added.readers[name]:
                self._readers[name] = added.readers[name]
                self._splits[name] = LiveSplits(added.own, index)
        for rows, roll, finishing in added.rolls:
            which = torch.from_numpy(rows)
            cohort = _Cohort(
                first + added.rows[rows],
                added.symbol[rows],
                context[rows],
                roll,
                added.orders[which],
                _taken(added.window, which),
                finishing,
                finishing,
                np.ones(len(rows), dtype=bool),
            )
            cohort = self._settled(cohort)
            if cohort.under_way.any():
                self._cohorts.append(cohort)


@dataclass(frozen=True)
class _Added:
    """Orders that have been checked.

    Attributes:
        rows: Their rows in the whole table of orders, int64 [orders].
        table: Their table.
        symbol: Symbol of each, [orders].
        own: Closed bars of their symbols.
        readers: What reads the bars to come, by symbol.
        orders: The orders.
        window: Their market.
        rolls: The orders under way: rows among these, the roll, and who is finishing, for each number of periods.
    """

    rows: Integers
    table: pd.DataFrame
    symbol: npt.NDArray[np.object_]
    own: Bars
    readers: Mapping[str, BarReader]
    orders: OrderBatch
    window: MarketWindow
    rolls: Sequence[tuple[Integers, Roll, Tensor]]


def _taken(window: MarketWindow, rows: Tensor) -> MarketWindow:
    """The market of some orders, with its costs if it has any."""
    return mapped(lambda values: values[rows], [window])


def _decide_period(
    roll: Roll, policy: Policy | ContextStream, context: Tensor | None, finishing: Tensor, over: Tensor
) -> Tensor:
    """Decide the period of orders: those that are finishing in it, bool [orders].

    Args:
        roll: The orders under way.
        policy: Who decides.
        context: Context of the last closed bar, [orders, width].
        finishing: Orders that were finishing before, bool [orders].
        over: Orders that are done, bool [orders]: the policy is not asked if all others are finishing.
    """
    if not bool((finishing | over).all()):
        roll.decide(policy, context, finishing)
        finishing = finishing | (roll.finish > 0.5)
    roll.complete(finishing)
    return finishing


def _starts(table: pd.DataFrame) -> Integers:
    """First moment of each order, nanoseconds UTC."""
    return np.asarray(pd.DatetimeIndex(table["start"]).as_unit("ns").asi8)


def _check_bars(bars: object, followed: Container[str]) -> None:
    """Refuse what is not a bar for each symbol: a bar alone would look like one of symbols that nobody trades."""
    if not isinstance(bars, Mapping) or not all(
        name in followed or isinstance(bar, Mapping | pd.Series | ClosedBar) for name, bar in bars.items()
    ):
        raise BarsError(
            "closed bars are a mapping from symbols to bars, {'BTCUSDT': {'timestamp': ..., 'open': ...}}; got "
            f"{shown(bars)}",
            rule="bars by symbol",
        )


def _with_coming(own: Bars, start: Mapping[str, int], count: int) -> Bars:
    """The history and stand-ins for the bars to come: their places on the grid are known.

    Nothing reads their numbers.

    Args:
        own: Closed bars.
        start: Start of the next bar of each symbol.
        count: Bars to come.
    """
    starts = np.unique(list(start.values()))
    calendar = own.grid.calendar.followed_by(starts[starts > own.timestamp[own.offsets[1:] - 1].max()])
    coming = {one: calendar.coming(one, count).tolist() for one in starts.tolist()}
    close = own.close[own.offsets[1:] - 1].tolist()
    values = [
        [(each, last, last, last, last, 1.0, last) for each in coming[start[name]]]
        for name, last in zip(own.symbols, close, strict=True)
    ]
    return followed_by(own, calendar, values)


def _by_period(cohorts: Sequence[_Cohort]) -> list[_Cohort]:
    """Cohorts joined as far as they can be."""
    kinds: dict[tuple[int, int, type, bool], list[_Cohort]] = {}
    for cohort in cohorts:
        kinds.setdefault(cohort.kind, []).append(cohort)
    return [_Cohort.joined(alike) for alike in kinds.values()]


def _check_start(reader: BarReader, start: int) -> None:
    """Refuse an order that does not start right after the history."""
    last, calendar = reader.last, reader.calendar
    if last.timestamp >= start:
        raise BarsError(
            "the history must end before the order starts",
            symbol=reader.symbol,
            timestamp=moment(last.timestamp),
            rule="closed bars only",
        )
    if isinstance(calendar, Exchange):  # what is inferred knows only what has been
        calendar = calendar.followed_by(np.array([start]))
    if not calendar.has_start(start):
        raise OrderError(
            f"no bar of {reader.symbol} starts at {moment(start):%Y-%m-%d %H:%M} UTC (calendar "
            f"{calendar.name}){_next_start_in_words(calendar, last.timestamp, start)}",
            field="start",
            rule="a bar starts then",
        )
    try:
        reader.place(start)
    except BarsError:
        raise BarsError(
            f"the history must end with the bar before the order starts; its last one is of "
            f"{moment(last.timestamp):%Y-%m-%d %H:%M} UTC",
            symbol=reader.symbol,
            timestamp=moment(start),
            rule="history",
        ) from None


def _next_start(reader: BarReader) -> int:
    """Expected start of the next bar, nanoseconds UTC."""
    last, calendar = reader.last.timestamp, reader.calendar
    return int(calendar.followed_by(np.array([last])).next_start(last))


def _next_start_in_words(calendar: Calendar, last: int, start: int) -> str:
    """When an order may start instead, if that can be said."""
    following = last
    try:
        for _ in range(_FAR):
            following = calendar.next_start(following)
            if following >= start:
                return f"; the next one starts at {moment(following):%Y-%m-%d %H:%M} UTC"
    except BarsError:  # the calendar ends before
        pass
    return ""
