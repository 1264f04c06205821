"""Trade an order on paper at an exchange that ccxt knows: closed candles in, decisions out, fills at the bar's VWAP.

    python examples/ccxt_paper.py kraken BTC/USD --side buy --amount "0.5 BTC" --min 1h --max 6h --db paper.db

Killed or stopped, the same command goes on with the order. Needs ``pip install 'lem-models[data,desk]'``. To trade for
real, let ``send`` create the child order at the exchange, with ``decision.child`` as its client id, and ``fills`` give
its trades.
"""

# ruff: noqa: ANN401 (ccxt has no types)
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import ccxt
import pandas as pd

from lem_models.desk import Decision, Desk, DeskOrder, Fill, follow
from lem_models.markets.bars import Bars
from lem_models.markets.download.exchanges import with_money

COLUMNS = ["timestamp", "open", "high", "low", "close", "volume", "notional"]
LATE = 2.0  # seconds after its end at which a candle is asked for
LONGEST_WAIT = 60.0


class PaperExchange:
    """A venue of the desk (:class:`~lem_models.desk.BarFeed`): candles of an exchange, and fills that are assumed.

    Args:
        exchange: Client of ccxt.
        symbol: A spot market of it.
        timeframe: Length of a candle, such as ``"1h"``.
        since: Start of the first candle, milliseconds UTC.
        sleep: Waits for seconds.
    """

    def __init__(
        self, exchange: Any, symbol: str, timeframe: str, since: int, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.exchange, self.symbol, self.timeframe, self.since, self.sleep = exchange, symbol, timeframe, since, sleep
        self.step = exchange.parse_timeframe(timeframe) * 1000
        self.sent: dict[pd.Timestamp, Decision] = {}
        self.begins = True
        self.filled: list[Fill] = []

    def closed(self) -> pd.DataFrame:
        """The closed candles that have not been seen; the exchange's own clock says which one is still open."""
        candles = self.ask(self.exchange.fetch_ohlcv, self.symbol, self.timeframe, since=self.since)
        now = self.ask(self.exchange.fetch_time) if self.exchange.has.get("fetchTime") else self.exchange.milliseconds()
        known = [each for each in candles if each[0] >= self.since and each[0] + self.step <= now]
        frame = pd.DataFrame(known, columns=COLUMNS)
        frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="ms", utc=True)
        if frame["notional"].isna().any():  # this exchange sends no money with its candles: an estimate
            typical = (frame["high"] + frame["low"] + frame["close"]) / 3
            frame["notional"] = frame["notional"].astype(float).fillna(typical * frame["volume"])
        if known:
            self.since = known[-1][0] + self.step
        return frame.assign(symbol=self.symbol)

    def bars(self) -> Iterator[pd.DataFrame]:
        """Candles as they close."""
        self.begins = False
        while True:
            for _, bar in self.closed().groupby("timestamp"):
                self.fill(bar.iloc[0])
                yield bar
            now = self.exchange.milliseconds()
            self.sleep(max((self.since + self.step - now) / 1000 + LATE, LATE))

    def send(self, decision: Decision) -> None:
        """Take a child order; of those for candles that are over, only the one that was sent before a restart."""
        if self.begins or decision.window[1].timestamp() * 1000 > self.exchange.milliseconds():
            self.sent[decision.window[0]] = decision

    def fill(self, bar: pd.Series) -> None:
        """Fill the child order of a candle at its VWAP, up to its participation limit."""
        decision = self.sent.pop(bar["timestamp"], None)
        if decision is not None and bar["volume"] > 0:
            quantity, price = decision.allowed(bar["volume"]), Decimal(str(float(bar["notional"] / bar["volume"])))
            if quantity:
                self.filled.append(Fill(decision.order_id, quantity, price, decision.child, decision.child))

    def fills(self) -> list[Fill]:
        """What was filled since this was asked last."""
        new, self.filled = self.filled, []
        return new

    def ask(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Ask the exchange until it answers: limits, outages and maintenance are waited for, and said."""
        wait = 1.0
        while True:
            try:
                return call(*arguments, **named)
            except ccxt.NetworkError as error:  # too many requests, maintenance, timeouts; others are not temporary
                asked = (self.exchange.last_response_headers or {}).get("Retry-After", "")
                pause = float(asked) if asked.isdigit() else wait
                print(f"{type(error).__name__}: waiting {pause:g} s", file=sys.stderr)
                self.sleep(pause)
                wait = min(2 * wait, LONGEST_WAIT)


def client(name: str) -> Any:
    """A client of ccxt whose candles keep the money that the exchange sends with them."""
    exchange = getattr(ccxt, name)({"enableRateLimit": True})
    exchange.parse_ohlcv = with_money(name, exchange.parse_ohlcv)
    return exchange


def run(desk: Desk, order: DeskOrder, exchange: Any, timeframe: str, history: int, **settings: Any) -> None:
    """Trade an order to its end; one that the desk has already goes on."""
    step = exchange.parse_timeframe(timeframe) * 1000
    first = exchange.milliseconds() // step * step - history * step
    feed = PaperExchange(exchange, order.symbol, timeframe, first, **settings)
    if order.label in desk.state.orders:
        feed.since = desk.state.market[order.symbol].last // 10**6 + step
    else:
        desk.add(order, Bars.from_frame(feed.closed(), calendar="24/7"))
    for decisions in follow(desk, feed):
        for decision in decisions:
            print(decision, flush=True)
    print(next(each for each in desk.status().orders if each.order_id == order.label))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exchange", help="its name in ccxt")
    parser.add_argument("symbol", help="a spot market, such as BTC/USD")
    parser.add_argument("--side", choices=["buy", "sell"], required=True)
    parser.add_argument("--amount", required=True, help='units or money: "0.5 BTC", "20000 USD"')
    parser.add_argument("--min", default="1h", help="shortest duration")
    parser.add_argument("--max", default="12h", help="longest duration")
    parser.add_argument("--lot", help="smallest step of a quantity; default: what the exchange says")
    parser.add_argument("--participation", type=float, default=0.05, help="largest part of a bar's volume")
    parser.add_argument("--timeframe", default="1h")
    parser.add_argument("--history", type=int, default=700, help="candles before the order")
    parser.add_argument("--model", default="lem-crypto-hourly")
    parser.add_argument("--db", default="paper.db")
    given = parser.parse_args()
    exchange = client(given.exchange)
    exchange.load_markets()
    lot = given.lot or str(exchange.markets[given.symbol]["precision"]["amount"])
    order = DeskOrder(
        id="paper",
        symbol=given.symbol,
        side=given.side,
        amount=given.amount,
        lot_size=lot,
        min_duration=given.min,
        max_duration=given.max,
        max_participation=given.participation,
    )
    run(Desk(given.db, given.model), order, exchange, given.timeframe, given.history)


if __name__ == "__main__":
    main()
