"""``lem publish space``: publish the app as a Space of the Hub."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lem_models.cli.commands.models.publish_model import DESTINATION_FLAGS, DRY_RUN, say_plan
from lem_models.cli.options import narrowed
from lem_models.cli.output import Output
from lem_models.hub.settings import SpaceUpload

__all__ = ["PublishSpaceOptions", "publish_space"]


class PublishSpaceOptions(SpaceUpload):
    """Options of ``lem publish space``."""

    flags: ClassVar[dict[str, str]] = DESTINATION_FLAGS

    dry_run: bool = Field(False, description=DRY_RUN)


def publish_space(options: PublishSpaceOptions, out: Output) -> None:
    """Publish the app as a Space: a page, app.py and requirements.txt, which installs this release; print the URL.

    Example: lem publish space --to desk/one-order --private --dry-run
    """
    from lem_models.hub.spaces import push

    upload = narrowed(options, SpaceUpload)
    if options.dry_run:
        plan = push.plan_space(upload)
        shown = "\n\n".join(f"{file.path}:\n{_text(file.content)}" for file in plan.files)
        say_plan(out, plan, is_sent=False, more=shown)
        return
    say_plan(out, push.publish_space(upload), is_sent=True)


def _text(content: object) -> str:
    return content.decode() if isinstance(content, bytes) else ""
