"""Tables of fills and decisions: what is read, what is refused, what is counted."""

import json

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import FillError, LEMError, OrderError, UnknownNameError
from lem_models.evaluation.tca import read_decisions, read_fills

FILL = {"time": "2024-01-01T10:02:00Z", "quantity": 3, "price": 101.5}
PLAIN = {**FILL, "symbol": "KO", "side": "buy", "order_id": "7", "fee": 0.5, "fill_id": "a"}


def one(**changes):
    return pd.DataFrame([{key: value for key, value in (PLAIN | changes).items() if value is not None}])


VENDORS = {
    "own names": pd.DataFrame([PLAIN]),
    "Binance": pd.DataFrame(
        {
            "symbol": ["KO"],
            "id": ["a"],
            "orderId": [7],
            "price": ["101.5"],
            "qty": ["3"],
            "quoteQty": ["304.5"],
            "commission": ["0.5"],
            "commissionAsset": ["USDT"],
            "time": [1_704_103_320_000],
            "isBuyer": [True],
            "isMaker": [False],
        }
    ),
    "FIX": pd.DataFrame(
        {
            "ClOrdID": ["7"],
            "ExecID": ["a"],
            "Symbol": ["KO"],
            "Side": ["1"],
            "LastQty": [3],
            "LastPx": [101.5],
            "TransactTime": ["2024-01-01T10:02:00Z"],
            "Commission": [0.5],
        }
    ),
    "Interactive Brokers": pd.DataFrame(
        {
            "Order ID": ["7"],
            "Trade ID": ["a"],
            "Symbol": ["KO"],
            "Buy/Sell": ["BOT"],
            "Date/Time": ["2024-01-01 05:02:00"],
            "Quantity": ["3"],
            "T. Price": ["101.5"],
            "Comm/Fee": ["0.5"],
        }
    ),
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_names_of_vendors_are_read(vendor):
    zone = "America/New_York" if vendor == "Interactive Brokers" else None
    fills = read_fills(VENDORS[vendor], tz=zone, unit="ms" if vendor == "Binance" else None)
    (row,) = fills.frame.drop(columns=["row", "liquidity"]).to_dict("records")
    assert row == {
        "order_id": "7",
        "symbol": "KO",
        "side": 1,
        "nanoseconds": pd.Timestamp("2024-01-01T10:02Z").value,
        "quantity": 3.0,
        "price": 101.5,
        "fee": 0.5,
        "fill_id": "a",
    }


@pytest.mark.parametrize(
    ("cell", "side"), [("BUY", 1), (" b ", 1), ("Bought", 1), ("SLD", -1), ("2", -1), ("sell_short", -1)]
)
def test_words_for_sides(cell, side):
    assert read_fills(one(side=cell)).frame["side"].tolist() == [side]


def test_a_negative_quantity_is_a_sale():
    assert read_fills([FILL | {"quantity": -3}]).frame[["side", "quantity"]].to_numpy().tolist() == [[-1, 3.0]]
    assert read_fills(one(quantity=-3, side="sell")).frame["side"].tolist() == [-1]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (one(price=None), "no column for price"),
        (one(price=0.0), "the price is 0"),
        (one(price=float("inf")), "the price is inf"),
        (one(price="1,234"), "write 1,234.5 as 1234.5"),
        (one(quantity=0), "the quantity is 0"),
        (
            one(quantity="300USDT", symbol="BTCUSDT"),
            "the quantity is in 'USDT', which is no unit of the symbol 'BTCUSDT'",
        ),
        (one(quantity="3BTC", symbol=None), "the quantity is in 'BTC', which is no unit of the symbol None"),
        (one(fee="0.1BNB", fee_currency=None, symbol="BNBUSDT"), "the asset that is traded"),
        ([FILL, FILL | {"quantity": -3}], "row 0 has 3 at the same price: if the fill was busted, leave out both rows"),
        (one(quantity="three"), "not a number"),
        (one(quantity=np.nan), "the quantity is missing"),
        (one(quantity=True), "not a number"),
        (one(quantity=-3), "the quantity is -3 and the side is buy"),
        (one(side="hold"), "write buy or sell"),
        (one(side=True), "write buy or sell"),
        (one(time="2024-01-01T10:02:00"), "has no time zone"),
        (one(time="1/2/2024 10:02"), "not a time in ISO 8601"),
        (one(time=1_704_103_320), "name their unit"),
        (one(time=""), "the time is missing"),
        (one(timestamp="2024-01-01T10:02:00Z", time=None, datetime="x"), "may both be the time"),
        (one(fee="free"), "the fee is 'free'"),
        (one(fee_currency="KO"), "the asset that is traded"),
        (pd.concat([one(fee_currency="USD"), one(fill_id="b", fee_currency="BNB")]), "the fees are in 'BNB', 'USD'"),
        (pd.concat([one(), one(quantity=4)]), "the id 'a' has two different fills"),
        (one().iloc[:0], "the table of fills is empty"),
        ("nothing.csv", "there is no file nothing.csv"),
        ("fills.xlsx", "neither a .csv"),
        (7, "fills are read from a table"),
    ],
    ids=str,
)
def test_what_needs_a_guess_is_refused(table, message):
    with pytest.raises(FillError, match=message) as refused:
        read_fills(table)
    assert isinstance(refused.value, OrderError)
    assert "\n" not in str(refused.value)


def test_an_error_names_the_row():
    with pytest.raises(FillError, match=r"row 1"):
        read_fills(pd.concat([one(), one(price=-1, fill_id="b")], ignore_index=True))


def test_an_unknown_unit_is_refused():
    with pytest.raises(UnknownNameError):
        read_fills(one(), unit="minutes")


def test_columns_can_be_named():
    table = one().rename(columns={"time": "when", "price": "what"})
    assert len(read_fills(table, columns={"time": "when", "price": "what"})) == 1
    with pytest.raises(FillError, match="have no column 'wen'"):
        read_fills(table, columns={"time": "wen", "price": "what"})
    with pytest.raises(FillError, match="'prise' is no column of fills"):
        read_fills(table, columns={"prise": "what"})


def test_duplicates_by_id_are_dropped_and_counted():
    fills = read_fills(pd.concat([one(), one(fill_id="b"), one()], ignore_index=True))
    assert (len(fills), fills.rows, fills.duplicates.tolist()) == (2, 3, [2])


def test_equal_fills_without_an_id_stay_and_are_noted():
    fills = read_fills(pd.concat([one(fill_id=None), one(fill_id=None)]))
    assert len(fills) == 2
    assert "1 fills equal another one in everything" in fills.notes[0]


def test_negative_fees_are_noted():
    assert "read as rebates; if they were paid, columns={'fee': '-fee'}" in read_fills(one(fee=-0.5)).notes[0]
    paid = read_fills(one(fee=-0.5), columns={"fee": "-fee"})
    assert (paid.frame["fee"].tolist(), paid.notes) == ([0.5], ())


def test_numbers_as_brokers_write_them():
    table = one(quantity="1,300", price="1,234.5", time="2024-01-01, 10:02:00", fee="0.5USD", fill_id=None)
    fills = read_fills(table, tz="UTC")
    row = fills.frame.iloc[0]
    assert (row["quantity"], row["price"], row["fee"], row["nanoseconds"]) == (
        *(1300.0, 1234.5, 0.5),
        pd.Timestamp("2024-01-01T10:02Z").value,
    )
    assert "separators of thousands" in fills.notes[0]
    assert any("the fees are in USD" in note for note in fills.notes)


def test_the_export_of_an_exchange_is_read_without_options(tmp_path):
    (tmp_path / "trades.csv").write_text(
        "Date(UTC);Pair;Side;Price;Executed;Fee\n2024-01-01 10:02:00;BTCUSDT;SELL;101.5;2.6BTC;0.03USDT\n"
    )
    row = read_fills(tmp_path / "trades.csv").frame.iloc[0]
    assert (row["symbol"], row["side"], row["quantity"], row["price"], row["fee"]) == ("BTCUSDT", -1, 2.6, 101.5, 0.03)
    assert row["nanoseconds"] == pd.Timestamp("2024-01-01T10:02Z").value


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_files(tmp_path, suffix):
    path = tmp_path / f"fills{suffix}"
    table = pd.concat([one(order_id="007", symbol="NA"), one(fill_id="b", order_id="007", symbol="NA")])
    if suffix == ".csv":
        table.to_csv(path, index=False, encoding="utf-8-sig")
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        path.write_text(json.dumps({"fills": table.to_dict("records")}))
    frame = read_fills(path).frame
    assert frame["order_id"].tolist() == ["007", "007"]
    assert frame["symbol"].tolist() == ["NA", "NA"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"\xff\xfe\x00garbage"),
        ("b.csv", b""),
        ("c.json", b"[" * 100_000),
        ("d.json", b'[{"time": {"a": 1}}]'),
        ("e.json", b"[1]"),
        ("f.parquet", b"PAR1"),
        ("g.csv", b"time,quantity,price\n2024-01-01T10:00Z,1e999,3\n"),
        ("h.csv", b"time,time,quantity,price\n2024-01-01T10:00Z,x,1,3\n"),
        ("j.csv", b"time,quantity,price\n2024-01-01T10:00Z,1,5,3\n"),
        ("i.csv", b"time;quantity;price\n2024-01-01T10:00Z;1,5;3\n"),
    ],
)
def test_hostile_files_get_a_typed_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LEMError) as refused:
        read_fills(path)
    assert "\n" not in str(refused.value)


def test_decisions():
    frame = read_decisions([{"order": "7", "time": "2024-01-01T10:00Z", "qty": 5}]).frame
    assert frame[["order_id", "quantity", "end"]].to_numpy().tolist() == [["7", 5.0, 0]]
    with pytest.raises(FillError, match="ends before it starts"):
        read_decisions([{"start": "2024-01-01T10:00Z", "end": "2024-01-01T09:00Z", "quantity": 5}])
    with pytest.raises(FillError, match="the quantity is -5"):
        read_decisions([{"start": "2024-01-01T10:00Z", "quantity": -5}])
