"""Headlines in three columns, from the capacity curve; see :mod:`lem_models.evaluation.prices`."""

from __future__ import annotations

import math

import pandas as pd

from lem_models.evaluation.prices import AGAINST, PriceImprovement
from lem_models.report.numbers import interval, number

__all__ = ["HEADLINE_SIZE", "difference_text", "gross_text", "headline_size", "net_text", "price_improvements"]

HEADLINE_SIZE = 0.01
"""Size of net headlines: part of the volume expected over the maximum duration."""


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
        In the order of :data:`~lem_models.evaluation.prices.AGAINST`; empty where the curve lacks the policy.
    """
    size = headline_size(curve) if size is None else size
    sizes = curve["size"].astype(float)
    rows = curve[(curve["policy"] == policy) & (sizes.isna() if math.isnan(size) else sizes == size)]
    by_price = {row["against"]: row for row in rows.to_dict("records")}
    return [PriceImprovement.of(by_price[price]) for price in AGAINST if price in by_price]


def gross_text(each: PriceImprovement, *, ends: bool = True) -> str:
    """Gross mean, with its interval."""
    return _text(each.gross, each.gross_low, each.gross_high, ends)


def net_text(each: PriceImprovement, *, ends: bool = True) -> str:
    """Net mean, with its interval."""
    return _text(each.net, each.net_low, each.net_high, ends)


def difference_text(each: PriceImprovement, *, ends: bool = True) -> str:
    """Net mean minus that of the reference, with its interval."""
    return _text(each.difference, each.difference_low, each.difference_high, ends)


def _text(mean: float, low: float, high: float, ends: bool) -> str:
    return interval(mean, low, high, "+.1f") if ends else number(mean, "+.1f")
