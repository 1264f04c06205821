"""The decision of a day: how many shares, which rule binds, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from lem_models.programmes.days import Window
from lem_models.programmes.terms import ProgrammeTerms

__all__ = ["DayDecision"]


@dataclass(frozen=True)
class DayDecision:
    """What a programme buys in its next session.

    Attributes:
        terms: The programme.
        day: The session.
        session: Number of the session in the programme, from 1.
        shares: Shares to buy, in whole lots; for a fixed notional as many as :attr:`notional` buys at the last close.
        notional: Money: of the shares at the last close, or to be spent where the money is fixed.
        least: Fewest shares that leave the rest to the sessions after it.
        most: Most shares that the rules allow.
        cap: Shares by the daily cap; ``None`` without one.
        average_daily_volume: Volume that the cap is a part of.
        binds: Which rule changed what the policy asked for: ``"daily cap"``, ``"latest completion"``,
            ``"earliest completion"``, ``"blackout"``, ``"complete"``, ``"over"``, or ``"none"``.
        may_finish: Whether the programme may be complete after the session.
        finishes: Whether it is finishing: every session buys as much as the cap allows.
        expected_cost_bps: Half-spread, fee and impact at the average daily volume, in bps of the money.
        expected_cost: The same in money.
        left_after: Shares or money left to the total after the session.
        filled_already: Shares that were reported for the session before it closed.
        window: Times between which the rule allows purchases; ``None`` where daily bars do not show them.
        reason: The decision in one sentence.
    """

    terms: ProgrammeTerms
    day: date
    session: int
    shares: int
    notional: float
    least: int
    most: int
    cap: int | None
    average_daily_volume: float
    binds: str
    may_finish: bool
    finishes: bool
    expected_cost_bps: float
    expected_cost: float
    left_after: float
    filled_already: int
    window: Window | None
    reason: str

    def __str__(self) -> str:
        """The decision in a line."""
        return self.reason

    @property
    def participation(self) -> float:
        """Shares as a part of the average daily volume."""
        return self.shares / self.average_daily_volume

    def order_fields(self) -> dict[str, Any]:
        """Fields of the order that executes the day: what remains of it, by the names of :class:`~lem_models.Order`.

        ``start`` and ``end`` are the times that the rule allows where they are known, else the day. The benchmark is
        the VWAP of the day, whose mean the programme is judged against. ``most_shares`` is the daily cap that is left.
        """
        amount: dict[str, Any] = {"target": "quantity", "amount": max(self.shares - self.filled_already, 0)}
        if self.terms.is_notional:
            price = self.notional / self.shares if self.shares else 0.0
            amount = {"target": "notional", "amount": max(self.notional - self.filled_already * price, 0.0)}
        return {
            "symbol": self.terms.symbol,
            "side": "buy",
            "benchmark": "vwap",
            **amount,
            "lot_size": self.terms.lot_size,
            "start": self.window.start if self.window is not None else self.day,
            "end": self.window.end if self.window is not None else self.day,
            "most_shares": None if self.cap is None else max(self.cap - self.filled_already, 0),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = {name: getattr(self, name) for name in vars(self) if name not in ("terms", "window", "day")}
        window = None if self.window is None else {"start": self.window.start, "end": self.window.end}
        return {"day": self.day.isoformat(), **plain, "participation": self.participation, "window": window}
