"""Saving a model: old or new, whenever a process is killed and whoever reads meanwhile; nothing else in the folder."""

import errno
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time

import pytest
import torch

from lem_models.errors import ConfigError, UnknownNameError, WeightsError
from lem_models.hub.models import folder as loading
from lem_models.hub.models import save as saving
from lem_models.hub.models.zoo import list_models
from lem_models.hub.names import STAGED
from lem_models.modeling.config import ConfigFile
from lem_models.modeling.model import LEMModel
from tests.helpers import random_model, tiny_config

FILES = {"config.json", "model.safetensors"}
processes = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def numbered(number):
    """A model whose configuration and weights both say its number."""
    model = random_model(tiny_config(features=("range",), risk_aversion=float(number)))
    with torch.no_grad():
        model.head.output.bias.fill_(float(number))
    return model


def number_of(folder):
    """The number of a model, read as anybody reads it."""
    model = LEMModel.from_pretrained(folder)
    assert model.head.output.bias.tolist() == [model.risk_aversion] * 3
    return int(model.risk_aversion)


def names(folder):
    return {path.name for path in folder.iterdir()}


def start(work, *arguments):
    """Start work in a process of its own, a copy of this one."""

    def run():
        torch.set_num_threads(1)  # threads of the parent are not in its child, which would wait for them
        work(*arguments)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    return child


def in_child(work):
    """Run work in a process of its own; its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        try:
            torch.set_num_threads(1)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def models():
    return [numbered(number) for number in range(4)]


@pytest.fixture
def folder(models, tmp_path):
    """A saved model 0, beside files of somebody else."""
    folder = models[0].save_pretrained(tmp_path / "model")
    (folder / "README.md").write_text("a card")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"state")
    return folder


OTHERS = {"README.md", "checkpoints"}


# --- killed ----------------------------------------------------------------------------------------------------------


def killed_at(line, save):
    """Save in a child that dies as it comes to its n-th line in the module; whether it got that far."""

    def work():
        left = line

        def trace(frame, event, _):
            nonlocal left
            if frame.f_code.co_filename != saving.__file__:
                return None
            if event == "line":
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        save()

    code = in_child(work)
    assert code in (0, -signal.SIGKILL)
    return code != 0


some_lines_or_all = pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])


@processes
@some_lines_or_all
@pytest.mark.parametrize("old", ["with a hash", pytest.param("without a hash", marks=pytest.mark.slow)])
def test_a_save_that_is_killed_at_any_line_leaves_the_old_or_the_new_model(models, folder, tmp_path, old, step):
    if old == "without a hash":
        (folder / "config.json").write_text(models[0].config.to_json())
    found = []
    for line in range(1, 1000, step):
        home = shutil.copytree(folder, tmp_path / "killed")
        if not killed_at(line, lambda home=home: models[1].save_pretrained(home)):
            break
        found.append(number_of(home))
        models[2].save_pretrained(home)
        assert number_of(home) == 2
        assert names(home) == FILES | OTHERS
        shutil.rmtree(home)
    assert found == sorted(found)  # first the old one, then the new one
    assert set(found) == {0, 1}


@processes
@some_lines_or_all
def test_a_first_save_that_is_killed_leaves_no_model_or_the_new_one(models, tmp_path, step):
    found = []
    for line in range(1, 1000, step):
        home = tmp_path / "killed"
        if not killed_at(line, lambda home=home: models[1].save_pretrained(home)):
            break
        try:
            found.append(number_of(home))
        except UnknownNameError:
            found.append(-1)
        models[2].save_pretrained(home)
        assert number_of(home) == 2
        assert names(home) == FILES
        shutil.rmtree(home)
    assert found == sorted(found)
    assert set(found) == {-1, 1}


def kill_savers(models, folder, kills, seed=0):
    """Savers that are killed at random moments while another process reads; what came of it."""
    stop, results = multiprocessing.get_context("fork").Event(), multiprocessing.get_context("fork").Queue()

    def read():
        reads, problems, seen = 0, [], set()
        while not stop.is_set():
            try:
                seen.add(number_of(folder))
            except BaseException as error:
                problems.append(f"{type(error).__name__}: {error}")
            reads += 1
        results.put((reads, problems, seen))

    def save():
        for turn in range(10**6):
            models[turn % len(models)].save_pretrained(folder)

    reader = start(read)
    generator, pending, leftovers = random.Random(seed), 0, 0
    try:
        for _ in range(kills):
            saver = start(save)
            time.sleep(0.02 + generator.random() * 0.1)
            os.kill(saver.pid, signal.SIGKILL)
            saver.join()
            number_of(folder)
            left = names(folder) - FILES - OTHERS
            leftovers += bool(left)
            pending += STAGED in left and not (folder / STAGED / "model.safetensors").exists()
    finally:
        stop.set()
    reads, problems, seen = results.get(timeout=60)
    reader.join(60)
    models[0].save_pretrained(folder)
    assert number_of(folder) == 0
    assert names(folder) == FILES | OTHERS
    assert problems == []
    return {"kills": kills, "killed inside a save": leftovers, "without weights staged": pending, "reads": reads}, seen


@processes
def test_savers_that_are_killed_while_another_process_reads(models, folder):
    _, seen = kill_savers(models, folder, 10)
    assert seen <= set(range(len(models)))


@pytest.mark.slow
@processes
def test_a_hundred_savers_that_are_killed_while_another_process_reads(models, folder):
    counts, seen = kill_savers(models, folder, 100, seed=1)
    print(counts)
    assert seen == set(range(len(models)))
    assert counts["killed inside a save"] > 20


# --- at the same time ------------------------------------------------------------------------------------------------


@processes
def test_two_savers_at_once_leave_one_of_the_models(models, folder):
    def save(mine):
        for _ in range(20):
            models[mine].save_pretrained(folder)

    children = [start(save, mine) for mine in (1, 2, 3)]
    while any(child.is_alive() for child in children):
        number_of(folder)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert number_of(folder) in (1, 2, 3)
    assert names(folder) == FILES | OTHERS


@processes
def test_what_a_living_saver_prepares_is_left_alone(models, folder, monkeypatch):
    pipe, theirs = multiprocessing.get_context("fork").Pipe()

    def save():
        force = saving._force

        def wait(path):
            if path == folder / STAGED:
                theirs.send("prepared")
                theirs.recv()
            force(path)

        saving._force = wait
        models[1].save_pretrained(folder)

    child = start(save)
    assert pipe.recv() == "prepared"
    monkeypatch.setattr(saving, "_PATIENCE", 0.2)
    with pytest.raises(ConfigError, match="another process saves to"):
        models[2].save_pretrained(folder)
    assert number_of(folder) == 0
    pipe.send("go on")
    child.join(60)
    assert number_of(folder) == 1
    assert names(folder) == FILES | OTHERS


def test_a_file_system_without_locks_is_saved_to(models, folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    models[1].save_pretrained(folder)
    assert number_of(folder) == 1
    assert names(folder) == FILES | OTHERS


# --- what cannot be written ------------------------------------------------------------------------------------------


@processes
@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_full_disk_is_a_typed_error_and_leaves_the_old_model(models, folder, size):
    def save():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        with pytest.raises(ConfigError, match=r"cannot be saved to .* Free some space") as caught:
            models[1].save_pretrained(folder)
        assert str(caught.value).isprintable()

    assert in_child(save) == 0
    assert number_of(folder) == 0
    assert names(folder) == FILES | OTHERS


def test_an_interrupted_save_leaves_the_old_model(models, folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lem_models.hub.models.save.save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        models[1].save_pretrained(folder)
    assert number_of(folder) == 0
    assert names(folder) == FILES | OTHERS


@pytest.mark.parametrize("there", ["a file", "a folder that cannot be entered"])
def test_a_folder_that_cannot_be_made_is_a_typed_error(models, tmp_path, there):
    path = tmp_path / "place"
    path.write_text("mine")
    target = path if there == "a file" else path / "model"
    with pytest.raises(ConfigError, match="cannot be saved to"):
        models[0].save_pretrained(target)
    assert path.read_text() == "mine"


# --- what belongs together -------------------------------------------------------------------------------------------


def test_weights_of_another_model_are_refused(models, folder, tmp_path):
    other = models[1].save_pretrained(tmp_path / "other")
    shutil.copy(other / "model.safetensors", folder)
    with pytest.raises(WeightsError, match=r"another model's: its SHA-256 is [0-9a-f]{64}, and config.json belongs to"):
        LEMModel.from_pretrained(folder)


def test_a_folder_without_a_hash_loads(models, folder):
    (folder / "config.json").write_text(models[0].config.to_json())
    assert "weights_sha256" not in (folder / "config.json").read_text()
    assert number_of(folder) == 0


@pytest.mark.parametrize("named", [1, "", "0" * 63, "A" * 64, ["0" * 64], "0" * 63 + "\n"])
def test_a_hash_that_is_none_is_refused(folder, named):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "weights_sha256": named}))
    with pytest.raises(ConfigError, match="not a SHA-256"):
        LEMModel.from_pretrained(folder)


def test_settings_may_be_edited_by_hand(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "fixed_risk_aversion": 7.0}))
    assert LEMModel.from_pretrained(folder).fixed_risk_aversion == 7.0


def test_a_prepared_configuration_does_not_hide_the_one_in_place(models, folder):
    (folder / STAGED).mkdir()
    named = ConfigFile.read(folder / "config.json").weights_sha256
    (folder / STAGED / "config.json").write_text(ConfigFile(models[3].config, named).to_json())
    assert LEMModel.from_pretrained(folder).risk_aversion == 0.0


@pytest.mark.parametrize("what", ["config.json", ""])
def test_a_prepared_configuration_that_is_a_link_to_elsewhere_is_refused(folder, tmp_path, what):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text("{}")
    if what:
        (folder / STAGED).mkdir()
    (folder / STAGED / what).symlink_to(tmp_path / "outside" / what)
    with pytest.raises(ConfigError, match="leads out of its folder"):
        LEMModel.from_pretrained(folder)


def test_a_reader_that_always_finds_others_gives_up(models, folder, monkeypatch):
    def change(*_):
        os.utime(folder / "config.json", ns=(time.time_ns(), time.time_ns()))
        raise WeightsError("others")

    monkeypatch.setattr(loading, "_PATIENCE", 0.1)
    with pytest.raises(WeightsError, match="others"):
        loading.read_pair(folder, change)


@pytest.mark.parametrize("name", list_models())
def test_bundled_configurations_name_their_weights(name):
    assert ConfigFile.read(name.folder / "config.json").weights_sha256 is not None
