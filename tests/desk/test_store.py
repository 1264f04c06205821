"""Where the log is kept: one event a number, one process a desk, nothing half written."""

from __future__ import annotations

import subprocess
import sys
import threading
from decimal import Decimal

import pytest

from lem_models.desk import Desk, DeskOrder
from lem_models.desk.log import events as log
from lem_models.desk.log.events import EVENTS, Recorded, from_payload, to_payload
from lem_models.desk.log.state import replay
from lem_models.desk.requests import answer, ask
from lem_models.desk.store.database import DatabaseStore
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import DeskError
from tests.helpers.markets import hourly

pytest.importorskip("sqlalchemy")

ENTRY = log.DecisionEntry("1", 2, 0, 0, 10**18, Decimal("1.20"), Decimal(5), 0.1, Decimal(0), False, False, "x")
EXAMPLES = [
    log.Opened("twap", "volume_curve", 3),
    log.HistoryTaken("X", "ab", "24/7", 3600, 5, 1.5),
    log.BarsClosed({"X": (1, 1.0, 2.0, 0.5, 1.5, 3.0, 4.0)}, ("X",)),
    log.BarFault("X", "late", 5, (1.0, 2.0), "late"),
    log.Decided((ENTRY,)),
    log.Added({"symbol": "X"}, {"start": 1}, (1.0, 2.0), 3.0),
    log.Amended({"amount": "5"}, {"symbol": "X"}, {"start": 1}, (1.0,), 3.0),
    *(kind("why") for kind in (log.Paused, log.Resumed, log.Cancelled, log.Ended, log.FellBack, log.Restored)),
    log.Filled("f", Decimal("0.00000001"), Decimal("1e5"), "1/0.0", True, Decimal(0)),
    log.FillConflict("f", Decimal(1), Decimal(2)),
    log.Rejected("1/0.0", "no"),
    log.ChildClosed("1/0.0"),
    log.Answered(4, {"action": "cancel"}, "why not"),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_an_event_survives_its_payload(event):
    assert from_payload(event.kind, event.version, to_payload(event)) == event


def test_every_event_has_an_example():
    assert {event.kind for event in EXAMPLES} == set(EVENTS)


def test_events_of_a_newer_version_are_refused():
    with pytest.raises(DeskError, match="open the desk with a newer one"):
        from_payload("paused", 2, "{}")
    with pytest.raises(DeskError, match="does not know"):
        from_payload("telepathy", 1, "{}")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    return str(tmp_path / "desk.db") if request.param == "sqlite" else request.getfixturevalue("postgresql")


def record(seq, stream=log.DESK):
    return Recorded(stream, seq, 0, log.Opened("twap", "volume_curve", seq))


def test_a_number_is_written_once(place):
    store = DatabaseStore(place)
    store.acquire()
    store.append([record(1), record(2)])
    with pytest.raises(DeskError) as error:
        store.append([record(3), record(2)])
    assert error.value.rule == "unique (order, seq)"
    assert [(each.seq, each.position) for each in store.read()] == [(1, 1), (2, 2)]  # nothing of it was appended
    store.close()


def test_two_processes_never_run_one_desk(place):
    first = Desk(place, "twap")
    with pytest.raises(DeskError, match="two processes never run one desk") as error:
        Desk(place, "twap")
    assert error.value.rule == "lease"
    second = Desk(place, takeover=True)
    assert second.token == first.token + 1
    with pytest.raises(DeskError, match="may not write any more") as error:
        first.renew()
    assert error.value.rule == "lease"
    with pytest.raises(DeskError, match="may not write any more"):
        first._ledger.store.append([record(first.state.seq + 1)])
    second.close()
    Desk(place).close()


def test_anybody_may_look(place):
    desk = Desk(place, "twap")
    desk.add(
        DeskOrder(symbol="S000", side="buy", amount=12, max_duration="3h"),
        hourly().between(end="2024-01-11"),
    )
    assert Desk.peek(place) == desk.status()
    desk.renew()
    desk.close()


def test_another_process_asks(place):
    desk = Desk(place, "twap")
    desk.add(DeskOrder(symbol="S000", side="buy", amount=12, max_duration="3h"), hourly().between(end="2024-01-11"))
    amended = ask(place, "amend", "1", amount=24)
    refused = ask(place, "amend", "1", symbol="ETHUSDT")
    paused = ask(place, "pause", "1")
    assert answer(place, amended) is None
    messages = desk.serve()
    assert messages[0].startswith("order '1' is amended: amount 24")
    assert "cannot be amended" in messages[1]
    assert messages[2] == "order '1' is paused"
    assert desk.order("1").order.amount == 24
    assert desk.order("1").status == "paused"
    assert [answer(place, number).is_refused for number in (amended, paused, refused)] == [False, False, True]
    assert "cannot be amended" in answer(place, refused).text
    assert desk.serve() == []  # once
    assert replay(DatabaseStore(place).read()) == desk.state
    with pytest.raises(DeskError, match="can be asked to"):
        ask(place, "sing", "1")
    desk.close()


def test_an_expired_lease_is_taken_and_its_holder_fenced_off(place):
    first = Desk(place, "twap", term=0.0)
    second = Desk(place, term=0.0)
    with pytest.raises(DeskError, match="may not write any more"):
        first.renew()
    second.renew()  # nobody has taken it since
    second.close()


def test_the_lease_of_a_dead_process_is_free_at_once(tmp_path):
    place = str(tmp_path / "desk.db")
    code = f"from lem_models.desk import Desk; import os; Desk({place!r}, 'twap', term=3600); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], check=False, timeout=300)
    desk = Desk(place)
    assert desk.token == 2
    desk.close()


def test_processes_that_race_get_different_tokens(place):
    DatabaseStore(place)
    tokens, errors = [], []

    def take() -> None:
        store = DatabaseStore(place)
        try:
            tokens.append(store.acquire())
        except DeskError as error:
            errors.append(error.rule)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokens == [1]
    assert errors == ["lease"] * 5


def test_sqlite_waits_for_the_disk(tmp_path):
    store = DatabaseStore(tmp_path / "desk.db")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_places_that_are_no_desk(tmp_path):
    with pytest.raises(DeskError, match="cannot be opened"):
        DatabaseStore(tmp_path / "missing" / "desk.db")
    with pytest.raises(DeskError, match="not in 'mysql'"):
        DatabaseStore("mysql://user:secret@host/desk")
    with pytest.raises(DeskError, match="name the policy"):
        Desk(MemoryStore())
    assert "secret" not in DatabaseStore(f"sqlite:///{tmp_path}/x.db").name


@pytest.mark.parametrize("missing", ["sqlalchemy", "orjson"])
def test_the_message_without_the_extra(monkeypatch, tmp_path, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DeskError, match=rf"{missing} is not installed: pip install 'lem-models\[desk\]'"):
        DatabaseStore(tmp_path / "desk.db")


def test_a_log_with_a_hole_is_refused():
    with pytest.raises(DeskError, match="goes from event 0 to 2"):
        replay([record(2)])
