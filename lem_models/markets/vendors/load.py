"""Files and tables of any known format as one table of bars, ready for the validation."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lem_models.errors import BarsError, BarsWarning
from lem_models.markets.storage.files import FORMATS, read_table
from lem_models.markets.validation import REQUIRED
from lem_models.markets.vendors.detect import fitting_formats
from lem_models.markets.vendors.files import header_of, read_raw, suffix_of
from lem_models.markets.vendors.reading import EXACT, Reading, ReadOptions, as_bars_table, joined
from lem_models.markets.vendors.repairs import repaired
from lem_models.markets.vendors.tables import RawTable, raw_table

__all__ = ["is_plain", "load_files", "load_table"]

_MOSTLY = 5  # columns of ours that make a table one of ours with a fault


def is_plain(columns: Iterable[object]) -> bool:
    """Whether a table has all columns of a table of bars, so that it is read without a format."""
    return set(REQUIRED) <= {str(name) for name in columns}


def load_files(
    files: Sequence[Path], options: ReadOptions, repairs: Sequence[str]
) -> tuple[pd.DataFrame, Reading | None]:
    """Files as one table of bars.

    Args:
        files: Files with one of the suffixes of :data:`~lem_models.markets.vendors.files.SUFFIXES`.
        options: What the user says about them.
        repairs: Repairs to make.

    Returns:
        The table, and how it was read; ``None`` for tables in our own columns, which are read as they are.

    Raises:
        BarsError: A file cannot be read, or its format is ambiguous.
    """
    tables: list[tuple[pd.DataFrame, Reading]] = []
    plain: list[pd.DataFrame] = []
    for file in files:
        table = _read_file(file, options, repairs)
        if _is_ours(table, options, repairs):
            plain.append(table.frame)
        else:
            tables.append(_one(table, options, repairs, int(file.stat().st_mtime_ns)))
    if plain and tables:
        raise BarsError(
            "some of the files are tables of bars, others have a vendor's format: read them apart", rule="one format"
        )
    if plain:
        return plain[0] if len(plain) == 1 else _sorted(pd.concat(plain, ignore_index=True)), None
    frame, reading = joined(tables)
    if len(tables) > 1 and "drop_repeats" in repairs:  # what one file repeats of another
        frame, changes = repaired(frame, ["drop_repeats"], as_of=reading.as_of or 0)
        reading = reading.with_repairs(changes)
    return _finished(frame, reading, options)


def load_table(
    table: object, options: ReadOptions, repairs: Sequence[str]
) -> tuple[pd.DataFrame | object, Reading | None]:
    """A table in memory, or a mapping from symbols to tables, as a table of bars; see :func:`load_files`."""
    if isinstance(table, Mapping) and table and all(_is_rows(each) for each in table.values()):
        now = time.time_ns()
        raws = [replace(raw_table(each), symbol=str(symbol)) for symbol, each in table.items()]
        return _finished(*joined([_one(raw, options, repairs, now) for raw in raws]), options)
    raw = raw_table(table)
    if _is_ours(raw, options, repairs):
        return raw.frame, None
    return _finished(*_one(raw, options, repairs, time.time_ns()), options)


def _is_rows(table: object) -> bool:
    """Whether a value of a mapping is a table of its own: a data frame, or a list of candles."""
    if isinstance(table, pd.DataFrame):
        return True
    return isinstance(table, list) and len(table) > 0 and isinstance(table[0], list | tuple)


def _read_file(file: Path, options: ReadOptions, repairs: Sequence[str]) -> RawTable:
    suffix = suffix_of(file.name)
    if suffix in FORMATS and options.are_default and not repairs:
        header = header_of(file) if suffix in ("csv", "csv.gz") and file.is_file() else None
        if header is None or is_plain(header):
            return raw_table(read_table(file), file.name)
    return raw_table(read_raw(file))


def _is_ours(table: RawTable, options: ReadOptions, repairs: Sequence[str]) -> bool:
    """Whether the validation reads the table, or names what it lacks."""
    if not options.are_default or repairs or not table.has_header:
        return False
    ours = set(REQUIRED) & set(table.columns)
    if len(ours) == len(REQUIRED) or not table.columns or len(set(table.columns)) < len(table.columns):
        return True
    return len(ours) >= _MOSTLY and not fitting_formats(table)


def _one(table: RawTable, options: ReadOptions, repairs: Sequence[str], as_of: int) -> tuple[pd.DataFrame, Reading]:
    frame, reading = as_bars_table(table, options)
    reading = replace(reading, as_of=as_of)
    if repairs:
        frame, changes = repaired(frame, repairs, as_of=as_of)
        reading = reading.with_repairs(changes)
    return frame, reading


def _finished(frame: pd.DataFrame, reading: Reading, options: ReadOptions) -> tuple[pd.DataFrame, Reading]:
    exact = frame[EXACT].to_numpy(dtype=bool)
    if exact.all():
        return frame.drop(columns=EXACT), reading
    if options.notional is None and not exact.any():
        warnings.warn(
            f"the format {reading.format} has neither notionals nor VWAPs: all {len(frame):,} notionals are estimated "
            "as (high + low + close) / 3 times the volume, and results are judged against an estimated VWAP; "
            "notional='hlc3' (--notional hlc3) says that this is meant",
            BarsWarning,
            stacklevel=4,
        )
    return frame, reading


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of several tables of bars by symbol and time, as far as their times can be compared."""
    try:
        return frame.sort_values(["symbol", "timestamp"], kind="stable", ignore_index=True)
    except TypeError:
        return frame
