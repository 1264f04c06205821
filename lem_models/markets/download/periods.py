"""What a user types for the length of a bar and for a period of bars.

Vendors write a minute as ``1m`` and a day as ``1d``; this package writes ``1min`` and ``1D``. Both are read here. A
period is named by calendar years, months or days, both ends included: ``2023-01`` to ``2024-12`` are two years.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from lem_models.errors import ConfigError
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, read_moment
from lem_models.markets.calendar.frequency import read_frequency

__all__ = ["Period", "read_interval", "read_period"]

_INTERVAL = re.compile(r"([0-9]{1,6})(s|m|min|h|d|D)")
_UNITS = {"m": "min", "d": "D"}
_CALENDAR = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")


@dataclass(frozen=True)
class Period:
    """The bars that start in ``[start, end)``.

    Attributes:
        start: First moment, UTC.
        end: One past the last moment, UTC.
    """

    start: pd.Timestamp
    end: pd.Timestamp

    def __str__(self) -> str:
        """Both ends, the last one as it is: exclusive."""
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"


def read_interval(text: str) -> pd.Timedelta:
    """Read the length of a bar.

    Args:
        text: A count and ``s``, ``m`` or ``min``, ``h``, ``d`` or ``D``.

    Raises:
        ConfigError: It is not such a length; weeks and months have no bars here.
        BarsError: It is shorter than a second.

    Example:
        >>> read_interval("5m"), read_interval("1d")
        (Timedelta('0 days 00:05:00'), Timedelta('1 days 00:00:00'))
    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise ConfigError(f"{shown(text)} is not the length of a bar: write it as '1m', '5m', '1h' or '1d'")
    return read_frequency(f"{match[1]}{_UNITS.get(match[2], match[2])}")


def read_period(start: str, end: str | None, now: pd.Timestamp) -> Period:
    """Read a period.

    Args:
        start: A year, a month or a day, or a moment in ISO 8601 (UTC if it has no zone).
        end: The same; a year, month or day is included whole, a moment is not. Default: now.
        now: The present, UTC. No bar after it is fetched.

    Raises:
        ConfigError: A text cannot be read, or no moment lies between them.

    Example:
        >>> str(read_period("2023-01", "2024-12", pd.Timestamp("2026-01-01", tz="UTC")))
        '2023-01-01 00:00 to 2025-01-01 00:00 UTC'
    """
    first = _edge(start, "--from")[0]
    last = now if end is None else min(_edge(end, "--to")[1], now)
    if first >= last:
        raise ConfigError(f"the period from {shown(start)} to {shown(end or 'now')} holds no closed bar")
    return Period(first, last)


def _edge(text: str, option: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First moment, and one past the last moment, of what a text names."""
    try:
        if _CALENDAR.fullmatch(text):
            named = pd.Period(text)
            return named.start_time.tz_localize("UTC"), (named + 1).start_time.tz_localize("UTC")
        moment = pd.Timestamp(read_moment(text, needs_zone=False), unit="ns", tz="UTC")
    except (MomentError, ValueError) as error:
        raise ConfigError(
            f"{option} {shown(text)} is not a time: write it as 2023, 2023-01, 2023-01-31 or 2023-01-31T09:30:00Z"
        ) from error
    return moment, moment
