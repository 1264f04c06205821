"""A parent order of NautilusTrader as an order of the desk.

A strategy gives the terms of an order in ``exec_algorithm_params``, a mapping of names to numbers or, in a file, to
texts. Everything else is the order's own (side, quantity) and the instrument's (lot, tick, minimums).

Nothing here imports ``nautilus_trader``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lem_models.desk.orders.order import DeskOrder
from lem_models.errors import OrderError
from lem_models.guard.text import shown
from lem_models.orders.fields import meant_field

__all__ = ["PARAMETERS", "VenueRules", "desk_order", "read_parameters"]

PARAMETERS: dict[str, str] = {
    "min_periods": "min_duration",
    "max_periods": "max_duration",
    "benchmark": "benchmark",
    "risk_aversion": "risk_aversion",
    "max_participation": "max_participation",
}
"""Parameters of a parent order, and the field of :class:`~lem_models.desk.DeskOrder` that each fills."""

_WHOLE = re.compile(r"\d{1,9}")


@dataclass(frozen=True)
class VenueRules:
    """What an instrument allows.

    Attributes:
        lot_size: Step of quantities, in units.
        tick_size: Step of prices.
        min_quantity: Smallest order in units; ``None`` for none.
        min_notional: Smallest order in money; ``None`` for none.
    """

    lot_size: Decimal
    tick_size: Decimal
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None


def read_parameters(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Terms of a parent order as fields of a desk order.

    Numbers of bars may be texts (``"12"``), and durations (``"6h"``, ``"session"``).

    Raises:
        OrderError: There is no such parameter.

    Example:
        >>> read_parameters({"max_periods": "12", "min_periods": 1, "benchmark": "twap"})
        {'max_duration': 12, 'min_duration': 1, 'benchmark': 'twap'}
    """
    fields: dict[str, Any] = {}
    for name, value in (parameters or {}).items():
        if name not in PARAMETERS:
            meant = meant_field(name)
            hint = f"did you mean {meant!r}?" if meant in PARAMETERS else f"known: {', '.join(PARAMETERS)}"
            raise OrderError(
                f"unknown parameter {shown(name)} of a parent order; {hint}", field=str(name), rule="known parameter"
            )
        if isinstance(value, str) and name.endswith("_periods") and _WHOLE.fullmatch(value.strip()):
            value = int(value)
        fields[PARAMETERS[name]] = value
    return fields


def desk_order(
    label: str,
    symbol: str,
    side: str,
    quantity: Decimal,
    rules: VenueRules,
    parameters: Mapping[str, Any] | None = None,
    *,
    is_money: bool = False,
    start: str = "now",
    calendar: str | None = None,
) -> DeskOrder:
    """The desk order of a parent order.

    What a child order may still fill stays reserved until the venue says that it is over (``hold_open``), so the fills
    of all child orders never add up to more than the parent's quantity, however late they are reported.

    Args:
        label: Id of the parent order.
        symbol: Id of the instrument.
        side: ``"buy"`` or ``"sell"``.
        quantity: Units, or money.
        rules: What the instrument allows.
        parameters: Terms, see :data:`PARAMETERS`.
        is_money: Whether the quantity is money.
        start: First moment at which the order may trade.
        calendar: Calendar of the bars; ``None`` to infer it from the history.

    Raises:
        OrderError: A term cannot be read, or the terms forbid the order; the error names field and rule.
    """
    return DeskOrder(
        id=label,
        symbol=symbol,
        side=side,
        amount=quantity,
        target="notional" if is_money else "quantity",
        start=start,
        lot_size=rules.lot_size,
        tick_size=rules.tick_size,
        min_quantity=rules.min_quantity,
        min_notional=rules.min_notional,
        calendar=calendar,
        hold_open=True,
        **read_parameters(parameters),
    )
