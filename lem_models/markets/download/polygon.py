"""Polygon, now Massive, through its client massive: aggregates with the vendor's VWAP.

The key is read from the environment (``MASSIVE_API_KEY`` or ``POLYGON_API_KEY``).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from lem_models.errors import DownloadError
from lem_models.guard.output import Json
from lem_models.markets.calendar.frequency import clock
from lem_models.markets.download.by_symbol import SymbolSource
from lem_models.markets.download.source import Fetched, Planned, Report, Request, closed_bars
from lem_models.markets.download.stocks import keep_regular_hours, with_vwap
from lem_models.markets.download.vendor_clients import ask_client, read_key

__all__ = ["Polygon"]

_DEFAULT = "https://api.massive.com"


class Polygon(SymbolSource):
    """Aggregates of Polygon (Massive)."""

    name = "polygon"
    packages = ("massive",)
    terms = "https://massive.com/legal/market-data-terms"
    notional = "the vendor's VWAP times the volume where notional_exact is true"
    default_addresses: ClassVar = {"url": _DEFAULT}
    options: ClassVar = {"adjusted": True, "hours": "XNYS"}
    intervals: ClassVar = {
        pd.Timedelta(f"{count}{unit}"): f"{count} {word}"
        for unit, word, counts in (
            ("s", "second", (1, 5, 10, 15, 30)),
            ("min", "minute", (1, 2, 3, 5, 10, 15, 30)),
            ("h", "hour", (1, 2, 4, 6, 8, 12)),
            ("D", "day", (1,)),
        )
        for count in counts
    }

    def __init__(self, request: Request) -> None:
        """See the class.

        Raises:
            ConfigError: The request does not fit Polygon, there is no key, or massive is missing.
        """
        super().__init__(request)
        self._url = self.address()
        self._key = read_key(("MASSIVE_API_KEY", "POLYGON_API_KEY"), self.name)

    def facts(self) -> dict[str, Json]:
        """The adjustment."""
        return {"adjustment": "split" if self.chosen["adjusted"] else "raw"}

    def plan(self) -> list[Planned]:
        """The bars of each symbol; an upper bound."""
        what = f"bars of {clock(self.interval)}, 50,000 minutes or days a request"
        return [
            Planned(symbol, what, str(self.period), f"{self._url}/v2/aggs/ticker/{symbol}")
            for symbol in self.request.names
        ]

    def connected(self) -> AbstractContextManager[Any]:
        """The client; the waits are ours, because its own are too short for a limit of five requests a minute."""
        from massive import RESTClient

        return nullcontext(RESTClient(api_key=self._key, base=self._url, retries=0))

    def fetch(self, client: Any, symbol: str, report: Report) -> Fetched:  # noqa: ANN401 (a client without types)
        """The bars of a symbol.

        Raises:
            DownloadError: Polygon fails, or has no bars of the symbol.
        """
        rows = ask_client(
            f"fetch {symbol} from Polygon",
            partial(self._aggregates, client, symbol),
            manners=self.request.manners,
            secrets=(self._key,),
        )
        return self._fetched(symbol, rows)

    def _aggregates(self, client: Any, symbol: str) -> list[Any]:  # noqa: ANN401 (a client without types)
        """All aggregates of a symbol, page after page."""
        count, unit = self.intervals[self.interval].split()
        pages = client.list_aggs(
            symbol,
            int(count),
            unit,
            self.period.start.to_pydatetime(),
            (self.period.end - pd.Timedelta(1, "ms")).to_pydatetime(),  # the client's end is inclusive
            adjusted=bool(self.chosen["adjusted"]),
            sort="asc",
            limit=50_000,
        )
        return list(pages)

    def _fetched(self, symbol: str, rows: list[Any]) -> Fetched:
        if not rows:
            raise DownloadError(f"Polygon has no bars of {symbol} and {clock(self.interval)} in {self.period}")
        try:
            timestamp = pd.DatetimeIndex(np.array([row.timestamp for row in rows], dtype=np.int64) * 10**6, tz="UTC")
            names = ("open", "high", "low", "close", "volume")
            values = {name: np.array([getattr(row, name) for row in rows], dtype=np.float64) for name in names}
            values["vwap"] = np.array([np.nan if row.vwap is None else row.vwap for row in rows], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DownloadError(f"Polygon sends bars of {symbol} that cannot be read: {error!r}") from None
        fetched = with_vwap(symbol, timestamp, values)
        closed_bars(fetched, self.request)
        if self.chosen["hours"] != "all" and ":" not in symbol:  # X:BTCUSD and C:EURUSD trade all day
            keep_regular_hours(fetched, str(self.chosen["hours"]), self.interval)
        if fetched.table.empty:
            raise DownloadError(f"Polygon has no closed bars of {symbol} in {self.period}")
        return fetched
