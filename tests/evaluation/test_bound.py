"""The oracle is a bound: exact, marked, and nothing that could be executed."""

import numpy as np
import pytest

from lem_models import CostModel, execute, load_policy
from lem_models.baselines import list_policies
from lem_models.errors import OrderError, PolicyError
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.evaluation.bound import execute_bound, is_executable
from lem_models.features.market import Market
from lem_models.orders import Order
from tests.helpers import flat_bars, hourly, order_table

BARS = hourly()
MARKET = Market(BARS)


def _bound(**order):
    orders = Order.sample(BARS, every=5, max_periods=12, side="both", **order)
    return execute_bound(load_policy("oracle_vwap"), MARKET, orders).orders


@pytest.mark.parametrize("benchmark", ["vwap", "twap"])
def test_with_the_volumes_known_the_benchmark_is_paid(benchmark):
    assert _bound(benchmark=benchmark, target="quantity")["slippage_bps"].abs().max() < 1e-8


def test_a_fixed_notional_pays_the_vwap_too():
    assert _bound(target="notional")["slippage_bps"].abs().max() < 1e-8


def test_under_a_cap_it_still_follows_closer_than_any_policy():
    orders = Order.sample(BARS, every=5, max_periods=12, max_rate=0.1)
    bound = execute_bound(load_policy("oracle_vwap"), MARKET, orders)
    assert (bound.schedule["fraction"] <= 0.1 + 1e-12).all()
    assert bound.orders["completed"].all()
    for name in ("twap", "volume_curve", "kalman_volume", "dynamic_volume_curve"):
        assert (
            bound.orders["slippage_bps"].std() < execute(load_policy(name), BARS, orders).orders["slippage_bps"].std()
        )


def test_silent_bars_are_not_traded():
    bars = flat_bars([10.0, 10, 11, 12, 10, 10], [1.0, 1, 0, 2, 1, 1])
    schedule = execute_bound(load_policy("oracle_vwap"), Market(bars), order_table(bars, 1, max_periods=4)).schedule
    np.testing.assert_allclose(schedule["fraction"], [0.25, 0.5, 0.25])


def test_it_pays_what_the_policies_pay():
    costs = CostModel(half_spread_bps=1, fee_bps=1)
    orders = Order.sample(BARS, every=25, max_periods=6, side="both")
    dear = execute_bound(load_policy("oracle_vwap"), MARKET, orders, costs=costs).orders
    assert dear["cost_bps"].to_numpy() == pytest.approx(2.0)
    assert dear["slippage_bps"].abs().max() < 1e-8
    assert dear["net_slippage_bps"].to_numpy() == pytest.approx(2.0)
    with pytest.raises(OrderError, match="impact depends on the size"):
        execute_bound(load_policy("oracle_vwap"), MARKET, orders, costs=CostModel(impact=1))


def test_it_says_that_it_is_a_bound(caplog):
    oracle = load_policy("oracle_vwap")
    assert "oracle_vwap is a bound, not a policy" in caplog.text
    assert not is_executable(oracle)
    assert all(is_executable(load_policy(name)) for name in list_policies())
    assert "oracle_vwap" not in list_policies()


def test_it_cannot_be_executed():
    with pytest.raises(PolicyError, match="oracle_vwap is a bound, not a policy"):
        execute(load_policy("oracle_vwap"), BARS, order_table(BARS, 300, max_periods=4))


def test_a_policy_is_no_bound():
    with pytest.raises(PolicyError, match="TWAP is not a bound"):
        execute_bound(load_policy("twap"), MARKET, order_table(BARS, 300, max_periods=4))


def test_a_benchmark_computes_it_beside_the_policies_and_not_in_their_place():
    settings = BenchmarkSettings(
        every=12, min_periods=(4,), max_periods=4, null=0, information=0, placebos=(), bootstrap=100
    )
    policies = {name: load_policy(name) for name in ("twap", "oracle_vwap")}
    run = run_benchmark(policies, BARS, settings)
    assert run.orders["oracle_vwap (bound)"]["slippage_bps"].abs().max() < 1e-8
    assert len(run.orders["oracle_vwap (bound)"]) == len(run.orders["twap"])
    with pytest.raises(PolicyError, match="oracle_vwap is a bound"):
        run_benchmark(dict(reversed(policies.items())), BARS, settings)
