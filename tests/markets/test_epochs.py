"""Timestamps that are numbers: read in the unit that is named, and in no other."""

import dataclasses
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.choice import build_calendars
from lem_models.markets.calendar.frequency import read_frequency
from lem_models.markets.calendar.grid import Grid
from lem_models.markets.epochs import EARLIEST, UNITS, epoch_unit
from lem_models.markets.storage.store import symbol_type, write_store
from lem_models.markets.storage.writer import store_bars
from lem_models.markets.validation import validate_frame
from tests.markets.test_bad_bars import refused, table

EXPECTED = Bars.from_frame(table()).content_hash


def numbered(unit, dtype="int64"):
    """Valid bars whose timestamps are numbers."""
    frame = table()
    return frame.assign(timestamp=frame["timestamp"].dt.as_unit(unit).astype("int64").astype(dtype))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64", "int64[pyarrow]", "str", "category", object])
def test_numbers_are_read_in_the_unit_that_is_named_or_found(unit, dtype):
    for named in (unit, "auto"):
        assert Bars.from_frame(numbered(unit, dtype), unit=named).content_hash == EXPECTED


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_floats_that_are_exact_whole_numbers_are_read(unit):
    assert Bars.from_frame(numbered(unit, "float64"), unit=unit).content_hash == EXPECTED
    as_text = numbered(unit, "float64")["timestamp"].map(lambda value: f"{value:.1f}")
    assert Bars.from_frame(table().assign(timestamp=as_text), unit="auto").content_hash == EXPECTED


@pytest.mark.parametrize(
    ("frame", "value"),
    [
        (numbered("ns", "float64"), "1.7040672e"),
        (numbered("ms", "float64").assign(timestamp=lambda frame: frame["timestamp"] + 0.5), "1704067200000.5"),
        (table().assign(timestamp=decimal.Decimal("1704067200.5")), "1704067200.5"),
        (table().assign(timestamp=np.inf), "inf"),
    ],
)
def test_other_floats_are_refused(frame, value):
    error = refused(frame, unit="auto")
    assert f"row 0: {value}" in str(error).replace("Decimal('", "")
    assert error.rule == "unit of timestamps"


@pytest.mark.parametrize("dtype", ["int64", "uint64", "Int64", "float64", "int64[pyarrow]", "str", "category", object])
def test_numbers_without_a_unit_are_refused_and_the_unit_named(dtype):
    for unit in ("s", "ms", "us") if dtype == "float64" else UNITS:
        error = refused(numbered(unit, dtype))
        assert (error.symbol, error.column, error.rule) == ("AAA", "timestamp", "unit of timestamps")
        assert f"name their unit, unit={unit!r}" in str(error)


def test_a_wrong_unit_is_refused_and_the_right_one_named():
    for unit in UNITS:
        for wrong in set(UNITS) - {unit}:
            assert f"is not a time from 1980 to 2262 in {wrong!r}, but it is in {unit!r}" in str(
                refused(numbered(unit), unit=wrong)
            )


@pytest.mark.parametrize("unit", ["ms", "auto"])
def test_a_vendor_that_switches_its_unit_is_refused_by_row(unit):
    frame = numbered("ms")
    frame.loc[7:11, "timestamp"] *= 1000
    error = refused(frame, unit=unit)
    assert "row 7: 1704092400000000 is not a time from 1980 to 2262 in 'ms', but it is in 'us'" in str(error)
    assert "all timestamps of a table have one unit" in str(error)


@pytest.mark.parametrize("value", [0, -1, 1, 20240101, 1 << 62 << 2, 10**40, True, "noon", "", None])
def test_what_is_a_time_in_no_unit_is_refused(value):
    column = numbered("ms", object)
    column["timestamp"] = pd.Series([value] * len(column), dtype=object)
    for unit in ("auto", "s", None):
        assert refused(column, unit=unit).column == "timestamp"


def test_a_missing_number_is_named_by_its_row():
    frame = numbered("ms", "Int64")
    frame.loc[5, "timestamp"] = pd.NA
    assert "row 5 has no timestamp" in str(refused(frame, unit="ms"))


@pytest.mark.parametrize("unit", ["auto", *UNITS])
def test_a_unit_is_not_ignored(tmp_path, unit):
    texts = table().assign(timestamp=table()["timestamp"].astype(str))
    for frame in (table(), texts, texts.astype({"timestamp": "category"})):
        error = refused(frame, unit=unit)
        assert f"unit={unit!r} is for timestamps that are numbers" in str(error)
        assert "leave the unit out" in str(error)
    Bars.from_frame(table()).write(tmp_path / "bars.arrow")
    with pytest.raises(BarsError, match="leave the unit out"):
        Bars.read(tmp_path / "bars.arrow", unit=unit)


@pytest.mark.parametrize("unit", ["minutes", "S", "", 3, "M"])
def test_a_unit_that_does_not_exist(tmp_path, unit):
    with pytest.raises(UnknownNameError, match="unknown unit of timestamps"):
        Bars.from_frame(numbered("ms"), unit=unit)
    with pytest.raises(UnknownNameError, match="unknown unit of timestamps"):
        store_bars([numbered("ms")], tmp_path / "bars.arrow", unit=unit)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "bars.arrow"])
def test_files_of_numbers(tmp_path, name):
    path = tmp_path / name
    frame = numbered("us")
    if name.endswith("csv"):
        frame.to_csv(path, index=False)
    elif name.endswith("parquet"):
        frame.to_parquet(path, index=False)
    else:
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, (held := pa.Table.from_pandas(frame)).schema) as file,
        ):
            file.write_table(held)
    with pytest.raises(BarsError, match="name their unit, unit='us'"):
        Bars.read(path)
    for unit in ("us", "auto"):
        assert Bars.read(path, unit=unit).content_hash == EXPECTED
        assert store_bars(path, tmp_path / "stored.arrow", unit=unit).content_hash == EXPECTED


def test_pieces_have_one_unit(tmp_path):
    frame = numbered("ms")
    pieces = [frame[:6], frame[6:18], frame[18:]]
    assert store_bars(pieces, tmp_path / "bars.arrow", unit="auto").content_hash == EXPECTED
    pieces[1] = pieces[1].assign(timestamp=pieces[1]["timestamp"] * 1000)
    with pytest.raises(BarsError, match=r"in the piece after 6 rows: .* not a time .* in 'ms', but it is in 'us'"):
        store_bars(pieces, tmp_path / "bars.arrow", unit="auto")
    pieces[1] = table()[6:18]
    with pytest.raises(BarsError, match="leave the unit out"):
        store_bars(pieces, tmp_path / "bars.arrow", unit="auto")


def test_a_data_set_of_numbers(tmp_path):
    datasets = pytest.importorskip("datasets")
    bars = Bars.from_dataset(datasets.Dataset.from_pandas(numbered("ms")), tmp_path / "bars.arrow", unit="auto")
    assert bars.content_hash == EXPECTED


def test_tables_of_other_libraries_with_numbers():
    for make in (pl.from_pandas, pa.Table.from_pandas):
        assert Bars.from_frame(make(numbered("ms")), unit="ms").content_hash == EXPECTED


def test_no_number_is_a_time_in_two_units():
    for unit, size in UNITS.items():
        for number in (EARLIEST // size, np.iinfo(np.int64).max // size):
            assert epoch_unit(number) == unit
        assert epoch_unit(EARLIEST // size - 1) != unit


# Numbers that became datetimes in a wrong unit before they came here


@pytest.mark.parametrize("calendar", ["auto", "24/7"])
@pytest.mark.parametrize("frequency", [None, "1h"])
@pytest.mark.parametrize("taken_for", ["ns", "us", "ms"])
def test_times_of_1970_are_refused_with_the_cure(tmp_path, taken_for, frequency, calendar):
    seconds = numbered("s")["timestamp"]
    frame = table().assign(timestamp=pd.to_datetime(seconds, unit=taken_for, utc=True))
    error = refused(frame, frequency=frequency, calendar=calendar)
    assert error.rule == "bars from 1980 on"
    assert "name the number's unit" in str(error)
    with pytest.raises(BarsError, match="before 1980"):
        store_bars([frame], tmp_path / "bars.arrow", frequency=frequency)


def test_bars_shorter_than_a_second_are_refused_with_the_cure():
    starts = pd.date_range("2024-01-01", periods=12, freq="100ms", tz="UTC")
    error = refused(table().assign(timestamp=[*starts, *starts]))
    assert error.rule == "one frequency"
    assert "no bar is shorter than a second" in str(error)
    assert "name the numbers' unit" in str(error)


def test_bars_of_1980_and_of_a_second_are_read():
    assert len(Bars.from_frame(table(start="1980-01-01"))) == 24
    assert Bars.from_frame(table(frequency="s")).frequency == pd.Timedelta("1s")
    assert refused(table(start="1979-12-31 23:00")).rule == "bars from 1980 on"


@pytest.mark.parametrize(
    ("start", "step", "rule"), [("1970-01-20", "1h", "bars from 1980 on"), ("2024-01-01", "100ms", "one frequency")]
)
def test_a_stored_file_obeys_the_same_rules_when_it_is_verified(tmp_path, start, step, rule):
    path, length = tmp_path / "bars.arrow", pd.Timedelta(step).as_unit("ns")
    columns = validate_frame(table(("AAA",)))
    first = pd.Timestamp(start, tz="UTC").value
    columns = dataclasses.replace(columns, timestamp=first + length.value * np.arange(12))
    calendar = build_calendars("24/7", columns.symbols, columns.offsets, columns.timestamp, length)
    grid = Grid.build(calendar, columns.offsets, columns.timestamp, columns.values["volume"])
    write_store(columns, grid, np.zeros(12, dtype=symbol_type(1)), columns.extra, path)
    with pytest.raises(BarsError) as caught:
        Bars.read(path, verify=True)
    assert caught.value.rule == rule


# The length of a bar is not guessed either


@pytest.mark.parametrize(
    "frequency",
    [
        *(
            3600,
            3600.0,
            True,
            "3600",
            "1m",
            "1M",
            "1H",
            "1T",
            "1d",
            "1D1h",
            "1h30min",
            "1.5h",
            "1Y",
            "1W",
            "100ms",
            "1us",
        ),
        *(
            "",
            " ",
            "1 h",
            " 1h",
            "-1h",
            "+1h",
            "0h",
            "hh",
            "01:00:00",
            "P1D",
            "PT1H",
            "NaT",
            "1h\n",
            "\u0661h",
            "9" * 30 + "D",
        ),
        *(np.timedelta64(1, "h"), pd.NaT, pd.Timedelta(0), pd.Timedelta("-1h"), pd.Timedelta("999ms"), b"1h"),
    ],
    ids=repr,
)
def test_a_frequency_that_would_have_to_be_guessed(frequency):
    with pytest.raises(BarsError) as caught:
        read_frequency(frequency)
    assert caught.value.rule == "one frequency"


@pytest.mark.parametrize(
    ("frequency", "seconds"),
    [("s", 1), ("30s", 30), ("min", 60), ("5min", 300), ("90min", 5400), ("h", 3600), ("D", 86400), ("7D", 604800)],
)
def test_a_frequency(frequency, seconds):
    expected = pd.Timedelta(seconds=seconds)
    assert read_frequency(frequency) == expected
    assert read_frequency(expected) == read_frequency(expected.to_pytimedelta()) == expected
    assert read_frequency(frequency).unit == "ns"
