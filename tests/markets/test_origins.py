"""Origins: where an order may start, and why it may not elsewhere."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lem_models.errors import BarsError, OrderError
from lem_models.features.causal import SUPPORT
from lem_models.markets.bars import Bars
from lem_models.markets.origins import (
    REASONS,
    Origins,
    check_history,
    exclusion_codes,
    origins,
    sample_origins,
    stretch_starts,
)
from lem_models.markets.synthetic import synthetic_bars
from tests.helpers import flat_bars, hourly, rebuilt, sessions


def _bars(hours=60, *, drop=(), silent=()):
    frame = flat_bars(np.linspace(100, 110, hours)).frame
    frame.loc[list(silent), ["volume", "notional"]] = 0.0
    return Bars.from_frame(frame.drop(index=list(drop)), calendar="24/7", frequency="1h")


def _two_symbols():
    one, other = flat_bars([1.0] * 20).frame, flat_bars([2.0] * 20).frame.assign(symbol="Y")
    return Bars.from_frame(pd.concat([one, other]), calendar="24/7", frequency="1h")


@settings(max_examples=30)
@given(
    drop=st.sets(st.integers(1, 58), max_size=4),
    silent=st.sets(st.integers(0, 59), max_size=4),
    lookback=st.integers(1, 12),
    horizon=st.integers(1, 8),
)
def test_an_origin_is_valid_exactly_when_its_window_is_whole(drop, silent, lookback, horizon):
    silent -= drop
    bars = _bars(drop=drop, silent=silent)
    found = origins(bars, lookback=lookback, horizon=horizon)
    hours = ((bars.timestamp - bars.timestamp[0]) // 3_600_000_000_000).tolist()
    expected = [
        row
        for row, hour in enumerate(hours)
        if all(h in hours and h not in silent and 0 <= h < 60 for h in range(hour - lookback, hour + horizon))
    ]
    assert found.index.tolist() == expected
    assert len(found) + sum(found.excluded.values()) == len(bars)


@st.composite
def _markets(draw):
    """Markets of three symbols with gaps and halts."""
    kind = draw(st.sampled_from(["1h", "30min", "1D"]))
    session = ("14:30", "21:00") if kind == "30min" else None
    seed = draw(st.integers(0, 10_000))
    bars = synthetic_bars(symbols=3, days=120 if kind == "1D" else 6, frequency=kind, session=session, seed=seed)
    rng = np.random.default_rng(seed)
    frame = bars.frame[rng.random(len(bars)) > draw(st.sampled_from([0.0, 0.03]))].reset_index(drop=True)
    frame.loc[rng.random(len(frame)) < draw(st.sampled_from([0.0, 0.03])), ["volume", "notional"]] = 0.0
    return Bars.from_frame(frame, calendar=bars.calendar.name, frequency=bars.frequency)


@settings(max_examples=30)
@given(_markets(), st.integers(0, 12), st.integers(1, 8), st.sampled_from([None, True, False]))
def test_origins_found_as_stretches_are_those_of_the_codes_bar_by_bar(bars, lookback, horizon, within_session):
    rule = {"lookback": lookback, "within_session": within_session}
    codes = exclusion_codes(bars, np.arange(len(bars)), horizon, halts=True, **rule)
    found = origins(bars, horizon=horizon, **rule)
    assert found.index.tolist() == np.flatnonzero(codes == 0).tolist()
    assert found.excluded == {
        REASONS[code]: int((codes == code).sum()) for code in range(1, 9) if (codes == code).any()
    }
    some = np.flatnonzero(np.arange(len(bars)) % 7 < 2)
    assert origins(bars, horizon=horizon, candidates=some, **rule).index.tolist() == some[codes[some] == 0].tolist()


def test_origins_are_taken_by_number():
    found = Origins(np.array([5, 20]), np.array([3, 2]))
    assert len(found) == 5
    assert found.index.tolist() == [5, 6, 7, 20, 21]
    assert found.take([[4, 0], [2, 3]]).tolist() == [[21, 5], [7, 20]]
    assert found.take([]).shape == (0,)
    for number in (-1, 5):
        with pytest.raises(IndexError, match="numbered from 0 to 4"):
            found.take([0, number])


def test_origins_are_stored_by_stretch_however_many_they_are():
    bars = synthetic_bars(symbols=2, days=20, frequency="1min")
    found = origins(bars, lookback=256, horizon=12)
    assert len(found.first) == len(found.count) == 2
    assert len(found) == len(bars) - 2 * (256 + 11)


@settings(max_examples=30)
@given(_markets(), st.integers(1, 30), st.integers(0, 150), st.booleans())
def test_stretches_and_what_their_features_reach_lie_in_the_period(bars, length, skip, is_late):
    middle = pd.Timestamp(int(np.median(bars.timestamp)), tz="UTC")
    start, end = (middle, None) if is_late else (None, middle)
    found = stretch_starts(bars, length=length, support=SUPPORT, skip=skip, start=start, end=end)
    expected = []
    for row in range(len(bars)):
        first, last = row - SUPPORT + 1, row + length - 1
        low, high = bars.offsets[bars.symbol_index[row]], bars.offsets[bars.symbol_index[row] + 1]
        if first < low or row - skip < low or last >= high or bars.gapless_start[first] != bars.gapless_start[last]:
            continue
        period = bars.timestamp[[first, last]]
        inside = period[0] >= middle.value if is_late else period[1] < middle.value
        if inside and (bars.volume[first : last + 1] > 0).all():
            expected.append(row)
    assert found.index.tolist() == expected


@pytest.mark.parametrize(
    ("bars", "row", "code"),
    [
        (_bars(), -1, 1),
        (_bars(), 4, 2),
        (_bars(drop=[18]), 19, 3),
        (_bars(), 57, 4),
        (_bars(drop=[22]), 20, 5),
        (_bars(silent=[16]), 20, 7),
        (_bars(silent=[23]), 20, 8),
        (_bars(), 20, 0),
        (_bars(), 5, 0),
        (_bars(), 56, 0),
    ],
)
def test_codes(bars, row, code):
    codes = exclusion_codes(bars, np.array([row]), 4, lookback=5, halts=True)
    assert codes.tolist() == [code]


def test_every_code_has_a_reason():
    assert sorted(REASONS) == list(range(9))
    assert len(set(REASONS.values())) == 9


def test_bars_without_volume_are_executed_around_unless_most_of_the_lookback_is_silent():
    rows = np.array([20])
    for silent, code in (([16, 22], 0), ([16, 17], 0), ([15, 16, 17], 7)):
        assert exclusion_codes(_bars(silent=silent), rows, 4, lookback=5).tolist() == [code]


def test_a_window_stays_in_one_symbol():
    bars = _two_symbols()
    found = origins(bars, lookback=3, horizon=2)
    assert found.index.tolist() == [*range(3, 19), *range(23, 39)]
    assert found.excluded == {
        "not enough history before the start": 6,
        "the bars end before the order does": 2,
    }


def test_each_order_has_its_own_horizon():
    bars = _bars()
    assert exclusion_codes(bars, np.array([57, 57]), np.array([3, 4]), lookback=1).tolist() == [0, 4]


def test_sessions_bind_intraday_orders_only():
    bars = sessions()
    last = np.array([78 * 2 - 3, 78 * 2 - 2])
    assert exclusion_codes(bars, last, 3, lookback=10).tolist() == [0, 6]
    assert exclusion_codes(bars, last, 3, lookback=10, within_session=False).tolist() == [0, 0]
    # The lookback may reach over the night.
    assert exclusion_codes(bars, np.array([78 * 2]), 3, lookback=10).tolist() == [0]
    day = hourly()
    assert exclusion_codes(day, np.array([46]), 12, lookback=10).tolist() == [0]
    assert exclusion_codes(day, np.array([46]), 12, lookback=10, within_session=True).tolist() == [6]


def test_a_grid_of_times_is_that_of_utc():
    found = sample_origins(hourly(), lookback=30, horizon=4, every="6h")
    assert (hourly().timestamp[found.index] % (6 * 3_600_000_000_000) == 0).all()
    shifted = rebuilt(hourly(), hourly().frame.iloc[5:384])
    again = sample_origins(shifted, lookback=30, horizon=4, every="6h")
    assert set(shifted.timestamp[again.index]) <= set(hourly().timestamp[found.index])


def test_end_is_exclusive_and_counts_the_last_bar():
    bars = _bars()
    found = sample_origins(bars, lookback=2, horizon=4, start="2024-01-01 10:00", end="2024-01-02 00:00")
    assert found.index.tolist() == list(range(10, 21))


def test_orders_that_end_after_the_period_are_no_candidates_but_those_that_outlast_the_bars_are_counted():
    inside = sample_origins(_bars(), lookback=2, horizon=4, end="2024-01-02 00:00")
    assert inside.excluded == {"not enough history before the start": 2}
    beyond = sample_origins(_bars(), lookback=2, horizon=4, end="2025-01-01")
    assert beyond.excluded == {"not enough history before the start": 2, "the bars end before the order does": 3}


@pytest.mark.parametrize("every", [2, np.int64(5), "3h", pd.Timedelta("7h")])
def test_a_grid_of_times_takes_every_bar_on_it(every):
    bars = _bars(drop=[18], silent=[40])
    found = sample_origins(bars, lookback=2, horizon=2, every=every)
    hours = bars.timestamp // 3_600_000_000_000
    step = every if isinstance(every, int | np.integer) else int(pd.Timedelta(every) / bars.frequency)
    assert found.index.tolist() == [k for k in origins(bars, lookback=2, horizon=2).index if hours[k] % step == 0]


@pytest.mark.parametrize("every", [0, np.int64(-1), "10min", "whenever", "nat"])
def test_a_step_that_is_none_is_refused(every):
    with pytest.raises(OrderError, match="every"):
        sample_origins(_bars(), lookback=2, horizon=4, every=every)


def test_no_origin_at_all_says_why():
    with pytest.raises(OrderError, match=r"59 bars of history.*not enough history"):
        sample_origins(_bars(), lookback=59, horizon=2)


def test_too_little_history_names_the_longest_symbol():
    check_history(_bars(), 59)
    with pytest.raises(BarsError, match="60 bars at most per symbol, but 60 bars of history and one to trade") as error:
        check_history(_bars(), 60)
    assert error.value.symbol == "X"
