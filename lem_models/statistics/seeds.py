r"""A claim about a recipe, not about one lucky run: the same orders, by models that differ in their training seed only.

Two things are random about the mean improvement of a recipe: the days that it is measured on, and the seed that the
model was trained with. With ``m_k`` the mean of seed ``k`` of ``K``, ``s`` their standard deviation and ``m*`` the mean
over seeds in a draw of the bootstrap over days, the interval is the central part of

.. math::  m^{*} + T \, s / \sqrt{K}, \qquad T \sim \mathrm{Student}(K - 1).

The days are resampled; the seeds are too few for that (draws from three numbers stay between them, where their mean in
the long run is found in 3 of 4 cases only), so Student's distribution of their mean stands in. The spread of the seeds
holds some of the days' noise as well: the interval is a little too wide rather than too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.groups import align, groups, require, stack
from lem_models.statistics.summary import Unit, improvement

__all__ = ["MIN_SEEDS", "across_seeds"]

MIN_SEEDS = 3
"""Training seeds that a claim needs at least."""

_UNITS: tuple[Unit, ...] = ("bps", "vol")
_PARTS = ("mean", "low", "high", "between", "worst", "best")


def across_seeds(
    runs: Mapping[str, pd.DataFrame],
    by: Sequence[str] | str | None = None,
    *,
    against: pd.DataFrame | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Summarise what models of one recipe, trained with different seeds, did with the same orders.

    Args:
        runs: Orders table of each model by its name, at least :data:`MIN_SEEDS`.
        by: Column or columns to group by, derived keys included; ``None`` for one row over all orders.
        against: Orders table of a policy that is subtracted order by order; ``None`` for the improvement itself.
        level: Probability that the intervals shall cover.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One row per group: the keys, ``seeds``, ``orders`` (those priced in every table), and in both units ``mean``
        (over seeds), ``low`` and ``high`` (interval over days and seeds), ``between`` (standard deviation of the seeds'
        means), ``worst`` and ``best`` (seed): ``mean_bps`` ... ``best_vol``.

    Raises:
        ConfigError: If there are too few seeds, two of them did exactly the same, or a setting is out of range.
        OrderError: If a column is missing, order ids are not unique, or the tables hold different orders.
        UnknownNameError: If ``by`` names neither a column nor a derived key.
    """
    if len(runs) < MIN_SEEDS:
        raise ConfigError(
            f"a claim about a recipe needs models of at least {MIN_SEEDS} training seeds, got {len(runs)}"
        )
    first = next(iter(runs.values()))
    for table in (*runs.values(), *([] if against is None else [against])):
        require(table, ("order_id", "start", "slippage_bps", "volatility_bps"))
    gains = _gains({name: align(first, table) for name, table in runs.items()})
    if against is not None:
        gains = gains - np.stack([improvement(align(first, against), unit) for unit in _UNITS], axis=1)
    gains = np.where(np.isnan(gains).any(axis=0), np.nan, gains)  # the same orders for every seed
    bootstrap, count = OrderBootstrap(first, draws, seed), len(runs)
    noise = np.random.default_rng(seed).standard_t(count - 1, (draws, len(_UNITS)))
    rows: list[pd.DataFrame] = []
    for keys, group in groups(first, by):
        part = gains[:, group]
        found = bootstrap.means(pd.DataFrame(part.mean(axis=0)), group)
        means = np.stack([pd.DataFrame(one).mean() for one in part])  # [seeds, units]; NaN where nothing is priced
        between = means.std(axis=0, ddof=1)
        low, high = replace(found, means=found.means + noise * between / np.sqrt(count)).interval(level)
        statistics: dict[str, float] = {"seeds": count, "orders": int(np.isfinite(part[0, :, 0]).sum())}
        values = (found.estimate, low, high, between, means.min(axis=0), means.max(axis=0))
        for name, value in zip(_PARTS, values, strict=True):
            statistics |= {f"{name}_{unit}": float(value[place]) for place, unit in enumerate(_UNITS)}
        rows.append(keys.assign(**statistics))
    return stack(rows, by, ("seeds", "orders", *(f"{name}_{unit}" for unit in _UNITS for name in _PARTS)))


def _gains(tables: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """Improvements [seeds, orders, units]; refuses a model that is there twice."""
    gains = {name: np.stack([improvement(table, unit) for unit in _UNITS], axis=1) for name, table in tables.items()}
    names = list(gains)
    for place, name in enumerate(names):
        for other in names[:place]:
            if np.array_equal(gains[name], gains[other], equal_nan=True):
                raise ConfigError(f"{other} and {name} did exactly the same with every order: is that one model twice?")
    return np.stack(list(gains.values()))
