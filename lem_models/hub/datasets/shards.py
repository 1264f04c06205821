"""Bars as shards of parquet, written one at a time, from memory or from a mapped file.

A shard is ordinary parquet: timestamps in nanoseconds UTC, symbols as texts, numbers in 64 bits, other columns in their
own types, and the types as the library ``datasets`` names them. The metadata of each shard hold the content hash of the
whole split, its calendar and its frequency (:class:`SplitMetadata`), so that the bars can be read back exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lem_models.errors import BarsError
from lem_models.markets.calendar.frequency import GROUP
from lem_models.markets.storage.store import content_hash
from lem_models.markets.validation import VALUES, Columns, check_time_order, check_values

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

__all__ = ["ShardPlan", "SplitMetadata", "check_bars", "plan_shards", "write_shard"]

KEY = b"lem_models.bars"
SCHEMA_VERSION = 1
_ROWS = 1 << 17  # of a row group
_TIMESTAMP = pa.timestamp("ns", tz="UTC")
_BAR_BYTES = 8 * (1 + len(VALUES))


@dataclass(frozen=True)
class SplitMetadata:
    """Metadata of a split, in each of its shards.

    Attributes:
        content_hash: See :attr:`~lem_models.markets.bars.Bars.content_hash`.
        bars: Bars of the split.
        shards: Shards of the split.
        calendar: Name of the calendar.
        frequency: Length of a bar in nanoseconds.
        seconds: Other columns of times in whole seconds, which parquet stores in milliseconds.
        schema_version: Version of this metadata.
    """

    content_hash: str
    bars: int
    shards: int
    calendar: str
    frequency: int
    seconds: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(cls, metadata: Mapping[bytes, bytes], name: str) -> SplitMetadata | None:
        """Read the metadata of a parquet file; ``None`` if this package did not write it.

        Raises:
            BarsError: The metadata are damaged, or of another release.
        """
        if KEY not in metadata:
            return None
        try:
            content = json.loads(metadata[KEY])
            if content["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"it has the schema version {content['schema_version']!r}, not {SCHEMA_VERSION}")
            seconds = content.pop("seconds", [])
            if not isinstance(seconds, list) or not all(isinstance(name, str) for name in seconds):
                raise TypeError("its columns of seconds are not names")
            split = cls(**content, seconds=tuple(seconds))
            kinds = {"content_hash": str, "calendar": str, "bars": int, "shards": int, "frequency": int}
            wrong = [key for key, kind in kinds.items() if type(getattr(split, key)) is not kind]
            if wrong or not 0 < split.frequency < 1 << 62:
                raise ValueError(f"its {wrong or 'frequency'} is not valid")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BarsError(
                f"the metadata of {name} about its bars cannot be read: {error}", rule="readable file"
            ) from None
        return split


@dataclass(frozen=True)
class ShardPlan:
    """How bars are cut into shards.

    Attributes:
        split: Name of the split.
        paths: Path of each shard in the repository.
        bounds: int64 [shards + 1]; shard ``i`` has the bars ``bounds[i]:bounds[i + 1]``.
        schema: Arrow schema of the shards, with their metadata.
        features: The same as ``datasets.Features``.
        extra: The other columns of the bars.
        expanded: Bytes of all shards in memory.
    """

    split: str
    paths: tuple[str, ...]
    bounds: tuple[int, ...]
    schema: pa.Schema
    features: Any
    extra: pa.Table | pd.DataFrame
    expanded: int


def check_bars(bars: Bars) -> None:
    """Check bars again by every rule, and against their content hash, in bounded memory.

    Raises:
        BarsError: A bar breaks a rule, or the file that the bars are mapped from was changed.
    """
    for begin in range(0, len(bars), GROUP):
        first, last = max(begin - 1, 0), min(begin + GROUP, len(bars))  # one bar before, for the order of time
        symbols, offsets = _symbols_of(bars, first, last)
        values = {name: np.asarray(getattr(bars, name)[first:last]) for name in VALUES}
        piece = Columns(symbols, offsets, bars.timestamp[first:last], values, pd.DataFrame())
        check_time_order(piece)
        check_values(piece)
    values = {name: getattr(bars, name) for name in VALUES}
    if content_hash(bars.symbols, bars.offsets, bars.timestamp, values) != bars.content_hash:
        raise BarsError("the bars were changed after they were written to their file", rule="content hash")


def plan_shards(bars: Bars, split: str, max_shard_size: int) -> ShardPlan:
    """Cut bars into shards of about equal length.

    Args:
        bars: The bars.
        split: Name of the split.
        max_shard_size: Bytes of a shard in memory at most; its file is smaller.

    Raises:
        BarsError: Another column has a type that is not published.
    """
    from datasets import Features

    extra = bars.other_columns()
    fields = [pa.field("timestamp", _TIMESTAMP), pa.field("symbol", pa.string())]
    fields += [pa.field(name, pa.float64()) for name in VALUES]
    fields += _extra_fields(extra)
    features = Features.from_arrow_schema(pa.schema(fields))
    width = _BAR_BYTES + 16 + sum(_width(field.type) for field in fields[2 + len(VALUES) :])
    shards = max(1, -(-len(bars) * width // max_shard_size))
    bounds = tuple(len(bars) * number // shards for number in range(shards + 1))
    seconds = tuple(field.name for field in fields if pa.types.is_timestamp(field.type) and field.type.unit == "s")
    split_metadata = SplitMetadata(
        bars.content_hash, len(bars), shards, bars.calendar.name, bars.frequency.value, seconds
    )
    schema = features.arrow_schema
    schema = schema.with_metadata({**(schema.metadata or {}), KEY: json.dumps(asdict(split_metadata)).encode()})
    paths = tuple(f"data/{split}-{number:05d}-of-{shards:05d}.parquet" for number in range(shards))
    return ShardPlan(split, paths, bounds, schema, features, extra, len(bars) * width)


def write_shard(bars: Bars, plan: ShardPlan, number: int, path: Path) -> None:
    """Write one shard to a file.

    Raises:
        BarsError: The file cannot be written, or the values of another column do not fit its type.
    """
    try:
        with pq.ParquetWriter(
            path,
            plan.schema,
            version="2.6",  # nanoseconds
            compression="zstd",
            use_dictionary=[field.name for field in plan.schema if pa.types.is_string(field.type)],
            write_page_checksum=True,
        ) as writer:
            for first, last in _ranges(plan.bounds[number], plan.bounds[number + 1]):
                writer.write_table(_table(bars, plan, first, last), row_group_size=_ROWS)
    except (pa.ArrowException, OSError) as error:
        raise BarsError(f"the shard {path.name} cannot be written: {error}", rule="writable file") from error


def _symbols_of(bars: Bars, first: int, last: int) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Symbols of the bars ``first`` to before ``last``, and their bounds in this range, [symbols + 1]."""
    inner = bars.offsets[(bars.offsets > first) & (bars.offsets < last)]
    edges = np.concatenate([[first], inner, [last]])
    numbers = np.searchsorted(bars.offsets, edges[:-1], side="right") - 1
    return tuple(bars.symbols[number] for number in numbers), edges - first


def _ranges(first: int, last: int) -> Iterator[tuple[int, int]]:
    return pairwise([*range(first, last, _ROWS), last])


def _table(bars: Bars, plan: ShardPlan, first: int, last: int) -> pa.Table:
    symbols, offsets = _symbols_of(bars, first, last)
    which = pa.array(np.repeat(np.arange(len(symbols), dtype=np.int32), np.diff(offsets)))
    arrays = [pa.array(np.asarray(bars.timestamp[first:last])).view(_TIMESTAMP)]
    arrays.append(pa.array(symbols, pa.string()).take(which))
    arrays += [pa.array(np.asarray(getattr(bars, name)[first:last])) for name in VALUES]
    columns: list[pa.Array | pa.ChunkedArray] = list(arrays)
    others = plan.schema.names[2 + len(VALUES) :]
    if others:
        if isinstance(plan.extra, pd.DataFrame):
            schema = pa.schema([plan.schema.field(name) for name in others])
            piece = plan.extra.iloc[first:last].rename(columns=str)
            columns += pa.Table.from_pandas(piece, schema=schema, preserve_index=False).columns
        else:
            piece = plan.extra.slice(first, last - first)
            columns += [piece.column(name).cast(plan.schema.field(name).type) for name in others]
    return pa.Table.from_arrays(columns, schema=plan.schema)


def _extra_fields(extra: pa.Table | pd.DataFrame) -> list[pa.Field]:
    """Names and published types of the other columns; columns that are not flat are refused."""
    try:
        is_frame = isinstance(extra, pd.DataFrame)
        schema = pa.Schema.from_pandas(extra.rename(columns=str), preserve_index=False) if is_frame else extra.schema
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise BarsError(f"another column has mixed types: {error}", rule="one type") from error
    fields = []
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        if not _is_published(kind):
            raise BarsError(
                f"the column is of type {field.type}; numbers, booleans, times and texts are published",
                column=field.name,
                rule="flat columns",
            )
        fields.append(pa.field(field.name, kind))
    return fields


def _is_published(kind: pa.DataType) -> bool:
    """Whether a column of this type comes back from parquet as it is."""
    if pa.types.is_date64(kind) or (pa.types.is_time32(kind) and kind.unit == "s"):
        return False
    return bool(pa.types.is_string(kind) or pa.types.is_null(kind) or pa.types.is_primitive(kind))


def _width(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # texts
        return 16
