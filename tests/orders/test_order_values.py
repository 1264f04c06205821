"""Names and values of orders are read or refused, never guessed: lots, numbers, words, labels, columns, containers."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lem_models import Order, execute, load_policy
from lem_models.errors import OrderError
from lem_models.execution.records import OrderBatch
from lem_models.execution.result import ExecutionResult
from lem_models.orders.fields import FIELDS, OTHER_WORDS, meant_field
from lem_models.orders.rules import DEFAULTS, MAX_LOTS, MAX_PERIODS, Benchmark, Side, Target
from lem_models.orders.table import complete_orders, unread_columns
from tests.helpers import hourly

BARS = hourly()
ONE = {"symbol": "S000", "start": "2024-01-12T00:00Z", "side": "buy", "max_periods": 6}


def _table(**columns):
    return pd.DataFrame([{**ONE, "order_id": "a"}, {**ONE, "order_id": "b"}]).assign(**columns)


def _completed(orders):
    return complete_orders(orders, horizon=None, risk_aversion=0.0)


def _both_ways(**settings):
    """The functions that read settings: of one order, and of the second row of a table."""
    columns = {name: pd.Series([DEFAULTS.get(name), value], dtype=object) for name, value in settings.items()}
    if "max_periods" in settings:
        columns["max_periods"] = pd.Series([6, settings["max_periods"]], dtype=object)
    return lambda: Order(**{**ONE, **settings}), lambda: _completed(_table(**columns))


# --- lots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "lot_size", "lots"),
    [
        (0.3, 0.1, 3),
        (2000001, 1, 2000001),
        (2000001.5, 0.5, 4000003),
        (Decimal("0.3"), Decimal("0.1"), 3),
        (Decimal("0.3"), 0.1, 3),
        (12, Decimal("0.001"), 12000),
        (np.float32(0.3), np.float32(0.1), 3),
        (np.int64(7), np.int8(1), 7),
        (40.0, 1e-8, 4_000_000_000),
        (1e-7, 1e-8, 10),
        (1e23, 1e20, 1000),
        (123456789012, 1, 123456789012),
    ],
)
def test_an_amount_is_so_many_lots(amount, lot_size, lots):
    for make in _both_ways(amount=amount, lot_size=lot_size):
        order = make()
        batch = OrderBatch.from_frame(_completed(order).tail(1))
        assert round(1 / batch.lot.item()) == lots
        assert batch.max_rate.item() == 1.0


@pytest.mark.parametrize(
    ("amount", "lot_size", "cure"),
    [
        (2000001.5, 1, "take 2000001 or 2000002"),
        (10, 1e8, "take 100000000"),
        (100, 0.9112927160488942, "take 99.33090604932947 or 100.24219876537836"),
        (0.1 + 0.2, 0.1, "0.30000000000000004 in lots of 0.1: take 0.3 or 0.4"),
        (Decimal("1.05"), Decimal("0.1"), "take 1 or 1.1"),
        (1e11 + 0.5, 1, "take 100000000000 or 100000000001"),
        (1, 3, "take 3"),
    ],
)
def test_an_amount_that_is_no_whole_number_of_lots_is_refused_however_large(amount, lot_size, cure):
    for make in _both_ways(amount=amount, lot_size=lot_size):
        with pytest.raises(OrderError, match="must be a whole number of lots") as error:
            make()
        assert error.value.field == "lot_size"
        assert cure in str(error.value)


@given(lots=st.integers(1, 10**6), size=st.floats(1e-8, 1e8))
def test_a_lot_of_any_float_has_amounts_and_the_cure_is_one_that_works(lots, size):
    amount = float(lots * Decimal(repr(size)))
    assert Order(**ONE, amount=amount, lot_size=size).amount == amount
    off = float(np.nextafter(amount, np.inf))
    with pytest.raises(OrderError, match=r"take \S+ or \S+ ") as error:
        Order(**ONE, amount=off, lot_size=size)
    below, above = str(error.value).split(": take ")[1].split(" (field")[0].split(" or ")
    assert float(below) < off < float(above)
    for cure in (below, above):
        assert Order(**ONE, amount=float(cure), lot_size=size).amount == float(cure)


def test_lots_that_are_lost_in_rounding_are_refused():
    assert Order(**ONE, amount=float(MAX_LOTS), lot_size=1.0).amount == MAX_LOTS
    for make in _both_ways(amount=2.0 * MAX_LOTS, lot_size=1.0) + _both_ways(amount=1e300, lot_size=1e-300):
        with pytest.raises(OrderError, match="leave out lots as small as that"):
            make()


@given(
    lots=st.integers(1, 10**9),
    size=st.decimals("0.00000001", "1000", places=8),
    off=st.sampled_from([0, 0, Fraction(1, 2), Fraction(1, 10)]),
)
def test_whole_lots_are_told_from_others_exactly(lots, size, off):
    amount = lots * size + Decimal(off.numerator) / Decimal(off.denominator) * size if off else lots * size
    digits = len(str(amount).replace(".", "").strip("0"))
    if digits > 15:  # a float would be another number
        return
    for one in (amount, float(amount)):
        make = lambda one=one: Order(**ONE, amount=one, lot_size=size)  # noqa: E731
        if off:
            with pytest.raises(OrderError, match="whole number of lots"):
                make()
        else:
            assert round(1 / OrderBatch.from_frame(_completed(make())).lot.item()) == lots


@pytest.mark.parametrize("lots", [7, 999_983, 10**9 + 7, 10**11 + 3, MAX_LOTS - 1])
def test_an_order_of_any_number_of_lots_trades_all_of_them(lots):
    for periods in (1, 3):
        order = {**ONE, "max_periods": periods, "amount": lots, "lot_size": 1}
        result = execute(load_policy("twap"), BARS, order)
        assert result.orders["completed"].all()
        traded = result.schedule["fraction"].to_numpy() * lots
        np.testing.assert_allclose(traded, np.round(traded), atol=max(1e-6, lots * 1e-15))


@pytest.mark.parametrize("value", [2**53 + 1, Decimal("0.12345678901234567890"), np.int64(2**62 + 1)])
def test_more_digits_than_a_float_holds_are_refused_where_every_digit_counts(value):
    for make in _both_ways(amount=value):
        with pytest.raises(OrderError, match="more digits than a float holds") as error:
            make()
        assert error.value.field == "amount"


# --- numbers ---------------------------------------------------------------------------------------------------------

NUMBERS = ("amount", "lot_size", "max_participation", "min_rate", "max_rate", "risk_aversion", "min_periods")


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [
        *(1 + 2j, 1 + 0j, np.complex128(1), True, np.True_, "1", b"1", pd.Timedelta("1h"), np.timedelta64(1, "h")),
        *(pd.Timestamp("2024-01-01"), np.array([1.0]), np.array(1.0), [1], {"a": 1}, Fraction(1, 2), pd.NaT),
        pytest.param(object(), id="an object"),
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused_with_its_field_and_row(field, value):
    one, table = _both_ways(**{field: value})
    with pytest.raises(OrderError) as error:
        one()
    assert error.value.field == field
    with pytest.raises(OrderError, match="must be a number") as error:
        table()
    assert (error.value.field, error.value.row, error.value.order_id) == (field, 1, "b")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1 + 2j, 1]),
        pd.Series([True, False]),
        pd.Series([True, None], dtype="boolean"),
        pd.to_timedelta(["1h", "2h"]),
        pd.to_datetime(["2024-01-01", "2024-01-02"]),
        pd.Series(["1", "2"], dtype="string"),
        pd.Series(["1", "2"], dtype="category"),
        pd.Series([1, 2], dtype=pd.ArrowDtype(pa.duration("s"))),
    ],
    ids=lambda column: str(column.dtype),
)
def test_columns_of_other_types_are_no_numbers(column):
    with pytest.raises(OrderError, match="amount must be a number") as error:
        _completed(_table(amount=column))
    assert (error.value.row, error.value.order_id) == (0, "a")


@pytest.mark.parametrize(
    "kind",
    [
        *("float32", "float16", "int8", "uint64", "Int64", "Float64", "Float32", "object", "category"),
        *(pd.ArrowDtype(pa.int32()), pd.ArrowDtype(pa.decimal128(9, 3))),
    ],
    ids=str,
)
def test_numbers_of_any_type_are_read(kind):
    values = [Decimal(2), Decimal(3)] if "decimal" in str(kind) else [2, 3]
    table = _completed(_table(amount=pd.Series(values, dtype=kind)))
    assert table["amount"].tolist() == [2.0, 3.0]
    assert table["amount"].dtype == np.float64


def test_missing_numbers_of_any_kind_have_their_defaults():
    for missing in (None, np.nan, pd.NA, Decimal("NaN"), np.float32("nan")):
        table = _completed(_table(amount=pd.Series([5, missing], dtype=object), lot_size=[np.nan, np.nan]))
        assert table["amount"].iloc[0] == 5
        assert np.isnan(table["amount"].iloc[1])
        assert np.isnan(_completed({**ONE, "amount": missing})["amount"].iloc[0])
    with pytest.raises(OrderError, match="leave it out"):
        Order(**ONE, amount=float("nan"))
    assert Order(**ONE, amount=None, max_rate=None).max_rate == 1.0


@pytest.mark.parametrize("field", ["max_periods", "min_periods"])
@pytest.mark.parametrize(
    "value", [2**63 - 1, 2**64, 1e30, MAX_PERIODS + 1, 12.5, np.inf, -1, 0, Decimal("1.5"), 10**400]
)
def test_periods_are_whole_numbers_up_to_a_million(field, value):
    for make in _both_ways(**{field: value}):
        with pytest.raises(OrderError) as error:
            make()
        assert error.value.field in (field, "min_periods")
    assert error.value.row == 1
    with pytest.raises(OrderError):
        Order.sample(BARS, **{"max_periods": 6, field: value})


@pytest.mark.parametrize("year", ["0001", "1677", "2263", "2999", "9999"])
def test_years_that_nanoseconds_do_not_reach_are_refused(year):
    far = pd.DatetimeIndex(np.array([f"{year}-01-01"] * 2, "datetime64[s]")).tz_localize("UTC")
    for make in (
        lambda: Order(**{**ONE, "start": f"{year}-01-01T00:00Z"}),
        lambda: _completed(_table(start=["2024-01-12T00:00Z", f"{year}-01-01T00:00Z"])),
        lambda: _completed(_table(start=far)),
    ):
        with pytest.raises(OrderError, match="start") as error:
            make()
        assert error.value.field == "start"


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["buy", "BUY", "Buy", " buy ", "bUy\t", Side.BUY, np.str_("Buy")])
def test_a_side_is_its_word_in_any_case(word):
    assert Order(**{**ONE, "side": word}).side is Side.BUY
    assert _completed(_table(side=["sell", word]))["side"].tolist() == ["sell", "buy"]
    assert set(Order.sample(BARS, every=24, side=word)["side"]) == {"buy"}


def test_so_are_benchmark_and_target():
    order = Order(**ONE, benchmark=" TWAP", target="Notional")
    assert (order.benchmark, order.target) == (Benchmark.TWAP, Target.NOTIONAL)
    table = _completed(_table(benchmark=["TWAP", "Vwap "], target=pd.Categorical(["NOTIONAL", "quantity"])))
    assert table["benchmark"].tolist() == ["twap", "vwap"]
    assert table["target"].tolist() == ["notional", "quantity"]
    assert set(Order.sample(BARS, every=24, side="Both")["side"]) == {"buy", "sell"}


@pytest.mark.parametrize(
    "value", ["B", "long", "b", "+", "", "buy buy", 1, True, 1.0, b"buy", ["buy"], Target.QUANTITY]
)
def test_other_words_for_a_side_are_refused(value):
    sides = pd.Series(["buy", value], dtype=object)
    for make in (lambda: Order(**{**ONE, "side": value}), lambda: _completed(_table(side=sides))):
        with pytest.raises(OrderError, match="side must be one of") as error:
            make()
        assert error.value.field == "side"
    assert (error.value.row, error.value.order_id) == (1, "b")


@pytest.mark.parametrize("value", [1.5, True, ["A"], b"A", pd.Timestamp("2024-01-01"), None, np.nan])
def test_a_symbol_is_a_text(value):
    with pytest.raises(OrderError, match="symbol") as error:
        _completed(_table(symbol=pd.Series(["A", value], dtype=object)))
    assert (error.value.field, error.value.row) == ("symbol", 1)
    assert _completed(_table(symbol=600519))["symbol"].tolist() == ["600519", "600519"]


# --- names -----------------------------------------------------------------------------------------------------------

LOOKALIKES = {
    "Quantity": "quantity",
    "notional ": "notional",
    "qty": "amount",
    "QTY": "amount",
    "Order Size": "amount",
    "size": "amount",
    "shares": "amount",
    "volume": "amount",
    "Amount": "amount",
    "amount ": "amount",
    "ammount": "amount",
    "min_period": "min_periods",
    "Max Periods": "max_periods",
    "max-periods": "max_periods",
    "maxPeriods": "max_periods",
    "deadline": "max_periods",
    "horizon": "max_periods",
    "Side": "side",
    "side ": "side",
    "SIDE": "side",
    "max_rat": "max_rate",
    "lotsize": "lot_size",
    "Lot": "lot_size",
    "risk_aversoin": "risk_aversion",
    "OrderID": "order_id",
    "benchmrak": "benchmark",
    "participation_rate": "max_participation",
}


@pytest.mark.parametrize(("name", "field"), LOOKALIKES.items())
def test_a_name_that_looks_like_a_field_is_refused_with_the_field(name, field):
    for make in (lambda: _completed(_table(**{name: 1})), lambda: Order(**ONE, **{name: 1})):
        with pytest.raises(OrderError, match=f"did you mean '{field}'") as error:
            make()
        assert error.value.field == name


def test_no_word_stands_for_two_fields_and_no_field_or_column_of_a_result_is_one():
    words = [word for group in OTHER_WORDS.values() for word in group]
    assert len(words) == len(set(words))
    assert set(OTHER_WORDS) <= set(FIELDS)
    assert not set(words) & set(FIELDS)
    result = execute(load_policy("twap"), BARS, ONE)
    assert isinstance(result, ExecutionResult)
    assert [name for name in unread_columns(result.orders) if meant_field(name)] == []
    assert len(execute(load_policy("twap"), BARS, result.orders).orders) == 1


@pytest.mark.parametrize("name", ["desk", "venue", "note", "strategy", "trader", "limit_price", "status", "group", 0])
def test_other_columns_are_carried_along_and_named_in_a_line(name, caplog):
    table = _table()
    table[name] = [3, 1]
    result = execute(load_policy("twap"), BARS, table)
    assert result.orders[name].tolist() == [3, 1]
    assert f"1 of 6 columns of the orders are not fields and are carried along unread: {str(name)!r}" in caplog.text


def test_a_table_of_fields_only_says_nothing(caplog):
    execute(load_policy("twap"), BARS, _table())
    assert caplog.text == ""


def test_columns_that_occur_twice_and_names_of_the_index_are_refused():
    twice = pd.concat([_table(), _table()[["side"]]], axis=1)
    with pytest.raises(OrderError, match="the column 'side' occurs twice"):
        _completed(twice)
    for name in ("order_id", "symbol"):
        with pytest.raises(OrderError, match=rf"index is named '{name}'.*reset_index\(\)"):
            _completed(_table().set_index(name))


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [[1], {"a": 1}, {1}, np.array([1]), ([1],)], ids=repr)
def test_labels_that_cannot_be_compared_are_refused(label):
    table = _table()
    table["order_id"] = pd.Series(["a", label], dtype=object)
    with pytest.raises(OrderError, match="order_id") as error:
        _completed(table)
    assert (error.value.field, error.value.row) == ("order_id", 1)
    with pytest.raises(OrderError, match="order_id"):
        Order(**ONE, order_id=label)


@pytest.mark.parametrize("labels", [["x", "x"], [7, 7], [1, None]], ids=str)
def test_a_label_twice_is_refused_with_both_rows(labels):
    with pytest.raises(OrderError, match="occurs twice, in the rows 0 and 1") as error:
        _completed(_table(order_id=pd.Series(labels, dtype=object)))
    assert error.value.field == "order_id"
    with pytest.raises(OrderError, match="order_id must be"):
        Order(**ONE, order_id=True)


# --- containers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "orders",
    [
        *(
            None,
            3,
            "orders.csv",
            b"x",
            {1, 2},
            (order for order in [ONE]),
            iter([ONE]),
            np.zeros((2, 3)),
            pd.Series(ONE),
        ),
        *([None], [ONE, 3], [[ONE]], [pd.DataFrame([ONE])], [], (), {}, pd.DataFrame()),
        {name: [value] for name, value in ONE.items()},
    ],
    ids=lambda orders: type(orders).__name__,
)
def test_what_holds_no_orders_is_refused(orders):
    with pytest.raises(OrderError) as error:
        execute(load_policy("twap"), BARS, orders)
    assert "\n" not in str(error.value)


def test_an_order_of_a_list_that_is_wrong_is_named():
    good = Order(**ONE)
    for wrong in ({**ONE, "side": "long", "order_id": "z"}, {**ONE, "qty": 3, "order_id": "z"}):
        with pytest.raises(OrderError) as error:
            _completed([good, ONE, wrong])
        assert (error.value.row, error.value.order_id) == (2, "z")
        assert error.value.field in ("side", "qty")


def test_orders_come_in_many_containers():
    expected = _completed(pd.DataFrame([ONE, ONE]))
    table = pd.DataFrame([ONE, ONE])
    for orders in ([Order(**ONE), ONE], (ONE, ONE), [ONE, Order(**ONE)], pa.Table.from_pandas(table)):
        pd.testing.assert_frame_equal(_completed(orders), expected)


def test_settings_of_samples_are_read_by_the_same_rules():
    for settings in ({"amount": "12"}, {"max_rate": True}, {"max_periods": "12"}, {"min_periods": 1j}):
        with pytest.raises(OrderError, match="must be a number"):
            Order.sample(BARS, **settings)
    with pytest.raises(OrderError, match="empty list"):
        Order.sample(BARS, max_periods=[])
    with pytest.raises(OrderError, match="did you mean 'amount'"):
        Order.sample(BARS, qty=3)
