"""Samples of real bars: what they hold, what is estimated, and that the file of the dependency is the expected one."""

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from arch.data import nasdaq, sp500

from lem_models import Bars, list_samples
from lem_models.errors import UnknownNameError

SAMPLE = Bars.sample("us-index-daily")
SOURCES = {"SPX": sp500.load(), "IXIC": nasdaq.load()}


def test_every_sample_that_is_listed_can_be_loaded():
    assert list_samples() == ["us-index-daily"]
    for name in list_samples():
        assert len(Bars.sample(name)) > 1000


def test_another_name_is_refused_with_the_names():
    with pytest.raises(UnknownNameError, match=r"did you mean 'us-index-daily'\?"):
        Bars.sample("us-index")


@pytest.mark.parametrize("symbol", SOURCES)
def test_prices_and_volumes_are_those_of_the_source(symbol):
    frame, source = SAMPLE.select(symbol).frame, SOURCES[symbol]
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(frame[name], source[name.title()])
    traded = (source["Volume"] > 0).to_numpy()
    np.testing.assert_array_equal(frame["volume"][traded], source["Volume"][traded])
    assert frame["volume_exact"].tolist() == traded.tolist()


def test_a_day_without_a_volume_in_the_source_has_that_of_the_day_before():
    frame = SAMPLE.frame
    filled = frame.index[~frame["volume_exact"]]
    assert [f"{frame.symbol[row]} {frame.timestamp[row]:%Y-%m-%d}" for row in filled] == [
        "IXIC 2015-05-12",
        "IXIC 2018-01-09",
    ]
    assert frame["volume"][filled].tolist() == frame["volume"][filled - 1].tolist()
    assert (frame["volume"] > 0).all()


def test_the_notional_is_estimated_inside_the_range_and_says_so():
    frame = SAMPLE.frame
    assert not frame["notional_exact"].any()
    np.testing.assert_allclose(SAMPLE.vwap, (frame["high"] + frame["low"] + frame["close"]) / 3, rtol=1e-12)
    assert ((frame["low"] <= SAMPLE.vwap) & (SAMPLE.vwap <= frame["high"])).all()


def test_its_days_are_the_sessions_of_new_york():
    sessions = exchange_calendars.get_calendar("XNYS", start="1999-01-01", end="2018-12-31").sessions
    for symbol in SAMPLE.symbols:
        days = pd.DatetimeIndex(SAMPLE.select(symbol).timestamp)
        assert days.equals(sessions.as_unit("ns"))
    assert len(SAMPLE.gaps) == 0
