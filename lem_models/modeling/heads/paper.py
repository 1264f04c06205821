r"""The paper's head on closed bars: a small network per period, minimum duration and kind of order.

For an order of minimum ``m`` (or of a fixed duration) and branch ``b`` (buy or sell x VWAP or TWAP x quantity or
notional), with ``left`` to trade in period ``s``:

    asked    = soft((1 + MLP_{s,m,b}(context, path)) ** scale_m * base_{s,m,b} + min_rate, max_rate)
    fraction = soft clip, at left, of asked plus the excess of the rest over the cap
    finish   = asked / (asked + left)

:mod:`~lem_models.modeling.layers.paper_steps` has them (LEM paper, arXiv 2509.25211). An order ends when it is filled:
``finish`` exceeds 1/2 where the network asks for more than what is left. It has a gradient long before. The head
differs in three points from the published model, which :mod:`lem_models.modeling.paper` reproduces. The context is that
of the last *closed* bar. The published networks see the running curves of all branches at once; here an order sees its
own (what is left, its price) and the market's. Prices are in bar volatilities about the arrival price.

Training is by randomised stopping, as for every head, or with ``loss: soft_mask`` by the paper's loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lem_models.errors import ConfigError
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, Paths
from lem_models.modeling.heads.base import AllocationHead, HeadConfig, register_head
from lem_models.modeling.layers.paper_steps import FusedMLP, allocation, soft_clip

__all__ = ["PaperHead", "PaperHeadConfig", "soft_mask_loss"]

_NOW = 5  # path features of the current period; three more per past period
_LARGEST = 20_000_000
_EPSILON = 1e-7


class PaperHeadConfig(HeadConfig):
    """Settings of the head.

    Attributes:
        hidden_size: Hidden size of the networks.
        loss: ``"utility"``, the expected utility of randomised stopping, or ``"soft_mask"``, the paper's loss.
        alpha: Sharpness of the soft mask.
    """

    hidden_size: int = Field(16, ge=1, le=256)
    loss: Literal["utility", "soft_mask"] = "utility"
    alpha: float = Field(50.0, gt=0, le=1e4)


@register_head("paper")
class PaperHead(AllocationHead):
    """See the module's docstring.

    Raises:
        ConfigError: when there would be more than 20 million weights; their number grows with the cube of the horizon.
    """

    Config = PaperHeadConfig

    def __init__(self, context_size: int, horizon: int, config: HeadConfig) -> None:
        super().__init__(context_size, horizon, config)
        settings = PaperHeadConfig.model_validate(config.model_dump())
        width, self.loss, self.alpha = settings.hidden_size, settings.loss, settings.alpha
        inputs = [context_size + _NOW + 3 * period for period in range(horizon - 1)]
        values = 8 * (horizon + 1) * sum(size * width + width * width + 3 * width for size in inputs)
        if values > _LARGEST:
            raise ConfigError(
                f"the 'paper' head would have {values:,} weights at horizon {horizon}, hidden_size {width} and context "
                f"{context_size}; at most {_LARGEST:,} are allowed: make one of these sizes smaller"
            )
        self.steps = nn.ModuleList(FusedMLP(size, width, horizon + 1) for size in inputs)
        self.log_base = nn.Parameter(torch.zeros(horizon + 1, 8, horizon))
        self.scale_factor = nn.Parameter(torch.ones(horizon + 1))

    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period."""
        if state.period >= self.horizon - 1:
            return Decision(fraction=state.upper, finish=torch.ones_like(state.upper))
        like = self.scale_factor
        fixed = orders.min_periods >= orders.max_periods
        minimum = torch.where(fixed, self.horizon, orders.min_periods - 1)
        branch = 4 * orders.is_notional.long() + 2 * (orders.side < 0).long() + orders.is_twap.long()
        path = torch.cat([context.to(like), _path(orders, state).to(like)], 1)
        step: FusedMLP = self.steps[state.period]  # type: ignore[assignment]
        output = step.chosen(path, minimum, branch)
        factor = (1 + output).clamp(min=1e-3) ** self.scale_factor[minimum]
        raw = (factor * self._base(orders, minimum, branch, state.period)).to(state.remaining)
        left, lowest, highest = state.remaining, orders.min_rate, orders.max_rate
        periods_left = (orders.max_periods - state.period).clamp(min=1)
        fraction = allocation(raw, left, periods_left, lowest, highest)
        asked = soft_clip(raw + lowest, highest)
        return Decision(
            fraction=torch.minimum(torch.maximum(fraction, state.lower), state.upper),
            finish=asked / (asked + left).clamp(min=1e-6),
        )

    def _base(self, orders: OrderBatch, minimum: Tensor, branch: Tensor, period: int) -> Tensor:
        """The base curve in this period, [orders]: not negative; its sum over the order's periods is 1."""
        live = torch.arange(self.horizon, device=minimum.device) < orders.max_periods[:, None]
        logits = self.log_base[minimum, branch].masked_fill(~live, -torch.inf)
        return torch.softmax(logits, 1)[:, period]

    def objective(self, paths: Paths, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Expected utility, or minus the paper's loss."""
        if self.loss == "utility":
            return super().objective(paths, orders, window)
        return -soft_mask_loss(paths.fills, orders, window, self.alpha)


def _path(orders: OrderBatch, state: ExecutionState) -> Tensor:
    """The order and the market so far, [orders, 5 + 3 * period], clipped to +-6."""
    scale = orders.side / state.volatility

    def gain(price: Tensor) -> Tensor:
        # In bar volatilities about the arrival price, which is 1. Positive for a buy is a price above it.
        return (scale if price.ndim == 1 else scale[:, None]) * torch.log(price.clamp(min=1e-6))

    now = [orders.min_rate, orders.max_rate, state.remaining, gain(state.executed_price), gain(state.last_close)]
    path = [torch.stack(now, 1)]
    if state.period:
        units = torch.cumsum(state.volumes, 1)
        vwap = torch.cumsum(state.prices * state.volumes, 1) / units.clamp(min=1e-6)
        vwap = torch.where(units > 0, vwap, 1.0)
        twap = torch.cumsum(state.prices, 1) / torch.arange(1, state.period + 1, device=vwap.device)
        expected = torch.cumsum(state.expected_volume[:, : state.period], 1)
        path += [gain(vwap), gain(twap), torch.log((units + 1) / (expected + 1))]
    return torch.cat(path, 1).clamp(-6.0, 6.0)


def soft_mask_loss(fills: Tensor, orders: OrderBatch, window: MarketWindow, alpha: float) -> Tensor:
    """The paper's loss of each order, [orders]: as :func:`~lem_models.modeling.paper.loss.paper_loss`, one side alone.

    Args:
        fills: [orders, periods].
        orders: The orders.
        window: Their market.
        alpha: Sharpness of the soft mask.

    Returns:
        softplus of the cost in per cent, or of its absolute value for a fixed duration.
    """
    index = torch.arange(fills.shape[1], device=fills.device)
    live = index < orders.max_periods[:, None]
    traded = (window.volume > 0).to(fills)
    weight = torch.where(orders.is_twap[:, None], traded, window.volume)
    before = torch.cumsum(weight, 1) - weight
    need = ((index < orders.min_periods[:, None]) | (before <= 0)).to(fills)
    rest = fills.flip(1).cumsum(1).flip(1)
    on = (need + (1 - need) * torch.sigmoid(alpha * rest)) * live
    price = torch.where(live, window.price, 1.0)
    filled, weight = fills * on, weight * on
    quantity = (filled * price).sum(1) / (filled.sum(1) + _EPSILON)
    notional = filled.sum(1) / ((filled / price).sum(1) + _EPSILON)
    benchmark = ((weight * price).sum(1) + _EPSILON) / (weight.sum(1) + _EPSILON)
    cost = 100 * orders.side * (torch.where(orders.is_notional, notional, quantity) / benchmark - 1)
    return functional.softplus(torch.where(orders.min_periods >= orders.max_periods, cost.abs(), cost))
