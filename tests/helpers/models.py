"""Small models with random weights."""

from __future__ import annotations

from typing import Any

import torch

from lem_models.modeling.config import LEMConfig
from lem_models.modeling.model import LEMModel


def tiny_config(**settings: Any) -> LEMConfig:
    """A model of a few thousand weights."""
    small = {
        "horizon": 6,
        "warmup": 16,
        "block": 16,
        "hidden_size": 8,
        "tkan_layers": 1,
        "attention_heads": 2,
        "attention_window": 8,
        "head_config": {"hidden_size": 8, "layers": 2},
    }
    return LEMConfig(**{**small, **settings})


def random_model(config: LEMConfig | None = None, seed: int = 0) -> LEMModel:
    """A model with random weights, large in its last layer so that decisions differ, that may predict."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LEMModel(config)
    with torch.no_grad():
        if hasattr(model.head, "output"):
            model.head.output.weight.mul_(30.0)
            model.head.output.bias.zero_()
    model.is_trained = True
    return model.eval()
