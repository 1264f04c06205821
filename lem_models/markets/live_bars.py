"""Bars one at a time: check a new bar by the rules for whole tables, and place it on the market's grid.

A bar of plain numbers that breaks no rule takes a short path. Any other bar is checked by
:func:`~lem_models.markets.validation.validate_frame` as a table of one row, and so raises the same error.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import DAY, moment
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.calendar.inferred_sessions import InferredSessions
from lem_models.markets.calendar.kinds import Calendar, Calendars, RoundTheClock
from lem_models.markets.validation import (
    REQUIRED,
    ROUNDING,
    VALUES,
    VWAP_TOLERANCE,
    Columns,
    validate_frame,
    warn_of_widened,
)
from lem_models.orders.fields import plain_name

__all__ = ["BarReader", "ClosedBar", "checked_bar", "followed_by"]

_EXACT = 2**53  # floats hold whole numbers below this


class ClosedBar(NamedTuple):
    """A bar that has been checked and placed.

    Attributes:
        timestamp: Start, nanoseconds UTC.
        open: First price.
        high: Highest price.
        low: Lowest price.
        close: Last price.
        volume: Volume in base units, 0 where nothing was traded.
        notional: Traded value in quote units.
        vwap: ``notional / volume``, the close where nothing was traded.
        session: Number of the session, rising; equal for bars of one session.
        slot: Position in the session, from 0.
        usual_slots: Usual number of slots of the session, known when it began.
        knows_slots: Whether the slots of the session count from its opening.
    """

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    notional: float
    vwap: float
    session: int
    slot: int
    usual_slots: int
    knows_slots: bool


def followed_by(history: Bars, calendar: Calendar, values: Sequence[Sequence[Sequence[float]]]) -> Bars:
    """One table of a history and the bars that follow it without a gap.

    Args:
        history: Bars of one calendar.
        calendar: The calendar, or its extension.
        values: For each symbol timestamp, open, high, low, close, volume and notional of each bar, checked.
    """
    added = np.array([len(bars) for bars in values])
    offsets = np.concatenate([[0], np.cumsum(np.diff(history.offsets) + added)])
    old = np.arange(len(history)) + np.repeat(offsets[:-1] - history.offsets[:-1], np.diff(history.offsets))
    new = np.concatenate([np.arange(end - count, end) for end, count in zip(offsets[1:], added, strict=True)])
    stamps, *numbers = zip(*(bar for bars in values for bar in bars), strict=True)

    def joined(before: npt.NDArray[Any], after: Sequence[float]) -> npt.NDArray[Any]:
        column = np.empty(int(offsets[-1]), dtype=before.dtype)
        column[old], column[new] = before, after
        return column

    timestamp = joined(history.timestamp, stamps)
    table = {name: joined(getattr(history, name), column) for name, column in zip(VALUES, numbers, strict=True)}
    calendars = Calendars.all_of(calendar.followed_by(np.unique(timestamp)), len(values))
    grid = Grid.build(calendars, offsets, timestamp, table["volume"])
    extra = pd.DataFrame(index=pd.RangeIndex(len(timestamp)))
    return Bars.of_columns(Columns(history.symbols, offsets, timestamp, table, extra), grid)


class BarReader:
    """Reads the bars of a symbol that follow a history.

    Args:
        history: The history.
        index: Number of the symbol in it.

    Attributes:
        symbol: The symbol.
        calendar: The calendar, extended as new sessions begin.
        last: The bar after which the next one is expected.
    """

    def __init__(self, history: Bars, index: int = 0) -> None:
        grid = history.grid
        self.symbol, self._step = history.symbols[index], history.frequency.value
        self.calendar = grid.calendars.kinds[grid.calendars.which[index]]
        self._columns = frozenset(history.columns)
        self._starts: list[int] = []  # of the bars accepted since the calendar was extended
        self._is_inferred = isinstance(self.calendar, InferredSessions)
        self._is_cycle = isinstance(self.calendar, RoundTheClock) and DAY % self._step == 0
        row = int(history.offsets[index + 1]) - 1
        values = {name: float(getattr(history, name)[row]) for name in VALUES}
        vwap = values["notional"] / values["volume"] if values["volume"] > 0 else values["close"]
        at = np.array([row])
        session, slot, usual = (int(place(at)[0]) for place in (grid.session, grid.slot, grid.usual_slots))
        self.last = ClosedBar(
            int(history.timestamp[row]),
            **values,
            vwap=vwap,
            session=session,
            slot=slot,
            usual_slots=usual,
            knows_slots=bool(grid.knows_slots(at)[0]),
        )

    def read(self, bar: Mapping[str, Any] | pd.Series[Any] | ClosedBar) -> ClosedBar:
        """Check a bar and place it; :meth:`accept` it to read the one after it.

        Args:
            bar: Columns of a table of bars; ``symbol`` may be left out. The columns that the history carries along may
                be there too, and no others. Of a bar that was read after another history only the place is checked.

        Raises:
            BarsError: The bar breaks a rule of :class:`Bars`, has a column that the history lacks, or is not the next
                one.
        """
        values = bar[:7] if isinstance(bar, ClosedBar) else checked_bar(self._row(bar), self.symbol)
        stamp, _, _, _, close, volume, notional = values
        return ClosedBar(*values, notional / volume if volume > 0 else close, *self.place(stamp))

    def accept(self, bar: ClosedBar) -> None:
        """Accept a bar of :meth:`read`: the next bar follows it."""
        self._starts.append(bar.timestamp)
        if bar.session != self.last.session:
            self.calendar = self.calendar.followed_by(np.array(self._starts, dtype=np.int64))
            self._starts = []
        self.last = bar

    def _row(self, bar: Mapping[str, Any] | pd.Series[Any]) -> Mapping[str, Any]:
        """The bar as a mapping with every column that is needed, of the right symbol."""
        if isinstance(bar, pd.Series):
            bar = dict(zip(bar.index, bar.tolist(), strict=True))
        if not isinstance(bar, Mapping):
            raise BarsError(
                f"a bar is a mapping from columns to values, or a row of a table; got {type(bar).__name__}",
                symbol=self.symbol,
                rule="table",
            )
        if bar.get("symbol", self.symbol) != self.symbol:
            raise BarsError(
                f"the bar is of another symbol, the order of {self.symbol}",
                symbol=str(bar["symbol"]),
                column="symbol",
                rule="symbol",
            )
        if not self._columns.issuperset(bar):
            raise self._unread(next(key for key in bar if key not in self._columns))
        missing = [name for name in REQUIRED if name not in bar and name != "symbol"]
        if missing:
            raise BarsError(
                f"the bar lacks the columns {missing}", symbol=self.symbol, column=missing[0], rule="required columns"
            )
        return bar

    def _unread(self, key: object) -> BarsError:
        """The error of a key that nothing reads: a volume under another name would be missed elsewhere, or never."""
        known = {plain_name(name): name for name in REQUIRED}
        close = difflib.get_close_matches(plain_name(key), list(known), 1)
        hint = f"did you mean {known[close[0]]!r}?" if close else f"a bar has {', '.join(REQUIRED)}"
        return BarsError(
            f"nothing reads {shown(key)} of the bar, and the history has no such column; {hint}",
            symbol=self.symbol,
            column=str(key),
            rule="known columns",
        )

    def place(self, stamp: int) -> tuple[int, int, int, bool]:
        """Session, slot, usual slots and whether slots are known, of the next bar from its start in nanoseconds UTC.

        Raises:
            BarsError: The next bar does not start then.
        """
        last = self.last
        if stamp == last.timestamp + self._step:
            if self._is_inferred:  # a session ends with a hole
                return last.session, last.slot + 1, last.usual_slots, last.knows_slots
            if self._is_cycle:
                days, slot = divmod(last.slot + 1, last.usual_slots)
                return last.session + days, slot, last.usual_slots, True
        if stamp <= last.timestamp:
            raise self.out_of_turn(stamp)
        try:
            calendar = self.calendar.followed_by(np.array([*self._starts, stamp], dtype=np.int64))
        except BarsError:
            raise self.out_of_turn(stamp) from None
        pair = np.array([last.timestamp, stamp])
        if not calendar.contains(pair).all():
            raise self.out_of_turn(stamp)
        ordinal = calendar.ordinal(pair)
        if ordinal[1] - ordinal[0] != 1:
            raise self.out_of_turn(stamp)
        sessions = calendar.session(ordinal)
        usual, slots = calendar.usual_slots(sessions[1:]), calendar.slot(ordinal[1:])
        known = bool(calendar.knows_slots(sessions[1:])[0])
        return last.session + int(sessions[1] != sessions[0]), int(slots[0]), int(usual[0]), known

    def out_of_turn(self, stamp: int) -> BarsError:
        """The error of a bar that is not the next one."""
        return BarsError(
            f"the bar is not the next one after {moment(self.last.timestamp):%Y-%m-%d %H:%M} UTC",
            symbol=self.symbol,
            timestamp=moment(stamp),
            column="timestamp",
            rule="next bar",
        )


def checked_bar(row: Mapping[str, Any], symbol: str) -> tuple[int, float, float, float, float, float, float]:
    """The numbers of a bar: start in nanoseconds UTC, open, high, low, close, volume, notional.

    Args:
        row: Columns of a table of bars, all that are needed.
        symbol: Its symbol, for messages.

    Raises:
        BarsError: It breaks a rule of :class:`Bars`.
    """
    plain = _plain(row)
    if plain is not None:
        return plain
    cells = {name: row[name] for name in REQUIRED if name != "symbol"} | {"symbol": symbol}
    try:
        columns = validate_frame(pd.DataFrame([cells]))
    except OverflowError as error:
        raise BarsError(
            f"a value is not a number of the range of floats: {error}", symbol=symbol, rule="numeric column"
        ) from None
    warn_of_widened(len(columns.widened), columns.first_widened)
    opened, high, low, close, volume, notional = (float(columns.values[name][0]) for name in VALUES)
    return int(columns.timestamp[0]), opened, high, low, close, volume, notional


def _plain(row: Mapping[str, Any]) -> tuple[int, float, float, float, float, float, float] | None:
    """The bar's numbers if they are plain and break no rule; ``None`` if it needs the full check.

    The rules of :func:`~lem_models.markets.validation.check_values` on one bar, written so that NaN fails them.
    """
    stamp = row["timestamp"]
    if type(stamp) is not pd.Timestamp or stamp.tzinfo is None:
        return None
    numbers = []
    for name in VALUES:
        value = row[name]
        kind = type(value)
        if kind is not float and kind is not np.float64 and not (kind is int and -_EXACT < value < _EXACT):
            return None
        numbers.append(float(value))
    opened, high, low, close, volume, notional = numbers
    rounding, slack = 1.0 + ROUNDING, 1.0 + VWAP_TOLERANCE
    if not (
        0.0 < low <= high < math.inf
        and low <= opened * rounding
        and opened <= high * rounding
        and low <= close * rounding
        and close <= high * rounding
        and 0.0 <= volume < math.inf
        and 0.0 <= notional < math.inf
        and (notional == 0.0) == (volume == 0.0)
        and low * volume <= notional * slack
        and notional <= high * volume * slack
    ):
        return None
    try:
        return int(stamp.value), opened, high, low, close, volume, notional
    except (ValueError, OverflowError):  # outside the years that nanoseconds reach
        return None
