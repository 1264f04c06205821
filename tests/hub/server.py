"""A small Hugging Face Hub on the loopback interface, for the real client to talk to.

It has repositories of models, data sets and Spaces with commits, branches and pull requests; small files, which travel
inside the commit, and large ones (LFS), which lie on a storage host of their own that requests are redirected to;
private repositories, one token, and the error codes by which the client tells errors apart. It knows nothing of Xet.
What it does not know it answers with 501, so that a client which asks for more is noticed.

    with HubServer() as hub:
        point_client_at(hub, monkeypatch, tmp_path)       # or start a process with hub.environment(folder)
        hub.create("org/name", {"README.md": b"a card"})
        ...
        hub.repository("org/name").at("main").files
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.hub import dataset_routes
from tests.hub.connection import Listener, Refusal, Reply, Request
from tests.hub.faults import Fault, Faults
from tests.hub.repository import LARGE, Commit, Repository, git_oid, lfs_oid

_NO_PROXY = {name: "127.0.0.1,localhost" for name in ("NO_PROXY", "no_proxy")}

_FIRST_PAGE = b"""---
title: Name
sdk: %s
app_file: app.py
---

Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference
"""
"""What the Hub writes into a new Space."""

_ROUTES: list[tuple[str, str, re.Pattern[str], Callable[..., Reply]]] = []
_API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_GIT = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+?)"


def _route(methods: str, pattern: str, host: str = "hub") -> Callable[[Callable[..., Reply]], Callable[..., Reply]]:
    """Answer requests of these methods whose whole path has this form; named groups become arguments, unquoted."""

    def register(answer: Callable[..., Reply]) -> Callable[..., Reply]:
        _ROUTES.extend((host, method, re.compile(pattern), answer) for method in methods.split())
        return answer

    return register


class HubServer:
    """The Hub: a context manager that serves while it is open.

    Attributes:
        endpoint: Its address.
        token: The one valid token; it may read and write everything.
        repositories: By kind and name.
        collections: By slug, as the Hub's answers describe them.
        requests: Everything that was asked, in order.
        faults: What goes wrong.
    """

    def __init__(self, token: str = "hf_TheOneValidToken") -> None:
        self.token = token
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self._large: dict[str, bytes] = {}
        self.faults = Faults()
        self._lock = threading.Lock()
        self._listeners = {host: Listener(host, self.answer, self.faults.received_bytes) for host in ("hub", "storage")}
        # Two names, for a client that tells hosts apart by their name alone.
        self.endpoint = f"http://127.0.0.1:{self._listeners['hub'].server_port}"
        self._storage = f"http://localhost:{self._listeners['storage'].server_port}"

    def __enter__(self) -> HubServer:
        for listener in self._listeners.values():
            threading.Thread(target=listener.serve_forever, args=(0.005,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop: from now on connections are refused."""
        while self._listeners:
            _, listener = self._listeners.popitem()
            listener.shutdown()
            listener.server_close()

    def create(
        self, name: str, files: Mapping[str, bytes] | None = None, *, kind: str = "models", private: bool = False
    ) -> Repository:
        """Make a repository, with a commit of these files if there are any."""
        repository = self.repositories[kind, name] = Repository(name, kind, private)
        if files:
            repository.commit(files, message="first files")
        return repository

    def repository(self, name: str, kind: str = "models") -> Repository:
        """A repository."""
        return self.repositories[kind, name]

    def fail(
        self, pattern: str, status: int | None, *, method: str | None = None, times: int | None = None, **headers: str
    ) -> Fault:
        """Answer requests whose path matches with this status; None hangs up without an answer."""
        return self.faults.add(Fault("status", pattern, method, times, status, headers))

    def environment(self, home: Path) -> dict[str, str]:
        """Environment of a process whose client uses this server, keeps its files in a folder and knows no token."""
        ours = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        others = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "XDG_"))}
        return {**others, **ours, **_NO_PROXY}

    def answer(self, request: Request) -> Reply:
        """Answer one request; one at a time."""
        with self._lock:
            self.requests.append(request)
            try:
                request = self.faults.before(request)
                for host, method, path, answer in _ROUTES:
                    found = path.fullmatch(request.path)
                    if (host, method) == (request.host, request.method) and found:
                        groups = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                        return self.faults.after(request, answer(self, request, **groups))
                raise Refusal(501, f"this Hub does not know {request.method} {request.path}")
            except Refusal as refusal:
                return refusal.reply

    # -- who may what ------------------------------------------------------------------------------------------------

    def _require_token(self, request: Request) -> None:
        if request.token not in (None, self.token):
            raise Refusal(401, "Invalid credentials in Authorization header")
        if request.token is None:
            raise Refusal(401, "Invalid username or password.")

    def _open(self, request: Request, kind: str, name: str, *, write: bool = False) -> Repository:
        """A repository for a request: to a stranger what is private and what does not exist look the same."""
        repository = self.repositories.get((kind, name))
        if write or request.token is not None or repository is None or repository.private:
            self._require_token(request)
        if repository is None:
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return repository

    # -- repositories ------------------------------------------------------------------------------------------------

    @_route("GET", r"/api/whoami-v2")
    def _whoami(self, request: Request) -> Reply:
        self._require_token(request)
        return Reply.json({"type": "user", "name": "someone", "orgs": []})

    @_route("POST", r"/api/validate-yaml")
    def _validate_yaml(self, request: Request) -> Reply:
        return Reply.json({"errors": [], "warnings": []})

    @_route("POST", r"/api/repos/create")
    def _create(self, request: Request) -> Reply:
        self._require_token(request)
        wanted = request.json()
        kind, name = f"{wanted.get('type') or 'model'}s", f"{wanted.get('organization') or 'someone'}/{wanted['name']}"
        if (kind, name) in self.repositories:
            return Reply.json({"error": "You already created this repo", "url": self._page(kind, name)}, 409)
        if kind == "spaces" and not wanted.get("sdk"):
            raise Refusal(400, "a Space needs an sdk")
        first = {"README.md": _FIRST_PAGE % wanted["sdk"].encode()} if kind == "spaces" else None
        self.create(
            name, first, kind=kind, private=wanted.get("visibility") == "private" or bool(wanted.get("private"))
        )
        return Reply.json({"url": self._page(kind, name), "name": name})

    @_route("GET", _API)
    @_route("GET", _API + r"/revision/(?P<revision>[^/]+)")
    def _info(self, request: Request, kind: str, name: str, revision: str = "main") -> Reply:
        repository = self._open(request, kind, name)
        commit = _at(repository, revision)
        details = request.query.get("blobs", "").lower() in ("1", "true")
        siblings = [dataset_routes.sibling(path, data, with_details=details) for path, data in commit.files.items()]
        info = {"id": name, "sha": commit.sha, "private": repository.private, "siblings": siblings, "tags": []}
        return Reply.json({**info, "gated": False, "disabled": False, "downloads": 0, "likes": 0})

    @_route("GET", _API + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?")
    def _tree(self, request: Request, kind: str, name: str, revision: str, path: str = "") -> Reply:
        files = _at(self._open(request, kind, name), revision).files
        recursive = request.query.get("recursive", "").lower() in ("1", "true")
        return Reply.json(dataset_routes.tree(files, path, recursive=recursive))

    @_route("POST", _API + r"/paths-info/(?P<revision>[^/]+)")
    def _paths_info(self, request: Request, kind: str, name: str, revision: str) -> Reply:
        files = _at(self._open(request, kind, name), revision).files
        return Reply.json(dataset_routes.paths_info(files, request.fields("paths")))

    @_route("POST", _API + r"/branch/(?P<branch>[^/]+)")
    def _branch(self, request: Request, kind: str, name: str, branch: str) -> Reply:
        repository = self._open(request, kind, name, write=True)
        if branch in repository.branches:
            raise Refusal(409, f"Reference already exists: {branch}")
        repository.branches[branch] = _at(repository, request.json().get("startingPoint", "main"))
        return Reply()

    # -- collections -------------------------------------------------------------------------------------------------

    @_route("POST", r"/api/collections")
    def _create_collection(self, request: Request) -> Reply:
        self._require_token(request)
        wanted = request.json()
        slug = f"{wanted['namespace']}/{wanted['title'].lower().replace(' ', '-')}-{'0' * 24}"
        if len(wanted.get("description", "")) > 150:
            raise Refusal(400, "description must be at most 150 characters")
        if slug in self.collections:
            return Reply.json({"error": "You already have this collection", "slug": slug}, 409)
        facts = {"slug": slug, "title": wanted["title"], "description": wanted.get("description"), "items": []}
        owner = {"_id": "1", "name": wanted["namespace"], "type": "org", "fullname": wanted["namespace"]}
        times = {"lastUpdated": "2026-01-01T00:00:00.000Z", "position": 0, "upvotes": 0, "theme": "blue"}
        self.collections[slug] = {**facts, **times, "owner": owner, "private": wanted["private"]}
        return Reply.json(self.collections[slug])

    @_route("GET", r"/api/collections/(?P<slug>[^/]+/[^/]+)")
    def _collection(self, request: Request, slug: str) -> Reply:
        return Reply.json(self.collections[slug])

    @_route("POST", r"/api/collections/(?P<slug>[^/]+/[^/]+)/items")
    def _add_to_collection(self, request: Request, slug: str) -> Reply:
        self._require_token(request)
        wanted = request.json()
        items, item = self.collections[slug]["items"], wanted["item"]
        if item["type"] != "paper" and (f"{item['type']}s", item["id"]) not in self.repositories:
            raise Refusal(404, f"{item['type']} {item['id']} does not exist")
        if len(wanted.get("note", "")) > 500:
            raise Refusal(400, "note must be at most 500 characters")
        if any((each["type"], each["id"]) == (item["type"], item["id"]) for each in items):
            raise Refusal(409, "Item already in collection")
        about = {"_id": str(len(items)), "position": len(items), "note": {"text": wanted.get("note", "")}}
        items.append({**item, **about})
        return Reply.json(self.collections[slug])

    # -- downloads ---------------------------------------------------------------------------------------------------

    @_route("HEAD GET", _GIT + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def _resolve(self, request: Request, name: str, revision: str, path: str, kind: str = "models") -> Reply:
        commit = _at(self._open(request, kind, name), revision)
        of_commit = {"X-Repo-Commit": commit.sha}
        if path not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound", **of_commit)
        data = commit.files[path]
        if path.endswith(LARGE):
            oid = self._keep(data)
            linked = {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(data))}
            return Reply(302, headers={**of_commit, **linked, "Location": f"{self._storage}/{oid}"})
        reply = Reply.content(data, request)
        reply.headers.update({**of_commit, "ETag": f'"{git_oid(data)}"'})
        return reply

    @_route("HEAD GET", r"/(?P<oid>[0-9a-f]{64})", host="storage")
    def _download(self, request: Request, oid: str) -> Reply:
        if oid not in self._large:
            raise Refusal(404, "no such object")
        return Reply.content(self._large[oid], request)

    # -- uploads -----------------------------------------------------------------------------------------------------

    @_route("POST", _API + r"/preupload/(?P<revision>[^/]+)")
    def _preupload(self, request: Request, kind: str, name: str, revision: str) -> Reply:
        present = _at(self._open(request, kind, name, write=True), revision).files
        files = []
        for path in (file["path"] for file in request.json()["files"]):
            oid = lfs_oid if path.endswith(LARGE) else git_oid
            mode = "lfs" if path.endswith(LARGE) else "regular"
            known = {"oid": oid(present[path])} if path in present else {}
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
        return Reply.json({"files": files})

    @_route("POST", _GIT + r"\.git/info/lfs/objects/batch")
    def _batch(self, request: Request, name: str, kind: str = "models") -> Reply:
        self._open(request, kind, name, write=True)
        objects = [{"oid": wanted["oid"], "size": wanted["size"]} for wanted in request.json()["objects"]]
        for entry in objects:
            if entry["oid"] not in self._large:
                upload, verify = f"{self._storage}/{entry['oid']}", f"{self._page(kind, name)}.git/info/lfs/verify"
                entry["actions"] = {"upload": {"href": upload}, "verify": {"href": verify}}
        return Reply.json({"transfer": "basic", "objects": objects})

    @_route("PUT", r"/(?P<oid>[0-9a-f]{64})", host="storage")
    def _upload(self, request: Request, oid: str) -> Reply:
        if self._keep(request.body) != oid:
            raise Refusal(400, "the content does not have this hash")
        return Reply()

    @_route("POST", _GIT + r"\.git/info/lfs/verify")
    def _verify(self, request: Request, name: str, kind: str = "models") -> Reply:
        self._open(request, kind, name, write=True)
        wanted = request.json()
        if len(self._large.get(wanted["oid"], b"")) != wanted["size"]:
            raise Refusal(404, "the object was not uploaded")
        return Reply()

    @_route("POST", _API + r"/commit/(?P<revision>[^/]+)")
    def _commit(self, request: Request, kind: str, name: str, revision: str) -> Reply:
        repository = self._open(request, kind, name, write=True)
        if revision not in repository.branches:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        message, files, deleted, parent = "", {}, set(), None
        for line in request.body.splitlines():
            key, value = json.loads(line)["key"], json.loads(line)["value"]
            if key == "header":
                message, parent = value["summary"], value.get("parentCommit")
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile" and value["oid"] in self._large:
                files[value["path"]] = self._large[value["oid"]]
            elif key == "deletedFile":
                deleted.add(value["path"])
            else:
                raise Refusal(400, f"this Hub cannot commit {key} {value['path']}")
        branch = revision
        if parent not in (None, repository.at(revision).sha):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        if request.query.get("create_pr"):
            branch = f"refs/pr/{1 + sum(ref.startswith('refs/pr/') for ref in repository.branches)}"
        commit = repository.commit(files, message=message, branch=branch, base=revision, deleted=deleted)
        page = self._page(kind, name)
        answer = {"commitUrl": f"{page}/commit/{commit.sha}", "commitOid": commit.sha}
        if branch != revision:
            answer["pullRequestUrl"] = f"{page}/discussions/{branch.removeprefix('refs/pr/')}"
        return Reply.json(answer)

    def _keep(self, data: bytes) -> str:
        oid = lfs_oid(data)
        self._large[oid] = data
        return oid

    def _page(self, kind: str, name: str) -> str:
        return f"{self.endpoint}/{'' if kind == 'models' else kind + '/'}{quote(name)}"


def _at(repository: Repository, revision: str) -> Commit:
    try:
        return repository.at(revision)
    except LookupError as error:
        raise Refusal(404, str(error), "RevisionNotFound") from None


def point_client_at(hub: HubServer, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make the client in this process use a server, keep its files in a folder, and know no token of its own.

    The client reads its variables once, when it is imported, so what it made of them is replaced.
    """
    from huggingface_hub import close_session, constants

    settings = {
        "ENDPOINT": hub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in _NO_PROXY.items():
        monkeypatch.setenv(variable, value)
    close_session()  # the next one reads the variables about proxies
