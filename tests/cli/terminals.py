"""A process whose standard error is a terminal."""

import contextlib
import os
import subprocess
import sys

import pytest


def on_a_terminal(command, **environment):
    """What a process writes to standard error if that is a terminal; its standard output is a pipe.

    Skips where there are no pseudo-terminals.
    """
    if sys.platform == "win32":
        pytest.skip("no pseudo-terminals")
    ours, theirs = os.openpty()
    more = {"TERM": "xterm", "COLUMNS": "100", **environment}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, **more})
    os.close(theirs)
    pieces = []
    with contextlib.suppress(OSError):  # the other end is closed
        while piece := os.read(ours, 65536):
            pieces.append(piece)
    os.close(ours)
    assert process.wait() == 0, b"".join(pieces)
    return b"".join(pieces).decode("utf-8")
