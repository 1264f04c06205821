"""A market ready to be traded: bars and what is derived from them causally, computed once when first asked for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lem_models.markets.bars import Bars
from lem_models.markets.features import Features, VolumeProfile, bar_volatility, compute_features, profile_days

__all__ = ["Market"]

MAX_LOOKBACK = 256


@dataclass(frozen=True)
class Market:
    """Bars with their features, volatility and volume profile.

    Attributes:
        bars: The bars.
    """

    bars: Bars

    @cached_property
    def features(self) -> Features:
        """Causal features of every bar."""
        return compute_features(self.bars)

    @cached_property
    def volatility(self) -> npt.NDArray[np.float64]:
        """Volatility per bar known at each bar's close, as a fraction, [bars]."""
        if "features" in self.__dict__:
            return self.features.volatility
        offsets = self.bars.offsets
        parts = [bar_volatility(self.bars.vwap[a:b]) for a, b in itertools.pairwise(offsets)]
        return np.concatenate(parts)

    @cached_property
    def profile(self) -> VolumeProfile:
        """Time-of-day volume profile within the longest lookback."""
        return VolumeProfile(self.bars, profile_days(self.bars.slots_per_session, MAX_LOOKBACK))

    def block_starts(self, block: int) -> npt.NDArray[np.int64]:
        """First bar of the block that each bar lies in, flat indices [bars].

        Blocks hold at most ``block`` bars, lie in one gapless run and are cut at fixed times, so they do not depend on
        where the table of bars starts.
        """
        bars = self.bars
        number = bars.timestamp // bars.frequency.value // block
        new = np.ones(len(bars), dtype=bool)
        new[1:] = (np.diff(number) != 0) | (np.diff(bars.run_start) != 0)
        return np.maximum.accumulate(np.where(new, np.arange(len(bars)), 0))

    def window_arrays(
        self, start: npt.NDArray[np.int64], max_periods: npt.NDArray[np.int64], horizon: int
    ) -> dict[str, npt.NDArray[np.float64]]:
        """The market over orders, as scale-free arrays (fields of ``execution.simulator.MarketWindow``).

        Args:
            start: Flat index of each order's first bar, [orders]; each has a bar before it.
            max_periods: Maximum duration of each order, [orders].
            horizon: Periods of the arrays; periods after an order's maximum have volume 0.
        """
        bars = self.bars
        periods = np.arange(horizon)
        own = periods < max_periods[:, None]
        index = np.minimum(start[:, None] + periods, len(bars) - 1)
        before = start - 1
        arrival = bars.close[before]
        expected = np.where(own, self.profile.expected(start, horizon), 0.0)
        unit = expected.sum(1) / max_periods
        return {
            "price": bars.vwap[index] / arrival[:, None],
            "close": bars.close[index] / arrival[:, None],
            "volume": np.where(own, bars.volume[index] / unit[:, None], 0.0),
            "expected_volume": expected / unit[:, None],
            "volatility": self.volatility[before],
            "arrival_price": arrival,
            "volume_unit": unit,
        }
