"""``lem check-leak``: change the future, and see whether a decision moves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.policies import named_policy

__all__ = ["CheckLeakOptions", "check_leak"]


class CheckLeakOptions(BarsOptions):
    """Options of ``lem check-leak``."""

    policy: Annotated[str, typer.Argument()] = Field(
        description="Model or baseline by name, or your own policy as file.py:Name."
    )
    data: Annotated[Path, typer.Argument()] = Field(description=BARS)
    checks: int = Field(10, ge=1, description="Random times from which on bars are changed.")
    seed: int = Field(0, description="Seed of the times and of the changes.")


def check_leak(options: CheckLeakOptions) -> None:
    """Change the future and see whether a decision about the past moves; exit code 1 if one does."""
    from lem_models.evaluation import leak

    bars = options.read(options.data)
    moved = leak.check_leak(named_policy(options.policy), bars, checks=options.checks, seed=options.seed)
    if moved is not None:
        typer.echo(f"LEAK: {moved}")
        raise typer.Exit(1)
    typer.echo(f"no decision of {options.policy} moved in {options.checks} checks")
