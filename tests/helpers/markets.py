"""Small markets, and copies of them with other bars."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.markets.bars import Bars
from lem_models.markets.synthetic import synthetic_bars


@lru_cache
def hourly(days: int = 16, symbols: int = 2, seed: int = 0) -> Bars:
    """A round-the-clock market with hourly bars."""
    return synthetic_bars(symbols=symbols, days=days, seed=seed)


@lru_cache
def sessions(days: int = 12, frequency: str = "5min", seed: int = 0) -> Bars:
    """A market that is open from 14:30 to 21:00 on weekdays: 78 five-minute bars a day."""
    return synthetic_bars(symbols=1, days=days, frequency=frequency, session=("14:30", "21:00"), seed=seed)


def flat_bars(prices: Sequence[float], volumes: Sequence[float] | None = None, *, start: str = "2024-01-01") -> Bars:
    """Hourly bars of the symbol ``X`` in which every trade has the bar's one price."""
    price = np.asarray(prices, dtype=np.float64)
    volume = np.ones(len(price)) if volumes is None else np.asarray(volumes, dtype=np.float64)
    frame = pd.DataFrame({"timestamp": pd.date_range(start, periods=len(price), freq="h", tz="UTC"), "symbol": "X"})
    for name in ("open", "high", "low", "close"):
        frame[name] = price
    return Bars.from_frame(frame.assign(volume=volume, notional=price * volume), calendar="24/7", frequency="1h")


def rebuilt(bars: Bars, frame: pd.DataFrame) -> Bars:
    """Bars from a changed copy of ``bars.frame``, on the same kind of calendar."""
    return Bars.from_frame(frame, calendar=bars.calendar.name, frequency=bars.frequency)


def scaled(bars: Bars, *, prices: npt.ArrayLike = 1.0, volumes: npt.ArrayLike = 1.0) -> Bars:
    """The same market in other units, one factor for all bars or one for each."""
    frame = bars.frame
    for name in ("open", "high", "low", "close"):
        frame[name] *= prices
    frame["volume"] *= volumes
    frame["notional"] *= prices * volumes
    return rebuilt(bars, frame)


def reflected(bars: Bars) -> Bars:
    """The market mirrored in log price: ``p`` becomes ``1e4 / p``; high and low swap."""
    frame = bars.frame
    frame["open"], frame["close"] = 1e4 / bars.open, 1e4 / bars.close
    frame["high"], frame["low"] = 1e4 / bars.low, 1e4 / bars.high
    frame["notional"] = 1e4 / bars.vwap * bars.volume
    return rebuilt(bars, frame)


def perturbed(bars: Bars, rows: np.ndarray, *, seed: int = 0, silent: float = 0.0) -> Bars:
    """Other prices and volumes on some rows; a share of them is silenced (no volume)."""
    rng = np.random.default_rng(seed)
    price, volume = np.ones(len(bars)), np.ones(len(bars))
    price[rows] = np.exp(rng.normal(0.0, 0.05, len(bars)))[rows]
    volume[rows] = np.exp(rng.normal(0.0, 2.0, len(bars)))[rows]
    volume[rows] *= (rng.random(len(bars)) >= silent)[rows]
    frame = bars.frame
    for name in ("open", "high", "low", "close"):
        frame[name] *= price
    frame["volume"] *= volume
    frame["notional"] *= price * volume
    return rebuilt(bars, frame)


def from_bar(bars: Bars, row: int, symbols: Sequence[str] | None = None) -> np.ndarray:
    """Rows at or after the time of one row, of some symbols (default: its own)."""
    names = [bars.symbols[bars.symbol_index[row]]] if symbols is None else symbols
    chosen = np.isin(bars.symbol_index, [bars.symbols.index(name) for name in names])
    return np.flatnonzero(chosen & (bars.timestamp >= bars.timestamp[row]))
