"""The numbers in the README are those of the recorded benchmark run."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "results" / "lem-crypto-hourly.json"


def _results_table():
    spec = importlib.util.spec_from_file_location("results_table", ROOT / "benchmarks" / "results_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_that_of_the_recorded_run():
    table = _results_table().markdown_table(json.loads(RECORD.read_text(encoding="utf-8")))
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_command_beside_it_is_the_one_that_was_run():
    command = json.loads(RECORD.read_text(encoding="utf-8"))["command"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ").split())
    # The path of the data is the reader's own.
    for part in (p for p in command.split(" --") if not p.startswith(("data ", "out "))):
        assert part in readme, part


def test_the_recorded_run_is_out_of_sample():
    summary = json.loads(RECORD.read_text(encoding="utf-8"))
    assert summary["seen_percent"] == 0.0
