"""Orders, bars, fills and decisions over REST."""

import json

import httpx
import pytest
from typer.testing import CliRunner

from lem_models.cli.app import app
from tests.desk.service.client import SYMBOLS, bars, order, served


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    with (
        served(tmp_path_factory.mktemp("rest") / "desk.db", gather=0.05) as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client


def problem(reply, status):
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.json()


def test_an_order_from_its_start_to_its_report(http):
    made = http.post("/orders", json=order("life", amount="3", max_duration=3, lot_size="1"))
    assert made.status_code == 201
    (row,) = made.json()["orders"]
    assert row["status"] == "working"
    assert row["decision"]["quantity"] == "1"
    for hour in range(3):
        decision = http.get("/decisions/life").json()
        assert decision["child"] == f"life/{hour}.0"
        fill = {"order": "life", "quantity": decision["quantity"], "price": "100.5", "id": f"f{hour}"}
        fill["time"] = f"2024-01-15T0{hour}:30:00.25Z"
        (booked,) = http.post("/fills", json={"fills": [fill]}).json()["fills"]
        assert booked["kind"] == "booked"
        (again,) = http.post("/fills", json={"fills": [fill]}).json()["fills"]
        assert again["kind"] == "duplicate"
        reply = http.post("/bars/batch?wait=true", json={"bars": bars(hour)})
        assert reply.status_code == 200
        assert reply.json() == {"accepted": 2, "ignored": [], "logged": True, "messages": []}
    problem(http.get("/decisions/life"), 404)


def test_the_report_is_that_of_the_desk(tmp_path):
    """The same as ``lem desk report --json`` prints of the log, while the service runs."""
    db = tmp_path / "desk.db"
    with served(db, gather=0.05) as address, httpx.Client(base_url=address, timeout=60) as http:
        http.post("/orders", json=order("one", amount="3", max_duration=3, lot_size="1"))
        assert problem(http.get("/orders/one/report"), 409)["rule"] == "fills"
        fill = {"order": "one", "quantity": "1", "price": "100.5", "id": "a", "time": "2024-01-15T00:30:00Z"}
        http.post("/fills", json={"fills": [fill]})
        assert problem(http.get("/orders/one/report"), 409)["rule"] == "closed bars only"
        http.post("/bars/batch?wait=true", json={"bars": bars(0)})
        report = http.get("/orders/one/report", params={"against": "twap"}).json()
        command = ["desk", "report", str(db), "one", "--against", "twap", "--json", "--out", str(tmp_path / "out")]
        printed = json.loads(CliRunner().invoke(app, command).stdout)
        assert printed.pop("page").endswith("one.html")
        assert report == printed
        (arrival,) = (each["arrival_price"] for each in report["costs"]["orders"])
        assert report["costs"]["orders"][0]["arrival_bps"] == pytest.approx(1e4 * (100.5 / arrival - 1))
        assert report["status"]["filled"] == "1"
        assert "measured over the 1 of 3 bars that have closed" in report["notes"]
        assert [each["policy"] for each in report["costs"]["comparison"]][-1] == "twap"
        assert "comparison" not in http.get("/orders/one/report", params={"against": ""}).json()["costs"]
        refused = problem(http.get("/orders/one/report", params={"against": "twap,nobody"}), 422)
        assert "nobody" in refused["detail"]
        for path in ("../secret", "org/name", "a,b,c,d,e,f,g,h,i"):
            problem(http.get("/orders/one/report", params={"against": path}), 422)


def test_an_order_that_is_sent_again_is_taken_once(http):
    assert http.post("/orders", json=order("twice")).status_code == 201
    assert http.patch("/orders/twice", json={"amount": "20"}).status_code == 200
    again = http.post("/orders", json=order("twice"))
    assert again.status_code == 200
    assert again.json()["known"] == ["twice"]
    assert again.json()["orders"][0]["amount"] == "20"
    other = problem(http.post("/orders", json=order("twice", side="sell")), 409)
    assert other["rule"] == "unique id"
    assert other["order_id"] == "twice"


def test_baskets_are_taken_and_cancelled_together(http):
    basket = [order(f"part{n}", parent="basket", symbol=symbol) for n, symbol in enumerate(SYMBOLS)]
    refused = problem(http.post("/orders/batch", json={"orders": [*basket, order("odd", amount="0.7")]}), 422)
    assert refused["rule"] == "lot_size"
    problem(http.get("/orders/part0"), 404)
    assert http.post("/orders/batch", json={"orders": basket}).status_code == 201
    page = http.get("/orders", params={"parent": "basket", "limit": 1}).json()
    assert page["total"] == 2
    rest = http.get("/orders", params={"parent": "basket", "after": page["next"]}).json()
    assert [each["order_id"] for each in page["orders"] + rest["orders"]] == ["part0", "part1"]
    gone = http.post("/orders/basket/cancel", json={"reason": "enough"}).json()
    assert {each["status"] for each in gone["orders"]} == {"cancelled"}
    assert problem(http.patch("/orders/part0", json={"amount": "20"}), 409)["rule"] == "active order"


def test_a_paused_order_sends_nothing(http):
    http.post("/orders", json=order("paused"))
    assert http.post("/orders/paused/pause").json()["orders"][0]["status"] == "paused"
    assert http.get("/decisions/paused").json()["quantity"] == "0"
    assert http.post("/orders/paused/resume").json()["orders"][0]["status"] == "working"
    assert http.get("/decisions/paused").json()["quantity"] != "0"


def test_the_venue_refuses_a_child_order(http):
    http.post("/orders", json=order("refused"))
    reply = http.post("/orders/refused/child", json={"refused": "no margin"})
    assert reply.json()["rejections"] == 1
    assert problem(http.post("/orders/refused/child", json={"child": "x"}), 422)["rule"] == "known child order"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "rule"),
    [
        ("POST", "/orders", order("bad", amount="many"), 422, "amount"),
        ("POST", "/orders", order("bad", symbol="NONE"), 422, "known symbol"),
        ("POST", "/orders", order("bad", colour="red"), 422, None),
        ("POST", "/orders", order("../x"), 422, None),
        ("POST", "/bars", bars(5)[0] | {"high": 1e-9}, 422, "low <= high"),
        ("POST", "/bars", bars(5)[0] | {"timestamp": "2024-01-15 05:00"}, 422, None),
        ("POST", "/fills", {"fills": [{"order": "none", "quantity": 1, "price": 1, "id": "a"}]}, 404, "known order"),
        ("POST", "/fills", {"fills": [{"order": "none", "quantity": 1, "price": 1, "id": "a", "time": 1}]}, 422, None),
        ("POST", "/fills", {"fills": [{"order": "none", "quantity": -1, "price": 1, "id": "a"}]}, 422, "positive"),
        ("GET", "/orders/none", None, 404, "known order"),
        ("GET", "/nothing", None, 404, None),
        ("DELETE", "/orders", None, 405, None),
    ],
)
def test_what_is_wrong_is_a_problem(http, method, path, body, status, rule):
    refused = problem(http.request(method, path, json=body), status)
    assert refused.get("rule") == rule
    assert refused["status"] == status
    assert refused["detail"]


def test_fills_are_booked_all_or_none(http):
    http.post("/orders", json=order("whole"))
    fills = [{"order": name, "quantity": 1, "price": 1, "id": "one"} for name in ("whole", "none")]
    problem(http.post("/fills", json={"fills": fills}), 404)
    assert http.get("/orders/whole").json()["filled"] == "0"


def test_history_of_a_new_symbol_is_followed(http):
    rows = [{**bar, "symbol": "NEW"} for hour in range(30) for bar in bars(hour, SYMBOLS[:1])]
    assert http.post("/history", json={"bars": rows, "calendar": "24/7"}).json() == {"symbols": ["NEW"]}
    assert http.post("/history", json={"bars": rows, "calendar": "24/7"}).json() == {"symbols": []}
    assert http.post("/orders", json=order("new", symbol="NEW")).status_code == 201
    (feed,) = http.get("/feeds", params={"symbol": "NEW"}).json()
    assert feed["last"] == "2024-01-16T05:00:00+00:00"


def test_bars_of_unknown_symbols_are_ignored_and_said(http):
    reply = http.post("/bars", json=bars(9)[0] | {"symbol": "NOBODY"})
    assert reply.status_code == 202
    assert reply.json()["ignored"] == ["NOBODY"]


def test_status_page_and_metrics(tmp_path):
    with served(tmp_path / "desk.db") as address, httpx.Client(base_url=address, timeout=30) as http:
        assert http.get("/status").json()["last_close"] == "2024-01-14T23:00:00+00:00"  # of the history
        for label in ("kept", "cancelled"):
            http.post("/orders", json=order(label))
        http.post("/orders/cancelled/cancel")
        problem(http.post("/orders", json={"id": "no order"}), 422)
        http.post("/bars/batch?wait=true", json={"bars": bars(0)})
        status = http.get("/status").json()
        assert status["policy"] == "twap"
        assert status["symbols"] == 2
        assert status["orders"] == {"working": 1, "cancelled": 1}
        assert status["last_close"] == "2024-01-15T00:00:00+00:00"
        page = http.get("/")
        assert "viewport" in page.text
        assert "http" not in page.text.replace("http-equiv", ""), "the page loads nothing from elsewhere"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        metrics = http.get("/metrics").text
    assert 'lem_orders{status="cancelled"} 1.0' in metrics
    assert "lem_close_seconds_count 1.0" in metrics
    assert 'lem_refused_total{status="422"} 1.0' in metrics
