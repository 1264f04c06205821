"""A data set on the Hub at one commit, or its cached copy: its files, and copies of them.

The description of a repository is read once, and everything read afterwards is of the same commit. Code in a
repository is never read or executed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lem_models.errors import ConfigError, HubError, LEMError
from lem_models.guard.hub_ids import check_hub_id
from lem_models.guard.output import write_text
from lem_models.hub.card import Card
from lem_models.hub.client import ask, is_offline
from lem_models.hub.names import CARD_NAME, repository_in_words
from lem_models.hub.repository import (
    HubFile,
    Repository,
    cache_folder,
    cache_root,
    cached_card,
    check_copy,
    describe,
    safe_path,
)

__all__ = ["Snapshot", "open_snapshot"]

_DOWNLOADS = 4


@dataclass(frozen=True)
class Snapshot:
    """A data set at one commit.

    Attributes:
        repo_id: ``org/name``.
        name: Branch, tag or commit of the request.
        commit: The commit.
        files: By path.
        card: The card; an empty one where there is none.
        cache: Folder of the cache.
        repository: The repository on the Hub; ``None`` for a cached copy, which does not use the Hub.
    """

    repo_id: str
    name: str
    commit: str
    files: Mapping[str, HubFile]
    card: Card
    cache: Path
    repository: Repository | None

    @property
    def is_cached(self) -> bool:
        """Whether it is a cached copy."""
        return self.repository is None

    def download(self, files: Sequence[HubFile]) -> list[Path]:
        """Copies of files in the cache, each with the hash that the Hub states.

        Raises:
            LEMError: A file cannot be downloaded, or does not have the stated hash; then its copy is removed.
        """
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            copies = list(pool.map(self._copy, files))
        if self.repository is not None:
            self.repository.note(self.name, self.cache)
        return copies

    def _copy(self, file: HubFile) -> Path:
        from huggingface_hub import hf_hub_download

        if self.repository is not None:
            return self.repository.fetch(file, self.cache)
        settings: dict[str, Any] = {"repo_type": "dataset", "revision": self.commit, "local_files_only": True}
        path = ask(
            f"find {file.path} of {self.repo_id!r}",
            self.repo_id,
            lambda: Path(hf_hub_download(self.repo_id, file.path, cache_dir=self.cache, **settings)),
            cache=self.cache,
        )
        check_copy(path, self.repo_id)
        return path


def open_snapshot(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Snapshot:
    """Open a data set on the Hub, or its cached copy when the Hub cannot be reached.

    Args:
        repo_id: ``org/name``.
        revision: Branch, tag or commit; default the main branch.
        token: Token; default the one the machine is signed in with, ``False`` for none.
        cache_dir: Folder of the cache; default the Hub's.
        local_files_only: Whether to work without the Hub.

    Raises:
        LEMError: There is no such data set or revision, or the token may not see it. Also when the Hub cannot be
            reached and there is no cached copy, or a file name leads out of the repository.
    """
    check_hub_id(repo_id, "data set")
    what, cache = repository_in_words(repo_id, "dataset"), cache_root(cache_dir)
    if local_files_only or is_offline():
        why = "local_files_only is set" if local_files_only else "HF_HUB_OFFLINE is set"
    else:
        try:
            return _remote(repo_id, revision, token, cache)
        except HubError as error:
            if error.status is not None:
                raise
            why = str(error).removeprefix(f"cannot read {what}: ")
    snapshot = _cached(repo_id, revision, cache)
    if snapshot is None:
        at, option = (f" at {revision!r}", f" --revision {revision}") if revision else ("", "")
        raise HubError(
            f"cannot read {what}{at}: {why}, and it is not cached. Get it once with network access: "
            f"`hf download {repo_id} --repo-type dataset{option}`",
            repo_id=repo_id,
        )
    return snapshot


def _remote(repo_id: str, revision: str | None, token: str | bool | None, cache: Path) -> Snapshot:
    doing = f"read {repository_in_words(repo_id, 'dataset')}" + (f" at {revision!r}" if revision else "")
    repository = ask(doing, repo_id, lambda: describe(repo_id, "dataset", revision, token), token=token)
    _check_paths(repository.files, repo_id)
    with contextlib.suppress(ConfigError):  # a cache that cannot be written can still be read
        write_text(_listing(repo_id, repository.commit, cache), "\n".join(sorted(repository.files)))
    card = repository.read_card(cache)
    return Snapshot(repo_id, revision or "main", repository.commit, repository.files, card, cache, repository)


def _cached(repo_id: str, revision: str | None, cache: Path) -> Snapshot | None:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(repo_id, repo_type="dataset", revision=revision, cache_dir=cache, local_files_only=True)
        )
    except Exception:  # which one depends on the client's version
        return None
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: HubFile(name, path.stat().st_size, None) for name, path in paths.items()}
    with contextlib.suppress(OSError, ValueError):  # a copy that another program made has no list
        for name in _listing(repo_id, folder.name, cache).read_text(encoding="utf-8").splitlines():
            files.setdefault(name, HubFile(name, None, None))
    _check_paths(files, repo_id)
    card = cached_card(paths[CARD_NAME], repo_id) if CARD_NAME in paths else Card()
    return Snapshot(repo_id, revision or "main", folder.name, files, card, cache, None)


def _listing(repo_id: str, commit: str, cache: Path) -> Path:
    """File with the names of all files of a commit; it shows whether a cached copy is complete."""
    return cache_folder(repo_id, "dataset", cache) / "lem_models" / f"{commit}.txt"


def _check_paths(paths: Iterable[str], repo_id: str) -> None:
    """Check that paths stay inside the repository, on every system."""
    for path in paths:
        if not safe_path(path):
            raise LEMError(
                f"the data set {repo_id!r} has a file named {path!r}, which may lead out of it: nothing was read"
            )
