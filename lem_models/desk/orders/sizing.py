"""From what a policy wishes to what can be sent: child orders in whole lots, within the venue's minimums and the cap.

Pure functions on decimal numbers. Three laws hold for every order, tested as properties:

- The quantities of the child orders sum to the amount exactly, and none of them is more than what is left.
- A child order is zero, or a whole number of lots of at least the venue's minimums.
- No dust: a child order leaves nothing, or enough for another one. The last one takes the rest.

A wish of less than a lot, or of less than the minimums, is carried to the next bar, so an order of fewer lots than bars
uses fewer bars. Wishes are floats. They are rounded to 12 digits of the order first, so that a replay and a run that
was never interrupted send the same lots.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import NamedTuple

from lem_models.desk.orders.amounts import plain_text

__all__ = ["Constraints", "Sized", "engine_lots", "held_inside", "size_notional", "size_quantity"]

_ZERO = Decimal(0)
_DIGITS = 12  # of an order, in which wishes are rounded and orders without lots are cut
_PART = Decimal(1).scaleb(-_DIGITS)
_NEAR = Decimal("1e-9")  # of the order: a wish that close to all that is left takes it
_LOTS_PER_PERIOD = 4


@dataclass(frozen=True)
class Constraints:
    """What a venue and an order allow.

    Attributes:
        lot: Child quantities are whole multiples of it; ``None`` for any quantity.
        min_quantity: Smallest child order in units; ``None`` for none.
        min_notional: Smallest child order in money; ``None`` for none.
    """

    lot: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None

    def step(self, units: Decimal) -> Decimal:
        """The lot; without lots the last of 12 digits of an order of so many units."""
        return self.lot if self.lot is not None else Decimal(1).scaleb(max(units, _TINY).adjusted() + 1 - _DIGITS)

    def smallest(self, price: Decimal, step: Decimal) -> tuple[Decimal, str]:
        """Smallest child order at a price, in units, and the rule that it follows from."""
        least, rule = step, "lot_size"
        if self.min_quantity is not None and _up(self.min_quantity, step) > least:
            least, rule = _up(self.min_quantity, step), "min_quantity"
        if self.min_notional is not None and _up(self.min_notional / price, step) > least:
            least, rule = _up(self.min_notional / price, step), "min_notional"
        return least, rule


class Sized(NamedTuple):
    """A child order.

    Attributes:
        quantity: Units to send; 0 for none.
        carry: Part of the wish that is carried to the next bar, in what the order's amount is.
        reason: Why it is not what was wished; empty where it is.
    """

    quantity: Decimal
    carry: Decimal = _ZERO
    reason: str = ""


_TINY = Decimal("1e-20")


def engine_lots(amount: Decimal, lot: Decimal | None, periods: int) -> bool:
    """Whether the simulator's own rule for lots serves an order: it has several lots for each bar.

    The simulator rounds each bar's wish to the nearest lot. With fewer lots than that most wishes would round to
    nothing, so the wish is carried here instead.
    """
    return lot is not None and amount / lot >= _LOTS_PER_PERIOD * periods


def size_quantity(
    wish: float,
    amount: Decimal,
    left: Decimal,
    *,
    carry: Decimal,
    constraints: Constraints,
    price: Decimal,
    cap: Decimal | None = None,
    takes_all: bool = False,
) -> Sized:
    """The child order of an order of a fixed quantity.

    Args:
        wish: Fraction of the order that the policy wishes.
        amount: Units of the order.
        left: Units that are neither filled nor reserved.
        carry: Units carried from the bars before.
        constraints: The venue's minimums.
        price: Last close, in money per unit.
        cap: Most units that may be sent; ``None`` for any number.
        takes_all: Whether everything left is wished: the order is finishing, or this is its last bar.

    Example:
        >>> lots = Constraints(lot=Decimal(1))
        >>> size_quantity(0.25, Decimal(3), Decimal(3), carry=Decimal("0.5"), constraints=lots, price=Decimal(10))
        Sized(quantity=Decimal('1'), carry=Decimal('0.25'), reason='')
    """
    step = constraints.step(amount)
    least, rule = constraints.smallest(price, step)
    wished = _wished(wish, amount, step) + carry
    wanted = left if takes_all or wished >= left - _NEAR * amount else wished
    whole = left if constraints.lot is None else _down(left, step)  # fills may have left less than a lot
    return _sized(wanted, whole, step, least, rule, cap)


def size_notional(
    wish: float,
    amount: Decimal,
    left: Decimal,
    *,
    carry: Decimal,
    constraints: Constraints,
    price: Decimal,
    cap: Decimal | None = None,
    takes_all: bool = False,
) -> Sized:
    """The child order of an order of a fixed notional: as many whole lots as the money buys at the last close.

    Args:
        wish: Fraction of the order that the policy wishes.
        amount: Money of the order.
        left: Money that is neither spent nor reserved.
        carry: Money carried from the bars before.
        constraints: The venue's minimums.
        price: Last close.
        cap: Most units that may be sent.
        takes_all: Whether everything left is wished.

    Returns:
        Quantity in units, carry in money.
    """
    step = constraints.step(amount / price)
    least, rule = constraints.smallest(price, step)
    wished = _wished(wish, amount, Decimal(1).scaleb(amount.adjusted() + 1 - _DIGITS)) + carry
    wanted = left if takes_all or wished >= left - _NEAR * amount else wished
    sized = _sized(wanted / price, _down(max(left, _ZERO) / price, step), step, least, rule, cap)
    return Sized(sized.quantity, sized.carry * price, sized.reason)


def held_inside(quantity: Decimal, participation: float | None, volume: float, step: Decimal | None) -> Decimal:
    """Most units of a child order that may have been filled once a bar has traded some volume: its rate limit.

    Args:
        quantity: The child order.
        participation: Largest part of the volume; ``None`` for no limit.
        volume: Volume of the bar so far, in units.
        step: The lot.
    """
    if participation is None:
        return quantity
    allowed = Decimal(repr(volume)) * Decimal(repr(participation))
    return min(quantity, _down(allowed, step) if step is not None else allowed)


def _sized(wanted: Decimal, left: Decimal, step: Decimal, least: Decimal, rule: str, cap: Decimal | None) -> Sized:
    """A whole number of steps out of what is wanted."""
    if left <= 0:
        return Sized(_ZERO)
    if left < least:
        return Sized(_ZERO, _ZERO, f"{plain_text(left)} left is less than {rule} allows ({plain_text(least)})")
    takes_all = wanted >= left
    wanted, most = left if takes_all else wanted, left
    if cap is not None and cap < left:
        most = _down(cap, step)
    limited = wanted > most
    quantity = most if limited else left if takes_all else _down(wanted, step)
    rest = left - quantity
    if 0 < rest < least:
        # Leave nothing, or enough for another child order.
        quantity = left if left <= most else _down(min(most, left - least), step)
    if 0 < quantity < least:
        quantity = _ZERO
    if limited:
        reason = "held by max_participation" if quantity else f"max_participation allows less than {rule}"
        return Sized(max(quantity, _ZERO), _ZERO, reason)
    carry = wanted - quantity
    if carry <= 0:
        return Sized(quantity)
    if quantity:
        return Sized(quantity, min(carry, least))
    return Sized(quantity, min(carry, least), f"{plain_text(_short(carry))} is carried: less than {rule} allows")


def _wished(wish: float, amount: Decimal, step: Decimal) -> Decimal:
    """A wish in units of the amount. A wish that is a rounding error short of whole steps is those steps."""
    exact = Decimal(round(max(wish, 0.0) * 10**_DIGITS)) * _PART * amount
    whole = (exact / step).to_integral_value() * step
    return whole if abs(exact - whole) <= amount * _PART else exact.normalize()


def _short(value: Decimal) -> Decimal:
    """A number with six digits, for messages."""
    return value.quantize(Decimal(1).scaleb(value.adjusted() - 5)) if value else value


def _down(value: Decimal, step: Decimal) -> Decimal:
    """Whole steps towards zero."""
    try:
        return value // step * step
    except InvalidOperation:  # more steps than a decimal number has digits
        return (value / step).to_integral_value(ROUND_FLOOR) * step


def _up(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_CEILING) * step
