"""Peers: those that are not installed are named, those that are do the same work."""

import sys

import pytest

from benchmarks.peers import beside
from benchmarks.peers.beside import PEERS, peers_beside
from benchmarks.speed_table import peers_table

SIZES = {"turns": 2, "sizes": (8,), "batch": 2, "steps": 3, "parents": (30,)}


def fake(weights):
    """Peers that answer at once."""

    def run(interpreter, script, *settings):
        if script == "tkan_keras.py":
            rows = [{"hidden": 8, "both_ms": 1000.0, "weights": weights}]
            return {"versions": {"tkan": "1"}, "rows": rows}
        return {"versions": {"nautilus_trader": "2"}, "cpu_seconds": 3.0}

    return run


def test_a_peer_that_is_not_installed_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(PEERS, "tkan", (("no_such_module",), "pip install tkan torch"))
    monkeypatch.setitem(PEERS, "nautilus_trader", (("json", "no_such_module"), "pip install nautilus_trader"))
    measured = peers_beside(sys.executable, **SIZES)
    assert measured == {
        "tkan": {"not_installed": "pip install tkan torch"},
        "nautilus_trader": {"not_installed": "pip install nautilus_trader"},
    }
    assert "| tkan | not installed | pip install tkan torch |" in peers_table({"peers": measured})


def test_installed_peers_stand_beside_the_same_work_here(monkeypatch):
    monkeypatch.setattr(beside, "_has", lambda *_: True)
    monkeypatch.setattr(beside, "_run", fake(weights=1096))
    measured = peers_beside("python-with-peers", **SIZES)
    (row,) = measured["tkan"]["rows"]
    assert row["peer_ms"] == 1000.0
    assert row["times_slower"] == pytest.approx(1000.0 / row["ours_ms"])
    (row,) = measured["nautilus_trader"]["rows"]
    assert (row["parents"], row["peer_per_cpu_second"]) == (30, 10.0)
    assert row["ours_per_cpu_second"] > 30
    assert "far more per order" in peers_table({"peers": measured})


def test_a_layer_of_another_size_is_refused(monkeypatch):
    monkeypatch.setattr(beside, "_has", lambda *_: True)
    monkeypatch.setattr(beside, "_run", fake(weights=5))
    with pytest.raises(RuntimeError, match="tkan has 5 weights at 8, ours 1096"):
        peers_beside("python-with-peers", **SIZES)


def test_a_peer_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "_FOLDER", tmp_path)
    (tmp_path / "peer.py").write_text("raise SystemExit('not all orders were filled')")
    with pytest.raises(RuntimeError, match=r"peer\.py: not all orders were filled"):
        beside._run(sys.executable, "peer.py")
