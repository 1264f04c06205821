"""Figure of one executed order, bar by bar: prices above, fractions traded and market volume below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from lem_models.errors import ConfigError
from lem_models.report.figure_style import Theme, dress, empty_figure, ink_of, legend_above, mark, policy_styles
from lem_models.statistics.reference_prices import REFERENCE_PRICES, OrderMarket

__all__ = ["execution"]

_LABELS = {
    "vwap": "VWAP so far (benchmark)",
    "twap": "TWAP so far (benchmark)",
    "full_vwap": "VWAP so far (benchmark: of all periods)",
    "arrival": "arrival price (benchmark)",
}


def execution(
    order: Mapping[str, Any] | pd.Series[Any], schedule: pd.DataFrame, market: pd.DataFrame, *, theme: Theme = "light"
) -> Figure:
    """One order bar by bar: prices above, fractions traded and market volume below.

    Args:
        order: Row of the orders table of a result.
        schedule: Schedule of a result; rows of other orders are ignored.
        market: Bars of the symbol over the order's periods, time ascending, columns ``timestamp``, ``volume`` and
            ``vwap`` (or ``notional`` and ``close``, from which the VWAP follows). Bars before the start and after the
            maximum are ignored.
        theme: Page that the figure is made for.

    Returns:
        The figure; period 1 is the first bar that the order trades in.

    Raises:
        ConfigError: If the market has no bar at or after the start of the order.
    """
    ink = ink_of(theme)
    path = _execution_path(order, schedule, market)
    style = policy_styles(["model"], theme)["model"]
    figure = empty_figure(7.2, 5.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 1.0])
    dress(upper, ink)
    dress(lower, ink)
    period, finish, minimum = path["period"].to_numpy(), int(order["periods_used"]), int(order["min_periods"])
    name, ends = str(order["benchmark"]), max(minimum, finish)
    if name == "full_vwap":
        ends = len(path)

    upper.step(period, path["vwap"], where="mid", color=ink.muted, linewidth=1.1, label="bar VWAP")
    measured = path["period"] <= ends
    amber = ink.baselines["volume_curve"]
    known = path["period"] <= finish
    upper.plot(period[measured], path["benchmark"][measured], color=amber, linestyle=(0, (5, 1.5)), label=_LABELS[name])
    upper.plot(period[known], path["executed"][known], color=style.colour, linewidth=2.0, label="executed so far")
    traded = path["fraction"] > 0
    upper.scatter(
        period[traded],
        path["traded_price"][traded],
        s=14.0 + 170.0 * path["fraction"][traded],
        color=style.colour,
        alpha=0.75,
        linewidths=0,
        zorder=4,
    )
    upper.set_ylabel("price")
    upper.ticklabel_format(axis="y", useOffset=False, style="plain")
    upper.yaxis.set_major_locator(MaxNLocator(5))
    upper.margins(y=0.14)

    total = path["volume"].sum()
    share = path["volume"] / total if total > 0 else path["volume"]
    lower.bar(period, share, width=1.0, color=ink.muted, alpha=0.22, label="share of the market's volume")
    lower.bar(period, path["fraction"], width=0.55, color=style.colour, label="share of the order traded")
    lower.set_ylabel("share")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    lower.yaxis.set_major_locator(MaxNLocator(4))
    lower.set_ylim(0.0, 1.18 * max(float(path["fraction"].max()), float(share.max()), 1e-9))
    lower.set_xlim(0.4, len(path) + 0.6)
    lower.set_xticks(period, _bar_labels(path["timestamp"]))
    start = pd.Timestamp(order["start"]).strftime("%Y-%m-%d" if _is_daily(path["timestamp"]) else "%Y-%m-%d %H:%M")
    lower.set_xlabel(f"bar start (UTC), from {start}")
    for axes in (upper, lower):
        if finish < len(path):
            axes.axvspan(finish + 0.5, len(path) + 0.6, color=ink.muted, alpha=0.07, linewidth=0, zorder=0)
    ended = f"finished ({finish})" if bool(order["completed"]) else "ended, incomplete"
    if finish == minimum:
        mark(upper, ink, finish + 0.5, f"minimum, {ended}", left=finish > len(path) / 2)
    else:
        mark(upper, ink, minimum + 0.5, f"minimum ({minimum})", low=True, left=minimum > len(path) / 2)
        mark(upper, ink, finish + 0.5, ended, left=finish > len(path) / 2)
    mark(lower, ink, minimum + 0.5)
    mark(lower, ink, finish + 0.5)
    legend_above(figure, ink)
    return figure


def _execution_path(
    order: Mapping[str, Any] | pd.Series[Any], schedule: pd.DataFrame, market: pd.DataFrame
) -> pd.DataFrame:
    """The order period by period: market, fills, running benchmark, running executed price."""
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
    columns: dict[str, NDArray[np.float64]] = {
        "vwap": vwap,
        "volume": volume,
        "fraction": fraction,
        "traded_price": price,
        "benchmark": _running_benchmark(order, vwap, volume),
        "executed": executed,
    }
    path: pd.DataFrame = bars[["timestamp"]].assign(period=np.arange(1, len(bars) + 1), **columns)
    return path


def _running_benchmark(
    order: Mapping[str, Any] | pd.Series[Any], vwap: NDArray[np.float64], volume: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The benchmark of an interval that ends with each bar, [bars]."""
    name = str(order["benchmark"])
    if name == "arrival":
        return np.full(len(vwap), float(order["arrival_price"]))
    name = "vwap" if name == "full_vwap" else name
    bars = torch.arange(len(vwap))[None]
    price, traded = torch.from_numpy(vwap)[None], torch.from_numpy(volume)[None]
    market = OrderMarket(price, traded, end=bars, last=bars[:, -1:], is_notional=torch.zeros(1, dtype=torch.bool))
    (reference,) = (reference for reference in REFERENCE_PRICES if reference.benchmark == name)
    return np.asarray(reference.price(market)[0])


def _bar_labels(timestamps: pd.Series[pd.Timestamp]) -> list[str]:
    """Short label of each bar: the time of day, or the date when bars are a day or longer; at most 12 of them."""
    labels = timestamps.dt.strftime("%d %b" if _is_daily(timestamps) else "%H:%M").tolist()
    every = -(-len(labels) // 12)
    return [label if position % every == 0 else "" for position, label in enumerate(labels)]


def _is_daily(timestamps: pd.Series[pd.Timestamp]) -> bool:
    """Whether bars are a day or longer, so that the time of day says nothing."""
    return bool((timestamps == timestamps.dt.normalize()).all())
