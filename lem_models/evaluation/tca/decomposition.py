r"""Slippage by cause: an exact decomposition of what an order paid against its benchmark.

Let bar ``k`` have the VWAP ``P_k``, and the order fill ``q_k`` units in it for the money ``m_k``, ``Q = sum_k q_k``
units and ``M = sum_k m_k`` in all. A benchmark is a price ``B = sum_k u_k P_k`` whose weights ``u_k`` sum to 1: shares
of the volume (VWAP), equal ones (TWAP), or all of it on arrival. With the filled shares ``w_k = q_k / Q``, the wanted
shares ``a_k`` (what a policy or trader asked for in bar ``k`` over all that was asked for), the fees ``F`` and the side
``s`` (buy +1, sell -1) the cost against the benchmark is

.. math:: s (M - Q B) + F
    = \underbrace{s Q \sum_k (a_k - u_k) P_k}_{\text{timing}}
    + \underbrace{s Q \sum_k (w_k - a_k) P_k}_{\text{sizing}}
    + \underbrace{s \sum_k (m_k - q_k P_k)}_{\text{price within the bar}}
    + \underbrace{F}_{\text{fees}} .

The identity holds because ``Q w_k = q_k``: timing and sizing add up to ``s Q (sum_k w_k P_k - B)``, and the price
within the bar replaces the bar's price by the one that was paid. Nothing is estimated and nothing is left over.

- *Timing* is the schedule: when the order wanted to trade, at the bars' own prices. Against a VWAP it is the decision
  cost that Almgren and Chriss (2000) trade off against impact.
- *Sizing* is what the market or the broker did to this schedule: fills that came later than asked for. Without known
  wishes ``a_k = w_k``, and sizing is a part of timing.
- *Price within the bar* is the price of the fills against that of all trades of the same bar: half-spread, impact and
  the skill of the router (Kissell 2013, chapter 3). Own fills are in the VWAP, so large orders understate it.
- *Opportunity* joins the sum where the benchmark is the arrival price: the units that were never filled at the last
  close of the horizon, ``s (paper - Q) (L - A)``. The sum is then the implementation shortfall of Perold (1988).

In bps all are over one base: ``Q B``, or ``paper * A`` against arrival.

Sources: Perold, "The implementation shortfall: paper versus reality", J. Portfolio Management 14 (1988); Almgren and
Chriss, "Optimal execution of portfolio transactions", J. Risk 3 (2000); Kissell, "The Science of Algorithmic Trading
and Portfolio Management", 2013, chapter 3.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

__all__ = ["CAUSES", "Causes", "Cells", "decompose"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CAUSES = ("timing", "sizing", "price", "fees", "opportunity")
"""The causes, in the order of tables; they add up to the total."""


@dataclass(frozen=True)
class Cells:
    """The bars of orders, one order after the other: a *cell* is a bar of an order.

    Attributes:
        order: Row of the order of each cell, ascending, [cells].
        period: Period of each cell in its order, from 0, [cells].
        price: VWAP of the bar, the close where nothing traded, [cells].
        volume: Volume of the bar, [cells].
        units: Units that the order filled in it, [cells].
        money: Money of these fills, [cells].
        fees: Their fees, [cells].
        wanted: Units that were wanted in it, [cells]; ``None`` if that is not known.
        orders: Number of orders; each has at least one cell.
    """

    order: Integers
    period: Integers
    price: Floats
    volume: Floats
    units: Floats
    money: Floats
    fees: Floats
    wanted: Floats | None
    orders: int

    def total(self, values: Floats) -> Floats:
        """Sum over the cells of each order, [orders]."""
        return np.bincount(self.order, values, self.orders).astype(np.float64)

    def mean_price(self, weights: Floats) -> Floats:
        """Average price by weights [cells], [orders]; NaN where all weights of an order are 0."""
        total = self.total(weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.total(weights * self.price) / np.where(total > 0, total, np.nan))


@dataclass(frozen=True)
class Causes:
    """Slippage of orders by cause, in money, positive = cost, each [orders]; NaN where nothing filled.

    Attributes:
        timing: Schedule against the weights of the benchmark.
        sizing: Fills against what was wanted, over bars.
        price: Fills against the VWAP of their bar.
        fees: Fees.
        opportunity: Units that were not filled; 0 unless the benchmark is the arrival price.
    """

    timing: Floats
    sizing: Floats
    price: Floats
    fees: Floats
    opportunity: Floats

    @property
    def total(self) -> Floats:
        """Their sum, [orders]."""
        return np.asarray(sum(getattr(self, each.name) for each in fields(self)))

    @property
    def gross(self) -> Floats:
        """Their sum without fees, [orders]."""
        return np.asarray(self.timing + self.sizing + self.price + self.opportunity)


def decompose(cells: Cells, side: Floats, benchmark: Floats, opportunity: Floats) -> Causes:
    """Slippage against a benchmark by cause.

    Args:
        cells: The bars of the orders.
        side: +1 buy, -1 sell, [orders].
        benchmark: Price of the benchmark, [orders].
        opportunity: Cost of what was not filled, where it belongs to the slippage, [orders].

    Returns:
        The causes; :attr:`Causes.total` is ``side * (money - units * benchmark) + fees + opportunity``, up to rounding.

    Example:
        Two bars at 10 and 12 of equal volume. Bought: 3 units in the first at 10.1, 1 unit in the second at 12.

        >>> two = np.array([10.0, 12.0])
        >>> cells = Cells(np.zeros(2, int), np.arange(2), two, np.ones(2), np.array([3.0, 1.0]),
        ...               np.array([30.3, 12.0]), np.array([0.1, 0.0]), None, 1)
        >>> causes = decompose(cells, np.ones(1), np.array([11.0]), np.zeros(1))
        >>> causes.timing.round(6), causes.price.round(6), causes.total.round(6)
        (array([-2.]), array([0.3]), array([-1.6]))
    """
    filled, fees = cells.total(cells.units), cells.total(cells.fees)
    at_bars = cells.total(cells.units * cells.price)
    price = side * (cells.total(cells.money) - at_bars)
    wanted_price = np.full(cells.orders, np.nan) if cells.wanted is None else cells.mean_price(cells.wanted)
    nothing = filled <= 0
    schedule = side * (at_bars - filled * benchmark)
    # Where nobody knows what was wanted, it was what filled.
    timing = np.where(np.isnan(wanted_price), schedule, side * filled * (wanted_price - benchmark))
    unknown = np.where(nothing & (opportunity == 0), np.nan, 0.0)

    def known(cause: Floats) -> Floats:
        return np.where(nothing, 0.0, cause) + unknown

    return Causes(known(timing), known(schedule - timing), known(price), known(fees), opportunity + unknown)
