r"""The complete model of the LEM paper in its published alignment, which looks ahead by one bar.

embedding -> variable selection -> TKAN layers -> gate, add & norm -> GRN -> causal multi-head attention, then period by
period the networks of :mod:`lem_models.modeling.layers.paper_steps`. The inputs are ``lookback + horizon - 1`` rows of
features; the last two features are price and volume. In the published code the decision for period ``s`` reads row
``lookback + s``, the bar that it trades. This class reproduces those numbers, and the package refuses to execute or to
benchmark it. ``forward(..., look_ahead=False)`` gives every decision the row before.

Axes of an allocation: [batch, period, minimum, branch, target]; minima 1 .. n and, last, the fixed duration; branches
buy VWAP, buy TWAP, sell VWAP, sell TWAP; targets quantity, notional.
"""

from __future__ import annotations

from typing import ClassVar, NoReturn

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from lem_models.errors import ConfigError, LookAheadError
from lem_models.guard.settings import Settings
from lem_models.modeling.layers.attention import WindowedAttention
from lem_models.modeling.layers.paper_steps import FusedMLP, allocation
from lem_models.modeling.layers.selection import (
    GateAddNorm,
    GatedResidualNetwork,
    InputEmbedding,
    VariableSelectionNetwork,
)
from lem_models.modeling.layers.tkan import TKAN

__all__ = ["LookAheadPaperModel", "PaperConfig"]

EPSILON = 1e-7
BRANCHES = 4


class PaperConfig(Settings):
    """Sizes of the paper's model.

    Attributes:
        features: Columns of the input, price and volume included.
        lookback: Rows before the first period.
        horizon: Periods of an order.
        hidden_size: Width of the extractor.
        tkan_layers: TKAN layers.
        attention_heads: Heads of the attention.
        embedding_dim: Size of the embedding of one feature.
        mlp_hidden_size: Hidden size of the networks of the periods.
    """

    refusal: ClassVar[str] = "sizes refused"

    features: int = Field(ge=3, le=4096)
    lookback: int = Field(ge=1, le=4096)
    horizon: int = Field(ge=2, le=256)
    hidden_size: int = Field(ge=1, le=2048)
    tkan_layers: int = Field(ge=1, le=16)
    attention_heads: int = Field(ge=1, le=64)
    embedding_dim: int = Field(ge=1, le=256)
    mlp_hidden_size: int = Field(ge=1, le=1024)

    @model_validator(mode="after")
    def _consistent(self) -> PaperConfig:
        if self.hidden_size % self.attention_heads:
            raise ValueError("hidden_size must be a multiple of attention_heads")
        return self


class LookAheadPaperModel(nn.Module):
    """See the module.

    Args:
        config: Sizes.

    Attributes:
        looks_ahead: Tells ``execute``, sessions and benchmarks to refuse it.
    """

    looks_ahead: ClassVar[bool] = True

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        hidden, features, horizon = config.hidden_size, config.features, config.horizon
        self.embedding = InputEmbedding(features, config.embedding_dim)
        self.selection = VariableSelectionNetwork(features, config.embedding_dim, hidden)
        self.tkan = TKAN(hidden, hidden, num_layers=config.tkan_layers)
        self.recurrent_gate = GateAddNorm(hidden)
        self.enrichment = GatedResidualNetwork(hidden, hidden)
        # A window over all rows without distance bias is plain causal attention.
        self.attention = WindowedAttention(hidden, config.attention_heads, config.lookback + horizon - 1)
        self.attention.distance_bias.requires_grad_(False)
        self.steps = nn.ModuleList(
            FusedMLP(hidden + features + 18 * period, config.mlp_hidden_size, horizon + 1)
            for period in range(horizon - 1)
        )
        self.scale_factor = nn.Parameter(torch.ones(horizon + 1))
        curve = torch.full((horizon, horizon + 1, 2), 1.0 / horizon)
        self.base_volume_curve = nn.Parameter(curve)
        self.base_notional_curve = nn.Parameter(curve.clone())

    def contexts(self, inputs: Tensor) -> Tensor:
        """Contexts [batch, rows, hidden] of rows [batch, rows, features]."""
        selected, _ = self.selection(self.embedding(inputs))
        recurrent, _ = self.tkan(selected)
        result: Tensor = self.attention(self.enrichment(self.recurrent_gate(recurrent, selected)))
        return result

    def forward(self, x: Tensor, min_rate: Tensor, max_rate: Tensor, *, look_ahead: bool = True) -> Tensor:
        """Allocations.

        Args:
            x: [batch, lookback + horizon - 1, features]; the last two features are price and volume.
            min_rate: Smallest fraction per period, [batch, 1].
            max_rate: Largest fraction per period, [batch, 1].
            look_ahead: Whether decision ``s`` reads row ``lookback + s`` and the market's prices up to this row, as
                published. Otherwise it reads up to the row before: closed bars only.

        Returns:
            [batch, horizon, horizon + 1, 4, 2], see the module.

        Raises:
            ConfigError: when the input has another shape.
        """
        config = self.config
        lookback, horizon = config.lookback, config.horizon
        rows = lookback + horizon - 1
        if x.ndim != 3 or x.shape[1:] != (rows, config.features):
            raise ConfigError(f"x must be [batch, {rows}, {config.features}], got {list(x.shape)}")
        rates = torch.stack([min_rate, max_rate], -1).expand(len(x), rows, 2)
        inputs = torch.cat([x[..., :-2], rates], -1)
        rows_seen = torch.cat([self.contexts(inputs), inputs], -1)
        first = lookback if look_ahead else lookback - 1
        prices, volumes = (x[:, first + 1 :, column, None, None] for column in (-2, -1))
        lowest, highest = min_rate.view(-1, 1, 1, 1), max_rate.view(-1, 1, 1, 1)
        base = torch.stack([self.base_volume_curve, self.base_notional_curve], -1).repeat(1, 1, 2, 1)
        scale = self.scale_factor.view(-1, 1, 1)

        filled = x.new_zeros(len(x), horizon + 1, BRANCHES, 2)
        spent = x.new_zeros(len(x), horizon + 1, BRANCHES)
        chosen: list[Tensor] = []
        running: list[Tensor] = []  # per period, [batch, minima, branches, 2]: executed price, and fraction filled
        market: list[Tensor] = []  # per period, [batch, 2]: VWAP and TWAP so far
        for period in range(horizon - 1):
            path = _joined(rows_seen[:, first + period], chosen, running, market, horizon + 1)
            output = self.steps[period](path).unflatten(-1, (2, BRANCHES)).transpose(-1, -2)
            raw = (1 + output) ** scale * base[period]
            fraction = allocation(raw, 1 - filled, horizon - period, lowest, highest)
            filled = filled + fraction
            chosen.append(fraction)
            if period < horizon - 2:
                spent = spent + fraction[..., 0] * prices[:, period]
                average = spent / (filled[..., 0] + EPSILON)
                # In the published code the running price of a notional target is the fraction filled. Kept for parity.
                running.append(torch.stack([average, filled[..., 1]], -1))
                price, volume = prices[:, : period + 1, 0, 0], volumes[:, : period + 1, 0, 0]
                vwap = (price * volume).sum(1) / (volume.sum(1) + EPSILON)
                market.append(torch.stack([vwap, price.mean(1)], -1))
        return torch.stack([*chosen, 1 - filled], 1)

    def decide(self, *_: object) -> NoReturn:
        """Not a policy.

        Raises:
            LookAheadError: always.
        """
        raise LookAheadError.of(self)

    def save_pretrained(self, *_: object, **__: object) -> NoReturn:
        """Not a model of the zoo.

        Raises:
            LookAheadError: always.
        """
        raise LookAheadError.of(self)

    def push_to_hub(self, *_: object, **__: object) -> NoReturn:
        """Not a model of the zoo.

        Raises:
            LookAheadError: always.
        """
        raise LookAheadError.of(self)


def _joined(row: Tensor, chosen: list[Tensor], running: list[Tensor], market: list[Tensor], minima: int) -> Tensor:
    """Input of a period's networks, [batch, minima, hidden + features + 18 * period]."""
    inputs = [row.unsqueeze(1).expand(-1, minima, -1)]
    if chosen:
        # [batch, minima, target, branch, period]: target by target, branch by branch.
        for curves in (chosen, running):
            inputs.append(torch.stack(curves, -1).transpose(2, 3).flatten(2))
        inputs.append(torch.stack(market, -1).flatten(1).unsqueeze(1).expand(-1, minima, -1))
    return torch.cat(inputs, -1)
