"""Real and synthetic bars with parent orders: one market for every bundled model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
from nautilus_trader.model.data import Bar
from nautilus_trader.model.instruments import CurrencyPair, Equity

from lem_models.integrations.nautilus.engine_data import engine_bars
from tests.helpers.markets import hourly
from tests.integrations.nautilus.engine import Parent, bar_type_of, instrument_of

__all__ = ["MARKETS", "SYNTHETIC", "Market", "finer", "real", "synthetic"]


@dataclass(frozen=True)
class Market:
    """Bars of the training period of a model, and parent orders."""

    file: str
    symbol: str
    step: str
    first: str
    last: str
    lot: str
    tick: str
    parents: tuple[Parent, ...]
    calendar: str | None = None
    exact: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether it is a pair, whose lot may be any; shares trade one by one."""
        return self.symbol.endswith("USDT")


def parents(first: str, apart: str, count: int, quantity: str, caps: tuple[float, float]) -> tuple[Parent, ...]:
    """Both sides, with a free and with a fixed end, without a cap, and with one that binds or does not."""
    made = []
    for number in range(count):
        side = ("buy", "sell")[number % 2]
        terms: dict[str, object] = {"min_periods": (1, 4, 12)[number % 3], "max_periods": 12}
        if number % 4 > 1:
            terms["max_participation"] = caps[number // 4 % 2]
        terms |= {"benchmark": "twap"} if number % 5 == 3 else {}
        terms |= {"risk_aversion": 0.4} if number % 5 == 4 else {}
        at = pd.Timestamp(first, tz="UTC") + number * pd.Timedelta(apart)
        made.append(Parent(at, side, quantity, terms))
    return tuple(made)


MARKETS = {
    "lem-crypto-hourly": Market(
        *("crypto_hourly.parquet", "BTCUSDT", "1h", "2022-12-20", "2023-03-10", "1", "0.01"),
        parents("2023-03-01 06:00", "7h", 12, "400", (0.004, 0.2)),
        exact=True,
    ),
    "lem-base": Market(
        *("crypto_hourly.parquet", "ETHUSDT", "1h", "2022-03-20", "2022-06-07", "2", "0.01"),
        parents("2022-06-01 05:00", "5h", 12, "900", (0.004, 0.2)),
        exact=True,
    ),
    "lem-crypto-30min": Market(
        *("crypto_30min.parquet", "SOLUSDT", "30min", "2024-01-20", "2024-03-12", "10", "0.01"),
        parents("2024-03-08 16:30", "4h", 12, "3000", (0.003, 0.2)),
        exact=True,
    ),
    "lem-equity-5min": Market(
        *("equity_intraday_5min.parquet", "AAPL", "5min", "2025-07-01", "2025-08-21", "1", "0.01"),
        parents("2025-08-19 14:05", "20min", 12, "360", (0.0002, 0.2)),
        calendar="XNYS",
    ),
    "lem-dow-daily": Market(
        *("dow_daily.parquet", "KO", "1D", "2012-10-01", "2014-05-15", "1", "0.0001"),
        parents("2014-02-22", "7D", 6, "360", (0.000002, 0.2)),
        calendar="XNYS",
    ),
}


def real(market: Market, folder: Path) -> tuple[list[Bar], CurrencyPair | Equity]:
    """The bars of a market and its instrument."""
    window = [
        ("timestamp", ">=", pd.Timestamp(market.first, tz="UTC")),
        ("timestamp", "<", pd.Timestamp(market.last, tz="UTC")),
    ]
    frame = pd.read_parquet(folder / market.file, filters=[("symbol", "==", market.symbol), *window])
    instrument = instrument_of(market.symbol, lot=market.lot, tick=market.tick)
    bars = engine_bars(frame, instrument, bar_type_of(instrument, pd.Timedelta(market.step)), with_money=market.exact)
    return bars, instrument


def finer(market: Market, times: int) -> Market:
    """The market with orders of so many times the lots: a pair with smaller lots, a share with larger orders."""
    if market.is_pair:
        return replace(market, lot=format(Decimal(market.lot) / times, "f"))
    larger = []
    for parent in market.parents:
        terms = dict(parent.parameters)
        if "max_participation" in terms:
            terms["max_participation"] = min(terms["max_participation"] * times, 0.9)
        larger.append(replace(parent, quantity=str(int(parent.quantity) * times), parameters=terms))
    return replace(market, parents=tuple(larger))


SYNTHETIC = Market(
    *("", "S000USDT", "1h", "", "", "0.1", "0.01"),
    parents("2024-01-13 06:00", "5h", 8, "40", (0.004, 0.2)),
    exact=True,
)


def synthetic(quiet: tuple[str, ...] = ()) -> tuple[list[Bar], CurrencyPair | Equity]:
    """Bars of :data:`SYNTHETIC` and its instrument; those that start at the quiet times have no volume."""
    frame = hourly(days=16).frame.query("symbol == 'S000'").copy()
    silent = frame["timestamp"].isin([pd.Timestamp(each, tz="UTC") for each in quiet])
    frame.loc[silent, ["volume", "notional"]] = 0.0
    instrument = instrument_of("S000USDT", lot="0.1", tick="0.01")
    return engine_bars(frame, instrument, bar_type_of(instrument, pd.Timedelta("1h")), with_money=True), instrument
