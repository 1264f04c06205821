"""Orders under way, one period after the other: what a policy is told, and how its decisions become fills.

The one place with the rules of trading: the feasible interval, lots, participation limits, bars without volume. They
are written once, for tables of orders as tensors (training with gradients, evaluation) and for one order in plain
numbers (a live session).

Feasibility by construction: the fraction of period ``s`` lies in ``[lower, upper]``, ``upper =
min(max_rate, remaining)``, ``lower = max(min(min_rate, remaining), remaining - max_rate * (periods left after s))``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lem_models.errors import PolicyError
from lem_models.execution.policy import Decision, ExecutionState, OrderBatch, Policy, rows_not_finite

__all__ = ["Paths", "Roll", "dust"]

_SLACK = 1 + 1e-15

Value: TypeAlias = Any
"""A tensor [orders], or a number when one order is followed."""


@dataclass(frozen=True)
class Paths:
    """What a policy did, were it never to finish early.

    Attributes:
        fills: Fraction filled in each period, [orders, periods].
        remaining: Fraction left before each period, [orders, periods].
        finish: Probability of finishing in each period, 0 before the minimum and 1 in the last, [orders, periods].
        capacity: Largest fill of each period once finishing, [orders, periods].
    """

    fills: Tensor
    remaining: Tensor
    finish: Tensor
    capacity: Tensor


def dust(dtype: torch.dtype) -> float:
    """Fractions below this are rounding errors of sums of fractions."""
    return 1e-12 if dtype == torch.float64 else 1e-6


class _Numbers:
    """The functions of torch that the rules below are written with, on plain numbers.

    A call of torch costs a microsecond whatever it works on. With one order that is all the time there is, and these
    take a hundredth of it.
    """

    minimum, maximum, floor = staticmethod(min), staticmethod(max), staticmethod(math.floor)

    @staticmethod
    def round(x: float) -> float:
        return float(round(x)) if math.isfinite(x) else x

    @staticmethod
    def where(condition: bool, one: float, other: float) -> float:
        return one if condition else other


class Roll:
    """Orders under way, one period after the other: state, decision, and the fill once the bar has closed.

    :func:`~lem_models.execution.simulator.simulate` rolls whole tables of orders (with gradients, when the policy has
    them), a live session rolls one order while its bars close. In turn, for every period: :meth:`decide` (or
    :meth:`complete`), then :meth:`book`.

    Args:
        orders: The orders, on the dtype of the other tensors.
        expected_volume: [orders, periods], as in :class:`~lem_models.execution.simulator.MarketWindow`; so are the
            following.
        volatility: [orders].
        arrival_price: [orders].
        volume_unit: [orders].
        as_numbers: Whether there is one order only, followed in plain numbers: what is [orders] below is a number. The
            tensors given are then the policy's to keep; no rule reads them after the start.

    Attributes:
        period: Period to decide or book next.
        remaining: Fraction left before it, [orders].
        fraction: Fraction decided for it, held inside the feasible interval, [orders].
        finish: Probability of finishing in it, 0 before the minimum and 1 in the last, [orders].
        largest: Largest fill of a bar with any amount of volume, [orders].
    """

    def __init__(
        self,
        orders: OrderBatch,
        *,
        expected_volume: Tensor,
        volatility: Tensor,
        arrival_price: Tensor,
        volume_unit: Tensor,
        as_numbers: bool = False,
    ) -> None:
        self._orders, self._as_numbers, self._math = orders, as_numbers, _Numbers if as_numbers else torch
        self._expected, self._volatility, self._arrival = expected_volume, volatility, arrival_price
        self._tiny = dust(expected_volume.dtype)
        self._like = torch.ones_like(volatility)
        self._has_lots = bool((orders.lot > 0).any())
        self._is_limited = bool(torch.isfinite(orders.participation).any())
        self._any_notional = bool(orders.is_notional.any())
        # What is known of every period in advance, once for all of them: calls are what bounds a live decision.
        self._periods = expected_volume.shape[1]
        index = torch.arange(self._periods, device=expected_volume.device)
        maximum, minimum = orders.max_periods[:, None], orders.min_periods[:, None]
        self._reserve = self._by_period(orders.max_rate[:, None] * (maximum - 1 - index).clamp(min=0))
        self._live = self._by_period(index < maximum)
        self._must_finish = self._by_period((index + 1 >= maximum).to(self._like))
        self._may_finish = self._by_period(((index + 1 >= minimum) | (index + 1 >= maximum)).to(self._like))
        self._min_rate, self._max_rate = self._taken(orders.min_rate), self._taken(orders.max_rate)
        self._lot, self._participation = self._taken(orders.lot), self._taken(orders.participation)
        self._is_notional = self._taken(orders.is_notional)
        self.largest = self._to_lots(self._max_rate, down=True)
        # One unit of volume in what the participation counts: units, or money for a notional target.
        self._unit = self._taken(torch.where(orders.is_notional, volume_unit * arrival_price, volume_unit))

        one, zero = self._taken(self._like), self._taken(torch.zeros_like(self._like))
        self._last_price = self._last_close = self._vwap = self._twap = self._executed = one
        self._money = self._units = self._price_sum = self._price_count = zero
        self._weighted = zero  # sum of w P, or of w / P for a notional target
        self._start_context: Tensor | None = None
        self._prices: list[Value] = []
        self._volumes: list[Value] = []
        self.period, self.remaining = 0, one
        self._booked: list[tuple[Value, Value, Value, Value]] = []
        self._bound()

    def state(self) -> ExecutionState:
        """What a policy may know before the period, in tensors of its own: it can reach nothing else through them."""
        return ExecutionState(
            period=self.period,
            remaining=self._given(self.remaining),
            lower=self._given(self._lower),
            upper=self._given(self._upper),
            executed_price=self._given(self._executed),
            vwap=self._given(self._vwap),
            twap=self._given(self._twap),
            last_price=self._given(self._last_price),
            last_close=self._given(self._last_close),
            prices=self._given_periods(self._prices),
            volumes=self._given_periods(self._volumes),
            expected_volume=self._expected if self._as_numbers else self._expected.clone(),
            volatility=self._volatility if self._as_numbers else self._volatility.clone(),
            arrival_price=self._arrival if self._as_numbers else self._arrival.clone(),
            start_context=self._start_context,
        )

    def decide(self, policy: Policy, context: Tensor | None = None) -> None:
        """Ask a policy for the period: sets :attr:`fraction` and :attr:`finish`.

        Args:
            policy: Anything with ``decide``.
            context: Context of the last closed bar, [orders, width]; the policy is handed a copy.

        Raises:
            PolicyError: when the policy answers with something that is not a finite number per order.
        """
        s, m = self.period, self._math
        if s == 0 and context is not None:
            self._start_context = context.clone()  # the policy's to keep: no rule reads it
        orders = self._orders if self._as_numbers else self._orders.copy()
        decision = policy.decide(None if context is None else context.clone(), orders, self.state())
        fraction, finish = (self._answered(decision, name) for name in ("fraction", "finish"))
        live = self._live[s] & (self.remaining > 0)  # what is said of orders that are over does not matter
        fraction, finish = m.where(live, fraction, 0.0), m.where(live, finish, 0.0)
        self._check_finite(fraction, finish)
        self.finish = m.minimum(m.maximum(finish, self._must_finish[s]), self._may_finish[s])
        # In the last period the interval is one point, everything that may still be traded.
        self.fraction = m.minimum(m.maximum(self._to_lots(fraction), self._lower), self._upper)

    def complete(self) -> None:
        """Decide the period without the policy: at the cap until done, which is what finishing means."""
        self.fraction, self.finish = self._upper, self._taken(self._like)

    def book(self, price: Value, close: Value, volume: Value) -> None:
        """Fill what was decided, now that the bar has closed, and move on to the next period.

        Args:
            price: VWAP of the bar over the arrival price, [orders].
            close: Its close over the arrival price, [orders].
            volume: Its volume, in the unit of the expected volume, [orders]; 0 where nothing can be traded.
        """
        s, m, tiny = self.period, self._math, self._tiny
        traded = volume > 0
        capacity = m.where(traded & self._live[s], self._limit(price, volume), 0.0)
        fill = m.minimum(self.fraction, capacity)
        self._booked.append((fill, self.remaining, self.finish, capacity))
        remaining = self.remaining - fill
        self.remaining = remaining = m.where(remaining > tiny, remaining, 0.0)

        filled = 1 - remaining
        some = filled > tiny
        weight = fill * price
        if self._any_notional:
            weight = m.where(self._is_notional, fill / price, weight)
        self._weighted = self._weighted + weight
        safe_filled, safe_weighted = m.where(some, filled, 1.0), m.where(some, self._weighted, 1.0)
        average = safe_weighted / safe_filled
        if self._any_notional:
            average = m.where(self._is_notional, safe_filled / safe_weighted, average)
        self._executed = m.where(some, average, close)

        self._money, self._units = self._money + price * volume, self._units + volume
        self._price_sum = self._price_sum + m.where(traded, price, 0.0)
        self._price_count = self._price_count + m.where(traded, 1.0, 0.0)
        any_volume = self._units > 0
        self._vwap = m.where(any_volume, self._money / m.where(any_volume, self._units, 1.0), close)
        self._twap = m.where(any_volume, self._price_sum / m.where(any_volume, self._price_count, 1.0), close)
        self._prices.append(price)
        self._volumes.append(volume)
        self._last_price, self._last_close = price, close
        self.period = s + 1
        if self.period < self._periods:
            self._bound()

    @property
    def fills(self) -> list[Value]:
        """What was filled in each period so far, [orders] each."""
        return [fill for fill, *_ in self._booked]

    def paths(self) -> Paths:
        """The periods booked so far."""
        return Paths(*(torch.stack(part, 1) for part in zip(*self._booked, strict=True)))

    # -- the rules ---------------------------------------------------------------------------------------------------

    def _bound(self) -> None:
        """The feasible interval of the period."""
        m, remaining = self._math, self.remaining
        self._upper = m.minimum(self._max_rate, remaining)
        lower = m.maximum(m.minimum(self._min_rate, remaining), remaining - self._reserve[self.period])
        self._lower = m.minimum(m.where(lower > self._tiny, lower, 0.0), self._upper)

    def _limit(self, price: Value, volume: Value) -> Value:
        """Largest possible fill of a bar that trades: the cap, or the participation limit if that is less."""
        if not self._is_limited:
            return self.largest
        m = self._math
        units = volume * self._unit
        limit = self._participation * m.where(self._is_notional, units * price, units)
        limit = m.where(volume > 0, limit, 0.0)  # no limit times no volume is not a number
        return self._to_lots(m.minimum(limit, self._max_rate), down=True)

    def _to_lots(self, fraction: Value, *, down: bool = False) -> Value:
        """Nearest whole number of lots (or the next below), untouched where there are none."""
        if not self._has_lots:
            return fraction
        m = self._math
        safe = m.where(self._lot > 0, self._lot, 1.0)
        # The slack: whole lots may come out a rounding error short, of millions of them or of one.
        lots = m.floor(fraction / safe * _SLACK + 1e-6) if down else m.round(fraction / safe)
        return m.where(self._lot > 0, lots * safe, fraction)

    # -- tensors and numbers -----------------------------------------------------------------------------------------

    def _answered(self, decision: Decision, name: str) -> Value:
        """Fraction or finish of a decision, one per order."""
        if isinstance(decision, tuple) and len(decision) == 2:  # a plain pair is welcome from a user's own policy
            decision = Decision(*decision)
        like = self._like
        try:
            answer = getattr(decision, name)
            if self._as_numbers and type(answer) is float:
                return answer
            if answer.is_complex() if isinstance(answer, Tensor) else np.iscomplexobj(answer):
                raise TypeError("it is complex")  # torch would drop the imaginary part
            answer = torch.as_tensor(answer, dtype=like.dtype, device=like.device).expand_as(like)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            problem = f"{name} is not one number per order: {str(error).partition(chr(10))[0]}"
            raise PolicyError(f"decide() of period {self.period}: {problem}") from None
        return self._taken(answer)

    def _check_finite(self, fraction: Value, finish: Value) -> None:
        """Refuse answers that are no numbers."""
        # One sum over everything is finite as a rule; when it is not, each answer is looked at.
        total = fraction + finish
        if math.isfinite(total) if isinstance(total, float) else not rows_not_finite(total):
            return
        for name, answer in (("fraction", fraction), ("finish", finish)):
            each = torch.tensor([answer], dtype=torch.float64) if isinstance(answer, float) else answer
            wrong = rows_not_finite(each)
            if wrong:
                raise PolicyError(
                    f"decide() of period {self.period}: {name} is not finite: {each[wrong[0]].item()}", positions=wrong
                )

    def _taken(self, values: Tensor) -> Value:
        """A tensor [orders] as the rules take it."""
        return values.item() if self._as_numbers else values

    def _given(self, values: Value) -> Tensor:
        """A copy for the policy."""
        return torch.from_numpy(np.array([values])) if self._as_numbers else values.clone()

    def _given_periods(self, values: list[Value]) -> Tensor:
        """A copy of one value per period so far for the policy, [orders, period]."""
        if self._as_numbers:
            return torch.from_numpy(np.array([values], dtype=np.float64))
        return torch.stack(values, 1) if values else self._like.new_empty(len(self._like), 0)

    def _by_period(self, values: Tensor) -> Sequence[Value]:
        """[orders, periods] as a sequence over the periods."""
        return values[0].tolist() if self._as_numbers else values.unbind(1)
