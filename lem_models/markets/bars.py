"""Bars of prices and volumes: read, checked, placed on their market's grid, and never changed afterwards.

A table of bars is long: one row per bar, columns ``timestamp`` (tz-aware, start of the bar), ``symbol``, ``open``,
``high``, ``low``, ``close``, ``volume`` (base units) and ``notional`` (quote units). The price at which a bar could be
traded is its VWAP, ``notional / volume``.

:class:`Bars` holds it as flat arrays, symbol-major: all bars of the first symbol in time order, then all bars of the
second. ``run_start`` and ``run_end`` bound the stretch without a gap that a bar belongs to, so "is there a gap between
bars a and b" is one comparison, and windows never have to be materialised.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.calendar import Calendar, build_calendar
from lem_models.markets.files import read_table, write_table
from lem_models.markets.frequency import clock, read_frequency
from lem_models.markets.validation import VALUES, Columns, check_values, validate_frame

__all__ = ["Bars"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Moment = str | date | pd.Timestamp


@dataclass(frozen=True, eq=False, repr=False)
class Bars:
    """Bars of one or more symbols at one frequency, immutable.

    Build it with :meth:`read` or :meth:`from_frame`. Every array is flat over the bars, symbol-major, and read-only.

    Attributes:
        symbols: Names, in order of first appearance.
        calendar: The market's grid, ``calendar.name`` is ``"24/7"``, ``"sessions"`` or an exchange code.
        offsets: int64 [symbols + 1]; the bars of symbol ``i`` are ``offsets[i]:offsets[i + 1]``.
        symbol_index: int32 [bars], number of the symbol.
        timestamp: int64 [bars], start of the bar in nanoseconds UTC.
        open: float64 [bars], first price.
        high: float64 [bars], highest price.
        low: float64 [bars], lowest price.
        close: float64 [bars], last price.
        volume: float64 [bars], traded volume in base units; 0 is legal.
        notional: float64 [bars], traded value in quote units.
        vwap: float64 [bars], ``notional / volume``, the close where nothing was traded.
        ordinal: int64 [bars], position on the market's grid: bars that follow each other without a gap differ by
            exactly 1, over a night or a weekend too.
        session: int64 [bars], number of the session (UTC day number for a market round the clock).
        slot: int64 [bars], position inside the session, from 0.
        run_start: int64 [bars], flat index of the first bar of the gapless run this bar belongs to.
        run_end: int64 [bars], flat index one past the last bar of that run.
        session_end: int64 [bars], flat index one past the last bar of this session of this symbol.

    Example:
        >>> frame = pd.DataFrame({
        ...     "timestamp": pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC"), "symbol": "BTCUSDT",
        ...     "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 2.0, "notional": 21.0})
        >>> bars = Bars.from_frame(frame)
        >>> bars
        Bars(1 symbol, 3 bars, 2024-01-01 00:00 to 2024-01-01 02:00 UTC, every 1h, calendar sessions, 0 gaps)
        >>> bars.vwap
        array([10.5, 10.5, 10.5])
    """

    symbols: tuple[str, ...]
    calendar: Calendar
    offsets: Integers
    symbol_index: npt.NDArray[np.int32]
    timestamp: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    notional: Floats
    vwap: Floats
    ordinal: Integers
    session: Integers
    slot: Integers
    run_start: Integers
    run_end: Integers
    session_end: Integers
    _extra: pd.DataFrame = field(repr=False)

    def __post_init__(self) -> None:
        """Make every array read-only."""
        self._lock()

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], *, calendar: str = "auto", frequency: str | pd.Timedelta | None = None
    ) -> Bars:
        """Read bars from a file.

        Args:
            path: A ``.parquet``, ``.csv`` or ``.csv.gz`` file.
            calendar: See :meth:`from_frame`.
            frequency: See :meth:`from_frame`.

        Returns:
            The bars.

        Raises:
            BarsError: The file cannot be read, or a bar breaks a rule.
            UnknownNameError: There is no calendar of this name.
        """
        return cls.from_frame(read_table(Path(path)), calendar=calendar, frequency=frequency)

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, *, calendar: str = "auto", frequency: str | pd.Timedelta | None = None
    ) -> Bars:
        """Check a long table and build bars from it.

        Args:
            frame: One row per bar; columns timestamp (tz-aware), symbol, open, high, low, close, volume, notional.
                Other columns are carried along. Symbols may be interleaved, each symbol's rows are in time order.
            calendar: ``"auto"`` tells ``"24/7"`` from ``"sessions"`` by the bars; an exchange code such as ``"XNYS"``
                takes the schedule of that exchange.
            frequency: Length of a bar, e.g. ``"1h"``; by default the most common step between bars.

        Returns:
            The bars.

        Raises:
            BarsError: A bar breaks a rule; the error names symbol, timestamp, column and rule.
            UnknownNameError: There is no calendar of this name.
        """
        columns = validate_frame(frame)
        built = build_calendar(
            calendar,
            columns.symbols,
            columns.offsets,
            columns.timestamp,
            None if frequency is None else read_frequency(frequency),
        )
        placed = built.place(columns.timestamp)
        return cls._assemble(columns, built, placed.ordinal, placed.session, placed.slot)

    @classmethod
    def _assemble(
        cls, columns: Columns, calendar: Calendar, ordinal: Integers, session: Integers, slot: Integers
    ) -> Bars:
        """Add what follows from checked columns and their places on the grid."""
        values, offsets = columns.values, columns.offsets
        joined = np.diff(ordinal) == 1
        joined[offsets[1:-1] - 1] = False
        same_session = np.diff(session) == 0
        same_session[offsets[1:-1] - 1] = False
        run_start, run_end = _bounds(joined)
        return cls(
            symbols=columns.symbols,
            calendar=calendar,
            offsets=offsets,
            symbol_index=np.repeat(np.arange(len(columns.symbols), dtype=np.int32), np.diff(offsets)),
            timestamp=columns.timestamp,
            **values,
            vwap=_vwap(values["notional"], values["volume"], values["close"]),
            ordinal=ordinal,
            session=session,
            slot=slot,
            run_start=run_start,
            run_end=run_end,
            session_end=_bounds(same_session)[1],
            _extra=columns.extra,
        )

    @property
    def frequency(self) -> pd.Timedelta:
        """Length of a bar."""
        return self.calendar.frequency

    @property
    def slots_per_session(self) -> int:
        """Largest number of bars in a session: 24 for hourly bars round the clock, 1 for daily bars."""
        return self.calendar.slots_per_session

    @property
    def is_session_bound(self) -> bool:
        """Whether an order stays inside its session by default: intraday bars of a market that closes."""
        return self.calendar.is_session_bound

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) over symbols, timestamps, prices, volumes and notionals."""
        digest = hashlib.sha256(json.dumps([self.symbols, self.offsets.tolist()]).encode())
        for name in ("timestamp", *VALUES):
            array = getattr(self, name)
            digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    @property
    def frame(self) -> pd.DataFrame:
        """The bars as a new long table: required columns, then the others; symbol-major, timestamps in UTC."""
        table = {
            "timestamp": pd.DatetimeIndex(self.timestamp, tz="UTC"),
            "symbol": np.array(self.symbols, dtype=object)[self.symbol_index],
            **{name: getattr(self, name) for name in VALUES},
        }
        return pd.DataFrame(table).join(self._extra)

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """Where bars are missing: columns symbol, before and after (the bars next to the gap), missing (bars)."""
        last = np.flatnonzero(self.run_end[:-1] == np.arange(1, len(self)))
        last = last[self.symbol_index[last] == self.symbol_index[last + 1]]
        return pd.DataFrame(
            {
                "symbol": [self.symbols[index] for index in self.symbol_index[last]],
                "before": pd.DatetimeIndex(self.timestamp[last], tz="UTC"),
                "after": pd.DatetimeIndex(self.timestamp[last + 1], tz="UTC"),
                "missing": self.ordinal[last + 1] - self.ordinal[last] - 1,
            }
        )

    def __len__(self) -> int:
        """Number of bars, over all symbols."""
        return len(self.timestamp)

    def __repr__(self) -> str:
        """Size, period, frequency, calendar and gaps in one line."""
        count = len(self.symbols)
        first, last = (pd.Timestamp(int(edge), unit="ns") for edge in (self.timestamp.min(), self.timestamp.max()))
        missing = f" ({int(self.gaps['missing'].sum()):,} bars missing)" if len(self.gaps) else ""
        return (
            f"Bars({count} symbol{'' if count == 1 else 's'}, {len(self):,} bars, {first:%Y-%m-%d %H:%M} to "
            f"{last:%Y-%m-%d %H:%M} UTC, every {clock(self.frequency)}, calendar {self.calendar.name}, "
            f"{len(self.gaps):,} gap{'' if len(self.gaps) == 1 else 's'}{missing})"
        )

    def between(self, start: Moment | None = None, end: Moment | None = None) -> Bars:
        """Take the bars that start in a period.

        The bars keep their places on the grid (ordinals, sessions, slots). A symbol without a bar in the period drops
        out.

        Args:
            start: First moment, inclusive; a date or time without a zone is UTC.
            end: Last moment, exclusive.

        Returns:
            The bars of the period.

        Raises:
            BarsError: No bar lies in the period, or a moment cannot be read.
        """
        lowest = np.iinfo(np.int64).min if start is None else nanoseconds(start)
        highest = np.iinfo(np.int64).max if end is None else nanoseconds(end)
        pieces = []
        for index in range(len(self.symbols)):
            low, high = self.offsets[index], self.offsets[index + 1]
            edge = np.searchsorted(self.timestamp[low:high], [lowest, highest]) + low
            pieces.append((index, int(edge[0]), max(int(edge[0]), int(edge[1]))))
        return self._take([piece for piece in pieces if piece[2] > piece[1]], f"start in [{start}, {end})")

    def select(self, symbols: str | Iterable[str]) -> Bars:
        """Take the bars of some symbols, in the order given.

        The bars keep their places on the grid: where a symbol lacks a bar that another one had, it still has a gap.

        Args:
            symbols: One name or several.

        Returns:
            The bars of these symbols.

        Raises:
            UnknownNameError: There are no bars of this name.
            BarsError: No symbol is given, or one twice.
        """
        names = [symbols] if isinstance(symbols, str) else list(symbols)
        for position, name in enumerate(names):
            if name in names[:position]:
                raise BarsError("the symbol is selected twice", symbol=name, rule="unique symbols")
        chosen = [self._index(name) for name in names]
        pieces = [(index, int(self.offsets[index]), int(self.offsets[index + 1])) for index in chosen]
        return self._take(pieces, f"are of the symbols {names}")

    def locate(self, symbol: str, timestamp: npt.ArrayLike) -> Integers:
        """Find bars by their start.

        Args:
            symbol: Name of the symbol.
            timestamp: int64 [n], nanoseconds UTC.

        Returns:
            int64 [n], flat indices; -1 where the symbol has no such bar.

        Raises:
            UnknownNameError: There are no bars of this symbol.
        """
        wanted = np.asarray(timestamp, dtype=np.int64)
        index = self._index(symbol)
        low, high = int(self.offsets[index]), int(self.offsets[index + 1])
        at = np.searchsorted(self.timestamp[low:high], wanted) + low
        found = self.timestamp[np.minimum(at, high - 1)] == wanted
        return np.asarray(np.where(found, at, -1), dtype=np.int64)

    def with_prices(
        self,
        *,
        open: npt.ArrayLike | None = None,
        high: npt.ArrayLike | None = None,
        low: npt.ArrayLike | None = None,
        close: npt.ArrayLike | None = None,
        notional: npt.ArrayLike | None = None,
    ) -> Bars:
        """Replace price columns; the volumes, the grid and the other columns stay.

        Args:
            open: float64 [bars].
            high: float64 [bars].
            low: float64 [bars].
            close: float64 [bars].
            notional: float64 [bars].

        Returns:
            Bars with the new prices, the VWAP follows from the notional.

        Raises:
            BarsError: An array has another length, or a bar breaks a rule.
        """
        given = {"open": open, "high": high, "low": low, "close": close, "notional": notional}
        values = {name: getattr(self, name) for name in VALUES}
        for name, array in given.items():
            if array is not None:
                values[name] = np.array(array, dtype=np.float64)
                if values[name].shape != (len(self),):
                    raise BarsError(
                        f"{name} has the shape {values[name].shape}, expected is ({len(self)},)",
                        column=name,
                        rule="one value per bar",
                    )
        check_values(Columns(self.symbols, self.offsets, self.timestamp, values, self._extra))
        return replace(self, **values, vwap=_vwap(values["notional"], values["volume"], values["close"]))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the bars to a file, complete or not at all.

        Args:
            path: A ``.parquet``, ``.csv`` or ``.csv.gz`` file; an existing one is replaced.

        Raises:
            BarsError: The suffix is none of these, or the file cannot be written.
        """
        write_table(self.frame, Path(path))

    def _index(self, symbol: str) -> int:
        if symbol not in self.symbols:
            raise UnknownNameError.among("symbol", symbol, self.symbols)
        return self.symbols.index(symbol)

    def _take(self, pieces: Sequence[tuple[int, int, int]], which: str) -> Bars:
        """Take flat ranges, each ``(symbol number, first bar, one past the last bar)``."""
        if not pieces:
            raise BarsError(f"none of the bars {which}; they are {self!r}", rule="at least one bar")
        contiguous = all(left[2] == right[1] for left, right in pairwise(pieces))
        rows: slice | Integers = slice(pieces[0][1], pieces[-1][2])
        if not contiguous:
            rows = np.concatenate([np.arange(first, last) for _, first, last in pieces])
        columns = Columns(
            symbols=tuple(self.symbols[index] for index, _, _ in pieces),
            offsets=np.concatenate([[0], np.cumsum([last - first for _, first, last in pieces])]).astype(np.int64),
            timestamp=self.timestamp[rows],
            values={name: getattr(self, name)[rows] for name in VALUES},
            extra=self._extra.iloc[rows].reset_index(drop=True),
        )
        return self._assemble(columns, self.calendar, self.ordinal[rows], self.session[rows], self.slot[rows])

    def _lock(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled object (data loader workers); pickling forgets that arrays are read-only."""
        self.__dict__.update(state)
        self._lock()


def _vwap(notional: Floats, volume: Floats, close: Floats) -> Floats:
    """``notional / volume``, the close where nothing was traded; float64 [bars]."""
    return np.asarray(np.divide(notional, volume, out=close.copy(), where=volume > 0.0))


def _bounds(joined: npt.NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """First index and one past the last index of each run; ``joined[k]`` says that k and k + 1 are in one run."""
    start = np.flatnonzero(np.concatenate([[True], ~joined]))
    end = np.append(start[1:], len(joined) + 1)
    return np.repeat(start, end - start), np.repeat(end, end - start)


def nanoseconds(moment: Moment) -> int:
    """A moment in nanoseconds UTC; without a zone it is UTC."""
    try:
        stamp = pd.Timestamp(moment)
        if pd.isna(stamp):
            raise ValueError("it is missing")
        stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
        return int(stamp.as_unit("ns").value)
    except (ValueError, TypeError, OverflowError) as error:
        raise BarsError(f"{moment!r} is not a date or time: {error}", rule="timestamp") from error
