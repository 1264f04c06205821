"""``lem list``: the bundled models."""

from __future__ import annotations

from lem_models.cli.output import Output
from lem_models.guard.settings import Settings

__all__ = ["ListOptions", "list_models"]


class ListOptions(Settings):
    """``lem list`` has no options of its own."""


def list_models(options: ListOptions, out: Output) -> None:
    """List the bundled models: market, frequency, horizon, size and measured improvement.

    Example: lem list
    """
    del options
    from lem_models.cli.commands.models.listing import print_models
    from lem_models.hub.models import zoo

    models = zoo.list_models()
    out.add({"models": models.properties()})
    print_models(out.console, models)
