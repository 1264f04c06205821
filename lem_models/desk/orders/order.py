"""A desk order: what to trade in units or money, by when, in which lots, and at most how much of the market's volume.

A :class:`DeskOrder` says what a trader says. :class:`~lem_models.orders.Order` says what a policy needs: fractions and
numbers of bars. :mod:`lem_models.desk.timing` makes the second of the first once the bars are known.

Its fields are those of a TOML table, ``DeskOrder(**tomllib.load(file)["order"])``.
"""

from __future__ import annotations

from decimal import Decimal
from difflib import get_close_matches
from functools import cached_property
from typing import Any, ClassVar

from pydantic import ConfigDict, StrictStr, ValidationError, field_serializer

from lem_models.desk.orders.amounts import decimal_of, plain_text, read_amount
from lem_models.desk.orders.sizing import Constraints
from lem_models.desk.orders.times import check_duration, check_time
from lem_models.errors import LEMError, OrderError
from lem_models.guard.settings import Settings
from lem_models.guard.text import shown
from lem_models.orders.fields import meant_field, read_choice, read_symbol
from lem_models.orders.rules import Benchmark, Side, Target

__all__ = ["DeskOrder"]

_DECIMALS = ("lot_size", "tick_size", "min_notional", "min_quantity")
_MOST_LABEL = 120
_MOST_LOTS = 10**18
_NAMES_HERE = {
    "order_id": "id",
    "min_periods": "min_duration",
    "max_periods": "max_duration",
    "quantity": "amount",
    "notional": "amount",
}
"""Fields of an order for policies (:mod:`lem_models.orders`), and what a trader calls them."""


class DeskOrder(Settings):
    """One order of a desk.

    Args:
        symbol: Symbol of the bars to trade.
        side: ``"buy"`` or ``"sell"``.
        amount: Units or money: ``"40 BTC"``, ``"1.5 million USD"``, or a number in what ``target`` says.
        target: ``"quantity"`` (a fixed number of units) or ``"notional"`` (a fixed amount of money). Default: what the
            amount says, or ``"quantity"``.
        id: Label of the order, unique on its desk. Default: one that counts up.
        parent: Label of the basket that the order belongs to. Orders of a basket start and end together.
        benchmark: See :class:`~lem_models.orders.Order`.
        start: First moment at which the order may trade: ``"now"``, a time with a zone, or a duration from now. It
            trades from the first bar that starts then or later.
        end: Last moment: a time, or a duration from the start. ``max_duration`` is another word for a duration.
        min_duration: The benchmark covers at least so much time, and the order cannot finish before: a duration such as
            ``"1h"``, ``"2 days"`` or ``"session"``, or a number of bars. Default: all of the time up to the end.
        max_duration: See ``end``.
        lot_size: Child orders are whole multiples of it, in units. Default: any quantity.
        tick_size: Step of the venue's prices, which ``Decision.limit_price`` rounds to.
        min_notional: Smallest value of a child order, in money.
        min_quantity: Smallest quantity of a child order, in units.
        max_participation: Largest part of a bar's volume to trade, ``0.1`` or ``"10%"``: of the expected volume
            beforehand, and of the realised volume while the bar runs.
        risk_aversion: Weight of the squared slippage. Default: the policy's own.
        calendar: Calendar of the bars, such as ``"XNYS"`` or ``"24/7"``. Default: as the history is read.
        hold_open: Whether what a child order has not filled when its bar closes stays reserved until
            :meth:`~lem_models.desk.desk.Desk.close_child`. Otherwise it is free for the next child order at once.
        allow_incomplete: Whether the order is taken although ``max_participation`` does not let it complete in the
            expected volume.

    Raises:
        OrderError: A value cannot be read, or the constraints forbid the order; the error names the field and the rule.

    Example:
        >>> order = DeskOrder(symbol="BTCUSDT", side="buy", amount="40 BTC", lot_size="0.01", max_duration="12h")
        >>> order.amount, order.target.value, order.unit
        (Decimal('40'), 'quantity', 'BTC')
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    refusal: ClassVar[str] = "order refused"

    symbol: StrictStr
    side: Side
    amount: Decimal
    target: Target = Target.QUANTITY
    unit: StrictStr = ""
    id: StrictStr | None = None
    parent: StrictStr | None = None
    benchmark: Benchmark = Benchmark.VWAP
    start: StrictStr = "now"
    end: StrictStr | None = None
    min_duration: int | StrictStr | None = None
    max_duration: int | StrictStr | None = None
    lot_size: Decimal | None = None
    tick_size: Decimal | None = None
    min_notional: Decimal | None = None
    min_quantity: Decimal | None = None
    max_participation: float | None = None
    risk_aversion: float | None = None
    calendar: StrictStr | None = None
    hold_open: bool = False
    allow_incomplete: bool = False

    def __init__(self, /, **data: Any) -> None:
        given = {name: value for name, value in data.items() if value is not None}
        unknown = [name for name in given if name not in type(self).model_fields]
        if unknown:
            raise _unknown_field(str(unknown[0]), list(type(self).model_fields))
        for name in ("symbol", "side", "amount"):
            if name not in given:
                raise OrderError(f"the {name} is missing", field=name, rule="required")
        given["symbol"] = read_symbol(given["symbol"])
        for name in ("side", "target", "benchmark"):
            if name in given:
                given[name] = read_choice(given[name], name)
        _read_size(given)
        for name in ("start", "end"):
            if name in given:
                given[name] = check_time(given[name], name)
        for name in ("min_duration", "max_duration"):
            if name in given:
                given[name] = check_duration(given[name], name)
        for name in ("id", "parent"):
            if name in given:
                given[name] = _label(given[name], name)
        super().__init__(**given)
        self._check()

    @classmethod
    def refused(cls, error: ValidationError) -> LEMError:
        """The error of the first field that cannot be read."""
        first = error.errors()[0]
        field = str(first["loc"][0])
        return OrderError(f"{field}: {first['msg']}; got {shown(first['input'])}", field=field, rule=first["type"])

    @field_serializer("amount", *_DECIMALS, when_used="json")
    def _as_text(self, value: Decimal | None) -> str | None:
        return None if value is None else plain_text(value)

    @cached_property
    def is_notional(self) -> bool:
        """Whether the amount is money."""
        return self.target is Target.NOTIONAL

    @cached_property
    def constraints(self) -> Constraints:
        """The venue's minimums."""
        return Constraints(self.lot_size, self.min_quantity, self.min_notional)

    @property
    def label(self) -> str:
        """The order's ``id``; empty before a desk has given it one."""
        return self.id or ""

    def replaced(self, **changes: Any) -> DeskOrder:
        """The same order with other values, checked again."""
        kept = {name: getattr(self, name) for name in type(self).model_fields} | changes
        return DeskOrder(**kept)

    def _check(self) -> None:
        """Refuse what the constraints forbid whatever the market does."""
        for name in ("amount", *_DECIMALS):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise OrderError(f"{name} must be positive; got {plain_text(value)}", field=name, rule="positive")
        participation, aversion = self.max_participation, self.risk_aversion
        if participation is not None and not 0 < participation <= 1:
            raise OrderError(
                f"max_participation must lie in (0, 1]; got {participation:g}", field="max_participation", rule="(0, 1]"
            )
        if aversion is not None and not 0 <= aversion < float("inf"):
            raise OrderError(
                f"risk_aversion must be at least 0; got {aversion:g}", field="risk_aversion", rule="0 or more"
            )
        if self.end is not None and self.max_duration is not None:
            raise OrderError(
                "the order has an end and a max_duration: leave one of them out", field="max_duration", rule="one end"
            )
        self._check_lots()

    def _check_lots(self) -> None:
        if self.is_notional:
            if self.min_notional is not None and self.amount < self.min_notional:
                raise OrderError(
                    f"the amount {plain_text(self.amount)} is less than min_notional {plain_text(self.min_notional)}: "
                    "no child order can be sent",
                    field="amount",
                    rule="min_notional",
                )
            return
        if self.min_quantity is not None and self.amount < self.min_quantity:
            raise OrderError(
                f"the amount {plain_text(self.amount)} is less than min_quantity {plain_text(self.min_quantity)}: no "
                "child order can be sent",
                field="amount",
                rule="min_quantity",
            )
        lot = self.lot_size
        if lot is not None and self.amount / lot > _MOST_LOTS:
            raise OrderError(
                f"the amount {plain_text(self.amount)} is more than {_MOST_LOTS:,} lots of {plain_text(lot)}: take a "
                "larger lot_size",
                field="lot_size",
                rule="most lots",
            )
        if lot is not None and self.amount % lot:
            below = self.amount // lot * lot
            near = " or ".join(plain_text(each) for each in (below, below + lot) if each > 0)
            raise OrderError(
                f"the amount {plain_text(self.amount)} is no whole number of lots of {plain_text(lot)}: take {near}",
                field="amount",
                rule="lot_size",
            )


def _unknown_field(name: str, known: list[str]) -> OrderError:
    """The error for a name that is no field, with the field that the name resembles or stands for."""
    field = meant_field(name)
    field = _NAMES_HERE.get(field or "", field)
    if field == "amount":
        hint = 'the size is amount = "40 BTC" in units, or "100000 USD" in money; known'
    else:
        close = [field] if field in known else get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]!r}? known" if close else "known"
    return OrderError(f"unknown field {shown(name)}; {hint}: {', '.join(known)}", field=name, rule="known field")


def _read_size(given: dict[str, Any]) -> None:
    """Replace the amount by its number, its target and its unit; read the other decimal numbers."""
    amount = read_amount(given["amount"], given["symbol"])
    target = given.get("target")
    if amount.target is not None and target is not None and amount.target != Target(target).value:
        raise OrderError(
            f"the amount {shown(given['amount'])} is a {amount.target}, and the target is {Target(target).value!r}: "
            "leave the target out",
            field="target",
            rule="one size",
        )
    given["amount"], given["target"] = amount.value, amount.target or target or "quantity"
    given.setdefault("unit", amount.unit)
    for name in _DECIMALS:
        if name in given:
            given[name] = decimal_of(given[name], name)
    for name in ("max_participation", "risk_aversion"):
        if name in given:
            given[name] = float(_part(given[name], name))


def _part(value: object, field: str) -> Decimal:
    """A number, or the fraction that is written as per cent."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return decimal_of(value.strip()[:-1], field) / 100
    return decimal_of(value, field)


def _label(value: object, field: str) -> str:
    """A label that can be a key of the log and a name in a message."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not text or not text.isprintable() or len(text) > _MOST_LABEL or text[0] == "@":
        raise OrderError(
            f"{field} must be a text of 1 to {_MOST_LABEL} printable signs that does not begin with '@'; got "
            f"{shown(value)}",
            field=field,
            rule="label",
        )
    return text
