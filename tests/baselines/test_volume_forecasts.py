"""The dynamic volume policies: they find what is planted, read nothing later, and survive bad bars."""

import numpy as np
import pandas as pd
import pytest
import torch

from lem_models.baselines import load_policy
from lem_models.baselines.dynamic_volume_curve import DynamicVolumeCurve, SpecificPart, fit_specific
from lem_models.baselines.kalman_volume import KalmanVolume
from lem_models.errors import BarsError
from lem_models.execution.execute import execute
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.orders import Order
from tests.helpers import flat_bars, hourly, order_table, perturbed, rebuilt, scaled, sessions

FORECASTERS = ["kalman_volume", "dynamic_volume_curve"]
BARS = hourly()


def _planted(bars=2400, persistence=0.9, noise=0.2, daily=0.0, seed=0):
    """Volumes with a season, a persistent part and noise, and prices that walk."""
    rng = np.random.default_rng(seed)
    dynamic = np.zeros(bars)
    for k in range(1, bars):
        dynamic[k] = persistence * dynamic[k - 1] + np.sqrt(1 - persistence**2) * 0.5 * rng.standard_normal()
    season = 0.6 * np.sin(2 * np.pi * np.arange(bars) / 24)
    level = np.repeat(daily * rng.standard_normal(bars // 24), 24)
    volume = 100 * np.exp(season + dynamic + level + noise * rng.standard_normal(bars))
    return flat_bars(100 * np.exp(0.01 * np.cumsum(rng.standard_normal(bars))), volume)


def _forecast(policy, bars, rows, periods):
    """Forecast of the volumes after some rows, in units of volume."""
    market = Market(bars)
    expected = market.profile_over(rows + 1, periods, policy.sessions).expected(rows + 1, periods)
    return policy.forecast(policy.encode(market, rows, np.ones(len(rows))), periods).numpy() * expected


@pytest.mark.parametrize("name", FORECASTERS)
def test_it_forecasts_better_than_the_plain_curve(name):
    bars, rows = _planted(), np.arange(400, 2380, 7)
    coming = bars.volume[rows[:, None] + 1 + np.arange(12)]
    curve = Market(bars).profile_over(rows + 1, 12, 20).expected(rows + 1, 12)

    def error(forecast, periods):
        return np.abs(np.log(forecast / coming) - np.log(forecast / coming).mean())[:, periods].mean()

    ours = _forecast(load_policy(name), bars, rows, 12)
    assert error(ours, slice(0, 1)) < 0.75 * error(curve, slice(0, 1))
    assert error(ours, slice(0, 12)) < 0.95 * error(curve, slice(0, 12))


@pytest.mark.parametrize("name", FORECASTERS)
@pytest.mark.parametrize("bars", [_planted(), sessions(days=40)], ids=["round the clock", "sessions"])
def test_it_follows_the_vwap_closer_than_the_plain_curve_and_twap(name, bars):
    orders = Order.sample(bars, every=3, max_periods=12)
    spread = {
        n: execute(load_policy(n), bars, orders).orders["slippage_bps"].std() for n in (name, "volume_curve", "twap")
    }
    assert spread[name] < 0.92 * spread["volume_curve"]
    assert spread[name] < 0.92 * spread["twap"]


@pytest.mark.parametrize("name", FORECASTERS)
def test_against_the_twap_it_is_an_even_pace(name):
    fractions = execute(load_policy(name), BARS, order_table(BARS, 300, max_periods=8, benchmark="twap")).schedule
    assert fractions["fraction"].tolist() == pytest.approx([1 / 8] * 8)


@pytest.mark.parametrize("name", FORECASTERS)
def test_contexts_read_256_bars_and_20_sessions_before_them_and_no_later_bar(name):
    bars = hourly(50, 1)
    rows = np.array([900, 920])

    def contexts(market):
        return load_policy(name).encode(Market(market), rows, np.ones(2))

    earliest = (900 - 255) // 24 * 24 - 20 * 24
    before = contexts(bars)
    assert torch.equal(before, contexts(perturbed(bars, np.r_[0:earliest, 921 : len(bars)])))
    for read in ((900 // 24 - 20) * 24 + 23, 900):
        assert not torch.equal(before, contexts(perturbed(bars, np.arange(read - 23, read + 1))))


@pytest.mark.parametrize("name", FORECASTERS)
def test_units_of_volume_drop_out(name):
    orders = Order.sample(BARS, every=11, max_periods=12)
    one, other = (execute(load_policy(name), bars, orders).schedule for bars in (BARS, scaled(BARS, volumes=1e6)))
    np.testing.assert_allclose(one["fraction"], other["fraction"], atol=1e-9)


@pytest.mark.parametrize("name", FORECASTERS)
def test_an_outlier_moves_the_forecast_little(name):
    bars = _planted(noise=0.1)
    frame = bars.frame
    frame.loc[600, ["volume", "notional"]] *= 1000.0
    rows = np.array([601])
    plain, hit = (_forecast(load_policy(name), market, rows, 6) for market in (bars, rebuilt(bars, frame)))
    # The mean of a history with such a bar is no unit: shapes are compared.
    np.testing.assert_allclose(hit / hit.sum(), plain / plain.sum(), atol=0.2)


@pytest.mark.parametrize("name", FORECASTERS)
def test_silent_bars_do_no_harm(name):
    silent = perturbed(BARS, np.arange(0, len(BARS), 3), silent=0.3)
    orders = Order.sample(BARS, every=17, max_periods=12)
    ours, even = (execute(load_policy(policy), silent, orders).orders for policy in (name, "twap"))
    assert len(ours)
    # An order whose last bars are silent cannot complete, whoever trades it.
    assert ours["completed"].tolist() == even[even["order_id"].isin(ours["order_id"])]["completed"].tolist()
    assert ours["slippage_bps"].abs().max() < 2000


@pytest.mark.parametrize("name", FORECASTERS)
def test_live_it_decides_what_it_decides_in_hindsight(name):
    policy, row = load_policy(name), 310
    frame = BARS.frame
    own = frame[frame["symbol"] == BARS.symbols[0]].reset_index(drop=True)
    order = order_table(BARS, row, max_periods=5).iloc[0].to_dict()
    hindsight = execute(policy, BARS, order_table(BARS, row, max_periods=5)).schedule["fraction"].tolist()
    session = policy.session(order, history=rebuilt(BARS, own.iloc[:row]))
    lived = []
    while not session.done:
        lived.append(session.decide().fraction)
        session.observe(own.iloc[row + len(lived) - 1])
    assert lived == pytest.approx(hindsight, abs=1e-9)


def test_the_kalman_filter_finds_the_planted_persistence():
    rows = np.arange(400, 4700, 50)
    found = [
        KalmanVolume().encode(Market(_planted(4800, persistence=p)), rows, np.ones(len(rows)))[:, 2].mean()
        for p in (0.3, 0.9)
    ]
    assert found[0] < 0.6
    assert found[1] > 0.68  # the daily means take a part of it away


@pytest.mark.parametrize(("phi", "theta"), [(0.8, -0.3), (0.5, 0.3)])
def test_arma_coefficients_are_found(phi, theta):
    rng = np.random.default_rng(0)
    e, y = rng.standard_normal(3000), np.zeros(3000)
    for t in range(1, 3000):
        y[t] = 0.1 + phi * y[t - 1] + e[t] + theta * e[t - 1]
    found = fit_specific(y)
    assert (found.low, found.high, found.theta) == pytest.approx((phi, phi, theta), abs=0.08)
    assert found.low_constant == pytest.approx(0.1, abs=0.05)


def test_setar_regimes_are_found():
    rng = np.random.default_rng(0)
    e, y = rng.standard_normal(3000), np.zeros(3000)
    for t in range(1, 3000):
        y[t] = (0.5 + 0.8 * y[t - 1] if y[t - 1] <= 0.3 else -0.5 - 0.4 * y[t - 1]) + e[t]
    found = fit_specific(y)
    assert found.theta == 0
    assert (found.low, found.high) == pytest.approx((0.8, -0.4), abs=0.15)
    assert found.threshold == pytest.approx(0.3, abs=0.3)


def test_a_fit_learns_each_symbol_s_dynamics():
    bars = hourly(days=40, symbols=3)
    policy = DynamicVolumeCurve.fit(bars)
    assert policy.specific(bars.symbols[0]) != SpecificPart()
    assert policy.specific("unheard of") == SpecificPart()
    assert execute(policy, bars, Order.sample(bars, every=24, max_periods=12)).orders["completed"].all()


def test_a_fit_needs_bars():
    with pytest.raises(BarsError, match="too few"):
        DynamicVolumeCurve.fit(flat_bars(np.full(40, 10.0)))


def test_a_fit_takes_bars_of_one_calendar():
    around = flat_bars(np.full(400, 10.0)).frame
    days = around[around["timestamp"].dt.hour.between(14, 20) & (around["timestamp"].dt.dayofweek < 5)]
    bars = Bars.from_frame(pd.concat([around, days.assign(symbol="SPY")]))
    with pytest.raises(BarsError, match=r"different calendars .*by_calendar"):
        DynamicVolumeCurve.fit(bars)
