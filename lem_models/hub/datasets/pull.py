"""Bars from a data set on the Hub: at once, or piece by piece.

What is published is a stranger's. File names and the card are looked at before anything is downloaded, the footers of
the files before anything is unpacked (:mod:`~lem_models.guard.parquet`), and the rows are validated as those of any
table of bars. Bars that this package published carry their content hash, which is compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from lem_models.errors import BarsError, HubError
from lem_models.guard.parquet import GuardedParquet, Limits, LocalFile
from lem_models.hub.datasets.files import Snapshot, open_snapshot
from lem_models.hub.datasets.shards import Record
from lem_models.hub.datasets.splits import split_files
from lem_models.hub.repository import HubFile, Repository

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars
from lem_models.markets.calendar.choice import CalendarChoice

__all__ = ["HubStream", "frame_of", "pull_bars", "stream_bars"]


def pull_bars(
    repo_id: str,
    *,
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    calendar: CalendarChoice = "auto",
    frequency: str | pd.Timedelta | None = None,
    limits: Limits | None = None,
) -> Bars:
    """Download a split and read it into memory; see :meth:`lem_models.Bars.from_hub`."""
    from lem_models.markets.bars import Bars

    snapshot = open_snapshot(
        repo_id, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
    )
    files = split_files(snapshot, split, config)
    limits = limits or Limits()
    _check_size(sum(file.size or 0 for file in files), limits, f"the split {split!r} of {repo_id!r}")
    paths = snapshot.download(files)
    opened = [LocalFile(path, f"{file.path} of {repo_id!r}") for path, file in zip(paths, files, strict=True)]
    try:
        guarded = [GuardedParquet(file, limits) for file in opened]
        _check_size(sum(file.expanded for file in guarded), limits, f"the split {split!r} of {repo_id!r}")
        record = _one_record([Record.of(file.metadata, file.name) for file in guarded], repo_id)
        tables = [piece for file in guarded for piece in _same_columns(file, guarded[0], record)]
    finally:
        for file in opened:
            file.close()
    if not tables:
        raise BarsError(f"the split {split!r} of {repo_id!r} has no rows", rule="at least one bar")
    frame = frame_of(tables)
    calendar, frequency = _as_recorded(record, calendar, frequency)
    bars = Bars.from_frame(frame, calendar=calendar, frequency=frequency)
    _check_hash(bars.content_hash, record, repo_id)
    return bars


def stream_bars(
    repo_id: str,
    *,
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    calendar: CalendarChoice = "auto",
    frequency: str | pd.Timedelta | None = None,
    limits: Limits | None = None,
) -> HubStream:
    """Look at a split without downloading it; see :meth:`lem_models.Bars.from_hub`."""
    snapshot = open_snapshot(
        repo_id, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
    )
    return HubStream(snapshot, split_files(snapshot, split, config), split, calendar, frequency, limits)


def frame_of(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """Pieces as one data frame.

    Raises:
        BarsError: They hold values that a data frame cannot.
    """
    try:
        frame: pd.DataFrame = pa.concat_tables(tables).unify_dictionaries().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise BarsError(f"the columns cannot be read: {error}", rule="readable file") from None
    return frame


class HubStream:
    """A split on the Hub, read piece by piece as it is gone over; nothing is kept on disk.

    Iterating gives Arrow tables of some 100,000 bars, each checked by the rules of a table of bars. It can be done
    again, and starts anew each time; every time the same commit is read.

    Attributes:
        repo_id: ``org/name``.
        revision: The commit.
        split: Name of the split.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        files: Sequence[HubFile],
        split: str,
        calendar: CalendarChoice = "auto",
        frequency: str | pd.Timedelta | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.repo_id, self.revision, self.split = snapshot.repo_id, snapshot.revision, split
        self._snapshot, self._files, self._limits = snapshot, tuple(files), limits
        self._calendar, self._frequency = calendar, frequency

    def __repr__(self) -> str:
        """Where the bars come from."""
        count = len(self._files)
        return (
            f"HubStream({self.repo_id!r}, split {self.split!r}, {count} file{'' if count == 1 else 's'}, "
            f"commit {self.revision[:12]})"
        )

    def __iter__(self) -> Iterator[pa.Table]:
        """The bars, piece by piece.

        Raises:
            BarsError: A bar breaks a rule, or a file is no parquet or asks for too much.
            LEMError: The Hub fails.
        """
        from lem_models.markets.storage.pieces import PieceCheck

        check = PieceCheck()
        for piece in self._pieces():
            check.add(piece)
            yield piece

    def write(self, path: str | os.PathLike[str]) -> Bars:
        """Write the bars to an ``.arrow`` file, in bounded memory.

        Args:
            path: The file; an existing one is replaced when all is well.

        Returns:
            The bars, mapped from the file.

        Raises:
            BarsError: A bar breaks a rule, rows are not sorted by symbol and time, or the file cannot be written.
            LEMError: The Hub fails.
        """
        from lem_models.markets.storage.files import writing
        from lem_models.markets.storage.writer import store_bars

        first = self._open(self._files[0])
        record = Record.of(first.metadata, first.name)
        calendar, frequency = _as_recorded(record, self._calendar, self._frequency)
        target = Path(path)
        with writing(target) as partial:
            aside = partial.with_suffix(".arrow")
            try:
                bars = store_bars(self._pieces(), aside, calendar=calendar, frequency=frequency)
                _check_hash(bars.content_hash, record, self.repo_id)
                del bars
                aside.replace(partial)
            finally:
                aside.unlink(missing_ok=True)
        from lem_models.markets.bars import Bars

        return Bars.read(target)

    def _pieces(self) -> Iterator[pa.Table]:
        first, known = None, None
        for file in self._files:
            guarded = self._open(file)
            record = Record.of(guarded.metadata, guarded.name)
            if first is None:
                first, known = guarded, record
            if record != known or (record is not None and record.shards != len(self._files)):
                raise _other_bars(self.repo_id)
            yield from _same_columns(guarded, first, record)

    def _open(self, file: HubFile) -> GuardedParquet:
        if self._snapshot.repository is None:
            (path,) = self._snapshot.download([file])
            return GuardedParquet(LocalFile(path, file.path), self._limits)
        return GuardedParquet(_RemoteFile(self._snapshot.repository, file), self._limits)


class _RemoteFile:
    """A file on the Hub, of which ranges are asked for."""

    def __init__(self, repository: Repository, file: HubFile) -> None:
        self.name = f"{file.path} of {repository.repo_id!r}"
        self._repository, self._file = repository, file
        if file.size is None:
            raise HubError(f"the Hub does not say how long {self.name} is", repo_id=repository.repo_id)
        self.size = file.size

    def fetch(self, first: int, last: int) -> bytes:
        data = self._repository.fetch_range(self._file, first, last)
        if len(data) != last - first:
            raise HubError(
                f"the Hub sent {len(data):,} bytes of {self.name} instead of {last - first:,}: try again",
                repo_id=self._repository.repo_id,
            )
        return data


def _check_size(total: int, limits: Limits, what: str) -> None:
    """Check what a split takes: as it is stored, before it is downloaded, and in memory, before it is unpacked."""
    if total > limits.total_bytes:
        raise BarsError(
            f"{what} would take {total:,} bytes, more than {limits.total_bytes:,}; with streaming=True it is read "
            "piece by piece",
            rule="bounded expansion",
        )


def _same_columns(file: GuardedParquet, first: GuardedParquet, record: Record | None) -> Iterator[pa.Table]:
    """Pieces of a file, with the columns of the first file in its order."""
    if sorted(file.schema.names) != sorted(first.schema.names):
        raise BarsError(
            f"{file.name} has the columns {file.schema.names}, {first.name} has {first.schema.names}",
            rule="same columns",
        )
    for field in first.schema:
        other = file.schema.field(field.name).type
        if other != field.type and not (pa.types.is_dictionary(other) and pa.types.is_dictionary(field.type)):
            raise BarsError(
                f"{file.name} has a column of type {other}, which is {field.type} in {first.name}",
                column=field.name,
                rule="same columns",
            )
    seconds = set() if record is None else set(record.seconds)
    for piece in file.pieces():
        table = piece.select(first.schema.names).replace_schema_metadata(None)
        for number, field in enumerate(table.schema):
            if field.name in seconds and pa.types.is_timestamp(field.type):
                try:
                    column = table.column(number).cast(pa.timestamp("s", field.type.tz))
                except pa.ArrowInvalid as error:
                    raise BarsError(f"{file.name} has no whole seconds: {error}", column=field.name) from None
                table = table.set_column(number, field.name, column)
        yield table


def _one_record(records: Sequence[Record | None], repo_id: str) -> Record | None:
    first = records[0]
    if any(record != first for record in records) or (first is not None and first.shards != len(records)):
        raise _other_bars(repo_id)
    return first


def _other_bars(repo_id: str) -> BarsError:
    return BarsError(
        f"the files of {repo_id!r} do not belong together: a shard is missing or another's", rule="content hash"
    )


def _as_recorded(
    record: Record | None, calendar: CalendarChoice, frequency: str | pd.Timedelta | None
) -> tuple[CalendarChoice, str | pd.Timedelta | None]:
    """Calendar and frequency as they were published, where the caller does not say otherwise."""
    if record is None:
        return calendar, frequency
    length = pd.Timedelta(record.frequency, unit="ns") if frequency is None else frequency
    return record.calendar if calendar == "auto" else calendar, length


def _check_hash(found: str, record: Record | None, repo_id: str) -> None:
    if record is not None and found != record.content_hash:
        raise BarsError(
            f"the bars of {repo_id!r} have the content hash {found}, {record.content_hash} was published",
            rule="content hash",
        )
