"""Run a recipe: from bars to a saved model, with progress bar, logs, checkpoints that resume and early stopping."""

from __future__ import annotations

import math
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lem_models.errors import ConfigError
from lem_models.markets.bars import Bars
from lem_models.modeling.model import LEMModel
from lem_models.training.datamodule import ExecutionDataModule
from lem_models.training.recipe import Recipe

__all__ = ["train"]


class _MovingAverage(WeightAveraging):
    """Exponential moving average of the weights, with a decay that starts small so the first steps are forgotten."""

    def __init__(self, decay: float) -> None:
        def average(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
            weight = min(decay, (1 + int(count)) / (10 + int(count)))
            return averaged.lerp(current, 1 - weight)

        super().__init__(avg_fn=average)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every optimiser step."""
        return step_idx is not None


def train(
    recipe: Recipe,
    *,
    out: str | Path,
    data: str | Path | None = None,
    resume: str | Path | None = None,
    accelerator: str = "auto",
    devices: int | str = "auto",
    progress: bool = True,
) -> LEMModel:
    """Train a model.

    Args:
        recipe: What to do.
        out: Folder of the run: the model (``config.json``, ``model.safetensors``), ``logs/`` (CSV and TensorBoard) and
            ``checkpoints/``.
        data: File of bars, instead of the recipe's.
        resume: Checkpoint to go on from.
        accelerator: Lightning accelerator.
        devices: Lightning devices.
        progress: Whether to show a progress bar.

    Returns:
        The model with the best validation utility, also saved in ``out``.

    Raises:
        ConfigError: when neither the recipe nor the call names a file of bars.
        BarsError: when the bars break a rule or a split is empty.
    """
    source = data or recipe.data.path
    if source is None:
        raise ConfigError("the recipe names no data.path: pass --data FILE (train(..., data=FILE))")
    out = Path(out)
    L.seed_everything(recipe.seed, verbose=False)
    settings = recipe.trainer
    module = ExecutionDataModule(
        Bars.read(source),
        recipe.data,
        recipe.model,
        recipe.orders,
        steps_per_epoch=min(settings.steps_per_epoch, settings.steps),
        seed=recipe.seed,
    )
    architecture = recipe.model.model_copy(update={"unseen_from": recipe.data.validation_end})
    model = LEMModel(architecture, optimizer=recipe.optimizer)
    best = ModelCheckpoint(
        out / "checkpoints",
        filename="best",
        monitor="val_utility",
        mode="max",
        enable_version_counter=False,
    )
    last = ModelCheckpoint(out / "checkpoints", filename="last", enable_version_counter=False)
    callbacks: list[Callback] = [
        best,
        last,
        EarlyStopping("val_utility", mode="max", patience=settings.patience),
        LearningRateMonitor("step"),
    ]
    if progress:
        callbacks.append(RichProgressBar() if _is_terminal() else TQDMProgressBar(refresh_rate=25))
    if settings.averaging:
        callbacks.append(_MovingAverage(settings.averaging))
    loggers: list[Logger] = [
        CSVLogger(out, name="logs", version="csv"),
        TensorBoardLogger(out, name="logs", version="tb"),
    ]
    trainer = L.Trainer(
        max_epochs=math.ceil(settings.steps / min(settings.steps_per_epoch, settings.steps)),
        max_steps=settings.steps,
        accelerator=accelerator,
        devices=devices,
        gradient_clip_val=settings.gradient_clip,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=25,
        enable_progress_bar=progress,
        enable_model_summary=progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(model, datamodule=module, ckpt_path=None if resume is None else str(resume))
    if not trainer.interrupted and best.best_model_path:
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict(state, strict=True)
    model = model.cpu().eval()
    model.is_trained, model.name = True, recipe.name
    model.save_pretrained(out)
    return model


def _is_terminal() -> bool:
    import sys

    return sys.stderr.isatty()
