"""A training recipe: one YAML file with the model to train, its data and its settings.

Sections: ``name``, ``seed``, ``data`` (file, splits, batches; a list of such sections for several markets), ``orders``
(how they are drawn), ``model`` (the architecture) or ``finetune`` (the model to start from), ``teacher`` (a policy to
imitate), ``optimizer``, ``trainer`` (length, validation, patience), ``hub`` (repository for the best checkpoint, none
by default).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import ConfigDict, Field, Strict, ValidationError, field_validator, model_validator

from lem_models.baselines import list_policies
from lem_models.errors import ConfigError, UnknownNameError
from lem_models.guard.hub_ids import is_hub_id
from lem_models.guard.settings import Settings, problems
from lem_models.guard.text import place, read_text
from lem_models.guard.timestamps import Day
from lem_models.guard.yaml import parse_yaml
from lem_models.markets.bars import Bars
from lem_models.modeling.config import LEMConfig
from lem_models.modeling.optimizer import OptimizerConfig
from lem_models.orders.rules import Benchmark
from lem_models.training.sampling import OrderSampling
from lem_models.training.settings import Method, Precision

__all__ = [
    "DataConfig",
    "FinetuneConfig",
    "HubConfig",
    "Recipe",
    "TrainerConfig",
    "read_sections",
    "shipped_recipe",
]

_MAX_BYTES = 1 << 17
_KEYS_SHOWN = 8
_READING = ("format", "symbol", "tz", "columns", "notional", "repair", "unit", "calendar", "fill_gaps")
"""Settings of a market's data that say how its file is read."""

_Whole: TypeAlias = Annotated[int, Strict()]


class _Section(Settings):
    model_config = ConfigDict(allow_inf_nan=False)


class DataConfig(_Section):
    """Bars of one market and batches of them.

    Attributes:
        path: File of bars; relative paths start at the recipe's folder. ``lem train --data`` overrides it.
        format: Format of a vendor, see :meth:`~lem_models.markets.bars.Bars.read`; so for the next six.
        symbol: Symbol of a table that does not name it, or new names by the vendor's.
        tz: Zone of times without one.
        columns: Columns of the table by ours.
        notional: Where notionals come from.
        repair: Repairs of bars.
        unit: Unit of timestamps that are numbers.
        calendar: Trading hours, one name or names by symbol; see the same method.
        fill_gaps: Longest gap in bars that is filled with bars without volume; see the same method.
        train_end: Last day (exclusive) of training; orders end before it.
        validation_end: Last day (exclusive) of validation, which starts at ``train_end``.
        symbols: Symbols to use, all if empty.
        held_out: Symbols that neither training nor validation uses, so that they can test the model as unseen assets.
        horizon: Longest order in this market; default the model's.
        weight: Weight of this market in the draw of training batches.
        skip_bars: Bars to skip at the start of each symbol, because the first days of a listing are extreme.
        stretches: Stretches of bars in a batch, over all devices; one pass of the backbone reads each.
        orders_per_stretch: Orders drawn in each stretch.
        stretch: Bars of a stretch after the warm-up.
        validation_batches: Fixed batches for validation.
        validation_orders_per_stretch: Orders in each of their stretches; few, so that no stretch has much weight.
        shared_lookback: Whether the lookback of validation orders may lie in the training period; their decisions and
            fills never lie there. It is for short histories, in which a lookback is a large share of the bars.
    """

    path: Path | None = None
    format: str | None = None
    symbol: str | dict[str, str] | None = None
    tz: str | None = None
    columns: dict[str, str] | None = None
    notional: Literal["exact", "vwap", "hlc3", "close"] | None = None
    repair: str | tuple[str, ...] | None = None
    unit: Literal["s", "ms", "us", "ns", "auto"] | None = None
    calendar: str | dict[str, str] = "auto"
    fill_gaps: _Whole = Field(0, ge=0)
    train_end: Day
    validation_end: Day
    symbols: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    horizon: _Whole | None = Field(None, ge=1)
    weight: float = Field(1.0, gt=0)
    skip_bars: _Whole = Field(0, ge=0)
    stretches: _Whole = Field(64, ge=1)
    orders_per_stretch: _Whole = Field(64, ge=1)
    stretch: _Whole = Field(64, ge=2)
    validation_batches: _Whole = Field(16, ge=1)
    validation_orders_per_stretch: _Whole = Field(10, ge=1)
    shared_lookback: bool = False

    def read(self, source: str | Path) -> Bars:
        """Read the bars of a file with the options of this section.

        Raises:
            BarsError: The file cannot be read, or a bar breaks a rule.
            UnknownNameError: There is no such calendar.
        """
        return Bars.read(source, **{name: getattr(self, name) for name in _READING})

    def check_read(self) -> None:
        """Refuse options of reading for bars that are already read.

        Raises:
            ConfigError: when the section has one.
        """
        given = [name for name in _READING if name in self.model_fields_set]
        if given:
            raise ConfigError(
                f"the recipe says how to read a file ({', '.join(f'data.{name}' for name in given)}), but the bars are "
                "already read: pass the file, or leave these settings out"
            )

    @model_validator(mode="after")
    def _in_order(self) -> DataConfig:
        if self.validation_end <= self.train_end:
            raise ValueError("validation_end must be after train_end")
        return self


class FinetuneConfig(_Section):
    """The model that training starts from.

    Attributes:
        start: Bundled name, folder or Hub id; a relative folder starts at the recipe's. ``lem finetune --from`` and
            ``train(start=)`` override it.
        horizon: Longest order of the new model; default the start's
            (:meth:`~lem_models.modeling.model.LEMModel.with_horizon`).
        head_config: Settings that the head of the start lacks
            (:meth:`~lem_models.modeling.model.LEMModel.with_head_settings`).
        risk_aversion: Default of the new model for flexible orders that name none; default the start's
            (:meth:`~lem_models.modeling.model.LEMModel.with_risk_aversion`).
        method: Weights that may change: ``"full"``, every weight; ``"head"``, the head alone; ``"lora"``, low-rank
            adapters (:mod:`lem_models.training.adapters`), merged into the weights at the end.
        rank: Rank of the adapters.
    """

    start: str
    horizon: _Whole | None = Field(None, ge=1, le=512)
    head_config: dict[str, Any] = Field(default_factory=dict)
    risk_aversion: float | None = Field(None, ge=0.0, le=100.0)
    method: Method = "full"
    rank: _Whole = Field(8, ge=1, le=256)


class TrainerConfig(_Section):
    """Length, validation and precision of a run.

    Attributes:
        steps: Largest number of optimiser steps.
        steps_per_epoch: Steps between two validations.
        keep: Which weights are the result: ``"best"``, those with the best validation utility; ``"last"``, those after
            all steps, for a validation period that is too short to compare checkpoints. With ``"last"`` the training
            does not stop early, and the weights of the start cannot be the result.
        patience: Validations without a better utility before the run stops.
        accumulate: Batches whose gradients are averaged for one optimiser step, if the stretches of a step do not fit
            into memory at once.
        precision: ``"32-true"``; ``"bf16-mixed"`` or ``"16-mixed"`` for matrix products in 16 bits and weights in 32.
            The simulator always books fills in 32 bits.
        cuda_graphs: Record the backbone's kernels once and replay them, on a single CUDA device.
        gradient_clip: Largest gradient norm.
        averaging: Decay of the exponential moving average of the weights; 0 keeps the last weights.
    """

    steps: _Whole = Field(3000, ge=1)
    steps_per_epoch: _Whole = Field(250, ge=1)
    keep: Literal["best", "last"] = "best"
    patience: _Whole = Field(8, ge=1)
    accumulate: _Whole = Field(1, ge=1)
    precision: Precision = "32-true"
    cuda_graphs: bool = False
    gradient_clip: float = Field(1.0, gt=0)
    averaging: float = Field(0.998, ge=0, lt=1)


class HubConfig(_Section):
    """Repository for the best checkpoint during training; see :class:`~lem_models.training.push.PushToHub`.

    The token is not a setting: it comes from ``HF_TOKEN`` or ``hf auth login``.

    Attributes:
        repo_id: Repository on the Hub, ``org/name``; created if it does not exist.
        branch: Branch, created if it does not exist; null for the main one.
        private: Whether the repository is private. If true, an existing public repository is refused. Null for the
            account's default.
        every: Fewest validations between two pushes.
    """

    refusal: ClassVar[str] = "pushing to the Hub is refused"

    repo_id: str
    branch: str | None = "training"
    private: bool | None = True
    every: _Whole = Field(1, ge=1)

    @field_validator("repo_id")
    @classmethod
    def _is_hub_id(cls, name: str) -> str:
        if not is_hub_id(name):
            raise ValueError(f"a repository on the Hub is named org/name; got {name!r}")
        return name


class Recipe(_Section):
    """A training recipe.

    Attributes:
        name: Name of the new model.
        seed: Seed of weights and data.
        data: Bars and batches, of one market or of several.
        orders: How training orders are drawn.
        model: Architecture.
        finetune: Model to start from; its architecture replaces ``model``.
        teacher: Policy whose schedules orders of a fixed duration imitate, by name (``convex``) or folder; see
            :class:`~lem_models.training.teacher.Teacher`.
        optimizer: Optimiser.
        trainer: Length, validation and precision.
        hub: Repository for the best checkpoint during training.
    """

    refusal: ClassVar[str] = "recipe refused"

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: _Whole = Field(0, ge=0, lt=1 << 32)
    data: tuple[DataConfig, ...]
    orders: OrderSampling = OrderSampling()
    model: LEMConfig = Field(default_factory=LEMConfig)
    finetune: FinetuneConfig | None = None
    teacher: str | None = Field(None, min_length=1, max_length=4096)
    optimizer: OptimizerConfig = OptimizerConfig()
    trainer: TrainerConfig = TrainerConfig()
    hub: HubConfig | None = None

    @field_validator("data", mode="before")
    @classmethod
    def _one_or_several(cls, data: object) -> object:
        return (data,) if isinstance(data, DataConfig | dict) else data

    # Not min_length: pydantic counts only the markets that are valid.
    @field_validator("data")
    @classmethod
    def _at_least_one(cls, data: tuple[DataConfig, ...]) -> tuple[DataConfig, ...]:
        if not data:
            raise ValueError("at least one market is needed")
        return data

    @model_validator(mode="after")
    def _teachable(self) -> Recipe:
        if self.teacher is not None and self.orders.sized == 1:
            raise ValueError(
                "teacher: it teaches orders without a size, and orders.sized is 1; lower one or drop the other"
            )
        return self

    @model_validator(mode="after")
    def _one_architecture(self) -> Recipe:
        if self.finetune is not None and "model" in self.model_fields_set:
            raise ValueError("model: the architecture is that of finetune.start; leave one of the two sections out")
        return self

    @property
    def architecture(self) -> LEMConfig:
        """``model`` with the benchmarks and the impact of the orders that are drawn.

        The impact is that of ``model``, if it names one, else the middle of the drawn ones on a log scale.
        """
        orders = self.orders
        impact = self.model.impact or round(math.sqrt(orders.impact[0] * orders.impact[1]), 3)
        known = {
            "benchmarks": tuple(Benchmark(name) for name in orders.benchmarks),
            "impact": impact if orders.sized else self.model.impact,
        }
        return self.model.model_copy(update=known)

    @property
    def method(self) -> Method:
        """Weights that training may change."""
        return "full" if self.finetune is None else self.finetune.method

    @property
    def validation_end(self) -> date:
        """First day that no market of the recipe uses."""
        return max(market.validation_end for market in self.data)

    def pushed_to(self, repo_id: str | None, branch: str | None = None) -> Recipe:
        """The recipe with another repository, another branch, or both; ``None`` keeps the recipe's.

        Raises:
            ConfigError: when the name does not have the form ``org/name``, or a branch is named without a repository.
        """
        given = {key: value for key, value in (("repo_id", repo_id), ("branch", branch)) if value is not None}
        if not given:
            return self
        if repo_id is None and self.hub is None:
            raise ConfigError("a branch to push to needs a repository: pass --push-to org/name as well")
        hub = HubConfig(**((self.hub.model_dump() if self.hub is not None else {}) | given))
        return self.model_copy(update={"hub": hub})

    @classmethod
    def read(cls, path: str | Path) -> Recipe:
        """Read a recipe.

        Raises:
            ConfigError: naming the file and every wrong setting.
        """
        path = Path(path)
        return cls.of(read_sections(path), name=path.name, folder=path.parent)

    @classmethod
    def of(cls, sections: Mapping[str, Any], *, name: str, folder: Path) -> Recipe:
        """A recipe from its sections.

        Args:
            sections: Content of the file.
            name: Name of the file, for errors.
            folder: Folder at which relative paths start.

        Raises:
            ConfigError: naming the file and every wrong setting.
        """
        unnamed = [f"{place(keys)}: the name of a setting must be a text" for keys in _unnamed(sections, ())]
        if unnamed:
            raise ConfigError(f"the recipe {name} is refused: {'; '.join(unnamed[:_KEYS_SHOWN])}")
        # An empty section counts as left out.
        content = {key: value for key, value in sections.items() if value is not None}
        has_one_market = not isinstance(content.get("data"), list)  # its section is not numbered
        try:
            recipe = cls.model_validate(content)
        except ValidationError as error:
            raise ConfigError(
                f"the recipe {name} is refused: "
                f"{problems(error, lambda keys: without_number(place(keys)) if has_one_market else place(keys))}"
            ) from None
        data = tuple(
            market if market.path is None else market.model_copy(update={"path": (folder / market.path).resolve()})
            for market in recipe.data
        )
        changes: dict[str, Any] = {"data": data}
        if recipe.finetune is not None and (folder / recipe.finetune.start).is_dir():
            start = str((folder / recipe.finetune.start).resolve())
            changes["finetune"] = recipe.finetune.model_copy(update={"start": start})
        if recipe.teacher not in (None, *list_policies()) and (folder / str(recipe.teacher)).is_dir():
            changes["teacher"] = str((folder / str(recipe.teacher)).resolve())
        return recipe.model_copy(update=changes)


def read_sections(path: str | Path) -> dict[str, Any]:
    """The sections of a recipe, unchecked.

    Raises:
        ConfigError: when the file cannot be read, repeats a key, exceeds a limit, or holds no sections.
    """
    try:
        content = parse_yaml(read_text(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"the recipe {path} must hold sections, not a {type(content).__name__}")
    return content


def shipped_recipe(name: str) -> Path:
    """File of a recipe in the package.

    Raises:
        UnknownNameError: when the package has no recipe of this name.
    """
    package = Path(__file__).parents[1]
    # In an installed package, and in a checkout.
    for folder in (package / "recipes", package.parent / "recipes"):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = {path.stem for folder in (package, package.parent) for path in (folder / "recipes").glob("*.yaml")}
    raise UnknownNameError.among("recipe", name, known)


def _unnamed(value: object, location: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    """Places of keys that are not texts: YAML reads ``1:``, ``yes:`` and ``2024-01-01:`` as other types."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(value, Mapping) and not isinstance(key, str):
            yield (*location, key)
        yield from _unnamed(item, (*location, key))


def without_number(setting: str) -> str:
    """The name of a setting in a recipe with one market: ``data.path``, not ``data.0.path``.

    Example:
        >>> without_number("data.0.path"), without_number("data.0"), without_number("trainer.steps")
        ('data.path', 'data', 'trainer.steps')
    """
    return re.sub(r"^data\.0(?=\.|$)", "data", setting)
