"""A training is silent but for its progress; what the user's own code says is heard."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import lightning
import pytest
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils._pytree import LeafSpec

from lem_models.training.terminal.lightning_noise import without_lightning_noise
from tests.cli.terminals import on_a_terminal

ROOT = Path(__file__).resolve().parents[2]
TRAIN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.training.tiny import BARS, tiny_recipe
from lem_models.training.run import train
from lem_models.training.settings import TrainingSettings
train(tiny_recipe(), out=sys.argv[1], data=BARS, settings=TrainingSettings(accelerator="cpu"))
"""


def _train(folder):
    return [sys.executable, "-W", "default", "-c", TRAIN, str(folder)]


@pytest.mark.slow
def test_a_training_in_a_pipe_prints_nothing(tmp_path):
    done = subprocess.run(_train(tmp_path / "run"), capture_output=True, text=True, check=True)
    ours = [line for line in done.stderr.splitlines() if "lightning" in line.lower() or "tip" in line.lower()]
    assert (done.stdout, ours) == ("", [])
    for text in ("GPU available", "TPU available", "litlogger", "LeafSpec", "Trainer.fit", "it/s"):
        assert text not in done.stderr


@pytest.mark.slow
def test_a_training_on_a_terminal_shows_all_its_steps_and_the_time_left(tmp_path):
    shown = on_a_terminal(_train(tmp_path / "run"))
    assert "training" in shown
    assert "left" in shown
    assert "litlogger" not in shown


@pytest.fixture
def messages():
    """Messages that the logger of Lightning lets through."""
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield heard
    log.removeHandler(handler)
    log.setLevel(level)


def _in_lightning(call):
    """Run a call that stands in a file of Lightning."""
    file = Path(lightning.__file__).parent / "pytorch" / "trainer" / "setup.py"
    exec(compile(call, str(file), "exec"), {"rank_zero_info": rank_zero_info, "rank_zero_warn": rank_zero_warn})


def test_only_what_lightning_says_of_itself_is_left_out(messages):
    with without_lightning_noise():
        _in_lightning("rank_zero_info('Tip: buy this')")
        rank_zero_info("the user's own code says")
    _in_lightning("rank_zero_info('after it')")
    assert messages == ["the user's own code says", "after it"]


def test_warnings_are_heard_but_for_those_that_do_not_apply():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with without_lightning_noise():
            LeafSpec()
            _in_lightning("rank_zero_warn('The dataloader does not have many workers')")
            _in_lightning("rank_zero_warn('the loss is nan')")
            warnings.warn("mine", UserWarning, stacklevel=1)
            warnings.warn("mine is old", DeprecationWarning, stacklevel=1)
    assert [str(each.message) for each in heard] == ["the loss is nan", "mine", "mine is old"]
