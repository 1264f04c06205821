"""Terms, caps and completion of a programme, by hand."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError, ConfigError, OrderError
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision
from lem_models.features.market import Market
from lem_models.programmes import BuybackProgramme, DailyCap
from lem_models.programmes.caps import average_daily_volumes, cap_shares
from lem_models.programmes.fills import Fills
from tests.docs.pages import ROOT
from tests.programmes.markets import FIRST, daily, moving, programme, until


class Eager(Policy):
    """Wants everything at once."""

    def decide(self, context, orders, state):
        return Decision(1.0, True)


class Idle(Policy):
    """Wants nothing."""

    def decide(self, context, orders, state):
        return Decision(0.0, False)


# --- terms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"shares": 100, "notional": 5.0}, "give the size once"),
        ({"shares": None}, "give the size once"),
        ({"minimum_notional": 5.0}, "needs a notional to aim at"),
        ({"notional": 1e6, "minimum_notional": 2e6}, "between minimum_notional and maximum_notional"),
        ({"shares": 150, "lot_size": 100}, "take 200 or 100"),
        ({"earliest": 9}, "earliest: 9 is after latest, 8"),
        ({"latest": "2024-03-01"}, "latest: 2024-03-01 is before the first day"),
        ({"blackouts": ["2024-03-08/2024-03-07"]}, "ends before it begins"),
        ({"blackouts": ["tomorrow"]}, "a day is written 2024-01-31"),
        ({"latest": 0}, "a number of sessions is 1 to 500"),
        ({"quiet_close_minutes": 20}, "0, 10 or 30"),
        ({"shres": 5}, "shres"),
    ],
)
def test_terms_that_contradict_each_other_are_refused(terms, message):
    with pytest.raises(ConfigError, match=message):
        programme(**terms)


def test_the_example_is_read():
    example = BuybackProgramme.read(ROOT / "examples" / "buyback.yaml")
    assert (example.symbol, example.shares, example.earliest, example.latest) == ("KO", 2_000_000, 5, 20)
    assert example.daily_cap == DailyCap(fraction=0.25, basis="four calendar weeks")
    assert example.with_terms(latest=30).latest == 30


def test_a_file_that_is_no_programme_is_refused(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("symbol: KO\nsymbol: PEP\n")
    with pytest.raises(ConfigError, match="a key occurs twice"):
        BuybackProgramme.read(file)
    file.write_text("symbol: KO\nfirst_day: 2018-10-01\nlatest: 20\n")
    with pytest.raises(ConfigError, match="give the size once"):
        BuybackProgramme.read(file)


# --- caps ------------------------------------------------------------------------------------------------------------


def test_the_average_of_20_sessions_ends_before_the_day():
    days = np.datetime64("2024-01-01", "D") + np.arange(40)
    volume = np.arange(40.0)
    got = average_daily_volumes(volume, days, days[[19, 20, 39]], DailyCap())
    np.testing.assert_array_equal(got, [np.nan, np.mean(range(20)), np.mean(range(19, 39))])


def test_the_average_of_four_weeks_ends_before_the_week():
    days = pd.bdate_range("2024-01-01", periods=40).to_numpy().astype("datetime64[D]")
    volume = np.arange(40.0)
    cap = DailyCap(basis="four calendar weeks")
    # 2024-01-29 is the Monday after four weeks: the twenty sessions before it, all week long.
    week = days[20:25]
    got = average_daily_volumes(volume, days, week, cap)
    np.testing.assert_array_equal(got, np.full(5, np.mean(range(20))))
    assert average_daily_volumes(volume, days, days[25:26], cap)[0] == np.mean(range(5, 25))
    assert np.isnan(average_daily_volumes(volume, days, days[19:20], cap)[0])


def test_days_to_come_have_the_average_of_the_next_session():
    days = pd.bdate_range("2024-01-01", periods=40).to_numpy().astype("datetime64[D]")
    for basis in ("20 sessions", "four calendar weeks"):
        cap = DailyCap(basis=basis)
        got = average_daily_volumes(np.arange(25.0), days[:25], days[25:40], cap)
        assert (got == np.mean(range(5, 25))).all()


def test_a_cap_is_whole_lots_below():
    assert cap_shares(np.array([1000.0, 1399.0, 399.0]), DailyCap(), 100).tolist() == [200, 300, 0]
    assert cap_shares(np.array([12.0]), None, 100)[0] >= 10**11


# --- one day ---------------------------------------------------------------------------------------------------------

BARS = daily(np.full(60, 50.0), np.full(60, 100_000.0))


def test_the_daily_cap_binds_and_the_reason_names_it():
    decision = programme(shares=100_000).today(until(BARS, FIRST), None, Eager())
    assert (decision.shares, decision.cap, decision.binds) == (25_000, 25_000, "daily cap")
    assert "25 % of the average daily volume of the last 20 sessions" in str(decision)
    assert decision.participation == 0.25
    assert not decision.may_finish


def test_costs_are_half_spread_fee_and_impact():
    costs = {"half_spread_bps": 1.0, "fee_bps": 0.5, "impact": 0.8}
    moved = until(moving(), FIRST)
    volatility = Market(moved).volatility[-1] * 1e4
    decision = programme(costs=costs).today(moved, None, Eager())
    expected = 1.5 + 0.8 * volatility * np.sqrt(decision.shares / decision.average_daily_volume)
    assert decision.expected_cost_bps == pytest.approx(expected)
    assert decision.expected_cost == pytest.approx(expected / 1e4 * decision.shares * moved.close[-1])


def test_the_policy_may_not_end_before_the_minimum():
    terms = programme(shares=10_000, lot_size=100)
    days = pd.bdate_range(FIRST, periods=3)
    fills = []
    for number, day in enumerate(days):
        decision = terms.today(until(BARS, day), pd.DataFrame(fills) if fills else None, Eager())
        assert decision.may_finish == (number == 2)
        assert decision.finishes == (number == 2)
        assert decision.shares == (9_900, 0, 100)[number]
        if decision.shares:
            fills.append({"timestamp": str(day.date()), "quantity": decision.shares, "price": 50.0})
    after = terms.today(until(BARS, pd.Timestamp("2024-03-07")), pd.DataFrame(fills), Eager())
    assert after.binds == "complete"
    assert terms.report(until(BARS, pd.Timestamp("2024-03-07")), pd.DataFrame(fills)).state == "complete"


def test_what_the_later_sessions_cannot_buy_is_bought_today():
    decision = programme(shares=200_000).today(until(BARS, FIRST), None, Idle())
    assert (decision.shares, decision.binds) == (25_000, "latest completion")
    decision = programme(shares=180_000).today(until(BARS, FIRST), None, Idle())
    assert (decision.shares, decision.least, decision.binds) == (5_000, 5_000, "latest completion")


def test_a_programme_that_its_cap_forbids_is_refused_with_the_sessions_that_it_needs():
    with pytest.raises(OrderError, match=r"8 sessions at it buy 200,000 X.*allow 9 sessions"):
        programme(shares=200_001).today(until(BARS, FIRST), None, Eager())


def test_history_that_is_too_short_is_refused():
    with pytest.raises(BarsError, match="average daily volume"):
        programme(first_day="2024-01-08").today(until(BARS, "2024-01-08"), None, "twap")


def test_a_programme_that_starts_later_is_not_decided():
    with pytest.raises(OrderError, match="starts on 2024-03-04"):
        programme().today(until(BARS, "2024-02-20"), None, "twap")


def test_a_programme_that_is_over_is_not_decided():
    with pytest.raises(OrderError, match="was over on 2024-03-13"):
        programme().today(until(BARS, "2024-03-14"), None, "twap")


def test_completion_by_day_counts_sessions_without_blackouts():
    terms = programme(earliest="2024-03-06", latest="2024-03-12", blackouts=["2024-03-06/2024-03-07"])
    plan = terms.schedule(until(BARS, FIRST), "twap")
    assert plan["day"].tolist() == [date(2024, 3, day) for day in (4, 5, 8, 11, 12)]
    assert plan["shares"].tolist() == [20_000] * 5
    report = terms.report(until(BARS, FIRST), None)
    assert (report.earliest, report.latest, report.state) == (3, 5, "not started")
    with pytest.raises(OrderError, match="no session without a blackout"):
        programme(earliest="2024-03-06", latest="2024-03-07", blackouts=["2024-03-06/2024-03-07"]).schedule(
            until(BARS, FIRST), "twap"
        )


def test_blackout_days_in_the_benchmark_are_periods_without_purchases():
    terms = programme(latest=4, blackouts=["2024-03-05"], blackout_in_benchmark=True)
    plan = terms.schedule(until(BARS, FIRST), "twap")
    assert plan["state"].tolist() == ["planned", "blackout", "planned", "planned", "planned"]
    assert plan["shares"].sum() == 100_000
    assert plan["session"].tolist() == [1, 1, 2, 3, 4]
    decision = terms.today(until(BARS, "2024-03-05"), None, "twap")
    assert (decision.shares, decision.binds) == (0, "blackout")
    outside = programme(latest=4, blackouts=["2024-03-05"])
    assert outside.today(until(BARS, "2024-03-05"), None, "twap").binds == "blackout"


# --- a fixed notional ------------------------------------------------------------------------------------------------


def test_a_finishing_programme_takes_the_end_of_its_range_that_pays():
    terms = programme(notional=3e6, minimum_notional=2e6, maximum_notional=4e6, earliest=2, latest=8)
    prices = np.full(60, 50.0)
    fills = pd.DataFrame({"timestamp": ["2024-03-04"], "quantity": [20_000], "price": [50.0]})
    for last, aim in ((45.0, 4e6), (55.0, 2e6)):
        prices[46:] = last
        bars = until(daily(prices, np.full(60, 1e6)), "2024-03-06")  # VWAPs of 50 and of last
        more = pd.concat([fills, fills.assign(timestamp="2024-03-05", price=last, quantity=1)])
        decision = terms.today(bars, more, Eager())
        spent = 20_000 * 50 + last
        assert decision.notional == pytest.approx(aim - spent)
        assert decision.shares == int((aim - spent) / last)
        assert decision.order_fields()["target"] == "notional"
    inside = pd.concat([fills, fills.assign(timestamp="2024-03-05", price=55.0, quantity=20_000)])
    assert terms.today(bars, inside, Eager()).binds == "complete"  # 55 is above the mean: the minimum is enough
    report = terms.report(bars, inside)
    assert report.state == "within its range"
    assert terms.report(bars, inside, ended=True).state == "complete"
    assert "1,900,000 left to the maximum" in str(report)


# --- fills -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"quantity": 1.5}, "quantity must be a whole number of shares"),
        ({"price": 0.0}, "price must be positive"),
        ({"price": "x"}, "price must be a number"),
        ({"timestamp": "2024-03-04T15:00"}, "needs a zone"),
        ({"timestamp": "soon"}, "timestamp must be a day"),
        ({"venue": "N"}, "nothing reads the column 'venue'"),
    ],
)
def test_a_fill_that_cannot_be_is_refused(row, message):
    table = pd.DataFrame([{"timestamp": "2024-03-04", "quantity": 5, "price": 50.0} | row])
    with pytest.raises(OrderError, match=message):
        Fills(table)


def test_a_fill_reported_twice_counts_once():
    row = {"timestamp": "2024-03-04", "quantity": 5, "price": 50.0, "id": "a"}
    assert len(Fills(pd.DataFrame([row, row, row | {"id": "b"}]))) == 2
    with pytest.raises(OrderError, match="two fills have the id 'a' and differ"):
        Fills(pd.DataFrame([row, row | {"quantity": 6}]))


def test_a_negative_quantity_takes_back_a_purchase_and_is_no_sale():
    bought = {"timestamp": "2024-03-04", "quantity": 5, "price": 50.0}
    assert Fills(pd.DataFrame([bought, bought | {"quantity": -5}])).quantity.sum() == 0
    for sold in ({"quantity": -6}, {"quantity": -5, "price": 51.0}):
        with pytest.raises(OrderError, match=r"a programme does not sell \(field 'quantity', row 1"):
            Fills(pd.DataFrame([bought, bought | sold]))


def test_fills_from_a_file_are_those_of_a_table(tmp_path):
    file = tmp_path / "fills.csv"
    file.write_text("timestamp,quantity,price,id\n2024-03-05T15:00Z,7,50.5,b\n2024-03-04,5,50,a\n")
    fills = Fills(file)
    assert fills.quantity.tolist() == [5, 7]
    assert fills.has_time.tolist() == [False, True]
    with pytest.raises(OrderError, match="there is no file"):
        Fills(tmp_path / "none.csv")
