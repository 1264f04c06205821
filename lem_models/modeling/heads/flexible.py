r"""The flexible head: one small network for every period, duration, side, benchmark, target, cap and risk aversion.

    outlook  = W_o context                    log volume of the next bars over what their time slots promise
    hidden   = silu(W_c context + W_p path + b), then residual layers hidden + silu(W hidden + b)
    fraction = lower + (upper - lower) * sigmoid(z_1 + (1 - m) logit(u_pace) + m logit(u_schedule)),   m = sigmoid(z_3)
    finish   = sigmoid(z_2)

``u`` are places in the feasible interval, in (0, 1): of the pace of the volume still expected, and of what brings the
order level with the expected volume curve. The network corrects a mixture of both; feasibility holds for any ``z``.

Trained by randomised stopping (:mod:`lem_models.execution.objective`). The outlook is also trained to forecast, by the
quasi-likelihood ``r - log r - 1`` of the ratio ``r`` of what came over what was forecast (Patton, J. Econometrics 160,
2011): volumes are what a benchmark is made of. Prices and contexts are seen as the order's side sees them, so a buy in
a market and a sell in the market reflected in log price are one and the same decision.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lem_models.execution.policy import Decision, ExecutionState, OrderBatch
from lem_models.execution.simulator import MarketWindow
from lem_models.modeling.heads.base import AllocationHead, HeadConfig, register_head
from lem_models.modeling.heads.path_state import PATH_FEATURES, benchmark_weights, path_features

__all__ = ["EDGE", "OUTLOOK_LIMIT", "FlexibleHead", "FlexibleHeadConfig"]

OUTLOOK_LIMIT = 4.0
"""Largest size of the outlook, a log ratio of volumes."""
EDGE = 3e-3
"""How near to the ends of the feasible interval an anchor may lie: its logit stays finite."""


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
    per_period = ("outlook.weight", "outlook.bias")

    def __init__(self, context_size: int, horizon: int, config: HeadConfig) -> None:
        super().__init__(context_size, horizon, config)
        settings = FlexibleHeadConfig.model_validate(config.model_dump())
        width = settings.hidden_size
        self.outlook = nn.Linear(context_size, horizon)
        self.from_path = nn.Linear(PATH_FEATURES, width)
        self.from_context = nn.Linear(context_size, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.layers - 1))
        self.output = nn.Linear(width, 3)
        with torch.no_grad():
            self.outlook.weight.mul_(0.1)
            self.outlook.bias.zero_()
            self.output.weight.mul_(0.1)
            self.output.bias.copy_(
                torch.tensor([0.0, -2.0, 0.0])
            )  # start near the volume curve, seldom finishing early

    def project(self, contexts: Tensor) -> Tensor:
        """``W_c context`` and the outlook side by side, [..., hidden_size + horizon]."""
        both = (self.from_context, self.outlook)
        weight = torch.cat([layer.weight for layer in both])
        bias = torch.cat([torch.zeros_like(self.from_path.bias), self.outlook.bias])
        return functional.linear(contexts.to(weight), weight, bias)

    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period."""
        from_context, _ = self._parts(context)
        weights = benchmark_weights(orders, state, self._log_volume(context))
        path = path_features(orders, state, weights).to(self.output.weight)
        hidden = functional.silu(self.from_path(path) + from_context.to(path))
        for layer in self.hidden:
            hidden = hidden + functional.silu(layer(hidden))
        tilt, finish, mixture = self.output(hidden).to(state.remaining).unbind(1)
        room = state.upper - state.lower

        def place(fraction: Tensor) -> Tensor:
            return torch.logit(((fraction - state.lower) / room.clamp(min=1e-6)).clamp(EDGE, 1 - EDGE))

        pace = place(state.remaining * weights.pace)
        schedule = place(weights.schedule - (1 - state.remaining))
        anchor = torch.lerp(pace, schedule, torch.sigmoid(mixture))
        return Decision(fraction=state.lower + room * torch.sigmoid(tilt + anchor), finish=torch.sigmoid(finish))

    def auxiliary_loss(self, contexts: Tensor, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Quasi-likelihood of the outlook from every period of the orders for the periods after it."""
        periods = torch.arange(window.volume.shape[1], device=contexts.device)
        ahead = periods[None, :] - periods[:, None]  # [from, to]
        outlook = self._log_volume(contexts).gather(2, ahead.clamp(min=0).expand(len(contexts), -1, -1))
        forecast = torch.log(window.expected_volume.clamp(min=1e-3)).to(outlook)[:, None, :] + outlook
        log_ratio = torch.log(window.volume + 1e-3).to(outlook)[:, None, :] - forecast
        known = (ahead >= 0) & (periods < orders.max_periods[:, None])[:, None, :]
        loss = torch.exp(log_ratio.clamp(max=4.0)) - log_ratio - 1
        return (loss * known).sum() / known.sum().clamp(min=1)

    def _parts(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        from_context, outlook = projected.split([self.from_context.out_features, self.outlook.out_features], -1)  # type: ignore[no-untyped-call]
        return from_context, outlook

    def _log_volume(self, projected: Tensor) -> Tensor:
        # Sums of many orders' losses: in single precision, whatever the products run in.
        outlook = self._parts(projected)[1]
        return outlook.to(torch.promote_types(outlook.dtype, torch.float32)).clamp(-OUTLOOK_LIMIT, OUTLOOK_LIMIT)
