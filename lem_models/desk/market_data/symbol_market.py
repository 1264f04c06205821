"""The bars of one symbol on a desk: a stored history, and the bars that were observed since.

The history is stored once and read back before its first use, so that the first run and every restart see the same bars
on the same calendar. What follows it is kept as it was first seen.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.ipc

from lem_models.desk.log.events import Bar
from lem_models.desk.market_data.feed import Fault
from lem_models.errors import BarsError, BarsWarning, OrderError
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import DAY, clock, moment
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.calendar.kinds import Calendar, Calendars, RoundTheClock, next_start
from lem_models.markets.live_bars import BarReader, ClosedBar, followed_by
from lem_models.markets.validation import VALUES, Columns

if TYPE_CHECKING:
    from lem_models.markets.bars import BarsLike

__all__ = ["Arrival", "SymbolMarket", "joined_bars", "read_history", "row_of", "stored_history"]

_COLUMNS = ("timestamp", *VALUES)


class Arrival:
    """A bar that has come.

    Attributes:
        fault: What is wrong with it; ``None`` for the next bar.
        message: The same in a sentence.
        missing: Starts of the expected bars before it that have not come, nanoseconds UTC.
    """

    __slots__ = ("fault", "message", "missing")

    def __init__(self, fault: Fault | None = None, message: str = "", missing: tuple[int, ...] = ()) -> None:
        self.fault, self.message, self.missing = fault, message, missing


def stored_history(history: BarsLike, symbol: str, calendar: str | None, count: int) -> tuple[str, bytes]:
    """The last bars of a symbol for the store.

    Args:
        history: Closed bars.
        symbol: The symbol.
        calendar: Calendar of a table of bars; ``None`` to infer it.
        count: Bars to keep.

    Returns:
        SHA-256 and content.

    Raises:
        OrderError: The history lacks the symbol.
        BarsError: The bars break a rule, or are on another calendar.
    """
    bars = history if isinstance(history, Bars) else _table(history, calendar)
    if symbol not in bars.symbols:
        names = ", ".join(bars.symbols[:8])
        raise OrderError(f"the history has no bars of {symbol}; it has {names}", field="symbol", rule="known symbol")
    own = bars.select([symbol])
    name = own.grid.calendars.kinds[0].name
    if calendar is not None and name != calendar:
        raise BarsError(
            f"the history is on the calendar {name!r}, the order on {calendar!r}: read the bars with "
            f"calendar={calendar!r}",
            symbol=symbol,
            rule="calendar",
        )
    own = own.last(count)
    table = pa.table({each: getattr(own, each) for each in _COLUMNS})
    table = table.replace_schema_metadata(
        {"symbol": symbol, "calendar": name, "frequency": str(own.frequency.value), "schema": "1"}
    )
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    return hashlib.sha256(data).hexdigest(), data


def _table(history: BarsLike, calendar: str | None) -> Bars:
    """Bars of a table or a file, on a calendar."""
    if calendar is None or isinstance(history, Bars):
        return Bars.of(history)
    if isinstance(history, str | os.PathLike):
        return Bars.read(history, calendar=calendar)
    return Bars.from_frame(history, calendar=calendar)


def read_history(data: bytes) -> Bars:
    """The bars of :func:`stored_history`."""
    table = pa.ipc.open_stream(data).read_all()
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    frame = pd.DataFrame({name: table[name].to_numpy() for name in _COLUMNS})
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="ns", utc=True)
    frame.insert(1, "symbol", metadata["symbol"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BarsWarning)  # said when the bars were first read
        return Bars.from_frame(
            frame, calendar=metadata["calendar"], frequency=pd.Timedelta(int(metadata["frequency"]), unit="ns")
        )


class SymbolMarket:
    """Bars of a symbol.

    Args:
        history: The history, as :func:`read_history` gives it.
        bars: Bars since.

    Attributes:
        symbol: The symbol.
        history: See above.
    """

    def __init__(self, history: Bars, bars: list[Bar]) -> None:
        self.symbol, self.history = history.symbols[0], history
        self._reader = BarReader(history)
        self._values: list[Bar] = []
        for bar in bars:
            self.accept(self.read(row_of(bar)))

    @property
    def calendar(self) -> Calendar:
        """Calendar of the bars, extended as sessions begin."""
        calendar: Calendar = self._reader.calendar
        return calendar

    @property
    def step(self) -> int:
        """Length of a bar, nanoseconds."""
        return int(self.history.frequency.value)

    @property
    def last(self) -> ClosedBar:
        """The last bar."""
        return self._reader.last

    @property
    def coming(self) -> int:
        """Expected start of the next bar, nanoseconds UTC."""
        return next_start(self._reach(self._reader.calendar, self.last.timestamp), self.last.timestamp)

    def read(self, row: dict[str, Any]) -> ClosedBar:
        """Check the next bar.

        Raises:
            BarsError: It breaks a rule, or is not the next one.
        """
        return self._reader.read(row)

    def accept(self, bar: ClosedBar) -> None:
        """Take the bar that was read."""
        self._reader.accept(bar)
        self._values.append(bar[:7])

    def bridging(self, timestamp: int) -> dict[str, Any]:
        """A bar without volume at the last close, for one that is missing."""
        close = self.last.close
        return row_of((timestamp, close, close, close, close, 0.0, 0.0))

    def arrival(self, timestamp: int, longest_gap: int) -> Arrival:
        """What a bar of this start is that has not been seen.

        Raises:
            BarsError: More bars are missing than may be.
        """
        last, symbol = self.last.timestamp, self.symbol
        if timestamp <= last:
            return Arrival(
                Fault.OUT_OF_ORDER,
                f"{symbol}: the bar of {_when(timestamp)} came after that of {_when(last)} and is older than what the "
                "desk follows; it is not used",
            )
        missing: list[int] = []
        calendar, at = self._reach(self.calendar, timestamp), last
        while (at := next_start(calendar, at)) < timestamp:
            missing.append(at)
            if len(missing) > longest_gap:
                raise BarsError(
                    f"more than {longest_gap} bars are missing after {_when(last)}: cancel the orders of the symbol "
                    "and add them anew with a history up to now",
                    symbol=symbol,
                    timestamp=moment(timestamp),
                    rule="longest gap",
                )
        if at != timestamp and not (not missing and self._can_be_placed(timestamp)):
            return Arrival(
                Fault.OFF_GRID,
                f"{symbol}: no bar of {clock(self.history.frequency)} on the calendar {calendar.name} starts at "
                f"{_when(timestamp)}; it is not used",
            )
        return Arrival(missing=tuple(missing))

    def _can_be_placed(self, timestamp: int) -> bool:
        try:
            self._reader.place(timestamp)
        except BarsError:
            return False
        return True

    @staticmethod
    def _reach(calendar: Calendar, timestamp: int) -> Calendar:
        """A schedule as far as it is needed; what is inferred knows only what has been."""
        return calendar.followed_by(np.array([timestamp])) if isinstance(calendar, Exchange) else calendar

    def bars(self, before: int | None = None) -> Bars:
        """History and bars since, those that start before a moment."""
        values = self._values if before is None else [bar for bar in self._values if bar[0] < before]
        history = self.history
        if before is not None and before <= int(history.timestamp[-1]):
            return history.between(end=moment(before))
        return followed_by(history, history.grid.calendar, [values]) if values else history

    def expected_volume(self, start: int, count: int, sessions: int) -> npt.NDArray[np.float64]:
        """Volume expected in each bar of an order, in units, [count], as known before its start.

        Args:
            start: Start of its first bar, nanoseconds UTC.
            count: Its bars.
            sessions: Sessions that are averaged.
        """
        known = self.bars(before=start)
        calendar = self._reach(known.grid.calendar, start)
        last, close = int(known.timestamp[-1]), float(known.close[-1])
        ahead = [last]
        while ahead[-1] < start:
            ahead.append(next_start(calendar, ahead[-1]))
        skipped = len(ahead) - 2  # bars between the history and the start of the order, forecast too
        whole_count = skipped + count
        coming = calendar.coming(ahead[1], whole_count).tolist()
        whole = followed_by(known, calendar, [[(at, close, close, close, close, 1.0, close) for at in coming]])
        arrays = Market(whole, cache=False).over_orders(
            np.array([len(known)]), np.array([whole_count]), whole_count, sessions, sized=False
        )
        volume = arrays["expected_volume"][0] * arrays["volume_unit"][0]
        return np.asarray(volume[skipped:], dtype=np.float64)


def joined_bars(tables: Sequence[Bars]) -> Bars:
    """One table of the bars of several symbols, one symbol each, of one frequency."""
    if len(tables) == 1:
        return tables[0]
    kinds: list[Calendar] = []
    places: dict[object, int] = {}
    which = []
    for each in tables:
        kind = each.grid.calendars.kinds[0]
        key: object = (kind.name, getattr(kind, "phase", 0)) if isinstance(kind, RoundTheClock | Exchange) else id(kind)
        if key not in places:
            places[key] = len(kinds)
            kinds.append(kind)
        elif isinstance(kind, Exchange):
            before = kinds[places[key]]
            kinds[places[key]] = _wider(before, kind) if isinstance(before, Exchange) else kind
        which.append(places[key])
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in tables])]).astype(np.int64)
    timestamp = np.concatenate([each.timestamp for each in tables])
    values = {name: np.concatenate([getattr(each, name) for each in tables]) for name in VALUES}
    calendars = Calendars(tuple(kinds), np.array(which, dtype=np.int64))
    grid = Grid.build(calendars, offsets, timestamp, values["volume"])
    symbols = tuple(each.symbols[0] for each in tables)
    return Bars.of_columns(
        Columns(symbols, offsets, timestamp, values, pd.DataFrame(index=range(len(timestamp)))), grid
    )


def _wider(one: Exchange, other: Exchange) -> Exchange:
    """The schedule of an exchange over the time of two of its schedules."""
    if int(one.start[0]) <= int(other.start[0]) and one.until >= other.until:
        return one
    day = one.frequency.value >= DAY
    first = min(int(one.start[0]), int(other.start[0])) * (DAY if day else 1)
    last = max(one.until, other.until)
    return Exchange.of(one.name, first, last, int(one.frequency.value), at_midnight=one.zone is None)


def row_of(bar: Bar) -> dict[str, Any]:
    """A bar as a mapping of columns."""
    return {"timestamp": pd.Timestamp(bar[0], tz="UTC")} | dict(zip(VALUES, bar[1:], strict=True))


def _when(timestamp: int) -> str:
    return f"{moment(timestamp):%Y-%m-%d %H:%M} UTC"
