"""Signals stop the command: it tidies up, and its exit code names the signal."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from lem_models.cli.signals import stopping_on_signals
from tests.helpers.signals import hear_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

PROGRAM = """
import pathlib, signal, sys, time
from lem_models.cli.signals import stopping_on_signals
folder = pathlib.Path(sys.argv[1])
{before}
with stopping_on_signals():
    try:
        (folder / "partial").touch()
        time.sleep(30)
    except Exception:
        print("swallowed")
    finally:
        (folder / "tidying").touch()
        time.sleep({tidying})
        (folder / "partial").unlink()
"""


def started(folder, *, tidying=0.0, before=""):
    code = PROGRAM.format(before=before, tidying=tidying)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
    )
    awaited(folder / "partial", process)
    return process


def awaited(path, process):
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_exit_code_names_the_signal_and_nothing_is_left(name, tmp_path):
    process = started(tmp_path)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + getattr(signal, name)
    assert (out, err) == ("", f"stopped by {name}\n")
    assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_a_second_signal_does_not_break_off_the_tidying_up(second, tmp_path):
    process = started(tmp_path, tidying=1.0)
    process.send_signal(signal.SIGINT)
    awaited(tmp_path / "tidying", process)
    process.send_signal(getattr(signal, second))
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "stopped by SIGINT\n")
    assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize("odd", ["sys.exit(1)", "raise OSError('disk full')", "{}['key']", "pass"])
def test_what_becomes_of_the_error_does_not_change_the_exit_code(odd, tmp_path):
    """Lightning ends a training that was interrupted with exit code 1; and the tidying up may fail."""
    before = f"""
def fails(*_):
    {odd}
pathlib.Path.unlink = fails
"""
    process = started(tmp_path, before=before)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (143, "stopped by SIGTERM\n")


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    """``nohup lem train ...`` goes on when the terminal closes."""
    process = started(tmp_path, before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143


def test_handlers_are_put_back_and_other_threads_have_none():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with stopping_on_signals():
        assert signal.getsignal(signal.SIGTERM) not in before
    with pytest.raises(ValueError, match="mine"), stopping_on_signals():
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    seen = []

    def work():
        with stopping_on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before[1]]


def test_an_import_sets_no_handler():
    code = "import signal, lem_models.cli.app; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
