"""Files of fills and decisions: CSV, Parquet and JSON, as tables of texts and plain values.

Only the form is read here. Cells of a CSV are texts: the label "007" and the ticker "NA" stay what they are. JSON is
a list of objects, or an object with one such list (``{"fills": [...]}``).
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa

from lem_models.errors import FillError, LEMError
from lem_models.guard.frames import as_pandas
from lem_models.guard.parquet import GuardedParquet, LocalFile
from lem_models.guard.text import parse_json, read_text, shown

__all__ = ["read_rows"]

_MAX_BYTES = 1 << 28


def read_rows(table: object, what: str) -> pd.DataFrame:
    """The rows of a table or of a file, values unchecked.

    Args:
        table: A ``.csv``, ``.parquet`` or ``.json`` file, or what :func:`~lem_models.guard.frames.as_pandas` takes.
        what: What it holds, for messages: ``"fills"``.

    Returns:
        The table with a plain index; at least one row.

    Raises:
        FillError: The file or table cannot be read, or has no row.
    """
    frame = _read_file(Path(table), what) if isinstance(table, str | os.PathLike) else as_pandas(table, what, FillError)
    if not len(frame):
        raise FillError(f"the table of {what} is empty", rule=f"at least one of the {what}")
    return frame.reset_index(drop=True)


def _read_file(path: Path, what: str) -> pd.DataFrame:
    read = {".csv": _read_csv, ".parquet": _read_parquet, ".json": _read_json}.get(path.suffix.lower())
    if read is None:
        raise FillError(f"{path} is neither a .csv, a .parquet nor a .json file of {what}", rule="file format")
    if not path.is_file():
        raise FillError(f"there is no file {path}", rule="readable file")
    try:
        return read(path, what)
    except FillError:
        raise
    except (LEMError, OSError, ValueError, OverflowError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise FillError(f"cannot read the {what} of {path}: {reason}", rule="readable file") from None


def _read_csv(path: Path, what: str) -> pd.DataFrame:
    """The cells of a CSV as texts. A row of another length is refused: a decimal comma moves all cells after it."""
    text = read_text(path, _MAX_BYTES).removeprefix("\ufeff")
    try:
        separator = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if not rows:
        raise FillError(f"{path} is empty", rule=f"at least one of the {what}")
    head, *cells = rows
    names = [name.strip() for name in head]
    for row, each in enumerate(cells):
        if len(each) != len(names):
            raise FillError(
                f"the row has {len(each)} cells, and there are {len(names)} columns; write 1,5 as 1.5, or in quotes",
                rule="a cell for each column",
                row=row,
            )
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise FillError(f"the column {shown(twice)} of the {what} occurs twice", field=twice, rule="one column")
    return pd.DataFrame(cells, columns=names, dtype=object)


def _read_parquet(path: Path, what: str) -> pd.DataFrame:
    source = LocalFile(path, str(path))
    try:
        file = GuardedParquet(source)
        pieces = list(file.pieces()) or [file.schema.empty_table()]
    finally:
        source.close()
    return as_pandas(pa.concat_tables(pieces).unify_dictionaries(), what, FillError)


def _read_json(path: Path, what: str) -> pd.DataFrame:
    content = parse_json(read_text(path, _MAX_BYTES))
    if isinstance(content, dict) and len(content) == 1:
        content = next(iter(content.values()))
    if not isinstance(content, list):
        raise ValueError(f"{what} are a list of objects, not {shown(content)}")
    names: dict[str, None] = {}
    for row, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise FillError(f"row {row} is {shown(entry)}, and not an object of its columns", rule="rows", row=row)
        for name, value in entry.items():
            if isinstance(value, list | dict):
                raise FillError(
                    f"{name} is {shown(value)}, and a column has one value", field=str(name), rule="one value", row=row
                )
        names |= dict.fromkeys(entry)
    return pd.DataFrame({n: pd.Series([entry.get(n) for entry in content], dtype=object) for n in names})
