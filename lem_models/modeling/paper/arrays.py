"""Arrays of the published networks as weights of the layers of this package.

Each function returns a dict from parameter names to tensors in our orientation, for ``load_state_dict(strict=True)``.
:func:`prefixed` puts the weights of a layer into those of a model. Published kernels are ``[in, out]``. The same
functions map gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = [
    "Arrays",
    "attention",
    "dense",
    "embedding",
    "fused_mlp",
    "gate",
    "gate_add_norm",
    "grn",
    "kan",
    "norm",
    "prefixed",
    "tensor",
    "tkan_cell",
    "vsn",
]

Arrays: TypeAlias = Mapping[str, npt.NDArray[np.float32]]


def prefixed(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same mapping with a module path in front of each name."""
    return {f"{prefix}.{name}": value for name, value in weights.items()}


def dense(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A Keras dense layer as a ``torch.nn.Linear``."""
    return {
        "weight": tensor(arrays[f"{name}.kernel"].T),
        "bias": tensor(arrays[f"{name}.bias"]),
    }


def norm(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A Keras layer normalisation as a ``torch.nn.LayerNorm``."""
    return {"weight": tensor(arrays[f"{name}.gamma"]), "bias": tensor(arrays[f"{name}.beta"])}


def gate(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A ``Gate``: first the dense rows, then the gated rows."""
    halves = dense(arrays, f"{name}.dense"), dense(arrays, f"{name}.gated")
    return {f"linear.{key}": torch.cat([half[key] for half in halves]) for key in ("weight", "bias")}


def gate_add_norm(arrays: Arrays, gate_name: str, norm_name: str) -> dict[str, Tensor]:
    """A ``GateAddNorm``."""
    return {**prefixed("gate", gate(arrays, gate_name)), **prefixed("norm", norm(arrays, norm_name))}


def grn(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A ``GatedResidualNetwork``."""
    mapped = prefixed("gate_add_norm", gate_add_norm(arrays, f"{name}.gate", f"{name}.norm"))
    for layer in ("skip", "hidden1", "hidden2"):
        mapped |= prefixed(layer, dense(arrays, f"{name}.{layer}"))
    return mapped


def vsn(arrays: Arrays, name: str, num_inputs: int) -> dict[str, Tensor]:
    """A ``VariableSelectionNetwork``: the selector and the stacked networks of the inputs, kernels as [in, out]."""
    mapped = prefixed("selector", grn(arrays, f"{name}.selector"))

    def stacked(*layers: str) -> Tensor:
        networks = [
            np.concatenate([arrays[f"{name}.grn{i}.{layer}"] for layer in layers], axis=-1) for i in range(num_inputs)
        ]
        return tensor(np.stack(networks))

    for layer in ("skip", "hidden1", "hidden2"):
        mapped[f"networks.{layer}_weight"] = stacked(f"{layer}.kernel")
        mapped[f"networks.{layer}_bias"] = stacked(f"{layer}.bias")
    mapped["networks.gate_weight"] = stacked("gate.dense.kernel", "gate.gated.kernel")
    mapped["networks.gate_bias"] = stacked("gate.dense.bias", "gate.gated.bias")
    mapped["networks.norm_weight"] = stacked("norm.gamma")
    mapped["networks.norm_bias"] = stacked("norm.beta")
    return mapped


def embedding(arrays: Arrays, name: str, num_inputs: int) -> dict[str, Tensor]:
    """An ``InputEmbedding``: one column per input."""
    return {
        "weight": tensor(np.stack([arrays[f"{name}.{i}.kernel"][0] for i in range(num_inputs)], axis=1)),
        "bias": tensor(np.stack([arrays[f"{name}.{i}.bias"] for i in range(num_inputs)], axis=1)),
    }


def kan(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A ``KANLinear``, with its normalisation if there is one. The grid is not a weight here."""
    mapped = {key: tensor(arrays[f"{name}.{key}"]) for key in ("base_weight", "base_bias", "spline_weight")}
    if f"{name}.layer_norm.gamma" in arrays:
        mapped |= prefixed("norm", norm(arrays, f"{name}.layer_norm"))
    return mapped


def tkan_cell(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A ``TKANCell``."""
    names = {
        "kernel": "kernel",
        "recurrent_kernel": "recurrent_kernel",
        "bias": "bias",
        "sub_input_kernel": "sub_tkan_recurrent_kernel_inputs",
        "sub_state_kernel": "sub_tkan_recurrent_kernel_states",
        "output_kernel": "aggregated_weight",
        "output_bias": "aggregated_bias",
    }
    mapped = {ours: tensor(arrays[f"{name}.{theirs}"]) for ours, theirs in names.items()}
    gains = tensor(arrays[f"{name}.sub_tkan_kernel"]).chunk(2, dim=1)
    mapped["sub_output_gain"], mapped["sub_memory_gain"] = gains
    return mapped | prefixed("kans.0", kan(arrays, f"{name}.sub0"))


def attention(arrays: Arrays, name: str, window: int) -> dict[str, Tensor]:
    """A ``WindowedAttention`` over all rows, without distance bias: kernels [in, heads, size] side by side."""
    projections = ("query", "key", "value")
    kernels = [arrays[f"{name}.{projection}.kernel"] for projection in projections]
    biases = [arrays[f"{name}.{projection}.bias"].ravel() for projection in projections]
    hidden, heads, _ = kernels[0].shape
    output = arrays[f"{name}.output.kernel"]
    return {
        "query_key_value.weight": tensor(np.concatenate([kernel.reshape(hidden, -1) for kernel in kernels], 1).T),
        "query_key_value.bias": tensor(np.concatenate(biases)),
        "output.weight": tensor(output.reshape(-1, output.shape[-1]).T),
        "output.bias": tensor(arrays[f"{name}.output.bias"]),
        "distance_bias": torch.zeros(heads, window),
    }


def fused_mlp(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A ``FusedMLP``."""
    layers = range(3)
    mapped = {f"kernels.{layer}": tensor(arrays[f"{name}.kernel_{layer}"]) for layer in layers}
    return mapped | {f"biases.{layer}": tensor(arrays[f"{name}.bias_{layer}"]) for layer in layers}


def tensor(array: npt.NDArray[np.float32]) -> Tensor:
    """A float32 tensor with a copy of the array."""
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
