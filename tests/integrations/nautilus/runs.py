"""The same parent orders in the engine, in the ledger without an engine, and in the simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import pandas as pd
import pytest
from nautilus_trader import __version__
from nautilus_trader.model.data import Bar

from lem_models import Bars, execute
from lem_models.desk.log.state import OrderState
from lem_models.integrations.nautilus.bars import bar_row, history_table
from lem_models.integrations.nautilus.core import ChildLedger
from lem_models.integrations.nautilus.parameters import VenueRules, desk_order
from tests.integrations.nautilus.engine import Parent, as_bars, backtest
from tests.integrations.nautilus.markets import Market

__all__ = ["Fills", "Ran", "at_close", "at_vwap", "in_engine", "in_ledger", "in_simulator", "lots_of", "vwap_of"]

Fills = list[tuple[int, Decimal, Decimal]]
"""Close of the bar, quantity and price of each fill."""
Venue = Callable[[Bar, str, Decimal, float | None], list[tuple[Decimal, Decimal]]]
"""From a bar, the side, the quantity and the participation limit of a child order to quantities and prices."""


@dataclass(frozen=True)
class Ran:
    """What became of a parent order."""

    parent: Parent
    state: OrderState
    fills: Fills


def in_engine(market: Market, bars: Sequence[Bar], instrument: Any, model: str, **settings: Any) -> dict[str, Ran]:
    """What the engine makes of the parent orders, by their ids."""
    run = backtest(bars, instrument, market.parents, model, calendar=market.calendar, balance=10**11, **settings)
    run.engine.run()
    ran = {}
    for parent, label in zip(market.parents, run.trader.ids, strict=True):
        assert run.reasons(label) == [], parent
        state = run.algorithm.ledger.parent(label)
        assert state.fallback == ""
        assert state.filled == sum(quantity for _, quantity, _ in run.fills(label))
        ran[label] = Ran(parent, state, run.fills(label))
    run.engine.dispose()
    return ran


def in_ledger(market: Market, bars: Sequence[Bar], labels: Sequence[str], model: str, venue: Venue) -> dict[str, Fills]:
    """What the ledger, the live path, makes of the parent orders when a venue fills what it decides."""
    step, symbol, now = int(pd.Timedelta(market.step).value), bars[0].bar_type.instrument_id.value, 0
    rules = VenueRules(Decimal(market.lot), Decimal(market.tick))
    ledger = ChildLedger(None, model, clock=lambda: now)
    fills: dict[str, Fills] = {label: [] for label in labels}
    due: dict[int, list[tuple[Parent, str]]] = {}
    for parent, label in zip(market.parents, labels, strict=True):
        due.setdefault(parent.at.value, []).append((parent, label))
    side = {label: parent.side for parent, label in zip(market.parents, labels, strict=True)}
    sent = []
    for place, bar in enumerate(bars):
        now = bar.ts_init
        for child in sent:
            decision = child.decision
            filled = venue(bar, side[child.parent], decision.quantity, decision.limit_participation)
            for number, (quantity, price) in enumerate(filled):
                ledger.fill(child.id, quantity, price, f"T-{number}", now - 1)
                fills[child.parent].append((now, quantity, price))
            ledger.close(child.id)
        if ledger.active:
            ledger.observe(symbol, [bar_row(bar, step)])
        for parent, label in due.get(now, ()):
            history = None
            if not ledger.active:
                table = history_table(bars[: place + 1], symbol, step)
                history = Bars.from_frame(table, calendar=market.calendar or "auto", frequency=pd.Timedelta(step))
            terms = (rules, parent.parameters)
            ledger.take(
                desk_order(label, symbol, parent.side, Decimal(parent.quantity), *terms, calendar=market.calendar),
                history,
            )
        sent = ledger.wanted() if ledger.active else []
    ledger.shut()
    return fills


def in_simulator(market: Market, bars: Sequence[Bar], labels: Sequence[str], model: str) -> dict[str, Fills]:
    """Fills of the simulator; whole lots as decimal numbers, and its prices."""
    rows = [
        {"order_id": label, "symbol": bars[0].bar_type.instrument_id.value, "start": parent.at, "side": parent.side}
        | {"amount": float(parent.quantity), "lot_size": float(market.lot)}
        | dict(parent.parameters)
        for parent, label in zip(market.parents, labels, strict=True)
    ]
    result = execute(model, as_bars(bars, calendar=market.calendar), pd.DataFrame(rows), cap_ahead=True)
    assert result.excluded.empty
    step, lot = pd.Timedelta(market.step), Decimal(market.lot)
    amount = {label: float(parent.quantity) for parent, label in zip(market.parents, labels, strict=True)}
    fills: dict[str, Fills] = {label: [] for label in labels}
    for row in result.schedule.itertuples():
        lots = row.fraction * amount[row.order_id] / float(lot)
        assert lots == pytest.approx(round(lots), abs=1e-5)
        if round(lots):
            fills[row.order_id].append(((row.timestamp + step).value, round(lots) * lot, Decimal(repr(row.price))))
    return fills


def lots_of(fills: Fills) -> list[tuple[int, Decimal]]:
    """Close of the bar and quantity of each fill; several in one bar are one."""
    quantities: dict[int, Decimal] = {}
    for at, quantity, _ in fills:
        quantities[at] = quantities.get(at, Decimal(0)) + quantity
    return list(quantities.items())


def vwap_of(bar: Bar) -> Decimal:
    """The VWAP as the simulator has it; the close where nothing traded."""
    row = bar_row(bar, 0)
    return Decimal(repr(row["notional"] / row["volume"] if row["volume"] else row["close"]))


_ROUNDS_A_QUARTER = __version__ == "1.221.0"
"""Later releases (1.231) give three of a bar's prices a quarter in whole lots, and the close what is left."""

# -- venues ----------------------------------------------------------------------------------------------------------


def at_vwap(market: Market, *, rounded: bool) -> Venue:
    """What ``NextBarVwap`` fills, at the VWAP or at the tick next to it."""
    lot, tick = Decimal(market.lot), Decimal(market.tick)

    def fill(bar: Bar, side: str, quantity: Decimal, limit: float | None) -> list[tuple[Decimal, Decimal]]:
        price, volume = vwap_of(bar), bar.volume.as_decimal()
        if rounded:
            price = (price / tick).to_integral_value(ROUND_HALF_EVEN) * tick
        if limit is not None:
            quantity = min(quantity, (volume * Decimal(repr(limit)) / lot).to_integral_value(ROUND_FLOOR) * lot)
        return [(quantity, price)] if quantity and volume else []

    return fill


def at_close(market: Market) -> Venue:
    """What the stock fill model fills: a quarter of the volume at the close, and the rest a tick worse.

    An immediate-or-cancel order, one with a participation limit, gets no more than the quarter.
    """
    lot, tick = Decimal(market.lot), Decimal(market.tick)

    def fill(bar: Bar, side: str, quantity: Decimal, limit: float | None) -> list[tuple[Decimal, Decimal]]:
        if _ROUNDS_A_QUARTER:
            unit = Decimal(1).scaleb(-bar.volume.precision)  # to the precision, and not to the lot
            quarter = max(Decimal(repr(float(bar.volume) / 4)).quantize(unit, ROUND_HALF_UP), lot)
        else:
            volume = bar.volume.as_decimal()
            quarter = max((volume - 3 * (volume / 4 // lot * lot)) // lot * lot, lot)
        close, first = bar.close.as_decimal(), min(quantity, quarter)
        if limit is not None or first == quantity:
            return [(first, close)]
        return [(first, close), (quantity - first, close + (tick if side == "buy" else -tick))]

    return fill
