"""The terminal of ``lem``: streams that print every character and may be closed at any time, a console, help.

Exit codes: 0 success; 1 success with a negative result (a leak, no order could run); 2 refused input; 141 the reader
closed the output (``lem list | head -1``), as for any Unix tool that SIGPIPE ends, so a script with ``pipefail``
sees it. SIGPIPE itself stays ignored, because it would also end the process when a connection to the Hub breaks; the
error of the stream is handled instead.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer

from lem_models.report.terminal.progress import is_first_process

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment

__all__ = ["CONTEXT", "make_console", "printable", "show_help", "standard_streams"]

CONTEXT = {"help_option_names": ["--help", "-h"]}
"""Settings of every command."""

_TRAILING = re.compile(r" +(?=\n)")
_CLOSED = 141  # 128 + SIGPIPE
_PADDING = re.compile(r"[ ]+(?=\n)")
_FILE_WIDTH = 160  # of tables that go to a file or a pipe
_PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "±": "+/-",
    "×": "x",
    "→": "->",
    "←": "<-",
    "≤": "<=",
    "≥": ">=",
    "…": "...",
    "•": "*",
    "·": "*",
    "σ": "sigma",
    "√": "sqrt",
    "∞": "inf",
    "\u2018": "'",
    "\u2019": "'",
    "“": '"',
    "”": '"',
    "\u00a0": " ",
    "│": "|",
    "┃": "|",
    "▏": "|",
    **dict.fromkeys("─━╌╍═╸╺╴╶", "-"),
}


def printable(text: str, encoding: str) -> str:
    r"""The text in an encoding: signs and lines that it lacks become similar ASCII characters, others are escaped.

    Example:
        >>> printable("0.31 ± 0.02 → 日", "cp1252")
        '0.31 ± 0.02 -> \\u65e5'
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_in_encoding(character, encoding) for character in text)
    return text


def _in_encoding(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        if character in _PLAIN:
            return _PLAIN[character]
        if "\u2500" <= character <= "\u257f":  # corners and crossings of lines
            return "+"
        if "\u2580" <= character <= "\u259f" or "\u2800" <= character <= "\u28ff":  # blocks; dots of spinners
            return "#"
        return character.encode("ascii", "backslashreplace").decode("ascii")
    return character


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let standard output and standard error print every character, and be closed at any time.

    If the reader closes standard output, the process ends with 141. If it cannot be written (a full disk), OSError is
    raised. Text for a closed standard error is lost.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast(TextIO, _Stream(before[0], _give_up)), cast(TextIO, _Stream(before[1], _carry_on))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _give_up(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise SystemExit(_CLOSED)
    raise OSError(error.errno, error.strerror, "standard output")


def _carry_on(error: OSError) -> None:
    """Drop the text: a closed standard error has no reader."""


class _Stream(io.TextIOBase):
    """A text stream over another one, which is ``None`` if the process was started without it.

    It has no ``buffer``, because libraries would write bytes of another encoding to it.
    """

    def __init__(self, stream: TextIO | None, failed: Callable[[OSError], None]) -> None:
        self._stream, self._failed = stream, failed
        self._failure: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        stream = self._stream
        if stream is not None:
            # Tables are padded to their width, which only a terminal has a use for.
            shown = text if self.isatty() else _PADDING.sub("", text)
            self._attempt(lambda: stream.write(printable(shown, self.encoding)))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._attempt(self._stream.flush)

    def _attempt(self, act: Callable[[], object]) -> None:
        if self._failure is None:
            try:
                act()
                return
            except OSError as error:
                self._failure = error
                self._discard()
        self._failed(self._failure)

    def _discard(self) -> None:
        """Discard the buffers, which Python would write again at exit."""
        try:
            number = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
        except OSError:
            return
        os.dup2(nowhere, number)
        os.close(nowhere)


def make_console(*, quiet: bool = False) -> Console:
    """A console that is wide enough for tables if the output is a file, and silent on all ranks but the first.

    Args:
        quiet: Whether it prints nothing at all.
    """
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        """A console that prints tables in the characters of its encoding."""

        def render_str(self, text: str, **settings: Any) -> Text:
            return super().render_str(printable(text, self.encoding), **settings)

        def _render_buffer(self, buffer: Iterable[Segment]) -> str:
            # Tables fill their last column with spaces, which a file of lines does not want.
            text = super()._render_buffer(buffer)
            return text if self.is_terminal else _TRAILING.sub("", text)

    quiet = quiet or not is_first_process()
    made = Plain(quiet=quiet)
    return made if made.is_terminal else Plain(width=max(made.width, _FILE_WIDTH), quiet=quiet)


def show_help(context: typer.Context) -> None:
    """Print the help of a group that is called without a command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
