"""Fields of an order: how their names and values are read.

A name that resembles a field is refused: ``Side``, ``max period``, ``ammount``, and the other words for fields in
:data:`OTHER_WORDS`. A value is read or refused, never guessed:

- A number is an ``int``, a ``float``, a ``Decimal`` or a number of numpy. A float is the number that it prints as:
  ``0.1`` is a tenth. Booleans, texts, times, complex numbers and arrays are refused.
- A number of periods may also be a duration, ``12h``, which becomes a number of bars once the bars are known.
- A choice is its word in any case, ``BUY`` or `` buy ``, or a member of its enumeration. Initials, signs and numbers
  are refused.

This module imports neither torch nor pandas.
"""

from __future__ import annotations

import difflib
import math
import re
from decimal import Decimal
from enum import Enum
from typing import TypeGuard

import numpy as np

from lem_models.errors import OrderError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError
from lem_models.orders.durations import DURATION_FIELDS, DURATION_FORMS, read_duration
from lem_models.orders.rules import CHOICES, DEFAULTS, NUMERIC, as_text

__all__ = [
    "FIELDS",
    "OTHER_WORDS",
    "SIZES",
    "is_missing",
    "meant_field",
    "plain_name",
    "read_choice",
    "read_field",
    "read_number",
    "read_symbol",
    "start_rule",
    "unknown_field",
]

FIELDS: tuple[str, ...] = ("order_id", "symbol", "start", "side", *DEFAULTS)
"""Fields of an order: the columns of a complete table of orders, in order."""

SIZES: dict[str, str] = {"quantity": "quantity", "notional": "notional"}
"""Names of the amount that say what it is in, and the target that each stands for (:mod:`lem_models.orders.sizes`)."""

OTHER_WORDS: dict[str, tuple[str, ...]] = {
    "order_id": ("id", "client_order_id", "cl_ord_id", "oid"),
    "symbol": ("ticker", "instrument", "pair", "ric", "sym"),
    "start": ("begin", "start_time"),
    "side": ("direction", "action", "buy_sell", "is_buy", "is_sell"),
    "benchmark": ("bench",),
    "target": ("target_type",),
    "min_periods": ("min_duration", "min_bars"),
    "max_periods": ("max_duration", "max_bars", "periods", "duration", "horizon", "deadline", "end", "end_time"),
    "min_rate": ("min_fraction",),
    "max_rate": ("max_fraction",),
    "risk_aversion": ("aversion", "lambda", "risk_tolerance"),
    "amount": (
        *("qty", "order_quantity", "order_qty", "size", "order_size", "shares", "units", "contracts"),
        *("volume", "nominal"),
    ),
    "lot_size": ("lot", "lots", "round_lot", "board_lot", "min_lot", "step_size"),
    "max_participation": ("participation", "participation_rate", "participation_limit", "pov", "max_pov"),
}
"""Other words for the fields that desks and data vendors use. Tables with such columns are refused."""

EXACT = ("amount", "lot_size", *SIZES)
"""Fields that are read exactly: their ratio is a number of lots."""

_CLOSE = 0.85  # by difflib: "ammount" and "max_preiods" are that close to a field, "desk" and "venue" are not


def plain_name(name: object) -> str:
    """A name in lower case, without spaces and punctuation.

    Example:
        >>> plain_name("Max periods"), plain_name("max_periods")
        ('maxperiods', 'maxperiods')
    """
    return re.sub(r"[\W_]+", "", str(name)).lower()


_MEANT = {plain_name(field): field for field in (*FIELDS, *SIZES)} | {
    plain_name(word): field for field, words in OTHER_WORDS.items() for word in words
}


def meant_field(name: object) -> str | None:
    """The field that another name resembles; ``None`` if it resembles none.

    Example:
        >>> meant_field("Qty"), meant_field("max period"), meant_field("desk")
        ('amount', 'max_periods', None)
    """
    plain = plain_name(name)
    close = [plain] if plain in _MEANT else difflib.get_close_matches(plain, list(_MEANT), 1, cutoff=_CLOSE)
    return _MEANT[close[0]] if close else None


def unknown_field(name: object, where: str) -> OrderError:
    """Build the error for a name that is not a field; it names the field that the name resembles.

    Args:
        name: The name.
        where: What has the name: ``"order field"``, ``"column"``.
    """
    field = meant_field(name)
    hint = f"did you mean {field!r}? Rename it, or leave it out" if field else f"known: {', '.join((*FIELDS, *SIZES))}"
    return OrderError(f"unknown {where} {shown(name)}; {hint}", field=str(name), rule=f"known {where}")


def is_missing(value: object) -> bool:
    """Whether a cell is empty: ``None``, NaN or ``pandas.NA``."""
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or (isinstance(value, Decimal) and value.is_nan()) or type(value).__name__ == "NAType"


def _is_number(value: object) -> TypeGuard[int | float | Decimal | np.integer | np.floating]:
    """Whether a value is a number; booleans and numpy time differences, which Python takes for integers, are not."""
    return isinstance(value, int | float | Decimal | np.integer | np.floating) and not isinstance(
        value, bool | np.timedelta64
    )


def read_number(value: object, field: str) -> float:
    """Read the number in a cell; NaN where there is none (``None``, NaN or ``pandas.NA``).

    Raises:
        OrderError: The value is not a number, or a float cannot hold its digits where every digit counts.

    Example:
        >>> read_number(Decimal("0.3"), "amount"), read_number(np.float32(0.1), "lot_size")
        (0.3, 0.1)
    """
    if is_missing(value):
        return math.nan
    if not _is_number(value):
        if field in DURATION_FIELDS and read_duration(value) is not None:
            raise OrderError(
                f"{field} is the duration {shown(value)}, and how many bars it is depends on the bars: pass the orders "
                "to a function that has bars, or give a whole number of bars",
                field=field,
                rule="number",
            )
        forms = f" of bars, or {DURATION_FORMS}" if field in DURATION_FIELDS else ""
        raise OrderError(
            f"{field} must be a number{forms}; got {shown(value)}, which is of the type {type(value).__name__}",
            field=field,
            rule="number",
        )
    try:
        number = float(str(value)) if isinstance(value, np.floating) else float(value)
    except (OverflowError, ValueError):
        raise OrderError(f"{field} is larger than a float can be", field=field, rule="number") from None
    if field in EXACT and math.isfinite(number) and not isinstance(value, float | np.floating):
        exact = value if isinstance(value, Decimal) else Decimal(int(value))
        if Decimal(as_text(number)) != exact:
            raise OrderError(
                f"{field} has more digits than a float holds; got {shown(value)}, the nearest is {as_text(number)}",
                field=field,
                rule="digits of a float",
            )
    return number


def read_choice(value: object, field: str) -> str | None:
    """Read the word in a cell of ``side``, ``benchmark`` or ``target``; ``None`` where there is none.

    Raises:
        OrderError: The value is none of the words.

    Example:
        >>> read_choice(" Buy ", "side"), read_choice(None, "target")
        ('buy', None)
    """
    if is_missing(value):
        return None
    words = [member.value for member in CHOICES[field]]
    plain = value.value if isinstance(value, CHOICES[field]) else value
    word = plain.strip().lower() if isinstance(plain, str) and not isinstance(plain, Enum) else None
    if word not in words:
        raise OrderError(f"{field} must be one of {words}; got {shown(value)}", field=field, rule="known value")
    return word


def read_symbol(value: object) -> str:
    """Read the symbol in a cell: a text, or a whole number, because symbols of some exchanges are numbers.

    Raises:
        OrderError: The symbol is missing, or has another type.
    """
    if isinstance(value, str):
        return str(value)
    if _is_number(value) and isinstance(value, int | np.integer):
        return str(int(value))
    if is_missing(value):
        raise OrderError("the symbol is missing", field="symbol", rule="required")
    raise OrderError(f"symbol must be a text; got {shown(value)}", field="symbol", rule="text")


def read_field(name: str, value: object) -> object:
    """Read the value of a field of one order, by the rules for tables; symbol and start are left as they are.

    A duration stays a text.

    Raises:
        OrderError: There is no such field, or the value cannot be read.

    Example:
        >>> read_field("side", " Buy "), read_field("max_periods", Decimal(12))
        ('buy', 12)
    """
    if name not in FIELDS:
        raise unknown_field(name, "order field")
    if name in CHOICES:
        return read_choice(value, name)
    if isinstance(value, bool) and name == "order_id":
        raise OrderError(f"order_id must be a text or a whole number; got {value}", field=name, rule="label")
    if name not in NUMERIC:
        return value
    if name in DURATION_FIELDS and (duration := read_duration(value)) is not None:
        return duration.text
    number = read_number(value, name)
    if np.isnan(number):
        raise OrderError(f"{name} is {shown(value)}; leave it out for its default", field=name, rule="number")
    if not name.endswith("_periods"):
        return number
    if not number.is_integer():
        raise OrderError(f"{name} must be a whole number; got {as_text(number)}", field=name, rule="integer")
    return int(number)


def start_rule(error: MomentError) -> str:
    """Name of the rule that a start breaks, for one order and for a table alike."""
    return {"missing": "required", "zone": "time zone"}.get(error.fault, "timestamp")
