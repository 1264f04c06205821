r"""The shared extractor: from causal features of bars to a context per bar.

embedding -> variable selection -> TKAN layers -> gate, add & norm -> gated residual network -> causal windowed
multi-head attention -> gate, add & norm (LEM paper, arXiv 2509.25211; variable selection and gating from the Temporal
Fusion Transformer, arXiv 1912.09363; TKAN from arXiv 2405.07344).

The context of bar ``k`` depends on the features of bars ``<= k`` only: one pass over a stretch of bars serves every
order that starts in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lem_models.modeling.config import LEMConfig
from lem_models.modeling.selection import GateAddNorm, GatedResidualNetwork, InputEmbedding, VariableSelectionNetwork
from lem_models.modeling.tkan import TKAN

__all__ = ["LEMBackbone", "WindowedAttention"]


class WindowedAttention(nn.Module):
    """Causal multi-head attention over the last ``window`` bars, with a learned bias per head and distance.

    Positions enter through the distance alone, so the result does not depend on where in a stretch a bar lies.

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
        query, key, value = self.query_key_value(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        position = torch.arange(time, device=x.device)
        distance = position[:, None] - position[None, :]
        visible = (distance >= 0) & (distance < self.window)
        bias = self.distance_bias[:, distance.clamp(0, self.window - 1)].masked_fill(~visible, -torch.inf)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        result: Tensor = self.output(attended.transpose(1, 2).reshape(batch, time, hidden))
        return result


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

    def __init__(self, config: LEMConfig) -> None:
        super().__init__()
        hidden, inputs = config.hidden_size, len(config.features)
        self.embedding = InputEmbedding(inputs, config.embedding_dim)
        self.selection = VariableSelectionNetwork(inputs, config.embedding_dim, hidden)
        self.tkan = TKAN(hidden, hidden, num_layers=config.tkan_layers, dropout=config.dropout)
        self.recurrent_gate = GateAddNorm(hidden, dropout=config.dropout)
        self.enrichment = GatedResidualNetwork(hidden, hidden, dropout=config.dropout)
        self.attention = WindowedAttention(hidden, config.attention_heads, config.attention_window)
        self.attention_gate = GateAddNorm(hidden, dropout=config.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Contexts [batch, time, hidden] of features [batch, time, features]."""
        selected, _ = self.selection.select_scalars(features, self.embedding)
        recurrent, _ = self.tkan(selected)
        enriched = self.enrichment(self.recurrent_gate(recurrent, selected))
        context: Tensor = self.attention_gate(self.attention(enriched), enriched)
        return context
