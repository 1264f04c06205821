r"""The constant back-loaded curve: least-squares tracking of the VWAP without a forecast.

On a martingale the slippage is ``sum_k e_k (R_k - U_k)``, with ``e_k`` the price step after bar ``k``, ``R_k`` the
fraction left of the order and ``U_k`` the share of the volume left. The best constant schedule is

.. math:: R_k = \frac{E[e_k^2\, U_k]}{E[e_k^2]}.

Volume comes when prices move and stays for a while, so where a step counts more volume is left than usual: the curve is
later than the volume. It is fitted by least squares of the slippage itself, as an even pace with corrections at up to
11 shares of each duration (:mod:`lem_models.baselines.tracking.coefficients`). Against the TWAP ``U_k`` is known, and
its best schedule is the even pace.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.baselines.tracking.coefficients import Coefficients, shipped_coefficients
from lem_models.baselines.tracking.kinds import KINDS, kind_numbers
from lem_models.baselines.twap import TWAP
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.features.market import Market

__all__ = ["BackloadedCurve", "toward"]


@register_policy("backloaded_curve")
class BackloadedCurve(TWAP):
    """The same back-loaded curve for all orders of a duration; the even pace against the TWAP.

    Orders against another benchmark are traded as against the VWAP. Flexible orders trade up to their maximum.

    Args:
        coefficients: Numbers with the curve; default those shipped for the kind of each symbol's bars.

    Example:
        >>> BackloadedCurve().lookback
        1
    """

    def __init__(self, coefficients: Coefficients | None = None) -> None:
        self._by_kind: Sequence[Coefficients] = (
            shipped_coefficients() if coefficients is None else [coefficients] * len(KINDS)
        )

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor:
        """Number of the kind of each bar, [rows, 1]."""
        return kind_numbers(market, rows)

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """What is missing to the curve."""
        assert context is not None
        kinds_and_durations = torch.stack([context[:, 0].round().long(), orders.max_periods], 1)
        distinct, which = torch.unique(kinds_and_durations, dim=0, return_inverse=True)
        curves = [self._by_kind[kind].curve_at(state.period, periods) for kind, periods in distinct.tolist()]
        traded = torch.tensor(curves, dtype=torch.float64).to(state.remaining)[which]
        even = super().decide(context, orders, state)
        return Decision(torch.where(orders.is_twap, even.fraction, toward(traded, state)), finish=False)


def toward(traded: Tensor, state: ExecutionState) -> Tensor:
    """Feasible fraction that comes closest to a fraction traded so far and in this period together, [orders]."""
    missing = traded - (1 - state.remaining)
    return torch.minimum(torch.maximum(missing, state.lower), state.upper)
