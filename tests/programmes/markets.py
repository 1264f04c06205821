"""Daily markets for programmes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from lem_models.markets.bars import Bars
from lem_models.programmes import BuybackProgramme

FIRST = "2024-03-04"  # a Monday, after 45 weekdays


def daily(prices, volumes, *, start="2024-01-01", close=None) -> Bars:
    """Weekday bars of the symbol ``X`` in which every trade of a day has one price."""
    price = np.asarray(prices, dtype=np.float64)
    day = pd.bdate_range(start, periods=len(price), tz="UTC")
    frame = pd.DataFrame({"timestamp": day, "symbol": "X"})
    for name in ("open", "high", "low", "close"):
        frame[name] = price
    volume = np.asarray(volumes, dtype=np.float64)
    return Bars.from_frame(frame.assign(volume=volume, notional=price * volume), frequency="1D", calendar="sessions")


@lru_cache
def moving(seed: int = 0, count: int = 90) -> Bars:
    """Weekday bars with prices and volumes that move."""
    rng = np.random.default_rng(seed)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, count)))
    return daily(np.round(prices, 2), np.round(1e6 * np.exp(rng.normal(0, 0.4, count))))


def changed_after(bars: Bars, row: int, seed: int = 1) -> Bars:
    """The same bars with other prices and volumes from a row on."""
    rng = np.random.default_rng(seed)
    frame = bars.frame
    factor = np.ones(len(bars))
    factor[row:] = np.exp(rng.normal(0, 0.1, len(bars) - row))
    for name in ("open", "high", "low", "close"):
        frame[name] *= factor
    frame["volume"] *= factor
    frame["notional"] *= factor**2
    return Bars.from_frame(frame, frequency="1D", calendar="sessions")


def programme(**terms) -> BuybackProgramme:
    """A small programme of the symbol ``X``."""
    size = {} if "notional" in terms else {"shares": 100_000}
    return BuybackProgramme(**({"symbol": "X", "first_day": FIRST, "earliest": 3, "latest": 8, **size} | terms))


def until(bars: Bars, day) -> Bars:
    """Bars of the sessions before a day."""
    return bars.between(end=pd.Timestamp(day, tz="UTC"))
