"""The smallest recipe that has everything, and its market."""

from typing import ClassVar

from lem_models.modeling.config import LEMConfig
from lem_models.training.batches import MarketBatches
from lem_models.training.recipe import Recipe
from lem_models.training.run import train
from lem_models.training.settings import TrainingSettings
from tests.helpers import hourly

BARS = hourly(days=45, seed=3)
TINY = {
    "name": "tiny",
    "seed": 1,
    "data": {
        "train_end": "2024-01-28",
        "validation_end": "2024-02-14",
        "stretches": 4,
        "orders_per_stretch": 16,
        "stretch": 24,
        "validation_batches": 2,
    },
    "model": {
        "horizon": 6,
        "warmup": 16,
        "block": 16,
        "hidden_size": 8,
        "tkan_layers": 1,
        "attention_heads": 2,
        "attention_window": 8,
        "features": ["return_close", "range"],
        "head_config": {"hidden_size": 8, "layers": 2},
    },
    "trainer": {"steps": 6, "steps_per_epoch": 3},
}


def tiny_recipe(**changes):
    content = {
        key: {**value, **changes.get(key, {})} if isinstance(value, dict) else value for key, value in TINY.items()
    }
    content |= {key: value for key, value in changes.items() if key not in TINY or not isinstance(TINY[key], dict)}
    return Recipe(**{**content, "model": LEMConfig(**content["model"])})


def tiny_batches(bars=BARS, **changes):
    recipe = tiny_recipe(**changes)
    return MarketBatches(bars, recipe.data[0], recipe.model, recipe.orders, seed=recipe.seed)


def trained(recipe, *, out, data=None, start=None, resume=None, overwrite=False, **settings):
    """The model of a run on the CPU, without a progress bar."""
    quiet = TrainingSettings(**{"accelerator": "cpu", "progress": False} | settings)
    return train(recipe, out=out, data=data, start=start, resume=resume, overwrite=overwrite, settings=quiet).model


class Watched(MarketBatches):
    """Keeps the numbers of the training batches; may break off."""

    seen: ClassVar[list[int]] = []
    stop_at = None

    def batch(self, number, *, training):
        if training:
            type(self).seen.append(number)
            if len(type(self).seen) == type(self).stop_at:
                raise RuntimeError("power cut")
        return super().batch(number, training=training)
