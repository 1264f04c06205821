"""Attention over a window of bars, with a backward pass that keeps nothing but its inputs.

In eager mode, scores and weights of every pair of bars pass through memory several times. The kernels
of ``attention.cpp``, where the equations are, keep them in registers and in the first cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lem_models.modeling.kernels.library import Table, call, outside_graphs

__all__ = ["attended"]


@outside_graphs
def attended(qkv: Tensor, distance_bias: Tensor, rows: Tensor | None = None) -> Tensor:
    """Weighted values of the last ``window`` bars.

    Args:
        qkv: Queries, keys and values side by side, [batch, time, 3, heads, size].
        distance_bias: Added to the score of a bar so many bars before, [heads, window], of the same type.
        rows: Bars to answer for, int64 [rows] in order, of the ``batch * time`` bars; all if None. Without a gradient.

    Returns:
        [batch, time, heads * size], or [rows, heads * size].

    Raises:
        ValueError: If the shapes do not fit, or the rows are not in order or no bars.
    """
    batch, time, three, heads, _ = qkv.shape
    if three != 3 or len(distance_bias) != heads:
        raise ValueError(f"{list(qkv.shape)} is not [batch, time, 3, {len(distance_bias)} heads, size]")
    inputs = qkv.contiguous(), distance_bias.contiguous()
    if rows is None:
        result: Tensor = _Attention.apply(*inputs)  # type: ignore[no-untyped-call]
        return result
    if not len(rows):  # the address of an empty tensor is that of no rows given
        return qkv.new_empty(0, qkv.shape[3] * qkv.shape[4])
    if not (rows[0] >= 0 and rows[-1] < batch * time and bool((rows.diff() >= 0).all())):
        raise ValueError(f"rows must be in order and of the {batch * time} bars")
    return _forward(inputs[0].detach(), inputs[1].detach(), rows)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        qkv: Tensor,
        distance_bias: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(qkv, distance_bias)
        return _forward(qkv, distance_bias, None).view(*qkv.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad: Tensor,
    ) -> tuple[Tensor, Tensor]:
        qkv, distance_bias = ctx.saved_tensors
        batch, time, _, heads, size = qkv.shape
        to_qkv, to_bias = torch.empty_like(qkv), qkv.new_empty(batch, *distance_bias.shape)
        call(
            *("attention_backward", grad.contiguous(), qkv, distance_bias, to_qkv, to_bias),
            *(batch, time, heads, size, distance_bias.shape[1]),
        )
        return to_qkv, to_bias.sum(0)


def _forward(qkv: Tensor, distance_bias: Tensor, rows: Tensor | None) -> Tensor:
    """[rows, heads * size]."""
    batch, time, _, heads, size = qkv.shape
    count = batch * time if rows is None else len(rows)
    out = qkv.new_empty(count, heads * size)
    call(
        *("attention_forward", qkv, distance_bias, None if rows is None else Table([rows.contiguous()]), out),
        *(batch, time, heads, size, distance_bias.shape[1], count),
    )
    return out
