r"""Claims about a recipe instead of one model: the same orders, executed by models that only differ in their seed.

Two things are random about the mean improvement of a recipe: the days on which it is measured, and the seed with which
the model was trained. With ``m_k`` the mean of seed ``k`` of ``K``, ``s`` their standard deviation and ``m*`` the mean
over seeds in a draw of the bootstrap over days, the interval is the central part of

.. math::  m^{*} + T \, s / \sqrt{K}, \qquad T \sim \mathrm{Student}(K - 1).

The days are resampled. There are too few seeds for that: draws from three numbers lie between them, and so does the
true mean in 3 of 4 cases only. So the mean of the seeds has Student's distribution instead. The spread of the seeds
also holds some noise of the days, so the interval is a little too wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.groups import Row, align, groups, require, stack
from lem_models.statistics.summary import Unit, improvement

__all__ = ["MIN_SEEDS", "across_seeds"]

MIN_SEEDS = 3
"""Fewest training seeds for a claim."""

_UNITS: tuple[Unit, ...] = ("bps", "vol")
_STATISTICS = ("mean", "low", "high", "between", "worst", "best")


def across_seeds(
    models: Mapping[str, pd.DataFrame],
    by: Sequence[str] | str | None = None,
    *,
    against: pd.DataFrame | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarise the results of models of one recipe with different training seeds on the same orders.

    Args:
        models: Orders table of each model by its name, at least :data:`MIN_SEEDS`.
        by: Column or columns to group by, derived keys included; ``None`` for one row over all orders.
        against: Orders table of a policy that is subtracted order by order; ``None`` for the improvement itself.
        level: Coverage of the intervals, inside (0, 1).
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per group: the keys, ``seeds``, ``orders`` (those priced in every table), and in both units ``mean``
        (over seeds), ``low`` and ``high`` (interval over days and seeds), ``between`` (standard deviation of the seeds'
        means), ``worst`` and ``best`` (seed): ``mean_bps`` ... ``best_vol``.

    Raises:
        ConfigError: If there are too few seeds, two of them have the same improvements, or a setting is out of range.
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
    """
    if len(models) < MIN_SEEDS:
        raise ConfigError(
            f"a claim about a recipe needs models of at least {MIN_SEEDS} training seeds, got {len(models)}"
        )
    first = next(iter(models.values()))
    for table in (*models.values(), *([] if against is None else [against])):
        require(table, ("order_id", "start", "slippage_bps", "volatility_bps"))
    gains = _gains({name: align(first, table) for name, table in models.items()})
    if against is not None:
        gains = gains - np.stack([improvement(align(first, against), unit) for unit in _UNITS], axis=1)
    gains = np.where(np.isnan(gains).any(axis=0), np.nan, gains)  # the same orders for every seed
    bootstrap, count = OrderBootstrap(first, draws, seed), len(models)
    noise = np.random.default_rng(seed).standard_t(count - 1, (draws, len(_UNITS)))
    rows: list[Row] = []
    for keys, group in groups(first, by):
        members = gains[:, group]
        drawn = bootstrap.means(pd.DataFrame(members.mean(axis=0)), group)
        means = np.stack([pd.DataFrame(one).mean() for one in members])  # [seeds, units]; NaN where nothing is priced
        between = means.std(axis=0, ddof=1)
        low, high = replace(drawn, means=drawn.means + noise * between / np.sqrt(count)).interval(level)
        statistics: dict[str, float] = {"seeds": count, "orders": int(np.isfinite(members[0, :, 0]).sum())}
        values = (drawn.estimate, low, high, between, means.min(axis=0), means.max(axis=0))
        for name, value in zip(_STATISTICS, values, strict=True):
            statistics |= {f"{name}_{unit}": float(value[place]) for place, unit in enumerate(_UNITS)}
        rows.append(Row(keys, statistics))
    return stack(rows, by, ("seeds", "orders", *(f"{name}_{unit}" for unit in _UNITS for name in _STATISTICS)))


def _gains(tables: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """Improvements [seeds, orders, units]; two models with equal improvements are refused."""
    gains = {name: np.stack([improvement(table, unit) for unit in _UNITS], axis=1) for name, table in tables.items()}
    names = list(gains)
    for place, name in enumerate(names):
        for other in names[:place]:
            if np.array_equal(gains[name], gains[other], equal_nan=True):
                raise ConfigError(f"{other} and {name} have the same improvement of every order: are they one model?")
    return np.stack(list(gains.values()))
