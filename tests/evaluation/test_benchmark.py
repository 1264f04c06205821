"""The benchmark runs every policy on the same orders and writes what it found."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from lem_models import load_policy, synthetic_bars
from lem_models.errors import ConfigError, OrderError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.benchmark_report import write_benchmark


@pytest.fixture(scope="module")
def run():
    bars = synthetic_bars(symbols=3, days=40, seed=2)
    policies = {name: load_policy(name) for name in ("stopping_rule", "twap", "volume_curve")}
    settings = BenchmarkSettings(
        min_periods=(1, 12), benchmark=("vwap", "twap"), target=("quantity", "notional"), limit=900, null=2
    )
    return run_benchmark(policies, bars, settings)


def test_every_policy_ran_the_same_orders(run):
    ids = [result.orders["order_id"].tolist() for result in run.results.values()]
    assert ids[0] == ids[1] == ids[2]
    assert len(ids[0]) == 900


def test_the_summary_is_by_minimum_side_benchmark_and_target(run):
    table = run.comparison(["benchmark", "target", "min_periods", "side"])
    assert len(table) == 3 * 2 * 2 * 2 * 2
    assert table["orders"].sum() == 3 * 900
    assert (table["low_bps"] <= table["mean_bps"]).all()
    assert (table["mean_bps"] <= table["high_bps"]).all()


def test_real_is_option_plus_forecast(run):
    split = run.split(["min_periods"])
    assert split["real_vol"].to_numpy() == pytest.approx((split["option_vol"] + split["forecast_vol"]).to_numpy())
    # A stopping rule earns the value of its option on a martingale too: there is no forecast in a synthetic market.
    flexible = split[split["min_periods"] == 1].iloc[0]
    assert flexible["option_vol"] > 0.1
    assert flexible["forecast_low_vol"] < 0 < flexible["forecast_high_vol"]


def test_the_twap_policy_has_no_slippage_against_the_twap(run):
    orders = run.results["twap"].orders
    against_twap = orders[(orders["benchmark"] == "twap") & (orders["target"] == "quantity")]
    assert len(against_twap) > 100
    assert np.abs(against_twap["slippage_bps"]).max() < 1e-9


def test_a_run_is_written_as_report_tables_and_figures(run, tmp_path):
    path = write_benchmark(run, tmp_path / "out", command="lem benchmark --data <bars>")
    html = path.read_text(encoding="utf-8")
    assert "stopping_rule" in html
    assert "lem benchmark --data &lt;bars&gt;" in html
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["data"]["content_hash"] == run.bars.content_hash
    assert len(summary["by_side"]) == len(pd.read_csv(tmp_path / "out" / "summary.csv"))
    for name in ("improvement_by_minimum", "frontier", "distribution", "duration", "execution"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_durations_that_do_not_fit_are_refused_and_not_cut():
    bars = synthetic_bars(symbols=1, days=20, seed=2)
    with pytest.raises(OrderError, match="min_periods 12 exceeds max_periods 4"):
        run_benchmark({"twap": load_policy("twap")}, bars, BenchmarkSettings(max_periods=4, null=0))
    short = load_policy("twap")
    short.horizon = 6
    with pytest.raises(OrderError, match="horizon of short is 6"):
        run_benchmark({"short": short}, bars, BenchmarkSettings(null=0))


def test_orders_in_days_seen_in_training_are_counted():
    bars = synthetic_bars(symbols=1, days=20, seed=2)
    model = load_policy("lem-crypto-hourly")
    run = run_benchmark({"model": model}, bars, BenchmarkSettings(null=0, limit=50))
    assert run.seen_percent == 0.0  # the synthetic market is of 2024, which the model never saw
    assert replace(run, unseen_from=date(2030, 1, 1)).seen_percent == 100.0


def test_bad_settings_are_a_typed_error():
    with pytest.raises(ConfigError, match="limit"):
        BenchmarkSettings(limit=-3)
