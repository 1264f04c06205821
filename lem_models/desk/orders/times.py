"""Times of desk orders as texts: ``now``, moments, durations and sessions; and the steps of a calendar."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lem_models.errors import OrderError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, read_moment
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.calendar.kinds import Calendar, next_start
from lem_models.orders.durations import read_duration
from lem_models.orders.rules import MAX_PERIODS

__all__ = ["SESSIONS", "check_duration", "check_time", "duration_or_bars", "steps"]

SESSIONS = re.compile(r"(\d{1,4})\s*sessions?", re.IGNORECASE)
"""A number of sessions in words."""
_MOST_DIGITS = 9  # of a number of bars; a longer one stays a text, and is refused


def check_time(value: object, field: str) -> str:
    """The text of a time of an order: ``now``, a moment with a zone, or a duration.

    Raises:
        OrderError: It is none of them.

    Example:
        >>> check_time("2024-05-01T12:00Z", "start"), check_time("2 h", "start")
        ('2024-05-01T12:00:00+00:00', '2 h')
    """
    if isinstance(value, str):
        text = value.strip()
        if text.lower() == "now" and field == "start":
            return "now"
        if read_duration(text) is not None or (field == "end" and SESSIONS.fullmatch(text)):
            return text
    try:
        return moment(read_moment(value, needs_zone=True)).isoformat()
    except MomentError as error:
        forms = (
            "'now', a time such as 2024-01-31T09:30:00Z or a duration from now"
            if field == "start"
            else ("a time such as 2024-01-31T09:30:00Z, a duration from the start or 'session'")
        )
        raise OrderError(f"{field}: {error.reason}; it is {forms}", field=field, rule="time") from None


def check_duration(value: object, field: str) -> int | str:
    """A number of bars, or the text of a duration.

    Raises:
        OrderError: It is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MAX_PERIODS:
            raise OrderError(f"{field} is {value} bars: take 1 to {MAX_PERIODS}", field=field, rule="number of bars")
        return value
    if isinstance(value, str):
        text = value.strip()
        if read_duration(text) is not None or SESSIONS.fullmatch(text):
            return text
    raise OrderError(
        f"{field} must be a whole number of bars, or a duration such as '12h', '90 min', '20 days' or 'session'; got "
        f"{shown(value)}",
        field=field,
        rule="duration",
    )


def duration_or_bars(text: str) -> str | int:
    """A duration as it is, and a number alone as a number of bars.

    Example:
        >>> duration_or_bars("12h"), duration_or_bars("12")
        ('12h', 12)
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else text


def steps(calendar: Calendar, timestamp: int) -> Iterator[int]:
    """Expected starts of the bars after one, without an end."""
    while True:
        timestamp = next_start(calendar, timestamp)
        yield timestamp
