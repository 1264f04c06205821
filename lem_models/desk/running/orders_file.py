"""Files of desk orders: TOML and CSV.

TOML holds one order, ``[order]`` or the fields at the top, or several, ``[[order]]``. CSV has a row per order and the
names of the fields as its header; an empty cell has the default of its field. An order without an ``id`` is called by
its place in the file, from 1, so that a file that is read again names the same orders.
"""

from __future__ import annotations

import csv
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from lem_models.desk.orders.order import DeskOrder
from lem_models.errors import ConfigError, LEMError, OrderError
from lem_models.guard.text import read_text, shown

if sys.version_info >= (3, 11):
    import tomllib as _toml
else:
    try:
        import tomli as _toml
    except ModuleNotFoundError:  # pragma: no cover
        _toml = None

__all__ = ["read_desk_orders"]

_MAX_BYTES = 1 << 24
_TABLES = ("order", "orders")
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_desk_orders(path: Path) -> list[DeskOrder]:
    """Read the orders of a file.

    Args:
        path: A ``.toml`` or ``.csv`` file.

    Returns:
        The orders, each with an ``id``.

    Raises:
        OrderError: The file cannot be read, holds no order, or an order breaks a rule; the error names the order.
        ConfigError: TOML cannot be read with this version of Python without the package tomli.
    """
    read = {".toml": _read_toml, ".csv": _read_csv}.get(path.suffix.lower())
    if read is None:
        raise OrderError(f"{path} is neither a .toml nor a .csv file of orders", rule="file format")
    if not path.is_file():
        raise OrderError(f"there is no file {path}", rule="readable file")
    try:
        rows = read(path)
    except (OSError, ValueError) as error:
        if isinstance(error, LEMError):
            raise
        reason = _first_line(error)
        cure = _cure(path, reason)
        raise OrderError(f"cannot read the orders of {path}: {reason}{cure}", rule="readable file") from None
    if not rows:
        raise OrderError(f"{path} holds no order", rule="at least one order")
    orders = []
    for number, row in enumerate(rows):
        try:
            orders.append(DeskOrder(**({"id": str(number + 1)} | row)))
        except OrderError as error:
            label = row.get("id", str(number + 1))
            raise OrderError(
                f"{path}: {error.message}", field=error.field, rule=error.rule, row=number, order_id=label
            ) from None
    labels = [order.label for order in orders]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise OrderError(f"two orders of {path} have the id {twice!r}", field="id", rule="unique id")
    return orders


def _read_toml(path: Path) -> list[dict[str, Any]]:
    if _toml is None:  # pragma: no cover
        raise ConfigError("TOML needs Python 3.11 or the package tomli: pip install tomli, or write a .csv file")
    content = _toml.loads(read_text(path, _MAX_BYTES), parse_float=Decimal)
    names = [name for name in _TABLES if name in content]
    if not names:
        return [content] if content else []
    other = [name for name in content if name != names[0]]
    if other:
        raise OrderError(
            f"{path} has {shown(other[0])} beside {names[0]!r}: write orders as [order], or as [[order]] for several",
            rule="file format",
        )
    found = content[names[0]]
    rows = found if isinstance(found, list) else [found]
    if not all(isinstance(row, dict) for row in rows):
        raise OrderError(f"{names[0]!r} of {path} is no table of fields", rule="file format")
    return [dict(row) for row in rows]


def _read_csv(path: Path) -> list[dict[str, Any]]:
    lines = csv.DictReader(read_text(path, _MAX_BYTES).removeprefix("\ufeff").splitlines(), skipinitialspace=True)
    rows = []
    for line in lines:
        if None in line:
            raise OrderError(f"line {lines.line_num} of {path} has more cells than the header", rule="file format")
        cells = {name.strip(): cell.strip() for name, cell in line.items() if cell is not None and cell.strip()}
        rows.append({name: _cell(name, cell) for name, cell in cells.items()})
    return [row for row in rows if row]


def _cell(name: str, cell: str) -> object:
    if name in ("min_duration", "max_duration") and cell.isdigit():
        return int(cell)
    if name in ("hold_open", "allow_incomplete"):
        return _YES_NO.get(cell.lower(), cell)
    return cell


def _cure(path: Path, reason: str) -> str:
    """What to write instead, for the two slips that users make in TOML."""
    if path.suffix.lower() != ".toml":
        return ""
    if "twice" in reason or "overwrite" in reason:
        return "; several orders are written as [[order]], each a table of its own"
    return '; texts stand in quotes: side = "buy"' if "value" in reason.lower() else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
