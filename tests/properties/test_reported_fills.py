"""Reported fills: those that were assumed give what is assumed, and a restart at any bar gives what never stopped."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models import execute, synthetic_bars
from lem_models.execution.live import LIVE_TOLERANCE, Begun, Filled, LiveOrders
from tests.helpers import policy_named, random_orders

HORIZON = 8
PLAIN = ("twap", "volume_curve", "stopping_rule", "pov")
NAMES = ("random weights", *PLAIN)
TOLERANCE = {name: 1e-8 for name in PLAIN} | {"random weights": LIVE_TOLERANCE}


def _market(seed):
    return synthetic_bars(symbols=2, days=12, seed=seed)


def _orders(bars, seed, count=6):
    """Orders of every kind, with caps, floors, lots and limits that bind now and then; they start one after another."""
    rng = np.random.default_rng(seed)
    table = random_orders(rng, count, HORIZON)
    first = np.sort(rng.integers(270, 273, count))
    symbol = rng.integers(0, 2, count)
    size = rng.choice([1.0, 20.0], count) * np.where(table["target"] == "notional", 100.0, 1.0)
    table["amount"], table["lot_size"] = (table["amount"] * size).round(6), (table["lot_size"] * size).round(6)
    return table.assign(
        order_id=[f"order {number}" for number in range(count)],
        symbol=[bars.symbols[each] for each in symbol],
        start=pd.to_datetime(bars.timestamp[first], utc=True),
        risk_aversion=rng.choice([0.1, 1.0], count),
    )


class _Venue:
    """Fills what is decided as far as the bars allow it by the rule of the simulator, or a random part of it."""

    def __init__(self, bars, table, seed, *, whole):
        self.table, self.rng, self.whole = table.set_index("order_id"), np.random.default_rng(seed), whole
        self.bars = bars

    def fill(self, label, fraction, bar, remaining):
        order = self.table.loc[label]
        if bar["volume"] <= 0 or fraction <= 0:
            return None
        price = bar["notional"] / bar["volume"]
        limit = np.inf
        if order["max_participation"] > 0:
            unit = bar["notional"] if order["target"] == "notional" else bar["volume"]
            limit = order["max_participation"] * unit / order["amount"]
            if order["lot_size"] > 0:
                lot = order["lot_size"] / order["amount"]
                limit = np.floor(limit / lot + 1e-6) * lot
        filled = min(fraction, limit)
        if not self.whole:
            filled = min(filled * self.rng.choice([0.0, 0.5, 0.9, 1.0]), remaining)
            price *= 1 + self.rng.normal(0, 1e-3)
        return Filled(filled, price) if filled > 0 else None


def _rolled(policy, bars, table, *, venue, cap_ahead=False, stop=None):
    """Roll orders live, with one restart at step ``stop``; fills and decisions [orders, steps]."""
    rows = {name: bars.select([name]).frame.to_dict("records") for name in bars.symbols}
    at = {time: number for number, time in enumerate(r["timestamp"] for r in rows[bars.symbols[0]])}
    known = sorted(table["start"].unique())
    begin = at[known[0]]
    live, filled, decided, finishes = None, [], [], []
    log = {label: ([], []) for label in table["order_id"]}
    for step in range(begin, begin + HORIZON + 4):
        now = rows[bars.symbols[0]][step]["timestamp"]
        history = bars.between(end=now)
        mine = table[table["start"] == now]
        if stop is not None and step == begin + stop and live is not None:
            under_way = [label for label, done in zip(live.orders["order_id"], live.done, strict=True) if not done]
            again = table[table["order_id"].isin(under_way) | (table["start"] == now)]
            mine = mine.iloc[:0]
            if len(again):
                begun = {label: Begun(*log[label]) for label in under_way}
                live = LiveOrders(policy, again, history, fills="reported", cap_ahead=cap_ahead, begun=begun)
        if len(mine):
            if live is None:
                live = LiveOrders(policy, mine, history, fills="reported", cap_ahead=cap_ahead)
            else:
                live.add(mine, history)
        decision, labels, done = live.decide(), live.orders["order_id"].tolist(), live.done
        bar = {name: rows[name][step] for name in bars.symbols}
        fills = {}
        for row, label in enumerate(labels):
            if not done[row]:
                own = bar[live.orders["symbol"][row]]
                fill = venue.fill(label, decision.fraction[row], own, live.remaining[row])
                log[label][0].append(0.0 if fill is None else fill.fraction)
                log[label][1].append(np.nan if fill is None else fill.price)
                if fill is not None:
                    fills[label] = fill
        by_label = dict(zip(labels, decision.fraction, strict=True))
        decided.append([by_label.get(label, 0.0) for label in table["order_id"]])
        ends = dict(zip(labels, decision.finish, strict=True))
        finishes.append([bool(ends.get(label, False)) for label in table["order_id"]])
        live.observe(bar, fills=fills)
        filled.append([fills[label].fraction if label in fills else 0.0 for label in table["order_id"]])
    return np.array(filled).T, np.array(decided).T, np.array(finishes).T, log, live


def _parted(first, second, tolerance):
    """Orders that differ; a model's chance of finishing, or half a lot, may lie on either side by rounding."""
    return np.abs(first - second).max(1) > tolerance


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3)
@given(seed=st.integers(0, 10**6), cap_ahead=st.booleans())
def test_fills_that_are_reported_as_assumed_give_what_execution_gives(name, seed, cap_ahead):
    bars, policy = _market(seed), policy_named(name)
    table = _orders(bars, seed)
    venue = _Venue(bars, table, seed, whole=True)
    filled, _, _, log, _ = _rolled(policy, bars, table, venue=venue, cap_ahead=cap_ahead)
    expected = execute(policy, bars, table, cap_ahead=cap_ahead)
    assert not len(expected.excluded)
    hindsight = np.zeros((len(table), HORIZON))
    own = np.zeros((len(table), HORIZON))
    for number, label in enumerate(table["order_id"]):
        schedule = expected.schedule[expected.schedule["order_id"] == label]
        hindsight[number, schedule["period"]] = schedule["fraction"]
        own[number, : len(log[label][0])] = log[label][0]
    parted = _parted(own, hindsight, TOLERANCE[name])
    assert not parted.any() if name in PLAIN else parted.mean() < 0.2
    np.testing.assert_allclose(filled.sum(1)[~parted], expected.orders["filled"][~parted], atol=1e-4)
    prices = np.array([np.nansum(np.multiply(*log[label])) for label in table["order_id"]])
    quantity = (table["target"] == "quantity").to_numpy() & ~parted & (own.sum(1) > 0)
    np.testing.assert_allclose(
        prices[quantity] / own.sum(1)[quantity], expected.orders["executed_price"][quantity], rtol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3)
@given(seed=st.integers(0, 10**6), stop=st.integers(1, HORIZON + 1), cap_ahead=st.booleans())
def test_a_restart_at_any_bar_goes_on_as_if_it_had_never_stopped(name, seed, stop, cap_ahead):
    bars, policy = _market(seed), policy_named(name)
    table = _orders(bars, seed)
    runs = [
        _rolled(policy, bars, table, venue=_Venue(bars, table, seed, whole=False), cap_ahead=cap_ahead, stop=each)
        for each in (None, stop)
    ]
    (_, decided, finishes, *_), (_, again, finishes_again, *_) = runs
    parted = _parted(decided, again, TOLERANCE[name])
    assert not parted.any() if name in PLAIN else parted.mean() < 0.2
    np.testing.assert_array_equal(finishes[~parted], finishes_again[~parted])


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_whatever_is_reported_what_remains_is_what_did_not_fill_and_decisions_stay_feasible(seed):
    rng, bars = np.random.default_rng(seed), _market(7)
    table = _orders(bars, seed, 4).assign(start=pd.Timestamp(int(bars.timestamp[270]), tz="UTC"))
    live = LiveOrders("twap", table, bars.between(end=table["start"][0]), fills="reported")
    rate = np.where(table["lot_size"] > 0, 1.0, table["max_rate"])
    total = np.zeros(len(table))
    for step in range(HORIZON):
        rows = bars.between(bars.frame["timestamp"][270 + step]).frame
        bar = {name: rows[rows["symbol"] == name].iloc[0].to_dict() for name in bars.symbols}
        decision, done = live.decide().fraction, live.done
        assert (decision >= 0).all()
        assert (decision <= np.minimum(rate, live.remaining) + 1e-12).all()
        fraction = np.where(rng.random(len(table)) < 0.2, -total / 2, rng.random(len(table)) * live.remaining)
        fills = {
            label: Filled(float(fraction[row]), 100.0)
            for row, label in enumerate(table["order_id"])
            if not done[row] and rng.random() < 0.8
        }
        for row, label in enumerate(table["order_id"]):
            total[row] += fills[label].fraction if label in fills else 0.0
        live.observe(bar, fills=fills)
        np.testing.assert_allclose(live.remaining, 1 - total, atol=1e-11)
        np.testing.assert_array_equal(live.done, (live.remaining <= 0) | (table["max_periods"] <= step + 1))
