"""The order of the form: units or money, dates or durations, read by the rules of the desk."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lem_models.app.limits import LIMITS, Limits
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.orders.terms import resolve
from lem_models.desk.orders.times import SESSIONS, duration_or_bars
from lem_models.errors import OrderError, UnknownNameError
from lem_models.guard.timestamps import MomentError, read_moment
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment
from lem_models.markets.order_placing import BarPlacement
from lem_models.orders import Order
from lem_models.orders.durations import read_duration
from lem_models.orders.fields import start_rule
from lem_models.orders.rules import Target

__all__ = ["OrderForm", "read_form"]


@dataclass(frozen=True)
class OrderForm:
    """Texts of the form.

    Attributes:
        symbol: Symbol of the bars.
        side: ``buy`` or ``sell``.
        amount: Units or money, ``"40 BTC"``; empty for an order whose size is a part of the expected volume.
        start: A time, UTC where it names no zone. An order trades from the first bar that starts then or later.
        end: A time, a duration from the start, or a number of bars.
        shortest: Shortest duration, or a number of bars; empty for all of it.
        benchmark: Name of the benchmark.
        lot_size: Fills are whole multiples of it; empty for any quantity.
        max_participation: Largest part of a bar's volume; ``None`` for no limit.
        risk_aversion: Weight of the squared slippage.
    """

    symbol: str
    side: str = "buy"
    amount: str = ""
    start: str = ""
    end: str = ""
    shortest: str = ""
    benchmark: str = "vwap"
    lot_size: str = ""
    max_participation: float | None = None
    risk_aversion: float | None = None


def read_form(
    form: OrderForm, bars: Bars, horizon: int | None, limits: Limits = LIMITS
) -> tuple[Order, tuple[str, ...]]:
    """Read the order of a form.

    Args:
        form: The form.
        bars: The bars that it trades on.
        horizon: Longest order of the policy in bars; ``None`` for any.
        limits: Limits.

    Returns:
        The order, placed on the bars, and what a reader must know about it.

    Raises:
        OrderError: A field cannot be read, or the order breaks a rule; the error names the field.
        UnknownNameError: The bars do not hold the symbol.
    """
    for each in fields(form):
        value = getattr(form, each.name)
        if isinstance(value, str) and len(value) > limits.text:
            raise OrderError(f"{each.name} has more than {limits.text} letters", field=each.name, rule="length")
    if form.symbol not in bars.symbol_numbers:
        raise UnknownNameError.among("symbol", form.symbol, bars.symbols)
    has_amount = bool(form.amount.strip())
    given: dict[str, Any] = {
        "symbol": form.symbol,
        "side": form.side,
        # The desk knows no order without an amount. Here one may have the size of the dial: this amount is not kept.
        "amount": form.amount.strip() if has_amount else 1,
        "start": _time(form.start, "start"),
        "benchmark": form.benchmark,
        "lot_size": form.lot_size.strip() or None,
        "max_participation": form.max_participation,
        "risk_aversion": form.risk_aversion,
        "min_duration": duration_or_bars(form.shortest.strip()) if form.shortest.strip() else None,
    }
    end = duration_or_bars(form.end.strip())
    if isinstance(end, int):
        given["max_duration"] = end
    elif end:
        given["end"] = end if read_duration(end) or SESSIONS.fullmatch(end) else _time(end, "end")
    desk = DeskOrder(**given)
    if not has_amount and (desk.lot_size is not None or desk.max_participation is not None):
        name = "lot_size" if desk.lot_size is not None else "max_participation"
        raise OrderError(f"{name} needs an amount: give the order one", field="amount", rule="required")
    if desk.lot_size is not None and desk.target is Target.NOTIONAL:
        raise OrderError(
            "lots are units, and the amount is money: give the amount in units, or leave the lots out",
            field="lot_size",
            rule="one unit",
        )
    placement = BarPlacement(bars)
    asked = read_moment(desk.start, needs_zone=True)
    start = int(placement.starts(np.array([desk.symbol], dtype=object), np.array([asked]), [desk.symbol])[0])
    calendars = bars.grid.calendars
    calendar = calendars.kinds[int(calendars.which[bars.number_of(desk.symbol)])]
    if not calendar.contains(np.array([start]))[0]:
        number = bars.number_of(desk.symbol)
        first, last = bars.timestamp[bars.offsets[number]], bars.timestamp[bars.offsets[number + 1] - 1]
        raise OrderError(
            f"no bar of {desk.symbol} starts at {moment(start):%Y-%m-%d %H:%M} UTC; its bars start from "
            f"{moment(int(first)):%Y-%m-%d %H:%M} to {moment(int(last)):%Y-%m-%d %H:%M} UTC",
            field="start",
            rule="a bar starts then",
        )
    terms = resolve(desk, calendar, start, horizon)
    if terms.max_periods > limits.periods:
        raise OrderError(
            f"the order would take {terms.max_periods} bars, and {limits.periods} is the most here: end it earlier",
            field="end",
            rule="length of an order",
        )
    order = Order(
        symbol=desk.symbol,
        start=moment(start),
        side=desk.side.value,
        benchmark=desk.benchmark.value,
        target=desk.target.value,
        min_periods=terms.min_periods,
        max_periods=terms.max_periods,
        risk_aversion=desk.risk_aversion,
        amount=float(desk.amount) if has_amount else None,
        lot_size=None if desk.lot_size is None else float(desk.lot_size),
        max_participation=desk.max_participation,
        order_id="order",
    )
    moved = () if start == asked else (f"The order starts with the next bar, at {moment(start):%Y-%m-%d %H:%M} UTC",)
    return order, moved


def _time(text: str, field: str) -> str:
    """A time of the form, in UTC where it names no zone, as the desk reads it."""
    try:
        return moment(read_moment(text.strip(), needs_zone=False)).isoformat()
    except MomentError as error:
        reason = error.reason.partition(": write it as ")[0] if text.strip() else "it is empty"
        raise OrderError(
            f"{field}: {reason}; the form takes 2017-03-06 or 2017-03-06 09:30 (UTC)"
            + (", a duration such as 12h or 10 days, or a number of bars" if field == "end" else ""),
            field=field,
            rule=start_rule(error),
        ) from None
