"""`lem next` and `lem desk`: what a trader types, in real processes where a process matters."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lem_models import Bars, synthetic_bars
from lem_models.cli.app import app
from lem_models.desk import Desk
from lem_models.desk.requests import answer, waiting
from lem_models.desk.store.database import DatabaseStore
from lem_models.errors import BarsError, DeskError, LEMError, OrderError
from tests.helpers.signals import hear_signals

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

runner = CliRunner()
ORDERS = """
[[order]]
id = "a"
symbol = "BTCUSDT"
side = "buy"
amount = "40 BTC"
lot_size = 0.01
min_duration = "1h"
max_duration = "12h"

[[order]]
id = "b"
symbol = "ETHUSDT"
side = "sell"
amount = "2000 USDT"
lot_size = 0.01
max_duration = "6h"
"""


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=("BTCUSDT", "ETHUSDT"), days=30, seed=1)


@pytest.fixture
def place(tmp_path, bars):
    (tmp_path / "orders.toml").write_text(ORDERS)
    put(tmp_path, bars, 20)
    return tmp_path


def put(place, bars, held_back):
    """Write the bars, but for the last ones."""
    stamps = np.unique(bars.timestamp)
    end = pd.Timestamp(int(stamps[-held_back]), tz="UTC") if held_back else None
    bars.between(end=end).write(place / "bars.parquet")


def lem(*arguments, code=0):
    result = runner.invoke(app, [str(each) for each in arguments])
    if isinstance(result.exception, LEMError):
        raise result.exception
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def run(place, *more, code=0):
    paper = () if "--fills" in more else ("--assume-fills",)
    return lem("desk", "run", place / "desk.db", "--watch", place / "bars.parquet", *paper, *more, code=code)


def begin(place, *more):
    return run(place, "--orders", place / "orders.toml", "--model", "volume_curve", "--once", *more)


# -- lem next --------------------------------------------------------------------------------------------------------

NEXT = ("next", "--symbol", "BTCUSDT", "--side", "buy", "--amount", "40 BTC", "--min", "1h", "--max", "12h")


def test_next_prints_decision_and_forecast_and_says_that_bars_are_old(place):
    result = lem(*NEXT, "--start", "now", "--data", place / "bars.parquet", "--model", "twap", "--paths", 20)
    assert "next: buy 3.33333 BTC from" in result.stdout
    assert "10 / 50 / 90 % of 20 simulated paths" in result.stdout
    assert "the data is old: its last bar ended at" in result.stderr


def test_the_json_of_next_has_a_stable_schema(place, bars):
    start = pd.Timestamp(int(np.unique(bars.timestamp)[-23]), tz="UTC").isoformat()
    (place / "fills.csv").write_text(f"time,quantity,price,id\n{start},3,100.5,x\n")
    more = ("--start", start, "--fills", place / "fills.csv", "--paths", 5, "--json")
    content = json.loads(lem(*NEXT, *more, "--data", place / "bars.parquet", "--model", "twap").stdout)
    assert list(content) == [
        *("schema", "policy", "order", "status", "fills", "data", "schedule", "decision", "forecast", "notes")
    ]
    assert (content["schema"], content["policy"], content["fills"]) == (1, "twap", "reported")
    assert list(content["data"]) == ["last_bar", "close", "is_stale", "stale"]
    assert list(content["schedule"][0]) == ["period", "window", "decided", "filled", "price", "left", "reason"]
    assert [row["filled"] for row in content["schedule"]] == ["3", "0", "0"]
    assert list(content["forecast"]) == [
        *("paths", "blocks", "schedule", "finish", "complete", "slippage_bps", "benchmark")
    ]
    assert list(content["forecast"]["schedule"][0]) == ["start", "traded", "filled"]
    assert list(content["forecast"]["finish"]) == list(content["forecast"]["slippage_bps"]) == ["p10", "p50", "p90"]
    assert content["decision"]["period"] == 3
    assert content["decision"]["text"].startswith("buy ")


def test_next_takes_an_order_file_and_options_replace_its_fields(place):
    path = place / "order.toml"
    path.write_text('[order]\nsymbol = "BTCUSDT"\nside = "buy"\namount = "40 BTC"\nend = "12h"\n')
    same = ("--order", path, "--max", "4", "--data", place / "bars.parquet", "--model", "twap", "--paths", 0)
    assert "next: buy 10 BTC from" in lem("next", *same).stdout


def test_next_refuses_with_the_cure(place):
    data = ("--data", place / "bars.parquet", "--model", "twap")
    with pytest.raises(LEMError, match="give --side, --amount too"):
        lem("next", "--symbol", "BTCUSDT", *data)
    with pytest.raises(OrderError, match="no whole number of lots"):
        lem(*NEXT, "--lot-size", "7", *data)
    with pytest.raises(OrderError, match="holds 2 orders"):
        lem("next", "--order", place / "orders.toml", *data)


# -- lem desk --------------------------------------------------------------------------------------------------------


def test_a_desk_is_run_changed_and_reported(place, bars):
    first = begin(place)
    assert first.stdout.count("[paper: fills assumed at the bar's VWAP]") == 2 == len(first.stdout.splitlines())
    assert "orders under way: a, b" in first.stderr
    status = json.loads(lem("desk", "status", place / "desk.db", "--json").stdout)
    assert list(status) == ["schema", "policy", "openings", "orders", "feeds", "requests"]
    assert [order["status"] for order in status["orders"]] == ["working", "working"]

    answer = lem("desk", "amend", place / "desk.db", "a", "--amount", "60 BTC", "--max-participation", 0.3).stdout
    assert "order 'a' is amended: amount 60 BTC, max_participation 0.3; buy" in answer
    assert "order 'b' is paused" in lem("desk", "pause", place / "desk.db", "b").stdout
    assert "sell nothing" in lem("desk", "status", place / "desk.db").stdout
    assert "order 'b' is working" in lem("desk", "resume", place / "desk.db", "b").stdout
    assert "order 'b' is cancelled" in lem("desk", "cancel", place / "desk.db", "b", "--reason", "a call").stdout
    with pytest.raises(OrderError, match="cannot be amended"):
        lem("desk", "amend", place / "desk.db", "b", "--amount", "3000 USDT")
    with pytest.raises(DeskError, match="nothing to pause"):
        lem("desk", "pause", place / "desk.db", "b")

    put(place, bars, 5)
    lines = [json.loads(line) for line in run(place, "--json").stdout.splitlines()]
    assert [line["type"] for line in lines] == ["decision"] * (len(lines) - 1) + ["end"]
    assert (lines[-1]["status"], lines[-1]["filled"]) == ("done", "60")
    assert {line["fills"] for line in lines} == {"assumed"}
    assert all(float(line["quantity"]) * 100 % 1 < 1e-6 for line in lines[:-1])

    report = lem("desk", "report", place / "desk.db", "a", "--out", place / "report", "--against", "twap").stdout
    assert "Slippage by cause" in report
    assert "twap" in report
    assert (place / "report" / "a.html").read_text().lower().startswith("<!doctype html>")
    content = json.loads((place / "report" / "a.json").read_text())
    assert (content["schema"], content["status"]["order_id"]) == (1, "a")
    assert content["costs"]["orders"][0]["filled"] == pytest.approx(1.0)


def test_real_fills_of_a_file_are_booked_once_over_restarts(place, bars):
    fills = place / "fills.jsonl"
    begin(place, "--fills", fills)
    fills.write_text(
        '{"order": "a", "quantity": 1.25, "price": 100, "id": "x"}\n'
        '{"order": "q", "quantity": 1, "price": 1, "id": "y"}\n'
    )
    put(place, bars, 18)
    result = run(place, "--fills", fills, "--once")
    assert "fill 'y' is passed over" in result.stderr
    assert "[paper" not in result.stdout
    run(place, "--fills", fills, "--once")
    status = json.loads(lem("desk", "status", place / "desk.db", "--json").stdout)
    assert [(order["filled"], order["period"]) for order in status["orders"]] == [("1.25", 2), ("0", 2)]


def test_an_order_that_ends_with_something_left_gives_exit_code_1(place, bars):
    begin(place, "--fills", place / "fills.csv")
    put(place, bars, 0)
    result = run(place, "--fills", place / "fills.csv", code=1)
    assert "expired" in result.stdout


def test_a_run_may_end_at_a_time_of_the_market(place, bars):
    begin(place)
    put(place, bars, 0)
    until = pd.Timestamp(int(np.unique(bars.timestamp)[-18]), tz="UTC")
    assert f"ended at {until:%Y-%m-%d %H:%M} UTC" in run(place, "--until", until.isoformat()).stderr


def test_new_orders_join_a_desk_that_has_some(place, bars):
    begin(place)
    put(place, bars, 17)
    with (place / "orders.toml").open("a") as file:
        file.write('[[order]]\nid = "c"\nsymbol = "BTCUSDT"\nside = "sell"\namount = 3\nmax_duration = "2h"\n')
    run(place, "--orders", place / "orders.toml", "--once")
    status = json.loads(lem("desk", "status", place / "desk.db", "--json").stdout)
    assert [(each["order_id"], each["period"]) for each in status["orders"]] == [("a", 3), ("b", 3), ("c", 0)]
    (place / "orders.toml").write_text(ORDERS.replace("40 BTC", "50 BTC"))
    assert "use lem desk amend" in run(place, "--orders", place / "orders.toml", "--once").stderr


def test_commands_refuse_with_the_cure(place):
    with pytest.raises(DeskError, match="there is no desk"):
        lem("desk", "status", place / "none.db")
    with pytest.raises(LEMError, match="--assume-fills for paper trading, one of them"):
        lem("desk", "run", place / "desk.db", "--watch", place / "bars.parquet")
    with pytest.raises(DeskError, match="has no orders"):
        run(place, "--model", "twap")
    begin(place)
    with pytest.raises(OrderError, match="has no fills: there is nothing to measure"):
        lem("desk", "report", place / "desk.db", "a")
    with pytest.raises(LEMError, match="name what to change"):
        lem("desk", "amend", place / "desk.db", "a")


def test_a_desk_that_another_process_runs_is_asked(place):
    begin(place)
    with Desk(place / "desk.db") as desk:
        asked = lem("desk", "pause", place / "desk.db", "a", "--wait", 0).stdout
        assert "asked (request 1)" in asked
        lem("desk", "amend", place / "desk.db", "none", "--amount", 3, "--wait", 0)
        assert "request 2 waits: amend order none" in lem("desk", "status", place / "desk.db").stdout
        store = DatabaseStore(place / "desk.db")
        texts = desk.serve()
        assert texts[0] == "order 'a' is paused"
        assert "refused to amend order 'none'" in texts[1]
        assert [answer(store, number).is_refused for number in (1, 2)] == [False, True]
        assert desk.serve() == waiting(store) == []
        with pytest.raises(DeskError, match="has no request 9"):
            answer(store, 9)
        store.close()


def test_a_run_is_killed_restarted_asked_and_stopped(place, bars):
    """kill -9 in the middle; a second process may not run the desk; requests reach it; Ctrl-C leaves it in order."""
    begin(place)
    arguments = [sys.executable, "-m", "lem_models.cli", "desk", "run", place / "desk.db"]
    arguments += ["--watch", place / "bars.parquet", "--assume-fills", "--poll", "0.05", "--json"]

    def started():
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        return subprocess.Popen(
            [str(each) for each in arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=hear_signals,
        )

    def decisions(process, count):
        return [json.loads(process.stdout.readline()) for _ in range(count)]

    process = started()
    told = {each["child"]: each for each in decisions(process, 2)}
    put(place, bars, 18)  # two bars: two decisions of each order
    told |= {each["child"]: each for each in decisions(process, 4)}
    process.send_signal(signal.SIGKILL)
    process.wait()

    process = started()
    again = decisions(process, 2)  # those in force are said once more
    assert again == [told[each["child"]] for each in again]
    with pytest.raises(DeskError, match="two processes never run one desk"):
        run(place, "--once")
    answer = lem("desk", "cancel", place / "desk.db", "b", "--wait", 60).stdout
    assert "order 'b' is cancelled" in answer
    assert {json.loads(process.stdout.readline())["type"] for _ in range(2)} == {"request", "end"}
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the desk is kept: repeat the command to go on" in errors

    put(place, bars, 0)
    rest = [json.loads(line) for line in run(place, "--json").stdout.splitlines()]
    assert (rest[-1]["order_id"], rest[-1]["status"], rest[-1]["filled"]) == ("a", "done", "40")
    # Never killed, another desk sends the same.
    other = place / "other"
    other.mkdir()
    (other / "orders.toml").write_text(ORDERS)
    put(other, bars, 20)
    begin(other)
    put(other, bars, 0)
    whole = [json.loads(line) for line in run(other, "--json").stdout.splitlines()]
    sent = {each["child"]: each["quantity"] for each in whole if each["type"] == "decision" and each["order_id"] == "a"}
    mine = {child: each["quantity"] for child, each in told.items() if each["order_id"] == "a"}
    mine |= {each["child"]: each["quantity"] for each in rest if each["type"] == "decision"}
    assert mine == sent


def test_a_websocket_feeds_a_desk(place, bars):
    server = pytest.importorskip("websockets.sync.server", reason="websockets is not installed")
    import threading

    frame = bars.frame[bars.frame["timestamp"] >= pd.Timestamp(int(np.unique(bars.timestamp)[-20]), tz="UTC")]
    rows = [row | {"timestamp": row["timestamp"].isoformat()} for row in frame.to_dict("records")]
    rows.sort(key=lambda row: (row["timestamp"], row["symbol"]))

    def handle(connection):
        for first in range(0, len(rows), 2):
            connection.send(json.dumps({"type": "bars", "bars": rows[first : first + 2]}))
        time.sleep(0.2)

    with server.serve(handle, "127.0.0.1", 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{serving.socket.getsockname()[1]}"
        more = (
            "--orders",
            place / "orders.toml",
            "--history",
            place / "bars.parquet",
            "--model",
            "twap",
            "--poll",
            0.05,
        )
        result = lem("desk", "run", place / "desk.db", "--watch", url, *more, "--assume-fills")
        serving.shutdown()
    assert "a: buy 40 BTC, done" in result.stdout
    assert isinstance(Bars.read(place / "bars.parquet"), Bars)


def test_the_cure_for_bars_without_a_symbol_names_the_option_of_this_command(tmp_path, bars):
    nameless = bars.select(["BTCUSDT"]).frame.drop(columns="symbol")
    nameless.to_csv(tmp_path / "nameless.csv", index=False)
    order = ["--symbol", "BTCUSDT", "--side", "buy", "--amount", "4 BTC", "--max", "3h"]
    refused = runner.invoke(app, ["next", *order, "--data", str(tmp_path / "nameless.csv"), "--model", "twap"])
    assert isinstance(refused.exception, BarsError)
    assert "(--bars-symbol AAPL)" in str(refused.exception)
