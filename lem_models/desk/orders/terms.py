"""When an order trades, on the bars of its market.

A start is the first bar that starts then or later and has not begun. An end is the last bar that ends by then. Both
follow the calendar of the bars, so ``session`` is the rest of the session and ``20 days`` are trading days where the
market closes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.orders.times import SESSIONS, steps
from lem_models.errors import BarsError, OrderError
from lem_models.guard.timestamps import read_moment
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.calendar.kinds import Calendar, next_start
from lem_models.markets.order_placing import bars_in
from lem_models.orders.durations import Duration, read_duration
from lem_models.orders.rules import MAX_PERIODS

__all__ = ["Terms", "first_bar", "resolve"]

_FAR = 100_000  # bars that are looked through for a start or an end


@dataclass(frozen=True)
class Terms:
    """When an order trades, on the bars of its market.

    Attributes:
        start: Start of its first bar, nanoseconds UTC.
        step: Length of a bar, nanoseconds.
        min_periods: Bars before which it cannot finish.
        max_periods: Bars after which it ends.
        end: End of its last bar as the calendar expects it, nanoseconds UTC.
        may_finish: Start of the first bar in which it may finish, as the calendar expects it, nanoseconds UTC.
    """

    start: int
    step: int
    min_periods: int
    max_periods: int
    end: int
    may_finish: int


def first_bar(order: DeskOrder, calendar: Calendar, last: int, now: int) -> int:
    """Start of the first bar of an order, nanoseconds UTC.

    Args:
        order: The order.
        calendar: Calendar of its symbol.
        last: Start of the last closed bar, nanoseconds UTC.
        now: The time, nanoseconds UTC, from which durations count. A start before the coming bar is that bar.

    Raises:
        OrderError: It is too far away.
    """
    return _start_bar(order.start, calendar, last, now)


def late_start(order: DeskOrder, last: int, start: int) -> str | None:
    """Sentence about an order whose start is past: a bar at which it was to start has closed.

    Args:
        order: The order.
        last: Start of the last closed bar, nanoseconds UTC.
        start: Start of its first bar, nanoseconds UTC.
    """
    if order.start == "now" or read_duration(order.start) is not None:
        return None
    asked = read_moment(order.start, needs_zone=True)
    if asked > last:
        return None
    return f"its start, {moment(asked):%Y-%m-%d %H:%M} UTC, is past: it trades from {moment(start):%Y-%m-%d %H:%M} UTC"


def resolve(order: DeskOrder, calendar: Calendar, start: int, horizon: int | None) -> Terms:
    """Place an order on the bars of its market.

    Args:
        order: The order.
        calendar: Calendar of its symbol.
        start: Start of its first bar, nanoseconds UTC.
        horizon: The policy's horizon in bars: the longest order, and the end of one that names none.

    Raises:
        OrderError: No bar ends by the end, or the order is too long.
    """
    longest = order.end if order.end is not None else order.max_duration
    field = "max_duration" if order.end is None else "end"
    if longest is None:
        if horizon is None:
            raise OrderError(
                "the order names no end, and this policy has no horizon of its own: give end or max_duration",
                field=field,
                rule="required",
            )
        maximum = horizon
    else:
        maximum = _count(longest, field, calendar, start)
    if maximum > MAX_PERIODS:
        raise OrderError(
            f"the order would take {maximum} bars: take {MAX_PERIODS} at most", field=field, rule="longest"
        )
    if horizon is not None and maximum > horizon:
        raise OrderError(
            f"the order would take {maximum} bars, but this policy's horizon is {horizon} bars: end it earlier, or "
            "take a policy without a horizon such as 'volume_curve'",
            field=field,
            rule="within the horizon",
        )
    shortest = order.min_duration
    minimum = maximum if shortest is None else _count(shortest, "min_duration", calendar, start)
    if minimum > maximum:
        raise OrderError(
            f"min_duration is {minimum} bars, and the order ends after {maximum}",
            field="min_duration",
            rule="min <= max",
        )
    step = calendar.frequency.value
    starts = _expected(calendar, start, maximum)
    return Terms(start, step, minimum, maximum, starts[-1] + step, starts[minimum - 1])


def _start_bar(text: str, calendar: Calendar, last: int, now: int) -> int:
    """Start of the first bar of an order."""
    duration = read_duration(text)
    if duration is not None and duration.nanoseconds is None:
        raise OrderError("start is 'session': write 'now' or a time", field="start", rule="time")
    if duration is not None:
        earliest = now + int(duration.nanoseconds or 0)
    else:
        earliest = 0 if text == "now" else read_moment(text, needs_zone=True)
    for _, at in zip(range(_FAR), steps(calendar, last), strict=False):
        if at >= earliest:
            return at
    raise OrderError(
        f"the order would start more than {_FAR} bars after the last closed one", field="start", rule="near enough"
    )


def _count(value: int | str, field: str, calendar: Calendar, start: int) -> int:
    """Number of bars of a duration from the start, or up to a moment."""
    if isinstance(value, int):
        return value
    known = calendar.followed_by(np.array([start]))  # what is inferred knows only what has been
    sessions = SESSIONS.fullmatch(value)
    if sessions is not None:
        if int(sessions[1]) == 1:
            return bars_in(Duration("session", None), field, known, start)
        if calendar.slots_per_session > 1 or calendar.is_session_bound:
            raise OrderError(
                f"{field} is {value!r}: an order ends with its session; write 'session', or take daily bars",
                field=field,
                rule="one session",
            )
        return int(sessions[1])
    duration = read_duration(value)
    if duration is not None:
        return bars_in(duration, field, known, start)
    until, step = read_moment(value, needs_zone=True), calendar.frequency.value
    count, at = 0, start
    while at + step <= until and count <= MAX_PERIODS:
        count, at = count + 1, next_start(calendar, at)
    if not count:
        raise OrderError(
            f"the order starts at {moment(start):%Y-%m-%d %H:%M} UTC, and no bar ends by "
            f"{moment(until):%Y-%m-%d %H:%M} UTC",
            field=field,
            rule="at least one bar",
        )
    return count


def _expected(calendar: Calendar, start: int, count: int) -> list[int]:
    """Expected starts of the bars of an order; the last ones are even steps where a calendar ends before."""
    starts = [start]
    try:
        while len(starts) < count:
            starts.append(next_start(calendar, starts[-1]))
    except (BarsError, OrderError):
        step = calendar.frequency.value
        starts += [starts[-1] + step * (each + 1) for each in range(count - len(starts))]
    return starts
