"""Programmes under way, one session after the other: what the policy wants becomes shares, within the rules.

The policy sees a :class:`~lem_models.execution.roll.Roll`: the same state and the same feasible interval as in any
other order. The rules of a programme narrow this interval before the policy decides. The purchase of a session lies in

    [max(0, total - bought - cap * sessions left), min(cap, total - bought - one lot before the minimum)],

in whole lots. The cap of the coming sessions is taken to be that of this one.

**Completion.** Once the policy finishes (from the minimum on), every session buys as much as the cap allows. In a
greenshoe range the firm then aims at the maximum if another share is worth more than it costs, and else at the minimum.
A share earns the promised price, ``mean of the daily VWAPs so far * (1 - discount)``, and costs the last close with
half-spread and fee.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lem_models.execution.policy import Policy, policy_faults
from lem_models.execution.records import Decision, ExecutionState, OrderBatch
from lem_models.execution.roll import Roll
from lem_models.programmes.course import Course

__all__ = ["Progress", "Purchase"]

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class _DayRoll(Roll):
    """A roll whose cap is another one every period, known before it."""

    def __init__(self, course: Course) -> None:
        window, count = course.window, len(course)
        self._day_cap = torch.ones(count, dtype=window.volatility.dtype)
        self._day_reserve = torch.zeros_like(self._day_cap)
        self._day_held_back = torch.zeros_like(self._day_cap)
        super().__init__(
            course.orders,
            expected_volume=window.expected_volume,
            volatility=window.volatility,
            arrival_price=window.arrival_price,
            volume_unit=window.volume_unit,
        )

    def limit_day(self, cap: Tensor, may_trade: Tensor, later: Tensor, held_back: Tensor, close: Tensor) -> None:
        """Set the feasible interval of the period.

        Args:
            cap: Most of a session, as a fraction of the programme, [programmes].
            may_trade: Whether it may buy in this one, bool [programmes].
            later: Sessions after it, [programmes].
            held_back: Fraction that has to be left after it, [programmes].
            close: Last close over the arrival price, that of a blackout day included, [programmes].
        """
        self._last_close = close
        self._day_cap = torch.where(may_trade, cap, 0.0)
        self._day_reserve, self._day_held_back = cap * later, held_back
        self._orders = replace(self._orders, max_rate=cap.clamp(min=1e-6, max=1.0))
        self._bound()

    def _bound(self) -> None:
        room = (self.remaining - self._day_held_back).clamp(min=0)
        self._upper = torch.minimum(self._day_cap, room)
        lower = self.remaining - self._day_reserve
        self._lower = torch.minimum(torch.where(lower > self._tiny, lower, 0.0), self._upper)


class _Heard(Policy):
    """A policy whose last answer is kept: the roll holds it inside its interval, and what it was explains the day."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.fraction: Any = 0.0

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        decision = self._policy.decide(context, orders, state)
        self.fraction = decision[0] if isinstance(decision, tuple) else decision.fraction
        return decision


@dataclass(frozen=True, eq=False)
class Purchase:
    """What programmes buy in a session, [programmes].

    Attributes:
        shares: Shares in whole lots: at the last close where the money is fixed.
        money: Money to spend where it is fixed; NaN else.
        wanted: Shares that the policy asked for, before the rules.
        least: Fewest shares that leave the rest to the later sessions.
        most: Most shares that the rules allow.
        cap: Most shares by the daily cap.
        may_finish: Whether the minimum is reached in the session.
        finishes: Whether the programme is finishing.
        ended: Whether it has ended.
        aims_at_most: Whether a finishing programme aims at the upper end of its range.
        price: Last close.
    """

    shares: Integers
    money: Floats
    wanted: Floats
    least: Integers
    most: Integers
    cap: Integers
    may_finish: Booleans
    finishes: Booleans
    ended: Booleans
    aims_at_most: Booleans
    price: Floats


class Progress:
    """Programmes under way. In turn, for every session: :meth:`decide`, :meth:`book`.

    Args:
        course: The programmes.
        policy: Who decides.

    Attributes:
        period: Period to decide or book next.
        bought: Shares bought, int64 [programmes].
        spent: Money spent, without costs, [programmes].
        finishing: Whether a programme is finishing, bool [programmes].
        ended: Whether it has ended, bool [programmes].
        used: Periods until its last purchase, int64 [programmes].
    """

    def __init__(self, course: Course, policy: Policy) -> None:
        count = len(course)
        self._course, self._policy, self._terms = course, _Heard(policy), course.terms
        self._named = policy
        self._roll = _DayRoll(course)
        self._arrival = course.window.arrival_price.numpy()
        self._unit = course.window.volume_unit.numpy()
        self._last_close = self._arrival.copy()
        self._sum, self._days = np.zeros(count), np.zeros(count)  # of the daily VWAPs
        self.period = 0
        self.bought, self.spent = np.zeros(count, dtype=np.int64), np.zeros(count)
        self.finishing, self.ended = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self.used = np.zeros(count, dtype=np.int64)

    @property
    def benchmark(self) -> Floats:
        """Mean of the daily VWAPs so far; the last close before the first session; [programmes]."""
        return np.where(self._days > 0, self._sum / np.maximum(self._days, 1), self._last_close)

    @torch.no_grad()
    def decide(self) -> Purchase:
        """Decide the session.

        Raises:
            PolicyError: The policy answers with something that is no finite number.
        """
        course, terms, s, lot = self._course, self._terms, self.period, self._terms.lot_size
        cap, may_trade, later = course.caps[:, s], course.may_trade[:, s], course.sessions_left(s)
        may_finish = s + 1 >= course.minimum
        is_over = s >= course.maximum
        self._last_close = course.last_close(s)
        # In units of the total: shares, or money at the last close.
        price = self._last_close if terms.is_notional else np.ones(len(course))
        done = self.spent if terms.is_notional else self.bought.astype(np.float64)
        held_back = np.where(may_finish, 0.0, lot * price)
        self._roll.limit_day(
            _tensor(cap * price / terms.total),
            torch.from_numpy(may_trade & ~is_over),
            _tensor(later),
            _tensor(held_back / terms.total),
            _tensor(self._last_close / self._arrival),
        )
        asleep = self.ended | self.finishing | is_over
        with policy_faults(self._named, course.table):
            self._roll.decide(self._policy, course.context(s), torch.from_numpy(asleep))
        asked = _tensor(self._policy.fraction).expand(len(course)).numpy()
        wants_to_finish = (self._roll.finish > 0.5).numpy()
        no_lot_left = terms.total - done < lot * price
        self.finishing |= may_finish & ~is_over & (wants_to_finish | no_lot_left)

        worth = self.benchmark * terms.promised > self._last_close * (1 + terms.half_spread_and_fee)
        aim = np.where(self.finishing, np.where(worth, terms.maximum, terms.minimum), terms.total)
        self.ended = self.ended | is_over | (self.finishing & (aim - done < (lot * price if terms.is_notional else 1)))
        fraction = self._roll.fraction.numpy()
        wanted = np.where(self.finishing, aim - done, fraction * terms.total) / price
        heard = np.where(self.finishing, aim - done, np.maximum(asked, 0.0) * terms.total) / price
        room = _lots(np.maximum(aim - done - held_back, 0.0) / price, lot)
        if not terms.is_notional:
            # Fills in odd lots leave a rest that is no whole lot: the last purchase takes it.
            room = np.where(self.finishing & (aim - done < lot), np.maximum(aim - done, 0).astype(np.int64), room)
        free = may_trade & ~self.ended
        most = np.where(free, np.minimum(cap, room), 0)
        needed = np.maximum(aim - done - cap.astype(np.float64) * later * price, 0.0) / price
        least = np.minimum(np.where(free, -_lots(-needed, lot), 0), most)
        nearest = _lots(wanted + lot / 2, lot)
        shares = np.clip(np.where(self.finishing, most, nearest), least, most)
        money = np.full(len(course), np.nan)
        if terms.is_notional:
            bounds = (least * price, np.minimum(cap * price, np.maximum(aim - done - held_back, 0.0)))
            asked = np.where(self.finishing, bounds[1], np.clip(wanted * price, *bounds))
            money = np.where(free, asked, 0.0)
            shares = np.where(free, np.minimum(_lots(money / price, lot), cap), 0)
        return Purchase(
            shares=shares,
            money=money,
            wanted=np.where(free, heard, 0.0),
            least=least,
            most=most,
            cap=cap,
            may_finish=may_finish,
            finishes=self.finishing & ~self.ended,
            ended=self.ended.copy(),
            aims_at_most=worth & self.finishing,
            price=self._last_close.copy(),
        )

    def filled(self, purchase: Purchase, price: Floats, volume: Floats) -> Integers:
        """Shares that a simulated session fills, int64 [programmes].

        Args:
            purchase: What was decided.
            price: Average price, [programmes].
            volume: Volume of the time in which the programme may buy, [programmes]: no more can be bought.
        """
        lot, shares = self._terms.lot_size, purchase.shares
        if self._terms.is_notional:
            shares = np.minimum(_lots(purchase.money / price, lot), purchase.cap)
        return np.asarray(np.minimum(shares, _lots(volume, lot)))

    def book(self, shares: Integers, paid: Floats, vwap: Floats, close: Floats, volume: Floats) -> None:
        """Take in what was bought in the session, now that it has closed.

        Args:
            shares: Shares, int64 [programmes].
            paid: Their average price, read where something was bought, [programmes].
            vwap: VWAP of the session, [programmes].
            close: Its close, [programmes].
            volume: Its volume, [programmes].
        """
        money = np.where(shares != 0, shares * paid, 0.0)
        self.bought = self.bought + shares
        self.spent = self.spent + money
        fraction = (money if self._terms.is_notional else shares) / self._terms.total
        self._roll.book(
            _tensor(vwap / self._arrival),
            _tensor(close / self._arrival),
            _tensor(volume / self._unit),
            filled=_tensor(fraction),
            filled_price=_tensor(np.where(shares != 0, paid, vwap) / self._arrival),
        )
        counts = (volume > 0) & (self.period < self._course.maximum)
        self._sum, self._days = self._sum + np.where(counts, vwap, 0.0), self._days + counts
        self.used = np.where(shares != 0, self.period + 1, self.used)
        self.period += 1


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))


def _lots(shares: Floats, lot: int) -> Integers:
    """Whole lots below a number of shares, as shares; a rounding error short counts as whole."""
    return np.asarray(np.floor(shares / lot + 1e-9).astype(np.int64) * lot)
