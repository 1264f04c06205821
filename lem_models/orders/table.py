"""Tables of orders: one row per order, completed with defaults and checked before any compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import OrderError
from lem_models.guard.frames import as_pandas
from lem_models.guard.text import shown
from lem_models.guard.timestamps import MomentError, read_moments
from lem_models.orders.durations import DURATION_FIELDS, Duration, read_duration
from lem_models.orders.fields import (
    FIELDS,
    SIZES,
    is_missing,
    meant_field,
    read_choice,
    read_number,
    read_symbol,
    start_rule,
    unknown_field,
)
from lem_models.orders.files import read_orders
from lem_models.orders.order import Order
from lem_models.orders.rules import CHOICES, DEFAULTS, NUMERIC, as_text, check_rules
from lem_models.orders.sizes import named_size

__all__ = ["COLUMNS", "OrdersLike", "Placement", "complete_orders", "orders_frame", "unread_columns"]

COLUMNS = FIELDS
"""Columns of a complete table of orders, in order."""

OrdersLike: TypeAlias = (
    "Order | Mapping[str, Any] | Sequence[Order | Mapping[str, Any]] | pd.DataFrame | str | os.PathLike[str]"
)
"""What functions take as orders, see :func:`orders_frame`; tables of other libraries too."""

_READ = (*COLUMNS, *SIZES)
"""Names of columns that are read."""

_EXACT_INTEGERS = 2**53  # floats hold whole numbers up to this
_MANY = 64  # rows from which on it pays to look for equal texts
_Value = TypeVar("_Value")


def orders_frame(orders: OrdersLike) -> pd.DataFrame:
    """Make a table of orders from one order, several orders, or a table.

    Args:
        orders: An :class:`Order`; a mapping of its fields; a list or tuple of these; or a table with a column per
            field: a DataFrame of pandas, or what :func:`~lem_models.guard.frames.as_pandas` makes one of; or the path
            of a file for :func:`~lem_models.orders.files.read_orders`.

    Returns:
        A new table; a table is copied. The values are unchanged.

    Raises:
        OrderError: The argument is none of these, an order breaks a rule, the name of a column is refused, or the file
            cannot be read.
    """
    if isinstance(orders, str | os.PathLike):
        orders = read_orders(orders)
    if isinstance(orders, Order | Mapping):
        return _listed([orders], in_table=False)
    if isinstance(orders, list | tuple):
        return _listed(orders, in_table=True)
    if orders is None or isinstance(orders, pd.Series | bytes) or _is_one_by_one(orders):
        raise OrderError(
            "orders are an Order, a mapping of its fields, a list of these, or a table with a row per order; got "
            f"{_kind(orders)}",
            rule="orders",
        )
    table = as_pandas(orders, "orders", OrderError).copy()
    _check_names(table)
    return table


def _is_one_by_one(orders: object) -> bool:
    """Whether orders come one by one, as from a generator or a set, which may be empty when it is read again."""
    return hasattr(orders, "__iter__") and not hasattr(orders, "columns") and not hasattr(orders, "__arrow_c_stream__")


def _kind(value: object) -> str:
    if value is None:
        return "None"
    cure = "; put them into a list" if _is_one_by_one(value) and not isinstance(value, str | bytes) else ""
    return f"{shown(value)}, which is of the type {type(value).__name__}{cure}"


def _listed(orders: Sequence[Order | Mapping[str, Any]], *, in_table: bool) -> pd.DataFrame:
    rows = []
    for row, order in enumerate(orders):
        try:
            rows.append(_order(order).model_dump())
        except OrderError as error:
            label = order.get("order_id") if isinstance(order, Mapping) else None
            raise error.at(row, label) if in_table else error from None
    columns = {name: [_plain(row[name]) for row in rows] for name in Order.model_fields}
    return pd.DataFrame({name: cells for name, cells in columns.items() if not all(map(is_missing, cells))})


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _order(order: object) -> Order:
    if isinstance(order, Order):
        return order
    if not isinstance(order, Mapping):
        raise OrderError(f"an order is an Order or a mapping of its fields; got {_kind(order)}", rule="orders")
    several = next((name for name, value in order.items() if isinstance(value, list | tuple | np.ndarray)), None)
    if several is not None:
        raise OrderError(
            f"{several} holds several values, and a mapping is one order: make a DataFrame of a table of columns",
            field=str(several),
            rule="one value",
        )
    # As in a table, an empty cell has the default.
    return Order(**{str(name): value for name, value in order.items() if not is_missing(value)})


def _check_names(table: pd.DataFrame) -> None:
    """Refuse names of columns that occur twice, or look like a field and are none; nothing would read them."""
    for kind, names in (("index", table.index.names), ("column", list(table.columns))):
        for position, name in enumerate(names):
            if name in names[:position]:
                raise OrderError(f"the {kind} {shown(name)} occurs twice", field=str(name), rule="unique columns")
            if kind == "index" and name is not None and (name in _READ or meant_field(name)):
                raise OrderError(
                    f"the index is named {shown(name)}, and only columns are read; call reset_index() first",
                    field=str(name),
                    rule="known column",
                )
            field = None if name in _READ else meant_field(name)
            if field is not None and kind == "column":
                raise unknown_field(name, "column")


def unread_columns(table: pd.DataFrame) -> list[str]:
    """Columns of a table of orders that are not fields. Results carry them along, and nothing reads them."""
    return [str(name) for name in table.columns if name not in _READ]


class Placement(Protocol):
    """What bars say about orders: where they start, and how many bars a duration is."""

    def starts(
        self, symbols: npt.NDArray[Any], starts: npt.NDArray[np.int64], labels: Sequence[object]
    ) -> npt.NDArray[np.int64]:
        """Starts on the grid of the bars, nanoseconds UTC, [orders].

        Args:
            symbols: Symbol of each order, object [orders].
            starts: Start of each order, [orders].
            labels: Labels of the orders.

        Raises:
            OrderError: A start lies inside a bar and is not to be moved.
        """

    def periods(self, duration: Duration, field: str, symbol: str, start: int) -> float:
        """Number of bars that a duration is, for an order of this symbol that starts then.

        Raises:
            OrderError: It is no whole number of bars; names the field.
        """


def complete_orders(
    orders: OrdersLike,
    *,
    horizon: int | None,
    risk_aversion: float | None,
    fixed_risk_aversion: float | None = None,
    benchmarks: Sequence[str] | None = None,
    first_label: int = 0,
    placement: Placement | None = None,
) -> pd.DataFrame:
    """Complete and check a table of orders: every column has its type and no missing default; the row order is kept.

    Args:
        orders: One order, several, or a table. Columns beyond :data:`COLUMNS` are kept.
        horizon: The policy's horizon: the default of ``max_periods`` and its upper bound; ``None`` if it has none.
        risk_aversion: The policy's default; with ``None`` missing values stay missing.
        fixed_risk_aversion: The policy's default for orders of a fixed duration, if it differs.
        benchmarks: The benchmarks that the policy can serve; ``None`` for any.
        first_label: Default label of the first order; those of the others follow.
        placement: The bars, as far as orders depend on them. Without it starts stay and durations are refused.

    Returns:
        DataFrame with :data:`COLUMNS` first; ``start`` in UTC.

    Raises:
        OrderError: An order breaks a rule; the error names the field, the rule, the row and the label of the order.
    """
    table = orders_frame(orders).reset_index(drop=True)
    missing = [name for name in ("symbol", "start", "side") if name not in table]
    if missing and len(table.columns):
        raise OrderError(f"the table of orders lacks the columns {missing}", field=missing[0], rule="required column")
    if table.empty:
        raise OrderError("the table of orders is empty: give at least one order", rule="at least one order")
    order_id = _labels(table, first_label)
    labels = order_id.tolist()
    columns: dict[Any, Any] = {
        "order_id": order_id,
        "symbol": pd.Series(_cells(table["symbol"], read_symbol, labels)).astype(str),
        "start": _utc(table["start"], labels),
    }
    if placement is not None:
        begin = placement.starts(columns["symbol"].to_numpy(dtype=object), _nanoseconds(columns["start"]), labels)
        columns["start"] = _as_utc(begin)
        table = _in_bars(table, columns["symbol"], begin, labels, placement)
    table = _with_amounts(table, labels)
    columns |= {name: _choice(table, name, labels) for name in CHOICES}
    if benchmarks is not None:
        _refuse(
            ~np.isin(columns["benchmark"], list(benchmarks)),
            labels,
            lambda row: (
                f"this policy does not know the benchmark {columns['benchmark'][row]}, only {' and '.join(benchmarks)}"
            ),
            field="benchmark",
            rule="the policy's benchmarks",
        )
    numeric = {name: _number(table, name, labels) for name in NUMERIC}
    given = numeric["max_periods"]
    if horizon is None:
        _refuse(
            np.isnan(given),
            labels,
            lambda row: "max_periods is missing and this policy has no horizon of its own",
            field="max_periods",
            rule="required",
        )
    numeric["max_periods"] = np.where(np.isnan(given), horizon or 0, given)
    numeric["min_periods"] = np.where(np.isnan(numeric["min_periods"]), numeric["max_periods"], numeric["min_periods"])
    for name in ("max_periods", "min_periods"):
        periods = numeric[name]
        wrong = periods != np.floor(periods)
        _refuse(wrong, labels, partial(_not_whole, name, periods), field=name, rule="integer")
    risk = np.isnan(numeric["risk_aversion"])
    default = np.full(len(table), 0.0 if risk_aversion is None else risk_aversion)
    if fixed_risk_aversion is not None:
        default[numeric["min_periods"] == numeric["max_periods"]] = fixed_risk_aversion
    numeric["risk_aversion"] = np.where(risk, default, numeric["risk_aversion"])
    check_rules(numeric, order_ids=labels)
    if horizon is not None:
        maximum = numeric["max_periods"]
        _refuse(
            maximum > horizon,
            labels,
            lambda row: f"max_periods is {as_text(maximum[row])}, but this policy's horizon is {horizon} periods",
            field="max_periods",
            rule="within the horizon",
        )
    if risk_aversion is None:
        numeric["risk_aversion"] = np.where(risk, np.nan, numeric["risk_aversion"])
    columns |= {n: values.astype(np.int64) if n.endswith("_periods") else values for n, values in numeric.items()}
    unread = {name: table[name] for name in table.columns if name not in _READ}
    # Made at once: a column at a time takes most of the time that one order takes.
    return pd.DataFrame({name: columns[name] for name in COLUMNS} | unread)


def _not_whole(name: str, periods: npt.NDArray[np.float64], row: int) -> str:
    return f"{name} must be a whole number; got {as_text(periods[row])}"


def _refuse(
    mask: npt.NDArray[np.bool_], labels: Sequence[object], message: Callable[[int], str], *, field: str, rule: str
) -> None:
    """Raise an error for the first row in a mask, if there is one."""
    rows = np.flatnonzero(mask)
    if rows.size:
        row = int(rows[0])
        raise OrderError(message(row), field=field, rule=rule, row=row, order_id=labels[row])


def _labels(table: pd.DataFrame, first: int) -> pd.Series[Any]:
    """The column ``order_id``: row numbers where labels are missing; repeated labels are refused."""
    numbers = pd.Series(np.arange(first, first + len(table)))
    if "order_id" not in table:
        return numbers
    labels = table["order_id"]
    # Cells of any other type than object can be hashed.
    for row, label in enumerate(labels.array if labels.dtype == object else ()):
        try:
            hash(label)
        except TypeError:
            raise OrderError(
                f"order_id must be a text or a number; got {shown(label)}", field="order_id", rule="label", row=row
            ) from None
    missing = labels.isna().to_numpy()
    if missing.any():
        labels = labels.astype(object).where(~missing, numbers)
    twice = labels.duplicated().to_numpy()
    if twice.any():
        row = int(np.argmax(twice))
        first = int(np.argmax((labels == labels[row]).to_numpy()))
        raise OrderError(
            f"order_id {shown(labels.tolist()[row])} occurs twice, in the rows {first} and {row}",
            field="order_id",
            rule="unique",
            row=row,
        )
    return labels


def _cells(column: pd.Series[Any], read: Callable[[object], _Value], labels: Sequence[object]) -> npt.NDArray[Any]:
    """Read a column cell by cell, object [orders]; of a long column of texts each distinct text is read once."""
    which: npt.NDArray[np.intp] = np.arange(len(column))
    if len(column) >= _MANY and pd.api.types.infer_dtype(column, skipna=True) == "string":
        which, distinct = pd.factorize(column, use_na_sentinel=False)
        cells = list(distinct)
    else:
        cells = column.tolist() if column.dtype == object else list(column.array)
    values = np.empty(len(cells), dtype=object)
    for number, cell in enumerate(cells):
        try:
            values[number] = read(cell)
        except OrderError as error:
            row = int(np.argmax(which == number))
            raise error.at(row, labels[row]) from None
    return np.asarray(values[which])


def _utc(column: pd.Series[Any], labels: Sequence[object]) -> pd.Series[Any]:
    try:
        nanoseconds = read_moments(column)
    except MomentError as error:
        row = error.row or 0
        problem = OrderError(f"start: {error.reason}", field="start", rule=start_rule(error))
        raise problem.at(row, labels[row]) from None
    return _as_utc(nanoseconds)


def _as_utc(nanoseconds: npt.NDArray[np.int64]) -> pd.Series[Any]:
    starts: pd.Series[Any] = pd.Series(nanoseconds.view("datetime64[ns]")).dt.tz_localize("UTC")
    return starts


def _nanoseconds(starts: pd.Series[Any]) -> npt.NDArray[np.int64]:
    return np.asarray(starts.astype("int64"))


def _in_bars(
    table: pd.DataFrame,
    symbols: pd.Series[Any],
    starts: npt.NDArray[np.int64],
    labels: Sequence[object],
    placement: Placement,
) -> pd.DataFrame:
    """A table of orders with numbers of bars in place of durations."""
    for name in DURATION_FIELDS:
        if name not in table or not _may_hold_texts(table[name]):
            continue
        cells = list(table[name].array)
        for row, cell in enumerate(cells):
            duration = read_duration(cell)
            if duration is not None:
                try:
                    cells[row] = placement.periods(duration, name, symbols[row], int(starts[row]))
                except OrderError as error:
                    raise error.at(row, labels[row]) from None
        table = table.assign(**{name: pd.Series(cells, dtype=object)})
    return table


def _may_hold_texts(column: pd.Series[Any]) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def _with_amounts(table: pd.DataFrame, labels: Sequence[object]) -> pd.DataFrame:
    """A table of orders whose quantities and notionals are amounts with their targets."""
    if not any(name in table for name in SIZES):
        return table
    sizes = {name: list(table[name].array) for name in ("amount", *SIZES) if name in table}
    targets = list(table["target"].array) if "target" in table else [None] * len(table)
    amounts = sizes.get("amount", [None] * len(table))
    for row, label in enumerate(labels):
        try:
            name = named_size({each: cells[row] for each, cells in sizes.items()}, targets[row])
            if name is not None:
                amounts[row], targets[row] = read_number(sizes[name][row], name), SIZES[name]
        except OrderError as error:
            raise error.at(row, label) from None
    return table.assign(amount=pd.Series(amounts, dtype=object), target=pd.Series(targets, dtype=object))


def _choice(table: pd.DataFrame, name: str, labels: Sequence[object]) -> npt.NDArray[Any]:
    """A column of words, object [orders]."""
    default = DEFAULTS.get(name)
    if name not in table:
        return np.full(len(table), default, dtype=object)

    def read(cell: object) -> str:
        word = read_choice(cell, name)
        if word is None and default is None:
            raise OrderError(f"the {name} is missing", field=name, rule="required")
        return str(default) if word is None else word

    return _cells(table[name], read, labels)


def _number(table: pd.DataFrame, name: str, labels: Sequence[object]) -> npt.NDArray[np.float64]:
    """A column of numbers, [orders]; the default where there is none."""
    if name not in table:
        return np.full(len(table), DEFAULTS[name])
    column = table[name]
    plain = column.dtype == np.float64
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        whole = column.to_numpy()
        plain = bool(whole.max() <= _EXACT_INTEGERS and whole.min() >= -_EXACT_INTEGERS)
    if plain:
        values = column.to_numpy(dtype=np.float64)
    else:
        values = _cells(column, lambda cell: read_number(cell, name), labels).astype(np.float64)
    return np.where(np.isnan(values), DEFAULTS[name], values)
