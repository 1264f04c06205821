"""Bars and fills in, decisions out, over a WebSocket."""

import json

import httpx
import pytest
from websockets.sync.client import connect

from tests.desk.service.client import SYMBOLS, bars, order, served


@pytest.fixture
def address(tmp_path):
    with served(tmp_path / "desk.db", gather=0.3) as address:
        yield address


def open_stream(address):
    return connect(address.replace("http", "ws") + "/stream", max_size=None)


def receive(stream, kind):
    """The next message, which must be of a kind."""
    message = json.loads(stream.recv(timeout=20))
    assert message["type"] == kind, message
    return message


def test_bars_of_a_close_are_decided_together(address):
    orders = [order(f"o{n}", symbol=SYMBOLS[n % 2]) for n in range(6)]
    assert httpx.post(f"{address}/orders/batch", json={"orders": orders}).status_code == 201
    with open_stream(address) as stream:
        assert len(receive(stream, "snapshot")["decisions"]) == 6
        first, second = bars(0)
        stream.send(json.dumps({"type": "bars", "bars": [first]}))
        stream.send(json.dumps({"type": "bars", "bars": [second], "ref": 7}))
        decided = receive(stream, "decisions")
        assert {each["order_id"] for each in decided["decisions"]} == {each["id"] for each in orders}
        assert {each["start"] for each in decided["decisions"]} == {"2024-01-15T01:00:00+00:00"}
        assert receive(stream, "logged")["ref"] == 7


def test_a_close_that_lacks_a_bar_is_decided_at_the_deadline(address):
    orders = [order(f"o{n}", symbol=SYMBOLS[n]) for n in range(2)]
    httpx.post(f"{address}/orders/batch", json={"orders": orders})
    with open_stream(address) as stream:
        receive(stream, "snapshot")
        first, second = bars(0)
        stream.send(json.dumps({"type": "bars", "bars": [first]}))
        assert [each["order_id"] for each in receive(stream, "decisions")["decisions"]] == ["o0"]
        stream.send(json.dumps({"type": "bars", "bars": [second]}))  # nobody else is waited for
        assert [each["order_id"] for each in receive(stream, "decisions")["decisions"]] == ["o1"]


def test_fills_before_a_close_count_in_its_bar(address):
    httpx.post(f"{address}/orders", json=order("o"))
    with open_stream(address) as stream:
        receive(stream, "snapshot")
        fill = {"order": "o", "quantity": "1", "price": "100", "id": "a"}
        stream.send(json.dumps({"type": "fills", "ref": "f", "fills": [fill]}))
        stream.send(json.dumps({"type": "bars", "bars": bars(0)}))
        kinds = {}
        for _ in range(3):
            message = json.loads(stream.recv(timeout=20))
            kinds.setdefault(message["type"], []).append(message)
            if "logged" in kinds and any(each["decisions"][0]["child"] == "o/1.0" for each in kinds["decisions"]):
                break
        assert kinds["logged"][0]["fills"][0]["kind"] == "booked"
        stream.send(json.dumps({"type": "fills", "ref": 2, "fills": [{**fill, "price": "101"}]}))
        again = json.loads(stream.recv(timeout=20))
        while again["type"] != "logged":
            again = json.loads(stream.recv(timeout=20))
        assert again["fills"][0]["kind"] == "conflict"


def test_what_is_wrong_is_refused_and_the_stream_goes_on(address):
    with open_stream(address) as stream:
        receive(stream, "snapshot")
        for text, status in (
            ("{", 422),
            ("[]", 422),
            ('{"type": "orders", "ref": 3}', 422),
            ('{"type": "orders", "ref": 340282366920938463463374607431768211456}', 422),  # more than 64 bits
            ('{"type": "orders", "ref": "half a character: \\ud800"}', 422),
            (json.dumps({"type": "bars", "bars": [bars(0)[0] | {"low": 1e9}], "ref": 4}), 422),
            (json.dumps({"type": "fills", "fills": [{"order": "x", "quantity": 1, "price": 1, "id": "a"}]}), 404),
        ):
            stream.send(text)
            refused = receive(stream, "refused")
            assert refused["problem"]["status"] == status
            ref = json.loads(text).get("ref") if text.endswith("}") else None
            assert refused["ref"] == ref


def test_faults_of_bars_are_said(address):
    httpx.post(f"{address}/orders", json=order("o"))
    with open_stream(address) as stream:
        receive(stream, "snapshot")
        for ref in range(2):
            stream.send(json.dumps({"type": "bars", "bars": bars(0), "ref": ref}))
        messages = []
        while len(messages) < 2:
            message = json.loads(stream.recv(timeout=20))
            messages += [message] if message["type"] == "logged" else []
        assert messages[0]["messages"] == []
        assert all("came again" in each for each in messages[1]["messages"])
