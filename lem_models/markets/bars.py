"""Bars of prices and volumes: read, checked, placed on their market's grid, and never changed afterwards.

A table of bars is long: one row per bar, columns ``timestamp`` (tz-aware, start of the bar), ``symbol``, ``open``,
``high``, ``low``, ``close``, ``volume`` (base units) and ``notional`` (quote units). The price at which a bar can be
traded is its VWAP, ``notional / volume``.

:class:`Bars` holds the table as flat arrays, symbol-major: all bars of the first symbol in time order, then all bars of
the second. Seven arrays take 56 bytes per bar. Ordinal, session, slot and gaps of a bar follow from a compact
:class:`~lem_models.markets.calendar.grid.Grid`, which computes them for the requested rows. Whether there is a gap
between two bars is one comparison, and windows are never copied. Whole columns, such as :attr:`Bars.session`, are
computed on first use.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lem_models.errors import BarsError
from lem_models.markets.calendar.choice import CALENDAR_COLUMN, CalendarChoice, build_calendars, calendar_column
from lem_models.markets.calendar.frequency import Moment, clock, infer_frequency, read_frequency
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.gaps import missing_bars, warn_of_gaps
from lem_models.markets.placed_bars import PlacedBars
from lem_models.markets.quality.plausibility import (
    Doubt,
    check_not_closing,
    doubts_about,
    open_bars,
    warn_of_doubts,
    why_off_grid,
)
from lem_models.markets.storage.files import format_of, write_table
from lem_models.markets.storage.store import (
    content_hash,
    open_store,
    symbol_type,
    verify_store,
    with_calendar,
    write_store,
)
from lem_models.markets.validation import REQUIRED, VALUES, Columns, check_values, validate_frame, warn_of_widened
from lem_models.markets.vendors.files import files_of
from lem_models.markets.vendors.load import load_files, load_table
from lem_models.markets.vendors.reading import EXACT, Reading, ReadOptions
from lem_models.markets.vendors.repairs import REPAIR_COLUMNS, read_repairs
from lem_models.notebook import facts_html

if TYPE_CHECKING:
    from lem_models.hub.datasets.pull import HubStream
    from lem_models.markets.storage.writer import Dataset
    from lem_models.report.charts.draw import Backend, Drawing
    from lem_models.report.figure_style import Theme

__all__ = ["Bars", "BarsLike", "doubts_of"]

_NAMES_SHOWN = 8

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Paths: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"

BarsLike: TypeAlias = "Bars | pd.DataFrame | str | os.PathLike[str]"
"""Bars, or what :meth:`Bars.of` makes bars from; tables of other libraries too."""


@dataclass(frozen=True, eq=False, repr=False)
class Bars(PlacedBars):
    """Bars of one or more symbols at one frequency, immutable.

    Build it with :meth:`read` or :meth:`from_frame`. Every array is flat over the bars, symbol-major, and read-only.

    Attributes:
        symbols: Names, in order of first appearance.
        offsets: int64 [symbols + 1]; the bars of symbol ``i`` are ``offsets[i]:offsets[i + 1]``.
        timestamp: int64 [bars], start of the bar in nanoseconds UTC.
        open: float64 [bars], first price.
        high: float64 [bars], highest price.
        low: float64 [bars], lowest price.
        close: float64 [bars], last price.
        volume: float64 [bars], traded volume in base units; 0 is legal.
        notional: float64 [bars], traded value in quote units.
        grid: Places of the bars on the market's grid, by row.
        reading: How the bars were read from a vendor's table, with all repairs; ``None`` for a table of bars.

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

    _extra: pd.DataFrame | pa.Table = field(repr=False)
    reading: Reading | None = field(default=None, repr=False)
    _source: _Source | None = field(default=None, init=False, repr=False)  # a copy with other arrays has none

    def __post_init__(self) -> None:
        """Make every array read-only."""
        self._lock()

    @classmethod
    def read(
        cls,
        path: Paths,
        format: str | None = None,
        *,
        symbol: str | Mapping[str, str] | None = None,
        tz: str | None = None,
        unit: str | None = None,
        columns: Mapping[str, str] | None = None,
        calendar: CalendarChoice = "auto",
        notional: str | None = None,
        repair: str | Sequence[str] | None = None,
        frequency: str | timedelta | None = None,
        fill_gaps: int = 0,
        verify: bool = False,
    ) -> Bars:
        """Read bars from a file, or from several.

        A table with the columns of :meth:`from_frame` is read as it is. A table of a vendor is read by its format,
        which is detected from its columns if only one fits. :attr:`reading` says what was detected.

        An ``.arrow`` file of :meth:`write` or :func:`~lem_models.markets.storage.writer.store_bars` is mapped into
        memory: it opens at once, whatever its size, and only the bars in use are loaded. Its bars were checked
        when it was written. The file may be replaced while it is open, as writing does, but not changed in place.

        Args:
            path: An ``.arrow``, ``.parquet``, ``.csv``, ``.csv.gz``, ``.txt`` or ``.json`` file, or a ``.zip`` archive
                of one; a pattern (``"data/BTC*.zip"``); or several of these, of one format.
            format: Name of a vendor's format, such as ``"binance-spot"``; by default it is detected.
            symbol: See :meth:`from_frame`; ``"{file}"`` takes the name of the file up to its first dot.
            tz: See :meth:`from_frame`.
            columns: See :meth:`from_frame`.
            notional: See :meth:`from_frame`.
            repair: See :meth:`from_frame`.
            calendar: See :meth:`from_frame`; with ``"auto"`` a mapped file keeps the calendar that it was written with.
            frequency: See :meth:`from_frame`; with ``None`` a mapped file keeps its own.
            unit: See :meth:`from_frame`.
            fill_gaps: See :meth:`from_frame`; bars with filled gaps are held in memory.
            verify: Check the bars of a mapped file again, and compare their hash. Other files are always checked.

        Returns:
            The bars.

        Raises:
            BarsError: The file cannot be read, or a bar breaks a rule.
            UnknownNameError: The calendar, the unit, the format, the repair or the way to a notional is unknown.
        """
        options = ReadOptions(format, symbol, tz, unit, columns, notional, frequency)
        options.check()
        files, repairs = files_of(path), read_repairs(repair)
        file = files[0]
        stored = open_store(file) if len(files) == 1 and file.name.lower().endswith(".arrow") else None
        if stored is None:
            frame, reading = load_files(files, options, repairs)
            return cls._of_table(frame, reading, calendar, frequency, unit, fill_gaps)
        if repairs or not options.are_default:
            raise BarsError(
                f"{file} holds bars that were checked when it was written: format, symbol, tz, columns, notional and "
                "repair are for the tables of vendors; give them when you convert the table",
                rule="bars that were not checked yet",
            )
        if unit is not None:
            raise BarsError(
                f"unit={unit!r} is for timestamps that are numbers, and {file} holds datetimes: leave the unit out",
                column="timestamp",
                rule="unit of timestamps",
            )
        if verify:
            verify_store(stored, file)
        stored = with_calendar(stored, calendar, frequency)
        bars = cls.of_columns(stored.columns, stored.grid, stored.extra)
        object.__setattr__(bars, "_source", _Source(file.absolute(), stored.content_hash, calendar, bars.frequency))
        return bars._with_gaps_filled(fill_gaps) if fill_gaps else bars

    @classmethod
    def of(cls, bars: BarsLike) -> Bars:
        """Bars from bars, from a table, or from a file.

        Args:
            bars: Bars, which are returned unchanged; a table for :meth:`from_frame`; or the path of a file for
                :meth:`read`. To choose the calendar, call these yourself.

        Raises:
            BarsError: The argument is none of these, the file cannot be read, or a bar breaks a rule.
        """
        if isinstance(bars, Bars):
            return bars
        if isinstance(bars, str | os.PathLike):
            return cls.read(bars)
        return cls.from_frame(bars)

    @classmethod
    def sample(cls, name: str = "us-index-daily") -> Bars:
        """Real bars without a download, to start from; :func:`~lem_models.markets.samples.list_samples` names them.

        Args:
            name: ``"us-index-daily"``: daily bars of the S&P 500 (``SPX``) and the Nasdaq Composite (``IXIC``), 1999 to
                2018, which the dependency ``arch`` ships. The notional is estimated: ``notional_exact`` is False.
                :mod:`lem_models.markets.samples` has what readers of results must know.

        Raises:
            UnknownNameError: There is no sample of this name.

        Example:
            >>> Bars.sample("us-index-daily")
            Bars(2 symbols, 10,062 bars, 1999-01-04 00:00 to 2018-12-31 00:00 UTC, every 1D, calendar sessions, 0 gaps)
        """
        from lem_models.markets.samples import sample_bars

        return sample_bars(name)

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        path: str | os.PathLike[str],
        *,
        calendar: CalendarChoice = "auto",
        frequency: str | timedelta | None = None,
        unit: str | None = None,
    ) -> Bars:
        """Check the bars of a data set of the library ``datasets`` and write them to an ``.arrow`` file.

        The data set is read piece by piece, so a streaming one may have any size.

        Args:
            dataset: A ``datasets.Dataset`` or ``datasets.IterableDataset`` with the columns of :meth:`from_frame`, its
                rows sorted by symbol and timestamp.
            path: The ``.arrow`` file to write.
            calendar: See :meth:`from_frame`.
            frequency: See :meth:`from_frame`.
            unit: See :meth:`from_frame`.

        Returns:
            The bars, mapped from the file.

        Raises:
            BarsError: The argument is not such a data set, a bar breaks a rule, or the file cannot be written.
            UnknownNameError: The calendar or the unit is unknown.
        """
        from lem_models.markets.storage.writer import store_dataset

        return store_dataset(dataset, path, calendar=calendar, frequency=frequency, unit=unit)

    @classmethod
    def from_frame(
        cls,
        frame: object,
        format: str | None = None,
        *,
        symbol: str | Mapping[str, str] | None = None,
        tz: str | None = None,
        unit: str | None = None,
        columns: Mapping[str, str] | None = None,
        calendar: CalendarChoice = "auto",
        notional: str | None = None,
        repair: str | Sequence[str] | None = None,
        frequency: str | timedelta | None = None,
        fill_gaps: int = 0,
    ) -> Bars:
        """Check a long table and build bars from it.

        A table of a vendor is brought to these columns first, see :meth:`read`: one with a ``DatetimeIndex``, one with
        a column per price and symbol, a list of candles of ccxt, or the JSON of an API.

        Args:
            frame: A DataFrame of pandas or polars, a table of pyarrow, a mapping of columns or a list of rows. One row
                per bar; columns timestamp (datetimes or ISO 8601, with a zone), symbol, open, high, low, close, volume,
                notional. Other columns are carried along. Symbols may be interleaved; the rows of each symbol are in
                time order. If prices of a bar contradict each other by a rounding error (at most 1e-6, relative),
                low and high are widened to hold open and close, with a :class:`~lem_models.errors.BarsWarning`.
            format: Name of a vendor's format; by default it is detected.
            symbol: Symbol of all rows, for tables that do not name it; or new names by the vendor's.
            tz: Zone of times without one, such as ``"America/New_York"``.
            columns: The table's columns by ours: ``{"timestamp": "time", "close": "last", "vwap": "average"}``.
            notional: Where notionals come from: ``"exact"``, a column; ``"vwap"``, a column of VWAPs times the volume;
                or an estimate, ``"hlc3"`` (high + low + close) / 3 or ``"close"`` times the volume. By default the
                first of these that there is. :attr:`notional_exact` says which bars are estimated.
            repair: What to repair: ``"all"``, or some of ``"drop_repeats"``, ``"clip_vwap"``, ``"round_prices"``,
                ``"fill_idle"`` and ``"drop_open"``, see :mod:`lem_models.markets.vendors.repairs`. :attr:`repairs`
                lists every change.
            calendar: ``"auto"`` infers ``"24/7"`` or ``"sessions"`` from the bars; an exchange code such as ``"XNYS"``
                takes the schedule of that exchange. A mapping from symbols to names gives symbols calendars of their
                own (``{"SPY": "XNYS", "VOD": "XLON"}``). With ``"auto"`` a column ``calendar`` does the same. The
                calendars of symbols without a name are inferred.
            frequency: Length of a bar, e.g. ``"1h"``; by default the most common step between bars.
            unit: Unit of timestamps that are numbers since 1970: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``. ``"auto"``
                takes the unit in which the first number lies between 1980 and 2262; all numbers must fit it. Without a
                unit numbers are refused. With a unit everything else is refused.
            fill_gaps: Longest gap to fill, in bars, for vendors that leave out bars in which nothing traded. The new
                bars have no volume, and the close before the gap as prices. Other gaps exclude orders. If they exclude
                a quarter of the possible starts, a :class:`~lem_models.errors.BarsWarning` reports it.

        Returns:
            The bars.

        Raises:
            BarsError: A bar breaks a rule; the error names symbol, timestamp, column and rule.
            UnknownNameError: The calendar or the unit is unknown.
        """
        options = ReadOptions(format, symbol, tz, unit, columns, notional, frequency)
        options.check()
        table, reading = load_table(frame, options, read_repairs(repair))
        return cls._of_table(table, reading, calendar, frequency, unit, fill_gaps)

    @classmethod
    def _of_table(
        cls,
        frame: object,
        reading: Reading | None,
        calendar: CalendarChoice,
        frequency: str | timedelta | None,
        unit: str | None,
        fill_gaps: int,
    ) -> Bars:
        """Bars of a table in our columns."""
        columns = validate_frame(frame, unit=unit if reading is None else None)
        warn_of_widened(len(columns.widened), columns.first_widened)
        if calendar == "auto" and CALENDAR_COLUMN in columns.extra:
            calendar = calendar_column(columns.extra[CALENDAR_COLUMN], columns.symbols, columns.offsets)
        check_not_closing(columns.symbols, columns.timestamp)
        length = None if frequency is None else read_frequency(frequency)
        try:
            built = build_calendars(calendar, columns.symbols, columns.offsets, columns.timestamp, length)
        except BarsError as error:
            raise _explained(error, columns, calendar, length) from None
        grid = Grid.build(built, columns.offsets, columns.timestamp, columns.values["volume"])
        bars = replace(cls.of_columns(columns, grid), reading=reading)
        warn_of_doubts(doubts_of(bars, None if reading is None else reading.as_of))
        if fill_gaps:
            return bars._with_gaps_filled(fill_gaps)
        warn_of_gaps(bars)
        return bars

    @classmethod
    def of_columns(cls, columns: Columns, grid: Grid, extra: pd.DataFrame | pa.Table | None = None) -> Bars:
        """Bars from checked columns and their places on the grid; ``extra`` replaces the columns' own."""
        return cls(
            symbols=columns.symbols,
            offsets=columns.offsets,
            timestamp=columns.timestamp,
            open=columns.values["open"],
            high=columns.values["high"],
            low=columns.values["low"],
            close=columns.values["close"],
            volume=columns.values["volume"],
            notional=columns.values["notional"],
            grid=grid,
            _extra=columns.extra if extra is None else extra,
        )

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) over symbols, timestamps, prices, volumes and notionals."""
        if self._source is not None:
            return self._source.content_hash
        values = {name: getattr(self, name) for name in VALUES}
        return content_hash(self.symbols, self.offsets, self.timestamp, values)

    @property
    def frame(self) -> pd.DataFrame:
        """The bars as a new long table: required columns, then the others; symbol-major, timestamps in UTC."""
        table = {
            "timestamp": pd.DatetimeIndex(self.timestamp, tz="UTC"),
            "symbol": np.repeat(np.array(self.symbols, dtype=object), np.diff(self.offsets)),
            **{name: getattr(self, name) for name in VALUES},
        }
        return pd.DataFrame(table).join(self.other_columns(as_frame=True))

    @cached_property
    def notional_exact(self) -> npt.NDArray[np.bool_]:
        """Whether the notional of each bar was measured, not estimated, bool [bars]."""
        extra = self._extra
        names = extra.columns if isinstance(extra, pd.DataFrame) else extra.column_names
        if EXACT not in names:
            return np.ones(len(self), dtype=bool)
        column = pd.Series(extra[EXACT]) if isinstance(extra, pd.DataFrame) else extra.column(EXACT).to_pandas()
        # A bar that was filled into a gap traded nothing, so there is nothing to estimate.
        return column.isin([True]).to_numpy() | column.isna().to_numpy()

    @property
    def estimated_share(self) -> float:
        """Share of the bars whose notional is an estimate, in [0, 1]."""
        return float(1.0 - self.notional_exact.mean()) if len(self) else 0.0

    def doubts_in_words(self, first: Integers | None = None, last: Integers | None = None) -> list[str]:
        """What a reader of results over these bars must know: estimated notionals, and repairs; one sentence each.

        Args:
            first: int64 [orders], first bar of each order; ``None`` for all bars.
            last: int64 [orders], one past its last bar.
        """
        sentences = []
        if EXACT in self.columns:
            before = np.concatenate([[0], np.cumsum(~self.notional_exact)])
            begin, end = (self.offsets[:1], self.offsets[-1:]) if first is None or last is None else (first, last)
            count, total = int((before[end] - before[begin]).sum()), int((end - begin).sum())
            if count:
                sentences.append(
                    f"judged against an estimated VWAP: the notional of {100 * count / total:.1f} % of the bars is an "
                    "estimate, not a measurement"
                )
        if self.reading is not None and len(self.reading.repairs):
            sentences.append(f"bars were repaired when they were read: {self.reading.repairs_in_words()}")
        return sentences

    @property
    def repairs(self) -> pd.DataFrame:
        """Every value that a repair changed: columns repair, symbol, timestamp, column, before, after."""
        return pd.DataFrame(columns=list(REPAIR_COLUMNS)) if self.reading is None else self.reading.repairs

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of :attr:`frame`: the eight of every table of bars, and those that are carried along."""
        extra = self._extra.columns if isinstance(self._extra, pd.DataFrame) else self._extra.column_names
        return (*REQUIRED, *map(str, extra))

    def other_columns(self, *, as_frame: bool = False) -> pd.DataFrame | pa.Table:
        """The columns other than those of a bar, [bars] each: a data frame, or a table that is mapped from the file.

        Args:
            as_frame: Load a mapped table into a data frame.

        Raises:
            BarsError: The columns of a mapped file are damaged. They are validated first, because strings and lists
                hold offsets.
        """
        extra = self._extra
        if isinstance(extra, pd.DataFrame):
            return extra
        try:
            extra.validate(full=True)
            return extra.to_pandas() if as_frame else extra
        except pa.ArrowException as error:
            raise BarsError(f"the other columns of the file are damaged: {error}", rule="readable file") from error

    def __len__(self) -> int:
        """Number of bars, over all symbols."""
        return len(self.timestamp)

    def __repr__(self) -> str:
        """Size, period, frequency, calendar and gaps in one line."""
        first, last = (pd.Timestamp(int(edge), unit="ns") for edge in self._edges())
        missing = f" ({_counted(int(self.gaps['missing'].sum()), 'bar')} missing)" if len(self.gaps) else ""
        return (
            f"Bars({_counted(len(self.symbols), 'symbol')}, {_counted(len(self), 'bar')}, {first:%Y-%m-%d %H:%M} to "
            f"{last:%Y-%m-%d %H:%M} UTC, every {clock(self.frequency)}, {self._calendars_in_words()}, "
            f"{_counted(len(self.gaps), 'gap')}{missing})"
        )

    def _repr_html_(self) -> str:
        """A card for a notebook: symbols, size, period, calendar, gaps, and what is doubtful."""
        first, last = (pd.Timestamp(int(edge), unit="ns") for edge in self._edges())
        names = ", ".join(self.symbols[:_NAMES_SHOWN])
        more = len(self.symbols) - _NAMES_SHOWN
        missing = int(self.gaps["missing"].sum()) if len(self.gaps) else 0
        facts = {
            "symbols": f"{len(self.symbols):,}: {names}" + (f" and {more:,} more" if more > 0 else ""),
            "bars": f"{len(self):,}, each {clock(self.frequency)}",
            "from, to (bar starts, UTC)": f"{first:%Y-%m-%d %H:%M}, {last:%Y-%m-%d %H:%M}",
            "calendar": self._calendars_in_words().partition(" ")[2],
            "gaps": f"{len(self.gaps):,} ({_counted(missing, 'bar')} missing)" if missing else "none",
        }
        return facts_html("Bars", facts, note="; ".join(self.doubts_in_words()))

    def plot(
        self,
        symbols: str | Sequence[str] | None = None,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        theme: Theme = "light",
        backend: Backend = "matplotlib",
    ) -> Drawing:
        """Plot prices and traded volume.

        Args:
            symbols: One symbol or several; default: all. At most eight are drawn. Prices of several start at 100.
            start: First moment; see :meth:`between`.
            end: Last moment.
            theme: ``"light"`` or ``"dark"``.
            backend: ``"matplotlib"``, or ``"plotly"`` (extra ``plotly``).

        Returns:
            A figure of the backend; a notebook shows it.

        Raises:
            ConfigError: The theme or the backend is unknown, or plotly is not installed.
            UnknownNameError: There are no bars of a symbol.
            BarsError: No bar lies in the period.
        """
        from lem_models.report.charts.market import plot_bars

        return plot_bars(self, symbols, start=start, end=end, theme=theme, backend=backend)

    def _calendars_in_words(self) -> str:
        kinds, which = self.grid.calendars.kinds, self.grid.calendars.which
        if len(kinds) == 1:
            return f"calendar {kinds[0].name}"
        parts = (f"{kind.name} ({int(np.sum(which == number))})" for number, kind in enumerate(kinds))
        return f"calendars {', '.join(parts)}"

    def by_calendar(self) -> list[Bars]:
        """Split the bars by calendar; bars with one calendar are returned unchanged.

        Features, models and policies read one market at a time; :func:`~lem_models.execute` splits the bars itself.
        """
        kinds, which = self.grid.calendars.kinds, self.grid.calendars.which
        if len(kinds) == 1:
            return [self]
        names = np.array(self.symbols, dtype=object)
        return [self.select(names[which == number].tolist()) for number in range(len(kinds))]

    def between(self, start: Moment | None = None, end: Moment | None = None) -> Bars:
        """Take the bars that start in a period.

        The bars keep their places on the grid (ordinals, sessions, slots). A symbol without a bar in the period is left
        out.

        Args:
            start: First moment, inclusive; a date or time without a zone is UTC.
            end: Last moment, exclusive.

        Returns:
            The bars of the period.

        Raises:
            BarsError: No bar lies in the period, or a moment cannot be read.
        """
        rows = self.rows_between(start, end).tolist()
        pieces = [(index, first, last) for index, (first, last) in enumerate(rows) if last > first]
        return self._take(pieces, f"start in [{start}, {end})")

    def last(self, count: int) -> Bars:
        """Take the last ``count`` bars of each symbol, or all if it has fewer; they keep their places on the grid."""
        ends = self.offsets[1:].tolist()
        first = np.maximum(self.offsets[1:] - count, self.offsets[:-1]).tolist()
        return self._take([(index, *bounds) for index, bounds in enumerate(zip(first, ends, strict=True))], "are last")

    def select(self, symbols: str | Iterable[str]) -> Bars:
        """Take the bars of some symbols, in the order given.

        The bars keep their places on the grid: if a symbol lacks a bar that another symbol had, it still has a gap.

        Args:
            symbols: One name or several.

        Returns:
            The bars of these symbols.

        Raises:
            UnknownNameError: There are no bars of a symbol.
            BarsError: No symbol is given, or one is given twice.
        """
        names = [symbols] if isinstance(symbols, str) else list(symbols)
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise BarsError("the symbol is selected twice", symbol=twice, rule="unique symbols")
        chosen = [self.number_of(name) for name in names]
        pieces = [(index, int(self.offsets[index]), int(self.offsets[index + 1])) for index in chosen]
        return self._take(pieces, f"are of the symbols {names}")

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
            Bars with the new prices; the VWAP follows from the notional.

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
        check_values(Columns(self.symbols, self.offsets, self.timestamp, values, pd.DataFrame()))
        return replace(self, **values)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the bars to a file, complete or not at all.

        Args:
            path: An ``.arrow``, ``.parquet``, ``.csv`` or ``.csv.gz`` file; an existing file is replaced. An ``.arrow``
                file is larger than a ``.parquet`` file, but :meth:`read` maps it instead of reading it.

        Raises:
            BarsError: The suffix is none of these, or the file cannot be written.
        """
        file = Path(path)
        if format_of(file) != "arrow":
            write_table(self.frame, file)
            return
        values = {name: getattr(self, name) for name in VALUES}
        columns = Columns(self.symbols, self.offsets, self.timestamp, values, pd.DataFrame())
        number = np.repeat(np.arange(len(self.symbols), dtype=symbol_type(len(self.symbols))), np.diff(self.offsets))
        write_store(columns, self.grid, number, self._extra, file)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        split: str = "train",
        source: str | None = None,
        licence: str | None = None,
        quirks: Sequence[str] = (),
        columns: Mapping[str, str] | None = None,
        private: bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
        token: str | bool | None = None,
        commit_message: str | None = None,
        max_shard_size: int | str = "500MB",
        replace_card: bool = False,
        benchmark: str | None = None,
    ) -> str:
        """Publish the bars as a split of a data set: parquet shards and a card, in one commit.

        Bars are sent shard by shard, so an ``.arrow`` file is never loaded whole. The bars are checked again before
        anything is sent. Other splits of the data set stay. A card written by hand stays too, except for the metadata
        that list the files.

        Args:
            repo_id: ``org/name``; the repository is made if it does not exist.
            split: Name of the split; an existing split of this name is replaced.
            source: Where the bars come from, for the card.
            licence: Terms: a name that the Hub knows (``"cc-by-4.0"``), or ``"other: "`` and the terms in words.
            quirks: What readers must know about the bars, one sentence each.
            columns: Meaning and unit of the other columns, by name.
            private: Whether a new repository is private; default the organisation's setting.
            branch: Branch to commit to, made if it does not exist; default the main branch.
            create_pr: Open a pull request instead.
            token: Token with the right to write; default the token that the machine is signed in with.
            commit_message: Message of the commit.
            max_shard_size: Largest size of a shard in memory, in bytes or as a text; its file is smaller.
            replace_card: Write a new card over the one in the repository.
            benchmark: Market of the zoo (``"crypto-hourly"``) whose benchmark the bars are: ``eval.yaml`` goes with
                them, from which the Hub makes a leaderboard.

        Returns:
            URL of the commit or pull request.

        Raises:
            UnknownNameError: There is no such market.
            BarsError: The licence is empty, a bar breaks a rule, or another column has a type that is not published.
                Then no request is sent to the Hub.
            LEMError: The Hub refuses or cannot be reached, or the card in the repository contradicts the bars.
        """
        from lem_models.hub.datasets import push

        return push.push_bars(
            self,
            push.BarsUpload(
                repo_id=repo_id,
                split=split,
                source=source,
                licence=licence,
                quirks=quirks,
                columns=columns,
                private=private,
                branch=branch,
                create_pr=create_pr,
                token=token,
                commit_message=commit_message,
                max_shard_size=max_shard_size,
                replace_card=replace_card,
                benchmark=benchmark,
            ),
        )

    @overload
    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        split: str = ...,
        streaming: Literal[False] = ...,
        config: str | None = ...,
        revision: str | None = ...,
        token: str | bool | None = ...,
        cache_dir: str | Path | None = ...,
        local_files_only: bool = ...,
        calendar: CalendarChoice = ...,
        frequency: str | pd.Timedelta | None = ...,
    ) -> Bars: ...

    @overload
    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        split: str = ...,
        streaming: Literal[True],
        config: str | None = ...,
        revision: str | None = ...,
        token: str | bool | None = ...,
        cache_dir: str | Path | None = ...,
        local_files_only: bool = ...,
        calendar: CalendarChoice = ...,
        frequency: str | pd.Timedelta | None = ...,
    ) -> HubStream: ...

    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        split: str = "train",
        streaming: bool = False,
        config: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        calendar: CalendarChoice = "auto",
        frequency: str | pd.Timedelta | None = None,
    ) -> Bars | HubStream:
        """Read bars from a data set of parquet files on the Hub, checked like any table of bars.

        Bars that :meth:`push_to_hub` published are read back exactly, and compared with their content hash. Code in a
        repository is never run. Files that would expand enormously are refused before they are unpacked.

        Args:
            repo_id: ``org/name``.
            split: Which split.
            streaming: Return a stream, which downloads piece by piece while it is read: ``for piece in stream`` or
                ``stream.write("bars.arrow")``.
            config: Which of several tables of the repository; default the repository's default.
            revision: Branch, tag or commit; default the main branch.
            token: Token for private data sets; default that of the machine, ``False`` for none.
            cache_dir: Folder of the cache; default the Hub's (``HF_HOME``).
            local_files_only: Send no request: take the cached copy. Without a connection it is taken anyway.
            calendar: See :meth:`Bars.from_frame`; with ``"auto"`` published bars keep their calendar.
            frequency: See :meth:`Bars.from_frame`; with ``None`` published bars keep theirs.

        Returns:
            The bars; with ``streaming`` a :class:`~lem_models.hub.datasets.pull.HubStream`.

        Raises:
            BarsError: A bar breaks a rule; or a file is damaged, has other types, or expands beyond bounds.
            UnknownNameError: There is no such split, configuration or calendar.
            LEMError: The Hub does not have the data set, does not show it to this token, or cannot be reached and the
                data set is not cached; or a file does not have the hash that the Hub states.
        """
        from lem_models.hub.datasets.pull import load_bars

        return load_bars(
            repo_id,
            streaming=streaming,
            split=split,
            config=config,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            calendar=calendar,
            frequency=frequency,
        )

    def _with_gaps_filled(self, at_most: int) -> Bars:
        """Fill the gaps of at most ``at_most`` bars; the new bars have no values in other columns."""
        added = missing_bars(self, at_most)
        if added.empty:
            return self
        frame = self.frame
        if EXACT in frame:
            added[EXACT] = True  # nothing was traded, so there is nothing to estimate
        frame = pd.concat([frame, added], ignore_index=True)
        number = frame["symbol"].map(self.symbol_numbers)
        frame = frame.iloc[np.lexsort([frame["timestamp"], number])].reset_index(drop=True)
        bars = Bars.from_frame(frame, calendar=self.calendar_names, frequency=self.frequency)
        if self.reading is None:
            return bars
        listed = pd.DataFrame({"repair": "fill_gaps", **added[["symbol", "timestamp"]], "column": "volume"})
        listed = listed.assign(before=np.nan, after=0.0)
        return replace(bars, reading=self.reading.with_repairs(listed))

    def _take(self, pieces: Sequence[tuple[int, int, int]], which: str) -> Bars:
        """Take flat ranges, each ``(symbol number, first bar, one past the last bar)``."""
        if not pieces:
            raise BarsError(f"none of the bars {which}; they are {self!r}", rule="at least one bar")
        bounds = np.array([piece[1:] for piece in pieces], dtype=np.int64)
        if len(pieces) == len(self.symbols) and np.array_equal(
            bounds, np.stack([self.offsets[:-1], self.offsets[1:]], 1)
        ):
            return self
        contiguous = all(left[2] == right[1] for left, right in pairwise(pieces))
        rows: slice | Integers = slice(pieces[0][1], pieces[-1][2])
        if not contiguous:
            rows = np.concatenate([np.arange(first, last) for _, first, last in pieces])
        grid = self.grid.take(bounds)
        columns = Columns(
            symbols=tuple(self.symbols[index] for index, _, _ in pieces),
            offsets=grid.offsets,
            timestamp=self.timestamp[rows],
            values={name: getattr(self, name)[rows] for name in VALUES},
            extra=pd.DataFrame(index=pd.RangeIndex(len(grid))),
        )
        extra = self.other_columns()
        if isinstance(extra, pd.DataFrame):
            extra = extra.iloc[rows].reset_index(drop=True)
        else:
            extra = extra.slice(rows.start, len(grid)) if isinstance(rows, slice) else extra.take(pa.array(rows))
        taken = self.of_columns(columns, grid, extra)
        if self.reading is None:
            return taken
        return replace(taken, reading=self.reading.restricted_to(taken.symbols, *taken._edges()))

    def _edges(self) -> tuple[int, int]:
        """Start of the first and of the last bar, nanoseconds UTC."""
        return int(self.timestamp[self.offsets[:-1]].min()), int(self.timestamp[self.offsets[1:] - 1].max())

    def _lock(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle, for data loader workers: a mapped file by its path, other bars by their columns."""
        if self._source is not None:
            return _reopened, (self._source,)
        return _rebuilt, ({item.name: getattr(self, item.name) for item in fields(self) if item.init},)


@dataclass(frozen=True)
class _Source:
    """The file that bars are mapped from, and how it was read."""

    path: Path
    content_hash: str
    calendar: CalendarChoice
    frequency: pd.Timedelta


def _reopened(source: _Source) -> Bars:
    bars = Bars.read(source.path, calendar=source.calendar, frequency=source.frequency)
    if bars.content_hash != source.content_hash:
        raise BarsError(f"{source.path} holds other bars than when it was opened", rule="content hash")
    return bars


def _rebuilt(state: dict[str, Any]) -> Bars:
    return Bars(**state)


def _explained(error: BarsError, columns: Columns, calendar: CalendarChoice, length: pd.Timedelta | None) -> BarsError:
    """The error of bars that are not on the grid of an exchange, with the reason if it is certain."""
    if error.rule != "one grid" or not isinstance(calendar, str) or calendar in ("auto", "24/7", "sessions"):
        return error
    length = infer_frequency(columns.symbols, columns.offsets, columns.timestamp) if length is None else length
    why = why_off_grid(calendar, columns.timestamp, length.as_unit("ns").value)
    if not why:
        return error
    return BarsError(
        f"{error.message}; {why}",
        symbol=error.symbol,
        timestamp=error.timestamp,
        column=error.column,
        rule=error.rule,
    )


def doubts_of(bars: Bars, as_of: int | None = None) -> list[Doubt]:
    """What is doubtful about the timestamps of bars.

    Args:
        bars: The bars.
        as_of: When their table was written, nanoseconds UTC, if it is known.
    """
    step = bars.frequency.as_unit("ns").value
    doubts = []
    names = {kind.name for kind in bars.grid.calendars.kinds}
    if "sessions" in names and names <= {"24/7", "sessions"}:
        doubts = doubts_about(bars.symbols, bars.offsets, bars.timestamp, bars.volume, step)
    if as_of is not None:
        doubts += open_bars(bars.symbols, bars.offsets, bars.timestamp, step, as_of)
    return doubts


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
