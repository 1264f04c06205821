"""lem compare: two policies or two results on the same orders."""

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from lem_models import synthetic_bars
from lem_models.cli.app import app
from lem_models.errors import ConfigError, OrderError
from lem_models.hub.models.registry import bundled_folder
from lem_models.statistics.dominance import paired_comparison

runner = CliRunner()


def compare(*arguments):
    return runner.invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Hourly bars, orders, and the results of two policies on them."""
    place = tmp_path_factory.mktemp("compare")
    bars = synthetic_bars(symbols=2, days=30, seed=4)
    bars.write(place / "bars.parquet")
    starts = [
        f"S00{number},2024-01-{day}T00:00Z,{side},2,6"
        for day in range(15, 27)
        for number in (0, 1)
        for side in ("buy", "sell")
    ]
    (place / "orders.csv").write_text("symbol,start,side,min_periods,max_periods\n" + "\n".join(starts))
    for name in ("twap", "stopping_rule"):
        options = ["--data", place / "bars.parquet", "--orders", place / "orders.csv", "--policy", name]
        done = runner.invoke(app, ["execute", *map(str, options), "--out", str(place / name)])
        assert done.exit_code == 0, done.output
    return place


def test_two_results_give_the_paired_comparison_of_their_orders(place):
    result = compare(place / "stopping_rule", place / "twap" / "orders.csv", "--by", "side", "--json")
    content = json.loads(result.stdout)
    tables = [pd.read_csv(place / name / "orders.csv", parse_dates=["start"]) for name in ("stopping_rule", "twap")]
    expected = paired_comparison(tables[0], {"orders.csv": tables[1]}, ["side"], draws=2000).iloc[0]
    row = content["differences"][0]
    assert [each["against"] for each in content["all"]] == ["own", "full_vwap", "arrival_price"]
    assert (content["a"], content["b"], content["orders"]) == ("stopping_rule", "orders.csv", 48)
    assert {row["side"] for row in content["differences"]} == {"buy", "sell"}
    for name in ("mean_bps", "low_bps", "high_bps", "p_value_vol"):
        assert row[name] == pytest.approx(expected[name])
    assert content["all"][0]["orders"] == 48
    assert content["verdict"] == content["all"][0]["verdict"]


def test_two_policies_run_on_the_same_orders_and_the_other_way_round_is_the_opposite(place):
    options = ["--data", place / "bars.parquet", "--max-periods", 6, "--limit", 200, "--json", "--quiet"]
    there, back = (
        json.loads(compare(*names, *options).stdout) for names in (("stopping_rule", "twap"), ("twap", "stopping_rule"))
    )
    assert there["orders"] == back["orders"] == 200
    for one, other in zip(there["differences"], back["differences"], strict=True):
        assert one["mean_bps"] == pytest.approx(-other["mean_bps"], abs=1e-9)
    assert {row["policy"] for row in there["policies"]} == {"stopping_rule", "twap"}


def test_without_bars_those_of_the_demo_are_taken_in_the_validation_period():
    result = compare("stopping_rule", "twap", "--limit", 300, "--max-periods", 6)
    assert result.exit_code == 0, result.output
    assert "real bars of `lem demo`" in result.stderr
    assert "orders from 2017-01-01 before 2019-01-01" in result.stderr
    assert "300 orders of 2 symbols, 2017-" in result.stdout


def test_models_are_compared_on_the_days_that_chose_them(tmp_path):
    """The bars reach from the training into the test period, of which no order is read."""
    bars = synthetic_bars(symbols=1, days=60, seed=1, start="2023-11-20")
    bars.write(tmp_path / "bars.parquet")
    options = ["--data", tmp_path / "bars.parquet", "--limit", 40, "--max-periods", 6, "--min-periods", "2", "--json"]
    result = compare("lem-crypto-hourly", "twap", *options)
    assert result.exit_code == 0, result.output
    assert "orders from 2023-07-01 before 2024-01-01" in result.stderr
    content = json.loads(result.stdout)
    assert content["last"] < "2024-01-01"
    asked = json.loads(
        compare("lem-crypto-hourly", "twap", *options, "--start", "2024-01-01", "--end", "2025-01-01").stdout
    )
    assert asked["first"] >= "2024-01-01"


def test_a_fine_tuned_model_meets_its_parent_on_its_own_days_of_validation(tmp_path):
    """The days of the parent lie before the bars: only those of the fine-tuned model count."""
    synthetic_bars(symbols=1, days=60, seed=1, start="2024-11-20").write(tmp_path / "bars.parquet")
    shutil.copytree(bundled_folder("lem-crypto-hourly"), tmp_path / "tuned")
    config = tmp_path / "tuned" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "unseen_from": {"1h": "2025-01-10"}}))
    data = {"train_end": "2024-12-20", "validation_end": "2025-01-10", "held_out": []}
    (tmp_path / "tuned" / "run.json").write_text(json.dumps({"recipe": {"data": [data]}}))
    options = ["--data", tmp_path / "bars.parquet", "--limit", 40, "--max-periods", 6, "--min-periods", "2", "--json"]
    result = compare(tmp_path / "tuned", "lem-crypto-hourly", *options)
    assert result.exit_code == 0, result.output
    assert "orders from 2024-12-20 before 2025-01-10" in result.stderr
    assert json.loads(result.stdout)["orders"] == 40


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("twap", "twap"), ConfigError, "compared with itself"),
        (("twap", "{place}/twap"), ConfigError, "twap is a result and twap is none"),
        (("{place}/twap", "{place}/stopping_rule", "--data", "bars.parquet"), ConfigError, "--data is for policies"),
        (("twap", "stopping_rule", "--tz", "UTC"), ConfigError, "--tz is for reading --data"),
        (("{place}/twap", "{place}/orders.csv"), OrderError, "holds no result: it lacks order_id"),
        (("{place}/twap", "missing.csv"), OrderError, "there is no file missing.csv"),
        (("twap", "stopping_rule", "--min-periods", "x"), ConfigError, "whole numbers"),
    ],
)
def test_refusals(place, arguments, error, message):
    result = compare(*(each.format(place=place) for each in arguments))
    assert type(result.exception) is error
    assert message in str(result.exception)


def test_results_of_different_orders_are_refused(place, tmp_path):
    table = pd.read_csv(place / "twap" / "orders.csv")
    table.iloc[1:].to_csv(tmp_path / "fewer.csv", index=False)
    result = compare(place / "twap", tmp_path / "fewer.csv")
    assert isinstance(result.exception, OrderError)
    assert "different orders" in str(result.exception)
