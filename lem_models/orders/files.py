"""Tables of orders in files: CSV, Parquet and JSON.

- ``.csv``: a header with the names of the fields. Symbols and labels stay texts: the ticker "NA" is no missing value,
  and the label "007" no number. An empty cell has the default of its field.
- ``.parquet``: a column per field.
- ``.json``: a list of objects, or ``{"orders": [...]}``. A field that is left out, or is null, has its default.

Only the form is read here. Names, numbers and times are checked like those of any table of orders.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lem_models.errors import LEMError, OrderError
from lem_models.guard.frames import as_pandas
from lem_models.guard.parquet import GuardedParquet, LocalFile
from lem_models.guard.text import parse_json, read_text, shown
from lem_models.orders.durations import DURATION_FIELDS
from lem_models.orders.fields import FIELDS, SIZES
from lem_models.orders.rules import NUMERIC

__all__ = ["read_orders", "read_orders_parquet"]

_MAX_JSON_BYTES = 1 << 28
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_NUMBERS = (*NUMERIC, *SIZES)


def read_orders(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of orders from a file.

    Args:
        path: A ``.csv``, ``.parquet`` or ``.json`` file.

    Returns:
        The table, one row per order; its values are not yet checked.

    Raises:
        OrderError: The suffix is none of these, the file cannot be read, or an entry is not an order.
    """
    file = Path(path)
    read = {".csv": _read_csv, ".parquet": read_orders_parquet, ".json": _read_json}.get(file.suffix.lower())
    if read is None:
        hint = ": orders of a desk are measured by lem desk report" if file.suffix.lower() == ".toml" else ""
        raise OrderError(f"{file} is neither a .csv, a .parquet nor a .json file of orders{hint}", rule="file format")
    if not file.is_file():
        raise OrderError(f"there is no file {file}", rule="readable file")
    try:
        return read(file)
    except OrderError:
        raise
    except (LEMError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise OrderError(f"cannot read the table of orders {file}: {error}", rule="readable file") from None


def _read_csv(path: Path) -> pd.DataFrame:
    known = dict.fromkeys((*FIELDS, *SIZES), str)
    table = pd.read_csv(path, dtype=known, keep_default_na=False, encoding="utf-8-sig")
    for name in table.columns.intersection([*known]):
        read = _number if name in _NUMBERS else _text
        cells = [read(cell, name) for cell in table[name].tolist()]
        table[name] = pd.Series(cells, dtype=object, index=table.index)
    return table


def _text(cell: str, name: str) -> str | None:
    return cell if cell.strip() else None


def _number(cell: str, name: str) -> float | int | str | None:
    """The number in a cell; what is none stays a text, and is refused with its row where it is no duration."""
    plain = cell.strip()
    if not plain:
        return None
    if not _NUMBER.fullmatch(plain):
        return cell
    return int(plain) if name in DURATION_FIELDS and plain.isdecimal() else float(plain)


def read_orders_parquet(path: Path) -> pd.DataFrame:
    """The table of a parquet file, with checks of the file and none of its columns.

    Raises:
        BarsError: The file is damaged or too large.
        OSError: It cannot be opened.
    """
    source = LocalFile(path, str(path))
    try:
        file = GuardedParquet(source)
        pieces = list(file.pieces()) or [file.schema.empty_table()]
    finally:
        source.close()
    return as_pandas(pa.concat_tables(pieces).unify_dictionaries(), "orders", OrderError)


def _read_json(path: Path) -> pd.DataFrame:
    content = parse_json(read_text(path, _MAX_JSON_BYTES))
    if isinstance(content, dict):
        if set(content) != {"orders"}:
            raise ValueError(f"an object with orders is {{'orders': [...]}}; this one has {shown(sorted(content))}")
        content = content["orders"]
    if not isinstance(content, list):
        raise ValueError(f"orders are a list of objects, not {shown(content)}")
    names: dict[str, None] = {}
    for row, order in enumerate(content):
        _check_entry(order, row)
        names |= dict.fromkeys(order)
    columns = {name: [order.get(name) for order in content] for name in names}
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


def _check_entry(order: Any, row: int) -> None:  # noqa: ANN401 (what JSON holds)
    """Refuse an entry that is no object of plain values."""
    if not isinstance(order, dict):
        raise OrderError(f"an order is an object of its fields, not {shown(order)}", rule="orders", row=row)
    for name, value in order.items():
        if isinstance(value, list | dict):
            raise OrderError(
                f"{name} is {shown(value)}, and a field of an order has one value",
                field=name,
                rule="one value",
                row=row,
                order_id=order.get("order_id") if isinstance(order.get("order_id"), str | int) else None,
            )
