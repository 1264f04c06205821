"""From a name to a model: the documented order, and what is said when nothing has the name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download

from lem_models.cli.policies import named_policy
from lem_models.errors import ConfigError, HubError, LEMError, UnknownNameError, WeightsError
from lem_models.guard.hub_ids import is_hub_id
from lem_models.hub.models.registry import bundled_folder
from lem_models.hub.models.resolve import _LARGEST, resolve
from lem_models.modeling.config import MAX_CONFIG_BYTES, MAX_WEIGHTS
from lem_models.modeling.model import LEMModel
from tests.conftest import REPOSITORY
from tests.helpers import random_model, tiny_config

NAME = "desk/lem-tiny"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return random_model(tiny_config()).save_pretrained(tmp_path_factory.mktemp("resolve") / "model")


@pytest.fixture
def published(hub, saved) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    hub.create(NAME, files)
    return files


def test_a_bundled_name_goes_before_a_folder_of_that_name(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, tmp_path / "lem-base")
    assert resolve("lem-base") == bundled_folder("lem-base")
    assert resolve("./lem-base").resolve() == tmp_path / "lem-base"
    assert resolve(Path("lem-base")).resolve() == tmp_path / "lem-base"


def test_a_folder_goes_before_the_hub(hub, published, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(NAME).is_relative_to(tmp_path / "home")
    shutil.copytree(saved, tmp_path / NAME)
    hub.requests.clear()
    assert resolve(NAME).resolve() == tmp_path / NAME
    assert hub.requests == []


def test_a_folder_that_hides_a_hub_id_and_holds_no_model_says_so(hub, published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir(parents=True)
    with pytest.raises(
        UnknownNameError, match=r"(?s)folder desk/lem-tiny is not a model: it lacks .*takes precedence over the Hub"
    ):
        resolve(NAME)


def test_a_path_is_never_asked_of_the_hub(hub, published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="is not a model"):
        resolve(Path(NAME))
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./lem-tunde", r"there is no folder './lem-tunde'; did you mean 'lem-tuned'\?"),
        ("./other", r"there is no folder './other'$"),
        ("nowhere/deep/model", "there is no folder 'nowhere/deep/model', and none 'nowhere/deep' either"),
    ],
)
def test_a_wrong_path_comes_with_the_closest_folder(hub, saved, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, "lem-tuned")
    monkeypatch.setenv("HOME", str(tmp_path))
    for read in (LEMModel.from_pretrained, named_policy):
        assert read("~/lem-tuned").source == tmp_path / "lem-tuned"
        with pytest.raises(UnknownNameError, match=message):
            read(name)
    assert hub.requests == []


@pytest.mark.parametrize("kind", ["bundled", "folder"])
def test_a_revision_is_for_the_hub(saved, kind):
    with pytest.raises(ConfigError, match=r"has no revisions; revision='v1'"):
        resolve("lem-base" if kind == "bundled" else saved, revision="v1")


@pytest.mark.parametrize("name", ["x" * 5000, "a" * 300 + "/" + "b" * 300, Path("x" * 300), "a\0b"], ids=range(4))
def test_a_name_that_no_file_can_have_is_unknown(name):
    with pytest.raises(UnknownNameError):
        resolve(name)


@pytest.mark.parametrize("name", ["lem-cripto-hourly", "LEM-crypto-hourly", "crypto-hourly"])
def test_an_unknown_name_comes_with_the_closest(name):
    with pytest.raises(UnknownNameError, match="did you mean 'lem-crypto-hourly'"):
        LEMModel.from_pretrained(name)


def test_a_repository_that_is_not_there_comes_with_the_closest(hub, published):
    resolve(NAME)
    with pytest.raises(HubError, match=r"'desk/lem-tini'.*Did you mean 'desk/lem-tiny'\?") as caught:
        resolve("desk/lem-tini", token=hub.token)
    assert caught.value.status == 404
    with pytest.raises(HubError, match=r"Did you mean 'lem-crypto-hourly'.*Bundled models need no network"):
        resolve("desk/lem-crypto-hourly")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("org/name", True),
        ("a/b.c-d_e", True),
        ("name", False),
        ("a/b/c", False),
        ("a/..", False),
        ("../b", False),
        ("/a", False),
        ("a/", False),
        ("~/a", False),
        ("a/b\n", False),
        ("a/b c", False),
        ("a/b--c", False),
        ("C:\\a/b", False),
        ("a/b.git", False),
        ("a/" + "b" * 100, False),
        ("a/b?x", False),
    ],
)
def test_what_a_hub_id_looks_like(name, is_one):
    assert is_hub_id(name) is is_one


def test_a_commit_is_pinned(hub, published):
    old = hub.repository(NAME).at("main").sha
    hub.repository(NAME).commit({"model.safetensors": b"another"})
    assert (resolve(NAME, revision=old) / "model.safetensors").read_bytes() == published["model.safetensors"]
    hub.requests.clear()
    resolve(NAME, revision=old, local_files_only=True)
    assert hub.requests == []
    with pytest.raises(HubError, match=f"'{NAME}' at 'v9'"):
        resolve(NAME, revision="v9")


def test_offline_and_cached_works(hub, published, monkeypatch):
    folder = resolve(NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert resolve(NAME) == folder
    assert hub.requests == []


@pytest.mark.parametrize("how", ["argument", "variable", "no server"])
def test_offline_and_not_cached_says_so_and_how_to_get_it(hub, published, monkeypatch, how):
    if how == "variable":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    if how == "no server":
        hub.close()
    with pytest.raises(HubError) as caught:
        resolve(NAME, revision="v1", local_files_only=how == "argument")
    said = str(caught.value)
    for part in (
        f"cannot get '{NAME}' at 'v1' from the Hub",
        "not cached in",
        f"hf download {NAME} --revision v1 config.json model.safetensors",
        "Bundled models need no network",
    ):
        assert part in said
    assert {"argument": "local_files_only", "variable": "HF_HUB_OFFLINE", "no server": "Connect"}[how] in said


def test_half_a_model_in_the_cache_is_not_a_model(hub, published):
    folder = resolve(NAME)
    (folder / "model.safetensors").unlink()
    with pytest.raises(LEMError, match=rf"(?s){NAME}"):
        resolve(NAME, local_files_only=True)
    assert (resolve(NAME) / "model.safetensors").read_bytes() == published["model.safetensors"]


@pytest.mark.parametrize("how", ["argument", "no server"])
def test_half_a_model_that_somebody_fetched_is_not_taken_for_a_repository_without_weights(hub, published, how):
    hf_hub_download(NAME, "config.json")
    if how == "no server":
        hub.close()
    with pytest.raises(HubError, match=rf"not cached.*hf download {NAME} config.json model.safetensors"):
        resolve(NAME, local_files_only=how == "argument")


@pytest.mark.parametrize(
    ("file", "size", "kind"), [("config.json", (1 << 18) + 1, ConfigError), ("model.safetensors", 200, WeightsError)]
)
def test_a_file_that_is_too_large_is_refused_before_it_is_downloaded(hub, published, monkeypatch, file, size, kind):
    monkeypatch.setitem(_LARGEST, "model.safetensors", 199)
    hub.create(NAME, {"config.json": b"{}", "model.safetensors": b"", file: b" " * size})
    with pytest.raises(kind, match=rf"{file} of '{NAME}' has {size:,} bytes, more than .*: nothing was downloaded"):
        resolve(NAME)
    assert not [request for request in hub.requests if "/resolve/" in request.path or request.host == "storage"]


def test_no_model_that_loads_is_too_large_to_be_downloaded():
    assert _LARGEST["model.safetensors"] > 8 * MAX_WEIGHTS
    assert _LARGEST["config.json"] == MAX_CONFIG_BYTES


@pytest.mark.slow
def test_the_variable_of_the_client_is_enough(hub, published, tmp_path):
    """A process of its own, which reads the variable as a user's does."""
    code = f"from lem_models.hub.models.resolve import resolve; print(resolve({NAME!r}))"
    for offline, status in (("1", 1), ("0", 0), ("1", 0)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**hub.environment(tmp_path / "other"), "HF_HUB_OFFLINE": offline, "OMP_NUM_THREADS": "1"},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stderr
        if status:
            assert "HF_HUB_OFFLINE is set, and it is not cached" in done.stderr
