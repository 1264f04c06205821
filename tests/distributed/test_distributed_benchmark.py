"""A benchmark on two processes prints and writes what one process prints and writes."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from tests.distributed.job import benchmark, benchmark_command, run_command


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


@pytest.mark.xdist_group("two processes")
def test_a_benchmark_on_two_processes_has_the_table_of_one(two_processes, tmp_path):
    alone = run_command(benchmark_command(two_processes / "gap.parquet", tmp_path))
    two = two_processes / "benchmark"
    printed = (two_processes / "benchmark-0.txt").read_text()
    assert (two_processes / "benchmark-1.txt").read_text() == ""
    # Digits apart: where a number lies between two roundings, a last bit decides. The numbers are compared below.
    assert _without_numbers(printed.replace(str(two), str(tmp_path))) == _without_numbers(alone)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (two, tmp_path)]
    assert len(summaries[1].pop("command")) != len(summaries[0].pop("command"))
    assert summaries[1]["excluded"]
    assert len(summaries[1]["breakdowns"]["symbol"]) >= 3
    _assert_same(*summaries)
    tables = (pd.read_csv(folder / "summary.csv") for folder in (two, tmp_path))
    pd.testing.assert_frame_equal(*tables, rtol=1e-6, atol=1e-5)
    assert {path.name for path in two.iterdir()} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.xdist_group("two processes")
def test_a_benchmark_keeps_the_order_of_orders(two_processes):
    alone = benchmark()
    pd.testing.assert_frame_equal(pd.read_pickle(two_processes / "orders.pkl"), alone.results["stopping_rule"].orders)
    null = pd.read_pickle(two_processes / "null.pkl")
    np.testing.assert_array_equal(null.improvement_bps, alone.nulls["stopping_rule"].improvement_bps)
