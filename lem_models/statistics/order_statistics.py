r"""Statistics of one number per order as a torchmetric: the same value however orders are spread over batches.

Kept are sums: of ``1``, ``x``, ``x^2``, of the orders that did better than their benchmark (``x < 0``, beyond
rounding), of the weights ``w`` and of ``w x``. The sums of batches and of processes add up, so that

.. math::
    \bar x = \frac{\sum x}{n}, \qquad s^2 = \frac{\sum x^2 - n \bar x^2}{n - 1}, \qquad
    \bar x_w = \frac{\sum w x}{\sum w}

are those of all orders together. Averages of the batches' deviations would not be.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lem_models.statistics.summary import ROUNDING_BPS

__all__ = ["OrderStatistics"]


class OrderStatistics(Metric):
    """Statistics of one number per order, positive = cost.

    Args:
        groups: Number of groups that statistics are kept of.
        dtype: Type of the sums; float32 where a device has no float64.
        **settings: Of :class:`torchmetrics.Metric`.

    Example:
        >>> statistics = OrderStatistics()
        >>> statistics.update(torch.tensor([1.0, -3.0, float("nan")]), torch.tensor([3.0, 1.0, 1.0]))
        >>> {name: round(value.item(), 3) for name, value in statistics.compute().items()}
        {'orders': 2, 'mean': -1.0, 'std': 2.828, 'better': 0.5, 'weighted_mean': 0.0}
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    squares: Tensor
    below: Tensor
    weight: Tensor
    weighted: Tensor

    def __init__(self, groups: int = 1, dtype: torch.dtype = torch.float64, **settings: Any) -> None:
        super().__init__(**settings)
        for name in ("count", "below"):
            self.add_state(name, torch.zeros(groups, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("total", "squares", "weight", "weighted"):
            self.add_state(name, torch.zeros(groups, dtype=dtype), dist_reduce_fx="sum")

    def update(self, values: Tensor, weight: Tensor | None = None, group: Tensor | None = None) -> None:
        """Add orders.

        Args:
            values: One number per order, [orders]; orders whose number is NaN are left out.
            weight: Weights for the weighted mean, [orders]; default: equal.
            group: Group of each order, int64 [orders]; default: the first.
        """
        x = values.to(self.total)
        known = ~torch.isnan(x)
        x = torch.where(known, x, 0.0)
        w = torch.where(known, torch.ones_like(x) if weight is None else weight.to(x), 0.0)
        index = torch.zeros_like(known, dtype=torch.int64) if group is None else group.to(known.device)
        self.count.index_add_(0, index, known.to(torch.int64))
        self.below.index_add_(0, index, (x < -ROUNDING_BPS).to(torch.int64))
        for state, term in ((self.total, x), (self.squares, x * x), (self.weight, w), (self.weighted, w * x)):
            state.index_add_(0, index, term)

    @property
    def mean(self) -> Tensor:
        """Mean of each group, [groups]; NaN without orders."""
        return self.total / self.count

    @property
    def std(self) -> Tensor:
        """Standard deviation of each group, [groups]; NaN with fewer than two orders."""
        return ((self.squares - self.count * self.mean**2).clamp(min=0) / (self.count - 1)).sqrt()

    def compute(self) -> dict[str, Tensor]:
        """``orders``, ``mean``, ``std``, ``better`` (share below 0) and ``weighted_mean`` of the first group."""
        statistics = {
            "orders": self.count,
            "mean": self.mean,
            "std": self.std,
            "better": self.below.to(self.total) / self.count,
            "weighted_mean": self.weighted / self.weight,
        }
        return {name: values[0] for name, values in statistics.items()}
