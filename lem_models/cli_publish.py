"""``lem publish``: what goes to the Hub. Each command lives in a file of its own and registers itself here."""

from __future__ import annotations

import typer

__all__ = ["publish_app"]

publish_app = typer.Typer(help="Publish models and data sets to the Hub.", no_args_is_help=True, rich_markup_mode=None)


@publish_app.callback()
def publish() -> None:
    """Publish models and data sets to the Hub."""
