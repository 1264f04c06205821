"""Places on the market's grid, for the rows that are asked for: exact, and in memory that the gaps decide."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.markets.origins import stretch_starts
from lem_models.markets.synthetic import synthetic_bars
from tests.helpers import hourly

PLACES = ("ordinal", "session", "slot", "gapless_start", "gapless_end", "session_end")
BYTES_PER_BAR = 56

MARKETS = {
    "hourly": hourly(),
    "sessions": synthetic_bars(symbols=2, days=10, frequency="30min", session=("14:30", "21:00")),
    "daily": synthetic_bars(symbols=2, days=60, frequency="1D"),
    "7 hours": synthetic_bars(symbols=2, days=40, frequency="7h"),
    "minutes": synthetic_bars(symbols=2, days=3, frequency="1min"),
    "one session": synthetic_bars(symbols=4, days=0.4, frequency="15min"),
}


def with_holes(bars, seed):
    """The same market with bars missing and bars without volume."""
    rng = np.random.default_rng(seed)
    frame = bars.frame[rng.random(len(bars)) > 0.05].reset_index(drop=True)
    frame.loc[rng.random(len(frame)) < 0.05, ["volume", "notional"]] = 0.0
    return Bars.from_frame(frame, calendar=bars.calendar.name, frequency=bars.frequency)


def places_by_hand(bars):
    """Every place, bar by bar from the calendar."""
    placed = bars.calendar.place(bars.timestamp)
    size = len(bars)
    symbol = np.repeat(np.arange(len(bars.symbols)), np.diff(bars.offsets))

    def bounds(joined):
        start = np.array([0, *(np.flatnonzero(~joined) + 1)])
        end = np.append(start[1:], size)
        return np.repeat(start, end - start), np.repeat(end, end - start)

    same_symbol = symbol[1:] == symbol[:-1]
    gapless_start, gapless_end = bounds(same_symbol & (np.diff(placed.ordinal) == 1))
    _, session_end = bounds(same_symbol & (np.diff(placed.session) == 0))
    return {
        "ordinal": placed.ordinal,
        "session": placed.session,
        "slot": placed.slot,
        "gapless_start": gapless_start,
        "gapless_end": gapless_end,
        "session_end": session_end,
        "symbol": symbol,
    }


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
@given(seed=st.integers(0, 1000))
@settings(max_examples=8)
def test_the_places_of_rows_are_those_of_the_calendar(market, seed):
    bars = with_holes(market, seed)
    expected = places_by_hand(bars)
    rows = np.random.default_rng(seed).integers(0, len(bars), (3, 40))
    for name, column in expected.items():
        np.testing.assert_array_equal(getattr(bars.grid, name)(rows), column[rows], err_msg=name)
    for name in PLACES:
        np.testing.assert_array_equal(getattr(bars, name), expected[name], err_msg=name)
    first, last = np.sort(np.random.default_rng(seed).integers(0, len(bars) + 1, (2, 50)), axis=0)
    idle = [int((bars.volume[a:b] == 0).sum()) for a, b in zip(first, last, strict=True)]
    assert bars.grid.idle_between(first, last).tolist() == idle


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
def test_a_part_keeps_its_places(market):
    bars = with_holes(market, 3)
    cut = pd.Timestamp(int(bars.timestamp[len(bars) // 5]), tz="UTC")
    part = bars.select([bars.symbols[1], bars.symbols[0]]).between(cut)
    expected = places_by_hand(part)
    for name in PLACES:
        np.testing.assert_array_equal(getattr(part, name), expected[name], err_msg=name)
    np.testing.assert_array_equal(part.grid.idle, np.flatnonzero(part.volume == 0))


def test_the_columns_computed_when_asked_for_are_read_only():
    bars = hourly()
    for name in ("vwap", "symbol_index", *PLACES):
        with pytest.raises(ValueError, match="read-only"):
            getattr(bars, name)[0] = 0
    for array in (bars.grid.run, bars.grid.number, bars.grid.idle, pickle.loads(pickle.dumps(bars)).grid.run):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def array_bytes(value, seen):
    """Bytes of every array that an object holds, each once."""
    if isinstance(value, np.ndarray):
        owner = value if value.base is None else value.base
        if id(owner) in seen:
            return 0
        seen.add(id(owner))
        return value.nbytes
    if isinstance(value, tuple | list):
        return sum(array_bytes(part, seen) for part in value)
    if isinstance(value, dict):
        return sum(array_bytes(part, seen) for part in value.values())
    return array_bytes(vars(value), seen) if hasattr(value, "__dict__") and not isinstance(value, type) else 0


SIZES = {
    "hours": {"symbols": 1, "days": 2000, "frequency": "1h"},
    "days": {"symbols": 1, "days": 6000, "frequency": "1D"},
    "half hours with sessions": {"symbols": 1, "days": 600, "frequency": "30min", "session": ("14:30", "21:00")},
    "minutes": {"symbols": 3, "days": 14, "frequency": "1min"},
}


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("sized", [False, True], ids=["free", "with costs"])
@pytest.mark.parametrize("settings", SIZES.values(), ids=SIZES)
def test_a_training_set_is_at_most_1_2_times_its_bars_and_the_features(settings, sized, cache):
    """With costs orders have sizes, which are parts of one more profile: a number for each bar."""
    bars = synthetic_bars(**settings)
    market = Market(bars, cache=cache)
    starts = stretch_starts(bars, length=128, support=128)
    first = starts.take(np.arange(0, len(starts), 97))
    market.feature_windows(first, 128)
    market.over_orders(first + 20, np.full(len(first), 12), 12, sized=sized)
    bars.grid.session_end(first)
    seen = set()
    features = vars(market).get("features")
    taken = array_bytes(features, seen)
    assert taken == (len(bars) * (84 + 8) if cache else 0)
    profile = 8 if sized and cache else 0
    assert array_bytes([vars(market), starts], seen) <= (1.2 * BYTES_PER_BAR + profile) * len(bars)


def test_calendars_of_sessions_are_read_only_too():
    for bars in (MARKETS["sessions"], MARKETS["sessions"].select("S001")):
        for calendar in (bars.calendar, pickle.loads(pickle.dumps(bars.calendar))):
            for array in (calendar.start, calendar.number, calendar.count, calendar.opening):
                assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            bars.calendar.start[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        MARKETS["sessions"].grid.session_bounds[0] = 1
