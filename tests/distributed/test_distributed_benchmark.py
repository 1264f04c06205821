"""A benchmark on two processes prints and writes what one process prints and writes."""

import json
import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from lem_models import synthetic_bars
from lem_models.cli.app import app
from tests.distributed.launch import torchrun
from tests.helpers import rebuilt


def _assert_same(found, wanted, where="summary"):
    """The same facts in the same order; numbers up to the last bits of the model's float32 contexts."""
    assert type(found) is type(wanted), where
    if isinstance(wanted, dict):
        assert list(found) == list(wanted), where
        for name in wanted:
            _assert_same(found[name], wanted[name], f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for number, value in enumerate(wanted):
            _assert_same(found[number], value, f"{where}[{number}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-5), where
    else:
        assert found == wanted, where


def _without_numbers(text):
    return re.sub(r"[+-]?\d[\d,.]*|\s+", " ", text)


def test_a_benchmark_on_two_processes_has_the_table_of_one(tmp_path):
    bars = synthetic_bars(symbols=3, days=30, seed=4)
    rebuilt(bars, bars.frame.drop(index=[500])).write(tmp_path / "bars.parquet")
    arguments = ["benchmark", "--data", str(tmp_path / "bars.parquet"), "--baselines", "stopping_rule", "--null", "1"]
    arguments += ["--limit", "500", "--benchmark", "vwap"]
    one, two = tmp_path / "one", tmp_path / "two"
    alone = CliRunner().invoke(app, [*arguments, "--out", str(one)])
    assert alone.exit_code == 0, alone.output
    printed = torchrun("lem_models.cli", *arguments, "--out", two)
    # Digits apart: where a number lies between two roundings, a last bit decides. The numbers are compared below.
    assert _without_numbers(printed.replace(str(two), str(one))) == _without_numbers(alone.stdout)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (two, one)]
    assert len(summaries[1].pop("command")) != len(summaries[0].pop("command"))
    assert summaries[1]["excluded"]
    assert len(summaries[1]["breakdowns"]["symbol"]) >= 3
    _assert_same(*summaries)
    pd.testing.assert_frame_equal(*(pd.read_csv(folder / "summary.csv") for folder in (two, one)), rtol=1e-6, atol=1e-5)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
