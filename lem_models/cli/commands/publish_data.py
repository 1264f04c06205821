"""``lem publish data``: publish bars from a file as a data set on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from pydantic import Field, field_validator

from lem_models.cli.bars import BarsOptions
from lem_models.cli.commands.models.publish_model import DESTINATION_FLAGS, DRY_RUN, say_plan
from lem_models.cli.options import narrowed
from lem_models.cli.output import Output, note
from lem_models.errors import ConfigError
from lem_models.hub.settings import BarsUpload

__all__ = ["PublishDataOptions", "publish_data"]


class PublishDataOptions(BarsOptions, BarsUpload):
    """Options of ``lem publish data``."""

    flags: ClassVar[dict[str, str]] = {**DESTINATION_FLAGS, "quirks": "--quirk", "columns": "--column"}

    file: Annotated[Path, typer.Argument()] = Field(
        description="Bars: .arrow (never loaded whole), .parquet, .csv or .csv.gz."
    )
    dry_run: bool = Field(False, description=DRY_RUN)

    @field_validator("columns", mode="before")
    @classmethod
    def _read_columns(cls, given: list[str] | None) -> Mapping[str, str] | None:
        return None if given is None else dict(map(_meaning, given))


def publish_data(options: PublishDataOptions, out: Output) -> None:
    """Publish bars as a data set of parquet shards with a card; print the URL.

    Example: lem publish data bars.parquet --to org/bars --licence cc0-1.0 --dry-run
    """
    from lem_models.hub.datasets import push
    from lem_models.hub.datasets.licence import read_licence

    upload = narrowed(options, BarsUpload)
    read_licence(upload.licence)  # before a large file is read
    bars = options.read(options.file)
    note(f"{options.file}: {bars!r}")
    if options.dry_run:
        plan = push.plan_bars(bars, upload)
        say_plan(out, plan, is_sent=False, more=plan.card)
        return
    say_plan(out, push.publish_bars(bars, upload), is_sent=True)


def _meaning(text: str) -> tuple[str, str]:
    """Name and meaning of a column, from ``NAME=MEANING``."""
    name, _, meaning = text.partition("=")
    if not name or not meaning:
        raise ConfigError(f"--column takes NAME=MEANING; got {text!r}")
    return name, meaning
