"""Tables on paper: which numbers stand where."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lem_models.report.numbers import p_text
from lem_models.report.policy_tables import (
    attribution_table,
    breakdown_table,
    cost_table,
    difference_table,
    main_table,
    reference_price_table,
    statistics_table,
)
from lem_models.report.tables import Table
from lem_models.statistics.summary import compare, null_split, paired_difference
from tests.evaluation.tables import orders_table

NAMES = ("model", "twap", "volume_curve", "stopping_rule", "kalman_volume")


@pytest.fixture(scope="module")
def results() -> dict[str, pd.DataFrame]:
    return {name: orders_table(seed, 5.0 * seed) for seed, name in enumerate(NAMES)}


def labels(table: Table) -> list[str]:
    return [f"{column.group}: {column.label}" if column.group else column.label for column in table.columns]


def sources(table: Table) -> list[str]:
    return [name for column in table.columns for name in column.sources]


def mean_by(orders: pd.DataFrame, *keys: str) -> dict[object, float]:
    return (-orders["slippage_bps"]).groupby([orders[key] for key in keys]).mean().to_dict()


def test_main_table_has_both_sides_together_and_each_beside(results):
    table = main_table(
        compare(results, "min_periods", draws=50),
        compare(results, ["min_periods", "side"], draws=50),
        ["min_periods"],
        model="model",
    )
    assert labels(table)[:10] == [
        "policy",
        "orders",
        "both sides, bps: mean",
        "both sides, bps: 95 % interval",
        "both sides, bps: std",
        "both sides, bps: better",
        "buy, bps: mean",
        "buy, bps: 95 % interval",
        "sell, bps: mean",
        "sell, bps: 95 % interval",
    ]
    assert table.frame["policy"].tolist() == list(NAMES) * 3  # the policies beneath each minimum duration
    for row in table.frame.to_dict("records"):
        orders = results[row["policy"]]
        assert row["mean_bps"] == pytest.approx(mean_by(orders, "min_periods")[row["min_periods"]])
        for side in ("buy", "sell"):
            expected = mean_by(orders, "min_periods", "side")[row["min_periods"], side]
            assert row[f"{side}_mean_bps"] == pytest.approx(expected)
            assert row[f"{side}_low_bps"] < expected < row[f"{side}_high_bps"]


def test_of_one_side_there_is_nothing_to_tell_apart(results):
    sold = {name: orders[orders["side"] == "sell"] for name, orders in results.items()}
    table = main_table(compare(sold, "min_periods", draws=50), compare(sold, ["min_periods", "side"], draws=50))
    assert "sell orders, bps: mean" in labels(table)
    assert "sell_mean_bps" not in table.frame
    assert not [label for label in labels(table) if label.startswith(("both", "buy"))]


def test_differences_show_both_p_values(results):
    differences = paired_difference(results["stopping_rule"], results["twap"], "min_periods", draws=50)
    table = difference_table(differences.assign(policy="twap"), ["min_periods"], model="stopping_rule")
    for unit, group in (("bps", "difference, bps"), ("vol", "difference, bar volatilities")):
        own = [column for column in table.columns if column.group == group]
        assert [column.source for column in own] == [  # the test beside a mean is of the same unit
            f"mean_{unit}",
            (f"low_{unit}", f"high_{unit}"),
            f"p_value_{unit}",
            f"p_holm_{unit}",
        ]
    assert p_text(float("nan")) == "\u2013"


def test_costs_are_shown_gross_and_net_and_by_side(results):
    costly = {
        name: orders.assign(cost_bps=2.5, net_slippage_bps=orders["slippage_bps"] + 2.5)
        for name, orders in results.items()
    }
    table = cost_table(
        compare(costly, "min_periods", draws=50), compare(costly, ["min_periods", "side"], draws=50), ["min_periods"]
    )
    frame = table.frame
    np.testing.assert_allclose(frame["cost_bps"], 2.5)
    np.testing.assert_allclose(frame["net_bps"], frame["mean_bps"] - 2.5)
    for row in frame.to_dict("records"):
        gross = mean_by(costly[row["policy"]], "min_periods", "side")
        assert row["buy_net_bps"] == pytest.approx(gross[row["min_periods"], "buy"] - 2.5)
        assert row["sell_net_bps"] == pytest.approx(gross[row["min_periods"], "sell"] - 2.5)
    assert {"buy_net_bps", "buy_net_low_bps", "sell_net_high_bps", "net_low_bps"} <= set(sources(table))


def test_benchmarks_that_no_order_has_are_left_out(results):
    priced = {
        name: orders.assign(executed_price=100.0, interval_vwap=101.0, interval_twap=99.0, pwp_price=np.nan)
        for name, orders in results.items()
    }
    table = reference_price_table(compare(priced, "side", draws=50), ["side"])
    assert [column.label for column in table.columns if column.group == "other benchmarks, mean, bps"] == [
        "interval VWAP",
        "interval TWAP",
    ]
    buys = table.frame[table.frame["side"] == "buy"]
    np.testing.assert_allclose(buys["interval_vwap_bps"], (1 - 100 / 101) * 1e4)  # bought below the VWAP


def test_breakdowns_show_the_model_in_full_and_of_three_others_the_means(results):
    table = breakdown_table(compare(results, ["symbol", "side"], draws=50), "symbol", model="model")
    assert table.collapsed
    assert len(table.frame) == 2
    group = "others, buy / sell, bps"
    others = [column for column in table.columns if column.group == group]
    assert [column.label for column in others] == ["twap", "volume curve", "stopping rule"]
    for row in table.frame.to_dict("records"):
        for name, column in zip(("twap", "volume_curve", "stopping_rule"), others, strict=True):
            expected = mean_by(results[name], "symbol", "side")
            assert [row[source] for source in column.sources] == pytest.approx(
                [expected[row["symbol"], side] for side in ("buy", "sell")]
            )


def test_the_null_is_shown_for_every_policy_that_it_was_drawn_for(results):
    splits = [
        null_split(results[name], [results["twap"]], "min_periods", draws=50).assign(policy=name)
        for name in ("model", "stopping_rule")
    ]
    table = attribution_table(pd.concat(splits, ignore_index=True), None, ["min_periods"], model="model")
    assert table.frame["policy"].tolist() == ["model", "stopping_rule"] * 3
    assert table.emphasis == {"model": "strong"}
    alone = attribution_table(splits[0], None, ["min_periods"])
    assert labels(alone)[:2] == ["minimum duration", "orders"]


def test_of_one_policy_the_groups_are_the_rows(results):
    table = statistics_table(compare({"model": results["model"]}, "symbol", draws=50), ["symbol"])
    assert labels(table)[:2] == ["symbol", "orders"]
    assert not table.grouped
