"""Publish to the Hub: first make a plan, then one commit.

The files to publish depend on the content of the repository (:data:`DraftMaker`), because a card may keep text that
somebody wrote there. The commit builds on the commit that the plan was made for. If somebody else changes the
repository in between, the Hub refuses the commit, and the plan is made again.

Large files are written and uploaded one at a time before the commit, so neither memory nor disk holds more than one. A
push that is interrupted leaves the repository unchanged, and the next push uploads only the missing files.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lem_models.errors import HubError
from lem_models.guard.hashes import file_sha256
from lem_models.guard.text import one_line
from lem_models.hub.client import ask
from lem_models.hub.names import CARD_NAME
from lem_models.hub.repository import Repository, describe
from lem_models.hub.settings import Destination

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

__all__ = ["Draft", "DraftMaker", "Plan", "PlannedFile", "Writers", "commit", "make_plan"]

State: TypeAlias = Literal["new", "changed", "same", "kept", "removed", "unknown"]
"""State of a file: ``kept`` if it differs and the repository's stays, ``unknown`` if the Hub could not be asked."""

_MOVED = 412
_PLANS = 3


@dataclass(frozen=True)
class PlannedFile:
    """A file of a plan.

    Attributes:
        path: Path in the repository.
        size: Bytes; 0 when it is removed.
        sha256: SHA-256 (hexadecimal) of the content; empty when it is removed.
        git_sha1: SHA-1 (hexadecimal) of it in git; empty for large files.
        content: The content, or its upload.
        state: What a commit would do with it.
    """

    path: str
    size: int = 0
    sha256: str = ""
    git_sha1: str = ""
    content: bytes | CommitOperationAdd = field(default=b"", repr=False)
    state: State = "unknown"

    @classmethod
    def of(cls, path: str, content: bytes) -> PlannedFile:
        """A file that is held in memory."""
        git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return cls(path, len(content), hashlib.sha256(content).hexdigest(), git_sha1, content)

    def against(self, repository: Repository | None) -> PlannedFile:
        """The file with its state against a repository; ``None`` stands for one that does not exist."""
        if self.state != "unknown":
            return self
        published = None if repository is None else repository.files.get(self.path)
        if published is None:
            return replace(self, state="new")
        same = (published.sha256 or published.git_sha1) in (self.sha256, self.git_sha1)
        return replace(self, state="same" if same else "changed")


@dataclass(frozen=True)
class Draft:
    """Files to publish.

    Attributes:
        files: The files. A state other than ``unknown`` is kept; the others are computed.
        notes: Notes for the publisher, one sentence each; they also name what was left out.
    """

    files: tuple[PlannedFile, ...]
    notes: tuple[str, ...] = ()


DraftMaker: TypeAlias = Callable[[Repository | None, Sequence[PlannedFile]], Draft]
"""Makes the draft from the repository and the large files."""

Writers: TypeAlias = Mapping[str, Callable[[Path], object]]
"""Functions that write the large files, by path in the repository."""


@dataclass(frozen=True)
class Plan:
    """A planned or completed publication.

    Attributes:
        to: The destination.
        page: Page of the repository.
        exists: Whether the repository exists; ``None`` when the Hub could not be asked.
        branch_exists: Whether the branch exists; ``None`` when the Hub could not be asked.
        head: Commit that the plan was made for.
        files: The files of the publication, with their states.
        others: Other files of the repository, which stay unchanged.
        notes: Notes for the publisher, one sentence each; they also name what was left out.
        url: Page of the commit or pull request; of the latest commit if there was nothing to send; empty for a plan.
    """

    to: Destination
    page: str
    exists: bool | None
    branch_exists: bool | None
    head: str | None
    files: tuple[PlannedFile, ...]
    others: tuple[str, ...]
    notes: tuple[str, ...]
    url: str = ""

    @property
    def to_send(self) -> tuple[PlannedFile, ...]:
        """The files that a commit would add, change or remove."""
        return tuple(file for file in self.files if file.state not in ("same", "kept"))

    @property
    def card(self) -> str:
        """The card."""
        (content,) = (file.content for file in self.files if file.path == CARD_NAME)
        return content.decode() if isinstance(content, bytes) else ""

    def __str__(self) -> str:
        """Repository, branch, a line for each file, and the notes."""
        visibility = {True: "private", False: "public", None: "the account's default visibility"}[self.to.private]
        made = {True: "", False: f" (to be made, {visibility})", None: " (not asked)"}[self.exists]
        branch_made = " (to be made)" if self.exists and self.branch_exists is False else ""
        width = max(len(file.path) for file in self.files)
        return "\n".join(
            [
                f"repository: {self.page}{made}",
                f"branch: {self.to.branch or 'main'}{branch_made}{', as a pull request' if self.to.create_pr else ''}",
                *([f"builds on commit: {self.head}"] if self.head is not None else []),
                "",
                *(
                    f"{file.state:8}{file.path:{width}}"
                    + (f"  {file.size:>11,} bytes  sha256 {file.sha256}" if file.sha256 else "")
                    for file in self.files
                ),
                *(f"{'stays':8}{path}" for path in self.others),
                *(f"note: {note}" for note in self.notes),
            ]
        )


# --- the plan --------------------------------------------------------------------------------------------------------


def make_plan(to: Destination, make_draft: DraftMaker, writers: Writers | None = None) -> Plan:
    """Plan what :func:`commit` would do; nothing is changed.

    If the Hub cannot be reached, the states of the files are unknown, and a note reports it.

    Args:
        to: The destination.
        make_draft: Makes the draft.
        writers: Writers of the large files.

    Raises:
        HubError: The Hub refuses, or the repository is public and ``to.private`` is true.
        LEMError: Errors of ``make_draft``.
    """
    large = []
    with tempfile.TemporaryDirectory(prefix="lem-upload-") as folder:
        for path, write in (writers or {}).items():
            file = Path(folder) / Path(path).name
            write(file)
            large.append(PlannedFile(path, file.stat().st_size, file_sha256(file)))
            file.unlink()
    try:
        return _plan(to, make_draft, large)
    except HubError as error:
        if error.status is not None:
            raise
        draft = make_draft(None, large)
        files = tuple(replace(file, state="unknown") for file in draft.files)
        notes = (*draft.notes, f"the content of the repository is not known: {error}")
        return Plan(to, _page(to), None, None, None, files, (), notes)


def _plan(to: Destination, make_draft: DraftMaker, large: Sequence[PlannedFile] = ()) -> Plan:
    repository, branch_exists = _look(to)
    draft = make_draft(repository, large)
    planned = {file.path for file in draft.files}
    others = () if repository is None else tuple(one_line(path) for path in sorted(repository.files.keys() - planned))
    return Plan(
        to,
        _page(to),
        repository is not None,
        branch_exists,
        None if repository is None else repository.commit,
        tuple(file.against(repository) for file in draft.files),
        others,
        draft.notes,
    )


def _look(to: Destination) -> tuple[Repository | None, bool]:
    """The repository, if there is one that the token may see, and whether it has the branch."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    def look() -> tuple[Repository | None, bool]:
        try:
            return describe(to.repo_id, to.repo_type, to.branch, to.token), True
        except RepositoryNotFoundError:
            return None, False
        except RevisionNotFoundError:  # the branch will begin at the main branch
            return describe(to.repo_id, to.repo_type, None, to.token), False

    repository, branch_exists = ask(f"publish {to}", to.repo_id, look, token=to.token)
    if repository is not None and to.private and not repository.is_private:
        raise HubError(
            f"cannot publish {to.repo_id!r}: it exists and is public, but private=True is set. Make it private "
            "on its page, or choose another name",
            repo_id=to.repo_id,
            status=409,
        )
    return repository, branch_exists


def _page(to: Destination) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'' if to.repo_type == 'model' else f'{to.repo_type}s/'}{to.repo_id}"


# --- the commit ------------------------------------------------------------------------------------------------------


def commit(to: Destination, make_draft: DraftMaker, writers: Writers | None = None) -> Plan:
    """Send the files that the repository lacks, in one commit; its other files stay.

    Args:
        to: The destination.
        make_draft: Makes the draft.
        writers: Writers of the large files.

    Returns:
        The publication, with the URL of the commit or pull request.

    Raises:
        HubError: The Hub refuses or cannot be reached. Then no commit was made, unless the Hub's answer was lost. A
            pull request whose answer was lost is not sent again, because it would be a second one.
        LEMError: Errors of ``make_draft``.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=to.token, library_name="lem_models")
    plan = _plan(to, make_draft)  # raises its errors before anything is made or uploaded
    if not plan.exists:
        _make_repository(api, to)
    if not plan.branch_exists:
        _make_branch(api, to)
    with tempfile.TemporaryDirectory(prefix="lem-upload-") as folder:
        large = [_upload(api, to, path, write, Path(folder)) for path, write in (writers or {}).items()]
        attempt = 0
        while True:
            attempt += 1
            plan = _plan(to, make_draft, large)
            if not plan.to_send:
                return replace(plan, url=f"{plan.page}/commit/{plan.head}")
            try:
                return replace(plan, url=_commit(api, plan))
            except HubError as error:
                if error.status != _MOVED or attempt == _PLANS:
                    raise


def _make_repository(api: HfApi, to: Destination) -> None:
    """Make the repository. Somebody else may have made it in the meantime, public or with a card."""
    settings: dict[str, Any] = {"repo_type": to.repo_type, "private": to.private, "exist_ok": True}
    if to.repo_type == "space":
        settings["space_sdk"] = "gradio"
    ask(f"publish {to}", to.repo_id, lambda: api.create_repo(to.repo_id, **settings), token=to.token)


def _make_branch(api: HfApi, to: Destination) -> None:
    if to.branch not in (None, "main"):
        settings: dict[str, Any] = {"repo_type": to.repo_type, "branch": to.branch, "exist_ok": True}
        ask(f"publish {to}", to.repo_id, lambda: api.create_branch(to.repo_id, **settings), token=to.token)


def _upload(api: HfApi, to: Destination, path: str, write: Callable[[Path], object], folder: Path) -> PlannedFile:
    """Write a large file and upload its content."""
    from huggingface_hub import CommitOperationAdd

    file = folder / Path(path).name
    write(file)
    addition = CommitOperationAdd(path, file)
    settings: dict[str, Any] = {"repo_type": to.repo_type, "revision": to.branch, "create_pr": to.create_pr}
    ask(
        f"upload {path} to {to.repo_id!r}",
        to.repo_id,
        lambda: api.preupload_lfs_files(to.repo_id, [addition], **settings),
        token=to.token,
    )
    if getattr(addition, "_upload_mode", None) == "lfs":
        file.unlink()  # a file that is sent inside the commit is still needed
    return PlannedFile(path, addition.upload_info.size, addition.upload_info.sha256.hex(), content=addition)


def _commit(api: HfApi, plan: Plan) -> str:
    """The URL of the commit or pull request."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    to = plan.to
    operations = [
        CommitOperationDelete(file.path)
        if file.state == "removed"
        else CommitOperationAdd(file.path, file.content)
        if isinstance(file.content, bytes)
        else file.content
        for file in plan.to_send
    ]
    settings: dict[str, Any] = {
        "repo_type": to.repo_type,
        "commit_message": to.commit_message,
        "revision": to.branch,
        "create_pr": to.create_pr,
        "parent_commit": plan.head,
    }
    info = ask(
        f"publish {to}",
        to.repo_id,
        lambda: api.create_commit(to.repo_id, operations, **settings),
        token=to.token,
        once=to.create_pr,
    )
    return one_line(str(info.pr_url or info.commit_url))
