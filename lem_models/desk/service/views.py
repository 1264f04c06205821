"""What the service shows of a desk: rows of JSON made of its state. Read on the desk's own thread."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import islice
from typing import Any

from lem_models.desk.desk import Desk
from lem_models.desk.log.state import DeskState, OrderState
from lem_models.desk.orders.amounts import plain_text
from lem_models.desk.status import order_status
from lem_models.markets.calendar.frequency import moment

__all__ = ["FALLBACK", "decision_row", "feed_row", "order_page", "order_row", "summary"]

FALLBACK = "decided by the fallback"


@lru_cache(maxsize=4096)
def _iso(timestamp: int) -> str:
    """A moment in ISO 8601; thousands of decisions of one close share a few of them."""
    return moment(timestamp).isoformat()


def decision_row(order: OrderState) -> dict[str, Any] | None:
    """What an order does in its coming bar; ``None`` if no decision is due."""
    entry, wanted = order.decision, order.order
    if entry is None or entry.period != order.period or not order.is_active:
        return None
    paused = order.status == "paused"
    reason = "paused" if paused else entry.reason
    if order.fallback and not paused:
        reason = f"{reason}; {FALLBACK}" if reason else FALLBACK
    size = entry.notional if wanted.is_notional else entry.quantity
    return {
        "order_id": entry.order,
        "child": entry.child,
        "symbol": wanted.symbol,
        "side": wanted.side.value,
        "quantity": "0" if paused else plain_text(entry.quantity),
        "notional": "0" if paused else plain_text(entry.notional),
        "fraction": 0.0 if paused else float(size / wanted.amount),
        "start": _iso(entry.start),
        "end": _iso(entry.start + order.terms.step),
        "limit_participation": wanted.max_participation,
        "finish": entry.finish and not paused,
        "reason": reason,
    }


def order_row(desk: Desk, label: str) -> dict[str, Any]:
    """An order, and what has become of it.

    Raises:
        OrderError: There is no such order.
    """
    order = desk.order(label)
    status = order_status(label, order, desk.policy_name)
    return status.as_dict() | {"text": str(status), "decision": decision_row(order)}


def order_page(
    desk: Desk, *, status: str | None, symbol: str | None, parent: str | None, after: str | None, limit: int
) -> dict[str, Any]:
    """Orders in the sequence in which they came, a page at a time.

    Raises:
        OrderError: There is no order ``after``.
    """
    state = desk.state
    if after is not None:
        desk.order(after)
    wanted = [
        label
        for label, order in state.orders.items()
        if (status is None or order.status == status)
        and (symbol is None or order.order.symbol == symbol)
        and (parent is None or order.order.parent == parent)
    ]
    first = 0
    if after is not None:
        places = {label: place for place, label in enumerate(state.orders)}
        first = next((n for n, label in enumerate(wanted) if places[label] > places[after]), len(wanted))
    page = wanted[first : first + limit]
    following = page[-1] if page and first + limit < len(wanted) else None
    return {"orders": [order_row(desk, label) for label in page], "total": len(wanted), "next": following}


def feed_row(state: DeskState, symbol: str) -> dict[str, Any]:
    """The bars of a symbol."""
    market = state.market[symbol]
    return {
        "symbol": symbol,
        "last": _iso(market.last),
        "close": market.close,
        "bars": len(market.bars),
        "bridged": len(market.bridged),
        "faults": dict(market.faults),
        "message": market.message,
    }


def summary(desk: Desk, *, orders: int, feeds: int) -> dict[str, Any]:
    """The desk at a glance.

    Args:
        desk: The desk.
        orders: Most active orders that are listed.
        feeds: Most feeds that are listed: those that something was wrong with.
    """
    state = desk.state
    faults: Counter[str] = Counter()
    for market in state.market.values():
        faults.update(market.faults)
    active = (label for labels in state.active.values() for label in labels)
    wrong = (symbol for symbol, market in state.market.items() if market.faults)
    return {
        "policy": desk.policy_name,
        "position": state.position,
        "openings": state.openings,
        "orders": dict(Counter(order.status for order in state.orders.values())),
        "symbols": len(state.market),
        "last_close": _iso(max(market.last for market in state.market.values())) if state.market else None,
        "faults": dict(faults),
        "active": [order_row(desk, label) for label in islice(active, orders)],
        "feeds": [feed_row(state, symbol) for symbol in islice(wrong, feeds)],
    }
