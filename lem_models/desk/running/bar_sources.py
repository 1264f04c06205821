"""Where a running desk gets its bars from: a file, a folder of files, or a websocket (:mod:`.socket_bars`).

A source is asked now and then for what has come. It hands out every new bar, those of one moment together, and bars
that came again with other numbers. What to make of late, doubled or missing ones is the desk's business.
"""

from __future__ import annotations

import glob
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from lem_models.errors import BarsError, LEMError
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.validation import VALUES

__all__ = ["BarFiles", "BarSource", "closed_by"]

_SUFFIXES = (".arrow", ".parquet", ".csv", ".csv.gz", ".txt", ".json", ".zip")
_REVISED = 500  # last bars of a symbol that are looked through for other numbers
_SKEW = 2 * 10**9  # nanoseconds that clocks may differ by
_NUMBER = re.compile(r"\d[\d,.]*")
_COLUMNS = ("timestamp", *VALUES)


class BarSource(Protocol):
    """Bars as they close."""

    def history(self) -> Bars | None:
        """What is there now, for new orders; ``None`` for a source that has no past."""
        ...

    def follow(self, after: Mapping[str, int]) -> None:
        """Hand out bars of symbols from the ones after these starts on, nanoseconds UTC."""
        ...

    def poll(self) -> tuple[list[pd.DataFrame], list[str]]:
        """What has come since the last call.

        Returns:
            Tables of bars, one for each moment, the earliest first; and messages about what could not be read.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class BarFiles:
    """Bars of a file that grows or is replaced, or of the files of a folder.

    The files are read again whenever one of them has changed. A file that cannot be read now, because somebody writes
    it, is read later. A text file whose last line has no end yet is taken once it has stopped growing. A last bar
    that has not closed by the clock is held back until it has.

    Args:
        place: A file, a folder of files of one format, or a pattern.
        read: Reads a file or a pattern.
        clock: The time, nanoseconds UTC.

    Raises:
        BarsError: There is no such file, or it cannot be read.
    """

    def __init__(self, place: Path, read: Callable[[Path], Bars], clock: Callable[[], int] = time.time_ns) -> None:
        self.place, self._read, self._clock = place, read, clock
        self._first: dict[str, int] = {}  # older bars are history, also those that come again
        self._after: dict[str, int] = {}
        self._seen: tuple[tuple[str, int, int, int], ...] = ()
        self._unended: tuple[tuple[str, int, int, int], ...] = ()
        self._message = ""
        self._warned: set[str] = set()
        self._handed: dict[str, pd.DataFrame] = {}
        self._bars: Bars | None = None
        self._reload(first=True)

    def history(self) -> Bars | None:
        """See :class:`BarSource`."""
        return None if self._bars is None else closed_by(self._bars, self._clock())

    def follow(self, after: Mapping[str, int]) -> None:
        """Hand out bars of symbols from the ones after these starts on, nanoseconds UTC; other symbols not at all."""
        for name, at in after.items():
            self._first.setdefault(name, at)
            self._after.setdefault(name, at)

    def poll(self) -> tuple[list[pd.DataFrame], list[str]]:
        """See :class:`BarSource`."""
        messages = self._reload(first=False)
        return ([] if self._bars is None else self._new(self._bars)), messages

    def close(self) -> None:
        """See :class:`BarSource`."""

    def _files(self) -> list[Path]:
        if self.place.is_dir():
            files = [each for each in sorted(self.place.iterdir()) if _suffix(each) and each.name[0] != "."]
            kinds = {_suffix(each) for each in files}
            if len(kinds) > 1:
                raise BarsError(
                    f"{self.place} holds files of {' and '.join(sorted(kinds))}: keep one format", rule="one format"
                )
            if not files:
                raise BarsError(f"{self.place} holds no file of bars", rule="readable file")
            return files
        if glob.has_magic(str(self.place)) and not self.place.exists():
            files = [Path(each) for each in sorted(glob.glob(str(self.place), recursive=True))]
            if files:
                return files
        elif self.place.is_file():
            return [self.place]
        raise BarsError(f"there is no file {self.place}", rule="readable file")

    def _reload(self, *, first: bool) -> list[str]:
        """Read the files if one of them has changed; messages about what could not be read."""
        try:
            files = self._files()
            stamps = tuple(_stamp(each) for each in files)
            if stamps == self._seen:
                return []
            # Once: a file at rest may well end without a line end.
            if not first and stamps != self._unended and any(not _is_ended(each) for each in files):
                self._unended = stamps
                return []
            where = self.place / f"*{_suffix(files[0])}" if self.place.is_dir() else self.place
            self._bars = self._read_warning_once(where)
            self._seen = stamps
            self._message = ""
        except (LEMError, OSError, ValueError) as error:
            if first:
                raise
            text = f"{self.place} cannot be read now: {error}"
            if text == self._message:
                return []
            self._message = text
            return [text]
        return []

    def _read_warning_once(self, where: Path) -> Bars:
        """Read; a file that grows by a bar is warned of only if the warning differs in more than its numbers."""
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            bars = self._read(where)
        for each in heard:
            text = _NUMBER.sub("", str(each.message))
            if text not in self._warned:
                self._warned.add(text)
                warnings.warn(each.message, stacklevel=2)
        return bars

    def _new(self, bars: Bars) -> list[pd.DataFrame]:
        """New bars, and those that came again with other numbers, by their moment."""
        tables, now = [], self._clock()
        for name, first in self._first.items():
            if name not in bars.symbols:
                continue
            number = bars.number_of(name)
            low, high = int(bars.offsets[number]), int(bars.offsets[number + 1])
            stamps = bars.timestamp[low:high]
            high = low + int(np.searchsorted(stamps, _newest(bars, now), side="right"))
            stamps = bars.timestamp[low:high]
            begin = low + int(np.searchsorted(stamps, first, side="right"))
            begin = min(
                max(begin, high - _REVISED), low + int(np.searchsorted(stamps, self._after[name], side="right"))
            )
            if begin >= high:
                continue
            own = pd.DataFrame({each: getattr(bars, each)[begin:high] for each in _COLUMNS})
            own.index = pd.Index(own["timestamp"])
            before = self._handed.get(name)
            if before is not None:
                same = before.reindex(own.index)
                told = own.index.isin(before.index) & np.asarray((same[list(VALUES)] == own[list(VALUES)]).all(axis=1))
                fresh = own[~told]
            else:
                fresh = own
            if len(fresh):
                tables.append(fresh.assign(symbol=name))
                self._after[name] = max(self._after[name], int(own.index[-1]))
            self._handed[name] = own.tail(_REVISED)
        if not tables:
            return []
        table = pd.concat(tables, ignore_index=True)
        table["timestamp"] = pd.to_datetime(table["timestamp"], unit="ns", utc=True)
        return [each for _, each in table.groupby("timestamp", sort=True)]


def closed_by(bars: Bars, now: int) -> Bars:
    """The bars without those that have not closed by a time, nanoseconds UTC.

    Raises:
        BarsError: None has closed.
    """
    newest = _newest(bars, now)
    if int(bars.timestamp.max()) <= newest:
        return bars
    return bars.between(end=moment(newest + 1))


def _newest(bars: Bars, now: int) -> int:
    """Latest start of a bar that has closed, nanoseconds UTC."""
    return now + _SKEW - int(bars.frequency.value)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return next((each for each in _SUFFIXES if name.endswith(each)), "")


def _stamp(path: Path) -> tuple[str, int, int, int]:
    about = path.stat()
    return str(path), about.st_ino, about.st_size, about.st_mtime_ns


def _is_ended(path: Path) -> bool:
    """Whether the last line of a text file is whole."""
    if _suffix(path) not in (".csv", ".txt"):
        return True
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
