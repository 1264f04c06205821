"""Repairs are asked for by name, counted and listed; without them bad bars are refused."""

import json

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError, UnknownNameError
from lem_models.markets.bars import Bars
from lem_models.markets.vendors.repairs import REPAIRS, read_repairs

HOURS = pd.date_range("2025-09-02 13:00", periods=4, freq="h", tz="UTC")


def table(**changes) -> pd.DataFrame:
    values = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 4.0, "notional": 42.0}
    frame = pd.DataFrame({"timestamp": HOURS, "symbol": "A", **values})
    for column, value in changes.items():
        frame.loc[1, column] = value
    return frame


def listed(bars: Bars) -> list[list]:
    return bars.repairs[["repair", "symbol", "column", "before", "after"]].to_numpy().tolist()


def test_a_vwap_outside_the_range_is_refused_and_the_repair_named():
    with pytest.raises(BarsError, match=r"outside \[low, high\].*repair='clip_vwap' \(--repair clip_vwap\) clips it"):
        Bars.from_frame(table(notional=48.5))


def test_a_vwap_is_clipped_and_no_longer_exact():
    bars = Bars.from_frame(table(notional=48.5), repair="clip_vwap")
    assert bars.notional.tolist() == [42.0, 48.0, 42.0, 42.0]
    assert listed(bars) == [["clip_vwap", "A", "notional", 48.5, 48.0]]
    assert bars.repairs["timestamp"].tolist() == [HOURS[1]]
    assert bars.notional_exact.tolist() == [True, False, True, True]
    assert bars.frame["notional_exact"].tolist() == [True, False, True, True]
    assert "repaired: clip_vwap 1 bar" in bars.reading.in_words()


@pytest.mark.parametrize("notional", [4200.0, 20.0])
def test_a_wrong_unit_is_not_clipped(notional):
    with pytest.raises(BarsError, match="the VWAP notional / volume"):
        Bars.from_frame(table(notional=notional), repair="all")


def test_the_bar_of_polygon():
    row = {"v": 325698, "vw": 448.4448, "o": 445.02, "c": 444.92, "h": 445.1, "l": 444.92, "t": 1648059240000, "n": 805}
    response = json.loads(json.dumps({"ticker": "AAPL", "results": [row, row | {"t": 1648059300000, "vw": 445.0}]}))
    with pytest.raises(BarsError, match="clip_vwap"):
        Bars.from_frame(response)
    bars = Bars.from_frame(response, repair="clip_vwap")
    np.testing.assert_allclose(bars.vwap, [445.1, 445.0])
    assert bars.notional_exact.tolist() == [False, True]


def test_a_close_above_the_high_by_a_tick_widens_the_range():
    with pytest.raises(BarsError, match=r"close 12\.01 lies outside"):
        Bars.from_frame(table(close=12.01))
    bars = Bars.from_frame(table(close=12.01), repair="round_prices")
    assert bars.high.tolist() == [12.0, 12.01, 12.0, 12.0]
    assert listed(bars) == [["round_prices", "A", "high", 12.0, 12.01]]
    with pytest.raises(BarsError, match=r"close 13\.0 lies outside"):
        Bars.from_frame(table(close=13.0), repair="round_prices")


@pytest.mark.parametrize("none", [np.nan, 0.0])
def test_a_bar_in_which_nothing_traded_takes_the_close_before(none):
    idle = dict.fromkeys(("open", "high", "low", "close", "notional"), none) | {"volume": 0.0}
    with pytest.raises(BarsError):
        Bars.from_frame(table(**idle))
    bars = Bars.from_frame(table(**idle), repair="fill_idle")
    assert [getattr(bars, name)[1] for name in ("open", "high", "low", "close", "volume", "notional")] == [11.0] * 4 + [
        0.0,
        0.0,
    ]
    assert set(bars.repairs["repair"]) == {"fill_idle"}
    assert bars.notional_exact.all()
    missing = Bars.from_frame(table(volume=np.nan, notional=np.nan), repair="fill_idle")
    assert (missing.volume[1], missing.notional[1], missing.close[1]) == (0.0, 0.0, 11.0)


def test_a_bar_that_traded_without_prices_is_not_filled():
    with pytest.raises(BarsError, match="open is nan"):
        Bars.from_frame(table(open=np.nan, high=np.nan, low=np.nan, close=np.nan), repair="all")


def test_a_row_that_comes_again_is_refused_and_the_repair_named():
    frame = table()
    again = pd.concat([frame[:2], frame[1:]], ignore_index=True)
    with pytest.raises(
        BarsError, match=r"two bars with this timestamp.*repair='drop_repeats' \(--repair drop_repeats\)"
    ):
        Bars.from_frame(again)
    bars = Bars.from_frame(again, repair="drop_repeats")
    assert bars.content_hash == Bars.from_frame(frame).content_hash
    assert bars.repairs[["repair", "symbol", "timestamp"]].to_numpy().tolist() == [["drop_repeats", "A", HOURS[1]]]


def test_two_bars_that_differ_are_not_chosen_between():
    frame = table()
    other = frame[1:2].assign(close=11.5)
    with pytest.raises(BarsError, match="two bars with this timestamp"):
        Bars.from_frame(pd.concat([frame[:2], other, frame[2:]], ignore_index=True), repair="all")


def test_files_that_overlap(tmp_path):
    frame = table()
    frame[:3].to_csv(tmp_path / "a.csv", index=False)
    frame[2:].to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(BarsError, match="drop_repeats"):
        Bars.read(tmp_path / "*.csv")
    bars = Bars.read(tmp_path / "*.csv", repair="drop_repeats")
    assert bars.content_hash == Bars.from_frame(frame).content_hash
    assert bars.reading.repairs_in_words() == "drop_repeats 1 bar"


def test_good_bars_are_not_changed():
    bars = Bars.from_frame(table(), repair="all")
    assert bars.repairs.empty
    assert bars.content_hash == Bars.from_frame(table()).content_hash
    assert bars.columns == Bars.from_frame(table()).columns


def test_filled_gaps_are_listed():
    frame = table(notional=48.5).drop(index=2)
    bars = Bars.from_frame(frame, repair="clip_vwap", fill_gaps=1)
    assert bars.repairs["repair"].tolist() == ["clip_vwap", "fill_gaps"]
    assert bars.repairs["timestamp"].tolist() == [HOURS[1], HOURS[2]]
    assert bars.notional_exact.tolist() == [True, False, True, True]


def test_names_of_repairs():
    assert read_repairs(None) == read_repairs("none") == ()
    assert read_repairs("all") == REPAIRS
    assert (
        read_repairs("fill_idle, clip_vwap") == read_repairs(["clip_vwap", "fill_idle"]) == ("clip_vwap", "fill_idle")
    )
    with pytest.raises(UnknownNameError, match="unknown repair 'clip'; did you mean 'clip_vwap'"):
        Bars.from_frame(table(), repair="clip")


def test_a_mapped_file_is_not_repaired(tmp_path):
    Bars.from_frame(table()).write(tmp_path / "bars.arrow")
    for options in ({"repair": "all"}, {"symbol": "B"}, {"notional": "close"}, {"format": "ohlcv"}):
        with pytest.raises(BarsError, match="checked when it was written"):
            Bars.read(tmp_path / "bars.arrow", **options)
