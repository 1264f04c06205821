r"""The shared extractor: from causal features of bars to a context per bar.

embedding -> variable selection -> TKAN layers -> gate, add & norm -> gated residual network -> causal windowed
multi-head attention -> gate, add & norm (LEM paper, arXiv 2509.25211; variable selection and gating from the Temporal
Fusion Transformer, arXiv 1912.09363; TKAN from arXiv 2405.07344). ``config.encoder`` puts a GRU, an LSTM or nothing in
TKAN's place.

The context of bar ``k`` depends on the features of bars ``<= k`` only: one pass over a stretch of bars serves every
order that starts in it.
"""

from __future__ import annotations

from torch import Tensor, nn

from lem_models.modeling.config import LEMConfig
from lem_models.modeling.layers.attention import WindowedAttention
from lem_models.modeling.layers.selection import (
    GateAddNorm,
    GatedResidualNetwork,
    InputEmbedding,
    VariableSelectionNetwork,
)
from lem_models.modeling.layers.tkan import TKAN

_ENCODERS: dict[str, type[TKAN | nn.GRU | nn.LSTM]] = {"tkan": TKAN, "gru": nn.GRU, "lstm": nn.LSTM}

__all__ = ["LEMBackbone"]


class LEMBackbone(nn.Module):
    """The shared extractor of a Large Execution Model.

    Args:
        config: Architecture.

    Shape:
        Features [batch, time, features] to contexts [batch, time, hidden].

    Example:
        >>> import torch
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
