r"""What fine-tuning may change: every weight, the head alone, or low-rank adapters.

An adapter adds to the weights of a linear layer a product of two thin matrices, which is all that is trained (LoRA,
arXiv 2106.09685):

    W' = W + scale * B A,    A [rank, in] random, B [out, rank] zero at first,    scale = 2

Training starts at the very model it starts from, and moves it within few dimensions: a guard against learning a short
history by heart. Adapters go around the linear layers that are called as modules. A weight that the code reads
without a call (the head's first layers, the TKAN cells, the networks of variable selection) would never see its adapter
and stays as it is. In the end the products are added to the weights: what is saved is a model like any other.

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
"""Weight of an adapter's product; the customary ``alpha = 2 * rank``."""

_FIRST, _SECOND, _BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer."


def restrict(model: LEMModel, method: Method, batch: TrainingBatch, *, rank: int = 8) -> None:
    """Let training change only what a method may change; ``model`` is changed in place.

    Args:
        model: The model to be trained.
        method: ``"full"``, ``"head"`` or ``"lora"``.
        batch: Any training batch: layers are found by running the model on it.
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
    """Weights with the adapters' products added, under the names that they have without adapters.

    Args:
        weights: State dict of a model with adapters, or without: then they come back as they are.

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
