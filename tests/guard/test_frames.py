"""Tables of other libraries: read as they are, or refused by name with the cure."""

import decimal
import pathlib

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lem_models.errors import BarsError, OrderError
from lem_models.guard.frames import as_pandas

COLUMNS = {
    "timestamp": list(pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC")),
    "symbol": ["AAA", "AAA", "BBB"],
    "count": [1, None, 2**53 + 1],
    "price": [decimal.Decimal("1.10")] * 3,
}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


def test_a_pandas_frame_is_given_back():
    frame = pd.DataFrame(COLUMNS)
    assert as_pandas(frame, "bars", BarsError) is frame


@pytest.mark.parametrize(
    "make",
    [pl.DataFrame, pa.table, lambda columns: pa.table(columns).to_batches()[0]],
    ids=["polars", "pyarrow table", "record batch"],
)
def test_a_table_of_another_library_keeps_its_values(make):
    frame = as_pandas(make(COLUMNS), "bars", BarsError)
    assert list(frame.columns) == list(COLUMNS)
    assert frame["timestamp"].tolist() == COLUMNS["timestamp"]
    assert frame["symbol"].tolist() == COLUMNS["symbol"]
    assert frame["count"].tolist()[2] == 2**53 + 1, "a missing value does not make floats of whole numbers"
    assert frame["price"].tolist() == COLUMNS["price"]


def test_a_mapping_of_columns_and_a_list_of_rows():
    for table in (COLUMNS, ROWS):
        assert as_pandas(table, "orders", OrderError)["symbol"].tolist() == COLUMNS["symbol"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pl.LazyFrame({"a": [1]}), r"not from polars\.LazyFrame; call \.collect\(\) first"),
        (pl.Series([1]), r"this polars\.Series is not one"),
        (pd.Series([1]), r"(this|not from) pandas\.Series"),
        ("bars.csv", r"'bars\.csv' is a text or a path: read the file first"),
        (pathlib.Path("bars.csv"), "is a text or a path: read the file first"),
        (b"timestamp,symbol", "is a text or a path"),
        ({"close": 1.0}, "this dict is not one"),
        ({"open": [1.0], "close": [1.0, 2.0]}, "this dict is not one"),
        ([1, 2], "not from list; make it a pandas DataFrame first"),
        ([], "not from list"),
        (None, "not from NoneType"),
        (7, "not from int"),
    ],
)
def test_what_is_no_table_is_named_with_the_cure(table, message):
    with pytest.raises(OrderError, match=f"^orders are read from a table.*{message}") as caught:
        as_pandas(table, "orders", OrderError)
    assert "\n" not in str(caught.value)


def test_a_lazy_table_of_any_library():
    class DataFrame:
        def compute(self):
            raise AssertionError("nothing is computed unasked")

    with pytest.raises(BarsError, match=r"call \.compute\(\) first"):
        as_pandas(DataFrame(), "bars", BarsError)
