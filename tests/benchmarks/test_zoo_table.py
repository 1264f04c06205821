"""The tables of a market record have its numbers."""

import json

import pytest

from benchmarks.records import read_market_record
from benchmarks.zoo_table import (
    attribution_table,
    capacity_table,
    headline_table,
    improvement_table,
    prices_table,
    tracking_table,
    zoo_models,
)
from lem_models.report.markdown import markdown_table
from tests.benchmarks.script import FOLDER

RECORD = read_market_record(FOLDER / "results" / "crypto-hourly.json")


def shown(row, *names, form=".3f"):
    mean, low, high = (row[name] for name in names)
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]".replace("-", "−")


@pytest.fixture
def record():
    return json.loads(json.dumps(RECORD.content))


def rows(record, table, **keys):
    found = [row for row in record["runs"][0][table] if all(row[key] == value for key, value in keys.items())]
    assert found
    return found


def test_a_model_has_a_headline_at_the_shortest_minimum():
    (model, base) = zoo_models([RECORD])
    lines = headline_table([RECORD], [model, base]).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [f"`{model}`", f"`{base}`"]
    keys = {"policy": model, "min_periods": 1, "size": 0.01, "against": "full_vwap"}
    (row,) = rows(RECORD.content, "capacity", **keys)
    gross = shown(row, "gross_bps", "gross_low_bps", "gross_high_bps", form="+.1f")
    assert f"{gross} → {shown(row, 'net_bps', 'low_bps', 'high_bps', form='+.1f')}" in lines[2]
    assert shown(row, "difference_bps", "difference_low_bps", "difference_high_bps", form="+.1f") in lines[2]


def test_prices_are_of_every_minimum_that_has_a_curve(record):
    run = RECORD.runs[0]
    table = markdown_table(prices_table(run, [record["model"], "twap"]))
    assert len(table.splitlines()) == 2 + 3 * 2
    for row in rows(record, "capacity", policy=record["model"], size=0.01):
        assert shown(row, "net_bps", "low_bps", "high_bps", form="+.1f") in table


def test_the_capacity_table_has_every_policy_and_size(record):
    lines = capacity_table([record]).splitlines()
    (row,) = rows(record, "capacity", policy="stopping_rule", size=0.1, against="full_vwap", min_periods=1)
    (line,) = [line for line in lines if "| stopping_rule |" in line]
    assert f"{row['net_bps']:+.1f}".replace("-", "−") in line
    assert len(lines) == 2 + len({row["policy"] for row in record["runs"][0]["capacity"]})


def test_improvement_is_that_against_the_own_benchmark(record):
    table = improvement_table(record)
    for row in rows(record, "comparison", policy="twap", assets="all"):
        assert f"{row['mean_vol']:.3f} ± {row['std_vol']:.3f}".replace("-", "−") in table


def test_attribution_is_of_models_and_placebos(record):
    table = attribution_table(record)
    for policy in (record["model"], record["base"], "stopping_rule", "longstaff_schwartz"):
        for row in rows(record, "null", policy=policy):
            assert shown(row, "above_vol", "above_low_vol", "above_high_vol") in table
    for row in rows(record, "information", policy=record["model"]):
        assert shown(row, "information_vol", "information_low_vol", "information_high_vol") in table
        assert shown(row, "beyond_control_vol", "beyond_control_low_vol", "beyond_control_high_vol") in table
    for row in rows(record, "placebos"):
        assert shown(row, "mean_vol", "low_vol", "high_vol") in table
    assert "| kalman_volume |" not in table


def test_tracking_is_beside_twap_and_the_volume_curve(record):
    table = tracking_table(record)
    for row in rows(record, "tracking_errors", policy=record["model"], measure="median_abs"):
        assert f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]" in table
