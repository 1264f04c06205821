"""Bars from a websocket of a real server, also when it goes away and comes back."""

import json
import threading
import time

import pytest

from lem_models import synthetic_bars
from lem_models.desk.running.socket_bars import BarSocket, bars_of
from lem_models.errors import BarsError, ConfigError

server = pytest.importorskip("websockets.sync.server", reason="websockets is not installed")

BARS = [
    {key: value.isoformat() if key == "timestamp" else value for key, value in row.items()}
    for row in synthetic_bars(symbols=("A", "B"), days=1, seed=1)
    .frame.sort_values(["timestamp", "symbol"])
    .to_dict("records")
]


class Sender:
    """A server that sends some messages to each of its first connections, and hangs up."""

    def __init__(self, *connections):
        self.connections, self.headers = list(connections), []
        self.server = server.serve(self.handle, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}/bars"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def handle(self, connection):
        self.headers.append(connection.request.headers.get("Authorization"))
        for message in self.connections.pop(0) if self.connections else []:
            connection.send(message)
        if not self.connections:
            connection.recv()  # the last one stays

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def collected(source, count):
    tables, messages, until = [], [], time.monotonic() + 60
    # Bars, not tables: where a call comes between two messages, bars of one moment come in two tables.
    while sum(map(len, tables)) < count and time.monotonic() < until:
        new, notes = source.poll()
        tables, messages = tables + new, messages + notes
        time.sleep(0.01)
    return tables, messages


def test_bars_come_in_all_forms_and_the_connection_comes_back():
    first = [json.dumps({"type": "hello"}), json.dumps(BARS[0]), "no JSON", json.dumps({"bars": BARS[1:4]})]
    with Sender(first, [json.dumps(BARS[4:6])]) as sender:
        source = BarSocket(sender.url, "secret", wait=0.01)
        tables, messages = collected(source, 6)
        source.close()
    got = [(row["symbol"], row["timestamp"].isoformat()) for table in tables for row in table.to_dict("records")]
    assert sorted(got) == sorted((bar["symbol"], bar["timestamp"]) for bar in BARS[:6])
    assert sender.headers == ["Bearer secret"] * 2
    text = "\n".join(messages)
    assert text.count("connected") == 2
    assert "a message is no JSON" in text
    assert "again in 0.01 s" in text
    assert "secret" not in text


def test_a_server_that_is_not_there_is_tried_again():
    source = BarSocket("ws://127.0.0.1:9/nothing", wait=0.01)
    until, messages = time.monotonic() + 10, []
    while len(messages) < 2 and time.monotonic() < until:
        messages += source.poll()[1]
        time.sleep(0.01)
    source.close()
    assert "again in 0.01 s" in messages[0]
    assert "again in 0.02 s" in messages[1]


def test_wrong_messages_and_addresses_are_refused():
    with pytest.raises(BarsError, match="lacks 'close'"):
        bars_of(json.dumps({key: value for key, value in BARS[0].items() if key != "close"}))
    with pytest.raises(BarsError, match="no number"):
        bars_of(json.dumps(BARS[0] | {"close": "much"}))
    with pytest.raises(BarsError, match="time zone"):
        bars_of(json.dumps(BARS[0] | {"timestamp": "2024-01-01T00:00"}))
    assert bars_of('"text"') == bars_of("7") == bars_of('{"fills": []}') == []
    assert len(bars_of(json.dumps({"type": "bar", "bar": BARS[0]}))) == 1
    with pytest.raises(ConfigError, match="begins with ws://"):
        BarSocket("http://127.0.0.1")
