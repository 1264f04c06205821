"""``lem publish collection``: the page of the Hub that gathers the models of the zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, ClassVar

import typer
from pydantic import Field

from lem_models.cli.commands.models.publish_model import DRY_RUN
from lem_models.cli.output import Output, note
from lem_models.errors import HubError
from lem_models.guard.settings import Settings

__all__ = ["PublishCollectionOptions", "publish_collection"]


class PublishCollectionOptions(Settings):
    """Options of ``lem publish collection``."""

    refusal: ClassVar[str] = "cannot publish"
    flags: ClassVar[dict[str, str]] = {"datasets": "--dataset"}

    organisation: Annotated[str, typer.Argument()] = Field(description="Organisation or user whose models they are.")
    datasets: str | Sequence[str] = Field((), description="Benchmark data set on the Hub, org/name.")
    dry_run: bool = Field(False, description=DRY_RUN)


def publish_collection(options: PublishCollectionOptions, out: Output) -> None:
    """Gather the published models, their data sets and the paper in a collection of the Hub; print the URL.

    Example: lem publish collection desk --dataset desk/crypto-hourly --dry-run
    """
    from lem_models.hub import collection

    datasets = [options.datasets] if isinstance(options.datasets, str) else options.datasets
    made = collection.zoo_collection(options.organisation, datasets)
    width = max(len(item.id) for item in made.items)
    lacking: list[str] | None = None
    if options.dry_run:
        try:
            lacking = [item.id for item in collection.missing_items(made)]
        except HubError as error:
            note(f"the Hub was not asked which of these it has: {error}")
    lines = [f"{item.type:8}{item.id:{width}}  {item.note}" for item in made.items]
    head = f"collection: {made.title} of {made.organisation}\n{made.description}\n"
    url = None if options.dry_run else collection.publish_collection(made)
    done = "dry run: nothing was sent" if url is None else f"published: {url}"
    if lacking:
        done += f"; publish first, the Hub lacks them: {', '.join(lacking)}"
    out.say("\n".join([head, *lines, "", done]), collection=asdict(made), url=url, sent=url is not None)
