"""``lem check-leak``: change later bars, and check whether an earlier decision changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from lem_models.cli.bars import BARS, BarsOptions
from lem_models.cli.output import Output
from lem_models.cli.policies import PolicyName, named_policy

__all__ = ["CheckLeakOptions", "check_leak"]


class CheckLeakOptions(BarsOptions):
    """Options of ``lem check-leak``."""

    policy: Annotated[PolicyName, typer.Argument()] = Field(
        description="Model or baseline by name, or your own policy as file.py:Name."
    )
    data: Annotated[Path, typer.Argument()] = Field(description=BARS)
    checks: int = Field(10, ge=1, description="Number of random times; bars from each time on are changed.")
    seed: int = Field(0, description="Seed of the times and the changes.")


def check_leak(options: CheckLeakOptions, out: Output) -> None:
    """Change later bars and check whether an earlier decision changes; exit code 1 if one does.

    Example: lem check-leak mine.py:MyPolicy bars.parquet
    """
    from lem_models.evaluation import leak

    bars = options.read(options.data)
    moved = leak.check_leak(named_policy(options.policy), bars, checks=options.checks, seed=options.seed)
    out.add({"policy": options.policy, "checks": options.checks, "leak": None if moved is None else str(moved)})
    if moved is not None:
        out.say(f"LEAK: {moved}")
        raise typer.Exit(1)
    out.say(f"no decision of {options.policy} changed in {options.checks} checks")
