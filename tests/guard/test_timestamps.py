"""Moments: ISO 8601 is read alike wherever a time is given, and what would have to be guessed is refused."""

import datetime
import subprocess
import sys
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lem_models.errors import BarsError, ConfigError, OrderError
from lem_models.guard.timestamps import MomentError, as_datetime, read_day, read_moment, read_moments
from lem_models.orders import Order
from lem_models.orders.table import complete_orders
from lem_models.training.recipe import DataConfig
from tests.helpers import hourly

NINE = pd.Timestamp("2024-01-31 09:30", tz="UTC").value
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")

MOMENTS = {
    "2024-01-31T09:30:00Z": NINE,
    "2024-01-31 09:30:00Z": NINE,
    "2024-01-31T09:30Z": NINE,
    "2024-01-31 09:30:00+00:00": NINE,
    "2024-01-31 09:30:00+0000": NINE,
    "2024-01-31 09:30:00+00": NINE,
    "2024-01-31 09:30:00-00:00": NINE,
    "2024-01-31 09:30:00UTC": NINE,
    "2024-01-31 09:30:00 UTC": NINE,
    "2024-01-31T10:30:00+01:00": NINE,
    "2024-01-31T15:00:00+0530": NINE,
    "2024-01-31T04:30:00-05": NINE,
    "2024-01-31T09:30:00.000Z": NINE,
    "2024-01-31T09:30:00.5Z": NINE + 500_000_000,
    "2024-01-31T09:30:00.123456Z": NINE + 123_456_000,
    "2024-01-31T09:30:00.123456789Z": NINE + 123_456_789,
    "2024-02-29T00:00:00Z": pd.Timestamp("2024-02-29", tz="UTC").value,
    "1969-12-31T23:59:59.999999999Z": -1,
    "1678-01-01T00:00:00Z": pd.Timestamp("1678-01-01", tz="UTC").value,
    "2262-04-11T00:00:00Z": pd.Timestamp("2262-04-11", tz="UTC").value,
    datetime.datetime(2024, 1, 31, 9, 30, tzinfo=datetime.timezone.utc): NINE,
    datetime.datetime(2024, 1, 31, 4, 30, tzinfo=NEW_YORK): NINE,
    pd.Timestamp("2024-01-31 09:30", tz="UTC"): NINE,
    pd.Timestamp("2024-01-31 09:30:00.000000007", tz="UTC"): NINE + 7,
    pd.Timestamp("2024-01-31 04:30", tz="America/New_York"): NINE,
}

# A date or time without a zone: UTC where no zone is needed, refused where one is.
WITHOUT_ZONE = {
    "2024-01-31T09:30:00": NINE,
    "2024-01-31 09:30": NINE,
    "2024-01-31": NINE - pd.Timedelta("9h30min").value,
    datetime.datetime(2024, 1, 31, 9, 30): NINE,
    datetime.date(2024, 1, 31): NINE - pd.Timedelta("9h30min").value,
    pd.Timestamp("2024-01-31 09:30"): NINE,
    np.datetime64("2024-01-31T09:30"): NINE,
    np.datetime64("2024-01-31T09:30:00.000000007"): NINE + 7,
    np.datetime64("2024-01-31"): NINE - pd.Timedelta("9h30min").value,
}

REFUSED = [
    *("", " ", "now", "today", "yesterday", "noon", "NaT", "nan", "None", "2024", "2024-01", "24-01-31", "240131"),
    *(
        "20240131",
        "20240131T093000Z",
        "01/31/2024 09:30Z",
        "31/01/2024 09:30Z",
        "2024/01/31 09:30Z",
        "31.01.2024 09:30Z",
    ),
    *("09:30Z", "09:30:00+00:00", "T09:30Z", "31 Jan 2024 09:30Z", "Jan 31, 2024 09:30Z", "2024-Jan-31 09:30Z"),
    *("2024-W05-3T09:30Z", "2024-W05", "2024-031T09:30Z", "2024-1-31T09:30Z", "2024-01-31T9:30Z", "2024-01-31T09Z"),
    *("2024-01-31T24:00:00Z", "2024-01-31T09:30:60Z", "2024-01-31T09:60Z", "2024-02-30T00:00Z", "2023-02-29T00:00Z"),
    *("2024-13-01T00:00Z", "2024-00-01T00:00Z", "2024-01-00T00:00Z", "0000-01-01T00:00Z", "2024-01-31T09:30:00,5Z"),
    *("2024-01-31T09:30:00.1234567890Z", "2024-01-31T09:30:00.Z", "2024-01-31T09:30 pm Z", "2024-01-31T09:30AM+00:00"),
    *("2024-01-31T09:30z", "2024-01-31t09:30Z", "2024-01-31  09:30Z", " 2024-01-31T09:30Z", "2024-01-31T09:30Z\n"),
    *("2024-01-31T09:30 +00:00", "2024-01-31T09:30:00+1", "2024-01-31T09:30:00+24:00", "2024-01-31T09:30:00+00:60"),
    *("2024-01-31T09:30:00 EST", "2024-01-31T09:30 America/New_York", "2024-01-31Z", "٢٠٢٤-01-31T09:30Z"),
    *("+2024-01-31T09:30Z", "-2024-01-31T09:30Z", "P1D", "2024-01-31T09:30Z/2024-02-01T09:30Z", "1706693400"),
    *("0001-01-01T00:00:00Z", "1677-01-01T00:00:00Z", "2262-04-12T00:00:00Z", "2999-01-01T00:00:00Z"),
    datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    datetime.datetime(2999, 1, 1, tzinfo=datetime.timezone.utc),
    datetime.time(9, 30),
    datetime.timedelta(hours=1),
    np.datetime64("2024"),
    np.datetime64("2024-01"),
    np.datetime64("NaT"),
    np.datetime64("2999-01-01"),
    *(1706693400, 1706693400000, 1706693400.0, True, False, 0, np.int64(1706693400), np.bool_(True)),
    *(None, pd.NaT, pd.NA, np.nan, np.float32("nan"), float("inf")),
    *(b"2024-01-31T09:30Z", ["2024-01-31T09:30Z"], {"start": "2024-01-31T09:30Z"}, object()),
    pd.Period("2024-01-31", "D"),
    pd.Timedelta("1h"),
]

BARS = hourly(10, 1)


def _order(start):
    return Order(symbol="A", start=start, side="buy", max_periods=1)


def _table(start, dtype=object):
    starts = pd.Series([start], dtype=dtype) if dtype is not None else pd.Series([start])
    table = pd.DataFrame({"symbol": ["A"], "start": starts, "side": ["buy"]})
    return complete_orders(table, horizon=1, risk_aversion=0.0)["start"]


@pytest.mark.parametrize(("value", "expected"), MOMENTS.items(), ids=str)
def test_a_moment_is_read_alike_everywhere(value, expected):
    assert read_moment(value, needs_zone=True) == read_moment(value, needs_zone=False) == expected
    assert read_moments(pd.Series([value], dtype=object)).tolist() == [expected]
    assert read_moments(pd.Series([value])).tolist() == [expected]
    order = _order(value)
    assert pd.Timestamp(order.start).value == expected
    for starts in (_table(value), _table(value, None), complete_orders(order, horizon=1, risk_aversion=0.0)["start"]):
        assert str(starts.dtype) == "datetime64[ns, UTC]"
        assert starts[0].value == expected


@pytest.mark.parametrize(("value", "expected"), WITHOUT_ZONE.items(), ids=repr)
def test_a_time_without_a_zone_is_utc_only_where_none_is_needed(value, expected):
    assert read_moment(value, needs_zone=False) == expected
    with pytest.raises(MomentError, match="has no time zone: if it is UTC, say so") as caught:
        read_moment(value, needs_zone=True)
    assert caught.value.fault == "zone"
    for make in (_order, _table, lambda start: _table(start, None)):
        with pytest.raises(OrderError, match="has no time zone") as refused:
            make(value)
        assert (refused.value.field, refused.value.rule) == ("start", "time zone")


def _named(value):
    return "object" if type(value) is object else f"{type(value).__name__} {str(value)[:40]!r}"


@pytest.mark.parametrize("value", REFUSED, ids=_named)
def test_what_would_have_to_be_guessed_is_refused_everywhere(value):
    for needs_zone in (True, False):
        with pytest.raises(MomentError) as caught:
            read_moment(value, needs_zone=needs_zone)
        assert "\n" not in str(caught.value)
    with pytest.raises(BarsError, match="not a date or time"):
        BARS.between(end=value) if value is not None else BARS.rows_between("now")
    rules = set()
    for make in (_order, _table):
        with pytest.raises(OrderError) as refused:
            make(value)
        assert refused.value.field == "start"
        assert "\n" not in str(refused.value)
        rules.add(refused.value.rule)
    assert len(rules) == 1, "an order and a table break the same rule"


def test_a_number_too_long_to_print_is_refused_too():
    with pytest.raises(MomentError, match="<int of 16,610 bits> is a number, not a time"):
        read_moment(10**5000, needs_zone=True)


def test_a_column_names_the_first_row_that_is_wrong():
    texts = ["2024-01-31T09:30Z"] * 3 + ["31/01/2024 09:30Z"] + ["2024-01-31T09:30Z"] * 2
    for dtype in (object, "str", "category", "string[pyarrow]"):
        with pytest.raises(MomentError, match="'31/01/2024 09:30Z' is not a time in ISO 8601") as caught:
            read_moments(pd.Series(texts, dtype=dtype))
        assert caught.value.row == 3


def test_columns_of_every_type_hold_the_same_moments():
    stamps = pd.date_range("2024-01-31", periods=5, freq="h", tz="UTC")
    expected = stamps.as_unit("ns").asi8.tolist()
    column = pd.Series(stamps)
    for same in (
        *(column.dt.as_unit(unit) for unit in ("s", "ms", "us", "ns")),
        column.dt.tz_convert("America/New_York"),
        column.astype(object),
        column.astype(str),
        column.astype(str).astype("category"),
        column.astype("category"),
        column.astype("timestamp[us, UTC][pyarrow]"),
        pd.Series([stamp.to_pydatetime() for stamp in stamps], dtype=object),
        pd.Series([stamps[0], *column.astype(str)[1:]], dtype=object),
    ):
        assert read_moments(same, one_zone=True).tolist() == expected


def test_a_column_of_numbers_or_without_a_zone_is_refused():
    for column in (
        pd.Series([1706693400]),
        pd.Series([1706693400.0]),
        pd.Series([True]),
        pd.Series(pd.to_datetime(["2024-01-31"])),
        pd.Series(pd.to_datetime(["2024-01-31"])).astype("timestamp[us][pyarrow]"),
        pd.Series(pd.period_range("2024-01-31", periods=1)),
        pd.Series(pd.to_timedelta(["1h"])),
    ):
        with pytest.raises(MomentError) as caught:
            read_moments(column)
        assert caught.value.row == 0


def test_several_zones_are_one_too_many_for_bars_and_not_for_orders():
    column = pd.Series(["2024-03-10T01:00-05:00", "2024-03-10T03:00-04:00"])
    assert read_moments(column).tolist() == [
        pd.Timestamp("2024-03-10 06:00").value,
        pd.Timestamp("2024-03-10 07:00").value,
    ]
    with pytest.raises(MomentError, match=r"mix the zones '-05:00' and '-04:00'; convert the column to UTC") as caught:
        read_moments(column, one_zone=True)
    assert (caught.value.fault, caught.value.row) == ("mixed", 1)


WITHIN = st.datetimes(datetime.datetime(1678, 1, 1), datetime.datetime(2262, 1, 1))
OFFSETS = st.integers(-15 * 60 - 59, 15 * 60 + 59).map(lambda m: datetime.timezone(datetime.timedelta(minutes=m)))


@given(st.datetimes(datetime.datetime(1678, 1, 2), datetime.datetime(2262, 1, 1), timezones=OFFSETS))
def test_every_way_to_write_a_moment_is_the_same_moment(value):
    expected = pd.Timestamp(value).as_unit("ns").value
    texts = [
        value.isoformat(),
        str(value),
        str(pd.Timestamp(value)),
        value.strftime("%Y-%m-%dT%H:%M:%S.%f%z").zfill(31),
    ]
    for same in (value, pd.Timestamp(value), *texts):
        assert read_moment(same, needs_zone=True) == expected
    assert read_moments(pd.Series(texts)).tolist() == [expected] * len(texts)
    assert as_datetime(expected) == value


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]?[0-9:.]{0,12}(Z|UTC|[+-][0-9:]{0,5})?"),
        st.datetimes(),
        st.dates(),
        st.integers(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.binary(),
    )
)
def test_an_order_and_a_table_accept_the_same_starts(value):
    def outcome(make):
        try:
            return pd.Timestamp(make(value)).value
        except OrderError as error:
            return error.rule

    expected = outcome(lambda start: _order(start).start)
    assert outcome(lambda start: _table(start)[0]) == expected
    if isinstance(expected, int):
        assert pd.to_datetime(value, utc=True, format="ISO8601").value == expected, "pandas reads the text alike"


@pytest.mark.parametrize("value", ["2024-01-31", datetime.date(2024, 1, 31)], ids=str)
def test_a_day(value):
    assert read_day(value) == datetime.date(2024, 1, 31)
    assert DataConfig(train_end=value, validation_end="2024-02-01").train_end == datetime.date(2024, 1, 31)


@pytest.mark.parametrize(
    "value",
    [
        *("", "today", "2024", "2024-01", "20240131", "2024-W05-3", "24-01-31", "01/02/2024", "2024-02-30"),
        *("2024-01-31T00:00", "2024-01-31Z", "0001-01-01", "2999-01-01", " 2024-01-31", "1706693400"),
        *(1706659200, 1706659200.0, True, None, datetime.datetime(2024, 1, 31), pd.Timestamp("2024-01-31")),
    ],
    ids=repr,
)
def test_what_is_no_day(value):
    with pytest.raises(MomentError):
        read_day(value)
    with pytest.raises(ValueError, match="train_end"):
        DataConfig(train_end=value, validation_end="2024-02-01")


def test_a_day_of_finetuning_is_one_of_iso_8601():
    from lem_models.training.settings import FinetuneSettings

    for value in ("20240131", "01/02/2024", ""):
        with pytest.raises(ConfigError, match=r"train_end: .* is not a day: write it as 2024-01-31"):
            FinetuneSettings(train_end=value, validation_end="2024-02-01")


def test_reading_a_moment_loads_neither_torch_nor_pandas():
    code = (
        "import sys; from lem_models.orders import Order; Order(symbol='A', start='2024-01-31T09:30Z', side='buy');"
        "sys.exit(bool({'torch', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
