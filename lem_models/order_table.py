"""Tables of orders: one row per order, completed with defaults and checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import OrderError
from lem_models.order_rules import CHOICES, DEFAULTS, NUMERIC, check_rules
from lem_models.orders import Order, start_rule
from lem_models.timestamps import MomentError, read_moments

__all__ = ["COLUMNS", "complete_orders", "orders_frame"]

COLUMNS: tuple[str, ...] = ("order_id", "symbol", "start", "side", *DEFAULTS)
"""Columns of a complete table of orders, in order."""


def orders_frame(
    orders: Order | Mapping[str, Any] | Sequence[Order | Mapping[str, Any]] | pd.DataFrame,
) -> pd.DataFrame:
    """Table of orders from one order, several orders, or a table (returned as a copy)."""
    if isinstance(orders, pd.DataFrame):
        return orders.copy()
    listed = [orders] if isinstance(orders, Order | Mapping) else orders
    if isinstance(listed, str) or not all(isinstance(order, Order | Mapping) for order in listed):
        raise OrderError(f"orders are an Order, a mapping, several of them, or a DataFrame; got {orders!r:.80}")
    rows = [(Order(**order) if isinstance(order, Mapping) else order).model_dump() for order in listed]
    plain = [{k: v.value if isinstance(v, Enum) else v for k, v in row.items()} for row in rows]
    table = pd.DataFrame(plain, columns=list(Order.model_fields))
    return table.drop(columns=[c for c in table.columns if table[c].isna().all()])


def complete_orders(
    orders: Order | Mapping[str, Any] | Sequence[Order | Mapping[str, Any]] | pd.DataFrame,
    *,
    horizon: int | None,
    risk_aversion: float | None,
    fixed_risk_aversion: float | None = None,
) -> pd.DataFrame:
    """Complete and check a table of orders: every column present, typed, defaults filled in; row order kept.

    Args:
        orders: One order, several, or a table. Columns beyond :data:`COLUMNS` are kept.
        horizon: The policy's horizon, default of ``max_periods`` and its upper bound; ``None`` when it has none.
        risk_aversion: The policy's default; ``None`` leaves missing values missing.
        fixed_risk_aversion: The policy's default for orders of a fixed duration, if it differs.

    Returns:
        DataFrame with :data:`COLUMNS` first; ``start`` in UTC.

    Raises:
        OrderError: naming field, rule and row.
    """
    table = orders_frame(orders).reset_index(drop=True)
    if table.empty:
        raise OrderError("the table of orders is empty", field=None, rule="at least one order")
    missing = [name for name in ("symbol", "start", "side") if name not in table]
    if missing:
        raise OrderError(f"the table of orders lacks the columns {missing}", field=missing[0], rule="required column")
    for name in table.columns:
        close = difflib.get_close_matches(str(name), COLUMNS, 1, cutoff=0.85)
        if name not in COLUMNS and close:
            raise OrderError(
                f"unknown column {name!r}; did you mean {close[0]!r}?", field=str(name), rule="known column"
            )
    if "order_id" not in table:
        table["order_id"] = np.arange(len(table))
    missing_id = table["order_id"].isna().to_numpy()
    if missing_id.any():
        table["order_id"] = table["order_id"].astype(object).where(~missing_id, pd.Series(np.arange(len(table))))
    if table["order_id"].duplicated().any():
        row = int(np.flatnonzero(table["order_id"].duplicated())[0])
        raise OrderError(f"order_id {table['order_id'][row]!r} occurs twice", field="order_id", rule="unique", row=row)
    nameless = _first(table["symbol"].isna().to_numpy())
    if nameless is not None:
        raise OrderError("the symbol is missing", field="symbol", rule="required", row=nameless)
    table["symbol"] = table["symbol"].astype(str)
    table["start"] = _utc(table["start"])
    for name, kind in CHOICES.items():
        table[name] = _choice(table, name, kind)
    numeric = {name: _number(table, name, DEFAULTS[name]) for name in NUMERIC}
    if horizon is None and np.isnan(numeric["max_periods"]).any():
        row = int(np.flatnonzero(np.isnan(numeric["max_periods"]))[0])
        raise OrderError(
            "max_periods is missing and this policy has no horizon of its own",
            field="max_periods",
            rule="required",
            row=row,
        )
    numeric["max_periods"] = np.where(np.isnan(numeric["max_periods"]), horizon or 0, numeric["max_periods"])
    numeric["min_periods"] = np.where(np.isnan(numeric["min_periods"]), numeric["max_periods"], numeric["min_periods"])
    for name in ("max_periods", "min_periods"):
        wrong = _first(numeric[name] != np.floor(numeric[name]))
        if wrong is not None:
            raise OrderError(
                f"{name} must be a whole number; got {numeric[name][wrong]:g}", field=name, rule="integer", row=wrong
            )
    risk = np.isnan(numeric["risk_aversion"])
    default = np.full(len(table), 0.0 if risk_aversion is None else risk_aversion)
    if fixed_risk_aversion is not None:
        default[numeric["min_periods"] == numeric["max_periods"]] = fixed_risk_aversion
    numeric["risk_aversion"] = np.where(risk, default, numeric["risk_aversion"])
    check_rules(numeric)
    if horizon is not None:
        wrong = _first(numeric["max_periods"] > horizon)
        if wrong is not None:
            raise OrderError(
                f"max_periods is {numeric['max_periods'][wrong]:g}, but this policy's horizon is {horizon} periods",
                field="max_periods",
                rule="within the horizon",
                row=wrong,
            )
    if risk_aversion is None:
        numeric["risk_aversion"] = np.where(risk, np.nan, numeric["risk_aversion"])
    for name, values in numeric.items():
        table[name] = values.astype(np.int64) if name.endswith("_periods") else values
    return table[[*COLUMNS, *(c for c in table.columns if c not in COLUMNS)]]


def _first(mask: npt.NDArray[Any]) -> int | None:
    rows = np.flatnonzero(mask)
    return int(rows[0]) if rows.size else None


def _utc(column: pd.Series[Any]) -> pd.Series[Any]:
    try:
        nanoseconds = read_moments(column)
    except MomentError as error:
        raise OrderError(f"start: {error.reason}", field="start", rule=start_rule(error), row=error.row) from None
    starts: pd.Series[Any] = pd.Series(nanoseconds.view("datetime64[ns]"), index=column.index).dt.tz_localize("UTC")
    return starts


def _choice(table: pd.DataFrame, name: str, kind: type[Enum]) -> npt.NDArray[Any]:
    known = [member.value for member in kind]
    if name not in table:
        return np.full(len(table), DEFAULTS[name], dtype=object)
    column = table[name]
    values = column.map(lambda v: v.value if isinstance(v, Enum) else v).astype(object)
    values = values.where(values.notna(), DEFAULTS.get(name))
    row = _first(~values.isin(known).to_numpy())
    if row is not None:
        raise OrderError(
            f"{name} must be one of {known}; got {column.iloc[row]!r}", field=name, rule="known value", row=row
        )
    return values.to_numpy(dtype=object)


def _number(table: pd.DataFrame, name: str, default: float) -> npt.NDArray[Any]:
    if name not in table:
        return np.full(len(table), default)
    column = table[name]
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    row = _first(np.isnan(values) & column.notna().to_numpy())
    if row is not None:
        raise OrderError(f"{name} must be a number; got {column.iloc[row]!r}", field=name, rule="number", row=row)
    return np.where(np.isnan(values), default, values)
