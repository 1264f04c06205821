"""The numbers in the README are those of the recorded benchmark runs."""

import json
from pathlib import Path

import pytest

from benchmarks.encoders import table as encoder_table
from benchmarks.martingale_optimum import table as optimum_table
from benchmarks.results_table import markdown_table
from benchmarks.speed_table import paths_table, scaling_table, tkan_table

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "results" / "lem-crypto-hourly.json"


def test_the_table_is_that_of_the_recorded_run():
    table = markdown_table(json.loads(RECORD.read_text(encoding="utf-8")))
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("record", "table"), [("speed", tkan_table), ("speed", paths_table), ("scaling", scaling_table)]
)
def test_the_tables_of_speed_are_those_of_the_recorded_runs(record, table):
    recorded = json.loads((ROOT / "benchmarks" / "results" / f"{record}.json").read_text(encoding="utf-8"))
    assert table(recorded) in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("record", "table"), [("martingale_optimum", optimum_table), ("encoders", encoder_table)])
def test_the_tables_of_theory_and_ablation_are_those_of_the_recorded_runs(record, table):
    recorded = json.loads((ROOT / "benchmarks" / "results" / f"{record}.json").read_text(encoding="utf-8"))
    rows = recorded["rows"] if isinstance(recorded, dict) else recorded
    assert table(rows) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_optimum_is_reached_and_not_beaten():
    rows = json.loads((ROOT / "benchmarks" / "results" / "martingale_optimum.json").read_text(encoding="utf-8"))
    for row in rows:
        slack = 3 * row["standard_error"]
        assert row["improvement"] < row["optimum"] + slack, row
        if row["policy"] in ("longstaff_schwartz", "flexible head"):
            assert row["improvement"] > 0.97 * row["optimum"] - slack, row


def test_the_command_beside_it_is_the_one_that_was_run():
    command = json.loads(RECORD.read_text(encoding="utf-8"))["command"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ").split())
    # The path of the data is the reader's own.
    for part in (p for p in command.split(" --") if not p.startswith(("data ", "out "))):
        assert part in readme, part


def test_the_recorded_run_is_out_of_sample():
    summary = json.loads(RECORD.read_text(encoding="utf-8"))
    assert summary["seen_percent"] == 0.0
