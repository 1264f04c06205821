r"""The constant back-loaded curve: least-squares tracking of the VWAP without a forecast.

On a martingale the slippage is ``sum_k e_k (R_k - U_k)``, with ``e_k`` the price step after bar ``k``, ``R_k`` the
fraction left of the order and ``U_k`` the share of the volume left. The best constant schedule is

.. math:: R_k = \frac{E[e_k^2\, U_k]}{E[e_k^2]}.

Volume comes when prices move and stays for a while. Weighted by ``e_k^2``, the j-th bar after the step trades
``1 + tilt * persistence^j`` times the usual volume and the bars before it the usual one. So with ``m = n - 1 - k`` bars
left of ``n``

.. math:: R_k = \frac{A_m}{n - m + A_m}, \quad A_m = m + tilt \, \frac{1 - persistence^m}{1 - persistence}:

two numbers serve every duration. Against the TWAP ``U_k`` is known, and its best schedule is the even pace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.baselines.tracking.kinds import KINDS, kind_numbers
from lem_models.baselines.tracking.slippage import LinearSlippage
from lem_models.baselines.twap import TWAP
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.features.market import Market

__all__ = ["CURVES", "BackloadedCurve", "Curve", "fit_curve", "toward"]


class Curve(NamedTuple):
    """A curve for every duration; see the module.

    Attributes:
        tilt: Volume of the bar that a price step leads into, above the usual one.
        persistence: Part of it that the next bar keeps, from 0 to below 1.
    """

    tilt: float
    persistence: float

    def traded(self, period: int, periods: Tensor) -> Tensor:
        """Fraction traded up to and including a period of orders of some durations, [orders]."""
        left = (periods - 1 - period).clamp(min=0).to(torch.float64)
        after = left + self.tilt * (1 - self.persistence**left) / (1 - self.persistence)
        return 1 - after / (period + 1 + after)


CURVES: Mapping[str, Curve] = {name: Curve(0.0, 0.0) for name in KINDS}
"""Fitted curves by kind of bars, from the training periods (``benchmarks/convex.py --ship``)."""


@register_policy("backloaded_curve")
class BackloadedCurve(TWAP):
    """The same back-loaded curve for all orders of a duration; the even pace against the TWAP.

    Orders against another benchmark are traded as against the VWAP. Flexible orders trade up to their maximum.

    Args:
        curve: The curve; default that of the kind of bars.

    Example:
        >>> BackloadedCurve(curve=Curve(2.0, 0.5)).curve.traded(5, torch.tensor([12]))
        tensor([0.3765], dtype=torch.float64)
    """

    def __init__(self, *, curve: Curve | None = None) -> None:
        self.curve = curve

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor:
        """Number of the kind of each bar, [rows, 1]."""
        return kind_numbers(market, rows)

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """What is missing to the curve."""
        assert context is not None
        curves = list(CURVES.values()) if self.curve is None else [self.curve] * len(KINDS)
        kind = context[:, 0].round().long()
        traded = torch.zeros_like(kind, dtype=torch.float64)
        for number in sorted(set(kind.tolist())):
            traded = torch.where(kind == number, curves[number].traded(state.period, orders.max_periods), traded)
        even = super().decide(context, orders, state)
        return Decision(torch.where(orders.is_twap, even.fraction, toward(traded, state)), finish=False)


def toward(traded: Tensor, state: ExecutionState) -> Tensor:
    """Feasible fraction that comes closest to a fraction traded so far and in this period together, [orders]."""
    missing = traded.to(state.remaining) - (1 - state.remaining)
    return torch.minimum(torch.maximum(missing, state.lower), state.upper)


def fit_curve(slippages: Mapping[int, LinearSlippage]) -> Curve:
    """The curve with the least mean squared slippage, the mean over durations of its ratio to that of the even pace.

    Args:
        slippages: Slippage of the orders of each duration.
    """
    forms = {}
    for periods, (last, steps) in slippages.items():
        square = steps.t() @ steps / len(last), steps.t() @ last / len(last), last.square().mean()
        forms[periods] = (*square, _mean_square((torch.arange(1, periods) / periods).to(steps), *square))
    free = torch.tensor([0.0, 0.0], dtype=torch.float64, requires_grad=True)  # log tilt, logit of the persistence
    optimiser = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        tilt, persistence = free[0].exp(), torch.sigmoid(free[1])
        total = torch.zeros((), dtype=torch.float64)
        for periods, (quadratic, linear, constant, even) in forms.items():
            curve = Curve(tilt, persistence)  # type: ignore[arg-type]  # tensors with gradients
            traded = torch.stack([curve.traded(s, torch.tensor(periods)) for s in range(periods - 1)])
            total = total + _mean_square(traded, quadratic, linear, constant) / even
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    tilt, logit = free.tolist()
    return Curve(math.exp(tilt), 1 / (1 + math.exp(-logit)))


def _mean_square(traded: Tensor, quadratic: Tensor, linear: Tensor, constant: Tensor) -> Tensor:
    """Mean squared slippage of a schedule, from the moments of the steps."""
    return traded @ quadratic @ traded + 2 * traded @ linear + constant
