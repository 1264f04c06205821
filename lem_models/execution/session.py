"""A live session: one order decided bar by bar as the bars close."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from lem_models.errors import OrderError
from lem_models.execution.costs import CostModel
from lem_models.execution.fills import Filled
from lem_models.execution.live import LiveOrders
from lem_models.execution.policy import Policy, policy_of
from lem_models.execution.records import Decision
from lem_models.markets.bars import BarsLike
from lem_models.markets.calendar.frequency import moment
from lem_models.notebook import describe, facts_html
from lem_models.orders.table import OrdersLike

__all__ = ["LiveSession"]


class LiveSession:
    """One order under way: :class:`~lem_models.execution.live.LiveOrders` of one.

    Alternate :meth:`decide` and :meth:`observe` until :attr:`done`. By default fills are taken to be what was decided,
    at the bar's VWAP, less where the bar did not trade or a participation limit of the order was reached.

    Args:
        policy: Who decides, or a name as :func:`~lem_models.load_policy` takes it.
        order: The order; it starts with the first bar after the history.
        history: Closed bars before the order, at least the policy's lookback, as :meth:`Bars.of` takes them; other
            symbols are ignored.
        costs: What trading costs: :attr:`net_price`. A policy that reads the size of orders decides by its impact.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.
        fills: ``"assumed"``, or ``"reported"``: nothing fills but what :meth:`observe` is told.
        cap_ahead: Whether ``max_participation`` also caps decisions, as in :func:`~lem_models.execute`.

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
        order: OrdersLike,
        history: BarsLike,
        *,
        costs: CostModel | None = None,
        allow_frequency: bool = False,
        fills: Literal["assumed", "reported"] = "assumed",
        cap_ahead: bool = False,
    ) -> None:
        self._policy = policy_of(policy)
        self._live = LiveOrders(
            self._policy,
            order,
            history,
            costs=costs,
            allow_frequency=allow_frequency,
            limit=1,
            fills=fills,
            cap_ahead=cap_ahead,
        )
        self._symbol = str(self._live.orders["symbol"].iloc[0])
        self._label = self._live.orders["order_id"].tolist()[0]

    @property
    def period(self) -> int:
        """Period to decide next, 0-based."""
        return int(self._live.period[0])

    @property
    def remaining(self) -> float:
        """Fraction of the order left, after the bars observed so far."""
        return float(self._live.remaining[0])

    @property
    def executed_price(self) -> float:
        """Average price of what has filled, before costs; NaN before anything has."""
        return float(self._live.executed_price[0])

    @property
    def net_price(self) -> float:
        """The same with costs."""
        return float(self._live.net_price[0])

    @property
    def done(self) -> bool:
        """Whether nothing is left to decide: the order is complete, its time is over, or its session has ended."""
        return bool(self._live.done[0])

    def decide(self) -> Decision:
        """Fraction of the whole order to trade in the coming bar, and whether the policy is finishing.

        Raises:
            OrderError: when the order is done.
            PolicyError: when the policy answers with something that is not a finite number.
        """
        if self.done:
            if self._live.ended[0]:
                raise self._session_over()
            raise OrderError("the order is done: nothing is left to decide", rule="not done")
        decision = self._live.decide()
        return Decision(fraction=float(decision.fraction[0]), finish=bool(decision.finish[0]))

    def observe(self, bar: Mapping[str, Any] | pd.Series[Any], filled: Filled | None = None) -> None:
        """Take in the bar that has closed.

        Args:
            bar: Columns of a table of bars, as a mapping or a row of a table; ``symbol`` may be left out. The columns
                that the history carries along may be there too, and no others.
            filled: With ``fills="reported"``: what really filled in the bar; ``None`` for nothing.

        Raises:
            OrderError: when the order is done, the fill is impossible, or the bar shows that the trading session of the
                order ended before it: the order is then :attr:`done` with what is left unfilled.
            BarsError: when the bar breaks a rule or is not the next one; the session is then as before.
        """
        self.decide()
        self._live.observe({self._symbol: bar}, None if filled is None else {self._label: filled})
        if self._live.ended[0]:
            raise self._session_over()

    def __repr__(self) -> str:
        """One line."""
        return describe("LiveSession", {"policy": self._policy_name, "order": repr(self._words)} | self._facts())

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        return facts_html(f"LiveSession: {self._words}", {"policy": self._policy_name} | self._facts())

    @property
    def _policy_name(self) -> str:
        return str(getattr(self._policy, "name", None) or type(self._policy).__name__)

    @property
    def _words(self) -> str:
        """The order in words."""
        order = self._live.orders.iloc[0]
        return f"{order['side']} {order['symbol']} from {order['start']:%Y-%m-%d %H:%M} UTC"

    def _facts(self) -> dict[str, object]:
        """Where the order stands."""
        last = int(self._live.orders["max_periods"].iloc[0])
        price = self.executed_price
        return {
            "state": "done" if self.done else f"bar {self.period + 1} of at most {last} to decide",
            "left": f"{100 * self.remaining:.4g} % of the order",
            "average price": None if price != price else f"{price:.8g}",
        }

    def _session_over(self) -> OrderError:
        return OrderError(
            f"the trading session of {self._symbol} ended at {moment(int(self._live.ended[0])):%Y-%m-%d %H:%M} UTC, "
            f"before the order was complete: {self.remaining:.6g} of it is left; an order ends with its session",
            field="max_periods",
            rule="one session",
        )
