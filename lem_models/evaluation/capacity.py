"""The capacity curve: what is left of a policy's improvement when its orders have a size.

The fills of a policy that does not read sizes are priced at every size (:mod:`lem_models.evaluation.repricing`). A
policy that reads them (:attr:`Policy.reads_size <lem_models.execution.policy.Policy>`) has executed the orders once at
each size. For each size, the net improvement
against three prices: the order's own benchmark, the market's VWAP over the full horizon, and arrival (implementation
shortfall); see :mod:`lem_models.evaluation.prices`.

Intervals are those of the bootstrap over days (:mod:`lem_models.statistics.bootstrap`). The *break-even size* is where
the mean net improvement changes its sign. Between two sizes it is interpolated in the square root of the size, in which
the impact of a fill is linear. Its interval is made of the sizes at which the interval of the mean holds 0: those that
a test at this level does not tell from the break-even.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import ConfigError
from lem_models.evaluation.prices import AGAINST
from lem_models.evaluation.repricing import participations, repriced
from lem_models.execution.costs import CostModel
from lem_models.execution.result import ExecutionResult, ResultPart, with_ends
from lem_models.features.market import Market
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.groups import align, groups, key_names

Results = ExecutionResult | Sequence[ExecutionResult]
"""The result of a policy, or one for each size."""

__all__ = ["CAPACITY_COLUMNS", "break_even", "break_even_sizes", "capacity_curve", "net_improvements"]

CAPACITY_COLUMNS = (
    "size",
    "against",
    "orders",
    "gross_bps",
    "gross_low_bps",
    "gross_high_bps",
    "net_bps",
    "low_bps",
    "high_bps",
    "cost_bps",
    "difference_bps",
    "difference_low_bps",
    "difference_high_bps",
    "participation_percent",
    "largest_participation_percent",
    "over_volume_percent",
)
"""Columns of :func:`capacity_curve`, after the policy and the keys."""


def net_improvements(orders: pd.DataFrame) -> pd.DataFrame:
    """Improvement of each order against each of :data:`AGAINST`, before and after costs.

    Args:
        orders: Orders table of a result.

    Returns:
        Columns ``gross_own``, ``net_own``, ``gross_full_vwap``, ... in bps, positive is good. Against arrival the
        unfilled fraction counts at the last close of the horizon.
    """
    side = orders["side"].map({"buy": 1.0, "sell": -1.0}).astype(float)
    executed, net = orders["executed_price"], orders["net_price"]
    paid = (side * orders["filled"] * (net - executed) / orders["arrival_price"] * 1e4).fillna(0.0)
    return pd.DataFrame(
        {
            "gross_own": 0.0 - orders["slippage_bps"],
            "net_own": 0.0 - orders["net_slippage_bps"],
            "gross_full_vwap": side * (1 - executed / orders["full_vwap"]) * 1e4,
            "net_full_vwap": side * (1 - net / orders["full_vwap"]) * 1e4,
            "gross_arrival": 0.0 - orders["shortfall_bps"],
            "net_arrival": 0.0 - (orders["shortfall_bps"] + paid),
        }
    )


def capacity_curve(
    results: Mapping[str, Results],
    costs: CostModel,
    sizes: Sequence[float] | None,
    by: Sequence[str] | str | None = None,
    *,
    reference: str = "twap",
    rows: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    market: Market | None = None,
    overall: bool = False,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Net improvement of policies against the size of the order.

    Args:
        results: Result of each policy on the same orders, by name; a result for each size of a policy that reads sizes.
        costs: The cost model.
        sizes: Sizes as fractions of the volume expected over an order's maximum duration; at size 0 an order pays
            half-spread and fees and has no impact. ``None`` for orders that name their amounts.
        by: Column or columns to group by, as for :func:`~lem_models.statistics.summary.summarise`.
        reference: Policy that the others are compared with, order by order.
        rows: Orders of each result that count, bool [orders]; default all.
        market: Market of the results, to compute its features only once.
        overall: Also rows of all orders together, before those of the groups, with missing keys.
        level: Coverage of the intervals.
        draws: Draws of the bootstrap.
        seed: Seed of the draws.

    Returns:
        A row per policy, group, size and price of :data:`AGAINST`: the policy, the keys and :data:`CAPACITY_COLUMNS`.
        ``size`` is a fraction, NaN for orders with amounts. ``gross_bps`` and ``net_bps`` are mean improvements,
        ``gross_low_bps`` and ``gross_high_bps`` the interval of the first, ``low_bps`` and ``high_bps`` that of the
        second, ``difference_*`` its paired difference to the
        reference (NaN for the reference itself, and without it), ``participation_percent`` the mean participation of
        the orders, ``largest_participation_percent`` the largest of all in one bar, and ``over_volume_percent`` the
        share of orders that trade more in a bar than the market did, which no market would fill.

    Raises:
        ConfigError: There is no policy or no size, a size is negative, orders with amounts are to have sizes, or a
            policy has results of another number of sizes.
        OrderError: An order names no amount, and there are no sizes; or the results hold different orders.
    """
    if not results:
        raise ConfigError("a capacity curve needs at least one policy")
    at_sizes = {name: [each] if isinstance(each, ExecutionResult) else list(each) for name, each in results.items()}
    models = _models(at_sizes, costs, sizes)
    if rows is not None:
        at_sizes = {name: [_some(result, rows[name]) for result in each] for name, each in at_sizes.items()}
    tables_of = {name: each[0].orders for name, each in at_sizes.items()}
    bars = next(iter(at_sizes.values()))[0].bars
    market = Market(bars) if market is None else market
    measured = {name: _measured(each, models, market) for name, each in at_sizes.items()}
    names, tables = key_names(by), []
    for name, each in at_sizes.items():
        orders, values = with_ends(tables_of[name], bars), measured[name]
        gains = None
        if name != reference and reference in at_sizes:
            gains = _gains(values, orders, measured[reference], tables_of[reference])
        bootstrap = OrderBootstrap(orders, draws, seed)
        everything = [(pd.DataFrame({key: [pd.NA] for key in names}), np.arange(len(orders)))]
        for keys, group in [*(everything if overall and names else []), *groups(orders, by)]:
            table = _curve([value.iloc[group] for value in values], sizes)
            net = pd.concat([value.iloc[group][_net()] for value in values], axis=1)
            table["low_bps"], table["high_bps"] = bootstrap.means(net, group).interval(level)
            # Where the fills are the same at every size, one interval serves all.
            fills = pd.concat([value.iloc[group][_gross()] for value in values[: len(each)]], axis=1)
            gross = bootstrap.means(fills, group).interval(level)
            table["gross_low_bps"], table["gross_high_bps"] = (np.tile(end, len(values) // len(each)) for end in gross)
            if gains is not None:
                some = gains.iloc[group]
                table["difference_bps"] = some.mean().to_numpy()
                table["difference_low_bps"], table["difference_high_bps"] = bootstrap.means(some, group).interval(level)
            table.insert(0, "policy", name)
            for key in reversed(names):
                table.insert(1, key, keys[key].iloc[0])
            tables.append(table)
    return pd.concat(tables, ignore_index=True)[["policy", *names, *CAPACITY_COLUMNS]]


def _some(result: ExecutionResult, rows: npt.NDArray[np.bool_]) -> ExecutionResult:
    """Some of the orders of a result, bool [orders]."""
    part, ends = result.part, np.cumsum([len(fills) for fills in result.part.fills])
    # An empty result has no fills.
    fills = tuple(fills[mine] for fills, mine in zip(part.fills, np.split(rows, ends[:-1]), strict=False))
    orders = part.orders[rows].reset_index(drop=True)
    return ExecutionResult.join(result.bars, [ResultPart(orders, part.excluded, fills, part.finish_period[rows])])


def _models(
    results: Mapping[str, Sequence[ExecutionResult]], costs: CostModel, sizes: Sequence[float] | None
) -> list[CostModel]:
    """The cost model at each size."""
    expected = 1 if sizes is None else len(sizes)
    for name, each in results.items():
        if len(each) not in (1, expected):
            raise ConfigError(f"{name} has results of {len(each)} sizes, and {expected} are asked for")
    if sizes is None:
        return [costs.model_copy(update={"order_size": None})]
    if not len(sizes) or any(not 0 <= size < np.inf for size in sizes):
        raise ConfigError(f"sizes are fractions of the expected volume, at least 0 and finite; got {list(sizes)}")
    if any(each[0].orders["amount"].notna().any() for each in results.values()):
        raise ConfigError("orders that name an amount have that size: leave the sizes out (None)")
    return [costs.at(size) for size in sizes]


def _net() -> list[str]:
    return [f"net_{price}" for price in AGAINST]


def _gross() -> list[str]:
    return [f"gross_{price}" for price in AGAINST]


def _measured(results: Sequence[ExecutionResult], models: Sequence[CostModel], market: Market) -> list[pd.DataFrame]:
    """Improvements, costs and participations of each order, a table per size; one result serves all sizes."""
    if len(results) > 1:
        return [_priced(result, [model], market)[0] for result, model in zip(results, models, strict=True)]
    return _priced(results[0], models, market)


def _priced(result: ExecutionResult, models: Sequence[CostModel], market: Market) -> list[pd.DataFrame]:
    """The same of one result, a table per cost model."""
    has_amounts = bool(result.orders["amount"].notna().any())
    # Participation is in proportion to the size: measured once, at the whole expected volume.
    whole = participations(result, None if has_amounts else CostModel(order_size=1.0), market).to_numpy()
    tables = []
    for model, orders in zip(models, repriced(result, models, market), strict=True):
        table = net_improvements(orders).assign(cost=orders["cost_bps"])
        table[["participation", "largest"]] = whole if has_amounts else whole * (model.order_size or 0.0)
        tables.append(table)
    return tables


def _gains(
    ours: Sequence[pd.DataFrame], orders: pd.DataFrame, theirs: Sequence[pd.DataFrame], reference: pd.DataFrame
) -> pd.DataFrame:
    """Net improvement over the reference, order by order; columns as :func:`_curve` has rows."""
    ids = pd.Index(reference["order_id"])
    common = ids.isin(orders["order_id"]), orders["order_id"].isin(ids)
    align(orders[common[1]], reference[common[0]])  # refuses other orders under the same names
    position = ids.get_indexer(pd.Index(orders["order_id"]))
    parts = []
    for own, other in zip(ours, theirs, strict=True):
        matched = other[_net()].to_numpy()[position]
        parts.append(own[_net()] - np.where((position >= 0)[:, None], matched, np.nan))
    return pd.concat(parts, axis=1)


def _curve(values: Sequence[pd.DataFrame], sizes: Sequence[float] | None) -> pd.DataFrame:
    """Means of a group of orders: a row per size and price."""
    table = []
    for size, value in zip([np.nan] if sizes is None else sizes, values, strict=True):
        mean = value.mean()
        for price in AGAINST:
            table.append(
                {
                    "size": float(size),
                    "against": price,
                    "orders": int(value[f"net_{price}"].notna().sum()),
                    "gross_bps": mean[f"gross_{price}"],
                    "gross_low_bps": np.nan,
                    "gross_high_bps": np.nan,
                    "net_bps": mean[f"net_{price}"],
                    "cost_bps": mean["cost"],
                    "difference_bps": np.nan,
                    "difference_low_bps": np.nan,
                    "difference_high_bps": np.nan,
                    "participation_percent": 100 * mean["participation"],
                    "largest_participation_percent": 100 * value["largest"].max(),
                    "over_volume_percent": 100 * float((value["largest"] > 1).mean()),
                }
            )
    return pd.DataFrame(table)


# --- break-even ------------------------------------------------------------------------------------------------------


def break_even(size: npt.ArrayLike, improvement: npt.ArrayLike) -> float:
    """Size at which a mean improvement first changes its sign.

    Args:
        size: Sizes, ascending, [sizes].
        improvement: Mean improvement at each, [sizes].

    Returns:
        The size, interpolated linearly in its square root; NaN if the sign is the same at all sizes. An improvement of
        exactly 0 has no sign.

    Example:
        Falling from 4 bps at no size by 2 bps for each root of a per cent:

        >>> break_even([0.0, 0.01, 0.09], [4.0, 2.0, -2.0])
        0.04
    """
    root, value = np.sqrt(np.asarray(size, dtype=float)), np.asarray(improvement, dtype=float)
    known = np.isfinite(value) & np.isfinite(root) & (value != 0)
    root, value = root[known], value[known]
    turns = np.flatnonzero(np.sign(value[1:]) != np.sign(value[:-1]))
    if not len(turns):
        return float("nan")
    first = turns[0]
    share = value[first] / (value[first] - value[first + 1])
    return float(round((root[first] + share * (root[first + 1] - root[first])) ** 2, 12))


def break_even_sizes(curve: pd.DataFrame, column: str = "net_bps") -> pd.DataFrame:
    """Break-even size of every policy, group and price.

    Args:
        curve: Table of :func:`capacity_curve`.
        column: ``"net_bps"``, or ``"difference_bps"`` for the size from which the reference is as good.

    Returns:
        A row per policy, group and price: the keys, ``against``, ``break_even`` (a fraction; NaN if there is none),
        ``break_even_low`` and ``break_even_high`` (ends of its interval, at the level of the curve: the smallest size
        if the sign may be the other one there already, infinity if it may still be the same at the largest),
        ``largest_size`` (up to which was looked), and ``starts_positive`` (whether the improvement is above 0 at the
        smallest size; missing without one).
    """
    keys = [name for name in curve.columns if name not in CAPACITY_COLUMNS] + ["against"]
    name = "" if column == "net_bps" else "difference_"
    ends = [f"{name}low_bps", f"{name}high_bps"]
    rows = []
    for values, group in curve.groupby(keys, sort=False, observed=True, dropna=False):
        group = group.sort_values("size")
        first, last = group[column].iloc[0], group[column].iloc[-1]
        found = break_even(group["size"], group[column])
        falls = bool(first > 0) if np.isfinite(found) else bool(last < first)
        # Where it falls, the lower end of its interval changes its sign first.
        low, high = (_turn(group["size"], group[end], falls) for end in (ends if falls else ends[::-1]))
        rows.append(
            dict(zip(keys, values, strict=True))
            | {
                "break_even": found,
                "break_even_low": low,
                "break_even_high": high,
                "largest_size": group["size"].max(),
                "starts_positive": None if pd.isna(first) else bool(first > 0),
            }
        )
    sizes = ["break_even", "break_even_low", "break_even_high", "largest_size", "starts_positive"]
    return pd.DataFrame(rows, columns=[*keys, *sizes])


def _turn(size: pd.Series[float], improvement: pd.Series[float], falls: bool) -> float:
    """Size from which an improvement is below 0 (above 0, if it rises): infinity if it never is, NaN if unknown."""
    known = improvement.notna() & size.notna()
    if not known.any():
        return float("nan")
    values = improvement[known] if falls else -improvement[known]
    if values.iloc[0] <= 0:
        return float(size[known].iloc[0])
    turn = break_even(size[known], values)
    return turn if np.isfinite(turn) else float("inf")
