"""How closely policies track: the numbers, their intervals, what has none, and the verdict."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError, OrderError, UnknownNameError
from lem_models.statistics.summary import compare, improvement
from lem_models.statistics.tracking import (
    DECISIVE,
    MEASURES,
    std_interval,
    std_ratio,
    tracking_errors,
    tracking_verdict,
)
from tests.evaluation.tables import orders_table


def scaled(orders: pd.DataFrame, factor: float) -> pd.DataFrame:
    return orders.assign(slippage_bps=factor * orders["slippage_bps"])


def test_the_ratio_is_that_of_the_standard_deviations_by_group():
    a, b = orders_table(0, 5.0), orders_table(1, -20.0)
    found = std_ratio(a, b, "min_periods", draws=200).set_index("min_periods")
    table = compare({"a": a, "b": b}, "min_periods", draws=200).set_index(["policy", "min_periods"])
    assert found["ratio"].to_numpy() == pytest.approx(
        (table.loc["a", "std_vol"] / table.loc["b", "std_vol"]).to_numpy()
    )
    assert (found["low"] < found["ratio"]).all()
    assert (found["ratio"] < found["high"]).all()
    assert found["orders"].tolist() == table.loc["a", "orders"].tolist()


def test_a_ratio_that_is_certain_has_no_width():
    a = orders_table(3, 7.0)
    (row,) = std_ratio(scaled(a, 0.7), a.sample(frac=1.0, random_state=0), draws=200).itertuples()
    assert (row.ratio, row.low, row.high) == pytest.approx((0.7, 0.7, 0.7))


def test_a_large_mean_does_not_spoil_the_standard_deviation():
    a = orders_table(4, 0.0)
    (row,) = std_interval(a.assign(slippage_bps=a["slippage_bps"] + 1e9), unit="bps", draws=200).itertuples()
    assert row.std == pytest.approx(improvement(a).std(ddof=0), rel=1e-4)
    assert row.low < row.std < row.high


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = np.zeros(2)
    for seed in range(60):  # independent normals: the ratio is 1, the standard deviation 30 / 60
        a, b = orders_table(2 * seed, 5.0), orders_table(2 * seed + 1, 0.0)
        ratio, std = std_ratio(a, b, draws=200).iloc[0], std_interval(a, draws=200).iloc[0]
        held += [ratio["low"] < 1.0 < ratio["high"], std["low"] < 0.5 < std["high"]]
    assert (held >= 0.85 * 60).all()


def test_orders_without_a_price_count_for_neither():
    a, b = orders_table(5, 1.0), orders_table(6, 1.0)
    b.loc[:9, "slippage_bps"] = np.nan
    (row,) = std_ratio(a, b, draws=100).itertuples()
    assert row.orders == 230
    assert row.ratio == pytest.approx(improvement(a.iloc[10:]).std() / improvement(b.iloc[10:]).std())


def test_what_does_not_vary_has_no_ratio():
    a = orders_table(7, 1.0)
    (row,) = std_ratio(a, a.assign(slippage_bps=0.0), draws=100).itertuples()
    assert np.isnan([row.ratio, row.low, row.high]).all()


def test_other_orders_are_refused():
    a = orders_table(8, 1.0)
    with pytest.raises(OrderError, match="different orders"):
        std_ratio(a, a.iloc[1:])


class TestTrackingErrors:
    """Several measures of the same errors, each beside those of another policy."""

    def test_every_measure_is_the_one_that_its_name_says(self):
        a, b = orders_table(10, 3.0), orders_table(11, 0.0).sample(frac=1.0, random_state=3)
        a.loc[5, "slippage_bps"] = 5000.0  # one order at 83 bar volatilities
        table = tracking_errors({"ours": a, "twap": b}, draws=100)
        assert table["measure"].tolist() == list(MEASURES)  # a policy is not compared with itself
        found = table.set_index("measure")
        x, y = (-improvement(each.sort_values("order_id"), "vol").to_numpy() for each in (a, b))
        for column, error in (("value", x), ("other", y)):
            size = np.abs(error)
            expected = {
                "std": error.std(),
                "clipped_std": error.clip(-2, 2).std(),
                "mean_abs": size.mean(),
                "median_abs": np.quantile(size, 0.5, method="inverted_cdf"),
                "q95_abs": np.quantile(size, 0.95, method="inverted_cdf"),
                "q99_abs": np.quantile(size, 0.99, method="inverted_cdf"),
            }
            assert found.loc[list(expected), column].to_dict() == pytest.approx(expected)
        assert found["ratio"].iloc[:6].to_numpy() == pytest.approx(
            (found["value"] / found["other"]).iloc[:6].to_numpy()
        )
        assert found.loc["closer_percent", "value"] == pytest.approx(100 * (np.abs(x) < np.abs(y)).mean())
        assert (found["value_low"] <= found["value"]).all()
        assert (found["value"] <= found["value_high"]).all()
        assert found["value_high"].iloc[0] > 3 * found["value_low"].iloc[0]  # one order makes the raw std uncertain
        assert found["value_high"].iloc[1] < 2 * found["value_low"].iloc[1]

    def test_basis_points_are_clipped_at_the_same_place(self):
        a = orders_table(12, 3.0)
        a.loc[7, "slippage_bps"] = -5000.0
        ours = {"ours": a, "twap": orders_table(13, 0.0)}
        bps, vol = (tracking_errors(ours, unit=unit, draws=50).set_index("measure") for unit in ("bps", "vol"))
        assert bps.loc["clipped_std", "value"] == pytest.approx(60.0 * vol.loc["clipped_std", "value"])

    def test_ratios_are_paired(self):
        a = orders_table(14, 2.0)
        table = tracking_errors({"ours": scaled(a, 0.8), "twap": a}, draws=100).set_index("measure").iloc[:6]
        assert table[["ratio", "ratio_low", "ratio_high"]].to_numpy() == pytest.approx(np.full((6, 3), 0.8))
        assert (table["value_high"] > 1.05 * table["value_low"]).all()

    def test_intervals_of_the_median_hold_the_truth_about_as_often_as_they_say(self):
        held, median = 0, 0.6744898 * 0.5  # of |x| for a normal x of standard deviation 30 / 60
        for seed in range(60):
            tables = {"ours": orders_table(200 + 2 * seed, 0.0), "twap": orders_table(201 + 2 * seed, 0.0)}
            row = tracking_errors(tables, draws=200).set_index("measure").loc["median_abs"]
            held += int(row["value_low"] <= median <= row["value_high"])
            held += int(row["ratio_low"] <= 1 <= row["ratio_high"])
        assert held >= 0.85 * 120

    def test_orders_on_which_both_err_alike_count_half(self):
        a = orders_table(15, 2.0)
        table = tracking_errors({"ours": a, "twap": a, "zero": a.assign(slippage_bps=0.0)}, ("twap", "zero"), draws=50)
        closer = table[table["measure"] == "closer_percent"].set_index(["policy", "against"])["value"]
        assert closer.to_dict() == {
            ("ours", "twap"): 50,
            ("ours", "zero"): 0,
            ("twap", "zero"): 0,
            ("zero", "twap"): 100,
        }

    def test_groups_and_orders_without_a_price(self):
        a, b = orders_table(16, 1.0), orders_table(17, 1.0)
        b.loc[0, "slippage_bps"] = np.nan  # the first order of minimum 1
        table = tracking_errors({"ours": a, "twap": b}, by="min_periods", draws=50)
        assert table.groupby("min_periods")["orders"].first().to_dict() == {1: 79, 6: 80, 12: 80}
        assert tracking_errors({"ours": a, "twap": b.assign(slippage_bps=np.nan)}, draws=50).empty

    def test_what_cannot_be_compared_is_refused(self):
        a = orders_table(18, 1.0)
        with pytest.raises(OrderError, match="different orders"):
            tracking_errors({"ours": a, "twap": a.iloc[1:]})
        with pytest.raises(UnknownNameError, match="unknown policy 'vwap'"):
            tracking_errors({"ours": a, "twap": a}, ("vwap",))
        with pytest.raises(ConfigError, match="no policy"):
            tracking_errors({})


class TestTrackingVerdict:
    """One measure alone makes no policy closer."""

    def test_heavy_tails_are_no_closer_tracking(self):
        """Without the worst orders, but farther off at the median: the raw std alone would have called it closer."""
        rng = np.random.default_rng(0)
        tails = orders_table(19, 0.0, orders=800).assign(slippage_bps=60.0 * rng.standard_t(1.5, 800))
        steady = tails.assign(slippage_bps=60.0 * rng.normal(0.0, 2.0, 800))
        errors = tracking_errors({"steady": steady, "tails": tails}, ("tails",), draws=300)
        assert errors.set_index("measure").loc["std", "ratio_high"] < 1
        words = tracking_verdict(errors)
        assert words.startswith("tracks neither closer nor less closely than tails")
        assert "below" in words
        assert "median" in words.split("below")[1]

    @pytest.mark.parametrize(
        ("factor", "words"), [(0.8, "tracks closer than twap: std 0.80"), (1.25, "tracks less closely than twap")]
    )
    def test_closer_is_said_when_all_measures_say_so(self, factor, words):
        a = orders_table(20, 0.0)
        found = tracking_verdict(tracking_errors({"ours": scaled(a, factor), "twap": a}, draws=50))
        assert found.startswith(words)
        assert found.endswith("all below 1" if factor < 1 else "all above 1")

    @pytest.mark.parametrize("measure", DECISIVE)
    def test_one_measure_that_does_not_agree_is_enough_for_no_verdict(self, measure):
        rows = [{"measure": name, "ratio": 0.8, "ratio_low": 0.7, "ratio_high": 0.9} for name in DECISIVE]
        table = pd.DataFrame(rows).assign(against="twap")
        assert "tracks closer" in tracking_verdict(table)
        table.loc[table["measure"] == measure, "ratio_high"] = 1.01
        found = tracking_verdict(table)
        assert found.startswith("tracks neither closer nor less closely than twap")
        assert found.endswith("0.80 not measurably different")
        with pytest.raises(ConfigError, match="needs std, clipped_std, mean_abs, median_abs, each once"):
            tracking_verdict(table[table["measure"] != measure])
