"""What bad bars get: an error that names symbol, timestamp, column and rule, before anything is built."""

import datetime
import zoneinfo

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.bars import Bars

BAD_ROW = 5
BAD_TIME = pd.Timestamp("2024-01-01 05:00", tz="UTC")


def table(symbols=("AAA", "BBB"), periods=12, frequency="h", start="2024-01-01"):
    """Valid bars; BAD_ROW is a bar of the first symbol in the middle."""
    timestamp = pd.date_range(start, periods=periods, freq=frequency, tz="UTC")
    parts = [
        pd.DataFrame(
            {
                "timestamp": timestamp,
                "symbol": symbol,
                "open": 10.0,
                "high": 12.0,
                "low": 9.0,
                "close": 11.0,
                "volume": 2.0,
                "notional": 21.0,
            }
        )
        for symbol in symbols
    ]
    return pd.concat(parts, ignore_index=True)


def refused(frame, **settings):
    with pytest.raises(BarsError) as caught:
        Bars.from_frame(frame, **settings)
    return caught.value


BAD_VALUES = {
    "open is nan": ("open", np.nan, "finite"),
    "high is inf": ("high", np.inf, "finite"),
    "volume is nan": ("volume", np.nan, "finite"),
    "notional is -inf": ("notional", -np.inf, "finite"),
    "low is zero": ("low", 0.0, "positive price"),
    "close is negative": ("close", -1.0, "positive price"),
    "volume is negative": ("volume", -2.0, "volume >= 0"),
    "notional is negative": ("notional", -21.0, "notional >= 0"),
    "low above high": ("low", 12.5, "low <= high"),
    "open below low": ("open", 8.0, "low <= open <= high"),
    "close above high": ("close", 12.1, "low <= close <= high"),
    "notional without volume": ("volume", 0.0, "no notional without volume"),
    "volume without notional": ("notional", 0.0, "no volume without notional"),
    "vwap below low": ("notional", 17.9, "low <= notional / volume <= high"),
    "vwap above high": ("notional", 24.1, "low <= notional / volume <= high"),
}


@pytest.mark.parametrize(("column", "value", "rule"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_bad_value_is_refused_by_name(column, value, rule):
    frame = table()
    frame.loc[BAD_ROW, column] = value
    error = refused(frame)
    where = "notional" if rule == "no notional without volume" else column
    assert (error.symbol, error.timestamp, error.column, error.rule) == ("AAA", BAD_TIME, where, rule)
    for part in ("symbol 'AAA'", "timestamp 2024-01-01 05:00:00+00:00", f"column '{where}'", f"rule '{rule}'"):
        assert part in str(error)
    assert "1 row breaks the rule" in str(error)


def test_the_first_offender_is_named_and_all_are_counted():
    frame = table()
    frame.loc[[BAD_ROW, BAD_ROW + 1, 20], "low"] = -1.0
    error = refused(frame)
    assert (error.symbol, error.timestamp) == ("AAA", BAD_TIME)
    assert "3 rows break the rule" in str(error)


def test_the_offending_values_are_shown():
    frame = table()
    frame.loc[BAD_ROW, "low"] = 12.5
    assert "low 12.5 is above high 12.0" in str(refused(frame))
    frame = table()
    frame.loc[BAD_ROW, "notional"] = 50.0
    assert "notional / volume = 25.0 lies outside [low, high] = [9.0, 12.0]" in str(refused(frame))


def test_a_vwap_outside_by_a_rounding_is_legal_and_kept_as_given():
    frame = table()
    frame.loc[BAD_ROW, "notional"] = 24.0 * (1 + 4e-4)
    assert Bars.from_frame(frame).vwap[BAD_ROW] == pytest.approx(12.0 * (1 + 4e-4), rel=1e-12)
    frame.loc[BAD_ROW, "notional"] = 24.0 * (1 + 6e-4)
    assert refused(frame).rule == "low <= notional / volume <= high"


@pytest.mark.parametrize(("notional", "legal"), [(18.0 / (1 + 4.999e-4), True), (18.0 / (1 + 5.001e-4), False)])
def test_mirrored_bars_pass_or_fail_alike(notional, legal):
    frame = table()
    frame.loc[BAD_ROW, "notional"] = notional
    mirrored = frame.assign(
        **{name: 100.0 / frame[name] for name in ("open", "close")},
        high=100.0 / frame["low"],
        low=100.0 / frame["high"],
        notional=100.0 / frame["notional"] * frame["volume"] ** 2,
    )
    for bars in (frame, mirrored):
        if legal:
            Bars.from_frame(bars)
        else:
            assert refused(bars).rule == "low <= notional / volume <= high"


def test_a_bar_without_volume_is_legal():
    frame = table()
    frame.loc[BAD_ROW, ["volume", "notional"]] = 0.0
    bars = Bars.from_frame(frame)
    assert bars.vwap[BAD_ROW] == bars.close[BAD_ROW] == 11.0


# Time order


def test_a_duplicate_timestamp():
    frame = table()
    frame.loc[BAD_ROW + 1, "timestamp"] = BAD_TIME
    error = refused(frame)
    assert (error.symbol, error.timestamp, error.column) == ("AAA", BAD_TIME, "timestamp")
    assert error.rule == "one bar per timestamp"


def test_unsorted_timestamps():
    frame = table().iloc[[*range(12, 24), 0, 1, 3, 2, *range(4, 12)]]
    error = refused(frame)
    assert (error.symbol, error.timestamp) == ("AAA", pd.Timestamp("2024-01-01 02:00", tz="UTC"))
    assert error.rule == "ascending timestamps"


def test_the_same_timestamp_in_two_symbols_is_legal():
    assert len(Bars.from_frame(table().sort_values("timestamp", kind="stable"))) == 24


# Time zones


def test_timestamps_without_a_zone():
    frame = table()
    frame["timestamp"] = frame["timestamp"].dt.tz_localize(None)
    error = refused(frame)
    assert (error.symbol, error.column, error.rule) == ("AAA", "timestamp", "tz-aware timestamp")
    assert "tz_localize('UTC')" in str(error)


def test_timestamps_as_numbers():
    frame = table()
    frame["timestamp"] = frame["timestamp"].dt.as_unit("ms").astype("int64")
    error = refused(frame)
    assert error.rule == "unit of timestamps"
    assert "int64" in str(error)
    assert "unit='ms'" in str(error), "the unit that their size suggests is named"


def test_texts_without_an_offset():
    frame = table()
    frame["timestamp"] = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    error = refused(frame)
    assert (error.symbol, error.timestamp) == ("AAA", "2024-01-01T00:00:00")
    assert error.rule == "tz-aware timestamp"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("2024-01-01", "tz-aware timestamp"),
        ("2024-01-01 05:00", "tz-aware timestamp"),
        ("noon", "timestamp"),
        ("", "timestamp"),
    ],
)
def test_one_text_that_is_no_moment(text, rule):
    frame = table()
    frame["timestamp"] = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    frame.loc[BAD_ROW, "timestamp"] = text
    error = refused(frame)
    assert (error.symbol, error.timestamp, error.rule) == ("AAA", text, rule)


def test_texts_with_mixed_offsets_are_refused_by_name():
    frame = table()
    frame["timestamp"] = frame["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S+00:00")
    frame.loc[BAD_ROW, "timestamp"] = "2024-01-01 06:00:00+01:00"  # the same moment
    error = refused(frame)
    assert (error.symbol, error.timestamp, error.rule) == ("AAA", "2024-01-01 06:00:00+01:00", "one time zone")
    assert "'UTC' and '+01:00'" in str(error)


def test_datetime_objects_in_two_zones():
    frame = table()
    moments = [stamp.to_pydatetime() for stamp in frame["timestamp"]]
    moments[BAD_ROW] = moments[BAD_ROW].astimezone(zoneinfo.ZoneInfo("America/New_York"))
    frame["timestamp"] = pd.Series(moments, dtype=object)
    error = refused(frame)
    assert (error.symbol, error.rule) == ("AAA", "one time zone")
    assert "'UTC' and 'America/New_York'" in str(error)


def test_a_datetime_object_without_a_zone():
    frame = table()
    moments = [stamp.to_pydatetime() for stamp in frame["timestamp"]]
    moments[BAD_ROW] = datetime.datetime(2024, 1, 1, 5)
    frame["timestamp"] = pd.Series(moments, dtype=object)
    assert refused(frame).rule == "tz-aware timestamp"


def test_impossible_and_missing_timestamps():
    frame = table()
    frame["timestamp"] = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    frame.loc[BAD_ROW, "timestamp"] = "2024-13-01T05:00:00Z"
    assert "2024-13-01" in str(refused(frame))
    frame = table()
    frame.loc[BAD_ROW, "timestamp"] = pd.NaT
    error = refused(frame)
    assert "row 5 has no timestamp" in str(error)
    assert error.symbol == "AAA"


def test_timestamps_that_no_clock_of_nanoseconds_can_hold():
    frame = table()
    seconds = frame["timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[s]") + np.timedelta64(365_000, "D")
    frame["timestamp"] = pd.Series(seconds).dt.tz_localize("UTC")
    assert "1678 to 2262" in str(refused(frame))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_one_zone_is_converted(zone):
    frame = table()
    frame["timestamp"] = frame["timestamp"].dt.tz_convert(zone)
    expected = Bars.from_frame(table())
    np.testing.assert_array_equal(Bars.from_frame(frame).timestamp, expected.timestamp)
    frame["timestamp"] = pd.Series([stamp.to_pydatetime() for stamp in frame["timestamp"]], dtype=object)
    np.testing.assert_array_equal(Bars.from_frame(frame).timestamp, expected.timestamp)


# Frequency


def test_symbols_of_different_frequencies():
    frame = pd.concat([table(("AAA",), 48), table(("BBB",), 24, "30min")])
    error = refused(frame)
    assert (error.symbol, error.column, error.rule) == ("BBB", "timestamp", "one frequency")
    assert "1h apart in most places, but 30min" in str(error)


def test_a_coarser_symbol():
    error = refused(pd.concat([table(("AAA",), 48), table(("DAY",), 6, "D")]))
    assert (error.symbol, error.rule) == ("DAY", "one frequency")


def test_a_symbol_that_changes_its_frequency():
    frame = pd.concat([table(("AAA",), 48), table(("AAA",), 20, "2h", "2024-01-03")])
    error = refused(frame)
    assert (error.symbol, error.rule) == ("AAA", "one frequency")
    assert error.timestamp == pd.Timestamp("2024-01-03", tz="UTC")


@pytest.mark.parametrize("calendar", ["24/7", "sessions"])
def test_a_bar_between_the_others(calendar):
    frame = table(("AAA",), 12)
    extra = frame.iloc[[BAD_ROW]].assign(timestamp=BAD_TIME + pd.Timedelta(minutes=20))
    error = refused(pd.concat([frame, extra]).sort_values("timestamp"), calendar=calendar)
    assert (error.symbol, error.rule) == ("AAA", "one grid")
    assert error.timestamp == BAD_TIME + pd.Timedelta(minutes=20)
    assert "1 of 13 bars do not" in str(error)


def test_two_daily_bars_on_one_date():
    frame = table(("AAA",), 12, "D")
    extra = frame.iloc[[BAD_ROW]].assign(timestamp=frame["timestamp"][BAD_ROW] + pd.Timedelta(hours=1))
    error = refused(pd.concat([frame, extra]).sort_values("timestamp"))
    assert (error.symbol, error.rule) == ("AAA", "one frequency")


def test_one_bar_does_not_tell_the_frequency():
    error = refused(table(periods=1))
    assert error.rule == "one frequency"
    assert "frequency='1h'" in str(error)
    assert len(Bars.from_frame(table(periods=1), frequency="1h")) == 2


@pytest.mark.parametrize("frequency", ["often", "0h", "-1h", "NaT", ""])
def test_a_frequency_that_is_none(frequency):
    assert refused(table(), frequency=frequency).rule == "one frequency"


# The table


def test_missing_columns_are_all_listed():
    error = refused(table().drop(columns=["low", "notional"]).rename(columns={"volume": "Volume"}))
    assert error.rule == "required columns"
    assert "lacks 'low', 'volume', 'notional'" in str(error)
    assert "required are 'timestamp', 'symbol', 'open'" in str(error)
    assert "'Volume'" in str(error)


def test_a_column_twice():
    frame = table()
    assert refused(pd.concat([frame, frame[["low"]]], axis=1)).rule == "unique columns"


def test_an_empty_table():
    assert refused(table().iloc[:0]).rule == "at least one bar"


def test_something_that_is_no_table():
    assert "not from list" in str(refused([1, 2]))


@pytest.mark.parametrize("symbol", ["", "  ", None, np.nan, 7])
def test_a_symbol_that_is_none(symbol):
    frame = table()
    frame["symbol"] = frame["symbol"].astype(object)
    frame.loc[BAD_ROW, "symbol"] = symbol
    error = refused(frame)
    assert (error.column, error.rule) == ("symbol", "named symbol")
    assert "row 5" in str(error)


def test_a_column_of_texts():
    frame = table()
    frame["close"] = frame["close"].astype(str)
    frame.loc[BAD_ROW, "close"] = "eleven"
    error = refused(frame)
    assert (error.symbol, error.timestamp, error.column) == ("AAA", BAD_TIME, "close")
    assert error.rule == "numeric column"
    assert "'eleven'" in str(error)


@pytest.mark.parametrize("dtype", [bool, complex, "datetime64[ns]"])
def test_a_column_of_another_type(dtype):
    frame = table()
    frame["volume"] = frame["volume"].astype("int64").astype(dtype)
    assert refused(frame).rule == "numeric column"


@pytest.mark.parametrize("dtype", ["int64", "float32", "Float64", "Int64", "double[pyarrow]"])
def test_any_real_numbers_will_do(dtype):
    frame = table()
    frame["notional"] = frame["notional"].astype(dtype)
    assert Bars.from_frame(frame).notional.dtype == np.float64


def test_a_missing_value_in_a_nullable_column():
    frame = table()
    frame["volume"] = frame["volume"].astype("Float64")
    frame.loc[BAD_ROW, "volume"] = pd.NA
    error = refused(frame)
    assert (error.timestamp, error.column, error.rule) == (BAD_TIME, "volume", "finite")


def test_an_unknown_calendar():
    with pytest.raises(UnknownNameError, match=r"unknown calendar 'XNYZ'; did you mean .*'XNYS'"):
        Bars.from_frame(table(), calendar="XNYZ")


def test_the_table_is_left_alone():
    frame = table()
    before = frame.copy()
    Bars.from_frame(frame)
    pd.testing.assert_frame_equal(frame, before)
    frame.loc[BAD_ROW, "low"] = -1.0
    refused(frame)


# Files


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "bars.csv.gz"])
def test_a_file_that_is_not_what_it_says(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x00not a table\xff" * 50)
    with pytest.raises(BarsError):
        Bars.read(path)


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "bars.csv.gz"])
def test_a_truncated_file(tmp_path, name):
    path = tmp_path / name
    Bars.from_frame(table()).write(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BarsError):
        Bars.read(path)


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "bars.csv.gz"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(BarsError, match="cannot be read"):
        Bars.read(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BarsError, match="there is no file"):
        Bars.read(tmp_path / "bars.parquet")


def test_a_file_format_that_is_not_known(tmp_path):
    with pytest.raises(BarsError, match=r"neither an \.arrow, a \.parquet, a \.csv nor a \.csv\.gz"):
        Bars.read(tmp_path / "bars.xlsx")
    with pytest.raises(BarsError, match=r"neither an \.arrow"):
        Bars.from_frame(table()).write(tmp_path / "bars")
    assert list(tmp_path.iterdir()) == []


def test_a_parquet_file_without_symbols(tmp_path):
    table().drop(columns="symbol").to_parquet(tmp_path / "bars.parquet")
    with pytest.raises(BarsError, match="lacks 'symbol'"):
        Bars.read(tmp_path / "bars.parquet")


def test_a_csv_with_a_text_among_the_prices(tmp_path):
    frame = table()
    frame["open"] = frame["open"].astype(object)
    frame.loc[BAD_ROW, "open"] = "n/k"
    frame.to_csv(tmp_path / "bars.csv", index=False)
    with pytest.raises(BarsError, match="'n/k'") as caught:
        Bars.read(tmp_path / "bars.csv")
    assert (caught.value.symbol, caught.value.timestamp, caught.value.column) == ("AAA", BAD_TIME, "open")


def test_a_csv_with_local_times(tmp_path):
    frame = table(start="2024-03-10")  # the clocks change that night
    frame["timestamp"] = frame["timestamp"].dt.tz_convert("America/New_York")
    frame.to_csv(tmp_path / "bars.csv", index=False)
    with pytest.raises(BarsError, match=r"mix the zones '-05:00' and '-04:00'; convert the column to UTC"):
        Bars.read(tmp_path / "bars.csv")
