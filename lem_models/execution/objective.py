r"""The training objective: randomised stopping with its exact expectation.

At each period a policy gives a probability ``p_s`` of finishing now. The objective is the expectation over the
finishing period,

.. math:: \sum_s p_s \prod_{r<s} (1 - p_r)\; u(x_s), \qquad u(x) = \frac{x - \lambda h(x)}{1 + \lambda},

where ``lambda`` is the order's risk aversion and ``x_s`` the improvement of finishing at ``s``, in bar volatilities and
net of costs. ``x_s`` is exact, caps included, because the finishing fills have a closed form. ``h(x)`` is ``x^2`` up to
10 bar volatilities and its tangent beyond: few orders lie there, but their squares would be most of the gradient's
noise. Every term is differentiable in the fractions and the probabilities: no soft masks, no sampling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.execution.records import MarketWindow, OrderBatch, Paths
from lem_models.execution.simulator import finishing_fills, settle

__all__ = ["deviation", "expected_utility", "finishing_probabilities", "utility"]

_CLAMP = 20.0
_QUADRATIC = 10.0


def utility(improvement: Tensor, risk_aversion: Tensor) -> Tensor:
    """Mean-variance utility ``(x - lambda h(x)) / (1 + lambda)``, ``x`` clamped to +-20 bar volatilities.

    Args:
        improvement: Improvement in bar volatilities, any shape.
        risk_aversion: ``lambda``, broadcast against it.
    """
    x = improvement.clamp(-_CLAMP, _CLAMP)
    inner = x.clamp(-_QUADRATIC, _QUADRATIC)
    risk = inner * inner + 2 * _QUADRATIC * (x.abs() - inner.abs())
    return (x - risk_aversion * risk) / (1 + risk_aversion)


def finishing_probabilities(finish: Tensor) -> Tensor:
    """Probability of finishing in each period, ``p_s prod_{r<s} (1 - p_r)``, [orders, periods]; rows sum to 1."""
    going = torch.cumprod(1 - finish, 1)
    return finish * torch.cat([torch.ones_like(going[:, :1]), going[:, :-1]], 1)


def expected_utility(paths: Paths, orders: OrderBatch, window: MarketWindow) -> Tensor:
    """Exact expected utility of each order, [orders], in bar volatilities.

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
    value = utility(x, orders.risk_aversion[:, None])
    return (finishing_probabilities(paths.finish) * value).sum(1)


def deviation(paths: Paths, orders: OrderBatch, window: MarketWindow) -> Tensor:
    """Improvement of orders that never finish early, net of costs, in bar volatilities, within +-20, [orders].

    Args:
        paths: Result of :func:`~lem_models.execution.simulator.simulate`.
        orders: The orders.
        window: Their market, every bar with volume.
    """
    outcome = settle(paths.fills[:, None], orders, window)
    return (outcome.improvement[:, 0] / window.volatility).clamp(-_CLAMP, _CLAMP)
