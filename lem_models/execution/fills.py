"""Fills as who trades reports them: what really filled of an order, and at what price.

A fill is a fraction of the order's amount: of its units for a quantity target, of its money for a notional target. What
remains of an order is ``1 - sum(fractions)``. Its average price follows the target: ``sum(w P) / sum(w)``, or
``sum(w) / sum(w / P)`` for a notional target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lem_models.errors import OrderError
from lem_models.execution.roll import dust
from lem_models.guard.text import shown

__all__ = ["Begun", "Filled", "checked_begun", "checked_fill"]

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
