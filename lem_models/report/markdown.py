"""Tables in Markdown: for model cards and for the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from lem_models.guard.text import one_line
from lem_models.report.tables import Emphasis, Table

__all__ = ["markdown_table", "markdown_text"]

_MARKS: dict[Emphasis, str] = {"strong": "**", "light": "*", "": ""}


def markdown_table(table: Table) -> str:
    """A table in Markdown. Groups are its first columns, and the policy of an emphasised row is bold or italic."""
    columns = [*table.grouped, *table.columns]
    lines = [
        _line([f"{column.group}: {column.label}" if column.group else column.label for column in columns]),
        "|" + "---|" * len(columns),
    ]
    for row in table.rows():
        texts = zip(columns, (*row.group, *row.cells), strict=True)
        cells = [(column.source, markdown_text(text) if column.is_plain else text) for column, text in texts]
        mark = _MARKS[row.emphasis]
        lines.append(_line([f"{mark}{text}{mark}" if source == "policy" else text for source, text in cells]))
    return "\n".join(lines)


def markdown_text(value: object) -> str:
    """Text from outside for a line or a table cell: on one line, without cell borders and tags."""
    return one_line(str(value)).replace("|", "\\|").replace("<", "&lt;")


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"
