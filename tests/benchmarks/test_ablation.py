"""The ablation table: rows measured on validation, seeds of one choice averaged, kept and replaced by label."""

import json
import sys

import numpy as np
import pytest

from benchmarks import ablation
from benchmarks.ablation import Study, ablation_rows, main, markdown, merged, sampled
from benchmarks.looks import split_of
from benchmarks.zoo import Plan
from lem_models import LEMConfig, execute, synthetic_bars
from lem_models.errors import ConfigError
from lem_models.statistics.summary import improvement
from lem_models.training.recipe import Recipe, shipped_recipe
from tests.helpers import random_model

SMALL = {"hidden_size": 8, "head_config": {"hidden_size": 8}}


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=2, days=50, seed=5, start="2023-11-01")


@pytest.fixture(scope="module")
def orders(bars):
    return sampled(bars, Plan.of().market("crypto-hourly"), "2023-11-15", "2023-12-20", 300, 0)


def test_orders_name_their_risk_aversion_so_that_models_cannot_differ_in_it(orders):
    fixed = orders["min_periods"] == orders["max_periods"]
    assert 0 < fixed.sum() < len(orders)
    assert set(orders.loc[fixed, "risk_aversion"]) == {2.0}
    assert set(orders.loc[~fixed, "risk_aversion"]) == {0.45}


def test_seeds_of_one_choice_are_averaged(bars, orders):
    models = [random_model(LEMConfig(**SMALL), seed) for seed in range(3)]
    labels = ["two seeds", "two seeds", "one"]
    both, one = ablation_rows(list(zip(labels, models, strict=True)), bars, orders)
    assert (both["what"], both["seeds"], one["what"], one["seeds"]) == ("two seeds", 2, "one", 1)
    means = []
    for model in models:
        found = execute(model, bars, orders).orders
        means.append(improvement(found[found["min_periods"] == 6], "vol").mean())
    assert both["mean_6"] == pytest.approx(np.mean(means[:2]))
    assert one["mean_6"] == pytest.approx(means[2])
    assert both["utility_between_seeds"] > 0
    assert one["utility_between_seeds"] is None


def test_a_new_row_takes_the_place_of_the_old_one():
    old = [{"what": "a", "market": "m", "utility": 1.0}, {"what": "a", "market": "n", "utility": 2.0}]
    rows = merged(old, [{"what": "a", "market": "m", "utility": 3.0}, {"what": "b", "market": "m", "utility": 4.0}])
    assert [(row["what"], row["market"], row["utility"]) for row in rows] == [
        ("a", "m", 3.0),
        ("a", "n", 2.0),
        ("b", "m", 4.0),
    ]


STUDY = """
recipe: scratch.yaml
market: crypto-hourly
start: 2023-11-15
end: 2023-12-20
seeds: [0, 1]
shared:
  data: &data {path: crypto_hourly.parquet, train_end: 2023-11-15, validation_end: 2023-12-20, skip_bars: 0,
    stretches: 2, orders_per_stretch: 4, stretch: 24, validation_batches: 1}
  model: {hidden_size: 8, warmup: 16, block: 16, attention_window: 8, head_config: {hidden_size: 8, layers: 2}}
  trainer: {steps: 2, steps_per_epoch: 1}
choices:
  the recipe: {}
  "no forecasts (volume)": {optimizer: {auxiliary_weight: 0.0}}
  two files: {data: [*data, *data]}
"""


def test_a_study_changes_one_choice_at_a_time(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    trainings = list(Study.read(tmp_path / "study.yaml").trainings())
    assert [(label, recipe.seed) for label, recipe in trainings][::3] == [("the recipe", 0), ("the recipe", 1)]
    (_, plain), (_, without), (_, two) = trainings[:3]
    assert plain.data[0].path.name == "crypto_hourly.parquet"
    assert plain.model.features == Recipe.read(shipped_recipe("scratch")).model.features
    assert (plain.optimizer.auxiliary_weight, without.optimizer.auxiliary_weight) == (0.1, 0.0)
    assert without.model_copy(update={"optimizer": plain.optimizer}) == plain
    assert two.data == (*plain.data, *plain.data)
    (tmp_path / "study.yaml").write_text(STUDY + "shaerd: {}\n")
    with pytest.raises(ConfigError, match="shaerd"):
        Study.read(tmp_path / "study.yaml")


def test_the_study_that_is_shipped_is_about_validation():
    study = Study.read(ablation.STUDY)
    assert split_of(Plan.of().market(study.market).test_start, str(study.start), str(study.end)) == "validation"
    assert all(market.validation_end <= study.end for _, recipe in study.trainings() for market in recipe.data)


def test_a_study_is_trained_measured_and_kept(tmp_path, bars, monkeypatch, capsys):
    bars.write(tmp_path / "crypto_hourly.parquet")
    (tmp_path / "study.yaml").write_text(
        STUDY.replace("[0, 1]", "[0]").replace("  two files: {data: [*data, *data]}\n", "")
    )
    command = [
        "--train",
        "--study",
        "study.yaml",
        "--data",
        ".",
        "--work",
        "runs",
        "--results",
        "rows.json",
        "--limit",
        "60",
    ]
    monkeypatch.setattr(sys, "argv", ["ablation.py", *command])
    monkeypatch.chdir(tmp_path)
    main()
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["what"] for row in rows] == ["the recipe", "no forecasts (volume)"]
    assert len({row["utility"] for row in rows}) > 1
    assert (tmp_path / "runs" / "no-forecasts-volume-0" / "model.safetensors").is_file()
    monkeypatch.setattr(ablation, "train", None)  # nothing is trained twice
    main()
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == rows


def test_the_table_has_a_dash_where_a_row_has_no_number():
    row = {"what": "GRU", "market": "m", "utility": 0.21, "mean_1": -0.25, "std_1": 0.5, "note": "at half the size"}
    assert markdown([row]).splitlines()[2] == "| m | GRU | 0.2100 | −0.250 ± 0.500 | – | – | 1 | at half the size |"


def test_the_command_keeps_rows_prints_them_and_refuses_the_test_period(tmp_path, bars, monkeypatch, capsys):
    bars.write(tmp_path / "crypto_hourly.parquet")
    random_model(LEMConfig(**SMALL)).save_pretrained(tmp_path / "run0")
    kept = tmp_path / "rows.json"

    def run(*settings):
        monkeypatch.setattr(sys, "argv", ["ablation.py", "--results", *map(str, (kept, *settings))])
        main()

    where = ("--models", tmp_path / "run0", "--market", "crypto-hourly", "--data", tmp_path, "--limit", 90)
    with pytest.raises(SystemExit):
        run(*where, "--start", "2024-01-05", "--end", "2024-02-01")
    assert "choices are made on validation" in capsys.readouterr().err
    assert not kept.exists()
    run(*where, "--start", "2023-11-15", "--end", "2023-12-20", "--labels", "plain")
    (row,) = json.loads(kept.read_text())["rows"]
    assert (row["what"], row["market"], row["orders"], row["seeds"]) == ("plain", "crypto-hourly", 90, 1)
    assert str(tmp_path) not in kept.read_text()
    measured = capsys.readouterr().out
    assert f"| crypto-hourly | plain | {row['utility']:.4f}".replace("-0.", "−0.") in measured
    run("--table")
    assert capsys.readouterr().out.strip() == measured[measured.index("| market") :].strip()
    with pytest.raises(SystemExit):
        run("--models", tmp_path / "run0")
    assert "or ask for the --table" in capsys.readouterr().err
