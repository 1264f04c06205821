r"""The flexible head: one small network for every period, duration, side, benchmark, target, cap and risk aversion.

    hidden = silu(W_c context + W_p path + b), then residual layers hidden + silu(W hidden + b)
    fraction = lower + (upper - lower) * sigmoid(z_1 + logit(u))
    finish   = sigmoid(z_2)

with ``u`` in (0, 1) the place of the volume curve's pace in the interval.

The network corrects the pace of the expected volume curve; feasibility holds for any ``z``. Trained by randomised
stopping (:mod:`lem_models.execution.objective`). Prices and contexts are seen as the order's side sees them, so a buy
in a market and a sell in the market reflected in log price are one and the same decision.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lem_models.execution.policy import Decision, ExecutionState, OrderBatch
from lem_models.modeling.heads.base import AllocationHead, HeadConfig, register_head
from lem_models.modeling.heads.path_state import PATH_FEATURES, expected_share, path_features

__all__ = ["FlexibleHead", "FlexibleHeadConfig"]


class FlexibleHeadConfig(HeadConfig):
    """Settings of the flexible head.

    Attributes:
        hidden_size: Width of the network.
        layers: Number of hidden layers.
    """

    hidden_size: int = Field(128, ge=1, le=4096)
    layers: int = Field(3, ge=1, le=16)


@register_head("flexible")
class FlexibleHead(AllocationHead):
    """See the module's docstring."""

    Config = FlexibleHeadConfig

    def __init__(self, context_size: int, horizon: int, config: HeadConfig) -> None:
        super().__init__(context_size, horizon, config)
        settings = FlexibleHeadConfig.model_validate(config.model_dump())
        width = settings.hidden_size
        self.from_path = nn.Linear(PATH_FEATURES, width)
        self.from_context = nn.Linear(context_size, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.layers - 1))
        self.output = nn.Linear(width, 2)
        with torch.no_grad():
            self.output.weight.mul_(0.1)
            self.output.bias.copy_(torch.tensor([0.0, -2.0]))  # start on the volume curve, rarely finishing early

    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period."""
        path = path_features(orders, state).to(self.output.weight)
        hidden = functional.silu(self.from_path(path) + self.from_context(context.to(path)))
        for layer in self.hidden:
            hidden = hidden + functional.silu(layer(hidden))
        tilt, finish = self.output(hidden).to(state.remaining).unbind(1)
        room = state.upper - state.lower
        pace = state.remaining * expected_share(orders, state)
        position = ((pace - state.lower) / room.clamp(min=1e-6)).clamp(1e-3, 1 - 1e-3)
        fraction = state.lower + room * torch.sigmoid(tilt + torch.logit(position))
        return Decision(fraction=fraction, finish=torch.sigmoid(finish))
