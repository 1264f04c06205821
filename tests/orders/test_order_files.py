"""Tables of orders in files, and sizes under their own names."""

import json

import numpy as np
import pandas as pd
import pytest

from lem_models import Order, execute
from lem_models.errors import OrderError
from lem_models.orders.files import read_orders
from lem_models.orders.table import complete_orders
from tests.helpers import hourly

BARS = hourly()
ONE = {"symbol": "S000", "start": "2024-01-12T00:00Z", "side": "buy"}
ORDERS = [
    {**ONE, "order_id": "007", "max_periods": 6, "quantity": 0.3, "lot_size": 0.1},
    {
        **ONE,
        "order_id": "b",
        "side": "SELL",
        "max_periods": "12h",
        "min_periods": "3 hours",
        "notional": 1e6,
        "desk": "x",
    },
]


def _file(folder, kind):
    path = folder / f"orders.{kind}"
    if kind == "json":
        path.write_text(json.dumps(ORDERS), encoding="utf-8")
    elif kind == "csv":
        pd.DataFrame(ORDERS).to_csv(path, index=False)
    else:
        table = pd.DataFrame(ORDERS)
        table["max_periods"] = ["6h", "12h"]  # a column of a parquet file has one type
        table.to_parquet(path)
    return path


def _completed(orders):
    return complete_orders(orders, horizon=None, risk_aversion=0.0)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_the_same_orders_from_every_kind_of_file(tmp_path, kind):
    result = execute("twap", BARS, _file(tmp_path, kind)).orders
    assert result["order_id"].tolist() == ["007", "b"]
    assert result["side"].tolist() == ["buy", "sell"]
    assert result["amount"].tolist() == [0.3, 1e6]
    assert result["target"].tolist() == ["quantity", "notional"]
    assert result[["min_periods", "max_periods"]].to_numpy().tolist() == [[6, 6], [3, 12]]
    assert result["desk"].tolist()[1] == "x"
    straight = execute("twap", BARS, ORDERS and [{k: v for k, v in each.items() if k != "desk"} for each in ORDERS])
    np.testing.assert_array_equal(result["slippage_bps"], straight.orders["slippage_bps"])


def test_a_path_may_be_a_text_and_json_may_name_the_list(tmp_path):
    path = tmp_path / "orders.json"
    path.write_text(json.dumps({"orders": ORDERS}), encoding="utf-8")
    assert execute("twap", BARS, str(path)).orders["order_id"].tolist() == ["007", "b"]


def test_cells_of_a_csv_are_what_is_written(tmp_path):
    path = tmp_path / "orders.csv"
    lines = [
        "\ufefforder_id,symbol,start,side,benchmark,max_periods,amount,lot_size,desk",
        "007,NA,2024-01-12T00:00Z,Buy,, 6 ,0.3,0.1,1",
        ",1e5,2024-01-12T00:00Z,SELL,TWAP,7,1e3,,2",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    table = _completed(read_orders(path))
    assert table["order_id"].tolist() == ["007", 1]
    assert table["symbol"].tolist() == ["NA", "1e5"]
    assert table["benchmark"].tolist() == ["vwap", "twap"]
    assert table["max_periods"].tolist() == [6, 7]
    assert table["amount"].tolist() == [0.3, 1000.0]
    assert table["desk"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("field", "cell", "problem"),
    [
        ("amount", "1_000", "amount must be a number; got '1_000'"),
        ("amount", "1 000", "amount must be a number"),
        ("amount", "nan", "amount must be a number; got 'nan'"),
        ("quantity", "lots", "quantity must be a number; got 'lots'"),
        ("max_periods", "6 bars", "max_periods must be a number of bars, or a duration such as '12h'"),
        ("max_periods", "6.5", "max_periods must be a whole number; got 6.5"),
        ("side", "b", r"side must be one of \['buy', 'sell'\]; got 'b'"),
        ("side", "", "the side is missing"),
        ("symbol", "", "the symbol is missing"),
        ("start", "2024-01-12", "start: .* has no time zone"),
    ],
)
def test_a_wrong_cell_is_named_by_row_and_column(tmp_path, field, cell, problem):
    table = pd.DataFrame([{**ONE, "max_periods": 6, "order_id": each} for each in "abc"]).astype(object)
    table.loc[1, field] = cell
    table.to_csv(tmp_path / "orders.csv", index=False)
    with pytest.raises(OrderError, match=problem) as error:
        execute("twap", BARS, tmp_path / "orders.csv")
    assert (error.value.field, error.value.row, error.value.order_id) == (field, 1, "b")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", r"an object with orders is \{'orders': \[...\]\}"),
        ('{"orders": [], "more": 1}', r"this one has \['more', 'orders'\]"),
        ("3", "orders are a list of objects, not 3"),
        ("[]", "the table of orders is empty"),
        ('[{"symbol": "A", "symbol": "B"}]', "a key occurs twice: 'symbol'"),
        ('[{"amount": NaN}]', "a number is not finite"),
        ('[{"symbol": "A"}, 7]', r"an order is an object of its fields, not 7 \(row 1"),
        ('[{"symbol": "A"}, {"start": ["x"], "order_id": "z"}]', r"start is \['x'\].*row 1, order_id 'z'"),
        ("[" * 50 + "]" * 50, "nested more than 32 deep"),
        ('[{"symbol": "A"', "cannot read the table of orders"),
    ],
)
def test_json_that_holds_no_orders_is_refused(tmp_path, text, problem):
    (tmp_path / "orders.json").write_text(text, encoding="utf-8")
    with pytest.raises(OrderError, match=problem):
        execute("twap", BARS, tmp_path / "orders.json")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "orders.xlsx").write_bytes(b"PK")
    (tmp_path / "orders.parquet").write_bytes(b"PAR1")
    (tmp_path / "orders.csv").write_bytes(b"")
    for name, problem in (
        ("orders.xlsx", "neither a .csv, a .parquet nor a .json file"),
        ("orders.parquet", "cannot read the table of orders"),
        ("orders.csv", "cannot read the table of orders"),
        ("nothing.csv", "there is no file"),
    ):
        with pytest.raises(OrderError, match=problem):
            execute("twap", BARS, tmp_path / name)


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_a_quantity_is_in_units_and_a_notional_in_money():
    units, money = Order(**ONE, quantity=40), Order(**ONE, notional=1e6)
    assert (units.amount, units.target.value) == (40.0, "quantity")
    assert (money.amount, money.target.value) == (1e6, "notional")
    assert Order(**ONE, quantity=40, target="Quantity", notional=None) == units
    table = pd.DataFrame([{**ONE, "max_periods": 6}] * 3).assign(
        quantity=[40, np.nan, None], notional=[None, 1e6, None]
    )
    complete = _completed(table)
    np.testing.assert_array_equal(complete["amount"], [40.0, 1e6, np.nan])
    assert complete["target"].tolist() == ["quantity", "notional", "quantity"]
    assert not {"quantity", "notional"} & set(complete.columns)
    sample = Order.sample(BARS, every=24, max_periods=6, notional=[1e5, 1e6])
    assert set(sample["amount"]) == {1e5, 1e6}
    assert set(sample["target"]) == {"notional"}


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"quantity": 1, "notional": 2}, "the order has quantity and notional: leave one of them out"),
        ({"amount": 1, "quantity": 1}, "the order has amount and quantity: leave one of them out"),
        ({"quantity": 1, "target": "notional"}, "quantity is a size in units, and the target is 'notional'"),
        ({"notional": 1, "target": "QUANTITY"}, "notional is a size in money, and the target is 'quantity'"),
        ({"quantity": "40"}, "quantity must be a number; got '40'"),
        ({"notional": 2**53 + 1}, "notional has more digits than a float holds"),
    ],
)
def test_an_order_has_one_size(sizes, problem):
    with pytest.raises(OrderError, match=problem):
        Order(**ONE, max_periods=6, **sizes)
    table = pd.DataFrame([{**ONE, "order_id": each, "max_periods": 6} for each in "ab"]).astype(object)
    for name, value in sizes.items():
        table[name] = pd.Series([None, value], dtype=object)
    with pytest.raises(OrderError, match=problem) as error:
        _completed(table)
    assert (error.value.row, error.value.order_id) == (1, "b")


def test_a_size_under_its_name_is_no_column_that_nobody_reads(caplog):
    execute("twap", BARS, pd.DataFrame([{**ONE, "max_periods": 6, "quantity": 3}]))
    assert caplog.text == ""
