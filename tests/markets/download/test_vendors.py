"""What the vendors' clients share: keys, errors without secrets, waits, VWAPs outside of the range, regular hours."""

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError, ConfigError, DownloadError
from lem_models.markets.bars import Bars
from lem_models.markets.download.source import Fetched, plain_table
from lem_models.markets.download.stocks import keep_regular_hours, with_vwap
from lem_models.markets.download.transfer import Manners
from lem_models.markets.download.vendor_clients import ask_client, read_key, without_secrets

QUICK = Manners(first_wait=0.5, longest_wait=60.0, attempts=4)


class Response:
    def __init__(self, status, **headers):
        self.status_code, self.headers = status, headers


class Refused(Exception):
    """An error of a client, with the answer behind it."""

    def __init__(self, status, text="refused", **headers):
        super().__init__(text)
        self.response = Response(status, **headers)


class NetworkError(Exception):
    """As ccxt names it."""


@pytest.fixture
def waits(monkeypatch):
    waits = []
    monkeypatch.setattr("lem_models.markets.download.vendor_clients.time.sleep", waits.append)
    return waits


def failing(*errors):
    left = list(errors)

    def call():
        if left:
            raise left.pop(0)
        return "bars"

    return call


class TestAsking:
    def test_waits_double(self, waits):
        call = failing(Refused(500), NetworkError("reset"), Refused(503))
        assert ask_client("fetch", call, manners=QUICK) == "bars"
        assert waits == [0.5, 1.0, 2.0]

    def test_a_wait_that_is_asked_for(self, waits):
        call = failing(Refused(429, **{"Retry-After": "7"}))
        assert ask_client("fetch", call, manners=QUICK) == "bars"
        assert waits == [7.0]

    def test_a_wait_in_headers_that_the_error_does_not_hold(self, waits):
        headers = {"retry-after": "9"}
        assert ask_client("fetch", failing(NetworkError()), manners=QUICK, headers=lambda: headers) == "bars"
        assert waits == [9.0]

    def test_a_wait_that_is_too_long(self, waits):
        with pytest.raises(DownloadError, match="too many requests") as caught:
            ask_client("fetch", failing(Refused(429, **{"Retry-After": "61"})), manners=QUICK)
        assert (caught.value.status, caught.value.retry_after, waits) == (429, 61.0, [])

    @pytest.mark.parametrize("error", [Refused(401), Refused(404), ValueError("no such symbol"), KeyError("bars")])
    def test_what_fails_for_good(self, waits, error):
        with pytest.raises(DownloadError, match="cannot fetch KO"):
            ask_client("fetch KO", failing(error), manners=QUICK)
        assert waits == []

    def test_the_last_attempt(self, waits):
        with pytest.raises(DownloadError, match="the source has a problem"):
            ask_client("fetch", failing(*[Refused(502)] * 9), manners=QUICK)
        assert len(waits) == QUICK.attempts - 1

    def test_no_secret_is_repeated(self):
        text = "GET https://host/v2?apiKey=abc&symbol=KO, header Authorization: Bearer x1y2, id ID77"
        with pytest.raises(DownloadError) as caught:
            ask_client("fetch", failing(Refused(403, text)), manners=QUICK, secrets=("ID77",))
        message = str(caught.value)
        assert "symbol=KO" in message
        for secret in ("abc", "x1y2", "ID77"):
            assert secret not in message
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None

    def test_long_pages_are_cut(self):
        assert len(without_secrets("x" * 10_000)) < 600


class TestKeys:
    def test_the_first_that_is_set(self, monkeypatch):
        monkeypatch.setenv("SECOND", "key2")
        assert read_key(("FIRST", "SECOND"), "polygon") == "key2"
        monkeypatch.setenv("FIRST", "key1")
        assert read_key(("FIRST", "SECOND"), "polygon") == "key1"

    def test_none(self):
        with pytest.raises(ConfigError, match="the source polygon needs a key: set the environment variable A7 or B7"):
            read_key(("A7", "B7"), "polygon")


def bars_of(vwap, volume=10.0):
    count = len(vwap)
    timestamp = pd.date_range("2025-01-01", periods=count, freq="h", tz="UTC")
    values = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0, "volume": volume}
    values = {name: np.full(count, value) for name, value in values.items()} | {"vwap": np.array(vwap)}
    return with_vwap("A", timestamp, values)


class TestVwap:
    def test_inside_of_the_range_it_is_exact(self):
        fetched = bars_of([99.0, 100.2, 101.0])
        np.testing.assert_allclose(fetched.table["notional"], [990.0, 1002.0, 1010.0])
        assert fetched.table["notional_exact"].all()
        assert fetched.repairs == {}

    def test_outside_it_is_moved_counted_and_kept(self):
        fetched = bars_of([98.5, 100.0, 103.0])
        np.testing.assert_allclose(fetched.table["notional"], [990.0, 1000.0, 1010.0])
        assert fetched.table["notional_exact"].tolist() == [False, True, False]
        assert fetched.table["vendor_vwap"].tolist() == [98.5, 100.0, 103.0]
        assert fetched.repairs == {"VWAPs outside of the bar's range, moved into it": 2}
        assert len(Bars.from_frame(fetched.table)) == 3

    def test_far_outside_it_is_refused_by_the_rules_of_bars(self):
        fetched = bars_of([100.0, 1000.0, 100.0])
        assert fetched.repairs == {}
        with pytest.raises(BarsError, match="VWAP"):
            Bars.from_frame(fetched.table)

    def test_a_missing_one_is_estimated(self):
        fetched = bars_of([np.nan, 100.0])
        assert fetched.table["notional"].tolist() == [1000.0, 1000.0]
        assert fetched.table["notional_exact"].tolist() == [False, True]
        assert fetched.repairs == {"VWAPs missing, estimated by (high + low + close) / 3": 1}

    def test_bars_without_volume(self):
        fetched = bars_of([np.nan, 500.0], volume=0.0)
        assert fetched.table["notional"].tolist() == [0.0, 0.0]
        assert fetched.repairs == {}


class TestHours:
    def kept(self, first, last, frequency="30min"):
        timestamp = pd.date_range(first, last, freq=frequency, tz="America/New_York")
        ones = {name: np.ones(len(timestamp)) for name in ("open", "high", "low", "close", "volume", "notional")}
        fetched = Fetched(plain_table("A", timestamp, ones, exact=True))
        keep_regular_hours(fetched, "XNYS", pd.Timedelta(frequency))
        clock = fetched.table["timestamp"].dt.tz_convert("America/New_York")
        return [f"{moment:%d %H:%M}" for moment in clock], fetched.repairs

    def test_a_day(self):
        times, repairs = self.kept("2025-09-02 04:00", "2025-09-02 19:30")
        assert (times[0], times[-1], len(times)) == ("02 09:30", "02 15:30", 13)
        assert repairs == {"bars outside the regular hours of XNYS, left out": 32 - 13}

    def test_half_days_holidays_and_the_change_of_clocks(self):
        times, _ = self.kept("2024-11-27 04:00", "2024-11-29 19:30")  # Thanksgiving, and the half day after it
        assert [time for time in times if time.startswith("28")] == []
        assert times[-1] == "29 12:30"
        times, _ = self.kept("2025-03-07 04:00", "2025-03-10 19:30")
        assert [time for time in times if time.endswith("09:30")] == ["07 09:30", "10 09:30"]

    def test_days_stay(self):
        times, repairs = self.kept("2025-09-01", "2025-09-04", "1D")
        assert (len(times), repairs) == (4, {})

    def test_an_exchange_that_does_not_exist(self):
        timestamp = pd.date_range("2025-09-02", periods=2, freq="h", tz="UTC")
        ones = {name: np.ones(2) for name in ("open", "high", "low", "close", "volume", "notional")}
        with pytest.raises(ConfigError, match="the hours of the exchange 'NYSEX' are not known"):
            keep_regular_hours(Fetched(plain_table("A", timestamp, ones, exact=True)), "NYSEX", pd.Timedelta("1h"))
