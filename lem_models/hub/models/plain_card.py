"""The card of a model of one's own that has none: what the files say of it, and what they do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError
from pydantic import BaseModel, ConfigDict, ValidationError

from lem_models.errors import ConfigError
from lem_models.guard.text import one_line, place, problem, read_json
from lem_models.hub.models.zoo import list_models
from lem_models.modeling.config import LEMConfig
from lem_models.report.markdown import markdown_table, markdown_text
from lem_models.report.numbers import interval
from lem_models.report.policy_tables import before_after_table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = ["plain_card"]

RECORD = "finetune.json"
"""What fine-tuning writes beside a model."""

_EXAMPLE_PERIODS = 12
_PROBLEMS_SHOWN = 8
AFTER = "after"
"""The model itself in that record; ``before`` is the one that it started from."""


def plain_card(
    config: LEMConfig, name: str, repo_id: str, folder: Path, *, weights: str, licence: str | None
) -> tuple[str, list[str]]:
    """A card as Markdown, with metadata.

    Args:
        config: Configuration of the model.
        name: Its name.
        repo_id: Where it is published.
        folder: Its folder; with ``finetune.json`` the card has what fine-tuning measured.
        weights: SHA-256 of its weights.
        licence: Licence, by the Hub's identifiers (``"apache-2.0"``); it is not guessed.

    Returns:
        The card, and what is missing in it.

    Raises:
        ConfigError: when ``finetune.json`` cannot be read.
    """
    from huggingface_hub import ModelCardData

    notes = [] if licence else ["the card states no licence, so nobody may use the model: pass --licence (licence=)"]
    record = _record(folder / RECORD)
    if record is not None and record.get("weights_sha256") not in (None, weights):
        notes.append(f"the card has no measured results: {RECORD} is about other weights")
        record = None
    elif record is None:
        notes.append("the card has no measured results: nothing measured is recorded in the folder")
    frequencies = config.frequencies or sorted(config.unseen_from)
    start = str(record["start"]) if record is not None else None
    metadata = ModelCardData(
        license=licence,
        library_name="lem_models",
        model_name=one_line(name),
        tags=["finance", "order-execution", "vwap", "twap", "time-series", config.encoder],
        eval_results=_index(record) if record is not None else None,
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
    content = dict(
        metadata=_Markdown(str(metadata.to_yaml()).strip()),
        name=name,
        repo_id=repo_id,
        config=config,
        frequencies=frequencies,
        weights=weights,
        licence=licence,
        start=start,
        bundled=start in list_models(),
        record=record,
        table=_Markdown(_table(record) if record is not None else ""),
        tracking=_tracking(record) if record is not None else [],
        periods=periods,
        minima=sorted({1, max(1, periods // 2), periods}),
    )
    try:
        text = environment.get_template("plain_card.md.j2").render(content)
    except TemplateError as error:  # the record lacks what the card shows
        raise ConfigError(f"cannot read {folder / RECORD}: {error}; move it away") from None
    return text, notes


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


class _Test(_Row):
    orders: int
    net_of_costs: bool
    policies: list[_PolicyRow]
    fixed_duration_std_ratio: list[_RatioRow]


class _Data(_Row):
    content_hash: str
    symbols: int
    bars: int


class _Part(_Row):
    start: str
    end: str


class _Record(_Row):
    """What the card shows of ``finetune.json``; a damaged record is refused, not half shown."""

    start: str
    sentence: str
    warnings: list[str]
    data: _Data
    parts: dict[str, _Part]
    test: _Test
    weights_sha256: str | None = None


class _Markdown(str):
    """Lines of the card that were made here; everything else comes from a file or a user, and is one line of text."""


def _written(value: object) -> object:
    return value if isinstance(value, _Markdown) else markdown_text(value)


def _record(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        _Record.model_validate(record)
        record["parts"]["test"]
    except ValidationError as error:
        problems = [problem(place(e["loc"]), e["msg"]) for e in error.errors(include_url=False)]
        raise ConfigError(f"cannot read {path}: {'; '.join(problems[:_PROBLEMS_SHOWN])}; move it away") from None
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"cannot read {path}: {type(error).__name__}: {error}; move it away") from None
    return record


def _index(record: Mapping[str, Any]) -> list[EvalResult]:
    """The results of the model itself, for ``model-index``."""
    from huggingface_hub import EvalResult

    test, part = record["test"], record["parts"]["test"]
    costs = ", after costs" if test["net_of_costs"] else ""
    return [
        EvalResult(
            task_type="order-execution",
            task_name="Order execution",
            dataset_type="bars",
            dataset_name=one_line(f"Bars {str(record['data']['content_hash'])[:12]}, {part['start']} to {part['end']}"),
            dataset_split="test",
            metric_type="improvement_bar_volatilities",
            metric_name=one_line(
                f"Mean improvement over the VWAP{costs}, bar volatilities, minimum {row['min_periods']}"
            ),
            metric_value=row["mean_vol"],
            metric_args={key: row[key] for key in ("low_vol", "high_vol", "std_vol", "mean_bps", "std_bps", "orders")},
        )
        for row in test["policies"]
        if row["policy"] == AFTER
    ]


def _table(record: Mapping[str, Any]) -> str:
    return markdown_table(before_after_table(pd.DataFrame(record["test"]["policies"])))


def _tracking(record: Mapping[str, Any]) -> list[str]:
    return [
        f"{interval(row['ratio'], row['low'], row['high'])} of that of {row['policy']}"
        for row in record["test"]["fixed_duration_std_ratio"]
    ]
