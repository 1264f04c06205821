"""Whether a table fits a terminal: rich cuts the cells of one that does not, and a number that is cut is wrong.

The module knows rich alone, so that a short command need not wait for pandas.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

__all__ = ["fits"]

_UNBOUNDED = 10_000


def fits(console: Console, table: Table) -> bool:
    """Whether the console shows every cell of a table whole, on one line."""
    return console.measure(table, options=console.options.update(width=_UNBOUNDED)).maximum <= console.width
