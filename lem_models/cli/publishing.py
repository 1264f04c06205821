"""Options of what goes to the Hub.

Tokens are no options: they would stay in the shell's history. They come from ``HF_TOKEN`` or ``hf auth login``.
"""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import Field

from lem_models.guard.settings import Settings

__all__ = ["PublishOptions"]


class PublishOptions(Settings):
    """Where to publish, and how."""

    to: str = Field(description="Repository on the Hub, org/name; made when it is not there.")
    dry_run: bool = Field(False, description="Say what would be sent where, and send nothing.")
    private: Annotated[bool | None, typer.Option("--private/--public")] = Field(
        None, description="For a new repository; default the account's setting."
    )
    branch: str | None = Field(None, description="Branch; made when it is not there.")
    create_pr: bool = Field(False, description="Open a pull request instead of committing.")
    message: str | None = Field(None, description="Commit message.")
    replace_card: bool = Field(False, description="Replace another card that is in the repository.")
