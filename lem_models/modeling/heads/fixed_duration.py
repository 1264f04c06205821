r"""The head of dynamic VWAP execution: it follows a benchmark over a fixed duration and revises its curve every bar.

    fraction = lower + (upper - lower) * sigmoid(logit(u) + z),   finish = 0

``u`` is this period's share of the volume still expected, as a position in the feasible interval. ``z`` is the
correction of a network that reads the context of the last closed bar and the order's path so far. The order always
takes ``max_periods``; it cannot end early. Training maximises ``-x^2`` or ``-|x|`` of the deviation ``x`` from the
benchmark in bar volatilities, instead of the expected utility (Genet, "Recurrent neural networks for dynamic VWAP
execution", arXiv 2502.18177).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lem_models.execution.objective import deviation
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, Paths
from lem_models.modeling.heads.base import AllocationHead, HeadConfig, register_head
from lem_models.modeling.heads.path_state import PATH_FEATURES, benchmark_weights, path_features

__all__ = ["FixedDurationHead", "FixedDurationHeadConfig"]


class FixedDurationHeadConfig(HeadConfig):
    """Settings of the head.

    Attributes:
        hidden_size: Width of the network.
        layers: Number of hidden layers.
        loss: Training minimises the mean square or the mean absolute value of the deviation from the benchmark.
    """

    hidden_size: int = Field(64, ge=1, le=4096)
    layers: int = Field(2, ge=1, le=16)
    loss: Literal["quadratic", "absolute"] = "quadratic"


@register_head("fixed_duration")
class FixedDurationHead(AllocationHead):
    """See the module's docstring."""

    Config = FixedDurationHeadConfig
    per_period = ()

    def __init__(self, context_size: int, horizon: int, config: HeadConfig) -> None:
        super().__init__(context_size, horizon, config)
        settings = FixedDurationHeadConfig.model_validate(config.model_dump())
        width, self.loss = settings.hidden_size, settings.loss
        self.from_path = nn.Linear(PATH_FEATURES, width)
        self.from_context = nn.Linear(context_size, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.layers - 1))
        self.output = nn.Linear(width, 1)
        with torch.no_grad():
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()  # start on the expected volume curve

    def project(self, contexts: Tensor) -> Tensor:
        """``W_c context``, [..., hidden_size]."""
        projected: Tensor = self.from_context(contexts.to(self.from_context.weight))
        return projected

    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period."""
        weights = benchmark_weights(orders, state, torch.zeros_like(state.expected_volume))
        path = path_features(orders, state, weights)[:, :PATH_FEATURES].to(self.output.weight)
        hidden = functional.silu(self.from_path(path) + context.to(path))
        for layer in self.hidden:
            hidden = hidden + functional.silu(layer(hidden))
        correction = self.output(hidden).squeeze(1).to(state.remaining)
        room = state.upper - state.lower
        place = ((state.remaining * weights.pace - state.lower) / room.clamp(min=1e-6)).clamp(3e-3, 1 - 3e-3)
        fraction = state.lower + room * torch.sigmoid(torch.logit(place) + correction)
        return Decision(fraction=fraction, finish=torch.zeros_like(fraction))

    def objective(self, paths: Paths, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Minus the square, or the absolute value, of the deviation from the benchmark."""
        x = deviation(paths, orders, window)
        return -x.square() if self.loss == "quadratic" else -x.abs()
