r"""The training objective: randomised stopping with its exact expectation.

At each period a policy gives a probability ``p_s`` of finishing now. The objective is the expectation over the
finishing period,

.. math:: \sum_s p_s \prod_{r<s} (1 - p_r)\; u(x_s), \qquad u(x) = \frac{x - \lambda h(x)}{1 + \lambda},

where ``lambda`` is the order's risk aversion and ``x_s`` the improvement of finishing at ``s``, net of costs, in
volatilities of a twelfth of the order's maximum duration: bar volatilities for 12 periods. So a risk aversion means the
same for an hour and for a session. ``x_s`` is exact, caps included, because the finishing fills have a closed form.
``h(x)`` is ``x^2`` up to 1 of these volatilities and its tangent beyond (Huber, Annals of Mathematical Statistics 35,
1964): with squares all the way the few orders of a day's news decide, and the typical order is badly served. Every
term is differentiable in the fractions and the probabilities: no soft masks, no sampling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.execution.records import MarketWindow, OrderBatch, Paths
from lem_models.execution.simulator import finishing_fills, settle

__all__ = [
    "CLIP",
    "HUBER",
    "deviation",
    "expected_utility",
    "finishing_probabilities",
    "imitation_loss",
    "scaled",
    "utility",
]

HUBER = 1.0
"""Improvement, in the unit of the utility, up to which its risk is a square."""

CLIP = 2.0
"""Where improvements and errors are clipped before their deviations are compared: a few orders would decide them."""

_CLAMP = 20.0
_UNIT = 12  # parts of the maximum duration whose volatility is the unit


def utility(improvement: Tensor, risk_aversion: Tensor, max_periods: Tensor) -> Tensor:
    """Mean-variance utility ``(x - lambda h(x)) / (1 + lambda)``, ``x`` clamped to +-20; see the module.

    Args:
        improvement: Improvement in bar volatilities, any shape.
        risk_aversion: ``lambda``, broadcast against it.
        max_periods: Maximum duration in periods, broadcast against it.
    """
    x = scaled(improvement, max_periods).clamp(-_CLAMP, _CLAMP)
    inner = x.clamp(-HUBER, HUBER)
    risk = inner * inner + 2 * HUBER * (x.abs() - inner.abs())
    return (x - risk_aversion * risk) / (1 + risk_aversion)


def scaled(improvement: Tensor, max_periods: Tensor) -> Tensor:
    """Improvement in the unit of the utility, the volatility of a twelfth of the order's maximum duration.

    Args:
        improvement: Improvement in bar volatilities, any shape.
        max_periods: Maximum duration in periods, broadcast against it.
    """
    return improvement / torch.sqrt(max_periods.to(improvement) / _UNIT)


def finishing_probabilities(finish: Tensor) -> Tensor:
    """Probability of finishing in each period, ``p_s prod_{r<s} (1 - p_r)``, [orders, periods]; rows sum to 1."""
    going = torch.cumprod(1 - finish, 1)
    return finish * torch.cat([torch.ones_like(going[:, :1]), going[:, :-1]], 1)


def expected_utility(paths: Paths, orders: OrderBatch, window: MarketWindow) -> Tensor:
    """Exact expected utility of each order, [orders].

    Args:
        paths: Result of :func:`~lem_models.execution.simulator.simulate`.
        orders: The orders.
        window: Their market, every bar with volume. With a :class:`~lem_models.execution.records.CostlyWindow` the
            utility is net of costs.
    """
    count, periods = paths.fills.shape
    every = torch.arange(periods, device=paths.fills.device).expand(count, periods)
    outcome = settle(finishing_fills(paths, every), orders, window)
    x = outcome.improvement / window.volatility[:, None]
    # Periods after the maximum have probability 0; their fills are those of the last period.
    value = utility(x, orders.risk_aversion[:, None], orders.max_periods[:, None])
    return (finishing_probabilities(paths.finish) * value).sum(1)


def imitation_loss(paths: Paths, orders: OrderBatch, taught: Tensor) -> Tensor:
    r"""Utility that each order loses by another schedule than a teacher's, were the teacher's the best, [orders].

    On a martingale whose steps ``e_k`` have one variance, the slippage of a schedule ``W`` against a benchmark differs
    from that of the best one ``W*`` by ``sum_k e_k (W_k - W*_k)``, in expectation of the square by the sum of squares.
    So the loss of utility is, with ``n`` the maximum duration, in the unit of :func:`utility`,

    .. math:: \frac{\lambda}{1 + \lambda}\, \frac{12}{n} \sum_k (W_k - W^*_k)^2.

    It has the same minimum as the risk itself, and a gradient without the noise of the prices that followed.

    Args:
        paths: Paths of orders of a fixed duration, against a benchmark that does not depend on their fills.
        orders: The orders.
        taught: Fraction that the teacher has traded up to and including each period, [orders, periods]; NaN where it
            teaches nothing, as for an order of a flexible end.
    """
    known = torch.isfinite(taught)
    traded = torch.cumsum(paths.fills[:, : taught.shape[1]], 1)
    distance = torch.where(known, traded - torch.nan_to_num(taught), 0.0).square().sum(1)
    risk_aversion, periods = orders.risk_aversion, orders.max_periods.to(distance)
    return risk_aversion / (1 + risk_aversion) * _UNIT / periods * distance


def deviation(paths: Paths, orders: OrderBatch, window: MarketWindow) -> Tensor:
    """Improvement of orders that never finish early, net of costs, in bar volatilities, within +-20, [orders].

    Args:
        paths: Result of :func:`~lem_models.execution.simulator.simulate`.
        orders: The orders.
        window: Their market, every bar with volume.
    """
    outcome = settle(paths.fills[:, None], orders, window)
    return (outcome.improvement[:, 0] / window.volatility).clamp(-_CLAMP, _CLAMP)
