"""Names on the Hub and in a model folder: files, repositories, splits."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from lem_models.errors import LEMError

__all__ = [
    "CARD_NAME",
    "CONFIG_NAME",
    "METRICS_NAME",
    "STAGED",
    "WEIGHTS_NAME",
    "RepoType",
    "check_split_name",
    "repository_in_words",
]

RepoType: TypeAlias = Literal["model", "dataset", "space"]
"""The types of repositories, as the Hub's client names them."""

CARD_NAME = "README.md"
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
METRICS_NAME = "metrics.json"
"""Measured results of a bundled model."""
STAGED = ".saving"
"""Folder inside a model folder where files are prepared."""

_SPLIT = re.compile(r"\w+(\.\w+)*", re.ASCII)


def check_split_name(split: object) -> str:
    """Check the name of a split of a data set.

    Raises:
        LEMError: It is not made of letters, digits and underscores.
    """
    if not isinstance(split, str) or not _SPLIT.fullmatch(split) or split == "all":
        raise LEMError(f"a split is named with letters, digits and underscores, such as 'train'; got {split!r}")
    return split


def repository_in_words(repo_id: str, repo_type: RepoType) -> str:
    """A repository as messages name it."""
    kind = {"model": "", "dataset": "the data set ", "space": "the Space "}[repo_type]
    return f"{kind}{repo_id!r}"
