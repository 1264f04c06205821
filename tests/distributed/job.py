"""What two processes do in the tests: ``-m tests.distributed.job FOLDER`` under torchrun."""

import sys
from dataclasses import fields, replace
from pathlib import Path

import lightning as L
import pandas as pd
import torch

import lem_models.training.run
from lem_models.baselines import load_policy
from lem_models.evaluation.benchmark import BenchmarkSettings, run_benchmark
from lem_models.execution.policy import OrderBatch
from lem_models.execution.simulator import MarketWindow
from lem_models.modeling.optimizer import OptimizerConfig
from lem_models.training.batches import MarketBatches
from lem_models.training.datamodule import ExecutionDataModule
from tests.helpers import random_model
from tests.training.tiny import BARS, Watched, tiny_recipe, trained

ACCUMULATE = 2
RESUMED = tiny_recipe(trainer={"steps": 6, "steps_per_epoch": 2, "averaging": 0.9})


def _in_double(record):
    """The same record in float64: what differs then differs by more than rounding."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    for name, value in values.items():
        if isinstance(value, OrderBatch | MarketWindow):
            values[name] = _in_double(value)
        elif isinstance(value, torch.Tensor) and value.is_floating_point():
            values[name] = value.double()
    return replace(record, **values)


class _Exact(MarketBatches):
    def gather(self, draw):
        return _in_double(super().gather(draw))


def module_and_model():
    """Orders of many lengths, so that the processes have different numbers of periods, and a model in float64."""
    recipe = tiny_recipe(orders={"full_horizon": 0.3})
    market = _Exact(BARS, recipe.data[0], recipe.model, recipe.orders, seed=recipe.seed)
    module = ExecutionDataModule([market], batches_per_epoch=ACCUMULATE, seed=recipe.seed)
    model = random_model(recipe.model).double().train()
    model.optimizer_config = OptimizerConfig(auxiliary_weight=1.0)
    return module, model


class _Keep(L.Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients = {name: weight.grad.clone() for name, weight in pl_module.named_parameters()}


def trained_gradients(processes):
    """Gradients at the optimiser step of a Lightning run."""
    module, model = module_and_model()
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


def benchmark():
    """A benchmark in the process group that is there; ``None`` on every rank but the first."""
    settings = BenchmarkSettings(min_periods=(1, 6), max_periods=6, limit=101, null=1)
    return run_benchmark({"stopping_rule": load_policy("stopping_rule")}, BARS, settings)


def main(folder):
    gradients = trained_gradients(2)
    torch.save(gradients, folder / f"gradients-{torch.distributed.get_rank()}.pt")
    run = benchmark()
    assert (run is None) == (torch.distributed.get_rank() > 0)
    if run is not None:
        run.results["stopping_rule"].orders.to_pickle(folder / "orders.pkl")
        pd.to_pickle(run.nulls["stopping_rule"], folder / "null.pkl")
    broken = folder / "broken"
    lem_models.training.run.MarketBatches = Watched
    model = trained(RESUMED, out=broken, data=folder / "bars.parquet", resume=broken / "checkpoints" / "last.ckpt")
    assert Watched.seen == [2, 3, 4, 5]
    torch.save(model.state_dict(), folder / f"resumed-{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
