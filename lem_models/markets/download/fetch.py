"""Fetch bars from a source, check them, and write them with a record of where they come from.

The record is a JSON file beside the bars, ``bars.parquet.source.json``: source, addresses, checksums, time, versions,
what was repaired, and where the terms of use are. It holds no keys.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from lem_models.errors import BarsError, ConfigError, UnknownNameError
from lem_models.guard.hashes import file_sha256
from lem_models.guard.output import Json, check_file, check_folder, to_json, write_text
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.choice import CalendarChoice
from lem_models.markets.calendar.frequency import clock
from lem_models.markets.download.alpaca import Alpaca
from lem_models.markets.download.archive import BinanceArchive
from lem_models.markets.download.exchanges import Exchanges
from lem_models.markets.download.hub_dataset import HubDataset
from lem_models.markets.download.periods import read_interval, read_period
from lem_models.markets.download.polygon import Polygon
from lem_models.markets.download.record import record_of
from lem_models.markets.download.source import Fetched, Planned, Report, Request, Source, SourceFile
from lem_models.markets.download.transfer import Manners
from lem_models.markets.download.yahoo import Yahoo
from lem_models.markets.storage.files import format_of
from lem_models.markets.storage.writer import store_bars

__all__ = ["SOURCES", "Download", "fetch_bars"]

SOURCES: Mapping[str, type[Source]] = {
    source.name: source for source in (BinanceArchive, Yahoo, Exchanges, Alpaca, Polygon, HubDataset)
}
"""Sources by name."""

_FORMATS = ("parquet", "arrow")
_MARK = "lem-data-fetch.txt"
SCHEMA_VERSION = 1


def fetch_bars(
    source: str,
    names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    interval: str | None = None,
    start: str | None = None,
    end: str | None = None,
    **settings: Any,
) -> Bars:
    """Fetch bars and write them to a file; see :class:`Download` for the settings.

    Returns:
        The bars.
    """
    download = Download.of(source, names, path, interval=interval, start=start, end=end, **settings)
    return download.write()


@dataclass
class Download:
    """A download that was checked, and not begun.

    Attributes:
        source: The source, with its request.
        path: The file of bars to write.
        calendar: Calendar of the bars; ``None`` for that of the source.
        keeps_files: Whether the downloaded files stay when the bars are written.
        notes: What a reader of the bars must know; filled by :meth:`write`.
        repairs: How many bars were changed or left out, by the reason; filled by :meth:`write`.
        exact_share: Share of the bars whose notional is the vendor's own; ``None`` if the source does not say.
    """

    source: Source
    path: Path
    calendar: CalendarChoice | None = None
    keeps_files: bool = False
    notes: list[str] = field(default_factory=list)
    repairs: dict[str, int] = field(default_factory=dict)
    _files: list[SourceFile] = field(default_factory=list)
    exact_share: float | None = None
    _exact: int = 0
    _bars: int = 0

    @classmethod
    def of(
        cls,
        source: str,
        names: Sequence[str],
        path: str | os.PathLike[str],
        *,
        interval: str | None = None,
        start: str | None = None,
        end: str | None = None,
        calendar: CalendarChoice | None = None,
        options: Mapping[str, Json] | None = None,
        addresses: Mapping[str, str] | None = None,
        files: str | os.PathLike[str] | None = None,
        workers: int = 4,
        manners: Manners | None = None,
        now: pd.Timestamp | None = None,
    ) -> Download:
        """Check what is to be fetched, without any request to a server.

        Args:
            source: One of :data:`SOURCES`.
            names: Symbols in the spelling of the source; before them the exchange (``ccxt``) or the data set (``hub``).
            path: The ``.parquet`` or ``.arrow`` file to write.
            interval: Length of a bar: ``"1m"``, ``"5m"``, ``"1h"``, ``"1d"``.
            start: First year, month, day or moment.
            end: Last one, included; default now.
            calendar: See :meth:`Bars.from_frame`; by default that of the source's markets.
            options: Options of the source, e.g. ``{"market": "usdm"}``.
            addresses: Base addresses that replace the source's own, e.g. ``{"url": "http://127.0.0.1:8000"}``.
            files: Folder of the downloaded files, which then stay there; by default a folder beside the target, which
                is removed when the bars are written.
            workers: Downloads at the same time.
            manners: How hard the server is asked.
            now: The present; default the clock of the machine.

        Raises:
            ConfigError: An argument does not fit the source, or the file cannot be written.
            BarsError: The suffix of the file is another one.
            UnknownNameError: There is no such source, exchange, market or data set.
        """
        if source not in SOURCES:
            raise UnknownNameError.among("source", source, SOURCES)
        target = Path(path)
        if format_of(target) not in _FORMATS:
            raise BarsError(f"bars are fetched into a .parquet or an .arrow file, not {target}", rule="file format")
        check_file(target)
        repeated = next((name for number, name in enumerate(names) if name in names[:number]), None)
        if not names or repeated is not None:
            problem = f"{repeated!r} is named twice" if repeated is not None else "no symbol is named"
            raise ConfigError(f"{problem}: lem data fetch {source} SYMBOL,SYMBOL ...")
        present = pd.Timestamp.now("UTC").floor("s") if now is None else now
        if start is None and end is not None:
            raise ConfigError("--to needs --from")
        folder = target.with_name(f"{target.name}.download") if files is None else Path(files)
        check_folder(folder)
        request = Request(
            names=tuple(names),
            interval=None if interval is None else read_interval(interval),
            period=None if start is None else read_period(start, end, present),
            folder=folder,
            now=present,
            options=dict(options or {}),
            addresses=dict(addresses or {}),
            workers=workers,
            manners=manners or Manners(),
        )
        return cls(SOURCES[source](request), target, calendar, files is not None)

    def plan(self) -> list[Planned]:
        """What would be fetched; :attr:`notes` then says what the source lacks.

        Raises:
            DownloadError: The source fails, or has nothing of a symbol.
        """
        planned = self.source.plan()
        self.notes = self.source.notes()
        return planned

    def write(self, report: Report | None = None) -> Bars:
        """Fetch the bars, check them and write them, with their record.

        Args:
            report: Called as the download proceeds.

        Returns:
            The bars.

        Raises:
            ConfigError: The folder of downloaded files holds files of others.
            DownloadError: The source fails, or sends what cannot be read. Downloaded files stay, and the next attempt
                goes on from there.
            BarsError: A bar breaks a rule, or the file cannot be written.
        """
        self.notes, self.repairs, self.exact_share = [], {}, None
        self._files, self._exact, self._bars = [], 0, 0
        folder = self.source.request.folder
        self._mark(folder)
        try:
            bars = self._write(report or _silent)
        finally:
            if [path.name for path in folder.iterdir()] == [_MARK]:  # nothing arrived
                shutil.rmtree(folder, ignore_errors=True)
        to_json(self._record(bars), record_of(self.path))
        if not self.keeps_files:
            shutil.rmtree(folder, ignore_errors=True)
        return bars

    def _mark(self, folder: Path) -> None:
        """Mark the folder of downloaded files as ours, because it is removed at the end."""
        if folder.exists() and not (folder / _MARK).is_file() and any(folder.iterdir()):
            raise ConfigError(
                f"{folder} holds other files; name another folder for those that are downloaded (--files)"
            )
        write_text(
            folder / _MARK, "Files that lem data fetch has downloaded. They are fetched again if they are removed.\n"
        )

    def _write(self, report: Report) -> Bars:
        tables = self._tables(report)
        first = next(tables)  # a data set states its calendar and frequency when it is read
        calendar = self.source.calendar if self.calendar is None else self.calendar
        frequency = self.source.frequency
        if format_of(self.path) == "arrow":
            bars = store_bars(chain([first], tables), self.path, calendar=calendar, frequency=frequency)
        else:
            whole = pd.concat([first, *tables], ignore_index=True)
            bars = Bars.from_frame(whole, calendar=calendar, frequency=frequency)
            bars.write(self.path)
        return bars

    def _tables(self, report: Report) -> Iterator[pd.DataFrame]:
        for fetched in self.source.tables(report):
            self._note(fetched)
            yield fetched.table

    def _note(self, fetched: Fetched) -> None:
        self.notes += fetched.notes
        self._files += fetched.files
        for reason, count in fetched.repairs.items():
            self.repairs[reason] = self.repairs.get(reason, 0) + count
        if "notional_exact" in fetched.table:
            self._exact += int(fetched.table["notional_exact"].sum())
            self._bars += len(fetched.table)
            self.exact_share = self._exact / self._bars

    def _record(self, bars: Bars) -> dict[str, object]:
        request = self.source.request
        period = request.period
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.source.name,
            **self.source.facts(),
            "names": request.names,
            "interval": clock(bars.frequency),
            "period": None if period is None else {"start": period.start, "end": period.end},
            "fetched_at": pd.Timestamp.now("UTC").floor("s"),
            "addresses": self.source.addresses(),
            "versions": self.source.versions(),
            "bars": len(bars),
            "content_hash": bars.content_hash,
            "sha256": file_sha256(self.path),
            "notional": self.source.notional,
            "notional_exact_share": self.exact_share,
            "repairs": self.repairs,
            "notes": self.notes,
            "terms": self.source.terms,
            "files": [{"url": file.url, "sha256": file.sha256, "bytes": file.bytes} for file in self._files],
        }


def _silent(what: str, done: int, total: int | None) -> None:
    """No report."""
