"""The model of a table: rows of numbers, and columns with their formats.

A table is built once, by :mod:`~lem_models.report.policy_tables` or by :func:`pivot`, and rendered by
:mod:`~lem_models.report.html`, :mod:`~lem_models.report.console` or :mod:`~lem_models.report.markdown`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import pandas as pd

from lem_models.errors import UnknownNameError
from lem_models.guard.output import is_missing
from lem_models.report.numbers import MISSING, fact_text, number_text

__all__ = ["Column", "Emphasis", "Row", "Table", "pivot"]

Emphasis: TypeAlias = Literal["strong", "light", ""]
"""How a row stands out from the others."""


@dataclass(frozen=True)
class Column:
    """One printed column.

    Attributes:
        source: Column of the data frame, or several that fill one cell (the two ends of an interval).
        label: Heading.
        format: Format string with one placeholder per source; a cell with a missing value is a dash. Or a function of
            the values, which may be missing. ``"{}"`` prints a value of any type.
        group: Heading above neighbouring columns of the same group, e.g. their unit; empty for none.
        dropped: Place among the columns that a narrow terminal leaves out, 1 for the first; 0 for a column that stays.
    """

    source: str | tuple[str, ...]
    label: str
    format: str | Callable[..., str] = "{}"
    group: str = ""
    dropped: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """Columns of the data frame that fill the cell."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def is_plain(self) -> bool:
        """Whether the cell prints the value unformatted; then its text may come from outside."""
        return self.format == "{}"

    def text(self, values: Mapping[Any, Any]) -> str:
        """Text of a cell from the values of its row."""
        cell = [values[source] for source in self.sources]
        if callable(self.format):
            return self.format(*cell)
        if any(is_missing(value) for value in cell):
            return MISSING
        return fact_text(cell[0]) if self.is_plain else number_text(self.format.format(*cell))


@dataclass(frozen=True)
class Row:
    """One printed row.

    Attributes:
        group: Texts of the columns that the table is grouped by.
        cells: Texts of the columns.
        emphasis: How the row stands out.
        is_first: Whether it is the first row of its group.
        is_last: Whether it is the last row of its group.
    """

    group: tuple[str, ...]
    cells: tuple[str, ...]
    emphasis: Emphasis
    is_first: bool
    is_last: bool


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        frame: The numbers, a row per printed row.
        columns: The printed columns.
        title: Heading.
        note: Sentence below the heading.
        grouped: Columns whose values are printed once for the neighbouring rows that share them.
        emphasis: How the rows of some values of the column ``policy`` stand out.
        collapsed: Whether a page folds the table away.
        more: Further tables of the same subject, folded below this one.

    Raises:
        UnknownNameError: If the frame lacks a column.
    """

    frame: pd.DataFrame
    columns: Sequence[Column]
    title: str = ""
    note: str = ""
    grouped: Sequence[Column] = ()
    emphasis: Mapping[str, Emphasis] = field(default_factory=dict)
    collapsed: bool = False
    more: Sequence[Table] = ()

    def __post_init__(self) -> None:
        """Refuse missing columns, before anything is written."""
        for column in (*self.grouped, *self.columns):
            for name in column.sources:
                if name not in self.frame.columns:
                    raise UnknownNameError.among("column", name, map(str, self.frame.columns))

    def is_numeric(self, column: Column) -> bool:
        """Whether the cells of a column are numbers: they are aligned right."""
        kinds = [self.frame[source].dtype for source in column.sources]
        return all(pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in kinds)

    def records(self) -> list[dict[str, Any]]:
        """The values behind the printed cells, a mapping per row; keys are the columns of the data frame."""
        sources = (source for column in (*self.grouped, *self.columns) for source in column.sources)
        return [
            {str(key): value for key, value in row.items()}
            for row in self.frame[list(dict.fromkeys(sources))].to_dict("records")
        ]

    def rows(self) -> Iterator[Row]:
        """The printed rows."""
        records = self.frame.to_dict("records")
        groups = [tuple(column.text(values) for column in self.grouped) for values in records]
        for number, (values, group) in enumerate(zip(records, groups, strict=True)):
            yield Row(
                group,
                tuple(column.text(values) for column in self.columns),
                self.emphasis.get(str(values.get("policy")), ""),
                is_first=number == 0 or groups[number - 1] != group,
                is_last=number == len(groups) - 1 or groups[number + 1] != group,
            )


def pivot(
    frame: pd.DataFrame,
    down: str,
    across: str,
    cell: Callable[[Mapping[Any, Any]], str],
    *,
    corner: str = "",
    label: str = "{}",
    emphasis: Mapping[str, Emphasis] | None = None,
) -> Table:
    """A row per value of one column and a column per value of another: policies by minimum duration.

    Args:
        frame: One row per cell.
        down: Column whose values are the rows, in the sequence in which they occur.
        across: Column whose values are the columns, ascending.
        cell: Text of a cell from its row of the frame.
        corner: Heading of the first column.
        label: Heading of the other columns, with a placeholder for the value.
        emphasis: See :class:`Table`.

    Returns:
        The table; a cell without a row in the frame is a dash.
    """
    texts = {(values[down], values[across]): cell(values) for values in frame.to_dict("records")}
    rows = list(dict.fromkeys(row for row, _ in texts))
    columns = sorted({column for _, column in texts})
    body = {str(column): [texts.get((row, column), MISSING) for row in rows] for column in columns}
    return Table(
        pd.DataFrame({down: rows, **body}),
        [Column(down, corner), *(Column(str(column), label.format(column)) for column in columns)],
        emphasis=emphasis or {},
    )
