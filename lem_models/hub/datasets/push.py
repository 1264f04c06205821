"""Publishing bars to the Hub as a data set.

One push is one commit: the shards of a split, the removal of those that they replace, and the card. Shards are written
to a temporary folder and uploaded one at a time, so neither memory nor disk holds more than one; a push that breaks off
leaves the repository as it was, and the next one uploads only what is not there yet.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lem_models.errors import HubError
from lem_models.guard.text import one_line
from lem_models.hub.client import ask
from lem_models.hub.datasets.card import CardWords, card_text, data_set_metadata
from lem_models.hub.datasets.files import CARD_NAME, Snapshot, check_repository_name, open_snapshot
from lem_models.hub.datasets.licence import read_licence
from lem_models.hub.datasets.shards import ShardPlan, check_bars, plan_shards, write_shard
from lem_models.hub.datasets.splits import check_split_name

if TYPE_CHECKING:
    from lem_models.markets.bars import Bars

__all__ = ["DataPush", "PlannedFile", "plan_push", "push_bars"]

_MOVED = 412
_PLANS = 3


@dataclass(frozen=True)
class PlannedFile:
    """A file of a push.

    Attributes:
        path: Path in the repository.
        state: ``"new"``, ``"changed"``, ``"same"`` (it is there already) or ``"removed"``.
        size: Bytes; 0 when removed.
        sha256: SHA-256 (hexadecimal); empty when removed.
    """

    path: str
    state: str
    size: int
    sha256: str


@dataclass(frozen=True)
class DataPush:
    """What a push would do, or has done.

    Attributes:
        repo_id: The data set.
        split: The split.
        branch: The branch; ``None`` for the main one.
        exists: Whether the repository is there already; ``None`` if the Hub could not be asked.
        files: Files, the card last.
        card: The card.
        remarks: What the publisher should know.
        url: Page of the commit or pull request; empty for a plan.
    """

    repo_id: str
    split: str
    branch: str | None
    exists: bool | None
    files: tuple[PlannedFile, ...]
    card: str
    remarks: tuple[str, ...]
    url: str = ""

    def __str__(self) -> str:
        """A line for each file, then the remarks."""
        place = f"{self.repo_id}, branch {self.branch or 'main'}"
        there = {True: "exists", False: "is to be made", None: "not known whether it exists"}[self.exists]
        lines = [f"data set {place}: {there}"]
        lines += [
            f"{f.state:8} {f.path}" + (f"  {f.size:,} bytes  sha256 {f.sha256}" if f.size else "") for f in self.files
        ]
        return "\n".join([*lines, *(f"note: {remark}" for remark in self.remarks)])


@dataclass(frozen=True)
class _Settings:
    repo_id: str
    words: CardWords
    plan: ShardPlan
    token: str | bool | None = field(repr=False)
    branch: str | None
    private: bool | None
    replace_card: bool


def push_bars(
    bars: Bars,
    repo_id: str,
    *,
    split: str = "train",
    source: str | None = None,
    licence: str | None = None,
    quirks: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    private: bool | None = None,
    branch: str | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
    commit_message: str | None = None,
    max_shard_size: int | str = "500MB",
    replace_card: bool = False,
) -> DataPush:
    """Publish bars as a split of a data set; see :meth:`lem_models.Bars.push_to_hub`."""
    settings = _settings(
        bars, repo_id, split, source, licence, quirks, columns, private, branch, token, max_shard_size, replace_card
    )
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token, library_name="lem_models")
    doing = f"publish the data set {repo_id!r}"

    def make() -> None:
        api.create_repo(repo_id, private=private, exist_ok=True, repo_type="dataset")
        if branch is not None and branch != "main":
            api.create_branch(repo_id, branch=branch, exist_ok=True, repo_type="dataset")

    _planned(bars, settings, {})  # the card and the licence may contradict what is published: before anything is sent
    ask(doing, repo_id, make, token=token)
    additions: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="lem-shards-") as folder:
        for path, file in _shards(bars, settings.plan, Path(folder)):
            addition = CommitOperationAdd(path_in_repo=path, path_or_fileobj=file)
            ask(
                f"upload {path} to {repo_id!r}",
                repo_id,
                lambda addition=addition: api.preupload_lfs_files(  # type: ignore[misc]
                    repo_id, [addition], repo_type="dataset", revision=branch, create_pr=create_pr
                ),
                token=token,
            )
            additions.append(addition)
            if getattr(addition, "_upload_mode", None) == "lfs":
                file.unlink()  # what travels inside the commit is still needed
        shards = {a.path_in_repo: (a.upload_info.size, a.upload_info.sha256.hex()) for a in additions}
        for attempt in range(1, _PLANS + 1):
            push, base = _planned(bars, settings, shards)
            operations = [*additions, *(CommitOperationDelete(f.path) for f in push.files if f.state == "removed")]
            operations.append(CommitOperationAdd(path_in_repo=CARD_NAME, path_or_fileobj=push.card.encode()))
            try:
                commit = ask(
                    doing,
                    repo_id,
                    lambda operations=operations, base=base: api.create_commit(  # type: ignore[misc]
                        repo_id,
                        operations,
                        commit_message=commit_message or f"Bars: split {split}, {len(bars):,} bars",
                        repo_type="dataset",
                        revision=branch,
                        create_pr=create_pr,
                        parent_commit=base,
                    ),
                    token=token,
                    once=create_pr,
                )
                break
            except HubError as error:  # somebody else committed since the card was read: it is read again
                if error.status != _MOVED or attempt == _PLANS:
                    raise
    return replace(push, exists=True, url=one_line(str(commit.pr_url or commit.commit_url)))


def plan_push(
    bars: Bars,
    repo_id: str,
    *,
    split: str = "train",
    source: str | None = None,
    licence: str | None = None,
    quirks: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    private: bool | None = None,
    branch: str | None = None,
    token: str | bool | None = None,
    max_shard_size: int | str = "500MB",
    replace_card: bool = False,
) -> DataPush:
    """What :func:`push_bars` would do; nothing is changed on the Hub.

    When the Hub cannot be reached, what is there already is not known, and a remark says so.

    Raises:
        BarsError: See :meth:`lem_models.Bars.push_to_hub`.
        LEMError: The Hub refuses to say what it has, or the card in the repository contradicts what is published.
    """
    settings = _settings(
        bars, repo_id, split, source, licence, quirks, columns, private, branch, token, max_shard_size, replace_card
    )
    shards = {}
    with tempfile.TemporaryDirectory(prefix="lem-shards-") as folder:
        for path, file in _shards(bars, settings.plan, Path(folder)):
            with file.open("rb") as stream:
                digest = hashlib.sha256()
                while block := stream.read(1 << 20):
                    digest.update(block)
            shards[path] = (file.stat().st_size, digest.hexdigest())
            file.unlink()
    try:
        return _planned(bars, settings, shards)[0]
    except HubError as error:
        if error.status is not None:
            raise
        plan = _drafted(bars, settings, shards, None)
        return replace(plan, exists=None, remarks=(*plan.remarks, f"what is there already is not known: {error}"))


def _settings(
    bars: Bars,
    repo_id: str,
    split: str,
    source: str | None,
    licence: str | None,
    quirks: Sequence[str],
    columns: Mapping[str, str] | None,
    private: bool | None,
    branch: str | None,
    token: str | bool | None,
    max_shard_size: int | str,
    replace_card: bool,
) -> _Settings:
    """Everything that can be wrong without asking the Hub is found here."""
    check_repository_name(repo_id)
    check_split_name(split)
    given = [quirks] if isinstance(quirks, str) else list(quirks)
    words = CardWords(read_licence(licence), " ".join((source or "").split()), given, columns)
    plan = plan_shards(bars, split, max_shard_size)
    check_bars(bars)
    return _Settings(repo_id, words, plan, token, branch, private, replace_card)


def _shards(bars: Bars, plan: ShardPlan, folder: Path) -> Iterator[tuple[str, Path]]:
    for number, path in enumerate(plan.paths):
        file = folder / Path(path).name
        write_shard(bars, plan, number, file)
        yield path, file


def _planned(bars: Bars, settings: _Settings, shards: Mapping[str, tuple[int, str]]) -> tuple[DataPush, str | None]:
    """The plan, given what is in the repository now; and the commit that it builds on."""
    present = _present(settings)
    return _drafted(bars, settings, shards, present), None if present is None else present.revision


def _drafted(
    bars: Bars, settings: _Settings, shards: Mapping[str, tuple[int, str]], present: Snapshot | None
) -> DataPush:
    """The files and the card, given what is in the repository."""
    known = {} if present is None else present.files
    old = "" if present is None else present.card
    prefix = f"data/{settings.plan.split}-"
    gone = [path for path in known if path.startswith(prefix) and path.endswith(".parquet") and path not in shards]
    sizes = {path: file.size or 0 for path, file in known.items() if path.endswith(".parquet") and path not in gone}
    sizes |= {path: size for path, (size, _) in shards.items()}
    # A new card still names the other splits, if the old one can be read.
    metadata = data_set_metadata(old, settings.plan, len(bars), sizes, settings.plan.expanded, settings.repo_id)
    card, remarks = card_text(
        bars, settings.plan, settings.words, settings.repo_id, metadata, old, replace=settings.replace_card
    )
    files = []
    for path, (size, digest) in shards.items():
        state = "new" if path not in known else "same" if known[path].sha256 == digest else "changed"
        files.append(PlannedFile(path, state, size, digest))
    files += [PlannedFile(path, "removed", 0, "") for path in gone]
    text = card.encode()
    state = "new" if CARD_NAME not in known else "same" if card == old else "changed"
    files.append(PlannedFile(CARD_NAME, state, len(text), hashlib.sha256(text).hexdigest()))
    return DataPush(
        settings.repo_id,
        settings.plan.split,
        settings.branch,
        present is not None,
        tuple(files),
        card,
        tuple(remarks),
    )


def _present(settings: _Settings) -> Snapshot | None:
    """What the repository has; ``None`` if there is none, or none that the token may see."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    api, name = HfApi(token=settings.token, library_name="lem_models"), settings.repo_id

    def commit() -> str | None:
        for revision in dict.fromkeys([settings.branch, None]):  # a branch that is to be made begins as the main one
            try:
                return api.dataset_info(name, revision=revision).sha
            except RevisionNotFoundError:
                pass
            except RepositoryNotFoundError:
                break
        return None

    found = ask(f"publish the data set {name!r}", name, commit, token=settings.token)
    if found is None:
        return None
    snapshot = open_snapshot(name, revision=found, token=settings.token, or_cached=False)
    if settings.private and not snapshot.is_private:
        raise HubError(
            f"cannot publish {name!r}: it exists and is public, and private=True was asked for. Make it private on its "
            "page, or choose another name",
            repo_id=name,
            status=409,
        )
    return snapshot
