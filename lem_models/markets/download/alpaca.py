"""Stocks of Alpaca, through its client alpaca-py: bars with the vendor's VWAP.

The keys are read from the environment (``APCA_API_KEY_ID`` and ``APCA_API_SECRET_KEY``). The feed ``iex`` is free and
sees the trades of one exchange only, some percent of the volume; ``sip`` sees all.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError, DownloadError
from lem_models.guard.output import Json
from lem_models.markets.calendar.frequency import clock
from lem_models.markets.download.by_symbol import SymbolSource
from lem_models.markets.download.source import Fetched, Planned, Report, Request, closed_bars
from lem_models.markets.download.stocks import keep_regular_hours, with_vwap
from lem_models.markets.download.vendor_clients import ask_client, read_key

__all__ = ["Alpaca"]

_DEFAULT = "https://data.alpaca.markets"
_FEEDS = ("iex", "sip", "delayed_sip", "otc", "boats", "overnight")


class Alpaca(SymbolSource):
    """Bars of stocks from Alpaca."""

    name = "alpaca"
    packages = ("alpaca-py",)
    terms = "https://alpaca.markets/disclosures (market data agreements)"
    notional = "the vendor's VWAP times the volume where notional_exact is true"
    default_addresses: ClassVar = {"url": _DEFAULT}
    options: ClassVar = {"feed": "iex", "adjusted": True, "hours": "XNYS"}
    intervals: ClassVar = {
        pd.Timedelta(text.replace("Min", "min").replace("Hour", "h").replace("Day", "D")): text
        for text in ("1Min", "5Min", "10Min", "15Min", "30Min", "1Hour", "2Hour", "4Hour", "1Day")
    }

    def __init__(self, request: Request) -> None:
        """See the class.

        Raises:
            ConfigError: The request does not fit Alpaca, there is no key, or alpaca-py is missing.
        """
        super().__init__(request)
        if self.chosen["feed"] not in _FEEDS:
            raise ConfigError(f"the feed is one of {', '.join(_FEEDS)}, not {self.chosen['feed']!r}")
        self._url = self.address()
        self._key = read_key(("APCA_API_KEY_ID", "ALPACA_API_KEY"), self.name)
        self._secret = read_key(("APCA_API_SECRET_KEY", "ALPACA_SECRET_KEY"), self.name)

    def facts(self) -> dict[str, Json]:
        """The feed and the adjustment."""
        return {"feed": self.chosen["feed"], "adjustment": self._adjustment()}

    def _adjustment(self) -> str:
        return "split" if self.chosen["adjusted"] else "raw"

    def plan(self) -> list[Planned]:
        """The bars of each symbol; an upper bound."""
        what = f"bars of {clock(self.interval)} from the feed {self.chosen['feed']}, 10,000 a request"
        return [Planned(symbol, what, str(self.period), f"{self._url}/v2/stocks/bars") for symbol in self.request.names]

    def connected(self) -> AbstractContextManager[Any]:
        """The client."""
        from alpaca.data.historical import StockHistoricalDataClient

        return nullcontext(StockHistoricalDataClient(self._key, self._secret, raw_data=True, url_override=self._url))

    def fetch(self, client: Any, symbol: str, report: Report) -> Fetched:  # noqa: ANN401 (a client without types)
        """The bars of a symbol.

        Raises:
            DownloadError: Alpaca fails, or has no bars of the symbol.
        """
        from alpaca.data.requests import StockBarsRequest
        from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

        name = self.intervals[self.interval]
        unit = {"Min": TimeFrameUnit.Minute, "Hour": TimeFrameUnit.Hour, "Day": TimeFrameUnit.Day}
        asked = StockBarsRequest(
            symbol_or_symbols=symbol,
            timeframe=TimeFrame(int(name.rstrip("MinHourDay")), unit[name.lstrip("0123456789")]),
            start=self.period.start.to_pydatetime(),
            end=(self.period.end - pd.Timedelta(1, "us")).to_pydatetime(),  # Alpaca's end is inclusive
            adjustment=self._adjustment(),
            feed=self.chosen["feed"],
        )
        answer = ask_client(
            f"fetch {symbol} from Alpaca",
            partial(client.get_stock_bars, asked),
            manners=self.request.manners,
            secrets=(self._key, self._secret),
        )
        return self._fetched(symbol, answer.get(symbol) or [])

    def _fetched(self, symbol: str, rows: list[dict[str, Any]]) -> Fetched:
        if not rows:
            raise DownloadError(f"Alpaca has no bars of {symbol} and {clock(self.interval)} in {self.period}")
        try:
            timestamp = pd.DatetimeIndex(pd.to_datetime([row["t"] for row in rows], utc=True, format="ISO8601"))
            letters = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
            values = {name: np.array([row[key] for row in rows], dtype=np.float64) for name, key in letters.items()}
            values["vwap"] = np.array([row.get("vw", np.nan) for row in rows], dtype=np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise DownloadError(f"Alpaca sends bars of {symbol} that cannot be read: {error!r}") from None
        fetched = with_vwap(symbol, timestamp, values)
        closed_bars(fetched, self.request)
        if self.chosen["hours"] != "all":
            keep_regular_hours(fetched, str(self.chosen["hours"]), self.interval)
        if fetched.table.empty:
            raise DownloadError(f"Alpaca has no closed bars of {symbol} in {self.period}")
        if self.chosen["feed"] == "iex":
            fetched.notes.append(
                f"{symbol}: the feed iex holds the trades of one exchange only, not the market's volume"
            )
        return fetched
