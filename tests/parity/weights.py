"""Weights of the published networks, by their names in the fixtures, under the names of this package.

A mapping is a dict from our parameter names to arrays in our orientation, ready for ``load_state_dict(strict=True)``;
the helpers below compose, so that the whole model is mapped by prefixing the mappings of its layers. Gradients
map alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

FIXTURES = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
"""Numbers computed with the authors' implementation; not part of the repository."""

Arrays = Mapping[str, NDArray[np.float32]]


def load_fixture(name: str) -> dict[str, NDArray[np.float32]]:
    """Read one fixture, or skip the calling test where the fixtures are not at hand."""
    path = FIXTURES / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"parity fixtures are kept outside the repository; {path.name} is not in {FIXTURES}")
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def prefixed(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same mapping with a module path in front of each name."""
    return {f"{prefix}.{name}": value for name, value in weights.items()}


def dense(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A Keras dense layer as a ``torch.nn.Linear``."""
    return {
        "weight": torch.from_numpy(arrays[f"{name}.kernel"].T.copy()),
        "bias": torch.from_numpy(arrays[f"{name}.bias"]),
    }


def norm(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A Keras layer normalisation as a ``torch.nn.LayerNorm``."""
    return {"weight": torch.from_numpy(arrays[f"{name}.gamma"]), "bias": torch.from_numpy(arrays[f"{name}.beta"])}


def gate(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A ``Gate``: dense rows first, gated rows after them."""
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
    """A ``VariableSelectionNetwork``: the selector and the stack of the inputs' networks, kernels as [in, out]."""
    mapped = prefixed("selector", grn(arrays, f"{name}.selector"))

    def stacked(*layers: str) -> Tensor:
        networks = [
            np.concatenate([arrays[f"{name}.grn{i}.{layer}"] for layer in layers], axis=-1) for i in range(num_inputs)
        ]
        return torch.from_numpy(np.stack(networks))

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
        "weight": torch.from_numpy(np.stack([arrays[f"{name}.{i}.kernel"][0] for i in range(num_inputs)], axis=1)),
        "bias": torch.from_numpy(np.stack([arrays[f"{name}.{i}.bias"] for i in range(num_inputs)], axis=1)),
    }


def kan(arrays: Arrays, name: str) -> dict[str, Tensor]:
    """A ``KANLinear``, with its normalisation where the fixture has one. The grid is not a weight here."""
    mapped = {key: torch.from_numpy(arrays[f"{name}.{key}"]) for key in ("base_weight", "base_bias", "spline_weight")}
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
    mapped = {ours: torch.from_numpy(arrays[f"{name}.{theirs}"]) for ours, theirs in names.items()}
    gains = torch.from_numpy(arrays[f"{name}.sub_tkan_kernel"]).chunk(2, dim=1)
    mapped["sub_output_gain"], mapped["sub_memory_gain"] = gains
    for layer in range(len(mapped["sub_input_kernel"])):
        mapped |= prefixed(f"kans.{layer}", kan(arrays, f"{name}.sub{layer}"))
    return mapped
