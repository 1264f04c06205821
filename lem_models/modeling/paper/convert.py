"""Weights of a model trained with the authors' package, as arrays, into :class:`LookAheadPaperModel`.

Names of the arrays, with an optional ``w.`` in front of all of them; kernels are [in, out]:
``embedding.{i}``, ``vsn.selector``, ``vsn.grn{i}``, ``rnn{layer}`` with ``sub0``, ``gate``, ``addnorm``, ``grn``,
``attention.{query,key,value,output}``, ``mlp{period}.kernel_{k}`` and ``.bias_{k}``, ``scale_factor``,
``base_volume_curve``, ``base_notional_curve``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lem_models.errors import ConfigError, WeightsError
from lem_models.modeling.paper import arrays as layers
from lem_models.modeling.paper.look_ahead import LookAheadPaperModel, PaperConfig

__all__ = ["from_arrays"]

_GRID = np.linspace(-3.0, 3.0, 10)


def from_arrays(arrays: Mapping[str, npt.NDArray[np.float32]], *, lookback: int) -> LookAheadPaperModel:
    """A model with given weights; its sizes are those of the arrays.

    Args:
        arrays: Weights by name, see the module. If some names begin with ``w.``, only these are read.
        lookback: Rows before the first period. No array contains this number.

    Returns:
        The model, in evaluation mode.

    Raises:
        WeightsError: when an array is missing, unused, of the wrong shape or not finite, or a grid is not the model's.
        ConfigError: when the sizes are out of bounds.
    """
    named = {name[2:]: array for name, array in arrays.items() if name.startswith("w.")} or dict(arrays)
    for name, array in named.items():
        if not (isinstance(array, np.ndarray) and np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all()):
            raise WeightsError(f"{name} must be an array of finite floating-point numbers")
    weights = _Weights(named)
    try:
        config = _config(weights, lookback)
        mapped = _mapped(weights, config)
    except ConfigError:
        raise
    except (ValueError, IndexError, RuntimeError) as error:
        raise WeightsError(f"the arrays do not fit each other: {error}") from None
    unused = sorted(set(named) - weights.used)
    if unused:
        raise WeightsError(f"{len(unused)} arrays have no place in the model: {unused[:5]}")
    model = LookAheadPaperModel(config)
    for name, tensor in model.state_dict().items():
        if mapped[name].shape != tensor.shape:
            raise WeightsError(
                f"{name} has the shape {list(mapped[name].shape)}, and the sizes need {list(tensor.shape)}"
            )
    model.load_state_dict(mapped, strict=True)
    return model.eval()


def _config(weights: _Weights, lookback: int) -> PaperConfig:
    horizon = len(weights["base_volume_curve"])
    return PaperConfig(
        features=weights.count("embedding.{}.kernel"),
        lookback=lookback,
        horizon=horizon,
        hidden_size=len(weights["addnorm.gamma"]),
        tkan_layers=weights.count("rnn{}.kernel"),
        attention_heads=weights["attention.query.kernel"].shape[1],
        embedding_dim=weights["embedding.0.kernel"].shape[-1],
        mlp_hidden_size=weights["mlp0.kernel_0"].shape[-1],
    )


def _mapped(weights: _Weights, config: PaperConfig) -> dict[str, Tensor]:
    modules = {
        "embedding": layers.embedding(weights, "embedding", config.features),
        "selection": layers.vsn(weights, "vsn", config.features),
        "recurrent_gate": layers.gate_add_norm(weights, "gate", "addnorm"),
        "enrichment": layers.grn(weights, "grn"),
        "attention": layers.attention(weights, "attention", config.lookback + config.horizon - 1),
    }
    for layer in range(config.tkan_layers):
        modules[f"tkan.cells.{layer}"] = layers.tkan_cell(weights, f"rnn{layer}")
        if not np.allclose(weights[f"rnn{layer}.sub0.grid"], _GRID, atol=1e-5):
            raise WeightsError(f"rnn{layer}.sub0.grid is not 10 knots from -3 to 3")
    for period in range(config.horizon - 1):
        modules[f"steps.{period}"] = layers.fused_mlp(weights, f"mlp{period}")
    mapped = {name: layers.tensor(weights[name]) for name in ("base_volume_curve", "base_notional_curve")}
    mapped["scale_factor"] = layers.tensor(weights["scale_factor"]).flatten()
    for prefix, mapping in modules.items():
        mapped |= layers.prefixed(prefix, mapping)
    return mapped


class _Weights(Mapping[str, "npt.NDArray[np.float32]"]):
    """Arrays by name. A missing array is a typed error, and the names of the arrays read are kept."""

    def __init__(self, arrays: dict[str, npt.NDArray[np.float32]]) -> None:
        self._arrays = arrays
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        if name not in self._arrays:
            raise WeightsError(f"the array {name!r} is missing")
        self.used.add(name)
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def count(self, pattern: str) -> int:
        """How many arrays there are with 0, 1, 2 ... in the name."""
        number = 0
        while pattern.format(number) in self._arrays:
            number += 1
        return number
