"""A market: bars with their causal features, volatility and volume profile.

A small market computes these once, on first use, and keeps them. A large market computes the requested rows each time,
from the bars that they depend on. The numbers are the same, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lem_models.features.causal import FEATURES, SUPPORT, Features, bar_volatility, compute_features
from lem_models.features.profile import MAX_LOOKBACK, VolumeProfile
from lem_models.markets.bars import Bars
from lem_models.markets.calendar.frequency import DAY, symbol_groups
from lem_models.markets.parts import BarIntervals, reaching_back
from lem_models.orders.rules import SIZE_SESSIONS

__all__ = ["CACHED_BARS", "MAX_LOOKBACK", "Market"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CACHED_BARS = 4_000_000
"""Markets of at most so many bars keep their features, volatility and profile: about 100 bytes per bar."""


@dataclass(frozen=True)
class Market:
    """Bars with their features, volatility and volume profile.

    Attributes:
        bars: The bars.
        cache: Whether features, volatility and profile of all bars are computed once and kept; default: for at most
            :data:`CACHED_BARS` bars.
    """

    bars: Bars
    cache: bool | None = None

    @property
    def is_cached(self) -> bool:
        """Whether features, volatility and profile are computed once and kept."""
        return len(self.bars) <= CACHED_BARS if self.cache is None else self.cache

    @cached_property
    def by_calendar(self) -> list[Market]:
        """The markets of each calendar, in the order of ``bars.grid.calendars.kinds``."""
        return [Market(bars, self.cache) for bars in self.bars.by_calendar()]

    @cached_property
    def features(self) -> Features:
        """Causal features of every bar; about 90 bytes per bar."""
        return compute_features(self.bars)

    @cached_property
    def volatility(self) -> Floats:
        """Volatility per bar known at each bar's close, as a fraction, [bars]."""
        if "features" in self.__dict__:
            return self.features.volatility
        bounds = [self.bars.offsets[first : last + 1] for first, last in symbol_groups(self.bars.offsets)]
        groups = [BarIntervals(self.bars, bound[:-1], bound[1:]) for bound in bounds]
        return np.concatenate([bar_volatility(parts.vwap, parts.offsets) for parts in groups])

    @cached_property
    def profile(self) -> VolumeProfile:
        """Time-of-day volume profile within the longest lookback."""
        return VolumeProfile.of(self.bars)

    @cached_property
    def _slow_profiles(self) -> dict[int, VolumeProfile]:
        return {}

    def profile_over(self, rows: Integers, horizon: int, sessions: int = 0) -> VolumeProfile:
        """Time-of-day volume profile at some rows.

        Args:
            rows: First bars of orders, [orders].
            horizon: Periods of the orders.
            sessions: Sessions averaged, at most :data:`~lem_models.orders.rules.MAX_SESSIONS`; 0 for those that fit
                into the longest lookback.
        """
        days = sessions or None
        if not self.is_cached:
            return VolumeProfile.of(self.bars, days, rows=rows, horizon=horizon)
        if not sessions:
            return self.profile
        if sessions not in self._slow_profiles:
            self._slow_profiles[sessions] = VolumeProfile.of(self.bars, days)
        return self._slow_profiles[sessions]

    def feature_windows(self, first: npt.ArrayLike, length: int) -> npt.NDArray[np.float32]:
        """Features of neighbouring bars.

        Args:
            first: int64 [windows], flat index of the first bar of each window.
            length: Bars of a window. Indices beyond the ends of the table repeat its first or last bar.

        Returns:
            float32 [windows, length, features], columns :data:`~lem_models.features.causal.FEATURES`.
        """
        bars = self.bars
        begin = np.asarray(first, dtype=np.int64)
        rows = np.clip(begin[:, None] + np.arange(length), 0, len(bars) - 1)
        if self.is_cached or not rows.size:
            return self.features.values[rows] if rows.size else np.empty((*rows.shape, len(FEATURES)), np.float32)
        parts = self._reached(rows[:, 0], rows[:, -1] + 1)
        return compute_features(parts).values[parts.find(rows)]

    def volatility_at(self, rows: npt.ArrayLike) -> Floats:
        """Volatility per bar known at the close of some bars.

        Args:
            rows: int64 [...], flat indices.

        Returns:
            float64 [...], as a fraction.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if self.is_cached or not wanted.size:
            return self.volatility[wanted] if wanted.size else np.empty(wanted.shape)
        parts = self._reached(wanted.ravel(), wanted.ravel() + 1)
        return bar_volatility(parts.vwap, parts.offsets)[parts.find(wanted)]

    def _reached(self, first: Integers, last: Integers) -> BarIntervals:
        """Bars that the features of ``first .. last - 1`` depend on; this range may span several symbols."""
        bars = self.bars
        symbol, final = bars.grid.symbol(first), bars.grid.symbol(last - 1)
        if np.any(symbol != final):
            count = final - symbol + 1
            at = np.repeat(np.arange(len(count)), count)
            symbol = symbol[at] + np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
            first, last = np.maximum(first[at], bars.offsets[symbol]), np.minimum(last[at], bars.offsets[symbol + 1])
        return reaching_back(bars, first, last, SUPPORT - 1)

    def block_starts_at(self, block: int, rows: npt.ArrayLike) -> Integers:
        """First bar of the block of each bar.

        A block has at most ``block`` bars and no gap. Blocks are cut at fixed times, so they do not depend on the first
        bar of the table.

        Args:
            block: Bars of a block at most.
            rows: int64 [...], flat indices.

        Returns:
            int64 [...], flat indices.
        """
        last = np.asarray(rows, dtype=np.int64)
        number = self._block_number(block, last)
        # The numbers rise along gapless bars: find the first bar of the block by bisection.
        low, high = np.maximum(self.bars.grid.gapless_start(last), last - block + 1), last
        while np.any(low < high):
            middle = (low + high) // 2
            before = self._block_number(block, middle) < number
            low, high = np.where(before, middle + 1, low), np.where(before, high, middle)
        return np.asarray(low)

    def _block_number(self, block: int, rows: Integers) -> Integers:
        step = self.bars.frequency.value
        # Daily bars may start at local midnight in a zone with daylight saving. Six hours later all are in their day.
        shift = DAY // 4 if step >= DAY else 0
        return (self.bars.timestamp[rows] + shift) // step // block

    def over_orders(
        self, start: Integers, max_periods: Integers, horizon: int, sessions: int = 0, *, sized: bool = True
    ) -> dict[str, Floats]:
        """The market over orders, as scale-free arrays (fields of ``execution.records.MarketWindow``).

        Args:
            start: Flat index of each order's first bar, [orders]; each has a bar before it.
            max_periods: Maximum duration of each order, [orders].
            horizon: Periods of the arrays; periods after an order's maximum have volume 0.
            sessions: Sessions of the volume profile, see :meth:`profile_over`.
            sized: Whether the volume is wanted that sizes are parts of; else it is NaN. It has a profile of its own.
        """
        bars = self.bars
        periods = np.arange(horizon)
        own = periods < max_periods[:, None]
        index = np.minimum(start[:, None] + periods, len(bars) - 1)
        before = start - 1
        arrival = bars.close[before]

        def expected_over(sessions: int) -> Floats:
            profile = self.profile_over(start, horizon, sessions)
            return np.where(own, profile.expected(start, horizon), 0.0)

        expected = expected_over(sessions)
        usual = np.full_like(expected, np.nan)
        if sized:
            usual = expected if sessions == SIZE_SESSIONS else expected_over(SIZE_SESSIONS)
        unit = expected.sum(1) / max_periods
        return {
            "price": bars.vwap_at(index) / arrival[:, None],
            "close": bars.close[index] / arrival[:, None],
            "volume": np.where(own, bars.volume[index] / unit[:, None], 0.0),
            "expected_volume": expected / unit[:, None],
            "volatility": self.volatility_at(before),
            "arrival_price": arrival,
            "volume_unit": unit,
            "horizon_volume": usual.sum(1) / unit,
        }
