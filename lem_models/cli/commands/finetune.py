"""``lem finetune``: fine-tune a model on your own bars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lem_models.cli.bars import BarsOptions, DataOptions
from lem_models.cli.costs import CostOptions
from lem_models.cli.options import as_arguments, narrowed
from lem_models.cli.output import Output, note, warn
from lem_models.cli.policies import BundledName
from lem_models.cli.resuming import ResumeOptions
from lem_models.cli.signals import advising_how_to_resume
from lem_models.training.settings import FinetuneSettings

__all__ = ["FinetuneOptions", "finetune"]


class FinetuneOptions(ResumeOptions, FinetuneSettings, CostOptions, DataOptions):
    """Options of ``lem finetune``."""

    flags: ClassVar[dict[str, str]] = {"start": "--from"}

    out: Path = Field(description="Folder of the new model.")
    start: BundledName | None = Field(None, description="Model to start from; default the recipe's finetune.start.")
    config: Path | None = Field(None, description="Recipe (YAML); default recipes/finetune.yaml.")


def finetune(options: FinetuneOptions, out: Output) -> None:
    """Fine-tune a model on your own bars, save it, and report on unread bars whether it improved.

    Example: lem finetune --from lem-base --data bars.parquet --out my-model
    """
    from lem_models.training.finetune.run import finetune as adapt
    from lem_models.training.finetune.text import print_finetune
    from lem_models.training.folder import FINETUNE_FILE

    costs = options.costs()
    chosen = narrowed(options, FinetuneSettings)

    def report(line: str) -> None:
        (warn if line.startswith("warning: ") else note)(line.removeprefix("warning: "))

    with advising_how_to_resume(options.out):
        result = adapt(
            options.start,
            options.read(options.data) if as_arguments(options, BarsOptions) else options.data,
            out=options.out,
            config=options.config,
            costs=costs,
            resume=options.resume,
            overwrite=options.overwrite,
            settings=chosen.model_copy(update={"progress": chosen.progress and not out.is_quiet}),
            report=report,
        )
    out.add(json.loads((options.out / FINETUNE_FILE).read_text(encoding="utf-8")))
    print_finetune(out.console, result)
    out.say(f"\nModel: {options.out.resolve()} (with finetune.json)", model=options.out.resolve())
