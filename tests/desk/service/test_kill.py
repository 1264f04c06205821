"""kill -9 under load: what was answered is there after the restart, once."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.desk.service.client import HISTORY, bars, order

ROOT = Path(__file__).resolve().parents[3]


def start(folder):
    """A process that serves the desk of a folder, and its address."""
    command = [sys.executable, "-m", "lem_models.cli", "serve", "--db", str(folder / "desk.db"), "--policy", "twap"]
    command += ["--port", "0", "--no-watch", "--history", str(folder / "history.parquet"), "--gather", "0.05"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, sys.path)))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    address = None
    while address is None:
        line = process.stdout.readline()
        assert line, "the service ended before it could be reached"
        address = re.search(r"http://\S+", line)
    return process, address[0]


@pytest.mark.parametrize("kill_after", [3])
def test_nothing_that_was_answered_is_lost(tmp_path, kill_after):
    HISTORY.write(tmp_path / "history.parquet")
    process, address = start(tmp_path)
    orders = [order(f"o{n}", amount="1000") for n in range(30)]
    assert httpx.post(f"{address}/orders/batch", json={"orders": orders}, timeout=30).status_code == 201
    answered = {}  # decisions that were seen, by child order
    sent, booked = {}, set()
    with connect(address.replace("http", "ws") + "/stream", max_size=None) as stream:
        for row in json.loads(stream.recv(timeout=20))["decisions"]:
            answered[row["child"]] = row
        for hour in range(12):
            try:
                for number, row in enumerate(list(answered.values())[-30:]):
                    fill = {"order": row["order_id"], "quantity": "0.5", "price": "100", "id": f"{hour}.{number}"}
                    sent[row["order_id"], fill["id"]] = fill
                    stream.send(json.dumps({"type": "fills", "ref": f"{hour}.{number}", "fills": [fill]}))
                stream.send(json.dumps({"type": "bars", "bars": bars(hour)}))
                if hour == kill_after:  # fills and bars are in flight
                    process.send_signal(signal.SIGKILL)
                decided = False
                while not decided:
                    message = json.loads(stream.recv(timeout=20))
                    if message["type"] == "logged":
                        booked |= {(each["order"], each["id"]) for each in message["fills"]}
                    else:
                        answered |= {row["child"]: row for row in message["decisions"]}
                        decided = message["decisions"][0]["start"] > f"2024-01-15T{hour:02}"
            except (ConnectionClosed, TimeoutError):
                assert hour >= kill_after  # the answer may have been on its way already
                break
    process.wait(10)
    assert booked
    process, address = start(tmp_path)
    try:
        with httpx.Client(base_url=address, timeout=30) as http:
            again = {row["child"]: row for row in http.get("/decisions").json()["decisions"]}
            assert len(again) == 30
            for child, row in again.items():
                if child in answered:
                    assert {**answered[child], "reason": ""} == {**row, "reason": ""}
            # Everything that is not known to be booked is sent again: what had been booked is not booked twice.
            assert http.post("/orders/batch", json={"orders": orders}).status_code == 200
            reply = http.post("/fills", json={"fills": list(sent.values())}).json()["fills"]
            kinds = {(each["order"], each["id"]): each["kind"] for each in reply}
            assert {kinds[key] for key in booked} == {"duplicate"}
            for row in http.get("/orders", params={"limit": 200}).json()["orders"]:
                count = sum(label == row["order_id"] for label, _ in sent)
                assert float(row["filled"]) == 0.5 * count
    finally:
        process.terminate()
        process.wait(10)


def test_two_processes_never_serve_one_desk(tmp_path):
    from lem_models.desk.service import Server, ServiceSettings
    from lem_models.errors import DeskError
    from tests.desk.service.client import served

    with served(tmp_path / "desk.db"), pytest.raises(DeskError, match="two processes never run one desk"):
        Server(str(tmp_path / "desk.db"), "twap", ServiceSettings(port=0))
