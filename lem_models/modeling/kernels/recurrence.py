r"""One TKAN layer over a whole sequence, with a backward pass that keeps only the recurrence sequential.

Autograd would record a dozen nodes per step and add up the gradients of the weights step by step. Here the forward pass
keeps per step what the derivatives need: gates, cell states, memories, and the points of the sub-layer before their
normalisation. The backward pass carries the gradients of the state through the steps (kernels of ``recurrence.cpp``,
where the equations are). The gradient of every weight is then one product over all steps. The bases of the splines are
not kept: they are computed again, some rows at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lem_models.modeling.kernels.library import call, outside_graphs

__all__ = ["LayerWeights", "Splines", "fused_layer"]

_ROWS_AT_ONCE = 1024
"""Rows of spline bases in one product for the gradient of the KAN's weights: they stay in the cache."""


class Splines(NamedTuple):
    """The grid of the splines and the normalisation in front of it.

    Attributes:
        bases: Number of bases.
        low: First knot.
        step: Distance between knots.
        eps: Added to the variance.
    """

    bases: int
    low: float
    step: float
    eps: float


class LayerWeights(NamedTuple):
    """Weights of a layer with ``F`` features and hidden size ``H``; contiguous, of one type.

    Attributes:
        kernel: [F, 3 H].
        bias: [3 H].
        recurrent: [H, 3 H].
        sub_input: [F, F].
        sub_state: [F, F].
        gain: [F], of the new output in the memory.
        keep: [F], of the old memory in the new one.
        norm_weight: [F].
        norm_bias: [F].
        kan: [(bases + 1) F, F], the weights of the rectified features, then those of each basis.
        kan_bias: [F].
        output: [F, H].
        output_bias: [H].
    """

    kernel: Tensor
    bias: Tensor
    recurrent: Tensor
    sub_input: Tensor
    sub_state: Tensor
    gain: Tensor
    keep: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    kan: Tensor
    kan_bias: Tensor
    output: Tensor
    output_bias: Tensor


@outside_graphs
def fused_layer(
    x: Tensor, h: Tensor, c: Tensor, s: Tensor, weights: LayerWeights, splines: Splines
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute a layer.

    Args:
        x: Inputs, [time, batch, F].
        h: Hidden state before the first step, [batch, H].
        c: Cell state before it, [batch, H].
        s: Memory before it, [batch, F].
        weights: The weights.
        splines: The grid.

    Returns:
        Hidden states of all steps [time, batch, H], the last cell state [batch, H], the last memory [batch, F].
    """
    tensors = [tensor.contiguous() for tensor in (x, h, c, s, *weights)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        result: tuple[Tensor, Tensor, Tensor] = _Layer.apply(splines, *tensors)  # type: ignore[no-untyped-call]
        return result
    x, h, c, s = tensors[:4]
    hidden, cell, memory, _ = _forward(splines, x, h, c, s, LayerWeights(*tensors[4:]), keep=False)
    return hidden, cell, memory


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        splines: Splines,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        s: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        hidden, cell, memory, kept = _forward(splines, x, h, c, s, LayerWeights(*weights), keep=True)
        ctx.splines = splines
        ctx.save_for_backward(x, h, hidden, *kept, *weights)
        return hidden, cell, memory

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        *gradients: Tensor,
    ) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            return None, *_backward(ctx.splines, ctx.saved_tensors, *gradients, needs_x=ctx.needs_input_grad[1])


def _forward(
    splines: Splines, x: Tensor, h: Tensor, c: Tensor, s: Tensor, w: LayerWeights, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Hidden states, last cell state, last memory, and what the backward pass needs (nothing if not ``keep``)."""
    steps, batch, features = x.shape
    width, inputs = h.shape[-1], x.view(-1, features)
    points, outputs = (inputs @ w.sub_input).view_as(x), torch.empty_like(x)
    memories = x.new_empty(steps + 1 if keep else 1, batch, features)
    call(
        *("sub_layer_forward", points, w.sub_state, w.gain, w.keep, w.norm_weight, w.norm_bias, w.kan, w.kan_bias),
        *(s, outputs, memories, points if keep else None, steps, batch, features, *splines),
    )
    gates = torch.addmm(w.bias, inputs, w.kernel)
    output_gates = torch.addmm(w.output_bias, outputs.view(-1, features), w.output)
    hidden, cells = x.new_empty(steps, batch, width), x.new_empty(steps + 1 if keep else 1, batch, width)
    call(
        *("cell_forward", gates, output_gates, w.recurrent, h, c, hidden, cells, gates if keep else None),
        *(output_gates if keep else None, steps, batch, width),
    )
    if not keep:
        return hidden, cells[-1], memories[-1], ()
    kept = (cells, gates.view(steps, batch, -1), output_gates.view_as(hidden), outputs, memories, points)
    return hidden, cells[-1].clone(), memories[-1].clone(), kept


def _backward(
    splines: Splines,
    saved: tuple[Tensor, ...],
    grad_hidden: Tensor,
    grad_cell: Tensor,
    grad_memory: Tensor,
    *,
    needs_x: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients of ``x`` (if needed), of the state before the first step, and of the weights."""
    x, h, hidden, cells, gates, output_gates, outputs, memories, points, *weights = saved
    w = LayerWeights(*weights)
    steps, batch, features = x.shape
    width, rows = hidden.shape[-1], steps * batch
    inputs = x.view(rows, features)

    to_gates, to_output = torch.empty_like(gates), torch.empty_like(output_gates)
    to_h, to_c = torch.empty_like(h), torch.empty_like(h)
    call(
        *("cell_backward", grad_hidden.contiguous(), grad_cell.contiguous(), w.recurrent, cells, gates),
        *(output_gates, to_gates, to_output, to_h, to_c, steps, batch, width),
    )
    to_recurrent = hidden[:-1].view(-1, width).t() @ to_gates[1:].view(-1, 3 * width)
    to_recurrent.addmm_(h.t(), to_gates[0])
    to_gates, to_output = to_gates.view(rows, 3 * width), to_output.view(rows, width)

    to_u, to_z, to_s = to_output @ w.output.t(), torch.empty_like(inputs), torch.empty_like(memories[0])
    vectors = x.new_empty(4, features)
    call(
        *("sub_layer_backward", to_u, grad_memory.contiguous(), w.sub_state, w.gain, w.keep, w.norm_weight),
        *(w.norm_bias, w.kan, outputs, memories, points, to_u, to_z, to_s, vectors),
        *(steps, batch, features, *splines),
    )
    to_gain, to_keep, to_norm_weight, to_norm_bias = vectors.unbind(0)
    to_weights = LayerWeights(
        kernel=inputs.t() @ to_gates,
        bias=to_gates.sum(0),
        recurrent=to_recurrent,
        sub_input=inputs.t() @ to_z,
        sub_state=memories[:-1].view(rows, features).t() @ to_z,
        gain=to_gain,
        keep=to_keep,
        norm_weight=to_norm_weight,
        norm_bias=to_norm_bias,
        kan=_kan_gradient(points.view(rows, features), to_u, w, splines),
        kan_bias=to_u.sum(0),
        output=outputs.view(rows, features).t() @ to_output,
        output_bias=to_output.sum(0),
    )
    to_x = (to_gates @ w.kernel.t()).addmm_(to_z, w.sub_input.t()).view_as(x) if needs_x else None
    return to_x, to_h, to_c, to_s, *to_weights


def _kan_gradient(points: Tensor, gradient: Tensor, w: LayerWeights, splines: Splines) -> Tensor:
    """Gradient of ``w.kan``, from the points before the normalisation and the gradient of the outputs, [rows, F]."""
    features, total = points.shape[1], torch.zeros_like(w.kan)
    phi = points.new_empty(min(_ROWS_AT_ONCE, len(points)), len(total))
    for first in range(0, len(points), _ROWS_AT_ONCE):
        some = points[first : first + _ROWS_AT_ONCE]
        call("expand_rows", some, w.norm_weight, w.norm_bias, phi, len(some), features, *splines)
        total.addmm_(phi[: len(some)].t(), gradient[first : first + _ROWS_AT_ONCE])
    return total
