"""What two processes do is what one does: training, benchmarks and metrics, up to the rounding of sums."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lem_models import synthetic_bars
from lem_models.evaluation.metrics import execution_metrics
from lem_models.execution.sharding import Ranks
from lem_models.modeling.kernels.library import kernels
from lem_models.modeling.model import LEMModel
from lem_models.training.recipe import Recipe
from tests.distributed.job import RESUMED, benchmark, benchmark_command, executed_share, run_command, run_jobs
from tests.distributed.launch import torchrun
from tests.helpers import rebuilt
from tests.training.gradients import assert_same_tensors, mean_gradients
from tests.training.tiny import BARS, TINY, Watched, trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which two processes did the jobs of :mod:`tests.distributed.job`."""
    folder = tmp_path_factory.mktemp("two-processes")
    BARS.write(folder / "bars.parquet")
    bars = synthetic_bars(symbols=3, days=30, seed=4)
    rebuilt(bars, bars.frame.drop(index=[500])).write(folder / "gap.parquet")
    trainer = {"steps": 4, "steps_per_epoch": 2, "accumulate": 2, "averaging": 0.9}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**TINY, "trainer": trainer}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lem_models.training.run.MarketBatches", Watched)
        patch.setattr(Watched, "seen", [])
        patch.setattr(Watched, "stop_at", 4)
        with pytest.raises(RuntimeError, match="power cut"):
            trained(RESUMED, out=folder / "broken", data=folder / "bars.parquet")
    kernels(torch.float64)  # built once, and not by each of the processes
    torchrun(run_jobs, folder, folder=folder)
    return folder


# --- training --------------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_whole_batch(folder):
    expected = mean_gradients()
    for rank in range(2):
        assert_same_tensors(torch.load(folder / f"gradients-{rank}.pt"), expected, atol=1e-12)


def test_a_run_of_one_process_is_resumed(folder, tmp_path):
    straight = trained(RESUMED, out=tmp_path, data=folder / "bars.parquet")
    for rank in range(2):
        # In float32: sums of two halves differ in the last bit from sums over all, and Adam enlarges what is small.
        resumed = torch.load(folder / f"resumed-{rank}.pt")
        assert_same_tensors(resumed, straight.state_dict(), atol=2e-5)


def test_a_run_of_the_command_is_the_run_of_one(folder, tmp_path):
    recipe = Recipe.read(folder / "recipe.yaml")
    trained(recipe, out=tmp_path, data=folder / "bars.parquet")
    assert (folder / "train-0.txt").read_text().count("model: ") == 1
    assert (folder / "train-1.txt").read_text() == ""
    two, one = folder / "train", tmp_path
    weights = [LEMModel.from_pretrained(out).state_dict() for out in (two, one)]
    assert_same_tensors(*weights, atol=2e-5)
    logs = [pd.read_csv(out / "logs" / "csv" / "metrics.csv") for out in (two, one)]
    pd.testing.assert_frame_equal(*logs, atol=2e-5, rtol=0)
    assert {path.name for path in (two / "logs" / "csv").iterdir()} == {"metrics.csv"}
    assert (two / "run.json").read_text() == (one / "run.json").read_text()


# --- benchmarks ------------------------------------------------------------------------------------------------------


def _assert_same_facts(actual, expected, where="summary"):
    """The same facts in the same order; numbers up to the last bits of the model's float32 contexts."""
    assert type(actual) is type(expected), where
    if isinstance(expected, dict):
        assert list(actual) == list(expected), where
        for name in expected:
            _assert_same_facts(actual[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for number, value in enumerate(expected):
            _assert_same_facts(actual[number], value, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-6, abs=1e-5), where
    else:
        assert actual == expected, where


def _without_numbers(text):
    return re.sub(r"[+-]?\d[\d,.]*|\s+", " ", text)


def test_a_benchmark_of_the_command_has_the_table_of_one(folder, tmp_path):
    alone = run_command(benchmark_command(folder / "gap.parquet", tmp_path))
    two, one = folder / "benchmark", tmp_path
    printed = (folder / "benchmark-0.txt").read_text()
    assert (folder / "benchmark-1.txt").read_text() == ""
    # Digits apart: where a number lies between two roundings, a last bit decides. The numbers are compared below.
    assert _without_numbers(printed.replace(str(two), str(one))) == _without_numbers(alone)
    summaries = [json.loads((out / "summary.json").read_text()) for out in (two, one)]
    for summary, out in zip(summaries, (two, one), strict=True):
        assert str(out) in summary.pop("command")
    assert summaries[1]["excluded"]
    assert len(summaries[1]["breakdowns"]["symbol"]) >= 3
    _assert_same_facts(*summaries)
    tables = (pd.read_csv(out / "summary.csv") for out in (two, one))
    pd.testing.assert_frame_equal(*tables, rtol=1e-6, atol=1e-5)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}


def test_a_benchmark_keeps_the_order_of_orders(folder):
    alone = benchmark()
    pd.testing.assert_frame_equal(pd.read_pickle(folder / "orders.pkl"), alone.results["stopping_rule"].orders)
    null = pd.read_pickle(folder / "null.pkl")
    np.testing.assert_array_equal(null.improvement_bps, alone.nulls["stopping_rule"].improvement_bps)


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_over_two_shares_are_those_of_the_whole(folder):
    saved = torch.load(folder / "metrics.pt")
    whole = executed_share(Ranks())
    alone = execution_metrics()
    alone.update(whole)
    expected = {name: value.item() for name, value in alone.compute().items()}
    for values in saved["values"]:  # of either process
        assert {name: value.item() for name, value in values.items()} == pytest.approx(expected, rel=1e-12)
    assert expected["slippage_orders"] == 301
    # Neither process had all of it.
    assert saved["own"]["slippage"].item() != pytest.approx(alone["slippage"].total.item(), rel=1e-3)
    pd.testing.assert_frame_equal(pd.read_pickle(folder / "metrics.pkl"), whole.orders, check_exact=True)
