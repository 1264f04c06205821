"""A backtest of NautilusTrader: a model of this package, and the engine's own TWAP, on the same parent orders.

    python examples/nautilus_backtest.py bars.parquet --symbol BTCUSDT --orders 20 --out nautilus.html

Both trade over the next 12 bars. The report measures all fills against the same prices. Needs the extra `nautilus`.
"""

import argparse
from decimal import Decimal

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FillModel, LatencyModel
from nautilus_trader.config import BacktestEngineConfig, LoggingConfig, StrategyConfig
from nautilus_trader.examples.algorithms.twap import TWAPExecAlgorithm
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import ExecAlgorithmId, InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from lem_models import Bars
from lem_models.evaluation.tca import analyse_fills
from lem_models.integrations.nautilus import LEMExecAlgorithm, LEMExecAlgorithmConfig, NextBarVwap, engine_bars

PERIODS = 12
VENUE = Venue("SIM")


class ParentsConfig(StrategyConfig, frozen=True):
    """Settings of `Parents`."""

    bar_type: BarType
    quantity: str
    starts: frozenset[int]


class Parents(Strategy):
    """Gives the same order to both algorithms at some bar closes, and writes down the fills."""

    def __init__(self, config: ParentsConfig) -> None:
        super().__init__(config)
        self.orders: list[dict[str, object]] = []
        self.fills: list[dict[str, object]] = []

    def on_start(self) -> None:
        """Subscribe to the bars."""
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar: Bar) -> None:
        """Submit the orders that start now, sells and buys in turn."""
        if bar.ts_init not in self.config.starts:
            return
        side = OrderSide.SELL if len(self.orders) % 4 else OrderSide.BUY
        step = self.config.bar_type.spec.timedelta.total_seconds()
        terms = {
            "LEM": {"min_periods": 1, "max_periods": PERIODS},
            "TWAP": {"horizon_secs": PERIODS * step, "interval_secs": step},
        }
        for algorithm, parameters in terms.items():
            order = self.order_factory.market(
                instrument_id=bar.bar_type.instrument_id,
                order_side=side,
                quantity=Quantity.from_str(self.config.quantity),
                exec_algorithm_id=ExecAlgorithmId(algorithm),
                exec_algorithm_params=parameters,
                tags=[algorithm],
            )
            self.orders.append(
                {
                    "order_id": order.client_order_id.value,
                    "algorithm": algorithm,
                    "symbol": str(bar.bar_type.instrument_id),
                    "start": pd.Timestamp(bar.ts_init, tz="UTC"),
                    "side": "sell" if side == OrderSide.SELL else "buy",
                    "amount": float(self.config.quantity),
                    "min_periods": 1 if algorithm == "LEM" else PERIODS,
                    "max_periods": PERIODS,
                }
            )
            self.submit_order(order)

    def on_order_filled(self, event: OrderFilled) -> None:
        """Write down a fill of a child order; one at the moment of a close belongs to the bar that closes."""
        order = self.cache.order(event.client_order_id)
        self.fills.append(
            {
                "order_id": order.exec_spawn_id.value,
                "time": pd.Timestamp(max(event.ts_event - 1, order.ts_submitted), tz="UTC"),
                "quantity": float(event.last_qty),
                "price": float(event.last_px),
                "fee": float(event.commission),
                "fill_id": event.trade_id.value,
            }
        )


def main() -> None:
    """Run the backtest and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", help="bars, as lem_models.Bars.read takes them")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--model", default="lem-crypto-hourly")
    parser.add_argument("--orders", type=int, default=20, help="parent orders for each algorithm")
    parser.add_argument("--quantity", default="36.000", help="units of each")
    parser.add_argument("--lot", default="0.001", help="step of quantities, with all its digits")
    parser.add_argument("--tick", default="0.01", help="step of prices, with all its digits")
    parser.add_argument("--stock-fills", action="store_true", help="fill at closes, as the engine does by itself")
    parser.add_argument("--out", default="nautilus.html")
    options = parser.parse_args()

    bars = Bars.read(options.bars).select([options.symbol])
    price, size = Price.from_str(options.tick), Quantity.from_str(options.lot)
    instrument = CurrencyPair(
        instrument_id=InstrumentId(Symbol(options.symbol), VENUE),
        raw_symbol=Symbol(options.symbol),
        base_currency=Currency.from_str(options.symbol.removesuffix("USDT")),
        quote_currency=USDT,
        price_precision=price.precision,
        size_precision=size.precision,
        price_increment=price,
        size_increment=size,
        maker_fee=Decimal(0),
        taker_fee=Decimal(0),
        ts_event=0,
        ts_init=0,
    )
    minutes = int(bars.frequency.total_seconds() // 60)
    length = f"{minutes // 60}-HOUR" if minutes % 60 == 0 else f"{minutes}-MINUTE"
    bar_type = BarType.from_str(f"{instrument.id}-{length}-LAST-EXTERNAL")
    data = engine_bars(bars, instrument, bar_type)

    # The last two thirds of the bars: the model needs the first for its history.
    first, last = len(data) // 3, len(data) - PERIODS - 2
    starts = {data[first + (last - first) * number // options.orders].ts_init for number in range(options.orders)}
    strategy = Parents(ParentsConfig(bar_type=bar_type, quantity=options.quantity, starts=frozenset(starts)))
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(log_level="ERROR"), run_analysis=False))
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=None,
        starting_balances=[Money(10_000_000, USDT)],
        fill_model=FillModel() if options.stock_fills else NextBarVwap(data),
        latency_model=LatencyModel(1),  # one nanosecond: an order fills in the next bar, and not at the last close
        frozen_account=True,
    )
    engine.add_instrument(instrument)
    engine.add_data(data)
    engine.add_strategy(strategy)
    engine.add_exec_algorithm(LEMExecAlgorithm(LEMExecAlgorithmConfig(model=options.model, bar_type=bar_type)))
    engine.add_exec_algorithm(TWAPExecAlgorithm())
    engine.run()

    named = Bars.from_frame(bars.frame.assign(symbol=str(instrument.id)), calendar=bars.calendar.name)
    orders = pd.DataFrame(strategy.orders)
    label = orders["algorithm"] + orders["start"].dt.strftime(" %Y-%m-%d %H:%M")  # what the page calls an order
    known = dict(zip(orders["order_id"], label, strict=True))
    orders["order_id"] = label
    fills = pd.DataFrame(strategy.fills).assign(order_id=lambda fills: fills["order_id"].map(known))
    costs = analyse_fills(fills, named, orders.drop(columns="algorithm"))
    measured = costs.to_frame().merge(orders[["order_id", "algorithm"]], on="order_id")
    columns = ["net_slippage_bps", "full_vwap_bps", "arrival_bps"]
    print(measured.groupby("algorithm")[columns].agg(["mean", "std"]).round(2).to_string())
    print(costs.to_html(options.out, title="NautilusTrader: LEM and TWAP, pair by pair"))
    engine.dispose()


if __name__ == "__main__":
    main()
