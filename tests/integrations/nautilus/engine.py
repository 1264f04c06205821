"""Backtests of NautilusTrader: bars of this package in, parent orders, what was filled out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.models import FillModel, LatencyModel
from nautilus_trader.config import BacktestEngineConfig, LoggingConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import USD, USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import ClientOrderId, ExecAlgorithmId, InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair, Equity
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from lem_models import Bars
from lem_models.integrations.nautilus.algorithm import LEMExecAlgorithm, LEMExecAlgorithmConfig
from lem_models.integrations.nautilus.bars import history_table
from lem_models.integrations.nautilus.fill_model import NextBarVwap

SECOND = 10**9
VENUE = Venue("SIM")
_UNITS = {60: "MINUTE", 3600: "HOUR", 86400: "DAY"}


def instrument_of(symbol: str, *, lot: str, tick: str) -> CurrencyPair | Equity:
    """A pair against USDT, or a share."""
    raw, price, size = Symbol(symbol), Price.from_str(tick), Quantity.from_str(lot)
    if not symbol.endswith("USDT"):
        return Equity(
            instrument_id=InstrumentId(raw, VENUE),
            raw_symbol=raw,
            currency=USD,
            price_precision=price.precision,
            price_increment=price,
            lot_size=Quantity.from_int(1),
            ts_event=0,
            ts_init=0,
        )
    return CurrencyPair(
        instrument_id=InstrumentId(raw, VENUE),
        raw_symbol=raw,
        base_currency=Currency.from_str(symbol.removesuffix("USDT")),
        quote_currency=USDT,
        price_precision=price.precision,
        size_precision=size.precision,
        price_increment=price,
        size_increment=size,
        ts_event=0,
        ts_init=0,
    )


def bar_type_of(instrument: CurrencyPair | Equity, step: pd.Timedelta) -> BarType:
    seconds = int(step.total_seconds())
    unit = max(each for each in _UNITS if seconds % each == 0)
    return BarType.from_str(f"{instrument.id}-{seconds // unit}-{_UNITS[unit]}-LAST-EXTERNAL")


def as_bars(bars: Sequence[Bar], *, calendar: str | None = None) -> Bars:
    """Bars of the engine as bars of this package, with the engine's own rounding of prices and volumes."""
    bar_type = bars[0].bar_type
    step = int(bar_type.spec.timedelta.total_seconds() * SECOND)
    table = history_table(bars, str(bar_type.instrument_id), step)
    return Bars.from_frame(table, **({} if calendar is None else {"calendar": calendar}))


@dataclass
class Parent:
    """A parent order to submit at a bar close."""

    at: pd.Timestamp
    side: str
    quantity: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    limit: str | None = None
    quote: bool = False
    id: str | None = None


class TraderConfig(StrategyConfig, frozen=True):
    bar_type: BarType
    algorithm: str = "LEM"


class Trader(Strategy):
    """Submits parent orders at bar closes, and keeps the events."""

    def __init__(self, config: TraderConfig, parents: Sequence[Parent]) -> None:
        super().__init__(config)
        self.waiting = {each.at.value: [] for each in parents}
        for each in parents:
            self.waiting[each.at.value].append(each)
        self.ids: list[str] = []
        self.events: list[Any] = []
        self.actions: dict[int, Any] = {}  # what else is to be done at a bar close, by its time

    def on_start(self) -> None:
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar: Bar) -> None:
        for parent in self.waiting.pop(bar.ts_init, ()):
            self.place(parent)
        action = self.actions.pop(bar.ts_init, None)
        if action is not None:
            action()

    def place(self, parent: Parent) -> None:
        instrument = self.cache.instrument(self.config.bar_type.instrument_id)
        common = {
            "instrument_id": instrument.id,
            "order_side": OrderSide.BUY if parent.side == "buy" else OrderSide.SELL,
            "quantity": Quantity.from_str(parent.quantity) if parent.quote else instrument.make_qty(parent.quantity),
            "quote_quantity": parent.quote,
            "exec_algorithm_id": ExecAlgorithmId(self.config.algorithm),
            "exec_algorithm_params": dict(parent.parameters),
            "client_order_id": ClientOrderId(parent.id) if parent.id else None,
        }
        if parent.limit is None:
            order = self.order_factory.market(**common)
        else:
            order = self.order_factory.limit(price=instrument.make_price(parent.limit), **common)
        self.ids.append(order.client_order_id.value)
        self.submit_order(order)

    def on_order_event(self, event: Any) -> None:
        self.events.append(event)

    def of(self, parent: str, kind: type = OrderFilled) -> list[Any]:
        """Events of a kind of the child orders of a parent order."""
        return [
            each
            for each in self.events
            if isinstance(each, kind) and each.client_order_id.value.startswith(f"{parent}-E")
        ]


@dataclass
class Run:
    """A backtest that is ready to run."""

    engine: BacktestEngine
    trader: Trader
    algorithm: LEMExecAlgorithm

    def fills(self, parent: str) -> list[tuple[int, Decimal, Decimal]]:
        """Time, quantity and price of the fills of a parent order."""
        return [
            (each.ts_event, each.last_qty.as_decimal(), each.last_px.as_decimal()) for each in self.trader.of(parent)
        ]

    def reasons(self, parent: str) -> list[str]:
        """Why a parent order was refused."""
        return [
            each.reason
            for each in self.trader.events
            if each.client_order_id.value == parent and hasattr(each, "reason")
        ]


def backtest(
    bars: Sequence[Bar],
    instrument: CurrencyPair | Equity,
    parents: Sequence[Parent],
    model: Any,
    *,
    fill_model: FillModel | None = None,
    latency: int | None = 1,
    risk: RiskEngineConfig | None = None,
    balance: int = 10**7,
    acknowledges: bool = False,
    **settings: Any,
) -> Run:
    """A backtest with a venue that fills at the next bar's VWAP, or by another model, some nanoseconds later."""
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), run_analysis=False, risk_engine=risk or RiskEngineConfig()
        )
    )
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=None,
        starting_balances=[Money(balance, instrument.quote_currency)],
        fill_model=NextBarVwap(bars) if fill_model is None else fill_model,
        latency_model=None if latency is None else LatencyModel(latency),
        **({"use_market_order_acks": True} if acknowledges else {}),  # later releases than 1.221 know it
        frozen_account=True,  # balances of this size do not add up in the floats of a margin account
    )
    engine.add_instrument(instrument)
    engine.add_data(list(bars))
    trader = Trader(TraderConfig(bar_type=bars[0].bar_type), parents)
    algorithm = LEMExecAlgorithm(LEMExecAlgorithmConfig(model=model, bar_type=bars[0].bar_type, **settings))
    engine.add_strategy(trader)
    engine.add_exec_algorithm(algorithm)
    return Run(engine, trader, algorithm)
