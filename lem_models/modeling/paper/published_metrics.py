r"""The ten metrics of the LEM paper, as published, for any number of batches and processes.

With ``d = price / benchmark - 1`` per minimum, branch and target, over the minima before the fixed duration ("early"),
and ``base = twap / vwap - 1`` over all periods:

    {side}_{benchmark}_avg_imp   = mean of -100 d (buy) or 100 d (sell), early
    {side}_vwap_avg_risk         = 100 (mean relu(+-d) / mean relu(+-base) - 1), early; + for buy, - for sell
    {side}_twap_avg_risk         = 100 mean |100 d|, early
    unsigned_vwap_avg_risk       = 100 (mean |d| / mean |base| - 1), fixed duration, both sides
    unsigned_twap_avg_risk       = 100 mean |100 d|, early, both sides

The units differ between VWAP and TWAP, as published. The state holds sums, so means are over all orders.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

from lem_models.modeling.paper.loss import slippage

__all__ = ["PAPER_METRICS", "PaperMetrics"]

_EPSILON = 1e-7

PAPER_METRICS = (
    "buy_vwap_avg_imp",
    "buy_twap_avg_imp",
    "sell_vwap_avg_imp",
    "sell_twap_avg_imp",
    "buy_vwap_avg_risk",
    "buy_twap_avg_risk",
    "sell_vwap_avg_risk",
    "sell_twap_avg_risk",
    "unsigned_vwap_avg_risk",
    "unsigned_twap_avg_risk",
)


class PaperMetrics(Metric):
    """The ten metrics by name.

    Args:
        dtype: Type of the sums.

    Example:
        >>> from lem_models.modeling.paper.loss import with_branches
        >>> market = torch.tensor([[[1.0, 10.0], [3.0, 11.0]]])
        >>> metrics = PaperMetrics()
        >>> metrics.update(with_branches(market), torch.full((1, 2, 3, 4, 2), 0.5))
        >>> round(metrics.compute()["buy_vwap_avg_imp"].item(), 3)
        2.436
    """

    full_state_update = False
    higher_is_better = None
    signed: Tensor
    positive: Tensor
    absolute: Tensor
    fixed: Tensor
    base: Tensor
    early_count: Tensor
    fixed_count: Tensor
    orders: Tensor

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        sizes = {"signed": (4,), "positive": (2,), "absolute": (4,), "fixed": (), "base": (3,)}
        for name, size in sizes.items():
            self.add_state(name, torch.zeros(size, dtype=dtype), dist_reduce_fx="sum")
        for name in ("early_count", "fixed_count", "orders"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, y_true: Tensor, y_pred: Tensor) -> None:
        """Add orders.

        Args:
            y_true: Volume and price, [batch, periods, periods + 1, 4, 2]
                (:func:`~lem_models.modeling.paper.loss.with_branches`).
            y_pred: Allocations, [batch, periods, periods + 1, 4, 2].
        """
        difference = slippage(y_true, y_pred).to(self.signed)
        early, fixed = difference[:, :-1], difference[:, -1, [0, 2]]
        self.signed += early.sum((0, 1, 3))
        self.absolute += early.abs().sum((0, 1, 3))
        self.positive += torch.stack([functional.relu(early[:, :, 0]).sum(), functional.relu(-early[:, :, 2]).sum()])
        self.fixed += fixed.abs().sum()
        volume, price = y_true[:, :, 0, 0].unbind(-1)
        # Sum period by period, as published: the sum of nearly equal numbers in single precision depends on the order.
        money, units, prices = (sum(x.unbind(1), x.new_zeros(())) for x in (volume * price, volume, price))
        base = (prices / price.shape[1] / ((money + _EPSILON) / (units + _EPSILON)) - 1).to(self.base)
        self.base += torch.stack([functional.relu(base).sum(), functional.relu(-base).sum(), base.abs().sum()])
        self.early_count += early[:, :, 0].numel()
        self.fixed_count += fixed.numel()
        self.orders += len(base)

    def compute(self) -> dict[str, Tensor]:
        """Values by name (:data:`PAPER_METRICS`)."""
        signed, absolute = 100 * self.signed / self.early_count, 100 * self.absolute / self.early_count
        base = self.base / self.orders + _EPSILON
        risk = 100 * (self.positive / self.early_count / base[:2] - 1)
        tracking = 100 * (self.fixed / self.fixed_count / base[2] - 1)
        values = [-signed[0], -signed[1], signed[2], signed[3]]
        values += [risk[0], 100 * absolute[1], risk[1], 100 * absolute[3]]
        values += [tracking, 50 * (absolute[1] + absolute[3])]
        return dict(zip(PAPER_METRICS, values, strict=True))
