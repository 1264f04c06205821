"""The one way to write a file: beside its target, which it replaces in one step when it is complete."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a hidden file beside a target; write that file in the context.

    The file replaces the target when the context ends without an error. Otherwise it is removed, and the target stays.

    Raises:
        OSError: The file cannot be moved into its place.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
