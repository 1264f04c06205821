"""Improvement against three prices: the order's own benchmark, the full-horizon VWAP, and arrival; gross and net.

The own benchmark of a flexible order ends when the order does, so its improvement holds the option to end; the other
two do not wait for the order. A headline shows none of them without the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["AGAINST", "PriceImprovement"]

AGAINST = ("own", "full_vwap", "arrival")
"""Prices that an improvement is against: the order's own benchmark, the full-horizon VWAP, the arrival price."""


@dataclass(frozen=True)
class PriceImprovement:
    """Mean improvement of a policy against one price, in bps; positive is good, intervals at 95 %.

    Attributes:
        against: The price, one of :data:`AGAINST`.
        size: Size of the orders of ``net``, a part of the volume expected over their maximum duration; NaN for the
            amounts of the orders.
        gross: Before costs.
        gross_low: Lower end of its interval.
        gross_high: Upper end.
        net: After costs at the size.
        net_low: Lower end of its interval.
        net_high: Upper end.
        difference: Net improvement minus that of the reference (TWAP); NaN without one.
        difference_low: Lower end of its interval.
        difference_high: Upper end.
    """

    against: str
    size: float
    gross: float
    gross_low: float
    gross_high: float
    net: float
    net_low: float
    net_high: float
    difference: float = math.nan
    difference_low: float = math.nan
    difference_high: float = math.nan

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> PriceImprovement:
        """From a row of :func:`~lem_models.evaluation.capacity.capacity_curve`, or of a record of it."""
        ends = {f"net_{end}": f"{end}_bps" for end in ("low", "high")}
        names = ("gross", "gross_low", "gross_high", "net", "difference", "difference_low", "difference_high")
        columns = {"size": "size", **{name: f"{name}_bps" for name in names}, **ends}
        values = {name: row[column] for name, column in columns.items()}
        numbers = {name: math.nan if value is None else float(value) for name, value in values.items()}
        return cls(against=str(row["against"]), **numbers)
