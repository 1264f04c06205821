"""Bars that do not fit into memory: checked piece by piece, and written to an Arrow file.

A piece is a table of any kind: a data frame, an Arrow table or record batch, a mapping of columns. Together the pieces
are one table, symbol by symbol, each symbol in time order. The rules of a whole table are checked in each piece and
between pieces. Each column is written to its own file beside the target; at the end they become one file.

The memory holds one piece. At the end it holds a few arrays of the market's distinct bar starts, from which the
calendar is inferred, and the other columns. For a moment the disk holds the bars twice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from typing_extensions import Self

from lem_models.errors import BarsError
from lem_models.guard.frames import is_table
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.choice import (
    CALENDAR_COLUMN,
    CalendarChoice,
    build_calendars,
    calendar_column,
    check_calendar_names,
)
from lem_models.markets.calendar.frequency import read_frequency
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.storage.files import format_of, parquet_pieces, read_table
from lem_models.markets.storage.pieces import Piece, PieceCheck
from lem_models.markets.storage.store import symbol_type, write_store
from lem_models.markets.validation import VALUES, Columns, warn_of_widened

__all__ = ["BarsWriter", "Dataset", "store_bars", "store_dataset"]

_ROWS = 1 << 20  # rows written together
_DATASET_ROWS = 1 << 17  # rows of a data set read together


class Dataset(Protocol):
    """The methods of ``datasets.Dataset`` and ``datasets.IterableDataset`` that are used."""

    def with_format(self, type: str) -> Dataset:
        """The same rows in another form."""

    def iter(self, batch_size: int) -> Iterator[pa.Table]:
        """The rows in batches."""


def store_bars(
    source: Iterable[Piece] | Piece | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    calendar: CalendarChoice = "auto",
    frequency: str | timedelta | None = None,
    unit: str | None = None,
) -> Bars:
    """Check bars and write them to an Arrow file, in bounded memory.

    Args:
        source: Pieces of a table of bars, or a file of bars; a ``.parquet`` file is read row group by row group. The
            rows are sorted by symbol and time.
        path: The ``.arrow`` file; an existing file is replaced if there is no error.
        calendar: See :meth:`Bars.from_frame`.
        frequency: See :meth:`Bars.from_frame`.
        unit: See :meth:`Bars.from_frame`; with ``"auto"`` the first bar decides.

    Returns:
        The bars, mapped from the file.

    Raises:
        BarsError: A bar breaks a rule, the rows are not sorted by symbol and time, or a file cannot be read or written.
        UnknownNameError: There is no calendar, or no unit, of this name.

    Example:
        >>> import tempfile
        >>> days = pd.date_range("2024-01-01", periods=48, freq="h", tz="UTC")
        >>> piece = {"timestamp": days, "symbol": ["BTCUSDT"] * 48, "open": [10.0] * 48, "high": [12.0] * 48,
        ...          "low": [9.0] * 48, "close": [11.0] * 48, "volume": [2.0] * 48, "notional": [21.0] * 48}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store_bars([piece], Path(folder) / "bars.arrow")
        Bars(1 symbol, 48 bars, 2024-01-01 00:00 to 2024-01-02 23:00 UTC, every 1h, calendar 24/7, 0 gaps)
    """
    with BarsWriter(path, calendar=calendar, frequency=frequency, unit=unit) as writer:
        for piece in _pieces(source):
            writer.write(piece)
    return Bars.read(path)


class BarsWriter:
    """Writes an Arrow file of bars piece by piece; see :func:`store_bars`.

    Use it as a context. The file appears when the context ends without an error; otherwise nothing is left behind.
    After a refused piece there is no file, even if the caller caught the error, because the table is not whole.

    Args:
        path: The ``.arrow`` file.
        calendar: See :meth:`Bars.from_frame`.
        frequency: See :meth:`Bars.from_frame`.
        unit: See :meth:`Bars.from_frame`; with ``"auto"`` the first bar decides.

    Raises:
        BarsError: The suffix is not ``.arrow``; or, on entering the context, the file cannot be written.
        UnknownNameError: There is no calendar, or no unit, of this name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        calendar: CalendarChoice = "auto",
        frequency: str | timedelta | None = None,
        unit: str | None = None,
    ) -> None:
        self._path = Path(path)
        if format_of(self._path) != "arrow":
            raise BarsError(
                f"{self._path} is not an .arrow file; only .arrow files are written in pieces", rule="file format"
            )
        check_calendar_names(calendar)
        self._calendar = calendar
        self._frequency = None if frequency is None else read_frequency(frequency)
        self._check = PieceCheck(unit)
        self._extra: pa.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None
        self._folder: Path  # of the columns, made in __enter__
        self._was_entered = False
        self._files: dict[str, BinaryIO] = {}
        self._is_ready = False  # between pieces, in the context

    def __enter__(self) -> Self:
        """Open files beside the target."""
        if self._was_entered:
            raise BarsError(f"a writer writes one file; make another one for {self._path}", rule="one context")
        if self._path.is_dir():
            raise BarsError(f"{self._path} cannot be written: it is a folder", rule="writable file")
        with self._writing():
            folder = tempfile.mkdtemp(dir=self._path.parent, prefix=f".{self._path.name}.", suffix=".partial")
            self._folder, self._was_entered = Path(folder), True
            try:
                for name in ("timestamp", *VALUES):
                    self._files[name] = (self._folder / name).open("wb")
            except OSError:
                self._discard()
                raise
        self._is_ready = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Assemble the file, or remove everything that was written."""
        try:
            if kind is None:
                self._check_ready()
                self._assemble()
        finally:
            self._is_ready = False
            self._discard()

    def write(self, piece: Piece) -> None:
        """Check and append rows.

        Args:
            piece: The next rows: more bars of the last symbol, or of other symbols. It may be empty.

        Raises:
            BarsError: A bar breaks a rule, or the rows cannot be written; then the writer writes no file. Also when it
                is not used as a context.
        """
        self._check_ready()
        self._is_ready = False
        self._append(piece)
        self._is_ready = True

    def _check_ready(self) -> None:
        """Check that every piece so far was accepted."""
        if not self._is_ready:
            used = "an earlier piece was refused" if self._files else "the writer is not used as a context ('with')"
            raise BarsError(f"{self._path} cannot be written: {used}", rule="whole table")

    def _append(self, piece: Piece) -> None:
        columns = self._check.add(piece)
        if columns is None:
            return
        with self._writing():
            # Not ndarray.tofile: it buffers, and does not report a full disk at the last bytes.
            self._files["timestamp"].write(columns.timestamp.data)
            for name, values in columns.values.items():
                self._files[name].write(values.data)
            self._write_extra(columns.extra.rename(columns=str))

    def _write_extra(self, extra: pd.DataFrame) -> None:
        """Append the other columns, in the types of the first piece."""
        if self._schema is None:
            table = pa.Table.from_pandas(extra, preserve_index=False).replace_schema_metadata(None)
            # Categories differ between pieces, so their values are written.
            plain = [
                pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
                for field in table.schema
            ]
            self._schema = pa.schema(plain)
            if plain:
                self._extra = pa.ipc.new_stream(str(self._folder / "extra"), self._schema)
        if list(extra.columns) != self._schema.names:
            raise BarsError(
                f"the other columns are {list(extra.columns)}, those of the first piece were {self._schema.names}",
                rule="same columns",
            )
        if self._extra is not None:
            try:
                self._extra.write_table(pa.Table.from_pandas(extra, schema=self._schema, preserve_index=False))
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
                raise BarsError(
                    f"another column has other types than in the first piece ({self._schema}): {error}",
                    rule="same columns",
                ) from error

    def _assemble(self) -> None:
        if not self._check.rows:
            raise BarsError("the table has no rows", rule="at least one bar")
        with self._writing():
            for file in self._files.values():
                file.close()
            if self._extra is not None:
                self._extra.close()
        symbols = tuple(self._check.symbols)
        offsets = np.concatenate([[0], np.cumsum(list(self._check.symbols.values()))]).astype(np.int64)
        numbers = self._number_symbols(offsets)
        timestamp = np.memmap(self._folder / "timestamp", np.int64, "r")
        values = {name: np.memmap(self._folder / name, np.float64, "r") for name in VALUES}
        columns = Columns(
            symbols, offsets, timestamp, dict(values), pd.DataFrame(index=pd.RangeIndex(self._check.rows))
        )
        extra: pd.DataFrame | pa.Table = columns.extra
        calendar = self._calendar
        if self._extra is not None:
            with pa.ipc.open_stream(pa.memory_map(str(self._folder / "extra"))) as stream:
                extra = stream.read_all()
            if calendar == "auto" and CALENDAR_COLUMN in extra.column_names:
                calendar = calendar_column(extra.column(CALENDAR_COLUMN).to_pandas(), symbols, offsets)
        built = build_calendars(calendar, symbols, offsets, timestamp, self._frequency)
        grid = Grid.build(built, offsets, timestamp, values["volume"])
        write_store(columns, grid, numbers, extra, self._path)
        warn_of_widened(self._check.widened, self._check.first_widened)

    def _number_symbols(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The number of each row's symbol, in a file."""
        kind = np.dtype(symbol_type(len(offsets) - 1))
        with self._writing(), (self._folder / "symbol").open("wb") as file:
            for number, count in enumerate(np.diff(offsets).tolist()):
                for begin in range(0, count, _ROWS):
                    file.write(np.full(min(_ROWS, count - begin), number, dtype=kind).data)
        return np.memmap(self._folder / "symbol", kind, "r")

    def _discard(self) -> None:
        for file in (*self._files.values(), self._extra):
            with contextlib.suppress(OSError, pa.ArrowException):  # the disk is full
                if file is not None:
                    file.close()
        self._files.clear()
        if self._was_entered:
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise BarsError(f"{self._path} cannot be written: {error}", rule="writable file") from error


def store_dataset(
    dataset: Dataset,
    path: str | os.PathLike[str],
    *,
    calendar: CalendarChoice = "auto",
    frequency: str | timedelta | None = None,
    unit: str | None = None,
) -> Bars:
    """Write the bars of a data set of the library ``datasets``; see :meth:`Bars.from_dataset`."""
    if isinstance(dataset, Mapping):
        raise BarsError(f"the data set has the splits {list(dataset)}; take one of them", rule="one table")
    if not (callable(getattr(dataset, "with_format", None)) and callable(getattr(dataset, "iter", None))):
        raise BarsError(
            f"a datasets.Dataset or datasets.IterableDataset is needed, not a {type(dataset).__name__}", rule="table"
        )
    tables = dataset.with_format("arrow").iter(batch_size=_DATASET_ROWS)
    return store_bars(tables, path, calendar=calendar, frequency=frequency, unit=unit)


def _pieces(source: Iterable[Piece] | Piece | str | os.PathLike[str]) -> Iterator[Piece]:
    if is_table(source):
        yield source
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_file() and format_of(path) == "parquet":
            yield from parquet_pieces(path)
        else:
            yield read_table(path)
    elif isinstance(source, Iterable):
        yield from source
    else:
        raise BarsError(
            f"bars come as a table, as tables in sequence or as a file, not as a {type(source).__name__}", rule="table"
        )
