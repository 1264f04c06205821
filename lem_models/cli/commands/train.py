"""``lem train``: train a model from a recipe."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lem_models.cli.options import narrowed
from lem_models.cli.output import Output
from lem_models.cli.resuming import ResumeOptions
from lem_models.cli.signals import advising_how_to_resume
from lem_models.training.settings import TrainingSettings

__all__ = ["TrainOptions", "train"]


class TrainOptions(ResumeOptions, TrainingSettings):
    """Options of ``lem train``."""

    config: Path = Field(description="Recipe (YAML), see recipes/.")
    data: list[Path] | None = Field(
        None, description="Bars in place of the recipe's: one file for each of its markets, or their folder."
    )
    out: Path | None = Field(None, description="Folder of the run; default runs/<name>.")
    push_to: str | None = Field(
        None, description="During training, push the best checkpoint to this repository on the Hub, org/name."
    )
    push_branch: str | None = Field(None, description="Branch to push to; default the recipe's, or training.")


def train(options: TrainOptions, out: Output) -> None:
    """Train a model from a recipe, with progress bar, TensorBoard and CSV logs, checkpoints and early stopping.

    For several devices use --devices N, or start it with torchrun.

    Example: lem train --config recipes/scratch.yaml --data crypto_hourly.parquet --out my-model

    Example: lem train --config recipes/scratch.yaml --out my-model --resume auto
    """
    from lem_models.training.folder import RunFolder
    from lem_models.training.recipe import Recipe
    from lem_models.training.run import train as fit

    recipe = Recipe.read(options.config).pushed_to(options.push_to, options.push_branch)
    resumed = None if options.resume is None else RunFolder.of(options.resume)
    folder = options.out or (Path("runs") / recipe.name if resumed is None else resumed.path)
    chosen = narrowed(options, TrainingSettings)
    with advising_how_to_resume(folder):
        trained = fit(
            recipe,
            out=folder,
            data=options.data,
            resume=options.resume,
            overwrite=options.overwrite,
            settings=chosen.model_copy(update={"progress": chosen.progress and not out.is_quiet}),
        )
    out.say(
        f"model: {folder.resolve()}",
        model=folder.resolve(),
        best_utility=trained.best_utility,
        seconds=trained.seconds,
        data_hash=trained.bars_hashes,
    )
