r"""Power: how many orders until a difference of a given size shows.

The mean difference of paired orders on ``D`` days has the standard error ``se``, from the bootstrap over blocks of
days, so that orders which share the market's moves do not count as independent. The error falls with the square root of
the days, at as many orders a day. A two-sided test at level ``a`` finds a true difference ``delta`` with probability
``1 - b`` when

.. math::  \delta = (z_{1-a/2} + z_{1-b}) \, \mathrm{se} \sqrt{D / D'}, \qquad
           D' = D \left( \frac{(z_{1-a/2} + z_{1-b}) \, \mathrm{se}}{\delta} \right)^2 .

The *design effect* is ``se^2`` over that of independent orders, ``s^2 / n``: so many orders count as one. More orders
on the same days help little once it is large; more days help.

The mean difference itself is not looked at, so that a power calculation on a period is no look at its result.

Sources: Cohen, "Statistical power analysis for the behavioral sciences", 2nd ed. 1988, chapter 2; Kish, "Survey
sampling", 1965, chapter 8 (design effect).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError, OrderError
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.groups import align, require
from lem_models.statistics.summary import Unit, improvement

__all__ = ["Power", "parse_difference", "power"]

_NEEDED = ("order_id", "start", "slippage_bps", "volatility_bps")
_FEWEST_DAYS = 12
_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(bps?|vol|bar volatilit(?:y|ies))\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Power:
    """What it takes to see a difference.

    Attributes:
        difference: Size of the difference, in the unit.
        unit: ``"bps"`` or ``"vol"`` (bar volatilities).
        orders: Paired orders that the estimate rests on.
        days: Days on which they start.
        std: Standard deviation of the paired differences.
        standard_error: Of their mean, clustering included.
        design_effect: How many orders count as one independent order.
        detectable: Smallest difference that these orders show with the power.
        days_needed: Days until the difference shows with the power, at as many orders a day.
        orders_needed: Orders on those days.
    """

    difference: float
    unit: Unit
    orders: int
    days: int
    std: float
    standard_error: float
    design_effect: float
    detectable: float
    days_needed: int
    orders_needed: int


def parse_difference(text: str) -> tuple[float, Unit]:
    """Read a size with its unit.

    Raises:
        ConfigError: If it is no positive number with the unit bps or vol.

    Example:
        >>> parse_difference("1bps"), parse_difference("0.02 vol")
        ((1.0, 'bps'), (0.02, 'vol'))
    """
    matched = _SIZE.fullmatch(text)
    if matched is None or not float(matched[1]) > 0:
        raise ConfigError(f"a difference is a positive number with its unit, such as 1bps or 0.02vol; got {text!r}")
    return float(matched[1]), "bps" if matched[2].lower().startswith("bp") else "vol"


def power(
    a: pd.DataFrame,
    b: pd.DataFrame,
    difference: float,
    unit: Unit = "bps",
    *,
    level: float = 0.05,
    chance: float = 0.8,
    draws: int = 2000,
    seed: int = 0,
) -> Power:
    """How many orders and days until a difference of this size between two policies shows.

    Args:
        a: Orders table of one policy.
        b: Orders table of the other, the same orders in any sequence.
        difference: Size of the true difference of the means, in the unit, positive.
        unit: ``"bps"`` or ``"vol"`` (bar volatilities).
        level: Level of the two-sided test, inside (0, 1).
        chance: Power: probability of finding the difference, inside (0, 1) and above the level.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Raises:
        OrderError: If a column is missing, the tables hold different orders, the differences do not vary, or they lie
            on fewer than 12 days.
        ConfigError: If the size, ``level``, ``chance`` or ``draws`` is out of range.
    """
    from scipy.stats import norm

    if not difference > 0 or not math.isfinite(difference):
        raise ConfigError(f"a difference is positive, got {difference}")
    if not 0 < level < chance < 1:
        raise ConfigError(f"level and power lie inside (0, 1), the power above the level; got {level} and {chance}")
    for table in (a, b):
        require(table, _NEEDED)
    gap = improvement(a, unit).to_numpy() - improvement(align(a, b), unit).to_numpy()
    known = np.flatnonzero(np.isfinite(gap))
    gap = gap[known] - (gap[known].mean() if len(known) else 0.0)
    std = float(gap.std(ddof=1)) if len(gap) > 1 else 0.0
    drawn = OrderBootstrap(a, draws, seed).means(pd.DataFrame({"gap": gap}), known)
    days = int(drawn.days[0])
    if days < _FEWEST_DAYS:
        raise OrderError(f"a power calculation needs paired orders on at least {_FEWEST_DAYS} days, got {days}")
    if not std > 1e-12:
        raise OrderError("the two policies do the same with every order: their differences do not vary")
    # Half the width of the central 68 % of the draws, widened as the intervals are, is one standard error.
    low, high = drawn.interval(2 * norm.cdf(1.0) - 1)
    error = float(high[0] - low[0]) / 2
    factor = float(norm.ppf(1 - level / 2) + norm.ppf(chance))
    needed = max(math.ceil(days * (factor * error / difference) ** 2), 1)
    return Power(
        difference=difference,
        unit=unit,
        orders=len(gap),
        days=days,
        std=std,
        standard_error=error,
        design_effect=error**2 * len(gap) / std**2,
        detectable=factor * error,
        days_needed=needed,
        orders_needed=math.ceil(needed * len(gap) / days),
    )
