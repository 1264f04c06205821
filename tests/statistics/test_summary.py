"""What the statistics of executed orders promise: signs, exact summaries, honest intervals, pairing, the null split."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError, LEMError, OrderError, UnknownNameError
from lem_models.statistics.accuracy_tests import diebold_mariano, holm
from lem_models.statistics.bootstrap import bootstrap_mean_interval, bootstrap_mean_intervals
from lem_models.statistics.null_draws import NullDraws
from lem_models.statistics.summary import (
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
        "start": pd.date_range("2024-01-01", periods=count, freq="D", tz="UTC") if "start" not in columns else None,
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
        table["end"] = table["start"] + pd.Timedelta("6h")  # midnight, exclusive: no order reaches the next day
        row = summarise(table, level=0.9, draws=500, seed=4).iloc[0]
        expected = bootstrap_mean_interval(-table["slippage_bps"], np.arange(120) // 4, level=0.9, draws=500, seed=4)
        assert (row["low_bps"], row["high_bps"]) == pytest.approx(expected)
        assert (row["low_vol"], row["high_vol"]) == pytest.approx(tuple(end / 50.0 for end in expected))
        elsewhere = table.assign(start=table["start"].dt.tz_convert("Asia/Tokyo"))
        pd.testing.assert_frame_equal(summarise(table), summarise(elsewhere))

    def test_costs_values_and_other_benchmarks_by_hand(self) -> None:
        """A buy and a sell, and an order of which nothing was filled; every sign reads: positive is better."""
        table = orders_table(
            [-10.0, 20.0, np.nan],
            side=["buy", "sell", "buy"],
            order_value=[100.0, 300.0, 500.0],
            net_slippage_bps=[-7.0, 26.0, np.nan],
            cost_bps=[3.0, 6.0, np.nan],
            shortfall_bps=[5.0, -15.0, 40.0],
            executed_price=[99.0, 102.0, np.nan],
            interval_vwap=[100.0, 100.0, 100.0],
            interval_twap=[99.0, 102.0, 50.0],
            full_vwap=[98.0, np.nan, 98.0],
            pwp_price=np.nan,
        )
        row = summarise(table).iloc[0]
        expected = {
            "weighted_bps": (100 * 10 - 300 * 20) / 400,
            "net_bps": (7 - 26) / 2,
            "cost_bps": 4.5,
            "arrival_bps": (-5 + 15 - 40) / 3,  # what was missed is part of the shortfall
            "interval_vwap_bps": (100 + 200) / 2,  # bought 1 % below, sold 2 % above
            "interval_twap_bps": 0.0,
            "full_vwap_bps": (1 - 99 / 98) * 1e4,
            "pwp_bps": np.nan,
        }
        assert row[list(expected)].to_dict() == pytest.approx(expected, nan_ok=True)

    def test_intervals_of_weighted_and_net_means_are_those_of_the_bootstrap(self) -> None:
        """In the same draws as the others."""
        generator = np.random.default_rng(5)
        value, net = generator.exponential(size=90), generator.normal(size=90)
        table = orders_table(list(generator.normal(size=90)), order_value=value, net_slippage_bps=net, max_periods=1)
        row = summarise(table, draws=300, seed=1).iloc[0]
        columns = np.column_stack([-table["slippage_bps"], -table["slippage_bps"], -net])
        weights = np.column_stack([np.ones(90), value, np.ones(90)])
        low, high = bootstrap_mean_intervals(columns, np.arange(90), weights=weights, draws=300, seed=1)
        assert row[["low_bps", "weighted_low_bps", "net_low_bps"]].tolist() == pytest.approx(low.tolist())
        assert row[["high_bps", "weighted_high_bps", "net_high_bps"]].tolist() == pytest.approx(high.tolist())

    def test_groups_by_derived_keys(self) -> None:
        """The hour of the start and terciles of the volatility need no column."""
        start = pd.date_range("2024-01-01", periods=60, freq="6h", tz="UTC")
        table = orders_table([-float(hour) for hour in start.hour], start=start, volatility_bps=np.arange(1.0, 61.0))
        by_hour = summarise(table, "hour", draws=50)
        assert by_hour[["hour", "mean_bps", "orders"]].to_numpy().tolist() == [[h, h, 15] for h in (0, 6, 12, 18)]
        by_both = summarise(table, ["volatility", "side"], draws=50)
        assert by_both["volatility"].tolist() == ["low", "middle", "high"]
        assert by_both["volatility_bps"].tolist() == pytest.approx([10.5, 30.5, 50.5])

    def test_a_large_table_is_summarised_in_a_moment(self) -> None:
        """300,000 orders in five groups: a second or two, on a slow machine too."""
        count, generator = 300_000, np.random.default_rng(0)
        start = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(generator.integers(0, 8784, count), unit="h")
        table = orders_table(
            list(generator.normal(size=count)),
            start=start,
            min_periods=generator.integers(1, 6, count),
            order_value=1.0,
        )
        summarise(table.iloc[:100], draws=2)  # imports
        started = time.perf_counter()
        summarise(table, "min_periods", draws=1000)
        assert time.perf_counter() - started < 3.0

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

    def test_the_test_of_each_row_and_its_correction_for_all_of_them(self) -> None:
        """Diebold and Mariano on the differences in bps, with the ends of the orders; Holm over the groups."""
        generator = np.random.default_rng(2)
        gain = generator.normal([0.1, 0.3, 2.0], 1.0, (200, 3)).ravel()
        start = np.repeat(pd.date_range("2024-01-01", periods=200, freq="h", tz="UTC"), 3)
        a = orders_table(list(-gain), start=start, min_periods=[1, 6, 9] * 200)
        a["end"] = a["start"] + pd.Timedelta("4h")
        table = paired_difference(a, a.assign(slippage_bps=0.0), "min_periods", draws=50)
        hours = np.arange(200)
        for row, number in zip(table.to_dict("records"), range(3), strict=True):
            expected = diebold_mariano(gain[number::3], hours, hours + 4)
            assert (row["dm_bps"], row["p_value_bps"]) == pytest.approx(expected[:2])
        assert table["p_value_bps"].iloc[2] < 1e-6 < table["p_value_bps"].iloc[0]
        np.testing.assert_allclose(table["p_holm_bps"], holm(table["p_value_bps"]))
        swapped = paired_difference(a.assign(slippage_bps=0.0), a, "min_periods", draws=50)
        np.testing.assert_allclose(swapped["dm_bps"], -table["dm_bps"])

    def test_each_unit_has_the_test_of_its_own_mean(self) -> None:
        """A loss of 9 bps in calm bars and a gain of 10 in wild ones: ahead in bps, behind in bar volatilities."""
        generator = np.random.default_rng(5)
        wild = np.tile([False, True], 200)
        gain = np.where(wild, 10.0, -9.0) + generator.normal(0.0, 0.5, 400)
        a = orders_table(list(-gain)).assign(volatility_bps=np.where(wild, 100.0, 10.0))
        row = paired_difference(a, a.assign(slippage_bps=0.0), draws=50).iloc[0]
        assert row["mean_bps"] > 0 > row["mean_vol"]
        assert row["dm_bps"] > 0 > row["dm_vol"]
        starts = np.arange(400)
        for unit, values in (("bps", gain), ("vol", gain / a["volatility_bps"])):
            expected = diebold_mariano(values, starts, starts + 1)
            assert (row[f"dm_{unit}"], row[f"p_value_{unit}"]) == pytest.approx(expected[:2])

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
    """Improvement = option value + what is above the null."""

    def test_option_is_the_mean_over_draws_and_above_the_null_the_rest(self) -> None:
        """Worked out by hand on two orders and two draws."""
        real = orders_table([-10.0, -20.0])
        nulls = [orders_table([-4.0, -8.0]), orders_table([-6.0, -16.0])]
        row = null_split(real, nulls).iloc[0]
        assert row[["orders", "real_bps", "option_bps", "above_bps"]].tolist() == [2, 15.0, 8.5, 6.5]
        assert row[["real_vol", "option_vol", "above_vol"]].tolist() == pytest.approx([0.3, 0.17, 0.13])

    def test_the_interval_above_the_null_is_that_of_the_paired_difference(self) -> None:
        """With one draw it is the paired difference, by group."""
        generator = np.random.default_rng(0)
        minimum = [1, 6] * 100
        real = orders_table(list(generator.normal(size=200)), min_periods=minimum)
        null = orders_table(list(generator.normal(size=200)), min_periods=minimum)
        split, pairs = null_split(real, [null], "min_periods"), paired_difference(real, null, "min_periods")
        for mine, theirs in (("above", "mean"), ("above_low", "low"), ("above_high", "high")):
            for unit in ("bps", "vol"):
                np.testing.assert_allclose(split[f"{mine}_{unit}"], pairs[f"{theirs}_{unit}"], rtol=1e-9)
        np.testing.assert_allclose(split["real_vol"], split["option_vol"] + split["above_vol"])

    def test_each_world_has_its_own_volatility(self) -> None:
        """Volatility units divide every improvement by the volatility of its own bars."""
        row = null_split(orders_table([-10.0]), [orders_table([-10.0], volatility_bps=25.0)]).iloc[0]
        assert row[["real_vol", "option_vol", "above_vol"]].tolist() == pytest.approx([0.2, 0.4, -0.2])

    def test_parts_add_up_when_orders_are_unpriced(self) -> None:
        """All three means are over the orders priced on both sides."""
        real = orders_table([-10.0, np.nan, -30.0])
        nulls = [orders_table([-4.0, -1.0, np.nan]), orders_table([np.nan, -1.0, np.nan])]
        row = null_split(real, nulls).iloc[0]
        assert row[["orders", "real_bps", "option_bps", "above_bps"]].tolist() == [1, 10.0, 4.0, 6.0]

    def test_compact_draws_split_like_the_tables_that_they_come_from(self) -> None:
        """Matched by order id, whatever the sequence; orders that the table lacks are left out."""
        generator = np.random.default_rng(3)
        real = orders_table(list(generator.normal(size=60)))
        nulls = [
            orders_table(list(generator.normal(size=60)), volatility_bps=generator.uniform(20, 90, 60))
            for _ in range(3)
        ]
        compact = NullDraws.join([NullDraws.of(null.iloc[::-1]) for null in nulls])
        assert len(compact) == 3
        pd.testing.assert_frame_equal(null_split(real, compact), null_split(real, nulls))
        part = real.iloc[10:30]
        pd.testing.assert_frame_equal(null_split(part, compact), null_split(part, [n.iloc[10:30] for n in nulls]))
        with pytest.raises(OrderError, match="different orders"):
            null_split(real.assign(order_id=real["order_id"] + 1), compact)

    def test_intervals_hold_the_noise_of_few_draws(self) -> None:
        """The option's interval covers its value with two draws as with twenty, and is wider with two."""
        generator = np.random.default_rng(4)
        held, widths = {2: 0, 20: 0}, {2: 0.0, 20: 0.0}
        for world in range(60):
            worth = 5.0 + generator.normal(0.0, 2.0, 80)  # of the option, order by order: one order a day
            real = orders_table(list(-worth - generator.normal(1.0, 10.0, 80)), max_periods=1)
            for draws in held:
                null = NullDraws(np.arange(80), worth + generator.normal(0.0, 10.0, (draws, 80)), np.ones((draws, 80)))
                row = null_split(real, null, draws=200, seed=world).iloc[0]
                held[draws] += row["option_low_bps"] <= 5.0 <= row["option_high_bps"]
                held[draws] += row["above_low_bps"] <= 1.0 <= row["above_high_bps"]
                widths[draws] += row["option_high_bps"] - row["option_low_bps"]
        assert 0.90 <= held[2] / 120 <= 0.99
        assert 0.90 <= held[20] / 120 <= 0.99
        # Variance of an order's mean: 4 + 100 / draws.
        assert widths[2] / widths[20] == pytest.approx(np.sqrt(54 / 9), rel=0.1)

    def test_refuses_no_null_and_other_orders(self) -> None:
        """A split needs a null of the same orders."""
        real = orders_table([-10.0, -20.0])
        with pytest.raises(ConfigError, match="at least one draw"):
            null_split(real, [])
        with pytest.raises(OrderError, match="different orders"):
            null_split(real, [real, real.iloc[:1]])
