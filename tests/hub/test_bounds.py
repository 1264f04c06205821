"""A hostile or broken server: what it sends is bounded in bytes and in time, and names nothing on this machine."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lem_models.errors import HubError, LEMError
from lem_models.hub import download
from lem_models.hub.models.resolve import resolve
from lem_models.markets.bars import Bars
from tests.helpers import random_model, tiny_config
from tests.hub.connection import Reply
from tests.hub.datasets.market_data import parquet, plain_frame
from tests.hub.server import HubServer

MODEL, DATA = "desk/lem-tiny", "desk/bars"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
KINDS = pytest.mark.parametrize("kind", ["models", "datasets"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return random_model(tiny_config()).save_pretrained(tmp_path_factory.mktemp("bounds") / "model")


@pytest.fixture
def published(hub: HubServer, saved: Path) -> HubServer:
    hub.create(MODEL, {path.name: path.read_bytes() for path in saved.iterdir()})
    hub.create(DATA, {"train.parquet": parquet(plain_frame())}, kind="datasets")
    return hub


def pull(kind: str, **settings) -> object:
    return resolve(MODEL, **settings) if kind == "models" else Bars.from_hub(DATA, **settings)


def everything_below(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def altered(hub: HubServer, monkeypatch, change) -> None:
    """Change replies as they leave the server: ``change(request, reply)``."""
    original = hub.faults.after

    def after(request, reply):
        reply = original(request, reply)
        return change(request, reply) or reply

    monkeypatch.setattr(hub.faults, "after", after)


@contextmanager
def raw_server(send) -> Iterator[str]:
    """A server that answers every connection by hand: ``send(connection, is_over)``."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(1 << 16)
                send(connection, over)
            except OSError:
                return

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/file"
    finally:
        over.set()
        listener.close()


# --- bytes -----------------------------------------------------------------------------------------------------------


def endless(header: bytes):
    """An answer without an end; how much of it left the server is in ``sent``."""
    sent = [0]

    def send(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(0)
        connection.sendall(header)
        while not over.is_set():
            connection.sendall(b"x" * 65536)
            sent[0] += 65536

    return send, sent


@KINDS
@pytest.mark.parametrize("header", [b"", b"Content-Length: 4000000000\r\n"], ids=["unstated", "stated"])
def test_a_file_that_has_no_end_is_cut_off(published, monkeypatch, tmp_path, kind, header):
    send, sent = endless(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n")
    with raw_server(send) as url:

        def lead_away(request, reply):
            if reply.status == 302 and request.method == "GET":
                reply.headers["Location"] = url

        altered(published, monkeypatch, lead_away)
        with pytest.raises(HubError, match=r"the server sends more than the [\d,]+ bytes that .* may have"):
            pull(kind)
    assert sent[0] < 32 << 20  # what the system holds on its way
    assert not [path for path in tmp_path.rglob("*.incomplete")]


def test_a_stream_that_has_no_end_is_cut_off(published, monkeypatch):
    send, _ = endless(b"HTTP/1.1 206 Partial Content\r\n\r\n")
    with raw_server(send) as url:

        def lead_away(request, reply):
            if reply.status == 302 and request.method == "GET":
                reply.headers["Location"] = url

        altered(published, monkeypatch, lead_away)
        with pytest.raises(HubError, match="the server sends more than"):
            list(Bars.from_hub(DATA, streaming=True))


@KINDS
def test_a_description_that_has_no_end_is_cut_off(published, monkeypatch, kind):
    monkeypatch.setattr(download, "_MAX_ANSWER", 1000)
    altered(published, monkeypatch, lambda request, reply: Reply(200, b" " * 5000) if "/api/" in request.path else None)
    with pytest.raises(HubError, match=r"the server sends more than .* the description"):
        pull(kind)


@KINDS
def test_an_error_that_has_no_end_is_cut_off(published, monkeypatch, kind):
    send, sent = endless(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\n")
    with raw_server(send) as url:
        altered(published, monkeypatch, lambda request, _: Reply(302, headers={"Location": url}))
        with pytest.raises(HubError) as caught:
            pull(kind)
    assert caught.value.status == 404
    assert sent[0] < 32 << 20
    assert len(str(caught.value)) < 3000


@KINDS
def test_a_packed_file_is_not_unpacked(published, monkeypatch, kind):
    def pack(request, reply):
        if request.host == "storage":
            reply.headers["Content-Encoding"] = "gzip"

    altered(published, monkeypatch, pack)
    with pytest.raises(HubError, match="compressed, which was not requested"):
        pull(kind)


@KINDS
def test_a_file_that_is_shorter_than_stated_is_refused(published, monkeypatch, kind):
    def shorten(request, reply):
        if request.host == "storage":
            reply.body = reply.body[: len(reply.body) // 2]

    altered(published, monkeypatch, shorten)
    with pytest.raises(HubError, match=r"the Hub sent [\d,]+ bytes of .* instead of"):
        pull(kind)


@KINDS
def test_a_server_that_leads_in_circles_is_refused(published, monkeypatch, kind):
    altered(published, monkeypatch, lambda request, _: Reply(302, headers={"Location": request.path}))
    with pytest.raises(HubError, match="redirects too often"):
        pull(kind)


# --- time ------------------------------------------------------------------------------------------------------------


@KINDS
def test_a_file_that_drips_is_given_up(published, monkeypatch, kind):
    monkeypatch.setattr(download, "_PATIENCE", 0.5)
    monkeypatch.setattr(download, "_SLOWEST", 10**9)

    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.wait(0.05):
            connection.sendall(b"x")

    with raw_server(drip) as url:

        def lead_away(request, reply):
            if reply.status == 302 and request.method == "GET":
                reply.headers["Location"] = url

        altered(published, monkeypatch, lead_away)
        start = time.monotonic()
        with pytest.raises(HubError, match="did not arrive within"):
            pull(kind)
    assert time.monotonic() - start < 10


def test_a_download_that_breaks_after_each_byte_is_given_up(published, monkeypatch):
    monkeypatch.setattr(download, "_PATIENCE", 0.5)
    monkeypatch.setattr(download, "_SLOWEST", 10**9)
    altered(
        published, monkeypatch, lambda request, reply: setattr(reply, "cut", 1) if request.host == "storage" else None
    )
    with pytest.raises(HubError, match="did not arrive within"):
        pull("models")


def test_a_large_file_has_more_time():
    assert download.Deadline("a", "b", 1 << 30)._seconds > 1000 * download.Deadline("a", "b", 0)._seconds / 10


# --- names -----------------------------------------------------------------------------------------------------------

EVIL = [
    "../../../../evil",
    "/etc/evil",
    "a/../../evil",
    "..",
    "",
    "evil\x1b[2J",
    COMMIT.upper(),
    COMMIT[:7],
    COMMIT + "0",
]


@KINDS
@pytest.mark.parametrize("name", ["ETag", "X-Linked-ETag", "X-Repo-Commit"])
@pytest.mark.parametrize("value", ['"../../../../evil"', '"/tmp/lem-evil"', "W/../evil"])
def test_headers_name_nothing_in_the_cache(published, monkeypatch, tmp_path, kind, name, value):
    def rename(_, reply):
        reply.headers[name] = value

    altered(published, monkeypatch, rename)
    pull(kind)
    assert not [path for path in tmp_path.rglob("*evil*")]
    assert not os.path.exists("/tmp/lem-evil")
    blobs = [path.name for path in tmp_path.rglob("blobs/*")]
    assert blobs
    assert all(set(name) <= set("0123456789abcdef") and len(name) in (40, 64) for name in blobs)


def described(published, monkeypatch, change) -> None:
    def edit(request, reply):
        if "/api/" in request.path:
            answer = json.loads(reply.body)
            change(answer)
            reply.body = json.dumps(answer).encode()

    altered(published, monkeypatch, edit)


def large(answer):
    return next(entry for entry in answer["siblings"] if entry.get("lfs"))


CHANGES = {
    **{f"commit {value!r}": lambda answer, value=value: answer.update(sha=value) for value in EVIL},
    "commit a number": lambda answer: answer.update(sha=7),
    "no commit": lambda answer: answer.pop("sha"),
    "no files": lambda answer: answer.update(siblings=None),
    "a file that is a text": lambda answer: answer.update(siblings=["a"]),
    "a hash with dots": lambda answer: large(answer)["lfs"].update(sha256="../../evil"),
    "a short hash": lambda answer: large(answer)["lfs"].update(sha256="ab"),
    "a blob with dots": lambda answer: large(answer).update(blobId="../../evil"),
    "a size that is a text": lambda answer: large(answer).update(size="9"),
    "a negative size": lambda answer: large(answer).update(size=-1),
    "a file above": lambda answer: large(answer).update(rfilename="../evil"),
    "a file with an escape": lambda answer: large(answer).update(rfilename="\x1b[2Jevil"),
}


@KINDS
@pytest.mark.parametrize("change", CHANGES)
def test_a_description_that_makes_no_sense_is_refused_before_anything_is_downloaded(
    published, monkeypatch, tmp_path, kind, change
):
    described(published, monkeypatch, CHANGES[change])
    with pytest.raises(LEMError) as caught:
        pull(kind)
    assert str(caught.value).isprintable()
    assert not [request for request in published.requests if "/resolve/" in request.path]
    assert everything_below(tmp_path / "home") == {}


@KINDS
def test_a_file_without_a_size_is_not_fetched(published, monkeypatch, kind):
    described(published, monkeypatch, lambda answer: [entry.pop("size") for entry in answer["siblings"]])
    with pytest.raises(HubError, match="does not state the size of"):
        pull(kind)


@KINDS
def test_a_commit_that_is_pinned_is_the_one_that_is_loaded(published, monkeypatch, kind):
    with pytest.raises(HubError):
        pull(kind, revision=COMMIT)
    described(published, monkeypatch, lambda answer: answer.update(sha=COMMIT))
    pinned = published.repository(MODEL if kind == "models" else DATA, kind).at("main").sha
    with pytest.raises(HubError, match=f"it is of the commit {COMMIT}, not of {pinned}"):
        pull(kind, revision=pinned)


@KINDS
def test_a_token_does_not_go_to_another_host(published, kind):
    pull(kind, token=published.token)
    tokens = {request.host: request.token for request in published.requests}
    assert tokens == {"hub": published.token, "storage": None}


@KINDS
def test_an_answer_that_is_no_json_is_refused(published, monkeypatch, kind):
    altered(published, monkeypatch, lambda request, _: Reply(200, b"[" * 100_000) if "/api/" in request.path else None)
    with pytest.raises(HubError, match="not JSON"):
        pull(kind)
