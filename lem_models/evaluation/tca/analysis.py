"""Transaction cost analysis (TCA) of real fills: measured like simulated orders, beside what policies would have done.

:func:`analyse_fills` takes a table of fills, the bars and, if there is one, a table of parent orders. Its result
has a row per order with every measure, totals with intervals over days, the slippage by cause
(:mod:`lem_models.evaluation.tca.decomposition`), the reversion after the end, and policies on the same
orders.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.errors import UnknownNameError
from lem_models.evaluation.post_trade import AFTER
from lem_models.evaluation.tca.comparison import Comparison, compare_with_policies, named
from lem_models.evaluation.tca.decomposition import CAUSES, Cells
from lem_models.evaluation.tca.fills import Decisions, Fills, read_decisions, read_fills
from lem_models.evaluation.tca.measures import AGAINST, cells_of, measure
from lem_models.evaluation.tca.parents import given_parents, inferred_parents
from lem_models.evaluation.tca.placing import PlacedFills, outside_range, place_fills
from lem_models.execution.costs import CostModel
from lem_models.execution.execute import by_calendar
from lem_models.execution.policy import Policy
from lem_models.features.market import Market
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars, BarsLike
from lem_models.notebook import cells_html, facts_html
from lem_models.orders.rules import SIZE_SESSIONS
from lem_models.orders.table import OrdersLike
from lem_models.statistics.bootstrap import OrderBootstrap

__all__ = ["MEASURES", "TransactionCosts", "analyse_fills"]

_MANY = 0.5  # part of the fills outside the range of their bars from which something else must be wrong

Floats = npt.NDArray[np.float64]

MEASURES: Mapping[str, str] = {
    "slippage_bps": "value",
    "net_slippage_bps": "value",
    **{f"{name}_bps": "value" for name in AGAINST},
    "shortfall_bps": "paper_value",
    "opportunity_bps": "paper_value",
    "participation": "value",
    "filled": "paper_value",
}
"""Measures of the totals, and the column of the money that weighs each."""


@dataclass(frozen=True)
class TransactionCosts:
    """Result of :func:`analyse_fills`. Positive = cost; ``_bps`` columns are in basis points, the others as they say.

    Columns of ``orders``, after the order's own:

    - ``periods_used``, ``fills`` (number), ``filled_quantity`` (units), ``filled`` (part of the amount), ``completed``
    - ``executed_price``, ``schedule_price`` (as if each fill had got the VWAP of its bar), ``benchmark_price``,
      ``arrival_price``, ``interval_vwap``, ``full_vwap``, ``interval_twap``
    - ``value`` (money at the benchmark price, the base of the causes), ``paper_value`` (money of the whole order on
      arrival)
    - ``slippage_bps`` (without fees), ``net_slippage_bps`` (with fees), ``cost`` (the latter in money)
    - ``interval_vwap_bps``, ``full_vwap_bps``, ``interval_twap_bps``, ``arrival_bps``: without fees
    - ``shortfall_bps``, ``shortfall`` (money), ``opportunity_bps``: implementation shortfall with fees and its part for
      what was not filled
    - ``participation``, ``largest_participation`` (in one bar)
    - ``cause_timing``, ``cause_sizing``, ``cause_price``, ``cause_fees``, ``cause_opportunity`` in money, adding up to
      ``cost``, and the same with ``_bps``, which add up to ``net_slippage_bps``
    - ``reversion_last_fill_<h>_bps``, ``reversion_executed_<h>_bps``

    Attributes:
        orders: A row per measured order.
        fills: A row per measured fill, with ``order`` (row of the order), ``bar_price`` and ``price_cost`` (money).
        left_out: Fills that are not measured, with ``reason``.
        excluded: Orders that are not measured, with ``reason``.
        issues: A row per kind of problem: ``issue``, ``fills``, ``effect``, ``first``.
        notes: What else a reader must know.
        comparison: Policies on the same orders; ``None`` if none was asked for.
        after: Bars after the last fill of the reversions.
        level: Coverage of the intervals.
    """

    orders: pd.DataFrame
    fills: pd.DataFrame
    left_out: pd.DataFrame
    excluded: pd.DataFrame
    issues: pd.DataFrame
    notes: tuple[str, ...]
    comparison: Comparison | None
    after: tuple[int, ...]
    level: float
    _cells: Cells
    _placed: PlacedFills
    _bars: Bars
    _draws: int
    _seed: int

    @property
    def bars(self) -> Bars:
        """The market."""
        return self._bars

    @cached_property
    def totals(self) -> pd.DataFrame:
        """Means over the orders, a row per measure.

        Columns ``measure``, ``orders``, ``money``; weighted by money ``value_mean``, ``value_low``, ``value_high``;
        with each order the same ``equal_mean``, ``equal_low``, ``equal_high``.
        """
        rows = []
        for name, weight in MEASURES.items():
            money = self.orders[weight].to_numpy(np.float64)
            values = self.orders[name].to_numpy(np.float64)
            known = np.isfinite(values) & np.isfinite(money)
            has_money = name.endswith("_bps")
            rows.append(
                {
                    "measure": name,
                    "orders": int(known.sum()),
                    "money": float((values * money)[known].sum() / 1e4) if has_money else np.nan,
                    **self._mean("value", np.where(known, values, np.nan), money),
                    **self._mean("equal", values, None),
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def causes(self) -> pd.DataFrame:
        """Slippage by cause, a row per cause and one for the total.

        Columns ``cause``, ``money``, ``value_mean`` (bps of the money of all orders) with ``value_low`` and
        ``value_high``, ``equal_mean`` (bps) with ``equal_low`` and ``equal_high``.
        """
        rows = []
        money = self.orders["value"].to_numpy(np.float64)
        for cause in (*CAUSES, "total"):
            paid = self.orders["cost" if cause == "total" else f"cause_{cause}"].to_numpy(np.float64)
            bps = self.orders["net_slippage_bps" if cause == "total" else f"cause_{cause}_bps"].to_numpy(np.float64)
            rows.append(
                {
                    "cause": cause,
                    "money": float(np.nansum(paid)),
                    **self._mean("value", bps, money),
                    **self._mean("equal", bps, None),
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def reversion(self) -> pd.DataFrame:
        """Reversion after the end, a row per reference price and number of bars; no part of the sum of the causes.

        Columns ``reference``, ``bars_after``, ``orders``, ``mean_bps``, ``low_bps``, ``high_bps``.
        """
        rows = []
        for reference in ("last_fill", "executed"):
            for ahead in self.after:
                values = self.orders[f"reversion_{reference}_{ahead}_bps"].to_numpy(np.float64)
                mean = self._mean("", values, None, ends_after=ahead)
                rows.append(
                    {
                        "reference": reference,
                        "bars_after": ahead,
                        "orders": int(np.isfinite(values).sum()),
                        "mean_bps": mean["_mean"],
                        "low_bps": mean["_low"],
                        "high_bps": mean["_high"],
                    }
                )
        return pd.DataFrame(rows)

    @cached_property
    def by_liquidity(self) -> pd.DataFrame:
        """Price within the bar and fees, a row per liquidity flag; empty without flags.

        Columns ``liquidity``, ``fills``, ``share`` of the money, ``price_bps`` and ``fee_bps`` of it.
        """
        fills = self.fills.dropna(subset="liquidity")
        money = fills["quantity"] * fills["bar_price"]
        table = fills.assign(money=money).groupby("liquidity", sort=True)[["money", "price_cost", "fee"]].sum()
        return pd.DataFrame(
            {
                "liquidity": table.index.to_numpy(),
                "fills": fills.groupby("liquidity", sort=True).size().to_numpy(),
                "share": (table["money"] / table["money"].sum()).to_numpy(),
                "price_bps": (table["price_cost"] / table["money"] * 1e4).to_numpy(),
                "fee_bps": (table["fee"] / table["money"] * 1e4).to_numpy(),
            }
        )

    def periods_of(self, order_id: int | str) -> pd.DataFrame:
        """Every bar of one order.

        Columns ``period, timestamp, price`` (its VWAP), ``volume, units, fill_price, fees, filled``
        (share of what filled), ``wanted`` (share of what was wanted, NaN if unknown), ``expected`` (share of the volume
        that 20 sessions before let expect, NaN if there is no bar before), ``benchmark`` (weight of the bar in the
        benchmark), and the money of the causes in the bar, ``timing, sizing, price_cost``.

        Raises:
            UnknownNameError: No measured order has this id.
        """
        labels = self.orders["order_id"].tolist()
        if str(order_id) not in labels:
            raise UnknownNameError.among("order", str(order_id), labels)
        number = labels.index(str(order_id))
        order, cells = self.orders.iloc[number], self._cells
        mine = cells.order == number
        price, volume, units, money = (each[mine] for each in (cells.price, cells.volume, cells.units, cells.money))
        side = 1.0 if order["side"] == "buy" else -1.0
        period = cells.period[mine]
        total = units.sum()
        filled = units / total if total > 0 else np.zeros(len(units))
        wanted = np.full(len(units), np.nan)
        if cells.wanted is not None and cells.wanted[mine].sum() > 0:
            wanted = cells.wanted[mine] / cells.wanted[mine].sum()
        schedule = np.where(np.isnan(wanted), filled, wanted)
        weights = _weights(order, period, volume)
        # The benchmark price may be taken from each price, because both weights sum to 1.
        step = side * total * (price - float(order["benchmark_price"]))
        rows = self._placed.start[number] + period
        return pd.DataFrame(
            {
                "period": period,
                "timestamp": pd.to_datetime(self._bars.timestamp[rows], utc=True),
                "price": price,
                "volume": volume,
                "units": units,
                "fill_price": money / np.where(units > 0, units, np.nan),
                "fees": cells.fees[mine],
                "filled": filled,
                "wanted": wanted,
                "expected": self._expected(number),
                "benchmark": weights,
                "timing": step * (schedule - weights),
                "sizing": step * (filled - schedule),
                "price_cost": side * (money - units * price),
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """A copy of :attr:`orders`."""
        return self.orders.copy()

    def as_dict(self) -> dict[str, object]:
        """Everything but the fills and the bars, for JSON."""
        content: dict[str, object] = {
            "orders_measured": len(self.orders),
            "fills_measured": len(self.fills),
            "notes": list(self.notes),
            "issues": self.issues,
            "excluded": self.excluded,
            "totals": self.totals,
            "causes": self.causes,
            "reversion": self.reversion,
            "by_liquidity": self.by_liquidity,
        }
        if self.comparison is not None:
            content["comparison"] = self.comparison.table
            content["comparison_left_out"] = self.comparison.left_out
            content["comparison_remark"] = self.comparison.remark
        return content | {"orders": self.orders}

    def to_html(self, path: str | os.PathLike[str], *, title: str = "Execution costs", command: str = "") -> Path:
        """Write the report as one HTML file.

        Args:
            path: The file.
            title: Title of the page.
            command: Command that reproduces it.
        """
        from lem_models.report.tca.page import write_page

        return write_page(self, path, title=title, command=command)

    def __str__(self) -> str:
        """The tables as text."""
        from lem_models.report.tca.text import analysis_text

        return analysis_text(self)

    def __repr__(self) -> str:
        """One line."""
        total = self.totals.set_index("measure")["value_mean"]
        slippage = total["net_slippage_bps"]
        mean = "nothing filled" if pd.isna(slippage) else f"slippage with fees {slippage:+.2f} bps"
        counts = f"{len(self.orders):,} orders, {len(self.fills):,} fills, {len(self.excluded)} orders excluded"
        return f"TransactionCosts({counts}, {mean})"

    def _repr_html_(self) -> str:
        """A card for a notebook: counts, and slippage by cause."""
        facts = {"orders": f"{len(self.orders):,}", "fills": f"{len(self.fills):,}"}
        facts |= {"orders excluded": f"{len(self.excluded):,}"} if len(self.excluded) else {}
        rows = [(row["cause"], f"{row['value_mean']:+.2f}") for row in self.causes.to_dict("records")]
        table = cells_html(("cause", "bps of the money traded"), rows)
        return facts_html("TransactionCosts (positive = cost)", facts, table, note=" ".join(self.notes))

    @cached_property
    def _market(self) -> Market:
        return Market(self._bars)

    def _expected(self, number: int) -> Floats:
        """Shares of the bars of an order in the volume expected at its start, [periods]."""
        start, periods = self._placed.start[number : number + 1], self._placed.periods[number : number + 1]
        count = int(periods[0])
        if start[0] == self._bars.offsets[self._bars.grid.symbol(start)[0]]:
            return np.full(count, np.nan)
        ((market, _, first),) = (
            each for each in by_calendar(self._market, self.orders.iloc[[number]], start) if len(each[1])
        )
        volume = market.over_orders(first, periods, count, SIZE_SESSIONS, sized=False)["expected_volume"][0]
        return np.asarray(volume / volume.sum(), dtype=np.float64)

    def _mean(self, name: str, values: Floats, weights: Floats | None, *, ends_after: int = 0) -> dict[str, float]:
        """Mean of a column and its interval over days."""
        if not np.isfinite(values).any():
            return dict.fromkeys((f"{name}_mean", f"{name}_low", f"{name}_high"), np.nan)
        bootstrap = self._bootstrap(ends_after)
        rows = np.arange(len(values))
        weight = None if weights is None else weights[:, None]
        drawn = bootstrap.means(values[:, None], rows, weight)
        low, high = drawn.interval(self.level)
        return {f"{name}_mean": drawn.estimate[0], f"{name}_low": low[0], f"{name}_high": high[0]}

    def _bootstrap(self, ends_after: int) -> OrderBootstrap:
        last = self._placed.start + self._placed.periods - 1
        end = pd.to_datetime(self._bars.timestamp[last], utc=True) + (1 + ends_after) * self._bars.frequency
        return OrderBootstrap(self.orders.assign(end=end), self._draws, self._seed)


def _weights(order: pd.Series[Any], period: npt.NDArray[np.int64], volume: Floats) -> Floats:
    """Weights of the bars of an order in its benchmark; 0 for the arrival price."""
    if order["benchmark"] == "arrival":
        return np.zeros(len(period))
    until = max(int(order["periods_used"]), int(order["min_periods"]))
    weight = (volume > 0).astype(np.float64) if order["benchmark"] == "twap" else volume
    if order["benchmark"] != "full_vwap":
        weight = weight * (period < until)
    return np.asarray(weight / weight.sum()) if weight.sum() > 0 else np.full(len(period), np.nan)


def analyse_fills(
    fills: Fills | object,
    bars: BarsLike,
    orders: OrdersLike | None = None,
    *,
    decisions: Decisions | object | None = None,
    against: Mapping[str, Policy | str] | Sequence[Policy | str] = (),
    costs: CostModel | None = None,
    benchmark: str = "vwap",
    columns: Mapping[str, str] | None = None,
    tz: str | None = None,
    unit: str | None = None,
    after: Sequence[int] = AFTER,
    tolerance_bps: float = 1.0,
    allow_frequency: bool = False,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> TransactionCosts:
    """Measure real fills.

    Args:
        fills: The fills: a file, a table, or :class:`~lem_models.evaluation.tca.fills.Fills`.
        bars: The market.
        orders: The parent orders, see :mod:`lem_models.evaluation.tca.parents`; ``None`` infers them from the fills.
        decisions: What was wanted in which window: a file, a table, or
            :class:`~lem_models.evaluation.tca.fills.Decisions`.
        against: Policies to execute the same orders with: names, objects, or objects by name.
        costs: Costs of these policies. Without them only schedules are compared.
        benchmark: Benchmark of inferred orders.
        columns: Columns of the fills by ours, see :func:`~lem_models.evaluation.tca.fills.read_fills`.
        tz: Zone of times without one, in fills and decisions.
        unit: Unit of times that are numbers.
        after: Bars after the last fill of the reversions.
        tolerance_bps: How far outside the range of its bar a price may lie before it is counted.
        allow_frequency: Whether a model may run on bars of another length than it was trained on.
        level: Coverage of the intervals.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Raises:
        FillError: Fills or decisions cannot be read without a guess.
        OrderError: The orders break a rule.
        BarsError: The bars cannot be read, or do not suit a policy.
        UnknownNameError: There is no such policy.

    Example:
        Two orders of an index fund, made from a simulated execution:

        >>> from lem_models import Order, execute
        >>> bars = Bars.sample("us-index-daily")
        >>> orders = [Order(symbol="SPX", start=day, side="buy", max_periods=5, amount=1000, order_id=day)
        ...           for day in ("2017-03-06T00:00Z", "2017-06-05T00:00Z")]
        >>> fills = execute("pov", bars, orders).schedule.assign(quantity=lambda each: 1000 * each["fraction"])
        >>> analyse_fills(fills[["order_id", "timestamp", "quantity", "price"]], bars, orders)
        TransactionCosts(2 orders, 10 fills, 0 orders excluded, slippage with fees +0.65 bps)
    """
    policies = named(against)
    market = Bars.of(bars)
    read = fills if isinstance(fills, Fills) else read_fills(fills, columns=columns, tz=tz, unit=unit)
    wanted = decisions
    if wanted is not None and not isinstance(wanted, Decisions):
        wanted = read_decisions(wanted, tz=tz, unit=unit)
    parents = inferred_parents(read, market, benchmark) if orders is None else given_parents(orders, read, market)
    placed = place_fills(parents, market, tolerance_bps=tolerance_bps)
    cells, missed = cells_of(placed, market, wanted)
    measured = measure(placed, cells, market, after)
    notes = [*read.notes, *_misfits(placed, market, tolerance_bps), *placed.notes]
    if missed:
        notes.append(f"{missed:,} decisions lie on no bar of a measured order and are left out")
    if len(measured):
        last = placed.start + placed.periods
        notes += market.doubts_in_words(placed.start, last)
    issues = _with_duplicates(placed.issues, read)
    comparison = None
    if policies and len(measured):
        comparison = compare_with_policies(
            policies,
            measured,
            market,
            costs=costs,
            allow_frequency=allow_frequency,
            level=level,
            draws=draws,
            seed=seed,
        )
    bar_price = market.vwap_at(placed.fills["bar"].to_numpy(np.int64))
    side = np.where(placed.orders["side"] == "buy", 1.0, -1.0)[placed.fills["order"].to_numpy(np.int64)]
    lost = side * placed.fills["quantity"].to_numpy() * (placed.fills["price"].to_numpy() - bar_price)
    return TransactionCosts(
        measured,
        placed.fills.assign(bar_price=bar_price, price_cost=lost),
        placed.left_out,
        placed.excluded,
        issues,
        tuple(notes),
        comparison,
        tuple(after),
        level,
        cells,
        placed,
        market,
        draws,
        seed,
    )


def _with_duplicates(issues: pd.DataFrame, fills: Fills) -> pd.DataFrame:
    """Issues with a row for the duplicates that were dropped."""
    if not len(fills.duplicates):
        return issues
    first = f"row {int(fills.duplicates[0])}"
    row = {"issue": "its id was there before, with the same fill", "fills": len(fills.duplicates)}
    added = pd.DataFrame([row | {"effect": "left out", "first": first}])
    return pd.concat([added, issues], ignore_index=True) if len(issues) else added


def _misfits(placed: PlacedFills, market: Bars, tolerance_bps: float) -> list[str]:
    """What makes fills and bars look like two different things: other symbols, another zone, other units of prices."""
    notes = []
    unknown = sorted(set(placed.left_out["symbol"].dropna()) - set(market.symbols))
    if unknown:
        notes.append(f"the bars hold no {_some(unknown)}; they hold {_some(market.symbols)}")
    if len(placed.fills):
        share = float(outside_range(market, placed.fills, tolerance_bps).mean())
        if share > _MANY:
            notes.append(
                f"{share:.0%} of the fills have prices outside the range of their bars: the times may be of another "
                "zone, or the prices in other units than those of the bars"
            )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
