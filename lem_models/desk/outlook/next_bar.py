"""What an order does in the coming bar, from a file of bars alone: a desk in memory, replayed up to now.

An order that started before the last bar is replayed over the bars since: what the policy would have decided, filled as
it wished at each bar's VWAP, or with the fills that really were. The result is the schedule so far, the decision for
the coming bar and a forecast of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pandas as pd

from lem_models.desk.decision import Decision
from lem_models.desk.desk import Desk
from lem_models.desk.log.state import OrderState
from lem_models.desk.market_data.feed import Fill
from lem_models.desk.orders.amounts import plain_text
from lem_models.desk.orders.order import DeskOrder
from lem_models.desk.outlook.forecast import forecast_order
from lem_models.desk.running.bar_sources import closed_by
from lem_models.desk.running.fill_files import FillRow
from lem_models.desk.status import OrderStatus
from lem_models.desk.store.event_store import MemoryStore
from lem_models.errors import BarsError, LEMError, OrderError
from lem_models.evaluation.outlook.forecast import Forecast
from lem_models.execution.policy import Policy
from lem_models.guard.timestamps import MomentError, read_moment
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import moment

__all__ = ["SCHEMA", "NextBar", "PastBar", "next_bar", "paper_fill"]

SCHEMA = 1
"""Version of :meth:`NextBar.as_dict`."""


@dataclass(frozen=True)
class PastBar:
    """A closed bar of an order.

    Attributes:
        period: Its number, from 0.
        window: Start and end.
        decided: Units that were to be traded.
        filled: Units that filled.
        price: Their average price; ``None`` where nothing filled.
        left: What of the amount was left after it.
        reason: See :class:`~lem_models.desk.decision.Decision`.
    """

    period: int
    window: tuple[pd.Timestamp, pd.Timestamp]
    decided: Decimal
    filled: Decimal
    price: Decimal | None
    left: Decimal
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The bar for JSON: numbers of units and money as texts, times in ISO 8601."""
        return {
            "period": self.period,
            "window": [each.isoformat() for each in self.window],
            "decided": plain_text(self.decided),
            "filled": plain_text(self.filled),
            "price": None if self.price is None else plain_text(round(self.price, 12)),
            "left": plain_text(self.left),
            "reason": self.reason,
        }


@dataclass(frozen=True)
class NextBar:
    """What an order did and does.

    Attributes:
        policy: Name of the policy.
        order: The order.
        status: Where it stands.
        fills: ``"assumed"`` (what was decided, at each bar's VWAP) or ``"reported"``.
        last_bar: Start and end of the last closed bar.
        close: Its close.
        stale: Why the bars look old; empty where they do not.
        schedule: The closed bars of the order.
        decision: What to do in the coming bar; ``None`` where nothing is due.
        forecast: What may become of the rest; ``None`` where there is none.
        notes: What a reader must know, one sentence each.
    """

    policy: str
    order: DeskOrder
    status: OrderStatus
    fills: str
    last_bar: tuple[pd.Timestamp, pd.Timestamp]
    close: float
    stale: str
    schedule: tuple[PastBar, ...]
    decision: Decision | None
    forecast: Forecast | None
    notes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Everything for JSON; the keys stay within a version of the schema."""
        status = self.status.as_dict()
        status.pop("decision")
        return {
            "schema": SCHEMA,
            "policy": self.policy,
            "order": self.order.model_dump(mode="json"),
            "status": status,
            "fills": self.fills,
            "data": {
                "last_bar": [each.isoformat() for each in self.last_bar],
                "close": self.close,
                "is_stale": bool(self.stale),
                "stale": self.stale or None,
            },
            "schedule": [each.as_dict() for each in self.schedule],
            "decision": None if self.decision is None else self.decision.as_dict(),
            "forecast": None if self.forecast is None else self.forecast.as_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """The same for a terminal."""
        unit = self.order.unit or self.order.symbol
        lines = [str(self.status).partition("\n")[0]]
        if self.schedule:
            how = "fills as reported" if self.fills == "reported" else "filled as decided, at each bar's VWAP"
            lines += ["", f"so far ({how}):", "  bar from (UTC)      decided        filled         price          left"]
            for bar in self.schedule:
                price = "-" if bar.price is None else f"{bar.price:.8g}"
                cells = (plain_text(bar.decided), plain_text(bar.filled), price, f"{plain_text(bar.left)} {unit}")
                lines.append(
                    f"  {bar.window[0]:%Y-%m-%d %H:%M}    " + "".join(cell.ljust(15) for cell in cells).rstrip()
                )
        lines += ["", f"next: {self.decision if self.decision is not None else _nothing(self.status)}"]
        if self.decision is not None and self.decision.reason and self.decision.quantity:
            lines.append(f"  {self.decision.reason}")
        if self.forecast is not None:
            lines += ["", str(self.forecast)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _nothing(status: OrderStatus) -> str:
    if status.status == "waiting":
        return "nothing; the order waits for its start"
    return f"nothing; the order is {status.status}"


def next_bar(
    order: DeskOrder,
    bars: Bars,
    policy: Policy | str,
    *,
    fills: Sequence[FillRow] | None = None,
    paths: int = 200,
    seed: int = 0,
    now: int | None = None,
    allow_frequency: bool = False,
) -> NextBar:
    """What an order does in the coming bar.

    Args:
        order: The order. A start before the last bar is replayed; ``"now"`` is the bar after the last one.
        bars: Closed bars; those of other symbols are ignored.
        policy: Who decides, or a name.
        fills: What really filled, each with its time; without it what was decided fills at each bar's VWAP.
        paths: Simulated paths of the forecast; 0 for none.
        seed: Seed of the paths.
        now: The time, nanoseconds UTC: a bar that has not closed by then is left out, and old bars are said to be old.
            ``None`` not to ask.
        allow_frequency: Whether a model may decide on bars of another length than it was trained on.

    Raises:
        OrderError: The order is refused, or a fill does not belong to it.
        BarsError: The bars lack the symbol, or are too few before the start.
    """
    if order.symbol not in bars.symbols:
        raise BarsError(
            f"the bars have no symbol {order.symbol}; they have {', '.join(bars.symbols[:8])}", rule="known symbol"
        )
    own = bars.select([order.symbol])
    if now is not None:
        own = closed_by(own, now)
    step = int(own.frequency.value)
    first = _first_row(order, own)
    clock = [int(own.timestamp[first - 1]) + step]
    with Desk(MemoryStore(), policy, clock=lambda: clock[0], allow_frequency=allow_frequency) as desk:
        history = own if first == len(own) else own.between(end=moment(int(own.timestamp[first])))
        label = str(desk.add(order, history=history))
        given = None if fills is None else _placed(fills, label, own, first)
        schedule = _replayed(desk, label, own, first, clock, given)
        state, decision = desk.order(label), desk.decision(label)
        status = next(each for each in desk.status().orders if each.order_id == label)
        notes = list(status.notes)
        forecast = None
        if paths and decision is not None:
            try:
                forecast = _forecast(desk, state, own, paths, seed, allow_frequency=allow_frequency)
            except LEMError as error:
                notes.append(f"no forecast: {error}")
        last = moment(int(own.timestamp[-1]))
        return NextBar(
            policy=desk.policy_name,
            order=state.order,
            status=status,
            fills="assumed" if fills is None else "reported",
            last_bar=(last, last + own.frequency),
            close=float(own.close[-1]),
            stale="" if now is None else _stale(last, own.frequency, decision, now),
            schedule=tuple(schedule),
            decision=decision,
            forecast=forecast,
            notes=tuple(notes),
        )


def paper_fill(decision: Decision, volume: float, notional: float) -> Fill | None:
    """The fill of paper trading: what was decided, at the VWAP of its bar, up to the participation limit.

    Args:
        decision: The decision for the bar.
        volume: Volume of the bar, in units.
        notional: Its money.

    Returns:
        The fill, with a label of its own for each child order; ``None`` where nothing fills.
    """
    if not decision.quantity or volume <= 0:
        return None
    quantity = decision.allowed(volume)
    if quantity <= 0:
        return None
    return Fill(
        decision.order_id, quantity, Decimal(repr(notional / volume)), f"paper {decision.child}", decision.child
    )


def _first_row(order: DeskOrder, own: Bars) -> int:
    """Row of the order's first bar; the number of rows where it is still to come.

    Raises:
        BarsError: There is no bar before it.
    """
    try:
        start = read_moment(order.start, needs_zone=True)
    except MomentError:  # "now" or a duration from now
        return len(own)
    first = int((own.timestamp < start).sum())
    if not first:
        raise BarsError(
            f"the order starts at {moment(start):%Y-%m-%d %H:%M} UTC, and the bars begin at "
            f"{moment(int(own.timestamp[0])):%Y-%m-%d %H:%M}: give bars from before the start",
            symbol=order.symbol,
            rule="history",
        )
    return first


def _placed(fills: Sequence[FillRow], label: str, own: Bars, first: int) -> dict[int, list[Fill]]:
    """Fills by the start of their bar, nanoseconds UTC.

    Raises:
        OrderError: A fill has no time, or lies before the order.
    """
    step, last = int(own.frequency.value), int(own.timestamp[-1])
    begin = int(own.timestamp[first]) if first < len(own) else last + step
    placed: dict[int, list[Fill]] = {}
    for fill in fills:
        if fill.order is not None and fill.order != label:
            continue
        if fill.at is None:
            raise OrderError(
                f"fill {fill.id!r} has no time: give the column time, so that its bar is known",
                field="time",
                rule="time",
            )
        if fill.at < begin:
            raise OrderError(
                f"fill {fill.id!r} is of {moment(fill.at):%Y-%m-%d %H:%M} UTC, before the order starts at "
                f"{moment(begin):%Y-%m-%d %H:%M}",
                field="time",
                rule="within the order",
            )
        row = int((own.timestamp <= fill.at).sum()) - 1
        start = int(own.timestamp[row])
        key = start if fill.at < start + step or start < last else last + step
        placed.setdefault(key, []).append(fill.of(label))
    return placed


def _replayed(
    desk: Desk, label: str, own: Bars, first: int, clock: list[int], given: dict[int, list[Fill]] | None
) -> list[PastBar]:
    """Run the order over the bars since its start."""
    step, frame, schedule = int(own.frequency.value), own.frame, []
    for row in range(first, len(own)):
        if not desk.is_active:
            break
        at = int(own.timestamp[row])
        clock[0] = at + step
        decision, before = desk.decision(label), desk.order(label)
        filled, spent = before.filled, before.spent
        fills = [] if given is None else given.pop(at, [])
        if given is None and decision is not None:
            paper = paper_fill(decision, float(own.volume[row]), float(own.notional[row]))
            fills = [paper] if paper is not None else []
        if decision is not None:
            # A reported fill names no child order of this replay.
            fills = [replace(each, child=None if given is not None else each.child) for each in fills]
        desk.observe(frame.iloc[[row]], fills=fills)
        after = desk.order(label)
        if decision is not None:
            units, money = after.filled - filled, after.spent - spent
            schedule.append(
                PastBar(
                    decision.period,
                    decision.window,
                    decision.quantity,
                    units,
                    money / units if units else None,
                    after.left,
                    decision.reason,
                )
            )
    if given:
        clock[0] = max(clock[0], int(own.timestamp[-1]) + step)
        rest = [fill for fills in given.values() for fill in fills]
        desk.fills([replace(fill, child=None) for fill in rest])
    return schedule


def _forecast(desk: Desk, state: OrderState, own: Bars, paths: int, seed: int, *, allow_frequency: bool) -> Forecast:
    from lem_models.baselines.volume_curve import VolumeCurve

    policy: Policy = VolumeCurve(sessions=20) if state.fallback else desk.policy
    return forecast_order(
        state, own, policy, paths=paths, seed=seed, allow_frequency=allow_frequency or bool(state.fallback)
    )


def _stale(last: pd.Timestamp, step: pd.Timedelta, decision: Decision | None, now: int) -> str:
    """Why the bars are old: the bar that is decided has closed already."""
    clock = moment(now)
    ends = last + 2 * step if decision is None else decision.window[1]
    if clock <= ends:
        return ""
    age = (clock - (last + step)).round("s")
    return (
        f"the data is old: its last bar ended at {last + step:%Y-%m-%d %H:%M} UTC, {_in_words(age)} ago, and the bar "
        "that is decided has closed since; fetch newer bars"
    )


def _in_words(age: pd.Timedelta) -> str:
    hours = age.total_seconds() / 3600
    return (
        f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours" if hours >= 2 else f"{hours * 60:.0f} minutes"
    )
