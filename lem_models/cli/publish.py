"""``lem publish``: what goes to the Hub, with a dry run that says all of it beforehand.

Tokens are no options: they would stay in the shell's history. They come from ``HF_TOKEN`` or ``hf auth login``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lem_models.cli.terminal import CONTEXT, show_help

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
    from lem_models.hub.models.push import plan_model, publish_model
    from lem_models.hub.models.zoo import list_models
    from lem_models.hub.settings import ModelUpload
    from lem_models.modeling.model import LEMModel

    if name not in list_models() and not Path(name).is_dir() and "/" in name:
        raise ConfigError(
            f"there is no folder {name!r}. A model of the Hub is published again from a copy, so that its card and its "
            f"licence come along: hf download {name} --local-dir FOLDER"
        )
    destination = ModelUpload(
        repo_id=to,
        private=private,
        branch=branch,
        create_pr=create_pr,
        commit_message=message,
        card=card,
        replace_card=replace_card,
        licence=licence,
        eval_data=parse_eval_data(eval_data or []),
    )
    model = LEMModel.from_pretrained(name)
    if dry_run:
        typer.echo(f"{plan_model(model, destination)}\n\ndry run: nothing was sent")
        return
    done = publish_model(model, destination)
    typer.echo(f"{done}\n\npublished: {done.url}")
