"""One bar of the backbone for many sequences in one call: for live orders.

A bar of a few sequences is some hundred small operations, which torch takes longer to call than to compute. The kernel
of ``backbone_step.cpp`` computes the same numbers up to rounding, without gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lem_models.modeling.kernels.library import Table, call
from lem_models.modeling.kernels.recurrence import LayerWeights, Splines
from lem_models.modeling.kernels.scalar_networks import ScalarNetworks

__all__ = ["BackboneWeights", "stepped"]


@dataclass(frozen=True)
class BackboneWeights:
    """The weights of a backbone as the kernel takes them, of one type.

    Attributes:
        table: The arrays.
        inputs: Features of a bar.
        width: Hidden size.
        layers: TKAN layers.
        heads: Heads of the attention.
        window: Bars attended to.
        splines: Grid of the splines.
        dtype: Type of the weights.
    """

    table: Table
    inputs: int
    width: int
    layers: int
    heads: int
    window: int
    splines: Splines
    dtype: torch.dtype

    @classmethod
    def of(
        cls,
        selector: Sequence[Tensor],
        networks: ScalarNetworks,
        offset: Tensor,
        layers: Sequence[LayerWeights],
        after: Sequence[Tensor],
        distance_bias: Tensor,
        splines: Splines,
    ) -> BackboneWeights:
        """Make the weights ready; they are copied.

        Args:
            selector: Weights of the selector: skip connection, two hidden layers, gate (weight and bias each), scale
                and offset of its normalisation.
            networks: The networks of the inputs.
            offset: Offsets of their normalisations, [inputs, width].
            layers: The TKAN layers.
            after: Weights of what follows them: gate with its normalisation, residual network in the order of the
                selector, query, key and value, output of the attention, gate with its normalisation.
            distance_bias: [heads, window].
            splines: Grid of the splines.
        """
        turned = networks._replace(gate=networks.gate.transpose(1, 2))
        recurrent = [
            weight
            for layer in layers
            for weight in (
                *(layer.kernel.t(), layer.bias, layer.output.t(), layer.output_bias, layer.sub_input.t()),
                *(layer.recurrent, layer.sub_state, layer.gain, layer.keep),
                *(layer.norm_weight, layer.norm_bias, layer.kan, layer.kan_bias),
            )
        ]
        *before_bias, gate_weight, gate_bias, scale, shift = after
        weights = [
            *(*selector, *turned, offset, *recurrent),
            *(*before_bias, distance_bias, gate_weight, gate_bias, scale, shift),
        ]
        dtype = offset.dtype
        (inputs, width), (heads, window) = offset.shape, distance_bias.shape
        copies = [weight.detach().to(dtype).contiguous().clone() for weight in weights]
        return cls(Table(copies), inputs, width, len(layers), heads, window, splines, dtype)


def stepped(features: Tensor, state: Sequence[Tensor], weights: BackboneWeights) -> Tensor:
    """Read one more bar of each sequence.

    Args:
        features: [sequences, inputs].
        state: ``h``, ``c`` and ``s`` of each TKAN layer, keys, values and the count of bars, sequences first and
            contiguous; they move on in place.
        weights: The weights.

    Returns:
        Context of the bar, [sequences, width].
    """
    context = features.new_empty(len(features), weights.width)
    call(
        *("backbone_step", features.contiguous(), context, weights.table, Table(state)),
        *(len(features), weights.inputs, weights.width, weights.layers, weights.heads, weights.window),
        *weights.splines,
    )
    return context
