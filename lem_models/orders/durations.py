"""Durations of orders in words: ``12h``, ``90 min``, ``20 days``, ``session``.

A duration stands in ``min_periods`` and ``max_periods`` in place of a whole number of bars. It is read here. How many
bars it is depends on the bars, which :mod:`lem_models.markets.order_placing` knows.

This module imports neither torch nor pandas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["DURATION_FIELDS", "DURATION_FORMS", "Duration", "read_duration"]

DURATION_FIELDS = ("min_periods", "max_periods")
"""Fields of an order that may be a duration."""

DURATION_FORMS = "a duration such as '12h', '90 min', '20 days' or 'session'"
"""What a duration looks like, for messages."""

_SECOND = 10**9
_UNITS = {"s": _SECOND, "min": 60 * _SECOND, "h": 3600 * _SECOND, "D": 86400 * _SECOND}  # nanoseconds
# "m" may be a month or a minute, and a week of a market that closes is five days or seven.
_WORDS = {
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hour hours",
    "D": "d day days",
}
_UNIT_OF = {word: unit for unit, words in _WORDS.items() for word in words.split()}
_FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]+)")


@dataclass(frozen=True)
class Duration:
    """A length of time, or the rest of the session.

    Attributes:
        text: How it was written.
        nanoseconds: Its length; ``None`` for the rest of the session.
        in_days: Whether it was written in days: trading days in a market that closes.
    """

    text: str
    nanoseconds: Fraction | None
    in_days: bool = False

    @property
    def is_session(self) -> bool:
        """Whether it is the rest of the session in which the order starts."""
        return self.nanoseconds is None


def read_duration(value: object) -> Duration | None:
    """Read a duration; ``None`` if the value is not one.

    Example:
        >>> read_duration("20 days")
        Duration(text='20 days', nanoseconds=Fraction(1728000000000000, 1), in_days=True)
        >>> read_duration("1.5H").nanoseconds == read_duration("90 min").nanoseconds
        True
        >>> read_duration("Session").is_session
        True
        >>> print(read_duration("12"), read_duration("2 months"), read_duration("0h"))
        None None None
    """
    if not isinstance(value, str):
        return None
    text = value.strip()
    if text.lower() == "session":
        return Duration(text, None)
    match = _FORM.fullmatch(text.lower())
    unit = _UNIT_OF.get(match[2]) if match else None
    if match is None or unit is None or not Fraction(match[1]):
        return None
    return Duration(text, Fraction(match[1]) * _UNITS[unit], in_days=unit == "D")
