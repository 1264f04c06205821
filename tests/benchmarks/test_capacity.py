"""The capacity benchmark: every start both ways, and a table of what was measured."""

import json

import pytest

from benchmarks.capacity import SIZES, measure, paired_orders, table
from benchmarks.records import record_text
from lem_models import load_policy, synthetic_bars
from lem_models.execution.costs import cost_model

BARS = synthetic_bars(symbols=2, days=40, seed=2)


@pytest.fixture(scope="module")
def orders():
    return paired_orders(BARS, "2024-01-20", 60, 6)


@pytest.fixture(scope="module")
def record(orders):
    policies = {name: load_policy(name) for name in ("stopping_rule", "twap")}
    return {"markets": {"synthetic": measure(policies, BARS, orders, "crypto", bootstrap=100)}}


def test_every_start_is_bought_and_sold(orders):
    assert len(orders) == 120
    sides = orders.groupby(["symbol", "start"])["side"].agg(lambda side: tuple(sorted(side)))
    assert set(sides) == {("buy", "sell")}
    assert orders["start"].min().strftime("%Y-%m-%d") >= "2024-01-20"


def test_what_is_measured(record):
    market = record["markets"]["synthetic"]
    assert market["orders"] == 120
    assert market["cost_model"]["fee_bps"] == cost_model("crypto").fee_bps
    curve = market["curve"]
    assert sorted(curve["size"].unique()) == list(SIZES)
    # Buys and sells of the same starts: what the market does cancels for a policy that does not look at prices.
    twap = curve[(curve["policy"] == "twap") & (curve["against"] == "arrival")]
    assert twap["gross_bps"].abs().max() < 1e-6


def test_the_table_is_that_of_the_record(record):
    recorded = json.loads(record_text(record))
    lines = table(recorded).splitlines()
    assert len(lines) == 2 + 2
    curve = record["markets"]["synthetic"]["curve"]
    rows = curve[(curve["policy"] == "stopping_rule") & (curve["against"] == "full_vwap")]
    cells = [cell.strip().replace("\u2212", "-") for cell in lines[2].strip("|").split("|")]
    assert cells[:2] == ["synthetic", "stopping_rule"]
    assert [float(cell) for cell in cells[2:8]] == [round(v, 1) for v in (rows["gross_bps"].iloc[0], *rows["net_bps"])]
    assert cells[8].startswith(f"{rows['difference_bps'].iloc[2]:+.1f} [")
    assert (
        cells[11]
        == f"{rows['participation_percent'].iloc[2]:.1f} % ({rows['largest_participation_percent'].iloc[2]:.0f} %)"
    )
