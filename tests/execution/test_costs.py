"""Costs: what a fill pays beyond the bar's price, by hand and by law; what is traded does not change."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lem_models import CostModel, Order, execute, load_policy
from lem_models.cli.app import app
from lem_models.errors import ConfigError, LEMError, OrderError
from lem_models.execution.costs import relative_sizes
from lem_models.execution.execute import execute_silently
from lem_models.execution.objective import deviation, expected_utility, utility
from lem_models.execution.records import OrderBatch
from lem_models.execution.result import ExecutionResult
from lem_models.execution.sharding import Ranks, SharedOrders
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from tests.helpers import (
    Erratic,
    Scripted,
    flat_bars,
    hourly,
    order_batch,
    order_table,
    random_orders,
    random_window,
)

BARS = hourly()
NEW = ["cost_bps", "net_price", "net_slippage_bps"]

bps = st.floats(0, 1000)
models = st.builds(
    CostModel, half_spread_bps=bps, fee_bps=bps, impact=st.floats(0, 50), order_size=st.floats(1e-4, 2.0)
)


# --- by hand ---------------------------------------------------------------------------------------------------------


def _wavy(*, volumes):
    """Two hundred bars of price 99 or 101, then 100, and the given ones."""
    prices = [*([99.0, 101.0] * 100), 100.0, 100.0, 104.0, 96.0]
    return flat_bars(prices, [*([10.0] * 201), *volumes])


@pytest.mark.parametrize(("side", "sign"), [("buy", 1), ("sell", -1)])
def test_half_spread_and_fee_by_hand(side, sign):
    bars = flat_bars([50.0, 100.0, 102.0], [5.0, 10.0, 30.0])
    costs = CostModel(half_spread_bps=2, fee_bps=3)
    row = execute(Scripted([0.4, 0.6]), bars, order_table(bars, 1, side=side, max_periods=2), costs=costs).orders.iloc[
        0
    ]
    executed = 0.4 * 100 + 0.6 * 102
    assert row["executed_price"] == pytest.approx(executed, rel=1e-14)
    assert row["net_price"] == pytest.approx(executed * (1 + sign * 0.0005), rel=1e-14)
    assert row["cost_bps"] == pytest.approx(5.0)
    assert row["net_slippage_bps"] == pytest.approx(sign * (row["net_price"] / row["benchmark_price"] - 1) * 1e4)


@pytest.mark.parametrize(("side", "sign"), [("buy", 1), ("sell", -1)])
def test_impact_of_a_quantity_by_hand(side, sign):
    bars = _wavy(volumes=[20.0, 50.0, 30.0])
    orders = order_table(bars, 201, side=side, max_periods=3, amount=8.0)
    row = execute(Scripted([0.25, 0.5, 0.25]), bars, orders, costs=CostModel(impact=0.7)).orders.iloc[0]
    sigma = row["volatility_bps"] / 1e4
    assert sigma > 1e-3
    # 2 of 20, 4 of 50 and 2 of 30 units.
    paid = [p * (1 + sign * 0.7 * sigma * r**0.5) for p, r in ((100.0, 0.1), (104.0, 0.08), (96.0, 2 / 30))]
    assert row["net_price"] == pytest.approx(0.25 * paid[0] + 0.5 * paid[1] + 0.25 * paid[2], rel=1e-13)
    assert row["cost_bps"] == pytest.approx(sign * (row["net_price"] / row["executed_price"] - 1) * 1e4)


def test_impact_of_a_notional_counts_what_its_money_buys_and_averages_harmonically():
    bars = _wavy(volumes=[20.0, 50.0, 30.0])
    orders = order_table(bars, 201, max_periods=3, amount=1040.0, target="notional")
    costs = CostModel(half_spread_bps=4, impact=0.7)
    row = execute(Scripted([0.25, 0.5, 0.25]), bars, orders, costs=costs).orders.iloc[0]
    sigma = row["volatility_bps"] / 1e4
    # 260, 520 and 260 of money at 100, 104 and 96 buy 2.6, 5 and 2.708 units.
    parts = [(0.25, 100.0, 2.6 / 20), (0.5, 104.0, 5.0 / 50), (0.25, 96.0, 260 / 96 / 30)]
    net = 1 / sum(w / (p * (1 + 0.0004 + 0.7 * sigma * r**0.5)) for w, p, r in parts)
    assert row["net_price"] == pytest.approx(net, rel=1e-13)
    assert row["executed_price"] == pytest.approx(1 / sum(w / p for w, p, _ in parts), rel=1e-13)


@pytest.mark.parametrize("target", ["quantity", "notional"])
def test_an_order_without_amount_has_the_size_that_the_cost_model_assumes(target):
    window = random_window(np.random.default_rng(0), 1, 3)
    orders = order_batch(max_periods=3, target=target)
    size = relative_sizes(orders, window, costs=CostModel(order_size=0.02))
    assert size.tolist() == pytest.approx([0.06])  # the expected volume is 1 in each of the 3 periods
    # The amount that is 2 % of what is expected in 3 periods.
    amount = 0.06 * window.volume_unit * (window.arrival_price if target == "notional" else 1.0)
    assert relative_sizes(orders, window, amount).tolist() == pytest.approx([0.06])
    assert relative_sizes(orders, window).isnan().all()


def test_the_assumed_size_is_that_of_an_order_that_names_it():
    costs = CostModel(impact=1.0, order_size=0.05)
    orders = Order.sample(BARS, every=5, max_periods=6, target=["quantity", "notional"])
    assumed = execute(load_policy("twap"), BARS, orders, costs=costs).orders
    amount = assumed["order_value"] / np.where(assumed["target"] == "quantity", assumed["arrival_price"], 1.0)
    named = execute(load_policy("twap"), BARS, orders.assign(amount=amount), costs=CostModel(impact=1.0)).orders
    for column in (*NEW, "pwp_price", "order_value"):
        np.testing.assert_allclose(named[column], assumed[column], rtol=1e-12)


# --- laws ------------------------------------------------------------------------------------------------------------


def _cases(seed, count=60, periods=7):
    """Orders of every kind with fills, some incomplete, in a market with silent bars."""
    rng = np.random.default_rng(seed)
    table, window = random_orders(rng, count, periods), random_window(rng, count, periods, silent=0.2)
    orders = OrderBatch.from_frame(table)
    paths = simulate(Erratic(seed), orders, window)
    fills = finishing_fills(paths, chosen_period(paths)[:, None])
    return orders, window, fills, relative_sizes(orders, window, torch.tensor(table["amount"]))


def _net(case, costs):
    orders, window, fills, size = case
    return settle(fills, orders, costs.priced(window, size)).net_price[:, 0]


def _cost(case, costs):
    """Side-free cost as a fraction, [orders that filled something]."""
    orders, window, fills, _ = case
    executed = settle(fills, orders, window).executed_price[:, 0]
    known = ~executed.isnan()
    assert torch.equal(_net(case, costs).isnan(), ~known)
    return (orders.side * (_net(case, costs) / executed - 1))[known]


@given(seed=st.integers(0, 2**16), costs=models)
@settings(max_examples=60, deadline=None)
def test_a_cost_is_never_negative_and_never_the_whole_price(seed, costs):
    cost = _cost(_cases(seed), costs)
    assert (cost >= -1e-12).all()
    # A buy at most pays 90 % more; a notional sale that receives a tenth has sold ten times as much.
    assert (cost <= 0.9 + 1e-12).all()


@given(seed=st.integers(0, 2**16), costs=models, name=st.sampled_from(["half_spread_bps", "fee_bps", "impact"]), by=bps)
@settings(max_examples=60, deadline=None)
def test_costs_rise_with_every_parameter(seed, costs, name, by):
    more = CostModel(**{**costs.model_dump(), name: min(getattr(costs, name) + by / 4, 1000)})
    case = _cases(seed)
    assert (_cost(case, more) >= _cost(case, costs) - 1e-12).all()


@given(seed=st.integers(0, 2**16), size=st.floats(1e-4, 1.0), times=st.floats(1.0, 20.0))
@settings(max_examples=30, deadline=None)
def test_costs_rise_with_the_size_of_the_order(seed, size, times):
    orders, window, fills, _ = _cases(seed)
    small, large = (
        _cost((orders, window, fills, torch.full_like(window.volatility, s)), CostModel(impact=1.0))
        for s in (size, size * times)
    )
    assert (large >= small - 1e-12).all()


def test_an_impact_follows_the_square_root_exactly():
    orders, window, fills, size = _cases(3)
    quantity = ~orders.is_notional & (fills[:, 0].sum(1) > 0)
    executed = settle(fills, orders, window).executed_price[:, 0]
    one, four = (_net((orders, window, fills, s), CostModel(impact=0.5)) - executed for s in (size, 4 * size))
    torch.testing.assert_close(four[quantity], 2 * one[quantity], rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_a_zero_cost_model_is_no_cost_model_bit_for_bit(seed):
    orders, window, fills, size = _cases(seed)
    free, zero = settle(fills, orders, window), settle(fills, orders, CostModel().priced(window, size))
    unknown = settle(fills, orders, CostModel().priced(window, torch.full_like(size, torch.nan)))
    for name in vars(free):
        for other in (zero, unknown):
            one, two = getattr(free, name), getattr(other, name)
            assert torch.equal(one.nan_to_num(7.0), two.nan_to_num(7.0))


@pytest.mark.parametrize("policy", ["twap", "stopping_rule", "lem-crypto-hourly"])
def test_costs_change_no_fill_and_no_gross_number(policy):
    orders = Order.sample(
        BARS, every=11, min_periods=[1, 6], max_periods=12, side="both", target=["quantity", "notional"]
    )
    # A policy that reads sizes decides by the impact, but by no cost that is the same for every schedule.
    impact = 0 if load_policy(policy).reads_size else 2
    free, zero, dear = (
        execute(load_policy(policy), BARS, orders, costs=costs)
        for costs in (None, CostModel(), CostModel(half_spread_bps=30, fee_bps=2, impact=impact, order_size=0.1))
    )
    pd.testing.assert_frame_equal(free.orders, zero.orders, check_exact=True)
    pd.testing.assert_frame_equal(free.schedule, dear.schedule, check_exact=True)
    gross = [c for c in free.orders if c not in (*NEW, "pwp_price", "order_value")]
    pd.testing.assert_frame_equal(free.orders[gross], dear.orders[gross], check_exact=True)
    assert (free.orders["cost_bps"] == 0).all()
    assert not np.signbit(free.orders["cost_bps"]).any()
    assert (dear.orders["cost_bps"] > 30).all()


def test_net_is_gross_and_cost_to_the_last_digit():
    costs = CostModel(half_spread_bps=3, fee_bps=1, impact=1.5, order_size=0.2)
    orders = Order.sample(
        BARS, every=7, max_periods=8, min_periods=[1, 8], side="both", target=["quantity", "notional"]
    )
    found = execute(load_policy("stopping_rule"), BARS, orders, costs=costs).orders
    sign = np.where(found["side"] == "buy", 1, -1)
    gross, cost = found["slippage_bps"] / 1e4, found["cost_bps"] / 1e4
    # net / benchmark = executed / benchmark * net / executed
    np.testing.assert_allclose(1 + sign * found["net_slippage_bps"] / 1e4, (1 + sign * gross) * (1 + sign * cost))
    assert (found["cost_bps"] > 4).all()


def test_an_order_that_never_trades_costs_nothing_that_could_be_told():
    bars = flat_bars([10.0] * 4, [1.0, 0.0, 0.0, 1.0])
    orders = order_table(bars, 1, max_periods=2, amount=3.0)
    row = execute(load_policy("twap"), bars, orders, costs=CostModel(fee_bps=1, impact=1)).orders.iloc[0]
    assert row[["executed_price", *NEW]].isna().all()


def test_a_silent_bar_costs_nothing():
    bars = _wavy(volumes=[20.0, 0.0, 30.0])
    orders = order_table(bars, 201, max_periods=3, amount=8.0)
    row = execute(Scripted([0.25, 0.5, 0.25]), bars, orders, costs=CostModel(impact=0.7)).orders.iloc[0]
    sigma = row["volatility_bps"] / 1e4
    paid = [100 * (1 + 0.7 * sigma * 0.1**0.5), 96 * (1 + 0.7 * sigma * (6 / 30) ** 0.5)]
    assert row["net_price"] == pytest.approx(0.25 * paid[0] + 0.75 * paid[1], rel=1e-13)


def test_single_precision_agrees_with_double():
    orders, window, fills, size = _cases(5, count=200)
    costs = CostModel(half_spread_bps=2, impact=1.0)
    narrow = type(window)(**{name: values.float() for name, values in vars(window).items()})
    single = OrderBatch(**{k: v.float() if v.is_floating_point() else v for k, v in vars(orders).items()})
    found = settle(fills.float(), single, costs.priced(narrow, size.float())).net_price[:, 0]
    torch.testing.assert_close(
        found.double(), _net((orders, window, fills, size), costs), rtol=1e-5, atol=0, equal_nan=True
    )


# --- the objective ---------------------------------------------------------------------------------------------------


def test_training_maximises_the_utility_net_of_costs():
    rng = np.random.default_rng(1)
    orders = order_batch(1, max_periods=3, min_periods=1, risk_aversion=0.3, side="sell")
    window = random_window(rng, 1, 3)
    priced = CostModel(half_spread_bps=40).priced(window, torch.zeros(1))
    finish = torch.tensor([[0.25, 0.5, 1.0]])
    paths = simulate(Scripted([[0.3, 0.4, 0.3]], finish), orders, window)
    every = torch.arange(3)[None]
    outcome = settle(finishing_fills(paths, every), orders, window)
    net = (outcome.executed_price * (1 - 0.004) / outcome.benchmark_price - 1) / 0.01  # a sale is glad of a high price
    weight = torch.tensor([[0.25, 0.75 * 0.5, 0.75 * 0.5]])
    expected = (weight * utility(net, orders.risk_aversion, orders.max_periods)).sum()
    assert expected_utility(paths, orders, priced).item() == pytest.approx(expected.item(), rel=1e-12)
    assert expected_utility(paths, orders, window).item() > expected.item() + 0.1
    assert deviation(paths, orders, priced).item() == pytest.approx(net[0, 2].item(), rel=1e-12)


@pytest.mark.parametrize("target", ["quantity", "notional"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_the_impact_are_exact_and_finite_where_nothing_fills(target, dtype):
    rng = np.random.default_rng(4)
    orders = order_batch(2, dtype, max_periods=4, side=["buy", "sell"], target=target, amount=5.0)
    window = random_window(rng, 2, 4, silent=0.3)
    window = type(window)(**{name: values.to(dtype) for name, values in vars(window).items()})
    priced = CostModel(impact=1.0).priced(window, torch.ones(2, dtype=dtype))
    fills = torch.tensor([[0.2, 0.0, 0.5, 0.3], [0.7, 0.3, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    settle(fills[:, None], orders, priced).net_price.sum().backward()
    assert torch.isfinite(fills.grad).all()
    if dtype == torch.float64:
        inside = torch.tensor(rng.uniform(0.1, 0.3, (2, 1, 4)), requires_grad=True)
        assert torch.autograd.gradcheck(lambda w: settle(w, orders, priced).net_price, (inside,))


# --- bad values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"half_spread_bps": -1}, "half_spread_bps: .*greater than or equal to 0"),
        ({"fee_bps": float("nan")}, "fee_bps"),
        ({"fee_bps": 1001}, "fee_bps: .*less than or equal to 1000"),
        ({"impact": float("inf")}, "impact: .*finite"),
        ({"impact": "much"}, "impact"),
        ({"order_size": 0}, "order_size: .*greater than 0"),
        ({"spread": 1}, "spread: Extra inputs are not permitted"),
    ],
)
def test_a_cost_model_that_cannot_be_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        CostModel(**setting)


def test_a_cost_model_stays_as_it_is():
    with pytest.raises(ValueError, match="frozen"):
        CostModel().fee_bps = 3.0


def test_an_impact_needs_a_size():
    orders = order_table(BARS, [300, 301], max_periods=4, amount=[1.0, np.nan])
    with pytest.raises(OrderError, match=r"give it an amount, or the cost model an order_size .*'amount', row 1"):
        execute(load_policy("twap"), BARS, orders, costs=CostModel(impact=1))
    for costs in (CostModel(fee_bps=1), CostModel(impact=1, order_size=0.1)):
        assert len(execute(load_policy("twap"), BARS, orders, costs=costs).orders) == 2
    assert issubclass(OrderError, LEMError)


# --- everywhere the same ---------------------------------------------------------------------------------------------


def test_in_parts_as_in_one():
    costs = CostModel(half_spread_bps=1, impact=1, order_size=0.01)
    orders = Order.sample(BARS, every=9, max_periods=6, min_periods=[1, 6]).assign(order_id=lambda t: np.arange(len(t)))
    policy = load_policy("stopping_rule")
    parts = []
    for rank in range(3):
        shared = SharedOrders(orders, Ranks(rank, 3))
        parts.append(execute_silently(policy, shared.market(BARS), shared.mine, costs=costs, whole=BARS).part)
    whole = execute(policy, BARS, orders, costs=costs)
    pd.testing.assert_frame_equal(ExecutionResult.join(BARS, parts).orders, whole.orders, check_exact=True)
    alone = SharedOrders(orders, Ranks())
    again = alone.execute(policy, alone.market(BARS), BARS, costs=costs)
    pd.testing.assert_frame_equal(again.orders, whole.orders, check_exact=True)


def test_the_command_line_takes_costs(tmp_path):
    BARS.write(tmp_path / "bars.parquet")
    table = order_table(BARS, [300, 320], max_periods=4, side=["buy", "sell"]).assign(order_id=["a", "b"])
    table.to_csv(tmp_path / "orders.csv", index=False)
    arguments = ["execute", "--policy", "twap", "--out", str(tmp_path / "out")]
    arguments += ["--data", str(tmp_path / "bars.parquet"), "--orders", str(tmp_path / "orders.csv")]
    chosen = ["--half-spread", "1.5", "--fee", "0.5", "--impact", "0.7", "--order-size", "0.02"]
    assert CliRunner().invoke(app, [*arguments, *chosen]).exit_code == 0
    found = pd.read_csv(tmp_path / "out" / "orders.csv")
    costs = CostModel(half_spread_bps=1.5, fee_bps=0.5, impact=0.7, order_size=0.02)
    expected = execute(load_policy("twap"), BARS, table, costs=costs).orders
    np.testing.assert_allclose(found[NEW], expected[NEW], rtol=1e-9)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (pd.read_csv(tmp_path / "out" / "orders.csv")["cost_bps"] == 0).all()
    refused = CliRunner().invoke(app, [*arguments, "--fee", "-1"])
    assert isinstance(refused.exception, ConfigError)
    assert isinstance(CliRunner().invoke(app, [*arguments, "--impact", "1"]).exception, OrderError)


def test_public_name_is_lazy():
    import lem_models

    assert lem_models.CostModel is CostModel
    assert "CostModel" in dir(lem_models)


def test_a_part_of_the_expected_volume_is_the_same_amount_for_policies_of_any_memory():
    orders = Order.sample(BARS, every=5, max_periods=6)
    costs, values = CostModel(impact=1.0, order_size=0.05), []
    for sessions in (0, 1, 20, 60):
        policy = load_policy("twap")
        policy.sessions = sessions
        values.append(execute(policy, BARS, orders, costs=costs).orders)
    for other in values[1:]:
        for column in ("net_price", "order_value", "pwp_price"):
            np.testing.assert_allclose(other[column], values[0][column], rtol=1e-12)
