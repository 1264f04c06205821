"""Small files of bars that would become large ones."""

import gzip
import struct
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lem_models.errors import BarsError
from lem_models.guard.arrow import expanded_size
from lem_models.markets.bars import Bars
from lem_models.markets.storage.writer import store_bars
from tests.helpers import hourly
from tests.hub.datasets.hostile_data import HOSTILE


@pytest.fixture
def table(tmp_path):
    hourly().write(tmp_path / "sound.arrow")
    with pa.OSFile(str(tmp_path / "sound.arrow")) as source:
        return pa.ipc.open_file(source).read_all()


def _write(table, path, codec="zstd", *, form=pa.ipc.new_file):
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.OSFile(str(path), "wb") as sink, form(sink, table.schema, options=options) as file:
        file.write_table(table)
    return path


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_mapped_file_is_not_compressed(codec, table, tmp_path):
    with pytest.raises(BarsError, match="it is compressed"):
        Bars.read(_write(table, tmp_path / "bars.arrow", codec))


@pytest.mark.parametrize("form", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("codec", ["zstd", "lz4", None])
def test_the_size_in_memory_is_known_before(codec, form, table, tmp_path):
    note = pa.array(np.arange(len(table)) // 99).cast(pa.string()).dictionary_encode()
    plain = table.append_column("note", note).replace_schema_metadata(None)
    path = _write(plain, tmp_path / "bars.arrow", codec, form=form)
    size = expanded_size(path)
    assert (size is None) == (codec is None)
    if size is not None:
        assert plain.nbytes <= size <= plain.nbytes + 4096 * plain.num_columns
    assert Bars.read(path).content_hash == hourly().content_hash  # honest compression is fine


@pytest.mark.parametrize("form", [pa.ipc.new_file, pa.ipc.new_stream])
def test_an_arrow_bomb_is_refused_before_it_is_read(form, table, tmp_path, monkeypatch):
    monkeypatch.setattr("lem_models.guard.arrow._FREE", 1 << 26)  # the file itself is made in memory
    rows = 3 << 12
    note = pa.array(["x" * 8192]).take(pa.array([0] * rows))
    bomb = pa.table({"timestamp": pa.nulls(rows, pa.int64()), "note": note})
    path = _write(bomb, tmp_path / "bomb.arrow", form=form)
    del bomb, note
    assert path.stat().st_size < 1 << 20
    before = pa.total_allocated_bytes()
    with pytest.raises(BarsError, match=r"would expand to 10\d,.* bytes in memory"):
        Bars.read(path)
    assert pa.total_allocated_bytes() - before < 1 << 20


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_arrow_file_gives_its_size_or_a_known_error(data, table, tmp_path):
    path = tmp_path / "damaged.arrow"
    content = bytearray(_write(table.slice(0, 20), path).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(["any", "end"]))
        at = data.draw(st.integers(0 if place == "any" else max(len(content) - 1500, 0), len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        expanded_size(path)
    except (ValueError, OSError, pa.ArrowException, struct.error):
        pass
    else:
        return


def test_a_message_that_ends_the_stream_is_refused(tmp_path):
    path = tmp_path / "damaged.arrow"
    hourly().write(path)
    content = path.read_bytes()
    first = content.index(b"\xff\xff\xff\xff", content.index(b"\xff\xff\xff\xff") + 4)  # after the schema
    path.write_bytes(content[: first + 4] + bytes(4) + content[first + 8 :])
    with pytest.raises(BarsError, match="a record batch is empty"):
        Bars.read(path)


def test_a_csv_bomb_is_refused_while_it_is_read(tmp_path):
    path = tmp_path / "bars.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"timestamp,symbol,open,high,low,close,volume,notional,note\n")
        line = b"2024-01-01 00:00:00Z,BTC,1,1,1,1,1,1," + b"x" * 100_000 + b"\n"
        for _ in range(3000):
            file.write(line)
    with pytest.raises(BarsError, match="would expand to more than 268,435,456 bytes"):
        Bars.read(path)


def test_a_table_of_very_many_columns_is_refused(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_bytes(b"," * 200_000 + b"\n" + b"," * 200_000)
    with pytest.raises(BarsError, match="more than 1,024 columns"):
        Bars.read(path)


def test_an_endless_first_line_is_refused(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_bytes(b"x" * 3_000_000)
    with pytest.raises(BarsError, match="first line"):
        Bars.read(path)


# --- parquet and arrow: the same rules wherever a file comes from ----------------------------------------------------

SOUND_HERE = ("content hash", "do not belong together", "unknown calendar", "cannot be read", "schema version 2")
"""Of files whose hostile part is the record of a published split, which a file of one's own does not have."""


@pytest.mark.parametrize("name", [name for name, (_, message) in HOSTILE.items() if message not in SOUND_HERE])
@pytest.mark.parametrize("read", [Bars.read, lambda path: store_bars(path, path.with_suffix(".arrow"))])
def test_parquet_of_a_stranger_is_refused_on_disk_as_on_the_hub(tmp_path, name, read):
    path = tmp_path / "bars.parquet"
    path.write_bytes(HOSTILE[name][0]())
    with pytest.raises(BarsError) as caught:
        read(path)
    assert str(caught.value).isprintable()
    assert [entry.name for entry in tmp_path.iterdir()] == ["bars.parquet"]


def test_a_small_parquet_file_of_very_many_equal_rows_is_refused_before_it_is_decoded(tmp_path):
    rows = 1 << 20
    names = ("open", "high", "low", "close", "volume", "notional")
    stamps = pa.array(np.zeros(rows, np.int64)).view(pa.timestamp("ns", "UTC"))
    symbol = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["A"]))
    table = pa.table({"timestamp": stamps, "symbol": symbol, **{name: np.ones(rows) for name in names}})
    with pq.ParquetWriter(tmp_path / "bars.parquet", table.schema, compression="zstd") as writer:
        for _ in range(24):
            writer.write_table(table)
    before = pa.total_allocated_bytes()
    with pytest.raises(BarsError, match="would expand to"):
        Bars.read(tmp_path / "bars.parquet")
    assert pa.total_allocated_bytes() - before < 1 << 20


NESTED = {
    "a structure": pa.array([{"a": 1, "b": 2}] * 3),
    "a list": pa.array([[1.0, 2.0]] * 3),
    "a list of lists": pa.array([[[1.0]]] * 3),
    "a map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
    "numbered numbers of a list": pa.DictionaryArray.from_arrays(pa.array([0, 0, 0]), pa.array([[1.0]])),
    "a numbering of numberings": pa.DictionaryArray.from_arrays(
        pa.array([0, 0, 0], pa.int8()), pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(["A"]))
    ),
    "bytes": pa.array([b"\x80\x04."] * 3),
    "a time of Mars": pa.array([0, 1, 2]).view(pa.timestamp("ns", "Mars/Olympus")),
    "a time of a zone with an escape": pa.array([0, 1, 2]).view(pa.timestamp("ns", "Mars\x1b[2J\nOlympus")),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
@pytest.mark.parametrize("column", ["timestamp", "symbol", "close", "note"])
@pytest.mark.parametrize("what", NESTED)
def test_a_column_that_is_not_flat_is_refused_in_one_line(tmp_path, kind, column, what):
    frame = hourly().frame.head(3)
    table = pa.Table.from_pandas(frame.assign(note=1.0), preserve_index=False).replace_schema_metadata(None)
    table = table.set_column(table.schema.get_field_index(column), column, NESTED[what])
    path = tmp_path / ("bars.parquet" if kind == "parquet" else "bars.arrow")
    if kind == "parquet":
        try:
            pq.write_table(table, path)
        except pa.ArrowException:
            pytest.skip("parquet has no such column")
    else:
        form = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, form(sink, table.schema) as file:
            file.write_table(table)
    for read in (Bars.read, lambda path: store_bars(path, tmp_path / "out.arrow")):
        with pytest.raises(BarsError) as caught:
            read(path)
        assert str(caught.value).isprintable()


def test_numbered_values_of_any_flat_kind_are_read(tmp_path):
    frame = hourly().frame
    frame["rank"] = pd.Categorical(np.arange(len(frame)) % 3)
    frame["note"] = pd.Categorical(np.where(np.arange(len(frame)) % 2, "odd", "even"))
    frame["price"] = pa.array([Decimal("1.50")] * len(frame)).to_pandas()
    frame.to_parquet(tmp_path / "bars.parquet", index=False)
    found = Bars.read(tmp_path / "bars.parquet").frame
    assert found["rank"].tolist() == frame["rank"].tolist()
    assert found["note"].tolist() == frame["note"].tolist()
