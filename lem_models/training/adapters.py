r"""The weights that fine-tuning may change: every weight, the head alone, or low-rank adapters.

An adapter adds a product of two thin matrices to the weights of a linear layer. Only these matrices are trained (LoRA,
arXiv 2106.09685):

    W' = W + scale * B A,    A [rank, in] random, B [out, rank] zero at first,    scale = 2

At first the model equals the start. Training then moves it within few dimensions, which limits overfitting to a short
history. Adapters wrap the linear layers that are called as modules. Weights that the code reads without a call
(the head's first layers, the TKAN cells, the networks of variable selection) get no adapter and do not change. At the
end the products are added to the weights, so the saved model is a plain one.

The adapters are those of the ``peft`` package, the optional dependency ``lem-models[lora]``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lem_models.errors import ConfigError
from lem_models.execution.simulator import simulate
from lem_models.modeling.batch import TrainingBatch
from lem_models.modeling.model import LEMModel
from lem_models.training.settings import Method

__all__ = ["SCALE", "called_layers", "merged", "restrict"]

SCALE = 2
"""Factor of an adapter's product; the usual ``alpha = 2 * rank``."""

_FIRST, _SECOND, _BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer."


def restrict(model: LEMModel, method: Method, batch: TrainingBatch, *, rank: int = 8) -> None:
    """Freeze the weights that a method may not change; ``model`` is changed in place.

    Args:
        model: The model to be trained.
        method: ``"full"``, ``"head"`` or ``"lora"``.
        batch: Any training batch: the model runs on it to find its layers.
        rank: Rank of the adapters.

    Raises:
        ConfigError: when ``peft`` is missing.
    """
    if method == "head":
        model.backbone.requires_grad_(False)
    elif method == "lora":
        _add_adapters(model, called_layers(model, batch), rank)


def called_layers(model: LEMModel, batch: TrainingBatch) -> list[str]:
    """Names of the linear layers that a decision calls as modules, sorted."""
    called: set[str] = set()

    def watch(name: str, layer: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_pre_hook(lambda *_: called.add(name))

    handles = [watch(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    try:
        with torch.no_grad():
            simulate(model, batch.orders, batch.window, model.order_contexts(batch))
    finally:
        for handle in handles:
            handle.remove()
    return sorted(called)


def _add_adapters(model: LEMModel, layers: list[str], rank: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ConfigError(
            "method 'lora' needs the package peft: pip install 'lem-models[lora]', or use method 'head' or 'full'"
        ) from None
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=layers), model)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.endswith((_FIRST, _SECOND)))


def merged(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the adapters' products added, under the names without adapters.

    Args:
        weights: State dict of a model. Without adapters the weights are returned unchanged.

    Example:
        >>> layer = {"a.base_layer.weight": torch.zeros(2, 3), "b": torch.ones(1)}
        >>> layer |= {"a.lora_A.default.weight": torch.ones(1, 3), "a.lora_B.default.weight": torch.ones(2, 1)}
        >>> {name: weight.tolist() for name, weight in merged(layer).items()}
        {'a.weight': [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]], 'b': [1.0]}
    """
    plain = {}
    for name, weight in weights.items():
        if name.endswith((_FIRST, _SECOND)):
            continue
        layer = name.removesuffix(f"{_BASE}weight")
        if layer != name and layer + _FIRST in weights:
            weight = weight + SCALE * weights[layer + _SECOND] @ weights[layer + _FIRST]
        plain[name.replace(_BASE, ".")] = weight
    return plain
