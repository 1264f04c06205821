"""The shells complete commands, options, choices and names: typer's scripts, run by the shells themselves."""

import os
import shutil
import subprocess
import sys

import pytest

SHELLS = ["bash", "zsh", "fish"]


@pytest.fixture(scope="module")
def lem(tmp_path_factory):
    """Environment with a command ``lem`` on its path."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "lem").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lem_models.cli "$@"\n')
    (folder / "lem").chmod(0o755)
    home = tmp_path_factory.mktemp("home")
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(home), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def _needed(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


_SCRIPTS = {}


def _script(shell, environment):
    if shell not in _SCRIPTS:
        _SCRIPTS[shell] = _shown_script(shell, environment)
    return _SCRIPTS[shell]


def _shown_script(shell, environment):
    done = _run(["lem"], {**environment, "_LEM_COMPLETE": f"source_{shell}"})
    assert done.returncode == 0, done.stderr
    assert "_LEM_COMPLETE=complete_" in done.stdout
    return done.stdout


def _run(command, environment, **more):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **more)


BASH = """
COMP_WORDS=({words} "{last}"); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMP_LINE="{words} {last}"
function_of_lem=$(complete -p lem | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); $function_of_lem lem
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def _completions(shell, words, last, environment):
    """What a shell offers after some words for the beginning of the next one."""
    if shell == "bash":
        script = _script("bash", environment) + BASH.format(words=words, last=last)
        return _run(["bash", "--norc", "-c", script], environment).stdout.split()
    if shell == "fish":
        script = _script("fish", environment) + f"\ncomplete -C '{words} {last}'\n"
        lines = _run(["fish", "--no-config", "-c", script], environment).stdout.splitlines()
        return [line.split("\t")[0] for line in lines]
    # zsh completes in a terminal only: its function is run with one that notes what it is given.
    script = (
        'compdef() {}; _arguments() { print -r -- "$@"; }; _files() {}\n'
        + _script("zsh", environment)
        + f"\nwords=({words} '{last}'); CURRENT={len(words.split()) + 1}\n_lem_completion\n"
    )
    shown = _run(["zsh", "-f", "-c", script], environment).stdout
    return [each.strip("\"'").replace("\\", "") for each in shown.replace("(", " ").replace(")", " ").split()]


CASES = [
    ("lem", "bench", "benchmark"),
    ("lem list", "--js", "--json"),
    ("lem info", "lem-crypto-h", "lem-crypto-hourly"),
]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_options_and_names_are_completed(shell, lem):
    _needed(shell)
    for words, last, expected in CASES:
        found = _completions(shell, words, last, lem)
        assert any(each.startswith(expected) for each in found), (words, last, found)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_valid_for_its_shell(shell, lem, tmp_path):
    _needed(shell)
    (tmp_path / "script").write_text(_script(shell, lem))
    checked = _run([shell, "-n", str(tmp_path / "script")], lem)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_the_option_knows_the_shell_that_it_is_called_in(shell, lem):
    _needed(shell)
    # Not the last command, which a shell becomes instead of starting it.
    shown = _run([shell, "-c", "lem --show-completion; true"], lem)
    assert shown.stdout.strip() == _script(shell, lem).strip()


def _offered(arguments, **environment):
    """What the command offers to bash, without bash."""
    code = "from lem_models.cli.app import app; app(prog_name='lem')"
    told = {"_LEM_COMPLETE": "complete_bash", "COMP_WORDS": arguments, "COMP_CWORD": str(len(arguments.split(" ")) - 1)}
    return _run([sys.executable, "-c", code], {**os.environ, **told, **environment}).stdout.split()


def test_choices_and_lists_of_policies_are_completed():
    assert _offered("lem execute --starts ") == ["next", "exact"]
    assert "twap,volume_curve" in _offered("lem benchmark --baselines twap,volume")
