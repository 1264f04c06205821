"""One order bar by bar: what the market did, what was traded, and where the order stood after each bar.

After bar ``k`` the executed price is that of the fills so far, and the benchmark is that of the bars so far: VWAP and
TWAP run to bar ``k``, and stop where the order's own benchmark stops, after ``max(min_periods, periods_used)`` bars.
So the last row of a complete order has the slippage of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lem_models.errors import ConfigError
from lem_models.execution.measures import slippage_bps
from lem_models.execution.result import ExecutionResult
from lem_models.orders.rules import Side
from lem_models.statistics.reference_prices import REFERENCE_PRICES, OrderMarket

__all__ = ["order_path", "order_paths"]


def order_path(order: Mapping[str, Any] | pd.Series[Any], schedule: pd.DataFrame, market: pd.DataFrame) -> pd.DataFrame:
    """One order bar by bar.

    Args:
        order: Row of the orders table of a result.
        schedule: Schedule of a result; rows of other orders are ignored.
        market: Bars of the symbol over the order's periods, time ascending, columns ``timestamp``, ``volume`` and
            ``vwap`` (or ``notional`` and ``close``, from which the VWAP follows). Bars before the start and after the
            maximum are ignored.

    Returns:
        A row per bar: ``timestamp``, ``period`` (from 1), ``vwap``, ``volume``, ``fraction`` (of the order, traded in
        it), ``traded_price``, ``amount`` (what was traded, in units or money as the target says; NaN for an order
        without an amount), ``done`` (fraction so far), ``benchmark`` and ``executed`` (prices so far) and
        ``improvement_bps`` (so far; NaN before the first fill).

    Raises:
        ConfigError: If the market has no bar at or after the start of the order.
    """
    start = pd.Timestamp(order["start"])
    bars = market[market["timestamp"] >= start].head(int(order["max_periods"])).reset_index(drop=True)
    if bars.empty:
        raise ConfigError(f"the market to draw has no bar at or after the start of the order ({start})")
    volume = bars["volume"].to_numpy(dtype=float, copy=True)
    if "vwap" in bars.columns:
        vwap = bars["vwap"].to_numpy(dtype=float, copy=True)
    else:
        traded = volume > 0
        notional = bars["notional"].to_numpy(dtype=float)
        vwap = np.where(traded, notional / np.where(traded, volume, 1.0), bars["close"].to_numpy(dtype=float))
    fills = (
        schedule[schedule["order_id"] == order["order_id"]]
        .groupby("timestamp")
        .agg({"fraction": "sum", "price": "mean"})
    )
    fills = fills.reindex(pd.DatetimeIndex(bars["timestamp"]))
    fraction = fills["fraction"].fillna(0.0).to_numpy(dtype=float)
    price = np.where(fraction > 0, fills["price"].to_numpy(dtype=float), 0.0)
    bought = np.cumsum(fraction)
    with np.errstate(invalid="ignore", divide="ignore"):
        if str(order["target"]) == "quantity":
            executed = np.cumsum(fraction * price) / bought
        else:
            executed = bought / np.cumsum(np.where(fraction > 0, fraction / price, 0.0))
    benchmark = _running_benchmark(order, vwap, volume)
    side = torch.tensor(float(Side(str(order["side"])).sign), dtype=torch.float64)
    slippage = slippage_bps(torch.from_numpy(executed), torch.from_numpy(benchmark), side).numpy()
    columns: dict[str, NDArray[np.float64]] = {
        "vwap": vwap,
        "volume": volume,
        "fraction": fraction,
        "traded_price": price,
        "amount": fraction * float(order.get("amount", np.nan)),
        "done": bought,
        "benchmark": benchmark,
        "executed": executed,
        "improvement_bps": 0.0 - slippage,
    }
    path: pd.DataFrame = bars[["timestamp"]].assign(period=np.arange(1, len(bars) + 1), **columns)
    return path


def order_paths(results: Mapping[str, ExecutionResult], row: int = 0) -> pd.DataFrame:
    """The same order under several policies, bar by bar.

    Args:
        results: Result of each policy on the same orders, by name.
        row: Row of the order in the results.

    Returns:
        The rows of :func:`order_path`, policy after policy, with a first column ``policy``.
    """
    paths = []
    for policy, result in results.items():
        order = result.orders.iloc[row]
        market = result.periods_of(order["order_id"]).rename(columns={"price": "vwap"})
        path = order_path(order, result.schedule, market)
        path.insert(0, "policy", policy)
        paths.append(path)
    return pd.concat(paths, ignore_index=True)


def _running_benchmark(
    order: Mapping[str, Any] | pd.Series[Any], vwap: NDArray[np.float64], volume: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The benchmark so far after each bar, [bars]."""
    name = str(order["benchmark"])
    if name == "arrival":
        return np.full(len(vwap), float(order["arrival_price"]))
    bars = torch.arange(len(vwap))[None]
    if name != "full_vwap":  # that one runs on when the order has ended
        bars = bars.clamp(max=max(int(order["min_periods"]), int(order["periods_used"])) - 1)
    name = "vwap" if name == "full_vwap" else name
    price, traded = torch.from_numpy(vwap)[None], torch.from_numpy(volume)[None]
    last = torch.full((1, 1), len(vwap) - 1)
    market = OrderMarket(price, traded, end=bars, last=last, is_notional=torch.zeros(1, dtype=torch.bool))
    (reference,) = (reference for reference in REFERENCE_PRICES if reference.benchmark == name)
    return np.asarray(reference.price(market)[0])
