"""What may become of the order: its policy on simulated bars, from the decision on.

The bars are those of :func:`~lem_models.evaluation.outlook.bar_paths.simulate_bars`. On each path the order is executed
anew from its start by the one simulator; the policy is causal, so the periods so far come out as they were. What is
sent fills at the VWAP of its bar. Trading moves no price, and the paths know of no news.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch

from lem_models.errors import ConfigError
from lem_models.evaluation.explain.situation import Situation
from lem_models.evaluation.outlook.bar_paths import BarPaths, simulate_bars
from lem_models.evaluation.outlook.forecast import Band, Forecast, finish_band
from lem_models.execution.context_table import OrderBars
from lem_models.execution.execute import settled
from lem_models.execution.records import MarketWindow
from lem_models.execution.simulator import chosen_period, finishing_fills, simulate
from lem_models.features.market import Market

__all__ = ["Futures", "simulate_futures"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Futures:
    """The order on every path.

    Attributes:
        forecast: Bands of the rest.
        slippage_bps: Final slippage of the whole order on each path, gross, positive = cost; NaN where nothing filled;
            [paths].
        filled: Part of the order that is filled after each bar to come, [paths, periods to come].
    """

    forecast: Forecast
    slippage_bps: Floats
    filled: Floats


def simulate_futures(situation: Situation, *, paths: int = 200, seed: int = 0) -> Futures:
    """Execute the order on simulated bars.

    Args:
        situation: The order before a decision.
        paths: Number of paths, at least 2.
        seed: Seed of the paths.

    Raises:
        BarsError: The history is too short to simulate from.
        ConfigError: There are fewer than 2 paths.
    """
    if paths < 2:
        raise ConfigError(f"a band needs at least 2 paths; got {paths}")
    model, past = situation.model, situation.past
    coming = len(situation.coming)
    simulated = simulate_bars(past, coming, paths=paths, seed=seed, starts=situation.coming)
    orders, window, size = situation.traded
    rows = torch.zeros(paths, dtype=torch.int64)
    orders, size = orders[rows], size[rows]
    window = _window_of(situation, window, simulated, rows)

    recent = past.last(model.lookback + situation.period + 1)
    market = Market(simulated.after(recent), cache=True)
    begin = market.bars.offsets[:-1] + len(recent) - situation.period
    maximum = np.full(paths, situation.period + coming)
    is_buy = np.full(paths, situation.side > 0)
    contexts = OrderBars(model, market, begin, maximum, is_buy).of(begin, is_buy, int(maximum[0]))
    with torch.no_grad():
        played = simulate(model, orders, window, contexts, to_finish=True, cap_ahead=situation.cap_ahead)
    finish = chosen_period(played)
    fills = finishing_fills(played, finish[:, None])[:, 0]
    results = settled(fills, finish, orders, window, size)

    traded = fills.numpy()[:, situation.period :]
    filled = np.minimum(situation.fills.sum() + np.cumsum(traded, axis=1), 1.0)
    done = results["filled"] > 1 - 1e-9
    filled[done] = np.where(filled[done] > 1 - 1e-9, 1.0, filled[done])
    last = np.where(traded > 0, np.arange(coming), 0).max(axis=1)
    known = results["slippage_bps"][np.isfinite(results["slippage_bps"])]
    forecast = Forecast(
        paths,
        simulated.blocks,
        situation.coming,
        tuple(Band.of(traded[:, period]) for period in range(coming)),
        tuple(Band.of(filled[:, period]) for period in range(coming)),
        finish_band(situation.coming[last[done]] + int(past.frequency.value)),
        float(done.mean()),
        Band.of(known) if len(known) else Band(np.nan, np.nan, np.nan),
        str(situation.table["benchmark"].iloc[0]),
    )
    return Futures(forecast, results["slippage_bps"], filled)


def _window_of(situation: Situation, window: MarketWindow, simulated: BarPaths, rows: torch.Tensor) -> MarketWindow:
    """The market of the order on every path: the periods so far as they were, then the simulated bars."""
    values = {each.name: getattr(window, each.name)[rows] for each in fields(window)}
    arrival, unit, period = float(window.arrival_price[0]), float(window.volume_unit[0]), situation.period
    for name, ahead in (
        ("price", simulated.vwap / arrival),
        ("close", simulated.close / arrival),
        ("volume", simulated.volume / unit),
    ):
        values[name] = torch.cat([values[name][:, :period], torch.from_numpy(ahead)], dim=1)
    return replace(window, **values)
