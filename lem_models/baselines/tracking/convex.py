r"""The convex policy: the schedule is linear in features of the path, and its coefficients minimise a convex loss.

With ``W_s`` the fraction traded up to period ``s``, the policy trades toward

.. math:: W_s = schedule_s + \beta_s \cdot \phi_s,

``schedule`` the share of the expected volume, ``phi`` the features of
:mod:`lem_models.baselines.tracking.features`. The slippage is linear in ``W``
(:mod:`lem_models.baselines.tracking.slippage`) and therefore in ``beta``: the Huber loss of all orders is convex in it,
and reweighted least squares with a ridge find its one minimum in seconds (:mod:`lem_models.baselines.tracking.fit`).

The path of an order is no part of the features, so what was traded changes no target: a bar without volume, a cap or a
lot delays the order, and the next period catches up. Against the TWAP the pace is even, which is exact.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.baselines.registry import register_policy
from lem_models.baselines.tracking.backloaded_curve import toward
from lem_models.baselines.tracking.coefficients import FILE, Coefficients, shipped_coefficients
from lem_models.baselines.tracking.features import expected_share, market_context, order_features
from lem_models.baselines.tracking.fit import HUBER, fit_tracking
from lem_models.baselines.tracking.kinds import KINDS, kind_numbers
from lem_models.baselines.twap import TWAP
from lem_models.errors import ConfigError
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.features.causal import SUPPORT
from lem_models.features.market import Market
from lem_models.orders.rules import SIZE_SESSIONS

if TYPE_CHECKING:
    from typing_extensions import Self

    from lem_models.markets.bars import Bars
    from lem_models.markets.calendar.frequency import Moment

__all__ = ["ConvexPolicy"]


@register_policy("convex", file=FILE)
class ConvexPolicy(TWAP):
    """Tracks the VWAP by a schedule that is linear in features of the path; see the module.

    Orders against another benchmark than the TWAP are traded as against the VWAP. Flexible orders trade up to their
    maximum.

    Args:
        coefficients: Its coefficients; default those shipped for the kind of each symbol's bars.

    Example:
        >>> ConvexPolicy().frequencies is None
        True
    """

    lookback = SUPPORT
    sessions = SIZE_SESSIONS

    def __init__(self, coefficients: Coefficients | None = None) -> None:
        self.coefficients = coefficients
        self._by_kind: Sequence[Coefficients] = (
            shipped_coefficients() if coefficients is None else [coefficients] * len(KINDS)
        )
        if coefficients is not None:
            self.frequencies = (coefficients.frequency,)

    @classmethod
    def fit(
        cls,
        bars: Bars,
        *,
        train_end: Moment,
        validation_end: Moment | None = None,
        durations: Sequence[int] = (3, 6, 12, 24),
        huber: float = HUBER,
        orders: int = 70_000,
        seed: int = 0,
        progress: Callable[[str, int, int], None] = lambda text, done, steps: None,
    ) -> Self:
        """Fit the numbers to bars; arguments and errors are those of :func:`.fit.fit_tracking`."""
        coefficients = fit_tracking(
            bars,
            train_end=train_end,
            validation_end=validation_end,
            durations=durations,
            huber=huber,
            orders=orders,
            seed=seed,
            progress=progress,
        )
        return cls(coefficients)

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> Self:
        """Load the policy that :meth:`save` wrote into a folder.

        Raises:
            ConfigError: There is no ``convex.json``, it is damaged, or a value breaks a rule.
        """
        return cls(Coefficients.read(folder))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the coefficients as ``convex.json`` into a folder, whose name is then a name of the policy.

        Raises:
            ConfigError: The coefficients are the shipped ones, or the file cannot be written.
        """
        if self.coefficients is None:
            raise ConfigError("the shipped coefficients have the name 'convex'; fit some before you save them")
        return self.coefficients.write(folder)

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor:
        """Features of the market and the number of the kind of bars, [rows, features + 1]; the same for both sides."""
        return torch.cat([market_context(market, rows), kind_numbers(market, rows)], dim=1)

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """What is missing to the schedule and its correction."""
        assert context is not None
        kinds_and_durations = torch.stack([context[:, -1].round().long(), orders.max_periods], 1)
        distinct, which = torch.unique(kinds_and_durations, dim=0, return_inverse=True)
        rows = [self._by_kind[kind].at(state.period, periods) for kind, periods in distinct.tolist()]
        beta = torch.from_numpy(np.stack(rows, 1)).to(state.remaining)[:, which]
        traded = expected_share(orders, state)
        # One after the other: the sum of an order must not depend on how many orders there are.
        for coefficient, feature in zip(beta, order_features(context, orders, state), strict=True):
            traded = traded + coefficient * feature
        even = super().decide(context, orders, state)
        return Decision(torch.where(orders.is_twap, even.fraction, toward(traded, state)), finish=False)
