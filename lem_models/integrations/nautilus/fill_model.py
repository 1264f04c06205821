"""A fill model for backtests on bars: a child order fills over the next bar, at that bar's VWAP.

With the stock model of NautilusTrader a market order fills at a close. An algorithm that spreads an order over the bar
is closer to the bar's VWAP, which is also what the simulator of this package fills at
(:mod:`lem_models.execution.simulator`). The venue needs a latency, ``LatencyModel(1)`` for one nanosecond: without one
an order fills before the next bar is there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from nautilus_trader.backtest.models import FillModel
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import Bar, BookOrder
from nautilus_trader.model.enums import BookType, OrderSide, OrderStatus, OrderType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price, Quantity

from lem_models.integrations.nautilus.bars import bar_row
from lem_models.integrations.nautilus.tags import participation_of

__all__ = ["NextBarVwap"]


class NextBarVwap(FillModel):
    """Fills an order at the VWAP of the first bar that closes after it was sent, rounded to the tick.

    An order that carries a participation limit fills as much of the bar's volume, in whole lots, and the rest is
    cancelled, because :class:`~lem_models.integrations.nautilus.algorithm.LEMExecAlgorithm` sends such orders as
    immediate-or-cancel. Where the limit allows less than a lot, or nothing traded, nothing fills: the engine rejects
    the market order (``no market for ...``), and a limit order rests. A venue with ``use_market_order_acks=True`` has
    accepted a market order by then and can reject it no more: there one lot fills, or all of an order without a limit.

    Args:
        bars: The bars of the backtest, of any instruments. A bar with ``quote_volume`` has its exact VWAP, any other
            (high + low + close) / 3.
    """

    def __init__(self, bars: Iterable[Bar]) -> None:
        super().__init__()
        self._closes: dict[str, list[int]] = {}
        self._bars: dict[str, list[tuple[Decimal, Decimal]]] = {}
        for bar in sorted(bars, key=lambda each: each.ts_init):
            name, row = str(bar.bar_type.instrument_id), bar_row(bar, 0)
            price = row["notional"] / row["volume"] if row["volume"] else row["close"]
            self._closes.setdefault(name, []).append(bar.ts_init)
            self._bars.setdefault(name, []).append((Decimal(repr(price)), Decimal(str(bar.volume))))

    def get_orderbook_for_fill_simulation(
        self,
        instrument: Any,  # noqa: ANN401
        order: Any,  # noqa: ANN401
        best_bid: Any,  # noqa: ANN401
        best_ask: Any,  # noqa: ANN401
    ) -> OrderBook | None:
        """A book of one level: the VWAP, and what may fill. ``None``, the stock behaviour, after the last bar."""
        name = str(instrument.id)
        place = bisect_right(self._closes.get(name, []), max(order.ts_init, order.ts_submitted))
        if place == len(self._closes.get(name, [])):
            return None
        price, volume = self._bars[name][place]
        tick, lot = instrument.price_increment.as_decimal(), instrument.size_increment.as_decimal()
        level = instrument.make_price(_stepped(price, tick, ROUND_HALF_EVEN))
        size, limit = order.quantity.as_decimal(), participation_of(order.tags)
        if limit is not None or not volume:
            size = min(size, _stepped(volume * (limit or 0), lot, ROUND_FLOOR))
        if not size:
            if order.order_type != OrderType.MARKET or order.status == OrderStatus.SUBMITTED:
                return _NothingFills(instrument.id, level)
            size = order.quantity.as_decimal() if limit is None else lot
        book = OrderBook(instrument.id, BookType.L2_MBP)
        side = OrderSide.SELL if order.side == OrderSide.BUY else OrderSide.BUY
        book.add(BookOrder(side, level, instrument.make_qty(size), 1), 0, 0)
        return book


class _NothingFills(OrderBook):
    """A book from which nothing fills.

    Out of an empty book the engine would fill at the close. It takes a fill of size zero for what it is, no market.
    """

    def __init__(self, instrument_id: InstrumentId, price: Price) -> None:
        super().__init__(instrument_id, BookType.L2_MBP)
        self._price = price

    def simulate_fills(
        self,
        order: Any,  # noqa: ANN401
        price_prec: int,
        size_prec: int,
        is_aggressive: bool,
    ) -> list[tuple[Price, Quantity]]:
        """One fill of size zero."""
        return [(self._price, Quantity.zero(size_prec))]


def _stepped(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (value / step).to_integral_value(rounding) * step
