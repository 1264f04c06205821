"""What every report says in the same words: the sign convention, the definitions, and how numbers are printed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lem_models.guard.output import is_missing

__all__ = ["DEFINITIONS", "MISSING", "SIGN_CONVENTION", "fact_text", "number_text", "p_text"]

SIGN_CONVENTION = (
    "slippage = side \u00d7 (executed / benchmark \u2212 1) \u00d7 1e4 bps, positive = cost; improvement is minus that"
)
"""The sign convention, printed on every report; side is +1 for a buy and -1 for a sell."""

DEFINITIONS: Mapping[str, str] = {
    "Improvement": (
        "Minus the slippage: positive is better than the benchmark. Side is +1 for a buy, \u22121 for a sell."
    ),
    "Executed price": (
        "Mean price of the fills, weighted by the fractions traded (harmonic for a notional target). A fill is at the "
        "VWAP of its bar. Gross of costs unless a number says net."
    ),
    "Benchmark price": (
        "VWAP (volume-weighted) or TWAP (plain mean) of the bars from the start of the order to its end, and at least "
        "over its minimum duration. When a flexible order ends, so does its benchmark."
    ),
    "Bar volatility": (
        "Standard deviation of one bar's return as known when the order starts; improvements in bar volatilities are "
        "divided order by order."
    ),
    "Interval": (
        "95 % bootstrap over blocks of consecutive days, all orders of a day together: orders near to each other in "
        "time share the market's moves and are no independent observations."
    ),
    "Option and forecast": (
        "On the martingale null each bar is reflected about the previous close with a random sign: sizes and volumes "
        "stay, nothing is left to forecast. What is gained there is option value, the worth of choosing when to end; "
        "the rest is forecast value."
    ),
}
"""Definitions printed at the top of a report, term by term."""

MISSING = "\u2013"
"""What stands where a number is missing."""

_SIGNED_ZERO = re.compile(r"[+-](?=0(?:\.0+)?(?![\d.]))")
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")


def number_text(text: str) -> str:
    """Formatted number with a true minus sign (as wide as the plus) and no sign before a zero."""
    return _MINUS.sub("\u2212", _SIGNED_ZERO.sub("", text))


def p_text(value: float) -> str:
    """A p-value as printed: three decimals, ``<0.001`` below; a dash where there was no test.

    Example:
        >>> p_text(0.0312), p_text(2e-9)
        ('0.031', '<0.001')
    """
    if math.isnan(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def fact_text(value: object) -> str:
    """Any value as text."""
    if is_missing(value):
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return number_text(f"{value:,}")
    if isinstance(value, float | np.floating):
        return number_text(f"{value:,.6g}")
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M")
    return str(value)
