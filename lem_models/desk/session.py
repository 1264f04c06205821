"""One order on a desk in memory: decide, report fills, observe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pandas as pd

from lem_models.desk.booking import Booked
from lem_models.desk.decision import Decision
from lem_models.desk.desk import Desk
from lem_models.desk.log.events import Recorded
from lem_models.desk.log.state import OrderState
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import OrderError
from lem_models.execution.policy import Policy
from lem_models.markets.bars import BarsLike

__all__ = ["DeskSession"]


class DeskSession:
    """One order under way: :class:`~lem_models.desk.desk.Desk` of one, kept in memory.

    Alternate :meth:`decide`, :meth:`fill` and :meth:`observe` until :attr:`done`. Nothing fills but what is reported.

    Args:
        policy: Who decides, or a name as :func:`~lem_models.load_policy` takes it.
        order: The order, or its fields.
        history: Closed bars up to now, as :meth:`Bars.of` takes them.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.

    Raises:
        OrderError: The constraints forbid the order; the error names the rule.
        BarsError: The history breaks a rule.
    """

    def __init__(
        self,
        policy: Policy | str,
        order: DeskOrder | Mapping[str, Any],
        history: BarsLike,
        *,
        allow_frequency: bool = False,
    ) -> None:
        wanted = order if isinstance(order, DeskOrder) else DeskOrder(**order)
        self._desk = Desk(MemoryStore(), policy, allow_frequency=allow_frequency)
        labels = self._desk.add([wanted], history)
        self._label, self._symbol = labels[0], wanted.symbol

    @property
    def state(self) -> OrderState:
        """The order and what has become of it."""
        return self._desk.order(self._label)

    @property
    def done(self) -> bool:
        """Whether nothing is left to decide: see :attr:`OrderState.status`."""
        return not self.state.is_active

    @property
    def events(self) -> list[Recorded]:
        """Everything that happened to the order."""
        return self._desk.events(self._label)

    def decide(self) -> Decision:
        """What to do in the coming bar.

        Raises:
            OrderError: The order is over, or does not start with the coming bar.
        """
        self._desk.decide()
        decision = self._desk.decision(self._label)
        if decision is None:
            why = f"the order is {self.state.status}" + (f": {self.state.reason}" if self.state.reason else "")
            raise OrderError(f"{why}; nothing is to be decided", rule="active order", order_id=self._label)
        return decision

    def fill(
        self,
        quantity: Decimal | float | str,
        price: Decimal | float | str,
        id: str,
        child: str | None = None,
        time: datetime | str | None = None,
    ) -> Booked:
        """Book a fill; see :meth:`Desk.fill`."""
        return self._desk.fill(self._label, quantity, price, id, child, time)

    def observe(self, bar: Mapping[str, Any] | pd.Series[Any]) -> list[str]:
        """Take in the bar that has closed; see :meth:`Desk.observe`."""
        return self._desk.observe({self._symbol: bar})

    def reject(self, reason: str = "") -> None:
        """Say that the venue refused the last child order."""
        self._desk.reject(self._label, reason)

    def amend(self, **changes: Any) -> Decision | None:
        """Change the order; see :meth:`Desk.amend`."""
        return self._desk.amend(self._label, **changes)

    def cancel(self, reason: str = "") -> None:
        """End the order."""
        self._desk.cancel(self._label, reason)

    def __repr__(self) -> str:
        """One line."""
        return f"DeskSession({self._desk.status().orders[0].line})"

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        return self._desk.status().orders[0]._repr_html_()

    def pause(self) -> None:
        """Send nothing until :meth:`resume`."""
        self._desk.pause(self._label)

    def resume(self) -> None:
        """Go on."""
        self._desk.resume(self._label)
