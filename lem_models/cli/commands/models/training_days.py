"""Which days a model was trained on and chosen on, from the recipe of a bundled model or from the record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lem_models.errors import ConfigError

if TYPE_CHECKING:
    from lem_models.modeling.model import LEMModel

__all__ = ["training_data", "validation_days"]


def training_data(folder: Path) -> list[dict[str, Any]]:
    """The markets of a training: ``file``, ``train_end``, ``validation_end``, ``held_out``, ``source``, ``licence``.

    Empty if nothing is recorded. Days are exclusive ends; values that are not recorded are ``None``.

    Args:
        folder: Folder of the model.
    """
    from lem_models.hub.models.registry import bundled_folder, registry

    entry = registry().models.get(folder.name) if folder == bundled_folder(folder.name) else None
    if entry is None:
        return [_market(each) for each in _recorded(folder)]
    from lem_models.training.recipe import read_sections, shipped_recipe

    data = read_sections(shipped_recipe(Path(entry.recipe).stem)).get("data", [])
    return [_market(each) for each in (data if isinstance(data, list) else [data])]


def validation_days(model: LEMModel, frequency: str) -> tuple[str, str] | None:
    """First day of the validation of a model, and the first day after it; ``None`` if they are not recorded.

    Args:
        model: The model, loaded from a folder.
        frequency: Length of a bar, such as ``"1h"``.
    """
    unseen = model.config.first_unseen(frequency)
    if unseen is None or model.source is None:
        return None
    begins = [each["train_end"] for each in training_data(model.source) if each["validation_end"] == str(unseen)]
    return (max(begins), str(unseen)) if begins and None not in begins else None


def _recorded(folder: Path) -> list[Mapping[str, Any]]:
    from lem_models.guard.text import read_json
    from lem_models.training.folder import RUN_FILE

    if not (folder / RUN_FILE).is_file():
        return []
    try:
        data = read_json(folder / RUN_FILE)["recipe"]["data"]
        return [dict(each) for each in (data if isinstance(data, list) else [data])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"cannot read {folder / RUN_FILE}: {error}; move it away") from None


def _market(section: Mapping[str, Any]) -> dict[str, Any]:
    from lem_models.errors import UnknownNameError
    from lem_models.hub.models.registry import zoo_source

    file = None if section.get("path") is None else Path(str(section["path"])).name
    try:
        source = None if file is None else zoo_source(file)
    except UnknownNameError:
        source = None
    days = {name: None if section.get(name) is None else str(section[name]) for name in ("train_end", "validation_end")}
    return {
        "file": file,
        **days,
        "held_out": list(section.get("held_out") or ()),
        "source": None if source is None else source.source,
        "licence": None if source is None else source.licence,
    }
