"""A live session: one order decided bar by bar as the bars close, by the simulator that evaluates and trains.

A session decides what :func:`~lem_models.execution.execute.execute` decides in hindsight: it is one
:class:`~lem_models.execution.roll.Roll` of one order, told of each bar when it has closed. The two differ by rounding,
which a model does in single precision, in other sums for one bar than for many: its fractions agree to
:data:`LIVE_TOLERANCE` whatever the prices do, and so do the probabilities of finishing, so that one of them finishes
earlier only where that probability is 1/2 to within it. Policies that encode nothing agree to 1e-8. What is known in
advance (the volume expected in each period, for one) is computed when the session is made; afterwards a bar costs one
step of the policy's :meth:`~lem_models.execution.policy.Policy.stream` and one decision.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lem_models.errors import BarsError, OrderError, PolicyError, UnknownNameError
from lem_models.execution.costs import CostModel
from lem_models.execution.execute import complete_for, traded_market
from lem_models.execution.frequency_check import check_frequency
from lem_models.execution.policy import (
    ContextStream,
    Decision,
    Policy,
    checked_contexts,
    lookback_of,
    policy_faults,
    policy_of,
    rows_not_finite,
)
from lem_models.execution.roll import Roll
from lem_models.execution.simulator import average_prices
from lem_models.features.market import Market
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars, BarsLike
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.calendar.kinds import Calendar
from lem_models.markets.live_bars import BarReader, ClosedBar, followed_by, last_bars
from lem_models.markets.origins import REASONS, exclusion_codes
from lem_models.markets.stock_splits import Split, Traded, find_splits, is_wide, split_ratio, warn_of_splits
from lem_models.markets.validation import REQUIRED
from lem_models.orders import Order
from lem_models.orders.fields import plain_name

__all__ = ["LIVE_TOLERANCE", "LiveSession"]

LIVE_TOLERANCE = 1e-4
"""How far fractions decided live may differ from those decided in hindsight, by a model in single precision."""

_LOG = logging.getLogger("lem_models")
_CROSSES = 6  # in REASONS
_FAR = 1000  # bars after the history among which the next start is looked for
_KEPT = 4096  # bars of history that are looked at; a lookback is at most 256, a calendar is told from some sessions


class LiveSession:
    """One order under way. Alternate :meth:`decide` and :meth:`observe` until :attr:`done`.

    Fills are taken to be what was decided, at the bar's VWAP, less where the bar did not trade or a participation limit
    of the order was reached.

    Args:
        policy: Who decides, or a name as :func:`~lem_models.baselines.registry.load_policy` takes it.
        order: The order; it starts with the first bar after the history.
        history: Closed bars before the order, at least the policy's lookback, as :meth:`Bars.of` takes them; other
            symbols are ignored.
        costs: What trading costs: :attr:`net_price`. The decisions are the same as without.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.

    Raises:
        OrderError: when the order breaks a rule, starts when the market is closed, would cross the end of its session,
            or has no size that the costs depend on.
        BarsError: when the history ends elsewhere than right before the start, is too short, or holds a gap or a halt;
            or when its bars have another length than those that the policy was trained on.
        PolicyError: when the policy breaks its protocol.
    """

    def __init__(
        self,
        policy: Policy | str,
        order: Order | Mapping[str, Any],
        history: BarsLike,
        *,
        costs: CostModel | None = None,
        allow_frequency: bool = False,
    ) -> None:
        policy, history = policy_of(policy), Bars.of(history)
        note = check_frequency(policy, history, allow=allow_frequency)
        if note is not None:
            _LOG.warning(note)
        self._order = complete_for(policy, order)
        self._policy, self._lookback = policy, lookback_of(policy)
        if len(self._order) != 1:
            raise OrderError(f"a session decides one order, got {len(self._order)}", rule="one order")
        if costs is not None:
            costs.check(self._order)
        symbol, self._start = str(self._order["symbol"][0]), int(pd.Timestamp(self._order["start"][0]).value)
        if symbol not in history.symbols:
            problem = UnknownNameError.among("symbol of the history", symbol, history.symbols)
            raise OrderError(str(problem), field="symbol", rule="known symbol")
        self._keys = frozenset(history.columns)
        own = last_bars(history.select([symbol]), _KEPT)
        self._bound, self._step = own.is_session_bound, own.frequency.value
        self._session: int | None = None  # of the order's first bar, once it has closed
        self._ended: int | None = None  # when its session ended before the order did
        self._maximum = int(self._order["max_periods"][0])
        self._reader = BarReader(own)
        self._check_start()
        self._roll = self._rolled(own, costs)
        with self._faults():
            self._stream = _stream_of(policy, own, self._reader, 1 if self._order["side"][0] == "buy" else -1)
        decide = getattr(self._stream, "decide", None)
        self._decider: Any = self._stream if callable(decide) else policy
        last = np.array([len(own)])
        warn_of_splits(find_splits(own, last - 1, last, self._lookback - 1))
        self._history, self._observed = own, list[ClosedBar]()
        self._decided: Decision | None = None
        self._finishing = False

    @property
    def period(self) -> int:
        """Period to decide next, 0-based."""
        return self._roll.period

    @property
    def remaining(self) -> float:
        """Fraction of the order left, after the bars observed so far."""
        return float(self._roll.remaining)

    @property
    def executed_price(self) -> float:
        """Average price of what has filled, before costs; NaN before anything has."""
        return self._average_prices()[0]

    @property
    def net_price(self) -> float:
        """The same with costs."""
        return self._average_prices()[1]

    def _average_prices(self) -> tuple[float, float]:
        state, fills = self._roll.state(), torch.tensor([[self._roll.fills]], dtype=torch.float64)
        # What has closed so far, priced like a whole execution; the closes play no part in it.
        seen = replace(self._window, price=state.prices, close=state.prices, volume=state.volumes)
        executed, net = average_prices(fills, fills.sum(-1), self._orders, seen)
        return executed.item() * self._arrival, net.item() * self._arrival

    @property
    def done(self) -> bool:
        """Whether nothing is left to decide: the order is complete, its time is over, or its session has ended."""
        return self.remaining <= 1e-9 or self.period >= self._maximum or self._ended is not None

    def decide(self) -> Decision:
        """Fraction of the whole order to trade in the coming bar, and whether the policy is finishing.

        Raises:
            OrderError: when the order is done.
            PolicyError: when the policy answers with something that is not a finite number.
        """
        if self._decided is None:
            if self._ended is not None:
                raise self._session_over()
            if self.done:
                raise OrderError("the order is done: nothing is left to decide", rule="not done")
            with self._faults():
                self._decided = self._decide()
        return self._decided

    def _faults(self) -> AbstractContextManager[None]:
        """Name the policy and the order in errors of the policy."""
        return policy_faults(self._policy, self._order)

    @torch.no_grad()
    def _decide(self) -> Decision:
        roll = self._roll
        if not self._finishing:
            context = None if self._stream is None else self._stream.context.unsqueeze(0)
            roll.decide(self._decider, context)
            self._finishing = roll.finish > 0.5
        if self._finishing:
            roll.complete()
        return Decision(fraction=min(roll.fraction, roll.largest), finish=self._finishing)

    def observe(self, bar: Mapping[str, Any] | pd.Series[Any]) -> None:
        """Take in the bar that has closed.

        Args:
            bar: Columns of a table of bars, as a mapping or a row of a table; ``symbol`` may be left out. The columns
                that the history carries along may be there too, and no others.

        Raises:
            OrderError: when the order is done, or the bar shows that the order's trading session ended before it: the
                order is then :attr:`done` with what is left unfilled.
            BarsError: when the bar breaks a rule or is not the next one; the session is then as before.
        """
        self.decide()
        self._check_keys(bar)
        closed = self._reader.read(bar)
        if self._roll.period == 0 and closed.timestamp != self._start:
            raise self._reader.out_of_turn(closed.timestamp)
        if self._bound and self._session is not None and closed.session != self._session:
            self._ended, self._decided = self._reader.last.timestamp + self._step, None
            raise self._session_over()
        self._session = closed.session
        if self._stream is not None:
            with self._faults():
                self._stream.push(closed)
        self._warn_of_split(closed)
        self._reader.accept(closed)
        self._book(closed)
        self._decided = None

    def _warn_of_split(self, bar: ClosedBar) -> None:
        """Warn where a stock split lies between the last bar and this one."""
        if is_wide(self._reader.last.close, bar.open):
            earlier = Traded(
                np.append(self._history.slot, [each.slot for each in self._observed]).astype(np.int64),
                np.append(self._history.notional, [each.notional for each in self._observed]),
            )
            now = Traded(np.array([bar.slot]), np.array([bar.notional]))
            ratio = split_ratio(self._reader.last.close, bar.open, earlier, now)
            if ratio is not None:
                warn_of_splits([Split(self._reader.symbol, moment(bar.timestamp), ratio)])
        self._observed.append(bar)

    def _session_over(self) -> OrderError:
        ended = moment(self._ended or 0)
        return OrderError(
            f"the trading session of {self._reader.symbol} ended at {ended:%Y-%m-%d %H:%M} UTC, before the order was "
            f"complete: {self.remaining:.6g} of it is left; an order ends with its session",
            field="max_periods",
            rule="one session",
        )

    def _check_keys(self, bar: Mapping[str, Any] | pd.Series[Any]) -> None:
        """Refuse keys that nothing reads: a volume under another name would be missed elsewhere, or never."""
        keys = bar.index if isinstance(bar, pd.Series) else bar if isinstance(bar, Mapping) else ()
        unknown = [key for key in keys if key not in self._keys]
        if unknown:
            known = {plain_name(name): name for name in REQUIRED}
            close = difflib.get_close_matches(plain_name(unknown[0]), list(known), 1)
            hint = f"did you mean {known[close[0]]!r}?" if close else f"a bar has {', '.join(REQUIRED)}"
            raise BarsError(
                f"nothing reads {shown(unknown[0])} of the bar, and the history has no such column; {hint}",
                symbol=self._reader.symbol,
                column=str(unknown[0]),
                rule="known columns",
            )

    def _book(self, bar: ClosedBar) -> None:
        self._roll.book(bar.vwap / self._arrival, bar.close / self._arrival, bar.volume / self._unit)

    # -- the start ---------------------------------------------------------------------------------------------------

    def _check_start(self) -> None:
        """Refuse an order that does not start right after the history."""
        last = self._reader.last
        if last.timestamp >= self._start:
            raise BarsError(
                "the history must end before the order starts",
                symbol=self._reader.symbol,
                timestamp=moment(last.timestamp),
                rule="closed bars only",
            )
        calendar = self._reader.calendar
        if isinstance(calendar, Exchange):  # what is inferred knows only what has been
            calendar = calendar.followed_by(np.array([self._start]))
        if not calendar.has_start(self._start):
            raise OrderError(
                f"no bar of {self._reader.symbol} starts at {moment(self._start):%Y-%m-%d %H:%M} UTC (calendar "
                f"{calendar.name}){_next_start_in_words(calendar, last.timestamp, self._start)}",
                field="start",
                rule="a bar starts then",
            )
        try:
            self._reader.place(self._start)
        except BarsError:
            raise BarsError(
                f"the history must end with the bar before the order starts; its last one is of "
                f"{moment(last.timestamp):%Y-%m-%d %H:%M} UTC",
                symbol=self._reader.symbol,
                timestamp=moment(self._start),
                rule="history",
            ) from None

    def _rolled(self, own: Bars, costs: CostModel | None) -> Roll:
        """The order before its first period, with all that the history says of the periods to come."""
        # Stand-ins for the bars to come: their places on the grid are known, their numbers are never read.
        close, calendar = self._reader.last.close, self._reader.calendar.followed_by(np.array([self._start]))
        if self._start + self._maximum * self._step > pd.Timestamp.max.value:
            raise OrderError("the order would end after the year 2261", field="max_periods", rule="range of times")
        starts = calendar.coming(self._start, self._maximum).tolist()
        coming = [(start, close, close, close, close, 1.0, close) for start in starts]
        market = Market(followed_by(own, calendar, coming))
        start, maximum = np.array([len(own)]), np.array([self._maximum])
        code = int(exclusion_codes(market.bars, start, maximum, lookback=self._lookback)[0])
        if code == _CROSSES:
            last = int(market.bars.grid.session_end(start)[0]) - 1
            ends = moment(int(market.bars.timestamp[last]) + self._step)
            raise OrderError(
                f"the order would cross the end of the session, which is expected at {ends:%Y-%m-%d %H:%M} UTC, "
                f"{last + 1 - len(own)} bars from its start",
                field="max_periods",
                rule="one session",
            )
        if code:
            gapless = len(own) - int(market.bars.grid.run_start(start - 1)[0])
            raise BarsError(
                f"the order cannot run: {REASONS[code]}; {self._lookback} bars are needed, the history ends with "
                f"{gapless} without a gap",
                symbol=self._reader.symbol,
                rule="history",
            )
        orders, self._window, _ = traded_market(market, self._order, start, costs)
        self._orders = orders.copy()  # the others are the policy's
        self._arrival, self._unit = float(self._window.arrival_price[0]), float(self._window.volume_unit[0])
        names = ("expected_volume", "volatility", "arrival_price", "volume_unit")
        return Roll(orders, **{name: getattr(self._window, name) for name in names}, as_numbers=True)


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


class _Encoded:
    """The context stream of a policy that has ``encode`` and no ``stream``: the market anew after every bar."""

    def __init__(self, policy: Policy, history: Bars, reader: BarReader, side: int, context: Tensor) -> None:
        self._policy, self._history, self._reader, self._side = policy, history, reader, side
        self._values: list[Sequence[float]] = []
        self.context = context

    def push(self, bar: ClosedBar) -> None:
        """See :class:`~lem_models.execution.policy.ContextStream`."""
        values = [*self._values, bar[:7]]
        context = _encoded(self._policy, followed_by(self._history, self._reader.calendar, values), self._side)
        if context is None:
            raise PolicyError("encode() gave contexts for the history, and none after a new bar")
        self._values, self.context = values, context


@torch.no_grad()
def _encoded(policy: Policy, bars: Bars, side: int) -> Tensor | None:
    """Context of the last bar."""
    contexts = checked_contexts(policy.encode(Market(bars), np.array([len(bars) - 1]), np.array([side])), 1)
    if contexts is None:
        return None
    if rows_not_finite(contexts):
        raise PolicyError(
            f"encode() gave numbers that are not finite for the bar of {moment(bars.timestamp[-1]):%Y-%m-%d %H:%M} UTC"
        )
    return contexts[0]


def _stream_of(policy: Policy, history: Bars, reader: BarReader, side: int) -> ContextStream | None:
    """How a policy sees the market live; ``None`` for one that does not look."""
    stream = getattr(policy, "stream", None)
    found: ContextStream | None = stream(history, side) if callable(stream) else None
    if found is None and callable(getattr(policy, "encode", None)):
        context = _encoded(policy, history, side)
        return None if context is None else _Encoded(policy, history, reader, side, context)
    return found
