"""Tables of any library as pandas data frames.

A table of bars or of orders is a pandas data frame, a table with the Arrow PyCapsule interface (polars, pyarrow and
others), a mapping of columns, or a list of rows. Nothing is interpreted here: the reader of a column checks its values.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pandas as pd
import pyarrow as pa

from lem_models.errors import LEMError
from lem_models.guard.text import shown

__all__ = ["as_pandas", "is_table"]

_COLLECT = ("collect", "compute", "to_pandas", "toPandas")
"""Methods that load a lazy or remote table into memory. The error names them as the cure; they are never called."""


def as_pandas(table: object, what: str, error: type[LEMError]) -> pd.DataFrame:
    """A table of any library as a pandas DataFrame.

    Args:
        table: A pandas DataFrame, which is returned unchanged; a table with the Arrow PyCapsule interface
            (``polars.DataFrame``, ``pyarrow.Table`` or ``RecordBatch``, and others); a mapping from names of columns to
            values; or a list of mappings, one per row.
        what: What the table holds, in the plural, for the message: ``"bars"``, ``"orders"``.
        error: The error to raise.

    Returns:
        The table. Copy it before changing it.

    Raises:
        LEMError: The argument is not such a table. The error is of the type ``error`` and names its type and the cure.

    Example:
        >>> from lem_models.errors import BarsError
        >>> as_pandas({"close": [10.0, 11.0]}, "bars", BarsError)["close"].tolist()
        [10.0, 11.0]
        >>> as_pandas("bars.csv", "bars", BarsError)
        Traceback (most recent call last):
        lem_models.errors.BarsError: bars are read from a table, and 'bars.csv' is a text or a path: read the file first
    """
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, str | bytes | os.PathLike):
        raise error(f"{what} are read from a table, and {shown(table)} is a text or a path: read the file first")
    try:
        if _speaks_arrow(table):
            return _from_arrow(pa.table(table))
        if isinstance(table, Mapping):
            return pd.DataFrame(dict(table))
        if isinstance(table, list) and table and all(isinstance(row, Mapping) for row in table):
            return pd.DataFrame(table)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as problem:
        # The first line is the problem; some libraries add many lines.
        reason = (str(problem).splitlines() or [""])[0]
        raise error(f"{what} are read from a table, and this {_name(table)} is not one: {reason}") from problem
    raise error(
        f"{what} are read from a table of pandas, polars or pyarrow, a mapping of columns or a list of rows, not from "
        f"{_name(table)}; {_cure(table)}"
    )


def is_table(table: object) -> bool:
    """Whether something is one table, and not several tables in sequence."""
    return isinstance(table, pd.DataFrame | Mapping) or (_speaks_arrow(table) and not isinstance(table, Iterator))


def _speaks_arrow(table: object) -> bool:
    return hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__")


def _from_arrow(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a data frame; integer columns with missing values stay integers, as floats lose digits."""
    holed = {column.type for column in table.columns if pa.types.is_integer(column.type) and column.null_count}
    frame: pd.DataFrame = table.to_pandas(
        ignore_metadata=True, types_mapper=lambda kind: pd.ArrowDtype(kind) if kind in holed else None
    )
    return frame


def _name(table: object) -> str:
    """Name of a class, with its library if it is not built in: ``dask.DataFrame``."""
    kind = type(table)
    library = kind.__module__.partition(".")[0]
    return kind.__qualname__ if library == "builtins" else f"{library}.{kind.__qualname__}"


def _cure(table: object) -> str:
    method = next((name for name in _COLLECT if callable(getattr(table, name, None))), None)
    return f"call .{method}() first" if method else "make it a pandas DataFrame first"
