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

import torch
from torch import Tensor, nn
from torch.nn import functional

from lem_models.modeling.config import LEMConfig
from lem_models.modeling.layers.selection import (
    GateAddNorm,
    GatedResidualNetwork,
    InputEmbedding,
    ScalarSelection,
    VariableSelectionNetwork,
)
from lem_models.modeling.layers.tkan import TKAN, TKANState

_ENCODERS: dict[str, type[TKAN | nn.GRU | nn.LSTM]] = {"tkan": TKAN, "gru": nn.GRU, "lstm": nn.LSTM}

__all__ = ["BackboneState", "LEMBackbone", "WindowedAttention"]


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

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a sequence for :meth:`step`.

        Args:
            x: [batch, time, hidden].

        Returns:
            Keys and values of the last bars, [batch, window, heads, size] each; that of bar ``n`` at ``n % window``.
        """
        batch, time, _ = x.shape
        last = torch.arange(max(time - self.window, 0), time, device=x.device)
        kept = self.query_key_value(x[:, last]).view(batch, len(last), 3, self.heads, -1)
        memory = kept.new_zeros(2, batch, self.window, self.heads, kept.shape[-1])
        memory[:, :, last % self.window] = kept[:, :, 1:].permute(2, 0, 1, 3, 4)
        return memory[0], memory[1]

    def step(self, x: Tensor, keys: Tensor, values: Tensor, count: Tensor) -> Tensor:
        """Attend from one new bar of each sequence.

        Args:
            x: The new bars, [batch, hidden].
            keys: Keys of the bars before, see :meth:`remember`. Those of the new bars are written into them.
            values: Their values; so are these.
            count: Bars before the new one, int64 [batch].

        Returns:
            [batch, hidden].
        """
        batch, hidden = x.shape
        query, key, value = self.query_key_value(x).view(batch, 3, self.heads, -1).unbind(1)
        place = count % self.window
        rows = torch.arange(batch, device=x.device)
        keys[rows, place], values[rows, place] = key, value
        distance = (place[:, None] - torch.arange(self.window, device=x.device)) % self.window
        bias = self.distance_bias.t()[distance].masked_fill((distance > count[:, None])[:, :, None], -torch.inf)
        scores = torch.matmul(keys.transpose(1, 2), query[:, :, :, None] * query.shape[-1] ** -0.5)
        weights = torch.softmax(scores + bias.transpose(1, 2)[:, :, :, None].to(scores.dtype), dim=2)
        attended = torch.matmul(weights.transpose(2, 3), values.transpose(1, 2))
        result: Tensor = self.output(attended.reshape(batch, hidden))
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
        self._maps: tuple[list[Tensor], ScalarSelection] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Contexts [batch, time, hidden] of features [batch, time, features]."""
        enriched, _ = self._enriched(features, None, self.selection.collapsed(self.embedding))
        context: Tensor = self.attention_gate(self.attention(enriched), enriched)
        return context

    @torch.no_grad()
    def scalar_maps(self) -> ScalarSelection:
        """``selection.collapsed(embedding)`` for :meth:`step`, computed again only when the weights have changed."""
        weights = [*self.embedding.parameters(), *self.selection.parameters()]
        if self._maps is not None:
            known, maps = self._maps
            if all(
                mine.dtype == theirs.dtype and torch.equal(mine, theirs)
                for mine, theirs in zip(weights, known, strict=True)
            ):
                return maps
        maps = self.selection.collapsed(self.embedding)
        self._maps = [weight.clone() for weight in weights], maps
        return maps

    def begin(self, features: Tensor) -> tuple[Tensor, BackboneState]:
        """Read sequences and keep what :meth:`step` needs to read on.

        Args:
            features: [batch, time, features].

        Returns:
            Context of the last bar, [batch, hidden], and the state after it.
        """
        enriched, encoder = self._enriched(features, None, self.selection.collapsed(self.embedding))
        keys, values = self.attention.remember(enriched)
        count = torch.full((len(features),), features.shape[1] - 1, device=features.device)
        attended = self.attention.step(enriched[:, -1], keys, values, count)
        context: Tensor = self.attention_gate(attended, enriched[:, -1])
        return context, BackboneState(encoder, keys, values, count + 1)

    def step(self, features: Tensor, state: BackboneState, maps: ScalarSelection) -> Tensor:
        """Read one more bar of each sequence.

        Args:
            features: [batch, features].
            state: State before the bar; it moves on to the one after it.
            maps: :meth:`scalar_maps`.

        Returns:
            Context of the bar, [batch, hidden].
        """
        enriched, state.encoder = self._enriched(features[:, None], state.encoder, maps)
        attended = self.attention.step(enriched[:, 0], state.keys, state.values, state.count)
        state.count += 1
        context: Tensor = self.attention_gate(attended, enriched[:, 0])
        return context

    def _enriched(
        self, features: Tensor, state: tuple[Tensor, ...] | None, maps: ScalarSelection
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the attention reads, [batch, time, hidden], and the encoder's state, sequences first."""
        selected, _ = self.selection.select_scalars(features, maps)
        recurrent, after = self._encoded(selected, state)
        enriched: Tensor = self.enrichment(self.recurrent_gate(recurrent, selected))
        return enriched, after

    def _encoded(self, selected: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.encoder_name == "none":
            return selected, ()
        encoder = getattr(self, self.encoder_name)
        if self.encoder_name == "tkan":
            layers = None if state is None else [TKANState(*state[n : n + 3]) for n in range(0, len(state), 3)]
            output, after = encoder(selected, layers)
            return output, tuple(values for layer in after for values in layer)
        # torch's own layers keep [layers, batch, hidden], one tensor (GRU) or two (LSTM).
        carried = None if state is None else tuple(values.transpose(0, 1).contiguous() for values in state)
        output, after = encoder(selected, carried[0] if carried is not None and len(carried) == 1 else carried)
        after = (after,) if isinstance(after, Tensor) else after
        return output, tuple(values.transpose(0, 1) for values in after)
