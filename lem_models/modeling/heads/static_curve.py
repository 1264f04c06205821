r"""The head of static VWAP execution: the whole curve is fixed when the order starts.

    curve = softmax over the order's periods of (log expected volume + f(context of the last bar before the order))

For a TWAP the expected volumes are replaced by equal ones. Period ``s`` trades what is left times
``curve_s / sum_{r >= s} curve_r``, inside the feasible interval. This is ``curve_s`` as long as every fraction could be
traded. The order takes ``max_periods``.

Training maximises an objective of the deviation ``x`` from the benchmark in bar volatilities (``absolute``: ``-|x|``,
``quadratic``: ``-x^2``), or of the curve alone (``volume_curve``: ``-n sum_s (w_s - V_s / sum V)^2``). Genet, "Deep
learning for VWAP execution in crypto markets: beyond the volume curve", arXiv 2502.13722.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lem_models.errors import PolicyError
from lem_models.execution.objective import deviation
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, Paths
from lem_models.modeling.heads.base import AllocationHead, HeadConfig, register_head

__all__ = ["StaticCurveHead", "StaticCurveHeadConfig"]


class StaticCurveHeadConfig(HeadConfig):
    """Settings of the head.

    Attributes:
        hidden_size: Width of the network.
        layers: Number of hidden layers.
        loss: Training minimises the absolute value or the square of the deviation from the benchmark, or the distance
            from the curve of the realised volumes.
    """

    hidden_size: int = Field(64, ge=1, le=4096)
    layers: int = Field(2, ge=1, le=16)
    loss: Literal["absolute", "quadratic", "volume_curve"] = "quadratic"


@register_head("static_curve")
class StaticCurveHead(AllocationHead):
    """See the module's docstring."""

    Config = StaticCurveHeadConfig

    def __init__(self, context_size: int, horizon: int, config: HeadConfig) -> None:
        super().__init__(context_size, horizon, config)
        settings = StaticCurveHeadConfig.model_validate(config.model_dump())
        sizes = [context_size, *[settings.hidden_size] * settings.layers]
        self.hidden = nn.ModuleList(nn.Linear(sizes[i], sizes[i + 1]) for i in range(settings.layers))
        self.output = nn.Linear(settings.hidden_size, 2 * horizon)
        self.loss = settings.loss
        with torch.no_grad():
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()

    def project(self, contexts: Tensor) -> Tensor:
        """Corrections of the log curves of an order that starts after the bar, VWAP then TWAP, [..., 2 * horizon]."""
        hidden = contexts.to(self.output.weight)
        for layer in self.hidden:
            hidden = functional.silu(layer(hidden))
        corrections: Tensor = self.output(hidden)
        return corrections

    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period, from the context before the first period."""
        if state.start_context is None:
            raise PolicyError("a static curve needs state.start_context, which is missing")
        curve = self.curve(state.start_context, orders, state)
        s = state.period
        share = curve[:, s] / curve[:, s:].sum(1).clamp(min=1e-12)
        fraction = torch.minimum(torch.maximum(state.remaining * share, state.lower), state.upper)
        return Decision(fraction=fraction, finish=torch.zeros_like(fraction))

    def curve(self, start_context: Tensor, orders: OrderBatch, state: ExecutionState) -> Tensor:
        """Fraction of every period, [orders, periods]; rows sum to 1, and are 0 after the maximum."""
        expected = state.expected_volume
        periods = expected.shape[1]
        vwap, twap = (curve[:, :periods] for curve in start_context.to(expected).chunk(2, dim=1))
        anchored = torch.log(expected.clamp(min=1e-3)) + vwap
        logits = torch.where(orders.is_twap[:, None], twap, anchored)
        live = torch.arange(periods, device=expected.device) < orders.max_periods[:, None]
        return torch.softmax(logits.masked_fill(~live, -torch.inf), 1)

    def objective(self, paths: Paths, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Minus the loss that the settings name."""
        if self.loss == "volume_curve":
            live = torch.arange(window.volume.shape[1], device=window.volume.device) < orders.max_periods[:, None]
            traded = torch.where(orders.is_twap[:, None], (window.volume > 0).to(window.volume), window.volume) * live
            wanted = traded / traded.sum(1, keepdim=True).clamp(min=1e-6)
            return -orders.max_periods * (paths.fills - wanted).square().sum(1)
        x = deviation(paths, orders, window)
        return -x.square() if self.loss == "quadratic" else -x.abs()
