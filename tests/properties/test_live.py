"""Live sessions decide what execution decides in hindsight, to a stated tolerance, whatever prices and volumes do."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lem_models import execute, synthetic_bars
from lem_models.execution.live import LIVE_TOLERANCE
from lem_models.execution.session import LiveSession
from lem_models.modeling.kernels.library import kernels
from tests.helpers import Recorder, policy_named, scaled

PERIODS = 12
ENCODING = ("lem-crypto-hourly", "random weights", "random weights, gru")
PLAIN = ("twap", "volume_curve", "stopping_rule", "kalman_volume")
SHOCKS = ("none", "jumps", "spikes", "wild", "tiny prices", "huge volumes", "silent bars")


@pytest.fixture(params=["1", "0"], ids=["kernels", "eager"])
def either_kernels(request, monkeypatch):
    monkeypatch.setenv("LEM_KERNELS", request.param)
    kernels.cache_clear()
    yield
    monkeypatch.undo()
    kernels.cache_clear()


def _market(seed, shock):
    """Hourly bars with prices that jump by a factor of 1000, or all over the place, or volumes that do."""
    rng = np.random.default_rng(seed)
    bars = synthetic_bars(symbols=1, days=13, seed=seed)
    price, volume = np.ones(len(bars)), np.ones(len(bars))
    if shock == "jumps":
        price = 1000.0 ** np.cumsum(np.where(rng.random(len(bars)) < 0.1, rng.choice([-1, 1], len(bars)), 0)).clip(
            -3, 3
        )
    elif shock == "spikes":
        price = np.where(rng.random(len(bars)) < 0.2, rng.choice([1e-3, 1e3], len(bars)), 1.0)
    elif shock == "wild":
        price, volume = 10.0 ** rng.uniform(-3, 3, len(bars)), 10.0 ** rng.uniform(-6, 6, len(bars))
    elif shock == "tiny prices":
        price = np.full(len(bars), 1e-9)
    elif shock == "huge volumes":
        volume = 10.0 ** rng.uniform(0, 12, len(bars))
    elif shock == "silent bars":
        volume = (rng.random(len(bars)) > 0.2).astype(float)
    return scaled(bars, prices=price, volumes=volume)


def _orders(bars, seed, horizon, count=4):
    rng = np.random.default_rng(seed)
    start = rng.integers(260, len(bars) - PERIODS, count)
    return pd.DataFrame(
        {
            "symbol": bars.symbols[0],
            "start": pd.to_datetime(bars.timestamp[start], utc=True),
            "side": rng.choice(["buy", "sell"], count),
            "benchmark": rng.choice(["vwap", "twap"], count),
            "target": rng.choice(["quantity", "notional"], count),
            "min_periods": rng.integers(1, horizon + 1, count),
            "max_periods": horizon,
            "max_rate": rng.choice([1.0, 0.3], count),
            "risk_aversion": rng.choice([0.1, 1.0], count),
        }
    )


def _compare(name, seed, shock, tolerance):
    policy, bars = policy_named(name), _market(seed, shock)
    recorder = Recorder(policy)
    orders = _orders(bars, seed, min(PERIODS, policy.horizon or PERIODS))
    result = execute(recorder, bars, orders)
    by_start = np.argsort(result.orders["start"], kind="stable")
    chances = np.empty(recorder.decisions().shape[:2])
    chances[by_start] = recorder.decisions()[..., 1]
    rows = bars.frame.to_dict("records")
    for number, order in enumerate(result.orders[orders.columns].to_dict("records")):
        session = LiveSession(policy, order, bars.between(end=order["start"]))
        first = int(bars.locate(order["symbol"], [order["start"].value])[0])
        hindsight = result.periods_of(number)["fraction"].to_numpy()
        chosen = result.finish_period[number]
        while not session.done:
            period, before = session.period, session.remaining
            decision = session.decide()
            if decision.finish != (period >= chosen):
                # The two part here: the chance of finishing is a half, as nearly as they agree.
                assert abs(chances[number, period] - 0.5) <= tolerance
                break
            session.observe(rows[first + period])
            assert abs(before - session.remaining - hindsight[period]) <= tolerance


@pytest.mark.parametrize("name", ENCODING)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), shock=st.sampled_from(SHOCKS))
def test_a_model_decides_live_as_in_hindsight(either_kernels, name, seed, shock):
    _compare(name, seed, shock, LIVE_TOLERANCE)


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), shock=st.sampled_from(SHOCKS))
def test_a_policy_that_encodes_nothing_decides_the_same_to_rounding(name, seed, shock):
    _compare(name, seed, shock, 1e-8)
