"""Settings of publishing models and bars, shared by methods, commands and the training.

They are checked when they are made, before the Hub is asked anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from lem_models.errors import LEMError
from lem_models.guard.hub_ids import check_hub_id
from lem_models.guard.settings import Settings
from lem_models.hub.names import RepoType, check_split_name, repository_in_words

__all__ = ["BarsUpload", "Destination", "ModelUpload", "SpaceUpload", "size_in_bytes"]

_WORDS: Mapping[RepoType, str] = {"model": "repository", "dataset": "data set", "space": "Space"}


class Destination(Settings):
    """A repository of the Hub, and how to commit to it.

    Raises:
        UnknownNameError: The name of the repository does not have the form ``org/name``.
        ConfigError: A value has another type, or the commit message is empty.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # an input may be the token
    refusal: ClassVar[str] = "cannot publish"
    repo_type: ClassVar[RepoType]

    repo_id: str = Field(description="Repository on the Hub, org/name; made if it does not exist.")
    private: bool | None = Field(None, description="For a new repository; default the account's setting.")
    branch: str | None = Field(None, description="Branch; made if it does not exist.")
    create_pr: bool = Field(False, description="Open a pull request instead of committing.")
    commit_message: str | None = Field(None, description="Commit message.")
    replace_card: bool = Field(False, description="Replace another card that is in the repository.")
    token: str | bool | None = Field(None, repr=False, description="Token; default the client's.")

    @field_validator("repo_id", mode="before")
    @classmethod
    def _check_name(cls, value: object) -> str:
        return check_hub_id(value, _WORDS[cls.repo_type])

    @model_validator(mode="after")
    def _check_message(self) -> Self:
        if self.commit_message is not None and not self.commit_message.strip():
            raise ValueError("commit_message is empty")
        return self

    def __str__(self) -> str:
        """The repository, as messages name it."""
        return repository_in_words(self.repo_id, self.repo_type)


class ModelUpload(Destination):
    """Destination of a model, and what is published with it.

    Raises:
        ConfigError: Two branches are named, or a branch and a pull request.
    """

    repo_type: ClassVar[RepoType] = "model"

    commit_message: str | None = Field("Upload model", description="Commit message.")
    revision: str | None = Field(None, description="The same as branch, under the name that loading uses.")
    card: str | Path | None = Field(
        None, description="Card to send; default README.md of the folder, or a plain card made from the model's files."
    )
    licence: str | None = Field(None, description="Licence for a plain card, e.g. apache-2.0; it is not guessed.")
    eval_data: Mapping[str, str] | None = Field(
        None, description="MARKET=org/data, the market's benchmark data set on the Hub: writes .eval_results/."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_one_branch(cls, given: dict[str, object]) -> dict[str, object]:
        branch, revision = given.get("branch"), given.get("revision")
        if branch is not None and revision not in (None, branch):
            raise ValueError(f"branch={branch!r} and revision={revision!r} mean the same: pass one of them")
        if given.get("create_pr") and (branch or revision) not in (None, "main"):
            raise ValueError("a pull request goes to the main branch: leave branch or create_pr out")
        return {**given, "branch": branch or revision}


class BarsUpload(Destination):
    """Destination of bars, and facts for their card.

    Raises:
        LEMError: The name of the split or the size of a shard cannot be read.
    """

    repo_type: ClassVar[RepoType] = "dataset"

    split: str = Field("train", description="Name of the split; an existing split is replaced.")
    source: str | None = Field(None, description="Where the bars come from, for the card.")
    licence: str | None = Field(
        None, description="Terms: a name such as cc-by-4.0, or 'other: the terms in words'. They are not guessed."
    )
    quirks: str | Sequence[str] = Field((), description="What readers must know about the bars, one sentence each.")
    columns: Mapping[str, str] | None = Field(None, description="NAME=MEANING, meaning and unit of another column.")
    benchmark: str | None = Field(
        None, description="Market of the zoo, e.g. crypto-hourly: writes eval.yaml, for a leaderboard of the Hub."
    )
    max_shard_size: int | str = Field("500MB", description="Size of a shard in memory at most; its file is smaller.")

    @field_validator("split", mode="before")
    @classmethod
    def _check_split(cls, value: object) -> str:
        return check_split_name(value)

    @field_validator("max_shard_size", mode="before")
    @classmethod
    def _check_size(cls, value: object) -> int:
        return size_in_bytes(value)


class SpaceUpload(Destination):
    """Destination of the app as a Space, and where the Space installs the package from."""

    repo_type: ClassVar[RepoType] = "space"

    commit_message: str | None = Field("Upload app", description="Commit message.")
    requirement: str | None = Field(
        None,
        description="Line of requirements.txt that installs the package; default this release with the extra app.",
    )


def size_in_bytes(size: object) -> int:
    """Read a size.

    Args:
        size: Bytes, or a text such as ``"500MB"`` or ``"1GiB"``.

    Raises:
        LEMError: It is not a positive size.

    Example:
        >>> size_in_bytes("500MB")
        500000000
    """
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
    match = re.fullmatch(r"(\d{1,15})\s*([A-Za-z]*)", str(size).strip(), re.ASCII)
    if isinstance(size, bool) or not match or match[2].upper() not in units or not int(match[1]):
        raise LEMError(f"a size is a number of bytes or a text such as '500MB'; got {size!r}")
    return int(match[1]) * units[match[2].upper()]
