"""Publishing models to the Hugging Face Hub: first a plan of what would go where, then one commit.

A card that is in the repository stays as it is unless its replacement is asked for. The commit builds on the commit
that the plan was made for: when somebody else changes the repository meanwhile, the Hub refuses it, and the plan is
made anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

from lem_models.errors import ConfigError, HubError, LookAheadError, UnknownNameError
from lem_models.guard.text import one_line
from lem_models.hub.client import ask
from lem_models.hub.models.contents import CARD_NAME, Contents, contents_of
from lem_models.hub.models.load import read_pair, read_weights
from lem_models.hub.models.resolve import is_hub_id
from lem_models.modeling.config import ConfigFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from lem_models.modeling.model import LEMModel

__all__ = ["Destination", "Plan", "PlannedFile", "model_contents", "plan_upload", "push_model", "upload"]

State: TypeAlias = Literal["new", "changed", "same", "kept", "unknown"]
"""A file against the repository: ``kept`` is one that differs and stays, ``unknown`` if the Hub could not be asked."""

_MOVED = 412
_PLANS = 3


@dataclass(frozen=True)
class Destination:
    """Where a model goes.

    Attributes:
        repo_id: ``org/name``.
        branch: Branch, made when it is not there; ``None`` for the main one.
        private: Whether a repository that has to be made is private; ``None`` for the account's default.
        create_pr: Whether to open a pull request instead of committing.
        replace_card: Whether the card replaces another one that is in the repository.
        commit_message: First line of the commit message.
        token: Token; default the client's.
    """

    repo_id: str
    branch: str | None = None
    private: bool | None = None
    create_pr: bool = False
    replace_card: bool = False
    commit_message: str = "Upload model"
    token: str | bool | None = None

    def __repr__(self) -> str:
        """Without the token."""
        return f"Destination({self.repo_id!r}, branch={self.branch!r}, create_pr={self.create_pr})"

    def check(self) -> None:
        """Refuse what cannot work, before anything is asked of the Hub.

        Raises:
            UnknownNameError: when the repository's name has not the form of a Hub id.
            ConfigError: when a branch and a pull request, or an empty message, are asked for.
        """
        if not isinstance(self.repo_id, str) or not is_hub_id(self.repo_id):
            raise UnknownNameError(f"a repository on the Hub is named 'org/name'; got {self.repo_id!r}")
        if self.create_pr and self.branch not in (None, "main"):
            raise ConfigError("a pull request goes to the main branch: leave branch or create_pr out")
        if not self.commit_message.strip():
            raise ConfigError("commit_message is empty")


@dataclass(frozen=True)
class PlannedFile:
    """A file of a plan.

    Attributes:
        path: Path in the repository.
        size: Bytes.
        sha256: Hash of the content.
        state: What would become of it.
    """

    path: str
    size: int
    sha256: str
    state: State


@dataclass(frozen=True)
class Plan:
    """What publishing would do.

    Attributes:
        destination: Where to.
        url: Page of the repository.
        exists: Whether the repository is there; ``None`` when the Hub could not be asked.
        branch_exists: The same of the branch.
        head: Commit that the plan was made for.
        files: What would be sent, and what not.
        others: Files of the repository that stay as they are.
        notes: What was left out, or ought to be known.
    """

    destination: Destination
    url: str
    exists: bool | None
    branch_exists: bool | None
    head: str | None
    files: tuple[PlannedFile, ...]
    others: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def to_send(self) -> tuple[PlannedFile, ...]:
        """The files that a commit would hold."""
        return tuple(file for file in self.files if file.state not in ("same", "kept"))


def push_model(
    model: LEMModel,
    destination: Destination,
    *,
    card: str | Path | None = None,
    licence: str | None = None,
    eval_data: Mapping[str, str] | None = None,
) -> str:
    """Publish a model: configuration, weights and card in one commit; nothing else in the repository is touched.

    Args:
        model: The model.
        destination: Where to.
        card: Card to send; default the card of the folder that the model was loaded from, if it still is that model,
            and otherwise a plain one made from its files.
        licence: Licence for a plain card.
        eval_data: See :func:`~lem_models.hub.models.contents.contents_of`.

    Returns:
        URL of the commit or of the pull request.

    Raises:
        UnknownNameError: when the repository's name has not the form of a Hub id.
        LookAheadError: when the model looks ahead.
        UntrainedHeadError: when the model is untrained; nothing is asked of the Hub then.
        ConfigError: when the card cannot be published.
        HubError: when the Hub refuses or cannot be reached.
    """
    destination.check()
    return upload(
        model_contents(model, destination.repo_id, card=card, licence=licence, eval_data=eval_data), destination
    )


def model_contents(
    model: LEMModel,
    repo_id: str,
    *,
    card: str | Path | None = None,
    licence: str | None = None,
    eval_data: Mapping[str, str] | None = None,
) -> Contents:
    """What is published of a model; see :func:`push_model`."""
    if getattr(model, "looks_ahead", False):
        raise LookAheadError.of(model)
    chosen = None if card is None else Path(card)
    source = model.source
    with tempfile.TemporaryDirectory() as made:
        folder = source if source is not None and _is_saved_in(model, source) else model.save_pretrained(made)
        name = repo_id.split("/")[-1]
        return contents_of(folder, name=name, repo_id=repo_id, card=chosen, licence=licence, eval_data=eval_data)


def _is_saved_in(model: LEMModel, folder: Path) -> bool:
    """Whether a folder still holds this very model, so that its card and its results are about it."""
    import torch

    state = model.state_dict()

    def read(file: ConfigFile, stored: BinaryIO) -> bool:
        saved = read_weights(stored, state, file.weights_sha256)
        same = all(torch.equal(saved[key], value.detach().cpu()) for key, value in state.items())
        return same and model.is_trained and file.config == model.config

    try:
        return read_pair(folder, read)
    except Exception:  # the folder is gone or holds something else
        return False


# --- the plan --------------------------------------------------------------------------------------------------------


def plan_upload(contents: Contents, destination: Destination, *, offline_ok: bool = False) -> Plan:
    """Compare what would be sent with what is there; nothing is changed.

    Args:
        contents: What would be sent.
        destination: Where to.
        offline_ok: Whether a Hub that cannot be reached leaves the files' states unknown instead of being an error.

    Raises:
        HubError: when the Hub refuses or cannot be reached, or the repository is public and a private one is asked for.
    """
    destination.check()
    api = _api(destination)
    url = f"{api.endpoint}/{destination.repo_id}"
    notes = list(contents.notes)
    try:
        found = ask(
            f"publish {destination.repo_id!r}",
            destination.repo_id,
            lambda: _look(api, destination),
            token=destination.token,
        )
    except HubError as error:
        if not offline_ok or error.status is not None:
            raise
        notes.append(f"what is there already is not known: {error}")
        files = [_planned(path, data, "unknown") for path, data in contents.files.items()]
        return Plan(destination, url, None, None, None, tuple(files), (), tuple(notes))
    if found.exists and destination.private and not found.private:
        raise HubError(
            f"cannot publish {destination.repo_id!r}: it exists and is public, and private=True was asked for. Make it "
            "private on its page, or choose another name",
            repo_id=destination.repo_id,
        )
    states = {path: found.state(path, data) for path, data in contents.files.items()}
    if states[CARD_NAME] == "changed" and not destination.replace_card:
        # Pictures go with their card.
        states |= {path: "kept" for path in contents.card_files if states[path] != "same"}
        notes.append("the card that is in the repository stays: --replace-card (replace_card=True) sends this one")
    return Plan(
        destination,
        url,
        found.exists,
        found.branch_exists,
        found.head,
        tuple(_planned(path, data, states[path]) for path, data in contents.files.items()),
        tuple(one_line(path) for path in sorted(set(found.hashes) - set(contents.files))),
        tuple(notes),
    )


@dataclass(frozen=True)
class _Found:
    """What is in the repository; ``hashes`` are git's, of large files SHA-256."""

    exists: bool
    branch_exists: bool
    private: bool
    head: str | None
    hashes: Mapping[str, str]

    def state(self, path: str, data: bytes) -> State:
        there = self.hashes.get(path)
        if there is None:
            return "new"
        own = {hashlib.sha256(data).hexdigest(), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
        return "same" if there in own else "changed"


def _look(api: HfApi, destination: Destination) -> _Found:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.hf_api import RepoFile

    branch_exists = True
    try:
        info = api.model_info(destination.repo_id, revision=destination.branch)
    except RepositoryNotFoundError:
        return _Found(False, False, False, None, {})
    except RevisionNotFoundError:
        branch_exists = False  # it will start where the main branch is
        info = api.model_info(destination.repo_id)
    tree = api.list_repo_tree(destination.repo_id, recursive=True, revision=info.sha)
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    hashes = {file.path: file.blob_id if file.lfs is None else file.lfs.sha256 for file in files}
    return _Found(True, branch_exists, bool(info.private), info.sha, hashes)


def _planned(path: str, data: bytes, state: State) -> PlannedFile:
    return PlannedFile(path, len(data), hashlib.sha256(data).hexdigest(), state)


def _api(destination: Destination) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(token=destination.token, library_name="lem_models")


# --- the upload ------------------------------------------------------------------------------------------------------


def upload(contents: Contents, destination: Destination) -> str:
    """Send what the repository does not have yet, in one commit.

    Returns:
        URL of the commit or of the pull request; of the latest commit when there is nothing to send.

    Raises:
        HubError: when the Hub refuses or cannot be reached. Then no commit was made, unless the Hub's answer was lost;
            a pull request is not sent again then, for it would be a second one.
    """
    to, api, doing = destination, _api(destination), f"publish {destination.repo_id!r}"
    for attempt in range(1, _PLANS + 1):
        plan = plan_upload(contents, to)
        if not plan.exists:
            # Somebody else may make it at the same moment, public or with a card: what is in it then counts.
            ask(
                doing,
                to.repo_id,
                lambda: api.create_repo(to.repo_id, private=to.private, exist_ok=True),
                token=to.token,
            )
            plan = plan_upload(contents, to)
        if not plan.to_send and plan.branch_exists:
            return f"{plan.url}/commit/{plan.head}"
        try:
            return ask(
                doing,
                to.repo_id,
                lambda plan=plan: _commit(api, plan, contents),  # type: ignore[misc]
                token=to.token,
                once=to.create_pr,
            )
        except HubError as error:
            if error.status != _MOVED or attempt == _PLANS:
                raise
    raise AssertionError("unreachable")


def _commit(api: HfApi, plan: Plan, contents: Contents) -> str:
    from huggingface_hub import CommitOperationAdd

    to = plan.destination
    if to.branch is not None and not plan.branch_exists and to.branch != "main":
        api.create_branch(to.repo_id, branch=to.branch, exist_ok=True)
    settings: dict[str, Any] = {"parent_commit": plan.head} if plan.head is not None else {}
    commit = api.create_commit(
        to.repo_id,
        [CommitOperationAdd(file.path, contents.files[file.path]) for file in plan.to_send],
        commit_message=to.commit_message,
        revision=to.branch,
        create_pr=to.create_pr,
        **settings,
    )
    return one_line(str(commit.pr_url or commit.commit_url))
