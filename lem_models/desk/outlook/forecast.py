"""What may become of an order: bands of its remaining schedule, its end and its slippage, from simulated bars.

The policy that decides the order is run on every path of
:func:`~lem_models.evaluation.outlook.bar_paths.simulate_bars`, from where the order stands: its fills so far count,
child orders are sized in lots and capped as the desk sizes them, and what is sent fills at the VWAP of its bar, up to
the participation limit. A forecast moves with the model's decisions and with the market's own past. It knows nothing of
news, and trading moves no price in it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lem_models.desk.engine import Entry, begun_of, engine_order
from lem_models.desk.log.state import OrderState
from lem_models.desk.orders.sizing import Sized, held_inside, size_notional, size_quantity
from lem_models.errors import BarsError, OrderError
from lem_models.evaluation.outlook.bar_paths import BarPaths, simulate_bars
from lem_models.evaluation.outlook.forecast import Band, Forecast, finish_band
from lem_models.execution.live import Begun, Filled, LiveOrders
from lem_models.execution.measures import shortfall_bps, slippage_bps
from lem_models.execution.policy import Policy, lookback_of, sessions_of
from lem_models.features.market import MAX_LOOKBACK
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment
from lem_models.orders.rules import SIZE_SESSIONS
from lem_models.statistics.reference_prices import REFERENCE_PRICES, OrderMarket

__all__ = ["forecast_order", "slippage_of_paths"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_ZERO = Decimal(0)


def forecast_order(
    order: OrderState,
    bars: Bars,
    policy: Policy,
    *,
    paths: int = 200,
    seed: int = 0,
    allow_frequency: bool = False,
) -> Forecast:
    """Forecast the rest of an order.

    Args:
        order: The order as its desk knows it, ``desk.order(label)``.
        bars: Bars of its symbol up to the last one that the desk has observed.
        policy: Who decides it.
        paths: Simulated paths.
        seed: Seed of the paths.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.

    Raises:
        OrderError: The order is over, or its first bar is not the coming one.
        BarsError: The history is too short to simulate from, or for the policy.
    """
    remaining = order.terms.max_periods - order.period
    if not order.is_active or remaining < 1:
        raise OrderError(
            f"order {order.order.label!r} is {order.status}: nothing is left to forecast", rule="active order"
        )
    own = bars.select([order.order.symbol])
    simulated = simulate_bars(own, remaining, paths=paths, seed=seed)
    if not order.period and order.terms.start != int(simulated.timestamp[0]):
        raise OrderError(
            f"order {order.order.label!r} starts at {moment(order.terms.start):%Y-%m-%d %H:%M} UTC, and the coming bar "
            f"at {moment(int(simulated.timestamp[0])):%Y-%m-%d %H:%M}: it is forecast from its first bar on",
            rule="begun order",
        )
    if order.period > len(own):
        raise BarsError("the history begins after the order", symbol=order.order.symbol, rule="history")
    past = len(own) - order.period  # flat index of the first bar of the order
    units, money, is_done = _played(order, own, policy, simulated, allow_frequency=allow_frequency)
    return _bands(order, own, past, simulated, units, money, is_done)


def _played(
    order: OrderState, own: Bars, policy: Policy, simulated: BarPaths, *, allow_frequency: bool
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Fills on every path: units and their money, [paths, periods], and whether the order completes, [paths]."""
    names = [f"path {number}" for number in range(len(simulated))]
    slots = own.grid.calendar.slots_per_session
    needed = (max(sessions_of(policy), SIZE_SESSIONS) + 1) * slots + MAX_LOOKBACK + lookback_of(policy) + order.period
    history = _copies(own.last(needed), names)
    start = int(own.timestamp[len(own) - order.period]) if order.period else int(simulated.timestamp[0])
    rows = [engine_order(Entry(name, order, start), name) | {"symbol": name} for name in names]
    begun: dict[Hashable, Begun] | None = {name: begun_of(order) for name in names} if order.period else None
    live = LiveOrders(
        policy,
        pd.DataFrame(rows),
        history,
        fills="reported",
        cap_ahead=True,
        allow_frequency=allow_frequency,
        begun=begun,
    )

    shape = simulated.close.shape
    units, money = np.zeros(shape), np.zeros(shape)
    left, carry = [order.left] * len(names), [order.carry] * len(names)
    price = np.full(len(names), float(own.close[-1]))
    for period in range(shape[1]):
        decided = live.decide()
        wish, finish = decided.fraction.tolist(), decided.finish.tolist()
        bar, fills = order.period + period, dict[Hashable, Filled]()
        for path, name in enumerate(names):
            if left[path] <= 0:
                continue
            vwap, volume = float(simulated.vwap[path, period]), float(simulated.volume[path, period])
            sized = _sized(order, bar, wish[path], left[path], carry[path], Decimal(repr(float(price[path]))))
            carry[path] = sized.carry
            quantity = held_inside(sized.quantity, order.order.max_participation, volume, order.order.lot_size)
            if not quantity or not volume:
                continue
            spent = quantity * Decimal(repr(vwap))
            used = min(spent, left[path]) if order.order.is_notional else quantity
            left[path] -= used
            takes_all = finish[path] or period + 1 == shape[1]
            if order.order.is_notional and takes_all and quantity == sized.quantity:
                left[path] = _ZERO  # spent to the lot: the price moved since the child order was sized
            fills[name] = Filled(float(used / order.order.amount), vwap)
            units[path, period], money[path, period] = float(quantity), float(spent)
        live.observe(_closed(simulated, period, names), fills=fills)
        price = simulated.close[:, period]
        if not any(each > 0 for each in left):
            break
    return units, money, np.array([each <= 0 for each in left])


def _sized(order: OrderState, bar: int, wish: float, left: Decimal, carry: Decimal, price: Decimal) -> Sized:
    """The child order that the desk would send."""
    wanted, cap = order.order, None
    if wanted.max_participation is not None:
        volume = order.expected[bar] if bar < len(order.expected) else 0.0
        cap = Decimal(repr(volume)) * Decimal(repr(wanted.max_participation))
    size = size_notional if wanted.is_notional else size_quantity
    return size(wish, wanted.amount, left, carry=carry, constraints=wanted.constraints, price=price, cap=cap)


def _copies(own: Bars, names: list[str]) -> Bars:
    """The bars of one symbol under many names."""
    frame = own.frame[["timestamp", "open", "high", "low", "close", "volume", "notional"]]
    table = pd.concat([frame] * len(names), ignore_index=True)
    table.insert(1, "symbol", np.repeat(names, len(frame)))
    calendar = own.grid.calendar.name
    return Bars.from_frame(table, calendar=calendar, frequency=pd.Timedelta(int(own.frequency.value), unit="ns"))


def _closed(simulated: BarPaths, period: int, names: list[str]) -> Mapping[str, Mapping[str, Any]]:
    """The bars of one moment, of all paths."""
    at = moment(int(simulated.timestamp[period]))
    columns = [
        getattr(simulated, name)[:, period].tolist() for name in ("open", "high", "low", "close", "volume", "vwap")
    ]
    return {
        name: {
            "timestamp": at,
            "open": opened,
            "high": max(high, opened, close),
            "low": min(low, opened, close),
            "close": close,
            "volume": volume,
            "notional": min(max(vwap, low), high) * volume,
        }
        for name, opened, high, low, close, volume, vwap in zip(names, *columns, strict=True)
    }


def _bands(
    order: OrderState,
    own: Bars,
    past: int,
    simulated: BarPaths,
    units: Floats,
    money: Floats,
    is_done: npt.NDArray[np.bool_],
) -> Forecast:
    """The bands of what was played."""
    amount = float(order.order.amount)
    used = money if order.order.is_notional else units
    traded = used / amount
    filled = np.minimum(float(order.used) / amount + np.cumsum(traded, axis=1), 1.0)
    last = np.where(traded > 0, np.arange(traded.shape[1]), -1).max(axis=1)
    # Money is spent to the lot, so what is complete may be a little less than all of it.
    filled[is_done[:, None] & (np.arange(traded.shape[1]) >= last[:, None])] = 1.0
    finish = finish_band(simulated.timestamp[np.maximum(last, 0)][is_done] + order.terms.step)
    slippage = slippage_of_paths(order, own, past, simulated, units, money, filled[:, -1])
    known = slippage[np.isfinite(slippage)]
    return Forecast(
        len(simulated),
        simulated.blocks,
        simulated.timestamp,
        tuple(Band.of(traded[:, period]) for period in range(traded.shape[1])),
        tuple(Band.of(filled[:, period]) for period in range(filled.shape[1])),
        finish,
        float(is_done.mean()),
        Band.of(known) if len(known) else Band(np.nan, np.nan, np.nan),
        order.order.benchmark.value,
    )


def slippage_of_paths(
    order: OrderState,
    own: Bars,
    past: int,
    simulated: BarPaths,
    units: Floats,
    money: Floats,
    filled: Floats,
) -> Floats:
    """Slippage of the whole order against its own benchmark on every path, in bps, [paths]; NaN where nothing fills.

    Args:
        order: The order.
        own: Bars of its symbol up to now.
        past: Row of its first bar among them.
        simulated: The bars to come.
        units: Units filled on each path in the bars to come, [paths, periods].
        money: Their money.
        filled: Part of the order that is filled in the end, [paths].
    """
    count = len(simulated)
    rows = np.arange(past, len(own))
    arrival = float(own.close[past - 1]) if past else float(own.open[0])
    price = np.concatenate([np.tile(own.vwap_at(rows), (count, 1)), simulated.vwap], axis=1) / arrival
    volume = np.concatenate([np.tile(own.volume[rows], (count, 1)), simulated.volume], axis=1)
    all_units, all_money = float(order.filled) + units.sum(1), float(order.spent) + money.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        executed = torch.from_numpy(np.where(all_units > 0, all_money / all_units, np.nan) / arrival)
    periods = np.arange(1, units.shape[1] + 1)
    used = np.where(units > 0, periods, 0).max(axis=1)
    used = np.where(used > 0, used + order.period, order.period)
    end = np.clip(np.maximum(used, order.terms.min_periods), 1, price.shape[1]) - 1
    market = OrderMarket(
        price=torch.from_numpy(price),
        volume=torch.from_numpy(volume),
        end=torch.from_numpy(end[:, None]),
        last=torch.full((count, 1), price.shape[1] - 1),
        is_notional=torch.full((count,), order.order.is_notional),
    )
    side = torch.tensor(1.0 if order.order.side.value == "buy" else -1.0, dtype=torch.float64)
    name = order.order.benchmark.value
    if name == "arrival":
        close = torch.from_numpy(simulated.close[:, -1] / arrival)
        one = torch.ones_like(close)
        return np.asarray(shortfall_bps(executed, torch.from_numpy(filled), close, one, side))
    reference = next(each for each in REFERENCE_PRICES if each.benchmark == name)
    return np.asarray(slippage_bps(executed, reference.price(market)[:, 0], side))
