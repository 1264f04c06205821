r"""How closely policies track: standard deviations and their ratios, with intervals over days.

With ``x`` the improvement of one policy and ``y`` that of another on the same orders, the ratio is

.. math::  r = \mathrm{std}(x) / \mathrm{std}(y), \qquad
           \log r^{*} = \tfrac12 \log\frac{\overline{x^2}^{*} - (\bar x^{*})^2}{\overline{y^2}^{*} - (\bar y^{*})^2},

the four means of each draw from one bootstrap over blocks of days (:mod:`lem_models.statistics.bootstrap`), so that a
volatile week counts for both or for neither. The interval is computed for ``log r``, whose draws are nearly symmetric;
that of a single standard deviation is computed for its logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.statistics.bootstrap import MeanDraws, OrderBootstrap
from lem_models.statistics.groups import align, groups, require, stack
from lem_models.statistics.summary import Unit, improvement

__all__ = ["std_interval", "std_ratio"]

Floats = npt.NDArray[np.float64]
_NEEDED = ("order_id", "start", "slippage_bps", "volatility_bps")


def std_ratio(
    a: pd.DataFrame,
    b: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    unit: Unit = "vol",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Standard deviation of the improvement of ``a`` as a multiple of that of ``b``, on the same orders.

    Args:
        a: Orders table of one policy; groups are made from its columns.
        b: Orders table of the other policy, the same orders in any order.
        by: Columns or derived keys to group by; ``None`` for one row over all orders.
        unit: Unit of the improvements: ``"vol"`` (bar volatilities) or ``"bps"``.
        level: Coverage of the interval, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per group: the keys, ``orders`` (those priced in both), ``ratio`` and the ends ``low`` and ``high`` of
        its interval. Below 1, ``a`` tracks more closely. NaN where one of the two does not vary.

    Raises:
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    for table in (a, b):
        require(table, _NEEDED)
    ours, theirs = (improvement(table, unit).to_numpy(np.float64) for table in (a, align(a, b)))
    known = np.isfinite(ours) & np.isfinite(theirs)
    return _spread(a, [np.where(known, ours, np.nan), np.where(known, theirs, np.nan)], "ratio", by, level, draws, seed)


def std_interval(
    orders: pd.DataFrame,
    by: Sequence[str] | str | None = None,
    *,
    unit: Unit = "vol",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Standard deviation of the improvement with its interval.

    Args:
        orders: Orders table of a result.
        by: Columns or derived keys to group by; ``None`` for one row over all orders.
        unit: Unit of the improvement: ``"vol"`` (bar volatilities) or ``"bps"``.
        level: Coverage of the interval, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per group: the keys, ``orders`` (those with a price), ``std`` (of the population) and the ends ``low``
        and ``high`` of its interval. NaN where the improvement does not vary.

    Raises:
        OrderError: If a column is missing from the table.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
        ConfigError: If ``level`` or ``draws`` is out of range.
    """
    require(orders, _NEEDED)
    return _spread(orders, [improvement(orders, unit).to_numpy(np.float64)], "std", by, level, draws, seed)


def _spread(
    orders: pd.DataFrame,
    values: list[npt.NDArray[Any]],
    name: str,
    by: Sequence[str] | str | None,
    level: float,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Standard deviation of the first column of values [orders], divided by that of the second if there is one."""
    known = np.isfinite(values[0])
    # Squares of values about their mean lose no digits.
    centred = [column - column[known].mean() for column in values] if known.any() else values
    moments = pd.DataFrame([power for column in centred for power in (column, column * column)]).T
    bootstrap = OrderBootstrap(orders, draws, seed)
    rows: list[pd.DataFrame] = []
    for keys, group in groups(orders, by):
        drawn = bootstrap.means(moments.iloc[group], group, shared_block=True)
        estimate = _log_spread(drawn.estimate[None])
        log = MeanDraws(estimate, _log_spread(drawn.means)[:, None], drawn.days[:1], drawn.blocks[:1])
        low, high = log.interval(level)
        ends = {name: np.exp(estimate[0]), "low": np.exp(low[0]), "high": np.exp(high[0])}
        rows.append(keys.assign(orders=int(known[group].sum()), **ends))
    return stack(rows, by, ("orders", name, "low", "high"))


def _log_spread(means: Floats) -> Floats:
    """Log of the standard deviation, or of the ratio of two, from the means of ``x, x^2, ...``, [draws, 2 or 4]."""
    variance = means[:, 1::2] - means[:, ::2] ** 2
    logs = 0.5 * np.log(np.where(variance > 0, variance, np.nan))
    spread: Floats = logs[:, 0] - (logs[:, 1] if logs.shape[1] > 1 else 0.0)
    return spread
