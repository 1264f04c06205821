"""The account of a programme by hand, and its page."""

import numpy as np
import pandas as pd
import pytest

from lem_models.markets.synthetic import synthetic_bars
from lem_models.programmes.days import TradingDays
from lem_models.programmes.page import write_programme_page
from tests.programmes.markets import FIRST, daily, programme, until

PRICES = np.full(60, 50.0)
PRICES[45:48] = (50.0, 52.0, 48.0)  # 4, 5 and 6 March
BARS = daily(PRICES, np.full(60, 100_000.0))
FILLS = pd.DataFrame(
    {"timestamp": ["2024-03-04", "2024-03-06", "2024-03-06"], "quantity": [10_000, 20_000, 10_000],
     "price": [50.0, 48.0, 49.0]}
)  # fmt: skip


def test_the_account_by_hand():
    terms = programme(discount_bps=50, costs={"fee_bps": 0.5})
    report = terms.report(until(BARS, "2024-03-07"), FILLS)
    assert (report.state, report.sessions, report.bought) == ("under way", 3, 40_000)
    assert report.spent == 500_000 + 960_000 + 490_000
    assert report.average_price == pytest.approx(48.75)
    assert report.mean_vwap == pytest.approx(50.0)
    assert report.difference_bps == pytest.approx(250.0)
    assert report.difference == pytest.approx(40_000 * 1.25)
    assert report.earned_bps == pytest.approx(200.0)
    assert report.earned == pytest.approx(40_000 * (49.75 - 48.75))
    assert report.net_earned == pytest.approx(40_000 - 1_950_000 * 0.5e-4)
    assert report.left == 60_000
    days = report.days
    assert days["shares"].tolist() == [10_000, 0, 30_000]
    assert days["participation"].tolist() == pytest.approx([0.1, 0.0, 0.3])
    assert days["mean_vwap"].tolist() == pytest.approx([50.0, 51.0, 50.0])
    assert days["within_cap"].tolist() == [True, True, False]
    assert report.breaches == (
        "30,000 shares on 2024-03-06 are above the cap of 25,000 (25 % of the average daily volume of the last 20 "
        "sessions)",
    )
    assert days["time_allowed"].tolist() == ["not checked"] * 3
    assert "daily bars show no times of the day" in report.notes[0]


def test_the_mean_ends_with_the_programme():
    terms = programme(shares=40_000, earliest=2)
    report = terms.report(until(BARS, "2024-03-12"), FILLS)
    assert report.state == "complete"
    assert report.mean_vwap == pytest.approx(50.0)  # of three sessions, not of six
    first = FILLS.iloc[:1].assign(quantity=40_000)
    assert terms.report(until(BARS, "2024-03-12"), first).mean_vwap == pytest.approx(51.0)  # the minimum is two


def test_fills_on_forbidden_days_are_named():
    terms = programme(blackouts=["2024-03-05"])
    more = pd.DataFrame({"timestamp": ["2024-03-05", "2024-03-01"], "quantity": [1, 2], "price": 50.0})
    report = terms.report(until(BARS, "2024-03-07"), pd.concat([FILLS, more]))
    assert report.bought == 40_003
    assert "1 shares on 2024-03-05, a blackout day" in report.breaches
    assert "2 shares on 2024-03-01, before the first day" in report.breaches


def test_a_programme_that_did_not_complete_shows_what_is_left():
    report = programme().report(until(BARS, "2024-03-15"), FILLS)
    assert (report.state, report.left) == ("over", 60_000)
    assert "60,000 X left to the total" in str(report)


def test_the_page_is_one_file(tmp_path):
    terms = programme(discount_bps=50)
    bars = until(BARS, "2024-03-07")
    report = terms.report(bars, FILLS)
    plan, decision = terms.schedule(bars, "twap", FILLS), terms.today(bars, FILLS, "twap")
    text = write_programme_page(tmp_path / "p.html", report, plan=plan, decision=decision).read_text()
    assert "Buyback of X" in text
    assert "+250.0 bps" in text
    assert "not checked" in text
    assert "planned" in text
    assert "Left out" not in text  # words for tables of orders
    assert "slippage = side" not in text


# --- intraday bars ---------------------------------------------------------------------------------------------------


def test_intraday_bars_show_the_hours():
    bars = synthetic_bars(symbols=1, days=45, frequency="5min", session=("14:30", "21:00"), start="2024-01-01", seed=3)
    terms = programme(symbol=bars.symbols[0], shares=3_000, first_day="2024-02-05", earliest=1, latest=5)
    days = TradingDays.of(bars, terms)
    assert days.is_intraday
    assert days.bars.volume.sum() == pytest.approx(bars.volume.sum())
    row = int(np.searchsorted(days.dates, np.datetime64("2024-02-05")))
    inside = (bars.timestamp >= days.opened[row]) & (bars.timestamp < days.closed[row])
    assert days.bars.vwap[row] == pytest.approx(bars.notional[inside].sum() / bars.volume[inside].sum())
    stamps = bars.timestamp[inside]
    allowed = inside.nonzero()[0][(stamps > stamps[0]) & (stamps < stamps[0] + 6 * 3600 * 10**9)]
    assert days.fill_vwap[row] == pytest.approx(bars.notional[allowed].sum() / bars.volume[allowed].sum())

    window = terms.today(until(bars, "2024-02-05"), None, "twap").window
    assert str(window.start) == "2024-02-05 14:35:00+00:00"
    assert str(window.end) == "2024-02-05 20:30:00+00:00"
    times = ["2024-02-05T14:30Z", "2024-02-05T15:00Z", "2024-02-06T15:00Z", "2024-02-06T20:30Z"]
    fills = pd.DataFrame({"timestamp": times, "quantity": 10, "price": 100.0})
    report = terms.report(until(bars, "2024-02-08"), fills)
    assert report.days["time_allowed"].tolist() == ["no", "no", "not checked"]
    assert len(report.breaches) == 2
    assert "20:30 UTC, outside the allowed hours" in report.breaches[1]
    tested = terms.backtest(bars, ["twap"], 5)
    assert (tested.programmes["twap"]["slippage_bps"] != 0).any()  # fills have the price of the hours allowed


def test_a_session_under_way_is_no_closed_day():
    bars = synthetic_bars(symbols=1, days=45, frequency="5min", session=("14:30", "21:00"), start="2024-01-01", seed=3)
    terms = programme(symbol=bars.symbols[0], first_day="2024-02-05")
    part = bars.between(end="2024-02-06T17:00Z")
    assert str(TradingDays.of(part, terms).dates[-1]) == "2024-02-05"


def test_the_first_day_of_a_schedule_is_the_first_day():
    assert str(programme().schedule(until(BARS, FIRST), "twap")["day"][0]) == FIRST
