"""``lem finetune``: fine-tune a model on your own bars."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lem_models.cli.bars import BarsOptions, DataOptions
from lem_models.cli.costs import CostOptions
from lem_models.cli.options import as_arguments, narrowed
from lem_models.cli.resuming import ResumeOptions
from lem_models.cli.signals import advising_how_to_resume
from lem_models.cli.terminal import make_console
from lem_models.training.settings import FinetuneSettings

__all__ = ["FinetuneOptions", "finetune"]


class FinetuneOptions(ResumeOptions, FinetuneSettings, CostOptions, DataOptions):
    """Options of ``lem finetune``."""

    flags: ClassVar[dict[str, str]] = {"start": "--from"}

    out: Path = Field(description="Folder of the new model.")
    start: str | None = Field(None, description="Model to start from; default the recipe's finetune.start.")
    config: Path | None = Field(None, description="Recipe (YAML); default recipes/finetune.yaml.")


def finetune(options: FinetuneOptions) -> None:
    """Fine-tune a model on your own bars, save it, and report on unread bars whether it improved."""
    from rich.markup import escape

    from lem_models.training.finetune.run import finetune as adapt
    from lem_models.training.finetune.text import print_finetune

    costs, console = options.costs(), make_console()

    def report(line: str) -> None:
        console.print(line, soft_wrap=True, style="yellow" if line.startswith("warning") else "")

    with advising_how_to_resume(options.out):
        result = adapt(
            options.start,
            options.read(options.data) if as_arguments(options, BarsOptions) else options.data,
            out=options.out,
            config=options.config,
            costs=costs,
            resume=options.resume,
            overwrite=options.overwrite,
            settings=narrowed(options, FinetuneSettings),
            report=report,
        )
    print_finetune(console, result)
    console.print(f"\nModel: [bold]{escape(str(options.out.resolve()))}[/bold] (with finetune.json)", soft_wrap=True)
