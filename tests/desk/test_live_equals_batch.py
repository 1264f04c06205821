"""Where the venue fills what is wished, a desk does what ``execute`` does: every policy, caps and lots included."""

from __future__ import annotations

import logging
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from lem_models.desk import Desk, DeskOrder, FeedRules
from lem_models.desk.orders.sizing import engine_lots
from lem_models.desk.store.event_store import MemoryStore
from lem_models.execution.execute import execute
from lem_models.execution.live import LIVE_TOLERANCE
from tests.helpers.markets import hourly, sessions
from tests.helpers.policies import POLICIES, policy_named

MARKETS = {
    "24/7": (hourly(days=24), pd.Timestamp("2024-01-20 05:00", tz="UTC")),
    "sessions": (sessions(days=16), pd.Timestamp("2024-01-15 15:00", tz="UTC")),
}
QUICK = ("twap", "volume_curve", "almgren_chriss", "pov", "random weights", "lem-crypto-hourly")


def orders(draw: np.random.Generator, symbols, count, volume) -> list[DeskOrder]:
    made = []
    for number in range(count):
        periods = int(draw.integers(2, 9))
        lots = int(draw.integers(4 * periods, 40 * periods))
        kind = draw.choice(["lots", "free", "money"])
        limit = float(draw.uniform(0.02, 0.5)) if draw.random() < 0.5 else None
        size = f"{volume * draw.uniform(0.01, 1.0):.6g}"
        fields = {"lots": {"amount": lots, "lot_size": 1}, "free": {"amount": size}, "money": {"amount": f"{size} USD"}}
        made.append(
            DeskOrder(
                symbol=str(draw.choice(symbols)),
                side=str(draw.choice(["buy", "sell"])),
                id=f"{number}",
                benchmark=str(draw.choice(["vwap", "twap", "arrival", "full_vwap"])),
                min_duration=int(draw.integers(1, periods + 1)),
                max_duration=periods,
                max_participation=limit,
                allow_incomplete=True,
                **fields[str(kind)],
            )
        )
    return made


def as_row(order: DeskOrder, start: pd.Timestamp) -> dict[str, object]:
    row = {
        "order_id": order.id,
        "symbol": order.symbol,
        "start": start,
        "side": order.side.value,
        "benchmark": order.benchmark.value,
        "target": order.target.value,
        "min_periods": order.min_duration,
        "max_periods": order.max_duration,
        "amount": float(order.amount),
        "max_participation": order.max_participation,
    }
    lots = not order.is_notional and engine_lots(order.amount, order.lot_size, int(order.max_duration))
    return row | ({"lot_size": float(order.lot_size)} if lots else {})


def run_desk(policy, wanted, bars, start):
    """Fractions that a desk fills in each bar, where every child order fills at the bar's VWAP as far as it may."""
    desk = Desk(MemoryStore(), policy, rules=FeedRules(), clock=lambda: pd.Timestamp("2030", tz="UTC").value)
    desk.add(wanted, bars.between(end=start))
    fractions: dict[str, list[float]] = {order.id: [] for order in wanted}
    for _, rows in bars.between(start=start).frame.groupby("timestamp"):
        closed = {row["symbol"]: row for row in rows.to_dict("records")}
        for decision in desk.decide():
            order, bar = desk.order(decision.order_id), closed[decision.symbol]
            price = bar["notional"] / bar["volume"] if bar["volume"] else bar["close"]
            quantity = decision.quantity
            if order.order.is_notional:  # what is wished is money, which buys more or less at the bar's price
                quantity = (decision.notional / Decimal(repr(price))).quantize(Decimal("1e-12"))
            if decision.limit_participation is not None:
                most = Decimal(repr(bar["volume"] * decision.limit_participation))
                step = order.order.lot_size
                quantity = min(quantity, most // step * step if step else most)
            quantity = quantity if bar["volume"] else Decimal(0)
            size = quantity * Decimal(repr(price)) if order.order.is_notional else quantity
            fractions[decision.order_id].append(float(size / order.order.amount))
            if quantity:
                desk.fill(decision.order_id, quantity, price, f"{len(fractions[decision.order_id])}")
        desk.observe(rows)
        if not desk.is_active:
            break
    return fractions


def check(name, market, seed, count=12):
    bars, start = MARKETS[market]
    policy = policy_named(name)
    draw = np.random.default_rng(seed)
    row = int(bars.locate(bars.symbols[0], [start.value])[0])
    wanted = orders(draw, bars.symbols, count, float(bars.volume[row - 48 : row].mean()))
    benchmarks = getattr(policy, "benchmarks", None)
    wanted = [order for order in wanted if benchmarks is None or order.benchmark.value in benchmarks]
    if not wanted:
        pytest.skip("no order has a benchmark that the policy serves")
    live = run_desk(policy, wanted, bars, start)
    result = execute(policy, bars, pd.DataFrame([as_row(order, start) for order in wanted]), cap_ahead=True)
    ran = set(result.orders["order_id"])
    assert ran
    for order in wanted:
        if order.id not in ran:
            continue
        rows = result.schedule[result.schedule["order_id"] == order.id]
        batch = np.zeros(int(order.max_duration))
        batch[rows["period"].to_numpy()] = rows["fraction"].to_numpy()
        mine = np.array(live[order.id] + [0.0] * (len(batch) - len(live[order.id])))
        np.testing.assert_allclose(mine.cumsum(), batch.cumsum(), atol=10 * LIVE_TOLERANCE, err_msg=str(order))


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("name", QUICK)
def test_quick_policies(name, market, caplog):
    caplog.set_level(logging.ERROR)
    check(name, market, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("name", POLICIES)
def test_every_policy(name, market, seed, caplog):
    caplog.set_level(logging.ERROR)
    check(name, market, seed=seed, count=40)
