"""Everything that is known of a model: from its configuration, its weights, its card, and the records beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lem_models.errors import ConfigError, LEMError
from lem_models.guard.hub_ids import is_hub_id
from lem_models.guard.text import read_json
from lem_models.hub.card import Card
from lem_models.hub.client import ask, is_offline
from lem_models.hub.models.registry import bundled_folder, registry, weights_hash
from lem_models.hub.names import CARD_NAME, METRICS_NAME, WEIGHTS_NAME

if TYPE_CHECKING:
    from lem_models.modeling.model import LEMModel

__all__ = ["ModelDescription", "describe_model"]

_RUN, _FINETUNE = "run.json", "finetune.json"
_ROW = ("dataset", "split", "metric", "name", "value", "low", "high", "orders")


@dataclass(frozen=True)
class ModelDescription:
    """What is known of a model; everything of it is a plain value.

    Attributes:
        name: The name that it was asked for by.
        kind: Where it is: in the package, in a folder, or on the Hub.
        folder: Folder of its files; for a model of the Hub that of the cache.
        commit: Commit on the Hub; ``None`` for other models.
        title: The model in a few words; ``None`` where nobody wrote them.
        description: One paragraph; ``None`` where nobody wrote one.
        licence: Licence in its card; ``None`` where it has none.
        weights_sha256: SHA-256 (hexadecimal) of its weights.
        weights_bytes: Size of the file of weights.
        parameters: Numbers of weights: ``total``, ``backbone``, ``head``.
        orders: The orders that it takes: see :func:`describe_model`.
        training: What it was trained on: ``frequencies`` of the bars; ``unseen_from``, the first day by frequency that
            was neither in training nor in validation; ``start``, ``method`` and ``parts`` of a fine-tuning, if it is
            one; ``data_hash`` of the bars, if it is recorded.
        results: Figures of its card, a mapping each: ``dataset``, ``split``, ``metric``, ``name``, ``value``, the ends
            ``low`` and ``high`` of its interval, ``orders``.
        metrics: All measured figures of a bundled model; empty for others.
        config: Its configuration.
        notes: What could not be read, one sentence each.
    """

    name: str
    kind: Literal["bundled", "folder", "hub"]
    folder: Path
    commit: str | None
    title: str | None
    description: str | None
    licence: str | None
    weights_sha256: str
    weights_bytes: int
    parameters: Mapping[str, int]
    orders: Mapping[str, Any]
    training: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...]
    metrics: Mapping[str, Any]
    config: Mapping[str, Any]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The attributes by name, for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def describe_model(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> ModelDescription:
    """Describe a model. Its weights are loaded and checked, as by :meth:`lem_models.LEMModel.from_pretrained`.

    ``orders`` has ``sides``, ``benchmarks`` and ``targets``; ``max_periods``, the longest order; ``lookback``, the bars
    before an order; ``reads_size``, whether decisions depend on the size, and ``impact``, its factor; ``risk_aversion``
    and ``fixed_risk_aversion``, the defaults.

    Args:
        name: Bundled name, folder, or Hub id.
        revision: Branch, tag or commit of a Hub id.
        token: Token for the Hub.
        cache_dir: Folder of the cache.
        local_files_only: Whether to work without the Hub.

    Raises:
        UnknownNameError: Nothing has this name.
        ConfigError: The configuration, or a record beside it, is refused.
        WeightsError: The weights are damaged.
        HubError: The Hub cannot be asked.
    """
    from lem_models.modeling.model import LEMModel

    places = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
    model = LEMModel.from_pretrained(name, revision=revision, **places)  # type: ignore[arg-type]
    folder = model.source
    assert folder is not None, "a model that was loaded has a folder"
    kind: Literal["bundled", "folder", "hub"] = "folder"
    if folder == bundled_folder(folder.name):
        kind = "bundled"
    elif folder.parent.name == "snapshots" and is_hub_id(str(name)):
        kind = "hub"
    sha256 = weights_hash(folder)
    card, notes = _card(model, folder, str(name), folder.name if kind == "hub" else None, sha256, token, cache_dir)
    metadata = _metadata(card, notes)
    entry = registry().models.get(str(name)) if kind == "bundled" else None
    config = model.config
    return ModelDescription(
        name=str(name),
        kind=kind,
        folder=folder,
        commit=folder.name if kind == "hub" else None,
        title=None if entry is None else entry.title,
        description=None if entry is None else entry.description,
        licence=None if metadata.get("license") is None else str(metadata["license"]),
        weights_sha256=sha256,
        weights_bytes=(folder / WEIGHTS_NAME).stat().st_size,
        parameters=_parameters(model),
        orders={
            "sides": ["buy", "sell"],
            "benchmarks": list(model.benchmarks),
            "targets": ["quantity", "notional"],
            "max_periods": model.horizon,
            "lookback": model.lookback,
            "reads_size": model.reads_size,
            "impact": config.impact,
            "risk_aversion": config.risk_aversion,
            "fixed_risk_aversion": config.fixed_risk_aversion,
        },
        training=_training(model, folder, sha256, notes),
        results=tuple(_results(metadata)),
        metrics=_record(folder / METRICS_NAME) if kind == "bundled" else {},
        config=config.model_dump(mode="json"),
        notes=tuple(notes),
    )


def _parameters(model: LEMModel) -> dict[str, int]:
    counts = {name: sum(each.numel() for each in getattr(model, name).parameters()) for name in ("backbone", "head")}
    return {"total": sum(each.numel() for each in model.parameters()), **counts}


def _card(
    model: LEMModel,
    folder: Path,
    name: str,
    commit: str | None,
    sha256: str,
    token: str | bool | None,
    cache_dir: str | Path | None,
) -> tuple[Card, list[str]]:
    """The card of a model, and notes on what is wrong with it; a plain card is made for a folder without one."""
    if (folder / CARD_NAME).is_file():
        try:
            return Card.read(folder / CARD_NAME), []
        except (OSError, ValueError) as error:
            return Card(), [f"the card cannot be read: {error}"]
    if commit is None:
        from lem_models.hub.models.plain_card import plain_card
        from lem_models.hub.settings import ModelUpload

        text, notes = plain_card(model.config, ModelUpload(repo_id="own/model"), folder, weights=sha256)
        without = "no licence is stated: before others use the model, `lem publish model --licence` states one"
        return Card(text), [without if "no licence" in note else note.partition(":")[0] for note in notes]
    if is_offline():
        return Card(), ["the card is not in the cache, and HF_HUB_OFFLINE is set"]
    from lem_models.hub.repository import cache_root, describe

    def read() -> Card:
        return describe(name, "model", commit, token).read_card(cache_dir)

    try:
        what = f"get the card of {name!r} from the Hub"
        return ask(what, name, read, token=token, cache=cache_root(cache_dir)), []
    except LEMError as error:
        return Card(), [f"the card cannot be read: {error}"]


def _metadata(card: Card, notes: list[str]) -> dict[str, Any]:
    try:
        return card.metadata
    except ValueError as error:
        notes.append(f"the card cannot be read: {error}")
        return {}


def _results(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Figures of a card; what does not have the form of the Hub's ``model-index`` is passed over."""
    rows = []
    for model in _mappings(metadata.get("model-index")):
        for result in _mappings(model.get("results")):
            data = result.get("dataset")
            data = data if isinstance(data, Mapping) else {}
            for metric in _mappings(result.get("metrics")):
                more = metric.get("args")
                more = more if isinstance(more, Mapping) else {}
                low, high = (more.get(end, more.get(f"{end}_vol")) for end in ("low", "high"))
                values = (data.get("name"), data.get("split"), metric.get("type"), metric.get("name"))
                rows.append(dict(zip(_ROW, (*values, metric.get("value"), low, high, more.get("orders")), strict=True)))
    return rows


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _training(model: LEMModel, folder: Path, sha256: str, notes: list[str]) -> dict[str, Any]:
    config = model.config
    known: dict[str, Any] = {
        "frequencies": list(config.frequencies),
        "unseen_from": {frequency: str(day) for frequency, day in config.unseen_from.items()},
    }
    run, tuned = _record(folder / _RUN), _record(folder / _FINETUNE)
    if tuned.get("weights_sha256") not in (None, sha256):
        notes.append(f"{_FINETUNE} is of other weights")
        tuned = {}
    if "data_hash" in run:
        known["data_hash"] = run["data_hash"]
    return known | {key: tuned[key] for key in ("start", "method", "parts", "verdict") if key in tuned}


def _record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}; move it away") from None
