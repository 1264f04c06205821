"""TWAP orders through the backtest engine of NautilusTrader, with the TWAP algorithm of its examples.

An engine that does far more per order: an event for every child order and fill, a matching engine, accounts, positions,
a risk engine and a cache. The number says what such an engine costs, not that one program is better than the other.

Runs in an interpreter that has `nautilus_trader`; nothing of lem_models is imported. Prints one line of JSON.

    python benchmarks/peers/nautilus_twap.py --parents 200 --periods 12
"""

import argparse
import json
import random
import time
from decimal import Decimal
from importlib.metadata import version

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import BacktestEngineConfig, LoggingConfig, StrategyConfig
from nautilus_trader.examples.algorithms.twap import TWAPExecAlgorithm
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import ExecAlgorithmId, Venue
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

HOUR = 3_600 * 10**9  # nanoseconds
LOT = Decimal("0.001")  # of each child order
START = 1_704_067_200 * 10**9  # 2024-01-01


class ParentsConfig(StrategyConfig, frozen=True):
    """Settings of :class:`Parents`."""

    bar_type: BarType
    parents: int
    periods: int


class Parents(Strategy):
    """One order a bar, buy and sell in turn, each traded in equal parts over the next hours."""

    def __init__(self, config: ParentsConfig) -> None:
        super().__init__(config)
        self.submitted = 0

    def on_start(self) -> None:
        """Subscribe to the bars."""
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar: Bar) -> None:
        """Submit the next order."""
        if self.submitted == self.config.parents:
            return
        instrument = self.cache.instrument(bar.bar_type.instrument_id)
        order = self.order_factory.market(
            instrument_id=instrument.id,
            order_side=OrderSide.BUY if self.submitted % 2 == 0 else OrderSide.SELL,
            quantity=instrument.make_qty(LOT * self.config.periods),
            exec_algorithm_id=ExecAlgorithmId("TWAP"),
            exec_algorithm_params={"horizon_secs": 3600.0 * self.config.periods, "interval_secs": 3600.0},
        )
        self.submitted += 1
        self.submit_order(order)


def bars_of(instrument: Instrument, bar_type: BarType, count: int) -> list[Bar]:
    """Hourly bars of a random walk."""
    rng, close, bars = random.Random(0), 40_000.0, []
    for number in range(count):
        first, close = close, close * (1 + rng.gauss(0, 0.005))
        high, low = 1.001 * max(first, close), 0.999 * min(first, close)
        prices = [instrument.make_price(value) for value in (first, high, low, close)]
        stamp = START + (number + 1) * HOUR
        bars.append(Bar(bar_type, *prices, instrument.make_qty(10_000), stamp, stamp))
    return bars


def measure(parents: int, periods: int) -> dict[str, float]:
    """CPU seconds of one backtest; the bars and the engine are made before the clock starts."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    instrument = TestInstrumentProvider.btcusdt_perp_binance()
    engine.add_venue(
        venue=Venue("BINANCE"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=None,
        starting_balances=[Money(1_000_000, USDT)],
    )
    engine.add_instrument(instrument)
    bar_type = BarType.from_str(f"{instrument.id}-1-HOUR-LAST-EXTERNAL")
    engine.add_data(bars_of(instrument, bar_type, parents + periods + 2))
    engine.add_strategy(Parents(ParentsConfig(bar_type=bar_type, parents=parents, periods=periods)))
    engine.add_exec_algorithm(TWAPExecAlgorithm())
    began = time.process_time()
    engine.run()
    seconds = time.process_time() - began
    filled = sum(1 for order in engine.cache.orders_closed() if order.filled_qty > 0)
    lots = sum((order.filled_qty.as_decimal() for order in engine.cache.orders()), Decimal(0)) / LOT
    engine.dispose()
    return {"parents": parents, "periods": periods, "children": filled, "lots": int(lots), "cpu_seconds": seconds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parents", type=int, default=200)
    parser.add_argument("--periods", type=int, default=12)
    options = parser.parse_args()
    measured = measure(options.parents, options.periods)
    # Every part of every order must have been filled, or the number is of something else.
    if not options.parents * options.periods == measured["children"] == measured["lots"]:
        raise SystemExit(f"not all orders were filled: {measured}")
    measured["parents_per_cpu_second"] = options.parents / measured["cpu_seconds"]
    print(json.dumps({"versions": {"nautilus_trader": version("nautilus_trader")}} | measured))


if __name__ == "__main__":
    main()
