"""A vendor's table as a table of bars: its columns renamed, its times in UTC, its notionals computed or estimated.

A VWAP outside the range of its bar is left as it is, for the validation to refuse or a repair to mend.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.calendar.frequency import read_frequency
from lem_models.markets.epochs import check_unit
from lem_models.markets.validation import PRICES, REQUIRED
from lem_models.markets.vendors.detect import contract_value, detect_format, named_columns, symbol_in_name
from lem_models.markets.vendors.formats import CANDLE, ROLES, Format
from lem_models.markets.vendors.registry import format_named
from lem_models.markets.vendors.repairs import REPAIR_COLUMNS
from lem_models.markets.vendors.tables import RawTable
from lem_models.markets.vendors.times import Moments, read_clock, read_stamps

__all__ = ["EXACT", "NOTIONALS", "ReadOptions", "Reading", "as_bars_table", "joined"]

_LOG = logging.getLogger("lem_models")

EXACT = "notional_exact"
"""Column that says whether the notional of a bar was measured; a table without it has measured notionals only."""

Notional: TypeAlias = Literal["exact", "vwap", "hlc3", "close"]
NOTIONALS = ("exact", "vwap", "hlc3", "close")
"""Where a notional comes from."""

_FILE = "{file}"
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about a table.

    Attributes:
        format: Name of its format, see :mod:`~lem_models.markets.vendors.presets`; ``None`` to detect it.
        symbol: Symbol of all rows; ``"{file}"`` for the name of the file up to its first dot; or new names by the
            vendor's.
        tz: Zone of times without one.
        unit: Unit of timestamps that are numbers.
        columns: The vendor's columns by role, see :data:`~lem_models.markets.vendors.formats.ROLES`.
        notional: Where the notional comes from, one of :data:`NOTIONALS`; ``None`` for the best that there is.
        frequency: Length of a bar, where timestamps are ends.
    """

    format: str | None = None
    symbol: str | Mapping[str, str] | None = None
    tz: str | None = None
    unit: str | None = None
    columns: Mapping[str, str] | None = None
    notional: str | None = None
    frequency: str | timedelta | None = None

    @property
    def are_default(self) -> bool:
        """Whether the user said nothing but, perhaps, a unit."""
        return all(each is None for each in (self.format, self.symbol, self.tz, self.columns, self.notional))

    def check(self) -> None:
        """Check the names.

        Raises:
            UnknownNameError: There is no such format, unit, role or notional.
        """
        check_unit(self.unit)
        if self.format is not None:
            format_named(self.format)
        if self.notional is not None and self.notional not in NOTIONALS:
            raise UnknownNameError.among("notional", str(self.notional), NOTIONALS)
        for role in self.columns or ():
            if role not in ROLES:
                raise UnknownNameError.among("role of a column", str(role), ROLES)


@dataclass(frozen=True, eq=False)
class Reading:
    """How bars were read from a vendor's table.

    Attributes:
        format: Name of the format.
        title: What the format is.
        is_detected: Whether the format was detected; otherwise the user named it.
        files: Names of the files.
        notes: What was done, and what readers must know, one sentence each.
        as_of: When the table was written, nanoseconds UTC; of a table in memory, when it was read.
        repairs: Every change of a value: columns repair, symbol, timestamp, column, before, after.
    """

    format: str
    title: str
    is_detected: bool
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    as_of: int | None = None
    repairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(REPAIR_COLUMNS)))

    def with_repairs(self, changes: pd.DataFrame) -> Reading:
        """The reading with more changes, which have the same columns."""
        if changes.empty:
            return self
        return replace(
            self, repairs=pd.concat([self.repairs, changes], ignore_index=True) if len(self.repairs) else changes
        )

    def restricted_to(self, symbols: Sequence[str], first: int, last: int) -> Reading:
        """The reading with the repairs of some symbols in a period.

        Args:
            symbols: Names of the symbols.
            first: Start of the first bar, nanoseconds UTC.
            last: Start of the last bar.
        """
        if self.repairs.empty:
            return self
        stamps = pd.DatetimeIndex(self.repairs["timestamp"]).as_unit("ns").asi8
        kept = self.repairs["symbol"].isin(symbols).to_numpy() & (stamps >= first) & (stamps <= last)
        return replace(self, repairs=self.repairs[kept].reset_index(drop=True))

    def repairs_in_words(self) -> str:
        """Repairs with the number of bars that each changed; empty if there are none."""
        bars = self.repairs.drop_duplicates(["repair", "symbol", "timestamp"])["repair"].value_counts(sort=False)
        return ", ".join(f"{repair} {count:,} bar{'' if count == 1 else 's'}" for repair, count in bars.items())

    def in_words(self) -> str:
        """Format, notes and repairs in one line."""
        what = "detected" if self.is_detected else "read as"
        repairs = (f"repaired: {self.repairs_in_words()}",) if len(self.repairs) else ()
        return f"{what} the format {self.format} ({self.title}): " + "; ".join((*self.notes, *repairs))


def as_bars_table(table: RawTable, options: ReadOptions) -> tuple[pd.DataFrame, Reading]:
    """Bring a vendor's table to the columns of a table of bars.

    Args:
        table: The table.
        options: What the user says about it.

    Returns:
        A table with the columns of bars, with :data:`EXACT`, and the vendor's other columns; and how it was read.

    Raises:
        BarsError: The format is ambiguous or unknown, or a column cannot be read.
    """
    description = _description(table, options)
    table = named_columns(description, table)
    roles = _roles(description, table, options)
    if "end" in roles:
        description, roles["timestamp"] = replace(description, meaning="end"), roles.pop("end")
    frame = table.frame
    if frame.empty:
        raise BarsError("the table has no rows", rule="at least one bar")
    _check_expected(description, frame)
    notes: list[str] = []
    if table.left_out:
        notes.append(f"{table.left_out:,} rows without any price were left out")
    if description.drops_empty:
        empty = frame[[roles[role] for role in PRICES]].isna().all(axis=1).to_numpy()
        if empty.any():
            frame = frame[~empty]
            notes.append(f"{int(empty.sum()):,} rows without any price were left out")
    frame = frame.reset_index(drop=True)
    symbol = _symbols(description, roles, table, frame, options)
    moments = _stamps(description, roles, frame, options)
    notes.append(f"timestamps are {moments.how}")
    nanoseconds = moments.nanoseconds
    if description.meaning == "end":
        nanoseconds = _starts(nanoseconds, roles, frame, symbol, options)
        notes.append("timestamps were the ends of bars; starts are kept")
    own = {role: _numbers(frame[roles[role]], role) for role in CANDLE}
    if description.price_scale != 1.0:
        divisor = round(1.0 / description.price_scale)  # dividing by a whole number rounds once
        own |= {price: own[price] / divisor for price in PRICES}
        notes.append(f"prices are in units of {description.price_scale:g}")
    own["notional"], is_exact, how = _notional(description, roles, frame, own, symbol, options)
    notes.append(how)
    exact = np.full(len(frame), is_exact)
    if is_exact and "notional" in roles and EXACT in frame and frame[EXACT].dtype == bool:
        exact = frame[EXACT].to_numpy()
    unused = _others(description, roles, frame)
    stamps = pd.DatetimeIndex(nanoseconds, tz="UTC")
    bars = pd.DataFrame({"timestamp": stamps, "symbol": symbol, **own, EXACT: exact})
    if not unused.empty:
        bars = bars.join(unused)
    bars, is_turned = _in_time_order(bars)
    if is_turned:
        notes.append("rows were in descending order and were turned")
    reading = Reading(
        description.name,
        description.title,
        options.format is None and options.columns is None,
        (table.name,) if table.name else (),
        (*notes, *(note.rstrip(".") for note in description.notes)),
    )
    _LOG.info("%s", reading.in_words())
    return bars, reading


def _check_expected(description: Format, frame: pd.DataFrame) -> None:
    """Refuse rows that are not bars in time, such as bars of a number of trades."""
    for column, value in description.expects.items():
        if column not in frame.columns:
            continue
        others = (frame[column].astype(str) != value).to_numpy()
        if others.any():
            row = int(np.argmax(others))
            raise BarsError(
                f"row {row} has the {column} {frame[column].iloc[row]!r}; {description.name} bars of the {column} "
                f"{value!r} are read",
                column=column,
                rule="bars in time",
            )


def _description(table: RawTable, options: ReadOptions) -> Format:
    """The format that the user names, the user's own columns, or the format that is detected."""
    if options.format is not None:
        return format_named(options.format)
    if options.columns is None:
        return detect_format(table)
    own = {role: (role,) for role in ("timestamp", "date", "time", "symbol", *CANDLE, "notional", "vwap")}
    return Format(
        name="columns",
        title="columns named by the user",
        page="",
        columns=own,
        optional=frozenset({"symbol", "date", "time", "notional", "vwap"}),
        patterns=("%Y%m%d %H:%M:%S", "%Y%m%d"),
        ignores_case=True,
    )


def _roles(description: Format, table: RawTable, options: ReadOptions) -> dict[str, str]:
    """By role, the column that has it.

    Raises:
        BarsError: A column is missing.
    """
    roles = description.named(table.columns)
    for role, name in (options.columns or {}).items():
        if name not in table.columns:
            raise BarsError(
                f"there is no column {name!r} for {role}; the table has {', '.join(map(repr, table.columns[:40]))}",
                column=role,
                rule="required columns",
            )
        roles[role] = name
    needed = [*CANDLE, *(["contracts"] if description.contract_values else [])]
    needed += [] if "date" in roles or "end" in roles else ["timestamp"]
    lacking = [role for role in needed if role not in roles]
    if lacking:
        raise BarsError(
            f"{description.name} has no column for {', '.join(lacking)}; the table has "
            f"{', '.join(map(repr, table.columns[:40]))}: say which it is, columns={{{lacking[0]!r}: ...}} (--columns "
            f"{lacking[0]}=...)",
            column=lacking[0],
            rule="required columns",
        )
    return roles


def _symbols(
    description: Format, roles: dict[str, str], table: RawTable, frame: pd.DataFrame, options: ReadOptions
) -> npt.NDArray[np.object_]:
    wanted = options.symbol
    stem = table.name.split(".")[0]
    if wanted == _FILE and not stem:
        raise BarsError("symbol='{file}' is for files, and the table has none", column="symbol", rule="named symbol")
    alone = stem if wanted == _FILE else wanted if isinstance(wanted, str) else None
    names: list[str]
    if "symbol" in roles:
        codes, distinct = pd.factorize(frame[roles["symbol"]])
        if np.any(codes < 0):
            raise BarsError(f"row {int(np.argmax(codes < 0))} has no symbol", column="symbol", rule="named symbol")
        names = [str(name) for name in distinct]
        if alone is not None and len(distinct) > 1:
            raise BarsError(
                f"symbol={alone!r} is for a table of one symbol, and this one has {len(distinct):,}; new names are "
                "symbol={'AAPL.US': 'AAPL'}",
                column="symbol",
                rule="one symbol",
            )
    elif "bar_type" in roles:
        codes, distinct = pd.factorize(frame[roles["bar_type"]].astype(str))
        names = [_instrument(name) for name in distinct]
    else:
        codes = np.zeros(len(frame), dtype=np.intp)
        name = alone or table.symbol or symbol_in_name(description, table.name)
        if name is None:
            raise BarsError(
                "the table lacks 'symbol': name it, symbol='AAPL' (--symbol AAPL)"
                + (f", or symbol='{_FILE}' for the name of the file" if table.name else ""),
                column="symbol",
                rule="named symbol",
            )
        names = [name]
    if alone is not None:
        names = [alone]
    if isinstance(wanted, Mapping):
        if not set(map(str, wanted)) & set(names):
            raise BarsError(
                f"symbol= gives new names to {', '.join(map(str, wanted))}, and the table has {', '.join(names[:10])}",
                column="symbol",
                rule="named symbol",
            )
        new = {str(old): str(name) for old, name in wanted.items()}
        names = [new.get(name, name) for name in names]
    return np.array(names, dtype=object)[codes]


def _instrument(bar_type: str) -> str:
    """The instrument of a bar type of NautilusTrader: ``AAPL.XNAS`` of ``AAPL.XNAS-1-MINUTE-LAST-EXTERNAL``."""
    return bar_type.rsplit("-", 4)[0]


_STEPS = {"SECOND": "s", "MINUTE": "min", "HOUR": "h", "DAY": "D"}


def _bar_type_step(bar_type: str) -> int:
    pieces = bar_type.rsplit("-", 4)
    if len(pieces) != 5 or not pieces[1].isdigit() or pieces[2] not in _STEPS:
        raise BarsError(f"{bar_type!r} is no bar type of bars in time", column="bar_type", rule="timestamp")
    return read_frequency(f"{int(pieces[1])}{_STEPS[pieces[2]]}").value


def _stamps(description: Format, roles: dict[str, str], frame: pd.DataFrame, options: ReadOptions) -> Moments:
    zone = options.tz or description.zone
    if "timestamp" in roles:
        column = frame[roles["timestamp"]]
        unit = options.unit or description.unit
        return read_stamps(
            column, unit=unit, zone=zone, patterns=description.patterns, has_named_zone=options.tz is not None
        )
    texts = read_clock(frame[roles["date"]], frame[roles["time"]] if "time" in roles else None)
    return read_stamps(texts, unit=None, zone=zone, has_named_zone=options.tz is not None)


def _starts(
    ends: npt.NDArray[np.int64],
    roles: dict[str, str],
    frame: pd.DataFrame,
    symbol: npt.NDArray[np.object_],
    options: ReadOptions,
) -> npt.NDArray[np.int64]:
    """Starts of bars from their ends: lengths are said by a column, by the user, or by the most common step."""
    if "interval_ms" in roles:
        return ends - frame[roles["interval_ms"]].to_numpy().astype(np.int64) * 10**6
    if "bar_type" in roles:
        codes, distinct = pd.factorize(frame[roles["bar_type"]].astype(str))
        return ends - np.array([_bar_type_step(name) for name in distinct], dtype=np.int64)[codes]
    if options.frequency is not None:
        return ends - read_frequency(options.frequency).value
    order = np.lexsort([ends, pd.factorize(symbol)[0]])
    steps = np.diff(ends[order])[symbol[order][1:] == symbol[order][:-1]]
    steps = steps[steps > 0]
    if not len(steps):
        raise BarsError(
            "timestamps are the ends of bars, and their length is not known: frequency='1h'", rule="timestamp"
        )
    values, counts = np.unique(steps, return_counts=True)
    return ends - int(values[np.argmax(counts)])


def _numbers(column: pd.Series, role: str) -> npt.NDArray[np.float64]:
    """A column as floats; texts of numbers, as in the JSON of some vendors, are read."""
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        raise BarsError(f"{column.name} is of type {column.dtype}, not a number", column=role, rule="numeric column")
    if pd.api.types.is_any_real_numeric_dtype(column.dtype):
        return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = (numbers.isna() & column.notna() & (column.astype(str).str.strip() != "")).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        value = column.iloc[row]
        is_comma = isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()) is not None
        cure = ": write decimal points in place of commas (pandas.read_csv has decimal=',')" if is_comma else ""
        raise BarsError(
            f"row {row} of {column.name} is {value!r}, not a number{cure}", column=role, rule="numeric column"
        )
    return np.array(numbers.to_numpy(dtype=np.float64, na_value=np.nan))


def _notional(
    description: Format,
    roles: dict[str, str],
    frame: pd.DataFrame,
    own: Mapping[str, npt.NDArray[np.float64]],
    symbol: npt.NDArray[np.object_],
    options: ReadOptions,
) -> tuple[npt.NDArray[np.float64], bool, str]:
    """Notionals, whether they were measured, and where they come from."""
    ways = ["exact"] if "notional" in roles or description.contract_values else []
    ways += ["vwap"] if "vwap" in roles else []
    way = options.notional or (ways[0] if ways else "hlc3")
    if way in ("exact", "vwap") and way not in ways:
        raise BarsError(
            f"notional={way!r}: {description.name} has no column of "
            f"{'notionals' if way == 'exact' else 'VWAPs'}; estimate it with notional='hlc3' or notional='close'",
            column="notional",
            rule="required columns",
        )
    volume = own["volume"]
    if way == "exact" and description.contract_values:
        codes, names = pd.factorize(symbol)
        values = np.array([contract_value(description, str(name)) for name in names])
        return _numbers(frame[roles["contracts"]], "contracts") * values[codes], True, "notionals are measured"
    if way == "exact":
        return _numbers(frame[roles["notional"]], "notional"), True, "notionals are measured"
    if way == "vwap":
        vwap = _numbers(frame[roles["vwap"]], "vwap") / round(1.0 / description.price_scale)
        return np.where(volume == 0.0, 0.0, vwap * volume), True, "notionals are the vendor's VWAP times the volume"
    price = own["close"] if way == "close" else (own["high"] + own["low"] + own["close"]) / 3.0
    which = "the close" if way == "close" else "(high + low + close) / 3"
    return price * volume, False, f"notionals are ESTIMATED as {which} times the volume"


def _others(description: Format, roles: dict[str, str], frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of the vendor that are no column of a bar; they are carried along."""
    used = set(roles.values()) | description.drops | {*REQUIRED, EXACT}
    return frame[[name for name in frame.columns if name not in used]]


def _in_time_order(bars: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Rows that descend in time are turned; all other orders are left for the validation."""
    stamps = bars["timestamp"].astype("int64").to_numpy()
    same = bars["symbol"].to_numpy()[1:] == bars["symbol"].to_numpy()[:-1]
    steps = np.diff(stamps)[same]
    if len(steps) and (steps < 0).all():
        return bars.iloc[::-1].reset_index(drop=True), True
    return bars, False


def joined(tables: list[tuple[pd.DataFrame, Reading]]) -> tuple[pd.DataFrame, Reading]:
    """Several tables as one, by symbol and time.

    Raises:
        BarsError: The tables have different formats.
    """
    frames, readings = [frame for frame, _ in tables], [reading for _, reading in tables]
    if len(tables) == 1:
        return tables[0]
    names = list(dict.fromkeys(reading.format for reading in readings))
    if len(names) > 1:
        raise BarsError(f"the files have the formats {', '.join(names)}: read files of one format", rule="one format")
    bars = pd.concat(frames, ignore_index=True)
    codes, _ = pd.factorize(bars["symbol"])
    bars = bars.iloc[np.lexsort([bars["timestamp"].astype("int64").to_numpy(), codes])].reset_index(drop=True)
    notes = tuple(dict.fromkeys(note for reading in readings for note in reading.notes))
    files = tuple(name for reading in readings for name in reading.files)
    return bars, replace(
        readings[0],
        files=files,
        notes=notes,
        as_of=max(reading.as_of or 0 for reading in readings),
        repairs=pd.concat([reading.repairs for reading in readings], ignore_index=True),
    )
