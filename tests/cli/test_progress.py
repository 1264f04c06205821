"""Progress bars: on standard error, with the time left, gone at the end, and none where it is no terminal."""

import os
import subprocess
import sys

import pytest

from lem_models.report.terminal.progress import is_first_process
from tests.cli.terminals import on_a_terminal

STEPS = """
import time
from lem_models.cli.output import Output
with Output(is_quiet={quiet}) as out, out.progress() as progress:
    for step in range(4):
        progress(f"step {{step}}", step, 4)
        time.sleep(0.12)
print("done")
"""


def _steps(quiet=False):
    return [sys.executable, "-c", STEPS.format(quiet=quiet)]


def test_a_terminal_sees_a_bar_with_the_time_left_which_is_erased_at_the_end():
    shown = on_a_terminal(_steps())
    assert "step 3" in shown
    assert "75%" in shown
    assert "left" in shown
    assert "0:00:0" in shown
    assert shown.endswith("\x1b[2K")  # the line is erased


def test_a_pipe_sees_nothing_and_neither_does_who_wants_quiet():
    piped = subprocess.run(_steps(), capture_output=True, text=True, check=True)
    assert (piped.stdout, piped.stderr) == ("done\n", "")
    coloured = subprocess.run(
        _steps(), capture_output=True, text=True, check=True, env={**os.environ, "FORCE_COLOR": "1"}
    )
    assert coloured.stderr == ""
    assert on_a_terminal(_steps(quiet=True)) == ""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"RANK": "1"}, True),  # not of a group
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1"}, False),  # started by Lightning
    ],
    ids=str,
)
def test_only_the_first_of_several_processes_speaks(monkeypatch, environment, expected):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is expected
