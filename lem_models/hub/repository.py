"""Repositories of the Hub: their files at a commit, and copies in the client's cache.

The cache is the client's own (``hf cache`` lists it), in its documented layout:

    models--org--name/refs/main                        commit that a branch was at
    models--org--name/blobs/<hash>                     content: SHA-256 of large files, git's SHA-1 of small ones
    models--org--name/snapshots/<commit>/<path>        link to the content

Every part of a path in the cache is checked or computed here, and never copied from an answer. A file enters the cache
when it is complete and has the hash that the Hub states.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lem_models.errors import HubError, LEMError
from lem_models.guard.output import replacing
from lem_models.hub.card import MAX_CARD_BYTES, Card
from lem_models.hub.client import ask
from lem_models.hub.download import Deadline, fetch_answer, fetch_file, fetch_range
from lem_models.hub.names import CARD_NAME, RepoType

__all__ = ["HubFile", "Repository", "cache_folder", "cache_root", "cached_card", "check_copy", "describe", "safe_path"]

_MAX_FILES = 100_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
        path: Path in the repository.
        size: Bytes; ``None`` if not known, and for files that a cached copy lacks.
        sha256: SHA-256 (hexadecimal) that the Hub states; ``None`` for small files in git.
        git_sha1: SHA-1 (hexadecimal) of it in git; ``None`` if not known.
    """

    path: str
    size: int | None
    sha256: str | None
    git_sha1: str | None = None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit.

    Attributes:
        repo_id: ``org/name``.
        repo_type: Models, data sets or Spaces.
        commit: The commit, 40 hexadecimal digits.
        files: By path.
        is_private: Whether it is private.
        token: Token that it was read with.
    """

    repo_id: str
    repo_type: RepoType
    commit: str
    files: Mapping[str, HubFile]
    is_private: bool
    token: str | bool | None = field(repr=False)

    def fetch(self, file: HubFile, cache: Path) -> Path:
        """A copy of a file in the cache, with the hash that the Hub states; fetched if it is not there or damaged.

        Args:
            file: One of :attr:`files`.
            cache: Folder of the cache.

        Raises:
            HubError: It cannot be fetched, or does not have the hash that the Hub states.
            LEMError: Its name leads out of the repository.
        """
        if not safe_path(file.path):
            raise LEMError(f"a file of {self.repo_id!r} is named {file.path!r}, which may lead out of it: not fetched")
        storage = cache_folder(self.repo_id, self.repo_type, cache)
        copy, blobs = storage / "snapshots" / self.commit / file.path, storage / "blobs"
        stated = file.sha256 or file.git_sha1
        if not copy.exists() and stated is not None and (blobs / stated).is_file():
            self._linked(blobs / stated, copy, cache)
        if copy.exists():
            with contextlib.suppress(HubError):  # a damaged copy is fetched again
                check_copy(copy, self.repo_id, file.sha256)
                return copy
        for _ in range(2):
            partial = blobs / f"{secrets.token_hex(8)}.incomplete"
            try:
                digest = self._fetch_to(partial, file, cache)
                if stated in (None, digest):
                    os.replace(partial, blobs / digest)
                    return self._linked(blobs / digest, copy, cache)
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
        raise HubError(
            f"{self._name(file)} does not have the hash that the Hub states: it was damaged in transfer. "
            "The copy was removed: try again",
            repo_id=self.repo_id,
        )

    def fetch_range(self, file: HubFile, first: int, last: int) -> bytes:
        """Bytes ``first`` to before ``last`` of a file.

        Raises:
            HubError: They cannot be fetched.
        """
        name, url = self._name(file), self._url(file)
        return ask(
            f"read {name}",
            self.repo_id,
            lambda: fetch_range(url, first, last, name, self.repo_id, self.token),
            token=self.token,
        )

    def read_card(self, cache_dir: str | Path | None = None) -> Card:
        """The card; an empty one where there is none.

        Raises:
            HubError: It cannot be fetched.
            LEMError: It is too large or is not UTF-8.
        """
        if CARD_NAME not in self.files:
            return Card()
        size = self.files[CARD_NAME].size
        if size is not None and size > MAX_CARD_BYTES:
            raise LEMError(f"the card of {self.repo_id!r} has {size:,} bytes, more than {MAX_CARD_BYTES:,}")
        return cached_card(self.fetch(self.files[CARD_NAME], cache_root(cache_dir)), self.repo_id)

    def note(self, name: str, cache: Path) -> None:
        """Record in the cache that a branch or tag is at this commit, for offline readers."""
        path = cache_folder(self.repo_id, self.repo_type, cache) / "refs" / name
        if name == self.commit or not safe_path(name):
            return
        with contextlib.suppress(OSError):  # only offline readers need it
            _put(path, lambda partial: partial.write_text(self.commit, encoding="ascii"))

    def _fetch_to(self, partial: Path, file: HubFile, cache: Path) -> str:
        """Fetch a file; return the hash that names it in the cache."""
        size, name, url = file.size, self._name(file), self._url(file)
        if size is None:
            raise HubError(f"the Hub does not state the size of {name}: it is not fetched", repo_id=self.repo_id)
        deadline = Deadline(name, self.repo_id, size)

        def call() -> None:
            partial.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("ab+") as content:
                fetch_file(url, content, size, name, self.repo_id, self.token, deadline)

        ask(f"download {name}", self.repo_id, call, token=self.token, cache=cache)
        return _hash_of(partial, hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % size))

    def _linked(self, blob: Path, copy: Path, cache: Path) -> Path:
        def link(partial: Path) -> None:
            try:
                partial.symlink_to(os.path.relpath(blob, partial.parent))
            except OSError:  # where the system or the file system has no links
                shutil.copyfile(blob, partial)

        ask(f"keep {copy.name} of {self.repo_id!r}", self.repo_id, lambda: _put(copy, link), cache=cache)
        return copy

    def _name(self, file: HubFile) -> str:
        return f"{file.path} of {self.repo_id!r}"

    def _url(self, file: HubFile) -> str:
        from huggingface_hub import hf_hub_url

        return str(hf_hub_url(self.repo_id, file.path, repo_type=self.repo_type, revision=self.commit))


def describe(repo_id: str, repo_type: RepoType, revision: str | None, token: str | bool | None) -> Repository:
    """Read the description of a repository; errors of the client pass through.

    Args:
        repo_id: ``org/name``.
        repo_type: Models, data sets or Spaces.
        revision: Branch, tag or commit; default the main branch.
        token: Token; default the client's.

    Raises:
        HubError: The answer is not valid, e.g. it is about another commit than requested.
        LEMError: There are too many files.
    """
    from huggingface_hub import constants

    at = "" if revision is None else f"/revision/{quote(revision, safe='')}"
    url = f"{constants.ENDPOINT}/api/{repo_type}s/{repo_id}{at}?blobs=true"
    what = f"the description of {repo_id!r}"
    answer = fetch_answer(url, what, repo_id, token)
    try:
        commit, entries = answer["sha"], answer["siblings"]
        if not _is_hash(commit, _COMMIT):
            raise ValueError("its commit is not a hash")
        if revision is not None and _COMMIT.fullmatch(revision) and commit != revision:
            raise ValueError(f"it is of the commit {commit}, not of {revision}")
        if len(entries) > _MAX_FILES:
            raise LEMError(f"{repo_id!r} has {len(entries):,} files, more than {_MAX_FILES:,}")
        files = [_file(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise HubError(f"{what} is not valid, nothing was downloaded: {why}", repo_id=repo_id) from None
    by_path = {file.path: file for file in files}
    return Repository(repo_id, repo_type, commit, by_path, bool(answer.get("private")), token)


def cache_root(cache_dir: str | Path | None) -> Path:
    """Folder of the cache; default the client's (``HF_HUB_CACHE``)."""
    from huggingface_hub import constants

    return Path(cache_dir or constants.HF_HUB_CACHE).expanduser()


def cache_folder(repo_id: str, repo_type: RepoType, cache: Path) -> Path:
    """Where the cache keeps a repository."""
    return cache / f"{repo_type}s--{repo_id.replace('/', '--')}"


def cached_card(path: Path, repo_id: str) -> Card:
    """A card in the cache.

    Raises:
        LEMError: It is too large or is not UTF-8.
    """
    try:
        return Card.read(path)
    except (OSError, ValueError) as error:
        raise LEMError(f"the card of {repo_id!r} cannot be read: {error}") from None


def safe_path(path: str) -> bool:
    """Whether a path stays inside its folder, on every system."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not any(
        character in '\\:*?"<>|' or not character.isprintable() for character in path
    )


def check_copy(path: Path, repo_id: str, sha256: str | None = None) -> None:
    """Check that a cached copy has its stated hash; remove it otherwise.

    A copy is a link to a blob, whose name is its hash: SHA-256 of large files, git's SHA-1 of small ones (plain SHA-1
    from some mirrors). Where the file system has no links, only the hash that the Hub states is known.

    Args:
        path: The copy.
        repo_id: The repository.
        sha256: SHA-256 (hexadecimal) that the Hub states.

    Raises:
        HubError: It has another hash.
    """
    blob = path.resolve()
    if not _is_damaged(path, blob, sha256):
        return
    result = "The copy was removed: try again"
    try:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        result = f"The copy {path} could not be removed ({error.strerror}): remove it, and try again"
    raise HubError(
        f"{path.name} of {repo_id!r} does not have the hash that the Hub states: it was damaged in transfer or in the "
        f"cache. {result}",
        repo_id=repo_id,
    )


def _is_damaged(path: Path, blob: Path, sha256: str | None) -> bool:
    stated = sha256 or (blob.name if path.is_symlink() and blob.parent.name == "blobs" else "")
    if not blob.is_file() or not (_SHA256.fullmatch(stated) or _COMMIT.fullmatch(stated)):
        return False
    if _SHA256.fullmatch(stated):
        return _hash_of(blob, hashlib.sha256()) != stated
    with_header = hashlib.sha1(b"blob %d\0" % blob.stat().st_size)
    return stated not in (_hash_of(blob, with_header), _hash_of(blob, hashlib.sha1()))


def _file(entry: Mapping[str, Any]) -> HubFile:
    path, size, sha1 = entry["rfilename"], entry.get("size"), entry.get("blobId")
    sha256 = None if entry.get("lfs") is None else entry["lfs"]["sha256"]
    if not isinstance(path, str) or not (size is None or (type(size) is int and size >= 0)):
        raise ValueError("a file has no name, or no valid size")
    if not (sha256 is None or _is_hash(sha256, _SHA256)) or not (sha1 is None or _is_hash(sha1, _COMMIT)):
        raise ValueError("a file has no valid hash")
    return HubFile(path, size, sha256, sha1)


def _is_hash(value: object, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and bool(form.fullmatch(value))


def _hash_of(path: Path, digest: Any) -> str:  # noqa: ANN401
    with path.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return str(digest.hexdigest())


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file of the cache, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        write(partial)
