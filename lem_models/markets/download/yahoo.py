"""Yahoo Finance, through yfinance: prices adjusted for splits, no money traded.

Yahoo has no quote volume and no VWAP, so the notional is an estimate, ``volume * (high + low + close) / 3``, and every
bar has ``notional_exact`` False. Dividends are not taken out of the prices, because nobody traded at such prices; the
adjusted close is kept as ``adj_close``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, ClassVar

import pandas as pd

from lem_models.errors import DownloadError
from lem_models.markets.calendar.frequency import clock
from lem_models.markets.download.by_symbol import SymbolSource
from lem_models.markets.download.periods import Period, read_interval
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

__all__ = ["Yahoo"]

_DEFAULT = "https://query2.finance.yahoo.com"
_DAY = pd.Timedelta(days=1)


class Yahoo(SymbolSource):
    """Bars of Yahoo Finance."""

    name = "yahoo"
    packages = ("yfinance",)
    terms = "https://legal.yahoo.com/us/en/yahoo/terms/otos/index.html: for personal use"
    notional = "estimated: volume * (high + low + close) / 3"
    default_addresses: ClassVar = {"url": _DEFAULT}
    intervals: ClassVar = {read_interval(text): text for text in ("1m", "2m", "5m", "15m", "30m", "1h", "90m", "1d")}

    def __init__(self, request: Request) -> None:
        """See the class.

        Raises:
            ConfigError: The request does not fit Yahoo, or yfinance is missing.
        """
        super().__init__(request)
        self._url = self.address()

    def plan(self) -> list[Planned]:
        """One request a symbol, for bars of a minute one a week."""
        count = len(self._windows())
        what = f"{count} request{'s' * (count != 1)} for bars of {clock(self.interval)}"
        return [
            Planned(symbol, what, str(self.period), f"{self._url}/v8/finance/chart/{symbol}")
            for symbol in self.request.names
        ]

    def connected(self) -> AbstractContextManager[Any]:
        """The module yfinance."""
        return _settings(self._url)

    def fetch(self, client: Any, symbol: str, report: Report) -> Fetched:  # noqa: ANN401 (a module without types)
        """The bars of a symbol.

        Raises:
            DownloadError: Yahoo fails, or has no bars of the symbol.
        """
        pieces = [self._history(client.Ticker(symbol), symbol, window) for window in self._windows()]
        return self._fetched(symbol, pd.concat([piece for piece in pieces if len(piece)] or pieces[:1]))

    def _windows(self) -> list[Period]:
        """The period, in pieces that one request may ask for."""
        longest = pd.Timedelta("7D") if self.interval < pd.Timedelta("2min") else self.period.end - self.period.start
        starts = pd.date_range(self.period.start, self.period.end, freq=longest, inclusive="left")
        return [Period(start, min(start + longest, self.period.end)) for start in starts]

    def _history(self, ticker: Any, symbol: str, window: Period) -> pd.DataFrame:  # noqa: ANN401 (no types)
        # For daily bars the dates of the exchange, which its client reads from times without a zone; one day more on
        # both sides, because a day of Tokyo begins on the day before in UTC.
        edges = (window.start.tz_localize(None) - _DAY, window.end.tz_localize(None) + _DAY)
        start, end = edges if self.interval >= _DAY else (window.start, window.end)
        history: pd.DataFrame = ask_client(
            f"fetch {symbol} from Yahoo",
            partial(
                ticker.history,
                start=start.to_pydatetime(),
                end=end.to_pydatetime(),
                interval=self.intervals[self.interval],
                auto_adjust=False,
                actions=False,
                keepna=True,
                timeout=self.request.manners.timeout,
            ),
            manners=self.request.manners,
        )
        return history

    def _fetched(self, symbol: str, history: pd.DataFrame) -> Fetched:
        if history.empty:
            raise DownloadError(f"Yahoo has no bars of {symbol} and {clock(self.interval)} in {self.period}")
        prices = history[["Open", "High", "Low", "Close"]]
        whole = prices.notna().all(axis=1) & history["Volume"].notna()
        history = history[whole]
        values = {name.lower(): history[name].to_numpy() for name in ("Open", "High", "Low", "Close", "Volume")}
        values["notional"] = values["volume"] * (values["high"] + values["low"] + values["close"]) / 3.0
        opened = pd.DatetimeIndex(history.index)
        table = plain_table(symbol, opened, values, exact=False)
        table["adj_close"] = history["Adj Close"].to_numpy(dtype=float)
        fetched = Fetched(table)
        count_repair(fetched, "bars without prices, left out", int((~whole).sum()))
        closed_bars(fetched, self.request, str(opened.tz))
        if fetched.table.empty:
            raise DownloadError(f"Yahoo has no closed bars of {symbol} and {clock(self.interval)} in {self.period}")
        return fetched


@contextmanager
def _settings(url: str) -> Iterator[Any]:
    """The module yfinance with errors that are raised, and with its address replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import yfinance
        from yfinance import base
        from yfinance.scrapers import history

    modules = (base, history)
    before, hidden = [module._BASE_URL_ for module in modules], yfinance.config.debug.hide_exceptions
    try:
        yfinance.config.debug.hide_exceptions = False
        for module in modules:
            module._BASE_URL_ = url
        yield yfinance
    finally:
        yfinance.config.debug.hide_exceptions = hidden
        for module, own in zip(modules, before, strict=True):
            module._BASE_URL_ = own
