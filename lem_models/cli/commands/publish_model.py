"""``lem publish model``: a model to the Hub, with a dry run that says all of it beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import Field

from lem_models.cli.publishing import PublishOptions
from lem_models.errors import ConfigError

if TYPE_CHECKING:
    from lem_models.hub.models.push import Plan

__all__ = ["PublishModelOptions", "publish_model"]


class PublishModelOptions(PublishOptions):
    """Options of ``lem publish model``."""

    name: Annotated[str, typer.Argument()] = Field(description="Bundled name, or folder of a model.")
    message: str = Field("Upload model", description="Commit message.")
    card: Path | None = Field(None, description="Card to send; default README.md of the folder, or a plain one.")
    licence: str | None = Field(None, description="Licence for a plain card, e.g. apache-2.0; it is not guessed.")
    eval_data: list[str] | None = Field(
        None,
        description="MARKET=org/data, the market's benchmark data set on the Hub: writes .eval_results/.",
    )


def publish_model(options: PublishModelOptions) -> None:
    """Publish a model with its card; print the URL."""
    from lem_models.hub.models.eval_results import parse_eval_data
    from lem_models.hub.models.push import Destination, model_contents, plan_upload, upload
    from lem_models.hub.models.zoo import list_models
    from lem_models.modeling.model import LEMModel

    name, to = options.name, options.to
    if name not in list_models() and not Path(name).is_dir() and "/" in name:
        raise ConfigError(
            f"there is no folder {name!r}. A model of the Hub is published again from a copy, so that its card and its "
            f"licence come along: hf download {name} --local-dir FOLDER"
        )
    destination = Destination(
        to, options.branch, options.private, options.create_pr, options.replace_card, options.message
    )
    destination.check()
    contents = model_contents(
        LEMModel.from_pretrained(name),
        to,
        card=options.card,
        licence=options.licence,
        eval_data=parse_eval_data(options.eval_data or []),
    )
    plan = plan_upload(contents, destination, offline_ok=options.dry_run)
    _print_plan(plan)
    if options.dry_run:
        typer.echo("\ndry run: nothing was sent")
        return
    typer.echo(f"\npublished: {upload(contents, destination)}")


def _print_plan(plan: Plan) -> None:
    to = plan.destination
    visibility = {True: "private", False: "public", None: "the account's default visibility"}[to.private]
    made = {True: "", False: f" (to be made, {visibility})", None: " (not asked)"}
    branch_made = " (to be made)" if plan.exists and plan.branch_exists is False else ""
    typer.echo(f"repository: {plan.url}{made[plan.exists]}")
    typer.echo(f"branch: {to.branch or 'main'}{branch_made}{', as a pull request' if to.create_pr else ''}")
    if plan.head is not None:
        typer.echo(f"builds on commit: {plan.head}")
    width = max(len(file.path) for file in plan.files)
    typer.echo("")
    for file in plan.files:
        typer.echo(f"{file.state:8}{file.path:{width}}  {file.size:>11,} bytes  sha256 {file.sha256}")
    for path in plan.others:
        typer.echo(f"{'stays':8}{path}")
    for note in plan.notes:
        typer.echo(f"note: {note}")
