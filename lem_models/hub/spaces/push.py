"""Publish the app as a Space: three small files in one commit, which install this package and start the app.

- ``README.md``: what the Hub must know (``sdk``, ``app_file``, ...), and a page for readers.
- ``app.py``: starts the app, unchanged.
- ``requirements.txt``: this release of the package, with its extra ``app``. Gradio itself is installed by the Hub, in
  the release of ``sdk_version``.

No weights and no bars are sent: the package brings them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lem_models.errors import ConfigError, LEMError
from lem_models.guard.text import shown
from lem_models.hub.card import Card
from lem_models.hub.commit import Draft, DraftMaker, Plan, PlannedFile, commit, make_plan
from lem_models.hub.names import CARD_NAME
from lem_models.hub.repository import Repository
from lem_models.hub.settings import SpaceUpload

__all__ = ["SpaceUpload", "plan_space", "publish_space"]

_APP = '''"""The app of lem_models as a Space."""

from lem_models.app import launch

launch()
'''
_FIRST_TEXT = "spaces-config-reference"  # of the page that the Hub writes into a new Space
_REQUIREMENT = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,299}")


def publish_space(to: SpaceUpload) -> Plan:
    """Publish the app as a Space; other files in the repository stay.

    A page that somebody wrote in the repository stays, except for what the Hub must know, in its metadata.

    Args:
        to: The destination, and where the package is installed from.

    Returns:
        The publication, with the URL of the commit or pull request.

    Raises:
        ConfigError: The requirement is no line, or Gradio is not installed here, so that its release is not known.
        HubError: The Hub refuses or cannot be reached.
        LEMError: The page in the repository cannot be read.
    """
    return commit(to, _draft_maker(to))


def plan_space(to: SpaceUpload) -> Plan:
    """Plan :func:`publish_space`; nothing is changed. Raises the same errors."""
    return make_plan(to, _draft_maker(to))


def _draft_maker(to: SpaceUpload) -> DraftMaker:
    keys, requirement = _metadata(), _requirement(to)
    fixed = [
        PlannedFile.of("app.py", _APP.encode()),
        PlannedFile.of("requirements.txt", f"{requirement}\n".encode()),
    ]

    def make_draft(repository: Repository | None, _: Sequence[PlannedFile]) -> Draft:
        old = Card() if repository is None else repository.read_card()
        text, notes = _card(old, to, keys, requirement)
        return Draft((PlannedFile.of(CARD_NAME, text.encode()), *fixed), notes)

    return make_draft


def _metadata() -> dict[str, Any]:
    """What the Hub must know to run the app."""
    try:
        gradio = metadata.version("gradio")
    except metadata.PackageNotFoundError:
        raise ConfigError(
            "a Space runs the release of gradio that is installed here, and none is: pip install 'lem-models[app]'"
        ) from None
    return {
        "sdk": "gradio",
        "sdk_version": gradio,
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "app_file": "app.py",
    }


def _requirement(to: SpaceUpload) -> str:
    requirement = to.requirement or f"lem-models[app]=={metadata.version('lem-models')}"
    if not _REQUIREMENT.fullmatch(requirement) or requirement.startswith(("-", "#")):
        raise ConfigError(f"a requirement is one line of pip, such as 'lem-models[app]==1.0'; got {shown(requirement)}")
    return requirement


def _card(old: Card, to: SpaceUpload, keys: dict[str, Any], requirement: str) -> tuple[str, tuple[str, ...]]:
    """The page after a push, and notes for the publisher."""
    environment = Environment(
        loader=PackageLoader("lem_models.hub"), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    front = {
        "title": "One order, bar by bar",
        "emoji": "⏱️",
        "colorFrom": "blue",
        "colorTo": "green",
        **keys,
        "pinned": False,
        "license": "apache-2.0",
        "short_description": "Watch an execution model trade an order",
    }
    body = environment.get_template("space_card.md.j2").render(requirement=requirement)
    new = Card(body).with_metadata(front).text
    if not old.text.strip() or to.replace_card or _FIRST_TEXT in old.text or old.text == new:
        return new, ()
    note = (
        "the page in the repository stays, and only its metadata are set (sdk, app_file, ...): --replace-card "
        "(replace_card=True) sends this one"
    )
    try:
        return old.with_metadata(keys).text, (note,)
    except ValueError as error:
        raise LEMError(
            f"the metadata of the page of {to.repo_id!r} cannot be read ({error}): repair them, or replace the page "
            "(replace_card=True, --replace-card)"
        ) from None
