"""The command line: one file a command."""

from lem_models.cli.app import main

__all__ = ["main"]
