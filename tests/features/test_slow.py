"""Slow statistics: as a plain loop over the sessions before, whatever else is in the table, and nothing later."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError
from lem_models.features.slow import slow_statistics
from lem_models.markets.bars import Bars
from lem_models.markets.synthetic import synthetic_bars
from tests.helpers import hourly, perturbed, rebuilt, sessions

NAMES = ("level", "volatility", "weekday", "sessions")


def _holes(bars: Bars) -> Bars:
    """Without some bars and without some sessions."""
    frame, rng = bars.frame, np.random.default_rng(0)
    day = frame["timestamp"].dt.day_of_year
    return rebuilt(bars, frame[(rng.random(len(frame)) > 0.02) & (day % 9 != 4)].reset_index(drop=True))


def _weekdays() -> Bars:
    frame = synthetic_bars(symbols=2, days=200, frequency="1D", seed=4).frame
    return Bars.from_frame(frame[frame["timestamp"].dt.day_of_week < 5].reset_index(drop=True), calendar="sessions")


MARKETS = {
    "hourly": lambda: hourly(40, 2),
    "5-minute sessions": lambda: sessions(25),
    "half-hours with holes": lambda: _holes(sessions(60, "30min")),
    "hours with holes and silent bars": lambda: _holes(perturbed(hourly(40, 2), np.arange(1920), silent=0.2)),
    "weekdays": _weekdays,
}


def _by_hand(bars: Bars, row: int, count: int) -> dict[str, float]:
    frame = bars.frame.assign(session=bars.session, run=bars.gapless_start, row=np.arange(len(bars)))
    frame = frame[frame["symbol"] == bars.symbols[bars.symbol_index[row]]]
    frame["vwap"] = np.where(
        frame["volume"] > 0, frame["notional"] / frame["volume"].where(frame["volume"] > 0), frame["close"]
    )
    gapless = frame["run"] < frame["row"]
    frame["squared"] = (np.log(frame["vwap"]).diff() ** 2).where(gapless)
    own = int(frame.loc[frame["row"] == row, "session"].iloc[0])
    before = frame[frame["session"] < own]
    if bars.calendar.name == "sessions" and bars.frequency < pd.Timedelta("1D"):
        before = before[before["session"] > 0]  # inferred hours: the history may begin inside its first session
    last = sorted(before["session"].unique())[-count:]
    before = before[before["session"].isin(last)]
    first, final = frame.groupby("session")["timestamp"].first(), frame.groupby("session")["timestamp"].last()
    middle = (first + (final - first) / 2 + pd.Timedelta("6h")).dt.day_of_week
    volume = before.groupby("session")["volume"].sum()
    alike = volume[[session for session in last if middle[session] == middle[own]]]
    weekday = 1.0
    if len(alike) and volume.mean() > 0:
        shrunk = 4 / len(alike)
        weekday = (alike.mean() / volume.mean() + shrunk) / (1 + shrunk)
    squared = before["squared"].dropna()
    return {
        "level": before["volume"].sum() / len(before) if before["volume"].sum() > 0 else np.nan,
        "volatility": np.sqrt(squared.mean()) if squared.sum() > 0 else np.nan,
        "weekday": weekday,
        "sessions": len(last),
    }


@pytest.mark.parametrize("count", [1, 5, 60])
@pytest.mark.parametrize("market", MARKETS)
def test_they_are_those_of_a_plain_loop(market, count):
    bars = MARKETS[market]()
    rows = np.random.default_rng(count).integers(0, len(bars), 25)
    found = slow_statistics(bars, rows, count)
    for number, row in enumerate(rows.tolist()):
        for name, value in _by_hand(bars, row, count).items():
            assert getattr(found, name)[number] == pytest.approx(value, rel=1e-9, nan_ok=True), name


@pytest.mark.parametrize("market", MARKETS)
def test_they_depend_on_nothing_but_the_sessions_before(market):
    bars = MARKETS[market]()
    rng = np.random.default_rng(1)
    rows = rng.integers(len(bars) // 2, len(bars), 12)
    together = slow_statistics(bars, rows, 5)
    for number, row in enumerate(rows.tolist()):
        alone = slow_statistics(bars, [row], 5)
        # The bars of this session and later, and what comes in them, change nothing; nor do those long before.
        mine = np.flatnonzero(bars.symbol_index == bars.symbol_index[row])
        later = mine[(bars.session[mine] >= bars.session[row])]
        earlier = mine[np.isin(bars.session[mine], np.unique(bars.session[mine][mine < row])[:-7])]
        changed = slow_statistics(perturbed(bars, np.concatenate([later, earlier])), [row], 5)
        shorter = bars.frame.iloc[mine[0] : row + 1].reset_index(drop=True)
        cut = slow_statistics(rebuilt(bars, shorter), [len(shorter) - 1], 5)
        for name in NAMES:
            value = getattr(together, name)[number]
            for other in (alone, changed, cut):
                assert np.array_equal(getattr(other, name)[0], value, equal_nan=True), name


def test_a_busy_weekday_is_found():
    frame = synthetic_bars(symbols=1, days=120, seed=3).frame
    busy = frame["timestamp"].dt.day_of_week == 4
    frame.loc[busy, ["volume", "notional"]] *= 3.0
    bars = Bars.from_frame(frame)
    weekday = slow_statistics(bars, np.arange(24 * 70, len(bars))).weekday
    friday = busy.to_numpy()[24 * 70 :]
    assert weekday[friday].min() > 1.5
    assert np.median(weekday[~friday]) < 0.9


@pytest.mark.parametrize("count", [0, 61])
def test_the_number_of_sessions_has_bounds(count):
    with pytest.raises(BarsError, match="from 1 to 60"):
        slow_statistics(hourly(14, 1), [5], count)
