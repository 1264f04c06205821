"""Exchanges of digital assets, through ccxt: candles with the exchange's own quote volume where it sends one.

``fetch_ohlcv`` of ccxt drops everything but six numbers. Many exchanges send the quote volume, or a VWAP, in the same
row. So the raw row is read where ccxt translates it (``parse_ohlcv``): its paging, limits and addresses are used as
they are, and one number more comes through. Elsewhere the notional is an estimate, ``volume * (high + low + close) /
3``.

Only spot markets are fetched: contracts count their volume in units that differ from exchange to exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError, DownloadError, UnknownNameError
from lem_models.guard.output import Json
from lem_models.guard.text import shown
from lem_models.markets.calendar.frequency import clock
from lem_models.markets.download.by_symbol import SymbolSource
from lem_models.markets.download.source import (
    Fetched,
    Planned,
    Report,
    Request,
    closed_bars,
    count_repair,
    plain_table,
)
from lem_models.markets.download.vendor_clients import ask_client

__all__ = ["RAW_MONEY", "Exchanges", "with_money"]


@dataclass(frozen=True)
class _Money:
    """Where the raw row of an exchange holds the money of a candle.

    Attributes:
        place: Position in the row.
        is_vwap: Whether it is a price, to be multiplied by the volume.
    """

    place: int
    is_vwap: bool = False


RAW_MONEY = {
    "binance": _Money(7),
    "binanceus": _Money(7),
    "mexc": _Money(7),
    "okx": _Money(7),
    "bybit": _Money(6),
    "bitget": _Money(7),
    "kucoin": _Money(6),
    "gate": _Money(1),
    "kraken": _Money(5, is_vwap=True),
}
"""Exchanges whose raw candles hold the quote volume, or a VWAP."""

_PAGES = 100_000
_SMALLEST_PAGE = 100  # candles; no exchange sends fewer at once


class Exchanges(SymbolSource):
    """Spot candles of an exchange that ccxt knows; the first name is that of the exchange."""

    name = "ccxt"
    packages = ("ccxt",)
    calendar = "24/7"
    terms = "those of the exchange"
    notional = (
        "the exchange's own quote volume or VWAP where notional_exact is true, else volume * (high + low + close) / 3"
    )
    default_addresses: ClassVar = {"url": ""}

    def __init__(self, request: Request) -> None:
        """See the class.

        Raises:
            ConfigError: The request does not fit the exchange, or ccxt is missing.
            UnknownNameError: ccxt does not know the exchange.
        """
        super().__init__(request)
        if len(request.names) < 2:
            raise ConfigError("name an exchange and symbols: lem data fetch ccxt kraken BTC/USD,ETH/USD ...")
        import ccxt

        exchange, *symbols = request.names
        if exchange not in ccxt.exchanges:
            raise UnknownNameError.among("exchange", exchange, ccxt.exchanges)
        self._id, self._symbols, self._url = exchange, symbols, ""
        self._client: Any = getattr(ccxt, exchange)(
            {"enableRateLimit": True, "timeout": int(request.manners.timeout * 1000)}
        )
        if self.has_address():
            self._url = self.address()
            self._client.urls["api"] = _replaced(self._client.urls["api"], self._url)
        self._timeframe = next(
            (
                name
                for name in self._client.timeframes or {}
                if pd.Timedelta(self._client.parse_timeframe(name), "s") == self.interval and not name.endswith("M")
            ),
            None,
        )
        if self._timeframe is None:
            known = ", ".join(self._client.timeframes or {}) or "none"
            raise ConfigError(f"{exchange} has no candles of {clock(self.interval)}; it has: {known}")

    def addresses(self) -> dict[str, str]:
        """The address that replaces those of the client, if there is one."""
        return {"url": self._url} if self._url else {}

    def facts(self) -> dict[str, Json]:
        """The exchange."""
        return {"exchange": self._id}

    def plan(self) -> list[Planned]:
        """The candles of each symbol; an upper bound, because an exchange may not reach back so far."""
        count = int((self.period.end - self.period.start) / self.interval)
        own = self._client.urls["api"]
        address = self._url or (own if isinstance(own, str) else str(next(iter(own.values()), self._id)))
        return [
            Planned(symbol, f"at most {count:,} candles of {clock(self.interval)}", str(self.period), str(address))
            for symbol in self._symbols
        ]

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols, without the name of the exchange."""
        return self._symbols

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """The client, with the markets of the exchange, its clock, and raw candles.

        Raises:
            ConfigError: A symbol is a contract.
            UnknownNameError: The exchange has no such symbol.
            DownloadError: The exchange fails.
        """
        self._ask("read the markets of", self._client.load_markets)
        for symbol in self._symbols:
            market = self._client.markets.get(symbol)
            if market is None:
                raise UnknownNameError.among(f"symbol of {self._id}", symbol, self._client.markets)
            if not market.get("spot"):
                raise ConfigError(
                    f"{shown(symbol)} is a contract of {self._id}, whose volume is not in coins; name a spot market"
                )
        if self._client.has.get("fetchTime"):  # a clock that is ahead would take an open candle for a closed one
            theirs = pd.Timestamp(int(self._ask("read the time of", self._client.fetch_time)), unit="ms", tz="UTC")
            self.request = replace(self.request, now=min(self.request.now, theirs))
        own = self._client.parse_ohlcv
        self._client.parse_ohlcv = with_money(self._id, own)
        try:
            yield self._client
        finally:
            self._client.parse_ohlcv = own

    def fetch(self, client: Any, symbol: str, report: Report) -> Fetched:  # noqa: ANN401 (a client without types)
        """The candles of a symbol.

        Raises:
            DownloadError: The exchange fails, or has no candles of the symbol in the period.
        """
        return self._fetched(symbol, self._candles(symbol, report))

    def _candles(self, symbol: str, report: Report) -> list[list[Any]]:
        """All candles of the period, page by page: each page begins after the last candle of the one before."""
        step = self.interval // pd.Timedelta(1, "ms")
        since = int(self.period.start.timestamp() * 1000)
        first, end = since, int(self.period.end.timestamp() * 1000)
        candles: dict[int, list[Any]] = {}
        for _ in range(_PAGES):
            report(symbol, min(since, end) - first, end - first)
            page = self._ask(
                f"fetch {symbol} from",
                partial(self._client.fetch_ohlcv, symbol, self._timeframe, since=since),
            )
            new = {int(candle[0]): candle for candle in page if since <= candle[0] < end}
            candles |= new
            if page and not new and min(candle[0] for candle in page) >= end:
                break  # it sends its latest candles, whatever is asked for
            # An empty page is a time without candles: before the listing, or an outage.
            since = max(new) + step if new else since + _SMALLEST_PAGE * step
            if since >= end:
                break
        return [candles[moment] for moment in sorted(candles)]

    def _fetched(self, symbol: str, candles: list[list[Any]]) -> Fetched:
        if not candles:
            raise DownloadError(
                f"{self._id} gives no candles of {symbol} and {clock(self.interval)} in {self.period}: it was not "
                "listed then, or the exchange reaches no further back"
            )
        rows = np.array([[np.nan if each is None else float(each) for each in candle] for candle in candles])
        names = ("open", "high", "low", "close", "volume")
        values = {name: rows[:, number + 1] for number, name in enumerate(names)}
        exact = np.isfinite(rows[:, 6])
        estimate = values["volume"] * (values["high"] + values["low"] + values["close"]) / 3.0
        values["notional"] = np.where(exact, rows[:, 6], estimate)
        timestamp = pd.DatetimeIndex(rows[:, 0].astype(np.int64) * 1_000_000, tz="UTC")
        fetched = Fetched(plain_table(symbol, timestamp, values, exact=exact))
        whole = np.isfinite(rows[:, 1:6]).all(axis=1)
        count_repair(fetched, "bars without prices, left out", int(np.sum(~whole)))
        fetched.table = fetched.table[whole].reset_index(drop=True)
        closed_bars(fetched, self.request)
        if fetched.table.empty:
            raise DownloadError(f"{self._id} has no closed candles of {symbol} in {self.period}")
        begins = fetched.table["timestamp"].iloc[0]
        if begins >= self.period.start + self.interval:
            fetched.notes.append(
                f"{symbol}: the first candle that {self._id} gives starts at {begins:%Y-%m-%d %H:%M} UTC: it was "
                "listed then, or the exchange reaches no further back"
            )
        return fetched

    def _ask(self, doing: str, call: Any) -> Any:  # noqa: ANN401 (answers of a client without types)
        return ask_client(
            f"{doing} {self._id}",
            call,
            manners=self.request.manners,
            headers=lambda: getattr(self._client, "last_response_headers", None),
        )


def with_money(exchange: str, own: Callable[..., Any]) -> Callable[..., list[float | None]]:
    """The translation of a raw candle by ccxt, with its money as a seventh number; ``None`` if the row has none.

    Args:
        exchange: Its name in ccxt.
        own: ``parse_ohlcv`` of its client.
    """
    money = RAW_MONEY.get(exchange)

    def parse(row: Any, market: Any = None) -> list[float | None]:  # noqa: ANN401 (rows of a client without types)
        candle: list[float | None] = list(own(row, market))[:6]
        value = None
        if money is not None and isinstance(row, list) and len(row) > money.place:
            value = float(row[money.place])
            if money.is_vwap:
                value *= float(candle[5] or 0.0)
        return [*candle, value]

    return parse


def _replaced(urls: Any, address: str) -> Any:  # noqa: ANN401 (addresses of a client, nested)
    """The addresses of a client at another host, with their paths."""
    if isinstance(urls, dict):
        return {key: _replaced(value, address) for key, value in urls.items()}
    if not isinstance(urls, str):
        return urls
    _, _, path = urls.partition("://")[2].partition("/")
    return f"{address}/{path}" if path else address
