"""Read bars from a data set on the Hub: at once, or piece by piece.

The data set is untrusted. File names and the card are checked before anything is downloaded, and the footers of the
files before anything is unpacked (:mod:`~lem_models.guard.parquet`). The rows are validated as those of any table of
bars. Bars that this package published carry their content hash, which is compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pyarrow as pa

from lem_models.errors import BarsError, HubError
from lem_models.guard.parquet import GuardedParquet, Limits, LocalFile
from lem_models.hub.datasets.shards import SplitMetadata
from lem_models.hub.datasets.snapshot import Snapshot, open_snapshot
from lem_models.hub.datasets.splits import split_files
from lem_models.hub.repository import HubFile, Repository
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.choice import CalendarChoice

__all__ = ["HubStream", "frame_of", "load_bars"]


def load_bars(
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
    limits: Limits | None = None,
) -> Bars | HubStream:
    """A split of a data set, in memory or as a stream; see :meth:`lem_models.Bars.from_hub`."""
    snapshot = open_snapshot(
        repo_id, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
    )
    stream = HubStream(snapshot, split_files(snapshot, split, config), split, calendar, frequency, limits)
    return stream if streaming else stream.read()


def frame_of(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """Pieces as one data frame.

    Raises:
        BarsError: They hold values that a data frame cannot hold.
    """
    try:
        frame: pd.DataFrame = pa.concat_tables(tables).unify_dictionaries().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise BarsError(f"the columns cannot be read: {error}", rule="readable file") from None
    return frame


class HubStream:
    """A split on the Hub, read piece by piece; nothing is kept on disk.

    Iterating gives Arrow tables of about 100,000 bars, each checked by the rules of a table of bars. Each iteration
    starts from the beginning and reads the same commit.

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
        self.repo_id, self.revision, self.split = snapshot.repo_id, snapshot.commit, split
        self._snapshot, self._files, self._limits = snapshot, tuple(files), limits or Limits()
        self._calendar, self._frequency = calendar, frequency

    def __repr__(self) -> str:
        """Repository, split, number of files and commit."""
        count = len(self._files)
        return (
            f"HubStream({self.repo_id!r}, split {self.split!r}, {count} file{'' if count == 1 else 's'}, "
            f"commit {self.revision[:12]})"
        )

    def __iter__(self) -> Iterator[pa.Table]:
        """The bars, piece by piece.

        Raises:
            BarsError: A bar breaks a rule, or a file is not parquet or exceeds the limits.
            LEMError: The Hub fails.
        """
        from lem_models.markets.storage.pieces import PieceCheck

        check = PieceCheck()
        for piece in self._pieces():
            check.add(piece)
            yield piece

    def read(self) -> Bars:
        """Download the split and read it into memory.

        Raises:
            BarsError: A bar breaks a rule, a file is not parquet, or the split would take too much memory.
            LEMError: The Hub fails.
        """
        what = f"the split {self.split!r} of {self.repo_id!r}"
        self._check_size(sum(file.size or 0 for file in self._files), what)
        paths = self._snapshot.download(self._files)
        with ExitStack() as opened:
            files = []
            for path, file in zip(paths, self._files, strict=True):
                local = LocalFile(path, f"{file.path} of {self.repo_id!r}")
                opened.callback(local.close)
                files.append(GuardedParquet(local, self._limits))
            self._check_size(sum(file.expanded for file in files), what)
            published = self._common_metadata(files)
            tables = [piece for file in files for piece in _same_columns(file, files[0], published)]
        if not tables:
            raise BarsError(f"{what} has no rows", rule="at least one bar")
        calendar, frequency = self._calendar_and_frequency(published)
        bars = Bars.from_frame(frame_of(tables), calendar=calendar, frequency=frequency)
        self._check_hash(bars, published)
        return bars

    def write(self, path: str | os.PathLike[str]) -> Bars:
        """Write the bars to an ``.arrow`` file, in bounded memory.

        Args:
            path: The file; an existing file is replaced if there is no error.

        Returns:
            The bars, mapped from the file.

        Raises:
            BarsError: A bar breaks a rule, rows are not sorted by symbol and time, or the file cannot be written.
            LEMError: The Hub fails.
        """
        from lem_models.markets.storage.files import writing
        from lem_models.markets.storage.writer import store_bars

        first = self._open(self._files[0])
        published = SplitMetadata.of(first.metadata, first.name)
        calendar, frequency = self._calendar_and_frequency(published)
        target = Path(path)
        with writing(target) as partial:
            aside = partial.with_suffix(".arrow")
            try:
                bars = store_bars(self._pieces(), aside, calendar=calendar, frequency=frequency)
                self._check_hash(bars, published)
                del bars
                aside.replace(partial)
            finally:
                aside.unlink(missing_ok=True)
        return Bars.read(target)

    def _pieces(self) -> Iterator[pa.Table]:
        first, published = None, None
        for file in self._files:
            guarded = self._open(file)
            metadata = SplitMetadata.of(guarded.metadata, guarded.name)
            if first is None:
                first, published = guarded, metadata
            self._check_shard(metadata, published)
            yield from _same_columns(guarded, first, published)

    def _open(self, file: HubFile) -> GuardedParquet:
        if self._snapshot.repository is None:
            (path,) = self._snapshot.download([file])
            return GuardedParquet(LocalFile(path, file.path), self._limits)
        return GuardedParquet(_RemoteFile(self._snapshot.repository, file), self._limits)

    def _common_metadata(self, files: Sequence[GuardedParquet]) -> SplitMetadata | None:
        """Metadata of the split in its shards; ``None`` if this package did not write them."""
        all_metadata = [SplitMetadata.of(file.metadata, file.name) for file in files]
        for metadata in all_metadata:
            self._check_shard(metadata, all_metadata[0])
        return all_metadata[0]

    def _check_shard(self, metadata: SplitMetadata | None, first: SplitMetadata | None) -> None:
        """Check that a shard belongs to the same split as the first one, and that none is missing."""
        if metadata != first or (metadata is not None and metadata.shards != len(self._files)):
            raise BarsError(
                f"the files of {self.repo_id!r} do not belong together: a shard is missing or is of another split",
                rule="content hash",
            )

    def _calendar_and_frequency(
        self, published: SplitMetadata | None
    ) -> tuple[CalendarChoice, str | pd.Timedelta | None]:
        """The caller's, or else the published ones."""
        if published is None:
            return self._calendar, self._frequency
        length = pd.Timedelta(published.frequency, unit="ns") if self._frequency is None else self._frequency
        return published.calendar if self._calendar == "auto" else self._calendar, length

    def _check_size(self, size: int, what: str) -> None:
        """Check the size of a split: of its files before they are downloaded, in memory before they are unpacked."""
        if size > self._limits.total_bytes:
            raise BarsError(
                f"{what} would take {size:,} bytes, more than {self._limits.total_bytes:,}; with streaming=True it is "
                "read piece by piece",
                rule="bounded expansion",
            )

    def _check_hash(self, bars: Bars, published: SplitMetadata | None) -> None:
        if published is not None and bars.content_hash != published.content_hash:
            raise BarsError(
                f"the bars of {self.repo_id!r} have the content hash {bars.content_hash}, {published.content_hash} was "
                "published",
                rule="content hash",
            )


class _RemoteFile:
    """A file on the Hub that is read by ranges."""

    def __init__(self, repository: Repository, file: HubFile) -> None:
        self.name = f"{file.path} of {repository.repo_id!r}"
        self._repository, self._file = repository, file
        if file.size is None:
            raise HubError(f"the Hub does not state the size of {self.name}", repo_id=repository.repo_id)
        self.size = file.size

    def fetch(self, first: int, last: int) -> bytes:
        data = self._repository.fetch_range(self._file, first, last)
        if len(data) != last - first:
            raise HubError(
                f"the Hub sent {len(data):,} bytes of {self.name} instead of {last - first:,}: try again",
                repo_id=self._repository.repo_id,
            )
        return data


def _same_columns(file: GuardedParquet, first: GuardedParquet, published: SplitMetadata | None) -> Iterator[pa.Table]:
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
    seconds = () if published is None else published.seconds
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
