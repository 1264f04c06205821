"""The evaluation of the zoo: what it compares, on which assets, over which period, and what it writes."""

import json
from dataclasses import replace
from datetime import date
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks import zoo
from benchmarks.looks import needed_bars, split_of
from benchmarks.records import record_text
from benchmarks.zoo import Plan, RunPlan, evaluate
from lem_models import LEMConfig, Order, execute, load_policy, synthetic_bars
from lem_models.baselines import list_policies
from lem_models.errors import ConfigError
from lem_models.evaluation.benchmark import BenchmarkSettings
from lem_models.execution.costs import cost_model
from lem_models.hub.models.registry import registry
from lem_models.hub.models.zoo import list_models
from lem_models.statistics.accuracy_tests import holm
from lem_models.statistics.summary import paired_difference
from lem_models.training.recipe import Recipe
from tests.helpers import random_model

SMALL = {"hidden_size": 8, "head_config": {"hidden_size": 8}}
UNSEEN = ["S001"]


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=3, days=45, seed=1, start="2023-11-01")


@pytest.fixture(scope="module")
def run(bars):
    """One run of two models and three rivals."""
    models = {f"model{seed}": random_model(LEMConfig(**SMALL), seed) for seed in range(2)}
    short = {"short": random_model(LEMConfig(**SMALL, horizon=6))}
    rivals = {name: load_policy(name) for name in ("twap", "volume_curve", "stopping_rule")}
    settings = BenchmarkSettings(
        every=5,
        min_periods=(1, 12),
        limit=1200,
        null=2,
        information=2,
        placebos=("stopping_rule",),
        bootstrap=200,
        costs=cost_model("crypto").at(0.01),
        sizes=zoo.SIZES,
    )
    return evaluate({**models, **short, **rivals}, [*models, "short"], bars, settings, UNSEEN)


# --- the plan --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan():
    return Plan.of()


def test_every_bundled_model_has_a_recipe_in_the_plan(plan):
    assert set(list_models()) <= set(plan.recipes)
    assert {plan.base, *(market.model for market in plan.markets.values())} == set(plan.recipes)


def test_no_recipe_reads_the_test_period_of_its_market(plan):
    for market in plan.markets.values():
        for model in (market.model, plan.base):
            for section in Recipe.read(zoo.ROOT / "recipes" / plan.recipes[model]).data:
                if section.path is not None and section.path.name == market.file:
                    assert section.validation_end <= market.test_start, (model, market.file)


@pytest.fixture
def invented(tmp_path, monkeypatch):
    """A base model of two markets and one that starts from it; X is held out of one market and used in the other."""
    dates = {"train_end": "2023-07-01", "validation_end": "2024-01-01"}
    stocks = {"path": "stocks.parquet", "held_out": ["X", "Y", "Z"], **dates}
    recipes = {
        "base": {"name": "base", "data": [stocks, {"path": "minutes.parquet", "held_out": ["Y"], **dates}]},
        "own": {"name": "own", "data": {**stocks, "held_out": ["X", "Y", "V"]}, "finetune": {"start": "base"}},
    }
    (tmp_path / "recipes").mkdir()
    for name, recipe in recipes.items():
        (tmp_path / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    synthetic_bars(symbols=("V", "W", "X", "Y", "Z"), days=2).write(tmp_path / "stocks.parquet")
    synthetic_bars(symbols=("X", "Y"), days=2).write(tmp_path / "minutes.parquet")
    monkeypatch.setattr(zoo, "ROOT", tmp_path)
    return Plan(base="base", recipes={name: f"{name}.yaml" for name in recipes}, markets={}), tmp_path


@pytest.mark.parametrize(
    ("models", "unseen"),
    [
        (["base"], ["Y", "Z"]),  # X is used in the other market
        (["own", "base"], ["Y"]),  # Z is used by the one that starts from it
        (["own"], ["Y"]),  # V was used by the model that it starts from
        (["another", "base"], ["Y", "Z"]),  # a model without a recipe says nothing
        (["another"], []),
    ],
)
def test_unseen_is_what_no_model_used_in_any_market(invented, models, unseen):
    plan, folder = invented
    assert plan.unseen(models, ["V", "W", "X", "Y", "Z"], folder) == unseen


def test_every_market_has_assets_that_the_base_never_saw(plan, shared_data, monkeypatch):
    monkeypatch.setattr(zoo.Bars, "read", lru_cache(zoo.Bars.read))  # the base's files are the same for every market
    for market in plan.markets.values():
        symbols = set(pq.read_table(shared_data / market.file, columns=["symbol"])["symbol"].unique().to_pylist())
        unseen = plan.unseen([plan.base], sorted(symbols), shared_data)
        assert 0 < len(unseen) < len(symbols), market.file


def test_minimum_durations_are_one_and_the_quarters():
    assert RunPlan(max_periods=12).min_periods == (1, 3, 6, 9, 12)
    assert RunPlan(max_periods=78).min_periods == (1, 20, 39, 58, 78)
    assert RunPlan(max_periods=1).min_periods == (1,)


def test_a_plan_that_is_wrong_is_refused_by_name(plan):
    zoo_registry = registry()
    market = replace(zoo_registry.markets["crypto-hourly"], test_orders=({"max_periods": 0},))
    with pytest.raises(ConfigError, match=r"zoo.yaml is refused: markets.'crypto-hourly'.runs.0.max_periods"):
        Plan.of(replace(zoo_registry, markets={"crypto-hourly": market}))
    with pytest.raises(ConfigError, match="there is no market 'gold'; there are crypto-hourly"):
        plan.market("gold")


# --- the period ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "split"),
    [
        (None, None, "test"),
        ("2024-02-01", "2024-03-01", "test"),
        ("2023-07-01", "2024-01-01", "validation"),
    ],
)
def test_a_period_is_one_of_test_or_of_validation(plan, start, end, split):
    assert plan.market("crypto-hourly").test_start == date(2024, 1, 1)
    assert split_of(plan.market("crypto-hourly").test_start, start, end) == split


@pytest.mark.parametrize(("start", "end"), [("2023-07-01", "2024-01-02"), ("2023-07-01", None)])
def test_a_period_of_both_is_refused(plan, start, end):
    with pytest.raises(ConfigError, match="holds days on both sides of 2024-01-01"):
        split_of(plan.market("crypto-hourly").test_start, start, end)


@pytest.mark.parametrize("session", [None, ("14:30", "21:00")])
def test_bars_before_the_history_of_the_first_orders_change_nothing(session):
    bars = synthetic_bars(symbols=2, days=150, seed=4, start="2023-10-01", session=session)
    part = needed_bars(bars, "2024-02-01", "2024-02-20")
    assert part.timestamp.min() > bars.timestamp.min()
    model, tables = random_model(LEMConfig(**SMALL)), []
    for market in (bars, part):
        orders = Order.sample(market, every=5, min_periods=(1, 6), max_periods=6, start="2024-02-01", end="2024-02-20")
        tables.append(execute(model, market, orders).orders)
    assert len(tables[0]) > 10
    pd.testing.assert_frame_equal(*tables)


# --- the tables ------------------------------------------------------------------------------------------------------


def test_every_policy_is_compared_on_all_seen_and_unseen_assets(run):
    table = run["comparison"]
    counts = table.groupby(["assets", "policy"])["orders"].sum().unstack("assets")
    assert set(counts.index) == {"model0", "model1", "twap", "volume_curve", "stopping_rule"}
    assert counts["all"].unique().tolist() == [run["orders"]] == [1200]
    assert (counts["seen"] + counts["unseen"] == counts["all"]).all()
    assert 300 < counts["unseen"].iloc[0] < 500  # one asset of three


def test_a_model_with_a_shorter_horizon_is_left_out_and_named(run, bars):
    assert run["left_out"] == ["short"]
    short = random_model(LEMConfig(**SMALL, horizon=6))
    with pytest.raises(ConfigError, match="no model has a horizon of 12 periods: short"):
        evaluate({"short": short, "twap": load_policy("twap")}, ["short"], bars, BenchmarkSettings(null=0), [])


def test_differences_are_those_of_the_means_and_corrected_per_model_and_assets(run):
    table, means = run["differences"], run["comparison"].set_index(["assets", "policy", "min_periods"])["mean_vol"]
    for row in table.itertuples():
        gap = means[row.assets, row.model, row.min_periods] - means[row.assets, row.policy, row.min_periods]
        assert row.mean_vol == pytest.approx(gap, abs=1e-9)
    assert set(table["model"]) == {"model0", "model1"}
    for _, group in table.groupby(["assets", "model"]):
        assert len(group) == 4 * 2
        assert group["p_holm_vol"].to_numpy() == pytest.approx(holm(group["p_value_vol"]))
    pairs = table.set_index(["assets", "model", "policy", "min_periods"])["mean_bps"].sort_index()
    there, back = pairs.loc["all", "model0", "model1"], pairs.loc["all", "model1", "model0"]
    assert there.to_numpy() == pytest.approx(-back.to_numpy())


def test_the_null_is_split_for_every_policy(run):
    table = run["null"]
    assert set(table["policy"]) == {"model0", "model1", "twap", "volume_curve", "stopping_rule"}
    assert len(table) == 5 * 2
    assert table["real_vol"].to_numpy() == pytest.approx((table["option_vol"] + table["above_vol"]).to_numpy())
    means = run["comparison"].set_index(["assets", "policy", "min_periods"])["mean_vol"]
    assert table["real_vol"].to_list() == pytest.approx(
        [means["all", r.policy, r.min_periods] for r in table.itertuples()]
    )


def test_information_is_of_the_models_and_placebos_of_the_first_one(run):
    information, placebos = run["information"], run["placebos"]
    assert set(information["policy"]) == {"model0", "model1"}
    assert len(information) == 2 * 2
    gap = information["real_vol"] - information["ablated_vol"]
    assert information["information_vol"].to_numpy() == pytest.approx(gap.to_numpy(), abs=1e-9)
    means = run["comparison"].set_index(["assets", "policy", "min_periods"])["mean_vol"]
    assert set(placebos["model"]) == {"model0"}
    for row in placebos.itertuples():
        expected = means[row.assets, "model0", row.min_periods] - means[row.assets, "stopping_rule", row.min_periods]
        assert row.mean_vol == pytest.approx(expected, abs=1e-9)


def test_tracking_is_the_ratio_at_the_fixed_duration(run):
    stds = run["comparison"].set_index(["assets", "policy", "min_periods"])["std_vol"]
    assert len(run["tracking"]) == 2 * 4 * 3
    for row in run["tracking"].itertuples():
        assert row.min_periods == run["max_periods"] == 12
        ratio = stds[row.assets, row.model, 12] / stds[row.assets, row.policy, 12]
        assert row.std_ratio_vol == pytest.approx(ratio)
        assert row.low < row.std_ratio_vol < row.high


def test_every_measure_of_the_errors_is_recorded_beside_twap_and_the_volume_curve(run):
    table, ratios = run["tracking_errors"], run["tracking"].query("policy == 'twap'")
    assert set(table["against"]) <= {"twap", "volume_curve"}
    std = table[(table["measure"] == "std") & (table["against"] == "twap")].set_index(["assets", "policy"])["ratio"]
    for row in ratios[ratios["assets"] == "all"].itertuples():
        assert std[row.assets, row.model] == pytest.approx(row.std_ratio_vol)
    assert set(table["assets"]) == {"all"}
    assert (table["min_periods"] == 12).all()


def test_the_capacity_is_of_the_same_fills_at_every_size(run):
    curve = run["capacity"]
    assert sorted(curve["size"].unique()) == list(zoo.SIZES)
    assert set(curve["min_periods"]) == {1, 12}
    means = run["comparison"].query("assets == 'all'").set_index(["policy", "min_periods"])["mean_bps"]
    own = curve[curve["against"] == "own"]
    assert own["gross_bps"].to_list() == pytest.approx([means[r.policy, r.min_periods] for r in own.itertuples()])
    # Buys and sells of the same starts: what the market does cancels for a policy that does not look at prices.
    twap = curve[(curve["policy"] == "twap") & (curve["against"] == "arrival")]
    assert twap["gross_bps"].abs().max() < 1e-6
    costs = curve[curve["policy"] == "stopping_rule"].groupby("size")["cost_bps"].mean()
    assert costs.is_monotonic_increasing


def test_the_unseen_rows_are_the_unseen_orders_alone(run, bars):
    settings = BenchmarkSettings(
        every=5, min_periods=(1, 12), limit=1200, null=0, information=0, placebos=(), bootstrap=200
    )
    model = {"model0": random_model(LEMConfig(**SMALL), 0), "twap": load_policy("twap")}
    found = zoo.run_benchmark(model, bars, settings).orders
    ours, theirs = (found[name][lambda o: o["symbol"].isin(UNSEEN)] for name in model)
    expected = paired_difference(ours, theirs, "min_periods", draws=200)
    table = run["differences"].query("assets == 'unseen' and model == 'model0' and policy == 'twap'")
    for column in ("orders", "mean_bps", "low_vol", "high_vol", "p_value_bps", "p_value_vol"):
        assert table[column].to_numpy() == pytest.approx(expected[column].to_numpy()), column


# --- the command -----------------------------------------------------------------------------------------------------


def arguments(*given):
    return zoo.parser().parse_args([str(part) for part in given])


@pytest.mark.usefixtures("quick_regressions")
def test_the_command_writes_a_record_from_a_folder_of_bars(tmp_path, bars, plan):
    bars.write(tmp_path / "crypto_hourly.parquet")
    random_model(LEMConfig(**SMALL, horizon=12)).save_pretrained(tmp_path / "mine")
    given = arguments(
        *("--market", "crypto-hourly", "--data", tmp_path, "--models", f"ours={tmp_path / 'mine'}"),
        *("--rivals", "twap", "stopping_rule", "--start", "2023-11-15", "--end", "2023-12-15"),
        *("--max-periods", 12, "--limit", 400, "--null", 1),
    )
    lines = []
    text = record_text(zoo.measure(given, plan, lines.append))
    record = json.loads(text)
    assert (record["model"], record["base"], record["split"]) == ("ours", None, "validation")
    assert record["data"] == {
        "file": "crypto_hourly.parquet",
        "content_hash": bars.content_hash,
        "symbols": ["S000", "S001", "S002"],
        "bars": len(bars),
        "frequency": "1h",
        "estimated_share": 0.0,
    }
    assert record["period"] == {"start": "2023-11-15T00:00:00+00:00", "end": "2023-12-15T00:00:00+00:00"}
    assert record["reduced"]
    assert record["cost_model"]["name"] == "crypto"
    (run,) = record["runs"]
    assert {row["policy"] for row in run["comparison"]} == {"ours", "twap", "stopping_rule"}
    assert {row["assets"] for row in run["comparison"]} == {"all"}  # nothing is known to be unseen
    assert str(tmp_path) not in text
    assert any("| stopping_rule |" in line for line in lines)


def test_the_rivals_are_every_policy_that_can_be_executed():
    assert arguments("--market", "m", "--data", "d").rivals == list_policies()


def test_a_record_has_a_line_per_row_six_digits_and_null_for_what_is_missing():
    table = pd.DataFrame({"policy": ["a", "b"], "mean": [1.23456789, np.nan]})
    text = record_text({"market": "m", "symbols": ["x", "y"], "runs": [{"orders": np.int64(3), "rows": table}]})
    assert json.loads(text)["runs"][0]["rows"] == [{"policy": "a", "mean": 1.23457}, {"policy": "b", "mean": None}]
    assert '    {"policy": "a", "mean": 1.23457},\n' in text
    assert ' "symbols": ["x", "y"],\n' in text
