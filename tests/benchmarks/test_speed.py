"""The speed benchmark: what it counts, what it draws, and that its sections run."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.peers.beside import PEERS
from benchmarks.pictures import speed_figure
from benchmarks.roll_out_speed import roll_out_race
from benchmarks.speed import main
from benchmarks.speed_table import TABLES
from benchmarks.tkan_speed import FLOOR, kept_megabytes, race
from lem_models.report.figure_style import figure_to_png_bytes
from tests.benchmarks.script import run_script

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "speed.py"


def test_the_race_times_every_layer_at_every_size_and_draws_them():
    rows = race((8, 16), batch=4, steps=6, turns=1, device="cpu")
    layers = ["plain loop", "eager", "TKAN", "LSTM", "GRU", FLOOR]
    assert [(row["hidden"], row["layer"]) for row in rows] == [(size, layer) for size in (8, 16) for layer in layers]
    for row in rows:
        assert min(row["forward_ms"], row["both_ms"]) > 0
        peers = {other["layer"]: other["both_ms"] for other in rows if other["hidden"] == row["hidden"]}
        assert row["faster_than_plain"] == pytest.approx(peers["plain loop"] / row["both_ms"])
        assert row["times_lstm"] == pytest.approx(row["both_ms"] / peers["LSTM"])
    assert figure_to_png_bytes(speed_figure(rows)).startswith(b"\x89PNG")


def test_kept_memory_counts_each_array_once():
    x = torch.zeros(1000, 10, requires_grad=True)
    layer = nn.Linear(10, 10, bias=False)
    assert kept_megabytes(lambda x: layer(x), x) == pytest.approx((10_000 + 100) * 4 / 1e6)
    assert kept_megabytes(lambda x: x * x, x) == pytest.approx(0.04)


def test_start_up_is_measured_from_the_command_line(tmp_path):
    done = run_script("speed.py", "--only", "startup", "--repeats", 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    seconds = json.loads((tmp_path / "speed.json").read_text())["startup"]
    assert seconds.keys() == {"python", "import lem_models", "lem --help"}
    assert all(0 < value < 20 for value in seconds.values())


@pytest.mark.slow
def test_the_kernel_of_the_roll_out_races_with_single_periods():
    rows = roll_out_race(1, days=250, limit=40)
    assert list(rows) == [
        *("training step", "roll-out, forward and backward"),
        *("execute, dense orders", "execute, sparse orders"),
    ]
    for row in rows.values():
        assert row["times_faster"] == pytest.approx(row["period_by_period_ms"] / row["kernel_ms"])
        assert row["orders_per_second"] == pytest.approx(1e3 * row["orders"] / row["kernel_ms"])
    assert rows["training step"]["orders"] == 1536
    assert rows["execute, dense orders"]["orders"] == 40


def test_help_says_what_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--help"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    assert "floor of the matrix products" in capsys.readouterr().out.replace("\n  ", " ")


def test_peers_that_are_not_installed_are_counted_and_recorded(tmp_path, monkeypatch):
    for name in PEERS:
        monkeypatch.setitem(PEERS, name, (("no_such_module",), f"pip install {name}"))
    done = run_script("speed.py", "--only", "peers", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "peer tkan: not installed: pip install tkan" in done.stdout
    assert "2 of 2 peers left out" in done.stdout
    peers = json.loads((tmp_path / "speed.json").read_text())["peers"]
    assert peers == {name: {"not_installed": f"pip install {name}"} for name in PEERS}


def test_sparse_and_dense_orders_are_executed(tmp_path):
    settings = ("--only", "execution", "--model", "twap", "--repeats", 1, "--limit", 100)
    done = run_script("speed.py", *settings, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "speed.json").read_text())
    dense, sparse = record["execution, dense"], record["execution, sparse"]
    assert (dense["orders"], dense["periods"], sparse["periods"]) == (100, 12, 24)
    # 8 symbols with an order every 200 hours of a year, but for the first 256 bars
    assert 8 * 40 < sparse["orders"] < 8 * 44
    for facts in (dense, sparse):
        assert facts["orders_per_second"] == pytest.approx(facts["orders"] / facts["seconds"])
        assert facts["orders_per_cpu_second"] == pytest.approx(facts["orders"] / facts["cpu_seconds"])


def test_numbers_of_symbols_are_measured(tmp_path):
    done = run_script("speed.py", "--only", "symbols", "--symbols", 4, "--repeats", 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "speed.json").read_text())
    assert [row["symbols"] for row in record["symbols"]] == [4]
    assert all(row["cpu_us_per_order"] > 0 for row in record["symbols"])
    assert "| 4 | 32 | " in TABLES["symbols"](record)


@pytest.mark.parametrize("settings", [("--only", "against"), ("--only", "tkan", "--against", "HEAD")])
def test_an_older_commit_is_named_and_asked_for_together(settings):
    done = run_script("speed.py", *settings)
    assert done.returncode == 2
    assert "--only against goes with --against REVISION" in done.stderr


def test_the_tables_are_printed_from_the_records():
    results = SCRIPT.parent / "results"
    done = run_script("speed_table.py", results / "speed.json", results / "scaling.json")
    assert done.returncode == 0, done.stderr
    for table in TABLES.values():
        assert table(json.loads((results / "speed.json").read_text())) in done.stdout
