"""Prices and volumes as tables hold them: every kind of number, and prices that a vendor has rounded."""

import decimal
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lem_models.errors import BarsError, BarsWarning
from lem_models.evaluation.leak import check_leak
from lem_models.evaluation.null import martingale_null
from lem_models.markets.bars import Bars
from lem_models.markets.storage.writer import BarsWriter, store_bars
from lem_models.markets.validation import PRICES, VENDOR_ROUNDING, check_values, validate_frame
from tests.helpers import hourly
from tests.markets.test_bad_bars import BAD_ROW, BAD_TIME, refused, table

STEP = 1.0 + 1.2e-7  # of single precision


def with_row(**values):
    """Valid bars, one of which has other values."""
    frame = table()
    for column, value in values.items():
        frame.loc[BAD_ROW, column] = value
    return frame


# Prices that contradict each other by a rounding error


ROUNDED = {
    "close above high": {"close": 12.0 * STEP},
    "open above high": {"open": float(np.nextafter(np.float32(12), np.float32(13)))},
    "close below low": {"close": 9.0 / STEP},
    "open below low, close above high": {"open": 9.0 / STEP, "close": 12.0 * STEP},
    "a flat bar rounded past itself": {"open": 10.0, "close": 10.0, "high": 10.0, "low": 10.0 * STEP, "notional": 20.0},
    "low above high by a last bit": {
        "open": 10.0,
        "close": 10.0,
        "low": np.nextafter(10, 11),
        "high": 10.0,
        "notional": 20.0,
    },
}


@pytest.mark.parametrize("values", ROUNDED.values(), ids=ROUNDED)
def test_a_rounding_widens_the_range_and_is_said(values):
    frame = with_row(**values)
    with pytest.warns(BarsWarning) as caught:
        bars = Bars.from_frame(frame)
    (warning,) = caught
    assert "1 bar has prices that contradict each other by a rounding error" in str(warning.message)
    assert f"symbol 'AAA', timestamp {BAD_TIME}" in str(warning.message)
    assert "\n" not in str(warning.message)
    prices = frame.loc[BAD_ROW, list(PRICES)]
    assert (bars.low[BAD_ROW], bars.high[BAD_ROW]) == (prices.min(), prices.max())
    assert (bars.open[BAD_ROW], bars.close[BAD_ROW]) == (prices["open"], prices["close"])
    others = np.arange(len(bars)) != BAD_ROW
    for name in PRICES:
        np.testing.assert_array_equal(getattr(bars, name)[others], frame[name][others])


def test_the_bars_of_a_rounding_are_counted():
    frame = table(("AAA", "BBB", "CCC"), 200)
    frame.loc[7::3, "close"] = 12.0 * STEP
    with pytest.warns(BarsWarning, match=f"^{len(frame.loc[7::3])} bars have prices"):
        Bars.from_frame(frame)


@pytest.mark.parametrize("factor", [1 + 2e-6, 1.1])
def test_more_than_a_rounding_is_refused(factor):
    for name in ("open", "close"):
        assert refused(with_row(**{name: 12.0 * factor})).rule == f"low <= {name} <= high"
        assert refused(with_row(**{name: 9.0 / factor})).rule == f"low <= {name} <= high"
    flat = {"open": 10.0, "close": 10.0, "high": 10.0, "low": 10.0 * factor, "notional": 20.0}
    assert refused(with_row(**flat)).rule == "low <= high"
    assert refused(with_row(low=12.0 * factor)).rule == "low <= high", "the open is far away"


def test_last_bits_are_kept_as_they_are_and_not_spoken_of():
    frame = with_row(close=12.0 * (1 + 1e-10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bars = Bars.from_frame(frame)
    assert (bars.high[BAD_ROW], bars.close[BAD_ROW]) == (12.0, 12.0 * (1 + 1e-10))


@given(
    st.lists(
        st.sampled_from([0.0, 1e-10, 1e-8, 1.2e-7, 9e-7, VENDOR_ROUNDING, -1e-8, -1.2e-7, -9e-7, 1e-3]),
        min_size=4,
        max_size=4,
    ),
    st.sampled_from([1.0, 3e-8, 61234.56, 1e15]),
)
def test_what_is_read_obeys_every_rule_afterwards(steps, base):
    prices = {name: base * (1.0 + step) for name, step in zip(PRICES, steps, strict=True)}
    frame = table().assign(**prices, notional=2.0 * np.mean(list(prices.values())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BarsWarning)
        try:
            columns = validate_frame(frame)
        except BarsError:
            assert max(steps) - min(steps) > VENDOR_ROUNDING / 2
            return
        check_values(columns)
        again = validate_frame(Bars.from_frame(frame).frame)
    assert not len(again.widened), "once is enough"
    for name in PRICES:
        np.testing.assert_array_equal(again.values[name], columns.values[name])


def test_nothing_downstream_stumbles_over_rounded_prices(tmp_path):
    frame = hourly(20, 2).frame
    rng = np.random.default_rng(0)
    odd = rng.choice(len(frame), 200, replace=False)
    frame.loc[odd, "close"] = frame.loc[odd, "high"] * STEP
    with pytest.warns(BarsWarning, match="200 bars"):
        bars = Bars.from_frame(frame)
    assert np.all((bars.low <= bars.close) & (bars.close <= bars.high))
    for seed in range(3):
        martingale_null(bars, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", BarsWarning)
        for name in ("bars.parquet", "bars.csv", "bars.arrow"):
            bars.write(tmp_path / name)
            assert Bars.read(tmp_path / name).content_hash == bars.content_hash
        assert Bars.read(tmp_path / "bars.arrow", verify=True).content_hash == bars.content_hash


def test_a_writer_counts_over_all_pieces(tmp_path):
    frame = table()
    frame.loc[[3, 9, 20], "close"] = 12.0 * STEP
    with pytest.warns(BarsWarning, match=r"3 bars have .*symbol 'AAA', timestamp 2024-01-01 03:00") as caught:
        stored = store_bars([frame[:6], frame[6:]], tmp_path / "bars.arrow")
    assert len(caught) == 1
    with pytest.warns(BarsWarning):
        assert stored.content_hash == Bars.from_frame(frame).content_hash


# Kinds of numbers


@pytest.mark.parametrize(
    "dtype",
    [
        *("float16", "float32", "int8", "int64", "uint64", "Int64", "UInt64", "Float32", "Float64", object),
        *("float[pyarrow]", "int64[pyarrow]", "uint8[pyarrow]", "Sparse[float64]"),
        pd.ArrowDtype(pa.decimal128(20, 4)),
        pd.ArrowDtype(pa.decimal256(50, 4)),
    ],
    ids=str,
)
def test_every_kind_of_number_is_read(dtype):
    bars = Bars.from_frame(table().astype({"volume": dtype, "notional": dtype}))
    assert bars.volume.dtype == bars.notional.dtype == np.float64
    assert bars.content_hash == Bars.from_frame(table()).content_hash


@given(st.decimals(9, 12, places=17), st.sampled_from([object, "arrow", "polars"]))
def test_decimals_are_rounded_to_the_nearest_float(price, kind):
    frame = table().assign(open=price)
    if kind == "arrow":
        frame["open"] = frame["open"].astype(pd.ArrowDtype(pa.decimal128(30, 17)))
    if kind == "polars":
        frame = pl.from_pandas(frame.drop(columns="open")).with_columns(pl.Series("open", [price] * len(frame)))
    assert Bars.from_frame(frame).open[0] == float(price)


@pytest.mark.parametrize("values", [[None], [pd.NA], [np.nan], [decimal.Decimal("NaN")]], ids=repr)
@pytest.mark.parametrize("dtype", [object, "Float64", "double[pyarrow]"], ids=str)
def test_a_missing_number_is_refused_by_row(values, dtype):
    column = pd.Series([2.0] * BAD_ROW + values + [2.0] * (23 - BAD_ROW), dtype=object)
    if dtype is not object:
        column = column.map(float, na_action="ignore").astype(dtype)
    error = refused(table().assign(volume=column))
    assert (error.timestamp, error.column, error.rule) == (BAD_TIME, "volume", "finite")


@pytest.mark.parametrize(
    "value",
    [
        *("10.5", "ten", "", b"1", True, np.bool_(True), 1 + 2j, [1.0], {"price": 1.0}, 10**400, 10**5000),
        *(decimal.Decimal("sNaN"), pd.Timestamp("2024"), pd.Timedelta(1), object()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_number_is_named_by_row(value):
    column = pd.Series([11.0] * 24, dtype=object)
    column[BAD_ROW] = value
    error = refused(table().assign(close=column))
    assert (error.symbol, error.timestamp, error.column, error.rule) == ("AAA", BAD_TIME, "close", "numeric column")
    assert "make it a column of numbers first" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "dtype", ["bool", "boolean", "bool[pyarrow]", "str", "string[pyarrow]", "category", "complex128"]
)
def test_a_column_of_something_else(dtype):
    ones = table()["volume"].clip(upper=1).astype(int)
    column = ones.astype(bool).astype(dtype) if "bool" in dtype else ones.astype(dtype)
    assert refused(table().assign(volume=column)).rule == "numeric column"


# Tables of other libraries


@pytest.mark.parametrize(
    "make",
    [pl.from_pandas, pa.Table.from_pandas, lambda frame: frame.to_dict("list"), lambda frame: frame.to_dict("records")],
    ids=["polars", "pyarrow", "columns", "rows"],
)
def test_bars_of_a_table_of_any_library(tmp_path, make):
    expected = Bars.from_frame(table()).content_hash
    made = make(table())
    assert Bars.from_frame(made).content_hash == expected
    if not isinstance(made, list):  # a list is one of pieces
        assert store_bars(made, tmp_path / "bars.arrow").content_hash == expected
    with BarsWriter(tmp_path / "bars.arrow") as writer:
        writer.write(made)
    assert Bars.read(tmp_path / "bars.arrow").content_hash == expected


def test_a_polars_table_says_what_it_is_like_one_of_pandas():
    table_of_texts = pl.from_pandas(table()).with_columns(
        pl.col("symbol").cast(pl.Categorical), pl.col("close").cast(pl.Decimal(10, 2))
    )
    assert Bars.from_frame(table_of_texts).content_hash == Bars.from_frame(table()).content_hash
    naive = pl.from_pandas(table()).with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    assert refused(naive).rule == "tz-aware timestamp"


def test_whole_numbers_with_missing_ones_stay_whole(tmp_path):
    trades = [2**53 + 1, None] * 12
    made = pl.from_pandas(table()).with_columns(pl.Series("trades", trades))
    assert Bars.from_frame(made).frame["trades"].dropna().astype(object).tolist() == [2**53 + 1] * 12
    stored = store_bars([made[:6], made[6:]], tmp_path / "bars.arrow")
    with pa.ipc.open_file(str(tmp_path / "bars.arrow")) as file:
        assert file.get_batch(0).column("trades").to_pylist() == trades
    assert len(stored) == 24


@pytest.mark.parametrize("lazy", ["bars.csv", pl.LazyFrame({"a": [1]}), 5, None])
def test_what_is_no_table_is_refused_with_the_cure(lazy):
    assert "bars are read from a table" in str(refused(lazy))


@pytest.mark.parametrize(
    "symbol",
    [{"base": "BTC", "quote": "USDT"}, ["BTC"], 7, b"BTC", ("BTC", "USDT"), pd.Timestamp("2024")],
    ids=lambda symbol: type(symbol).__name__,
)
def test_symbols_that_are_no_texts(tmp_path, symbol):
    frame = table().assign(symbol=pd.Series([symbol] * 24, dtype=object))
    error = refused(frame)
    assert (error.column, error.rule) == ("symbol", "named symbol")
    assert "row 0 has the symbol" in str(error)
    path = tmp_path / "bars.parquet"
    frame.to_parquet(path)
    for read in (Bars.read, lambda path: store_bars(path, tmp_path / "stored.arrow")):
        with pytest.raises(BarsError) as caught:
            read(path)
        assert caught.value.rule in ("named symbol", "flat columns")  # nested columns are not even decoded
    assert refused(pa.Table.from_pandas(frame)).rule == "named symbol"
    assert refused(pa.Table.from_pandas(frame).to_pandas(types_mapper=pd.ArrowDtype)).rule == "named symbol"


def test_a_leak_check_of_rounded_bars():
    from lem_models.baselines import load_policy

    frame = hourly(20, 1).frame
    frame.loc[::5, "close"] = frame["high"] * STEP
    with pytest.warns(BarsWarning):
        bars = Bars.from_frame(frame)
    assert check_leak(load_policy("twap"), bars, checks=2) is None
