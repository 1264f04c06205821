"""How numbers are printed: signs, missing values, intervals, p-values."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd

from lem_models.guard.output import is_missing

__all__ = ["MISSING", "fact_text", "interval", "mean_std", "number", "number_text", "p_text"]

MISSING = "\u2013"
"""Text in place of a missing number."""

_SIGNED_ZERO = re.compile(r"[+-](?=0(?:\.0+)?(?![\d.]))")
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")


def number_text(text: str) -> str:
    """Formatted numbers with a true minus sign (as wide as the plus) and no sign before a zero."""
    return _true_minus(_SIGNED_ZERO.sub("", text))


def number(value: float | None, form: str = ".3f") -> str:
    """A number in a format, or a dash where it is missing.

    A negative number that rounds to zero keeps its sign, because the end of an interval shows its side of zero.

    Example:
        >>> number(-0.01234), number(None)
        ('\u22120.012', '\u2013')
    """
    return MISSING if is_missing(value) or value is None else _true_minus(format(float(value), form))


def interval(mean: float | None, low: float | None, high: float | None, form: str = ".3f") -> str:
    """A mean and its interval.

    Example:
        >>> interval(0.361, 0.349, 0.374)
        '0.361 [0.349, 0.374]'
    """
    return f"{number(mean, form)} [{number(low, form)}, {number(high, form)}]"


def mean_std(mean: float | None, std: float | None, form: str = ".3f") -> str:
    """A mean and the standard deviation around it; one dash where both are missing.

    Example:
        >>> mean_std(0.361, 0.516)
        '0.361 ± 0.516'
    """
    if is_missing(mean) and is_missing(std):
        return MISSING
    return f"{number(mean, form)} ± {number(std, form)}"


def p_text(value: float) -> str:
    """A p-value: three decimals, ``<0.001`` below; a dash where there was no test.

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


def _true_minus(text: str) -> str:
    """Formatted numbers with a true minus sign; a number that rounds to zero keeps its sign."""
    return _MINUS.sub("\u2212", text)
