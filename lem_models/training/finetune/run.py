"""Fine-tuning: from a user's bars to a saved model, and a test of the improvement.

The history is cut into three consecutive parts (:mod:`lem_models.training.finetune.split`). The first part trains. The
second chooses among the checkpoints and the start. The third tests: it compares the model before and after, TWAP and
the volume curve on the same orders, and gives a verdict (:mod:`lem_models.training.finetune.verdict`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lem_models.errors import ConfigError
from lem_models.evaluation.benchmark import sample_orders
from lem_models.execution.costs import CostModel
from lem_models.execution.records import BENCHMARKS
from lem_models.guard.output import to_json
from lem_models.guard.timestamps import MomentError, read_day
from lem_models.hub.models.registry import bundled_folder, weights_hash
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock
from lem_models.modeling.model import LEMModel
from lem_models.notebook import describe, facts_html
from lem_models.training.finetune.split import FEW_DAYS, LITTLE, Split, choose_split, shortest_stretch
from lem_models.training.finetune.verdict import Comparison, Outcome, compare_models, comparison_settings, facts
from lem_models.training.folder import FINETUNE_FILE, RunFolder
from lem_models.training.recipe import DataConfig, Recipe, read_sections, shipped_recipe
from lem_models.training.run import TrainingRun, train
from lem_models.training.settings import FinetuneSettings, RunSettings, TrainingSettings

__all__ = ["FinetuneResult", "Verdict", "finetune"]

RECIPE = "finetune"
"""Shipped recipe with the defaults."""

_LONGEST = 24  # periods: default horizon at most in markets without sessions

Verdict: TypeAlias = Outcome | Literal["start kept"]
"""Result of the test; ``"start kept"`` if no checkpoint was better than the start in validation."""

_ANY_DAYS = {"train_end": date(1980, 1, 1), "validation_end": date(2200, 1, 1)}  # in place of missing days


@dataclass(frozen=True, repr=False)
class FinetuneResult:
    """A finished fine-tuning.

    Attributes:
        run: The training run; its folder also holds ``finetune.json``.
        start: The model that it started from, at the horizon of the new one.
        split: The three parts of the history.
        comparison: Before and after on the test part.
        warnings: Warnings for the reader of the numbers.
    """

    run: TrainingRun
    start: LEMModel
    split: Split
    comparison: Comparison
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """One line."""
        return describe("FinetuneResult", self._facts())

    def _repr_html_(self) -> str:
        """A card for a notebook."""
        return facts_html("FinetuneResult", self._facts(), note=" ".join(self.warnings))

    def _facts(self) -> dict[str, object]:
        return {
            "verdict": self.verdict,
            "from": self.start.name,
            "model": self.model.name,
            "folder": self.run.folder,
        }

    @property
    def model(self) -> LEMModel:
        """The new model."""
        return self.run.model

    @property
    def kept_start(self) -> bool:
        """Whether the saved weights are the start's."""
        return not self.run.best_utility > self.run.start_utility

    @property
    def verdict(self) -> Verdict:
        """The verdict."""
        return "start kept" if self.kept_start else self.comparison.outcome

    @property
    def sentence(self) -> str:
        """The verdict with its numbers, and the advice."""
        comparison = self.comparison
        numbers = (
            f"mean utility {comparison.utility_before:.4f} before, {comparison.utility_after:.4f} after, difference "
            f"{comparison.difference:+.2g}, 95 % interval {comparison.low:+.2g} to {comparison.high:+.2g}"
        )
        name = self.start.name
        if self.verdict == "better":
            return f"BETTER on the test part than {name}: {numbers}.{comparison.means_in_words}"
        if self.verdict == "worse":
            return f"WORSE on the test part than {name}: {numbers}.{comparison.means_in_words} Keep {name}."
        if self.verdict == "start kept":
            return (
                f"START KEPT: no checkpoint had a better validation utility than {name} ({self.run.best_utility:.4f} "
                f"at best, {self.run.start_utility:.4f} at the start). The saved weights are those of {name}."
            )
        return f"NO MEASURABLE DIFFERENCE from {name} on the test part: {numbers}. {name} can be kept."


def finetune(
    start: LEMModel | str | Path | None,
    data: Bars | str | Path,
    *,
    out: str | Path,
    config: str | Path | None = None,
    costs: CostModel | None = None,
    resume: str | Path | None = None,
    overwrite: bool = False,
    settings: FinetuneSettings | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> FinetuneResult:
    """Adapt a model to bars.

    Args:
        start: Model to start from: a model, a bundled name, a folder or a Hub id. It does not change. ``None`` for the
            recipe's ``finetune.start``.
        data: Bars, or a file of them.
        out: Folder of the new model, and of ``finetune.json`` with everything in the result.
        config: Recipe; default ``recipes/finetune.yaml``. ``settings`` take precedence over it.
        costs: Trading costs; every number of the comparison is then net of them. The recipe's ``orders`` say which
            sizes and impacts the training draws.
        resume: Checkpoint of the run in ``out`` to resume from, or ``"auto"`` for its last one; see
            :func:`~lem_models.training.run.train`.
        overwrite: Whether to replace a run or model in ``out``.
        settings: Method, horizon, days, length, precision and progress; the defaults if None.
        report: Called with lines of text about the split and the warnings, before the training starts.

    Returns:
        The model, the comparison and the verdict.

    Raises:
        BarsError: when the bars break a rule, or are too few. Then it gives the number needed, and for what.
        OrderError: when no order fits into the test part.
        ConfigError: when the recipe is refused, ``out`` is the folder of the start or already holds a run, the
            checkpoint is damaged or of another run, or the adapters' package is missing.
        WeightsError: when the start model is damaged.
    """
    settings, out = settings or FinetuneSettings(), Path(out)
    source = Path(config) if config is not None else shipped_recipe(RECIPE)
    sections = read_sections(source)
    section, market = _section(sections, "finetune", source), _section(sections, "data", source)
    _check_sections(sections, section, market, source)
    start = start or _named_start(section, source)
    if not isinstance(start, LEMModel):
        _check_folder(out, start)
    folder = RunFolder(out)
    if resume is None and not overwrite:
        folder.check_free()
    model = start if isinstance(start, LEMModel) else LEMModel.from_pretrained(start)
    folder.check_not_of(model)
    bars = _read(data, market)
    horizon = settings.horizon or section.get("horizon") or _default_horizon(model, bars)
    before = model.with_horizon(horizon)
    split = choose_split(
        bars,
        horizon=horizon,
        train_end=_day("train_end", settings.train_end, market),
        validation_end=_day("validation_end", settings.validation_end, market),
    )
    if config is None:
        sections |= {"orders": _known_orders(_section(sections, "orders", source), model, report)}
    recipe = Recipe.of(
        _sections(sections, source, out=out, model=model, bars=bars, split=split, horizon=horizon, settings=settings),
        name=source.name,
        folder=source.parent,
    )
    if recipe.trainer.keep != "best":
        raise ConfigError("trainer.keep: fine-tuning keeps the best of its checkpoints and the start; leave it out")
    # Refuse a test part without orders before anything is trained or written.
    test = comparison_settings(horizon, start=split.test.start, costs=costs, limit=settings.orders, seed=recipe.seed)
    test_days = sample_orders(bars, test)["start"].dt.floor("D").nunique()
    warnings = (*_warnings(model, split, horizon, clock(bars.frequency), test_days), *bars.doubts_in_words())
    for line in (*map(str, split.parts), *(f"warning: {text}" for text in warnings)):
        report(line)
    run = train(
        recipe,
        out=out,
        data=bars,
        start=before,
        resume=resume,
        overwrite=overwrite,
        settings=TrainingSettings(devices=1, **settings.model_dump(include=set(RunSettings.model_fields))),
    )
    result = FinetuneResult(
        run=run,
        start=before,
        split=split,
        comparison=compare_models(before, run.model, bars, test),
        warnings=warnings,
    )
    to_json(_facts(result, bars), out / FINETUNE_FILE)
    return result


def _known_orders(orders: dict[str, Any], model: LEMModel, report: Callable[[str], None]) -> dict[str, Any]:
    """How the package's recipe draws orders, without those that the start's head does not know."""
    if model.head.reads_size:
        return orders
    report(f"orders have no size: the head of {model.name} does not read it")
    unknown = {"sized", "size", "impact"} | {name for name in BENCHMARKS if name not in model.head.benchmarks}
    return {name: value for name, value in orders.items() if name not in unknown}


def _sections(
    sections: dict[str, Any],
    source: Path,
    *,
    out: Path,
    model: LEMModel,
    bars: Bars,
    split: Split,
    horizon: int,
    settings: FinetuneSettings,
) -> dict[str, Any]:
    """The sections of the recipe, completed with the split, the start and the settings."""
    market = _section(sections, "data", source)
    room = min(part.longest for part in split.parts) // 3
    market |= {
        "train_end": split.training.end,
        "validation_end": split.validation.end,
        "horizon": horizon,
        "stretch": max(shortest_stretch(bars, horizon), min(market.get("stretch", 80), room)),
        "shared_lookback": True,
    }
    for option in ("path", "unit", "calendar", "fill_gaps"):  # the bars have been read
        market.pop(option, None)
    section = _section(sections, "finetune", source) | {"start": model.name, "horizon": horizon}
    if settings.method is not None:
        section["method"] = settings.method
    chosen: dict[str, Any] = {"data": market, "finetune": section, "name": settings.name or _model_name(out)}
    if settings.seed is not None:
        chosen["seed"] = settings.seed
    if settings.steps is not None:
        chosen["trainer"] = _section(sections, "trainer", source) | {"steps": settings.steps}
    return sections | chosen


def _read(data: Bars | str | Path, market: dict[str, Any]) -> Bars:
    """The bars, read with the options of the recipe."""
    reading = DataConfig.model_validate(market | _ANY_DAYS)
    if isinstance(data, Bars):
        reading.check_read()
        return data
    return reading.read(data)


def _check_folder(out: Path, start: str | Path) -> None:
    """Refuse to overwrite the start."""
    if out.resolve() in (Path(start).resolve(), bundled_folder(str(start)).resolve()):
        raise ConfigError(f"out ({out}) is the folder of the start, {start}, which must not change: name another one")


def _model_name(folder: Path) -> str:
    """The folder's name, without the characters that the name of a model must not have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).lstrip("-._") or RECIPE


def _section(sections: dict[str, Any], name: str, source: Path) -> dict[str, Any]:
    """A copy of a section of settings."""
    section = sections.get(name) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"the recipe {source.name} is refused: {name}: one section of settings is needed")
    return dict(section)


def _check_sections(sections: dict[str, Any], section: dict[str, Any], market: dict[str, Any], source: Path) -> None:
    """Refuse a bad recipe before the bars are read; its start and its days may be missing."""
    Recipe.of(
        sections | {"name": RECIPE, "data": market | _ANY_DAYS, "finetune": {"start": RECIPE} | section},
        name=source.name,
        folder=source.parent,
    )


def _named_start(section: dict[str, Any], source: Path) -> str | Path:
    """The start that a recipe names; a relative folder starts at the recipe's."""
    if not isinstance(section.get("start"), str):
        raise ConfigError(f"the recipe {source.name} names no finetune.start: pass --from MODEL (finetune(MODEL, ...))")
    start: str = section["start"]
    return source.parent / start if (source.parent / start).is_dir() else start


def _day(name: str, given: date | None, market: dict[str, Any]) -> date | None:
    """The given day, or else the recipe's, if it has one."""
    value = market.get(name)
    if given is not None or value is None:
        return given
    try:
        return read_day(value)
    except MomentError as error:
        raise ConfigError(f"{name}: {error.reason}") from None


def _default_horizon(model: LEMModel, bars: Bars) -> int:
    return min(model.horizon, bars.slots_per_session if bars.is_session_bound else _LONGEST)


def _warnings(model: LEMModel, split: Split, horizon: int, frequency: str, test_days: int) -> tuple[str, ...]:
    warnings = []
    if split.training.bars < LITTLE:
        warnings.append(
            f"training: {split.training.bars:,} bars are few to train on (below {LITTLE:,}); expect no "
            "measurable difference"
        )
    if test_days < FEW_DAYS:
        warnings.append(
            f"test: its orders start on {test_days} of its {split.test.days} days, few to test on (below {FEW_DAYS}): "
            "intervals are made of days"
        )
    unseen = model.config.first_unseen(frequency)
    if unseen is not None and split.test.start < unseen:
        warnings.append(
            f"{model.name} was trained or validated on days up to {unseen}, the test part starts on "
            f"{split.test.start}: if it saw these assets, the numbers of 'before' are too good"
        )
    if model.frequencies and frequency not in model.frequencies:
        warnings.append(
            f"{model.name} was trained on bars of {' or '.join(model.frequencies)}, these are {frequency} long: "
            "'before' is untested there"
        )
    if horizon > model.horizon:
        warnings.append(
            f"{model.name} was trained for at most {model.horizon} periods, the new model for {horizon}: 'before' is "
            "untested at this horizon"
        )
    return tuple(warnings)


def _facts(result: FinetuneResult, bars: Bars) -> dict[str, Any]:
    """The result as facts for a file."""
    run, method = result.run, result.run.recipe.finetune
    return {
        "verdict": result.verdict,
        "sentence": result.sentence,
        "warnings": result.warnings,
        "start": result.start.name,
        "start_unseen_from": {name: str(day) for name, day in result.start.config.unseen_from.items()},
        "method": None if method is None else method.method,
        "rank": method.rank if method is not None and method.method == "lora" else None,
        "horizon": result.model.horizon,
        "weights_sha256": weights_hash(run.folder),
        "kept_start": result.kept_start,
        "validation_utility": {"start": run.start_utility, "best_step": run.best_utility},
        "data": {
            "content_hash": bars.content_hash,
            "symbols": len(bars.symbols),
            "bars": len(bars),
            "frequency": clock(bars.frequency),
        },
        "parts": {
            part.name: {"start": str(part.start), "end": str(part.end), "days": part.days, "bars": part.bars}
            for part in result.split.parts
        },
        "test": facts(result.comparison),
        "recipe": run.recipe.model_dump(mode="json"),
    }
