"""Exchanges: sessions, half days and lunch breaks from the schedules of the library ``exchange_calendars``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lem_models.errors import BarsError
from lem_models.markets.calendar.frequency import DAY, clock, length_of, moment
from lem_models.markets.calendar.inferred_days import date_stretches
from lem_models.markets.calendar.kinds import Scheduled

if TYPE_CHECKING:
    import numpy.typing as npt
    from exchange_calendars import ExchangeCalendar

    Integers = npt.NDArray[np.int64]

__all__ = ["Exchange"]

_MARGIN = pd.Timedelta(days=21)  # before and after the bars: more than the longest holiday
_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Exchange(Scheduled):
    """Sessions, half days and breaks of an exchange, over the period of the bars and some weeks around it.

    Attributes:
        until: Last moment of the schedule, nanoseconds UTC.
    """

    until: int

    @classmethod
    def of(cls, code: str, first: int, last: int, step: int, *, at_midnight: bool) -> Exchange:
        """The calendar of an exchange.

        Args:
            code: Its code in the library ``exchange_calendars``.
            first: First bar start, nanoseconds UTC.
            last: Last bar start, nanoseconds UTC.
            step: Length of a bar, nanoseconds; a day at most.
            at_midnight: Whether daily bars are stamped at midnight UTC, and not on the clock of the exchange.

        Raises:
            BarsError: The library has no schedule for that time, or the bars are longer than a day.
        """
        if step > DAY:
            raise BarsError(
                f"an exchange calendar places bars of a day or less; for bars of {clock(step)} leave "
                f"calendar={code!r} out, or pass calendar='sessions'",
                rule="calendar",
            )
        library, schedule = _schedule(code, *(moment(edge).tz_localize(None).normalize() for edge in (first, last)))
        until = int(pd.Timestamp(schedule.index[-1]).as_unit("ns").value)
        if step == DAY:
            days = np.asarray(pd.DatetimeIndex(schedule.index).as_unit("ns").asi8 // DAY)
            return cls(
                code,
                length_of(step),
                1,
                is_session_bound=False,
                opening=np.zeros(0, dtype=np.int64),
                zone=None if at_midnight else str(library.tz),
                until=until,
                **date_stretches(days, np.arange(len(days)), 1),
            )
        opening, pause, resume, closing = (
            np.array(pd.DatetimeIndex(schedule[name]).as_unit("ns").asi8)
            for name in ("open", "break_start", "break_end", "close")
        )
        # A session with a lunch break has two stretches; bars start whole steps after the first bar of their stretch.
        split = pause != pd.NaT.value
        begin = np.stack([opening, np.where(split, resume, closing)], 1)
        end = np.stack([np.where(split, pause, closing), closing], 1)
        count = -((begin - end) // step)
        first_of = np.cumsum(count).reshape(count.shape) - count
        exists = count > 0
        return cls(
            code,
            length_of(step),
            int(count.sum(1).max()),
            is_session_bound=True,
            start=begin[exists],
            number=first_of[exists],
            count=count[exists],
            opening=first_of[:, 0],
            stride=step,
            until=until,
        )

    def followed_by(self, timestamp: Integers) -> Exchange:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.followed_by`; positions may count from another day."""
        if not len(timestamp) or int(timestamp[-1]) + 7 * DAY < self.until:
            return self
        step, first = self.frequency.value, int(self.start[0])
        first = first * DAY if step >= DAY else first
        return Exchange.of(self.name, first, int(timestamp[-1]), step, at_midnight=self.zone is None)

    def coming(self, timestamp: int, count: int) -> Integers:
        """See :meth:`~lem_models.markets.calendar.kinds.Calendar.coming`; the schedule is read as far as that takes.

        Where the market closes, bars take up to one and a half times as many days as there are of them.
        """
        far = timestamp + 3 * count * self.frequency.value // 2
        try:
            reached = self.followed_by(np.array([far]))
        except BarsError:  # nobody knows the holidays of that time yet: what is known must do
            reached = self
        return super(Exchange, reached).coming(timestamp, count)


def _schedule(code: str, first: pd.Timestamp, last: pd.Timestamp) -> tuple[ExchangeCalendar, pd.DataFrame]:
    """Schedule of an exchange from some weeks before the first day to some weeks after the last, if known so far."""
    import exchange_calendars

    error: Exception | None = None
    for before, after in ((_MARGIN, _MARGIN), (_MARGIN, _DAY), (_DAY, _MARGIN), (_DAY, _DAY)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # the library's own, about pandas
                return _between(code, first - before, last + after)
        except (ValueError, exchange_calendars.errors.CalendarError) as caught:
            error = caught
    raise BarsError(
        f"the exchange calendar {code!r} has no schedule from {first:%Y-%m-%d} to {last:%Y-%m-%d}: {error}",
        column="timestamp",
        rule="one grid",
    ) from error


def _between(code: str, start: pd.Timestamp, end: pd.Timestamp) -> tuple[ExchangeCalendar, pd.DataFrame]:
    """Schedule from one day to another, cut from that of whole years: the library keeps the calendar it made last."""
    import exchange_calendars

    years = pd.Timestamp(start.year, 1, 1), pd.Timestamp(end.year, 12, 31)
    try:
        library = exchange_calendars.get_calendar(code, start=years[0], end=years[1])
    except (ValueError, exchange_calendars.errors.CalendarError):  # not known so far back, or so far ahead
        library = exchange_calendars.get_calendar(code, start=start, end=end)
    return library, library.schedule.loc[start:end]
