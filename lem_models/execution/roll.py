"""Orders under way, one period after the other: what a policy is told, and how its decisions become fills.

The one place with the rules of trading: the feasible interval, lots, participation limits, bars without volume. They
serve training (with gradients), evaluation and live orders alike.

Feasibility by construction: the fraction of period ``s`` lies in ``[lower, upper]``, ``upper =
min(max_rate, remaining)``, ``lower = max(min(min_rate, remaining), remaining - max_rate * (periods left after s))``.
Where participation is capped ahead, the cap of a period is the participation times its expected volume if that is less,
and ``lower`` leaves to the later periods only what their caps can take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lem_models.errors import PolicyError
from lem_models.execution.policy import ContextStream, Policy, rows_not_finite
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, Paths, mapped

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Roll", "dust"]

_SLACK = 1 + 1e-15
_HALF = 0.5 + 1e-9  # half a lot may come out a rounding error short


def dust(dtype: torch.dtype) -> float:
    """Fractions up to this are rounding errors of sums of fractions: an order with no more left is complete."""
    return 1e-12 if dtype == torch.float64 else 1e-5


class Roll:
    """Orders under way, one period after the other: state, decision, and the fill once the bar has closed.

    :func:`~lem_models.execution.simulator.simulate` rolls whole tables of orders (with gradients, when the policy has
    them); live orders are rolled while their bars close. In turn, for every period: :meth:`decide`, :meth:`complete`
    for the orders that are finishing, :meth:`book`.

    Args:
        orders: The orders, on the dtype of the other tensors.
        expected_volume: [orders, periods], as in :class:`~lem_models.execution.records.MarketWindow`; so are the
            following.
        volatility: [orders].
        arrival_price: [orders].
        volume_unit: [orders].
        cap_ahead: Whether participation limits cap decisions too, by the volume expected of each period.

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
        cap_ahead: bool = False,
    ) -> None:
        self._orders = orders
        self._expected, self._volatility, self._arrival = expected_volume, volatility, arrival_price
        self._tiny = dust(expected_volume.dtype)
        self._like = torch.ones_like(volatility)
        self._has_lots = bool((orders.lot > 0).any())
        self._is_limited = bool(torch.isfinite(orders.participation).any())
        self._caps_ahead = cap_ahead and self._is_limited
        self._any_notional = bool(orders.is_notional.any())
        # What is known of every period in advance, once for all of them.
        self._periods = expected_volume.shape[1]
        index = torch.arange(self._periods, device=expected_volume.device)
        maximum, minimum = orders.max_periods[:, None], orders.min_periods[:, None]
        self._reserve = orders.max_rate[:, None] * (maximum - 1 - index).clamp(min=0)
        self._live = index < maximum
        self._must_finish = (index + 1 >= maximum).to(self._like)
        self._may_finish = ((index + 1 >= minimum) | (index + 1 >= maximum)).to(self._like)
        self.largest = self._to_lots(self._orders.max_rate, down=True)
        # One unit of volume in what the participation counts: units, or money for a notional target.
        self._unit = torch.where(orders.is_notional, volume_unit * arrival_price, volume_unit)

        one, zero = self._like, torch.zeros_like(self._like)
        self._last_price = self._last_close = self._vwap = self._twap = self._executed = one
        self._money = self._units = self._price_sum = self._price_count = zero
        self._weighted = zero  # sum of w P, or of w / P for a notional target
        self._start_context: Tensor | None = None
        self._prices: list[Tensor] = []
        self._volumes: list[Tensor] = []
        self.period, self.remaining = 0, one
        self.fraction = self.finish = zero
        self._booked: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._bound()

    @classmethod
    def of(cls, orders: OrderBatch, window: MarketWindow, *, cap_ahead: bool = False) -> Self:
        """Orders before their first period, with what is known of their market in advance."""
        return cls(
            orders,
            expected_volume=window.expected_volume,
            volatility=window.volatility,
            arrival_price=window.arrival_price,
            volume_unit=window.volume_unit,
            cap_ahead=cap_ahead,
        )

    def state(self) -> ExecutionState:
        """What a policy may know before the period, in tensors of its own: it can reach nothing else through them."""
        return ExecutionState(
            period=self.period,
            remaining=self.remaining.clone(),
            lower=self._lower.clone(),
            upper=self._upper.clone(),
            executed_price=self._executed.clone(),
            vwap=self._vwap.clone(),
            twap=self._twap.clone(),
            last_price=self._last_price.clone(),
            last_close=self._last_close.clone(),
            prices=self.prices,
            volumes=self.volumes,
            expected_volume=self._expected.clone(),
            volatility=self._volatility.clone(),
            arrival_price=self._arrival.clone(),
            start_context=self._start_context,
        )

    def decide(
        self, policy: Policy | ContextStream, context: Tensor | None = None, finishing: Tensor | None = None
    ) -> None:
        """Ask a policy for the period: sets :attr:`fraction` and :attr:`finish`.

        Args:
            policy: Anything with ``decide``.
            context: Context of the last closed bar, [orders, width]; the policy is handed a copy.
            finishing: Orders whose answers do not matter because they are finishing, bool [orders].

        Raises:
            PolicyError: when the policy answers with something that is not a finite number per order.
        """
        s = self.period
        if s == 0 and context is not None:
            self._start_context = context.clone()  # the policy's to keep: no rule reads it
        decision = policy.decide(None if context is None else context.clone(), self._orders.copy(), self.state())
        fraction, finish = (self._answered(decision, name) for name in ("fraction", "finish"))
        asked = self._live[:, s] & (self.remaining > 0)  # answers for orders that are over do not matter
        if finishing is not None:
            asked = asked & ~finishing
        fraction, finish = torch.where(asked, fraction, 0.0), torch.where(asked, finish, 0.0)
        self._check_finite(fraction, finish)
        self.finish = torch.minimum(torch.maximum(finish, self._must_finish[:, s]), self._may_finish[:, s])
        # In the last period the interval is one point, everything that may still be traded.
        self.fraction = torch.minimum(torch.maximum(self._to_lots(fraction), self._lower), self._upper)

    def complete(self, which: Tensor) -> None:
        """Decide the period of orders that are finishing, bool [orders]: they trade at the cap until done."""
        self.fraction = torch.where(which, self._upper, self.fraction)
        self.finish = torch.where(which, 1.0, self.finish)

    def book(
        self,
        price: Tensor,
        close: Tensor,
        volume: Tensor,
        filled: Tensor | None = None,
        filled_price: Tensor | None = None,
    ) -> None:
        """Fill what was decided, now that the bar has closed, and move on to the next period.

        Args:
            price: VWAP of the bar over the arrival price, [orders].
            close: Its close over the arrival price, [orders].
            volume: Its volume, in the unit of the expected volume, [orders]; 0 where nothing can be traded.
            filled: What really filled, as a fraction of the order, [orders]; negative where a fill was busted. Default:
                what was decided, as far as the bar allows it.
            filled_price: Average price of it over the arrival price, [orders], read where something filled.
        """
        s = self.period
        traded = volume > 0
        capacity = torch.where(traded & self._live[:, s], self._limit(price, volume), 0.0)
        if self._caps_ahead:
            capacity = torch.minimum(capacity, self._cap)
        fill, paid = torch.minimum(self.fraction, capacity), price
        if filled is not None and filled_price is not None:
            fill, paid = filled, torch.where(filled != 0, filled_price, price)
        self._booked.append((fill, self.remaining, self.finish, capacity))
        self._fill(fill, paid, close)

        self._money, self._units = self._money + price * volume, self._units + volume
        self._price_sum = self._price_sum + torch.where(traded, price, 0.0)
        self._price_count = self._price_count + torch.where(traded, 1.0, 0.0)
        any_volume = self._units > 0
        self._vwap = torch.where(any_volume, self._money / torch.where(any_volume, self._units, 1.0), close)
        self._twap = torch.where(any_volume, self._price_sum / torch.where(any_volume, self._price_count, 1.0), close)
        self._prices.append(price)
        self._volumes.append(volume)
        self._last_price, self._last_close = price, close
        self.period = s + 1
        if self.period < self._periods:
            self._bound()

    def correct(self, filled: Tensor, filled_price: Tensor) -> None:
        """Book what was reported late, with the fills of the last period; the coming period is to be decided anew.

        Args:
            filled: Fraction of the order, [orders], negative where a fill was busted.
            filled_price: Average price of it over the arrival price, [orders], read where something filled.
        """
        fill, before, finish, capacity = self._booked[-1]
        self._booked[-1] = (fill + filled, before, finish, capacity)
        self._fill(filled, torch.where(filled != 0, filled_price, 1.0), self._last_close)
        if self.period < self._periods:
            self._bound()

    @property
    def executed_price(self) -> Tensor:
        """Average price of what has filled over the arrival price, [orders]; NaN before anything has."""
        return torch.where(1 - self.remaining > self._tiny, self._executed, torch.nan)

    @property
    def fills(self) -> list[Tensor]:
        """What was filled in each period so far, [orders] each."""
        return [fill for fill, *_ in self._booked]

    @property
    def prices(self) -> Tensor:
        """VWAP of the bars booked so far over the arrival price, [orders, period]."""
        return self._by_period(self._prices)

    @property
    def volumes(self) -> Tensor:
        """Their volumes in the unit of the expected volume, [orders, period]."""
        return self._by_period(self._volumes)

    def paths(self) -> Paths:
        """The periods booked so far."""
        return Paths(*(torch.stack(part, 1) for part in zip(*self._booked, strict=True)))

    # -- rows --------------------------------------------------------------------------------------------------------

    def select(self, rows: Tensor) -> Self:
        """Some of the orders, bool [orders] or int64 [rows]."""
        return self._made(lambda values: values[rows], [self])

    @classmethod
    def joined(cls, rolls: Sequence[Roll]) -> Roll:
        """Orders of several rolls that are in the same period and have the same number of periods."""
        return rolls[0]._made(lambda *values: torch.cat(values), rolls)

    def _made(self, of: Callable[..., Tensor], rolls: Sequence[Roll]) -> Self:
        """A roll whose tensors are a function of those of others."""
        made = copy(self)
        for name in vars(self):
            setattr(made, name, mapped(of, [vars(roll)[name] for roll in rolls]))
        return made

    # -- the rules ---------------------------------------------------------------------------------------------------

    def _fill(self, fill: Tensor, price: Tensor, close: Tensor) -> None:
        """Take a fill off what remains, and into the average price; the close stands where nothing has filled."""
        remaining, tiny = self.remaining - fill, self._tiny
        self.remaining = remaining = torch.where(remaining > tiny, remaining, 0.0)
        filled = 1 - remaining
        some = filled > tiny
        weight = fill * price
        if self._any_notional:
            weight = torch.where(self._orders.is_notional, fill / price, weight)
        self._weighted = self._weighted + weight
        safe_filled, safe_weighted = torch.where(some, filled, 1.0), torch.where(some, self._weighted, 1.0)
        average = safe_weighted / safe_filled
        if self._any_notional:
            average = torch.where(self._orders.is_notional, safe_filled / safe_weighted, average)
        self._executed = torch.where(some, average, close)

    def _bound(self) -> None:
        """The feasible interval of the period."""
        remaining, s = self.remaining, self.period
        self._cap, reserve = self._orders.max_rate, self._reserve[:, s]
        if self._caps_ahead:
            # Money is expected at the last close. Of this period and the later ones, [periods, orders].
            ahead = self._limit(self._last_close, self._expected[:, s:].t())
            limited = torch.isfinite(self._orders.participation)
            self._cap = torch.where(limited, ahead[0], self._cap)
            reserve = torch.where(limited, ahead[1:].sum(0), reserve)
        self._upper = torch.minimum(self._cap, remaining)
        lower = torch.maximum(torch.minimum(self._orders.min_rate, remaining), remaining - reserve)
        self._lower = torch.minimum(torch.where(lower > self._tiny, lower, 0.0), self._upper)

    def _limit(self, price: Tensor, volume: Tensor) -> Tensor:
        """Largest possible fill of a bar that trades: the cap, or the participation limit if that is less."""
        if not self._is_limited:
            return self.largest
        units = volume * self._unit
        limit = self._orders.participation * torch.where(self._orders.is_notional, units * price, units)
        limit = torch.where(volume > 0, limit, 0.0)  # no limit times no volume is not a number
        return self._to_lots(torch.minimum(limit, self._orders.max_rate), down=True)

    def _to_lots(self, fraction: Tensor, *, down: bool = False) -> Tensor:
        """Nearest whole number of lots, half a lot up (or the next below), untouched where there are none."""
        if not self._has_lots:
            return fraction
        safe = torch.where(self._orders.lot > 0, self._orders.lot, 1.0)
        # The slack: whole lots may come out a rounding error short, of millions of them or of one.
        lots = torch.floor(fraction / safe * _SLACK + 1e-6) if down else torch.floor(fraction / safe + _HALF)
        return torch.where(self._orders.lot > 0, lots * safe, fraction)

    # -- answers -----------------------------------------------------------------------------------------------------

    def _answered(self, decision: Decision, name: str) -> Tensor:
        """Fraction or finish of a decision, one per order."""
        if isinstance(decision, tuple) and len(decision) == 2:  # a plain pair is welcome from a user's own policy
            decision = Decision(*decision)
        like = self._like
        try:
            answer = getattr(decision, name)
            if answer.is_complex() if isinstance(answer, Tensor) else np.iscomplexobj(answer):
                raise TypeError("it is complex")  # torch would drop the imaginary part
            return torch.as_tensor(answer, dtype=like.dtype, device=like.device).expand_as(like)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            problem = f"{name} is not one number per order: {str(error).partition(chr(10))[0]}"
            raise PolicyError(f"decide() of period {self.period}: {problem}") from None

    def _check_finite(self, fraction: Tensor, finish: Tensor) -> None:
        """Refuse answers that are no numbers."""
        # One sum over everything is finite as a rule; when it is not, each answer is looked at.
        if not rows_not_finite(fraction + finish):
            return
        for name, answer in (("fraction", fraction), ("finish", finish)):
            wrong = rows_not_finite(answer)
            if wrong:
                raise PolicyError(
                    f"decide() of period {self.period}: {name} is not finite: {answer[wrong[0]].item()}",
                    positions=wrong,
                )

    def _by_period(self, values: list[Tensor]) -> Tensor:
        """One value per period so far, [orders, period]."""
        return torch.stack(values, 1) if values else self._like.new_empty(len(self._like), 0)
