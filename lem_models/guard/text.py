"""Small untrusted text files: regular files of bounded size and depth, in which every key occurs once.

In JSON a key may occur twice, and the last one silently wins. A short text may be expensive: it may nest brackets
without end or hold numbers of a million digits. Here these are errors, before anything is built from the text;
:mod:`lem_models.guard.yaml` does the same for YAML. Errors are ``ValueError``s that describe the fault; the caller adds
the name of the file.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import stat
from collections.abc import Iterable
from typing import Any, BinaryIO

from lem_models.errors import one_line

__all__ = [
    "MAX_DEPTH",
    "MAX_RECORD_BYTES",
    "check_is_text",
    "one_line",
    "open_regular",
    "parse_json",
    "place",
    "read_json",
    "read_text",
    "shown",
]

MAX_DEPTH = 32
"""Largest depth of nested lists and mappings."""

MAX_RECORD_BYTES = 1 << 24
"""Largest size of a file of results, in bytes."""

_MAX_DIGITS = 32
_MAX_BITS = 1024
_MARKS = re.compile(r'[\[\]{}"\\]')
_PLAIN = re.compile(r"[A-Za-z0-9_]{1,64}")


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read its bytes; a device may have no end, and a pipe may wait forever.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is a folder, a device, a pipe or a socket.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_text(path: str | os.PathLike[str], limit: int) -> str:
    """Text (UTF-8) of a regular file of at most ``limit`` bytes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a regular file, is too large, or is not UTF-8.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return content.decode("utf-8")


def read_json(path: str | os.PathLike[str], limit: int = MAX_RECORD_BYTES) -> dict[str, Any]:
    """The object in a JSON file of at most ``limit`` bytes.

    Raises:
        OSError: The file cannot be read.
        ValueError: :func:`read_text` or :func:`parse_json` refuses it, or it does not hold an object.
    """
    content = parse_json(read_text(path, limit))
    if not isinstance(content, dict):
        raise ValueError(f"it must hold a JSON object, not a {type(content).__name__}")
    return content


def parse_json(text: str) -> object:
    """Parse a JSON text.

    Raises:
        ValueError: The text is not JSON, is nested deeper than :data:`MAX_DEPTH`, repeats a key, or holds a number that
            is not finite or has more than 32 digits.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: a key occurs twice: 'a'
    """
    _check_depth(text)
    return json.loads(
        text,
        object_pairs_hook=_once,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_not_finite,
    )


def check_is_text(head: bytes) -> None:
    r"""Refuse bytes that are no text in UTF-8, such as those of a picture that has the name of a table.

    Args:
        head: First bytes of a file.

    Raises:
        ValueError: They hold a zero byte, which no text in UTF-8 has.

    Example:
        >>> check_is_text(b"timestamp,symbol\n")
    """
    if b"\0" not in head:
        return
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("it is a text in UTF-16: save it as UTF-8")
    raise ValueError("it is no text: a picture, a spreadsheet or a packed file may have this name by mistake")


def shown(value: object) -> str:
    r"""Write a value for a message: short, on one line, without control characters.

    Example:
        >>> shown("x" * 1000), shown("a\x1b[31mb")
        ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxx'", "'a\\x1b[31mb'")
    """
    try:
        text = _REPR.repr(value)
    except ValueError:  # a whole number of thousands of digits
        return f"<{type(value).__name__}>"
    return re.sub(r"\s*\n\s*", " ", text)  # arrays and tables take several lines


def place(location: Iterable[object]) -> str:
    r"""Place of a value in a file, by the keys that lead to it: ``model.horizon``.

    Example:
        >>> place(["data", 0, "path"]), place(["a\nb"])
        ('data.0.path', "'a\\nb'")
    """
    return ".".join(str(key) if _PLAIN.fullmatch(str(key)) else shown(key) for key in location)


class _Repr(reprlib.Repr):
    """Short texts of values; strings are cut at 60 characters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 61, 61, 40
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 5

    def repr_int(self, x: int, level: int) -> str:
        """A number of thousands of digits, which Python refuses to print, as its size."""
        return super().repr_int(x, level) if x.bit_length() <= _MAX_BITS else f"<int of {x.bit_length():,} bits>"


_REPR = _Repr()


# --- JSON ------------------------------------------------------------------------------------------------------------


def _check_depth(text: str) -> None:
    """Count brackets outside of strings, because the parser recurses as deep as the text."""
    depth, quoted, escaped = 0, False, -1
    for mark in _MARKS.finditer(text):
        at, sign = mark.start(), mark[0]
        if at == escaped:
            continue
        if sign == "\\":
            escaped = at + 1 if quoted else -1
        elif sign == '"':
            quoted = not quoted
        elif not quoted:
            depth += 1 if sign in "[{" else -1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"a key occurs twice: {shown(key)}")
        content[key] = value
    return content


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"a number is not finite: {shown(digits)}")
    return value


def _not_finite(name: str) -> None:
    raise ValueError(f"a number is not finite: {name}")
