"""Sides, benchmarks and targets of orders, and the rules that every order obeys.

The feasibility rule: the fractions ``w_s`` of an order satisfy ``0 <= w_s <= max_rate``, sum to 1 and end by
``max_periods``, which is possible exactly when ``max_rate * max_periods >= 1``.

Amounts and lots are the decimal numbers that they print as. An amount is a whole number of lots, without tolerance: the
float closest to it. 0.3 is three lots of 0.1. 2000001.5 is no whole number of lots of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lem_models.errors import OrderError

__all__ = [
    "CHOICES",
    "DEFAULTS",
    "MAX_LOOKBACK",
    "MAX_LOTS",
    "MAX_PERIODS",
    "MAX_SESSIONS",
    "NUMERIC",
    "RULES",
    "SIZE_SESSIONS",
    "Benchmark",
    "Side",
    "Target",
    "as_text",
    "check_rules",
    "lot_counts",
    "lots_per_period",
    "rates_in_lots",
]

Columns: TypeAlias = Mapping[str, npt.NDArray[np.float64]]
Mask: TypeAlias = npt.NDArray[np.bool_]

MAX_PERIODS = 1_000_000
"""Longest order; with bars of one second it takes eleven days."""
MAX_LOOKBACK = 256
"""Gapless bars before an order that a policy may look at."""
MAX_SESSIONS = 60
"""Sessions before an order that slow statistics may reach back to; missing bars and sessions are skipped."""
SIZE_SESSIONS = 20
"""Sessions of the expected volume that the size of an order is a part of, whatever a policy's own memory is."""
MAX_LOTS = 10**12
"""Most lots of an order. With more lots, one lot would be lost in the rounding of the order's fractions."""

_TOLERANCE = 1e-9
_DIGITS = Context(prec=60)  # of products of a number of lots (13 digits) and a lot (17 digits), with some to spare


class Side(str, Enum):
    """Side of an order. ``sign`` is +1 for a buy and -1 for a sell: ``cost = sign * (executed / benchmark - 1)``."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1


class Benchmark(str, Enum):
    """Price that the execution is judged against.

    VWAP and TWAP end with the order, after ``max(min_periods, periods used)`` periods. The others do not depend on when
    it ends.
    """

    VWAP = "vwap"  # volume-weighted average price
    TWAP = "twap"  # plain mean of the bar prices, bars without volume (and so without a price) left out
    FULL_VWAP = "full_vwap"  # volume-weighted average price over max_periods
    ARRIVAL = "arrival"  # last close before the order; what is unfilled counts at the last close of max_periods


class Target(str, Enum):
    """What is fixed: the number of units (price ``sum w P``) or the money (price ``1 / sum(w / P)``)."""

    QUANTITY = "quantity"
    NOTIONAL = "notional"


@dataclass(frozen=True)
class Rule:
    """A rule that every order obeys.

    Attributes:
        field: The field that breaks it.
        text: The rule, as it follows the name of the field in messages.
        holds: Maps columns (arrays) to a boolean array [orders].
        got: Describes the values of a row, where the value of the field alone does not explain the error.
    """

    field: str
    text: str
    holds: Callable[[Columns], Mask]
    got: Callable[[Columns, int], str] | None = None


def as_text(number: float) -> str:
    """The shortest decimal number that reads as a float, whole ones without a point.

    Example:
        >>> as_text(2000001.5), as_text(12.0), as_text(1e-8)
        ('2000001.5', '12', '1e-08')
    """
    return repr(float(number)).removesuffix(".0")


def lot_counts(amount: npt.NDArray[np.float64], lot_size: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Number of lots of each order, [orders]: whole numbers, exact for valid orders; NaN without lots."""
    return np.asarray(np.rint(amount / lot_size))


def lots_per_period(max_rate: Any, lots: Any, xp: Any = np) -> Any:  # noqa: ANN401 (arrays of numpy or torch)
    """Most lots that ``max_rate`` allows in one period, [orders]; ``xp`` is the library of the arrays."""
    return xp.minimum(xp.floor(max_rate * lots * (1 + _TOLERANCE) + _TOLERANCE), lots)


def rates_in_lots(min_rate: Any, max_rate: Any, lots: Any, xp: Any = np) -> tuple[Any, Any]:  # noqa: ANN401
    """Rates of orders of so many lots, [orders]: a cap is the next whole lot below, a minimum the next above.

    Args:
        min_rate: Smallest fraction per period.
        max_rate: Largest fraction per period.
        lots: Lots of each order.
        xp: Library of the arrays, numpy or torch.

    Returns:
        Smallest and largest fraction on the grid of lots.
    """
    largest = lots_per_period(max_rate, lots, xp) / lots
    return xp.minimum(xp.ceil(min_rate * lots - 1e-9) / lots, largest), largest


def _whole_lots(c: Columns) -> Mask:
    lots = lot_counts(c["amount"], c["lot_size"])
    holds = np.isnan(c["lot_size"])
    for row in np.flatnonzero(~holds & (lots >= 1)):
        holds[row] = _amount_of(int(lots[row]), c["lot_size"][row]) == c["amount"][row]
    return holds


def _amount_of(lots: int, lot_size: float) -> float:
    """The float that so many lots are: their decimal product, which may have more digits than a float."""
    return float(_DIGITS.multiply(Decimal(lots), Decimal(as_text(lot_size))))


def _got_lots(c: Columns, row: int) -> str:
    amount, lot = c["amount"][row], c["lot_size"][row]
    below = int(amount // lot)
    near = sorted({_amount_of(lots, lot) for lots in range(below - 1, below + 3) if lots > 0})
    whole = [max((x for x in near if x < amount), default=None), min((x for x in near if x > amount), default=None)]
    cure = " or ".join(as_text(x) for x in whole if x is not None)
    return f"{as_text(amount)} in lots of {as_text(lot)}: take {cure}"


def _lots_can_finish(c: Columns) -> Mask:
    lots = lot_counts(c["amount"], c["lot_size"])
    return np.asarray(np.isnan(c["lot_size"]) | (lots_per_period(c["max_rate"], lots) * c["max_periods"] >= lots))


def _optional(field: str, holds: Callable[[npt.NDArray[np.float64]], Mask]) -> Callable[[Columns], Mask]:
    return lambda c: np.isnan(c[field]) | holds(c[field])


RULES: tuple[Rule, ...] = (
    Rule(
        "max_periods",
        "must be finite and at least 1",
        lambda c: (c["max_periods"] >= 1) & np.isfinite(c["max_periods"]),
    ),
    Rule("max_periods", f"must be at most {MAX_PERIODS}", lambda c: c["max_periods"] <= MAX_PERIODS),
    Rule("min_periods", "must be at least 1", lambda c: c["min_periods"] >= 1),
    Rule("min_periods", "must not exceed max_periods", lambda c: c["min_periods"] <= c["max_periods"]),
    Rule("max_rate", "must lie in (0, 1]", lambda c: (c["max_rate"] > 0) & (c["max_rate"] <= 1)),
    Rule("min_rate", "must lie in [0, max_rate]", lambda c: (c["min_rate"] >= 0) & (c["min_rate"] <= c["max_rate"])),
    Rule(
        "max_rate",
        "times max_periods must be at least 1, or the order cannot complete",
        lambda c: c["max_rate"] * c["max_periods"] >= 1 - _TOLERANCE,
    ),
    Rule(
        "risk_aversion",
        "must be finite and at least 0",
        lambda c: np.isfinite(c["risk_aversion"]) & (c["risk_aversion"] >= 0),
    ),
    Rule("amount", "must be finite and positive", _optional("amount", lambda a: np.isfinite(a) & (a > 0))),
    Rule("lot_size", "must be finite and positive", _optional("lot_size", lambda a: np.isfinite(a) & (a > 0))),
    Rule("lot_size", "needs an amount", lambda c: np.isnan(c["lot_size"]) | ~np.isnan(c["amount"])),
    Rule(
        "lot_size",
        f"must go at most {MAX_LOTS:g} times into the amount; leave out lots as small as that",
        lambda c: ~(c["amount"] / c["lot_size"] > MAX_LOTS),
    ),
    Rule("lot_size", "does not go into the amount: it must be a whole number of lots", _whole_lots, _got_lots),
    Rule("lot_size", "whole lots within max_rate cannot complete the order by max_periods", _lots_can_finish),
    Rule("max_participation", "must lie in (0, 1]", _optional("max_participation", lambda a: (a > 0) & (a <= 1))),
    Rule("max_participation", "needs an amount", lambda c: np.isnan(c["max_participation"]) | ~np.isnan(c["amount"])),
)

DEFAULTS: dict[str, Any] = {
    "benchmark": "vwap",
    "target": "quantity",
    "min_periods": np.nan,  # = max_periods
    "max_periods": np.nan,  # = the policy's horizon
    "min_rate": 0.0,
    "max_rate": 1.0,
    "risk_aversion": np.nan,  # = the policy's default
    "amount": np.nan,
    "lot_size": np.nan,
    "max_participation": np.nan,
}
CHOICES: dict[str, type[Enum]] = {"side": Side, "benchmark": Benchmark, "target": Target}
NUMERIC: tuple[str, ...] = tuple(name for name in DEFAULTS if name not in CHOICES)
"""Columns of a table of orders that hold numbers."""


def check_rules(columns: Columns, *, order_ids: Sequence[object] | None = None) -> None:
    """Check :data:`RULES` on complete numeric columns, each [orders].

    Args:
        columns: The columns.
        order_ids: Labels of the orders; ``None`` for one order that is in no table.

    Raises:
        OrderError: An order breaks a rule; the error names the field, the rule and the first row.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for rule in RULES:
            broken = np.flatnonzero(~rule.holds(columns))
            if broken.size:
                row = int(broken[0])
                got = as_text(columns[rule.field][row]) if rule.got is None else rule.got(columns, row)
                more = f" (and {broken.size - 1} more rows)" if broken.size > 1 else ""
                error = OrderError(f"{rule.field} {rule.text}; got {got}{more}", field=rule.field, rule=rule.text)
                raise error if order_ids is None else error.at(row, order_ids[row])
