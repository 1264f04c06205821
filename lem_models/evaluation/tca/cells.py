"""Numbers in the cells of a broker's table: decimal texts, units behind numbers, separators of thousands."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import FillError
from lem_models.guard.text import shown
from lem_models.orders.fields import is_missing

__all__ = ["read_numbers", "split_units", "with_column", "without_groups"]

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_WITH_UNIT = re.compile(r"([+-]?[0-9][0-9.,]*) ?([A-Za-z]{2,10})", re.ASCII)
_GROUPED = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", re.ASCII)
_POINT = re.compile(r"[0-9]\.[0-9]", re.ASCII)


def read_numbers(
    frame: pd.DataFrame, column: object, field: str, *, empty: float | None = None
) -> npt.NDArray[np.float64]:
    """A column of finite numbers, [rows]; texts are read as decimal numbers.

    Args:
        frame: The table.
        column: The column.
        field: What it holds, for messages.
        empty: Value of an empty cell; ``None`` refuses it.

    Raises:
        FillError: A cell is empty or no finite number; names the row.
    """
    values = np.empty(len(frame))
    for row, cell in enumerate(frame[column].tolist()):
        plain = cell.strip() if isinstance(cell, str) else cell
        if is_missing(plain) or plain == "":
            if empty is None:
                raise FillError(f"the {field} is missing", field=field, rule="required", row=row)
            values[row] = empty
            continue
        is_text = isinstance(plain, str)
        if isinstance(plain, bool) or (is_text and not _NUMBER.fullmatch(plain)):
            hint = ": write 1,234.5 as 1234.5" if is_text and "," in plain else ""
            raise FillError(
                f"the {field} is {shown(cell)}, and not a number{hint}", field=field, rule="number", row=row
            )
        try:
            values[row] = float(plain)
        except (TypeError, ValueError, OverflowError):
            raise FillError(
                f"the {field} is {shown(cell)}, not a number", field=field, rule="number", row=row
            ) from None
        if not np.isfinite(values[row]):
            raise FillError(f"the {field} is {shown(cell)}", field=field, rule="finite number", row=row)
    return values


def split_units(cells: Sequence[object]) -> tuple[list[object], npt.NDArray[np.object_]] | tuple[None, None]:
    """Take the units away that stand behind numbers: ``2.6BTC``.

    Args:
        cells: A column.

    Returns:
        The column with numbers alone, and the unit of each row, object [rows]; ``None`` twice if no cell has one.
    """
    matches = [_WITH_UNIT.fullmatch(cell.strip()) if isinstance(cell, str) else None for cell in cells]
    if not any(matches):
        return None, None
    plain = [cell if match is None else match[1] for cell, match in zip(cells, matches, strict=True)]
    return plain, np.array([None if match is None else match[2] for match in matches], dtype=object)


def with_column(frame: pd.DataFrame, column: object, cells: Sequence[object]) -> pd.DataFrame:
    """A copy of the table with other cells in a column, or with one more column."""
    changed = frame.copy()
    changed[column] = pd.Series(list(cells), index=frame.index, dtype=object)
    return changed


def without_groups(frame: pd.DataFrame, columns: Sequence[object]) -> tuple[pd.DataFrame, bool]:
    """Take separators of thousands away, where decimal points in the same columns say that commas are no decimal ones.

    Args:
        frame: The table.
        columns: Columns of numbers.

    Returns:
        The table, and whether there were any.
    """
    cells = [frame[column].tolist() for column in columns]
    grouped = [[isinstance(cell, str) and bool(_GROUPED.fullmatch(cell.strip())) for cell in each] for each in cells]
    if not any(map(any, grouped)) or not any(_has_point(cell) for each in cells for cell in each):
        return frame, False
    for column, each, marks in zip(columns, cells, grouped, strict=True):
        plain = [str(cell).replace(",", "") if mark else cell for cell, mark in zip(each, marks, strict=True)]
        frame = with_column(frame, column, plain)
    return frame, True


def _has_point(cell: object) -> bool:
    return isinstance(cell, str) and bool(_POINT.search(cell))  # floats say nothing about how texts are written
