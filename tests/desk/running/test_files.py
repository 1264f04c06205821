"""Files that a running desk reads: orders, fills, bars."""

import json
import warnings
from decimal import Decimal

import pandas as pd
import pytest

from lem_models import Bars, synthetic_bars
from lem_models.desk.running.bar_sources import BarFiles, closed_by
from lem_models.desk.running.fill_files import FillFile
from lem_models.desk.running.orders_file import read_desk_orders
from lem_models.errors import BarsError, BarsWarning, ConfigError, OrderError

HOUR = 3600 * 10**9

# -- orders ----------------------------------------------------------------------------------------------------------


def test_orders_of_toml_and_csv_are_the_same(tmp_path):
    toml, table = tmp_path / "orders.toml", tmp_path / "orders.csv"
    toml.write_text(
        '[[order]]\nsymbol = "BTCUSDT"\nside = "buy"\namount = "40 BTC"\nlot_size = 0.01\nmin_duration = 2\n'
        'max_duration = "12h"\n[[order]]\nid = "two"\nsymbol = "NA"\nside = "sell"\namount = 7\nhold_open = true\n'
    )
    table.write_text(
        "id, symbol, side, amount, lot_size, min_duration, max_duration, hold_open\n"
        ",BTCUSDT,buy,40 BTC,0.01,2,12h,\ntwo,NA,sell,7,,,,true\n"
    )
    orders = read_desk_orders(toml)
    assert orders == read_desk_orders(table)
    assert [order.id for order in orders] == ["1", "two"]
    assert (orders[0].lot_size, orders[0].min_duration, orders[1].hold_open) == (Decimal("0.01"), 2, True)


@pytest.mark.parametrize(
    "text", ['[order]\nsymbol = "X"\nside = "buy"\namount = 3\n', 'symbol = "X"\nside = "buy"\namount = 3\n']
)
def test_one_order_needs_no_list(tmp_path, text):
    path = tmp_path / "order.toml"
    path.write_text(text)
    assert [order.symbol for order in read_desk_orders(path)] == ["X"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("o.toml", "", "holds no order"),
        ("o.toml", "[[order]]\nsymbol = 'X'\nside = 'buy'\namount = -3\n", r"amount must be positive.*row 0"),
        (
            "o.toml",
            "[[order]]\nsymbol = 'X'\nside = 'buy'\namount = 3\nlotsize = 1\n",
            r"o\.toml: .*did you mean 'lot_size'",
        ),
        ("o.toml", "[[order", "cannot read the orders"),
        ("o.toml", "[order]\nside = 'buy'\n[order]\nside = 'sell'\n", r"several orders are written as \[\[order\]\]"),
        ("o.toml", "[[order]]\nside = buy\n", 'texts stand in quotes: side = "buy"'),
        ("o.toml", "order = 3\n", "no table of fields"),
        ("o.toml", "a = 3\n[order]\nsymbol = 'X'\n", "has 'a' beside 'order'"),
        ("o.csv", "symbol,side,amount\nX,buy,3,4\n", "more cells"),
        ("o.csv", "id,symbol,side,amount\na,X,buy,3\na,X,buy,3\n", "have the id 'a'"),
        ("o.txt", "", "neither a .toml nor a .csv"),
    ],
)
def test_wrong_orders_are_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(OrderError, match=message):
        read_desk_orders(path)


# -- fills -----------------------------------------------------------------------------------------------------------


def test_fills_are_read_line_by_whole_line(tmp_path):
    path = tmp_path / "fills.csv"
    fills = FillFile(path)
    assert fills.poll() == ([], [])  # the file may come later
    path.write_text("order_id,time,qty,price,fill_id\na,2024-01-01T00:00Z,1.5,100,x\nb,,2")
    rows, messages = fills.poll()
    assert messages == []
    assert [(row.order, row.quantity, row.price, row.id) for row in rows] == [("a", Decimal("1.5"), Decimal(100), "x")]
    assert rows[0].at == pd.Timestamp("2024-01-01T00:00Z").value
    with path.open("a") as file:
        file.write("5,101,y\n\nnonsense\n")
    rows, messages = fills.poll()
    assert [(row.order, row.quantity, row.at) for row in rows] == [("b", Decimal(25), None)]
    assert "line 5: it has 1 cells, and the header 5; the line is passed over" in messages[0]
    assert fills.poll() == ([], [])
    path.write_text("order,quantity,price,id\na,1,100,z\n")  # shorter: read from its start
    assert [row.id for row in fills.poll()[0]] == ["z"]


def test_fills_of_json_lines_are_exact(tmp_path):
    path = tmp_path / "fills.jsonl"
    path.write_text('{"quantity": 0.1, "price": 2.3, "id": 7, "child": "a/0.0"}\n{"quantity": 1}\n[]\n{"quantity": 2,')
    rows, messages = FillFile(path).poll()
    assert (rows[0].quantity, rows[0].id, rows[0].order, rows[0].child) == (Decimal("0.1"), "7", None, "a/0.0")
    assert ["the price is missing" in messages[0], "a line is an object" in messages[1]] == [True, True]
    assert len(rows) == 1


def test_wrong_files_of_fills_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"neither a \.csv nor a \.jsonl"):
        FillFile(tmp_path / "fills.parquet")
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere for the fills fills\.csv"):
        FillFile(tmp_path / "nowhere" / "fills.csv")
    path = tmp_path / "fills.csv"
    path.write_text("order,quantity\n")
    with pytest.raises(ConfigError, match="lacks the column 'price'"):
        FillFile(path).poll()


# -- bars ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=("A", "B"), days=3, seed=1)


def without_last(bars, count):
    frame = bars.frame
    stamps = sorted(frame["timestamp"].unique())
    return frame[frame["timestamp"] <= stamps[-1 - count]]


def seen(tables):
    return [(str(row["symbol"]), row["timestamp"].value) for table in tables for row in table.to_dict("records")]


def test_new_bars_come_moment_by_moment(tmp_path, bars):
    path = tmp_path / "bars.parquet"
    Bars.from_frame(without_last(bars, 3)).write(path)
    source = BarFiles(path, Bars.read)
    last = int(source.history().timestamp.max())
    source.follow({"A": last, "B": last})
    assert source.poll() == ([], [])
    Bars.from_frame(without_last(bars, 1)).write(path)
    tables, messages = source.poll()
    assert messages == []
    assert seen(tables) == [(name, last + step * HOUR) for step in (1, 2) for name in ("A", "B")]
    assert len(tables) == 2
    assert source.poll() == ([], [])


def test_a_revised_bar_comes_again(tmp_path, bars):
    path = tmp_path / "bars.parquet"
    Bars.from_frame(without_last(bars, 3)).write(path)
    source = BarFiles(path, Bars.read)
    last = int(source.history().timestamp.max())
    source.follow({"A": last})
    frame = without_last(bars, 1)
    Bars.from_frame(frame).write(path)
    assert len(source.poll()[0]) == 2
    again = (frame["symbol"] == "A") & (frame["timestamp"] == pd.Timestamp(last + HOUR, tz="UTC"))
    frame.loc[again, ["volume", "notional"]] *= 1.5
    Bars.from_frame(frame).write(path)
    assert seen(source.poll()[0]) == [("A", last + HOUR)]


def test_a_bar_that_is_open_is_held_back(tmp_path, bars):
    path, now = tmp_path / "bars.parquet", [int(bars.timestamp.max()) + HOUR // 2]
    bars.write(path)
    source = BarFiles(path, Bars.read, clock=lambda: now[0])
    last = int(source.history().timestamp.max())
    assert last == int(bars.timestamp.max()) - HOUR
    source.follow({"A": last})
    assert source.poll() == ([], [])
    now[0] += HOUR
    assert seen(source.poll()[0]) == [("A", last + HOUR)]
    with pytest.raises(BarsError):
        closed_by(bars, 0)


def test_a_file_that_grows_is_warned_of_once(tmp_path, bars):
    path, columns = tmp_path / "bars.csv", ["symbol", "timestamp", "open", "high", "low", "close", "volume"]
    without_last(bars, 3)[columns].to_csv(path, index=False)
    with pytest.warns(BarsWarning, match="notionals are estimated"):
        source = BarFiles(path, Bars.read)
    last = int(source.history().timestamp.max())
    source.follow({"A": last})
    without_last(bars, 1)[columns].to_csv(path, index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(source.poll()[0]) == 2


def test_a_csv_whose_last_line_is_not_whole_waits(tmp_path, bars):
    path = tmp_path / "bars.csv"
    frame = without_last(bars, 1)
    frame.to_csv(path, index=False)
    source = BarFiles(path, Bars.read)
    last = int(source.history().timestamp.max())
    source.follow({"A": last, "B": last})
    more = bars.frame[bars.frame["timestamp"] > pd.Timestamp(last, tz="UTC")].to_csv(index=False, header=False)
    with path.open("a") as file:
        file.write(more[:-12])  # the last number looks like a smaller one
    assert source.poll() == ([], [])
    with path.open("a") as file:
        file.write(more[-12:])
    assert seen(source.poll()[0]) == [("A", last + HOUR), ("B", last + HOUR)]


def test_a_folder_of_files_and_a_file_that_cannot_be_read_now(tmp_path, bars):
    frame = bars.frame
    half = frame["timestamp"] < frame["timestamp"].iloc[40]
    frame[half].to_csv(tmp_path / "2024-01-01.csv", index=False)
    source = BarFiles(tmp_path, lambda path: Bars.read(str(path)))
    last = int(source.history().timestamp.max())
    source.follow({"A": last})
    (tmp_path / "2024-01-02.csv").write_text("half a header\n")
    tables, messages = source.poll()
    assert tables == []
    assert "cannot be read now" in messages[0]
    assert source.poll() == ([], [])  # said once
    frame[~half].to_csv(tmp_path / "2024-01-02.csv", index=False)
    assert len(source.poll()[0]) == 32


def test_places_without_bars_are_refused(tmp_path):
    with pytest.raises(BarsError, match="there is no file"):
        BarFiles(tmp_path / "bars.parquet", Bars.read)
    with pytest.raises(BarsError, match="holds no file of bars"):
        BarFiles(tmp_path, Bars.read)
    (tmp_path / "a.csv").write_text("x\n")
    (tmp_path / "b.parquet").write_text(json.dumps({}))
    with pytest.raises(BarsError, match="keep one format"):
        BarFiles(tmp_path, Bars.read)
