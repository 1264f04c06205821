r"""Almgren and Chriss (2000), "Optimal execution of portfolio transactions": the schedule for the arrival price.

With volatility ``sigma`` per period, temporary impact ``eta`` (the price moves by ``eta`` times the fraction of the
order traded in a period) and risk aversion ``lambda``, expected cost plus ``lambda`` times its variance is least for

.. math:: x_j = \frac{\sinh(\kappa (n - j))}{\sinh(\kappa n)}, \qquad
    2 (\cosh \kappa - 1) = \tilde\kappa^2 = \frac{\lambda \sigma^2}{\eta},

``x_j`` the fraction left after period ``j`` (periods of length 1). Without risk aversion or
with large impact it is the even pace, with little impact everything is traded at once. It is time-consistent: from any
fraction left the same formula over what is left of the time gives the same schedule.

The schedule minimises risk against the arrival price. Against an order's VWAP it is a baseline that shows the cost of
trading early. The simulator's prices have no impact, so ``eta`` is a setting.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.errors import ConfigError
from lem_models.execution.policy import Policy
from lem_models.execution.records import Decision, ExecutionState, OrderBatch

__all__ = ["AlmgrenChriss", "remaining_share"]


def remaining_share(kappa: Tensor, left: Tensor) -> Tensor:
    """Fraction of what is left that stays after this period, ``sinh(kappa (m - 1)) / sinh(kappa m)``.

    Args:
        kappa: At least 0, any shape.
        left: Periods left, this one included, at least 1; broadcast against it.

    Example:
        >>> remaining_share(torch.tensor([0.0, 1e-9, 40.0]), torch.tensor(4)).round(decimals=6).tolist()
        [0.75, 0.75, 0.0]
    """
    # exp(-kappa) (1 - exp(-2 kappa (m - 1))) / (1 - exp(-2 kappa m)): no overflow.
    safe = torch.where(kappa > 1e-6, kappa, 1.0)
    share = torch.exp(-safe) * torch.expm1(-2 * safe * (left - 1)) / torch.expm1(-2 * safe * left)
    return torch.where(kappa > 1e-6, share, (left - 1) / left)


@register_policy("almgren_chriss")
class AlmgrenChriss(Policy):
    """The sinh schedule up to the maximum duration.

    The risk aversion of an order is that of the package's utility, ``x - lambda x^2`` with ``x`` in bar volatilities;
    in these units ``sigma`` is 1 and ``kappa~^2 = lambda / impact``.

    Args:
        impact: ``eta``: move of the price, in bar volatilities, when the whole order is traded in one period.
        risk_aversion: Default for orders that name none.
    """

    def __init__(self, *, impact: float = 5.0, risk_aversion: float = 0.5) -> None:
        if not impact > 0:
            raise ConfigError(f"impact must be positive; got {impact!r}")
        self.impact, self.risk_aversion = impact, risk_aversion

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """``remaining`` times what does not stay."""
        kappa = torch.acosh(1 + orders.risk_aversion / self.impact / 2)
        left = (orders.max_periods - state.period).clamp(min=1).to(kappa)
        return Decision(fraction=state.remaining * (1 - remaining_share(kappa, left)), finish=False)
