"""The risk dial: points are what orders gained, dominance compares at equal or lower risk, the picture shows both."""

import argparse
import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import frontier as script
from benchmarks.frontier import ARRIVAL_RIVAL, DIAL, RIVAL, SCHEDULES, beside_curve, frontier
from benchmarks.records import record_text, write_record
from benchmarks.zoo import Plan
from lem_models import LEMConfig, LEMModel, Order, execute, synthetic_bars
from lem_models.errors import ConfigError
from lem_models.execution.costs import cost_model
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision
from lem_models.hub.models.zoo import list_models
from lem_models.report.dial.figure import risk_dial
from lem_models.report.figure_style import figure_to_png_bytes
from tests.helpers import random_model

SMALL = {"hidden_size": 8, "head_config": {"hidden_size": 8}}


@pytest.fixture(scope="module")
def model():
    return LEMModel.from_pretrained(list_models()[0])


@pytest.fixture(scope="module")
def bars():
    return synthetic_bars(symbols=2, days=60, seed=2, start="2023-10-20")


@pytest.fixture(scope="module")
def orders(bars):
    return Order.sample(bars, every=5, min_periods=[1], max_periods=12, limit=500)


@pytest.fixture(scope="module")
def tables(bars, orders, model):
    return frontier({"ours": model}, bars, orders, dial=(0.05, 2.0), rival_dial=(0.0,), bootstrap=200)


def test_the_dial_covers_the_range_that_models_are_trained_for():
    assert len(DIAL) == 8
    assert (DIAL[0], DIAL[-1]) == (0.05, 2.0)


def test_every_point_is_what_the_orders_gained(tables, bars, orders, model):
    points = tables["points"].set_index(["policy", "risk_aversion"])
    assert len(points) == 2 + 1 + 3
    for risk in (0.05, 2.0):
        found = execute(model, bars, orders.assign(risk_aversion=risk)).orders
        gained = -found["slippage_bps"] / found["volatility_bps"]
        row = points.loc[("ours", risk)]
        assert (row["mean_vol"], row["std_vol"]) == pytest.approx((gained.mean(), gained.std()))
        assert row["low_vol"] < row["mean_vol"] < row["high_vol"]
        assert row["std_low_vol"] < row["std_vol"] < row["std_high_vol"]


def test_a_bundled_model_trades_mean_for_risk(tables):
    bold, cautious = tables["points"].query("policy == 'ours'").sort_values("risk_aversion").itertuples()
    assert cautious.std_vol < 0.9 * bold.std_vol
    assert cautious.mean_vol < bold.mean_vol


def test_dominance_compares_with_the_point_at_or_just_below_the_rivals_risk(tables):
    points, table = tables["points"], tables["dominance"]
    own = points[points["policy"] == "ours"].set_index("risk_aversion")
    rivals = points[points["policy"] != "ours"]
    comparable = rivals[rivals["std_vol"] >= own["std_vol"].min()]
    assert len(comparable) >= 2
    assert table["policy"].tolist() == comparable["policy"].tolist()
    for row, rival in zip(table.itertuples(), comparable.itertuples(), strict=True):
        allowed = own[own["std_vol"] <= rival.std_vol]
        assert row.risk_aversion == allowed["std_vol"].idxmax()
        assert row.mean_vol == pytest.approx(own.loc[row.risk_aversion, "mean_vol"] - rival.mean_vol)
        assert row.std_ratio_vol <= 1
        clear = row.low_vol > 0 and row.p_holm_vol < 0.05
        assert row.dominates == (clear and row.std_ratio_high_vol <= 1)
        assert row.p_holm_vol >= row.p_value_vol
    twap = table.set_index("policy").loc["twap"]
    assert twap["dominates"]
    assert twap["verdict"] == "better at equal or lower risk"


def test_a_rival_with_less_risk_than_the_model_is_not_dominated(bars, orders):
    class Erratic(Policy):
        def decide(self, context, orders, state):
            return Decision(1.0, False)  # all in the first bar, against the benchmark of all periods

    fixed = orders.assign(min_periods=orders["max_periods"])
    found = frontier({"ours": Erratic()}, bars, fixed, dial=(1.0,), rival_dial=(0.0,), bootstrap=100)
    own = found["points"].query("policy == 'ours'")["std_vol"].item()
    assert own > found["points"].query("policy != 'ours'")["std_vol"].max()
    assert found["dominance"].empty


def test_a_table_puts_points_beside_the_curve_of_the_rival():
    curve = {"policy": RIVAL, "risk_aversion": [0.0, 1.0], "std_vol": [2.0, 1.0], "mean_vol": [0.4, 0.2]}
    own = {"policy": "ours", "risk_aversion": [0.1, 2.0], "std_vol": [1.5, 0.5], "mean_vol": [0.35, 0.1]}
    points = pd.concat([pd.DataFrame(each) for each in (curve, own)]).assign(min_periods=1, low_vol=0.0, high_vol=1.0)
    rows = beside_curve(points, "ours").frame
    assert rows["rival"].tolist() == ["0.300", "–"]  # nothing is said where the rival has no such risk
    assert rows["difference"].tolist() == ["+0.050", "–"]


def test_against_arrival_the_rival_is_almgren_chriss_and_what_sizes_cost_is_taken_off(bars, model):
    orders = Order.sample(bars, every=20, max_periods=12, benchmark="arrival", limit=200)
    dials = {"dial": (0.5,), "rival": ARRIVAL_RIVAL, "rival_dial": (SCHEDULES[0], SCHEDULES[-1]), "bootstrap": 100}
    gross = frontier({"ours": model}, bars, orders, **dials)["points"]
    net = frontier({"ours": model}, bars, orders, costs=cost_model("crypto").at(0.01), **dials)["points"]
    assert (net["mean_vol"] < gross["mean_vol"]).all()
    slow, fast = net.query("policy == @ARRIVAL_RIVAL")["std_vol"]
    assert fast < 0.6 * slow
    assert net.query("policy == 'twap'")["std_vol"].item() == pytest.approx(slow, rel=0.05)


def test_the_picture_has_a_panel_per_minimum_and_every_policy_in_its_legend(tables):
    points = pd.concat([tables["points"], tables["points"].assign(min_periods=3)])
    figure = risk_dial(points, ["ours"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["minimum 1", "minimum 3"]
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["ours", RIVAL, "stopping_rule", "twap", "volume_curve"]
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == ["λ 0.05", "λ 2"]  # Longstaff-Schwartz has one point here, and no curve
    assert figure_to_png_bytes(figure).startswith(b"\x89PNG")


def test_a_run_of_the_command_says_what_it_measured(tmp_path, bars, monkeypatch):
    monkeypatch.setattr(script.frontier, "__kwdefaults__", script.frontier.__kwdefaults__ | {"rival_dial": (0.0, 1.0)})
    bars.write(tmp_path / "crypto_hourly.parquet")
    random_model(LEMConfig(**SMALL, horizon=4)).save_pretrained(tmp_path / "ours")
    given = argparse.Namespace(model=[str(tmp_path / "ours")], market="crypto-hourly", data=tmp_path, seed=0, limit=150)
    given.benchmark, given.size = "vwap", None
    given.start, given.end, given.min_periods, given.max_periods = "2023-11-10", "2023-12-10", [1], 4
    record, _ = script.measure(given, Plan.of(), lambda _: None)
    text = record_text(record)
    assert str(tmp_path) not in text
    content = json.loads(text)
    assert (content["model"], content["split"], content["orders"]) == ("ours", "validation", 150)
    assert {row["policy"] for row in content["points"]} == {"ours", RIVAL, "stopping_rule", "twap", "volume_curve"}
    assert np.isfinite([row["std_vol"] for row in content["points"]]).all()
    table = script.shown(write_record(record, tmp_path / "frontier.json"))
    assert "crypto-hourly, `ours`, orders of up to 4 bars:" in table
    assert table.count("\n|") == 2 + len(DIAL)
    given.max_periods = 5
    with pytest.raises(ConfigError, match="the horizon of ours is 4 periods, not 5"):
        script.measure(given, Plan.of(), lambda _: None)
