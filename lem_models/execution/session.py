"""A live session: one order decided bar by bar as the bars close, by the simulator that evaluates and trains.

A session decides exactly what :func:`~lem_models.execution.execute.execute` decides in hindsight: it is one
:class:`~lem_models.execution.roll.Roll` of one order, told of each bar when it has closed. What is known in
advance (the volume expected in each period, for one) is computed when the session is made; afterwards a bar costs one
step of the policy's :meth:`~lem_models.execution.policy.Policy.stream` and one decision.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
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
from lem_models.execution.policy import ContextStream, Decision, Policy, lookback_of
from lem_models.execution.roll import Roll
from lem_models.execution.simulator import average_prices
from lem_models.markets.bars import Bars
from lem_models.markets.frequency import moment
from lem_models.markets.live_bars import BarReader, ClosedBar, followed_by, last_bars
from lem_models.markets.market import Market
from lem_models.markets.windows import REASONS, exclusion_codes
from lem_models.orders import Order

__all__ = ["LiveSession"]

_LOG = logging.getLogger("lem_models")
_CROSSES = 6  # in REASONS
_KEPT = 4096  # bars of history that are looked at; a lookback is at most 256, a calendar is told from some sessions


class LiveSession:
    """One order under way. Alternate :meth:`decide` and :meth:`observe` until :attr:`done`.

    Fills are taken to be what was decided, at the bar's VWAP, less where the bar did not trade or a participation limit
    of the order was reached.

    Args:
        policy: Who decides.
        order: The order; it starts with the first bar after the history.
        history: Closed bars before the order, at least the policy's lookback; other symbols are ignored.
        costs: What trading costs: :attr:`net_price`. The decisions are the same as without.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.

    Raises:
        OrderError: when the order breaks a rule, would cross the end of its session, or has no size that the costs
            depend on.
        BarsError: when the history ends elsewhere than right before the start, is too short, or holds a gap or a halt;
            or when its bars have another length than those that the policy was trained on.
        PolicyError: when the policy breaks its protocol.
    """

    def __init__(
        self,
        policy: Policy,
        order: Order | Mapping[str, Any],
        history: Bars,
        *,
        costs: CostModel | None = None,
        allow_frequency: bool = False,
    ) -> None:
        self._lookback = lookback_of(policy)
        note = check_frequency(policy, history, allow=allow_frequency)
        if note is not None:
            _LOG.warning(note)
        self._order = complete_for(policy, order)
        if len(self._order) != 1:
            raise OrderError(f"a session decides one order, got {len(self._order)}", rule="one order")
        if costs is not None:
            costs.check(self._order)
        symbol, self._start = str(self._order["symbol"][0]), int(pd.Timestamp(self._order["start"][0]).value)
        if symbol not in history.symbols:
            problem = UnknownNameError.among("symbol of the history", symbol, history.symbols)
            raise OrderError(str(problem), field="symbol", rule="known symbol")
        own = last_bars(history.select([symbol]), _KEPT)
        self._maximum = int(self._order["max_periods"][0])
        self._reader = BarReader(own)
        self._check_start()
        self._roll = self._rolled(own, costs)
        self._stream = _stream_of(policy, own, self._reader, 1 if self._order["side"][0] == "buy" else -1)
        decide = getattr(self._stream, "decide", None)
        self._decider: Any = self._stream if callable(decide) else policy
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
        """Whether nothing is left to decide."""
        return self.remaining <= 1e-9 or self.period >= self._maximum

    def decide(self) -> Decision:
        """Fraction of the whole order to trade in the coming bar, and whether the policy is finishing.

        Raises:
            OrderError: when the order is done.
            PolicyError: when the policy answers with something that is not a finite number.
        """
        if self._decided is None:
            if self.done:
                raise OrderError("the order is done: nothing is left to decide", rule="not done")
            self._decided = self._decide()
        return self._decided

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
            bar: Columns of a table of bars, as a mapping or a row of a table; ``symbol`` may be left out.

        Raises:
            OrderError: when the order is done.
            BarsError: when the bar breaks a rule or is not the next one; the session is then as before.
        """
        self.decide()
        closed = self._reader.read(bar)
        if self._roll.period == 0 and closed.timestamp != self._start:
            raise self._reader.out_of_turn(closed.timestamp)
        if self._stream is not None:
            self._stream.push(closed)
        self._reader.accept(closed)
        self._book(closed)
        self._decided = None

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
        close, step = self._reader.last.close, own.frequency.value
        coming = [(self._start + i * step, close, close, close, close, 1.0, close) for i in range(self._maximum)]
        market = Market(followed_by(own, self._reader.calendar, coming))
        start, maximum = np.array([len(own)]), np.array([self._maximum])
        code = int(exclusion_codes(market.bars, start, maximum, lookback=self._lookback)[0])
        slot = int(market.bars.grid.slot(start)[0])
        if own.is_session_bound and (code == _CROSSES or slot + self._maximum > own.slots_per_session):
            raise OrderError("the order would cross the end of the session", field="max_periods", rule="one session")
        if code:
            raise BarsError(f"the order cannot run: {REASONS[code]}", symbol=self._reader.symbol, rule="history")
        orders, self._window, _ = traded_market(market, self._order, start, costs)
        self._orders = orders.copy()  # the others are the policy's
        self._arrival, self._unit = float(self._window.arrival_price[0]), float(self._window.volume_unit[0])
        names = ("expected_volume", "volatility", "arrival_price", "volume_unit")
        return Roll(orders, **{name: getattr(self._window, name) for name in names}, as_numbers=True)


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
    contexts = policy.encode(Market(bars), np.array([len(bars) - 1]), np.array([side]))
    return None if contexts is None else contexts[0]


def _stream_of(policy: Policy, history: Bars, reader: BarReader, side: int) -> ContextStream | None:
    """How a policy sees the market live; ``None`` for one that does not look."""
    stream = getattr(policy, "stream", None)
    found: ContextStream | None = stream(history, side) if callable(stream) else None
    if found is None and callable(getattr(policy, "encode", None)):
        context = _encoded(policy, history, side)
        return None if context is None else _Encoded(policy, history, reader, side, context)
    return found
