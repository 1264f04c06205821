"""One standard for "better": when one policy is ahead of another, and when it is better at equal or lower risk.

On the same orders, of one unit throughout:

- *Ahead* (*behind*): the interval of the mean difference lies above (below) 0, and the p-value of the same difference,
  adjusted for the whole family of comparisons (Holm), is below 5 %.
- *Equal or lower risk*: the upper end of the interval of the ratio of the standard deviations is at or below 1. A ratio
  that is merely estimated below 1 does not count.
- *Better at equal or lower risk*: both. *Worse at equal or higher risk*: both the other way round.

The family is every row of a table. Both conditions of "better" must hold, so the chance of a false one is at most that
of the adjusted test of the mean (Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24
(1982)). A better mean at a higher risk is no dominance: a dial of risk aversion can buy that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.statistics.groups import key_names
from lem_models.statistics.summary import Unit, adjusted, paired_difference
from lem_models.statistics.tracking import std_ratio

__all__ = ["ALPHA", "MEANS", "RISKS", "Mean", "Risk", "judged", "paired_comparison", "verdict"]

ALPHA = 0.05
"""Level of the tests: an adjusted p-value must be below it."""

_ROUNDING = 1e-9  # of the ratio of two policies that do the same

Mean = Literal["ahead", "level", "behind"]
Risk = Literal["equal or lower", "unsettled", "equal or higher"]
MEANS: tuple[Mean, ...] = get_args(Mean)
RISKS: tuple[Risk, ...] = get_args(Risk)

_VERDICTS: Mapping[tuple[Mean, Risk], str] = {
    ("ahead", "equal or lower"): "better at equal or lower risk",
    ("ahead", "unsettled"): "higher mean, risk not shown to be equal or lower",
    ("ahead", "equal or higher"): "higher mean at equal or higher risk",
    ("level", "equal or lower"): "no measurable difference of the means, at equal or lower risk",
    ("level", "unsettled"): "no measurable difference",
    ("level", "equal or higher"): "no measurable difference of the means, at equal or higher risk",
    ("behind", "equal or lower"): "lower mean at equal or lower risk",
    ("behind", "unsettled"): "lower mean, risk not shown to be equal or higher",
    ("behind", "equal or higher"): "worse at equal or higher risk",
}


def paired_comparison(
    a: pd.DataFrame,
    others: Mapping[str, pd.DataFrame],
    by: Sequence[str] | str | None = None,
    *,
    unit: Unit = "vol",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """One policy minus each of several others on the same orders: means, risks, tests and what they allow to say.

    Args:
        a: Orders table of the policy; groups are made from its columns.
        others: Orders table of each other policy by its name, the same orders in any sequence.
        by: Columns or derived keys to group by; ``None`` for one row over all orders.
        unit: Unit that means and risks are judged in: ``"vol"`` (bar volatilities) or ``"bps"``.
        level: Coverage of the intervals, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per other policy and group: ``policy`` (the other one), the keys, the columns of
        :func:`~lem_models.statistics.summary.paired_difference`, ``std_ratio_<unit>`` with the ends
        ``std_ratio_low_<unit>`` and ``std_ratio_high_<unit>``, and the columns of :func:`judged`. The p-values are
        adjusted for all rows. Without other policies the table is empty.

    Raises:
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    tables = []
    for name, b in others.items():
        difference = paired_difference(a, b, by, level=level, draws=draws, seed=seed)
        ratio = std_ratio(a, b, by, unit=unit, level=level, draws=draws, seed=seed)
        ends = {"ratio": "std_ratio", "low": "std_ratio_low", "high": "std_ratio_high"}
        for source, target in ends.items():  # both have one row per group, in the same sequence
            difference[f"{target}_{unit}"] = ratio[source].to_numpy()
        difference.insert(0, "policy", name)
        tables.append(difference)
    if not tables:
        return pd.DataFrame(columns=["policy", *key_names(by)])
    return judged(adjusted(pd.concat(tables, ignore_index=True)), unit)


def judged(differences: pd.DataFrame, unit: Unit = "vol", *, alpha: float = ALPHA) -> pd.DataFrame:
    """The table with what each row allows to say, in one unit.

    Args:
        differences: Table with ``low_<unit>, high_<unit>, p_holm_<unit>, std_ratio_low_<unit>,
            std_ratio_high_<unit>``; its rows are the family that ``p_holm`` was adjusted for.
        unit: The unit.
        alpha: Level of the adjusted tests, inside (0, 1).

    Returns:
        The table with ``mean_verdict`` (one of :data:`MEANS`), ``risk_verdict`` (one of :data:`RISKS`), ``dominates``
        (better at equal or lower risk) and ``verdict`` in words. What was not measured is level, and unsettled.

    Raises:
        ConfigError: If ``alpha`` is out of range.
    """
    if not 0.0 < alpha < 1.0:
        raise ConfigError(f"the level of a test lies inside (0, 1), got {alpha}")

    def column(name: str) -> np.ndarray:
        return differences[f"{name}_{unit}"].to_numpy(np.float64)

    clear = column("p_holm") < alpha
    means = np.where(clear & (column("low") > 0), "ahead", np.where(clear & (column("high") < 0), "behind", "level"))
    lower, higher = column("std_ratio_high") <= 1 + _ROUNDING, column("std_ratio_low") >= 1 - _ROUNDING
    risks = np.where(lower, "equal or lower", np.where(higher, "equal or higher", "unsettled"))
    verdicts = [verdict(mean, risk) for mean, risk in zip(means.tolist(), risks.tolist(), strict=True)]
    return differences.assign(
        mean_verdict=means, risk_verdict=risks, dominates=(means == "ahead") & lower, verdict=verdicts
    )


def verdict(mean: Mean, risk: Risk) -> str:
    """A verdict in words.

    Example:
        >>> verdict("ahead", "equal or lower"), verdict("ahead", "unsettled")
        ('better at equal or lower risk', 'higher mean, risk not shown to be equal or lower')
    """
    return _VERDICTS[mean, risk]
