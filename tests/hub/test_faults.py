"""What can go wrong on the way to the Hub and back: success in the end, or a typed error and nothing half done."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lem_models.errors import HubError
from lem_models.hub.client import without_token
from lem_models.hub.models.resolve import resolve
from lem_models.modeling.model import LEMModel
from tests.helpers import random_model, tiny_config
from tests.hub.faults import Fault
from tests.hub.leaks import everything_said
from tests.hub.server import HubServer

NAME = "desk/lem-tiny"
STORAGE = r"^/[0-9a-f]{64}$"
needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")

pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=:DeprecationWarning",  # the client's own
    "ignore:.*multi-threaded, use of fork:DeprecationWarning",
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return random_model(tiny_config()).save_pretrained(tmp_path_factory.mktemp("faults") / "model")


@pytest.fixture
def published(hub: HubServer, saved: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    hub.create(NAME, files, private=True)
    return files


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG)


def pull(hub: HubServer, **settings) -> Path:
    return resolve(NAME, token=hub.token, **settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fails(hub: HubServer, caplog, call: Callable[[], object]) -> HubError:
    """The typed error of a call: one line, nothing of the client behind it, no token anywhere."""
    with pytest.raises(HubError, match=NAME) as caught:
        call()
    error = caught.value
    assert "\n" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert hub.token not in everything_said(error)
    assert hub.token not in caplog.text
    return error


def nothing_to_load(hub: HubServer) -> None:
    """No half of a model lies in the cache."""
    with pytest.raises(HubError, match="not cached"):
        pull(hub, local_files_only=True)


def in_child(work: Callable[[], object]) -> str:
    """What a process of its own has to say: the result, or the error."""
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)

    def run() -> None:
        try:
            said = f"{work()}"
        except BaseException as error:  # a test reads it
            said = everything_said(error)
        theirs.send(said)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    said = ours.recv() if ours.poll(60) else "nothing"
    child.join(10)
    return said


# --- on the way here -------------------------------------------------------------------------------------------------


def test_a_download_that_is_cut_goes_on_where_it_was(hub, published, waits, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # as if the file were large
    hub.faults.add(Fault("cut answer", STORAGE, after=5000, times=2))
    assert contents(pull(hub)) == published
    asked = [request.headers.get("range") for request in hub.requests if request.host == "storage"]
    assert asked == [None, "bytes=5000-", "bytes=10000-"]


def test_a_download_that_never_gets_further_is_an_error_and_leaves_nothing(hub, published, waits, caplog):
    fault = hub.faults.add(Fault("cut answer", STORAGE, after=0))
    fails(hub, caplog, lambda: pull(hub))
    nothing_to_load(hub)
    fault.times = 0
    assert contents(pull(hub)) == published


@pytest.mark.parametrize(
    ("pattern", "name"), [(STORAGE, "model.safetensors"), (r"/resolve/[^/]+/config.json", "config.json")]
)
def test_a_file_with_another_hash_is_fetched_again(hub, published, waits, pattern, name):
    fault = hub.faults.add(Fault("flip", pattern, times=1))
    assert contents(pull(hub)) == published
    assert fault.happened == 1


def test_a_file_that_always_has_another_hash_is_an_error_and_does_not_stay(hub, published, waits, caplog):
    fault = hub.faults.add(Fault("flip", STORAGE))
    error = fails(hub, caplog, lambda: pull(hub))
    assert "model.safetensors of 'desk/lem-tiny' does not have the hash" in str(error)
    with pytest.raises(HubError):
        pull(hub, local_files_only=True)
    fault.times = 0
    assert contents(pull(hub)) == published


def test_a_cached_file_that_has_changed_is_noticed_without_the_server(hub, published, caplog):
    weights = (pull(hub) / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    error = fails(hub, caplog, lambda: pull(hub, local_files_only=True))
    assert "does not have the hash" in str(error)
    assert contents(pull(hub)) == published


@pytest.mark.parametrize("status", [500, 503, 429, None], ids=str)
def test_a_question_that_fails_twice_is_asked_again(hub, published, waits, status):
    hub.fail(f"^/api/models/{NAME}", status, times=2)
    assert contents(pull(hub)) == published
    assert waits[:2] == [1, 2]


def test_a_rate_limit_is_waited_for_as_long_as_it_says(hub, published, waits):
    hub.fail(f"^/api/models/{NAME}", 429, times=1, **{"Retry-After": "7"})
    hub.fail(STORAGE, 429, method="GET", times=1, **{"Retry-After": "3"})
    assert contents(pull(hub)) == published
    assert [seconds for seconds in waits if seconds >= 3] == [7, 3]


def test_a_long_rate_limit_is_left_to_the_user(hub, published, waits, caplog):
    hub.fail(f"^/api/models/{NAME}", 429, **{"Retry-After": "3600"})
    error = fails(hub, caplog, lambda: pull(hub))
    assert (error.status, error.retry_after, error.repo_id) == (429, 3600, NAME)
    assert "try again in 3600 seconds" in str(error)
    assert max(waits, default=0) < 10


def test_a_rate_limit_that_is_no_number_is_none(hub, published, waits, caplog):
    hub.fail(f"^/api/models/{NAME}", 429, **{"Retry-After": "\u00b2"})  # which `str.isdigit` takes for a digit
    error = fails(hub, caplog, lambda: pull(hub))
    assert (error.status, error.retry_after) == (429, None)


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "HF_TOKEN"), (403, "the token does not allow it"), (500, "try again later"), (503, "try again later")],
)
def test_a_refusal_says_what_to_do(hub, published, waits, caplog, status, advice):
    hub.fail(f"^/api/models/{NAME}", status)
    error = fails(hub, caplog, lambda: pull(hub))
    assert error.status == status
    assert advice in str(error)


@pytest.mark.parametrize("token", ["hf_NotTheRightOne", "hf_WithA\nNewline", "hf_Ünicode"], ids=ascii)
def test_a_bad_token_is_not_repeated(hub, published, caplog, token):
    with pytest.raises(HubError, match=NAME) as caught:
        resolve(NAME, token=token)
    assert caught.value.__context__ is None
    for part in (token, *token.split()):
        assert part not in everything_said(caught.value)
        assert part not in caplog.text


def test_a_model_in_the_cache_survives_a_server_that_fails(hub, published, waits):
    pull(hub)
    hub.fail("^/", 500)
    assert contents(pull(hub)) == published


@needs_fork
def test_a_full_disk_is_an_error_and_leaves_nothing(hub, published, waits):
    def work() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        return pull(hub)

    said = in_child(work)
    assert "HubError" in said
    assert "is full: free some space" in said
    assert hub.token not in said
    nothing_to_load(hub)
    assert contents(pull(hub)) == published


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_a_read_only_cache_is_an_error_unless_the_model_is_there(hub, published, tmp_path):
    cache = tmp_path / "home" / "hub"

    def work() -> object:
        _obey_permissions()
        return resolve(NAME, token=hub.token)

    cache.mkdir(parents=True)
    cache.chmod(0o555)
    said = in_child(work)
    assert "cannot be written: name another folder with cache_dir" in said
    assert str(cache) in said
    assert hub.token not in said
    cache.chmod(0o755)
    folder = pull(hub)
    inside = [path for path in (cache, *cache.rglob("*")) if path.is_dir()]
    for path in inside:
        path.chmod(0o555)
    try:
        assert in_child(work) == str(folder)
    finally:
        for path in inside:
            path.chmod(0o755)


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_that_may_not_be_looked_into_is_no_model(tmp_path, kind):
    folder = tmp_path / "closed" / "model"
    folder.mkdir(parents=True)

    def work() -> object:
        _obey_permissions()
        try:
            return resolve(kind(folder))
        except Exception as error:
            return type(error).__name__

    folder.parent.chmod(0)
    try:
        assert in_child(work) == "UnknownNameError"
    finally:
        folder.parent.chmod(0o755)


@needs_fork
def test_two_processes_may_fetch_the_same_model(hub, published, waits):
    hub.faults.add(Fault("cut answer", STORAGE, after=3000, times=2))
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(in_child(lambda: pull(hub)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = pull(hub, local_files_only=True)
    assert said == [str(folder)] * 2
    assert contents(folder) == published


# --- on the way there ------------------------------------------------------------------------------------------------


def push(hub: HubServer, saved: Path, **settings) -> str:
    return LEMModel.from_pretrained(saved).push_to_hub(NAME, token=hub.token, **settings)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut request", STORAGE, "PUT", after=5000),
        Fault("status", STORAGE, "PUT", status=503),
        Fault("status", "/commit/", status=500),
        Fault("status", "/commit/", status=429, headers={"Retry-After": "5"}),
        Fault("status", "/preupload/", status=500),
        Fault("status", "/objects/batch", status=429),
        Fault("status", "/verify", status=500),
        Fault("status", "/repos/create", status=502),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status or ''} {fault.pattern}",
)
def test_an_upload_that_fails_for_a_while_succeeds(hub, saved, waits, fault):
    fault.times, fault.happened = 2, 0
    hub.faults.add(fault)
    push(hub, saved)
    assert fault.happened == 2
    assert [commit.message for commit in hub.repository(NAME).history()] == ["Upload model", "initial commit"]
    assert hub.repository(NAME).at("main").files["model.safetensors"] == (saved / "model.safetensors").read_bytes()
    if fault.status == 429 and fault.headers:
        assert waits == [5, 5]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut request", STORAGE, "PUT", after=5000),
        Fault("flip", STORAGE, "PUT"),
        Fault("status", STORAGE, "PUT", status=403),
        Fault("status", "/commit/", status=500),
        Fault("status", "/commit/", status=403),
        Fault("status", "/preupload/", status=401),
        Fault("status", "/objects/batch", status=429),
        Fault("status", "/verify", status=404),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status or ''} {fault.pattern}",
)
def test_an_upload_that_fails_for_good_is_an_error_without_a_commit(hub, saved, waits, caplog, fault):
    fault.happened = 0
    before = contents(saved)
    hub.create(NAME)
    hub.faults.add(fault)
    fails(hub, caplog, lambda: push(hub, saved))
    assert len(hub.repository(NAME).history()) == 1
    assert contents(saved) == before
    fault.times = 0
    push(hub, saved)
    assert len(hub.repository(NAME).history()) == 2


def _obey_permissions() -> None:
    """Permissions of files hold for this process from now on, for root too."""
    if os.geteuid() != 0:
        return

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    words = (ctypes.c_uint32 * 6)()  # no capability is effective, permitted or inherited
    if ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(Header(0x20080522, 0)), words) != 0:
        raise OSError(ctypes.get_errno(), "capset")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("refused hf_abcdefgh12 here", "refused *** here"),
        ("my-own-secret was refused", "*** was refused"),
        ("Authorization: Bearer xyz.123", "Authorization: ***"),
        ("GET https://cdn.org/a/b?X-Amz-Signature=1a2b&x=y failed", "GET https://cdn.org/a/b failed"),
        ("GET http://user:p@ss@host/a?x=1 failed", "GET http://***@host/a failed"),
        ("two\n\nlines", "two lines"),
        ("x" * 1000, "x" * 599 + "…"),
    ],
    ids=["token", "the given one", "header", "signature", "login", "lines", "length"],
)
def test_messages_hold_no_secret_and_one_line(text, expected):
    assert without_token(text, "my-own-secret") == expected
