"""When one policy is ahead of another, and when it is better at equal or lower risk."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError
from lem_models.statistics.accuracy_tests import holm
from lem_models.statistics.dominance import MEANS, RISKS, judged, paired_comparison, verdict
from lem_models.statistics.summary import improvement, paired_difference
from lem_models.statistics.tracking import std_ratio
from tests.evaluation.tables import orders_table


def better(orders: pd.DataFrame, gain: float, factor: float = 1.0) -> pd.DataFrame:
    """The same orders with so many bps more, and their spread scaled."""
    return orders.assign(slippage_bps=factor * orders["slippage_bps"] - gain)


def rows(**values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({f"{name}_vol": value for name, value in values.items()})


def test_the_table_is_that_of_the_differences_and_of_the_ratios():
    a, others = orders_table(0, 5.0), {"calm": orders_table(1, 0.0), "wild": better(orders_table(2, 0.0), 0.0, 3.0)}
    table = paired_comparison(a, others, "min_periods", draws=100)
    assert table["policy"].tolist() == ["calm"] * 3 + ["wild"] * 3
    for name, other in others.items():
        own = table[table["policy"] == name].reset_index(drop=True)
        expected = paired_difference(a, other, "min_periods", draws=100)
        columns = [c for c in expected if not c.startswith("p_holm")]
        pd.testing.assert_frame_equal(own[columns], expected[columns])
        ratio = std_ratio(a, other, "min_periods", draws=100)
        assert own["std_ratio_vol"].to_numpy() == pytest.approx(ratio["ratio"].to_numpy())
        assert own["std_ratio_high_vol"].to_numpy() == pytest.approx(ratio["high"].to_numpy())
    for unit in ("bps", "vol"):  # the family is the whole table
        assert table[f"p_holm_{unit}"].to_numpy() == pytest.approx(holm(table[f"p_value_{unit}"]))


def test_better_needs_both_the_mean_and_the_risk():
    b = orders_table(3, 0.0)
    other = orders_table(9, 0.0)["slippage_bps"]
    policies = {
        "better at equal or lower risk": better(b, 5.0, 0.8),
        "higher mean at equal or higher risk": better(b, 10.0, 1.3),
        "no measurable difference of the means, at equal or lower risk": better(b, 0.0, 0.8),
        "worse at equal or higher risk": better(b, -10.0, 1.3),
        "higher mean, risk not shown to be equal or lower": b.assign(slippage_bps=other - 12.0),
    }
    for words, a in policies.items():
        (row,) = paired_comparison(a, {"rival": b}, draws=400).itertuples()
        assert row.verdict == words
        assert row.dominates == (words == "better at equal or lower risk")


def test_an_estimate_below_one_is_no_lower_risk():
    """The old rule called this a dominance: a mean above zero at a ratio below 1."""
    table = rows(low=[0.1], high=[0.3], p_holm=[0.001], std_ratio_low=[0.9], std_ratio_high=[1.01])
    (row,) = judged(table).itertuples()
    assert (row.mean_verdict, row.risk_verdict, row.dominates) == ("ahead", "unsettled", False)
    table["std_ratio_high_vol"] = 1.0
    assert judged(table)["dominates"].item()


@pytest.mark.parametrize(
    ("low", "high", "p", "outcome"),
    [
        (0.1, 0.3, 0.01, "ahead"),
        (0.1, 0.3, 0.06, "level"),  # the interval alone does not correct for the family
        (0.0, 0.3, 0.01, "level"),
        (-0.3, -0.1, 0.01, "behind"),
        (-0.3, 0.1, 0.01, "level"),
        (np.nan, np.nan, np.nan, "level"),
    ],
)
def test_ahead_needs_the_interval_and_the_adjusted_test(low, high, p, outcome):
    table = rows(low=[low], high=[high], p_holm=[p], std_ratio_low=[np.nan], std_ratio_high=[np.nan])
    (row,) = judged(table).itertuples()
    assert (row.mean_verdict, row.risk_verdict, row.dominates) == (outcome, "unsettled", False)


def test_many_comparisons_with_nothing_in_them_find_nothing():
    a = orders_table(4, 0.0)
    others = {str(seed): orders_table(seed, 0.0) for seed in range(5, 35)}
    table = paired_comparison(a, others, draws=200)
    assert (table["p_value_vol"] < 0.05).sum() >= 1  # by chance, and this is why the family counts
    assert not table["dominates"].any()


def test_the_unit_judged_is_the_unit_named():
    """A gain in wild bars and a loss in calm ones: ahead in bps, behind in bar volatilities."""
    a = orders_table(6, 0.0)
    wild = np.tile([True, False], len(a) // 2)
    a = a.assign(volatility_bps=np.where(wild, 100.0, 10.0))
    b = a.assign(slippage_bps=a["slippage_bps"] + np.where(wild, 10.0, -6.0))
    assert (improvement(a) - improvement(b)).mean() > 0 > (improvement(a, "vol") - improvement(b, "vol")).mean()
    outcomes = [paired_comparison(a, {"b": b}, unit=unit, draws=200)["mean_verdict"].item() for unit in ("bps", "vol")]
    assert outcomes == ["ahead", "behind"]


def test_every_outcome_has_words_of_its_own():
    words = {verdict(mean, risk) for mean in MEANS for risk in RISKS}
    assert len(words) == len(MEANS) * len(RISKS)
    assert [w for w in words if w.startswith("better")] == ["better at equal or lower risk"]


def test_edges():
    a = orders_table(7, 0.0)
    assert paired_comparison(a, {}, "side").columns.tolist() == ["policy", "side"]
    with pytest.raises(ConfigError, match="level of a test"):
        judged(rows(low=[], high=[], p_holm=[], std_ratio_low=[], std_ratio_high=[]), alpha=0.0)
