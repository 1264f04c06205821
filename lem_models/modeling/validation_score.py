"""Validation score: the same value however orders are spread over batches and processes.

Each order gives its utility and its improvement. The score keeps sums of both, of the improvement
by minimum duration (:class:`~lem_models.statistics.order_statistics.OrderStatistics`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lem_models.statistics.order_statistics import OrderStatistics

__all__ = ["ValidationScore"]


class ValidationScore(OrderStatistics):
    """Mean utility, and mean and standard deviation of the improvement by minimum duration.

    Args:
        horizon: Longest minimum duration in periods.
        dtype: Type of the sums.

    Example:
        >>> score = ValidationScore(horizon=2)
        >>> score.update(torch.tensor([0.5, 0.25]), torch.tensor([1.0, 3.0]), torch.tensor([2, 2]))
        >>> {name: round(value.item(), 3) for name, value in score.compute().items()}
        {'val_utility': 0.375, 'val/mean_min2': 2.0, 'val/std_min2': 1.414}
    """

    utility: Tensor

    def __init__(self, horizon: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__(groups=horizon + 1, dtype=dtype)
        self.add_state("utility", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")

    def update(self, utility: Tensor, improvement: Tensor, min_periods: Tensor) -> None:  # type: ignore[override]
        """Add orders.

        Args:
            utility: Utility of each order, [orders].
            improvement: Improvement, [orders].
            min_periods: Minimum durations, int64 [orders].
        """
        self.utility += utility.to(self.utility).sum()
        super().update(improvement, group=min_periods)

    def compute(self) -> dict[str, Tensor]:
        """Values by the names that they are logged under."""
        values = {"val_utility": self.utility / self.count.sum()}
        mean, deviation = self.mean, self.std
        for minimum in torch.nonzero(self.count).ravel().tolist():
            values[f"val/mean_min{minimum}"] = mean[minimum]
            values[f"val/std_min{minimum}"] = deviation[minimum]
        return values
