"""Hostile parquet files, by name; each with a part of the message of the error that it must give."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lem_models.hub.datasets.shards import KEY
from tests.hub.datasets.market_data import parquet, plain_frame

Builder = Callable[[], bytes]
HOSTILE: dict[str, tuple[Builder, str]] = {}


def hostile(name: str, message: str) -> Callable[[Builder], Builder]:
    """Put a builder on the list."""

    def register(builder: Builder) -> Builder:
        HOSTILE[name] = (builder, message)
        return builder

    return register


def with_column(column: pa.Array | pa.ChunkedArray, name: str = "note") -> pa.Table:
    table = pa.Table.from_pandas(plain_frame(len(column)), preserve_index=False)
    return table.append_column(name, column)


# --- what expands ----------------------------------------------------------------------------------------------------


@hostile("equal rows in many row groups", "would expand to")
def equal_rows() -> bytes:
    rows = 1 << 20
    columns = {name: np.ones(rows) for name in ("open", "high", "low", "close", "volume", "notional")}
    table = pa.table({**columns, "timestamp": pa.array(np.zeros(rows, np.int64)).view(pa.timestamp("ns", "UTC"))})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for _ in range(8):
            writer.write_table(table, row_group_size=rows)
    assert len(sink.getvalue()) < 300_000
    return sink.getvalue()


@hostile("a row group of very many rows", "claims 34,000,000 rows")
def many_rows() -> bytes:
    return parquet(pa.table({"flag": pa.array(np.zeros(34_000_000, bool))}), row_group_size=34_000_000)


@hostile("one long text in every row", "the texts of 99,984 rows would take 79,987,200,000 bytes")
def long_text() -> bytes:
    indices = pa.array(np.zeros(99_984, np.int32))
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 800_000]))
    data = parquet(with_column(column), compression="zstd", row_group_size=200_000)
    assert len(data) < 10_000_000
    return data


@hostile("a long symbol in every row", "symbol is one line of at most 128 characters")
def long_symbol() -> bytes:
    table = with_column(pa.array(np.zeros(99_984, bool)))
    symbol = pa.DictionaryArray.from_arrays(pa.array(np.zeros(99_984, np.int32)), pa.array(["x" * 800_000]))
    return parquet(table.set_column(table.schema.get_field_index("symbol"), "symbol", symbol), compression="zstd")


@hostile("texts that repeat the one before", "has the encoding 7")
def repeated_texts() -> bytes:
    table = with_column(pa.array(["x" * 1000] * 984))
    encodings = {"note": "DELTA_BYTE_ARRAY"}
    return parquet(table, use_dictionary=False, column_encoding=encodings, compression="zstd")


@hostile("a page that expands to more than the footer says", "expand to more than its footer says")
def lying_page() -> bytes:
    data = bytearray(parquet(plain_frame(480), use_dictionary=False, compression="zstd"))
    at = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(0).column(2).data_page_offset
    assert data[at] == 0x15
    assert data[at + 2] == 0x15  # type of the page; then the size that it expands to, a number of two bytes
    assert data[at + 3] & 128
    assert not data[at + 4] & 128
    data[at + 3 : at + 5] = b"\xfe\x7f"
    return bytes(data)


@hostile("a footer of four gigabytes", "its footer claims 4,294,967,280 bytes")
def long_footer() -> bytes:
    return parquet(plain_frame())[:-8] + struct.pack("<I", 0xFFFFFFF0) + b"PAR1"


@hostile("thousands of columns", "at most 1,024 are read")
def many_columns() -> bytes:
    return parquet(pa.table({f"c{number}": [1.0] for number in range(2000)}))


# --- what is no table of bars ----------------------------------------------------------------------------------------


@hostile("a list in a column", "of type list")
def nested() -> bytes:
    return parquet(with_column(pa.array([[1.0, 2.0]] * 48)))


@hostile("a structure in a column", "only flat columns are read")
def structure() -> bytes:
    return parquet(with_column(pa.array([{"a": 1, "b": 2}] * 48)))


@hostile("bytes in a column", "numbers, booleans, times and texts")
def raw_bytes() -> bytes:
    return parquet(with_column(pa.array([b"\x80\x04."] * 48)))


@hostile("a column twice", "more than once")
def twice() -> bytes:
    return parquet(with_column(pa.array([1.0] * 48), "close"))


@hostile("no prices", "the table lacks 'close'")
def no_prices() -> bytes:
    return parquet(plain_frame().drop(columns="close"))


@hostile("symbols that are numbers", "a symbol is a non-empty text")
def numbered() -> bytes:
    return parquet(plain_frame().assign(symbol=7))


@hostile("prices that are texts", "close is of type")
def worded() -> bytes:
    return parquet(plain_frame().assign(close="ten"))


@hostile("timestamps without a zone", "has no time zone")
def zoneless() -> bytes:
    frame = plain_frame()
    return parquet(frame.assign(timestamp=frame["timestamp"].dt.tz_localize(None)))


@hostile("a price that is no number", "not a finite number")
def not_a_number() -> bytes:
    frame = plain_frame().copy()
    frame.loc[3, "close"] = np.nan
    return parquet(frame)


@hostile("no rows", "no rows")
def empty() -> bytes:
    return parquet(plain_frame().iloc[:0])


@hostile("a pickle", "is not a parquet file")
def pickled() -> bytes:
    return (
        b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85R."
    )


@hostile("an encrypted footer", "is not a parquet file")
def encrypted() -> bytes:
    return parquet(plain_frame())[:-4] + b"PARE"


@hostile("nothing", "is not a parquet file")
def nothing() -> bytes:
    return b""


# --- what lies about where it comes from -----------------------------------------------------------------------------


def with_record(text: bytes) -> bytes:
    table = pa.Table.from_pandas(plain_frame(), preserve_index=False)
    return parquet(table.replace_schema_metadata({KEY: text}))


RECORD = {"schema_version": 1, "bars": 48, "shards": 1, "calendar": "24/7", "frequency": 3_600_000_000_000}


@hostile("another content hash", "content hash")
def other_hash() -> bytes:
    return with_record(json.dumps({**RECORD, "content_hash": "0" * 64}).encode())


@hostile("a shard of several", "do not belong together")
def one_of_many() -> bytes:
    return with_record(json.dumps({**RECORD, "content_hash": "0" * 64, "shards": 3}).encode())


@hostile("a calendar that does not exist", "unknown calendar")
def no_calendar() -> bytes:
    return with_record(json.dumps({**RECORD, "content_hash": "0" * 64, "calendar": "../XNYS"}).encode())


@hostile("a record of other types", "cannot be read")
def mistyped_record() -> bytes:
    return with_record(json.dumps({**RECORD, "content_hash": ["0"]}).encode())


@hostile("a record that is nested very deeply", "cannot be read")
def deep_record() -> bytes:
    return with_record(b"[" * 100_000)


@hostile("a record of a later release", "schema version 2")
def later_record() -> bytes:
    return with_record(json.dumps({**RECORD, "content_hash": "0" * 64, "schema_version": 2}).encode())


@hostile("levels that pyarrow ends the process at", "cannot be read")
def wrong_levels() -> bytes:
    data = parquet(plain_frame())
    optional, required = b"\x15\x0a\x25\x02\x18\x05close", b"\x15\x0a\x25\x00\x18\x05close"
    assert data.count(optional) == 1
    return data.replace(optional, required)
