"""Calendars inferred from the bars: on the market's own clock, per symbol, and never changed by later bars."""

import datetime
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models import Order, execute, load_policy
from lem_models.errors import BarsError, BarsWarning, UnknownNameError
from lem_models.features.causal import compute_features
from lem_models.features.market import Market
from lem_models.features.profile import VolumeProfile
from lem_models.markets.bars import Bars
from lem_models.markets.gaps import gap_advice, starts_lost
from lem_models.markets.storage.writer import store_bars

NEW_YORK = "America/New_York"


def priced(timestamps, symbol="A", seed=0):
    """A random walk with a volume of its own in every bar; the first bars of a longer walk are those of a shorter."""
    rng = np.random.default_rng(seed)
    draws = rng.normal(size=(len(timestamps), 2))
    close = 100 * np.exp(np.cumsum(0.002 * draws[:, 0]))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = 1.001 * np.maximum(opened, close), 0.999 * np.minimum(opened, close)
    volume = np.exp(5 + 0.4 * draws[:, 1])
    return pd.DataFrame(
        {
            **{"timestamp": timestamps, "symbol": symbol, "open": opened, "high": high, "low": low, "close": close},
            **{"volume": volume, "notional": volume * (high + low) / 2},
        }
    )


def hours(first, last, opening="09:30", closing="16:00", step="5min", zone=NEW_YORK, early=()):
    """Bar starts of weekdays on a local clock; sessions of the dates in ``early`` end at 13:00."""
    days = [
        pd.date_range(
            f"{day:%Y-%m-%d} {opening}",
            f"{day:%Y-%m-%d} {'13:00' if f'{day:%Y-%m-%d}' in early else closing}",
            freq=step,
            tz=zone,
            inclusive="left",
        ).tz_convert("UTC")
        for day in pd.bdate_range(first, last)
    ]
    return days[0].append(days[1:])


def futures(first, last, step="1h"):
    """Bar starts from 18:00 to 17:00 in New York, Sunday to Friday."""
    local = pd.date_range(first, last, freq=step, tz=NEW_YORK, inclusive="left")
    day, hour = local.day_of_week, local.hour
    closed = (hour == 17) | (day == 5) | ((day == 4) & (hour >= 17)) | ((day == 6) & (hour < 18))
    return local[~closed].tz_convert("UTC")


def currencies(first, last):
    """Bar starts from Sunday 17:00 to Friday 17:00 in New York, without a daily pause."""
    local = pd.date_range(first, last, freq="1h", tz=NEW_YORK, inclusive="left")
    day, hour = local.day_of_week, local.hour
    closed = (day == 5) | ((day == 4) & (hour >= 17)) | ((day == 6) & (hour < 17))
    return local[~closed].tz_convert("UTC")


MARKETS = {
    "futures over March": futures("2024-02-01", "2024-04-05"),
    "futures over November": futures("2024-10-01", "2024-11-29"),
    "currencies": currencies("2024-02-01", "2024-04-12"),
    "New York over March": hours("2024-02-20", "2024-03-28", step="15min"),
    "New York, early closes": hours("2024-11-11", "2024-12-31", step="15min", early=("2024-11-29", "2024-12-24")),
    "New York, all day": hours("2024-10-14", "2024-11-15", "04:00", "20:00", step="15min"),
    "London over October": hours("2024-10-01", "2024-11-15", "08:00", "16:30", "30min", "Europe/London"),
    "Sydney over April": hours("2024-03-04", "2024-04-26", "10:00", "16:00", "30min", "Australia/Sydney"),
    "Santiago over April": hours("2024-03-04", "2024-04-26", "09:30", "16:00", "30min", "America/Santiago"),
    "Mumbai": hours("2024-03-04", "2024-04-26", "09:15", "15:30", "15min", "Asia/Kolkata"),
}


# --- the market's own clock ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MARKETS)
def test_a_change_of_the_clock_makes_no_gap(name):
    bars = Bars.from_frame(priced(MARKETS[name]))
    assert bars.calendar.name == "sessions"
    assert bars.gaps.empty
    local = pd.DatetimeIndex(bars.timestamp, tz="UTC").tz_convert(bars.calendar.clock.zone)
    assert len(set(local[(bars.slot == 0) & (bars.session > bars.session[0])].time)) == 1


def test_futures_that_ran_before_the_clock_changed_still_run_after():
    before = Bars.from_frame(priced(futures("2024-01-02", "2024-03-08 17:00")))
    orders = Order.sample(before, every="24h", side="buy", max_periods=6)
    after = Bars.from_frame(priced(futures("2024-01-02", "2024-03-12 17:00")))
    first, second = (execute("volume_curve", bars, orders) for bars in (before, after))
    assert len(first.orders) == len(orders) > 20
    pd.testing.assert_frame_equal(first.orders, second.orders)


@pytest.mark.parametrize("name", MARKETS)
@settings(max_examples=6, deadline=None)
@given(share=st.floats(0.3, 0.99))
def test_later_bars_change_nothing_earlier(name, share):
    starts = MARKETS[name]
    whole, part = Bars.from_frame(priced(starts)), Bars.from_frame(priced(starts[: int(share * len(starts))]))
    size = len(part)
    np.testing.assert_array_equal(part.slot, whole.slot[:size])
    np.testing.assert_array_equal(np.diff(part.ordinal), np.diff(whole.ordinal[:size]))
    np.testing.assert_array_equal(np.diff(part.session), np.diff(whole.session[:size]))
    np.testing.assert_array_equal(compute_features(part).values, compute_features(whole).values[:size])
    start = np.arange(size - 20, size - 12)
    np.testing.assert_array_equal(VolumeProfile.of(part).expected(start, 8), VolumeProfile.of(whole).expected(start, 8))


def test_later_longer_sessions_change_no_earlier_feature():
    regular = hours("2024-01-08", "2024-02-09", step="15min")
    starts = regular.append(hours("2024-02-12", "2024-03-08", "04:00", "20:00", step="15min"))
    part, whole = Bars.from_frame(priced(regular)), Bars.from_frame(priced(starts))
    assert whole.slots_per_session > part.slots_per_session
    np.testing.assert_array_equal(compute_features(part).values, compute_features(whole).values[: len(part)])
    start = np.arange(300, len(part) - 8)
    np.testing.assert_array_equal(Market(part).profile.expected(start, 8), Market(whole).profile.expected(start, 8))


# --- missing bars ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("date", ["2024-10-15", "2024-11-05"])  # before and after the clock changes
def test_a_missing_opening_bar_is_a_gap_and_moves_no_other(date):
    starts = hours("2024-10-01", "2024-11-15")
    opening = int(np.flatnonzero(starts.tz_convert(NEW_YORK).strftime("%Y-%m-%d %H:%M") == f"{date} 09:30")[0])
    whole, lacking = Bars.from_frame(priced(starts)), Bars.from_frame(priced(starts).drop(index=opening))
    np.testing.assert_array_equal(lacking.slot, np.delete(whole.slot, opening))
    assert lacking.gaps["missing"].tolist() == [1]
    orders = pd.DataFrame({"symbol": "A", "start": [starts[opening + 1]], "side": "buy", "max_periods": 12})
    assert execute("volume_curve", lacking, orders).excluded["reason"].tolist() == ["a gap in the lookback"]


@pytest.mark.parametrize("step", ["2D", "3D", "7D"])
def test_a_missing_bar_of_several_days_is_a_gap(step):
    starts = pd.date_range("2020-01-01", periods=120, freq=step, tz="UTC")
    assert Bars.from_frame(priced(starts)).gaps.empty
    assert Bars.from_frame(priced(starts.delete(60))).gaps["missing"].tolist() == [1]
    assert Bars.from_frame(priced(starts.delete([60, 61]))).gaps["missing"].tolist() == [2]


@pytest.mark.parametrize(("every", "frequency"), [(2, "2D"), (3, "3D")])
def test_a_missing_bar_of_several_trading_days_is_a_gap(every, frequency):
    starts = pd.bdate_range("2020-01-01", periods=480, tz="UTC")[::every]
    assert Bars.from_frame(priced(starts), frequency=frequency).gaps.empty
    assert Bars.from_frame(priced(starts.delete(60)), frequency=frequency).gaps["missing"].tolist() == [1]


def test_weekly_bars_after_a_holiday_start_a_day_later_without_a_gap():
    starts = pd.date_range("2020-01-06", periods=60, freq="7D", tz="UTC")
    late = starts[:20].append(starts[20:24] + pd.Timedelta(days=1)).append(starts[24:])
    assert Bars.from_frame(priced(late)).gaps.empty
    assert Bars.from_frame(priced(late.delete(40))).gaps["missing"].tolist() == [1]


@pytest.mark.parametrize(("removed", "missing"), [(1, []), (5, []), (6, [6]), (8, [8])])
def test_daily_bars_lack_more_than_a_week_of_the_market_to_have_a_gap(removed, missing):
    days = pd.bdate_range("2024-01-01", "2024-06-28", tz="UTC")
    bars = Bars.from_frame(priced(days.delete(range(40, 40 + removed))))
    assert bars.gaps["missing"].tolist() == missing


def test_an_exchange_has_no_bars_of_several_days():
    starts = pd.date_range("2020-01-01", periods=60, freq="7D", tz="UTC")
    with pytest.raises(BarsError, match=r"bars of a day or less; for bars of 7D .* calendar='sessions'"):
        Bars.from_frame(priced(starts), calendar="XNYS")


# --- a calendar per symbol -------------------------------------------------------------------------------------------

HOLIDAYS = ["2024-01-15", "2024-02-19", "2024-03-29", "2024-05-27", "2024-06-19"]
_SPY_HOURS = hours("2024-01-02", "2024-06-28", step="1h")
SPY = priced(_SPY_HOURS[~_SPY_HOURS.strftime("%Y-%m-%d").isin(HOLIDAYS)], "SPY")
VOD = priced(hours("2024-01-02", "2024-06-28", "08:00", "16:30", "1h", "Europe/London"), "VOD", 1)
BTC = priced(pd.date_range("2024-01-02", "2024-06-28", freq="h", tz="UTC"), "BTC", 2)
MIXED = pd.concat([SPY, VOD, BTC], ignore_index=True)


def test_symbols_with_hours_of_their_own_have_calendars_of_their_own():
    bars = Bars.from_frame(MIXED)
    assert bars.calendar_names == {"SPY": "sessions", "VOD": "sessions", "BTC": "24/7"}
    assert bars.gaps.empty
    for part in bars.by_calendar():
        (symbol,) = part.symbols
        alone = Bars.from_frame(MIXED[MIXED["symbol"] == symbol])
        for name in ("ordinal", "session", "slot", "gapless_start", "session_end"):
            np.testing.assert_array_equal(getattr(part, name), getattr(alone, name), err_msg=name)
        mine = bars.select(symbol)
        np.testing.assert_array_equal(mine.slot, alone.slot)
    with pytest.raises(BarsError, match=r"different calendars \(.*24/7.*by_calendar"):
        _ = bars.calendar


@pytest.mark.parametrize("policy", ["twap", "volume_curve", "dynamic_volume_curve", "lem-base"])
def test_orders_of_a_mixed_table_are_executed_as_those_of_each_market_alone(policy):
    bars = Bars.from_frame(MIXED)
    orders = Order.sample(bars, every=3, max_periods=[3, 6], side="both", limit=400, seed=1)
    loaded = load_policy(policy)
    both = execute(loaded, bars, orders).orders
    assert len(both) == 400
    assert set(both["symbol"]) == {"SPY", "VOD", "BTC"}
    for symbol, mine in both.groupby("symbol"):
        own = execute(loaded, MIXED[MIXED["symbol"] == symbol], orders[orders["symbol"] == symbol])
        pd.testing.assert_frame_equal(mine.reset_index(drop=True), own.orders)


def test_orders_of_each_market_stay_in_their_own_sessions():
    bars = Bars.from_frame(MIXED)
    orders = pd.DataFrame(
        {"symbol": ["SPY", "BTC"], "start": ["2024-06-03T18:30Z", "2024-06-03T18:00Z"], "side": "buy", "max_periods": 6}
    )
    assert execute("twap", bars, orders).excluded["symbol"].tolist() == ["SPY"]


def test_calendars_are_given_by_symbol():
    bars = Bars.from_frame(MIXED, calendar={"SPY": "XNYS", "BTC": "24/7"})
    assert bars.calendar_names == {"SPY": "XNYS", "VOD": "sessions", "BTC": "24/7"}
    with pytest.raises(BarsError, match="a calendar is given for a symbol without bars; there are SPY, VOD, BTC"):
        Bars.from_frame(MIXED, calendar={"TSLA": "XNYS"})
    with pytest.raises(UnknownNameError, match="XNYZ"):
        Bars.from_frame(MIXED, calendar={"SPY": "XNYZ"})
    with pytest.raises(BarsError, match="a calendar is a name such as"):
        Bars.from_frame(MIXED, calendar={"SPY": None})


def test_a_column_names_the_calendar_of_each_symbol(tmp_path):
    names = {"SPY": "XNYS", "BTC": None, "VOD": "sessions"}
    frame = MIXED.assign(calendar=MIXED["symbol"].map(names))
    expected = {"SPY": "XNYS", "VOD": "sessions", "BTC": "24/7"}
    assert Bars.from_frame(frame).calendar_names == expected
    assert store_bars([frame], tmp_path / "bars.arrow").calendar_names == expected
    assert Bars.from_frame(frame, calendar={"SPY": "sessions"}).calendar_names["SPY"] == "sessions"
    with pytest.raises(BarsError, match=r"several calendars in one table.*SPY"):
        Bars.from_frame(frame.assign(calendar=["XNYS", *["sessions"] * (len(frame) - 1)]))
    with pytest.raises(BarsError, match="holds 3; a calendar is a name"):
        Bars.from_frame(frame.assign(calendar=3))


def test_stored_bars_keep_the_calendar_of_every_symbol(tmp_path):
    bars = Bars.from_frame(MIXED, calendar={"SPY": "XNYS"})
    bars.write(tmp_path / "bars.arrow")
    for verify in (False, True):
        read = Bars.read(tmp_path / "bars.arrow", verify=verify)
        assert read.calendar_names == bars.calendar_names
        for name in ("ordinal", "session", "slot", "usual_slots"):
            np.testing.assert_array_equal(getattr(read, name), getattr(bars, name))
    read = Bars.read(tmp_path / "bars.arrow", calendar={"BTC": "sessions", "SPY": "XNYS"})
    assert read.calendar_names == {"SPY": "XNYS", "VOD": "sessions", "BTC": "sessions"}


def test_a_symbol_with_few_bars_shares_the_hours_of_its_market():
    rng = np.random.default_rng(0)
    thin = [priced(BTC["timestamp"][rng.random(len(BTC)) < share], f"T{share}") for share in (0.01, 0.2, 0.7)]
    bars = Bars.from_frame(pd.concat([BTC, SPY, *thin], ignore_index=True))
    assert set(bars.calendar_names.values()) == {"24/7", "sessions"}
    assert len(bars.grid.calendars.kinds) == 2
    assert [name for name, kind in bars.calendar_names.items() if kind == "sessions"] == ["SPY"]


@pytest.mark.parametrize("step", ["1D", "30min"])
def test_two_exchanges_with_the_same_hours_have_holidays_of_their_own(step):
    days = pd.bdate_range("2024-01-02", "2024-06-28", tz="UTC")
    starts = days if step == "1D" else hours("2024-01-02", "2024-06-28", step=step)
    holidays = {"US": ["2024-01-15", "2024-02-19", "2024-05-27"], "CA": ["2024-02-20", "2024-05-20", "2024-05-21"]}
    parts = {
        name: priced(
            starts[~starts.tz_convert(NEW_YORK if step != "1D" else "UTC").strftime("%Y-%m-%d").isin(dates)], name
        )
        for name, dates in holidays.items()
    }
    bars = Bars.from_frame(pd.concat(parts.values(), ignore_index=True))
    assert len(bars.grid.calendars.kinds) == 2
    assert bars.gaps.empty
    orders = Order.sample(bars, every=5, max_periods=4, side="buy", lookback=1)
    both = execute("volume_curve", bars, orders).orders
    for name, part in parts.items():
        own = execute("volume_curve", part, orders[orders["symbol"] == name]).orders
        pd.testing.assert_frame_equal(both[both["symbol"] == name].reset_index(drop=True), own)


def test_days_that_symbols_of_one_market_lack_at_random_are_gaps():
    rng = np.random.default_rng(0)
    days = pd.bdate_range("2022-01-03", periods=400, tz="UTC")
    parts = [priced(days[rng.random(400) > 0.03], f"S{number:02}") for number in range(12)]
    bars = Bars.from_frame(pd.concat(parts, ignore_index=True))
    assert len(bars.grid.calendars.kinds) == 1
    assert len(bars.gaps) > 100


def test_futures_of_some_days_are_not_taken_for_a_market_that_never_closes():
    week = futures("2024-06-02", "2024-06-07", step="5min")
    part, whole = (
        Bars.from_frame(priced(week)),
        Bars.from_frame(priced(futures("2024-06-02", "2024-06-21", step="5min"))),
    )
    assert part.calendar.name == "sessions"
    assert part.gaps.empty
    np.testing.assert_array_equal(part.slot, whole.slot[: len(part)])


# --- gaps: said, and filled ------------------------------------------------------------------------------------------


def test_a_lunch_break_is_told_with_the_exchange_that_has_it():
    morning = hours("2024-01-09", "2024-03-29", "09:00", "11:30", zone="Asia/Tokyo")
    starts = morning.append(hours("2024-01-09", "2024-03-29", "12:30", "15:00", zone="Asia/Tokyo")).sort_values()
    with pytest.warns(BarsWarning, match=r"59 gaps exclude.*02:30 to 03:30 UTC on 59 days.*calendar='XTKS'"):
        Bars.from_frame(priced(starts))


def test_several_breaks_a_day_are_told_the_largest_first():
    parts = (("09:00", "10:15"), ("10:30", "11:30"), ("13:30", "15:00"), ("21:00", "23:00"))
    each = [hours("2024-03-01", "2024-04-30", *part, zone="Asia/Shanghai") for part in parts]
    frame = priced(each[0].append(each[1:]).sort_values())
    told = r"lacks 07:00 to 13:00, 03:30 to 05:30, 02:15 to 02:30 UTC on 43 days: .* fill_gaps=72 fills them"
    with pytest.warns(BarsWarning, match=told):
        Bars.from_frame(frame)
    assert Bars.from_frame(frame, fill_gaps=72).gaps.empty


def test_a_lunch_break_that_no_calendar_knows_names_no_exchange_of_its_own():
    morning = hours("2024-02-01", "2024-03-29", "10:00", "12:30", "15min", "Asia/Bangkok")
    starts = morning.append(hours("2024-02-01", "2024-03-29", "14:00", "16:30", "15min", "Asia/Bangkok")).sort_values()
    with pytest.warns(BarsWarning, match=r"05:30 to 07:00 UTC on 42 days.*have no break, fill_gaps=6 fills them"):
        Bars.from_frame(priced(starts))


def test_daily_bars_that_lack_weeks_are_told_with_a_calendar_that_has_holidays():
    days = pd.bdate_range("2020-01-01", "2023-12-29", tz="UTC")
    for year in range(2020, 2024):
        days = days[(days < f"{year}-10-02") | (days >= f"{year}-10-11")]
    with pytest.warns(BarsWarning, match=r"lacks a week of days or more 3 times.*calendar='XSHG'"):
        Bars.from_frame(priced(days))


@pytest.mark.parametrize(
    ("removed", "told"),
    [
        (range(1000, 1030), r"30 bars are missing.*never fewer than 30: these may be halts"),
        ([500, 501, *range(1000, 1030)], r"fill_gaps=2 fills 1 of the 2 gaps; longer ones may be halts"),
        ([500], r"1 bar is missing: .*fill_gaps=1 \(--calendar and --fill-gaps on the command line\)$"),
    ],
)
def test_only_gaps_that_it_closes_are_said_to_be_filled(removed, told):
    starts = pd.date_range("2024-01-01", periods=2000, freq="h", tz="UTC").delete(list(removed))
    assert re.search(told, gap_advice(Bars.from_frame(priced(starts))))


def test_bars_that_a_vendor_leaves_out_are_told_and_filled():
    rng = np.random.default_rng(0)
    starts = hours("2024-01-02", "2024-03-28")
    kept = priced(starts[rng.random(len(starts)) > 0.03])
    with pytest.warns(BarsWarning, match=r"exclude .* possible starts of orders.*leaves out bars.*fill_gaps=[1-3]"):
        bars = Bars.from_frame(kept)
    assert starts_lost(bars)[0] > 0.9 * starts_lost(bars)[1]
    filled = Bars.from_frame(kept, fill_gaps=3)
    assert filled.gaps.empty
    assert 0 <= len(starts) - len(filled) <= 3  # the last bar of a day, where nobody has it, is not missed
    added = ~np.isin(filled.timestamp, bars.timestamp)
    assert (filled.volume[added] == 0).all()
    np.testing.assert_array_equal(filled.open[added], filled.close[np.flatnonzero(added) - 1])


def test_gaps_longer_than_asked_for_stay():
    days = pd.date_range("2024-01-01", periods=2000, freq="h", tz="UTC").delete([100, 500, 501, 502])
    bars = Bars.from_frame(priced(days), fill_gaps=2)
    assert bars.gaps["missing"].tolist() == [3]
    for wrong in (-1, 1.5, "2", True):
        with pytest.raises(BarsError, match="at least 1"):
            Bars.from_frame(priced(days), fill_gaps=wrong)


@pytest.mark.parametrize(
    ("starts", "calendar"),
    [
        (pd.bdate_range("2024-01-01", periods=100, tz="UTC"), "auto"),
        (pd.bdate_range("2024-01-01", periods=100, tz=NEW_YORK), "auto"),
        (pd.date_range("2024-01-01 00:30", periods=500, freq="h", tz="UTC"), "24/7"),
        (hours("2024-01-08", "2024-03-28", step="15min").difference(hours("2024-01-15", "2024-01-15", step="15min")
            .union(hours("2024-02-19", "2024-02-19", step="15min"))), "XNYS"),
    ],
    ids=["daily", "daily in New York", "round the clock", "exchange"],
)  # fmt: skip
def test_filled_bars_start_where_the_missing_ones_did(starts, calendar):
    lacking = starts.delete(range(20, 27))
    whole = Bars.from_frame(priced(starts), calendar=calendar)
    filled = Bars.from_frame(priced(lacking), calendar=calendar, fill_gaps=7)
    np.testing.assert_array_equal(filled.timestamp, whole.timestamp)


# --- what a calendar expects -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MARKETS)
def test_the_next_start_of_a_calendar_is_that_of_the_next_bar(name):
    starts = MARKETS[name]
    bars = Bars.from_frame(priced(starts))
    known = len(bars) - 1
    following = np.array([bars.calendar.next_start(int(stamp)) for stamp in bars.timestamp[known - 300 : known]])
    expected = bars.timestamp[known - 299 : known + 1]
    ends = np.diff(bars.session[known - 300 : known + 1]) > 0
    # A session that ends early is not foreseen.
    early = ends & (bars.slot[known - 300 : known] + 1 < bars.slots_per_session)
    np.testing.assert_array_equal(following[~early], expected[~early])
    assert all(bars.calendar.has_start(int(stamp)) for stamp in expected)
    assert not bars.calendar.has_start(int(pd.Timestamp("2024-04-06 12:00", tz="UTC").value))


def test_a_calendar_of_days_knows_weekends():
    calendar = Bars.from_frame(priced(pd.bdate_range("2022-01-03", periods=600, tz="UTC"))).calendar
    friday = int(pd.Timestamp("2024-03-01", tz="UTC").value)
    assert pd.Timestamp(calendar.next_start(friday)).date() == datetime.date(2024, 3, 4)
    assert not calendar.has_start(friday + 86_400_000_000_000)
