"""``lem list``: the bundled models."""

from __future__ import annotations

from typing import ClassVar

import typer
from pydantic import Field

from lem_models.cli.terminal import make_console
from lem_models.guard.settings import Settings

__all__ = ["ListOptions", "list_models"]


class ListOptions(Settings):
    """Options of ``lem list``."""

    flags: ClassVar[dict[str, str]] = {"as_json": "--json"}

    as_json: bool = Field(False, description="Print all properties as JSON.")


def list_models(options: ListOptions) -> None:
    """List the bundled models: market, frequency, horizon, size and measured improvement."""
    from lem_models.hub.models import zoo

    models = zoo.list_models()
    if options.as_json:
        typer.echo(models.to_json())
        return
    from lem_models.cli.listing import print_models

    print_models(make_console(), models)
