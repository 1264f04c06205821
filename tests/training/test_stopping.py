"""A training that is told to stop: its exit code, what it leaves, and the command that goes on with it."""

import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from typer.testing import CliRunner

from lem_models import LEMModel, synthetic_bars
from lem_models.cli.app import app, main
from lem_models.cli.signals import Stopped, advising_how_to_resume
from tests.cli.test_signals import awaited
from tests.helpers import random_model
from tests.training.tiny import BARS, TINY, tiny_recipe

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
LEM = [sys.executable, "-m", "lem_models.cli"]
RESULT = {"config.json", "model.safetensors", "run.json"}


def started(arguments):
    return subprocess.Popen(
        [*LEM, *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def started_as_a_copy(arguments, err):
    """The command in a copy of this process, which has imported everything; its errors go into a file."""

    def run():
        torch.set_num_threads(1)  # threads of the parent are not in its child, which would wait for them
        sys.argv = ["lem", *map(str, arguments)]
        sys.stderr = sys.stdout = open(err, "w", buffering=1)  # noqa: SIM115
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        main()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def awaited_of_a_copy(path, process, err):
    end = time.monotonic() + 60
    while not path.exists():
        assert process.is_alive(), err.read_text()
        assert time.monotonic() < end
        time.sleep(0.01)


def files(folder):
    return {path.name for path in folder.iterdir() if path.is_file()}


def an_older_model(folder):
    random_model(tiny_recipe().model).save_pretrained(folder)
    for name in ("run.json", "finetune.json"):
        (folder / name).write_text("{}")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stopped_run_leaves_checkpoints_alone_and_says_how_it_goes_on(name, tmp_path):
    BARS.write(tmp_path / "bars.parquet")
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "my run"
    recipe.write_text(yaml.safe_dump({**TINY, "trainer": {"steps": 15, "steps_per_epoch": 3}}))
    an_older_model(out)
    arguments = ["train", "--config", recipe, "--data", tmp_path / "bars.parquet", "--out", out]
    arguments += ["--accelerator", "cpu", "--devices", 1, "--no-progress", "--overwrite"]
    if name == "SIGTERM":
        process = started(arguments)
        awaited(out / "checkpoints" / "last.ckpt", process)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # an impatient user
        _, err = process.communicate(timeout=60)
        code = process.returncode
    else:
        process = started_as_a_copy(arguments, tmp_path / "err")
        awaited_of_a_copy(out / "checkpoints" / "last.ckpt", process, tmp_path / "err")
        for _ in range(2):
            os.kill(process.pid, signal.SIGINT)
        process.join(60)
        err, code = (tmp_path / "err").read_text(), process.exitcode
    assert code == 128 + getattr(signal, name), err
    assert "Traceback" not in err
    assert "Detected KeyboardInterrupt" not in err
    stopped, advice = err.splitlines()[-2:]
    assert stopped == f"stopped by {name}"
    assert files(out) == set()  # neither a record nor the older model
    assert not [path for path in out.rglob(".*")]

    command = shlex.split(advice.removeprefix("resume with: "))
    assert command[:2] == ["lem", "train"]
    assert "--overwrite" not in command
    if name == "SIGTERM":
        done = CliRunner().invoke(app, command[1:])
        assert done.exit_code == 0, done.exception
        assert files(out) == RESULT
        assert LEMModel.from_pretrained(out).is_trained


def test_a_stopped_fine_tuning_has_an_exit_code_and_no_model(tmp_path):
    synthetic_bars(symbols=1, days=30, seed=5).write(tmp_path / "bars.parquet")
    random_model(tiny_recipe().model).save_pretrained(tmp_path / "start")
    content = {
        "name": "small",
        "data": {"stretches": 8, "orders_per_stretch": 16, "stretch": 24, "validation_batches": 4},
        "trainer": {"steps": 3000, "steps_per_epoch": 3, "patience": 3000},
    }
    (tmp_path / "small.yaml").write_text(json.dumps(content))
    out = tmp_path / "new"
    an_older_model(out)
    arguments = ["finetune", "--from", tmp_path / "start", "--data", tmp_path / "bars.parquet", "--out", out]
    arguments += ["--config", tmp_path / "small.yaml", "--accelerator", "cpu", "--no-progress", "--overwrite"]
    process = started_as_a_copy(arguments, tmp_path / "err")
    awaited_of_a_copy(out / "checkpoints" / "last.ckpt", process, tmp_path / "err")
    process.terminate()
    process.join(60)
    err = (tmp_path / "err").read_text()
    assert process.exitcode == 143, err
    assert err.splitlines()[-2] == "stopped by SIGTERM"
    assert err.splitlines()[-1].endswith(f"--resume {out}")
    assert files(out) == set()


def test_a_training_that_has_no_checkpoint_yet_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lem", "train", "--config", "a.yaml"])
    with pytest.raises(Stopped) as stop, advising_how_to_resume(tmp_path):
        raise Stopped(signal.SIGTERM)
    assert stop.value.advice == "there is no checkpoint yet; start again with: lem train --config a.yaml"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    monkeypatch.setattr(sys, "argv", ["lem", "train", "--resume", "x", "--resume=y", "--overwrite", "--seed", "1"])
    with pytest.raises(Stopped) as stop, advising_how_to_resume(tmp_path):
        raise Stopped(signal.SIGTERM)
    assert stop.value.advice == f"resume with: lem train --seed 1 --resume {tmp_path}"
