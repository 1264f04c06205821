"""Vendors' own clients, pointed at a server on 127.0.0.1 that answers in recorded shapes; skipped where one lacks."""

import importlib
import json
from importlib import metadata
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import ConfigError, DownloadError, UnknownNameError
from lem_models.markets.download import Download, record_of
from lem_models.markets.download.exchanges import RAW_MONEY, with_money
from lem_models.markets.download.transfer import Manners
from tests.markets.download.kraken import kraken_route
from tests.markets.download.web import Answer, serving

NOW = pd.Timestamp("2025-09-05 20:30", tz="UTC")
QUICK = Manners(per_second=1000, first_wait=0.01, longest_wait=2.0, attempts=3, timeout=5.0)
KEY, SECRET = "PKTESTKEY12345", "verysecretvalue67890"


def client(module):
    """Skip a test where the client of a vendor is not installed."""
    try:
        importlib.import_module(module)
    except ImportError:
        pytest.skip(f"{module} is not installed: pip install 'lem-models[data]'")


def answer(content, status=200, **headers):
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})


@pytest.fixture
def make(tmp_path):
    def make(source, names, web, **settings):
        settings = {"interval": "1h", "start": "2025-09-02", "end": "2025-09-05", "now": NOW} | settings
        return Download.of(
            source, names.split(","), tmp_path / "bars.parquet", addresses={"url": web.url}, manners=QUICK, **settings
        )

    return make


def no_secrets_in(*texts):
    for text in texts:
        assert KEY not in text
        assert SECRET not in text


# --- Yahoo -----------------------------------------------------------------------------------------------------------


def chart(stamps, rows, interval="1d"):
    """The answer of Yahoo's chart, as recorded."""
    quote = {
        name: [row[number] for row in rows] for number, name in enumerate(("open", "high", "low", "close", "volume"))
    }
    meta = {
        "currency": "USD",
        "symbol": "KO",
        "exchangeName": "NYQ",
        "instrumentType": "EQUITY",
        "firstTradeDate": -252322200,
        "regularMarketTime": stamps[-1],
        "gmtoffset": -14400,
        "timezone": "EDT",
        "exchangeTimezoneName": "America/New_York",
        "priceHint": 2,
        "dataGranularity": interval,
        "range": "",
        "validRanges": ["1d", "5d", "1mo", "max"],
        "currentTradingPeriod": {
            name: {"timezone": "EDT", "start": stamps[-1], "end": stamps[-1] + 23400, "gmtoffset": -14400}
            for name in ("pre", "regular", "post")
        },
    }
    close = [None if row[3] is None else row[3] * 0.98 for row in rows]
    result = {"meta": meta, "timestamp": stamps, "indicators": {"quote": [quote], "adjclose": [{"adjclose": close}]}}
    return {"chart": {"result": [result], "error": None}}


@pytest.fixture(scope="module")
def yahoo_cache(tmp_path_factory):
    """A folder for time zones, which yfinance would keep in the user's own."""
    client("yfinance")
    import yfinance

    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


class TestYahoo:
    DAYS = pd.date_range("2025-08-25 09:30", "2025-09-05 09:30", freq="B", tz="America/New_York").drop(
        pd.Timestamp("2025-09-01 09:30", tz="America/New_York")
    )

    @pytest.fixture
    def web(self, monkeypatch, yahoo_cache):
        from yfinance.data import YfData

        # The cookie would come from other hosts.
        monkeypatch.setattr(YfData, "_get_cookie_and_crumb", lambda self, timeout=30: (None, "basic"))
        stamps = [int(day.timestamp()) for day in self.DAYS]
        rows = [[69.0 + n, 70.0 + n, 68.0 + n, 69.5 + n, 1_000_000 + n] for n in range(len(stamps))]
        rows[2] = [None] * 5

        def route(asked):
            if asked.path != "/v8/finance/chart/KO":
                return answer(
                    {"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}}, 404
                )
            return answer(chart(stamps, rows))

        # yfinance caches answers about the past by their address; a port of its own keeps tests apart.
        with serving(route) as web:
            yield web

    def test_days_of_an_exchange(self, make, web):
        job = make("yahoo", "KO", web, interval="1d", start="2025-08-25", calendar="XNYS")
        bars = job.write()
        frame = bars.frame
        assert len(bars) == 7  # nine days, one without prices, the last one open
        assert job.repairs == {"bars without prices, left out": 1, "bars left out because they had not closed": 1}
        assert not frame["notional_exact"].any()
        np.testing.assert_allclose(bars.vwap, (bars.high + bars.low + bars.close) / 3.0)
        np.testing.assert_allclose(frame["adj_close"], bars.close * 0.98)
        assert str(frame["timestamp"].iloc[0]) == "2025-08-25 04:00:00+00:00"  # midnight in New York
        record = json.loads(record_of(job.path).read_text())
        assert record["notional_exact_share"] == 0.0
        assert record["versions"]["yfinance"] == metadata.version("yfinance")

    def test_a_symbol_that_does_not_exist(self, make, web):
        with pytest.raises(DownloadError, match="cannot fetch NONE from Yahoo"):
            make("yahoo", "NONE", web, interval="1d").write()

    def test_429_is_tried_again(self, make, web):
        web.faults["/v8/finance/chart/KO"] = [Answer(429)]
        assert len(make("yahoo", "KO", web, interval="1d", start="2025-08-25", calendar="XNYS").write()) == 7

    def test_the_address_is_given_back(self, make, web):
        from yfinance.scrapers import history

        make("yahoo", "KO", web, interval="1d", start="2025-08-25", calendar="XNYS").write()
        assert history._BASE_URL_ == "https://query2.finance.yahoo.com"

    def test_an_interval_that_yahoo_lacks(self, make, web):
        with pytest.raises(ConfigError, match="the source yahoo has bars of 1min"):
            make("yahoo", "KO", web, interval="4h")


# --- exchanges -------------------------------------------------------------------------------------------------------


class TestExchanges:
    FIRST = pd.Timestamp("2025-09-02", tz="UTC")

    @pytest.fixture(autouse=True)
    def unthrottled(self, monkeypatch):
        client("ccxt")
        import ccxt

        monkeypatch.setattr(ccxt.Exchange, "throttle", lambda self, cost=None: None)

    def rows(self, count, first=0):
        """Candles of Kraken: time, open, high, low, close, vwap, volume, count."""
        begin = int(self.FIRST.timestamp())
        return [
            [begin + 3600 * n, f"{100 + n}.0", f"{102 + n}.0", f"{99 + n}.0", f"{101 + n}.0", f"{100 + n}.7", "2.5", 9]
            for n in range(first, count)
        ]

    def kraken(self, count, now=NOW, first=0, page=30):
        return serving(kraken_route(self.rows(count, first), lambda: now, page))

    def test_a_vwap_that_the_unified_call_drops(self, make):
        with self.kraken(92) as web:
            job = make("ccxt", "kraken,BTC/USD", web)
            bars = job.write()
            assert web.paths().count("/0/public/OHLC") >= 4  # pages of 30
        assert len(bars) == 92
        assert bars.symbols == ("BTC/USD",)
        np.testing.assert_allclose(bars.vwap, 100.7 + np.arange(92))
        assert bars.frame["notional_exact"].all()
        assert job.notes == []
        assert json.loads(record_of(job.path).read_text())["exchange"] == "kraken"

    def test_the_open_candle_is_left_out_by_the_clock_of_the_exchange(self, make):
        theirs = self.FIRST + pd.Timedelta("10h30min")
        with self.kraken(11, now=theirs) as web:
            job = make("ccxt", "kraken,BTC/USD", web)
            bars = job.write()
        assert len(bars) == 10
        assert job.repairs == {"bars left out because they had not closed": 1}

    def test_an_exchange_that_reaches_no_further_back(self, make):
        with self.kraken(92, first=40) as web:
            job = make("ccxt", "kraken,BTC/USD", web)
            assert len(job.write()) == 52
        assert len(job.notes) == 1
        assert "starts at 2025-09-03 16:00 UTC" in job.notes[0]

    def test_an_exchange_that_has_nothing(self, make):
        with self.kraken(0) as web, pytest.raises(DownloadError, match="gives no candles of BTC/USD"):
            make("ccxt", "kraken,BTC/USD", web).write()

    def test_candles_that_are_here_are_not_asked_for_again(self, make, tmp_path):
        theirs = self.FIRST + pd.Timedelta("10h30min")
        with self.kraken(11, now=theirs) as web:
            whole = make("ccxt", "kraken,BTC/USD", web, files=tmp_path / "kept").write()
            asked = len(web.asked)
            again = make("ccxt", "kraken,BTC/USD", web, files=tmp_path / "kept").write()
            assert len(web.asked) == asked
        assert again.content_hash == whole.content_hash

    def test_429_and_503_are_tried_again(self, make):
        with self.kraken(20) as web:
            web.faults["/0/public/OHLC"] = [Answer(503), Answer(429, headers={"Retry-After": "0"})]
            assert len(make("ccxt", "kraken,BTC/USD", web).write()) == 20

    def test_a_quote_volume_that_the_unified_call_drops(self, make):
        begin = int(self.FIRST.timestamp() * 1000)
        prices = ("100", "102", "99", "101", "2.0")
        rows = []
        for n in range(24):
            opened, closes = begin + 3_600_000 * n, begin + 3_600_000 * (n + 1) - 1
            rows.append([opened, *prices, closes, f"{201 + n / 99}", 9, "1", "100", "0"])
        pair = {
            "symbol": "BTCUSDT",
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "isSpotTradingAllowed": True,
            "permissions": ["SPOT"],
            "filters": [],
            "orderTypes": [],
        }

        def route(asked):
            if asked.path.endswith("/exchangeInfo"):
                return answer({"symbols": [pair] if asked.path == "/api/v3/exchangeInfo" else [], "timezone": "UTC"})
            if asked.path.endswith("/time"):
                return answer({"serverTime": int(NOW.timestamp() * 1000)})
            if asked.path.endswith("/klines"):
                return answer([row for row in rows if row[0] >= int(asked.query.get("startTime", 0))])
            return answer([])

        with serving(route) as web:
            bars = make("ccxt", "binance,BTC/USDT", web).write()
        np.testing.assert_allclose(bars.notional, [float(row[7]) for row in rows])
        assert bars.frame["notional_exact"].all()

    ROWS: ClassVar = {
        "binance": [1591478520000, "100", "104", "98", "101", "2", 1591478579999, "201", 40, "1", "100", "0"],
        "binanceus": [1591478520000, "100", "104", "98", "101", "2", 1591478579999, "201", 40, "1", "100", "0"],
        "mexc": [1640804880000, "100", "104", "98", "101", "2", 1640804940000, "201"],
        "okx": ["1678928760000", "100", "104", "98", "101", "2", "201", "201", "1"],
        "bybit": ["1670608800000", "100", "104", "98", "101", "2", "201"],
        "bitget": ["1656604800000", "100", "104", "98", "101", "2", "199", "201"],
        "kucoin": ["1545904980", "100", "101", "104", "98", "2", "201"],
        "gate": ["1660957920", "201", "101", "104", "98", "100", "2", "true"],
        "kraken": [1591475640, "100", "104", "98", "101", "100.5", "2", 5],
    }
    """Raw candles of spot markets, in the order of each exchange, with round numbers."""

    @pytest.mark.parametrize("exchange", RAW_MONEY)
    def test_every_exchange_whose_rows_are_known(self, exchange):
        import ccxt

        parse = with_money(exchange, getattr(ccxt, exchange)().parse_ohlcv)
        moment, *numbers = parse(self.ROWS[exchange], {"spot": True, "type": "spot", "inverse": False})
        assert 1.5e12 < moment < 1.7e12
        assert numbers == [100.0, 104.0, 98.0, 101.0, 2.0, 201.0]

    def test_a_row_without_money(self):
        import ccxt

        parse = with_money("bitget", ccxt.bitget().parse_ohlcv)
        assert parse(self.ROWS["bitget"][:6], {"spot": True, "inverse": False})[6] is None
        parse = with_money("coinbase", ccxt.coinbase().parse_ohlcv)
        assert parse([1591475640, 98, 104, 100, 101, 2, 201])[6] is None

    def test_names(self, make):
        with self.kraken(5) as web:
            with pytest.raises(UnknownNameError, match="unknown exchange 'krakn'; did you mean 'kraken'"):
                make("ccxt", "krakn,BTC/USD", web)
            with pytest.raises(ConfigError, match="name an exchange and symbols"):
                make("ccxt", "kraken", web)
            with pytest.raises(ConfigError, match="kraken has no candles of 7min"):
                make("ccxt", "kraken,BTC/USD", web, interval="7m")
            assert web.asked == []
            with pytest.raises(UnknownNameError, match="unknown symbol of kraken 'BTC/USDT'; did you mean 'BTC/USD'"):
                make("ccxt", "kraken,BTC/USDT", web).write()


# --- Alpaca ----------------------------------------------------------------------------------------------------------


def minutes(stamp, count):
    """Starts of hours in New York."""
    return pd.date_range(stamp, periods=count, freq="30min", tz="America/New_York").tz_convert("UTC")


class TestAlpaca:
    @pytest.fixture
    def web(self, monkeypatch):
        client("alpaca")
        monkeypatch.setenv("APCA_API_KEY_ID", KEY)
        monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
        # 9:00 is before the opening, 16:00 after the close.
        stamps = [stamp for day in ("02", "03", "04") for stamp in minutes(f"2025-09-{day} 09:00", 15)]
        bars = [
            {
                "t": f"{stamp:%Y-%m-%dT%H:%M:%SZ}",
                "o": 100.0,
                "h": 101.0,
                "l": 99.0,
                "c": 100.5,
                "v": 10,
                "n": 3,
                "vw": 100.2,
            }
            for stamp in stamps
        ]
        bars[5]["vw"] = 101.7  # above the high

        def route(asked):
            if asked.headers.get("apca-api-key-id") != KEY or asked.headers.get("apca-api-secret-key") != SECRET:
                return answer({"message": f"forbidden for {asked.headers.get('apca-api-key-id')}."}, 403)
            if asked.query.get("symbols") != "AAPL":
                return answer({"bars": {}, "next_page_token": None})
            if "page_token" in asked.query:
                return answer({"bars": {"AAPL": bars[20:]}, "next_page_token": None})
            return answer({"bars": {"AAPL": bars[:20]}, "next_page_token": "abc"})

        with serving(route) as web:
            yield web

    def test_regular_hours_and_a_vwap_outside_of_the_range(self, make, web):
        job = make("alpaca", "AAPL", web, interval="30m", calendar="XNYS")
        bars = job.write()
        assert len(bars) == 3 * 13
        assert job.repairs == {
            "VWAPs outside of the bar's range, moved into it": 1,
            "bars outside the regular hours of XNYS, left out": 6,
        }
        frame = bars.frame
        assert frame["notional_exact"].tolist() == [number != 4 for number in range(39)]
        assert bars.vwap[4] == pytest.approx(101.0)
        assert frame["vendor_vwap"][4] == 101.7
        assert "the feed iex holds the trades of one exchange only" in job.notes[0]
        assert web.asked[0].query["feed"] == "iex"
        assert web.asked[0].query["adjustment"] == "split"
        no_secrets_in(record_of(job.path).read_text(), repr(job))

    def test_a_key_that_is_refused_is_not_repeated(self, make, web, monkeypatch, caplog):
        job = make("alpaca", "AAPL", web, interval="30m")
        monkeypatch.setitem(web.faults, "/v2/stocks/bars", [answer({"message": f"forbidden {KEY} {SECRET}"}, 403)])
        with pytest.raises(DownloadError, match="the key is not valid") as caught:
            job.write()
        no_secrets_in(str(caught.value), caplog.text, repr(caught.value.__context__))
        assert caught.value.status == 403

    def test_no_bars(self, make, web):
        with pytest.raises(DownloadError, match="Alpaca has no bars of NONE"):
            make("alpaca", "NONE", web, interval="30m").write()

    def test_server_errors_are_tried_again(self, make, web):
        web.faults["/v2/stocks/bars"] = [Answer(500), Answer(502)]
        assert len(make("alpaca", "AAPL", web, interval="30m", calendar="XNYS").write()) == 39

    def test_no_key(self, make, web, monkeypatch):
        monkeypatch.delenv("APCA_API_SECRET_KEY")
        with pytest.raises(ConfigError, match="set the environment variable APCA_API_SECRET_KEY or ALPACA_SECRET_KEY"):
            make("alpaca", "AAPL", web)
        assert web.asked == []


# --- Polygon ---------------------------------------------------------------------------------------------------------


class TestPolygon:
    @pytest.fixture
    def web(self, monkeypatch):
        client("massive")
        monkeypatch.setenv("POLYGON_API_KEY", KEY)
        stamps = [stamp for day in ("02", "03") for stamp in minutes(f"2025-09-{day} 09:00", 15)]
        rows = [
            {
                "v": 325698,
                "vw": 448.4448,
                "o": 445.02,
                "c": 446.92,
                "h": 449.1,
                "l": 444.92,
                "t": int(s.timestamp()) * 1000,
            }
            for s in stamps
        ]
        rows[3]["vw"] = 449.6  # as recorded: outside of [low, high]

        def route(asked):
            if asked.headers.get("authorization") != f"Bearer {KEY}":
                return answer({"status": "ERROR", "error": "Unknown API Key"}, 401)
            if not asked.path.startswith("/v2/aggs/ticker/AAPL/range/30/minute/"):
                return answer({"status": "OK", "resultsCount": 0})
            if "cursor" in asked.query:
                return answer({"status": "OK", "results": rows[20:]})
            next_url = f"https://api.massive.com{asked.path}?cursor=abc"
            return answer({"status": "OK", "results": rows[:20], "next_url": next_url})

        with serving(route) as web:
            yield web

    def test_regular_hours_and_a_vwap_outside_of_the_range(self, make, web):
        job = make("polygon", "AAPL", web, interval="30m", calendar="XNYS")
        bars = job.write()
        assert len(bars) == 2 * 13
        assert job.repairs == {
            "VWAPs outside of the bar's range, moved into it": 1,
            "bars outside the regular hours of XNYS, left out": 4,
        }
        assert bars.frame["notional_exact"].tolist() == [number != 2 for number in range(26)]
        assert job.exact_share == pytest.approx(25 / 26)
        assert len(web.asked) == 2
        assert web.asked[0].query["adjusted"] == "true"
        no_secrets_in(record_of(job.path).read_text(), repr(job))

    def test_all_hours_and_raw_prices(self, make, web):
        bars = make("polygon", "AAPL", web, interval="30m", options={"hours": "all", "adjusted": False}).write()
        assert len(bars) == 30
        assert web.asked[0].query["adjusted"] == "false"

    def test_429_with_a_wait(self, make, web):
        job = make("polygon", "AAPL", web, interval="30m", calendar="XNYS")
        job.write()
        web.faults[web.paths()[0]] = [Answer(429, b"slow down", {"Retry-After": "0"}), Answer(500)]
        asked = len(web.asked)
        assert len(job.write()) == 26
        assert len(web.asked) == 2 * asked + 2

    def test_a_key_that_is_refused_is_not_repeated(self, make, web, monkeypatch, caplog):
        monkeypatch.setenv("POLYGON_API_KEY", SECRET)
        with pytest.raises(DownloadError, match="Unknown API Key") as caught:
            make("polygon", "AAPL", web, interval="30m").write()
        no_secrets_in(str(caught.value), caplog.text, repr(caught.value.__context__))

    def test_no_bars(self, make, web):
        with pytest.raises(DownloadError, match="Polygon has no bars of NONE"):
            make("polygon", "NONE", web, interval="30m").write()

    def test_a_key_that_is_no_key(self, make, web, monkeypatch):
        monkeypatch.setenv("POLYGON_API_KEY", f"{SECRET}\nX-Header: 1")
        with pytest.raises(ConfigError, match="the key in POLYGON_API_KEY holds") as caught:
            make("polygon", "AAPL", web)
        no_secrets_in(str(caught.value))


@pytest.mark.parametrize(("source", "package"), [("yahoo", "yfinance"), ("ccxt", "ccxt"), ("polygon", "massive")])
def test_a_client_that_is_missing_is_named(source, package, tmp_path, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("lem_models.markets.download.source.metadata.version", missing)
    with pytest.raises(ConfigError, match=rf"the source {source} needs the package {package}: pip install 'lem-models"):
        Download.of(source, ["A", "B"], tmp_path / "bars.parquet", interval="1h", start="2025-01", now=NOW)
