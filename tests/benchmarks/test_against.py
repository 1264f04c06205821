"""An older commit against this one: what is compared, what the old one cannot run, and that the same work is done."""

import json
import sys
from types import ModuleType

import pandas as pd
import pytest

from benchmarks import against as module
from benchmarks import live, workloads
from benchmarks.against import against, compared
from benchmarks.speed_table import against_table
from benchmarks.workloads import ROOT, UNTIL, execution, prepare
from lem_models import Bars, synthetic_bars

in_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")


def test_the_best_turn_counts_and_faster_is_above_one():
    measured = {
        "training": {
            "old": [{"origins_per_second": 10.0}, {"origins_per_second": 20.0}],
            "new": [{"origins_per_second": 50.0}],
        },
        "desk": {"old": [{"p50_ms": 30.0}, {"p50_ms": 40.0}], "new": [{"p50_ms": 10.0}, {"p50_ms": 15.0}]},
        "1000 symbols": {"old": [{"cpu_us_per_order": 10.0}], "new": [{"cpu_us_per_order": 5.0}]},
        "5000 symbols": {"old": [{"cpu_us_per_order": 20.0}], "new": [{"cpu_us_per_order": 5.0}]},
    }
    rows = {row["label"].split(",")[0]: row for row in compared(measured)}
    assert rows.keys() == {"training", "1", "TWAP order", "cost of an order"}
    assert (rows["training"]["old"], rows["training"]["new"], rows["training"]["times_better"]) == (20.0, 50.0, 2.5)
    assert (rows["1"]["old"], rows["1"]["new"], rows["1"]["times_better"]) == (30.0, 10.0, 3.0)
    assert rows["TWAP order"]["times_better"] == 4.0
    assert (rows["cost of an order"]["old"], rows["cost of an order"]["new"]) == (2.0, 1.0)
    assert rows["cost of an order"]["times_better"] == 2.0


def test_what_the_old_commit_cannot_run_has_a_reason_and_no_ratio(monkeypatch):
    tries = []

    def measured(root, name, *settings):
        tries.append((root == ROOT, name))
        if root != ROOT and name == "desk":
            raise RuntimeError("ImportError: no such name")
        return {"p50_ms": 10.0, "orders_per_cpu_second": 100.0}

    monkeypatch.setattr(module, "_measured", measured)
    monkeypatch.setattr(module, "extract", lambda revision, folder: None)
    monkeypatch.setattr(module, "prepare", lambda folder, data, limit: None)
    monkeypatch.setattr(module, "_git", lambda *arguments: "abc\n")
    lines = []
    result = against("old", turns=2, only=("dense", "desk"), tell=lines.append)
    assert result["reasons"] == {"desk": "ImportError: no such name"}
    assert tries.count((False, "desk")) == 1
    assert tries.count((True, "desk")) == tries.count((False, "dense")) == tries.count((True, "dense")) == 2
    assert lines[2] == "turn 1 of 2: desk, old: ImportError: no such name"
    dense, desk = result["rows"]
    assert (dense["old"], dense["times_better"]) == (100.0, 1.0)
    assert (desk["old"], desk["new"], desk["times_better"]) == (None, 10.0, None)
    assert "| cannot run it | 10 ms | – |" in against_table({"against": result})


@in_git
def test_an_unknown_revision_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"--against no-such-revision: .*not a valid object name"):
        module.extract("no-such-revision", tmp_path)


@in_git
@pytest.mark.slow
def test_both_sides_run_in_processes_of_their_own_and_do_the_same_work():
    result = against("HEAD", turns=1, repeats=1, limit=60, only=("dense",))
    (row,) = result["rows"]
    assert row["times_better"] == pytest.approx(row["new"] / row["old"])
    old, new = (result["measured"]["dense"][side][0] for side in ("old", "new"))
    assert old["orders"] == new["orders"] == 60


def test_real_bars_of_later_periods_are_not_read(tmp_path):
    bars = synthetic_bars(symbols=10, days=60, start="2022-12-01", seed=0)
    bars.write(tmp_path / "real.parquet")
    prepare(tmp_path, tmp_path / "real.parquet", limit=20)
    sparse = Bars.read(tmp_path / "sparse.parquet")
    assert sparse.frame["timestamp"].max() < pd.Timestamp(UNTIL, tz="UTC")
    assert len(sparse.symbols) == workloads.SPARSE_SYMBOLS
    facts = execution(tmp_path, 1, "sparse", policy="twap")
    assert (facts["orders"] > 0, facts["periods"], facts["bars"]) == (True, 24, f"real.parquet, before {UNTIL}")
    assert facts["orders_per_cpu_second"] == pytest.approx(facts["orders"] / facts["cpu_seconds"])
    assert json.loads((tmp_path / "sparse.json").read_text())["symbols"] == workloads.SPARSE_SYMBOLS


@pytest.mark.slow
def test_a_desk_of_sessions_has_the_same_orders_as_live_orders(monkeypatch):
    sizes = {"symbols": 3, "orders": 48, "closes": 1}
    new = live.many_orders("lem-crypto-hourly", **sizes)
    monkeypatch.setattr(live, "LiveOrders", None)
    old = live.many_orders("lem-crypto-hourly", **sizes)
    assert old["orders"] == new["orders"] > 20


def test_a_cold_start_is_of_the_package_that_is_measured(tmp_path, monkeypatch):
    import benchmarks

    start = ModuleType("benchmarks.cold_start")
    start.REPOSITORY = ROOT
    start.cold_start = lambda turns: {"package": start.REPOSITORY, "turns": turns}
    monkeypatch.setitem(sys.modules, "benchmarks.cold_start", start)
    monkeypatch.setattr(benchmarks, "cold_start", start, raising=False)
    monkeypatch.setattr(workloads, "package_root", lambda: tmp_path)
    assert workloads.WORKLOADS["cold start"](tmp_path, 4) == {"package": tmp_path, "turns": 2}
    assert start.REPOSITORY == ROOT
