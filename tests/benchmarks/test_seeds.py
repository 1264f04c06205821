"""The benchmark over training seeds runs, prints its tables, writes JSON, and refuses what is no claim."""

import json
import sys

import pytest

from benchmarks.seeds import load_seeds, main
from lem_models import LEMConfig, synthetic_bars
from lem_models.errors import ConfigError
from tests.benchmarks.script import run_script
from tests.helpers import random_model

SMALL = {"hidden_size": 8, "head_config": {"hidden_size": 8}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bars, three models of one configuration, and one of another."""
    path = tmp_path_factory.mktemp("seeds")
    synthetic_bars(symbols=2, days=40, seed=1).write(path / "bars.parquet")
    for seed in range(3):
        random_model(LEMConfig(**SMALL), seed).save_pretrained(path / f"run{seed}")
    random_model(LEMConfig(**SMALL, dropout=0.2)).save_pretrained(path / "other")
    return path


def test_three_seeds_give_a_table_and_json(folder):
    models = [folder / f"run{seed}" for seed in range(3)]
    settings = ("--against", "twap", "--min-periods", 1, 12, "--limit", 300, "--out", folder / "seeds.json")
    done = run_script("seeds.py", "--models", *models, "--data", folder / "bars.parquet", *settings)
    assert done.returncode == 0, done.stderr
    assert "Improvement minus that of twap, 3 training seeds" in done.stdout
    content = json.loads((folder / "seeds.json").read_text())
    assert [table["against"] for table in content["tables"]] == [None, "twap"]
    for table in content["tables"]:
        assert [row["min_periods"] for row in table["rows"]] == [1, 12]
        for row in table["rows"]:
            assert row["seeds"] == 3
            assert row["low_bps"] < row["mean_bps"] < row["high_bps"]
            assert row["worst_bps"] < row["mean_bps"] < row["best_bps"]
    assert str(folder) not in (folder / "seeds.json").read_text()
    shown = run_script("seeds.py", "--show", folder / "seeds.json")
    title, _, header, _, *rows = shown.stdout.splitlines()
    assert title == "bars.parquet, 3 seeds"
    assert "minus twap" in header
    assert [row.split("|")[1].strip() for row in rows] == ["1", "12"]


def test_a_mistake_is_answered_in_one_line(folder, monkeypatch, capsys):
    settings = ("--models", folder / "run0", folder / "run1", "--data", folder / "bars.parquet")
    monkeypatch.setattr(sys, "argv", ["seeds.py", *map(str, settings)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "at least 3 training seeds" in capsys.readouterr().err


def test_what_is_no_record_is_refused(folder):
    (folder / "none.json").write_text("{}", encoding="utf-8")
    shown = run_script("seeds.py", "--show", folder / "none.json")
    assert shown.returncode == 2
    assert "none.json is no record of benchmarks/seeds.py" in shown.stderr


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("run0", "run1", "run1"), "at least 3 training seeds"),
        (("run0", "run1", "run2", "other"), "other and .*run0 are configured differently"),
    ],
)
def test_what_is_no_claim_is_refused(folder, names, message):
    with pytest.raises(ConfigError, match=message):
        load_seeds([str(folder / name) for name in names])
