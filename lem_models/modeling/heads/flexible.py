r"""The flexible head: one small network for every period, duration, side, benchmark, target, cap and risk aversion.

    outlook  = W_o context                    log of the volume of the next bars over the expected volume of their slots
    exponent = 2 sigmoid(w_e context + b_e)   power of the expected volume, if ``profile_exponent`` is set; else 1
    hidden   = silu(W_c context + W_p path + W_s size + b), then residual layers hidden + silu(W hidden + b)
    fraction = lower + (upper - lower) * sigmoid(z_1 + (1 - m) logit(u_pace) + m logit(u_schedule)),   m = sigmoid(z_3)
    finish   = sigmoid(z_2)

``u_pace`` and ``u_schedule`` are positions in the feasible interval, in (0, 1). The pace is this period's share of the
volume still expected. The schedule is the fraction that brings the order to the expected volume curve plus ``0.2 z_4``:
for a martingale the best curve lies below the expected volume's, because volume comes when prices move, and slippage is
linear in the distance of both. The network corrects a mixture of pace and schedule. Feasibility holds for any ``z``.

``W_s`` and ``z_4`` are there if ``sized`` is set: the head then knows what trading costs an order of its size, and
orders against every benchmark.

The head is trained by randomised stopping (:mod:`lem_models.execution.objective`). A second loss trains the outlook to
forecast volumes, because the benchmark depends on them: the quasi-likelihood ``r - log r - 1`` of the ratio ``r`` of
realised to forecast volume (Patton, J. Econometrics 160, 2011). The expected volume of a slot is a noisy mean over few
sessions. A power below 1 shrinks it towards the level, and the outlook carries the time-of-day pattern that all markets
share. Prices and contexts are oriented by the order's side. So a buy has the same decisions as a sell in the market
reflected in log price.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lem_models.execution.records import (
    BENCHMARKS,
    Decision,
    ExecutionState,
    MarketWindow,
    OrderBatch,
    OrderContexts,
    Paths,
    mapped,
)
from lem_models.modeling.heads.base import AllocationHead, HeadConfig, LiveHead, register_head
from lem_models.modeling.heads.path_state import (
    LEAST_EXPECTED,
    PATH_FEATURES,
    PRIOR,
    SIZE_FEATURES,
    benchmark_weights,
    path_features,
)
from lem_models.modeling.kernels.flexible_decision import FlexibleWeights, Limits, decided
from lem_models.modeling.kernels.flexible_roll import can_roll_out, rolled_out
from lem_models.modeling.kernels.library import is_available

__all__ = ["EDGE", "OUTLOOK_LIMIT", "SHIFT", "FlexibleHead", "FlexibleHeadConfig"]

OUTLOOK_LIMIT = 4.0
"""Largest size of the outlook, a log ratio of volumes."""
EDGE = 3e-3
"""Least distance of an anchor from the ends of the feasible interval; it keeps the logit finite."""
SHIFT = 0.2
"""Shift of the schedule for an answer of 1 of the network, as a fraction of the order."""


_LIMITS = Limits(OUTLOOK_LIMIT, LEAST_EXPECTED, PRIOR, EDGE, SHIFT)


class FlexibleHeadConfig(HeadConfig):
    """Settings of the flexible head.

    Attributes:
        hidden_size: Width of the network.
        layers: Number of hidden layers.
        profile_exponent: Whether the context gives a power for the time-of-day profile of the volume.
        sized: Whether it reads the size of an order and every benchmark, and shifts the schedule.
    """

    hidden_size: int = Field(128, ge=1, le=4096)
    layers: int = Field(3, ge=1, le=16)
    profile_exponent: bool = False
    sized: bool = False


@register_head("flexible")
class FlexibleHead(AllocationHead):
    """See the module's docstring."""

    Config = FlexibleHeadConfig
    per_period = ("outlook.weight", "outlook.bias")
    neutral = ("exponent.weight", "exponent.bias", "from_size.weight", "shift.weight", "shift.bias")

    def __init__(self, context_size: int, horizon: int, config: HeadConfig) -> None:
        super().__init__(context_size, horizon, config)
        settings = FlexibleHeadConfig.model_validate(config.model_dump())
        width = settings.hidden_size
        self.outlook = nn.Linear(context_size, horizon)
        self.from_path = nn.Linear(PATH_FEATURES, width)
        self.from_context = nn.Linear(context_size, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.layers - 1))
        self.output = nn.Linear(width, 3)
        self.exponent = nn.Linear(context_size, 1) if settings.profile_exponent else None
        self.from_size = nn.Linear(SIZE_FEATURES, width, bias=False) if settings.sized else None
        self.shift = nn.Linear(width, 1) if settings.sized else None
        with torch.no_grad():
            self.outlook.weight.mul_(0.1)
            self.outlook.bias.zero_()
            for layer in (self.exponent, self.from_size, self.shift):
                for weight in [] if layer is None else layer.parameters():
                    weight.zero_()
            self.output.weight.mul_(0.1)
            # Start near the volume curve, and seldom finish early.
            self.output.bias.copy_(torch.tensor([0.0, -2.0, 0.0]))

    def project(self, contexts: Tensor) -> Tensor:
        """``W_c context``, the outlook and, if there is one, the exponent, side by side, [..., width]."""
        weight, bias = self._projection()
        return functional.linear(contexts.to(weight), weight, bias)

    def _projection(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of all that the context alone gives."""
        layers = [self.from_context, self.outlook, *([] if self.exponent is None else [self.exponent])]
        weight = torch.cat([layer.weight for layer in layers])
        bias = torch.cat([torch.zeros_like(self.from_path.bias), *(layer.bias for layer in layers[1:])])
        return weight, bias

    def decide(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decide one period; in training, orders that are over get no answer of the network."""
        live = (state.remaining > 0) & (state.period < orders.max_periods)
        # Products of fewer rows may differ in the last bit: without gradients a decision depends on no other order. On
        # a GPU, counting the rows would wait for the device.
        is_training = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if not is_training or not live.is_cpu or bool(live.all()):
            return self._answers(context, orders, state)
        chosen = self._answers(context[live], orders[live], mapped(lambda values: values[live], [state]))
        finish = torch.zeros_like(state.remaining).masked_scatter(live, chosen.finish)
        return Decision(fraction=state.lower.masked_scatter(live, chosen.fraction), finish=finish)

    def _answers(self, context: Tensor, orders: OrderBatch, state: ExecutionState) -> Decision:
        """The decision of orders, all computed alike."""
        from_context = context[..., : self.from_context.out_features]
        weights = benchmark_weights(orders, state, *self._volume(context))
        features = path_features(orders, state, weights).to(self.output.weight)
        path, size = features[:, :PATH_FEATURES], features[:, PATH_FEATURES:]
        first = self.from_path(path) + from_context.to(path)
        hidden = functional.silu(first if self.from_size is None else first + self.from_size(size))
        for layer in self.hidden:
            hidden = hidden + functional.silu(layer(hidden))
        tilt, finish, mixture = self.output(hidden).to(state.remaining).unbind(1)
        shift = 0.0 if self.shift is None else SHIFT * self.shift(hidden).to(state.remaining)[:, 0]
        room = state.upper - state.lower

        def place(fraction: Tensor) -> Tensor:
            return torch.logit(((fraction - state.lower) / room.clamp(min=1e-6)).clamp(EDGE, 1 - EDGE))

        pace = place(state.remaining * weights.pace)
        schedule = place(weights.schedule + shift - (1 - state.remaining))
        anchor = torch.lerp(pace, schedule, torch.sigmoid(mixture))
        return Decision(fraction=state.lower + room * torch.sigmoid(tilt + anchor), finish=torch.sigmoid(finish))

    def roll_out(
        self, contexts: OrderContexts, orders: OrderBatch, window: MarketWindow, *, to_finish: bool = False
    ) -> Paths | None:
        """See :meth:`AllocationHead.roll_out`: a compiled kernel with a backward pass, where there is one."""
        layers, has_exponent = self._layers(), self.exponent is not None
        if type(self) is not FlexibleHead or "decide" in vars(self) or not all(map(_is_plain, layers)):
            return None
        weights = self._weights()
        if not can_roll_out(contexts, orders, window, weights, self.horizon, has_exponent=has_exponent):
            return None
        market = contexts, orders, window
        return rolled_out(
            *market, weights, self.horizon, has_exponent=has_exponent, limits=_LIMITS, to_finish=to_finish
        )

    @torch.no_grad()
    def live(self) -> LiveHead:
        """See :meth:`AllocationHead.live`: the compiled kernel decides, where there is one."""
        like = self.output.weight
        if type(self) is not FlexibleHead or not is_available(like, like.dtype):
            return super().live()
        weight, bias = self._projection()
        weights = FlexibleWeights.of(
            self._weights(), self.horizon, has_exponent=self.exponent is not None, limits=_LIMITS
        )
        return LiveHead(partial(functional.linear, weight=weight, bias=bias), partial(decided, weights=weights))

    @property
    def reads_size(self) -> bool:  # type: ignore[override]
        """Whether it reads the size of an order."""
        return self.from_size is not None

    @property
    def benchmarks(self) -> tuple[str, ...]:  # type: ignore[override]
        """Benchmarks of orders that it knows."""
        return BENCHMARKS if self.reads_size else super().benchmarks

    def _layers(self) -> list[nn.Linear]:
        """All layers of the network."""
        sized = [layer for layer in (self.from_size, self.shift) if layer is not None]
        return [self.from_path, *cast("Iterable[nn.Linear]", self.hidden), self.output, *sized]

    def _weights(self) -> list[Tensor]:
        """Weight and bias of the first layer, of the residual layers and of the output, as the kernels take them.

        Without the part of the size there are zeros in its place.
        """
        path, out = self.from_path, self.output
        layers = [*cast("Iterable[nn.Linear]", self.hidden)]
        if self.from_size is None or self.shift is None:
            first = functional.pad(path.weight, (0, SIZE_FEATURES))
            last = functional.pad(out.weight, (0, 0, 0, 1)), functional.pad(out.bias, (0, 1))
        else:
            first = torch.cat([path.weight, self.from_size.weight], 1)
            last = torch.cat([out.weight, self.shift.weight]), torch.cat([out.bias, self.shift.bias])
        inner = [weight for layer in layers for weight in (layer.weight, layer.bias)]
        return [first, path.bias, *inner, *last]

    def auxiliary_loss(self, contexts: OrderContexts, orders: OrderBatch, window: MarketWindow) -> Tensor:
        """Quasi-likelihood of the outlook of every period for this and the later periods."""
        periods = torch.arange(window.volume.shape[1], device=contexts.values.device)
        ahead = periods[None, :] - periods[:, None]  # [from, to]
        outlook, exponent = (
            None if values is None else OrderContexts(values, contexts.rows).dense()
            for values in self._volume(contexts.values)
        )
        assert outlook is not None
        outlook = outlook.gather(2, ahead.clamp(min=0).expand(len(orders), -1, -1))
        promised = torch.log(window.expected_volume.clamp(min=LEAST_EXPECTED)).to(outlook)[:, None, :]
        forecast = (promised if exponent is None else promised * exponent) + outlook
        log_ratio = torch.log(window.volume + 1e-3).to(outlook)[:, None, :] - forecast
        known = (ahead >= 0) & (periods < orders.max_periods[:, None])[:, None, :]
        loss = torch.exp(log_ratio.clamp(max=4.0)) - log_ratio - 1
        return (loss * known).sum() / known.sum().clamp(min=1)

    def _volume(self, projected: Tensor) -> tuple[Tensor, Tensor | None]:
        """Outlook [..., horizon] and exponent [..., 1] from the output of :meth:`project`."""
        # At least single precision, because the losses of many orders are summed.
        volume = projected[..., self.from_context.out_features :]
        volume = volume.to(torch.promote_types(volume.dtype, torch.float32))
        outlook = volume[..., : self.outlook.out_features].clamp(-OUTLOOK_LIMIT, OUTLOOK_LIMIT)
        return outlook, None if self.exponent is None else 2 * torch.sigmoid(volume[..., self.outlook.out_features :])


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer is its weight and bias and nothing else: no adapter, no hook."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return type(layer) is nn.Linear and not any(hooks)
