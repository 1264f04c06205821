"""Run a recipe: from bars to a saved model, with progress bar, logs, checkpoints that resume and early stopping.

The same call runs in one process or in many (several devices, several nodes): every process takes its share of each
batch, the first one writes. What comes out is the same up to the rounding of sums.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import lightning as L
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
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

from lem_models.errors import ConfigError, LEMError, PolicyError, UntrainedHeadError
from lem_models.guard.output import to_json
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock
from lem_models.modeling.model import LEMModel
from lem_models.training.adapters import merged, restrict
from lem_models.training.batches import MarketBatches
from lem_models.training.checkpoint import MovableCheckpoint, RunStamp, check_checkpoint, read_checkpoint, stamp_of
from lem_models.training.cuda_graphs import CudaGraphs
from lem_models.training.datamodule import ExecutionDataModule
from lem_models.training.folder import RUN_RECORD, RunFolder
from lem_models.training.push import PushToHub
from lem_models.training.recipe import Precision, Recipe
from lem_models.training.stopping import StopBetweenBatches

__all__ = ["TrainedRun", "run_recipe", "train"]

_LONGEST_REASON = 300  # characters
# Beginnings of Lightning's warnings about what is meant here.
_MEANT = (
    r".*IterableDataset` has `__len__` defined",  # no workers
    r".*does not have many workers",
    r".*number of training batches \(\d+\) is smaller than the logging interval",  # a short last epoch
    r".*Checkpoint directory .* exists and is not empty",  # a run goes on
    r".*could not find the monitored key",  # it goes on where an epoch ends, and is validated at the end of the next
    r".*callbacks used to create the checkpoint need to be provided",  # it no longer pushes to the Hub
    r".*isinstance\(treespec, LeafSpec\)",  # between Lightning and torch
)


@dataclass(frozen=True)
class TrainedRun:
    """What came of a run.

    Attributes:
        model: The model, as it was saved.
        start_utility: Validation utility of the model that it started from; minus infinity where there was none.
        best_utility: Best validation utility after it; minus infinity where nothing was validated.
    """

    model: LEMModel
    start_utility: float
    best_utility: float


def _average(decay: float, averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """Step of a moving average; its decay starts small, so the first steps are forgotten."""
    weight = min(decay, (1 + int(count)) / (10 + int(count)))
    return averaged.lerp(current, 1 - weight)


class _MovingAverage(WeightAveraging):
    """Exponential moving average of the weights."""

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=partial(_average, decay))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every optimiser step."""
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


def train(
    recipe: Recipe,
    *,
    out: str | Path,
    data: Bars | str | Path | Sequence[str | Path] | None = None,
    start: LEMModel | None = None,
    resume: str | Path | None = None,
    overwrite: bool = False,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int | None = None,
    strategy: str = "auto",
    precision: str | None = None,
    progress: bool = True,
) -> LEMModel:
    """Train a model.

    Args:
        recipe: What to do.
        out: Folder of the run: ``logs/`` (CSV and TensorBoard) and ``checkpoints/`` while it is under way; in the end
            the model (``config.json``, ``model.safetensors``) and ``run.json`` (the recipe, the hash of the bars and,
            where another model was the start, the validation utilities). With several processes the first one writes
            them. Where the recipe has a section ``hub``, the best checkpoint so far is also pushed there, as a model;
            its copy on this machine is ``checkpoints/model``, and a ``checkpoints/README.md`` is its card.
        data: Bars, instead of the recipe's paths: a file for each of its markets, in the recipe's order, or one folder
            that holds the files that the recipe names, or the bars themselves. Every node reads its own.
        start: Model to start from, for fine-tuning, instead of the recipe's ``finetune.start``: its weights instead of
            random ones, its architecture and risk aversions instead of the recipe's. It is left alone. It competes:
            where no validation finds a better utility than its own, its weights are what comes out.
        resume: Checkpoint of the run in ``out`` to go on from, or ``"auto"`` for its last one. Every node reads its
            own. The recipe and the bars must be those that the run began with. Only ``name``, ``hub``,
            ``trainer.steps``, ``trainer.precision`` and ``trainer.cuda_graphs`` may change, and what this call says of
            devices.
        overwrite: Whether to replace a run or model that ``out`` holds already: it goes when the training starts.
        accelerator: Lightning accelerator.
        devices: Lightning devices, per node. ``"auto"``: as many as ``torchrun`` started processes, otherwise every
            accelerator of the machine.
        num_nodes: Nodes; default those of ``torchrun``, or 1.
        strategy: Lightning strategy: ``"auto"`` (``"ddp"`` on several devices), ``"ddp"``, ``"fsdp"``, ... FSDP needs
            GPUs and ``trainer.averaging: 0``; it is handed to Lightning, but no test of this package runs it.
        precision: Lightning precision, instead of the recipe's.
        progress: Whether to show a progress bar.

    Returns:
        The model with the best validation utility, or the last one (``trainer.keep``), also saved in ``out``; the same
        in every process.

    Raises:
        ConfigError: when neither the recipe nor the call names a file of bars for every market, the stretches of a
            batch cannot be shared equally by the processes, Lightning refuses its settings, ``out`` holds a run already
            or is the folder of the start, or the checkpoint is damaged or of a run with another recipe or other bars.
        BarsError: when the bars break a rule or a split is empty.
        UntrainedHeadError: when no step has trained the head.
    """
    return run_recipe(
        recipe,
        out=out,
        data=data,
        start=start,
        resume=resume,
        overwrite=overwrite,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        precision=precision,
        progress=progress,
    ).model


def run_recipe(
    recipe: Recipe,
    *,
    out: str | Path,
    data: Bars | str | Path | Sequence[str | Path] | None = None,
    start: LEMModel | None = None,
    resume: str | Path | None = None,
    overwrite: bool = False,
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int | None = None,
    strategy: str = "auto",
    precision: str | None = None,
    progress: bool = True,
) -> TrainedRun:
    """:func:`train`, with the validation utilities."""
    tables = [data] if isinstance(data, Bars) else []
    if tables and len(recipe.data) > 1:
        raise ConfigError(f"the recipe has {len(recipe.data)} markets, and data are the bars of one")
    sources = [] if isinstance(data, Bars) else _sources(recipe, data)
    folder = RunFolder(Path(out))
    if resume is not None and overwrite:
        raise ConfigError("a run is either resumed or overwritten: leave one of the two out")
    checkpoint = None if resume is None else folder.checkpoint(resume)
    content = None if checkpoint is None else check_checkpoint(checkpoint)
    if resume is None and not overwrite:
        folder.check_free()
    if precision is not None:
        if precision not in get_args(Precision):
            raise ConfigError(f"precision is one of {', '.join(get_args(Precision))}; got {precision!r}")
        recipe = recipe.model_copy(update={"trainer": recipe.trainer.model_copy(update={"precision": precision})})
    if start is None and recipe.finetune is not None:
        start = LEMModel.from_pretrained(recipe.finetune.start)
    if start is not None:
        folder.check_not_of(start)
        if recipe.finetune is not None and recipe.finetune.horizon is not None:
            start = start.with_horizon(recipe.finetune.horizon)
        if recipe.finetune is not None:
            start = start.with_head_settings(**recipe.finetune.head_config)
        recipe = recipe.model_copy(update={"model": start.config})
    L.seed_everything(recipe.seed, verbose=False)
    settings = recipe.trainer
    best = MovableCheckpoint(
        folder.checkpoints,
        filename=folder.best.stem,
        monitor="val_utility",
        mode="max",
        enable_version_counter=False,
    )
    last = MovableCheckpoint(folder.checkpoints, filename=folder.last.stem, enable_version_counter=False)
    pushes = []
    if recipe.hub is not None:
        pushes.append(PushToHub.of(recipe.hub, folder=folder.pushed, checkpoint=best))
    callbacks: list[Callback] = [
        best,
        last,
        *pushes,
        LearningRateMonitor("step"),
        stamp := RunStamp(),
        signals := StopBetweenBatches(),
    ]
    if settings.keep == "best":
        stop = EarlyStopping("val_utility", mode="max", patience=settings.patience, check_on_train_epoch_end=False)
        callbacks.append(stop)
    if progress:
        callbacks.append(RichProgressBar() if _is_terminal() else TQDMProgressBar(refresh_rate=25))
    if settings.averaging:
        callbacks.append(_MovingAverage(settings.averaging))
    method = "full" if start is None or recipe.finetune is None else recipe.finetune.method
    sharded = strategy.startswith("fsdp")
    if sharded:
        callbacks.append(_ShardedGradientClip(settings.gradient_clip))
    if settings.cuda_graphs:
        if method != "full":
            raise ConfigError(f"trainer.cuda_graphs needs finetune.method full; it is {method}")
        shapes = {(market.stretches, recipe.model.warmup + market.stretch) for market in recipe.data}
        if len(shapes) > 1:
            raise ConfigError("trainer.cuda_graphs needs the same stretches and stretch in every market")
        callbacks.append(CudaGraphs((*shapes.pop(), len(recipe.model.features))))
    loggers: list[Logger] = [
        CSVLogger(folder.path, name=folder.logs.name, version="csv" if overwrite else _unused(folder.logs, "csv")),
        TensorBoardLogger(folder.path, name=folder.logs.name, version="tb"),
    ]
    trainer = _trainer(
        devices,
        num_nodes,
        max_epochs=-1,
        max_steps=settings.steps,
        accelerator=accelerator,
        strategy=strategy,
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=None if sharded else settings.gradient_clip,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=min(25, settings.steps % settings.steps_per_epoch or settings.steps_per_epoch),
        reload_dataloaders_every_n_epochs=1,  # the last epoch may be shorter
        enable_progress_bar=progress,
        enable_model_summary=progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    if sharded and settings.averaging:
        raise ConfigError("fsdp cannot average weights that are spread over devices: set trainer.averaging to 0")
    for market in recipe.data[: len(tables)]:
        market.check_read()
    tables += [market.read(source) for market, source in zip(recipe.data[len(tables) :], sources, strict=True)]
    module = ExecutionDataModule(
        [
            MarketBatches(bars, config, recipe.model, recipe.orders, seed=recipe.seed, costs=recipe.costs)
            for bars, config in zip(tables, recipe.data, strict=True)
        ],
        batches_per_epoch=min(settings.steps_per_epoch, settings.steps) * settings.accumulate,
        seed=recipe.seed,
        batches=settings.steps * settings.accumulate,
    )
    module.take_share(trainer.global_rank, trainer.world_size)
    # What the model to start from has seen is not unseen.
    unseen = dict(start.config.unseen_from) if start is not None else {}
    for bars, market in zip(tables, recipe.data, strict=True):
        frequency = clock(bars.frequency)
        unseen[frequency] = max(unseen.get(frequency, market.validation_end), market.validation_end)
    frequencies = tuple(dict.fromkeys(clock(bars.frequency) for bars in tables))
    architecture = recipe.model.model_copy(update={"unseen_from": unseen, "frequencies": frequencies})
    model = LEMModel(architecture, optimizer=recipe.optimizer)
    if start is not None:
        model.load_state_dict(start.state_dict(), strict=True)
        model.is_trained = start.is_trained
    if start is not None and recipe.finetune is not None:
        restrict(model, method, module.training_batch(0), rank=recipe.finetune.rank)
    hashes = [bars.content_hash for bars in tables]
    stamp.stamp = stamp_of(recipe, hashes, None if start is None else start.state_dict())
    if checkpoint is not None and content is not None:
        stamp.check(checkpoint, content, steps=settings.steps)
        if trainer.is_global_zero and settings.keep == "best":
            folder.check_best()
    # Nothing has been written so far; from here on the folder belongs to this run.
    if trainer.is_global_zero and overwrite:
        folder.clear()
    to_beat = -math.inf
    with signals, _without_warnings_of_what_is_meant():
        if start is not None and start.is_trained:
            trainer.validate(model, datamodule=module, verbose=False)
            to_beat = float(trainer.callback_metrics["val_utility"])
            for push in pushes:
                push.to_beat = to_beat
        _fit(trainer, model, module, checkpoint, stamp)
    keeps_last = settings.keep == "last"
    score = -math.inf if best.best_model_score is None else float(best.best_model_score)
    is_trained = trainer.strategy.reduce_boolean_decision(model.is_trained, all=False)
    if start is not None and score <= to_beat and not keeps_last:
        weights = start.state_dict()
        # Weights that learnt nothing from these bars are for the bars that they come from.
        architecture = architecture.model_copy(update={"frequencies": start.config.frequencies})
    else:
        weights = merged(trainer.strategy.lightning_module_state_dict() if keeps_last else _best_weights(trainer, best))
    # A model of its own: what was fitted may be wrapped, or spread over devices.
    with torch.random.fork_rng(devices=[]):
        trained = LEMModel(architecture, optimizer=recipe.optimizer).eval()
    trained.load_state_dict(weights, strict=True)
    trained.is_trained, trained.name = is_trained, recipe.name
    if not is_trained:  # in every process, not only in the one that saves
        raise UntrainedHeadError(
            "no step has trained the head: its gradients were not finite or never there. Lower "
            "optimizer.learning_rate, or train with precision 32-true"
        )
    if trainer.is_global_zero:
        facts: dict[str, Any] = {
            "data_hash": hashes,
            "recipe": recipe.model_dump(mode="json", exclude={"data": {"__all__": {"path"}}}),
        }
        if start is not None:
            facts["validation_utility"] = {"start": to_beat, "best_step": score}
        # In this order: a record is about the model beside it, wherever the process ends.
        folder.drop_records()
        trained.save_pretrained(folder.path)
        to_json(facts, folder.path / RUN_RECORD)
    trainer.strategy.barrier()  # nobody goes on before the files are there
    return TrainedRun(trained, to_beat, score)


def _fit(
    trainer: L.Trainer, model: LEMModel, module: ExecutionDataModule, checkpoint: Path | None, stamp: RunStamp
) -> None:
    """Train, from the beginning or from a checkpoint.

    Raises:
        ConfigError: when the state in the checkpoint cannot be restored, or the weights have diverged.
    """
    try:
        trainer.fit(
            model, datamodule=module, ckpt_path=None if checkpoint is None else str(checkpoint), weights_only=True
        )
    except PolicyError as error:
        if "not finite" not in str(error):
            raise
        raise ConfigError(
            f"the training diverged before step {trainer.global_step + 1} ({error}). Lower optimizer.learning_rate, or "
            "take more optimizer.warmup_steps"
        ) from error
    except LEMError:
        raise
    except Exception as error:
        if checkpoint is None or stamp.is_under_way:
            raise
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ConfigError(f"{checkpoint} cannot be resumed: {type(error).__name__}: {reason}") from None


@contextlib.contextmanager
def _without_warnings_of_what_is_meant() -> Iterator[None]:
    with warnings.catch_warnings():
        for beginning in _MEANT:
            warnings.filterwarnings("ignore", beginning)
        yield


def _sources(recipe: Recipe, data: str | Path | Sequence[str | Path] | None) -> list[Path]:
    """File of bars of each market."""
    paths = [market.path for market in recipe.data]
    given = [] if data is None else [Path(data)] if isinstance(data, str | Path) else [Path(path) for path in data]
    if len(given) == 1 and given[0].is_dir():
        paths = [path and given[0] / path.name for path in paths]
    elif given:
        if len(given) != len(paths):
            raise ConfigError(f"the recipe has {len(paths)} markets, and data names {len(given)} files")
        paths = list(given)
    found = [path for path in paths if path is not None]
    if len(found) < len(paths):
        raise ConfigError(
            "the recipe names no data.path: pass --data FILE (train(..., data=FILE)), one for each market"
        )
    return found


def _trainer(devices: int | str, num_nodes: int | None, **settings: Any) -> L.Trainer:
    processes = int(os.environ["WORLD_SIZE"]) if TorchElasticEnvironment.detect() else None
    if processes is not None:
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        devices = here if devices == "auto" else devices
        num_nodes = max(processes // here, 1) if num_nodes is None else num_nodes
    try:
        trainer = L.Trainer(devices=devices, num_nodes=num_nodes or 1, **settings)
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise ConfigError(f"the trainer refuses its settings: {error}") from None
    if processes is not None and trainer.world_size != processes:
        # Otherwise each process would train a model of its own, all in one folder.
        raise ConfigError(
            f"torchrun started {processes} processes, but devices={devices} and num_nodes={num_nodes} "
            f"ask for {trainer.world_size}: leave --devices and --num-nodes out"
        )
    return trainer


def _best_weights(trainer: L.Trainer, best: ModelCheckpoint) -> dict[str, torch.Tensor]:
    """Weights with the best validation utility, in every process."""
    if trainer.interrupted or not best.best_model_path:
        return trainer.strategy.lightning_module_state_dict()
    # Read where they were written: nodes need not share a disk.
    weights: dict[str, torch.Tensor] = {}
    if trainer.is_global_zero:
        weights = read_checkpoint(best.best_model_path)["state_dict"]
    return trainer.strategy.broadcast(weights)


def _unused(folder: Path, name: str) -> str:
    """The name, or the first of name-2, name-3, ... that no earlier run in this folder has used for its log."""
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(candidate for candidate in names if not (folder / candidate).exists())


def _is_terminal() -> bool:
    return sys.stderr.isatty()
