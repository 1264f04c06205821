"""Headlines in three columns: the same fills against the order's own benchmark, the full-horizon VWAP, and arrival.

Gross, and net at one size. The own benchmark of a flexible order ends when the order does, so its improvement holds the
option to end; the other two prices do not wait for the order. None of them is shown without the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from lem_models.evaluation.capacity import AGAINST
from lem_models.guard.output import is_missing
from lem_models.report.capacity.table import AGAINST_LABELS, size_text
from lem_models.report.numbers import interval, number

__all__ = ["HEADLINE_SIZE", "PriceImprovement", "headline_size", "price_improvements"]

HEADLINE_SIZE = 0.01
"""Size of net headlines: part of the volume expected over the maximum duration."""


@dataclass(frozen=True)
class PriceImprovement:
    """Mean improvement of a policy against one price, in bps; positive is good, intervals at 95 %.

    Attributes:
        against: The price, one of :data:`~lem_models.evaluation.capacity.AGAINST`.
        size: Size of the orders of ``net``; NaN for the amounts of the orders.
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

    @property
    def label(self) -> str:
        """The price in words."""
        return AGAINST_LABELS[self.against]

    @property
    def size_label(self) -> str:
        """The size in words."""
        return size_text(self.size)

    def gross_text(self, *, ends: bool = True) -> str:
        """Gross mean, with its interval."""
        return _text(self.gross, self.gross_low, self.gross_high, ends)

    def net_text(self, *, ends: bool = True) -> str:
        """Net mean, with its interval."""
        return _text(self.net, self.net_low, self.net_high, ends)

    def difference_text(self, *, ends: bool = True) -> str:
        """Net mean minus that of the reference, with its interval."""
        return _text(self.difference, self.difference_low, self.difference_high, ends)


def headline_size(curve: pd.DataFrame) -> float:
    """Size of the net headlines of a capacity curve: 1 % where it is there, else the largest; NaN as ordered."""
    sizes = curve["size"].dropna().astype(float)
    if sizes.empty:
        return math.nan
    return HEADLINE_SIZE if (sizes == HEADLINE_SIZE).any() else float(sizes.max())


def price_improvements(curve: pd.DataFrame, policy: str, size: float | None = None) -> list[PriceImprovement]:
    """The headlines of a policy, one per price.

    Args:
        curve: One group of the table of :func:`~lem_models.evaluation.capacity.capacity_curve`, or rows of it from a
            record.
        policy: The policy.
        size: Size of the net improvements; default that of :func:`headline_size`.

    Returns:
        In the order of :data:`~lem_models.evaluation.capacity.AGAINST`; empty where the curve lacks the policy.
    """
    return list(_improvements(curve[curve["policy"] == policy], headline_size(curve) if size is None else size))


def _improvements(rows: pd.DataFrame, size: float) -> Iterator[PriceImprovement]:
    rows = rows[rows["size"].isna() if math.isnan(size) else rows["size"] == size]
    for price in AGAINST:
        for row in rows[rows["against"] == price].to_dict("records"):
            values = {
                **{name: row[f"{name}_bps"] for name in ("gross", "gross_low", "gross_high", "net")},
                **{f"net_{end}": row[f"{end}_bps"] for end in ("low", "high")},
                **{name: row[f"{name}_bps"] for name in ("difference", "difference_low", "difference_high")},
            }
            numbers = {name: math.nan if is_missing(value) else float(value) for name, value in values.items()}
            yield PriceImprovement(price, size, **numbers)


def _text(mean: float, low: float, high: float, ends: bool) -> str:
    return interval(mean, low, high, "+.1f") if ends else number(mean, "+.1f")
