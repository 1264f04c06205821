"""What a command prints: its result on standard output, in words or as JSON; notes and progress on standard error.

Every command is a function of its options and of an :class:`Output`, and gets ``--json`` and ``--quiet`` with it::

    def count(options: CountOptions, out: Output) -> None:
        bars = options.read(options.data)
        note("symbols without a bar are left out")           # standard error; silent with --quiet
        out.table("symbols", symbols_table(bars))            # a table, or the rows of "symbols" in the JSON
        out.say(f"{len(bars):,} bars", bars=len(bars))       # a sentence, or "bars" in the JSON

With ``--json`` the command prints one object: ``schema``, and what ``table``, ``say`` and ``add`` were given. Numbers
have every digit, missing ones are null, times are ISO 8601 in UTC. ``docs/command-line.md`` documents the keys.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from lem_models.cli.terminal import make_console
from lem_models.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self

    from lem_models.report.tables import Table
    from lem_models.report.terminal.progress import Steps, Tasks

__all__ = ["SCHEMA", "Output", "note", "warn"]

SCHEMA = 1
"""Version of the JSON of all commands. Within it keys are added, never changed."""

_NOTES = logging.getLogger("lem_models.cli")


def note(text: str) -> None:
    """Print a line on standard error that is no part of the result; with ``--quiet`` nothing."""
    _NOTES.info("%s", text)


def warn(text: str) -> None:
    """Print a warning on standard error; with ``--quiet`` nothing."""
    _NOTES.warning("%s", text)


class Output:
    """The output of one command; a context in which notes and warnings are printed.

    Attributes:
        is_json: Whether the result is printed as JSON.
        is_quiet: Whether only the result and errors are printed.
    """

    def __init__(self, *, is_json: bool = False, is_quiet: bool = False) -> None:
        self.is_json = is_json
        self.is_quiet = is_quiet
        self._document: dict[str, Any] | None = {"schema": SCHEMA}
        self._open = contextlib.ExitStack()

    # --- the result ---------------------------------------------------------------------------------------------------

    @cached_property
    def console(self) -> Console:
        """Standard output, for a result in words; it prints nothing if the result is JSON."""
        return make_console(quiet=self.is_json)

    def say(self, text: str, /, **facts: object) -> None:
        """A sentence of the result; in the JSON the facts that it states."""
        self.add(facts)
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def table(self, name: str, table: Table) -> None:
        """A table of the result; in the JSON its rows, with the columns of the data frame that it prints."""
        from lem_models.report.console import fitting_table

        self.add({name: table.records()})
        self.console.print(fitting_table(self.console, table))

    def add(self, facts: Mapping[str, object]) -> None:
        """Facts of the result that only the JSON has."""
        assert self._document is not None, "a stream of events has no document"
        self._document.update(facts)

    def event(self, kind: str, values: Mapping[str, object], text: str, *, is_note: bool = False) -> None:
        """A line of a result that comes piece by piece: a text, or an object with ``type``.

        Args:
            kind: The ``type``.
            values: The other keys.
            text: The line in words.
            is_note: Whether it goes to standard error in words, as a note.
        """
        from lem_models.guard.output import json_text

        self._document = None
        if self.is_json:
            typer.echo(json_text({"type": kind} | dict(values), lines=False))
        elif not is_note:
            typer.echo(text)
        elif not self.is_quiet:
            typer.echo(text, err=True)
        sys.stdout.flush()

    # --- beside the result --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def progress(self) -> Iterator[Steps]:
        """A progress bar with the time left for steps that follow each other."""
        from lem_models.report.terminal.progress import progress_steps

        with progress_steps(shown=not self.is_quiet) as report:
            yield report

    @contextlib.contextmanager
    def progress_of_tasks(self) -> Iterator[Tasks]:
        """A progress bar with the time left for each of several tasks at a time."""
        from lem_models.report.terminal.progress import progress_tasks

        with progress_tasks(shown=not self.is_quiet) as report:
            yield report

    def __enter__(self) -> Self:
        """Print notes and warnings from now on, unless the command is to be quiet."""
        logger, handler = logging.getLogger("lem_models"), _Lines(logging.ERROR if self.is_quiet else logging.INFO)
        level = _NOTES.level
        logger.addHandler(handler)
        _NOTES.setLevel(logging.INFO)
        self._open.callback(logger.removeHandler, handler)
        self._open.callback(_NOTES.setLevel, level)
        if self.is_quiet:
            self._open.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the JSON, unless the command failed. A negative result is a result."""
        self._open.close()
        is_over = error is None or isinstance(error, typer.Exit)
        if self.is_json and is_over and self._document is not None and len(self._document) > 1:
            self._print_document(self._document)

    @staticmethod
    def _print_document(document: Mapping[str, Any]) -> None:
        from lem_models.guard.output import json_text
        from lem_models.report.terminal.progress import is_first_process

        if is_first_process():
            typer.echo(json_text(document))


class _Lines(logging.Handler):
    """Prints each message of the package on a line of standard error, whatever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message; notes only in the first of several processes."""
        from lem_models.report.terminal.progress import is_first_process

        kind = "note" if record.levelno < logging.WARNING else record.levelname.lower()
        if kind != "note" or is_first_process():
            typer.echo(f"{kind}: {one_line(record.getMessage())}", err=True)
