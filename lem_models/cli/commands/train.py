"""``lem train``: train a model by a recipe."""

from __future__ import annotations

from pathlib import Path

import typer
from pydantic import Field

from lem_models.cli.options import narrowed
from lem_models.cli.resuming import ResumeOptions
from lem_models.cli.signals import telling_how_to_go_on
from lem_models.training.settings import TrainingSettings

__all__ = ["TrainOptions", "train"]


class TrainOptions(ResumeOptions, TrainingSettings):
    """Options of ``lem train``."""

    config: Path = Field(description="Recipe (YAML), see recipes/.")
    data: list[Path] | None = Field(
        None, description="Bars, instead of the recipe's; once for each of its markets, or their folder."
    )
    out: Path | None = Field(None, description="Folder of the run; default runs/<name>.")
    push_to: str | None = Field(
        None, description="Push the best checkpoint to this repository on the Hub, org/name, as it trains."
    )
    push_branch: str | None = Field(None, description="Branch to push to; default the recipe's, or training.")


def train(options: TrainOptions) -> None:
    """Train a model by a recipe: progress bar, TensorBoard and CSV logs, checkpoints, early stopping.

    On several devices: --devices N, or start it with torchrun.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from lem_models.training.folder import RunFolder
    from lem_models.training.recipe import Recipe
    from lem_models.training.run import train as fit

    recipe = Recipe.read(options.config).pushed_to(options.push_to, options.push_branch)
    resumed = None if options.resume is None else RunFolder.of(options.resume)
    folder = options.out or (Path("runs") / recipe.name if resumed is None else resumed.path)
    with telling_how_to_go_on(folder):
        fit(
            recipe,
            out=folder,
            data=options.data,
            resume=options.resume,
            overwrite=options.overwrite,
            settings=narrowed(options, TrainingSettings),
        )
    rank_zero_only(typer.echo)(f"model: {folder.resolve()}")
