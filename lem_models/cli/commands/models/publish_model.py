"""``lem publish model``: publish a model on the Hub, or print what would be sent.

The token is not an option, because it would stay in the shell's history. It comes from ``HF_TOKEN`` or
``hf auth login``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer
from pydantic import Field, field_validator

from lem_models.cli.options import narrowed
from lem_models.cli.output import Output
from lem_models.cli.policies import BundledName
from lem_models.errors import ConfigError
from lem_models.guard.hub_ids import is_hub_id
from lem_models.hub.settings import ModelUpload

if TYPE_CHECKING:
    from lem_models.hub.commit import Plan

__all__ = ["DESTINATION_FLAGS", "DRY_RUN", "PublishModelOptions", "publish_model", "say_plan"]

DESTINATION_FLAGS = {"repo_id": "--to", "private": "--private/--public", "commit_message": "--message", "token": ""}
"""Names of the options of a :class:`~lem_models.hub.settings.Destination`."""

DRY_RUN = "Print what would be sent, and send nothing."
"""Help of ``--dry-run``."""


class PublishModelOptions(ModelUpload):
    """Options of ``lem publish model``."""

    flags: ClassVar[dict[str, str]] = {**DESTINATION_FLAGS, "revision": ""}

    name: Annotated[BundledName, typer.Argument()] = Field(description="Bundled name, or folder of a model.")
    dry_run: bool = Field(False, description=DRY_RUN)

    @field_validator("eval_data", mode="before")
    @classmethod
    def _read_eval_data(cls, given: list[str] | None) -> Mapping[str, str] | None:
        from lem_models.hub.models.eval_results import parse_eval_data

        return None if given is None else parse_eval_data(given)


def publish_model(options: PublishModelOptions, out: Output) -> None:
    """Publish a model with its card; print the URL.

    Example: lem publish model my-model --to org/name --dry-run
    """
    from lem_models.hub.models import push
    from lem_models.hub.models.zoo import list_models
    from lem_models.modeling.model import LEMModel

    name, upload = options.name, narrowed(options, ModelUpload)
    if name not in list_models() and not Path(name).is_dir() and is_hub_id(name):
        raise ConfigError(
            f"there is no folder {name!r}. To publish a model of the Hub again with its card and licence, copy it "
            f"first: hf download {name} --local-dir FOLDER"
        )
    model = LEMModel.from_pretrained(name)
    if options.dry_run:
        say_plan(out, push.plan_model(model, upload), is_sent=False)
        return
    say_plan(out, push.publish_model(model, upload), is_sent=True)


def say_plan(out: Output, plan: Plan, *, is_sent: bool, more: str = "") -> None:
    """Print what was sent to the Hub, or would be.

    Args:
        out: Where.
        plan: The publication.
        is_sent: Whether it was sent.
        more: Text to show below it.
    """
    files = [{name: getattr(file, name) for name in ("path", "size", "sha256", "state")} for file in plan.files]
    out.add({"page": plan.page, "url": plan.url or None, "sent": is_sent, "files": files, "notes": plan.notes})
    done = f"published: {plan.url}" if is_sent else "dry run: nothing was sent"
    out.say("\n\n".join(filter(None, (str(plan), more))) + ("\n\n" if is_sent or not more else "\n") + done)
