r"""Validation metrics that do not depend on how orders are spread over batches and processes.

Of every order come the utility and the improvement ``x`` in bar volatilities. Kept are, per minimum duration ``m``, the
number of orders ``n_m`` and the sums of ``x`` and ``x^2``. Those of batches and of processes add up, so mean and
standard deviation

.. math:: \bar x_m = \frac{\sum x}{n_m}, \qquad s_m^2 = \frac{\sum x^2 - n_m \bar x_m^2}{n_m - 1}

are those of all orders together; averages of the batches' deviations would not be.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

__all__ = ["ValidationScore"]


class ValidationScore(Metric):
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

    full_state_update = False
    utility: Tensor
    count: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, horizon: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.add_state("utility", torch.zeros((), dtype=dtype), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(horizon + 1, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("total", "squares"):
            self.add_state(name, torch.zeros(horizon + 1, dtype=dtype), dist_reduce_fx="sum")

    def update(self, utility: Tensor, improvement: Tensor, min_periods: Tensor) -> None:
        """Add orders.

        Args:
            utility: Utility of each order, [orders].
            improvement: Improvement in bar volatilities, [orders].
            min_periods: Minimum durations, int64 [orders].
        """
        x = improvement.to(self.total)
        self.utility += utility.to(self.utility).sum()
        self.count.index_add_(0, min_periods, torch.ones_like(min_periods))
        self.total.index_add_(0, min_periods, x)
        self.squares.index_add_(0, min_periods, x * x)

    def compute(self) -> dict[str, Tensor]:
        """Values by the names that they are logged under."""
        found = {"val_utility": self.utility / self.count.sum()}
        mean = self.total / self.count
        deviation = ((self.squares - self.count * mean**2).clamp(min=0) / (self.count - 1)).sqrt()
        for minimum in torch.nonzero(self.count).ravel().tolist():
            found[f"val/mean_min{minimum}"] = mean[minimum]
            found[f"val/std_min{minimum}"] = deviation[minimum]
        return found
