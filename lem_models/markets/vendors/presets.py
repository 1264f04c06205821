"""The formats of vendors that are known by name. Each names the page where the vendor documents its columns."""

from __future__ import annotations

from lem_models.markets.vendors.formats import Format

__all__ = ["PRESETS"]

PRESETS: list[Format] = []
"""The formats that are known from the start."""


def _same(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in names}


_OHLC = ("open", "high", "low", "close")
_SHORT = {"open": ("o",), "high": ("h",), "low": ("l",), "close": ("c",), "volume": ("v",)}

# --- Crypto ----------------------------------------------------------------------------------------------------------

_KLINE = (
    *("open_time", *_OHLC, "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
_KLINE_MARKS = ("close_time", "count", "taker_buy_volume", "taker_buy_quote_volume")
_KLINE_FILE = r"(?P<symbol>{})-(?:[0-9]+(?:s|m|h|d|w|mo)|1M)-[0-9]{{4}}(?:-[0-9]{{2}}){{0,2}}"

PRESETS.append(
    Format(
        name="binance-spot",
        title="Binance spot klines: files of data.binance.vision, or responses of the REST API",
        page="https://github.com/binance/binance-public-data#klines",
        columns={"timestamp": ("open_time",), **_same(*_OHLC, "volume"), "notional": ("quote_volume",)},
        marks=_KLINE_MARKS,
        headerless=_KLINE,
        has_header=False,
        stamps="number",
        unit="by size",
        file_name=_KLINE_FILE.format("[A-Z0-9]+"),
        drops=frozenset({"close_time", "ignore"}),
        notes=("Times of spot files are in milliseconds before 2025 and in microseconds from 2025 on.",),
    )
)
PRESETS.append(
    Format(
        name="binance-usdm",
        title="Binance USD-margined futures klines: files of data.binance.vision",
        page="https://github.com/binance/binance-public-data#klines",
        columns={"timestamp": ("open_time",), **_same(*_OHLC, "volume"), "notional": ("quote_volume",)},
        marks=_KLINE_MARKS,
        stamps="number",
        unit="by size",
        file_name=_KLINE_FILE.format("(?![A-Z0-9]+USD_)[A-Z0-9]+(?:_[0-9]{6})?"),
        drops=frozenset({"close_time", "ignore"}),
    )
)
PRESETS.append(
    Format(
        name="binance-coinm",
        title="Binance coin-margined (inverse) futures klines: files of data.binance.vision",
        # `volume` counts contracts, and the eighth column, `quote_volume` in the files, is the "base asset volume", in
        # coins: https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data, whose example reads
        # 206 contracts and 2.13660389 coins at 9640.6 to 9642.4. A contract is 100 USD of BTC, or 10 USD of any other
        # coin (contractSize of GET /dapi/v1/exchangeInfo).
        page="https://github.com/binance/binance-public-data#klines",
        columns={
            "timestamp": ("open_time",),
            **_same(*_OHLC),
            "contracts": ("volume",),
            "volume": ("quote_volume",),
        },
        marks=_KLINE_MARKS,
        headerless=_KLINE,
        stamps="number",
        unit="by size",
        file_name=_KLINE_FILE.format("[A-Z0-9]+USD_(?:PERP|[0-9]{6})"),
        contract_values={"BTCUSD": 100.0, "": 10.0},
        drops=frozenset({"close_time", "ignore"}),
        notes=("Volumes are in coins; a contract is 100 USD of BTC or 10 USD of another coin.",),
    )
)
PRESETS.append(
    Format(
        name="ccxt",
        title="ccxt fetch_ohlcv: lists of [milliseconds, open, high, low, close, volume]",
        page="https://docs.ccxt.com/#/README?id=ohlcv-structure",
        columns=_same("timestamp", *_OHLC, "volume"),
        headerless=("timestamp", *_OHLC, "volume"),
        stamps="number",
        unit="ms",
        notes=(
            "The last candle of a response may still be open: repair='drop_open' drops it.",
            "The unified call drops the quote volume.",
        ),
    )
)
PRESETS.append(
    Format(
        name="tardis",
        title="Tardis trade bars (kind 'time'), stamped at their ends",
        # The timestamp of a bar in time is the end of its period: _hasNewBar in
        # https://github.com/tardis-dev/tardis-node/blob/master/src/computable/tradebar.ts
        page="https://docs.tardis.dev/tardis-machine/tardis-machine-output-data-types",
        columns={**_same("timestamp", "symbol", *_OHLC, "volume", "vwap"), "interval_ms": ("interval",)},
        marks=("openTimestamp", "closeTimestamp"),
        stamps="text",
        meaning="end",
        expects={"kind": "time"},
        drops=frozenset({"openTimestamp", "closeTimestamp", "localTimestamp"}),
        notes=(
            "openTimestamp and closeTimestamp are those of the first and last trade, not of the bar.",
            "Volumes of inverse contracts are in contracts.",
        ),
    )
)

# --- Equities --------------------------------------------------------------------------------------------------------

_YAHOO = {
    "timestamp": ("Date", "Datetime"),
    "open": ("Open",),
    "high": ("High",),
    "low": ("Low",),
    "close": ("Close",),
    "volume": ("Volume",),
}

PRESETS.append(
    Format(
        name="yfinance",
        title="yfinance.download: a table with one column per price and ticker",
        page="https://ranaroussi.github.io/yfinance/reference/api/yfinance.download.html",
        columns={**_YAHOO, "symbol": ("Ticker",)},
        shape="wide",
        ignores_case=True,
        drops_empty=True,
        notes=(
            "With auto_adjust (the default) prices are adjusted for dividends and splits.",
            "A ticker without a bar on a day has empty cells there; these rows are left out.",
        ),
    )
)
PRESETS.append(
    Format(
        name="yfinance-history",
        title="yfinance Ticker.history: one ticker",
        page="https://ranaroussi.github.io/yfinance/reference/api/yfinance.Ticker.history.html",
        columns=_YAHOO,
        marks=("Dividends", "Stock Splits"),
        drops=frozenset({"Dividends", "Stock Splits"}),
    )
)
PRESETS.append(
    Format(
        name="polygon",
        title="Polygon (Massive) aggregates: JSON of the REST API, or a table with its keys",
        page="https://massive.com/docs/rest/stocks/aggregates/custom-bars",
        columns={"timestamp": ("t",), "symbol": ("ticker", "T", "symbol"), **_SHORT, "vwap": ("vw",)},
        optional=frozenset({"symbol", "vwap"}),
        stamps="number",
        unit="ms",
        notes=(
            "The VWAP counts trades that do not update high and low, so it may lie outside [low, high]: "
            "repair='clip_vwap' clips it.",
        ),
    )
)
PRESETS.append(
    Format(
        name="polygon-client",
        title="Polygon (Massive) aggregates: a table of the records of its Python client",
        page="https://github.com/massive-com/client-python",
        columns={**_same("timestamp", "symbol", *_OHLC, "volume", "vwap")} | {"symbol": ("ticker", "symbol")},
        optional=frozenset({"symbol"}),
        marks=("transactions",),
        stamps="number",
        unit="ms",
        notes=("The VWAP may lie outside [low, high], see the format 'polygon'.",),
    )
)
PRESETS.append(
    Format(
        name="polygon-flat",
        title="Polygon (Massive) flat files of aggregates",
        page="https://massive.com/docs/flat-files/stocks/minute-aggregates",
        columns={"timestamp": ("window_start",), "symbol": ("ticker",), **_same(*_OHLC, "volume")},
        marks=("transactions",),
        stamps="number",
        unit="ns",
    )
)
PRESETS.append(
    Format(
        name="alpaca",
        title="Alpaca bars: a table of its Python client (.df)",
        page="https://alpaca.markets/sdks/python/api_reference/data/models.html#bar",
        columns=_same("timestamp", "symbol", *_OHLC, "volume", "vwap"),
        optional=frozenset({"symbol"}),
        marks=("trade_count",),
        stamps="text",
    )
)
PRESETS.append(
    Format(
        name="alpaca-json",
        title="Alpaca bars: JSON of the REST API",
        page="https://docs.alpaca.markets/reference/stockbars",
        columns={"timestamp": ("t",), "symbol": ("symbol", "S"), **_SHORT, "vwap": ("vw",)},
        optional=frozenset({"symbol"}),
        marks=("n",),
        stamps="text",
    )
)
_DATABENTO = ("ts_event", "rtype", "publisher_id", "instrument_id", *_OHLC, "volume", "symbol")

PRESETS.append(
    Format(
        name="databento",
        title="Databento OHLCV records with prices in units of 1e-9",
        page="https://databento.com/docs/schemas/ohlcv",
        columns={"timestamp": ("ts_event",), "symbol": ("symbol", "instrument_id"), **_same(*_OHLC, "volume")},
        marks=("rtype", "publisher_id"),
        headerless=_DATABENTO,
        headerless_optional=1,
        unit="ns",
        price_scale=1e-9,
        prices="whole",
        drops=frozenset({"rtype", "publisher_id", "instrument_id"}),
        notes=(
            "Without a column of symbols the symbol is the instrument id.",
            "No record is written for an interval without trades: fill_gaps fills them.",
        ),
    )
)
PRESETS.append(
    Format(
        name="databento-decimal",
        title="Databento OHLCV records with decimal prices (pretty_px, or to_df of its client)",
        page="https://databento.com/docs/schemas/ohlcv",
        columns={"timestamp": ("ts_event",), "symbol": ("symbol", "instrument_id"), **_same(*_OHLC, "volume")},
        marks=("rtype", "publisher_id"),
        headerless=_DATABENTO,
        headerless_optional=1,
        unit="ns",
        prices="decimal",
        drops=frozenset({"rtype", "publisher_id", "instrument_id"}),
        notes=("Without a column of symbols the symbol is the instrument id.",),
    )
)
PRESETS.append(
    Format(
        name="interactive-brokers",
        title="Interactive Brokers historical bars (TRADES)",
        page="https://interactivebrokers.github.io/tws-api/historical_bars.html",
        columns={"timestamp": ("date",), **_same(*_OHLC, "volume"), "vwap": ("average", "wap")},
        marks=("barCount",),
        unit="s",
        patterns=("%Y%m%d %H:%M:%S", "%Y%m%d-%H:%M:%S", "%Y%m%d"),
        notes=(
            "The zone stands behind the time; without one it is the zone of the login, which you name.",
            "Volumes of US stocks are in round lots in some versions of its API.",
        ),
    )
)
PRESETS.append(
    Format(
        name="firstrate",
        title="FirstRate Data files: no header, times in New York",
        page="https://firstratedata.com",
        columns=_same("timestamp", *_OHLC, "volume"),
        headerless=("timestamp", *_OHLC, "volume"),
        stamps="text",
        zone="America/New_York",
        file_name=r"(?P<symbol>[A-Z0-9.\-]+)_(?:full_)?(?:1min|5min|30min|1hour|1day)(?:_[A-Za-z]+)*",
        needs_file_name=True,
        notes=("No row is written for an interval without trades: fill_gaps fills them.",),
    )
)
PRESETS.append(
    Format(
        name="stooq",
        title="Stooq bulk files",
        page="https://stooq.com/db/h/",
        columns={
            "symbol": ("<TICKER>",),
            "date": ("<DATE>",),
            "time": ("<TIME>",),
            **{name: (f"<{name.upper()}>",) for name in _OHLC},
            "volume": ("<VOL>",),
        },
        marks=("<PER>",),
        # Stooq documents no zone of its intraday times, so the user names it. Daily files have dates only.
        drops=frozenset({"<PER>", "<OPENINT>"}),
    )
)
PRESETS.append(
    Format(
        name="date-time",
        title="a table with a column for the date and one for the time of day",
        page="",
        columns={
            "symbol": ("symbol", "ticker"),
            **_same("date", "time", *_OHLC, "volume"),
            "vwap": ("vwap",),
            "notional": ("notional",),
        },
        optional=frozenset({"symbol", "vwap", "notional"}),
        ignores_case=True,
        patterns=("%Y%m%d %H:%M:%S",),
    )
)
PRESETS.append(
    Format(
        name="date-time-new-york",
        title="a table with a column for the date and one for the time of day in New York",
        page="",
        columns={"symbol": ("symbol", "ticker"), **_same("date", "time", *_OHLC, "volume"), "vwap": ("vwap",)},
        optional=frozenset({"symbol", "vwap"}),
        ignores_case=True,
        patterns=("%Y%m%d %H:%M:%S",),
        zone="America/New_York",
        is_detected=False,
    )
)

# --- Programs --------------------------------------------------------------------------------------------------------

PRESETS.append(
    Format(
        name="qlib",
        title="Qlib: CSV files of adjusted prices, as dump_bin reads them",
        page="https://qlib.readthedocs.io/en/latest/component/data.html",
        columns={
            "timestamp": ("datetime", "date"),
            "symbol": ("instrument", "symbol"),
            **_same(*_OHLC, "volume", "vwap"),
        },
        optional=frozenset({"symbol", "vwap"}),
        marks=("factor",),
        file_name=r"(?P<symbol>[A-Za-z]{0,2}[0-9A-Z.^]+)",
        drops_empty=True,
        notes=("Prices and volumes are adjusted: price / factor is the price that was traded.",),
    )
)
PRESETS.append(
    Format(
        name="qlib-features",
        title="Qlib: features of D.features",
        page="https://qlib.readthedocs.io/en/latest/component/data.html",
        columns={
            "timestamp": ("datetime",),
            "symbol": ("instrument",),
            **{name: (f"${name}",) for name in (*_OHLC, "volume", "vwap")},
        },
        optional=frozenset({"vwap"}),
        drops_empty=True,
        notes=("Prices and volumes are adjusted: price / factor is the price that was traded.",),
    )
)
PRESETS.append(
    Format(
        name="nautilus",
        title="NautilusTrader bars: ts_init is the close of the bar",
        page="https://nautilustrader.io/docs/latest/concepts/backtesting/bar-execution/",
        columns={"timestamp": ("ts_init",), **_same("bar_type", *_OHLC, "volume")},
        marks=("ts_event",),
        stamps="number",
        meaning="end",
        unit="ns",
        drops=frozenset({"ts_event", "type"}),
    )
)
PRESETS.append(
    Format(
        name="ohlcv",
        title="a table with open, high, low, close and volume, in any case, such as one with a DatetimeIndex",
        page="",
        columns={
            "timestamp": ("timestamp", "datetime", "date", "time"),
            "symbol": ("symbol", "ticker"),
            **_same(*_OHLC, "volume", "vwap", "notional"),
        },
        optional=frozenset({"symbol", "vwap", "notional"}),
        ignores_case=True,
    )
)
