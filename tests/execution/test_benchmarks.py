"""The benchmarks of an order: what each compares with, when it ends, and who knows which."""

import numpy as np
import pandas as pd
import pytest

from lem_models.baselines.registry import list_policies
from lem_models.errors import OrderError, PolicyError
from lem_models.execution.execute import execute
from lem_models.execution.policy import Policy
from lem_models.execution.records import BENCHMARKS, Decision
from lem_models.markets.bars import Bars
from lem_models.orders import Order
from tests.helpers import hourly, perturbed, random_model, tiny_config

BARS = perturbed(hourly(40, 2), np.arange(300, 960), silent=0.1)


class AtOnce(Policy):
    """Everything in the first bar."""

    def decide(self, context, orders, state):
        return Decision(1.0, True)


def orders(bars: Bars, **settings: object) -> pd.DataFrame:
    given = {"every": 7, "benchmark": list(BENCHMARKS), "target": ["quantity", "notional"], "max_periods": 12}
    return Order.sample(bars, **(given | {"min_periods": [1, 6, 12]} | settings))


@pytest.fixture(scope="module", params=["twap", "stopping_rule"])
def result(request):
    """Orders of all kinds, also over bars without volume, in which an order with this cap cannot complete."""
    rng, count = np.random.default_rng(0), 800
    table = pd.DataFrame(
        {
            "symbol": rng.choice(BARS.symbols, count),
            "start": BARS.frame["timestamp"].iloc[rng.integers(300, 900, count)].reset_index(drop=True),
            "side": rng.choice(["buy", "sell"], count),
            "benchmark": rng.choice(BENCHMARKS, count),
            "target": rng.choice(["quantity", "notional"], count),
            "min_periods": rng.integers(1, 13, count),
            "max_periods": 12,
            "max_rate": 0.09,
        }
    )
    return execute(request.param, BARS, table)


def test_the_benchmark_price_is_that_of_its_definition(result):
    frame = BARS.frame
    for order in result.orders.to_dict("records"):
        of_symbol = frame[frame["symbol"] == order["symbol"]].reset_index(drop=True)
        first = int(of_symbol.index[of_symbol["timestamp"] == order["start"]][0])
        interval = of_symbol.iloc[first : first + max(order["min_periods"], order["periods_used"])]
        whole = of_symbol.iloc[first : first + order["max_periods"]]
        traded = interval[interval["volume"] > 0]
        expected = {
            "vwap": interval["notional"].sum() / interval["volume"].sum(),
            "twap": (traded["notional"] / traded["volume"]).mean(),
            "full_vwap": whole["notional"].sum() / whole["volume"].sum(),
            "arrival": of_symbol["close"].iloc[first - 1],
        }[order["benchmark"]]
        assert order["benchmark_price"] == pytest.approx(expected, rel=1e-9)


def test_the_slippage_is_against_the_benchmark_and_on_arrival_of_what_is_unfilled_too(result):
    table = result.orders
    sign = np.where(table["side"] == "buy", 1.0, -1.0)
    plain = sign * (table["executed_price"] / table["benchmark_price"] - 1) * 1e4
    on_arrival = (table["benchmark"] == "arrival").to_numpy()
    np.testing.assert_allclose(table["slippage_bps"][~on_arrival], plain[~on_arrival], atol=1e-7)
    np.testing.assert_allclose(table["slippage_bps"][on_arrival], table["shortfall_bps"][on_arrival], atol=1e-9)
    partly = on_arrival & (table["filled"] < 1).to_numpy()
    assert partly.any()
    assert not np.allclose(table["slippage_bps"][partly], plain[partly])


@pytest.mark.parametrize("policy", list_policies())
def test_every_policy_serves_every_benchmark(policy):
    table = orders(BARS, every=29, seed=1, max_periods=4, min_periods=2)
    result = execute(policy, BARS, table)
    assert set(result.orders["benchmark"]) == set(BENCHMARKS)
    assert np.isfinite(result.orders["slippage_bps"]).all()


def test_benchmarks_that_do_not_end_with_the_order_pay_nothing_for_ending():
    table = orders(hourly(40, 2), benchmark="vwap", min_periods=1).drop(columns="order_id")
    ended = execute(AtOnce(), hourly(40, 2), table).orders
    np.testing.assert_allclose(ended["benchmark_price"], ended["executed_price"])  # one bar's VWAP, which the order is
    whole = execute(AtOnce(), hourly(40, 2), table.assign(benchmark="full_vwap")).orders
    assert (np.abs(whole["benchmark_price"] / whole["executed_price"] - 1) > 1e-6).mean() > 0.9


def test_a_model_refuses_a_benchmark_that_its_head_does_not_know():
    model = random_model(tiny_config())
    table = orders(BARS, benchmark=["vwap", "arrival"], max_periods=6, min_periods=6)
    with pytest.raises(OrderError, match="does not know the benchmark arrival, only vwap and twap") as error:
        execute(model, BARS, table)
    assert error.value.field == "benchmark"
    with pytest.raises(OrderError, match="does not know the benchmark full_vwap"):
        model.session({**table.iloc[0].to_dict(), "benchmark": "full_vwap"}, BARS)


@pytest.mark.parametrize("benchmarks", ["vwap", (), ("vwop",), 3])
def test_wrong_benchmarks_of_a_policy_are_named(benchmarks):
    policy = AtOnce()
    policy.benchmarks = benchmarks
    with pytest.raises(PolicyError, match="benchmarks is"):
        execute(policy, BARS, orders(BARS))
