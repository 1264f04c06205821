"""The days of a programme's market: closed sessions as daily bars, and the sessions to come.

Intraday bars become one bar a session. Its VWAP over the whole session is the day's price in the benchmark. The bars in
which the programme may buy (rule 10b-18(b)(2): no opening trade, none shortly before the close) have a VWAP and a
volume of their own. Daily bars do not show times of the day: then both are those of the whole session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import DAY, clock
from lem_models.markets.live_bars import followed_by
from lem_models.programmes.terms import Dates, ProgrammeTerms

__all__ = ["TradingDays", "Window"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_MINUTE = 60 * 10**9
_WEEK = 7


@dataclass(frozen=True)
class Window:
    """Times of a session between which a programme may buy.

    Attributes:
        start: First moment, UTC.
        end: Last moment, UTC, exclusive.
    """

    start: pd.Timestamp
    end: pd.Timestamp


@dataclass(frozen=True, eq=False)
class TradingDays:
    """Closed sessions of one symbol.

    Attributes:
        bars: One daily bar a session.
        fill_vwap: VWAP of the time in which the programme may buy, [sessions].
        fill_volume: Volume of that time, [sessions].
        opened: Start of the first bar of each session, nanoseconds UTC, [sessions]; empty for daily bars.
        closed: End of its last bar; empty for daily bars.
        step: Length of the bars that the days were made of, nanoseconds.
        quiet: Nanoseconds after the opening and before the close in which the programme may not buy.
    """

    bars: Bars
    fill_vwap: Floats
    fill_volume: Floats
    opened: Integers = field(repr=False)
    closed: Integers = field(repr=False)
    step: int
    quiet: tuple[int, int]

    @classmethod
    def of(cls, bars: Bars, terms: ProgrammeTerms) -> TradingDays:
        """The days of a programme's symbol.

        Raises:
            UnknownNameError: The bars lack the symbol.
            BarsError: A bar is longer than a day, or there is no closed session.
        """
        if terms.symbol not in bars.symbols:
            raise UnknownNameError.among("symbol", terms.symbol, bars.symbols)
        own = bars.select(terms.symbol)
        step = own.frequency.value
        if step > DAY:
            raise BarsError(
                f"a programme needs bars of a day or less, not of {clock(own.frequency)}", rule="daily bars"
            )
        none = np.zeros(0, dtype=np.int64)
        if step == DAY:
            return cls(own, own.vwap, own.volume, none, none, step, (0, 0))
        quiet = (step if terms.no_opening_trade else 0, terms.quiet_close_minutes * _MINUTE)
        return cls._of_intraday(own, step, quiet)

    @classmethod
    def _of_intraday(cls, own: Bars, step: int, quiet: tuple[int, int]) -> TradingDays:
        number = np.asarray(own.session)
        begin = np.flatnonzero(np.concatenate([[True], np.diff(number) != 0]))
        end = np.append(begin[1:], len(own))
        slots = np.asarray(own.slot)[end - 1] + 1
        last = slots[-1] >= np.asarray(own.usual_slots)[end[-1] - 1]
        if not last:  # a session under way is no closed day
            begin, end = begin[:-1], end[:-1]
        if not len(begin):
            raise BarsError("there is no closed session", symbol=own.symbols[0], rule="closed bars only")
        opened, closed = own.timestamp[begin], own.timestamp[end - 1] + step
        session = np.repeat(np.arange(len(begin)), end - begin)
        rows = np.arange(len(session))
        stamp = own.timestamp[rows]
        allowed = (stamp >= opened[session] + quiet[0]) & (stamp + step <= closed[session] - quiet[1])
        volume, money = (np.add.reduceat(each[rows], begin) for each in (own.volume, own.notional))
        bought, paid = (
            np.add.reduceat(np.where(allowed, each[rows], 0.0), begin) for each in (own.volume, own.notional)
        )
        day = pd.DatetimeIndex(opened, tz="UTC").normalize()
        frame = pd.DataFrame(
            {
                "timestamp": day,
                "symbol": own.symbols[0],
                "open": own.open[begin],
                "high": np.maximum.reduceat(own.high[rows], begin),
                "low": np.minimum.reduceat(own.low[rows], begin),
                "close": own.close[end - 1],
                "volume": volume,
                "notional": money,
            }
        )
        name = own.calendar.name
        daily = Bars.from_frame(frame, calendar="auto" if name == "sessions" else name, frequency="1D")
        vwap = np.divide(paid, bought, out=daily.vwap.copy(), where=bought > 0)
        return cls(daily, vwap, bought, opened, closed, step, quiet)

    def __len__(self) -> int:
        """Closed sessions."""
        return len(self.bars)

    @property
    def is_intraday(self) -> bool:
        """Whether the days were made of intraday bars, which show times of the day."""
        return self.step < DAY

    @cached_property
    def dates(self) -> Dates:
        """Day of each session, datetime64[D] [sessions]."""
        return _days(self.bars.timestamp)

    def up_to(self, count: int) -> TradingDays:
        """The first sessions only: what was known when they had closed."""
        if count >= len(self):
            return self
        bars = self.bars.between(end=pd.Timestamp(self.bars.timestamp[count], tz="UTC"))
        return TradingDays(
            bars,
            self.fill_vwap[:count],
            self.fill_volume[:count],
            self.opened[:count],
            self.closed[:count],
            self.step,
            self.quiet,
        )

    def coming(self, count: int) -> Integers:
        """Starts of the next daily bars as the calendar expects them, int64 [count], nanoseconds UTC."""
        last = int(self.bars.timestamp[-1])
        calendar = self.bars.grid.calendar
        if isinstance(calendar, Exchange):
            # An exchange is open on most weekdays: twice the days and some weeks hold so many sessions.
            calendar = calendar.followed_by(np.array([last + (2 * count + 4 * _WEEK) * DAY]))
        return calendar.coming(calendar.next_start(last), count) if count else np.zeros(0, dtype=np.int64)

    def extended(self, coming: Integers) -> Bars:
        """The daily bars, and stand-ins for sessions to come at the last close, of which nothing is known."""
        if not len(coming):
            return self.bars
        close = float(self.bars.close[-1])
        calendar = self.bars.grid.calendar.followed_by(coming)
        return followed_by(self.bars, calendar, [[(each, *[close] * 4, 1.0, close) for each in coming.tolist()]])

    def window_of(self, day: np.datetime64) -> Window | None:
        """When the programme may buy in a session to come; ``None`` if the bars do not show it.

        The hours are those of the schedule of an exchange, else those of the last session.
        """
        if not self.is_intraday:
            return None
        last = len(self) - 1
        shift = int((day - self.dates[last]) / np.timedelta64(1, "D")) * DAY
        opened, closed = int(self.opened[last]) + shift, int(self.closed[last]) + shift
        name = self.bars.calendar.name
        if name not in ("24/7", "sessions"):
            import exchange_calendars

            moment = pd.Timestamp(day)
            library = exchange_calendars.get_calendar(name, start=moment - pd.Timedelta(days=30), end=moment)
            if library.is_session(moment):
                opened, closed = (int(at.value) for at in (library.session_open(moment), library.session_close(moment)))
        return Window(pd.Timestamp(opened + self.quiet[0], tz="UTC"), pd.Timestamp(closed - self.quiet[1], tz="UTC"))


def _days(timestamp: Integers) -> Dates:
    """Days of daily stamps. Six hours later all are in their day, whatever the zone that they start in."""
    return np.asarray((timestamp + DAY // 4).astype("datetime64[ns]").astype("datetime64[D]"))
