"""Repositories of the test Hub: files, commits, branches; in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

LARGE = (".safetensors", ".parquet", ".bin")
"""Files that go through LFS, as ``.gitattributes`` says on the real Hub."""


@dataclass(frozen=True)
class Commit:
    """The files of a repository at one time."""

    sha: str
    message: str
    files: Mapping[str, bytes]
    parent: Commit | None = None

    @property
    def changed(self) -> set[str]:
        """Paths that this commit added, changed or removed."""
        before = self.parent.files if self.parent else {}
        return {path for path in {*before, *self.files} if before.get(path) != self.files.get(path)}


class Repository:
    """A repository with a first commit, as the Hub makes it.

    Args:
        name: ``org/name``.
        kind: ``models`` or ``datasets``.
        private: Whether only the token sees it.
    """

    def __init__(self, name: str, kind: str = "models", private: bool = False) -> None:
        self.name, self.kind, self.private = name, kind, private
        self.branches: dict[str, Commit] = {}
        self.commit({".gitattributes": "".join(f"*{s} filter=lfs\n" for s in LARGE).encode()}, message="initial commit")

    def commit(
        self,
        files: Mapping[str, bytes],
        *,
        message: str = "a commit",
        branch: str = "main",
        base: str | None = None,
        deleted: Collection[str] = (),
    ) -> Commit:
        """Add a commit to a branch; ``base`` is the revision it builds on, by default the branch itself."""
        parent = self.at(base or branch) if self.branches else None
        tree = {**(parent.files if parent else {}), **files}
        tree = {path: tree[path] for path in sorted(tree) if path not in deleted}
        content = repr((parent and parent.sha, message, {path: git_oid(data) for path, data in tree.items()}))
        self.branches[branch] = Commit(hashlib.sha1(content.encode()).hexdigest(), message, tree, parent)
        return self.branches[branch]

    def history(self, branch: str = "main") -> list[Commit]:
        """Commits of a branch, the latest first."""
        commits, commit = [], self.branches.get(branch)
        while commit:
            commits.append(commit)
            commit = commit.parent
        return commits

    def at(self, revision: str) -> Commit:
        """Commit of a branch, a pull request (``refs/pr/1``) or a sha; LookupError when there is none."""
        if revision in self.branches:
            return self.branches[revision]
        for branch in self.branches:
            for commit in self.history(branch):
                if commit.sha == revision:
                    return commit
        raise LookupError(f"Invalid rev id: {revision}")


def git_oid(content: bytes) -> str:
    """Name of a blob in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_oid(content: bytes) -> str:
    """Name of a large file."""
    return hashlib.sha256(content).hexdigest()
