r"""One TKAN layer over a whole sequence, with a backward pass that keeps only the recurrence sequential.

Autograd would record a dozen nodes per step and add up the weights' gradients step by step. Here the forward pass keeps
per step what the derivatives need (gates, cell states, memories, the sub-layers' points before normalisation), the
backward pass carries the gradients of the state through the steps (kernels of ``recurrence.cpp``; the equations are
there), and the gradient of every weight is one product over all steps. Spline bases are not kept: they are computed
again, some rows at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lem_models.modeling.kernels.library import loaded

__all__ = ["LayerWeights", "Splines", "fused_layer"]

_ROWS_AT_ONCE = 1024  # rows of spline bases in one product for the weights' gradient: they stay in the cache


class Splines(NamedTuple):
    """The grid of the splines and the normalisation in front of it.

    Attributes:
        bases: Number of bases.
        low: First knot.
        step: Distance between knots.
        eps: What is added to the variance.
    """

    bases: int
    low: float
    step: float
    eps: float


class LayerWeights(NamedTuple):
    """Weights of a layer with ``L`` sub-layers, features ``F`` and hidden size ``H``; contiguous, of one type.

    Attributes:
        kernel: [F, 3 H].
        bias: [3 H].
        recurrent: [H, 3 H].
        sub_input: [L, F, F].
        sub_state: [L, F, F].
        gain: [L, F], of the new output in the memory.
        keep: [L, F], of the old memory in the new one.
        norm_weight: [L, F].
        norm_bias: [L, F].
        kan: [L, (bases + 1) F, F], the rectified part's weights, then those of each basis.
        kan_bias: [L, F].
        output: [L F, H].
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


@torch.compiler.disable  # type: ignore[untyped-decorator]
def fused_layer(
    x: Tensor, h: Tensor, c: Tensor, s: Tensor, weights: LayerWeights, splines: Splines
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer.

    Args:
        x: Inputs, [time, batch, F].
        h: Hidden state before the first step, [batch, H].
        c: Cell state before it, [batch, H].
        s: Memories before it, [L, batch, F].
        weights: The weights.
        splines: The grid.

    Returns:
        Hidden states of all steps [time, batch, H], the last cell state [batch, H], the last memories [L, batch, F].
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
        named = LayerWeights(*weights)
        hidden, cell, memory, kept = _forward(splines, x, h, c, s, named, keep=True)
        ctx.splines = splines
        ctx.save_for_backward(x, h, hidden, *kept, *weights)
        return hidden, cell, memory

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad_hidden: Tensor,
        grad_cell: Tensor,
        grad_memory: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, h, hidden, cells, gates, output_gates, outputs, memories, points, *weights = ctx.saved_tensors
        w, run, splines = LayerWeights(*weights), loaded(), ctx.splines
        steps, batch, features = x.shape
        width, rows = hidden.shape[-1], steps * batch
        inputs = x.view(rows, features)

        to_gates, to_output = torch.empty_like(gates), torch.empty_like(output_gates)
        to_h, to_c = torch.empty_like(h), torch.empty_like(h)
        run(
            *("cell_backward", grad_hidden.contiguous(), grad_cell.contiguous(), w.recurrent, cells, gates),
            *(output_gates, to_gates, to_output, to_h, to_c, steps, batch, width),
        )
        flat_gates, flat_output = to_gates.view(rows, 3 * width), to_output.view(rows, width)
        to_recurrent = hidden[:-1].view(-1, width).t() @ to_gates[1:].view(-1, 3 * width)
        to_recurrent.addmm_(h.t(), to_gates[0])
        to_x = flat_gates @ w.kernel.t() if ctx.needs_input_grad[1] else None

        memory_gradient = grad_memory.contiguous()
        to_s = torch.empty_like(memory_gradient)
        to_sub_input, to_sub_state = torch.empty_like(w.sub_input), torch.empty_like(w.sub_state)
        to_kan, to_kan_bias = torch.zeros_like(w.kan), torch.empty_like(w.kan_bias)
        to_output_kernel = torch.empty_like(w.output)
        vectors = w.gain.new_empty(len(w.gain), 4, features)  # of gain, keep, norm_weight, norm_bias
        for layer in range(len(w.gain)):
            part = slice(layer * features, (layer + 1) * features)
            flat_u = outputs[layer].view(rows, features)
            torch.mm(flat_u.t(), flat_output, out=to_output_kernel[part])
            to_u, to_z = flat_output @ w.output[part].t(), torch.empty_like(x)
            run(
                *("sub_layer_backward", to_u, memory_gradient[layer], w.sub_state[layer], w.gain[layer], w.keep[layer]),
                *(w.norm_weight[layer], w.norm_bias[layer], w.kan[layer], outputs[layer], memories[layer]),
                *(points[layer], to_u, to_z, to_s[layer], vectors[layer], steps, batch, features, *splines),
            )
            flat_z = to_z.view(rows, features)
            torch.mm(inputs.t(), flat_z, out=to_sub_input[layer])
            torch.mm(memories[layer, :-1].reshape(rows, features).t(), flat_z, out=to_sub_state[layer])
            torch.sum(to_u, 0, out=to_kan_bias[layer])
            _kan_gradient(to_kan[layer], points[layer].view(rows, features), to_u, w, layer, splines)
            if to_x is not None:
                to_x.addmm_(flat_z, w.sub_input[layer].t())
        return (
            *(None, None if to_x is None else to_x.view_as(x), to_h, to_c, to_s),
            *(inputs.t() @ flat_gates, flat_gates.sum(0), to_recurrent, to_sub_input, to_sub_state),
            *vectors.transpose(0, 1).clone(memory_format=torch.contiguous_format).unbind(0),
            *(to_kan, to_kan_bias, to_output_kernel, flat_output.sum(0)),
        )


def _forward(
    splines: Splines, x: Tensor, h: Tensor, c: Tensor, s: Tensor, w: LayerWeights, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Hidden states, last cell state, last memories, and what the backward pass needs (nothing if not ``keep``)."""
    run = loaded()
    steps, batch, features = x.shape
    width, layers = h.shape[-1], len(s)
    inputs = x.view(-1, features)
    gates = torch.addmm(w.bias, inputs, w.kernel)
    outputs = x.new_empty(layers if keep else 1, steps, batch, features)
    memories = x.new_empty(layers, steps + 1 if keep else 1, batch, features)
    points = x.new_empty(layers if keep else 1, steps, batch, features)
    output_gates = w.output_bias
    for layer in range(layers):
        own = layer if keep else 0  # without a backward pass one buffer serves all sub-layers
        torch.mm(inputs, w.sub_input[layer], out=points[own].view(-1, features))
        run(
            *("sub_layer_forward", points[own], w.sub_state[layer], w.gain[layer], w.keep[layer]),
            *(w.norm_weight[layer], w.norm_bias[layer], w.kan[layer], w.kan_bias[layer], s[layer], outputs[own]),
            *(memories[layer], points[own] if keep else None, steps, batch, features, *splines),
        )
        kernel = w.output[layer * features : (layer + 1) * features]
        output_gates = torch.addmm(output_gates, outputs[own].view(-1, features), kernel)
    hidden, cells = x.new_empty(steps, batch, width), x.new_empty(steps + 1 if keep else 1, batch, width)
    run(
        *("cell_forward", gates, output_gates, w.recurrent, h, c, hidden, cells, gates if keep else None),
        *(output_gates if keep else None, steps, batch, width),
    )
    if not keep:
        return hidden, cells[-1], memories[:, -1], ()
    kept = (cells, gates.view(steps, batch, -1), output_gates.view_as(hidden), outputs, memories, points)
    return hidden, cells[-1].clone(), memories[:, -1].clone(), kept


def _kan_gradient(out: Tensor, points: Tensor, grad: Tensor, w: LayerWeights, layer: int, splines: Splines) -> None:
    """Add the gradient of a sub-layer's KAN weights to ``out``; points and gradient of the outputs [rows, F]."""
    run, features = loaded(), points.shape[1]
    phi = points.new_empty(min(_ROWS_AT_ONCE, len(points)), len(out))
    for first in range(0, len(points), _ROWS_AT_ONCE):
        some = points[first : first + _ROWS_AT_ONCE]
        run(
            *("expand_rows", some, w.norm_weight[layer], w.norm_bias[layer], phi, len(some), features, *splines),
        )
        out.addmm_(phi[: len(some)].t(), grad[first : first + _ROWS_AT_ONCE])
