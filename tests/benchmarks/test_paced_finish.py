"""A finish that is spread over more bars trades the same, later."""

import pytest
import torch

from benchmarks.paced_finish import spread_changes, spread_finish
from lem_models import CostModel, LEMModel, Order, synthetic_bars
from tests.benchmarks.script import run_script
from tests.helpers import random_model, tiny_config

COSTS = CostModel(half_spread_bps=1, fee_bps=2, impact=0.8)


def test_the_rest_is_traded_in_equal_parts():
    fills = torch.tensor([[0.25, 0.75, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]])
    spread = spread_finish(fills, torch.tensor([1, 2]), 2)
    torch.testing.assert_close(spread[0], torch.tensor([0.25, 0.375, 0.375, 0.0]))
    assert spread[1].tolist() == pytest.approx([0.1, 0.2, 0.15, 0.15])
    torch.testing.assert_close(spread_finish(fills, torch.tensor([1, 3]), 1), fills)


def test_larger_orders_gain_more_by_it():
    bars = synthetic_bars(symbols=2, days=60, seed=4)
    orders = Order.sample(bars, every=3, min_periods=1, max_periods=12, lookback=256, limit=400, seed=0)
    trained, untold = LEMModel.from_pretrained("lem-crypto-hourly"), random_model(tiny_config(horizon=12))
    small = spread_changes(trained, bars, orders, COSTS.at(0.001), 2)
    assert small["orders"] > 50
    assert 0 < small["rest"] < 1
    assert small["net"] < 0  # on a market of noise ending early is worth something
    # A model that reads no sizes ends alike at every size, and the rest in one bar has an impact.
    small, huge = (spread_changes(untold, bars, orders, COSTS.at(size), 2) for size in (0.001, 100.0))
    assert small["orders"] == huge["orders"] > 50
    assert small["net"] < huge["net"]
    assert huge["net"] > 0


def test_the_command_prints_a_row_for_each_size(tmp_path):
    synthetic_bars(symbols=2, days=60, seed=4, start="2023-08-01").write(tmp_path / "crypto_hourly.parquet")
    done = run_script(
        *("paced_finish.py", "--model", "lem-crypto-hourly", "--market", "crypto-hourly", "--data", tmp_path),
        *("--start", "2023-08-15", "--end", "2023-09-29", "--sizes", 0.01, "--limit", 200),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| 1% |") == 2
