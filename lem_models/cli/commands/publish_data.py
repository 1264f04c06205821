"""``lem publish data``: bars from a file to a data set on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field

from lem_models.cli.bars import BarsOptions
from lem_models.cli.publishing import PublishOptions
from lem_models.errors import ConfigError

__all__ = ["PublishDataOptions", "publish_data"]


class PublishDataOptions(BarsOptions, PublishOptions):
    """Options of ``lem publish data``."""

    file: Annotated[Path, typer.Argument()] = Field(
        description="Bars: .arrow (never loaded whole), .parquet, .csv or .csv.gz."
    )
    licence: str = Field("", description="Terms: a name such as cc-by-4.0, or 'other: the terms in words'.")
    source: str | None = Field(None, description="Where the bars come from, for the card.")
    quirk: list[str] | None = Field(None, description="What readers must know of the bars; may be repeated.")
    column: list[str] | None = Field(None, description="NAME=MEANING, meaning and unit of another column.")
    split: str = Field("train", description="Name of the split; one that is there is replaced.")
    max_shard_size: str = Field("500MB", description="Size of a shard in memory at most; its file is smaller.")


def publish_data(options: PublishDataOptions) -> None:
    """Publish bars as a data set of parquet shards with a card; print the URL."""
    from lem_models.hub.datasets.licence import read_licence
    from lem_models.hub.datasets.push import plan_push, push_bars

    columns = dict(map(_meaning, options.column or ()))
    read_licence(options.licence)  # before a large file is read
    bars = options.read(options.file)
    typer.echo(f"{options.file}: {bars!r}")
    settings: dict[str, Any] = {
        "split": options.split,
        "source": options.source,
        "licence": options.licence,
        "quirks": options.quirk or (),
        "columns": columns,
        "private": options.private,
        "branch": options.branch,
        "max_shard_size": options.max_shard_size,
        "replace_card": options.replace_card,
    }
    if options.dry_run:
        plan = plan_push(bars, options.to, **settings)
        typer.echo(f"{plan}\n\n{plan.card}\ndry run: nothing was sent")
        return
    pushed = push_bars(bars, options.to, create_pr=options.create_pr, commit_message=options.message, **settings)
    typer.echo(f"{pushed}\n\npublished: {pushed.url}")


def _meaning(text: str) -> tuple[str, str]:
    """Name and meaning of a column, from ``NAME=MEANING``."""
    name, _, meaning = text.partition("=")
    if not name or not meaning:
        raise ConfigError(f"--column takes NAME=MEANING; got {text!r}")
    return name, meaning
