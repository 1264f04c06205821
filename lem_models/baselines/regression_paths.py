r"""The paths of a regression, and how orders go on along them: :mod:`lem_models.baselines.longstaff_schwartz`.

A regression rolls the same orders along the same paths many times, each time with another decision in one period. The
market is the same in all of them, so what a decision reads of it is computed once. What is left are the rules of
:class:`~lem_models.execution.roll.Roll` for orders without lots, limits of participation or minimum rates, which
:meth:`RegressionPaths.until_finished` has in the same order of operations: tests compare both.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lem_models.baselines.path_basis import fills_term, market_terms, polynomials
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, Paths
from lem_models.execution.roll import Roll, dust

__all__ = ["Advice", "RegressionPaths", "benchmark_pace", "paced"]

Advice = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""From basis functions [24, orders] and a period: the multiple of the benchmark's pace, and what finishing is worth."""

_LARGEST = 0.9  # part of what is left that may be traded without finishing
_FEW = 0.5  # part of the rolled orders that must go on; with fewer, those that have finished are dropped


def benchmark_pace(orders: OrderBatch, state: ExecutionState) -> Tensor:
    """This period's share of the benchmark weight expected from now to the maximum, [orders]."""
    expected = state.expected_volume[:, state.period :]
    share = expected[:, 0] / expected.sum(1).clamp(min=1e-12)
    even = 1.0 / (orders.max_periods - state.period).clamp(min=1).to(share)
    return torch.where(orders.has_benchmark("vwap", "full_vwap"), share, even)


def paced(remaining: Tensor, pace: Tensor, ratio: Tensor | float) -> Tensor:
    """Fraction to trade: what is left times a multiple of the pace, [orders].

    A part is always kept, and with it the option to finish later.
    """
    return remaining * (pace * ratio).clamp(max=_LARGEST)


class _Wandering(Policy):
    """Given paces, [orders, periods]: orders arrive in each period with all kinds of fills."""

    def __init__(self, pace: Tensor) -> None:
        self._pace = pace

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """See the class."""
        fraction = paced(state.remaining, benchmark_pace(orders, state), self._pace[:, state.period])
        return Decision(fraction, False)


class RegressionPaths:
    """Orders of one kind along paths of the market, as they arrive in every period with all kinds of fills.

    Args:
        orders: The orders: one maximum duration and one cap, no lots, no limits of participation, no minimum rate.
            Their minimum durations are not read.
        window: Their market.
        seed: Seed of the fills.

    Attributes:
        window: Their market.
        arrived: What they did, were they never to finish. The capacities hold for every policy.
    """

    def __init__(self, orders: OrderBatch, window: MarketWindow, seed: int) -> None:
        self.window = window
        count, periods = window.price.shape
        generator = torch.Generator().manual_seed(seed)
        # Each path has a pace of its own, with noise in every period.
        pace = 2 * torch.rand((count, 1), generator=generator, dtype=torch.float64)
        pace = pace + 0.5 * (torch.rand((count, periods), generator=generator, dtype=torch.float64) - 0.5)
        self._side, self._cap = orders.side, float(orders.max_rate[0])
        columns = (values.t().contiguous().unbind(0) for values in (window.price, window.close, window.volume))
        bars = list(zip(*columns, strict=True))
        self._price, self._close = [bar[0] for bar in bars], [bar[1] for bar in bars]
        self._terms: list[tuple[Tensor, Tensor, Tensor]] = []  # z, h and the pace of each period
        self._arrivals: list[tuple[Tensor, Tensor, Tensor]] = []  # left, executed price, and sum of fills times prices
        roll, wandering, weighted = Roll.of(orders, window), _Wandering(pace), torch.zeros_like(window.volatility)
        for price, close, volume in bars:
            state = roll.state()
            self._terms.append((*market_terms(orders, state), benchmark_pace(orders, state)))
            self._arrivals.append((state.remaining, state.executed_price, weighted))
            roll.decide(wandering)
            roll.book(price, close, volume)
            weighted = weighted + roll.fills[-1] * price
        self.arrived = roll.paths()
        # None where every bar trades: no order then asks for more than its cap.
        trades = bool((window.volume > 0).all())
        self._capacity = None if trades else self.arrived.capacity.t().contiguous().unbind(0)

    def basis(self, period: int) -> Tensor:
        """Basis functions of the orders as they arrive in a period, [24, orders]."""
        remaining, executed, _ = self._arrivals[period]
        close = self._close[period - 1] if period else torch.ones_like(remaining)
        return self._basis(period, slice(None), 1 - remaining, executed, close, self._side, self.window.volatility)

    def _basis(
        self,
        period: int,
        rows: Tensor | slice,
        filled: Tensor,
        executed: Tensor,
        close: Tensor,
        side: Tensor,
        volatility: Tensor,
    ) -> Tensor:
        z, h, _ = self._terms[period]
        g = fills_term(filled, side, executed, close, volatility * math.sqrt(period + 1))
        return polynomials(z[rows], g, h[rows], filled)

    def until_finished(
        self, first: int, basis: Tensor, minimum: int, advice: Advice, own: float | None
    ) -> tuple[Paths, Tensor]:
        """Roll the orders on, each until it finishes; in the first period none does, unless it must.

        Args:
            first: Period from which they are rolled.
            basis: Their basis functions there, of :meth:`basis`.
            minimum: Their minimum duration.
            advice: Decides each period.
            own: Multiple of the pace in the first period; ``None`` for what is advised.

        Returns:
            The paths, which hold nothing but capacities after the end of an order, and the period of finishing,
            [orders].
        """
        count, periods = self.arrived.fills.shape
        tiny, cap = dust(basis.dtype), self._cap
        fills, left = self.arrived.fills.clone(), self.arrived.remaining.clone()
        end = torch.full((count,), periods - 1)
        remaining, executed, weighted = self._arrivals[first]
        close, side, volatility = self._close[first - 1], self._side, self.window.volatility
        rows: Tensor | slice = slice(None)  # of the orders that are still rolled
        for s in range(first, periods):
            if s > first:
                basis = self._basis(s, rows, 1 - remaining, executed, close, side, volatility)
            ratio, advantage = advice(basis, s)
            fraction = paced(remaining, self._terms[s][2][rows], own if s == first and own is not None else ratio)
            # What the rules allow: Roll, for such orders.
            upper = remaining.clamp(max=cap)
            lower = (remaining - cap * (periods - 1 - s)).clamp(min=0)
            lower = torch.minimum(torch.threshold(lower, tiny, 0.0), upper)
            fill = torch.minimum(torch.maximum(fraction, lower), upper)
            if self._capacity is not None:
                fill = torch.minimum(fill, self._capacity[s][rows])
            going = None
            if s + 1 >= periods:
                going = torch.zeros(0, dtype=torch.int64)
            elif s > first and s + 1 >= minimum:
                finishes = (advantage > 0) & (remaining > 0)
                ended = end[rows]
                end[rows] = ended = torch.where(finishes, ended.clamp(max=s), ended)
                going = torch.nonzero(ended > s)[:, 0]
            left[rows, s], fills[rows, s] = remaining, fill
            remaining = torch.threshold(remaining - fill, tiny, 0.0)
            price, close = self._price[s][rows], self._close[s][rows]
            weighted = weighted + fill * price
            filled = 1 - remaining
            executed = torch.where(filled > tiny, weighted / filled, close)
            if going is None:
                continue
            if not len(going):
                break
            if len(going) < _FEW * len(remaining):
                rows = going if isinstance(rows, slice) else rows[going]
                remaining, executed, weighted = remaining[going], executed[going], weighted[going]
                close, side, volatility = close[going], side[going], volatility[going]
        return Paths(fills, left, self.arrived.finish, self.arrived.capacity), end
