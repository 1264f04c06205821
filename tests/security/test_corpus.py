"""Every hostile repository is refused with its typed error: at once, without much memory, and nothing of it is run."""

import json
import mmap
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lem_models.errors
from tests.security import guard
from tests.security.corpus import HOSTILE, build, canary, sound_model

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is measured here is Linux's")

MEMORY = 32 << 20
SECONDS = 2.0


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Folder by name."""
    root = tmp_path_factory.mktemp("corpus")
    sound = sound_model(root / "sound")
    return {"": sound, **{name: build(name, sound, root / name) for name in HOSTILE}}


@pytest.fixture(scope="module")
def outcomes(homes):
    """What became of each, by name; all loaded by one process, each in a child of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.security.guard", *map(str, homes.values())]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(zip(HOSTILE, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_is_refused_at_once_and_nothing_of_it_is_run(name, homes, outcomes):
    hostile, found, folder = HOSTILE[name], outcomes[name], homes[name]
    wanted = "" if hostile.error is None else f"lem_models.errors.{hostile.error.__name__}"
    assert found["error"] == wanted, found
    assert re.search(hostile.message, found["message"]), found["message"]
    # One short line.
    assert len(found["message"]) < 1500
    assert found["message"].isprintable()
    # Nothing is run, and nothing else is opened.
    assert found["events"] == []
    assert set(found["opened"]) <= {str(folder / "config.json"), str(folder / "model.safetensors")}
    assert not canary(folder).exists()
    assert found["memory"] < MEMORY
    assert found["seconds"] < SECONDS


def test_every_error_is_one_of_the_package():
    assert all(h.error is None or issubclass(h.error, lem_models.errors.LEMError) for h in HOSTILE.values())


# --- the watch sees what it is there to see --------------------------------------------------------------------------


def _unpickle(folder):
    import pickle

    pickle.loads((folder / "model.safetensors").read_bytes())


def _read_all(folder):
    (folder / "config.json").read_bytes()


def _import(folder):
    sys.path.insert(0, str(folder))
    import modeling_lem  # noqa: F401


@pytest.mark.parametrize(
    ("name", "task", "event"),
    [
        ("pickle_as_weights", _unpickle, "pickle.find_class"),
        ("pickle_as_weights", _unpickle, "os.system"),
        ("pickles_and_code_beside_a_model", _import, "import ('modeling_lem'"),
        ("config_large", lambda folder: compile("1", "x", "eval"), "compile"),
    ],
)
def test_the_watch_sees_code(name, task, event, tmp_path, homes):
    folder = build(name, homes[""], tmp_path / "case")
    found = guard.run(lambda: task(folder))
    assert any(seen.startswith(event) for seen in found["events"]), found
    assert canary(folder).exists() == (name != "config_large")


def test_the_watch_sees_memory_files_and_time(homes):
    # Of the system itself: malloc may have a lot that was given back before.
    assert guard.run(lambda: mmap.mmap(-1, 64 << 20).write(bytes(64 << 20)))["memory"] > 60 << 20
    found = guard.run(lambda: _read_all(homes["config_large"]))
    assert found["opened"] == [str(homes["config_large"] / "config.json")]
    assert guard.run(lambda: mmap.mmap(-1, 2 * guard.MEMORY))["error"] in {"builtins.OSError", "builtins.MemoryError"}
    assert guard.run(lambda: sum(range(20_000_000)))["seconds"] > 0.05
