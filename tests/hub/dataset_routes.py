"""What clients ask about the files of a repository: whole, folder by folder, single paths; sizes and hashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.hub.connection import Refusal
from tests.hub.repository import LARGE, git_oid, lfs_oid

Files = Mapping[str, bytes]


def sibling(path: str, data: bytes, *, with_details: bool) -> dict[str, Any]:
    """A file in the description of a repository."""
    found: dict[str, Any] = {"rfilename": path}
    if with_details:
        found |= {"size": len(data), "blobId": git_oid(data)}
        if path.endswith(LARGE):
            found["lfs"] = {"sha256": lfs_oid(data), "size": len(data), "pointerSize": 134}
    return found


def tree(files: Files, path: str, *, recursive: bool) -> list[dict[str, Any]]:
    """A folder, with what is below its folders when it is asked for recursively."""
    start = f"{path.strip('/')}/" if path.strip("/") else ""
    found: dict[str, dict[str, Any]] = {}
    for file, data in files.items():
        if not file.startswith(start):
            continue
        inner = file[len(start) :].split("/")
        for depth in range(1, len(inner) if recursive else min(2, len(inner))):
            above = start + "/".join(inner[:depth])
            found[above] = _folder(above)
        if recursive or len(inner) == 1:
            found[file] = _file(file, data)
    if start and not found:
        raise Refusal(404, f"{path} does not exist", "EntryNotFound")
    return list(found.values())


def paths_info(files: Files, paths: Iterable[str]) -> list[dict[str, Any]]:
    """Single paths; what does not exist is left out."""
    found = []
    for path in paths:
        if path in files:
            found.append(_file(path, files[path]))
        elif any(file.startswith(f"{path}/") for file in files):
            found.append(_folder(path))
    return found


def _file(path: str, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
    if path.endswith(LARGE):
        found["lfs"] = {"oid": lfs_oid(data), "size": len(data), "pointerSize": 134}
    return found


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode())}
