"""Names in the metadata of a model's card: those of the zoo become ids of the Hub when the card is published.

The Hub reads ``base_model`` and ``datasets`` as ids, ``org/name``. A card in this package cannot know the organisation:
it names ``lem-base`` and ``crypto-hourly``. The base model is taken to be published beside the model, by the same
organisation. A market's data set is the one that the publisher names for it; without one, the name is left out, because
it would be a link to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lem_models.hub.card import Card
from lem_models.hub.models.registry import bundled_names, registry

__all__ = ["PIPELINE_TAG", "with_hub_ids"]

PIPELINE_TAG = "reinforcement-learning"
"""The Hub's task that is nearest: a policy acts step by step in an environment. The models forecast no series."""


def with_hub_ids(card: Card, repo_id: str, data: Mapping[str, str]) -> tuple[Card, list[str]]:
    """A card whose names of the zoo are ids of the Hub; a card without such names stays byte for byte.

    Args:
        card: The card.
        repo_id: The repository that it is published in.
        data: Data set on the Hub by market, ``org/data`` or ``org/data@commit``.

    Returns:
        The card, and a note for each change.

    Raises:
        ValueError: The metadata of the card cannot be read.
    """
    notes: list[str] = []
    base, datasets = card.metadata.get("base_model"), card.metadata.get("datasets")
    if isinstance(base, str) and base in bundled_names():
        organisation = repo_id.partition("/")[0]
        card = card.with_metadata({"base_model": f"{organisation}/{base}"})
        notes.append(f"base_model of the card is {organisation}/{base}: publish {base} there too")
    markets = registry().markets
    if isinstance(datasets, list) and any(name in markets for name in datasets):
        ids = [data[name].partition("@")[0] if name in data else name for name in datasets]
        left_out = [name for name in ids if name in markets]
        kept: list[Any] = list(dict.fromkeys(name for name in ids if name not in markets))
        card = card.with_metadata({"datasets": kept}) if kept else card.without_metadata("datasets")
        if left_out:
            notes.append(
                f"datasets of the card leave out {', '.join(left_out)}: no data set on the Hub is named for it "
                f"(--eval-data {left_out[0]}=org/data)"
            )
    return card, notes
