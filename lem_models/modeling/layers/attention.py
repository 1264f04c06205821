"""Causal attention over a window of bars."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lem_models.modeling.kernels.attention import attended as attended_by_kernel
from lem_models.modeling.kernels.library import is_available

__all__ = ["WindowedAttention"]


class WindowedAttention(nn.Module):
    """Causal multi-head attention over the last ``window`` bars, with a learned bias per head and distance.

    A position enters only as a distance, so the result does not depend on where in a stretch a bar lies. The queries go
    in chunks of ``window`` bars. A chunk sees its own keys and those of the chunk before. So work and memory grow with
    the length of the stretch, not with its square. On the CPU a compiled kernel attends if there is a compiler.

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

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: [batch, time, hidden].
            rows: Bars to answer for, int64 [rows] in order, of the ``batch * time`` bars; all if None.

        Returns:
            [batch, time, hidden], or [rows, hidden].
        """
        precise = torch.promote_types(self.distance_bias.dtype, torch.float32)
        qkv = self.query_key_value(x).unflatten(-1, (3, self.heads, -1))
        if not is_available(qkv, precise) or (rows is not None and torch.is_grad_enabled()):
            attended = self._in_chunks(qkv)
            attended = attended if rows is None else attended.flatten(0, 1)[rows]
        else:
            with torch.autocast(x.device.type, enabled=False):
                attended = attended_by_kernel(qkv.to(precise), self.distance_bias.to(precise), rows).to(qkv.dtype)
        result: Tensor = self.output(attended)
        return result

    def _in_chunks(self, qkv: Tensor) -> Tensor:
        """Weighted values, [batch, time, hidden], of [batch, time, 3, heads, size]."""
        batch, time = qkv.shape[:2]
        chunk = min(self.window, time)
        chunks = -(-time // chunk)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query = functional.pad(query, (0, 0, 0, chunks * chunk - time)).view(batch, self.heads, chunks, chunk, -1)
        # [batch, heads, chunks, 2 * chunk, size]: each chunk after the one before it, the first after a chunk of zeros.
        key, value = (
            functional.pad(each, (0, 0, chunk, chunks * chunk - time)).unfold(2, 2 * chunk, chunk).transpose(3, 4)
            for each in (key, value)
        )
        scores = torch.matmul(query, key.transpose(3, 4) * query.shape[-1] ** -0.5)
        weights = torch.softmax(scores + self._bias(chunks, chunk).to(scores.dtype), dim=-1)
        attended = torch.matmul(weights, value).flatten(2, 3)[:, :, :time]
        return attended.transpose(1, 2).flatten(2)

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a sequence for :meth:`step`.

        Args:
            x: [batch, time, hidden].

        Returns:
            Keys and values of the last bars, [batch, window, heads, size] each; those of bar ``n`` at ``n % window``.
        """
        batch, time, _ = x.shape
        last = torch.arange(max(time - self.window, 0), time, device=x.device)
        projected = self.query_key_value(x[:, last]).view(batch, len(last), 3, self.heads, -1)
        memory = projected.new_zeros(2, batch, self.window, self.heads, projected.shape[-1])
        memory[:, :, last % self.window] = projected[:, :, 1:].permute(2, 0, 1, 3, 4)
        return memory[0], memory[1]

    def step(self, x: Tensor, keys: Tensor, values: Tensor, count: Tensor) -> Tensor:
        """Attend from one new bar of each sequence.

        Args:
            x: The new bars, [batch, hidden].
            keys: Keys of the bars before, see :meth:`remember`. The keys of the new bars are written into this tensor.
            values: Values of the bars before. The values of the new bars are written into this tensor.
            count: Bars before the new one, int64 [batch].

        Returns:
            [batch, hidden].
        """
        batch, hidden = x.shape
        query, key, value = self.query_key_value(x).view(batch, 3, self.heads, -1).unbind(1)
        place = count % self.window
        rows = torch.arange(batch, device=x.device)
        keys[rows, place], values[rows, place] = key, value
        weights, _ = self._weights_of(query, keys, count)
        attended = (weights.unsqueeze(-1) * values).sum(1)
        result: Tensor = self.output(attended.reshape(batch, hidden))
        return result

    def last_weights(self, x: Tensor) -> Tensor:
        """Weights with which the last bar of sequences attends to itself and to the bars before.

        Args:
            x: [batch, time, hidden].

        Returns:
            [batch, window, heads] by distance: the bar itself first. They sum to one over the window; 0 for bars before
            the sequence.
        """
        batch, time, _ = x.shape
        keys, _ = self.remember(x)
        query = self.query_key_value(x[:, -1]).view(batch, 3, self.heads, -1)[:, 0]
        weights, distance = self._weights_of(query, keys, torch.full((batch,), time - 1, device=x.device))
        return torch.zeros_like(weights).scatter(1, distance[:, :, None].expand_as(weights), weights)

    def _weights_of(self, query: Tensor, keys: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of remembered bars, [batch, window, heads], and their distances, int64 [batch, window]."""
        place = count % self.window
        distance = (place[:, None] - torch.arange(self.window, device=keys.device)) % self.window
        bias = self.distance_bias.t()[distance].masked_fill((distance > count[:, None])[:, :, None], -torch.inf)
        # [batch, window, heads]; products of single rows are faster as sums than as matrix products.
        scores = (keys * (query[:, None] * query.shape[-1] ** -0.5)).sum(-1) + bias.to(keys.dtype)
        return torch.softmax(scores, dim=1), distance

    def _bias(self, chunks: int, chunk: int) -> Tensor:
        """Bias of every score, minus infinity where a query does not see a key, [heads, chunks, chunk, 2 * chunk]."""
        device = self.distance_bias.device
        position = torch.arange(2 * chunk, device=device)
        distance = position[chunk:, None] - position[None, :]
        visible = (distance >= 0) & (distance < self.window)
        exists = torch.arange(chunks, device=device)[:, None] * chunk + position >= chunk
        bias = self.distance_bias[:, distance.clamp(0, self.window - 1)].unsqueeze(1)
        return bias.masked_fill(~(visible & exists[:, None, :]), -torch.inf)
