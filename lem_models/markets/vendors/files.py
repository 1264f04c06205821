"""Files of vendors as tables, without interpreting their values.

Read are ``.csv``, ``.txt``, ``.csv.gz``, ``.json`` (an array, an object of a REST API, or one record per line), a
``.zip`` archive of one of these, ``.parquet`` and ``.arrow``. A CSV need not have a header: it has one if no cell of
its first line is a number. Columns whose first cells are not numbers stay texts, and so do those that hold symbols.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from lem_models.errors import BarsError
from lem_models.guard.columns import MAX_COLUMNS, check_columns
from lem_models.guard.text import check_is_text, parse_json
from lem_models.markets.storage.files import FORMATS, read_table
from lem_models.markets.storage.packed import BoundedStream, Readable, unpacked_limit
from lem_models.markets.vendors.tables import RawTable, from_rows, is_number

__all__ = ["SUFFIXES", "files_of", "header_of", "is_pattern", "read_raw", "suffix_of"]

SUFFIXES = (*FORMATS, "txt", "txt.gz", "json", "jsonl", "json.gz", "zip")
_MAX_LINE = 1 << 18
_MAX_JSON = 1 << 28
_HEAD = 4  # lines that are looked at
_SYMBOLS = frozenset({"symbol", "ticker", "<ticker>", "instrument", "instrument_id", "s"})
_TIMES = frozenset({"timestamp", "datetime", "date", "time", "<date>", "<time>"})


def suffix_of(name: str) -> str:
    """Suffix of a file name, one of :data:`SUFFIXES`.

    Raises:
        BarsError: It has none of them.
    """
    lower = name.lower()
    suffix = next((each for each in sorted(SUFFIXES, key=len, reverse=True) if lower.endswith(f".{each}")), None)
    if suffix is None:
        raise BarsError(
            f"{name} is neither an .arrow, a .parquet, a .csv nor a .csv.gz file, nor one of "
            f"{', '.join('.' + each for each in SUFFIXES if each not in FORMATS)}",
            rule="file format",
        )
    return suffix


def is_pattern(path: object) -> bool:
    """Whether a path stands for several files: ``BTC*.zip``."""
    return isinstance(path, str | os.PathLike) and glob.has_magic(os.fspath(path)) and not Path(path).exists()


def files_of(path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that a path, a pattern such as ``data/BTC*.zip``, or several of these stand for, sorted by name.

    Raises:
        BarsError: No file fits a pattern, or there are no paths.
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    files: list[Path] = []
    for each in paths:
        if is_pattern(each):
            matching = sorted(Path(name) for name in glob.glob(os.fspath(each), recursive=True))
            if not matching:
                raise BarsError(f"no file fits {each}", rule="readable file")
            files += matching
        else:
            files.append(Path(each))
    if not files:
        raise BarsError("no files are named", rule="readable file")
    return files


def header_of(path: Path) -> list[str] | None:
    """The cells of the first line of a ``.csv`` or ``.csv.gz`` file; ``None`` if it cannot be read."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            line = file.readline(_MAX_LINE)
        return next(csv.reader([line.decode("utf-8-sig").rstrip("\r\n")]), None)
    except (OSError, EOFError, ValueError, csv.Error, zlib.error):
        return None


def read_raw(path: Path) -> RawTable:
    """Read a file into a table whose columns have the vendor's names.

    Args:
        path: A file with one of the suffixes.

    Raises:
        BarsError: There is no such file, or it cannot be read.
    """
    suffix = suffix_of(path.name)
    if not path.is_file():
        raise BarsError(f"there is no file {path}", rule="readable file")
    if suffix in ("parquet", "arrow"):
        return RawTable(read_table(path), path.name)
    try:
        if suffix == "zip":
            return _from_zip(path)
        with path.open("rb") as file:
            if not suffix.endswith(".gz"):
                return _from_stream(file, suffix, path.name)
            packed = gzip.GzipFile(fileobj=file)
            limited = BoundedStream(packed, unpacked_limit(path.stat().st_size))
            return _from_stream(limited, suffix.removesuffix(".gz"), path.name)
    except BarsError:
        raise
    except (
        pa.ArrowException,
        zipfile.BadZipFile,
        OSError,
        ValueError,
        TypeError,
        OverflowError,
        EOFError,
        RuntimeError,  # an encrypted archive
        NotImplementedError,  # an unknown compression
        csv.Error,
        struct.error,
        zlib.error,
    ) as error:
        raise BarsError(f"{path} cannot be read as {suffix}: {error}", rule="readable file") from error


def _from_zip(path: Path) -> RawTable:
    """The one table in an archive."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        members = [member for member in members if not member.filename.startswith("__MACOSX/")]
        if len(members) != 1:
            raise ValueError(f"it holds {len(members)} files; an archive of one CSV is read")
        name = Path(members[0].filename).name
        suffix = suffix_of(name)
        if suffix not in ("csv", "txt", "json", "jsonl"):
            raise ValueError(f"it holds {name}; an archive of one CSV is read")
        with archive.open(members[0]) as file:
            return _from_stream(BoundedStream(file, unpacked_limit(path.stat().st_size)), suffix, name)


def _from_stream(stream: Readable, suffix: str, name: str) -> RawTable:
    if suffix in ("json", "jsonl"):
        content = stream.read(_MAX_JSON + 1)
        if len(content or b"") > _MAX_JSON:
            raise ValueError(f"it has more than {_MAX_JSON:,} bytes of JSON")
        return _from_json((content or b"").decode("utf-8-sig"), name)
    return _from_csv(stream, name)


# --- CSV -------------------------------------------------------------------------------------------------------------


class _Joined(io.RawIOBase):
    """Bytes that were read already, then the rest of the stream."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        super().__init__()
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._rest.read(size) or b""
        content, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
        return content + (self._rest.read(-1) or b"" if size < 0 else b"")


def _from_csv(stream: Readable, name: str) -> RawTable:
    head = b""
    while head.count(b"\n") < _HEAD:
        piece = stream.read(_MAX_LINE)
        if not piece:
            break
        head += piece
        if len(head) > _HEAD * _MAX_LINE:
            raise ValueError(f"one of its first lines has more than {_MAX_LINE:,} bytes")
    check_is_text(head)
    if head and b"\n" not in head:
        head += b"\n"  # a header alone: a table without rows
    lines = head.split(b"\n")[:_HEAD]
    if any(len(line) >= _MAX_LINE for line in lines):
        raise ValueError(f"one of its first lines has more than {_MAX_LINE:,} bytes")
    texts = [line.decode("utf-8-sig", errors="replace").rstrip("\r") for line in lines]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError("it is empty")
    separator = max(",;\t", key=texts[0].count)
    cells = list(csv.reader(texts, delimiter=separator))
    if len(cells[0]) > MAX_COLUMNS:
        raise ValueError(f"it has more than {MAX_COLUMNS:,} columns")
    headers = _header_lines(cells)
    data = cells[headers] if len(cells) > headers else []
    names = _column_names(cells, headers)
    kinds = {
        name: pa.string()
        for position, name in enumerate(names)
        if _is_text(name, data[position] if position < len(data) else "")
    }
    table = pyarrow.csv.read_csv(
        _Joined(head, stream),
        read_options=pyarrow.csv.ReadOptions(column_names=names, skip_rows=headers),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(column_types=kinds),
    )
    check_columns(name, table.schema)
    frame = table.to_pandas(ignore_metadata=True)
    if headers > 1:
        index, levels = frame.columns[0], list(zip(*(row[1:] for row in cells[:2]), strict=True))
        stacked = frame.set_index(index)
        stacked.index.name = cells[headers - 1][0].strip() or "Date"
        stacked.columns = pd.MultiIndex.from_tuples(levels)
        return RawTable(stacked, name)
    return RawTable(frame, name, has_header=headers == 1)


def _header_lines(cells: Sequence[Sequence[str]]) -> int:
    """Number of lines before the first row of numbers; three are those of a table with two levels of columns."""
    if any(is_number(cell) for cell in cells[0]):
        return 0
    is_wide = len(cells) > 2 and cells[2][0].strip() != "" and not any(cell.strip() for cell in cells[2][1:])
    return 3 if is_wide and not any(is_number(cell) for cell in cells[1]) else 1


def _column_names(cells: Sequence[Sequence[str]], headers: int) -> list[str]:
    if headers == 1:
        names = [cell.strip() for cell in cells[0]]
        unnamed = iter(range(len(names)))
        names = [
            name or ("index" if not position else f"column {next(unnamed)}") for position, name in enumerate(names)
        ]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise BarsError("the table has this column more than once", column=repeated, rule="unique columns")
        return names
    return [str(position) for position in range(len(cells[0]))]


def _is_text(name: str, cell: str) -> bool:
    return name.lower() in _SYMBOLS or name.lower() in _TIMES or not (is_number(cell) or not cell.strip())


# --- JSON ------------------------------------------------------------------------------------------------------------


def _from_json(text: str, name: str) -> RawTable:
    stripped = text.lstrip()
    first, _, rest = stripped.partition("\n")
    is_lines = first.rstrip().startswith("{") and first.rstrip().endswith("}") and rest.strip() != ""
    if is_lines:
        lines = ",".join(line for line in text.splitlines() if line.strip())
        return from_rows(parse_json(f"[{lines}]"), name)
    return from_rows(parse_json(text), name)
