"""Names of the columns of fills and decisions, as brokers, exchanges and FIX engines write them.

A column is found by its own name or by one of the other words for it, in any case and without punctuation: ``orderId``,
``Order ID`` and ``order_id`` are the same name. Two columns for one field are refused, unless one of them has the
field's own name: nobody can say which of ``timestamp`` and ``datetime`` is the time of the fill but the user, with
``columns={"time": "datetime"}``. Columns of no field are left unread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lem_models.errors import FillError
from lem_models.guard.text import shown
from lem_models.orders.fields import plain_name

__all__ = ["DECISION_COLUMNS", "FILL_COLUMNS", "find_columns"]

_ORDER_ID = (
    *(
        "parent_id",
        "parent_order_id",
        "client_order_id",
        "cl_ord_id",
        "order",
        "order_number",
        "oid",
        "perm_id",
        "ordertxid",
    ),
)

FILL_COLUMNS: Mapping[str, Sequence[str]] = {
    "order_id": _ORDER_ID,
    "time": (
        *("timestamp", "datetime", "date_time", "fill_time", "trade_time", "execution_time", "exec_time"),
        *("transact_time", "transaction_time", "executed_at", "filled_at", "traded_at"),
        *("created_at", "date_utc", "time_utc", "date_time_utc", "timestamp_utc"),
    ),
    "quantity": (
        *("qty", "fill_qty", "fill_quantity", "filled_qty", "last_qty", "last_shares", "exec_qty", "executed_qty"),
        *("size", "amount", "shares", "volume", "contracts", "executed", "vol"),
    ),
    "price": ("px", "fill_price", "last_px", "last_price", "exec_price", "executed_price", "trade_price", "t_price"),
    "symbol": ("ticker", "instrument", "pair", "ric", "sym", "security", "product"),
    "side": ("direction", "action", "buy_sell", "is_buyer", "is_buy"),
    "fee": ("fees", "commission", "commissions", "comm", "comm_fee", "fee_cost"),
    "fee_currency": ("commission_asset", "commission_currency", "fee_asset", "price_fee_total_unit"),
    "fill_id": ("id", "trade_id", "exec_id", "execution_id", "match_id", "txid"),
    "liquidity": ("liquidity_flag", "liquidity_indicator", "last_liquidity_ind", "is_maker", "taker_or_maker"),
}
"""Columns of a table of fills, each with the other words for it."""

DECISION_COLUMNS: Mapping[str, Sequence[str]] = {
    "order_id": (*_ORDER_ID, "id"),
    "start": ("time", "timestamp", "window_start", "period_start", "from"),
    "end": ("window_end", "period_end", "until"),
    "quantity": ("qty", "wanted", "target_quantity", "size", "amount"),
}
"""Columns of a table of decisions, each with the other words for it."""


def find_columns(
    columns: Sequence[object],
    fields: Mapping[str, Sequence[str]],
    given: Mapping[str, str] | None,
    *,
    required: Sequence[str],
    what: str,
) -> dict[str, object]:
    """Find the column of each field.

    Args:
        columns: Columns of the table.
        fields: Fields with the other words for each.
        given: Columns by field that the user names; they need not resemble the field.
        required: Fields that must be there.
        what: What the table holds, for messages: ``"fills"``.

    Returns:
        The table's column for each field that there is.

    Raises:
        FillError: A column occurs twice, a field has several columns or none, or a name that was given is unknown.

    Example:
        >>> find_columns(["orderId", "Qty", "px"], FILL_COLUMNS, None, required=["quantity"], what="fills")
        {'order_id': 'orderId', 'quantity': 'Qty', 'price': 'px'}
    """
    twice = next((name for place, name in enumerate(columns) if name in columns[:place]), None)
    if twice is not None:
        raise FillError(f"the column {shown(twice)} of the {what} occurs twice", field=str(twice), rule="one column")
    given = {} if given is None else given
    for field, name in given.items():
        if field not in fields:
            raise FillError(
                f"{shown(field)} is no column of {what}; they are {', '.join(fields)}", field=field, rule="known column"
            )
        if name not in columns:
            raise FillError(
                f"the {what} have no column {shown(name)}; they have {_listed(columns)}",
                field=field,
                rule="known column",
            )
    left = [name for name in columns if name not in given.values()]
    found: dict[str, object] = {}
    for field, words in fields.items():
        if field in given:
            found[field] = given[field]
            continue
        own = [name for name in left if plain_name(name) == plain_name(field)]
        known = {plain_name(word) for word in words}
        named = own or [name for name in left if plain_name(name) in known]
        if len(named) > 1:
            raise FillError(
                f"{' and '.join(map(shown, named))} may both be the {field} of the {what}: name one, "
                f"columns={{{field!r}: {str(named[0])!r}}} (--{what}-columns {field}={named[0]})",
                field=field,
                rule="one column",
            )
        if named:
            found[field] = named[0]
    missing = [field for field in required if field not in found]
    if missing:
        raise FillError(
            f"the {what} have no column for {' and '.join(missing)}; they have {_listed(columns)}: name it, "
            f"columns={{{missing[0]!r}: ...}} (--{what}-columns {missing[0]}=...)",
            field=missing[0],
            rule="required column",
        )
    return found


def _listed(columns: Sequence[object]) -> str:
    return ", ".join(map(shown, columns[:20])) + (", ..." if len(columns) > 20 else "") if len(columns) else "none"
