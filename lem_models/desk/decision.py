"""What to do in the coming bar, in units and money."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import pandas as pd

from lem_models.desk.orders.amounts import decimal_of, grouped_text, money_text, plain_text, units_text
from lem_models.desk.orders.sizing import held_inside
from lem_models.errors import OrderError

__all__ = ["Decision"]

_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Decision:
    """What one order does in one bar.

    Attributes:
        order_id: Label of the order.
        child: Label of the child order, the same after a restart: a venue that knows it already does not take it twice.
        symbol: Symbol.
        side: ``"buy"`` or ``"sell"``.
        quantity: Units to trade in the window; 0 for none.
        notional: Their money: what a notional order spends, else the quantity at the last close.
        fraction: Part of the order that the child order is.
        window: Start and end of the bar.
        limit_participation: Largest part of the bar's volume to trade; ``None`` for no limit.
        finish: Whether the policy ends the order: it trades the rest at once, or at the cap until done.
        reason: Who decided, and why the quantity is not what was wished.
        left: Units (of a notional order, money) left once the child order is filled.
        unit: Word for the amount.
        is_notional: Whether the amount is money.
        may_finish: From when the order may finish.
        period: Number of the bar of the order, from 0.
        lot_size: The lot, for :meth:`allowed`.
        tick_size: Step of the venue's prices, for :meth:`limit_price`.
    """

    order_id: str
    child: str
    symbol: str
    side: str
    quantity: Decimal
    notional: Decimal
    fraction: float
    window: tuple[pd.Timestamp, pd.Timestamp]
    limit_participation: float | None
    finish: bool
    reason: str
    left: Decimal
    unit: str
    is_notional: bool
    may_finish: pd.Timestamp
    period: int
    lot_size: Decimal | None = None
    tick_size: Decimal | None = None

    def allowed(self, volume: float) -> Decimal:
        """The rate limit inside the bar: most units that may be filled once the bar has traded so many units.

        Args:
            volume: Volume of the bar so far.
        """
        return held_inside(self.quantity, self.limit_participation, volume, self.lot_size)

    def limit_price(self, reference: Decimal | float | str, bps: float = 0.0) -> Decimal:
        """A limit for the child order, on the grid of the venue's prices.

        Args:
            reference: The price now, for instance the last trade or the middle of the quotes.
            bps: How much worse than the reference a fill may be; negative for better.

        Returns:
            The price, rounded to the tick that is not worse: down for a purchase, up for a sale.

        Raises:
            OrderError: The reference is not positive, or the limit falls to zero.

        Example:
            A purchase at most 5 bps above 100.03 on ticks of 0.05 has its limit at 100.05.
        """
        price = decimal_of(reference, "reference")
        buys = self.side == "buy"
        limit = price * (1 + (1 if buys else -1) * Decimal(repr(bps)) / 10_000)
        if self.tick_size is not None:
            ticks = (limit / self.tick_size).to_integral_value(ROUND_FLOOR if buys else ROUND_CEILING)
            limit = ticks * self.tick_size
        if price <= 0 or limit <= 0:
            raise OrderError(f"a limit is positive; got {plain_text(limit)} from {reference}", rule="positive price")
        return limit

    def as_dict(self) -> dict[str, Any]:
        """The decision for JSON: numbers of units and money as texts, times in ISO 8601."""
        return {
            "order_id": self.order_id,
            "child": self.child,
            "symbol": self.symbol,
            "side": self.side,
            "quantity": plain_text(self.quantity),
            "notional": plain_text(self.notional),
            "fraction": self.fraction,
            "window": [each.isoformat() for each in self.window],
            "limit_participation": self.limit_participation,
            "finish": self.finish,
            "reason": self.reason,
            "left": plain_text(self.left),
            "unit": self.unit,
            "may_finish": self.may_finish.isoformat(),
            "period": self.period,
            "text": str(self),
        }

    def __str__(self) -> str:
        """The decision in a sentence."""
        start, end = self.window
        by_day = end - start >= _DAY
        times = f"on {start:%Y-%m-%d}" if by_day else f"from {start:%H:%M} to {end:%H:%M} UTC"
        unit = self.unit or self.symbol
        units = units_text if self.lot_size is None else grouped_text
        notes = [f"{self.fraction:.1%}".replace("%", " %") + " of the order"] if self.quantity else []
        if self.limit_participation is not None and self.quantity:
            notes.append(
                f"at most {plain_text(Decimal(repr(self.limit_participation * 100)).quantize(_PERMIL))} % of volume"
            )
        if not self.quantity:
            what = "nothing"
            notes.append(self.reason)
        elif self.is_notional:
            what = f"{units(self.quantity)} {self.symbol} for {money_text(self.notional)} {unit}"
        else:
            what = f"{units(self.quantity)} {unit}"
        text = f"{self.side} {what} {times}"
        text += f" ({', '.join(note for note in notes if note)})" if any(notes) else ""
        if self.is_notional:
            # Units of twelve digits leave a dust of money, which is nothing to read.
            left = money_text(self.left if self.left > self.notional * _DUST else Decimal())
        else:
            left = units(self.left)
        text += f"; {left} {unit} left"
        if self.finish:
            return f"{text}; finishing"
        if self.may_finish >= end:
            when = f"{self.may_finish:%Y-%m-%d}" if by_day else f"{self.may_finish:%H:%M}"
            if not by_day and self.may_finish.date() != start.date():
                when = f"{self.may_finish:%Y-%m-%d %H:%M}"
            text += f"; may finish from {when}"
        return text


_DUST = Decimal("1e-8")
_PERMIL = Decimal("0.001")
