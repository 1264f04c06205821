"""Every preset reads its vendor's rows to the right first bar."""

from __future__ import annotations

import gzip
import json
import warnings
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lem_models.errors import BarsError, BarsWarning, UnknownNameError
from lem_models.markets.bars import Bars
from lem_models.markets.vendors.registry import formats

KLINE = (
    "1714521600000,60672.01,60841.63,60078.52,60240.57,1687.69405,1714525199999,102001827.68,100000,843.8,51000913.8,0"
)
KLINE_LATER = "1714525200000,60240.57,60300.00,60100.00,60200.00,100.0,1714528799999,6021000.0,5000,50.0,3010000.0,0"
KLINE_US = KLINE.replace("1714521600000", "1735689600000000").replace("1714525199999", "1735693199999000")
KLINE_US_LATER = KLINE_LATER.replace("1714525200000", "1735693200000000").replace("1714528799999", "1735696799999000")
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
BTC = ("2024-05-01 00:00", 60672.01, 60841.63, 60078.52, 60240.57, 1687.69405, 102001827.68)
AAPL = ("2025-09-02 13:30", 229.25, 229.7, 227.68, 228.16, 2097040.0)
AAPL_HLC3 = (229.7 + 227.68 + 228.16) / 3 * 2097040
AAPL_VWAP = 228.5 * 2097040
ONE_ROW = {"frequency": "1min"}
AAPL_ROW = "229.25,229.7,227.68,228.16,2097040"
AAPL_LATER = "228.16,228.9,228.0,228.5,1000000"


@dataclass(frozen=True)
class Case:
    """A file of a vendor, the options that it needs, and its first bar."""

    format: str
    name: str
    text: str
    symbol: str
    first: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    exact: bool = True


CASES = {
    "binance spot, a year": Case("binance-spot", "BTCUSDT-1h-2024.csv", f"{KLINE}\n{KLINE_LATER}\n", "BTCUSDT", BTC),
    "binance spot": Case("binance-spot", "BTCUSDT-1h-2024-05.csv", f"{KLINE}\n{KLINE_LATER}\n", "BTCUSDT", BTC),
    "binance spot, microseconds": Case(
        "binance-spot",
        "BTCUSDT-1h-2025-01.csv",
        f"{KLINE_US}\n{KLINE_US_LATER}\n",
        "BTCUSDT",
        ("2025-01-01 00:00", *BTC[1:]),
    ),
    "binance spot, JSON of its API": Case(
        "binance-spot",
        "klines.json",
        json.dumps([[*map(int, row[:1]), *row[1:6], int(row[6]), *row[7:]] for row in (KLINE.split(","),)]),
        "BTCUSDT",
        BTC,
        {"symbol": "BTCUSDT"} | ONE_ROW,
    ),
    "binance futures": Case(
        "binance-usdm", "BTCUSDT-1h-2024-05.csv", f"{KLINE_HEADER}\n{KLINE}\n{KLINE_LATER}\n", "BTCUSDT", BTC
    ),
    "binance inverse futures": Case(
        "binance-coinm",
        "BTCUSD_PERP-1h-2024-05.csv",
        f"{KLINE_HEADER}\n1714521600000,60672.0,60841.6,60078.5,60240.5,1020000,1714525199999,1687.5,9,5,6,0\n",
        "BTCUSD_PERP",
        ("2024-05-01 00:00", 60672.0, 60841.6, 60078.5, 60240.5, 1687.5, 102_000_000.0),
        ONE_ROW,
    ),
    "binance inverse futures, the row of its documentation": Case(
        "binance-coinm",
        "BTCUSD_200925-1m-2020-06.csv",
        "1591258320000,9640.7,9642.4,9640.6,9642.0,206,1591258379999,2.13660389,48,119,1.23424865,0\n",
        "BTCUSD_200925",
        ("2020-06-04 08:12", 9640.7, 9642.4, 9640.6, 9642.0, 2.13660389, 20_600.0),
        ONE_ROW,
    ),
    "binance inverse futures, another coin": Case(
        "binance-coinm",
        "ETHUSD_240628-1h-2024-05.csv",
        f"{KLINE_HEADER}\n1714521600000,3000.0,3010.0,2990.0,3005.0,300,1714525199999,1.0,9,5,6,0\n",
        "ETHUSD_240628",
        ("2024-05-01 00:00", 3000.0, 3010.0, 2990.0, 3005.0, 1.0, 3000.0),
        ONE_ROW,
    ),
    "ccxt": Case(
        "ccxt",
        "candles.json",
        "[[1714521600000, 60672.01, 60841.63, 60078.52, 60240.57, 10.0]]",
        "BTC/USDT",
        (*BTC[:5], 10.0, (60841.63 + 60078.52 + 60240.57) / 3 * 10),
        {"symbol": "BTC/USDT"} | ONE_ROW,
        exact=False,
    ),
    "yfinance": Case(
        "yfinance",
        "yf.csv",
        "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\nTicker,KO,PG,KO,PG,KO,PG,KO,PG,KO,PG\n"
        "Date,,,,,,,,,,\n2025-09-02,69.0,157.0,69.5,158.0,68.5,156.0,68.8,157.5,1000,2000\n"
        "2025-09-03,69.1,157.1,69.6,158.1,68.6,156.1,68.9,157.6,1001,2001\n",
        "KO",
        ("2025-09-02 00:00", 68.8, 69.5, 68.5, 69.0, 1000.0, 69.0 * 1000),
        exact=False,
    ),
    "yfinance, intraday": Case(
        "yfinance",
        "yf.csv",
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDatetime,,,,,\n"
        "2025-09-02 13:30:00+00:00,228.16,229.7,227.68,229.25,2097040\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        ONE_ROW,
        exact=False,
    ),
    "yfinance, one ticker": Case(
        "yfinance-history",
        "AAPL.csv",
        f"Datetime,Open,High,Low,Close,Volume,Dividends,Stock Splits\n2025-09-02 09:30:00-04:00,{AAPL_ROW},0.0,0.0\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        {"symbol": "{file}"} | ONE_ROW,
        exact=False,
    ),
    "polygon": Case(
        "polygon",
        "aggs.json",
        '{"ticker": "AAPL", "results": [{"v":325698,"vw":445.0,"o":445.02,"c":444.92,"h":445.1,"l":444.92,'
        '"t":1648059240000,"n":805}]}',
        "AAPL",
        ("2022-03-23 18:14", 445.02, 445.1, 444.92, 444.92, 325698.0, 445.0 * 325698),
        ONE_ROW,
    ),
    "polygon, CSV": Case(
        "polygon",
        "aggs.csv",
        "v,vw,o,c,h,l,t,n\n2097040,228.5,229.25,228.16,229.7,227.68,1756819800000,805\n",
        "AAPL",
        (*AAPL, AAPL_VWAP),
        {"symbol": "AAPL"} | ONE_ROW,
    ),
    "polygon, its client": Case(
        "polygon-client",
        "aggs.csv",
        f"open,high,low,close,volume,vwap,timestamp,transactions,otc\n{AAPL_ROW},228.5,1756819800000,805,\n",
        "AAPL",
        (*AAPL, AAPL_VWAP),
        {"symbol": "AAPL"} | ONE_ROW,
    ),
    "polygon, flat files": Case(
        "polygon-flat",
        "2025-09-02.csv.gz",
        "ticker,volume,open,close,high,low,window_start,transactions\n"
        "AAPL,2097040,229.25,228.16,229.7,227.68,1756819800000000000,805\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        ONE_ROW,
        exact=False,
    ),
    "alpaca": Case(
        "alpaca",
        "bars.csv",
        f"symbol,timestamp,open,high,low,close,volume,trade_count,vwap\n"
        f"AAPL,2025-09-02 13:30:00+00:00,{AAPL_ROW},9000,228.5\n",
        "AAPL",
        (*AAPL, AAPL_VWAP),
        ONE_ROW,
    ),
    "alpaca, JSON": Case(
        "alpaca-json",
        "bars.json",
        '{"bars": {"AAPL": [{"t": "2025-09-02T13:30:00Z", "o": 229.25, "h": 229.7, "l": 227.68, "c": 228.16, '
        '"v": 2097040, "n": 9000, "vw": 228.5}]}, "next_page_token": null}',
        "AAPL",
        (*AAPL, AAPL_VWAP),
        ONE_ROW,
    ),
    "databento, no header": Case(
        "databento",
        "ohlcv.csv",
        "1756819800000000000,33,2,38,229250000000,229700000000,227680000000,228160000000,2097040,AAPL\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        ONE_ROW,
        exact=False,
    ),
    "databento": Case(
        "databento",
        "ohlcv.csv",
        "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume\n"
        "1756819800000000000,33,2,38,229250000000,229700000000,227680000000,228160000000,2097040\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        {"symbol": {"38": "AAPL"}} | ONE_ROW,
        exact=False,
    ),
    "databento, decimal": Case(
        "databento-decimal",
        "ohlcv.csv",
        "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol\n"
        "2025-09-02T13:30:00.000000000Z,33,2,38,229.250000000,229.700000000,227.680000000,228.160000000,2097040,AAPL\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        ONE_ROW,
        exact=False,
    ),
    "databento, JSON": Case(
        "databento",
        "ohlcv.json",
        '{"hd":{"ts_event":"1756819800000000000","rtype":33,"publisher_id":2,"instrument_id":38},"open":"229250000000",'
        '"high":"229700000000","low":"227680000000","close":"228160000000","volume":"2097040","symbol":"AAPL"}\n'
        '{"hd":{"ts_event":"1756819860000000000","rtype":33,"publisher_id":2,"instrument_id":38},"open":"229250000000",'
        '"high":"229700000000","low":"227680000000","close":"228160000000","volume":"2097040","symbol":"AAPL"}\n',
        "AAPL",
        (*AAPL, AAPL_HLC3),
        exact=False,
    ),
    "interactive brokers": Case(
        "interactive-brokers",
        "ib.csv",
        "date,open,high,low,close,volume,average,barCount\n"
        f"20250902 09:30:00 US/Eastern,{AAPL_ROW},228.5,9000\n20250902 09:35:00 US/Eastern,{AAPL_LATER},228.4,8000\n",
        "AAPL",
        (*AAPL, AAPL_VWAP),
        {"symbol": "AAPL"},
    ),
    "interactive brokers, days": Case(
        "interactive-brokers",
        "ib.csv",
        f"date,open,high,low,close,volume,average,barCount\n20250902,{AAPL_ROW},228.5,9000\n20250903,{AAPL_LATER},228.4,1\n",
        "AAPL",
        ("2025-09-02 00:00", *AAPL[1:], AAPL_VWAP),
        {"symbol": "AAPL"},
    ),
    "firstrate": Case(
        "firstrate",
        "AAPL_full_5min_adjsplit.txt",
        f"2025-09-02 09:30:00,{AAPL_ROW}\n2025-09-02 09:35:00,{AAPL_LATER}\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        exact=False,
    ),
    "stooq": Case(
        "stooq",
        "aapl.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        f"AAPL.US,5,20250902,093000,{AAPL_ROW},0\nAAPL.US,5,20250902,093500,{AAPL_LATER},0\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        {"tz": "America/New_York", "symbol": {"AAPL.US": "AAPL"}},
        exact=False,
    ),
    "stooq, days": Case(
        "stooq",
        "aapl.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        f"AAPL.US,D,20250902,000000,{AAPL_ROW},0\nAAPL.US,D,20250903,000000,{AAPL_LATER},0\n",
        "AAPL.US",
        ("2025-09-02 00:00", *AAPL[1:], AAPL_HLC3),
        exact=False,
    ),
    "date and time": Case(
        "date-time",
        "kaggle.csv",
        f"date,time,open,high,low,close,volume\n2025-09-02,09:30,{AAPL_ROW}\n2025-09-02,09:35,{AAPL_LATER}\n",
        "AAPL",
        (*AAPL, AAPL_HLC3),
        {"tz": "America/New_York", "symbol": "AAPL"},
        exact=False,
    ),
    "tardis": Case(
        "tardis",
        "bars.jsonl",
        "".join(
            '{"type":"trade_bar","symbol":"XBTUSDT","exchange":"x","name":"trade_bar_60000ms","interval":60000,'
            f'"open":10,"high":12,"low":9,"close":11,"volume":4,"trades":9,"vwap":10.5,"kind":"time",'
            f'"openTimestamp":"2025-09-02T13:{minute - 1}:01.574Z","closeTimestamp":"2025-09-02T13:{minute - 1}:59Z",'
            f'"timestamp":"2025-09-02T13:{minute}:00.000Z"}}\n'
            for minute in (31, 32)
        ),
        "XBTUSDT",
        ("2025-09-02 13:30", 10.0, 12.0, 9.0, 11.0, 4.0, 42.0),
    ),
    "qlib": Case(
        "qlib",
        "SH600000.csv",
        f"date,open,high,low,close,volume,factor,change\n2025-09-02,{AAPL_ROW},0.5,0.01\n2025-09-03,,,,,,,\n"
        f"2025-09-04,{AAPL_LATER},0.5,0.01\n",
        "SH600000",
        ("2025-09-02 00:00", *AAPL[1:], AAPL_HLC3),
        exact=False,
    ),
    "qlib, features": Case(
        "qlib-features",
        "features.csv",
        f"instrument,datetime,$open,$high,$low,$close,$volume,$vwap\nSH600000,2025-09-02,{AAPL_ROW},228.5\n",
        "SH600000",
        ("2025-09-02 00:00", *AAPL[1:], AAPL_VWAP),
        ONE_ROW,
    ),
    "nautilus": Case(
        "nautilus",
        "bars.csv",
        "bar_type,open,high,low,close,volume,ts_event,ts_init\n"
        f"AAPL.XNAS-5-MINUTE-LAST-EXTERNAL,{AAPL_ROW},1756820100000000000,1756820100000000000\n",
        "AAPL.XNAS",
        (*AAPL, AAPL_HLC3),
        ONE_ROW,
        exact=False,
    ),
    "plain candles with dates": Case(
        "ohlcv",
        "AAPL.csv",
        f"Date,Open,High,Low,Close,Volume\n2025-09-02,{AAPL_ROW}\n2025-09-03,{AAPL_LATER}\n",
        "AAPL",
        ("2025-09-02 00:00", *AAPL[1:], AAPL_HLC3),
        {"symbol": "AAPL"},
        exact=False,
    ),
}


def write(folder, case: Case):
    path = folder / case.name
    path.write_bytes(gzip.compress(case.text.encode()) if case.name.endswith(".gz") else case.text.encode())
    return path


def read(path, **options: Any) -> Bars:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BarsWarning)
        return Bars.read(path, **options)


def first_bar(bars: Bars) -> tuple[Any, ...]:
    values = (bars.open, bars.high, bars.low, bars.close, bars.volume, bars.notional)
    return (pd.Timestamp(int(bars.timestamp[0]), tz="UTC"), *(float(array[0]) for array in values))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("how", ["detected", "named"])
def test_every_preset_reads_its_first_bar(tmp_path, case, how):
    named = {"format": case.format} if how == "named" else {}
    bars = read(write(tmp_path, case), **named, **case.options)
    start, *values = first_bar(bars)
    assert bars.symbols[0] == case.symbol
    assert start == pd.Timestamp(case.first[0], tz="UTC")
    np.testing.assert_allclose(values, case.first[1:], rtol=1e-12)
    assert bars.reading.format == case.format
    assert bars.reading.is_detected == (how == "detected")
    assert bars.notional_exact.all() == case.exact
    assert ("notional_exact" in bars.columns) == (not case.exact)


def test_every_format_has_a_case():
    assert {case.format for case in CASES.values()} | {"date-time-new-york"} == {each.name for each in formats()}


def test_new_names_are_of_symbols_that_are_there(tmp_path):
    path = write(tmp_path, CASES["stooq"])
    with pytest.raises(BarsError, match=r"symbol= gives new names to KO.US, and the table has AAPL.US"):
        read(path, tz="America/New_York", symbol={"KO.US": "KO"})
    with pytest.raises(BarsError, match="is for a table of one symbol, and this one has 2"):
        read(write(tmp_path, CASES["yfinance"]), symbol="KO")


def test_a_date_and_a_time_in_new_york(tmp_path):
    case = CASES["date and time"]
    bars = read(write(tmp_path, case), format="date-time-new-york", symbol="AAPL")
    assert first_bar(bars)[0] == pd.Timestamp(AAPL[0], tz="UTC")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_file_reads_the_same_from_a_zip_archive(tmp_path, case):
    if case.name.endswith(".gz"):
        pytest.skip("packed already")
    path = write(tmp_path, case)
    with zipfile.ZipFile(tmp_path / f"{case.name.split('.')[0]}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, case.name)
    packed = read(tmp_path / f"{case.name.split('.')[0]}.zip", **case.options)
    assert packed.content_hash == read(path, **case.options).content_hash


def test_trade_bars_of_a_number_of_trades_are_refused(tmp_path):
    case = CASES["tardis"]
    (tmp_path / case.name).write_text(case.text.replace('"kind":"time"', '"kind":"tick"'))
    with pytest.raises(BarsError, match="row 0 has the kind 'tick'; tardis bars of the kind 'time' are read"):
        Bars.read(tmp_path / case.name)


def test_prices_of_databento_are_exact(tmp_path):
    bars = read(write(tmp_path, CASES["databento, no header"]), frequency="1min")
    assert [bars.open[0], bars.high[0], bars.low[0], bars.close[0]] == [229.25, 229.7, 227.68, 228.16]


def test_files_of_milliseconds_and_of_microseconds_join(tmp_path):
    december = KLINE.replace("1714521600000", "1735682400000"), KLINE_LATER.replace("1714525200000", "1735686000000")
    (tmp_path / "BTCUSDT-1h-2024-12.csv").write_text("\n".join(december))
    (tmp_path / "BTCUSDT-1h-2025-01.csv").write_text(f"{KLINE_US}\n{KLINE_US_LATER}\n")
    bars = read(str(tmp_path / "BTC*.csv"))
    assert pd.DatetimeIndex(bars.timestamp).tolist() == pd.date_range("2024-12-31 22:00", periods=4, freq="h").tolist()
    both = [tmp_path / "BTCUSDT-1h-2025-01.csv", tmp_path / "BTCUSDT-1h-2024-12.csv"]
    assert read(both).content_hash == bars.content_hash
    assert bars.reading.files == ("BTCUSDT-1h-2024-12.csv", "BTCUSDT-1h-2025-01.csv")
    with pytest.raises(BarsError, match="no file fits"):
        Bars.read(str(tmp_path / "ETH*.csv"))


# --- Tables in memory ------------------------------------------------------------------------------------------------


def candles(index) -> pd.DataFrame:
    values = {"Open": 10.0, "High": 12.0, "Low": 9.0, "Close": 11.0, "Volume": 4.0}
    return pd.DataFrame(values, index=index)


HOURS = pd.date_range("2025-09-02 13:00", periods=3, freq="h")


def from_frame(frame, **options) -> Bars:
    return Bars.from_frame(frame, notional="hlc3", **options)


def test_a_datetime_index_with_capitalised_names():
    bars = from_frame(candles(HOURS.tz_localize("UTC")), symbol="AAPL")
    assert first_bar(bars) == (pd.Timestamp("2025-09-02 13:00Z"), 10.0, 12.0, 9.0, 11.0, 4.0, (12.0 + 9 + 11) / 3 * 4)
    new_york = from_frame(candles(HOURS), symbol="AAPL", tz="America/New_York")
    assert first_bar(new_york)[0] == pd.Timestamp("2025-09-02 17:00Z")
    with pytest.raises(BarsError, match="has no time zone: name it, tz='America/New_York'"):
        from_frame(candles(HOURS), symbol="AAPL")
    with pytest.raises(BarsError, match="is for times without a zone"):
        from_frame(candles(HOURS.tz_localize("UTC")), symbol="AAPL", tz="America/New_York")
    with pytest.raises(BarsError, match="name it, symbol='AAPL'"):
        from_frame(candles(HOURS.tz_localize("UTC")))


@pytest.mark.parametrize("by", ["price", "ticker"])
def test_two_levels_of_columns(by):
    days = pd.date_range("2025-09-02", periods=3, name="Date")
    wide = pd.concat({"KO": candles(days), "PG": 2 * candles(days)}, axis=1, names=["Ticker", "Price"])
    wide.loc[days[1], "PG"] = np.nan
    bars = from_frame(wide if by == "ticker" else wide.swaplevel(axis=1))
    assert bars.symbols == ("KO", "PG")
    assert np.diff(bars.offsets).tolist() == [3, 2]
    assert bars.close[[0, 3]].tolist() == [11.0, 22.0]
    assert "1 rows without any price were left out" in bars.reading.in_words()


def test_two_levels_of_columns_in_a_parquet_file(tmp_path):
    days = pd.date_range("2025-09-02", periods=3, name="Date")
    wide = pd.concat({"KO": candles(days), "PG": 2 * candles(days)}, axis=1, names=["Ticker", "Price"]).swaplevel(
        axis=1
    )
    wide.to_parquet(tmp_path / "yf.parquet")
    bars = read(tmp_path / "yf.parquet")
    assert bars.content_hash == from_frame(wide).content_hash
    assert (bars.reading.format, bars.symbols) == ("yfinance", ("KO", "PG"))


def test_a_frame_of_polars():
    polars = pytest.importorskip("polars")
    frame = candles(HOURS.tz_localize("UTC")).reset_index(names="Date")
    assert from_frame(polars.from_pandas(frame), symbol="A").content_hash == from_frame(frame, symbol="A").content_hash


def test_a_list_of_candles_and_a_response():
    rows = [[1714521600000 + 3_600_000 * hour, 10.0, 12.0, 9.0, 11.0, 4.0] for hour in range(3)]
    bars = from_frame(rows, symbol="BTC/USD")
    assert (bars.reading.format, len(bars)) == ("ccxt", 3)
    response = json.loads(CASES["polygon"].text)
    assert Bars.from_frame(response, frequency="1min").symbols == ("AAPL",)


def test_a_table_of_bars_with_an_index_of_times_is_read_as_it_is():
    index = pd.DatetimeIndex(HOURS)
    values = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 4.0, "notional": 42.0}
    frame = pd.DataFrame({"timestamp": HOURS.tz_localize("UTC"), "symbol": "A", **values}, index=index)
    bars = Bars.from_frame(frame)
    assert bars.reading is None
    assert bars.columns == tuple(frame.columns)


def test_a_table_of_bars_with_local_times(tmp_path):
    values = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 4.0, "notional": 42.0}
    frame = pd.DataFrame({"timestamp": HOURS, "symbol": "A", **values})
    frame.to_csv(tmp_path / "bars.csv", index=False)
    with pytest.raises(BarsError, match=r"has no time zone.*name the zone, tz='America/New_York'"):
        Bars.read(tmp_path / "bars.csv")
    bars = Bars.read(tmp_path / "bars.csv", tz="America/New_York")
    assert first_bar(bars) == (pd.Timestamp("2025-09-02 17:00", tz="UTC"), *values.values())
    assert bars.notional_exact.all()


def test_a_table_by_symbol():
    rows = [[1714521600000 + 3_600_000 * hour, 10.0, 12.0, 9.0, 11.0, 4.0] for hour in range(3)]
    bars = from_frame({"BTC/USD": rows, "ETH/USD": rows[1:]})
    assert (bars.symbols, np.diff(bars.offsets).tolist()) == (("BTC/USD", "ETH/USD"), [3, 2])
    frames = from_frame({"KO": candles(HOURS.tz_localize("UTC")), "PG": candles(HOURS.tz_localize("UTC"))})
    assert (frames.symbols, len(frames), frames.reading.format) == (("KO", "PG"), 6, "ohlcv")


def test_klines_of_the_api_as_a_frame_without_names():
    frame = pd.DataFrame([row.split(",") for row in (KLINE, KLINE_LATER)])
    bars = Bars.from_frame(frame, symbol="BTCUSDT")
    assert bars.reading.format == "binance-spot"
    assert first_bar(bars)[1:] == BTC[1:]


def test_a_frame_of_databento():
    index = pd.DatetimeIndex(HOURS.tz_localize("UTC"), name="ts_event")
    values = {"rtype": 34, "publisher_id": 2, "instrument_id": 38}
    values |= {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 4, "symbol": "AAPL"}
    bars = from_frame(pd.DataFrame(values, index=index))
    assert (bars.reading.format, bars.symbols, bars.close[0]) == ("databento-decimal", ("AAPL",), 11.0)


@pytest.mark.parametrize(
    ("first", "options"),
    [
        ("20250902  09:30:00", {"tz": "US/Eastern"}),  # two spaces, as older versions of the API write
        ("20250902 15:30:00 Europe/Berlin", {}),
        ("20250902-13:30:00", {"tz": "UTC"}),
        ("1756819800", {}),
    ],
)
def test_times_of_interactive_brokers(first, options):
    header = ["date", "open", "high", "low", "close", "volume", "average", "barCount"]
    frame = pd.DataFrame([[first, 229.25, 229.7, 227.68, 228.16, 2097040, 228.5, 9000]], columns=header)
    bars = Bars.from_frame(frame, symbol="AAPL", frequency="1min", **options)
    assert first_bar(bars)[0] == pd.Timestamp(AAPL[0], tz="UTC")
    if "tz" in options:
        with pytest.raises(BarsError, match="has no time zone"):
            Bars.from_frame(frame, symbol="AAPL", frequency="1min")


def test_symbol_and_time_in_the_index_as_alpaca_gives_them():
    index = pd.MultiIndex.from_product([["AAPL"], HOURS.tz_localize("UTC")], names=["symbol", "timestamp"])
    values = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 4.0, "trade_count": 2.0, "vwap": 10.5}
    bars = Bars.from_frame(pd.DataFrame(values, index=index))
    assert (bars.reading.format, bars.vwap.tolist()) == ("alpaca", [10.5] * 3)
    assert bars.other_columns().columns.tolist() == ["trade_count"]


def test_rows_in_descending_order_are_turned():
    frame = candles(HOURS.tz_localize("UTC"))[::-1]
    bars = from_frame(frame, symbol="A")
    assert np.all(np.diff(bars.timestamp) > 0)
    assert "descending" in bars.reading.in_words()


def test_columns_that_the_user_names():
    frame = pd.DataFrame(
        {"when": [1714521600, 1714525200], "o": 10.0, "h": 12.0, "l": 9.0, "last": 11.0, "size": 4.0, "avg": 10.5}
    )
    named = {"timestamp": "when", "open": "o", "high": "h", "low": "l", "close": "last", "volume": "size"}
    bars = Bars.from_frame(frame, symbol="A", unit="s", columns=named | {"vwap": "avg"})
    assert first_bar(bars) == (pd.Timestamp("2024-05-01", tz="UTC"), 10.0, 12.0, 9.0, 11.0, 4.0, 42.0)
    assert (
        Bars.from_frame(frame, symbol="A", unit="auto", columns=named, notional="close").notional.tolist() == [44.0] * 2
    )
    with pytest.raises(BarsError, match="no column 'nothing' for close"):
        Bars.from_frame(frame, symbol="A", unit="s", columns=named | {"close": "nothing"})
    with pytest.raises(BarsError, match="name their unit, unit='s'"):
        Bars.from_frame(frame, symbol="A", columns=named)
    with pytest.raises(UnknownNameError, match="unknown role of a column 'clsoe'; did you mean 'close'"):
        Bars.from_frame(frame, symbol="A", columns={"clsoe": "last"})


# --- What is ambiguous ----------------------------------------------------------------------------------------------


INVERSE = "1714521600000,3000.0,3010.0,2990.0,3005.0,300,1714525199999,1.0,9,5,6,0"


def test_prices_tell_linear_from_inverse_contracts(tmp_path):
    for header in ("", f"{KLINE_HEADER}\n"):
        for row, name in ((KLINE, "binance-usdm" if header else "binance-spot"), (INVERSE, "binance-coinm")):
            (tmp_path / "klines.csv").write_text(f"{header}{row}\n")
            assert read(tmp_path / "klines.csv", symbol="A", **ONE_ROW).reading.format == name


def test_a_tie_names_the_candidates_and_the_cure(tmp_path):
    idle = "1714521600000,10,10,10,10,0,1714525199999,0,0,0,0,0"  # no trade, so no price tells what the volumes mean
    (tmp_path / "klines.csv").write_text(f"{KLINE_HEADER}\n{idle}\n")
    with pytest.raises(BarsError, match=r"'binance-usdm' or 'binance-coinm': name it, format='binance-usdm'"):
        Bars.read(tmp_path / "klines.csv", symbol="A")
    (tmp_path / "BTCUSDT-1h-2024-05.csv").write_text(f"{KLINE_HEADER}\n{idle}\n")
    assert Bars.read(tmp_path / "BTCUSDT-1h-2024-05.csv", **ONE_ROW).reading.format == "binance-usdm"


def test_candles_without_a_header_are_not_guessed(tmp_path):
    (tmp_path / "candles.csv").write_text(f"2025-09-02 09:30:00,{AAPL_ROW}\n")
    with pytest.raises(BarsError, match=r"no format that is known: it has no header and 6 columns; name one, format="):
        Bars.read(tmp_path / "candles.csv")


def test_an_unknown_table_names_what_is_near(tmp_path):
    (tmp_path / "bars.csv").write_text("when,o,h,l,c\n2025-09-02,1,2,3,4\n")
    with pytest.raises(BarsError, match=r"is known: it has the columns 'when', 'o'.*columns={'timestamp'"):
        Bars.read(tmp_path / "bars.csv")


def test_a_format_that_is_not_there():
    with pytest.raises(UnknownNameError, match=r"unknown format of bars 'binance'; did you mean .*'binance-spot'"):
        Bars.from_frame(candles(HOURS), "binance")


def test_estimates_are_said():
    frame = candles(HOURS.tz_localize("UTC"))
    with pytest.warns(BarsWarning, match="all 3 notionals are estimated"):
        bars = Bars.from_frame(frame, symbol="A")
    assert bars.estimated_share == 1.0
    with pytest.raises(BarsError, match="has no column of VWAPs; estimate it with notional='hlc3'"):
        Bars.from_frame(frame, symbol="A", notional="vwap")


@pytest.mark.parametrize("name", ["bars.arrow", "bars.parquet", "bars.csv"])
def test_files_keep_what_is_estimated(tmp_path, name):
    bars = from_frame(candles(HOURS.tz_localize("UTC")), symbol="A")
    bars.write(tmp_path / name)
    kept = Bars.read(tmp_path / name)
    assert not kept.notional_exact.any()
    assert kept.content_hash == bars.content_hash
    assert kept.frame["notional_exact"].tolist() == [False] * 3
    assert not bars.between("2025-09-02 14:00").notional_exact.any()
