"""Many live orders decide what each of them decides in hindsight, whenever they start and whichever bars come."""

import numpy as np
import pandas as pd
import pytest

from lem_models import CostModel, Order, execute, load_policy, synthetic_bars
from lem_models.errors import BarsError, OrderError
from lem_models.execution.live import LIVE_TOLERANCE, LiveOrders
from tests.helpers import random_model, sessions, tiny_config

BARS = synthetic_bars(symbols=4, days=20, seed=9)
START = pd.Timestamp("2024-01-14 00:00", tz="UTC")
HOUR = pd.Timedelta("1h")
COSTS = CostModel(half_spread_bps=1, impact=0.8)


def _orders(rng, start, horizon, count):
    return pd.DataFrame(
        {
            "order_id": [f"{start}-{number}" for number in range(count)],
            "symbol": rng.choice(BARS.symbols, count),
            "start": start,
            "side": rng.choice(["buy", "sell"], count),
            "benchmark": rng.choice(["vwap", "twap"], count),
            "target": rng.choice(["quantity", "notional"], count),
            "min_periods": rng.integers(1, horizon + 1, count),
            "max_periods": rng.integers(horizon // 2, horizon + 1, count),
            "max_rate": rng.choice([0.4, 1.0], count),
            "amount": rng.uniform(1, 50, count),
        }
    ).assign(min_periods=lambda table: table[["min_periods", "max_periods"]].min(axis=1))


@pytest.mark.parametrize("name", ["twap", "volume_curve", "stopping_rule", "lem-crypto-hourly", "random weights"])
@pytest.mark.parametrize("late", [0.0, 0.3])
def test_orders_that_start_one_after_the_other_fill_as_in_hindsight(name, late):
    rng = np.random.default_rng(3)
    policy = random_model(tiny_config(horizon=12), seed=1) if name == "random weights" else load_policy(name)
    tables = [_orders(rng, START + number * HOUR, 12, 7) for number in range(3)]
    expected = execute(policy, BARS, pd.concat(tables, ignore_index=True), costs=COSTS)
    rows = {symbol: BARS.select([symbol]).frame.to_dict("records") for symbol in BARS.symbols}
    first = int((START - pd.Timestamp("2024-01-01", tz="UTC")) / HOUR)
    at = dict.fromkeys(BARS.symbols, first)
    live, fills = LiveOrders(policy, tables[0], BARS.between(end=START), costs=COSTS), []
    for step in range(60):
        if step in (1, 2):
            live.add(tables[step], BARS.between(end=START + step * HOUR))
        if live.done.all():
            break
        before = live.remaining
        decided = live.decide()
        assert (decided.fraction[live.done] == 0).all()
        assert not decided.finish[live.done].any()
        # From the time on that no order starts any more, some symbols' bars come late.
        waits = {symbol for symbol in BARS.symbols if step >= 3 and rng.random() < late}
        live.observe({symbol: rows[symbol][at[symbol]] for symbol in BARS.symbols if symbol not in waits})
        for symbol in set(BARS.symbols) - waits:
            at[symbol] += 1
        fills.append(np.pad(before - live.remaining, (0, 21 - len(before))))
    assert live.done.all()
    assert len(live) == 21
    np.testing.assert_array_equal(live.orders["order_id"], expected.orders["order_id"])
    np.testing.assert_allclose(live.remaining, 1 - expected.orders["filled"], atol=1e-9)
    np.testing.assert_array_equal(live.period, expected.orders["periods_used"])
    for number in range(21):
        traded = expected.periods_of(expected.orders["order_id"][number])["fraction"].to_numpy()
        filled = np.array([fill[number] for fill in fills])
        np.testing.assert_allclose(filled[filled > 0], traded[traded > 0], atol=LIVE_TOLERANCE)
    np.testing.assert_allclose(live.executed_price, expected.orders["executed_price"], rtol=1e-5)
    np.testing.assert_allclose(live.net_price, expected.orders["net_price"], rtol=1e-5)


def test_a_refused_bar_changes_nothing():
    table = _orders(np.random.default_rng(0), START, 6, 8)
    live = LiveOrders("volume_curve", table, BARS.between(end=START))
    bars = {symbol: BARS.select([symbol]).between(START).frame.iloc[0].to_dict() for symbol in BARS.symbols}
    decided = live.decide()
    bad = {**bars, BARS.symbols[-1]: {**bars[BARS.symbols[-1]], "close": -1.0}}
    if BARS.symbols[-1] not in set(table["symbol"]):
        pytest.fail("the bad bar must be of a symbol that is traded")
    with pytest.raises(BarsError):
        live.observe(bad)
    assert live.decide() is decided
    assert (live.remaining == 1).all()
    live.observe(bars)
    assert (live.period == 1).all()


def test_orders_must_follow_the_bars_that_were_observed():
    live = LiveOrders("twap", Order(symbol="S000", start=START, side="buy", max_periods=4), BARS.between(end=START))
    again = Order(symbol="S000", start=START + HOUR, side="buy", max_periods=4)
    with pytest.raises(BarsError, match="the history must end with the bar that was observed last"):
        live.add(again, BARS.between(end=START + HOUR))
    assert len(live) == 1
    with pytest.raises(OrderError, match="symbol of the history"):
        live.add({"symbol": "S009", "start": START, "side": "buy", "max_periods": 4}, BARS.between(end=START))


def test_orders_of_a_session_that_ends_early_are_over_and_the_others_go_on():
    bars = sessions(60, "30min")
    day = pd.Timestamp(bars.frame["timestamp"].iloc[-1]).normalize()
    own = bars.frame[bars.frame["timestamp"] >= day]
    start = own["timestamp"].iloc[3]
    live = LiveOrders(
        "twap",
        [Order(symbol=bars.symbols[0], start=start, side="buy", max_periods=4)],
        bars.between(end=start),
    )
    live.observe({bars.symbols[0]: own.iloc[3].to_dict()})
    assert not live.done.any()
    assert live.ended[0] == 0
    np.testing.assert_allclose(live.remaining, 0.75)
