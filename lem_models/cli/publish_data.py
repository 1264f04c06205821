"""``lem publish data``: bars from a file to a data set on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lem_models.cli.bars import Calendar, FillGaps, Unit, read_bars
from lem_models.cli.publish import publish_app

__all__ = ["publish_data"]


@publish_app.command(name="data", short_help="Publish bars as a data set with a card.")
def publish_data(
    file: Annotated[Path, typer.Argument(help="Bars: .arrow (never loaded whole), .parquet, .csv or .csv.gz.")],
    to: Annotated[str, typer.Option("--to", help="Data set on the Hub, org/name; made when it is not there.")],
    licence: Annotated[
        str, typer.Option("--licence", help="Terms: a name such as cc-by-4.0, or 'other: the terms in words'.")
    ] = "",
    source: Annotated[str | None, typer.Option("--source", help="Where the bars come from, for the card.")] = None,
    quirk: Annotated[
        list[str] | None, typer.Option("--quirk", help="What readers must know of the bars; may be repeated.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="NAME=MEANING, meaning and unit of another column.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Name of the split; one that is there is replaced.")] = "train",
    unit: Unit = None,
    calendar: Calendar = "auto",
    fill_gaps: FillGaps = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent where, and send nothing.")] = False,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="For a new data set; default the account's setting.")
    ] = None,
    branch: Annotated[str | None, typer.Option("--branch", help="Branch; made when it is not there.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
    message: Annotated[str | None, typer.Option("--message", help="Commit message.")] = None,
    max_shard_size: Annotated[
        str, typer.Option("--max-shard-size", help="Size of a shard in memory at most; its file is smaller.")
    ] = "500MB",
    replace_card: Annotated[
        bool, typer.Option("--replace-card", help="Write a new card over the one in the data set.")
    ] = False,
) -> None:
    """Publish bars as a data set of parquet shards with a card; print the URL."""
    from lem_models.errors import ConfigError
    from lem_models.hub.datasets.licence import read_licence
    from lem_models.hub.datasets.push import plan_bars, publish_bars
    from lem_models.hub.settings import BarsUpload

    columns = {}
    for text in column or ():
        name, _, meaning = text.partition("=")
        if not (name and meaning):
            raise ConfigError(f"--column takes NAME=MEANING; got {text!r}")
        columns[name] = meaning
    read_licence(licence)  # before a large file is read
    destination = BarsUpload(
        repo_id=to,
        split=split,
        source=source,
        licence=licence,
        quirks=quirk or (),
        columns=columns,
        private=private,
        branch=branch,
        create_pr=create_pr,
        commit_message=message,
        max_shard_size=max_shard_size,
        replace_card=replace_card,
    )
    bars = read_bars(file, unit, calendar, fill_gaps)
    typer.echo(f"{file}: {bars!r}")
    if dry_run:
        plan = plan_bars(bars, destination)
        typer.echo(f"{plan}\n\n{plan.card}\ndry run: nothing was sent")
        return
    done = publish_bars(bars, destination)
    typer.echo(f"{done}\n\npublished: {done.url}")
