"""Signals that stop the ``lem`` command: it cleans up as after an error, and its exit code names the signal.

A signal becomes a ``SystemExit``, so every ``finally`` and every context manager runs and removes half-written files.
Exit codes are those of a shell: 130 for Ctrl-C, 143 for SIGTERM, 129 for a terminal that closes.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

__all__ = ["Stopped", "advising_how_to_resume", "stopping_on_signals"]

_PATIENCE = 10.0  # seconds for cleaning up, in which further signals are ignored


class Stopped(SystemExit):
    """A signal stopped the process.

    Attributes:
        signal_name: Its name, e.g. ``"SIGTERM"``.
        advice: Next step for the user, one line for the terminal.
    """

    advice: str = ""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal_name = signal.Signals(number).name


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise :class:`Stopped` in the main thread for SIGINT, SIGTERM and SIGHUP.

    A second signal does not interrupt the clean-up, unless it takes longer than ten seconds. Signals that the process
    ignored from its start (``nohup``, a background job) stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stops: list[Stopped] = []
    heard_until = -float("inf")

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal heard_until
        if time.monotonic() > heard_until:
            heard_until = time.monotonic() + _PATIENCE
            stops.append(Stopped(number))
            raise stops[-1]

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, stop)
    try:
        yield
    except BaseException:
        # A clean-up may have turned Stopped into another error, which is not reported.
        if not stops:
            raise
    finally:
        if not stops:  # otherwise the interpreter exits, and its clean-up is not interrupted either
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
    if stops:
        with suppress(OSError):  # the terminal is gone
            sys.stderr.write("\n".join(filter(None, (f"stopped by {stops[0].signal_name}", stops[0].advice))) + "\n")
        raise stops[0] from None


@contextmanager
def advising_how_to_resume(folder: Path) -> Iterator[None]:
    """Print the command that resumes a training when a signal stops it.

    Args:
        folder: Folder of the run.
    """
    from lightning.pytorch.utilities import rank_zero_only

    try:
        yield
    except BaseException as error:
        stop: BaseException | None = error
        while stop is not None and not isinstance(stop, Stopped):
            stop = stop.__context__
        if stop is not None:
            stop.advice = rank_zero_only(_advice)(folder) or ""
        raise


def _advice(folder: Path) -> str:
    from lem_models.training.folder import RunFolder

    if not RunFolder(folder).last.is_file():
        return f"there is no checkpoint yet; start again with: {shlex.join(['lem', *sys.argv[1:]])}"
    return f"resume with: {shlex.join(['lem', *_without_choice(sys.argv[1:]), '--resume', str(folder)])}"


def _without_choice(arguments: list[str]) -> list[str]:
    """Arguments without --resume and --overwrite."""
    kept, rest = [], iter(arguments)
    for argument in rest:
        if argument == "--resume":
            next(rest, None)
        elif argument != "--overwrite" and not argument.startswith("--resume="):
            kept.append(argument)
    return kept
