"""Fine-tuning: from bars of one's own to a saved model, and an honest answer to whether it helped.

The history is cut into three consecutive parts (:mod:`lem_models.training.finetune.split`). The first trains, the
second chooses among checkpoints, the start model among them, and the third says what was gained: before and after on
the same orders, TWAP and the volume curve beside them, and a verdict (:mod:`lem_models.training.finetune.verdict`).
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
from lem_models.guard.output import to_json
from lem_models.guard.timestamps import MomentError, read_day
from lem_models.hub.models.zoo import bundled_folder, weights_hash
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import clock
from lem_models.modeling.model import LEMModel
from lem_models.training.finetune.split import FEW_DAYS, LITTLE, Split, choose_split, shortest_stretch
from lem_models.training.finetune.verdict import Comparison, Outcome, compare_models, comparison_settings, facts
from lem_models.training.folder import FINETUNE_RECORD, RunFolder
from lem_models.training.recipe import DataConfig, Method, Recipe, read_sections, shipped_recipe
from lem_models.training.run import run_recipe

__all__ = ["FinetuneResult", "Verdict", "finetune"]

RECIPE = "finetune"
"""Shipped recipe with the defaults."""

_LONGEST = 24  # periods: what models of markets without sessions are trained for, where their horizon reaches further

Verdict: TypeAlias = Outcome | Literal["start kept"]
"""What came of it; ``"start kept"``: no checkpoint was better than the start in validation, so the start was saved."""

_ANY_DAYS = {"train_end": date(1980, 1, 1), "validation_end": date(2200, 1, 1)}  # for a section that may lack its days


@dataclass(frozen=True)
class FinetuneResult:
    """What fine-tuning found.

    Attributes:
        model: The new model, saved in ``folder``.
        start: The model that it started from, at the horizon of the new one.
        folder: Where it was saved, with ``finetune.json``.
        recipe: The recipe with everything that was chosen.
        split: The three parts of the history.
        comparison: Before and after on the test part.
        start_utility: Validation utility of the start model, in bar volatilities.
        best_utility: Best validation utility after it.
        warnings: What a reader of the numbers should know.
    """

    model: LEMModel
    start: LEMModel
    folder: Path
    recipe: Recipe
    split: Split
    comparison: Comparison
    start_utility: float
    best_utility: float
    warnings: tuple[str, ...]

    @property
    def kept_start(self) -> bool:
        """Whether the saved weights are the start's."""
        return not self.best_utility > self.start_utility

    @property
    def verdict(self) -> Verdict:
        """What came of it, in a word."""
        return "start kept" if self.kept_start else self.comparison.outcome

    @property
    def sentence(self) -> str:
        """What came of it, and what to do."""
        found = self.comparison
        numbers = (
            f"mean utility {found.utility_before:.4f} before, {found.utility_after:.4f} after, difference "
            f"{found.difference:+.4f} bar volatilities, 95 % interval {found.low:+.4f} to {found.high:+.4f}"
        )
        name = self.start.name
        if self.verdict == "better":
            return f"BETTER on the test part than {name}: {numbers}."
        if self.verdict == "worse":
            return f"WORSE on the test part than {name}: {numbers}. Keep {name}."
        if self.verdict == "start kept":
            return (
                f"START KEPT: no checkpoint had a better validation utility than {name} ({self.best_utility:.4f} at "
                f"best, {self.start_utility:.4f} at the start). The saved weights are those of {name}."
            )
        return f"NO MEASURABLE DIFFERENCE from {name} on the test part: {numbers}. {name} may as well be kept."


def finetune(
    start: LEMModel | str | Path | None,
    data: Bars | str | Path,
    *,
    out: str | Path,
    config: str | Path | None = None,
    method: Method | str | None = None,
    horizon: int | None = None,
    train_end: date | str | None = None,
    validation_end: date | str | None = None,
    costs: CostModel | None = None,
    steps: int | None = None,
    name: str | None = None,
    seed: int | None = None,
    orders: int = 20_000,
    resume: str | Path | None = None,
    overwrite: bool = False,
    accelerator: str = "auto",
    precision: str | None = None,
    progress: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> FinetuneResult:
    """Adapt a model to bars.

    Args:
        start: Model to start from: a model, a bundled name, a folder or a Hub id. It is left alone. ``None`` for the
            recipe's ``finetune.start``.
        data: Bars, or a file of them.
        out: Folder of the new model, and of ``finetune.json`` with everything that the result says.
        config: Recipe; default ``recipes/finetune.yaml``. What follows goes before what it says.
        method: What may change: ``"full"``, ``"head"`` or ``"lora"``.
        horizon: Longest order in periods. Default: the start's, but at most a session, and at most 24 periods in a
            market without sessions.
        train_end: First day of the validation part; with ``validation_end``, or neither for 60, 20 and 20 % of the
            days.
        validation_end: First day of the test part.
        costs: What trading costs: training and every number are then net of it.
        steps: Optimiser steps at most.
        name: Name of the new model; default that of the folder, without what names must not hold.
        seed: Seed of everything drawn.
        orders: Orders to test on at most.
        resume: Checkpoint of the run in ``out`` to go on from, or ``"auto"`` for its last one; see
            :func:`~lem_models.training.run.train`.
        overwrite: Whether to replace a run or model that ``out`` holds already.
        accelerator: Lightning accelerator.
        precision: Lightning precision.
        progress: Whether to show a progress bar.
        report: Called with each line that tells what was chosen, before the training starts.

    Returns:
        The model, the comparison and the verdict.

    Raises:
        BarsError: when the bars break a rule, or are too few: it says how many are needed, and for what.
        OrderError: when no order fits into the test part.
        ConfigError: when the recipe is refused, ``out`` is the folder of the start or holds a run already, the
            checkpoint is damaged or of another run, or the adapters' package is missing.
        WeightsError: when the start model is damaged.
    """
    source = Path(config) if config is not None else shipped_recipe(RECIPE)
    sections = read_sections(source)
    asked, market = _section(sections, "finetune", source), _section(sections, "data", source)
    _check_settings(sections, asked, market, source)
    chosen = start or _start(asked, source)
    if not isinstance(chosen, LEMModel):
        _check_folder(Path(out), chosen)
    if resume is None and not overwrite:
        RunFolder(Path(out)).check_free()
    model = chosen if isinstance(chosen, LEMModel) else LEMModel.from_pretrained(chosen)
    RunFolder(Path(out)).check_not_of(model)
    reading = DataConfig.model_validate(market | _ANY_DAYS)
    if isinstance(data, Bars):
        reading.check_read()
        bars = data
    else:
        bars = reading.read(data)
    longest = horizon or asked.get("horizon") or _default_horizon(model, bars)
    before = model.with_horizon(longest)
    split = choose_split(
        bars,
        horizon=longest,
        train_end=_day("train_end", train_end, market),
        validation_end=_day("validation_end", validation_end, market),
    )
    least = shortest_stretch(bars, longest)
    room = min(part.longest for part in split.parts) // 3
    market |= {
        "train_end": split.training.end,
        "validation_end": split.validation.end,
        "horizon": longest,
        "stretch": max(least, min(market.get("stretch", 80), room)),
        "shared_lookback": True,
    }
    for option in ("path", "unit", "calendar", "fill_gaps"):  # the bars have been read
        market.pop(option, None)
    asked |= {"start": model.name, "horizon": longest}
    given = {
        "name": name or _model_name(Path(out)),
        "seed": seed,
        "costs": costs,
    }
    recipe = Recipe.of(
        sections
        | {"data": market, "finetune": asked | ({} if method is None else {"method": method})}
        | {key: value for key, value in given.items() if value is not None}
        | ({} if steps is None else {"trainer": _section(sections, "trainer", source) | {"steps": steps}}),
        name=source.name,
        folder=source.parent,
    )
    if recipe.trainer.keep != "best":
        raise ConfigError("trainer.keep: fine-tuning keeps the best of its checkpoints and the start; leave it out")
    # Before anything is trained or written: a test part that holds no order is refused.
    settings = comparison_settings(longest, start=split.test.start, costs=recipe.costs, limit=orders, seed=recipe.seed)
    tested = sample_orders(bars, settings)["start"].dt.floor("D").nunique()
    warnings = _warnings(model, split, longest, clock(bars.frequency), tested)
    for line in (*map(str, split.parts), *(f"warning: {text}" for text in warnings)):
        report(line)
    run = run_recipe(
        recipe,
        out=out,
        data=bars,
        start=before,
        resume=resume,
        overwrite=overwrite,
        accelerator=accelerator,
        devices=1,
        precision=precision,
        progress=progress,
    )
    comparison = compare_models(
        before, run.model, bars, start=split.test.start, costs=recipe.costs, limit=orders, seed=recipe.seed
    )
    result = FinetuneResult(
        model=run.model,
        start=before,
        folder=Path(out),
        recipe=recipe,
        split=split,
        comparison=comparison,
        start_utility=run.start_utility,
        best_utility=run.best_utility,
        warnings=warnings,
    )
    to_json(_record(result, bars), Path(out) / FINETUNE_RECORD)
    return result


def _check_folder(out: Path, start: str | Path) -> None:
    """Refuse to overwrite the start."""
    if out.resolve() in (Path(start).resolve(), bundled_folder(str(start)).resolve()):
        raise ConfigError(f"out ({out}) is the folder of the start, {start}, which is left alone: name another one")


def _model_name(folder: Path) -> str:
    """The folder's name, without what the name of a model must not hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).lstrip("-._") or RECIPE


def _section(sections: dict[str, Any], name: str, source: Path) -> dict[str, Any]:
    """A copy of a section of settings."""
    found = sections.get(name) or {}
    if not isinstance(found, dict):
        raise ConfigError(f"the recipe {source.name} is refused: {name}: one section of settings is needed")
    return dict(found)


def _check_settings(sections: dict[str, Any], asked: dict[str, Any], market: dict[str, Any], source: Path) -> None:
    """Refuse a recipe before any of it is read; start and days may be missing in it."""
    Recipe.of(
        sections | {"name": RECIPE, "data": market | _ANY_DAYS, "finetune": {"start": RECIPE} | asked},
        name=source.name,
        folder=source.parent,
    )


def _start(asked: dict[str, Any], source: Path) -> str | Path:
    """The start that a recipe names; a relative folder starts at the recipe's."""
    if not isinstance(asked.get("start"), str):
        raise ConfigError(f"the recipe {source.name} names no finetune.start: pass --from MODEL (finetune(MODEL, ...))")
    start: str = asked["start"]
    return source.parent / start if (source.parent / start).is_dir() else start


def _day(name: str, given: date | str | None, market: dict[str, Any]) -> date | None:
    """A day that was given, or else the recipe's, if it has one."""
    value = market.get(name) if given is None else given
    try:
        return None if value is None else read_day(value)
    except MomentError as error:
        raise ConfigError(f"{name}: {error.reason}") from None


def _default_horizon(model: LEMModel, bars: Bars) -> int:
    return min(model.horizon, bars.slots_per_session if bars.is_session_bound else _LONGEST)


def _warnings(model: LEMModel, split: Split, horizon: int, frequency: str, tested: int) -> tuple[str, ...]:
    found = []
    if split.training.bars < LITTLE:
        found.append(
            f"training: {split.training.bars:,} bars are little to learn from (below {LITTLE:,}); expect no "
            "measurable difference"
        )
    if tested < FEW_DAYS:
        found.append(
            f"test: its orders start on {tested} of its {split.test.days} days, few to test on (below {FEW_DAYS}): "
            "intervals are made of days"
        )
    unseen = model.config.first_unseen(frequency)
    if unseen is not None and split.test.start < unseen:
        found.append(
            f"{model.name} was trained or validated on days up to {unseen}, the test part starts on "
            f"{split.test.start}: where it saw these assets, 'before' is flattered"
        )
    if model.frequencies and frequency not in model.frequencies:
        found.append(
            f"{model.name} was trained on bars of {' or '.join(model.frequencies)}, these are {frequency} long: "
            "'before' is untested there"
        )
    if horizon > model.horizon:
        found.append(
            f"{model.name} was trained for at most {model.horizon} periods, the new model for {horizon}: 'before' goes "
            "on beyond what it knows"
        )
    return tuple(found)


def _record(result: FinetuneResult, bars: Bars) -> dict[str, Any]:
    """Everything that the result says, for a file."""
    method = result.recipe.finetune
    return {
        "verdict": result.verdict,
        "sentence": result.sentence,
        "warnings": result.warnings,
        "start": result.start.name,
        "start_unseen_from": {name: str(day) for name, day in result.start.config.unseen_from.items()},
        "method": None if method is None else method.method,
        "rank": method.rank if method is not None and method.method == "lora" else None,
        "horizon": result.model.horizon,
        "weights_sha256": weights_hash(result.folder),
        "kept_start": result.kept_start,
        "validation_utility": {"start": result.start_utility, "best_step": result.best_utility},
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
        "recipe": result.recipe.model_dump(mode="json"),
    }
