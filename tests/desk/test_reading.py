"""Looking at a desk: who only reads needs no lease and no right to write, makes nothing, and reads what it asks for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lem_models.cli.app import app
from lem_models.desk import Desk, DeskOrder
from lem_models.desk.log import events as log
from lem_models.desk.log.events import DESK, Recorded
from lem_models.desk.requests import answer, ask, waiting
from lem_models.desk.store import database
from lem_models.desk.store.database import DatabaseStore
from lem_models.desk.store.order_log import order_log
from lem_models.errors import DeskError
from tests.helpers.markets import hourly

pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

NOBODY = 65534


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    return str(tmp_path / "desk.db") if request.param == "sqlite" else request.getfixturevalue("postgresql")


@pytest.fixture
def folder():
    """A folder that every user of the machine can reach, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def begun(place):
    desk = Desk(place, "twap")
    desk.add(DeskOrder(symbol="S000", side="buy", amount=12, max_duration="3h"), hourly().between(end="2024-01-11"))
    desk.fill("1", 4, 100, "a")
    return desk


def lem(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@contextmanager
def without_rights(folder):
    """Nobody may write the folder and its files."""
    modes = {path: path.stat().st_mode for path in (*folder.iterdir(), folder)}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    try:
        if is_root:  # may write everything
            os.seteuid(NOBODY)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path, mode in reversed(modes.items()):
            path.chmod(mode)


def test_status_waits_for_no_writer(place):
    desk = begun(place)
    with desk._ledger.store._writing() as connection:
        desk._ledger.store._fence(connection)  # holds the write lock, and has changed something
        assert Desk.peek(place) == desk.status()
        assert "buy 12 S000" in lem("desk", "status", place)
        assert waiting(place) == []
    desk.close()


def test_a_report_waits_for_no_writer(tmp_path):
    place = tmp_path / "desk.db"
    desk = begun(place)
    desk.observe(hourly().between(start="2024-01-11", end="2024-01-11T01:00").frame)
    with desk._ledger.store._writing():
        text = lem("desk", "report", place, "1", "--against", "", "--out", tmp_path / "out")
    assert "measured over the 1 of 3 bars that have closed" in text
    desk.close()


@pytest.mark.parametrize("ended", ["closed", "killed"])
def test_status_needs_no_right_to_write(folder, ended):
    place = folder / "desk.db"
    if ended == "closed":
        desk = begun(place)
        status = desk.status()
        desk.close()
        assert os.listdir(folder) == ["desk.db"]
    else:  # the write-ahead log stays, with events that are nowhere else
        code = f"import os; from tests.desk.test_reading import begun; begun({str(place)!r}); os._exit(1)"
        subprocess.run([sys.executable, "-c", code], check=False, timeout=300)
        assert len(os.listdir(folder)) == 3
        status = None
    before = sorted(os.listdir(folder))
    with without_rights(folder):
        with pytest.raises(DeskError, match=r"cannot be opened|cannot be written"):
            Desk(place)
        seen = Desk.peek(place)
        assert waiting(place) == []
    assert seen.orders[0].filled == Decimal(4)
    assert status in (None, seen)
    assert sorted(os.listdir(folder)) == before


def test_looking_at_a_closed_desk_leaves_nothing_beside_it(tmp_path):
    begun(tmp_path / "desk.db").close()
    Desk.peek(tmp_path / "desk.db")
    assert os.listdir(tmp_path) == ["desk.db"]


def test_what_was_read_while_a_process_began_to_write_is_read_again(tmp_path, monkeypatch):
    """Without a write-ahead log a file is read without locks; one that appears meanwhile shows that this was wrong."""
    place = tmp_path / "desk.db"
    begun(place).close()
    store, writers = DatabaseStore(place, read_only=True), []
    rows = store._rows

    def meanwhile(connection):
        if not writers:
            writers.append(Desk(place))
            writers[0].pause("1")
        return connection.exec_driver_sql("SELECT count(*) FROM desk_events").scalar_one()

    assert store._read(meanwhile) == writers[0].state.position
    assert len(rows(database.Tables.of(database.sqlalchemy_module()).events.select())) == writers[0].state.position
    writers[0].close()


def test_a_desk_that_is_not_there(tmp_path):
    missing = tmp_path / "none.db"
    for look in (Desk.peek, waiting, lambda place: answer(place, 1), lambda place: ask(place, "pause", "1")):
        with pytest.raises(DeskError, match="there is no desk") as error:
            look(missing)
        assert error.value.rule == "desk"
    for command in (["status"], ["report"], ["pause"]):
        for name in (missing, f"sqlite:///{missing}"):
            with pytest.raises(DeskError, match="there is no desk"):
                lem("desk", *command, name, *([] if command == ["status"] else ["1"]))
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(DeskError, match="cannot be read: file is not a database"):
        Desk.peek(tmp_path / "text.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(DeskError, match="there is no desk in the database"):
        Desk.peek(tmp_path / "empty.db")
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["empty.db", "text.db"],
        ["empty.db", "reports", "text.db"],
    )


def test_a_server_without_a_desk(postgresql):
    with pytest.raises(DeskError, match="there is no desk in the database"):
        Desk.peek(postgresql)
    DatabaseStore(postgresql).close()  # no tables were made before
    assert Desk.peek(postgresql).orders == ()


def test_what_only_reads_writes_nothing(place):
    begun(place).close()
    store = DatabaseStore(place, read_only=True)
    for write in (store.acquire, store.renew, lambda: store.append([]), lambda: store.request("{}")):
        with pytest.raises(DeskError, match="was opened for reading") as error:
            write()
        assert error.value.rule == "read only"
    with pytest.raises(database.sqlalchemy_module().exc.DBAPIError), store._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM desk_events")  # the database itself refuses it
    store.close()


# -- what is read --------------------------------------------------------------------------------------------------


def long_log(orders, fills):
    """Orders one after the other: a decision, fills, another decision, and a request that is answered."""
    zero, one = Decimal(0), Decimal(1)
    for number in range(orders):
        label, first = f"o{number}", 3 * number + 1

        def decided(desk, seq, label=label):
            entry = log.DecisionEntry(label, seq, 0, seq, 0, one, one, 0.1, zero, False, False, "")
            return Recorded(DESK, desk, 0, log.Decided((entry,)))

        yield Recorded(label, 1, 0, log.Added({"symbol": "X"}, {"start": 1}, (1.0,), 100.0))
        yield decided(first, 2)
        for fill in range(fills):
            yield Recorded(label, 3 + fill, 0, log.Filled(f"{fill}", one, one, ""))
        yield decided(first + 1, 3 + fills)
        yield Recorded(DESK, first + 2, 0, log.Answered(number, {"action": "pause"}, "done"))


@pytest.fixture(scope="module")
def long_store(tmp_path_factory):
    store = DatabaseStore(tmp_path_factory.mktemp("long") / "desk.db")
    store.acquire()
    store.append(list(long_log(1000, 96)))
    yield store
    store.close()


@pytest.fixture
def read_rows(monkeypatch):
    """Kinds of the events that were read from the database."""
    read = []

    def counted(kind, version, payload):
        read.append(kind)
        return log.from_payload(kind, version, payload)

    monkeypatch.setattr(database, "from_payload", counted)
    return read


def test_the_log_of_an_order_is_found_without_reading_all_of_it(long_store, read_rows):
    events = order_log(long_store, "o500", 99)
    assert [each.seq for each in events] == list(range(1, 100))
    assert [each.event.kind for each in events] == ["added", "decided", *["filled"] * 96, "decided"]
    assert {each.stream for each in events} == {"o500"}
    assert len(read_rows) <= 97 + 200  # its own events, and a page of decisions
    assert len(long_store._rows(long_store._sql.select(long_store._events.c.position))) == 100_000


def test_an_answer_is_found_without_reading_all_of_the_log(long_store, read_rows):
    assert answer(long_store, 700).text == "done"
    assert set(read_rows) == {"answered"}
    assert len(read_rows) <= 800


def test_indexes_lead_to_what_is_looked_for(long_store):
    """The database does not walk through the log either."""
    sql, events = long_store._sql, long_store._events
    kind = events.c.kind == sql.literal_column("'answered'")
    by_kind = sql.select(events).where(kind, events.c.position > 5).order_by(events.c.position)
    by_stream = sql.select(events).where(events.c.stream == "o5", events.c.seq > 5).order_by(events.c.seq)
    for query, index in ((by_kind, "desk_events_by_kind"), (by_stream, "sqlite_autoindex_desk_events_2")):
        text = str(query.compile(long_store._engine, compile_kwargs={"literal_binds": True}))
        with long_store._engine.connect() as connection:
            plan = " ".join(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}"))
        assert f"USING INDEX {index}" in plan
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


def test_a_desk_of_before_gets_the_index(tmp_path):
    store = DatabaseStore(tmp_path / "desk.db")
    with store._writing() as connection:
        connection.exec_driver_sql("DROP INDEX desk_events_by_kind")
    store.close()
    reading = DatabaseStore(tmp_path / "desk.db", read_only=True)  # does without
    assert list(reading.read(kind="answered")) == []
    reading.close()
    store = DatabaseStore(tmp_path / "desk.db")
    assert [each["name"] for each in store._sql.inspect(store._engine).get_indexes("desk_events")] == [
        "desk_events_by_kind"
    ]
    store.close()


def test_a_log_is_read_by_stream_and_kind(place):
    desk = begun(place)
    store = desk._ledger.store
    everything = list(store.read())
    assert [each.position for each in store.read(stream="1")] == [e.position for e in everything if e.stream == "1"]
    assert list(store.read(kind="decided")) == [e for e in everything if e.event.kind == "decided"]
    assert list(store.read(everything[2].position, kind="filled", stream="1")) == everything[-1:]
    assert order_log(store, "1", desk.order("1").seq) == desk.events("1")
    desk.close()
