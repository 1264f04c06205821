"""Binance's public archive of klines: monthly and daily zips with checksums, for spot, USD-M and COIN-M.

    data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2023-01.zip          and .zip.CHECKSUM (SHA-256)
    data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12-31.zip

A month is published some days after its end, a day the day after. The listing of the archive (that of an S3 bucket)
names the files that exist, so nothing is asked for in vain, and a late listing of a symbol differs from a failure. A
month that is missing is taken day by day.

Files are kept in a folder until the bars are written. A download that was interrupted goes on from there: a file is
used again if it still has the checksum that the archive states.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlencode

import pandas as pd

from lem_models.errors import ConfigError, DownloadError, UnknownNameError
from lem_models.guard.hashes import file_sha256
from lem_models.guard.output import Json, write_bytes
from lem_models.guard.text import shown
from lem_models.markets.calendar.frequency import clock
from lem_models.markets.download.klines import contract_size, read_klines
from lem_models.markets.download.periods import Period, read_interval
from lem_models.markets.download.source import (
    Fetched,
    Planned,
    Report,
    Request,
    Source,
    SourceFile,
    closed_bars,
)
from lem_models.markets.download.transfer import Transfer

__all__ = ["MARKETS", "BinanceArchive"]

MARKETS = {"spot": "spot", "usdm": "futures/um", "coinm": "futures/cm"}
"""Markets of the archive, and their folders."""

_DEFAULT = "https://data.binance.vision"
_DEFAULT_LISTING = "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision"
_SYMBOL = re.compile(r"[A-Z0-9]{2,40}(_[A-Z0-9]{1,20})?")
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S+)\s*")
_MAX_LISTING = 1 << 23
_MAX_PAGES = 200
_MAX_CHECKSUM = 4096
_MIN_FILE = 1 << 20  # a file may have been replaced by a larger one since it was listed
_MAX_FILE = 1 << 31
_DOWNLOADS = 3  # of a file whose checksum is wrong
_NAMESPACE = "{*}"
_MONTH = len("2023-01")


@dataclass(frozen=True)
class _File:
    """A file of the archive; ``label`` is its month or day."""

    label: str
    key: str
    bytes: int

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def period(self) -> Period:
        return _period_of(self.label)


class BinanceArchive(Source):
    """Klines of Binance's public archive; ``market`` is ``spot``, ``usdm`` or ``coinm``."""

    name = "binance"
    terms = "https://github.com/binance/binance-public-data; https://www.binance.com/en/terms"
    notional = "the exchange's own quote volume"
    calendar = "24/7"
    default_addresses: ClassVar = {"url": _DEFAULT, "listing_url": _DEFAULT_LISTING}
    options: ClassVar = {"market": "spot"}
    intervals: ClassVar = {
        read_interval(text): text
        for text in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
    }

    def __init__(self, request: Request) -> None:
        """See the class.

        Raises:
            ConfigError: The request does not fit the archive.
            UnknownNameError: There is no such market.
        """
        super().__init__(request)
        if self.chosen["market"] not in MARKETS:
            raise UnknownNameError.among("market", str(self.chosen["market"]), MARKETS)
        if self.interval == pd.Timedelta("1s") and self.chosen["market"] != "spot":
            raise ConfigError("the archive has bars of a second for spot markets only")
        for name in request.names:
            if not _SYMBOL.fullmatch(name):
                raise ConfigError(
                    f"{shown(name)} is not a symbol of Binance's archive: write it as BTCUSDT (COIN-M: BTCUSD_PERP)"
                )
        self._transfer = Transfer(request.manners)
        # A mirror has the listing beside its files.
        self._url = self.address()
        is_mirror = self.has_address() and not self.has_address("listing_url")
        self._listing = self._url if is_mirror else self.address("listing_url")
        self._files: dict[str, list[_File]] | None = None
        self._notes: dict[str, list[str]] = {}

    def addresses(self) -> dict[str, str]:
        """The address of the files, and that of their listing."""
        return {"url": self._url, "listing_url": self._listing}

    def facts(self) -> dict[str, Json]:
        """The market, and the money of a contract where it is inverse."""
        facts: dict[str, Json] = {"market": self.chosen["market"]}
        if self.chosen["market"] == "coinm":
            facts["contract_size_usd"] = {name: contract_size(name) for name in self.request.names}
        return facts

    def plan(self) -> list[Planned]:
        """The files of each symbol, from the listing of the archive.

        Raises:
            DownloadError: The archive fails, or has no bars of a symbol in the period.
        """
        planned = []
        for symbol, files in self._listed().items():
            months = sum(len(file.label) == _MONTH for file in files)
            counts = [f"{months} month{'s' * (months != 1)}"] * (months > 0)
            days = len(files) - months
            counts += [f"{days} day{'s' * (days != 1)}"] * (days > 0)
            planned.append(
                Planned(
                    symbol,
                    ", ".join(counts),
                    f"{files[0].label} to {files[-1].label}",
                    f"{self._url}/{files[0].key.rpartition('/')[0]}",
                    sum(file.bytes for file in files),
                )
            )
        return planned

    def notes(self) -> list[str]:
        """What the listing lacks."""
        return [note for notes in self._notes.values() for note in notes]

    def tables(self, report: Report) -> Iterator[Fetched]:
        """The bars, file by file.

        Raises:
            DownloadError: The archive fails, a checksum is wrong again and again, or a file cannot be read.
        """
        listed = self._listed()
        wanted = [file for files in listed.values() for file in files]
        here = self._download(wanted, report)
        for symbol, files in listed.items():
            yield from self._pieces(symbol, files, here)

    # --- which files there are ---------------------------------------------------------------------------------------

    def _listed(self) -> dict[str, list[_File]]:
        """Files of each symbol in time order; the archive is asked once."""
        if self._files is None:
            self._files = {symbol: self._files_of(symbol) for symbol in self.request.names}
        return self._files

    def _files_of(self, symbol: str) -> list[_File]:
        first = self.period.start.tz_localize(None).to_period("M")
        last = (self.period.end - pd.Timedelta(1, "ns")).tz_localize(None).to_period("M")
        months = [str(month) for month in pd.period_range(first, last, freq="M")]
        by_month = self._list(symbol, "monthly", months[0], months[-1])
        files = {label: file for label, file in by_month.items() if label in set(months)}
        missing: list[str] = []
        for is_missing, run in groupby(months, key=lambda month: month not in by_month):
            if is_missing:
                named = list(run)
                days = self._list(symbol, "daily", named[0], named[-1])
                files |= {label: file for label, file in days.items() if self._touches(label)}
                missing += self._without(named, days)
        if not files:
            raise DownloadError(
                f"Binance's archive has no {self.chosen['market']} bars of {symbol} and {clock(self.interval)} in "
                f"{self.period}: is the symbol of another market (--market), or was it listed later?",
                url=self._listing,
            )
        if missing:
            self._notes[symbol] = [
                f"{symbol}: the archive has no bars for {_runs(missing)} (not listed, or not published yet)"
            ]
        return [files[label] for label in sorted(files)]

    def _without(self, months: Sequence[str], days: dict[str, _File]) -> list[str]:
        """Months without any file, and the missing days of other months, inside the period."""
        lacking: list[str] = []
        for month in months:
            expected = [str(day) for day in pd.period_range(pd.Period(month, "M").start_time, periods=31, freq="D")]
            expected = [day for day in expected if day.startswith(month) and self._touches(day)]
            absent = [day for day in expected if day not in days]
            lacking += [month] if len(absent) == len(expected) and len(expected) > 1 else absent
        return lacking

    def _touches(self, label: str) -> bool:
        """Whether a month or day has bars in the period."""
        period = _period_of(label)
        return period.start < self.period.end and period.end > self.period.start

    def _list(self, symbol: str, kind: str, first: str, last: str) -> dict[str, _File]:
        """Files of a symbol by month or day, from the month ``first`` to the month ``last``."""
        name = self.intervals[self.interval]
        folder = f"data/{MARKETS[str(self.chosen['market'])]}/{kind}/klines/{symbol}/{name}/"
        prefix = f"{folder}{symbol}-{name}-"
        pattern = re.compile(
            rf"{re.escape(prefix)}([0-9]{{4}}-[0-9]{{2}}{'-[0-9]{2}' if kind == 'daily' else ''})\.zip"
        )
        files: dict[str, _File] = {}
        checksums: set[str] = set()
        # The listing is sorted and begins after the marker; nothing that begins with a later month is wanted.
        marker, end = f"{prefix}{first}", f"{prefix}{last}~"
        for _ in range(_MAX_PAGES):
            page, is_last = self._page(folder, marker)
            for key, size in page:
                match = pattern.fullmatch(key)
                if match and match[1][:_MONTH] <= last:
                    files[match[1]] = _File(match[1], key, size)
                checksums.add(key)
            if is_last or not page or page[-1][0] > end:
                break
            marker = page[-1][0]
        else:
            raise DownloadError(f"the listing of {folder} has no end", url=self._listing)
        bare = next((file for file in files.values() if f"{file.key}.CHECKSUM" not in checksums), None)
        if bare is not None:
            raise DownloadError(f"the archive has no checksum of {bare.key}", url=self._listing)
        return files

    def _page(self, folder: str, marker: str) -> tuple[list[tuple[str, int]], bool]:
        """Keys and sizes of one page of the listing, and whether it is the last one."""
        query = urlencode({"delimiter": "/", "prefix": folder, "marker": marker})
        url = f"{self._listing}?{query}"
        content = self._transfer.get(url, _MAX_LISTING)
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise DownloadError(f"{self._listing} sends no listing of files", url=url)
        try:
            root = xml.etree.ElementTree.fromstring(content)
            page = [
                (str(each.findtext(f"{_NAMESPACE}Key")), int(each.findtext(f"{_NAMESPACE}Size") or 0))
                for each in root.iter()
                if each.tag.rpartition("}")[2] == "Contents"
            ]
        except (xml.etree.ElementTree.ParseError, ValueError) as error:
            raise DownloadError(f"{self._listing} sends no listing of files: {error}", url=url) from None
        if root.tag.rpartition("}")[2] != "ListBucketResult":
            raise DownloadError(f"{self._listing} sends no listing of files", url=url)
        return page, root.findtext(f"{_NAMESPACE}IsTruncated") != "true"

    # --- the files ---------------------------------------------------------------------------------------------------

    def _download(self, files: Sequence[_File], report: Report) -> dict[str, SourceFile]:
        """Download the files that are not here, several at a time; facts of each by its key."""
        total = sum(file.bytes for file in files)
        here: dict[str, SourceFile] = {}
        done = 0
        report("downloading", done, total)
        with ThreadPoolExecutor(self.request.workers, thread_name_prefix="download") as threads:
            try:
                running = {threads.submit(self._fetch, file): file for file in files}
                for future in as_completed(running):
                    file = running[future]
                    here[file.key] = future.result()
                    done += file.bytes
                    report("downloading", done, total)
            except BaseException:
                # The first error, or a signal: no thread waits on, and no further file is begun.
                self._transfer.stop()
                threads.shutdown(wait=True, cancel_futures=True)
                raise
        return here

    def _fetch(self, file: _File) -> SourceFile:
        """Make sure that a file is here with the checksum that the archive states."""
        url = f"{self._url}/{quote(file.key)}"
        path = self._path(file)
        problem = ""
        for _ in range(_DOWNLOADS):
            expected = self._checksum(url, file.name)  # again each time: the file may just have been replaced
            if path.is_file():
                if file_sha256(path) == expected:
                    return SourceFile(url, expected, path.stat().st_size)
                path.unlink()
            content = self._transfer.get(url, min(max(2 * file.bytes, _MIN_FILE), _MAX_FILE))
            digest = hashlib.sha256(content).hexdigest()
            if digest == expected:
                write_bytes(path, content)
                return SourceFile(url, expected, len(content))
            problem = f"it has {len(content):,} bytes and the SHA-256 {digest}, the archive states {expected}"
        raise DownloadError(f"{url} is damaged: {problem}. Try again later; files that are here stay", url=url)

    def _checksum(self, url: str, name: str) -> str:
        content = self._transfer.get(f"{url}.CHECKSUM", _MAX_CHECKSUM)
        match = _CHECKSUM.fullmatch(content.decode("ascii", "replace"))
        if match is None or match[2] != name:
            raise DownloadError(f"{url}.CHECKSUM holds no checksum of {name}", url=f"{url}.CHECKSUM")
        return match[1].lower()

    def _path(self, file: _File) -> Path:
        return self.request.folder / file.key.partition("/")[2]

    def _pieces(self, symbol: str, files: Sequence[_File], here: dict[str, SourceFile]) -> Iterator[Fetched]:
        """The bars of a symbol, file by file; files hold disjoint periods."""
        is_inverse = self.chosen["market"] == "coinm"
        notes, is_empty = list(self._notes.get(symbol, [])), True
        for file in files:
            piece = read_klines(self._path(file), symbol, file.period, self.interval, is_inverse=is_inverse)
            piece.files, piece.notes, notes = [here[file.key]], notes, []
            closed_bars(piece, self.request)
            is_empty = is_empty and piece.table.empty
            yield piece
        if is_empty:
            raise DownloadError(f"the files of {symbol} hold no closed bar in {self.period}")


def _period_of(label: str) -> Period:
    named = pd.Period(label)
    return Period(named.start_time.tz_localize("UTC"), (named + 1).start_time.tz_localize("UTC"))


def _runs(labels: Sequence[str]) -> str:
    """Months and days in words: ``2023-01 to 2023-03, 2024-02-05``."""
    runs: list[list[str]] = []
    for label in labels:
        if runs and len(runs[-1][-1]) == len(label) and pd.Period(runs[-1][-1]) + 1 == pd.Period(label):
            runs[-1].append(label)
        else:
            runs.append([label])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
