"""A card for a model without one, made from the model's files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, ValidationError

from lem_models.errors import ConfigError
from lem_models.guard.hub_ids import is_hub_id
from lem_models.guard.settings import problems
from lem_models.guard.text import one_line, read_json
from lem_models.hub.datasets.licence import is_licence_name, unknown_licence
from lem_models.hub.models.card_names import PIPELINE_TAG
from lem_models.hub.models.registry import bundled_names
from lem_models.hub.settings import ModelUpload
from lem_models.modeling.config import LEMConfig
from lem_models.report.markdown import markdown_table, markdown_text
from lem_models.report.numbers import interval
from lem_models.report.policy_tables import before_after_prices_table, before_after_table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = ["FINETUNE_NAME", "plain_card"]

FINETUNE_NAME = "finetune.json"
"""Results of a fine-tuning, beside its model."""

_EXAMPLE_PERIODS = 12
_AFTER = "after"
"""The model in that file; ``before`` is the start of its fine-tuning."""


def plain_card(config: LEMConfig, to: ModelUpload, folder: Path, *, weights: str) -> tuple[str, list[str]]:
    """A card as Markdown, with metadata.

    Args:
        config: Configuration of the model.
        to: The destination, with the licence (``"apache-2.0"``), which is not guessed.
        folder: Its folder; with ``finetune.json`` the card has the results of the fine-tuning.
        weights: SHA-256 of its weights.

    Returns:
        The card, and notes on what is missing in it.

    Raises:
        ConfigError: when ``finetune.json`` cannot be read, or the Hub knows no such licence.
    """
    from huggingface_hub import ModelCardData

    notes = []
    if to.licence and not is_licence_name(to.licence):
        raise ConfigError(
            f"{unknown_licence(to.licence)} take a name that the Hub knows, such as 'apache-2.0' or 'mit', or 'other' "
            "and a card of your own (--card) with the terms"
        )
    if not to.licence:
        notes.append(
            "the card states no licence, so others may not use the model: name one when it is published, "
            "--licence (licence=)"
        )
    measured = _read(folder / FINETUNE_NAME)
    start = None if measured is None else measured.start
    if measured is None:
        notes.append("the card has no measured results: the folder has none")
    elif measured.weights_sha256 not in (None, weights):
        notes.append(f"the card has no measured results: {FINETUNE_NAME} is of other weights")
        start = measured = None
    name = to.repo_id.split("/")[-1]
    base = start if is_hub_id(start) else None  # a folder or a bundled name is no link
    metadata = ModelCardData(
        license=to.licence,
        library_name="lem_models",
        pipeline_tag=PIPELINE_TAG,
        base_model=base,
        base_model_relation=None if base is None else "finetune",
        model_name=one_line(name),
        tags=["finance", "order-execution", "vwap", "twap", "time-series", config.encoder],
        eval_results=None if measured is None else _index(measured),
    )
    environment = Environment(
        loader=PackageLoader("lem_models.hub"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        finalize=_written,
    )
    periods = min(_EXAMPLE_PERIODS, config.horizon)
    card = environment.get_template("plain_card.md.j2").render(
        metadata=_Markdown(str(metadata.to_yaml()).strip()),
        name=name,
        repo_id=to.repo_id,
        config=config,
        frequencies=config.frequencies or sorted(config.unseen_from),
        weights=weights,
        licence=to.licence,
        start=start,
        bundled=start in bundled_names(),
        measured=measured,
        table=_Markdown("" if measured is None else _table(measured)),
        by_price=_Markdown("" if measured is None else _price_table(measured)),
        tracking=[] if measured is None else _tracking(measured),
        periods=periods,
        minima=sorted({1, max(1, periods // 2), periods}),
    )
    return card, notes


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)


class _PolicyRow(_Row):
    policy: str
    min_periods: int
    orders: int
    mean_bps: float | None
    std_bps: float | None
    mean_vol: float | None
    low_vol: float | None
    high_vol: float | None
    std_vol: float | None


class _RatioRow(_Row):
    policy: str
    ratio: float | None
    low: float | None
    high: float | None


class _PriceRow(_Row):
    policy: str
    min_periods: int | None
    costs: str
    against: str
    mean_bps: float | None
    low_bps: float | None
    high_bps: float | None


class _Costs(_Row):
    order_size: float | None


class _ByPrice(_Row):
    cost_model: str | None
    costs: _Costs
    improvements: list[_PriceRow]


class _Test(_Row):
    orders: int
    net_of_costs: bool
    policies: list[_PolicyRow]
    by_price: _ByPrice | None = None
    fixed_duration_std_ratio: list[_RatioRow]


class _Data(_Row):
    content_hash: str
    symbols: int
    bars: int


class _Period(_Row):
    start: str
    end: str


class _Measured(_Row):
    """The fields of ``finetune.json`` in the card; a damaged file is refused."""

    start: str
    sentence: str
    warnings: list[str]
    data: _Data
    parts: dict[str, _Period]  # training, validation, test
    test: _Test
    weights_sha256: str | None = None


class _Markdown(str):
    """Markdown made here. All other values come from a file or a user, and are written as one line of text."""


def _written(value: object) -> object:
    return value if isinstance(value, _Markdown) else markdown_text(value)


def _read(path: Path) -> _Measured | None:
    if not path.is_file():
        return None
    try:
        measured = _Measured.model_validate(read_json(path))
        measured.parts["test"]
    except ValidationError as error:
        raise ConfigError(f"cannot read {path}: {problems(error)}; move it away") from None
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"cannot read {path}: {type(error).__name__}: {error}; move it away") from None
    return measured


def _index(measured: _Measured) -> list[EvalResult]:
    """The results of the model, for ``model-index``."""
    from huggingface_hub import EvalResult

    period = measured.parts["test"]
    costs = ", after costs" if measured.test.net_of_costs else ""
    return [
        EvalResult(
            task_type="order-execution",
            task_name="Order execution",
            dataset_type="bars",
            dataset_name=one_line(f"Bars {measured.data.content_hash[:12]}, {period.start} to {period.end}"),
            dataset_split="test",
            metric_type="improvement_bar_volatilities",
            metric_name=f"Mean improvement over the VWAP{costs}, bar volatilities, minimum {row.min_periods}",
            metric_value=row.mean_vol,
            metric_args=row.model_dump(include={"low_vol", "high_vol", "std_vol", "mean_bps", "std_bps", "orders"}),
        )
        for row in measured.test.policies
        if row.policy == _AFTER
    ]


def _table(measured: _Measured) -> str:
    rows = pd.DataFrame([row.model_dump() for row in measured.test.policies])
    return markdown_table(before_after_table(rows))


def _price_table(measured: _Measured) -> str:
    """Against three prices, over all minimum durations; empty for a file without them."""
    by_price = measured.test.by_price
    if by_price is None:
        return ""
    rows = pd.DataFrame([row.model_dump() for row in by_price.improvements if row.min_periods is None])
    return markdown_table(before_after_prices_table(rows, by_price.costs.order_size or 0.0))


def _tracking(measured: _Measured) -> list[str]:
    return [
        f"{interval(row.ratio, row.low, row.high)} of that of {row.policy}"
        for row in measured.test.fixed_duration_std_ratio
    ]
