"""Run a recipe: from bars to a saved model, with progress bar, logs, checkpoints that resume and early stopping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
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
from lem_models.evaluation.output import to_json
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
        out: Folder of the run: the model (``config.json``, ``model.safetensors``), ``run.json`` (the recipe and the
            hash of the bars), ``logs/`` (CSV and TensorBoard) and ``checkpoints/``.
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
    if resume is not None:
        _check_checkpoint(Path(resume))
    L.seed_everything(recipe.seed, verbose=False)
    settings = recipe.trainer
    bars = Bars.read(source)
    module = ExecutionDataModule(
        bars,
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
        EarlyStopping("val_utility", mode="max", patience=settings.patience, check_on_train_epoch_end=False),
        LearningRateMonitor("step"),
    ]
    if progress:
        callbacks.append(RichProgressBar() if _is_terminal() else TQDMProgressBar(refresh_rate=25))
    if settings.averaging:
        callbacks.append(_MovingAverage(settings.averaging))
    loggers: list[Logger] = [
        CSVLogger(out, name="logs", version=_unused(out / "logs", "csv")),
        TensorBoardLogger(out, name="logs", version="tb"),
    ]
    out.mkdir(parents=True, exist_ok=True)
    facts = {"data_hash": bars.content_hash, "recipe": recipe.model_dump(mode="json", exclude={"data": {"path"}})}
    to_json(facts, out / "run.json")
    trainer = _trainer(
        max_epochs=-1,
        max_steps=settings.steps,
        accelerator=accelerator,
        devices=devices,
        gradient_clip_val=settings.gradient_clip,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=min(25, settings.steps_per_epoch, settings.steps),
        enable_progress_bar=progress,
        enable_model_summary=progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(model, datamodule=module, ckpt_path=None if resume is None else str(resume), weights_only=True)
    if not trainer.interrupted and best.best_model_path:
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict(state, strict=True)
    model = model.cpu().eval()
    model.is_trained, model.name = True, recipe.name
    model.save_pretrained(out)
    return model


def _trainer(**settings: Any) -> L.Trainer:
    try:
        return L.Trainer(**settings)
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise ConfigError(f"the trainer refuses its settings: {error}") from None


def _check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that is not there or holds anything but tensors and plain values."""
    if not path.is_file():
        raise ConfigError(f"there is no checkpoint {path}")
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"{path} is not a checkpoint: {type(error).__name__}") from None


def _unused(folder: Path, name: str) -> str:
    """The name, or the first of name-2, name-3, ... that no earlier run in this folder has used for its log."""
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(candidate for candidate in names if not (folder / candidate).exists())


def _is_terminal() -> bool:
    import sys

    return sys.stderr.isatty()
