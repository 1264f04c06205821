"""The callbacks of a training run: checkpoints, early stopping, averaged weights, progress, and those of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    WeightAveraging,
)

from lem_models.errors import ConfigError
from lem_models.training.checkpoint import MovableCheckpoint, RunStamp
from lem_models.training.cuda_graphs import CudaGraphs
from lem_models.training.folder import RunFolder
from lem_models.training.push import PushToHub
from lem_models.training.recipe import Recipe
from lem_models.training.settings import TrainingSettings
from lem_models.training.stopping import StopBetweenBatches
from lem_models.training.terminal.progress import TrainingProgress

__all__ = ["RunCallbacks"]


@dataclass(frozen=True)
class RunCallbacks:
    """The callbacks of a run.

    Attributes:
        best: Keeps the checkpoint with the best validation utility.
        stamp: Writes the stamp of the training run into each checkpoint.
        stop: Stops between two batches on a signal.
        push: Pushes the best checkpoint to the Hub; ``None`` if the recipe names no repository.
        others: The other callbacks.
    """

    best: MovableCheckpoint
    stamp: RunStamp
    stop: StopBetweenBatches
    push: PushToHub | None
    others: tuple[Callback, ...]

    @classmethod
    def of(cls, recipe: Recipe, folder: RunFolder, settings: TrainingSettings) -> RunCallbacks:
        """The callbacks for a recipe and settings.

        Raises:
            ConfigError: when the recipe sets CUDA graphs and they cannot be recorded.
        """
        best = MovableCheckpoint(
            folder.checkpoints,
            filename=folder.best.stem,
            monitor="val_utility",
            mode="max",
            enable_version_counter=False,
        )
        last = MovableCheckpoint(folder.checkpoints, filename=folder.last.stem, enable_version_counter=False)
        others: list[Callback] = [last, LearningRateMonitor("step")]
        trainer = recipe.trainer
        if trainer.keep == "best":
            others.append(
                EarlyStopping("val_utility", mode="max", patience=trainer.patience, check_on_train_epoch_end=False)
            )
        if settings.progress:
            others.append(TrainingProgress())
        if trainer.averaging:
            others.append(_MovingAverage(trainer.averaging))
        if settings.is_sharded:
            others.append(_ShardedGradientClip(trainer.gradient_clip))
        if trainer.cuda_graphs:
            others.append(_cuda_graphs(recipe))
        hub = recipe.hub
        push = None if hub is None else PushToHub.of(hub, folder=folder.pushed, checkpoint=best)
        return cls(best, RunStamp(), StopBetweenBatches(), push, tuple(others))

    def in_order(self) -> list[Callback]:
        """All callbacks, in the order of their calls."""
        pushes = [] if self.push is None else [self.push]  # after the checkpoint that it pushes
        return [self.best, *pushes, self.stamp, self.stop, *self.others]


def _cuda_graphs(recipe: Recipe) -> CudaGraphs:
    if recipe.method != "full":
        raise ConfigError(f"trainer.cuda_graphs needs finetune.method full; it is {recipe.method}")
    shapes = {(market.stretches, recipe.model.warmup + market.stretch) for market in recipe.data}
    if len(shapes) > 1:
        raise ConfigError("trainer.cuda_graphs needs the same stretches and stretch in every market")
    return CudaGraphs((*shapes.pop(), len(recipe.model.features)))


def _average(decay: float, averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """Step of a moving average. Its decay starts small, so the first weights soon have no influence."""
    weight = min(decay, (1 + int(count)) / (10 + int(count)))
    return averaged.lerp(current, 1 - weight)


class _MovingAverage(WeightAveraging):
    """Exponential moving average of the weights."""

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=partial(_average, decay))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to update: after every optimiser step."""
        return step_idx is not None


class _ShardedGradientClip(Callback):
    """Gradient clipping by norm for FSDP, where only the sharded module knows the norm of the whole gradient."""

    def __init__(self, norm: float) -> None:
        self.norm = norm

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Clip."""
        trainer.strategy.model.clip_grad_norm_(self.norm)  # type: ignore[union-attr, operator]
