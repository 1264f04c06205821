"""Uploaded files: a stranger's bytes, checked before they are read as bars.

Only the server's own temporary copy of an upload is opened. It is copied once more, under a name made of letters and
digits, into a folder that is removed when the bars have been read: no name from outside reaches the file system, and
none is read as a pattern. Its suffix, its size and the size that it expands to are checked first; what follows are the
checks of :meth:`~lem_models.markets.bars.Bars.read`.
"""

from __future__ import annotations

import gzip
import re
import shutil
import struct
import tempfile
import threading
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lem_models.app import words
from lem_models.app.limits import LIMITS, Limits
from lem_models.errors import BarsError, BarsWarning, LEMError
from lem_models.guard.arrow import expanded_size
from lem_models.guard.parquet import GuardedParquet, LocalFile
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars
from lem_models.markets.storage.packed import BoundedStream, Readable
from lem_models.markets.vendors.files import SUFFIXES

__all__ = ["ReadSettings", "read_upload"]

_PIECE = 1 << 20
_LONGEST_NAME = 40
_NAMED_BY_FILE = (
    f"The table names no symbol: its bars are called {{symbol}}, as the file; {words.SYMBOL!r} under {words.READING!r} "
    "gives another name"
)
_READING = threading.Lock()  # warnings are caught for the whole process


@dataclass(frozen=True)
class ReadSettings:
    """What a visitor says about a file; an empty text says nothing.

    Attributes:
        symbol: Symbol of a table that does not name it.
        tz: Zone of times without one.
        calendar: Trading hours.
        repair: Repairs of tables of vendors, some of :data:`~lem_models.markets.vendors.repairs.REPAIRS`.
    """

    symbol: str = ""
    tz: str = ""
    calendar: str = "auto"
    repair: tuple[str, ...] = ()


def read_upload(
    path: str, folder: Path, settings: ReadSettings | None = None, limits: Limits = LIMITS
) -> tuple[Bars, tuple[str, ...]]:
    """Read an uploaded file as bars.

    Args:
        path: The server's copy of the file.
        folder: Folder of uploads; a file elsewhere is refused.
        settings: What the visitor says about the file.
        limits: Limits.

    Returns:
        The bars, and what a reader must know about them, one sentence each.

    Raises:
        BarsError: The file has another suffix or is too large, cannot be read, or a bar breaks a rule. The error names
            the file as the visitor does.
        UnknownNameError: There is no such calendar.
    """
    settings = settings or ReadSettings()
    file = Path(path)
    if file.is_symlink() or not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        raise BarsError("the file is not an upload: choose it again", rule="uploaded file")
    name, suffix = _safe_name(file.name)
    size = file.stat().st_size
    if size > limits.upload_bytes:
        raise _too_large(f"it has {size:,} bytes", name, limits.upload_bytes, "bytes")
    with _READING, tempfile.TemporaryDirectory(prefix="lem-upload-") as own:
        copy = Path(own) / name
        shutil.copyfile(file, copy)
        try:
            _check_unpacked(copy, suffix, limits)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                bars, named_by_file = _read(copy, settings)
                # A mapped file of bars would be read again with every use, and it was checked by who wrote it.
                bars = Bars.from_frame(bars.frame, calendar=bars.calendar_names) if suffix == "arrow" else bars
        except LEMError as error:
            raise _named(error, own) from None
    if len(bars) > limits.rows:
        raise _too_large(f"it holds {len(bars):,} bars", name, limits.rows, "bars")
    if len(bars.symbols) > limits.symbols:
        raise _too_large(f"it holds {len(bars.symbols):,} symbols", name, limits.symbols, "symbols")
    notes = [_NAMED_BY_FILE.format(symbol=bars.symbols[0])] if named_by_file else []
    notes += [] if bars.reading is None else [bars.reading.in_words()]
    notes += [str(each.message) for each in caught if issubclass(each.category, BarsWarning)]
    return bars, tuple(dict.fromkeys(note.replace(f"{own}/", "") for note in notes))


def _read(file: Path, settings: ReadSettings) -> tuple[Bars, bool]:
    """The bars of a file, and whether they have the name of the file because the table names no symbol."""

    def read(symbol: str | None) -> Bars:
        repair = settings.repair or None
        return Bars.read(file, symbol=symbol, tz=settings.tz or None, calendar=settings.calendar, repair=repair)

    try:
        return read(settings.symbol or None), False
    except BarsError as error:
        if settings.symbol or error.rule != "named symbol":
            raise
    return read("{file}"), True


def _safe_name(name: str) -> tuple[str, str]:
    """The name of a file in letters, digits, points, lines and underscores, and its suffix.

    Raises:
        BarsError: The suffix is none of those that are read.
    """
    lower = name.lower()
    suffix = next((each for each in sorted(SUFFIXES, key=len, reverse=True) if lower.endswith(f".{each}")), None)
    if suffix is None:
        known = ", ".join(f".{each}" for each in sorted(SUFFIXES))
        raise BarsError(f"{shown(name)} is no file of bars: names of such files end in {known}", rule="suffix")
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", name[: -len(suffix) - 1])[:_LONGEST_NAME].strip("_")
    return f"{stem or 'bars'}.{suffix}", suffix


def _check_unpacked(file: Path, suffix: str, limits: Limits) -> None:
    """Refuse a file that expands to more than the limit, before it is unpacked into memory."""
    try:
        if suffix == "parquet":
            source = LocalFile(file, file.name)
            try:
                table = GuardedParquet(source)
            finally:
                source.close()
            if table.rows > limits.rows:
                raise _too_large(f"it has {table.rows:,} rows", file.name, limits.rows, "rows")
            expanded = table.expanded
        elif suffix == "arrow":
            expanded = expanded_size(file) or 0
        elif suffix.endswith(".gz"):
            with gzip.open(file) as stream:
                expanded = _length(stream, limits)
        elif suffix == "zip":
            with zipfile.ZipFile(file) as archive:
                expanded = 0
                for member in archive.infolist():
                    with archive.open(member) as stream:
                        expanded += _length(stream, limits)
        else:
            return
    except BarsError:
        raise
    except (
        *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError, struct.error, zlib.error),
        *(zipfile.BadZipFile, pa.ArrowException),
    ) as error:
        raise BarsError(f"{file.name} cannot be read as {suffix}: {error}", rule="readable file") from None
    if expanded > limits.unpacked_bytes:
        raise _too_large(f"it expands to {expanded:,} bytes", file.name, limits.unpacked_bytes, "bytes")


def _length(stream: Readable, limits: Limits) -> int:
    """Bytes of a packed stream, up to the limit."""
    bounded, total = BoundedStream(stream, limits.unpacked_bytes), 0
    while piece := bounded.read(_PIECE):
        total += len(piece)
    return total


def _too_large(what: str, name: str, limit: int, unit: str) -> BarsError:
    return BarsError(
        f"{name} is too large for this app: {what}, and {limit:,} {unit} are read at most. Upload fewer bars, or use "
        "the package on your own machine",
        rule="size of an upload",
    )


def _named(error: LEMError, folder: str) -> LEMError:
    """The error without the folder that the file lay in."""
    text = str(error).replace(f"{folder}/", "")
    if isinstance(error, BarsError):
        rule = error.rule
        return BarsError(
            error.message.replace(f"{folder}/", ""),
            symbol=error.symbol,
            timestamp=error.timestamp,
            column=error.column,
            rule=rule,
        )
    return type(error)(text)
