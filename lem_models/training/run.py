"""Train a model by a recipe: from bars to a saved model, with progress bar, logs, checkpoints and early stopping.

The same call works in one process or in many (several devices, several nodes). Every process takes its share of each
batch, and the first process writes the files. The result is the same up to the rounding of sums.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lem_models.errors import ConfigError, LEMError, PolicyError, UntrainedHeadError
from lem_models.guard.output import to_json
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.model import LEMModel
from lem_models.orders.rules import Benchmark
from lem_models.training.adapters import merged, restrict
from lem_models.training.batches import MarketBatches
from lem_models.training.callbacks import RunCallbacks
from lem_models.training.checkpoint import check_checkpoint, read_checkpoint, stamp_of
from lem_models.training.datamodule import ExecutionDataModule
from lem_models.training.folder import RUN_FILE, RunFolder
from lem_models.training.recipe import DataConfig, Recipe
from lem_models.training.sampling import OrderSampling
from lem_models.training.settings import TrainingSettings
from lem_models.training.teacher import Teacher
from lem_models.training.terminal.lightning_noise import without_lightning_noise

__all__ = ["TrainingRun", "train"]

_LONGEST_REASON = 300  # characters


@dataclass(frozen=True)
class TrainingRun:
    """A finished training run.

    Attributes:
        model: The model, as it was saved.
        folder: Where it was saved.
        recipe: The recipe of the training, with the architecture of the start and the precision of the settings.
        bars_hashes: Content hash of the bars of each market.
        start_utility: Validation utility of the start; minus infinity without a start.
        best_utility: Best validation utility after the start; minus infinity without a validation.
        seconds: Wall-clock time.
    """

    model: LEMModel
    folder: Path
    recipe: Recipe
    bars_hashes: tuple[str, ...]
    start_utility: float
    best_utility: float
    seconds: float


@dataclass(frozen=True)
class _Prepared:
    """Checked parts of a training run; nothing has been written yet.

    Attributes:
        recipe: The recipe, completed.
        folder: The folder of the run.
        checkpoint: The checkpoint to resume; ``None`` for a new run.
        start: The model to start from.
        model: The model to train.
        batches: Its batches.
        callbacks: The callbacks of the trainer.
        trainer: The trainer.
        bars_hashes: Content hash of the bars of each market.
    """

    recipe: Recipe
    folder: RunFolder
    checkpoint: Path | None
    start: LEMModel | None
    model: LEMModel
    batches: ExecutionDataModule
    callbacks: RunCallbacks
    trainer: L.Trainer
    bars_hashes: tuple[str, ...]


def train(
    recipe: Recipe,
    *,
    out: str | Path,
    data: Bars | str | Path | Sequence[str | Path] | None = None,
    start: LEMModel | None = None,
    resume: str | Path | None = None,
    overwrite: bool = False,
    settings: TrainingSettings | None = None,
) -> TrainingRun:
    """Train a model.

    Args:
        recipe: The recipe.
        out: Folder of the run. During training it has ``logs/`` (CSV and TensorBoard) and ``checkpoints/``. At the end
            it also has the model (``config.json``, ``model.safetensors``) and ``run.json`` (the recipe, the hash of the
            bars and, with a start, the validation utilities). With several processes the first one writes them. If the
            recipe has a section ``hub``, the best checkpoint so far is also pushed there, as a model. Its copy on this
            machine is ``checkpoints/model``, and a ``checkpoints/README.md`` is its card.
        data: Bars in place of the recipe's paths: a file for each of its markets, in the recipe's order, or one folder
            that holds the files that the recipe names, or a ``Bars`` object. Every node reads its own files.
        start: Model to start from, for fine-tuning, in place of the recipe's ``finetune.start``. Its weights replace
            random ones, and its architecture and risk aversions replace the recipe's. It does not change. If no
            validation has a better utility than its own, its weights are the result.
        resume: Checkpoint of the run in ``out`` to resume from, or ``"auto"`` for its last one. Every node reads its
            own. The recipe and the bars must be the same as at the beginning. Only ``name``, ``hub``,
            ``trainer.steps``, ``trainer.precision``, ``trainer.cuda_graphs`` and ``settings`` may change.
        overwrite: Whether to replace a run or model in ``out``; it is removed when the training starts.
        settings: Devices, precision and progress; the defaults if None.

    Returns:
        The training run, the same in every process. Its model has the best validation utility, or is the last one
        (``trainer.keep``).

    Raises:
        ConfigError: when neither the recipe nor the call names a file of bars for every market, or the stretches of a
            batch cannot be shared equally by the processes. Also when Lightning refuses its settings, ``out`` already
            holds a run or is the folder of the start, or the checkpoint is damaged or of a run with another recipe or
            other bars.
        BarsError: when the bars break a rule or a split is empty.
        UntrainedHeadError: when no step has trained the head.
    """
    began = time.monotonic()
    with without_lightning_noise():
        prepared = _prepare(recipe, Path(out), data, start, resume, overwrite, settings or TrainingSettings())
        if overwrite and prepared.trainer.is_global_zero:
            prepared.folder.clear()
        start_utility = _fit(prepared)
        model, best_utility = _result(prepared, start_utility)
        _save(prepared, model, start_utility, best_utility)
    return TrainingRun(
        model=model,
        folder=prepared.folder.path,
        recipe=prepared.recipe,
        bars_hashes=prepared.bars_hashes,
        start_utility=start_utility,
        best_utility=best_utility,
        seconds=time.monotonic() - began,
    )


# --- before the training ---------------------------------------------------------------------------------------------


def _prepare(
    recipe: Recipe,
    out: Path,
    data: Bars | str | Path | Sequence[str | Path] | None,
    start: LEMModel | None,
    resume: str | Path | None,
    overwrite: bool,
    settings: TrainingSettings,
) -> _Prepared:
    """Check the arguments and build the parts of the run, without writing anything."""
    sources = _sources(recipe, data)
    folder = RunFolder(out)
    if resume is not None and overwrite:
        raise ConfigError("a run is either resumed or overwritten: leave one of the two out")
    checkpoint = None if resume is None else folder.checkpoint(resume)
    content = None if checkpoint is None else check_checkpoint(checkpoint)
    if resume is None and not overwrite:
        folder.check_free()
    if settings.precision is not None:
        trainer_config = recipe.trainer.model_copy(update={"precision": settings.precision})
        recipe = recipe.model_copy(update={"trainer": trainer_config})
    start = _start(recipe, start, folder)
    if start is not None:
        recipe = recipe.model_copy(update={"model": start.config})
    L.seed_everything(recipe.seed, verbose=False)
    callbacks = RunCallbacks.of(recipe, folder, settings)
    trainer = _trainer(recipe, folder, callbacks, settings, overwrite=overwrite)
    if settings.is_sharded and recipe.trainer.averaging:
        raise ConfigError("fsdp cannot average weights that are spread over devices: set trainer.averaging to 0")
    tables = [_read(source, market) for source, market in zip(sources, recipe.data, strict=True)]
    batches = _batches(recipe, tables)
    batches.take_share(trainer.global_rank, trainer.world_size)
    model = LEMModel(_architecture(recipe, tables, start), optimizer=recipe.optimizer)
    _check_head(model, recipe.orders)
    if start is not None:
        model.load_state_dict(start.state_dict(), strict=True)
        model.is_trained = start.is_trained
    if recipe.finetune is not None:
        restrict(model, recipe.method, batches.training_batch(0), rank=recipe.finetune.rank)
    hashes = tuple(bars.content_hash for bars in tables)
    callbacks.stamp.stamp = stamp_of(recipe, hashes, None if start is None else start.state_dict())
    if checkpoint is not None and content is not None:
        callbacks.stamp.check(checkpoint, content, steps=recipe.trainer.steps)
        if trainer.is_global_zero and recipe.trainer.keep == "best":
            folder.check_best()
    return _Prepared(recipe, folder, checkpoint, start, model, batches, callbacks, trainer, hashes)


def _sources(recipe: Recipe, data: Bars | str | Path | Sequence[str | Path] | None) -> list[Bars | Path]:
    """The bars of each market, or their files."""
    if isinstance(data, Bars):
        if len(recipe.data) > 1:
            raise ConfigError(f"the recipe has {len(recipe.data)} markets, and data has the bars of one")
        return [data]
    paths = [market.path for market in recipe.data]
    given = [] if data is None else [Path(data)] if isinstance(data, str | Path) else [Path(path) for path in data]
    if len(given) == 1 and given[0].is_dir():
        paths = [path and given[0] / path.name for path in paths]
    elif given:
        if len(given) != len(paths):
            raise ConfigError(f"the recipe has {len(paths)} markets, and data names {len(given)} files")
        paths = list(given)
    named = [path for path in paths if path is not None]
    if len(named) < len(paths):
        raise ConfigError(
            "the recipe names no data.path: pass --data FILE (train(..., data=FILE)), one for each market"
        )
    return list(named)


def _read(source: Bars | Path, market: DataConfig) -> Bars:
    if isinstance(source, Bars):
        market.check_read()
        return source
    return market.read(source)


def _start(recipe: Recipe, start: LEMModel | None, folder: RunFolder) -> LEMModel | None:
    """The model to start from, with the horizon, the risk aversion and the head settings of the recipe."""
    finetune = recipe.finetune
    if start is None and finetune is not None:
        start = LEMModel.from_pretrained(finetune.start)
    if start is None:
        return None
    folder.check_not_of(start)
    if finetune is None:
        return start
    if finetune.horizon is not None:
        start = start.with_horizon(finetune.horizon)
    if finetune.risk_aversion is not None:
        start = start.with_risk_aversion(finetune.risk_aversion)
    return start.with_head_settings(**finetune.head_config)


def _batches(recipe: Recipe, tables: Sequence[Bars]) -> ExecutionDataModule:
    trainer = recipe.trainer
    teacher = None if recipe.teacher is None else Teacher(recipe.teacher)
    return ExecutionDataModule(
        [
            MarketBatches(bars, config, recipe.model, recipe.orders, seed=recipe.seed, teacher=teacher)
            for bars, config in zip(tables, recipe.data, strict=True)
        ],
        batches_per_epoch=min(trainer.steps_per_epoch, trainer.steps) * trainer.accumulate,
        seed=recipe.seed,
        batches=trainer.steps * trainer.accumulate,
    )


def _architecture(recipe: Recipe, tables: Sequence[Bars], start: LEMModel | None) -> LEMConfig:
    """The recipe's architecture, with what the training makes known: unseen days, lengths of bars, kinds of orders."""
    unseen = {} if start is None else dict(start.config.unseen_from)  # the model has seen what the start has seen
    for bars, market in zip(tables, recipe.data, strict=True):
        frequency = clock(bars.frequency)
        unseen[frequency] = max(unseen.get(frequency, market.validation_end), market.validation_end)
    frequencies = tuple(dict.fromkeys(clock(bars.frequency) for bars in tables))
    architecture = recipe.architecture
    had = () if start is None else start.config.benchmarks
    known = {
        "unseen_from": unseen,
        "frequencies": frequencies,
        "benchmarks": tuple(each for each in Benchmark if each in (*had, *architecture.benchmarks)),
    }
    return architecture.model_copy(update=known)


def _check_head(model: LEMModel, sampling: OrderSampling) -> None:
    """Refuse training orders that the head knows nothing of.

    Raises:
        ConfigError: naming the settings that do not fit.
    """
    name, head = model.config.head, model.head
    unknown = [each for each in sampling.benchmarks if each not in head.benchmarks]
    if unknown:
        raise ConfigError(f"orders: the {name!r} head knows no orders against {', '.join(unknown)}; set them to 0")
    if sampling.sized and not head.reads_size:
        raise ConfigError(f"orders.sized: the {name!r} head as it is does not read the size of an order; set it to 0")


def _trainer(
    recipe: Recipe, folder: RunFolder, callbacks: RunCallbacks, settings: TrainingSettings, *, overwrite: bool
) -> L.Trainer:
    """The trainer, on the devices of the settings or of ``torchrun``."""
    processes = int(os.environ["WORLD_SIZE"]) if TorchElasticEnvironment.detect() else None
    devices, num_nodes = settings.devices, settings.num_nodes
    if processes is not None:
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        devices = here if devices == "auto" else devices
        num_nodes = max(processes // here, 1) if num_nodes is None else num_nodes
    steps, steps_per_epoch = recipe.trainer.steps, recipe.trainer.steps_per_epoch
    loggers: list[Logger] = [
        CSVLogger(folder.path, name=folder.logs.name, version="csv" if overwrite else folder.unused_log("csv")),
        TensorBoardLogger(folder.path, name=folder.logs.name, version="tb"),
    ]
    try:
        trainer = L.Trainer(
            devices=devices,
            num_nodes=num_nodes or 1,
            max_epochs=-1,
            max_steps=steps,
            accelerator=settings.accelerator,
            strategy=settings.strategy,
            precision=recipe.trainer.precision,
            accumulate_grad_batches=recipe.trainer.accumulate,
            gradient_clip_val=None if settings.is_sharded else recipe.trainer.gradient_clip,
            callbacks=callbacks.in_order(),
            logger=loggers,
            log_every_n_steps=min(25, steps % steps_per_epoch or steps_per_epoch),
            reload_dataloaders_every_n_epochs=1,  # the last epoch may be shorter
            enable_progress_bar=False,  # the callbacks have one over all steps
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    except (ValueError, TypeError, MisconfigurationException) as error:
        raise ConfigError(f"the trainer refuses its settings: {error}") from None
    if processes is not None and trainer.world_size != processes:
        # Otherwise each process would train a model of its own, all in one folder.
        raise ConfigError(
            f"torchrun started {processes} processes, but devices={devices} and num_nodes={num_nodes} "
            f"ask for {trainer.world_size}: leave --devices and --num-nodes out"
        )
    return trainer


# --- the training ----------------------------------------------------------------------------------------------------


def _fit(prepared: _Prepared) -> float:
    """Train, from the beginning or from a checkpoint.

    Returns:
        Validation utility of the start; minus infinity without a start.

    Raises:
        ConfigError: when the state in the checkpoint cannot be restored, or the weights have diverged.
    """
    trainer, model, batches, checkpoint = prepared.trainer, prepared.model, prepared.batches, prepared.checkpoint
    callbacks = prepared.callbacks
    start_utility = -math.inf
    with callbacks.stop:
        if prepared.start is not None and prepared.start.is_trained:
            trainer.validate(model, datamodule=batches, verbose=False)
            start_utility = float(trainer.callback_metrics["val_utility"])
            if callbacks.push is not None:
                callbacks.push.to_beat = start_utility
        try:
            path = None if checkpoint is None else str(checkpoint)
            trainer.fit(model, datamodule=batches, ckpt_path=path, weights_only=True)
        except PolicyError as error:
            if "not finite" not in str(error):
                raise
            raise ConfigError(
                f"the training diverged before step {trainer.global_step + 1} ({error}). Lower "
                "optimizer.learning_rate, or take more optimizer.warmup_steps"
            ) from error
        except LEMError:
            raise
        except Exception as error:
            if checkpoint is None or callbacks.stamp.is_under_way:
                raise
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            raise ConfigError(f"{checkpoint} cannot be resumed: {type(error).__name__}: {reason}") from None
    return start_utility


# --- after the training ----------------------------------------------------------------------------------------------


def _result(prepared: _Prepared, start_utility: float) -> tuple[LEMModel, float]:
    """The resulting model, in every process, and the best validation utility.

    Raises:
        UntrainedHeadError: when no step has trained the head.
    """
    trainer, start, best = prepared.trainer, prepared.start, prepared.callbacks.best
    keeps_last = prepared.recipe.trainer.keep == "last"
    best_utility = -math.inf if best.best_model_score is None else float(best.best_model_score)
    is_trained = trainer.strategy.reduce_boolean_decision(prepared.model.is_trained, all=False)
    architecture = prepared.model.config
    if start is not None and best_utility <= start_utility and not keeps_last:
        weights = start.state_dict()
        # These weights have learnt nothing from the new bars and orders.
        known = {name: getattr(start.config, name) for name in ("frequencies", "benchmarks", "impact")}
        architecture = architecture.model_copy(update=known)
    else:
        weights = merged(trainer.strategy.lightning_module_state_dict() if keeps_last else _best_weights(trainer, best))
    # A new model: the fitted one may be wrapped, or spread over devices.
    with torch.random.fork_rng(devices=[]):
        model = LEMModel(architecture, optimizer=prepared.recipe.optimizer).eval()
    model.load_state_dict(weights, strict=True)
    model.is_trained, model.name = is_trained, prepared.recipe.name
    if not is_trained:  # in every process, not only in the one that saves
        raise UntrainedHeadError(
            "no step has trained the head: its gradients were not finite, or it had none. Lower "
            "optimizer.learning_rate, or train with precision 32-true"
        )
    return model, best_utility


def _best_weights(trainer: L.Trainer, best: ModelCheckpoint) -> dict[str, torch.Tensor]:
    """Weights with the best validation utility, in every process."""
    if trainer.interrupted or not best.best_model_path:
        return trainer.strategy.lightning_module_state_dict()
    # Only the process that wrote the file reads it, because nodes need not share a disk.
    weights: dict[str, torch.Tensor] = {}
    if trainer.is_global_zero:
        weights = read_checkpoint(best.best_model_path)["state_dict"]
    return trainer.strategy.broadcast(weights)


def _save(prepared: _Prepared, model: LEMModel, start_utility: float, best_utility: float) -> None:
    """Write the model and the facts about its training, in the first process; the others wait."""
    if prepared.trainer.is_global_zero:
        folder = prepared.folder
        facts: dict[str, Any] = {
            "data_hash": prepared.bars_hashes,
            "recipe": prepared.recipe.model_dump(mode="json", exclude={"data": {"__all__": {"path"}}}),
        }
        if prepared.start is not None:
            facts["validation_utility"] = {"start": start_utility, "best_step": best_utility}
        # In this order facts never lie beside another model, even if the process ends in between.
        folder.drop_facts()
        model.save_pretrained(folder.path)
        to_json(facts, folder.path / RUN_FILE)
    prepared.trainer.strategy.barrier()
