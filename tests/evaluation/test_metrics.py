"""Metrics of execution: by hand, against pandas, and the same however orders are spread."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models import CostModel, Order, execute, load_policy
from lem_models.evaluation.metrics import (
    ImplementationShortfall,
    Improvement,
    NetSlippage,
    Slippage,
    TradingCost,
    execution_metrics,
)
from lem_models.statistics.order_statistics import OrderStatistics
from tests.helpers import flat_bars, hourly, order_table

BARS = hourly()
COSTS = CostModel(half_spread_bps=2, impact=1, order_size=0.01)


@pytest.fixture(scope="module")
def result():
    orders = Order.sample(BARS, every=5, min_periods=[1, 6], max_periods=6, side="both", benchmark=["vwap", "twap"])
    return execute(load_policy("stopping_rule"), BARS, orders, costs=COSTS)


def _values(metric):
    return {name: value.item() for name, value in metric.compute().items()}


def _statistics(values, weight):
    """The same by pandas, NaN left out."""
    known = values.notna()
    values, weight = values[known], weight[known]
    return {
        "orders": len(values),
        "mean": values.mean(),
        "std": values.std(),
        "better": (values < -1e-6).mean(),
        "weighted_mean": (values * weight).sum() / weight.sum(),
    }


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_slippage_by_hand():
    metric = Slippage()
    executed, benchmark = torch.tensor([101.0, 99.0, 102.0]), torch.tensor([100.0, 100.0, 100.0])
    metric.update(executed, benchmark, torch.tensor([1.0, 1.0, -1.0]), torch.tensor([1.0, 1.0, 2.0]))
    # 100, -100, -200 bps
    expected = {"orders": 3, "mean": -200 / 3, "std": np.std([100, -100, -200], ddof=1), "better": 2 / 3}
    assert _values(metric) == pytest.approx(expected | {"weighted_mean": -100.0}, rel=1e-4)


def test_a_rounding_error_is_no_better_price():
    metric = Slippage()
    executed = torch.tensor([1.1 * (1 - 2e-16), 1.1, 1.1 * (1 - 1e-9)], dtype=torch.float64)
    metric.update(executed, torch.full_like(executed, 1.1), torch.ones(3))
    assert _values(metric)["better"] == pytest.approx(1 / 3)


def test_improvement_is_minus_the_slippage():
    arguments = torch.tensor([101.0, 99.5]), torch.tensor([100.0, 100.0]), torch.tensor([1.0, 1.0])
    slippage, improvement = Slippage(), Improvement()
    for metric in (slippage, improvement):
        metric.update(*arguments)
    cost, gain = _values(slippage), _values(improvement)
    assert cost["mean"] == pytest.approx(25, rel=1e-4)
    assert gain == {**cost, "mean": -cost["mean"], "weighted_mean": -cost["weighted_mean"]}


def test_shortfall_by_hand():
    metric = ImplementationShortfall()
    # Half sold at 101 and the rest at 104; nothing bought, the price gone to 103.
    executed, filled = torch.tensor([101.0, torch.nan]), torch.tensor([0.5, 0.0])
    metric.update(
        executed, filled, torch.tensor([104.0, 103.0]), torch.tensor([100.0, 100.0]), torch.tensor([-1.0, 1.0])
    )
    assert _values(metric)["mean"] == pytest.approx((-250 + 300) / 2)


def test_nothing_yet_is_not_a_number():
    with pytest.warns(UserWarning, match="before the ``update``"):
        values = _values(Slippage())
    assert values.pop("orders") == 0
    assert np.isnan(list(values.values())).all()


@pytest.mark.parametrize("metric", [Slippage(), ImplementationShortfall()], ids=lambda metric: type(metric).__name__)
def test_half_of_the_arguments_are_refused(metric):
    with pytest.raises(TypeError, match="or a result alone"):
        metric.update(torch.ones(3), torch.ones(3))


# --- of a result -----------------------------------------------------------------------------------------------------


def test_every_measure_of_a_result_is_what_pandas_makes_of_its_columns(result):
    metrics, orders = execution_metrics(), result.orders
    metrics.update(result)
    found = {name: value.item() for name, value in metrics.compute().items()}
    sign = pd.Series(np.where(orders["side"] == "buy", 1, -1), index=orders.index)
    columns = {
        "slippage": orders["slippage_bps"],
        "net_slippage": orders["net_slippage_bps"],
        "cost": orders["cost_bps"],
        "shortfall": orders["shortfall_bps"],
        "pwp": sign * (orders["executed_price"] / orders["pwp_price"] - 1) * 1e4,
    }
    for name in ("interval_vwap", "interval_twap", "full_vwap"):
        columns[name] = sign * (orders["executed_price"] / orders[name] - 1) * 1e4
    expected = {
        f"{name}_{statistic}": value
        for name, values in columns.items()
        for statistic, value in _statistics(values, orders["order_value"]).items()
    }
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert found["net_slippage_mean"] > found["slippage_mean"] + 2
    assert found["cost_better"] == 0


def test_tensors_and_tables_give_the_same(result):
    orders = result.orders
    side = torch.tensor(np.where(orders["side"] == "buy", 1.0, -1.0))
    for metric, price, benchmark in (
        (Slippage(), "executed_price", "benchmark_price"),
        (NetSlippage("arrival_price"), "net_price", "arrival_price"),
        (TradingCost(), "net_price", "executed_price"),
    ):
        by_table = type(metric)("arrival_price") if isinstance(metric, NetSlippage) else type(metric)()
        by_table.update(result)
        tensors = (torch.tensor(orders[name].to_numpy(copy=True)) for name in (price, benchmark))
        metric.update(*tensors, side, torch.tensor(orders["order_value"].to_numpy(copy=True)))
        assert _values(metric) == _values(by_table)


def test_orders_that_filled_nothing_are_left_out():
    bars = flat_bars([10.0, 11, 11, 12, 12, 12], [1.0, 0, 0, 1, 1, 1])
    found = execute(load_policy("twap"), bars, order_table(bars, [1, 3], max_periods=2))
    metrics = execution_metrics()
    metrics.update(found)
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert (values["slippage_orders"], values["shortfall_orders"], values["pwp_orders"]) == (1, 2, 0)
    assert values["slippage_mean"] == 0


def test_metrics_that_agree_at_first_do_not_stick_together(result):
    metrics = execution_metrics()
    free = execute(load_policy("twap"), BARS, Order.sample(BARS, every=50, max_periods=6))
    metrics.update(free)  # here net and gross are the same
    metrics.update(result)
    values = metrics.compute()
    assert values["net_slippage_mean"] > values["slippage_mean"] + 1


# --- however orders are spread ---------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(0, 60), max_size=5))
@settings(max_examples=40, deadline=None)
def test_parts_add_up(seed, cuts):
    rng = np.random.default_rng(seed)
    values = torch.tensor(np.where(rng.random(60) < 0.1, np.nan, rng.normal(50, 20, 60)))
    weight = torch.tensor(rng.uniform(0, 5, 60))
    whole, parts = OrderStatistics(), OrderStatistics()
    whole.update(values, weight)
    for part in torch.arange(60).tensor_split(sorted(cuts)):
        parts(values[part], weight[part])  # forward: the value of the batch, and the sums go on
    assert _values(parts) == pytest.approx(_values(whole), rel=1e-12)
    expected = _statistics(pd.Series(values.numpy()), pd.Series(weight.numpy()))
    assert _values(whole) == pytest.approx(expected, rel=1e-9)


def test_groups_are_kept_apart():
    statistics = OrderStatistics(groups=3)
    statistics.update(torch.tensor([1.0, 2.0, 4.0]), group=torch.tensor([2, 0, 2]))
    assert statistics.count.tolist() == [1, 0, 2]
    np.testing.assert_allclose(statistics.mean, [2.0, np.nan, 2.5])
    np.testing.assert_allclose(statistics.std, [np.nan, np.nan, np.sqrt(4.5)])


def test_sums_survive_pickling_and_reset(result):
    metric = Slippage("full_vwap")
    metric.update(result)
    again = pickle.loads(pickle.dumps(metric))
    assert _values(again) == _values(metric)
    again.reset()
    again.update(result)
    assert _values(again) == _values(metric)
