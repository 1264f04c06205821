"""The simulator: what a policy is told, what its answers fill, and the closed form of finishing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.execution.roll import Roll
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from tests.helpers import Erratic, Recorder, Scripted, order_batch, random_orders, random_window


def _window(price, volume=None, *, close=None, arrival=1.0, unit=1.0) -> MarketWindow:
    price = torch.atleast_2d(torch.as_tensor(price, dtype=torch.float64))
    volume = (
        torch.ones_like(price) if volume is None else torch.atleast_2d(torch.as_tensor(volume, dtype=torch.float64))
    )
    count = len(price)
    return MarketWindow(
        price=price,
        close=price if close is None else torch.atleast_2d(torch.as_tensor(close, dtype=torch.float64)),
        volume=volume,
        expected_volume=torch.ones_like(price),
        volatility=torch.full((count,), 0.01, dtype=torch.float64),
        arrival_price=torch.full((count,), arrival, dtype=torch.float64),
        volume_unit=torch.full((count,), unit, dtype=torch.float64),
        horizon_volume=torch.full((count,), float(price.shape[1]), dtype=torch.float64),
    )


def _settled(fraction, finish, orders, window):
    paths = simulate(Scripted(fraction, finish), orders, window)
    fills = finishing_fills(paths, chosen_period(paths)[:, None])
    return fills[0, 0].tolist(), settle(fills, orders, window)


# --- what is filled --------------------------------------------------------------------------------------------------


def test_the_last_period_trades_the_rest():
    fills, outcome = _settled([0.1, 0.2, 0.0, 0.0], 0.0, order_batch(max_periods=4), _window([1, 1, 1, 1]))
    assert fills == pytest.approx([0.1, 0.2, 0.0, 0.7])
    assert outcome.periods_used.item() == 4


def test_a_cap_forces_early_trading_when_time_runs_out():
    fills, _ = _settled([0.0] * 4, 0.0, order_batch(max_periods=4, max_rate=0.3), _window([1, 1, 1, 1]))
    assert fills == pytest.approx([0.1, 0.3, 0.3, 0.3])


def test_a_floor_trades_at_least_so_much_while_anything_remains():
    fills, _ = _settled([0.0] * 4, 0.0, order_batch(max_periods=4, min_rate=0.4), _window([1, 1, 1, 1]))
    assert fills == pytest.approx([0.4, 0.4, 0.2, 0.0])


def test_finishing_trades_the_rest_at_once():
    orders = order_batch(max_periods=4, min_periods=2)
    fills, outcome = _settled([0.1] * 4, [0.0, 1.0, 0.0, 0.0], orders, _window([1, 1, 1, 1]))
    assert fills == pytest.approx([0.1, 0.9, 0.0, 0.0])
    assert outcome.periods_used.item() == 2


def test_finishing_at_the_cap_takes_several_periods():
    orders = order_batch(max_periods=4, min_periods=1, max_rate=0.4)
    fills, outcome = _settled([0.1] * 4, [1.0, 0.0, 0.0, 0.0], orders, _window([1, 1, 1, 1]))
    assert fills == pytest.approx([0.4, 0.4, 0.2, 0.0])
    assert outcome.periods_used.item() == 3


def test_a_finish_before_the_minimum_is_not_acted_on():
    orders = order_batch(max_periods=4, min_periods=3)
    fills, outcome = _settled([0.1] * 4, 1.0, orders, _window([1, 1, 1, 1]))
    assert fills == pytest.approx([0.1, 0.1, 0.8, 0.0])
    assert outcome.periods_used.item() == 3


def test_a_finish_probability_of_one_half_goes_on():
    orders = order_batch(max_periods=3, min_periods=1)
    paths = simulate(Scripted([0.1] * 3, [0.5, 0.51, 0.0]), orders, _window([1, 1, 1]))
    assert chosen_period(paths).item() == 1


def test_a_bar_without_volume_fills_nothing_and_carries_over():
    window = _window([1, 1, 1, 1], [1, 0, 1, 1])
    fills, outcome = _settled([0.25] * 4, 0.0, order_batch(max_periods=4), window)
    assert fills == pytest.approx([0.25, 0.0, 0.25, 0.5])
    assert outcome.filled.item() == pytest.approx(1.0)


def test_an_order_whose_last_bar_is_silent_stays_incomplete():
    window = _window([1, 1, 1], [1, 1, 0])
    fills, outcome = _settled([0.25] * 3, 0.0, order_batch(max_periods=3), window)
    assert fills == pytest.approx([0.25, 0.25, 0.0])
    assert outcome.filled.item() == pytest.approx(0.5)
    assert outcome.periods_used.item() == 3


def test_finishing_waits_for_a_bar_with_volume():
    window = _window([1, 1, 1], [0, 1, 1])
    fills, outcome = _settled([0.0] * 3, [1.0, 0.0, 0.0], order_batch(max_periods=3, min_periods=1), window)
    assert fills == pytest.approx([0.0, 1.0, 0.0])
    assert outcome.periods_used.item() == 2


def test_participation_counts_units_for_a_quantity_and_money_for_a_notional():
    # A bar of 10 units at a price of 2 x 50 = 100.
    window = _window([2.0, 2.0], [1.0, 1.0], arrival=50.0, unit=10.0)
    quantity = order_batch(max_periods=2, amount=5.0, max_participation=0.1)  # 1 unit of 5
    money = order_batch(max_periods=2, amount=500.0, max_participation=0.1, target="notional")  # 100 of 500
    for orders in (quantity, money):
        assert simulate(Scripted([0.0, 0.0]), orders, window).capacity[0].tolist() == pytest.approx([0.2, 0.2])


def test_capacity_is_in_whole_lots():
    window = _window([1.0, 1.0], [1.0, 1.0], unit=3.7)
    orders = order_batch(max_periods=2, amount=4.0, lot_size=1.0, max_participation=1.0)
    assert simulate(Scripted([0.0, 0.0]), orders, window).capacity[0].tolist() == pytest.approx([0.75, 0.75])


def test_fractions_are_rounded_to_whole_lots():
    orders = order_batch(max_periods=3, amount=10.0, lot_size=1.0)
    fills, _ = _settled([0.14, 0.26, 0.0], 0.0, orders, _window([1, 1, 1]))
    assert fills == pytest.approx([0.1, 0.3, 0.6])


def test_a_cap_is_a_whole_number_of_lots():
    orders = order_batch(max_periods=4, amount=10.0, lot_size=1.0, max_rate=0.39)
    fills, _ = _settled([1.0] * 4, 0.0, orders, _window([1, 1, 1, 1]))
    assert fills == pytest.approx([0.3, 0.3, 0.3, 0.1])


# --- what a policy is told -------------------------------------------------------------------------------------------


def test_the_state_before_each_period():
    window = _window([2.0, 4.0, 8.0], [1.0, 3.0, 1.0], close=[3.0, 5.0, 9.0])
    recorder = Recorder(Scripted([0.5, 0.25, 0.0]))
    simulate(recorder, order_batch(max_periods=3), window)
    first, second, third = recorder.states
    assert [state.period for state in recorder.states] == [0, 1, 2]
    assert [state.remaining.item() for state in recorder.states] == pytest.approx([1.0, 0.5, 0.25])
    # Before anything has traded every price is the last close, which is 1.
    for name in ("executed_price", "vwap", "twap", "last_price", "last_close"):
        assert getattr(first, name).item() == 1.0
    assert (second.vwap.item(), second.twap.item()) == (2.0, 2.0)
    assert (second.last_price.item(), second.last_close.item()) == (2.0, 3.0)
    assert third.vwap.item() == pytest.approx((2 + 3 * 4) / 4)
    assert third.twap.item() == pytest.approx(3.0)
    assert third.executed_price.item() == pytest.approx((0.5 * 2 + 0.25 * 4) / 0.75)
    assert third.prices.tolist() == [[2.0, 4.0]]
    assert third.volumes.tolist() == [[1.0, 3.0]]


def test_the_executed_price_of_a_notional_target_is_harmonic():
    recorder = Recorder(Scripted([0.5, 0.25, 0.0]))
    simulate(recorder, order_batch(max_periods=3, target="notional"), _window([2.0, 4.0, 8.0]))
    assert recorder.states[2].executed_price.item() == pytest.approx(0.75 / (0.5 / 2 + 0.25 / 4))


def test_prices_so_far_leave_silent_bars_out():
    window = _window([2.0, 5.0, 4.0, 1.0], [0.0, 2.0, 0.0, 1.0], close=[2.0, 6.0, 4.0, 1.0])
    recorder = Recorder(Scripted([0.25] * 4))
    simulate(recorder, order_batch(max_periods=4), window)
    assert recorder.states[1].vwap.item() == 2.0  # the last close: nothing has traded
    assert recorder.states[3].vwap.item() == 5.0
    assert recorder.states[3].twap.item() == 5.0


# --- prices and benchmarks -------------------------------------------------------------------------------------------

PRICE, VOLUME = [100.0, 102.0, 99.0, 101.0], [10.0, 30.0, 20.0, 40.0]


@pytest.mark.parametrize(
    ("target", "executed"),
    [("quantity", 0.5 * 100 + 0.3 * 102 + 0.2 * 99), ("notional", 1 / (0.5 / 100 + 0.3 / 102 + 0.2 / 99))],
)
@pytest.mark.parametrize(
    ("benchmark", "price"),
    [("vwap", (1000 + 3060 + 1980) / 60), ("twap", (100 + 102 + 99) / 3)],
)
@pytest.mark.parametrize(("side", "sign"), [("buy", 1), ("sell", -1)])
def test_prices_by_hand(target, executed, benchmark, price, side, sign):
    orders = order_batch(max_periods=4, min_periods=1, target=target, benchmark=benchmark, side=side)
    window = _window(PRICE, VOLUME)
    _, outcome = _settled([0.5, 0.3, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], orders, window)
    assert outcome.executed_price.item() == pytest.approx(executed, rel=1e-12)
    assert outcome.benchmark_price.item() == pytest.approx(price, rel=1e-12)
    assert outcome.improvement.item() == pytest.approx(-sign * (executed / price - 1), rel=1e-9)
    assert outcome.periods_used.item() == 3


@pytest.mark.parametrize(
    ("minimum", "finish", "used", "benchmark_periods"),
    [(1, 0, 1, 1), (3, 0, 3, 3), (2, 2, 3, 3), (4, 0, 4, 4)],
    ids=["finished at once", "not before the minimum", "after the minimum", "fixed duration"],
)
def test_the_benchmark_ends_with_the_order_but_not_before_the_minimum(minimum, finish, used, benchmark_periods):
    orders = order_batch(max_periods=4, min_periods=minimum, benchmark="twap")
    flags = [0.0] * 4
    flags[finish:] = [1.0] * (4 - finish)
    _, outcome = _settled([0.1] * 4, flags, orders, _window(PRICE, VOLUME))
    assert outcome.periods_used.item() == used
    assert outcome.benchmark_price.item() == pytest.approx(np.mean(PRICE[:benchmark_periods]))


def test_an_order_traded_out_before_its_minimum_is_judged_over_the_minimum():
    orders = order_batch(max_periods=4, min_periods=3)
    fills, outcome = _settled([1.0, 0.0, 0.0, 0.0], 0.0, orders, _window(PRICE, VOLUME))
    assert fills == pytest.approx([1.0, 0.0, 0.0, 0.0])
    assert outcome.periods_used.item() == 1
    assert outcome.benchmark_price.item() == pytest.approx((1000 + 3060 + 1980) / 60)


def test_an_even_pace_against_the_twap_is_exactly_zero():
    rng = np.random.default_rng(0)
    window = random_window(rng, 50, 12)
    orders = order_batch(50, max_periods=12, benchmark="twap", side=["buy", "sell"] * 25)
    paths = simulate(Scripted(np.full(12, 1 / 12)), orders, window)
    outcome = settle(finishing_fills(paths, chosen_period(paths)[:, None]), orders, window)
    assert (outcome.improvement.abs() * 1e4 < 1e-9).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_fills_cost_a_seller_what_they_gain_a_buyer(seed):
    rng = np.random.default_rng(seed)
    table = random_orders(rng, 12, 6)
    window = random_window(rng, 12, 6, silent=0.1)
    outcomes = []
    for side in ("buy", "sell"):
        orders = OrderBatch.from_frame(table.assign(side=side))
        paths = simulate(Erratic(seed), orders, window)
        outcomes.append(settle(finishing_fills(paths, chosen_period(paths)[:, None]), orders, window))
    buy, sell = outcomes
    assert torch.equal(buy.filled, sell.filled)
    torch.testing.assert_close(buy.improvement, -sell.improvement, rtol=0, atol=0, equal_nan=True)


# --- the closed form -------------------------------------------------------------------------------------------------


def _by_loop(paths, order, finish_at):
    """Plain period-by-period trading at full capacity from ``finish_at`` on."""
    fills = paths.fills[order].tolist()
    left = paths.remaining[order, finish_at].item()
    for period in range(finish_at, len(fills)):
        fills[period] = min(left, paths.capacity[order, period].item())
        left -= fills[period]
    return fills


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 9), silent=st.sampled_from([0.0, 0.3]))
def test_finishing_fills_equal_a_plain_loop(seed, horizon, silent):
    rng = np.random.default_rng(seed)
    orders = OrderBatch.from_frame(random_orders(rng, 6, horizon))
    paths = simulate(Erratic(seed), orders, random_window(rng, 6, horizon, silent=silent))
    every = torch.arange(horizon).expand(6, horizon)
    fills = finishing_fills(paths, every)
    for order in range(6):
        for period in range(int(orders.max_periods[order])):
            expected = _by_loop(paths, order, period)
            np.testing.assert_allclose(fills[order, period].numpy(), expected, atol=1e-11)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), horizon=st.integers(1, 9), silent=st.sampled_from([0.0, 0.3]))
def test_orders_taken_out_and_joined_fill_as_in_the_whole_batch(seed, horizon, silent):
    rng = np.random.default_rng(seed)
    table, window = random_orders(rng, 5, horizon), random_window(rng, 5, horizon, silent=silent)
    fraction, finish = rng.random((5, horizon)), rng.random((5, horizon))
    orders = OrderBatch.from_frame(table)
    together = simulate(Scripted(fraction, finish), orders, window)
    chosen = chosen_period(together)
    finished = finishing_fills(together, chosen[:, None])[:, 0]
    known = ("expected_volume", "volatility", "arrival_price", "volume_unit")
    whole = Roll(orders, **{name: getattr(window, name) for name in known})
    sequence = np.arange(5)
    rolls = [whole.select(torch.arange(5) < 2), whole.select(torch.arange(5) >= 2)]
    for period in range(horizon):
        # Take the orders apart at another place, and put them together in another sequence.
        order = torch.from_numpy(rng.permutation(5))
        whole, sequence = Roll.joined(rolls).select(order), sequence[order.numpy()]
        finishing = torch.from_numpy(period >= chosen.numpy()[sequence])
        before = whole.remaining
        if not finishing.all():
            whole.decide(Scripted(fraction[sequence], finish[sequence]), finishing=finishing)
        whole.complete(finishing)
        whole.book(*(getattr(window, name)[sequence, period] for name in ("price", "close", "volume")))
        expected = finished[sequence, period]
        torch.testing.assert_close(before - whole.remaining, expected, atol=1e-11, rtol=0)
        cut = torch.arange(5) < int(rng.integers(1, 5))
        rolls = [whole.select(cut), whole.select(~cut)]


def test_the_batch_is_the_orders_one_by_one():
    rng = np.random.default_rng(5)
    table, window = random_orders(rng, 20, 8), random_window(rng, 20, 8, silent=0.2)
    policy = Scripted(rng.random((20, 8)), rng.random((20, 8)))
    together = simulate(policy, OrderBatch.from_frame(table), window)
    for row in range(20):
        part = slice(row, row + 1)
        periods = int(table["max_periods"][row])
        alone = MarketWindow(**{k: v[part, :periods] if v.ndim == 2 else v[part] for k, v in vars(window).items()})
        one = Scripted(policy.fraction[part], policy.finish[part])
        paths = simulate(one, OrderBatch.from_frame(table.iloc[part]), alone)
        assert torch.equal(paths.fills, together.fills[part, :periods])
        assert (together.fills[row, periods:] == 0).all()
