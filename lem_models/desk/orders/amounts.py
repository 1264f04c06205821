"""Amounts in words: ``40 BTC``, ``1.5 million USD``, ``2_000_000 shares``. They are decimal numbers, read exactly.

An amount is a number of units (the target ``quantity``) or of money (the target ``notional``). The word after the
number says which: the symbol or what it begins with and words such as ``shares`` are units, the currency codes of
:data:`CURRENCIES` and what the symbol ends with are money. A word that is neither is refused, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

from lem_models.errors import OrderError
from lem_models.guard.text import shown

__all__ = [
    "CURRENCIES",
    "Amount",
    "decimal_of",
    "grouped_text",
    "money_text",
    "plain_text",
    "read_amount",
    "units_text",
]

CURRENCIES = frozenset(
    [
        "USD",
        "EUR",
        "GBP",
        "JPY",
        "CHF",
        "AUD",
        "CAD",
        "NZD",
        "SEK",
        "NOK",
        "DKK",
        "PLN",
        "HKD",
        "SGD",
        "CNY",
        "CNH",
        "KRW",
        "INR",
        "BRL",
        "MXN",
        "ZAR",
        "USDT",
        "USDC",
        "BUSD",
        "FDUSD",
        "DAI",
    ]
)
"""Words for money."""

_CENT = Decimal("0.01")
_UNITS = frozenset(["unit", "units", "share", "shares", "contract", "contracts", "coin", "coins"])
_FACTORS = {
    "k": 3,
    "thousand": 3,
    "mn": 6,
    "mio": 6,
    "million": 6,
    "bn": 9,
    "billion": 9,
}
_FORM = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|[\d_]+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)\s*"
    r"(?P<factor>k|thousand|mn|mio|million|bn|billion)?\s*(?P<word>[A-Za-z][\w.\-]*)?",
    re.IGNORECASE,
)
_DIGITS = 24  # more than any venue has, and few enough that sums of 28 digits are exact


@dataclass(frozen=True)
class Amount:
    """A number of units or of money.

    Attributes:
        value: The number.
        target: ``"quantity"`` or ``"notional"``; ``None`` where only the number was given.
        unit: The word after the number; empty where there was none.
    """

    value: Decimal
    target: Literal["quantity", "notional"] | None = None
    unit: str = ""


def decimal_of(value: object, field: str) -> Decimal:
    """A decimal number from a number or its text; a float is the number that it prints as.

    Raises:
        OrderError: The value is no finite number, or has too many digits.

    Example:
        >>> decimal_of(0.1, "lot_size"), decimal_of("1e-3", "lot_size")
        (Decimal('0.1'), Decimal('0.001'))
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise OrderError(f"{field} must be a number; got {shown(value)}", field=field, rule="number")
    try:
        number = (
            value
            if isinstance(value, Decimal)
            else Decimal(float.__repr__(value) if isinstance(value, float) else value)
        )
    except InvalidOperation:
        raise OrderError(f"{field} must be a number; got {shown(value)}", field=field, rule="number") from None
    if not number.is_finite():
        raise OrderError(f"{field} must be finite; got {shown(value)}", field=field, rule="number")
    if len(number.as_tuple().digits) > _DIGITS or abs(number.adjusted()) > _DIGITS:
        raise OrderError(f"{field} has more than {_DIGITS} digits; got {shown(value)}", field=field, rule="digits")
    return number


def plain_text(value: Decimal) -> str:
    """A decimal number without an exponent and without zeros at its end.

    Example:
        >>> plain_text(Decimal("1.200")), plain_text(Decimal("4E+1")), plain_text(Decimal("0.00"))
        ('1.2', '40', '0')
    """
    if not value:
        return "0"
    text = str(value)
    if "E" in text:
        text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def grouped_text(value: Decimal) -> str:
    """A decimal number for people: with commas, without zeros at its end.

    Example:
        >>> grouped_text(Decimal("1507433.810")), grouped_text(Decimal("-0.5"))
        ('1,507,433.81', '-0.5')
    """
    whole, _, decimals = plain_text(abs(value)).partition(".")
    return f"{'-' if value < 0 else ''}{int(whole):,}" + (f".{decimals}" if decimals else "")


def units_text(value: Decimal) -> str:
    """Units for people, without a lot size: six digits, and hundredths. What is computed has up to twelve decimals.

    Example:
        >>> units_text(Decimal("6.353632004")), units_text(Decimal("1234567.123456")), units_text(Decimal("0.00000001"))
        ('6.35363', '1,234,567.12', '0.00000001')
    """
    return grouped_text(round(value, max(2, 5 - value.adjusted())) if value else value)


def money_text(value: Decimal) -> str:
    """Money for people: from 1 on to hundredths. What is computed has up to twelve digits after the point.

    Example:
        >>> money_text(Decimal("60376.961579219721")), money_text(Decimal("0.000123"))
        ('60,376.96', '0.000123')
    """
    return grouped_text(value.quantize(_CENT) if abs(value) >= 1 else value)


def read_amount(value: object, symbol: str) -> Amount:
    """Read an amount.

    Args:
        value: A number, or a number with a word.
        symbol: Symbol of the order: its beginning names units, its end money (``BTCUSDT``).

    Raises:
        OrderError: It is no amount, or the word is neither units nor money.

    Example:
        >>> read_amount("40 BTC", "BTCUSDT")
        Amount(value=Decimal('40'), target='quantity', unit='BTC')
        >>> read_amount("1.5 million USD", "KO").target
        'notional'
        >>> read_amount(2_000_000, "KO")
        Amount(value=Decimal('2000000'), target=None, unit='')
    """
    if not isinstance(value, str):
        return Amount(decimal_of(value, "amount"))
    match = _FORM.fullmatch(value.strip())
    if match is None:
        raise OrderError(
            f"amount is {shown(value)}: write a number and its unit, such as '40 BTC', '2 million shares' or "
            "'1.5 million USD'",
            field="amount",
            rule="amount",
        )
    number = decimal_of(match["number"].replace(",", ""), "amount")
    number = number.scaleb(_FACTORS[match["factor"].lower()]) if match["factor"] else number
    number = number.quantize(Decimal(1)) if number == number.to_integral_value() and number.adjusted() < 28 else number
    word = match["word"]
    if word is None:
        return Amount(number)
    upper, name = word.upper(), symbol.upper()
    if word.lower() in _UNITS or upper == name:
        return Amount(number, "quantity", word)
    begins, ends = name.startswith(upper), name.endswith(upper)
    is_money = upper in CURRENCIES
    if begins and not ends:
        return Amount(number, "quantity", word)
    if is_money or (ends and not begins):
        return Amount(number, "notional", upper)
    raise OrderError(
        f"amount is {shown(value)}, and {shown(word)} is neither a unit of {symbol} nor a currency: write units "
        f"(shares, {symbol}) or money (USD), or the number alone with target='quantity' or target='notional'",
        field="amount",
        rule="known unit",
    )
