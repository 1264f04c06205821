"""A live session: one order decided bar by bar as the bars close, by the simulator that evaluates and trains.

Bars that have not happened yet are filled in with stand-ins. Decisions are causal, so the stand-ins
change nothing, and a session decides exactly what :func:`~lem_models.execution.execute.execute` decides in hindsight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lem_models.errors import BarsError, OrderError
from lem_models.execution.execute import complete_for, execute
from lem_models.execution.policy import Decision, Policy
from lem_models.markets.bars import Bars
from lem_models.orders import Order

__all__ = ["LiveSession"]

_COLUMNS = ["timestamp", "symbol", "open", "high", "low", "close", "volume", "notional"]


class LiveSession:
    """One order under way. Alternate :meth:`decide` and :meth:`observe` until :attr:`done`.

    Fills are taken to be what was decided, at the bar's VWAP, less where the bar did not trade or a participation limit
    of the order was reached.

    Args:
        policy: Who decides.
        order: The order; it starts with the first bar after the history.
        history: Closed bars before the order, at least the policy's lookback; other symbols are ignored.

    Raises:
        OrderError: when the order breaks a rule, or would cross the end of its session.
        BarsError: when the history ends elsewhere than right before the start, or is too short.
    """

    def __init__(self, policy: Policy, order: Order | Mapping[str, Any], history: Bars) -> None:
        self._policy = policy
        self._order = complete_for(policy, order)
        if len(self._order) != 1:
            raise OrderError(f"a session decides one order, got {len(self._order)}", rule="one order")
        symbol, self._start = str(self._order["symbol"][0]), pd.Timestamp(self._order["start"][0])
        if symbol not in history.symbols:
            raise OrderError(f"the history holds no bars of {symbol!r}", field="symbol", rule="known symbol")
        self._calendar, self._step = history.calendar.name, history.frequency
        own = history.select([symbol])
        frame = own.frame[_COLUMNS]
        if frame["timestamp"].iloc[-1] >= self._start:
            raise BarsError(
                "the history must end before the order starts",
                symbol=symbol,
                timestamp=frame["timestamp"].iloc[-1],
                rule="closed bars only",
            )
        if own.is_session_bound:
            goes_on = frame["timestamp"].iloc[-1] + self._step == self._start
            slot = int(own.slot[-1]) + 1 if goes_on else 0
            if slot + int(self._order["max_periods"][0]) > own.slots_per_session:
                raise OrderError(
                    "the order would cross the end of the session", field="max_periods", rule="one session"
                )
        self._closed = frame
        self._observed = 0
        self._decided: Decision | None = None
        self._remaining = 1.0

    @property
    def period(self) -> int:
        """Period to decide next, 0-based."""
        return self._observed

    @property
    def remaining(self) -> float:
        """Fraction of the order left, after the bars observed so far."""
        return self._remaining

    @property
    def done(self) -> bool:
        """Whether nothing is left to decide."""
        return self._remaining <= 1e-9 or self._observed >= int(self._order["max_periods"][0])

    def decide(self) -> Decision:
        """Fraction of the whole order to trade in the coming bar, and whether the policy is finishing.

        Raises:
            OrderError: when the order is done.
            BarsError: when the history is too short for the policy or holds a gap.
        """
        if self.done:
            raise OrderError("the order is done: nothing is left to decide", rule="not done")
        if self._decided is None:
            fills, finish = self._replay(self._closed, self._observed)
            self._decided = Decision(fraction=float(fills[self._observed]), finish=finish <= self._observed)
        return self._decided

    def observe(self, bar: Mapping[str, Any]) -> None:
        """Take in the bar that has closed.

        Args:
            bar: Columns of a table of bars; ``symbol`` may be left out.

        Raises:
            BarsError: when the bar breaks a rule or is not the next one; the session is then as before.
        """
        self.decide()
        symbol = self._order["symbol"][0]
        row = {"symbol": symbol, **bar}
        missing = [name for name in _COLUMNS if name not in row]
        if missing:
            raise BarsError(f"the bar lacks the columns {missing}", symbol=symbol, rule="required columns")
        if row["symbol"] != symbol:
            raise BarsError(f"the bar is of another symbol, the order of {symbol}", symbol=row["symbol"], rule="symbol")
        grown = pd.concat([self._closed, pd.DataFrame([row])[_COLUMNS]], ignore_index=True)
        bars = Bars.from_frame(grown, calendar=self._calendar, frequency=self._step)
        follows = bars.ordinal[-1] - bars.ordinal[-2] == 1
        if not follows or (self._observed == 0 and bars.frame["timestamp"].iloc[-1] != self._start):
            raise BarsError("the bar is not the next one", symbol=symbol, timestamp=row["timestamp"], rule="next bar")
        closed = bars.frame[_COLUMNS]
        fills, _ = self._replay(closed, self._observed + 1)
        self._closed, self._observed, self._decided = closed, self._observed + 1, None
        self._remaining = max(0.0, 1.0 - float(fills[: self._observed].sum()))

    def _replay(self, closed: pd.DataFrame, observed: int) -> tuple[Any, int]:
        """Fills of every period with stand-ins for the bars to come, and the period of finishing."""
        count = int(self._order["max_periods"][0]) - observed
        close = float(closed["close"].iloc[-1])
        # So much volume that no participation limit binds: a decision is made before the bar's volume is known.
        volume = 1e9 * max(float(closed["volume"].max()), 1.0)
        first = self._start if not observed else closed["timestamp"].iloc[-1] + self._step
        stand_ins = pd.DataFrame({"timestamp": [first + i * self._step for i in range(count)]})
        stand_ins = stand_ins.assign(
            symbol=self._order["symbol"][0], open=close, high=close, low=close, close=close, volume=volume
        ).assign(notional=close * volume)
        frame = pd.concat([closed, stand_ins[_COLUMNS]], ignore_index=True) if count else closed
        result = execute(
            self._policy, Bars.from_frame(frame, calendar=self._calendar, frequency=self._step), self._order
        )
        if len(result.excluded):
            raise BarsError(f"the order cannot run: {result.excluded['reason'][0]}", rule="history")
        return result.periods_of(self._order["order_id"][0])["fraction"].to_numpy(), int(result.finish_period[0])
