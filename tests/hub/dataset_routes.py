"""What the clients ask of a Hub for data sets, besides what they ask for models.

The library ``datasets`` looks at folders one at a time, at single paths, and at sizes and hashes of files; a commit may
name the one that it was made from. Importing this module adds the routes to the server.
"""

from __future__ import annotations

from typing import Any

from tests.hub.connection import Refusal, Reply, Request
from tests.hub.repository import LARGE, git_oid, lfs_oid
from tests.hub.server import API, HubServer, commit_at, route


def entry(path: str, data: bytes) -> dict[str, Any]:
    """A file as the Hub describes it."""
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
    if path.endswith(LARGE):
        found["lfs"] = {"oid": lfs_oid(data), "size": len(data), "pointerSize": 134}
    return found


def folder(path: str) -> dict[str, Any]:
    """A folder as the Hub describes it."""
    return {"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode())}


@route("GET", API + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?")
def tree(hub: HubServer, request: Request, kind: str, name: str, revision: str, path: str = "") -> Reply:
    """A folder, with what is below it when it is asked for recursively."""
    files = commit_at(hub.open(request, kind, name), revision).files
    start = f"{path.strip('/')}/" if path.strip("/") else ""
    recursive = request.query.get("recursive", "").lower() in ("1", "true")
    found: dict[str, dict[str, Any]] = {}
    for file, data in files.items():
        if not file.startswith(start):
            continue
        inner = file[len(start) :].split("/")
        for depth in range(1, len(inner) if recursive else min(2, len(inner))):
            above = start + "/".join(inner[:depth])
            found[above] = folder(above)
        if recursive or len(inner) == 1:
            found[file] = entry(file, data)
    if start and not found:
        raise Refusal(404, f"{path} does not exist", "EntryNotFound")
    return Reply.json(list(found.values()))


@route("POST", API + r"/paths-info/(?P<revision>[^/]+)")
def paths_info(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Reply:
    """Single paths; what does not exist is left out."""
    files = commit_at(hub.open(request, kind, name), revision).files
    wanted = request.json()["paths"] if "json" in request.headers.get("content-type", "") else request.form("paths")
    found = []
    for path in wanted:
        if path in files:
            found.append(entry(path, files[path]))
        elif any(file.startswith(f"{path}/") for file in files):
            found.append(folder(path))
    return Reply.json(found)
