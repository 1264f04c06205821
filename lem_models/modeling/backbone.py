r"""The shared extractor: from causal features of bars to a context per bar.

embedding -> variable selection -> TKAN layers -> gate, add & norm -> gated residual network -> causal windowed
multi-head attention -> gate, add & norm (LEM paper, arXiv 2509.25211; variable selection and gating from the Temporal
Fusion Transformer, arXiv 1912.09363; TKAN from arXiv 2405.07344). ``config.encoder`` puts a GRU, an LSTM or nothing in
TKAN's place.

The context of bar ``k`` depends on the features of bars ``<= k`` only: one pass over a stretch of bars serves every
order that starts in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from lem_models.modeling.config import LEMConfig
from lem_models.modeling.kernels.backbone_step import BackboneWeights, stepped
from lem_models.modeling.kernels.library import is_available
from lem_models.modeling.kernels.recurrence import LayerWeights
from lem_models.modeling.layers.attention import WindowedAttention
from lem_models.modeling.layers.selection import (
    GateAddNorm,
    GatedResidualNetwork,
    InputEmbedding,
    ScalarSelection,
    VariableSelectionNetwork,
)
from lem_models.modeling.layers.tkan import SPLINES, TKAN, TKANCell, TKANState

_ENCODERS: dict[str, type[TKAN | nn.GRU | nn.LSTM]] = {"tkan": TKAN, "gru": nn.GRU, "lstm": nn.LSTM}

__all__ = ["BackboneState", "LEMBackbone", "Looks"]


@dataclass
class BackboneState:
    """What the backbone carries from one bar to the next, sequence by sequence.

    Attributes:
        encoder: State of the encoder, sequences first: of TKAN ``h``, ``c`` and ``s`` of each layer.
        keys: Keys of the last bars, [batch, window, heads, size], see :meth:`WindowedAttention.remember`.
        values: Their values.
        count: Bars read, int64 [batch].
    """

    encoder: tuple[Tensor, ...]
    keys: Tensor
    values: Tensor
    count: Tensor

    def tensors(self) -> list[Tensor]:
        """Every tensor, sequences first."""
        return [*self.encoder, self.keys, self.values, self.count]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> BackboneState:
        """The state of the tensors that :meth:`tensors` gives."""
        *encoder, keys, values, count = tensors
        return cls(tuple(encoder), keys, values, count)

    def select(self, rows: Tensor) -> BackboneState:
        """The state of some of the sequences."""
        return self.of([values[rows] for values in self.tensors()])

    def replace(self, rows: Tensor, state: BackboneState) -> None:
        """Take over the state of some of the sequences."""
        for mine, theirs in zip(self.tensors(), state.tensors(), strict=True):
            mine[rows] = theirs

    def with_fresh(self, number: int) -> BackboneState:
        """With so many more sequences that have read nothing yet."""
        return self.of([torch.cat([values, values.new_zeros(number, *values.shape[1:])]) for values in self.tensors()])


class StepWeights(NamedTuple):
    """Weights made ready for many short sequences.

    Attributes:
        selection: Maps of the scalar inputs.
        layers: Weights of the TKAN layers as their kernels take them; ``None``: each call makes them ready.
        fused: All weights as the kernel of a whole step takes them; ``None`` where it cannot compute.
    """

    selection: ScalarSelection
    layers: tuple[LayerWeights, ...] | None = None
    fused: BackboneWeights | None = None


class Looks(NamedTuple):
    """Weights inside the backbone.

    Attributes:
        selection: Weights of the features of every bar, which sum to one, [batch, time, features].
        attention: Weights of past bars for the last bar by distance, the bar itself first, which sum to one over the
            window, [batch, window, heads].
    """

    selection: Tensor
    attention: Tensor


class LEMBackbone(nn.Module):
    """The shared extractor of a Large Execution Model.

    Args:
        config: Architecture.

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

    def forward(self, features: Tensor, sequences: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Contexts of bars.

        Args:
            features: [batch, time, features].
            sequences: Where many sequences share bars: the bars of each, int64 [batch, time], of ``features``
                [bars, features]. Variable selection, which knows no time, then runs once for each bar.
            rows: Bars to answer for, int64 [rows] in order, of the ``batch * time`` bars; all if None.

        Returns:
            [batch, time, hidden], or [rows, hidden].
        """
        selected, _ = self.selection.select_scalars(features, self.selection.collapsed(self.embedding))
        enriched, _ = self._enriched(selected if sequences is None else selected[sequences], None, None)
        attended = self.attention(enriched, rows)
        context: Tensor = self.attention_gate(attended, enriched if rows is None else enriched.flatten(0, 1)[rows])
        return context

    @torch.no_grad()
    def looks(self, features: Tensor) -> Looks:
        """What the backbone weighs: features of every bar, and past bars as the last one sees them.

        Args:
            features: [batch, time, features].
        """
        selected, selection = self.selection.select_scalars(features, self.selection.collapsed(self.embedding))
        enriched, _ = self._enriched(selected, None, None)
        return Looks(selection, self.attention.last_weights(enriched))

    @torch.no_grad()
    def step_weights(self) -> StepWeights:
        """Weights for :meth:`step`, as they are now."""
        selection = self.selection.collapsed(self.embedding)
        if self.encoder_name != "tkan":
            return StepWeights(selection)
        layers = tuple(cast(TKANCell, cell).fused_weights() for cell in self.tkan.cells)
        return StepWeights(selection, layers, self._fused(selection, layers))

    def _fused(self, selection: ScalarSelection, layers: Sequence[LayerWeights]) -> BackboneWeights | None:
        """All weights for the kernel of a whole step, if it can compute in their type."""
        attention, network = self.attention, self.selection
        if not is_available(attention.distance_bias, attention.distance_bias.dtype):
            return None

        def linear(*modules: nn.Linear | nn.LayerNorm) -> list[Tensor]:
            return [weight for module in modules for weight in (module.weight, module.bias)]

        def gate(module: GateAddNorm) -> list[Tensor]:
            return linear(module.gate.linear, module.norm)

        selector, enrichment = network.selector, self.enrichment
        return BackboneWeights.of(
            selector=[
                *(selection.skip_weight, selection.skip_bias, selection.hidden_weight, selection.hidden_bias),
                *linear(selector.hidden2),
                *gate(selector.gate_add_norm),
            ],
            networks=selection.networks,
            offset=network.networks.norm_bias,
            layers=layers,
            after=[
                *gate(self.recurrent_gate),
                *linear(enrichment.skip, enrichment.hidden1, enrichment.hidden2),
                *gate(enrichment.gate_add_norm),
                *linear(attention.query_key_value, attention.output),
                *gate(self.attention_gate),
            ],
            distance_bias=attention.distance_bias,
            splines=SPLINES,
        )

    def begin(self, features: Tensor, weights: StepWeights) -> tuple[Tensor, BackboneState]:
        """Read sequences and keep what :meth:`step` needs to read on.

        Args:
            features: [batch, time, features].
            weights: :meth:`step_weights`.

        Returns:
            Context of the last bar, [batch, hidden], and the state after it.
        """
        selected, _ = self.selection.select_scalars(features, weights.selection)
        enriched, encoder = self._enriched(selected, None, weights.layers)
        keys, values = self.attention.remember(enriched)
        count = torch.full((features.shape[0],), features.shape[1] - 1, device=features.device)
        attended = self.attention.step(enriched[:, -1], keys, values, count)
        context: Tensor = self.attention_gate(attended, enriched[:, -1])
        return context, BackboneState(encoder, keys, values, count + 1)

    def step(self, features: Tensor, state: BackboneState, weights: StepWeights) -> Tensor:
        """Read one more bar of each sequence.

        Args:
            features: [batch, features].
            state: State before the bar; it moves on to the one after it.
            weights: :meth:`step_weights`.

        Returns:
            Context of the bar, [batch, hidden].
        """
        fused = weights.fused
        if fused is not None and not self.training and is_available(features, fused.dtype):
            return stepped(features.to(fused.dtype), state.tensors(), fused)
        selected, _ = self.selection.select_scalars(features[:, None], weights.selection)
        return self.step_selected(selected[:, 0], state, weights)

    def step_selected(self, selected: Tensor, state: BackboneState, weights: StepWeights) -> Tensor:
        """:meth:`step` from the selected features, which sequences of the same bar share.

        Args:
            selected: The selected features of the bar, [batch, hidden].
            state: State before the bar; it moves on to the one after it.
            weights: :meth:`step_weights`.

        Returns:
            Context of the bar, [batch, hidden].
        """
        enriched, state.encoder = self._enriched(selected[:, None], state.encoder, weights.layers)
        attended = self.attention.step(enriched[:, 0], state.keys, state.values, state.count)
        state.count += 1
        context: Tensor = self.attention_gate(attended, enriched[:, 0])
        return context

    def _enriched(
        self, selected: Tensor, state: tuple[Tensor, ...] | None, weights: Sequence[LayerWeights] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the attention reads, [batch, time, hidden], and the encoder's state, sequences first."""
        recurrent, after = self._encoded(selected, state, weights)
        enriched: Tensor = self.enrichment(self.recurrent_gate(recurrent, selected))
        return enriched, after

    def _encoded(
        self, selected: Tensor, state: tuple[Tensor, ...] | None, weights: Sequence[LayerWeights] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.encoder_name == "none":
            return selected, ()
        encoder = getattr(self, self.encoder_name)
        if self.encoder_name == "tkan":
            layers = None if state is None else [TKANState(*state[n : n + 3]) for n in range(0, len(state), 3)]
            output, after = encoder(selected, layers, weights)
            return output, tuple(values for layer in after for values in layer)
        # torch's own layers keep [layers, batch, hidden], one tensor (GRU) or two (LSTM).
        carried = None if state is None else tuple(values.transpose(0, 1).contiguous() for values in state)
        output, after = encoder(selected, carried[0] if carried is not None and len(carried) == 1 else carried)
        after = (after,) if isinstance(after, Tensor) else after
        return output, tuple(values.transpose(0, 1) for values in after)
