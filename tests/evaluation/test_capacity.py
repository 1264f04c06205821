"""The capacity curve: its numbers are those of executions at each size; break-even sizes by hand and by law."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models import CostModel, Order, execute, load_policy, synthetic_bars
from lem_models.errors import ConfigError, OrderError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.capacity import break_even, break_even_sizes, capacity_curve, net_improvements
from lem_models.evaluation.prices import AGAINST
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision
from lem_models.statistics.summary import compare, paired_difference

BARS = synthetic_bars(symbols=3, days=40, seed=2)
COSTS = CostModel(half_spread_bps=1, fee_bps=2, impact=0.8)
SIZES = (0.0, 0.001, 0.01, 0.1)
DRAWS = {"draws": 100, "seed": 0}


@pytest.fixture(scope="module")
def results():
    orders = Order.sample(BARS, every=6, side="both", min_periods=[1, 12], max_periods=12, limit=900, seed=1)
    return {name: execute(name, BARS, orders) for name in ("stopping_rule", "twap", "volume_curve")}


@pytest.fixture(scope="module")
def curve(results):
    return capacity_curve(results, COSTS, SIZES, "min_periods", **DRAWS)


def test_every_policy_group_size_and_price_has_a_row(curve):
    assert len(curve) == 3 * 2 * len(SIZES) * len(AGAINST)
    assert not curve.duplicated(["policy", "min_periods", "size", "against"]).any()
    assert (curve["low_bps"] <= curve["net_bps"]).all()
    assert (curve["net_bps"] <= curve["high_bps"]).all()


@pytest.mark.parametrize("size", [0.001, 0.1])
def test_its_numbers_are_those_of_executing_with_that_size(results, curve, size):
    from lem_models.execution.result import with_ends

    again = {
        name: with_ends(execute(name, BARS, result.orders.iloc[:, :14], costs=COSTS.at(size)).orders, BARS)
        for name, result in results.items()
    }
    table = compare(again, "min_periods", **DRAWS).set_index(["policy", "min_periods"])
    own = curve[(curve["size"] == size) & (curve["against"] == "own")].set_index(["policy", "min_periods"])
    own = own.loc[table.index]
    np.testing.assert_allclose(own["gross_bps"], table["mean_bps"])
    for name in ("cost_bps", "net_bps"):
        np.testing.assert_allclose(own[name], table[name], rtol=1e-12)
    np.testing.assert_allclose(own[["low_bps", "high_bps"]], table[["net_low_bps", "net_high_bps"]], rtol=1e-9)
    # The paired difference is that of the net slippages.
    net = {name: orders.assign(slippage_bps=orders["net_slippage_bps"]) for name, orders in again.items()}
    gain = paired_difference(net["stopping_rule"], net["twap"], "min_periods", **DRAWS)
    mine = own.loc["stopping_rule"].reset_index()
    columns = ["difference_bps", "difference_low_bps", "difference_high_bps"]
    np.testing.assert_allclose(mine[columns], gain[["mean_bps", "low_bps", "high_bps"]], rtol=1e-9, atol=1e-9)


def test_some_orders_have_the_curve_that_they_have_alone(results):
    rows = {name: (result.orders["min_periods"] == 12).to_numpy() for name, result in results.items()}
    alone = {name: execute(name, BARS, result.orders[rows[name]].iloc[:, :14]) for name, result in results.items()}
    some = capacity_curve(results, COSTS, SIZES, "side", rows=rows, **DRAWS)
    pd.testing.assert_frame_equal(some, capacity_curve(alone, COSTS, SIZES, "side", **DRAWS), rtol=1e-12, atol=1e-12)
    assert (some["orders"] < len(rows["twap"]) / 2).all()


def test_all_orders_together_stand_before_their_groups(results):
    both = capacity_curve(results, COSTS, SIZES, "side", overall=True, **DRAWS)
    together = both["side"].isna()
    for found, by in ((both[together].drop(columns="side"), None), (both[~together], "side")):
        expected = capacity_curve(results, COSTS, SIZES, by, **DRAWS)
        pd.testing.assert_frame_equal(found.reset_index(drop=True), expected, check_dtype=False)


def test_gross_and_net_against_every_price_by_hand():
    orders = pd.DataFrame(
        {
            "side": ["buy", "sell"],
            "filled": [1.0, 0.5],
            "executed_price": [101.0, 99.0],
            "net_price": [101.5, 98.5],
            "arrival_price": 100.0,
            "full_vwap": 100.5,
            "slippage_bps": [10.0, 20.0],
            "net_slippage_bps": [60.0, 70.0],
            "shortfall_bps": [100.0, 80.0],
        }
    )
    found = net_improvements(orders)
    np.testing.assert_allclose(found["gross_own"], [-10, -20])
    np.testing.assert_allclose(found["net_own"], [-60, -70])
    np.testing.assert_allclose(found["net_full_vwap"], [-(101.5 / 100.5 - 1) * 1e4, (98.5 / 100.5 - 1) * 1e4])
    np.testing.assert_allclose(found["gross_full_vwap"], [-(101 / 100.5 - 1) * 1e4, (99 / 100.5 - 1) * 1e4])
    np.testing.assert_allclose(found["gross_arrival"], [-100, -80])
    # Half of the sale filled: it pays half of the 50 bps.
    np.testing.assert_allclose(found["net_arrival"], [-150, -105])


def test_orders_against_arrival_have_the_same_numbers_by_both_names():
    orders = Order.sample(BARS, every=9, side="both", max_periods=6, benchmark="arrival")
    found = net_improvements(execute("pov", BARS, orders, costs=COSTS.at(0.02)).orders)
    np.testing.assert_allclose(found["net_arrival"], found["net_own"], atol=1e-9)


def test_a_larger_order_pays_more_and_participates_more(curve):
    for _, group in curve.groupby(["policy", "min_periods", "against"]):
        assert group["net_bps"].is_monotonic_decreasing
        assert group["cost_bps"].is_monotonic_increasing
        assert group["gross_bps"].nunique() == 1
        np.testing.assert_allclose(
            group["participation_percent"], group["size"] / 0.1 * group["participation_percent"].iloc[-1]
        )
        # Quantities: the net improvement is a straight line over the root of the size.
        slope = np.diff(group["net_bps"]) / np.diff(np.sqrt(group["size"]))
        np.testing.assert_allclose(slope, slope[0], rtol=1e-6)
    twap = curve[(curve["policy"] == "twap") & (curve["size"] == 0.1)]
    assert twap["difference_bps"].isna().all()
    assert (twap["largest_participation_percent"] > twap["participation_percent"]).all()


def test_finishing_in_one_bar_is_dear(curve):
    """The rest in one bar: the stopping rule loses to TWAP when orders are large, and trades more than whole bars."""
    rows = curve[(curve["policy"] == "stopping_rule") & (curve["min_periods"] == 1) & (curve["against"] == "full_vwap")]
    assert rows["difference_bps"].iloc[-1] < -10
    assert rows["difference_high_bps"].iloc[-1] < 0
    assert rows["over_volume_percent"].iloc[-1] > 50
    assert rows["largest_participation_percent"].iloc[-1] > 100


def test_break_even_is_where_the_curve_crosses_zero(results, curve):
    sizes = break_even_sizes(curve)
    row = sizes[(sizes["policy"] == "stopping_rule") & (sizes["min_periods"] == 1) & (sizes["against"] == "own")].iloc[
        0
    ]
    assert 0.001 < row["break_even"] < 0.1
    assert row["starts_positive"]
    at = capacity_curve(results, COSTS, [row["break_even"]], "min_periods", **DRAWS)
    at = at[(at["policy"] == "stopping_rule") & (at["min_periods"] == 1) & (at["against"] == "own")]
    assert at["net_bps"].item() == pytest.approx(0, abs=1e-6)


@given(start=st.floats(0.5, 50), slope=st.floats(1, 400))
def test_break_even_of_a_root_law_is_exact(start, slope):
    sizes = np.array([0.0, 0.001, 0.01, 0.1, 0.5])
    exact = (start / slope) ** 2
    found = break_even(sizes, start - slope * np.sqrt(sizes))
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-11) if exact < 0.5 else np.isnan(found)


def curve_of(mean, low, high, sizes=(0.0, 0.01, 0.04)):
    """One policy against one price."""
    rows = {"policy": "x", "size": sizes, "against": "own", "net_bps": mean, "low_bps": low, "high_bps": high}
    return pd.DataFrame(rows)


def test_the_interval_of_a_break_even_ends_where_those_of_the_mean_cross_zero(results, curve):
    sizes = break_even_sizes(curve).query("policy == 'stopping_rule' and min_periods == 1").set_index("against")
    row = sizes.loc["own"]
    assert row["break_even_low"] < row["break_even"] < row["break_even_high"]
    ends = [row["break_even_low"], row["break_even_high"]]
    at = capacity_curve(results, COSTS, ends, "min_periods", **DRAWS)
    at = at.query("policy == 'stopping_rule' and min_periods == 1 and against == 'own'").set_index("size")
    # Between two sizes the ends of the mean's interval are nearly straight lines over the root of the size.
    scale = at["high_bps"] - at["low_bps"]
    assert abs(at["low_bps"].iloc[0]) < 0.1 * scale.iloc[0]
    assert abs(at["high_bps"].iloc[1]) < 0.1 * scale.iloc[1]


def test_ends_of_a_break_even_beyond_the_sizes():
    def ends(*columns):
        return (
            break_even_sizes(curve_of(*columns)).iloc[0][["break_even", "break_even_low", "break_even_high"]].tolist()
        )

    np.testing.assert_allclose(ends([2, 0.5, -1], [1, -1, -2], [3, 2, 1]), [break_even_at(0.5, -1), 0.0025, np.inf])
    # No sign change in the mean: it may lie inside the sizes all the same.
    np.testing.assert_allclose(ends([4, 3, 1], [3, 1, -1], [5, 4, 2]), [np.nan, break_even_at(1, -1), np.inf])
    np.testing.assert_allclose(ends([-1, -2, -3], [-2, -3, -4], [1, -1, -2]), [np.nan, 0, 0.0025])
    # Beyond doubt.
    np.testing.assert_allclose(ends([4, 3, 2], [3, 2, 1], [5, 4, 3]), [np.nan, np.inf, np.inf])
    np.testing.assert_allclose(ends([-1, -2, -3], [-2, -3, -4], [-0.5, -1, -2]), [np.nan, 0, 0])
    # An improvement that rises: its upper end comes first.
    np.testing.assert_allclose(ends([-1, 1, 2], [-2, -1, 1], [-0.5, 2, 3]), [0.0025, 0.0004, break_even_at(-1, 1)])
    assert np.isnan(ends([2, 1, -1], [np.nan] * 3, [np.nan] * 3)[1:]).all()


def break_even_at(at_one_percent, at_four_percent):
    """Where a line over the root of the size crosses 0 between 1 % and 4 %."""
    return (0.1 + 0.1 * at_one_percent / (at_one_percent - at_four_percent)) ** 2


@settings(max_examples=20)
@given(mean=st.floats(-20, 20), slope=st.floats(1, 300), below=st.floats(0.1, 10), above=st.floats(0.1, 10))
def test_a_break_even_lies_inside_its_interval(mean, slope, below, above):
    sizes = np.array([0.0, 0.001, 0.01, 0.1])
    line = mean - slope * np.sqrt(sizes)
    row = break_even_sizes(curve_of(line, line - below, line + above, sizes)).iloc[0]
    assert row["break_even_low"] <= row["break_even_high"]
    if np.isfinite(row["break_even"]):
        assert row["break_even_low"] <= row["break_even"] <= row["break_even_high"]


def test_without_a_change_of_sign_there_is_no_break_even():
    sizes = [0.0, 0.01, 0.1]
    assert np.isnan(break_even(sizes, [3.0, 2.0, 1.0]))
    assert np.isnan(break_even(sizes, [-3.0, -4.0, -5.0]))
    assert np.isnan(break_even(sizes, [np.nan] * 3))
    assert break_even(sizes, [-1.0, 1.0, 2.0]) == pytest.approx(0.0025)  # rising: better from there on


def test_sizes_and_orders_that_do_not_fit_are_refused(results):
    for sizes in ([], [-0.01], [np.inf]):
        with pytest.raises(ConfigError, match="sizes are fractions"):
            capacity_curve(results, COSTS, sizes)
    with pytest.raises(ConfigError, match="at least one policy"):
        capacity_curve({}, COSTS, SIZES)
    amounts = Order.sample(BARS, every=50, max_periods=4).assign(amount=3.0)
    with pytest.raises(ConfigError, match="leave the sizes out"):
        capacity_curve({"twap": execute("twap", BARS, amounts)}, COSTS, SIZES)
    with pytest.raises(OrderError, match="impact depends on the size"):
        capacity_curve(results, COSTS, None)


def test_amounts_are_the_sizes_of_orders_that_name_them():
    orders = Order.sample(BARS, every=20, max_periods=4).assign(amount=30.0)
    found = capacity_curve({"twap": execute("twap", BARS, orders)}, COSTS, None, **DRAWS)
    dear = execute("twap", BARS, orders, costs=COSTS).orders
    row = found[found["against"] == "own"].iloc[0]
    assert np.isnan(row["size"])
    assert row["net_bps"] == pytest.approx(-dear["net_slippage_bps"].mean())
    assert row["participation_percent"] > 0


ALONE: dict = {"null": 0, "information": 0, "placebos": ()}


class Patient(Policy):
    """The larger an order, the longer it takes."""

    reads_size = True

    def decide(self, context, orders, state):
        return Decision(state.remaining / (1 + 4 * orders.impact), orders.impact < 0.1)


class TestBenchmark:
    """The curve of a benchmark."""

    def test_it_is_of_the_first_benchmark_and_target(self):
        policies = {name: load_policy(name) for name in ("stopping_rule", "twap")}
        settings = BenchmarkSettings(
            min_periods=(1, 12), benchmark=("vwap", "arrival"), limit=600, costs=COSTS.at(0.01), bootstrap=100, **ALONE
        )
        run = run_benchmark(policies, BARS, settings)
        found = run.capacity(["min_periods"])
        assert sorted(found["size"].unique()) == [0.0, 0.01]
        vwap = run.results["twap"].orders.query("benchmark == 'vwap' and min_periods == 1")
        assert found.query("policy == 'twap' and min_periods == 1")["orders"].unique().tolist() == [len(vwap)]
        for update in ({"costs": None}, {"sizes": ()}):
            free = run_benchmark(policies, BARS, settings.model_copy(update=update | {"limit": 30}))
            assert free.capacity(["min_periods"]) is None
        with pytest.raises(ConfigError, match=r"sizes.0: .*greater than or equal to 0"):
            BenchmarkSettings(sizes=(-1,))

    def test_a_policy_that_reads_sizes_executes_the_orders_at_each(self):
        policies = {"patient": Patient(), "twap": load_policy("twap")}
        settings = BenchmarkSettings(
            min_periods=(1, 12), limit=300, side="buy", costs=COSTS.at(0.01), sizes=SIZES, bootstrap=100, **ALONE
        )
        run = run_benchmark(policies, BARS, settings)
        assert list(run.sized) == ["patient"]
        found = run.capacity([]).query("policy == 'patient' and against == 'own'").set_index("size")
        for size in SIZES:
            alone = execute(Patient(), BARS, run.results["twap"].orders.iloc[:, :14], costs=COSTS.at(size)).orders
            assert found.loc[size, "net_bps"] == pytest.approx(-alone["net_slippage_bps"].mean())
            assert found.loc[size, "gross_bps"] == pytest.approx(-alone["slippage_bps"].mean())
        gross = found[["gross_low_bps", "gross_bps", "gross_high_bps"]].to_numpy()
        assert (np.diff(gross, axis=1) > 0).all()
        assert len(np.unique(gross[:, 1])) == len(SIZES)
        # The other tables are those of orders of the size that the costs name.
        assert run.gross([]).query("policy == 'patient' and against == 'own'")["gross_bps"].item() == pytest.approx(
            found.loc[0.01, "gross_bps"]
        )
        with pytest.raises(ConfigError, match="patient has results of 4 sizes, and 2 are asked for"):
            capacity_curve(dict(run.results) | dict(run.sized), COSTS, SIZES[:2])

    def test_orders_of_a_table_with_amounts_are_compared_at_their_sizes(self):
        table = Order.sample(BARS, every=10, side="sell", min_periods=[2, 5], max_periods=8, benchmark="full_vwap")
        table = table.assign(amount=50.0)
        policies = {name: load_policy(name) for name in ("almgren_chriss", "twap")}
        run = run_benchmark(policies, BARS, BenchmarkSettings(costs=COSTS, bootstrap=100, **ALONE), orders=table)
        settings = run.settings
        assert (settings.benchmark, settings.target, settings.side) == (("full_vwap",), ("quantity",), "sell")
        assert (settings.min_periods, settings.max_periods) == ((2, 5), 8)
        assert all(len(result.orders) == len(table) for result in run.results.values())
        # Each policy keeps the risk aversion of its own.
        assert [result.orders["risk_aversion"].iloc[0] for result in run.results.values()] == [0.5, 0.0]
        found = run.capacity(["min_periods"])
        assert found["size"].isna().all()
        assert (found["cost_bps"] > 3).all()
        with pytest.raises(OrderError, match="empty"):
            run_benchmark(policies, BARS, settings, orders=table.iloc[:0])
