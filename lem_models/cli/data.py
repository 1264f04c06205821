"""The group ``lem data``: bars before anything is traded on them."""

from __future__ import annotations

import typer

from lem_models.cli.commands.fetch import fetch
from lem_models.cli.options import add_command
from lem_models.cli.terminal import CONTEXT, show_help

__all__ = ["data_app"]

data_app = typer.Typer(invoke_without_command=True, context_settings=CONTEXT, rich_markup_mode=None)


@data_app.callback()
def data(context: typer.Context) -> None:
    """Fetch bars."""
    show_help(context)


add_command(data_app, fetch, name="fetch", summary="Download bars from an archive, an exchange or a vendor.")
