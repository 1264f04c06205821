r"""Attribution: where the improvement of a policy comes from.

Three quantities, each per order and averaged:

- **option value**: the improvement on the martingale null (:mod:`lem_models.evaluation.null`), where nothing is left to
  forecast;
- **above the null**: the improvement on the real bars minus the option value. It is not skill by itself, because
  policies that forecast nothing earn some of it: real bars differ from the null in more than what can be forecast;
- **information**: the improvement minus that of the same policy with contexts of null bars,

  .. math:: \text{information} = x(c^{\text{real}}, \text{path}) - x(c^{\text{null}}, \text{path}),

  with the improvement ``x`` from contexts ``c``. The path that is traded is the real one in both: fills, caps and
  benchmarks stay. The null keeps volumes, so expected volumes are the same in both. The context of bar ``k`` is that of
  the null bars up to ``k``, so the ablation is causal. A policy that reads no contexts has information 0.

  Contexts also tell a flexible order where its own path is, and that helps or hurts where nothing can be forecast too.
  How much is the **control**: the same difference on a path of the null, with its own contexts and those of another
  draw. Information **beyond the control** comes from the market's future. Both are of the same orders, so it is
  measured order by order.

A **placebo** is a policy that forecasts nothing. Its risk aversion is chosen on the same orders, so that its standard
deviation is the nearest to that of the policy under test. The difference of the two, order by order, is what the policy
under test earns beyond the option at that risk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from lem_models.baselines import load_policy
from lem_models.errors import ConfigError
from lem_models.execution.costs import CostModel
from lem_models.execution.policy import Policy, take_settings
from lem_models.execution.records import Decision, ExecutionState, MarketWindow, OrderBatch, OrderContexts, Paths
from lem_models.execution.result import ExecutionResult, with_ends
from lem_models.execution.sharding import Ranks, SharedOrders
from lem_models.features.market import Market
from lem_models.markets.bars import Bars
from lem_models.statistics.bootstrap import OrderBootstrap
from lem_models.statistics.groups import align, groups
from lem_models.statistics.null_draws import NullDraws
from lem_models.statistics.summary import Unit, improvement, null_split, paired_difference

__all__ = [
    "KEPT_CONTEXTS",
    "MATCHED",
    "PLACEBOS",
    "MatchedPlacebo",
    "MatchedRisk",
    "PlaceboRun",
    "WithContextsOf",
    "control_draw",
    "information_split",
    "placebo_difference",
    "reads_contexts",
]

Floats = npt.NDArray[np.float64]

PLACEBOS: Mapping[str, tuple[float, ...]] = {
    "longstaff_schwartz": (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6),
    "stopping_rule": (),
}
"""Policies that forecast nothing, and the risk aversions that each has; none for a policy without a risk dial."""

KEPT_CONTEXTS = 256_000_000
"""Bytes of contexts that :class:`WithContextsOf` keeps at most; beyond them it encodes again."""

MATCHED = "matched"
"""End of the label of a placebo whose risk aversion was matched."""

_UNITS: tuple[Unit, ...] = ("bps", "vol")


# --- contexts of other bars ------------------------------------------------------------------------------------------


class WithContextsOf(Policy):
    """A policy whose contexts come from other bars than those that its orders trade.

    ``encode`` reads the other market; ``decide`` gets the state of the market that is traded. One object may execute
    the same orders on several markets: it keeps the contexts, up to :data:`KEPT_CONTEXTS`, and encodes once.

    Args:
        policy: The policy.
        market: The other market: the symbols and timestamps of the one that is traded, or more symbols. It may be the
            very market that is traded.
    """

    def __init__(self, policy: Policy, market: Market) -> None:
        self._policy, self._market = policy, market
        self._kept: list[tuple[Market, npt.NDArray[np.int64], npt.NDArray[np.int64], Tensor]] = []
        self.name = getattr(policy, "name", type(policy).__name__)
        take_settings(self, policy)

    def encode(self, market: Market, rows: npt.NDArray[np.int64], side: npt.NDArray[np.int64]) -> Tensor | None:
        """Contexts of the same bars of the other market.

        Raises:
            ConfigError: If the other market has other bars.
        """
        encode: Any = getattr(self._policy, "encode", None)
        if encode is None:
            return None
        other = self._other(market)
        for known, known_rows, known_side, contexts in self._kept:
            if known is other and np.array_equal(known_rows, rows) and np.array_equal(known_side, side):
                return contexts
        encoded: Tensor | None = encode(other, rows, side)
        if isinstance(encoded, Tensor):
            kept = sum(each.nbytes for *_, each in self._kept)
            if kept + encoded.nbytes <= KEPT_CONTEXTS:
                self._kept.append((other, rows.copy(), side.copy(), encoded))
        return encoded

    def decide(self, context: Tensor | None, orders: OrderBatch, state: ExecutionState) -> Decision:
        """Decision of the policy."""
        return self._policy.decide(context, orders, state)

    def _roll_out(
        self, contexts: OrderContexts, orders: OrderBatch, window: MarketWindow, *, to_finish: bool
    ) -> Paths | None:
        """All periods at once, where the policy has that; see :func:`~lem_models.execution.simulator.simulate`."""
        roll_out = getattr(type(self._policy), "_roll_out", None)
        if roll_out is None:
            return None
        paths: Paths | None = roll_out(self._policy, contexts, orders, window, to_finish=to_finish)
        return paths

    def _other(self, market: Market) -> Market:
        """The other market with the rows of this one: the whole, or the bars of one calendar."""
        for other in (self._market, *self._market.by_calendar):
            if other.bars.symbols == market.bars.symbols and np.array_equal(other.bars.offsets, market.bars.offsets):
                return other
        raise ConfigError("contexts of other bars need the symbols and timestamps of the bars that are traded")


def reads_contexts(policy: Policy) -> bool:
    """Whether a policy encodes the market; one that does not has information 0."""
    return getattr(type(policy), "encode", Policy.encode) is not Policy.encode


def information_split(
    real: pd.DataFrame,
    ablated: NullDraws,
    control: NullDraws | None,
    by: Sequence[str],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Information of a policy: improvement with contexts of real bars minus that with contexts of null bars.

    Args:
        real: Orders table of the policy; groups are made from its columns.
        ablated: Improvements of the same orders on the same bars, with contexts of each draw of the null.
        control: The same difference on paths of the null, from :func:`control_draw`; ``None`` if it was not measured.
        by: Columns or derived keys to group by.
        draws: Draws of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        One row per group: the keys, ``orders``, and for ``real``, ``ablated``, ``information``, ``control`` and
        ``beyond_control`` (information minus control, order by order) the mean and its 95 % interval in both units:
        ``real_bps``, ``real_low_bps`` ... ``beyond_control_high_vol``. The last two are NaN where the control was not
        measured.

    Raises:
        OrderError: If the tables hold different orders.
    """
    names = {"option": "ablated", "above": "information"}
    split = null_split(real, ablated, by, draws=draws, seed=seed)
    columns = {
        f"{old}{end}_{unit}": f"{new}{end}_{unit}"
        for old, new in names.items()
        for end in ("", "_low", "_high")
        for unit in _UNITS
    }
    own_path = np.full((len(real), 2), np.nan) if control is None else control.of_orders(real["order_id"]).means()
    values = {"control": own_path, "beyond_control": _above_null(real, ablated) - own_path}
    measured = _means(real, values, by, draws, seed)
    return pd.concat([split.rename(columns=columns), measured], axis=1)


def control_draw(own: NullDraws, other: NullDraws) -> NullDraws:
    """One draw of the control: improvement with the contexts of the path minus that with contexts of another draw.

    Args:
        own: A draw of the null with its own contexts.
        other: The same orders on the same path, with contexts of another draw.
    """
    difference = own.improvement_bps - other.of_orders(own.order_id).improvement_bps
    return NullDraws(own.order_id, difference, own.volatility_bps)


def _means(
    orders: pd.DataFrame, values: Mapping[str, Floats], by: Sequence[str], draws: int, seed: int
) -> pd.DataFrame:
    """Means and intervals of named values [orders, units] by group, without the keys: ``name_bps, name_low_bps`` ..."""
    days, rows = OrderBootstrap(orders, draws, seed), []
    columns = [f"{name}_{unit}" for name in values for unit in _UNITS]
    table = pd.DataFrame(np.concatenate(list(values.values()), axis=1), columns=columns)
    for _, group in groups(orders, list(by)):
        own = table.iloc[group]
        low, high = days.means(own, group).interval()
        ends = [("", own.mean().to_numpy()), ("_low", low), ("_high", high)]
        rows.append(
            {
                f"{name}{end}_{unit}": numbers[columns.index(f"{name}_{unit}")]
                for name in values
                for unit in _UNITS
                for end, numbers in ends
            }
        )
    return pd.DataFrame(
        rows, columns=[f"{name}{end}_{unit}" for name in values for unit in _UNITS for end in ("", "_low", "_high")]
    )


# --- placebos --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MatchedPlacebo:
    """A placebo on the orders of the policy under test.

    Attributes:
        name: Name of the policy.
        has_dial: Whether it has a risk aversion, which was matched.
        orders: Its orders table; the column ``risk_aversion`` is what was chosen for the group of each order.
        draws: Its improvements on the draws of the null; ``None`` without a null.
    """

    name: str
    has_dial: bool
    orders: pd.DataFrame
    draws: NullDraws | None = None

    @property
    def label(self) -> str:
        """Name in tables; it tells a matched placebo from the same policy as a rival."""
        return f"{self.name}, {MATCHED}" if self.has_dial else self.name


class MatchedRisk:
    """Search for the risk aversions of a placebo whose standard deviations are the nearest to those of a policy.

    The standard deviation of the improvement falls with the risk aversion, so each group of orders halves its grid: of
    7 values it tries 3. The nearest of the values tried is chosen.

    Args:
        orders: Orders table of the policy under test.
        grid: Risk aversions of the placebo, ascending, at least one.
        by: Columns that make the groups.
    """

    def __init__(self, orders: pd.DataFrame, grid: tuple[float, ...], by: Sequence[str]) -> None:
        self._orders, self._grid = orders, grid
        self._rows = [rows for _, rows in groups(orders, list(by))]
        spread = improvement(orders, "vol").to_numpy()
        self._target = [_std(spread[rows]) for rows in self._rows]
        self._tried: list[dict[float, float]] = [{} for _ in self._rows]
        self._bounds = [(0, len(grid) - 1) for _ in self._rows]

    def ask(self) -> pd.Series[float] | None:
        """Risk aversion to try next by order id; ``None`` when the search is over."""
        if all(low > high for low, high in self._bounds):
            return None
        # A group that is done repeats a value that it tried.
        return self._by_order(
            [
                self._grid[(low + high) // 2] if low <= high else next(iter(tried))
                for (low, high), tried in zip(self._bounds, self._tried, strict=True)
            ]
        )

    def tell(self, orders: pd.DataFrame) -> None:
        """What the placebo earned at the risk aversions of :meth:`ask`: its orders table.

        Raises:
            OrderError: If the tables hold different orders.
        """
        spread = improvement(align(self._orders, orders), "vol").to_numpy()
        for number, (low, high) in enumerate(self._bounds):
            if low <= high:
                middle = (low + high) // 2
                std = _std(spread[self._rows[number]])
                self._tried[number][self._grid[middle]] = std
                self._bounds[number] = (middle + 1, high) if std > self._target[number] else (low, middle - 1)

    def best(self) -> pd.Series[float]:
        """The chosen risk aversion by order id."""
        return self._by_order(
            [
                min(tried, key=lambda risk, tried=tried, target=target: abs(tried[risk] - target))  # type: ignore[misc]
                for tried, target in zip(self._tried, self._target, strict=True)
            ]
        )

    def _by_order(self, risks: list[float]) -> pd.Series[float]:
        values = np.empty(len(self._orders))
        for rows, risk in zip(self._rows, risks, strict=True):
            values[rows] = risk
        return pd.Series(values, self._orders["order_id"].to_numpy())


class PlaceboRun:
    """A placebo on the orders of a policy under test, in all processes of a benchmark.

    Every process must make it and call its methods with the same arguments, but for ``model``.

    Args:
        name: A name of :data:`PLACEBOS`.
        orders: The orders, with ``order_id``.
        bars: The market.
        ranks: The processes.
        costs: Trading costs.
    """

    def __init__(self, name: str, orders: pd.DataFrame, bars: Bars, ranks: Ranks, costs: CostModel | None) -> None:
        self.name, self.grid = name, PLACEBOS[name]
        self._policy, self._bars, self._ranks, self._costs = load_policy(name), bars, ranks, costs
        self._orders = orders
        self._result: ExecutionResult | None = None
        self._draws: list[NullDraws] = []

    def execute(self, market: Market, model: pd.DataFrame | None) -> None:
        """Find the matching risk aversions and execute the orders.

        Args:
            market: The market of the bars, for a single process; several processes make their own.
            model: On rank 0 the orders table of the policy under test, some or all of the orders; else ``None``.
        """
        kept = self._ranks.share(np.zeros(0) if model is None else model["order_id"].to_numpy())
        self._orders = self._orders[self._orders["order_id"].isin(kept)].reset_index(drop=True)
        if self.grid:
            search = None if model is None else MatchedRisk(model, self.grid, ["min_periods", "max_periods"])
            while (risks := self._ranks.share(None if search is None else search.ask())) is not None:
                result = self._run(self._at(risks), market, self._bars, self._costs)
                if search is not None and result is not None:
                    search.tell(result.orders)
            self._orders = self._at(self._ranks.share(None if search is None else search.best()))
        self._result = self._run(self._orders, market, self._bars, self._costs)

    def execute_null(self, market: Market, null: Bars) -> None:
        """Execute the orders on a draw of the null."""
        result = self._run(self._orders, market, null, None)
        if result is not None:
            self._draws.append(NullDraws.of(result.orders))

    def matched(self) -> MatchedPlacebo | None:
        """What it earned; ``None`` on every rank but the first."""
        if self._result is None:
            return None
        draws = NullDraws.join(self._draws) if self._draws else None
        return MatchedPlacebo(self.name, bool(self.grid), with_ends(self._result.orders, self._bars), draws)

    def _at(self, risks: pd.Series[float] | None) -> pd.DataFrame:
        """The orders at risk aversions by order id."""
        assert risks is not None
        return self._orders.assign(risk_aversion=risks.loc[self._orders["order_id"]].to_numpy())

    def _run(self, orders: pd.DataFrame, market: Market, bars: Bars, costs: CostModel | None) -> ExecutionResult | None:
        shared = SharedOrders(orders, self._ranks)
        own = market if self._ranks.size == 1 else shared.market(bars)
        return shared.execute(self._policy, own, bars, costs=costs)


def _std(values: npt.NDArray[Any]) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else 0.0


def placebo_difference(
    model: pd.DataFrame,
    draws: NullDraws | None,
    placebo: MatchedPlacebo,
    by: Sequence[str],
    *,
    bootstrap: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The policy under test minus a placebo, order by order.

    Args:
        model: Orders table of the policy under test, the orders of the placebo.
        draws: Its improvements on the null; ``None`` without a null.
        placebo: The placebo.
        by: Columns or derived keys to group by.
        bootstrap: Draws of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        One row per group: the keys, ``placebo`` (its label), ``risk_aversion`` (NaN without a dial), ``std_vol`` and
        ``placebo_std_vol`` (standard deviations of the improvements in bar volatilities), the columns of
        :func:`~lem_models.statistics.summary.paired_difference`, and ``above_bps``, ``above_low_bps`` ...
        ``above_high_vol``: the difference of what both earn above the null, NaN without a null.

    Raises:
        OrderError: If the tables hold different orders.
    """
    theirs = align(model, placebo.orders)
    table = paired_difference(model, theirs, by, draws=bootstrap, seed=seed)
    ours, other = (improvement(each, "vol").to_numpy() for each in (model, theirs))
    above = np.full((len(model), 2), np.nan)
    if draws is not None and placebo.draws is not None:
        above = _above_null(model, draws) - _above_null(theirs, placebo.draws)
    spread = [
        {
            "risk_aversion": theirs["risk_aversion"].iloc[group[0]] if placebo.has_dial else np.nan,
            "std_vol": _std(ours[group]),
            "placebo_std_vol": _std(other[group]),
        }
        for _, group in groups(model, list(by))
    ]
    paired = table.drop(columns="std_vol").rename(columns={"std_bps": "difference_std_bps"})
    extra = pd.DataFrame(spread, columns=["risk_aversion", "std_vol", "placebo_std_vol"])
    table = pd.concat([paired, extra, _means(model, {"above": above}, by, bootstrap, seed)], axis=1)
    table.insert(len(by), "placebo", placebo.label)
    return table


def _above_null(orders: pd.DataFrame, draws: NullDraws) -> Floats:
    """Improvement minus the mean over draws of the null, or with contexts of the null, [orders, units]."""
    gained = np.column_stack([improvement(orders, unit).to_numpy() for unit in _UNITS])
    above: Floats = gained - draws.of_orders(orders["order_id"]).means()
    return above
