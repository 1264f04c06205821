r"""The loss of the LEM paper: a soft mask ends an order when nothing of it is left.

With the allocation ``a_s`` of a branch (axes: :mod:`lem_models.modeling.paper.look_ahead`), prices P, volumes V:

    need_s  = 1 if s <= m (the minimum), or no volume has traded before s; else 0
    on_s    = need_s + (1 - need_s) * sigmoid(alpha * sum_{r >= s} a_r)      a step function instead for the metrics
    price   = sum a on P / sum a on   (quantity),     sum a on / sum (a on / P)   (notional)
    diff    = 100 (price / benchmark - 1),   benchmark = sum V on P / sum V on
    loss    = mean of softplus(diff_buy - diff_sell) where m < n and softplus |diff| of the fixed duration

("LEMs: A Primer On Large Execution Models", arXiv 2509.25211.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lem_models.errors import ConfigError

__all__ = ["paper_loss", "slippage", "with_branches"]

_EPSILON = 1e-7


def with_branches(market: Tensor) -> Tensor:
    """The market of an order, [batch, periods, 2] (volume, price), for every minimum and branch.

    Returns:
        [batch, periods, periods + 1, 4, 2]: volume 1 on the TWAP branches.
    """
    if market.ndim != 3 or market.shape[2] != 2:
        raise ConfigError(f"the market must be [batch, periods, 2] (volume, price), got {list(market.shape)}")
    volume, price = market.unbind(-1)
    one = torch.ones_like(volume)
    branches = torch.stack([torch.stack([weight, price], -1) for weight in (volume, one, volume, one)], 2)
    return branches.unsqueeze(2).expand(-1, -1, market.shape[1] + 1, -1, -1)


def slippage(y_true: Tensor, y_pred: Tensor, *, alpha: float | None = None) -> Tensor:
    """``price / benchmark - 1``, positive where the price is above.

    Args:
        y_true: Volume and price, [batch, periods, minima, 4, 2] (:func:`with_branches`).
        y_pred: Allocations, [batch, periods, minima, 4, 2].
        alpha: Sharpness of the soft mask; None for the step function of the metrics.

    Returns:
        [batch, minima, 4, 2].
    """
    periods = y_pred.shape[1]
    if y_true.shape != y_pred.shape or y_pred.shape[2:] != (periods + 1, 4, 2):
        raise ConfigError(
            f"both must be [batch, periods, periods + 1, 4, 2], got {list(y_true.shape)} and {list(y_pred.shape)}"
        )
    volume, price = (column.unsqueeze(-1) for column in y_true.unbind(-1))
    index = torch.arange(periods, device=y_pred.device)
    forced = index[:, None] <= torch.arange(periods + 1, device=y_pred.device)
    before = torch.cumsum(volume, 1) - volume
    need = (forced[:, :, None, None] | (before == 0)).to(y_pred.dtype)
    rest = y_pred.flip(1).cumsum(1).flip(1)
    going = (rest > 0).to(y_pred.dtype) if alpha is None else torch.sigmoid(alpha * rest)
    on = need + (1 - need) * going
    traded, weight = y_pred * on, volume * on
    quantity = (traded * price).sum(1)[..., 0] / (traded.sum(1)[..., 0] + _EPSILON)
    notional = traded.sum(1)[..., 1] / ((traded / price).sum(1)[..., 1] + _EPSILON)
    shift = 0.0 if alpha is None else _EPSILON
    benchmark = ((weight * price).sum(1) + shift) / (weight.sum(1) + _EPSILON)
    return torch.stack([quantity, notional], -1) / benchmark - 1


def paper_loss(y_true: Tensor, y_pred: Tensor, alpha: float = 50.0) -> Tensor:
    """The loss, a scalar.

    Args:
        y_true: Volume and price, [batch, periods, periods + 1, 4, 2] (:func:`with_branches`).
        y_pred: Allocations, [batch, periods, periods + 1, 4, 2].
        alpha: Sharpness of the soft mask.
    """
    difference = 100 * slippage(y_true, y_pred, alpha=alpha)
    flexible, fixed = difference[:, :-1], difference[:, -1]
    spread = functional.softplus(flexible[:, :, :2] - flexible[:, :, 2:])
    tracking = functional.softplus(fixed.abs())
    return (spread.sum() + tracking.sum()) / (spread.numel() + tracking.numel())
