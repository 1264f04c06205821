"""Laws of programmes: caps, totals, days, and causality, for all policies and markets."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision
from lem_models.programmes.caps import average_daily_volumes
from tests.programmes.markets import FIRST, changed_after, moving, programme, until


class Erratic(Policy):
    """Answers at random, the same for the same state."""

    def __init__(self, seed=0):
        self.seed = seed

    def decide(self, context, orders, state):
        rng = torch.Generator().manual_seed(self.seed + state.period)
        fraction = torch.rand(len(orders), generator=rng, dtype=torch.float64) * 0.6 - 0.1
        seen = (state.last_close * 1e4 % 1 + state.remaining) % 1  # what it does depends on what it sees
        return Decision(fraction * (0.5 + seen), (seen > 0.7).to(torch.float64))


TERMS = st.fixed_dictionaries(
    {
        "latest": st.integers(1, 12),
        "earliest": st.integers(1, 12),
        "lot_size": st.sampled_from([1, 7, 100]),
        "blackouts": st.sampled_from([(), ("2024-03-06",), ("2024-03-04/2024-03-05", "2024-03-12")]),
        "blackout_in_benchmark": st.booleans(),
        "daily_cap": st.sampled_from([None, {"fraction": 0.25}, {"fraction": 0.25, "basis": "four calendar weeks"}]),
    }
)


def drawn(terms, size):
    """A programme of some terms; its size is a part of what the caps allow."""
    terms = dict(terms) | {"earliest": min(terms["earliest"], terms["latest"])}
    lots = max(int(size * 150_000 * terms["latest"] / terms["lot_size"]), 1)
    return programme(**terms, shares=lots * terms["lot_size"])


@settings(max_examples=25, deadline=None)
@given(terms=TERMS, size=st.floats(0.001, 1.0), seed=st.integers(0, 3))
def test_a_backtest_keeps_every_rule(terms, size, seed):
    buyback, bars = drawn(terms, size), moving(seed)
    tested = buyback.backtest(bars, {"erratic": Erratic(seed)}, [FIRST, "2024-03-11", "2024-03-14"])
    table, shares = tested.programmes["erratic"], tested.purchases["erratic"]
    days = bars.timestamp.astype("datetime64[ns]").astype("datetime64[D]")
    average = average_daily_volumes(bars.volume, days, days, buyback.daily_cap)
    blackout = buyback.blacked_out(days)
    for row, programme_row in table.iterrows():
        start = int(np.searchsorted(bars.timestamp, programme_row["start"].value))
        own = np.arange(start, len(days))
        own = own if buyback.blackout_in_benchmark else own[~blackout[own]]
        own = own[: shares.shape[1]]
        mine = shares[row, : len(own)]
        assert (mine >= 0).all()
        assert (mine % buyback.lot_size == 0).all()
        if buyback.daily_cap is not None:
            assert (mine <= 0.25 * average[own]).all()
        assert not mine[blackout[own]].any()
        assert mine.sum() <= buyback.shares
        assert not mine[int(programme_row["max_periods"]) :].any()
        if programme_row["completed"]:
            assert mine.sum() == buyback.shares
            assert np.flatnonzero(mine)[-1] + 1 >= programme_row["min_periods"]
        else:  # the caps fell short of what was known at the start: every session was at its cap, in whole lots
            assert buyback.daily_cap is not None
            assert programme_row["filled"] < 1


@settings(max_examples=10, deadline=None)
@given(size=st.floats(0.01, 0.9), seed=st.integers(0, 3), spread=st.floats(0.0, 0.3), lot=st.sampled_from([1, 100]))
def test_a_fixed_notional_is_spent_to_the_lot_inside_its_range(size, seed, spread, lot):
    bars, notional = moving(seed), size * 8e6
    terms = {"minimum_notional": notional * (1 - spread), "maximum_notional": notional * (1 + spread)}
    buyback = programme(notional=notional, lot_size=lot, daily_cap=None, **terms)
    tested = buyback.backtest(bars, {"erratic": Erratic(seed)}, [FIRST, "2024-03-12"])
    table = tested.programmes["erratic"]
    assert (table["spent"] <= buyback.maximum * (1 + 1e-12)).all()
    assert (table["spent"] > buyback.minimum - lot * bars.high.max()).all()
    assert table["completed"].all()


@pytest.mark.parametrize("basis", ["20 sessions", "four calendar weeks"])
def test_later_bars_change_no_earlier_decision(basis):
    bars, buyback = moving(2), programme(daily_cap={"basis": basis}, blackouts=["2024-03-06"])
    days = pd.bdate_range(FIRST, periods=5)
    fills = pd.DataFrame({"timestamp": ["2024-03-04"], "quantity": [12_345], "price": [50.0]})
    for day in days:
        row = int(np.searchsorted(bars.timestamp, pd.Timestamp(day, tz="UTC").value))
        known, other = until(bars, day), changed_after(bars, row)
        reported = None if day == days[0] else fills
        decided = buyback.today(known, reported, Erratic(1))
        assert buyback.today(until(other, day), reported, Erratic(1)) == decided
    # Neither do they change what a backtest bought before.
    start = int(np.searchsorted(bars.timestamp, pd.Timestamp(FIRST, tz="UTC").value))
    a = buyback.backtest(bars, {"e": Erratic(1)}, [FIRST]).purchases["e"][0]
    for ahead in range(1, 6):
        b = buyback.backtest(changed_after(bars, start + ahead), {"e": Erratic(1)}, [FIRST]).purchases["e"][0]
        traded = ahead - (ahead > 2)  # the third session is a blackout
        assert a[: traded + 1].tolist()[:traded] == b.tolist()[:traded]


def test_days_decided_one_by_one_are_those_of_the_backtest():
    """Live equals batch: what fills as decided, at the VWAP, is the backtest."""
    bars = moving(3)
    for terms in ({"shares": 200_000}, {"shares": 40_000, "blackouts": ["2024-03-06"]}, {"notional": 6e6}):
        buyback = programme(**terms)
        bought = buyback.backtest(bars, {"e": Erratic(5)}, [FIRST]).purchases["e"][0]
        fills, session = [], 0
        for row in range(int(np.searchsorted(bars.timestamp, pd.Timestamp(FIRST, tz="UTC").value)), len(bars)):
            day = pd.Timestamp(bars.timestamp[row], tz="UTC")
            if buyback.blacked_out(np.array([day.date()], dtype="datetime64[D]"))[0]:
                continue
            decision = buyback.today(bars.between(end=day), pd.DataFrame(fills) if fills else None, Erratic(5))
            shares = decision.shares
            if buyback.is_notional:
                shares = min(int(decision.notional / bars.vwap[row] + 1e-9), decision.cap)
            assert shares == bought[session]
            if shares:
                fills.append({"timestamp": day, "quantity": shares, "price": bars.vwap[row]})
            session += 1
            if session == len(bought) or decision.binds == "complete":
                break
        report = buyback.report(bars.between(end=day + pd.Timedelta(days=1)), pd.DataFrame(fills))
        assert report.bought == bought.sum()


def test_a_backtest_counts_what_it_leaves_out():
    tested = programme().backtest(moving(1), ["twap"], 5)
    assert tested.excluded["reason"].tolist() == ["the bars end before the programme does"] * len(tested.excluded)
    assert len(tested.excluded)
    table = tested.summary()
    assert table["policy"].tolist() == ["twap"]
    assert abs(table["mean_bps"][0]) < 1e-9
    assert tested.difference("twap", "twap")["mean_bps"][0] == 0


def test_costs_stand_beside_the_gross_result():
    costs = {"half_spread_bps": 1.0, "fee_bps": 0.5, "impact": 0.8}
    free = programme().backtest(moving(1), ["twap"], 3).summary().iloc[0]
    costly = programme(costs=costs).backtest(moving(1), ["twap"], 3).summary().iloc[0]
    assert costly["mean_bps"] == free["mean_bps"] == pytest.approx(free["net_bps"])
    assert costly["net_bps"] == pytest.approx(-costly["cost_bps"], rel=1e-3)
    assert costly["cost_bps"] > 1.5
