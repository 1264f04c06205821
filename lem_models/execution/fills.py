"""Fills as who trades reports them: what really filled of an order, and at what price.

A fill is a fraction of the order's amount: of its units for a quantity target, of its money for a notional target. What
remains of an order is ``1 - sum(fractions)``. Its average price follows the target: ``sum(w P) / sum(w)``, or
``sum(w) / sum(w / P)`` for a notional target.

Here are the checks of what is reported, and its booking; :mod:`lem_models.execution.live` says when.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lem_models.errors import OrderError
from lem_models.execution.costs import CostModel
from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.execution.roll import Roll, dust
from lem_models.execution.simulator import average_prices
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.live_bars import ClosedBar

__all__ = [
    "Begun",
    "Filled",
    "Reported",
    "book_bars",
    "check_closed",
    "check_elapsed",
    "checked_begun",
    "checked_fill",
    "elapsed_fills",
    "paid_prices",
    "refused",
]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]

_DUST = dust(torch.float64)


class Filled(NamedTuple):
    """What filled of an order in a bar.

    Attributes:
        fraction: Fraction of the order's amount; negative where more of an earlier fill was busted than filled.
        price: Average price in the unit of the bars, positive; for a notional target money over quantity.
    """

    fraction: float
    price: float


@dataclass(frozen=True)
class Begun:
    """What filled in each elapsed period of an order that is under way.

    Attributes:
        fractions: As :attr:`Filled.fraction`, one for each bar since the order's start, as they were reported: a fill
            that came late counts in the period with which it was reported.
        prices: As :attr:`Filled.price`; any number or NaN where nothing filled.
    """

    fractions: Sequence[float]
    prices: Sequence[float]


@dataclass(frozen=True)
class Reported:
    """Fills of all orders by their numbers.

    Attributes:
        is_given: Whether something was reported, bool [orders].
        fraction: What filled, [orders].
        price: Its average price, [orders]; 1 where nothing was reported.
    """

    is_given: Booleans
    fraction: Floats
    price: Floats

    @classmethod
    def none(cls, count: int) -> Reported:
        """Nothing has filled."""
        return cls(np.zeros(count, dtype=bool), np.zeros(count), np.ones(count))

    @classmethod
    def checked(
        cls,
        fills: Mapping[Hashable, Filled],
        number_of: Callable[[Hashable], int],
        label_of: Callable[[int], Hashable],
        done: Booleans,
        remaining: Floats,
    ) -> Reported:
        """Fills by the numbers of their orders.

        Args:
            fills: What was reported, by the labels of the orders.
            number_of: Number of an order by its label; an :class:`OrderError` where there is none.
            label_of: Label of an order by its number.
            done: Orders that are done, bool [orders].
            remaining: What remains of each order, [orders].

        Raises:
            OrderError: When a fill is of no order under way, or impossible.
        """
        reported = cls.none(len(done))
        for label, filled in fills.items():
            number = number_of(label)
            if done[number]:
                problem = "the order is done; to go on with it, drop it and add it again with what has begun"
                raise refused(label_of(number), problem, "order under way")
            try:
                checked_fill(filled, float(remaining[number]))
            except OrderError as error:
                raise error.at(number, label) from None
            reported.is_given[number] = True
            reported.fraction[number], reported.price[number] = filled.fraction, filled.price
        return reported

    def of(self, orders: Integers, arrival_price: Tensor) -> tuple[Tensor, Tensor]:
        """Fractions of some orders, and prices over their arrival prices; [orders] each.

        Args:
            orders: Their numbers, int64 [orders].
            arrival_price: Their arrival prices, [orders].
        """
        fraction, price = (torch.from_numpy(values[orders]) for values in (self.fraction, self.price))
        return fraction, price / arrival_price


# -- checks ----------------------------------------------------------------------------------------------------------


def refused(label: Hashable, problem: str, rule: str) -> OrderError:
    """The error of a fill of an order."""
    return OrderError(f"the fill of the order is refused: {problem}", rule=rule, order_id=label)


def checked_fill(filled: object, remaining: float) -> None:
    """Refuse a fill that cannot be.

    Args:
        filled: The fill.
        remaining: What remained of the order before it.

    Raises:
        OrderError: It is no :class:`Filled`, its numbers are not finite, its price is not positive, more filled than
            remained, or more was busted than had filled.
    """
    if not isinstance(filled, Filled):
        raise OrderError(f"a fill is Filled(fraction, price); got {shown(filled)}", rule="fill")
    _check(_number(filled.fraction, "fraction"), _number(filled.price, "price"), remaining)


def checked_begun(begun: object, max_periods: int) -> npt.NDArray[np.float64]:
    """Fractions and prices of elapsed periods, [periods, 2]; the price is 1 where nothing filled.

    Raises:
        OrderError: They are no :class:`Begun`, are not as many of each, are more than the order has periods, or one of
            them is no possible fill (:func:`checked_fill`).
    """
    if not isinstance(begun, Begun):
        raise OrderError(f"what has begun is Begun(fractions, prices); got {shown(begun)}", rule="fill")
    fractions = [_number(each, "fraction") for each in begun.fractions]
    prices = [_number(each, "price") for each in begun.prices]
    if len(fractions) != len(prices):
        raise OrderError(
            f"begun has {len(fractions)} fractions and {len(prices)} prices; it has one of each for every elapsed "
            "period, NaN prices where nothing filled",
            rule="fill",
        )
    if len(fractions) > max_periods:
        raise OrderError(
            f"{len(fractions)} periods have elapsed of an order that has {max_periods}: it is over",
            field="max_periods",
            rule="order under way",
        )
    remaining = 1.0
    for period, (fraction, price) in enumerate(zip(fractions, prices, strict=True)):
        try:
            _check(fraction, price, remaining)
        except OrderError as error:
            raise OrderError(f"period {period}: {error.message}", rule=error.rule) from None
        remaining -= fraction
    table = np.array([fractions, prices], dtype=np.float64).reshape(2, -1).T.copy()
    table[table[:, 0] == 0, 1] = 1.0
    return table


def elapsed_fills(table: pd.DataFrame, begun: Mapping[Hashable, Begun]) -> list[Floats]:
    """Fractions and prices of the elapsed periods of each order of a table, [periods, 2] each.

    Args:
        table: The orders, complete.
        begun: What filled in their elapsed periods, by ``order_id``; orders without an entry start now.

    Raises:
        OrderError: When a label is not in the table, or the fills of an order cannot be (:func:`checked_begun`).
    """
    labels = table["order_id"].tolist()
    known = set(labels)
    for label in begun:
        if label not in known:
            raise OrderError(
                f"begun names order_id {shown(label)}, which is not among the orders that are added",
                field="order_id",
                rule="known order",
            )
    elapsed = []
    for row, (label, maximum) in enumerate(zip(labels, table["max_periods"].tolist(), strict=True)):
        try:
            elapsed.append(checked_begun(begun[label], int(maximum)) if label in begun else np.empty((0, 2)))
        except OrderError as error:
            raise error.at(row, label) from None
    return elapsed


def check_elapsed(own: Bars, number: int, start: int, count: int) -> None:
    """Refuse an order that began at another time than its fills say.

    Args:
        own: Closed bars.
        number: Number of its symbol in them.
        start: Its start, nanoseconds UTC.
        count: Its elapsed periods.

    Raises:
        OrderError: When no bar starts then, or another number of bars has closed since.
    """
    low, high = int(own.offsets[number]), int(own.offsets[number + 1])
    first = low + int(np.searchsorted(own.timestamp[low:high], start))
    if first == high or own.timestamp[first] != start:
        raise OrderError(
            f"{count} periods of the order have elapsed, and the history of {own.symbols[number]} holds no bar that "
            f"starts at {moment(start):%Y-%m-%d %H:%M} UTC, where the order does",
            field="start",
            rule="history of what has begun",
        )
    if high - first != count:
        raise OrderError(
            f"{count} periods of the order have elapsed, and the history of {own.symbols[number]} holds {high - first} "
            "bars from its start on: give the fills of each of them, zeros where nothing filled",
            rule="history of what has begun",
        )


def check_closed(
    orders: Integers,
    symbols: npt.NDArray[np.object_],
    has_ended: Booleans,
    closed: Container[str],
    label_of: Callable[[int], Hashable],
) -> None:
    """Refuse fills of orders that no bar has closed for.

    Args:
        orders: Numbers of the orders with fills, int64 [orders].
        symbols: Symbol of each.
        has_ended: Orders whose session ended before they began, bool [orders].
        closed: Symbols whose bars have closed.
        label_of: Label of an order by its number.

    Raises:
        OrderError: When there is one.
    """
    for number, symbol, ended in zip(orders.tolist(), symbols.tolist(), has_ended.tolist(), strict=True):
        if symbol not in closed:
            problem = f"there is no bar of {symbol} here; fills of its earlier bars go to report()"
            raise refused(label_of(number), problem, "closed bars")
        if ended:
            raise refused(label_of(number), "the session ended before the order began", "closed bars")


# -- booking ---------------------------------------------------------------------------------------------------------


def book_bars(roll: Roll, window: MarketWindow, bars: Sequence[ClosedBar], filled: tuple[Tensor, ...] = ()) -> None:
    """Fill what was decided, or reported, in the bars that have closed.

    Args:
        roll: The orders under way.
        window: Their market.
        bars: The bar of each, [orders].
        filled: Fractions that really filled and their prices (:meth:`Reported.of`); default what was decided.
    """
    numbers = [[bar.vwap, bar.close, bar.volume] for bar in bars]
    price, close, volume = torch.tensor(numbers, dtype=torch.float64).unbind(1)
    roll.book(price / window.arrival_price, close / window.arrival_price, volume / window.volume_unit, *filled)


def paid_prices(
    roll: Roll, orders: OrderBatch, window: MarketWindow, costs: CostModel | None, *, is_reported: bool
) -> tuple[Tensor, Tensor]:
    """Average prices of what has filled, before costs and with them, [orders] each.

    Args:
        roll: The orders under way, one period booked at least.
        orders: The orders.
        window: Their market, with its costs if it has any.
        costs: What trading costs.
        is_reported: Whether the fills were reported: their prices hold spread and impact, so only fees are added.
    """
    if is_reported:
        fee = 0.0 if costs is None else costs.fee_bps / 1e4
        average = roll.executed_price * window.arrival_price
        return average, average * (1 + orders.side * fee)
    fills = torch.stack(roll.fills, 1)[:, None]
    # What has closed so far, priced like a whole execution; the closes play no part in it.
    seen = replace(window, price=roll.prices, close=roll.prices, volume=roll.volumes)
    executed, net = average_prices(fills, fills.sum(-1), orders, seen)
    return executed[:, 0] * window.arrival_price, net[:, 0] * window.arrival_price


def _number(value: Any, name: str) -> float:  # noqa: ANN401
    """A number of a fill as a float."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise OrderError(f"the {name} of a fill is a number; got {shown(value)}", rule="fill") from None


def _check(fraction: float, price: float, remaining: float) -> None:
    """Refuse a fill of one bar that cannot be."""
    if not math.isfinite(fraction):
        raise OrderError(f"the fraction of a fill is finite; got {fraction}", rule="fill")
    if fraction == 0:
        return
    if not 0 < price < math.inf:
        raise OrderError(f"the price of a fill is finite and positive; got {price}", rule="positive price")
    after = remaining - fraction
    if after < -_DUST:
        raise OrderError(
            f"{fraction:.12g} of the order filled where {remaining:.12g} of it remained: an over-fill of {-after:.6g} "
            "is not part of the order",
            rule="over-fill",
        )
    if after > 1 + _DUST:
        raise OrderError(
            f"{-fraction:.12g} of the order was busted where {1 - remaining:.12g} of it had filled", rule="busted fill"
        )
