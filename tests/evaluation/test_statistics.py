"""What the statistics of executed orders promise: signs, exact summaries, honest intervals, pairing, the null split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError, LEMError, OrderError, UnknownNameError
from lem_models.evaluation.bootstrap import bootstrap_mean_interval, bootstrap_mean_intervals, resample_weights
from lem_models.evaluation.statistics import (
    SUMMARY_COLUMNS,
    compare,
    improvement,
    null_split,
    paired_difference,
    summarise,
)


def orders_table(slippage_bps: list[float], **columns: object) -> pd.DataFrame:
    """Orders table of a result: one order a day, unless columns say otherwise."""
    count = len(slippage_bps)
    table = {
        "order_id": np.arange(count),
        "symbol": "BTCUSDT",
        "start": pd.date_range("2024-01-01", periods=count, freq="D", tz="UTC"),
        "side": "buy",
        "benchmark": "vwap",
        "target": "quantity",
        "min_periods": 1,
        "max_periods": 12,
        "periods_used": 12,
        "filled": 1.0,
        "completed": True,
        "volatility_bps": 50.0,
        "slippage_bps": slippage_bps,
    }
    return pd.DataFrame(table | columns)


def clustered(generator: np.random.Generator, days: int, per_day: int, day_std: float) -> tuple[np.ndarray, np.ndarray]:
    """Observations with mean 0 that share an effect of their day, and the days."""
    effect = generator.normal(0.0, day_std, days)
    values = effect[:, None] + generator.normal(0.0, 1.0, (days, per_day))
    return values.ravel(), np.repeat(np.arange(days), per_day)


class TestBootstrap:
    """The interval of a mean from a bootstrap over days."""

    def test_weights_pick_as_many_days_as_there_are(self) -> None:
        """Every draw is a resample of the same size, seeded."""
        weights = resample_weights(30, 500, seed=3)
        assert weights.shape == (500, 30)
        assert (weights.sum(axis=1) == 30).all()
        assert (weights >= 0).all()
        np.testing.assert_array_equal(weights, resample_weights(30, 500, seed=3))
        assert (weights != resample_weights(30, 500, seed=4)).any()
        # variance of a multinomial count: 1 - 1/30
        assert weights.var() == pytest.approx(1 - 1 / 30, rel=0.05)

    def test_equals_a_loop_over_draws(self) -> None:
        """The vectorised form is the plain one: copy the orders of each picked day, take the mean."""
        generator = np.random.default_rng(0)
        days = np.sort(generator.integers(0, 12, 60))
        values = generator.normal(size=60)
        labels = np.unique(days)
        means = [
            np.concatenate([np.tile(values[days == day], times) for day, times in zip(labels, row, strict=True)]).mean()
            for row in resample_weights(len(labels), 300, seed=7)
        ]
        expected = np.quantile(means, [0.05, 0.95])
        interval = bootstrap_mean_interval(values, days, level=0.9, draws=300, seed=7)
        np.testing.assert_allclose(interval, expected, rtol=1e-12)

    def test_covers_the_mean_of_clustered_data(self) -> None:
        """A 95 % interval holds the true mean in about 95 % of the worlds, though orders of a day move together."""
        generator = np.random.default_rng(1)
        held = 0
        for world in range(300):
            values, days = clustered(generator, days=60, per_day=8, day_std=1.0)
            low, high = bootstrap_mean_interval(values, days, draws=400, seed=world)
            held += low <= 0.0 <= high
        assert 0.90 <= held / 300 <= 0.985

    def test_is_wider_than_the_independent_interval_when_days_are_correlated(self) -> None:
        """Treating every order as independent would claim a precision that is not there."""
        values, days = clustered(np.random.default_rng(2), days=80, per_day=20, day_std=1.0)
        low, high = bootstrap_mean_interval(values, days)
        alone_low, alone_high = bootstrap_mean_interval(values, np.arange(len(values)))
        assert high - low > 2.5 * (alone_high - alone_low)

    def test_agrees_with_the_normal_interval_when_days_are_independent(self) -> None:
        """Without an effect of the day it is the textbook interval."""
        values, days = clustered(np.random.default_rng(3), days=300, per_day=5, day_std=0.0)
        low, high = bootstrap_mean_interval(values, days, draws=4000)
        assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(values.size), rel=0.12)

    def test_shrinks_with_more_days(self) -> None:
        """Four times the days, half the width."""
        generator = np.random.default_rng(4)
        widths = []
        for days in (100, 400):
            low, high = bootstrap_mean_interval(*clustered(generator, days=days, per_day=5, day_std=1.0))
            widths.append(high - low)
        assert widths[0] / widths[1] == pytest.approx(2.0, rel=0.3)

    def test_columns_share_the_draws(self) -> None:
        """Columns resampled together are paired; a constant shift moves the interval by just that."""
        values, days = clustered(np.random.default_rng(5), days=40, per_day=3, day_std=1.0)
        low, high = bootstrap_mean_intervals(np.column_stack([values, values + 2.0, -values]), days)
        assert (low[1] - low[0], high[1] - high[0]) == pytest.approx((2.0, 2.0))
        assert (low[2], high[2]) == pytest.approx((-high[0], -low[0]))
        assert bootstrap_mean_interval(values, days) == pytest.approx((low[0], high[0]))

    def test_missing_observations_leave_their_column_only(self) -> None:
        """NaN is no observation; the other column keeps its own."""
        values, days = clustered(np.random.default_rng(6), days=40, per_day=4, day_std=1.0)
        holes = values.copy()
        holes[::3] = np.nan
        low, high = bootstrap_mean_intervals(np.column_stack([values, holes]), days)
        assert (low[0], high[0]) == pytest.approx(bootstrap_mean_interval(values, days))
        kept = ~np.isnan(holes)
        assert (low[1], high[1]) == pytest.approx(bootstrap_mean_interval(holes[kept], days[kept]))

    def test_order_of_rows_does_not_matter(self) -> None:
        """Shuffled rows give the same interval."""
        generator = np.random.default_rng(7)
        values, days = clustered(generator, days=30, per_day=4, day_std=1.0)
        shuffled = generator.permutation(len(values))
        assert bootstrap_mean_interval(values[shuffled], days[shuffled]) == pytest.approx(
            bootstrap_mean_interval(values, days)
        )

    @pytest.mark.parametrize(("values", "days"), [([], []), ([1.0, 2.0], [0, 0]), ([1.0, np.nan], [0, 1])])
    def test_fewer_than_two_days_give_no_interval(self, values: list[float], days: list[int]) -> None:
        """One day says nothing about how days differ."""
        assert np.isnan(bootstrap_mean_interval(values, days)).all()

    def test_a_sparse_column_and_few_draws_stay_silent(self) -> None:
        """Draws that miss every observation are left out, without a warning."""
        values = np.full(400, np.nan)
        values[[3, 200]] = 1.0
        for draws in (1, 50):
            low, high = bootstrap_mean_interval(values, np.arange(400), draws=draws)
            assert (low, high) == (1.0, 1.0) or np.isnan([low, high]).all()

    @pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95.0])
    def test_refuses_an_impossible_level(self, level: float) -> None:
        """A level is a probability, not a percentage."""
        with pytest.raises(ConfigError, match=r"level of an interval lies inside \(0, 1\)"):
            bootstrap_mean_interval([1.0, 2.0], [0, 1], level=level)

    def test_refuses_no_draws_and_shapes_that_do_not_match(self) -> None:
        """Typed errors say what is wrong."""
        with pytest.raises(ConfigError, match="at least one draw"):
            bootstrap_mean_interval([1.0, 2.0], [0, 1], draws=0)
        with pytest.raises(ConfigError, match="do not match"):
            bootstrap_mean_interval([1.0, 2.0], [0, 1, 2])
        with pytest.raises(ConfigError, match="one column"):
            bootstrap_mean_interval(np.zeros((2, 2)), [0, 1])


class TestSummarise:
    """One row of statistics per group."""

    def test_improvement_is_minus_slippage(self) -> None:
        """Positive slippage is a cost, so it is a negative improvement, in both units."""
        table = orders_table([10.0, -20.0, np.nan], volatility_bps=[50.0, 80.0, 50.0])
        np.testing.assert_allclose(improvement(table), [-10.0, 20.0, np.nan])
        np.testing.assert_allclose(improvement(table, "vol"), [-0.2, 0.25, np.nan])

    def test_exactly_zero_has_no_sign(self) -> None:
        """A policy that is its own benchmark prints 0, not -0."""
        assert not np.signbit(improvement(orders_table([0.0]))).any()

    def test_numbers_worked_out_by_hand(self) -> None:
        """Four priced orders and one of which nothing was filled."""
        table = orders_table(
            [-10.0, 20.0, -30.0, 0.0, np.nan],
            volatility_bps=[50.0, 100.0, 60.0, 40.0, 75.0],
            periods_used=[4, 12, 8, 6, 12],
            filled=[1.0, 1.0, 1.0, 0.5, 0.0],
            completed=[True, True, True, False, False],
        )
        summary = summarise(table)
        assert tuple(summary.columns) == SUMMARY_COLUMNS
        row = summary.iloc[0]
        expected = {
            "orders": 5,
            "mean_bps": 5.0,  # (10 - 20 + 30 + 0) / 4
            "std_bps": np.sqrt((25 + 625 + 625 + 25) / 3),
            "median_bps": 5.0,
            "q05_bps": -20.0 + 0.15 * 20.0,  # linear between the order statistics -20 and 0
            "q95_bps": 10.0 + 0.85 * 20.0,
            "better_percent": 50.0,  # 0 is not better
            "mean_vol": (0.2 - 0.2 + 0.5 + 0.0) / 4,
            "std_vol": np.std([0.2, -0.2, 0.5, 0.0], ddof=1),
            "volatility_bps": 65.0,
            "periods_used": 8.4,
            "completed_percent": 60.0,
            "filled_percent": 70.0,
        }
        assert row[list(expected)].to_dict() == pytest.approx(expected)

    def test_intervals_are_those_of_the_bootstrap_over_start_days(self) -> None:
        """Orders of one UTC day are one cluster, whatever the zone they are written in."""
        generator = np.random.default_rng(0)
        start = pd.date_range("2024-01-01", periods=120, freq="6h", tz="UTC")
        table = orders_table(list(generator.normal(size=120)), start=start)
        row = summarise(table, level=0.9, draws=500, seed=4).iloc[0]
        expected = bootstrap_mean_interval(-table["slippage_bps"], np.arange(120) // 4, level=0.9, draws=500, seed=4)
        assert (row["low_bps"], row["high_bps"]) == pytest.approx(expected)
        assert (row["low_vol"], row["high_vol"]) == pytest.approx(tuple(end / 50.0 for end in expected))
        elsewhere = table.assign(start=table["start"].dt.tz_convert("Asia/Tokyo"))
        pd.testing.assert_frame_equal(summarise(table), summarise(elsewhere))

    def test_groups_are_sorted_and_summarised_alone(self) -> None:
        """A group's row is the overall row of its orders."""
        slippage = [float(number) for number in np.random.default_rng(1).normal(size=40)]
        table = orders_table(slippage, min_periods=[12, 1] * 20, side=["buy", "buy", "sell", "sell"] * 10)
        summary = summarise(table, ["min_periods", "side"])
        assert summary[["min_periods", "side"]].to_numpy().tolist() == [
            [1, "buy"],
            [1, "sell"],
            [12, "buy"],
            [12, "sell"],
        ]
        alone = summarise(table[(table["min_periods"] == 12) & (table["side"] == "buy")])
        pd.testing.assert_frame_equal(summary.iloc[[2]][list(SUMMARY_COLUMNS)].reset_index(drop=True), alone)
        assert summary["orders"].sum() == len(table)
        assert summarise(table, "side")["side"].tolist() == ["buy", "sell"]

    def test_groups_without_any_fill_and_empty_tables_have_rows_of_nan(self) -> None:
        """Nothing filled: the group is shown, without a price."""
        row = summarise(orders_table([np.nan, np.nan], filled=0.0, completed=False)).iloc[0]
        assert (row["orders"], row["completed_percent"]) == (2, 0.0)
        assert np.isnan(row[["mean_bps", "low_bps", "std_vol", "better_percent"]].to_numpy(dtype=float)).all()
        empty = orders_table([1.0]).iloc[:0]
        assert summarise(empty).iloc[0]["orders"] == 0
        assert list(summarise(empty, "side").columns) == ["side", *SUMMARY_COLUMNS]

    def test_zero_volatility_is_no_infinite_improvement(self) -> None:
        """An order whose volatility is unknown counts in bps only."""
        row = summarise(orders_table([-10.0, -10.0, -10.0], volatility_bps=[50.0, 0.0, np.nan])).iloc[0]
        assert (row["mean_bps"], row["mean_vol"]) == pytest.approx((10.0, 0.2))

    def test_refuses_missing_columns(self) -> None:
        """The error names the column, and what it may have been."""
        with pytest.raises(UnknownNameError, match=r"'min_period'; did you mean 'min_periods'"):
            summarise(orders_table([1.0]), "min_period")
        with pytest.raises(OrderError, match="slippage_bps"):
            summarise(orders_table([1.0]).drop(columns="slippage_bps"))

    def test_compare_stacks_policies_in_their_order(self) -> None:
        """One long table; a policy's rows are those of its own summary."""
        results = {"model": orders_table([-5.0, -7.0]), "twap": orders_table([0.0, 1.0])}
        table = compare(results, "side")
        assert table["policy"].tolist() == ["model", "twap"]
        assert list(table.columns) == ["policy", "side", *SUMMARY_COLUMNS]
        pd.testing.assert_frame_equal(
            table[table["policy"] == "twap"].drop(columns="policy").reset_index(drop=True),
            summarise(results["twap"], "side"),
        )
        with pytest.raises(ConfigError, match="no policy"):
            compare({})


class TestPairedDifference:
    """One policy minus another on the same orders."""

    def test_pairs_by_order_id(self) -> None:
        """Rows may come in any sequence; what the market did to both drops out."""
        generator = np.random.default_rng(0)
        market = generator.normal(0.0, 100.0, 200)
        a = orders_table(list(market - 3.0))
        b = orders_table(list(market)).sample(frac=1.0, random_state=1)
        row = paired_difference(a, b).iloc[0]
        assert row[["mean_bps", "low_bps", "high_bps", "std_bps"]].tolist() == pytest.approx([3.0, 3.0, 3.0, 0.0])
        assert row[["mean_vol", "low_vol", "high_vol"]].tolist() == pytest.approx([0.06, 0.06, 0.06])
        assert (row["orders"], row["better_percent"]) == (200, 100.0)
        alone = summarise(a).iloc[0]
        assert alone["high_bps"] - alone["low_bps"] > 10.0

    def test_is_antisymmetric_and_grouped(self) -> None:
        """Swapping the policies swaps the sign and the ends."""
        generator = np.random.default_rng(1)
        minimum = [1, 6] * 50
        a = orders_table(list(generator.normal(size=100)), min_periods=minimum)
        b = orders_table(list(generator.normal(size=100)), min_periods=minimum)
        forward, backward = paired_difference(a, b, "min_periods"), paired_difference(b, a, "min_periods")
        assert forward["min_periods"].tolist() == [1, 6]
        np.testing.assert_allclose(forward["mean_vol"], -backward["mean_vol"])
        np.testing.assert_allclose(forward["low_vol"], -backward["high_vol"])

    def test_orders_unpriced_in_either_are_left_out(self) -> None:
        """A pair needs both."""
        row = paired_difference(orders_table([-1.0, np.nan, -3.0]), orders_table([0.0, 0.0, np.nan])).iloc[0]
        assert (row["orders"], row["mean_bps"]) == (1, 1.0)

    @pytest.mark.parametrize(
        ("change", "field", "message"),
        [
            ({"order_id": [0, 1, 7]}, "order_id", "different orders"),
            ({"order_id": [0, 1, 1]}, "order_id", "order ids repeat"),
            ({"side": ["buy", "sell", "buy"]}, "side", "order 1 is not the same order"),
            ({"min_periods": [1, 1, 6]}, "min_periods", "min_periods is 1 and 6"),
        ],
    )
    def test_refuses_different_orders(self, change: dict[str, Any], field: str, message: str) -> None:
        """Default ids are row numbers: the same ids alone do not make the same orders."""
        table = orders_table([1.0, 2.0, 3.0])
        with pytest.raises(OrderError, match=message) as caught:
            paired_difference(table, table.assign(**change))
        assert caught.value.field == field
        assert isinstance(caught.value, LEMError)

    def test_refuses_tables_of_different_length(self) -> None:
        """Neither may hold more orders than the other."""
        table = orders_table([1.0, 2.0, 3.0])
        for a, b in ((table, table.iloc[:2]), (table.iloc[:2], table)):
            with pytest.raises(OrderError, match="different orders"):
                paired_difference(a, b)


class TestNullSplit:
    """Improvement = value of the option + value of the forecast."""

    def test_option_is_the_mean_over_draws_and_forecast_the_rest(self) -> None:
        """Worked out by hand on two orders and two draws."""
        real = orders_table([-10.0, -20.0])
        nulls = [orders_table([-4.0, -8.0]), orders_table([-6.0, -16.0])]
        row = null_split(real, nulls).iloc[0]
        assert row[["orders", "real_bps", "option_bps", "forecast_bps"]].tolist() == [2, 15.0, 8.5, 6.5]
        assert row[["real_vol", "option_vol", "forecast_vol"]].tolist() == pytest.approx([0.3, 0.17, 0.13])

    def test_forecast_interval_is_that_of_the_paired_difference(self) -> None:
        """With one draw it is the paired difference, by group."""
        generator = np.random.default_rng(0)
        minimum = [1, 6] * 100
        real = orders_table(list(generator.normal(size=200)), min_periods=minimum)
        null = orders_table(list(generator.normal(size=200)), min_periods=minimum)
        split, pairs = null_split(real, [null], "min_periods"), paired_difference(real, null, "min_periods")
        for mine, theirs in (("forecast", "mean"), ("forecast_low", "low"), ("forecast_high", "high")):
            for unit in ("bps", "vol"):
                np.testing.assert_allclose(split[f"{mine}_{unit}"], pairs[f"{theirs}_{unit}"], rtol=1e-9)
        np.testing.assert_allclose(split["real_vol"], split["option_vol"] + split["forecast_vol"])

    def test_each_world_has_its_own_volatility(self) -> None:
        """Volatility units divide every improvement by the volatility of its own bars."""
        row = null_split(orders_table([-10.0]), [orders_table([-10.0], volatility_bps=25.0)]).iloc[0]
        assert row[["real_vol", "option_vol", "forecast_vol"]].tolist() == pytest.approx([0.2, 0.4, -0.2])

    def test_parts_add_up_when_orders_are_unpriced(self) -> None:
        """All three means are over the orders priced on both sides."""
        real = orders_table([-10.0, np.nan, -30.0])
        nulls = [orders_table([-4.0, -1.0, np.nan]), orders_table([np.nan, -1.0, np.nan])]
        row = null_split(real, nulls).iloc[0]
        assert row[["orders", "real_bps", "option_bps", "forecast_bps"]].tolist() == [1, 10.0, 4.0, 6.0]

    def test_refuses_no_null_and_other_orders(self) -> None:
        """A split needs a null of the same orders."""
        real = orders_table([-10.0, -20.0])
        with pytest.raises(ConfigError, match="at least one draw"):
            null_split(real, [])
        with pytest.raises(OrderError, match="different orders"):
            null_split(real, [real, real.iloc[:1]])
