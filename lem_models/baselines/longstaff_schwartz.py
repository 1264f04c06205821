r"""Optimal stopping and trading by regression: least-squares Monte Carlo on paths of the market.

A flexible order is an American option: when the order ends, so does its benchmark. As in Longstaff and Schwartz (2001,
"Valuing American options by simulation: a simple least-squares approach"), the regressions go back in time over the
periods. The decisions of all later periods are known, and period ``s`` compares, path by path,

.. math:: \Delta_s = u(x^{\text{finish at } s}) - u(x^{\text{go on}}), \qquad E[\Delta_s \mid F_{s-1}] \approx
    \beta_s \cdot \phi(\text{state}_s),

``x`` is the realised improvement in bar volatilities and ``u`` the utility of :mod:`lem_models.execution.objective`
(risk-neutral at risk aversion 0, else mean-variance). The policy finishes where the regression is positive. As in the
original, realised payoffs are regressed and not fitted values, so that errors do not add up over the periods.

The fraction traded before finishing is decided in the same way (regression Monte Carlo with randomised controls,
Kharroubi, Langrené, Pham 2014). Every path is continued with three paces, and the pace to take is where the parabola
through their three regressed utilities is highest. On a martingale only the *variance* of the improvement depends on
the pace: to first order every adapted schedule executes at the arrival price in expectation. A risk-neutral order
therefore takes the pace of least variance among those of equal mean (:data:`PACE_RISK_AVERSION`).

All fills, caps and benchmarks in the fit are those of the simulator. :class:`LongstaffSchwartzNet` takes improvements
net of each order's own impact: finishing trades the rest in one bar, which the square-root law makes dear for a large
order. Half-spread and fees are the same for every schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lem_models.baselines.path_basis import path_basis
from lem_models.baselines.registry import register_policy
from lem_models.baselines.regression_paths import RegressionPaths, benchmark_pace, paced
from lem_models.execution.costs import CostModel
from lem_models.execution.objective import utility
from lem_models.execution.policy import Policy
from lem_models.execution.records import (
    BENCHMARKS,
    CostlyWindow,
    Decision,
    ExecutionState,
    MarketWindow,
    OrderBatch,
    Paths,
)
from lem_models.execution.result import first_bars
from lem_models.execution.simulator import finishing_fills, settle
from lem_models.features.market import MAX_LOOKBACK, Market
from lem_models.markets.bars import Bars, BarsLike
from lem_models.orders import Order

__all__ = ["PACE_RISK_AVERSION", "LongstaffSchwartz", "LongstaffSchwartzNet", "OrderKind", "martingale_window"]

PACE_RISK_AVERSION = 0.1
"""Risk aversion of the pace of orders that are less risk-averse."""

_PACES = (0.0, 1.0, 2.5)  # multiples of the benchmark's own pace
_KNOTS = 16  # periods with a regression of their own; in longer orders neighbours share one
_RIDGE = 1e-5
_KEPT_CELLS = 500_000  # paths times periods that are kept for the next kind of order: 100 MB
_VOLATILITY = 0.01  # of simulated bars; everything is in its units
_INTRABAR = 12  # trades of a simulated bar

Process = Literal["bar", "path"]


@dataclass(frozen=True)
class OrderKind:
    """Orders that share their regressions.

    Attributes:
        max_periods: Maximum duration.
        min_periods: Minimum duration.
        needed: Periods that the whole order takes at its cap.
        benchmark: The benchmark.
        risk_aversion: Weight of the squared improvement, on the grid of :func:`_on_grid`.
        process: What the simulated prices are; see :func:`martingale_window`.
        impact: Of the orders, on the grid of :func:`_impact_on_grid`; see
            :class:`~lem_models.execution.records.OrderBatch`.
    """

    max_periods: int
    min_periods: int
    needed: int
    benchmark: str
    risk_aversion: float
    process: Process
    impact: float = 0.0

    def orders(self, count: int) -> OrderBatch:
        """So many orders of the kind, buys and sells in turn."""
        one = torch.ones(count, dtype=torch.float64)
        return OrderBatch(
            side=torch.where(torch.arange(count) % 2 == 0, one, -one),
            benchmark=torch.full((count,), BENCHMARKS.index(self.benchmark)),
            is_notional=torch.zeros(count, dtype=torch.bool),
            min_periods=torch.full((count,), self.min_periods),
            max_periods=torch.full((count,), self.max_periods),
            min_rate=0 * one,
            max_rate=one / self.needed,
            risk_aversion=one * self.risk_aversion,
            lot=0 * one,
            participation=torch.full((count,), math.inf, dtype=torch.float64),
            impact=one * self.impact,
        )


def martingale_window(process: Process, periods: int, count: int, seed: int, volume_std: float = 0.6) -> MarketWindow:
    """Simulated paths of a market without anything to forecast.

    Args:
        process: ``"bar"``: the bars' prices are a log-normal martingale with 1 % a bar, volumes independent.
            ``"path"``: so are the trades inside the bars, the price of a bar is their mean, and log volumes have
            autocorrelation 0.7.
        periods: Periods of each path.
        count: Number of paths.
        seed: Seed of the paths.
        volume_std: Standard deviation of log volume.

    Returns:
        The paths, expected volumes flat.
    """
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, periods))
    if process == "path":
        for s in range(1, periods):
            noise[:, s] = 0.7 * noise[:, s - 1] + math.sqrt(1 - 0.7**2) * noise[:, s]
    volume = np.exp(volume_std * noise - volume_std**2 / 2)
    trades = 1 if process == "bar" else _INTRABAR
    # The variance of returns of bar means: each step enters with the part of the two bars that lies after it.
    late = np.arange(1, trades + 1) / trades
    step = _VOLATILITY / math.sqrt(float((late**2).sum() + ((1 - late) ** 2).sum()))
    log_price = np.cumsum(step * rng.standard_normal((count, periods * trades)) - step**2 / 2, axis=1)
    trade = np.exp(log_price).reshape(count, periods, trades)
    arrays = {
        "price": trade.mean(axis=2),
        "close": trade[:, :, -1],
        "volume": volume,
        "expected_volume": np.ones((count, periods)),
        "volatility": np.full(count, _VOLATILITY),
        "arrival_price": np.ones(count),
        "volume_unit": np.ones(count),
        "horizon_volume": np.full(count, float(periods)),
    }
    return MarketWindow(**{name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()})


class _Plan:
    """Regressions of one kind of order, period by period."""

    def __init__(self, periods: int) -> None:
        count = min(periods, _KNOTS)
        self.knots = sorted({round(i * (periods - 1) / max(count - 1, 1)) for i in range(count)})
        self._nearest = [min(self.knots, key=lambda knot, s=s: abs(knot - s)) for s in range(periods)]  # type: ignore[misc]
        self.finish: dict[int, Tensor] = {}
        self.pace: dict[int, Tensor] = {}

    def at(
        self, basis: Tensor, period: int, product: Callable[[Tensor, Tensor], Tensor] = torch.matmul
    ) -> tuple[Tensor, Tensor]:
        """Multiple of the benchmark's pace, and what finishing now is worth above going on, [orders] each.

        Args:
            basis: Basis functions, [functions, orders].
            period: The period.
            product: Product of coefficients [regressions, functions] and basis, [regressions, orders].
        """
        knot = self._nearest[min(period, len(self._nearest) - 1)]
        nothing = torch.zeros_like(basis[0])
        pace, finish = self.pace.get(knot), self.finish.get(knot)
        if pace is None:
            return nothing + 1, nothing - 1
        slow, fast, *advantage = product(pace if finish is None else torch.cat([pace, finish]), basis)
        return _top(slow, fast), advantage[0] if advantage else nothing - 1

    def take(self, other: _Plan, first: int) -> None:
        """Take over the regressions of another plan from a period on."""
        for mine, theirs in ((self.pace, other.pace), (self.finish, other.finish)):
            mine |= {knot: coefficients for knot, coefficients in theirs.items() if knot >= first}


def _by_row(coefficients: Tensor, basis: Tensor) -> Tensor:
    """Product of both, each column alone: a matrix product may round an order differently among others."""
    product = coefficients[:, :1] * basis[0]
    for place in range(1, len(basis)):
        product += coefficients[:, place : place + 1] * basis[place]
    return product


def _top(slow: Tensor, fast: Tensor) -> Tensor:
    """Pace at which the parabola through the utilities of the three paces is highest; those of the middle one are 0."""
    low, middle, high = _PACES
    a, b = low - middle, high - middle
    curvature = (slow / a - fast / b) / (a - b)
    slope = slow / a - curvature * a
    has_top = curvature < 0
    inner = middle - slope / (2 * torch.where(has_top, curvature, -1.0))
    edge = torch.where(slow > fast, low, high).to(slow)
    return torch.where(has_top, inner, edge).clamp(low, high)


def _fit(kind: OrderKind, paths: RegressionPaths, plan: _Plan) -> None:
    """Add the regressions that a plan lacks, from the last period back to the first, on some paths."""
    window, count = paths.window, len(paths.window.volatility)
    orders = kind.orders(count)
    cautious = torch.full((count,), max(kind.risk_aversion, PACE_RISK_AVERSION), dtype=torch.float64)

    def improvement(rolled: Paths, chosen: Tensor) -> Tensor:
        outcome = settle(finishing_fills(rolled, chosen[:, None]), orders, window)
        return torch.nan_to_num(outcome.improvement[:, 0] / window.volatility)

    for s in reversed(plan.knots):
        if s + 1 >= kind.max_periods or s in plan.pace:
            continue  # the last period trades the rest: there is no decision
        basis = paths.basis(s)

        def rolled(pace: float | None, s: int = s, basis: Tensor = basis) -> tuple[Paths, Tensor]:
            return paths.until_finished(s, basis, kind.min_periods, plan.at, pace)

        slow, middle, fast = (utility(improvement(*rolled(pace)), cautious, orders.max_periods) for pace in _PACES)
        plan.pace[s] = _regress(basis, torch.stack([slow - middle, fast - middle]))
        if s + 1 >= kind.min_periods:
            going, end = rolled(None)
            ends = torch.full((count,), s), end
            now, later = (utility(improvement(going, end), orders.risk_aversion, orders.max_periods) for end in ends)
            plan.finish[s] = _regress(basis, (now - later)[None])


def _regress(basis: Tensor, values: Tensor) -> Tensor:
    """Coefficients [regressions, functions] of values [regressions, orders] by least squares.

    There is a small ridge, for what the paths do not determine.
    """
    gram = basis @ basis.T / basis.shape[1]
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    moments = basis @ values.T / basis.shape[1]
    solved: Tensor = torch.linalg.solve(gram, moments)
    return solved.T


def _on_grid(risk_aversion: float) -> float:
    """Nearest risk aversion that has regressions: 0 or ``0.05 * 2^k``."""
    if risk_aversion < 0.02:
        return 0.0
    return 0.05 * 2.0 ** min(max(round(math.log2(risk_aversion / 0.05)), 0), 10)


def _each_on_grid(values: Tensor, on_grid: Callable[[float], float]) -> Tensor:
    """Every value on a grid, [orders]."""
    some, which = torch.unique(values, return_inverse=True)
    return torch.tensor([on_grid(value) for value in some.tolist()], dtype=torch.float64)[which]


def _impact_on_grid(impact: float) -> float:
    """Nearest impact that has regressions: 0 or ``2^(k / 2)``, in bar volatilities."""
    return 0.0 if impact < 0.01 else 2.0 ** (min(max(round(2 * math.log2(impact)), -12), 12) / 2)


@register_policy("longstaff_schwartz")
class LongstaffSchwartz(Policy):
    """Finishes when finishing is worth more than going on; see the module.

    The first order of a new kind (minimum, maximum, cap, benchmark, risk aversion) computes its regressions, in about a
    second; they are kept. By default the paths are simulated martingales. The policy then needs no data, and it earns
    the value of the option and no forecast. Bars whose close is their own VWAP get the regressions of prices that jump
    from bar to bar, other bars those of prices that move inside the bars. :meth:`fit` takes the paths from history.

    Args:
        paths: Paths of a regression.
        seed: Seed of the simulated paths.
        risk_aversion: Default for orders that name none: 0 is risk-neutral.

    Example:
        >>> LongstaffSchwartz().risk_aversion
        0.0
    """

    def __init__(self, *, paths: int = 8192, seed: int = 0, risk_aversion: float = 0.0) -> None:
        self.paths, self.seed, self.risk_aversion = paths, seed, risk_aversion
        self._history: Callable[[int], MarketWindow] | None = None
        self._plans: dict[OrderKind, _Plan] = {}
        self._kept: tuple[OrderKind, RegressionPaths] | None = None

    @classmethod
    def fit(cls, bars: BarsLike, *, paths: int = 8192, seed: int = 0, risk_aversion: float = 0.0) -> LongstaffSchwartz:
        """The policy with regressions on historical paths instead of simulated ones.

        Args:
            bars: Training period, all of it before the orders that the policy will be judged on.
            paths: Paths of a regression, drawn at random from all gapless stretches with 256 bars of history.
            seed: Seed of the draw.
            risk_aversion: Default for orders that name none.

        Returns:
            A new policy.
        """
        bars = Bars.of(bars)
        policy = cls(paths=paths, seed=seed, risk_aversion=risk_aversion)
        market = Market(bars)

        def window(periods: int) -> MarketWindow:
            table = Order.sample(
                bars, every=1, side="buy", max_periods=periods, lookback=MAX_LOOKBACK, limit=paths, seed=seed
            )
            return MarketWindow.of(market, first_bars(bars, table), table["max_periods"].to_numpy(), periods)

        policy._history = window
        return policy

    @torch.no_grad()
    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """The pace and the stopping of the regressions of each kind of order."""
        basis = path_basis(orders, state)
        ratio, finish = torch.ones_like(state.remaining), torch.zeros_like(state.remaining, dtype=torch.bool)
        for kind, rows in self._kinds(orders, state):
            if kind not in self._plans:
                self._plans[kind] = self._fitted(kind)
            own, advantage = self._plans[kind].at(basis[:, rows], state.period, _by_row)
            ratio[rows], finish[rows] = own, advantage > 0
        return Decision(fraction=paced(state.remaining, benchmark_pace(orders, state), ratio), finish=finish)

    def _fitted(self, kind: OrderKind) -> _Plan:
        plan = _Plan(kind.max_periods)
        # Once an order may end, its minimum plays no role any more: such regressions serve every minimum.
        for other, fitted in self._plans.items():
            if replace(other, min_periods=kind.min_periods) == kind:
                plan.take(fitted, max(kind.min_periods, other.min_periods) - 1)
        _fit(kind, self._regression_paths(kind), plan)
        return plan

    def _regression_paths(self, kind: OrderKind) -> RegressionPaths:
        """Paths for a kind of order; the last ones are kept, because they serve other minima and risk aversions."""
        key = replace(kind, min_periods=1, risk_aversion=0.0)
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        if self._history is not None:
            window = self._history(kind.max_periods)
        else:
            window = martingale_window(kind.process, kind.max_periods, self.paths, self.seed)
        orders = kind.orders(len(window.volatility))
        if kind.impact:
            nothing = torch.zeros_like(window.volatility)
            window = CostlyWindow(**vars(window), flat_cost=nothing, impact=window.volatility, size=orders.impact**2)
        paths = RegressionPaths(orders, window, self.seed)
        self._kept = (key, paths) if window.price.numel() <= _KEPT_CELLS else None
        return paths

    def _kinds(self, orders: OrderBatch, state: ExecutionState) -> list[tuple[OrderKind, Tensor]]:
        """The kinds of the orders under way, and the rows of each."""
        live = (state.period < orders.max_periods) & (state.remaining > 0)
        # Before the first period there is no bar to look at; only the first pace depends on it.
        inside = (state.last_close / state.last_price - 1).abs() > 1e-9
        if state.period == 0 or self._history is not None:
            inside = torch.ones_like(live)
        needed = torch.ceil(1 / orders.max_rate - 1e-6)
        columns = (
            *(orders.max_periods, orders.min_periods, needed, orders.benchmark),
            _each_on_grid(orders.risk_aversion, _on_grid),
            inside,
            _each_on_grid(orders.impact, _impact_on_grid) if self.reads_size else torch.zeros_like(orders.impact),
        )
        table = torch.stack([column.to(torch.float64) for column in columns], 1)
        rows = torch.nonzero(live)[:, 0]
        kinds, which = torch.unique(table[rows], dim=0, return_inverse=True)
        return [
            (
                OrderKind(int(n), int(m), int(c), BENCHMARKS[int(place)], risk, "path" if path else "bar", impact),
                rows[which == i],
            )
            for i, (n, m, c, place, risk, path, impact) in enumerate(kinds.tolist())
        ]


@register_policy("longstaff_schwartz_net")
class LongstaffSchwartzNet(LongstaffSchwartz):
    """Longstaff-Schwartz net of costs: with the impact of each order's own size in its regressions.

    Orders without a size are those of :class:`LongstaffSchwartz`. Where an execution names no costs, the impact is that
    of the package's cost models. Arguments as there.

    Example:
        >>> LongstaffSchwartzNet().reads_size
        True
    """

    reads_size = True
    assumed_costs = CostModel(impact=0.8)
