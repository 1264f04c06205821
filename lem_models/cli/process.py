"""Set-up of the process of ``lem``: warnings on one line, freed memory that is kept, few searches for garbage."""

from __future__ import annotations

import ctypes
import gc
import sys
import warnings
from typing import Any

from lem_models.errors import BarsWarning

__all__ = ["collect_garbage_rarely", "keep_freed_memory", "print_warnings_on_a_line"]


def print_warnings_on_a_line() -> None:
    """Print warnings about bars like errors: on one line, without the place in the code."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **file: Any) -> None:
        if issubclass(category, BarsWarning):
            sys.stderr.write(f"warning: {message}\n")
        else:
            usual(message, category, *place, **file)

    usual, warnings.showwarning = warnings.showwarning, show
    warnings.simplefilter("always", BarsWarning)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory. Otherwise every large array is allocated page by page again."""
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):  # another C library
            return
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: no separate mappings
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: no memory is returned to the system


def collect_garbage_rarely() -> None:
    """Search for circular garbage less often: imports make half a million objects that stay, searched again and again.

    Arrays, tensors and tables are freed by their counts of references, as ever.
    """
    gc.set_threshold(50_000, 20, 20)
