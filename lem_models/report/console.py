"""Tables in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from lem_models.report.numbers import MISSING
from lem_models.report.tables import Column, Emphasis, Table
from lem_models.report.terminal.width import fits

__all__ = ["fitting_table", "rich_table"]

_STYLES: dict[Emphasis, str] = {"strong": "bold cyan", "light": "dim", "": ""}


def fitting_table(console: Console, table: Table) -> RichTable:
    """The table without the columns that do not fit; see :attr:`~lem_models.report.tables.Column.dropped`."""
    columns = list(table.columns)
    for column in sorted((column for column in columns if column.dropped), key=lambda column: column.dropped):
        made = rich_table(table, columns)
        if fits(console, made):
            return made
        columns.remove(column)
    return rich_table(table, columns)


def rich_table(table: Table, columns: list[Column] | None = None) -> RichTable:
    """The table, a section per group; missing numbers are left blank.

    Args:
        table: The table.
        columns: The columns to show; ``None`` for all.
    """
    shown = table.columns if columns is None else columns
    made = RichTable(
        title=escape(table.title) or None,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in (*table.grouped, *shown):
        label = f"{column.group}: {column.label}" if column.group else column.label
        made.add_column(label, justify="right" if table.is_numeric(column) else "left", no_wrap=True)
    for row in table.rows():
        group = row.group if row.is_first else [""] * len(row.group)
        cells = [text for column, text in zip(table.columns, row.cells, strict=True) if column in shown]
        texts = ("" if text == MISSING else escape(text) for text in (*group, *cells))
        made.add_row(*texts, style=_STYLES[row.emphasis], end_section=row.is_last)
    return made
