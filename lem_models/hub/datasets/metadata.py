"""The keys ``configs`` and ``dataset_info`` in the metadata of a card, as the library ``datasets`` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lem_models.errors import LEMError
from lem_models.hub.card import Card
from lem_models.hub.datasets.shards import ShardPlan

__all__ = ["data_set_metadata"]


def data_set_metadata(old: Card, shards: ShardPlan, sizes: Mapping[str, int], repo_id: str) -> dict[str, Any]:
    """Both keys after a push.

    Args:
        old: The card in the repository.
        shards: The split that is published; the other splits of the card stay.
        sizes: Bytes of every parquet file after the push, by path.
        repo_id: Name of the data set.

    Raises:
        LEMError: Other splits have other columns, or the metadata cannot be read.
    """
    try:
        return _updated(old.metadata, shards, sizes, repo_id)
    except LEMError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise LEMError(
            f"the metadata of the card of {repo_id!r} cannot be read ({' '.join(str(error).split())[:200]}): repair "
            "them, or let a new card be written (replace_card=True, --replace-card)"
        ) from None


def _updated(metadata: Mapping[str, Any], shards: ShardPlan, sizes: Mapping[str, int], repo_id: str) -> dict[str, Any]:
    configs = [dict(entry) for entry in metadata.get("configs") or ()]
    config = next((entry for entry in configs if entry.get("config_name") == "default"), None)
    if config is None:
        config = {"config_name": "default"}
        configs.append(config)
    config["data_files"] = _data_files(config.get("data_files"), shards.split)
    splits = [str(entry.get("split")) for entry in config["data_files"]]

    infos = metadata.get("dataset_info") or []
    infos = [dict(entry) for entry in (infos if isinstance(infos, list) else [infos])]
    info = next((entry for entry in infos if entry.get("config_name", "default") == "default"), None)
    if info is None:
        info = {"config_name": "default"} if infos else {}
        infos.append(info)
    _update_info(info, splits, shards, repo_id)
    info["download_size"] = sum(
        size for path, size in sizes.items() if any(path.startswith(f"data/{name}-") for name in splits)
    )
    return {"configs": configs, "dataset_info": infos[0] if len(infos) == 1 else infos}


def _data_files(given: Any, split: str) -> list[dict[str, Any]]:  # noqa: ANN401 (any value in a card)
    """The files of each split, the published split included."""
    own = {"split": split, "path": f"data/{split}-*"}
    entries = (given if isinstance(given, list) else [given]) if given else []
    entries = [entry if isinstance(entry, dict) else {"split": "train", "path": entry} for entry in entries]
    entries = [own if entry.get("split") == split else entry for entry in entries]
    return entries if own in entries else [*entries, own]


def _update_info(info: dict[str, Any], splits: list[str], shards: ShardPlan, repo_id: str) -> None:
    """Set the columns and the sizes of all splits."""
    from datasets import DatasetInfo

    others = [name for name in splits if name != shards.split]
    features = DatasetInfo(features=shards.features)._to_yaml_dict()["features"]
    if others and info.get("features") not in (None, features):
        raise LEMError(
            f"the split {shards.split!r} has other columns than {', '.join(map(repr, others))} of {repo_id!r}, which "
            f"has {[entry.get('name') for entry in info['features'] if isinstance(entry, dict)]}; all splits of a data "
            "set have the same columns and types"
        )
    sizes = [entry for entry in info.get("splits") or () if entry.get("name") in others]
    sizes.append({"name": shards.split, "num_bytes": shards.expanded, "num_examples": shards.bounds[-1]})
    info["features"] = features
    info["splits"] = sorted(sizes, key=lambda entry: splits.index(entry["name"]))
    info["dataset_size"] = sum(int(entry.get("num_bytes") or 0) for entry in sizes)
