"""Help of commands: the docstring, the options, and examples that can be copied into a shell."""

from __future__ import annotations

import inspect
import re
import shlex
from typing import Any

from typer.core import TyperCommand, TyperGroup

__all__ = ["EXIT_CODES", "Command", "Group", "RootGroup", "examples"]

EXIT_CODES = (
    ("0", "Done."),
    ("1", "The answer is no: a leak, no order could run, something was left."),
    ("2", "Refused, with one line on standard error; or wrong usage."),
    ("129, 130, 143", "Stopped by SIGHUP, Ctrl-C, SIGTERM."),
    ("141", "The reader of the output has gone."),
)
"""Exit codes of every command and what they mean."""

_EXAMPLE = re.compile(r"^Example: ", re.MULTILINE)


def examples(docstring: str | None) -> list[str]:
    r"""Command lines of a docstring: its paragraphs that begin with ``Example:``.

    Example:
        >>> examples("Count.\n\n    Example: lem count\n    --only BTC")
        ['lem count --only BTC']
    """
    _, *found = _EXAMPLE.split(inspect.cleandoc(docstring or ""))
    return [" ".join(each.partition("\n\n")[0].split()) for each in found]


class _WithExamples:
    """Help with a section of examples at its end."""

    help: str | None

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 (typer's own copies of click's types)
        """Write the docstring without its examples."""
        whole = self.help
        self.help = _EXAMPLE.split(inspect.cleandoc(whole or ""))[0].rstrip()
        try:
            super().format_help_text(ctx, formatter)  # type: ignore[misc]
        finally:
            self.help = whole

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the examples."""
        if found := examples(self.help):
            with formatter.section("Examples" if len(found) > 1 else "Example"):
                for example in found:
                    for line in _lines(example, formatter.width - formatter.current_indent):
                        formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Command(_WithExamples, TyperCommand):
    """A command."""


class Group(_WithExamples, TyperGroup):
    """A group of commands."""


class RootGroup(Group):
    """The group of all commands, which also explains the exit codes."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        """Write the examples and the exit codes."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl(EXIT_CODES)


def _lines(example: str, width: int) -> list[str]:
    """A command line over as many lines as it needs; all but the last end with a backslash, so it can be copied."""
    words = iter(shlex.split(example, posix=False))
    lines = [next(words)]
    pieces: list[str] = []  # an option and its value stay together
    for word in words:
        if pieces and pieces[-1].startswith("-") and " " not in pieces[-1] and not word.startswith("-"):
            pieces[-1] += f" {word}"
        else:
            pieces.append(word)
    for piece in pieces:
        if len(lines[-1]) + len(piece) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"    {piece}")
        else:
            lines[-1] += f" {piece}"
    return lines
