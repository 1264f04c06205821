"""What an order may be: sides, benchmarks, targets, and the rules that every order obeys.

The feasibility rule: the fractions ``w_s`` of an order satisfy ``0 <= w_s <= max_rate``, sum to 1 and end by
``max_periods``, which is possible exactly when ``max_rate * max_periods >= 1``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lem_models.errors import OrderError

__all__ = ["CHOICES", "DEFAULTS", "NUMERIC", "RULES", "Benchmark", "Side", "Target", "check_rules"]

Columns: TypeAlias = Mapping[str, npt.NDArray[np.float64]]
Mask: TypeAlias = npt.NDArray[np.bool_]

_TOLERANCE = 1e-9


class Side(str, Enum):
    """Side of an order. ``sign`` is +1 for a buy and -1 for a sell: ``cost = sign * (executed / benchmark - 1)``."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1


class Benchmark(str, Enum):
    """Price that the execution is judged against, over ``max(min_periods, periods used)`` periods."""

    VWAP = "vwap"  # volume-weighted average price
    TWAP = "twap"  # plain mean of the bar prices, bars without volume (and so without a price) left out


class Target(str, Enum):
    """What is fixed: the number of units (price ``sum w P``) or the money (price ``1 / sum(w / P)``)."""

    QUANTITY = "quantity"
    NOTIONAL = "notional"


@dataclass(frozen=True)
class Rule:
    """A rule that every order obeys: ``holds`` maps columns (arrays) to a boolean array [orders]."""

    field: str
    text: str
    holds: Callable[[Columns], Mask]


def _whole_lots(c: Columns) -> Mask:
    lots = c["amount"] / c["lot_size"]
    return np.isnan(c["lot_size"]) | (np.abs(lots - np.round(lots)) < 1e-6 * np.maximum(lots, 1))


def _lots_can_finish(c: Columns) -> Mask:
    lots = np.round(c["amount"] / c["lot_size"])
    per_period = np.floor(c["max_rate"] * lots * (1 + _TOLERANCE) + _TOLERANCE)
    return np.isnan(c["lot_size"]) | (per_period * c["max_periods"] >= lots)


def _optional(field: str, holds: Callable[[npt.NDArray[np.float64]], Mask]) -> Callable[[Columns], Mask]:
    return lambda c: np.isnan(c[field]) | holds(c[field])


RULES: tuple[Rule, ...] = (
    Rule(
        "max_periods",
        "must be finite and at least 1",
        lambda c: (c["max_periods"] >= 1) & np.isfinite(c["max_periods"]),
    ),
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
    Rule("lot_size", "the amount must be a whole number of lots", _whole_lots),
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


def check_rules(columns: Columns, *, one_order: bool = False) -> None:
    """Check :data:`RULES` on complete numeric columns, each [orders].

    Raises:
        OrderError: naming the field, the rule and the first row that breaks it.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        for rule in RULES:
            broken = np.flatnonzero(~rule.holds(columns))
            if broken.size:
                row = int(broken[0])
                value = columns[rule.field][row]
                raise OrderError(
                    f"{rule.field} {rule.text}; got {value:g}"
                    + ("" if one_order else f" (and {broken.size - 1} more rows)" if broken.size > 1 else ""),
                    field=rule.field,
                    rule=rule.text,
                    row=None if one_order else row,
                )
