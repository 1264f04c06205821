"""The check of bars finds what was planted, and nothing in good bars."""

import numpy as np
import pandas as pd

from lem_models import synthetic_bars
from lem_models.markets.bars import Bars
from lem_models.markets.quality.report import check_bars, coverage


def frame(**settings) -> pd.DataFrame:
    return synthetic_bars(**{"symbols": 3, "days": 40, "seed": 1} | settings).frame


def test_good_bars():
    check = check_bars(Bars.from_frame(frame()), licence="cc-by-4.0")
    facts = check.facts()
    assert (facts["symbols"], facts["bars"], facts["frequency"], facts["calendar"]) == (3, 2880, "1h", "24/7 (3)")
    assert (facts["gaps"], facts["missing bars"], facts["bars without volume"], facts["outliers"]) == (0, 0, 0, 0)
    assert facts["licence"] == "cc-by-4.0"
    assert check.warnings() == []


def test_gaps_and_halts():
    table = frame()
    table.loc[300:320, ["volume", "notional"]] = 0.0
    table.loc[955:965, ["volume", "notional"]] = 0.0  # over the border of two symbols
    table = table.drop(index=range(100, 140))
    check = check_bars(Bars.from_frame(table))
    times = synthetic_bars(symbols=1, days=40).frame["timestamp"]
    assert check.gaps[["symbol", "before", "after", "missing"]].to_numpy().tolist() == [
        ["S000", times[99], times[140], 40]
    ]
    assert check.halts.to_numpy().tolist() == [
        ["S000", times[300], times[320], 21],
        ["S000", times[955], times[959], 5],
        ["S001", times[0], times[5], 6],
    ]
    assert check.symbols[["bars", "missing", "gaps", "idle"]].to_numpy().tolist() == [
        [920, 40, 1, 26],
        [960, 0, 0, 6],
        [960, 0, 0, 0],
    ]
    assert (check.starts_lost, check.starts) == (100, 2072)


def test_a_bad_print_and_a_jump():
    table = frame(symbols=1)
    bad = table.index == 400
    prices = ["open", "high", "low", "close", "notional"]
    table.loc[bad, prices] *= 3.0
    table.loc[table.index >= 700, prices] *= 1.3
    found = check_bars(Bars.from_frame(table)).outliers
    returns = found[found["kind"] == "return"].set_index("timestamp")
    assert returns.index.tolist() == [table["timestamp"][row] for row in (400, 401, 700)]
    assert returns["reverts"].tolist() == [True, False, False]


def test_a_split_and_its_warning():
    table = frame(symbols=1)
    after = table.index >= 480
    table.loc[after, ["open", "high", "low", "close"]] /= 4.0
    table.loc[after, "volume"] *= 4.0
    check = check_bars(Bars.from_frame(table))
    assert [(split.symbol, split.timestamp, split.ratio) for split in check.splits] == [
        ("S000", table["timestamp"][480], 0.25)
    ]
    assert any("not adjusted for 1 splits: S000" in text for text in check.warnings())


def test_estimates_are_counted():
    table = frame().assign(notional_exact=[True] * 960 + [False] * 1920)
    check = check_bars(Bars.from_frame(table))
    assert check.symbols["estimated"].tolist() == [0.0, 1.0, 1.0]
    assert check.facts()["bars with an estimated notional"] == "66.7 %"
    assert any("66.7 % of the bars have an estimated notional" in text for text in check.warnings())


def test_coverage():
    table = frame().drop(index=range(480, 960))  # the second half of the first symbol
    edges, shares = coverage(Bars.from_frame(table), cells=10)
    assert (edges.shape, shares.shape) == ((11,), (3, 10))
    np.testing.assert_allclose(shares[0], [1.0] * 5 + [0.0] * 5)
    np.testing.assert_allclose(shares[1:], 1.0)


def test_coverage_of_nights_is_not_missing():
    days = pd.bdate_range("2025-07-07", periods=5)
    times = np.concatenate([pd.date_range(day + pd.Timedelta(hours=14), periods=6, freq="h") for day in days])
    values = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 4.0, "notional": 42.0}
    bars = Bars.from_frame(pd.DataFrame({"timestamp": pd.DatetimeIndex(times, tz="UTC"), "symbol": "A", **values}))
    _, shares = coverage(bars, cells=102)  # an hour each
    assert np.nansum(shares) == 30
    assert np.isnan(shares).sum() == 72
