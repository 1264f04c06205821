"""Optimal stopping and trading by regression: against the optimum of theory, and what it must never do."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from benchmarks.martingale_optimum import optimum
from lem_models.baselines import load_policy, longstaff_schwartz
from lem_models.baselines.longstaff_schwartz import (
    LongstaffSchwartz,
    LongstaffSchwartzNet,
    OrderKind,
    martingale_window,
)
from lem_models.baselines.path_basis import path_basis
from lem_models.baselines.regression_paths import RegressionPaths, benchmark_pace, paced
from lem_models.execution.costs import CostModel, cost_model
from lem_models.execution.execute import execute
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from lem_models.markets.synthetic import synthetic_bars
from lem_models.orders import Order
from tests.helpers import flat_bars, hourly, order_table, rebuilt

PATHS = 30_000
POLICY = LongstaffSchwartz()
QUICK = LongstaffSchwartz(paths=2048)
"""For what differs by more than the error of few paths."""


@lru_cache
def _improvement(policy, kind, paths=8000):
    """Improvement in bar volatilities on paths that the regressions have not seen."""
    orders, window = kind.orders(paths), martingale_window(kind.process, kind.max_periods, paths, seed=99)
    rolled = simulate(policy, orders, window)
    outcome = settle(finishing_fills(rolled, chosen_period(rolled)[:, None]), orders, window)
    assert (outcome.filled > 1 - 1e-9).all()
    return (outcome.improvement[:, 0] / window.volatility).numpy()


@pytest.mark.parametrize(("minimum", "expected"), [(1, 0.306), (6, 0.260), (11, 0.0513), (12, 0.0)])
def test_the_optimum_of_theory(minimum, expected):
    assert optimum(minimum, nodes=7) == pytest.approx(expected, abs=0.0015)


@pytest.mark.parametrize("minimum", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in (6, 11)), 12])
def test_it_comes_within_three_percent_of_the_optimum_and_not_above(minimum):
    x = _improvement(POLICY, OrderKind(12, minimum, 1, "vwap", 0.0, "bar"), PATHS)
    best, error = optimum(minimum, nodes=7), x.std() / np.sqrt(PATHS)
    assert x.mean() > 0.97 * best - 2 * error
    assert x.mean() < best + 4 * error


def test_it_earns_more_than_the_stopping_rule():
    kind = OrderKind(12, 1, 1, "vwap", 0.0, "bar")
    assert _improvement(POLICY, kind).mean() > 1.4 * _improvement(load_policy("stopping_rule"), kind).mean()


def test_risk_aversion_pays_for_certainty():
    calm, bold = (_improvement(QUICK, OrderKind(12, 1, 1, "vwap", risk, "path")) for risk in (1.6, 0.0))
    assert calm.std() < 0.85 * bold.std()
    assert calm.mean() < bold.mean()


def test_a_fixed_duration_varies_less_than_an_even_pace():
    kind = OrderKind(12, 12, 1, "vwap", 0.8, "path")
    assert _improvement(POLICY, kind).std() < 0.9 * _improvement(load_policy("twap"), kind).std()


def test_a_tight_cap_is_worth_less():
    free, tight = (_improvement(QUICK, OrderKind(12, 1, needed, "vwap", 0.0, "bar")) for needed in (1, 8))
    assert 0.05 < tight.mean() < 0.8 * free.mean()


def test_bars_whose_close_is_their_price_are_told_from_others():
    policy = LongstaffSchwartz(paths=512)
    execute(
        policy,
        flat_bars(np.linspace(10, 11, 300)),
        order_table(flat_bars(np.linspace(10, 11, 300)), 280, min_periods=1, max_periods=6),
    )
    assert {kind.process for kind in policy._plans} == {"path", "bar"}
    policy = LongstaffSchwartz(paths=512)
    execute(policy, hourly(), order_table(hourly(), 300, min_periods=1, max_periods=6))
    assert {kind.process for kind in policy._plans} == {"path"}


def test_equal_seeds_decide_equally_and_order_of_fitting_does_not_matter():
    bars = hourly()
    orders = Order.sample(bars, every=7, min_periods=[1, 4], max_periods=6)
    first, second = LongstaffSchwartz(paths=512), LongstaffSchwartz(paths=512)
    execute(second, bars, orders.query("min_periods == 4"))
    assert execute(first, bars, orders).schedule.equals(execute(second, bars, orders).schedule)


def test_similar_risk_aversions_share_their_regressions():
    policy = LongstaffSchwartz(paths=512)
    bars = hourly()
    table = order_table(bars, [300] * 4, min_periods=1, max_periods=4, risk_aversion=[0.1, 0.105, 0.0, 0.01])
    execute(policy, bars, table)
    assert {kind.risk_aversion for kind in policy._plans} == {0.0, 0.1}


def test_long_orders_have_few_regressions():
    kind = OrderKind(34, 1, 1, "vwap", 0.0, "bar")
    policy = LongstaffSchwartz(paths=256)
    orders, window = kind.orders(500), martingale_window("bar", 34, 500, 1)
    paths = simulate(policy, orders, window)
    assert len(policy._plans[kind].finish) <= 16
    x = (
        settle(finishing_fills(paths, chosen_period(paths)[:, None]), orders, window).improvement
        / window.volatility[:, None]
    )
    assert float(x.mean()) > 0.2


class _Arriving(Policy):
    """Given fills before a period, and another policy from there on."""

    def __init__(self, fills, period, policy):
        self._fills, self._period, self._policy = fills, period, policy

    def decide(self, context, orders, state):
        if state.period < self._period:
            return Decision(self._fills[:, state.period], False)
        return self._policy.decide(context, orders, state)


class _Carried(Policy):
    """One pace in a period, or what is advised, and the advice afterwards."""

    def __init__(self, period, advice, own):
        self._period, self._advice, self._own = period, advice, own

    def decide(self, context, orders, state):
        ratio, advantage = self._advice(path_basis(orders, state), state.period)
        is_first = state.period == self._period
        ratio = self._own if is_first and self._own is not None else ratio
        return Decision(paced(state.remaining, benchmark_pace(orders, state), ratio), (advantage > 0) & (not is_first))


@pytest.mark.parametrize(
    "kind",
    [
        OrderKind(12, 1, 1, "vwap", 0.0, "path"),
        OrderKind(12, 5, 8, "full_vwap", 0.8, "bar"),
        OrderKind(20, 4, 3, "arrival", 0.1, "path"),
        OrderKind(20, 1, 2, "twap", 0.0, "bar"),
    ],
)
def test_the_regressions_are_those_of_whole_simulations(kind, monkeypatch):
    count = 300
    fast = LongstaffSchwartz(paths=count)._fitted(kind)
    orders, window = kind.orders(count), martingale_window(kind.process, kind.max_periods, count, 0)

    def simulated(paths, first, basis, minimum, advice, own):
        carried = _Carried(first, advice, own)
        whole = simulate(_Arriving(paths.arrived.fills, first, carried), orders, window)
        return whole, chosen_period(whole)

    monkeypatch.setattr(RegressionPaths, "until_finished", simulated)
    slow = LongstaffSchwartz(paths=count)._fitted(kind)
    for name in ("pace", "finish"):
        ours, theirs = getattr(fast, name), getattr(slow, name)
        assert ours.keys() == theirs.keys()
        assert ours
        for knot, coefficients in ours.items():
            torch.testing.assert_close(coefficients, theirs[knot], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("own", [0.0, 2.5, None])
@pytest.mark.parametrize("needed", [1, 4])
def test_orders_go_on_as_in_the_simulator(needed, own):
    """Bit for bit, also where bars do not trade."""
    kind = OrderKind(10, 3, needed, "vwap", 0.1, "path")
    orders, window = kind.orders(400), martingale_window("path", 10, 400, 5)
    silent = torch.rand(window.volume.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    for volume in (window.volume, torch.where(silent, 0.0, window.volume)):
        market = replace(window, volume=volume)
        paths = RegressionPaths(orders, market, 3)

        def advice(basis, period):
            return 1 + basis[1] / 4, basis[1] - 0.5  # finishes when the benchmark is far above the price

        for first in (0, 1, 6, 8):
            policy = _Carried(first, advice, own)
            whole = simulate(_Arriving(paths.arrived.fills, first, policy), orders, market)
            rolled, end = paths.until_finished(first, paths.basis(first), 3, advice, own)
            assert torch.equal(end, chosen_period(whole))
            assert torch.equal(finishing_fills(rolled, end[:, None]), finishing_fills(whole, end[:, None]))


def test_other_minima_and_risk_aversions_use_the_same_paths(monkeypatch):
    made = []
    monkeypatch.setattr(longstaff_schwartz, "martingale_window", lambda *a: made.append(a[:2]) or martingale_window(*a))
    policy = LongstaffSchwartz(paths=256)
    for minimum, risk, process in [(1, 0.1, "path"), (4, 0.1, "path"), (4, 0.8, "path"), (4, 0.8, "bar")]:
        policy._fitted(OrderKind(6, minimum, 2, "vwap", risk, process))
    assert made == [("path", 6), ("bar", 6)]


@pytest.mark.parametrize(("first", "second"), [(1, 5), (5, 1)])
def test_regressions_shared_with_another_minimum_are_those_of_a_fit_alone(first, second):
    kinds = [OrderKind(24, minimum, 2, "vwap", 0.4, "path") for minimum in (first, second)]
    policy = LongstaffSchwartz(paths=512)
    policy._plans[kinds[0]] = policy._fitted(kinds[0])
    shared, alone = policy._fitted(kinds[1]), LongstaffSchwartz(paths=512)._fitted(kinds[1])
    for name in ("pace", "finish"):
        ours, theirs = getattr(shared, name), getattr(alone, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[knot], theirs[knot]) for knot in ours)


def _momentum():
    """Prices whose returns go on: a share of each is repeated by the next bar."""
    rng = np.random.default_rng(0)
    returns = 0.01 * rng.standard_normal(12_000)
    for k in range(1, len(returns)):
        returns[k] += 0.6 * returns[k - 1]
    return flat_bars(100 * np.exp(np.cumsum(returns)), rng.lognormal(0, 0.3, len(returns)))


def test_history_teaches_what_a_martingale_cannot():
    bars = _momentum()
    past = bars.frame.iloc[:6000]
    fitted = LongstaffSchwartz.fit(rebuilt(bars, past), paths=4096)
    orders = Order.sample(
        bars, every=3, side="both", min_periods=1, max_periods=8, start=str(past["timestamp"].iloc[-1])
    )
    found = [execute(policy, bars, orders).orders for policy in (fitted, LongstaffSchwartz(paths=4096))]
    history, martingale = ((-f["slippage_bps"] / f["volatility_bps"]).mean() for f in found)
    assert history > martingale + 0.02


def test_fitting_leaves_the_bars_alone_and_needs_enough_of_them():
    bars = synthetic_bars(symbols=1, days=20, seed=3)
    fitted = LongstaffSchwartz.fit(bars, paths=256)
    result = execute(fitted, bars, Order.sample(bars, every=24, min_periods=1, max_periods=6))
    assert result.orders["completed"].all()
    assert torch.isfinite(torch.tensor(result.orders["slippage_bps"].to_numpy())).all()


class TestSizes:
    """Regressions net of the impact of the order's own size."""

    KIND = OrderKind(12, 1, 1, "vwap", 0.0, "path", impact=1.0)

    def _run(self, policy, impact=KIND.impact):
        """Net improvement in bar volatilities, and periods used, on paths that the regressions have not seen."""
        count = 6000
        orders, window = replace(self.KIND, impact=impact).orders(count), martingale_window("path", 12, count, 99)
        priced = CostModel(impact=1).priced(window, orders.impact**2)
        paths = simulate(policy, orders, priced)
        outcome = settle(finishing_fills(paths, chosen_period(paths)[:, None]), orders, priced)
        return float((outcome.improvement[:, 0] / window.volatility).mean()), outcome.periods_used.double().mean()

    def test_it_takes_longer_and_earns_more_net(self):
        (net, longer), (gross, shorter) = self._run(LongstaffSchwartzNet(paths=2048)), self._run(QUICK)
        assert longer > shorter + 1
        assert net > gross + 0.03

    def test_the_larger_the_order_the_longer_it_takes(self):
        policy = LongstaffSchwartzNet(paths=1024)
        periods = [self._run(policy, impact)[1] for impact in (0.0, 0.1, 0.4, 1.6)]
        assert periods == sorted(periods)
        assert periods[-1] > periods[0] + 1

    def test_without_a_size_it_is_the_policy_without_costs(self):
        bars = hourly()
        orders = Order.sample(bars, every=3, side="both", min_periods=1, max_periods=6)
        costs = CostModel(fee_bps=5)
        free, net, dear = (
            execute(policy, bars, orders, costs=costs).schedule
            for policy in (
                LongstaffSchwartz(paths=512),
                LongstaffSchwartzNet(paths=512),
                _Sized(paths=512),
            )
        )
        assert net.equals(free)
        assert not dear.equals(free)

    def test_every_order_is_decided_by_its_own_size(self):
        bars = hourly()
        orders = Order.sample(bars, every=3, side="both", min_periods=1, max_periods=6, limit=60, seed=1)
        amounts = np.where(np.arange(len(orders)) % 2, 1e-6, 1e6)
        costs = CostModel(impact=0.8)
        mixed = execute(LongstaffSchwartzNet(paths=512), bars, orders.assign(amount=amounts), costs=costs)
        for amount in (1e-6, 1e6):
            rows = amounts == amount
            alone = execute(
                LongstaffSchwartzNet(paths=512), bars, orders[rows].assign(amount=amount), costs=costs
            ).orders
            ours = mixed.orders[rows].reset_index(drop=True)
            np.testing.assert_array_equal(ours["executed_price"], alone["executed_price"])


class _Sized(LongstaffSchwartzNet):
    """Decides as if every order had an impact."""

    def decide(self, context, orders, state):
        return super().decide(context, replace(orders, impact=torch.ones_like(orders.impact)), state)


def test_net_of_costs_it_earns_more_than_without_them_in_mind():
    bars = synthetic_bars(symbols=2, days=120, seed=6)
    orders = Order.sample(bars, every=5, side="both", min_periods=1, max_periods=12)
    costs = cost_model("crypto").at(0.1)
    gross, net = (
        -execute(policy(paths=2048), bars, orders, costs=costs).orders["net_slippage_bps"].mean()
        for policy in (LongstaffSchwartz, LongstaffSchwartzNet)
    )
    assert net > gross + 3
