"""The weighted sum of the networks of scalar inputs, with a backward pass that keeps nothing but its inputs.

These are the networks of variable selection. In eager mode a dozen tensors of tokens x inputs x hidden numbers pass
through the memory, and autograd keeps most of them. The kernels of ``scalar_networks.cpp``, where the equations are, go
through the tokens once. They compute a tile again when its gradient is wanted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lem_models.modeling.kernels.library import call, outside_graphs

__all__ = ["ScalarNetworks", "fused_networks"]


class ScalarNetworks(NamedTuple):
    """Parameters of the networks of ``I`` scalar inputs, hidden size ``H``; contiguous, of one type.

    Attributes:
        slope: [I, H], of the first layer.
        intercept: [I, H], of the first layer.
        skip_slope: [I, H], of the skip connection.
        skip_intercept: [I, H], of the skip connection.
        scale: [I, H], of the normalisation.
        gate: [I, H, 2 H], second layer and gate in one.
        gate_bias: [I, 2 H].
    """

    slope: Tensor
    intercept: Tensor
    skip_slope: Tensor
    skip_intercept: Tensor
    scale: Tensor
    gate: Tensor
    gate_bias: Tensor


@outside_graphs
def fused_networks(x: Tensor, weights: Tensor, networks: ScalarNetworks, eps: float) -> Tensor:
    """``sum_i weights_i * scale_i * normalised_i(x_i)``; the normalisations' offsets are not in it.

    Args:
        x: [tokens, I].
        weights: [tokens, I].
        networks: The networks.
        eps: What the normalisation adds to the variance.

    Returns:
        [tokens, H].

    Raises:
        ValueError: If there are not as many inputs and weights as networks.
    """
    if not x.shape == weights.shape == (len(x), len(networks.slope)):
        raise ValueError(
            f"{len(networks.slope)} networks need as many inputs and weights, got {list(x.shape)} and "
            f"{list(weights.shape)}"
        )
    tensors = [tensor.contiguous() for tensor in (x, weights, *networks)]
    result: Tensor = _Networks.apply(eps, *tensors)  # type: ignore[no-untyped-call]
    return result


class _Networks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        eps: float,
        x: Tensor,
        weights: Tensor,
        *networks: Tensor,
    ) -> Tensor:
        *vectors, gate, gate_bias = networks
        tokens, (inputs, width) = len(x), gate.shape[:2]
        out, turned = x.new_empty(tokens, width), gate.transpose(1, 2).contiguous()
        call("networks_forward", x, weights, *vectors, turned, gate_bias, out, tokens, inputs, width, eps)
        ctx.eps = eps
        ctx.save_for_backward(x, weights, turned, *networks)
        return out

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        grad: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weights, turned, *networks = ctx.saved_tensors
        *vectors, gate, gate_bias = networks
        tokens, (inputs, width) = len(x), gate.shape[:2]
        to_x, to_weights = torch.empty_like(x), torch.empty_like(weights)
        sizes = [width] * 5 + [2 * width, 2 * width * width]
        to_networks = x.new_empty(inputs, sum(sizes))
        call(
            *("networks_backward", grad.contiguous(), x, weights, *vectors, gate, turned, gate_bias),
            *(to_x, to_weights, to_networks, tokens, inputs, width, ctx.eps),
        )
        *to_vectors, to_bias, to_gate = (gradient.contiguous() for gradient in to_networks.split(sizes, 1))
        return None, to_x, to_weights, *to_vectors, to_gate.view_as(gate), to_bias
