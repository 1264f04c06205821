r"""The shared extractor: from causal features of bars to a context per bar.

embedding -> variable selection -> TKAN layers -> gate, add & norm -> gated residual network -> causal windowed
multi-head attention -> gate, add & norm (LEM paper, arXiv 2509.25211; variable selection and gating from the Temporal
Fusion Transformer, arXiv 1912.09363; TKAN from arXiv 2405.07344). ``config.encoder`` puts a GRU, an LSTM or nothing in
TKAN's place.

The context of bar ``k`` depends on the features of bars ``<= k`` only: one pass over a stretch of bars serves every
order that starts in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lem_models.modeling.config import LEMConfig
from lem_models.modeling.layers.selection import (
    GateAddNorm,
    GatedResidualNetwork,
    InputEmbedding,
    VariableSelectionNetwork,
)
from lem_models.modeling.layers.tkan import TKAN

_ENCODERS: dict[str, type[TKAN | nn.GRU | nn.LSTM]] = {"tkan": TKAN, "gru": nn.GRU, "lstm": nn.LSTM}

__all__ = ["LEMBackbone", "WindowedAttention"]


class WindowedAttention(nn.Module):
    """Causal multi-head attention over the last ``window`` bars, with a learned bias per head and distance.

    Positions enter through the distance alone, so the result does not depend on where in a stretch a bar lies. Queries
    go in chunks of ``window`` bars, which see the keys of their own chunk and of the one before: work and memory grow
    with the length of the stretch, not with its square.

    Args:
        hidden_size: Width, a multiple of ``heads``.
        heads: Number of heads.
        window: Bars attended to, the bar itself included.

    Shape:
        [batch, time, hidden] to [batch, time, hidden].
    """

    def __init__(self, hidden_size: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.distance_bias = nn.Parameter(torch.zeros(heads, window))

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        batch, time, hidden = x.shape
        chunk = min(self.window, time)
        chunks = -(-time // chunk)
        query, key, value = self.query_key_value(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = functional.pad(query, (0, 0, 0, chunks * chunk - time)).view(batch, self.heads, chunks, chunk, -1)
        # A chunk of nothing in front: [batch, heads, chunks, 2 * chunk, size], each chunk with the one before.
        key, value = (
            functional.pad(side, (0, 0, chunk, chunks * chunk - time)).unfold(2, 2 * chunk, chunk).transpose(3, 4)
            for side in (key, value)
        )
        scores = torch.matmul(query, key.transpose(3, 4) * query.shape[-1] ** -0.5)
        weights = torch.softmax(scores + self._bias(chunks, chunk).to(scores.dtype), dim=-1)
        attended = torch.matmul(weights, value).flatten(2, 3)[:, :, :time]
        result: Tensor = self.output(attended.transpose(1, 2).reshape(batch, time, hidden))
        return result

    def _bias(self, chunks: int, chunk: int) -> Tensor:
        """Bias of every score, minus infinity where a bar is not seen, [heads, chunks, chunk, 2 * chunk]."""
        device = self.distance_bias.device
        at = torch.arange(2 * chunk, device=device)
        distance = at[chunk:, None] - at[None, :]
        visible = (distance >= 0) & (distance < self.window)
        exists = torch.arange(chunks, device=device)[:, None] * chunk + at >= chunk
        bias = self.distance_bias[:, distance.clamp(0, self.window - 1)].unsqueeze(1)
        return bias.masked_fill(~(visible & exists[:, None, :]), -torch.inf)


class LEMBackbone(nn.Module):
    """The shared extractor of a Large Execution Model.

    Args:
        config: Architecture.

    Shape:
        Features [batch, time, features] to contexts [batch, time, hidden].

    Example:
        >>> backbone = LEMBackbone(LEMConfig(hidden_size=8, attention_heads=2))
        >>> backbone(torch.zeros(2, 16, len(LEMConfig().features))).shape
        torch.Size([2, 16, 8])
    """

    tkan: TKAN

    def __init__(self, config: LEMConfig) -> None:
        super().__init__()
        hidden, inputs = config.hidden_size, len(config.features)
        self.embedding = InputEmbedding(inputs, config.embedding_dim)
        self.selection = VariableSelectionNetwork(inputs, config.embedding_dim, hidden)
        self.encoder_name, layers = config.encoder, config.tkan_layers
        if config.encoder in _ENCODERS:
            # Under its own name, so that weights of one kind are never taken for those of another.
            between = config.dropout if layers > 1 else 0.0
            encoder = _ENCODERS[config.encoder](hidden, hidden, num_layers=layers, batch_first=True, dropout=between)
            self.add_module(config.encoder, encoder)
        self.recurrent_gate = GateAddNorm(hidden, dropout=config.dropout)
        self.enrichment = GatedResidualNetwork(hidden, hidden, dropout=config.dropout)
        self.attention = WindowedAttention(hidden, config.attention_heads, config.attention_window)
        self.attention_gate = GateAddNorm(hidden, dropout=config.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Contexts [batch, time, hidden] of features [batch, time, features]."""
        selected, _ = self.selection.select_scalars(features, self.embedding)
        recurrent = selected if self.encoder_name == "none" else getattr(self, self.encoder_name)(selected)[0]
        enriched = self.enrichment(self.recurrent_gate(recurrent, selected))
        context: Tensor = self.attention_gate(self.attention(enriched), enriched)
        return context
