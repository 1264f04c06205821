"""``lem publish``: what goes to the Hub, with a dry run that says all of it beforehand.

Tokens are no options: they would stay in the shell's history. They come from ``HF_TOKEN`` or ``hf auth login``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lem_models.cli.terminal import CONTEXT, show_help

if TYPE_CHECKING:
    from lem_models.hub.models.push import Plan

__all__ = ["publish_app"]

publish_app = typer.Typer(invoke_without_command=True, context_settings=CONTEXT, rich_markup_mode=None)


@publish_app.callback()
def publish(context: typer.Context) -> None:
    """Publish models and data sets to the Hub."""
    show_help(context)


@publish_app.command(name="model", short_help="Publish a model with its card.")
def publish_model(
    name: Annotated[str, typer.Argument(help="Bundled name, or folder of a model.")],
    to: Annotated[str, typer.Option("--to", help="Repository on the Hub, org/name; made when it is not there.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent where, and send nothing.")] = False,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="For a new repository; default the account's setting.")
    ] = None,
    branch: Annotated[str | None, typer.Option("--branch", help="Branch; made when it is not there.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of committing.")] = False,
    message: Annotated[str, typer.Option("--message", help="Commit message.")] = "Upload model",
    card: Annotated[
        Path | None, typer.Option("--card", help="Card to send; default README.md of the folder, or a plain one.")
    ] = None,
    replace_card: Annotated[
        bool, typer.Option("--replace-card", help="Replace another card that is in the repository.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence for a plain card, e.g. apache-2.0; it is not guessed.")
    ] = None,
    eval_data: Annotated[
        list[str] | None,
        typer.Option(
            "--eval-data", help="MARKET=org/data, the market's benchmark data set on the Hub: writes .eval_results/."
        ),
    ] = None,
) -> None:
    """Publish a model with its card; print the URL."""
    from lem_models.errors import ConfigError
    from lem_models.hub.models.eval_results import parse_eval_data
    from lem_models.hub.models.push import Destination, model_contents, plan_upload, upload
    from lem_models.hub.models.zoo import list_models
    from lem_models.modeling.model import LEMModel

    if name not in list_models() and not Path(name).is_dir() and "/" in name:
        raise ConfigError(
            f"there is no folder {name!r}. A model of the Hub is published again from a copy, so that its card and its "
            f"licence come along: hf download {name} --local-dir FOLDER"
        )
    destination = Destination(to, branch, private, create_pr, replace_card, message)
    destination.check()
    model = LEMModel.from_pretrained(name)
    contents = model_contents(model, to, card=card, licence=licence, eval_data=parse_eval_data(eval_data or []))
    plan = plan_upload(contents, destination, offline_ok=dry_run)
    _print_plan(plan)
    if dry_run:
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
