"""Options to resume a run or to replace it."""

from __future__ import annotations

from pydantic import Field

from lem_models.guard.settings import Settings

__all__ = ["ResumeOptions"]


class ResumeOptions(Settings):
    """What to do with an earlier run in the folder."""

    resume: str | None = Field(
        None, description="Run to resume: auto (the last checkpoint of --out), its folder, or a checkpoint."
    )
    overwrite: bool = Field(False, description="Replace the run or model in --out.")
