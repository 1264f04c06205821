"""Data sets when things go wrong: a typed error or success, nothing half-written, and never a token in what is said."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir

from lem_models.errors import BarsError, HubError, LEMError
from lem_models.markets.bars import Bars
from tests.hub.datasets.market_data import LICENCE, NAME, market, parquet, plain_frame
from tests.hub.faults import Fault
from tests.hub.leaks import everything_said
from tests.hub.repository import lfs_oid
from tests.hub.server import HubServer

REPOSITORY = Path(__file__).resolve().parents[3]
OBJECT = r"^/[0-9a-f]{64}$"  # on the storage host

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own


@pytest.fixture(autouse=True)
def no_token_is_said(hub: HubServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert hub.token not in caplog.text + "".join(capfd.readouterr())


def push(hub: HubServer, bars: Bars | None = None, **settings) -> str:
    return (bars or market()).push_to_hub(
        NAME, **{"licence": LICENCE, "token": hub.token, "max_shard_size": "40KB", **settings}
    )


def pulled(hub: HubServer) -> str:
    return Bars.from_hub(NAME, token=hub.token).content_hash


def streamed(hub: HubServer, folder: Path) -> str:
    return Bars.from_hub(NAME, token=hub.token, streaming=True).write(folder / "bars.arrow").content_hash


def refused(hub: HubServer, call: Callable[[], object], kind: type[Exception] = HubError) -> Exception:
    """The error of a call, which is one line and says no token."""
    with pytest.raises(kind) as caught:
        call()
    assert hub.token not in everything_said(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_download_that_is_cut_goes_on_where_it_stopped(hub, waits, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # the client keeps whole ones of 10 MB
    push(hub)
    cut = hub.faults.add(Fault("cut answer", OBJECT, "GET", 2, after=10_000))
    assert pulled(hub) == market().content_hash
    assert cut.happened == 2
    ranges = {request.headers.get("range", "") for request in hub.requests if request.host == "storage"}
    # Files come side by side: each is cut once, or one of them twice.
    assert {"", "bytes=10000-"} <= ranges <= {"", "bytes=10000-", "bytes=20000-"}


def test_a_download_that_never_comes_to_its_end_goes_on_the_next_time(hub, waits, tmp_path):
    push(hub)
    always = hub.faults.add(Fault("cut answer", OBJECT, "GET", after=0))
    error = refused(hub, lambda: pulled(hub))
    assert NAME in str(error)
    assert not [path for path in (tmp_path / "home").rglob("*.parquet")]
    always.times = 0
    assert pulled(hub) == market().content_hash


@pytest.mark.parametrize("kind", ["cut answer", "status"])
def test_a_stream_that_is_cut_asks_again(hub, waits, tmp_path, kind):
    push(hub)
    hub.faults.add(Fault(kind, OBJECT, "GET", 2, after=5_000))
    assert streamed(hub, tmp_path) == market().content_hash


@pytest.mark.parametrize("pattern", [rf"^/api/datasets/{NAME}", r"/resolve/.*\.parquet$"], ids=["questions", "files"])
@pytest.mark.parametrize("streaming", [True, False])
def test_a_server_that_fails_now_and_then_is_asked_again(hub, waits, tmp_path, pattern, streaming):
    push(hub)
    fault = hub.fail(pattern, 503, times=2)
    assert (streamed(hub, tmp_path) if streaming else pulled(hub)) == market().content_hash
    assert fault.happened == 2


@pytest.mark.parametrize("streaming", [True, False])
def test_a_server_that_fails_for_good_is_a_typed_error(hub, waits, tmp_path, streaming):
    push(hub)
    hub.fail(r"/resolve/.*\.parquet$", 500)
    error = refused(hub, (lambda: streamed(hub, tmp_path)) if streaming else lambda: pulled(hub))
    assert NAME in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]  # no half-written file


def test_a_busy_server_is_left_alone_as_long_as_it_asks(hub, waits):
    push(hub)
    hub.fail(rf"^/api/datasets/{NAME}", 429, times=1, **{"Retry-After": "7"})
    assert pulled(hub) == market().content_hash
    assert 7 in waits


def test_a_server_that_is_busy_for_long_is_a_typed_error(hub, waits):
    push(hub)
    hub.fail(rf"^/api/datasets/{NAME}", 429, **{"Retry-After": "3600"})
    error = refused(hub, lambda: pulled(hub))
    assert (error.status, error.retry_after) == (429, 3600)
    assert 3600 not in waits


def test_a_file_that_changed_on_its_way_is_fetched_again_and_never_read(hub, waits):
    push(hub)
    fault = hub.faults.add(Fault("flip", OBJECT, "GET", times=1))
    assert pulled(hub) == market().content_hash
    assert fault.happened == 1


def test_a_file_that_always_changes_is_refused_and_does_not_stay_in_the_cache(hub, waits, tmp_path):
    push(hub)
    fault = hub.faults.add(Fault("flip", OBJECT, "GET"))
    assert "does not have the hash" in str(refused(hub, lambda: pulled(hub)))
    fault.times = 0
    assert pulled(hub) == market().content_hash


def test_a_stream_that_changed_on_its_way_is_refused(hub, waits, tmp_path):
    push(hub)
    hub.faults.add(Fault("flip", OBJECT, "GET"))
    refused(hub, lambda: streamed(hub, tmp_path), BarsError)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_copy_in_the_cache_that_was_changed_is_fetched_again(hub, tmp_path):
    push(hub)
    Bars.from_hub(NAME, cache_dir=tmp_path / "cache")
    (shard,) = (tmp_path / "cache").rglob("train-00001-*.parquet")
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.resolve().write_bytes(content)
    with pytest.raises(HubError, match="does not have the hash"):
        Bars.from_hub(NAME, cache_dir=tmp_path / "cache", local_files_only=True)
    assert Bars.from_hub(NAME, cache_dir=tmp_path / "cache").content_hash == market().content_hash


@pytest.mark.parametrize("streaming", [True, False])
def test_half_a_split_whose_files_have_no_numbers_is_not_taken_for_the_whole(hub, waits, streaming):
    first, second = parquet(plain_frame().iloc[:24]), parquet(plain_frame().iloc[24:])
    commit = hub.create(NAME, {"data/a.parquet": first, "data/b.parquet": second}, kind="datasets").at("main").sha
    fault = hub.fail(lfs_oid(second), 403)
    with pytest.raises(HubError):
        Bars.from_hub(NAME, revision=commit)
    settings = {"revision": commit, "local_files_only": True, "streaming": streaming}
    with pytest.raises(LEMError, match=rf"has 1 of the 2 files .* data/b\.parquet is missing.*--revision {commit}"):
        Bars.from_hub(NAME, **settings)
    fault.times = 0
    Bars.from_hub(NAME, revision=commit)
    found = Bars.from_hub(NAME, **settings)
    assert (sum(piece.num_rows for piece in found) if streaming else len(found)) == 48


def test_a_copy_of_unknown_origin_is_read_as_it_is(hub):
    content = parquet(plain_frame())
    hub.create(NAME, {"data/a.parquet": content, "data/b.txt": b"x"}, kind="datasets")
    hf_hub_download(NAME, "data/a.parquet", repo_type="dataset")
    assert len(Bars.from_hub(NAME, local_files_only=True)) == 48


def test_the_cache_is_still_one_of_the_client(hub, tmp_path):
    push(hub)
    Bars.from_hub(NAME, cache_dir=tmp_path / "cache")
    found = scan_cache_dir(tmp_path / "cache")
    assert found.warnings == []
    assert [repository.repo_id for repository in found.repos] == [NAME]


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("streaming", [True, False])
def test_refusals_are_typed_and_not_repeated(hub, waits, tmp_path, status, streaming):
    push(hub)
    fault = hub.fail(rf"^/api/datasets/{NAME}", status)
    error = refused(hub, (lambda: streamed(hub, tmp_path)) if streaming else lambda: pulled(hub))
    assert error.status == status
    assert fault.happened == 1


def test_a_token_that_is_wrong_is_not_repeated(hub):
    push(hub, private=True)
    wrong = "hf_" + "NotTheRightOne"  # in two parts: a traceback shows this file
    with pytest.raises(HubError) as caught:
        Bars.from_hub(NAME, token=wrong)
    assert wrong not in everything_said(caught.value)


def test_a_cache_that_cannot_be_written_is_named(hub, tmp_path):
    push(hub)
    (tmp_path / "cache").write_text("a file")
    error = refused(hub, lambda: Bars.from_hub(NAME, cache_dir=tmp_path / "cache"))
    assert NAME in str(error)


PULL = f"from lem_models import Bars; print(Bars.from_hub({NAME!r}).content_hash)"
FULL = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
FULL += "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "


def process(hub: HubServer, home: Path, code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**hub.environment(home), "HF_TOKEN": hub.token, "OMP_NUM_THREADS": "1"},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX's")
def test_a_full_disk_is_a_typed_error_and_the_next_attempt_succeeds(hub, tmp_path):
    push(hub)
    done = process(hub, tmp_path / "other", FULL + PULL)
    _, said = done.communicate(timeout=120)
    assert done.returncode == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("lem_models.errors.HubError")
    assert hub.token not in said
    again = process(hub, tmp_path / "other", PULL)
    printed, said = again.communicate(timeout=120)
    assert printed.strip() == market().content_hash, said


def test_two_processes_at_once_read_the_same(hub, tmp_path):
    push(hub)
    both = [process(hub, tmp_path / "other", PULL) for _ in range(2)]
    for one in both:
        printed, said = one.communicate(timeout=120)
        assert printed.strip() == market().content_hash, said


# --- publishing ------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_lost_makes_no_second_pull_request(hub, waits):
    hub.create(NAME, kind="datasets")
    fault = hub.faults.add(Fault("cut answer", "/commit/", after=0))
    error = refused(hub, lambda: push(hub, create_pr=True))
    assert "may have arrived anyway" in str(error)
    assert fault.happened == 1
    assert [name for name in hub.repository(NAME, "datasets").branches if name != "main"] == ["refs/pr/1"]


@pytest.mark.parametrize("kind", ["cut request", "status"])
def test_an_upload_that_is_cut_is_repeated(hub, waits, kind):
    fault = hub.faults.add(Fault(kind, OBJECT, "PUT", 1, status=503, after=1000))
    push(hub)
    assert fault.happened == 1
    assert pulled(hub) == market().content_hash


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut request", OBJECT, "PUT", after=1000),
        Fault("flip", OBJECT, "PUT"),
        Fault("status", OBJECT, "PUT", status=403),
        Fault("status", "/commit/", status=403),
        Fault("status", "/commit/", status=500),
        Fault("status", "/preupload/", status=401),
        Fault("status", "/lfs/objects/batch", status=500),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status or ''} {fault.pattern}",
)
def test_a_push_that_fails_leaves_the_data_set_and_the_file_as_they_were(hub, waits, tmp_path, fault):
    push(hub)
    before = hub.repository(NAME, "datasets").at("main")
    market().select("S001").write(tmp_path / "bars.arrow")
    content = (tmp_path / "bars.arrow").read_bytes()
    fault.happened, fault.times = 0, None
    hub.faults.add(fault)
    error = refused(hub, lambda: push(hub, Bars.read(tmp_path / "bars.arrow")))
    assert NAME in str(error)
    assert hub.repository(NAME, "datasets").at("main") is before
    assert (tmp_path / "bars.arrow").read_bytes() == content
    fault.times = 0
    push(hub, Bars.read(tmp_path / "bars.arrow"))
    assert Bars.from_hub(NAME).symbols == ("S001",)
