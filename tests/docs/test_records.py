"""The numbers in the documentation are those of the recorded benchmarks."""

import json

import pytest

from benchmarks.ablation import markdown as ablation_table
from benchmarks.encoders import table as encoder_table
from benchmarks.martingale_optimum import table as optimum_table
from benchmarks.paper import MARKETS as PAPER_MARKETS
from benchmarks.paper_table import TABLES as PAPER_TABLES
from benchmarks.paper_table import shares, shares_line
from benchmarks.records import read_market_record
from benchmarks.speed_table import TABLES, cuda_table, scaling_table
from benchmarks.zoo import Plan
from benchmarks.zoo_table import (
    attribution_table,
    capacity_table,
    headline_table,
    improvement_table,
    tracking_table,
    zoo_models,
)
from lem_models.hub.models.registry import bundled_folder, weights_hash
from tests.docs.pages import ROOT

RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
SPEED = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
MARKETS = list(Plan.of().markets)


def read_record(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("table", [improvement_table, attribution_table, tracking_table])
def test_the_tables_of_a_market_are_those_of_its_recorded_run(table, market):
    assert table(read_record(market)) in RESULTS


def test_the_headlines_in_readme_and_results_are_those_of_the_recorded_runs():
    records = [read_market_record(ROOT / "benchmarks" / "results" / f"{market}.json") for market in MARKETS]
    table = headline_table(records, zoo_models(records))
    assert table in RESULTS
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_capacity_table_is_that_of_the_recorded_runs():
    assert capacity_table([read_record(market) for market in MARKETS]) in RESULTS


@pytest.mark.parametrize("market", MARKETS)
def test_a_recorded_run_is_of_the_whole_test_period_and_of_the_bundled_weights(market):
    record, plan = read_record(market), Plan.of().market(market)
    assert record["split"] == "test"
    assert record["period"]["start"][:10] == str(plan.test_start)
    command = f"python benchmarks/zoo.py --market {market} --data FOLDER"
    assert record["command"] == command + (" --limit 20000 --null 5" if record["reduced"] else "")
    assert not record["reduced"] or "reduced" in RESULTS
    for name in (record["model"], record["base"]):
        assert record["weights"][name] == weights_hash(bundled_folder(name))


def test_the_table_of_choices_is_that_of_the_recorded_rows():
    assert ablation_table(read_record("ablation")["rows"]) in RESULTS


@pytest.mark.parametrize(
    ("record", "table"), [*(("speed", table) for table in TABLES.values()), ("scaling", scaling_table)]
)
def test_the_tables_of_speed_are_those_of_the_recorded_runs(record, table):
    recorded = read_record(record)
    assert table(recorded) in SPEED


def test_every_table_of_speed_is_of_a_recorded_run():
    printed = [table(read_record("speed")) for table in TABLES.values()] + [scaling_table(read_record("scaling"))]
    if (ROOT / "benchmarks" / "results" / "cuda.json").exists():  # where a CUDA device was at hand
        printed.append(cuda_table(read_record("cuda")))
    on_page = [block for block in SPEED.split("\n\n") if block.startswith("|")]
    assert sorted(on_page) == sorted(printed)


@pytest.mark.parametrize(("record", "table"), [("martingale_optimum", optimum_table), ("encoders", encoder_table)])
def test_the_tables_of_theory_and_ablation_are_those_of_the_recorded_runs(record, table):
    recorded = read_record(record)
    rows = recorded["rows"] if isinstance(recorded, dict) else recorded
    assert table(rows) in RESULTS


def test_the_optimum_is_reached_and_not_beaten():
    rows = read_record("martingale_optimum")
    for row in rows:
        slack = 3 * row["standard_error"]
        assert row["improvement"] < row["optimum"] + slack, row
        if row["policy"] in ("longstaff_schwartz", "flexible head"):
            assert row["improvement"] > 0.97 * row["optimum"] - slack, row


def test_the_tables_of_the_paper_are_those_of_the_recorded_run():
    markets = read_record("paper")["markets"]
    printed = [
        table(content, market)
        for market, content in markets.items()
        for name, table in PAPER_TABLES.items()
        if name not in ("kinds", "shares")
    ]
    on_page = [block for block in PAPER.split("\n\n") if block.startswith("|")]
    assert sorted(on_page[1:]) == sorted(printed)  # the first compares the trainings, in words
    for market, content in markets.items():
        assert shares_line(content, market) in " ".join(PAPER.split())
        assert f"{content['orders']:,} orders" in PAPER
        assert content["weights"][content["model"]][:12] in PAPER


def test_the_record_of_the_paper_is_of_the_test_periods_and_its_parts_are_the_whole():
    record = read_record("paper")
    assert record["split"] == "test"
    assert record["command"] in PAPER
    for market in PAPER_MARKETS.values():
        content = record["markets"][market.name]
        assert content["period"]["start"][:10] == str(market.test_start)
        for row in content["decomposition"]:
            assert row["published_bps"] == pytest.approx(
                row["lookahead_bps"] + row["option_bps"] + row["above_bps"], abs=0.01
            )
        assert sum(shares(content, 1).values()) == pytest.approx(100, abs=0.1)
