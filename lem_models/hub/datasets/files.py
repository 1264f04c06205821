"""The files of a data set on the Hub: which there are, and copies of them.

A repository is looked at once, at one commit, and all that is read afterwards is of this commit. No code in a
repository is ever looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lem_models.errors import HubError, LEMError, UnknownNameError
from lem_models.guard.hashes import file_sha256
from lem_models.hub.client import ask, is_offline
from lem_models.hub.repository import HubFile, Repository, cache_folder, describe, safe_path

__all__ = [
    "CARD_NAME",
    "Snapshot",
    "check_repository_name",
    "open_snapshot",
]

CARD_NAME = "README.md"
_MAX_CARD = 1 << 20
_DOWNLOADS = 4
_NAME = re.compile(r"\w([\w.-]*\w)?/\w([\w.-]*\w)?", re.ASCII)
_LONGEST_NAME = 96


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit.

    Attributes:
        repo_id: ``org/name``.
        name: Branch, tag or commit that was asked for.
        revision: The commit.
        files: By path.
        card: Text of the card; empty if there is none.
        token: See :func:`open_snapshot`.
        cache_dir: See :func:`open_snapshot`.
        is_private: Whether it is private.
        repository: Where files are fetched from; ``None`` for a cached copy, where nothing is asked of the Hub.
    """

    repo_id: str
    name: str
    revision: str
    files: Mapping[str, HubFile]
    card: str
    token: str | bool | None = field(repr=False)
    cache_dir: str | Path | None
    is_private: bool
    repository: Repository | None

    @property
    def is_local(self) -> bool:
        """Whether it is a cached copy."""
        return self.repository is None

    def download(self, files: Sequence[HubFile]) -> list[Path]:
        """Copies of files in the cache, each with the hash that the Hub states.

        A download that broke off goes on where it stopped, the next time too.

        Raises:
            LEMError: A file cannot be downloaded, or is not what the Hub says it is; that copy is removed.
        """
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            copies = list(pool.map(self._copy, files))
        if self.repository is not None:
            self.repository.note(self.name, _cache(self.cache_dir))
        return copies

    def _copy(self, file: HubFile) -> Path:
        for _ in range(1 if self.repository is None else 2):
            path = self._find(file)
            blob = path.resolve()
            # The cache names a large file by the hash that it was announced with.
            stated = file.sha256 or (blob.name if re.fullmatch(r"[0-9a-f]{64}", blob.name) else None)
            if stated is None or file_sha256(blob) == stated:
                return path
            with contextlib.suppress(OSError):  # or it would be found again
                path.unlink(missing_ok=True)
                blob.unlink(missing_ok=True)
        raise HubError(
            f"{file.path} of {self.repo_id!r} does not have the hash that the Hub names for it: it was damaged on its "
            "way or in the cache. The copy was removed: try again",
            repo_id=self.repo_id,
        )

    def _find(self, file: HubFile) -> Path:
        from huggingface_hub import hf_hub_download

        cache = _cache(self.cache_dir)
        if self.repository is not None:
            return self.repository.fetch(file, cache)
        settings: dict[str, Any] = {"repo_type": "dataset", "revision": self.revision, "local_files_only": True}
        return ask(
            f"find {file.path} of {self.repo_id!r}",
            self.repo_id,
            lambda: Path(hf_hub_download(self.repo_id, file.path, cache_dir=cache, **settings)),
            cache=cache,
        )


def open_snapshot(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    or_cached: bool = True,
) -> Snapshot:
    """Look at a data set on the Hub, or at the cached copy of it when the Hub cannot be reached.

    Args:
        repo_id: ``org/name``.
        revision: Branch, tag or commit; default the main branch.
        token: Token; default the one the machine is signed in with, ``False`` for none.
        cache_dir: Folder of the cache; default the Hub's.
        local_files_only: Ask nothing of the Hub.
        or_cached: Whether a cached copy will do when the Hub cannot be reached.

    Raises:
        LEMError: There is no such data set or revision, the token may not see it, or neither the Hub nor a cached
            copy can be reached; or one of its file names leads out of the repository.
    """
    check_repository_name(repo_id)
    why = "local_files_only is set" if local_files_only else "HF_HUB_OFFLINE is set"
    if not or_cached or not (local_files_only or is_offline()):
        try:
            return _remote(repo_id, revision, token, cache_dir)
        except HubError as error:
            if not or_cached or error.status is not None:
                raise
            why = str(error).removeprefix(f"cannot read the data set {repo_id!r}: ")
    found = _cached(repo_id, revision, cache_dir)
    if found is None:
        at, option = (f" at {revision!r}", f" --revision {revision}") if revision else ("", "")
        raise HubError(
            f"cannot read the data set {repo_id!r}{at}: {why}, and it is not cached. Get it once with network access: "
            f"`hf download {repo_id} --repo-type dataset{option}`",
            repo_id=repo_id,
        )
    return found


def check_repository_name(repo_id: str) -> str:
    """Check the name of a data set on the Hub.

    Raises:
        UnknownNameError: It is not of the form ``org/name``.
    """
    has_form = isinstance(repo_id, str) and bool(_NAME.fullmatch(repo_id)) and len(repo_id) <= _LONGEST_NAME
    if not has_form or "--" in repo_id or ".." in repo_id:
        raise UnknownNameError(f"a data set on the Hub is named 'org/name'; got {repo_id!r}")
    return repo_id


def _remote(repo_id: str, revision: str | None, token: str | bool | None, cache_dir: str | Path | None) -> Snapshot:
    doing = f"read the data set {repo_id!r}" + (f" at {revision!r}" if revision else "")
    found = ask(doing, repo_id, lambda: describe(repo_id, "datasets", revision, token), token=token)
    for path in found.files:
        _safe(path, repo_id)
    card, cache = "", _cache(cache_dir)
    _note(_listing(repo_id, found.commit, cache_dir), found.files)
    if CARD_NAME in found.files:
        size = found.files[CARD_NAME].size
        if size is not None and size > _MAX_CARD:
            raise LEMError(f"the card of {repo_id!r} has {size:,} bytes, more than {_MAX_CARD:,}")
        card = _read_card(found.fetch(found.files[CARD_NAME], cache), repo_id)
    return Snapshot(
        repo_id, revision or "main", found.commit, found.files, card, token, cache_dir, found.is_private, found
    )


def _cached(repo_id: str, revision: str | None, cache_dir: str | Path | None) -> Snapshot | None:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            repo_id, repo_type="dataset", revision=revision, cache_dir=cache_dir, local_files_only=True
        )
    except Exception:  # which one depends on the client's version
        return None
    folder, files = Path(found), {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = _safe(path.relative_to(folder).as_posix(), repo_id)
            files[name] = HubFile(name, path.stat().st_size, None)
    with contextlib.suppress(OSError, ValueError):  # whoever made the copy may have left no list
        for name in _listing(repo_id, folder.name, cache_dir).read_text(encoding="utf-8").splitlines():
            files.setdefault(_safe(name, repo_id), HubFile(name, None, None))
    card = _read_card(folder / CARD_NAME, repo_id) if CARD_NAME in files else ""
    return Snapshot(repo_id, revision or "main", folder.name, files, card, False, cache_dir, False, None)


def _listing(repo_id: str, commit: str, cache_dir: str | Path | None) -> Path:
    """Where the names of all files of a commit are kept: the copy alone does not say whether it is whole."""
    return cache_folder(repo_id, "datasets", _cache(cache_dir)) / "lem_models" / f"{commit}.txt"


def _cache(cache_dir: str | Path | None) -> Path:
    from huggingface_hub import constants

    return Path(cache_dir or constants.HF_HUB_CACHE).expanduser()


def _note(path: Path, names: Iterable[str]) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written can still be read
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as aside:
            partial = Path(aside) / path.name
            partial.write_text("\n".join(sorted(names)), encoding="utf-8")
            os.replace(partial, path)


def _read_card(path: Path, repo_id: str) -> str:
    try:
        if path.stat().st_size > _MAX_CARD:
            raise ValueError(f"it has more than {_MAX_CARD:,} bytes")
        return path.read_bytes().decode("utf-8")  # line ends as they are
    except (OSError, ValueError) as error:
        raise LEMError(f"the card of {repo_id!r} cannot be read: {error}") from None


def _safe(path: str, repo_id: str) -> str:
    """A path that stays inside the repository, on every system."""
    if not safe_path(path):
        raise LEMError(
            f"the data set {repo_id!r} has a file named {path!r}, which may lead out of it: nothing was read"
        )
    return path
