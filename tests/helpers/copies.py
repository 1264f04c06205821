"""Copies of the running process, which has imported everything: faster than new ones where newness is not the point."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch


def in_a_copy(function: Callable[[], object], seconds: float = 300.0) -> tuple[int, str, str]:
    """Call a function in a copy of this process.

    Args:
        function: What it calls; then it ends.
        seconds: How long it may take.

    Returns:
        Its exit status (1 after an exception), what it printed, and its errors.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("stdout", "stderr")]
        process = multiprocessing.get_context("fork").Process(target=_call, args=(function, files))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"the copy ran longer than {seconds:g} s: {files[1].read_text()}")
        shown = [file.read_text() for file in files]
    return process.exitcode, shown[0], shown[1]


def without_this_package() -> None:
    """Forget the package and its tests, so that they are imported anew, and keep all that they import."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("lem_models", "tests", "benchmarks")]:
        del sys.modules[name]


def _call(function: Callable[[], object], files: list[Path]) -> NoReturn:
    torch.set_num_threads(1)  # threads of the parent are not in its child, which would wait for them
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    status = 0
    try:
        function()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
