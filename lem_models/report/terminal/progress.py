"""Progress bars with the time left: on standard error, gone at the end, and none where it is no terminal."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Steps", "Tasks", "is_first_process", "progress_steps", "progress_tasks"]

Steps: TypeAlias = Callable[[str, int, int], None]
"""Told what comes next, the steps done, and all steps; 0 for all where their number is unknown."""

Tasks: TypeAlias = Callable[[str, int, int | None], None]
"""Told the name of a task, what is done of it, and all of it, if that is known."""


def is_first_process() -> bool:
    """Whether this process is the first of those that ``torchrun`` or Lightning started, or the only one."""
    rank = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))  # torchrun sets both, Lightning the second
    return "WORLD_SIZE" not in os.environ or rank == "0"


@contextmanager
def progress_steps(*, shown: bool = True) -> Iterator[Steps]:
    """One bar for steps that follow each other.

    Args:
        shown: Whether to show it, if standard error is a terminal.
    """
    with _progress(shown) as progress:
        bars: list[Any] = []

        def report(what: str, done: int, total: int) -> None:
            if not bars:
                bars.append(progress.add_task(what, total=total or None))
                progress.refresh()  # what begins is seen at once, however short it is
            progress.update(bars[0], description=what, completed=done, total=total or None)

        yield report


@contextmanager
def progress_tasks(*, shown: bool = True) -> Iterator[Tasks]:
    """A bar for each of several tasks at a time; the bar of a finished task disappears.

    Args:
        shown: Whether to show them, if standard error is a terminal.
    """
    with _progress(shown) as progress:
        bars: dict[str, Any] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            is_done = total is not None and done >= total
            progress.update(bars[what], completed=done, total=total, visible=not is_done)

        yield report


def _progress(shown: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        SpinnerColumn("line" if console.options.ascii_only else "dots"),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    is_hidden = not (shown and console.is_terminal and sys.stderr.isatty() and is_first_process())
    # The mean speed since the start, because steps are few and of unequal length.
    return Progress(*columns, console=console, transient=True, disable=is_hidden, speed_estimate_period=math.inf)
