"""Small files of bars that would become large ones."""

import gzip
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lem_models.errors import BarsError
from lem_models.markets.arrow_form import expanded_size
from lem_models.markets.bars import Bars
from tests.helpers import hourly


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
    monkeypatch.setattr("lem_models.markets.arrow_form._FREE", 1 << 26)  # the file itself is made in memory
    rows = 3 << 12
    note = pa.array(["x" * 8192]).take(pa.array([0] * rows))
    bomb = pa.table({"timestamp": pa.nulls(rows, pa.int64()), "note": note})
    path = _write(bomb, tmp_path / "bomb.arrow", form=form)
    del bomb, note
    assert path.stat().st_size < 1 << 20
    before = pa.total_allocated_bytes()
    with pytest.raises(BarsError, match=r"would become 10\d,.* bytes in memory"):
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


def test_a_csv_bomb_is_refused_while_it_is_read(tmp_path):
    path = tmp_path / "bars.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"timestamp,symbol,open,high,low,close,volume,notional,note\n")
        line = b"2024-01-01 00:00:00Z,BTC,1,1,1,1,1,1," + b"x" * 100_000 + b"\n"
        for _ in range(3000):
            file.write(line)
    with pytest.raises(BarsError, match="would become more than 268,435,456 bytes"):
        Bars.read(path)


def test_a_table_of_very_many_columns_is_refused(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_bytes(b"," * 200_000 + b"\n" + b"," * 200_000)
    with pytest.raises(BarsError, match="more than 4,096 columns"):
        Bars.read(path)


def test_an_endless_first_line_is_refused(tmp_path):
    path = tmp_path / "bars.csv"
    path.write_bytes(b"x" * 3_000_000)
    with pytest.raises(BarsError, match="first line"):
        Bars.read(path)
