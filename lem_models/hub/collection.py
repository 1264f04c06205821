"""The collection of the zoo on the Hub: one page with its models, its benchmark data sets and the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lem_models.errors import HubError, LEMError
from lem_models.guard.hub_ids import check_hub_id, is_hub_id
from lem_models.hub.client import ask
from lem_models.hub.models.registry import registry
from lem_models.hub.models.zoo import list_models

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["CollectionItem", "ZooCollection", "missing_items", "publish_collection", "zoo_collection"]

PAPER = "2509.25211"
_TITLE = "Large Execution Models"
_DESCRIPTION = "Pretrained models that execute orders bar by bar, with the data they were measured on."
_LONGEST_NOTE = 500


@dataclass(frozen=True)
class CollectionItem:
    """An item of a collection.

    Attributes:
        id: Id of the repository, or number of the paper.
        type: What it is.
        note: A sentence below it, at most 500 characters.
    """

    id: str
    type: Literal["model", "dataset", "paper"]
    note: str


@dataclass(frozen=True)
class ZooCollection:
    """A collection, not yet on the Hub.

    Attributes:
        organisation: Its owner.
        title: Its title.
        description: One sentence, at most 150 characters.
        items: Its items, in order.
    """

    organisation: str
    title: str
    description: str
    items: tuple[CollectionItem, ...]


def zoo_collection(organisation: str, datasets: Sequence[str] = ()) -> ZooCollection:
    """The collection of every bundled model, published by an organisation under its own name.

    Args:
        organisation: Organisation or user.
        datasets: Ids of benchmark data sets, ``org/name``.

    Raises:
        LEMError: The organisation or an id has another form.
    """
    if not is_hub_id(f"{organisation}/x"):
        raise LEMError(f"an organisation of the Hub has letters, digits, - and _; got {organisation!r}")
    for name in datasets:
        check_hub_id(name, "data set")
    base = registry().base
    names = sorted(list_models(), key=lambda name: (name != base, name))  # the start of the others first
    models = [CollectionItem(f"{organisation}/{n}", "model", _note(n.entry.title, n.entry.description)) for n in names]
    data = [CollectionItem(name, "dataset", "Bars that models are measured on.") for name in dict.fromkeys(datasets)]
    paper = CollectionItem(PAPER, "paper", "The paper that the models follow.")
    return ZooCollection(organisation, _TITLE, _DESCRIPTION, (*models, *data, paper))


def missing_items(collection: ZooCollection, token: str | bool | None = None) -> list[CollectionItem]:
    """Models and data sets of a collection that are not on the Hub yet.

    Args:
        collection: The collection.
        token: Token; default the client's.

    Raises:
        HubError: The Hub cannot be asked.
    """
    from huggingface_hub import HfApi

    api, doing = HfApi(token=token, library_name="lem_models"), f"publish the collection {collection.title!r}"
    return [item for item in collection.items if item.type != "paper" and not _exists(api, doing, item, token)]


def publish_collection(collection: ZooCollection, token: str | bool | None = None) -> str:
    """Make the collection, or add what an existing one of the same title lacks; items and notes of others stay.

    Args:
        collection: The collection.
        token: Token; default the client's.

    Returns:
        Its address.

    Raises:
        HubError: The Hub refuses, or it cannot be reached. An item does not exist there: then nothing is made.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="lem_models")
    doing, owner = (
        f"publish the collection {collection.title!r} of {collection.organisation!r}",
        collection.organisation,
    )

    def make() -> tuple[str, str]:
        made = api.create_collection(
            collection.title, namespace=owner, description=collection.description, exists_ok=True
        )
        return made.slug, made.url

    # A collection with a part of its items is worse than none: everything is looked for before anything is made.
    if missing := missing_items(collection, token):
        names = ", ".join(item.id for item in missing)
        first = missing[0]
        cure = "model NAME" if first.type == "model" else "data BARS"
        raise HubError(
            f"cannot {doing}: the Hub has no {names}; publish first, `lem publish {cure} --to {first.id}`",
            repo_id=first.id,
            status=404,
        )
    slug, url = ask(doing, owner, make, token=token)
    for item in collection.items:
        ask(f"{doing}: add {item.id}", owner, lambda item=item: _add(api, slug, item), token=token)  # type: ignore[misc]
    return url


def _exists(api: HfApi, doing: str, item: CollectionItem, token: str | bool | None) -> bool:
    def look() -> bool:
        return api.repo_exists(item.id, repo_type=item.type, token=token)

    return ask(f"{doing}: look for {item.id}", item.id, look, token=token)


def _add(api: HfApi, slug: str, item: CollectionItem) -> None:
    api.add_collection_item(slug, item.id, item.type, note=item.note, exists_ok=True)


def _note(title: str, description: str) -> str:
    note = f"{title}. {description}"
    return note if len(note) <= _LONGEST_NOTE else note[: _LONGEST_NOTE - 1].rsplit(" ", 1)[0] + "…"
