"""Calendars: bars that follow each other differ by 1, over nights and weekends too; what is missing is a gap."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.exchange import Exchange
from lem_models.markets.calendar.frequency import DAY


def bars_at(timestamps_of, **settings):
    """Flat-price bars of each symbol at the given times."""
    parts = []
    for symbol, timestamps in timestamps_of.items():
        parts.append(
            pd.DataFrame(
                {
                    "timestamp": pd.DatetimeIndex(timestamps).tz_convert("UTC"),
                    "symbol": symbol,
                    **dict.fromkeys(("open", "high", "low", "close"), 10.0),
                    "volume": 1.0,
                    "notional": 10.0,
                }
            )
        )
    return Bars.from_frame(pd.concat(parts, ignore_index=True), **settings)


def opening_hours(first, last, opening="09:30", closing="16:00", frequency="5min", zone="America/New_York"):
    """Bar starts of weekdays, in local time with daylight saving."""
    days = pd.bdate_range(first, last)
    return pd.DatetimeIndex(
        np.concatenate(
            [
                pd.date_range(f"{day:%Y-%m-%d} {opening}", f"{day:%Y-%m-%d} {closing}", freq=frequency, tz=zone)[:-1]
                .tz_convert("UTC")
                .tz_localize(None)
                for day in days
            ]
        ),
        tz="UTC",
    )


def without(timestamps, *removed):
    return timestamps.drop(pd.DatetimeIndex(removed).tz_localize("UTC"))


def clock(first, periods, frequency="h"):
    return pd.date_range(first, periods=periods, freq=frequency, tz="UTC")


# Which calendar


@pytest.mark.parametrize(
    ("timestamps", "expected"),
    [
        (clock("2024-01-01", 24 * 21), "24/7"),
        (clock("2024-01-01", 288 * 8, "5min"), "24/7"),
        (clock("2024-01-01", 60, "D"), "24/7"),
        (clock("2024-01-01", 21 * 16, "90min"), "24/7"),
        (clock("2024-01-02", 48), "24/7"),
        (clock("2024-01-02 07:00", 30), "24/7"),
        (opening_hours("2024-01-02", "2024-03-28"), "sessions"),
        (opening_hours("2024-01-02", "2024-01-02"), "sessions"),
        (opening_hours("2024-01-02", "2024-01-26", "04:00", "20:00"), "sessions"),
        (opening_hours("2024-01-02", "2024-01-26", "09:00", "15:00", zone="Asia/Tokyo"), "sessions"),
        (pd.bdate_range("2024-01-01", periods=60, tz="UTC"), "sessions"),
        (pd.date_range("2024-01-01", periods=60, freq="W-MON", tz="UTC"), "sessions"),
    ],
)
def test_the_bars_tell_the_calendar(timestamps, expected):
    bars = bars_at({"A": timestamps})
    assert bars.calendar.name == expected
    assert bars.gaps.empty
    assert bars.is_session_bound == (expected == "sessions" and bars.frequency < pd.Timedelta("1D"))


def test_a_long_hole_does_not_close_a_market_round_the_clock():
    timestamps = clock("2024-01-01", 24 * 60)
    bars = bars_at({"A": timestamps[:400].append(timestamps[1100:])})
    assert bars.calendar.name == "24/7"
    assert list(bars.gaps["missing"]) == [700]


def test_the_calendar_can_be_given():
    timestamps = clock("2024-01-02", 12)
    assert bars_at({"A": timestamps}).calendar.name == "sessions"
    assert bars_at({"A": timestamps}, calendar="24/7").calendar.name == "24/7"
    assert bars_at({"A": clock("2024-01-01", 500)}, calendar="sessions").calendar.name == "sessions"


# Round the clock


def test_ordinals_round_the_clock_are_whole_steps():
    timestamps = clock("2024-01-06 10:30", 40)
    bars = bars_at({"A": timestamps[:5].append(timestamps[8:])}, calendar="24/7")
    np.testing.assert_array_equal(bars.ordinal, bars.timestamp // bars.frequency.value)
    np.testing.assert_array_equal(bars.session, bars.timestamp // 86_400_000_000_000)
    np.testing.assert_array_equal(bars.slot, (bars.timestamp // 3_600_000_000_000) % 24)
    assert list(bars.gaps["missing"]) == [3]


def test_the_next_bar_has_a_place_before_it_is_there():
    bars = bars_at({"A": clock("2024-01-01", 30)}, calendar="24/7")
    place = bars.calendar.place(bars.timestamp[-1:] + bars.frequency.value)
    assert (place.ordinal[0], place.session[0], place.slot[0]) == (bars.ordinal[-1] + 1, bars.session[-1], 6)


def test_a_time_off_the_grid_has_no_place():
    bars = bars_at({"A": clock("2024-01-01", 30)}, calendar="24/7")
    assert not bars.calendar.contains(bars.timestamp + 1).any()
    with pytest.raises(BarsError, match="no bar of the calendar '24/7' at 1h starts then"):
        bars.calendar.place(bars.timestamp + 1)


# Sessions from the bars


def test_bars_follow_each_other_over_nights_weekends_and_daylight_saving():
    timestamps = opening_hours("2024-03-04", "2024-03-15")
    bars = bars_at({"A": timestamps})
    np.testing.assert_array_equal(np.diff(bars.ordinal), 1)
    np.testing.assert_array_equal(bars.gapless_end, len(timestamps))
    np.testing.assert_array_equal(bars.session, np.arange(len(timestamps)) // 78)
    np.testing.assert_array_equal(bars.slot, np.arange(len(timestamps)) % 78)
    np.testing.assert_array_equal(bars.session_end, (bars.session + 1) * 78)
    assert bars.slots_per_session == 78


@pytest.mark.parametrize("frequency", ["1h", "90min", "2h", "195min"])
def test_session_starts_need_not_share_one_grid(frequency):
    bars = bars_at({"A": opening_hours("2024-03-04", "2024-03-15", "10:00", "16:30", frequency)})
    assert bars.calendar.name == "sessions"
    assert bars.gaps.empty
    assert bars.frequency == pd.Timedelta(frequency)


def test_a_half_day_is_an_ordinary_shorter_session():
    full = opening_hours("2024-07-01", "2024-07-02")
    half = opening_hours("2024-07-03", "2024-07-03", closing="13:00")
    after = opening_hours("2024-07-05", "2024-07-08")
    bars = bars_at({"A": full.append([half, after])})
    np.testing.assert_array_equal(np.unique(bars.session, return_counts=True)[1], [78, 78, 42, 78, 78])
    assert bars.gaps.empty
    assert bars.slots_per_session == 78


def test_a_session_across_midnight_utc_is_one_session():
    timestamps = opening_hours("2024-01-15", "2024-01-26", "10:00", "16:00", zone="Australia/Sydney")
    bars = bars_at({"A": timestamps})
    np.testing.assert_array_equal(bars.slot, np.arange(720) % 72)
    assert bars.gaps.empty


def test_a_halt_of_the_whole_market_is_a_gap_and_leaves_its_slots_empty():
    timestamps = opening_hours("2024-01-02", "2024-01-05")
    halted = timestamps[:10].append(timestamps[13:])
    bars = bars_at({"A": halted, "B": halted})
    assert list(bars.gaps["missing"]) == [3, 3]
    assert list(bars.slot[8:12]) == [8, 9, 13, 14]
    assert bars.session_end[0] == 75


def test_a_bar_that_only_one_symbol_lacks_is_its_gap():
    timestamps = opening_hours("2024-01-02", "2024-01-05")
    lacking = timestamps.delete([0, 20, 77, 78, 200])
    bars = bars_at({"A": timestamps, "B": lacking})
    gaps = bars.gaps
    assert set(gaps["symbol"]) == {"B"}
    # The last bar of the first session and the first of the second are one gap over the night.
    assert list(gaps["missing"]) == [1, 2, 1]
    assert bars.slot[bars.offsets[1]] == 1
    assert bars.select("B").gaps.equals(gaps)
    assert len(bars.between("2024-01-03").select("B").gaps) == 1


def test_a_symbol_that_lacks_a_session_has_a_gap():
    timestamps = opening_hours("2024-01-02", "2024-01-05")
    bars = bars_at({"A": timestamps, "B": timestamps[:78].append(timestamps[156:])})
    assert list(bars.gaps["missing"]) == [78]


# Daily bars


def test_daily_bars_follow_each_other_over_a_week_without_trading():
    days = pd.bdate_range("2001-08-20", "2001-10-05", tz="UTC").drop(
        pd.date_range("2001-09-11", "2001-09-14", tz="UTC")
    )
    bars = bars_at({"A": days})
    assert bars.gaps.empty
    assert (bars.slots_per_session, bars.is_session_bound) == (1, False)
    np.testing.assert_array_equal(bars.session_end, np.arange(len(days)) + 1)
    np.testing.assert_array_equal(np.diff(bars.session), 1)


def test_daily_bars_more_than_a_week_apart_have_a_gap():
    days = pd.bdate_range("2024-01-01", "2024-03-29", tz="UTC")
    bars = bars_at({"A": days[:20].append(days[26:])})
    assert len(bars.gaps) == 1


def test_a_daily_bar_that_only_one_symbol_lacks_is_its_gap():
    days = pd.bdate_range("2024-01-01", "2024-03-29", tz="UTC")
    bars = bars_at({"A": days, "B": days.delete([10, 11])})
    assert bars.gaps.to_dict("list")["missing"] == [2]


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Asia/Tokyo", "Pacific/Auckland"])
@pytest.mark.parametrize("hour", [0, 9])
def test_daily_bars_stamped_in_local_time_follow_each_other_through_daylight_saving(zone, hour):
    days = pd.bdate_range("2024-01-01", "2024-12-31", tz=zone) + pd.DateOffset(hours=hour)
    bars = bars_at({"A": days})
    assert bars.calendar.name == "sessions"
    assert bars.gaps.empty


def test_daily_bars_stamped_at_other_times_are_another_market():
    days = pd.bdate_range("2024-01-01", "2024-02-28", tz="UTC")
    bars = bars_at({"A": days, "B": days[:-1] + pd.Timedelta(hours=5)})
    assert len(bars.by_calendar()) == 2
    assert bars.gaps.empty


def test_a_symbol_whose_daily_bars_change_their_time_does_not_lie_on_one_grid():
    days = pd.bdate_range("2024-01-01", "2024-02-28", tz="UTC")
    with pytest.raises(BarsError, match="does not start on the grid"):
        bars_at({"A": days[:30].append(days[30:] + pd.Timedelta(hours=5))})


# Exchanges


def test_an_exchange_knows_its_half_days_and_holidays():
    days = opening_hours("2024-07-01", "2024-07-02").append(
        [
            opening_hours("2024-07-03", "2024-07-03", closing="13:00"),
            opening_hours("2024-07-05", "2024-07-08"),
        ]
    )
    bars = bars_at({"A": days}, calendar="XNYS")
    assert (bars.calendar.name, bars.slots_per_session, bars.is_session_bound) == ("XNYS", 78, True)
    assert bars.gaps.empty
    np.testing.assert_array_equal(np.unique(bars.session, return_counts=True)[1], [78, 78, 42, 78, 78])
    np.testing.assert_array_equal(bars.slot[-78:], np.arange(78))


def test_an_exchange_sees_a_session_that_no_symbol_has():
    timestamps = opening_hours("2024-01-02", "2024-01-05")
    lacking = timestamps[:78].append(timestamps[156:])
    assert bars_at({"A": lacking}).gaps.empty
    assert list(bars_at({"A": lacking}, calendar="XNYS").gaps["missing"]) == [78]


def test_a_first_bar_that_is_missing_leaves_its_slot_empty_on_an_exchange():
    timestamps = opening_hours("2024-01-02", "2024-01-05")
    bars = bars_at({"A": timestamps.delete([0, 78])}, calendar="XNYS")
    assert bars.slot[0] == 1
    assert list(bars.gaps["missing"]) == [1]


def test_a_bar_outside_the_schedule_is_refused():
    timestamps = opening_hours("2024-01-02", "2024-01-05", closing="16:30")
    with pytest.raises(BarsError, match="'XNYS' at 5min; 24 of 336 bars do not") as caught:
        bars_at({"A": timestamps}, calendar="XNYS")
    assert caught.value.timestamp == pd.Timestamp("2024-01-02 21:00", tz="UTC")
    with pytest.raises(BarsError) as caught:
        bars_at({"A": opening_hours("2024-07-03", "2024-07-05")}, calendar="XNYS")
    assert caught.value.timestamp == pd.Timestamp("2024-07-03 17:00", tz="UTC")


def test_a_lunch_break_of_an_exchange_is_no_gap():
    morning = opening_hours("2024-01-15", "2024-01-19", "09:00", "11:30", "30min", zone="Asia/Tokyo")
    afternoon = opening_hours("2024-01-15", "2024-01-19", "12:30", "15:00", "30min", zone="Asia/Tokyo")
    timestamps = morning.append(afternoon).sort_values()
    bars = bars_at({"A": timestamps}, calendar="XTKS")
    assert bars.gaps.empty
    np.testing.assert_array_equal(bars.slot, np.arange(50) % 10)
    assert len(bars_at({"A": timestamps}).gaps) == 5


def test_an_exchange_looks_as_far_ahead_as_an_order_is_long():
    """Its schedule reaches three weeks beyond the bars that it was made from."""
    last = pd.Timestamp("2014-02-03").value
    calendar = Exchange.of("XNYS", pd.Timestamp("2014-01-02").value, last, DAY, at_midnight=True)
    assert pd.Timestamp(calendar.coming(last, 60)[-1]) == pd.Timestamp("2014-04-29")  # 59 sessions later


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_daily_bars_of_an_exchange(zone):
    days = pd.DatetimeIndex(["2024-01-04", "2024-01-05", "2024-01-09", "2024-01-10", "2024-01-12"], tz=zone)
    bars = bars_at({"A": days}, calendar="XTKS")  # the 8th was a holiday
    assert list(bars.gaps["missing"]) == [1]
    assert (bars.slots_per_session, bars.is_session_bound) == (1, False)
    with pytest.raises(BarsError, match="'XTKS' at 1D"):
        bars_at({"A": pd.bdate_range("2024-01-04", "2024-01-12", tz=zone)}, calendar="XTKS")


# Frequency


def test_gaps_of_all_sizes_do_not_hide_the_frequency():
    rng = np.random.default_rng(3)
    timestamps = clock("2024-01-01", 2000, "15min")
    kept = timestamps[rng.random(2000) < 0.7]
    bars = bars_at({"A": kept})
    assert bars.frequency == pd.Timedelta("15min")
    assert bars.gaps["missing"].sum() == np.diff(kept.as_unit("ns").asi8).sum() // (900 * 10**9) - len(kept) + 1


def test_a_symbol_of_few_scattered_bars_is_legal():
    timestamps = clock("2024-01-01", 500)
    bars = bars_at({"A": timestamps, "B": timestamps[[3, 40, 41, 300]], "C": timestamps[[7]]})
    assert list(bars.gaps["missing"]) == [36, 258]


def test_a_frequency_can_be_given():
    bars = bars_at({"A": clock("2024-01-01", 10, "2h")}, calendar="24/7", frequency="h")
    assert bars.frequency == pd.Timedelta("1h")
    assert list(bars.gaps["missing"]) == [1] * 9


def test_weekly_bars():
    weeks = pd.date_range("2024-01-01", periods=60, freq="W-MON", tz="UTC")
    bars = bars_at({"A": weeks[:30].append(weeks[33:])})
    assert bars.frequency == pd.Timedelta("7D")
    assert list(bars.gaps["missing"]) == [3]
