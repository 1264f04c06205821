"""Names of repositories on the Hugging Face Hub: ``org/name``."""

from __future__ import annotations

import re

from lem_models.errors import UnknownNameError

__all__ = ["check_hub_id", "is_hub_id"]

_HUB_ID = re.compile(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
_LONGEST = 96


def is_hub_id(name: object) -> bool:
    """Whether a name has the form of a Hub id, ``org/name``.

    Example:
        >>> is_hub_id("org/name"), is_hub_id("name"), is_hub_id("org/../name")
        (True, False, False)
    """
    if not isinstance(name, str) or len(name) > _LONGEST or not _HUB_ID.fullmatch(name):
        return False
    return "--" not in name and ".." not in name and not name.endswith(".git")


def check_hub_id(name: object, what: str = "repository") -> str:
    """Check the name of a repository.

    Args:
        name: The name.
        what: What is named, for the message: ``"repository"``, ``"data set"`` or ``"Space"``.

    Raises:
        UnknownNameError: It does not have the form ``org/name``.

    Example:
        >>> check_hub_id("name")
        Traceback (most recent call last):
        lem_models.errors.UnknownNameError: a repository on the Hub is named 'org/name'; got 'name'
    """
    if not isinstance(name, str) or not is_hub_id(name):
        raise UnknownNameError(f"a {what} on the Hub is named 'org/name'; got {name!r}")
    return name
