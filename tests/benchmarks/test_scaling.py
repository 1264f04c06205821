"""The scaling benchmark runs, at a tiny size, and refuses settings that make no sense."""

import json
import subprocess
import sys

import pytest

from tests.benchmarks.script import FOLDER, run_script


def test_a_tiny_run_prints_a_table_and_writes_json_and_a_figure(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    tiny = ("--bars", "4e3", "20000", "--orders", 50, "--batches", 2, "--turns", 1, "--dir", files, "--keep")
    done = run_script("scaling.py", *tiny, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "4,000" in done.stdout
    assert "training batch, ms" in done.stdout
    content = json.loads((tmp_path / "out" / "scaling.json").read_text())
    assert [row["bars"] for row in content["summary"]] == [4_000, 20_000]
    assert all(56 < row["file_bytes_per_bar"] < 60 for row in content["summary"])
    assert all(row["orders_per_s"] > 0 and row["batch_ms"] > 0 for row in content["summary"])
    assert (tmp_path / "out" / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in files.iterdir()) == ["minute_bars_20000.arrow", "minute_bars_4000.arrow"]


@pytest.mark.slow
def test_a_tiny_run_over_numbers_of_symbols_prints_a_table_and_writes_json(tmp_path):
    done = run_script("scaling.py", "--symbols", 3, 20, "--turns", 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "µs per order" in done.stdout
    small, large = json.loads((tmp_path / "symbols.json").read_text())
    assert (small["symbols"], large["symbols"]) == (3, 20)
    assert small["orders"] * 20 == large["orders"] * 3
    assert small["us_per_order"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--bars", "10"), "at least 2,000"),
        (("--symbols", "0"), "at least 1"),
        (("--keep",), "--keep needs --dir"),
        (("--turns", "0"), "at least 1"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    done = run_script("scaling.py", *settings)
    assert done.returncode == 2
    assert message in done.stderr


def test_help_says_what_is_measured():
    command = [sys.executable, FOLDER / "scaling.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "fresh process per size" in done.stdout
