r"""Almgren and Chriss (2000), "Optimal execution of portfolio transactions", against any benchmark.

With ``R_k`` the fraction left after period ``k`` and ``w_k = R_{k-1} - R_k`` the fraction traded in it, an order that
trades a bar of expected volume ``v_k`` (mean 1) moves its price by ``eta w_k / v_k``: temporary impact, linear in the
participation. For a martingale of volatility 1 per period the slippage against the benchmark is
``sum_k e_k (R_k - U_k)``, where ``e_k`` is the price step after period ``k`` and ``U_k`` the share of the benchmark's
weight that is left then. The schedule minimises expected impact plus risk aversion times variance,

.. math:: \eta \sum_k \frac{w_k^2}{v_k} + \lambda \sum_k (R_k - U_k)^2, \qquad R_{n-1} = 0.

``U`` is the share of the expected volume for ``vwap`` and ``full_vwap`` (what has traded counts as it is), the share of
the periods for ``twap`` and 0 for ``arrival``, the case of the paper. The derivative by ``R_k`` is tridiagonal,

.. math:: \Big( \frac{\eta}{v_k} + \frac{\eta}{v_{k+1}} + \lambda \Big) R_k - \frac{\eta}{v_k} R_{k-1}
    - \frac{\eta}{v_{k+1}} R_{k+1} = \lambda U_k,

and elimination from the end leaves ``R_k = a_k R_{k-1} + b_k``. It is solved before every period over what is left of
the order. Where the volume is as expected this goes on with the schedule of the start.

For ``arrival`` with flat volumes ``R`` is the paper's ``sinh(kappa (n - 1 - k)) / sinh(kappa n)``, with
``2 (cosh kappa - 1) = lambda / eta``. Without risk aversion, and with large impact, it is the volume curve. With
little impact it is the benchmark's own weights, or everything at once for ``arrival``.

The simulator's prices have no impact, and the policy does not know the size of an order, so ``eta`` is a setting.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.errors import ConfigError
from lem_models.execution.objective import scaled
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, OrderBatch

__all__ = ["AlmgrenChriss", "optimal_remaining", "weight_left"]

_LEAST = 1e-9  # of the volume expected in a period: it divides


def weight_left(orders: OrderBatch, state: ExecutionState) -> Tensor:
    """Share of the benchmark's weight that is left after each period to come, ``U`` in the module.

    Returns:
        [orders, periods from ``state.period`` on]; 0 after the last period of an order.
    """
    ahead = state.expected_volume[:, state.period :]
    left = ahead.sum(1, keepdim=True) - ahead.cumsum(1)
    by_volume = left / (state.volumes.sum(1, keepdim=True) + ahead.sum(1, keepdim=True)).clamp(min=_LEAST)
    passed = torch.arange(state.period, state.expected_volume.shape[1], device=ahead.device) + 1
    by_time = 1 - passed.to(ahead) / orders.max_periods[:, None]
    share = torch.where(orders.is_twap[:, None], by_time, by_volume).clamp(min=0)
    return torch.where(orders.has_benchmark("arrival")[:, None], 0.0, share)


def optimal_remaining(remaining: Tensor, volume: Tensor, weight: Tensor, ratio: Tensor, periods: Tensor) -> Tensor:
    """Fraction that the optimal schedule leaves after the first period to come, [orders].

    Args:
        remaining: Fraction left before it, [orders].
        volume: Expected volumes ``v`` of the periods to come, positive, [orders, periods].
        weight: ``U`` after each of them, [orders, periods].
        ratio: Risk aversion over impact, ``lambda / eta``, [orders].
        periods: Periods left of each order, int64 [orders].

    Example:
        Flat volumes and no risk aversion: an even pace.

        >>> one = torch.ones(1)
        >>> optimal_remaining(one, torch.ones(1, 4), torch.zeros(1, 4), 0 * one, torch.tensor([4]))
        tensor([0.7500])
    """
    inverse = 1 / volume
    slope = offset = torch.zeros_like(remaining)
    for k in reversed(range(volume.shape[1] - 1)):
        pivot = inverse[:, k] + inverse[:, k + 1] * (1 - slope) + ratio
        is_last = k + 1 >= periods  # nothing is left after the last period of an order
        offset = torch.where(is_last, 0.0, (ratio * weight[:, k] + inverse[:, k + 1] * offset) / pivot)
        slope = torch.where(is_last, 0.0, inverse[:, k] / pivot)
    return slope * remaining + offset


@register_policy("almgren_chriss")
class AlmgrenChriss(Policy):
    """The schedule of least impact and risk against the order's own benchmark, up to the maximum duration.

    The risk aversion of an order is that of the package's utility, ``x - lambda x^2`` with ``x`` in volatilities of a
    twelfth of the maximum duration (:func:`~lem_models.execution.objective.utility`).

    Args:
        impact: ``eta``: move of the price, in bar volatilities, when the whole order is traded in one period of average
            volume.
        risk_aversion: Default for orders that name none.

    Raises:
        ConfigError: The impact is not positive.
    """

    def __init__(self, *, impact: float = 5.0, risk_aversion: float = 0.5) -> None:
        if not impact > 0:
            raise ConfigError(f"impact must be positive; got {impact!r}")
        self.impact, self.risk_aversion = impact, risk_aversion

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """``remaining`` minus what the schedule leaves."""
        left = optimal_remaining(
            state.remaining,
            state.expected_volume[:, state.period :].clamp(min=_LEAST),
            weight_left(orders, state),
            scaled(orders.risk_aversion, orders.max_periods) / self.impact,
            orders.max_periods - state.period,
        )
        return Decision(fraction=state.remaining - left, finish=False)
