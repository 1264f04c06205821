"""Check whether a table fits into a terminal. If not, rich cuts its cells, and a cut number is wrong.

The module imports only rich, so that a short command does not wait for pandas.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

__all__ = ["fits"]

_UNBOUNDED = 10_000


def fits(console: Console, table: Table) -> bool:
    """Whether the console shows every cell of a table whole, on one line."""
    return console.measure(table, options=console.options.update(width=_UNBOUNDED)).maximum <= console.width
