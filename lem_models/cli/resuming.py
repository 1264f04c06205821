"""Options that say whether a run starts anew, goes on, or replaces another one."""

from __future__ import annotations

from pydantic import Field

from lem_models.guard.settings import Settings

__all__ = ["ResumeOptions"]


class ResumeOptions(Settings):
    """What becomes of a run that the folder holds already."""

    resume: str | None = Field(
        None, description="Go on with a run: auto (the last checkpoint of --out), its folder or a checkpoint."
    )
    overwrite: bool = Field(False, description="Replace a run or model that --out holds.")
