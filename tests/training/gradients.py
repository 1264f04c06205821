"""Gradients in float64, by hand and by a trainer: what differs then differs by more than rounding."""

from dataclasses import fields, replace

import lightning as L
import torch

from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.modeling.optimizer import OptimizerConfig
from lem_models.training.batches import MarketBatches
from lem_models.training.datamodule import ExecutionDataModule
from tests.helpers import random_model
from tests.training.tiny import BARS, tiny_recipe

ACCUMULATE = 2


def _in_double(batch):
    """The same batch in float64."""
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    for name, value in values.items():
        if isinstance(value, OrderBatch | MarketWindow):
            values[name] = _in_double(value)
        elif isinstance(value, torch.Tensor) and value.is_floating_point():
            values[name] = value.double()
    return replace(batch, **values)


class _Exact(MarketBatches):
    def gather(self, draw):
        return _in_double(super().gather(draw))


def _module_and_model():
    """Orders of many lengths, so that processes have different numbers of periods, and a model in float64."""
    recipe = tiny_recipe(orders={"full_horizon": 0.3})
    market = _Exact(BARS, recipe.data[0], recipe.model, recipe.orders, seed=recipe.seed)
    module = ExecutionDataModule([market], batches_per_epoch=ACCUMULATE, seed=recipe.seed)
    model = random_model(recipe.model).double().train()
    model.optimizer_config = OptimizerConfig(auxiliary_weight=1.0)
    return module, model


def mean_gradients():
    """Mean of the gradients of the first batches, each taken whole, without a trainer."""
    module, model = _module_and_model()
    for number in range(ACCUMULATE):
        batch = module.training_batch(number)
        (model.training_step(batch, number) / ACCUMULATE).backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


class _Keep(L.Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients = {name: weight.grad.clone() for name, weight in pl_module.named_parameters()}


def trained_gradients(processes):
    """Gradients at the optimiser step of a Lightning run."""
    module, model = _module_and_model()
    keep = _Keep()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=processes,
        max_steps=1,
        accumulate_grad_batches=ACCUMULATE,
        callbacks=[keep],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=module)
    assert trainer.world_size == processes
    return keep.gradients


def assert_same_tensors(actual, expected, *, atol):
    """The same names, and the same numbers up to ``atol``."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name], value, atol=atol, rtol=0.0, msg=lambda text, name=name: f"{name}: {text}"
        )
