"""Run a script of ``benchmarks/`` as its command does, in this process, where everything is imported already."""

import io
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@dataclass(frozen=True)
class Done:
    """What a script that ended left."""

    returncode: int
    stdout: str
    stderr: str


def run_script(name: str, *settings: object) -> Done:
    """Run ``python benchmarks/NAME SETTINGS``."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    script = str(FOLDER / name)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [script, *map(str, settings)])
        patch.setattr(sys, "path", list(sys.path))
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
    return Done(code, out.getvalue(), err.getvalue())
