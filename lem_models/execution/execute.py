"""Execute a table of orders with a policy over bars."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lem_models.errors import ConfigError, PolicyError, UnknownNameError
from lem_models.execution.context_table import OrderBars
from lem_models.execution.costs import CostModel, order_impacts, relative_sizes
from lem_models.execution.frequency_check import check_frequency
from lem_models.execution.measures import shortfall_bps, slippage_bps
from lem_models.execution.policy import (
    Policy,
    PolicySettings,
    lookback_of,
    policy_faults,
    policy_of,
    sessions_of,
)
from lem_models.execution.records import MarketWindow, OrderBatch
from lem_models.execution.result import ExecutionResult, first_bars
from lem_models.execution.simulator import chosen_period, finishing_fills, settle, simulate
from lem_models.features.market import Market
from lem_models.guard.text import shown
from lem_models.markets.bars import Bars, BarsLike
from lem_models.markets.gaps import gap_advice
from lem_models.markets.order_placing import BarPlacement, StartRule
from lem_models.markets.origins import REASONS, check_history, exclusion_codes
from lem_models.markets.stock_splits import find_splits, warn_of_splits
from lem_models.orders.table import OrdersLike, Placement, complete_orders, orders_frame, unread_columns
from lem_models.statistics.reference_prices import REFERENCE_PRICES, OrderMarket

__all__ = [
    "NO_SYMBOL",
    "by_calendar",
    "complete_for",
    "execute",
    "execute_silently",
    "executed_frame",
    "settled",
    "traded_market",
    "warn_of_excluded",
    "warn_of_moved",
]

_LOG = logging.getLogger("lem_models")
_ORDERS_PER_PASS = 8192
_PERIODS_PER_PASS = 12 * _ORDERS_PER_PASS  # orders times the periods of the longest one: bounds the memory
NO_SYMBOL = "the bars hold no such symbol"
"""Reason of an order whose symbol the bars lack."""
_NAMES_SHOWN = 8
_SYMBOLS_SHOWN = 3
_MANY = 0.25  # share of the orders: if gaps exclude more, the log says how to close the gaps
_PASSES_PER_ENCODING = 4  # passes that share one table of contexts: a few hundred MB at most


def execute(
    policy: Policy | str,
    bars: BarsLike | Market,
    orders: OrdersLike,
    *,
    costs: CostModel | None = None,
    within_session: bool | None = None,
    allow_frequency: bool = False,
    starts: StartRule = "next",
    cap_ahead: bool = False,
) -> ExecutionResult:
    """Execute orders.

    Args:
        policy: A model, the name of a policy as :func:`~lem_models.baselines.registry.load_policy` takes it, or any
            object with ``decide`` (see :class:`~lem_models.execution.policy.Policy`).
        bars: The market: bars, a table of bars, or a file of them. A :class:`~lem_models.features.market.Market`
            computes its features only once for several policies.
        orders: One order, several, a table, or a file of them (CSV, Parquet, JSON). Durations such as ``"12h"`` become
            numbers of bars.
        costs: Trading costs. They give ``net_price``, ``net_slippage_bps`` and ``cost_bps`` of the result, and policies
            that read the size of orders decide by their impact. Without costs such a policy decides by those that it
            assumes (:attr:`~lem_models.execution.policy.Policy.assumed_costs`), and the net prices are the gross ones.
        within_session: Whether an order must end in the session in which it starts. Default: yes for intraday markets
            with sessions, no for 24/7 markets and daily bars.
        allow_frequency: Whether a model may run on bars of another length than it was trained on.
        starts: What happens to a start inside a bar, or while the market is closed: ``"next"`` moves it to the next bar
            and logs how many were moved, ``"exact"`` refuses it and names the next valid start.
        cap_ahead: Whether ``max_participation`` also caps decisions, by the volume expected of each period as it was
            known at the start (money at the last close). What no period can take stays unfilled.

    Returns:
        Result in the order of the table. Orders that cannot run are in ``result.excluded`` with their reason, and
        their number is logged. Columns of the table that are not fields are carried along; their names are logged.

    Raises:
        UnknownNameError: when there is no policy of this name.
        OrderError: when the table breaks a rule, a duration is no whole number of bars, or the costs depend on the size
            of an order that has none.
        BarsError: when no symbol has more bars than the policy's lookback, or the policy was trained on bars of another
            length.
        PolicyError: when the policy breaks its protocol; names the policy and the first order concerned.

    Example:
        >>> from lem_models import Order
        >>> bars = Bars.sample("us-index-daily")
        >>> order = Order(symbol="SPX", start="2017-03-06T00:00Z", side="buy", max_periods="20 days")
        >>> result = execute("twap", bars, order)
        >>> result
        ExecutionResult(1 orders, 0 incomplete, 0 excluded, mean slippage -2.28 bps)
        >>> result.schedule.head(2)
           order_id  period                 timestamp  fraction        price
        0         0       0 2017-03-06 00:00:00+00:00      0.05  2374.030029
        1         0       1 2017-03-07 00:00:00+00:00      0.05  2369.673340
    """
    policy = policy_of(policy)
    market = bars if isinstance(bars, Market) else Market(Bars.of(bars))
    note = check_frequency(policy, market.bars, allow=allow_frequency)
    if note is not None:
        _LOG.warning(note)
    table = orders_frame(orders)
    placement = BarPlacement(market.bars, starts=starts)
    result = execute_silently(
        policy,
        market,
        table,
        costs=costs,
        within_session=within_session,
        placement=placement,
        cap_ahead=cap_ahead,
    )
    _warn_of_unread(table)
    warn_of_moved(placement)
    warn_of_excluded(result, lookback=lookback_of(policy))
    for sentence in result.doubts_in_words():
        _LOG.warning("%s", sentence)
    _warn_of_splits(result, lookback_of(policy))
    return result


def executed_frame(
    policy: Policy | str,
    bars: BarsLike | Market,
    orders: OrdersLike,
    *,
    table: Literal["orders", "schedule"] = "orders",
    **settings: Any,
) -> pd.DataFrame:
    """:func:`execute` with data frames in and out; see :meth:`Policy.execute_df`.

    Raises:
        ConfigError: There is no such table.
    """
    if table not in ("orders", "schedule"):
        raise ConfigError(f"table is 'orders' or 'schedule'; got {shown(table)}")
    result = execute(policy, bars, orders, **settings)
    if table == "schedule":
        return result.schedule
    reason = pd.Series("", index=result.orders.index, dtype=object)
    ran = result.orders.assign(excluded=reason)
    if not len(result.excluded):
        return ran
    out = result.excluded.rename(columns={"reason": "excluded"})
    # The starts of the excluded orders, as those of the others, lie on the bars.
    placement = BarPlacement(result.bars, starts=settings.get("starts", "next"))
    wanted = complete_for(policy_of(policy), orders, placement=placement)
    rest = wanted[wanted["order_id"].isin(out["order_id"])].merge(out[["order_id", "excluded"]], on="order_id")
    rest = rest.assign(completed=False)
    both = pd.concat([ran, rest], ignore_index=True) if len(ran) else rest.reindex(columns=ran.columns)
    place = {label: row for row, label in enumerate(wanted["order_id"])}
    return both.sort_values("order_id", key=lambda labels: labels.map(place), ignore_index=True)


def warn_of_moved(placement: BarPlacement) -> None:
    """Log how many starts were moved to the next bar."""
    if placement.note:
        _LOG.warning("%s", placement.note)


def _warn_of_splits(result: ExecutionResult, lookback: int) -> None:
    """Warn of stock splits inside the orders that ran and their lookbacks."""
    start = result.start
    warn_of_splits(find_splits(result.bars, start, start + result.orders["max_periods"].to_numpy(), lookback))


def _warn_of_unread(table: pd.DataFrame) -> None:
    """Log the columns of a table of orders that are not fields."""
    unread = unread_columns(table)
    if unread:
        names = ", ".join(map(repr, unread[:_NAMES_SHOWN])) + (", ..." if len(unread) > _NAMES_SHOWN else "")
        _LOG.warning(
            "%d of %d columns of the orders are not fields and are carried along unread: %s",
            *(len(unread), len(table.columns), names),
        )


@torch.no_grad()
def execute_silently(
    policy: Policy,
    market: Market,
    orders: OrdersLike,
    *,
    costs: CostModel | None = None,
    within_session: bool | None = None,
    whole: Bars | None = None,
    placement: Placement | None = None,
    cap_ahead: bool = False,
) -> ExecutionResult:
    """:func:`execute` without its log: for a process that runs a share of the orders.

    Args:
        policy: See :func:`execute`.
        market: The market.
        orders: The orders.
        costs: See :func:`execute`.
        within_session: See :func:`execute`.
        whole: All bars, if the market holds only some of them. They must be long enough for the lookback.
        placement: Places the orders on the bars; ``None`` for orders that lie on them and name numbers of bars.
        cap_ahead: See :func:`execute`.
    """
    bars = market.bars
    table = complete_for(policy, orders, placement=placement)
    lookback = lookback_of(policy)
    if costs is not None:
        costs.check(table)
    check_history(bars if whole is None else whole, lookback)
    start = first_bars(bars, table)
    codes = exclusion_codes(
        bars, start, table["max_periods"].to_numpy(), lookback=lookback, within_session=within_session
    )
    valid = codes == 0
    excluded = table.loc[~valid, ["order_id", "symbol", "start"]].assign(
        reason=[REASONS[int(c)] for c in codes[~valid]]
    )
    excluded.loc[~excluded["symbol"].isin(bars.symbols), "reason"] = NO_SYMBOL
    table, start = table[valid].reset_index(drop=True), start[valid]
    passes, rows = [], [np.zeros(0, dtype=np.int64)]
    longest = int(table["max_periods"].max()) if len(table) else 1
    size = max(min(_ORDERS_PER_PASS, _PERIODS_PER_PASS // longest), 1)
    for one_calendar, mine, first_bar in by_calendar(market, table, start):
        # Sort by bar, so that orders that read the same contexts are in the same pass.
        by_start = np.argsort(first_bar, kind="stable")
        rows.append(mine[by_start])
        for first in range(0, len(mine), _PASSES_PER_ENCODING * size):
            chosen = by_start[first : first + _PASSES_PER_ENCODING * size]
            part = table.iloc[mine[chosen]]
            contexts = OrderBars(
                policy,
                one_calendar,
                first_bar[chosen],
                part["max_periods"].to_numpy(),
                (part["side"] == "buy").to_numpy(),
                part,
            )
            for a in range(0, len(chosen), size):
                some = chosen[a : a + size]
                own = table.iloc[mine[some]]
                passes.append(
                    _execute_pass(policy, one_calendar, own, first_bar[some], contexts, costs, cap_ahead=cap_ahead)
                )
    results = _in_table_order(passes, np.concatenate(rows))
    return ExecutionResult.assemble(bars, table, excluded.reset_index(drop=True), results)


def by_calendar(
    market: Market, table: pd.DataFrame, start: npt.NDArray[np.int64]
) -> Iterator[tuple[Market, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """The market of each calendar, the rows of its orders in the table, and their first bars in it."""
    calendars = market.bars.grid.calendars
    if len(calendars.kinds) == 1:
        yield market, np.arange(len(table)), start
        return
    which = calendars.which[market.bars.grid.symbol(start)]
    for number, one_calendar in enumerate(market.by_calendar):
        rows = np.flatnonzero(which == number)
        yield one_calendar, rows, first_bars(one_calendar.bars, table.iloc[rows])


def warn_of_excluded(result: ExecutionResult, *, lookback: int) -> None:
    """Log how many orders were left out, with each reason and its first order.

    Args:
        result: The result.
        lookback: Bars of history that the policy needs.
    """
    excluded = result.excluded
    if not len(excluded):
        return
    available = result.history_of_excluded
    texts = []
    for reason, count in excluded["reason"].value_counts().items():
        rows = excluded[excluded["reason"] == reason]
        first = rows.iloc[0]
        example = f"order {str(first['order_id'])!r}, {first['symbol']!r} at {first['start']:%Y-%m-%d %H:%M} UTC"
        text = f"{count} {reason} (first: {example})"
        bars = available[(excluded["reason"] == reason).to_numpy()]
        if reason == NO_SYMBOL:
            names = rows["symbol"].unique()
            known = result.bars.symbols
            text += ": " + "; ".join(
                str(UnknownNameError.among("symbol", name, known)) for name in names[:_SYMBOLS_SHOWN]
            )
        elif 0 <= bars.min() <= bars.max() < lookback:
            there = f"{bars.min()}" if bars.min() == bars.max() else f"{bars.min()} to {bars.max()}"
            text += f" ({lookback} bars are needed, {there} are there without a gap)"
        texts.append(text)
    total = len(excluded) + len(result.orders)
    if excluded["reason"].isin([REASONS[3], REASONS[5]]).sum() > _MANY * total:
        texts.append(gap_advice(result.bars))
    _LOG.warning("%d of %d orders cannot run and are left out: %s", len(excluded), total, "; ".join(texts))


def complete_for(
    policy: Policy, orders: OrdersLike, first_label: int = 0, placement: Placement | None = None
) -> pd.DataFrame:
    """Complete a table of orders with a policy's defaults. Check the table and the policy's attributes."""
    try:
        settings = PolicySettings.of(policy)
    except PolicyError:
        with policy_faults(policy, orders_frame(orders)):
            raise
    return complete_orders(
        orders,
        horizon=settings.horizon,
        risk_aversion=settings.risk_aversion,
        fixed_risk_aversion=settings.fixed_risk_aversion,
        benchmarks=settings.benchmarks,
        first_label=first_label,
        placement=placement,
    )


def _in_table_order(
    passes: list[dict[str, npt.NDArray[Any]]], rows: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]] | None:
    """Join the results of consecutive passes in the order of the table.

    Args:
        passes: Results of each pass, see :func:`settled`.
        rows: Row of the table of each order, pass after pass, [orders].

    Returns:
        The joined results; ``None`` if there was no pass.
    """
    if not passes:
        return None
    periods = max(results["fills"].shape[1] for results in passes)
    joined: dict[str, npt.NDArray[Any]] = {}
    for name in passes[0]:
        if name == "fills":
            joined[name] = np.zeros((len(rows), periods))
            base = 0
            for results in passes:
                fills = results["fills"]
                joined[name][rows[base : base + len(fills)], : fills.shape[1]] = fills
                base += len(fills)
        else:
            values = np.concatenate([results[name] for results in passes])
            joined[name] = np.empty_like(values)
            joined[name][rows] = values
    return joined


def _execute_pass(
    policy: Policy,
    market: Market,
    table: pd.DataFrame,
    start: npt.NDArray[np.int64],
    contexts: OrderBars,
    costs: CostModel | None,
    *,
    cap_ahead: bool,
) -> dict[str, npt.NDArray[Any]]:
    """Execute orders that fit into memory together; see :func:`settled`."""
    orders, window, size = traded_market(market, table, start, costs, policy)
    periods = window.price.shape[1]
    with policy_faults(policy, table):
        read = contexts.of(start, (table["side"] == "buy").to_numpy(), periods)
        paths = simulate(policy, orders, window, read, to_finish=True, cap_ahead=cap_ahead)
    finish = chosen_period(paths)
    return settled(finishing_fills(paths, finish[:, None])[:, 0], finish, orders, window, size)


def traded_market(
    market: Market,
    table: pd.DataFrame,
    start: npt.NDArray[np.int64],
    costs: CostModel | None,
    policy: Policy | None = None,
) -> tuple[OrderBatch, MarketWindow, torch.Tensor]:
    """Complete orders as tensors.

    Args:
        market: The market.
        table: The orders, at least one.
        start: Flat index of each order's first bar, [orders].
        costs: Trading costs. A policy that reads sizes is told the impact of each order by them, or by the costs that
            it assumes.
        policy: Who trades; ``None`` for a policy with the default memory that assumes no costs.

    Returns:
        The orders, their market, and their sizes, [orders] (:func:`~lem_models.execution.costs.relative_sizes`).
    """
    orders = OrderBatch.from_frame(table)
    maximum = table["max_periods"].to_numpy()
    sessions = 0 if policy is None else sessions_of(policy)
    window = MarketWindow.of(market, start, maximum, int(maximum.max()), sessions=sessions)
    amount = torch.from_numpy(table["amount"].to_numpy(dtype=np.float64, copy=True))
    size = relative_sizes(orders, window, amount, costs)
    known = getattr(policy, "assumed_costs", None) if costs is None else costs
    if known is not None and getattr(policy, "reads_size", False):
        orders = replace(orders, impact=order_impacts(size, known.impact))
    return orders, window if costs is None else costs.priced(window, size, table["symbol"]), size


def settled(
    fills: torch.Tensor, finish: torch.Tensor, orders: OrderBatch, window: MarketWindow, size: torch.Tensor
) -> dict[str, npt.NDArray[Any]]:
    """Results of executed orders, by name.

    Args:
        fills: Fraction filled in each period, [orders, periods].
        finish: Period in which the policy decided to finish, int64 [orders].
        orders: The orders.
        window: Their market.
        size: Their sizes, see :func:`traded_market`.
    """
    outcome = settle(fills[:, None], orders, window)
    executed, net = outcome.executed_price[:, 0], outcome.net_price[:, 0]
    benchmark = outcome.benchmark_price[:, 0]
    used, filled = outcome.periods_used[:, 0], outcome.filled[:, 0]
    side, arrival, one = orders.side, window.arrival_price, torch.ones_like(window.arrival_price)
    end, last = torch.maximum(used, orders.min_periods)[:, None] - 1, orders.max_periods[:, None] - 1
    market = OrderMarket(window.price, window.volume, end, last, orders.is_notional, size)
    prices = {"executed_price": executed, "benchmark_price": benchmark, "net_price": net}
    prices |= {row.column: row.price(market)[:, 0] for row in REFERENCE_PRICES}
    close = window.close.gather(1, last)[:, 0]
    is_arrival = orders.has_benchmark("arrival")

    def slippage(price: torch.Tensor) -> torch.Tensor:
        """Against the order's benchmark; on arrival also of what is unfilled."""
        missed = shortfall_bps(price, filled, close, one, side)
        return torch.where(is_arrival, missed, slippage_bps(price, benchmark, side))

    results = {
        "fills": fills,
        "finish_period": finish,
        "periods_used": used,
        "filled": filled,
        "volatility_bps": window.volatility * 1e4,
        "slippage_bps": slippage(executed),
        "shortfall_bps": shortfall_bps(executed, filled, close, one, side),
        "order_value": torch.where(torch.isnan(size), window.horizon_volume, size) * window.volume_unit * arrival,
        "cost_bps": slippage_bps(net, executed, side).abs(),  # without costs 0, and not -0
        "net_slippage_bps": slippage(net),
    }
    results |= {name: values * arrival for name, values in prices.items()}
    return {name: values.numpy() for name, values in results.items()}
