"""Timestamps that cannot be true: ends of bars taken for starts, local times labelled UTC, bars that are still open.

The hours of the major exchanges are compared with the first and the last bar of each day. With a named exchange the
calendar refuses such bars, and :func:`why_off_grid` explains the refusal. With an inferred calendar,
:func:`doubts_about` lists what is doubtful with its evidence. Nothing is changed here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, BarsWarning
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import DAY, clock, moment

__all__ = [
    "Doubt",
    "check_not_closing",
    "doubts_about",
    "open_bars",
    "time_until_final",
    "warn_of_doubts",
    "why_off_grid",
]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SECOND = 10**9
_CLOSING = (_SECOND - 10**6, _SECOND - 10**3, _SECOND - 1)
"""Parts of a second at which only closing times lie: one ms, us or ns before a whole second."""
_MINUTE = 60 * _SECOND
_SEEN = 20_000  # bars of a symbol that are looked at, the latest
_SYMBOLS = 20  # symbols that are looked at
_DAYS = 3  # fewest days that say something
_MOST, _FEW = 0.8, 0.2  # shares of days
_THIN = 0.25  # largest volume of a bar outside of regular hours, as a share of that of a bar inside

# Regular hours on the clock of the exchange, minutes after midnight.
_REGULAR: tuple[tuple[str, str, int, int], ...] = (
    ("New York", "America/New_York", 570, 960),
    ("London", "Europe/London", 480, 990),
    ("Frankfurt or Paris", "Europe/Paris", 540, 1050),
    ("Tokyo", "Asia/Tokyo", 540, 900),
    ("Tokyo", "Asia/Tokyo", 540, 930),
    ("Hong Kong", "Asia/Hong_Kong", 570, 960),
    ("Shanghai", "Asia/Shanghai", 570, 900),
    ("Mumbai", "Asia/Kolkata", 555, 930),
    ("Sydney", "Australia/Sydney", 600, 960),
    ("Toronto", "America/Toronto", 570, 960),
)


@dataclass(frozen=True)
class Doubt:
    """Something about timestamps that is hardly true.

    Attributes:
        rule: Short name.
        message: What, the evidence, and the cure.
        symbol: The first symbol that it is about.
    """

    rule: str
    message: str
    symbol: str


@dataclass(frozen=True)
class _Days:
    """First and last bar starts of each day on a clock, minutes after midnight."""

    first: Floats
    last: Floats

    def share(self, first: float, *last: float) -> float:
        """Share of the days that begin and end then."""
        return float(np.mean((self.first == first) & np.isin(self.last, last)))


def check_not_closing(symbols: Sequence[str], timestamp: Integers) -> None:
    """Refuse timestamps of which every one is a closing time, such as 00:59:59.999.

    Args:
        symbols: Names of the symbols.
        timestamp: int64 [bars], nanoseconds UTC, symbol-major.

    Raises:
        BarsError: All lie a millisecond, a microsecond or a nanosecond before a whole second.
    """
    if len(timestamp) and np.isin(timestamp % _SECOND, _CLOSING).all():
        raise BarsError(
            "every timestamp lies just before a whole second: these are closing times; the timestamp of a bar is its "
            "start, which Binance names open_time",
            symbol=symbols[0],
            timestamp=moment(timestamp[0]),
            column="timestamp",
            rule="start of the bar",
        )


def why_off_grid(code: str, timestamp: Integers, step: int) -> str:
    """Why bars do not lie on the grid of an exchange, with the cure; empty if there is no reason that is certain.

    Args:
        code: Code of the exchange.
        timestamp: int64 [bars], nanoseconds UTC, some of which are not on its grid.
        step: Length of a bar, nanoseconds.
    """
    if not len(timestamp) or step > DAY:
        return ""
    exchange = Exchange.of(
        code, int(timestamp.min()) - step, int(timestamp.max()), step, at_midnight=bool(np.all(timestamp % DAY == 0))
    )
    outside = float(np.mean(~exchange.contains(timestamp)))
    if exchange.contains(timestamp - step).all():
        return _ends(f"moved back by {clock(pd.Timedelta(step, unit='ns'))}, all bars lie on the grid of {code}")
    zone = _zone_of(code)
    if step < DAY and zone != "UTC":
        local = pd.DatetimeIndex(timestamp).tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
        utc = np.asarray(local[local.notna()].as_unit("ns").asi8)
        if len(utc) and exchange.contains(utc).all():
            return _local(zone, f"read as times in {zone}, all bars lie on the grid of {code}")
        if len(utc) and exchange.contains(utc - step).all():
            return _local(zone, f"read as ends of bars in {zone}, all lie on the grid of {code}") + "; " + _ends("so")
    if step < DAY and outside < 1.0:
        return (
            f"{outside:.1%} of the bars lie outside of the regular hours of {code}, such as before the opening or "
            "after the close: drop them, or leave the calendar out to trade in them too"
        )
    return ""


def doubts_about(
    symbols: Sequence[str], offsets: Integers, timestamp: Integers, volume: Floats, step: int
) -> list[Doubt]:
    """What is doubtful about timestamps whose calendar is inferred, one of each kind.

    Args:
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1].
        timestamp: int64 [bars], nanoseconds UTC, symbol-major.
        volume: float64 [bars].
        step: Length of a bar, nanoseconds.
    """
    doubts: dict[str, Doubt] = {}
    for number, symbol in list(enumerate(symbols))[:_SYMBOLS]:
        end = int(offsets[number + 1])
        rows = slice(max(int(offsets[number]), end - _SEEN), end)
        stamps = timestamp[rows]
        doubt = _of_days(symbol, stamps) if step == DAY else _of_hours(symbol, stamps, volume[rows], step)
        if doubt is not None:
            doubts.setdefault(doubt.rule, doubt)
    return list(doubts.values())


def open_bars(symbols: Sequence[str], offsets: Integers, timestamp: Integers, step: int, as_of: int) -> list[Doubt]:
    """The last bars that had not ended when the table was written, as one doubt.

    Args:
        symbols: Names of the symbols.
        offsets: int64 [symbols + 1].
        timestamp: int64 [bars], nanoseconds UTC, symbol-major.
        step: Length of a bar, nanoseconds.
        as_of: When the table was written, nanoseconds UTC.
    """
    last = timestamp[offsets[1:] - 1]
    is_open = np.flatnonzero((last <= as_of) & (last + time_until_final(timestamp, step) > as_of))
    if not len(is_open):
        return []
    which = int(is_open[0])
    return [
        Doubt(
            "ended bar",
            f"the last bar of {len(is_open):,} symbols had not ended when the table was written "
            f"({moment(as_of):%Y-%m-%d %H:%M:%S} UTC), so its prices and volume are not final: repair='drop_open' "
            f"(--repair drop_open) drops it (the first: symbol {symbols[which]!r}, timestamp {moment(last[which])})",
            symbols[which],
        )
    ]


def time_until_final(timestamp: Integers, step: int) -> int:
    """Nanoseconds from the start of a bar until it is final.

    It is the length of the bar, but for daily bars of a market that closes at weekends: New York, the last of the major
    exchanges, closes at 21:00 UTC at the latest.
    """
    weekday = (timestamp // DAY + 3) % 7
    closes = step == DAY and len(timestamp) >= 5 and not np.any(weekday > 4) and bool(np.all(timestamp % DAY == 0))
    return 21 * 60 * _MINUTE if closes else step


def warn_of_doubts(doubts: Sequence[Doubt]) -> None:
    """Warn of each."""
    for doubt in doubts:
        warnings.warn(doubt.message, BarsWarning, stacklevel=4)


def _of_days(symbol: str, stamps: Integers) -> Doubt | None:
    """Daily bars from Tuesday to Saturday are stamped at their ends."""
    weekday = (stamps // DAY + 3) % 7
    counts = np.bincount(weekday, minlength=7)
    if len(stamps) < 5 * _DAYS or counts[5] == 0 or counts[0] + counts[6] > 0:
        return None
    evidence = f"{int(counts[5]):,} daily bars of {symbol!r} are stamped on a Saturday and none on a Monday"
    return Doubt("start of the bar", _ends(evidence), symbol)


def _of_hours(symbol: str, stamps: Integers, volume: Floats, step: int) -> Doubt | None:
    days = {zone: _days(stamps, zone) for zone in dict.fromkeys(zone for _, zone, _, _ in _REGULAR)}
    as_utc = _days(stamps, "UTC")
    if len(as_utc.first) < _DAYS or step > 60 * _MINUTE:
        return None
    length = step / _MINUTE
    if any(days[zone].share(*_starts(opens, closes, length)) > _FEW for _, zone, opens, closes in _REGULAR):
        return None
    for name, zone, opens, closes in _REGULAR:
        first, *last = _starts(opens, closes, length)
        ends = (first + length, *(each + length for each in last), float(closes))
        if days[zone].share(*ends) >= _MOST:
            evidence = (
                f"most days of {symbol!r} begin at {_time(ends[0])} and end at {_time(closes)} in {name}, which trades "
                f"{_time(opens)} to {_time(closes)}"
            )
            return Doubt("start of the bar", _ends(evidence), symbol)
        if as_utc.share(first, *last) >= _MOST:
            evidence = (
                f"on the clock of UTC, most days of {symbol!r} begin at {_time(first)} and their last bar starts at "
                f"{_time(last[0])}, the hours of {name}"
            )
            return Doubt("zone of times", _local(zone, evidence), symbol)
    return _after_hours(symbol, stamps, volume)


def _after_hours(symbol: str, stamps: Integers, volume: Floats) -> Doubt | None:
    """Bars from 04:00 to 20:00 in New York, of which those outside of 09:30 to 16:00 trade little."""
    minutes = _minutes(stamps, "America/New_York")
    weekday = (stamps // DAY + 3) % 7
    outside = (minutes < 570) | (minutes >= 960)
    share, total = float(np.mean(outside)), float(volume.sum())
    if minutes.min() < 240 or minutes.max() >= 1200 or np.any(weekday > 4) or total <= 0.0:
        return None
    traded = float(volume[outside].sum()) / total
    if not 0.01 < share < 0.9 or traded * (1.0 - share) > _THIN * (1.0 - traded) * share:
        return None
    return Doubt(
        "regular hours",
        f"{share:.1%} of the bars of {symbol!r}, with {traded:.1%} of the volume, lie before 09:30 or after 16:00 in "
        "New York: if orders trade in regular hours only, drop these bars; calendar='XNYS' (--calendar XNYS) then "
        "names the hours",
        symbol,
    )


def _starts(opens: int, closes: int, length: float) -> tuple[float, float]:
    """Starts of the first and of the last bar of a session, in minutes."""
    return float(opens), opens + np.floor((closes - opens - 1e-9) / length) * length


def _minutes(stamps: Integers, zone: str) -> Floats:
    local = pd.DatetimeIndex(stamps, tz="UTC").tz_convert(zone).tz_localize(None).as_unit("ns").asi8
    return np.asarray((local % DAY) / _MINUTE)


def _days(stamps: Integers, zone: str) -> _Days:
    local = pd.DatetimeIndex(stamps, tz="UTC").tz_convert(zone).tz_localize(None).as_unit("ns").asi8
    day = local // DAY
    first = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    last = np.append(first[1:], len(day)) - 1
    return _Days(*((local[rows] % DAY) / _MINUTE for rows in (first, last)))


def _zone_of(code: str) -> str:
    import exchange_calendars

    return str(exchange_calendars.get_calendar(code).tz)


def _time(minutes: float) -> str:
    return f"{int(minutes) // 60:02d}:{int(minutes) % 60:02d}"


def _ends(evidence: str) -> str:
    return (
        f"the timestamps look like the ends of bars, not their starts: {evidence}; read them as ends with "
        "columns={'end': 'timestamp'} (--columns end=timestamp, with the name of your column)"
    )


def _local(zone: str, evidence: str) -> str:
    return (
        f"the timestamps look like local times that are labelled UTC: {evidence}; take the label away and name the "
        f"zone, tz={zone!r} (--tz {zone})"
    )
