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
from lem_models.execution.costs import CostModel
from lem_models.report.benchmark_report import write_benchmark
from lem_models.statistics.accuracy_tests import holm
from lem_models.statistics.null_draws import NullDraws


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
    split = run.splits(["min_periods"])
    assert split["real_vol"].to_numpy() == pytest.approx((split["option_vol"] + split["forecast_vol"]).to_numpy())
    # A stopping rule earns the value of its option on a martingale too: there is no forecast in a synthetic market.
    flexible = split[split["min_periods"] == 1].iloc[0]
    assert flexible["option_vol"] > 0.1
    assert flexible["forecast_low_vol"] < 0 < flexible["forecast_high_vol"]


def test_a_run_keeps_of_each_null_what_the_split_needs(run):
    (draws,) = run.nulls.values()
    assert isinstance(draws, NullDraws)
    assert draws.order_id.tolist() == run.orders["stopping_rule"]["order_id"].tolist()
    assert draws.improvement_bps.shape == (2, 900)
    assert np.abs(np.subtract(*draws.improvement_bps)).mean() > 1.0  # every draw is another market
    assert BenchmarkSettings().null == 20


def test_baselines_that_forecast_nothing_have_no_forecast_value():
    """Neither on a market that has none, where what they gain is the value of the option, nor against the TWAP."""
    bars = synthetic_bars(symbols=3, days=60, seed=5)
    policies = {name: load_policy(name) for name in ("stopping_rule", "twap")}
    settings = BenchmarkSettings(min_periods=(1, 12), benchmark=("vwap", "twap"), limit=1200, null=6, null_of="all")
    run = run_benchmark(policies, bars, settings)
    splits = run.splits(["benchmark", "min_periods"])
    assert splits["policy"].unique().tolist() == ["stopping_rule", "twap"]
    assert ((splits["forecast_low_vol"] <= 1e-9) & (splits["forecast_high_vol"] >= -1e-9)).all()
    twap = splits[(splits["policy"] == "twap") & (splits["benchmark"] == "twap")]
    assert np.abs(twap[["option_bps", "forecast_bps"]].to_numpy()).max() < 1e-9


def test_without_a_null_there_is_no_split():
    run = run_benchmark({"twap": load_policy("twap")}, synthetic_bars(symbols=1, days=20), BenchmarkSettings(null=0))
    assert run.nulls == {}
    assert run.splits(["side"]) is None
    assert run.differences(["side"]).empty


def test_differences_are_corrected_for_every_row_of_their_table(run):
    table = run.differences(["benchmark", "min_periods"])
    assert len(table) == 2 * 2 * 2
    for unit in ("bps", "vol"):
        np.testing.assert_allclose(table[f"p_holm_{unit}"], holm(table[f"p_value_{unit}"]))
    # Of a fixed duration the stopping rule is the TWAP: no difference, no test.
    assert table["p_value_vol"].isna().tolist() == ((table["policy"] == "twap") & (table["min_periods"] == 12)).tolist()
    assert table["p_holm_vol"].min() == pytest.approx(6 * table["p_value_vol"].min())
    same = table[table["p_value_vol"].isna()]["verdict"].unique()
    assert same.tolist() == ["no measurable difference of the means, at equal or lower risk"]


def test_tracking_is_measured_on_the_orders_that_cannot_end_early(run):
    table = run.tracking(["benchmark", "target"])
    fixed = run.orders["twap"].query("min_periods == 12")
    counts = fixed.groupby(["benchmark", "target"]).size().to_dict()
    assert table.groupby(["benchmark", "target"], observed=True)["orders"].max().to_dict() == counts
    assert set(table["against"]) == {"twap", "volume_curve"}
    same = table[(table["policy"] == "stopping_rule") & (table["against"] == "twap") & (table["benchmark"] == "vwap")]
    assert same["ratio"].dropna().to_numpy() == pytest.approx(np.ones(12))  # the stopping rule is then the TWAP
    without = replace(run, results={name: result for name, result in run.results.items() if name != "twap"})
    assert set(without.tracking(["benchmark"])["against"]) == {"volume_curve"}


def test_policies_are_broken_down_by_keys_and_side(run):
    for key in run.settings.by:
        table = run.breakdown(key)
        assert list(table.columns[:3]) == ["policy", key, "side"]
        assert table["orders"].sum() == sum(len(orders) for orders in run.main().values())
        assert set(table["policy"]) == set(run.results)
    assert run.breakdown("side")["side"].tolist() == ["buy", "sell"] * 3
    assert run.breakdown("volatility")["volatility"].unique().tolist() == ["low", "middle", "high"]
    with pytest.raises(ConfigError, match=r"by: .*'hours' is not a key"):
        BenchmarkSettings(by=("symbol", "hours"))


def test_costs_show_in_net_numbers_and_leave_the_others_alone(run):
    settings = run.settings.model_copy(update={"costs": CostModel(half_spread_bps=1.0, fee_bps=0.5), "null": 1})
    policies = {name: load_policy(name) for name in ("stopping_rule", "twap", "volume_curve")}
    costly = run_benchmark(policies, run.bars, settings)
    table, free = costly.comparison(["min_periods"]), run.comparison(["min_periods"])
    np.testing.assert_allclose(table["mean_bps"], free["mean_bps"])
    np.testing.assert_allclose(table["cost_bps"], 1.5, rtol=1e-3)
    np.testing.assert_allclose(table["net_bps"], table["mean_bps"] - 1.5, atol=0.02)
    np.testing.assert_allclose(free["net_bps"], free["mean_bps"], atol=1e-9)


def test_intervals_know_when_orders_end(run):
    for orders in run.orders.values():
        assert (orders["end"] - orders["start"] == pd.Timedelta("12h")).all()


def test_the_twap_policy_has_no_slippage_against_the_twap(run):
    orders = run.results["twap"].orders
    against_twap = orders[(orders["benchmark"] == "twap") & (orders["target"] == "quantity")]
    assert len(against_twap) > 100
    assert np.abs(against_twap["slippage_bps"]).max() < 1e-9


@pytest.mark.usefixtures("quick_pictures")
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


def test_the_null_is_drawn_for_the_policies_that_are_named():
    bars = synthetic_bars(symbols=1, days=30, seed=3)
    policies = {name: load_policy(name) for name in ("stopping_rule", "twap", "volume_curve")}
    settings = BenchmarkSettings(min_periods=(1,), limit=40, null=1, null_of=("volume_curve", "stopping_rule"))
    assert set(run_benchmark(policies, bars, settings).nulls) == {"volume_curve", "stopping_rule"}
    with pytest.raises(
        ConfigError, match="null_of names 'kalman_volume', which is not one of the policies stopping_rule"
    ):
        run_benchmark(policies, bars, settings.model_copy(update={"null_of": ("kalman_volume",)}))
