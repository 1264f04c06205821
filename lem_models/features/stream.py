"""Features of a market one bar at a time: the newest row of a whole market's, bit for bit.

:class:`FeatureStream` keeps the last :data:`~lem_models.features.causal.SUPPORT` bars as arrays and computes what
:func:`~lem_models.features.causal.compute_features` computes for the last of them: sums run over the same window in
the same order, and logarithms and angles go through the same routines.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lem_models.features import causal as features
from lem_models.features.profile import LEVEL_WINDOW
from lem_models.markets.bars import Bars
from lem_models.markets.live_bars import BarReader, ClosedBar, last_bars

__all__ = ["FeatureStream"]


class _Recent:
    """The last values of a series, oldest first, contiguous in memory."""

    def __init__(self, values: npt.NDArray[np.float64], size: int, before: float) -> None:
        """Take the last ``size`` of ``values``; where there are fewer, ``before`` stands for the others."""
        self._size, self._end = size, size
        self._buffer = np.full(4 * size, before)
        kept = values[-size:]
        self._buffer[size - len(kept) : size] = kept

    def push(self, value: float) -> None:
        """Append a value; the oldest one drops out."""
        if self._end == len(self._buffer):
            self._buffer[: self._size] = self._buffer[-self._size :]
            self._end = self._size
        self._buffer[self._end] = value
        self._end += 1

    def last(self, count: int) -> npt.NDArray[np.float64]:
        """The last values, a view."""
        return self._buffer[self._end - count : self._end]

    def lagged(self, lag: int) -> float:
        """The value ``lag`` bars before the newest."""
        return float(self._buffer[self._end - 1 - lag])


class FeatureStream:
    """Features and volatility of the newest bar.

    Args:
        history: Bars of one symbol, at least :data:`SUPPORT` of them for meaningful features, the last ones gapless.

    Attributes:
        row: Features of the newest bar, float32 [features].
        volatility: Volatility per bar known at its close, as a fraction.
        reader: Checks the bars that are pushed.

    Raises:
        BarsError: when the history holds several symbols.
    """

    def __init__(self, history: Bars) -> None:
        self.reader = BarReader(history)
        # Twice the support: the sessions whose volumes make the profile, from their first slot.
        kept = last_bars(history, 2 * features.SUPPORT)
        computed = features.compute_features(kept)
        self.row, self.volatility = computed.values[-1].copy(), float(computed.volatility[-1])
        self._count = len(kept)
        size = features.SUPPORT
        log_vwap, log_close = np.log(kept.vwap), np.log(kept.close)
        self._log_vwap = _Recent(log_vwap, size, float(log_vwap[0]))
        self._log_close = _Recent(log_close, size, float(log_close[0]))
        self._squared = _Recent(np.diff(log_vwap, prepend=log_vwap[0]) ** 2, size, 0.0)
        self._volume = _Recent(kept.volume, size, 0.0)
        self._sessions: deque[dict[int, float]] = deque(maxlen=int(features.profile_sessions(1)) + 1)
        self._session: int | None = None
        for session, slot, volume in zip(kept.session.tolist(), kept.slot.tolist(), kept.volume.tolist(), strict=True):
            self._enter(session, slot, volume)

    def push(self, bar: ClosedBar | Mapping[str, Any] | pd.Series[Any]) -> npt.NDArray[np.float32]:
        """Features [features] after one more closed bar (a mapping is checked first, see :meth:`BarReader.read`).

        Raises:
            BarsError: when the bar breaks a rule of :class:`Bars` or is not the next one; the stream is then as before.
        """
        if not isinstance(bar, ClosedBar):
            bar = self.reader.read(bar)
        self.reader.accept(bar)
        self._count += 1
        self._enter(bar.session, bar.slot, bar.volume)
        log_vwap, log_close, log_open, log_range = np.log([bar.vwap, bar.close, bar.open, bar.high / bar.low]).tolist()
        self._log_vwap.push(log_vwap)
        self._log_close.push(log_close)
        return_vwap = log_vwap - self._log_vwap.lagged(1)
        self._squared.push(return_vwap * return_vwap)
        self._volume.push(bar.volume)
        self.volatility = sigma = self._newest_volatility()
        columns = self._price_columns(bar, sigma, log_open, log_range)
        columns |= self._volume_columns(bar, sigma, columns["return_close"])
        columns |= self._calendar_columns(bar)
        values = np.array([columns[name] for name in features.FEATURES])
        row: npt.NDArray[np.float32] = np.clip(values, -features._CLIP, features._CLIP).astype(np.float32)
        self.row = row
        return row

    def _enter(self, session: int, slot: int, volume: float) -> None:
        """Keep a volume by session and slot, for the time-of-day profile of the sessions to come."""
        if session != self._session:
            self._sessions.append({})
            self._session = session
        self._sessions[-1][slot] = volume

    def _profile(self, bar: ClosedBar) -> float:
        """Mean volume of the newest bar's slot over the sessions before; NaN where there is none."""
        total, count = 0.0, 0
        days = int(features.profile_sessions(bar.usual_slots))
        for earlier in itertools.islice(reversed(self._sessions), 1, 1 + days):
            if bar.slot in earlier:
                total, count = total + earlier[bar.slot], count + 1
        return total / count if count else math.nan

    def _mean(self, series: _Recent, weights: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> float:
        """Mean over the last bars; ``weights`` oldest first, ``weight`` the sum of the newest 1, 2, ... of them."""
        present = min(self._count, len(weights))
        return float(np.dot(series.last(len(weights)), weights)) / float(weight[present - 1])

    def _newest_volatility(self) -> float:
        return max(math.sqrt(self._mean(self._squared, *_DECAY)), features._VOLATILITY_FLOOR)

    def _price_columns(self, bar: ClosedBar, sigma: float, log_open: float, log_range: float) -> dict[str, float]:
        log_vwap, log_close = self._log_vwap.lagged(0), self._log_close.lagged(0)
        previous_close = self._log_close.lagged(1)
        return {
            "return_vwap": (log_vwap - self._log_vwap.lagged(1)) / sigma,
            "return_close": (log_close - previous_close) / sigma,
            "close_to_vwap": (log_close - log_vwap) / sigma,
            "gap": (log_open - previous_close) / sigma,
            **{
                f"momentum_{lag}": (log_close - self._log_close.lagged(lag)) / (sigma * math.sqrt(lag))
                for lag in (4, 12, 24, 96)
            },
            "close_in_range": _in_range(bar.close, bar.low, bar.high),
            "vwap_in_range": 2 * _in_range(bar.vwap, bar.low, bar.high),
            "range": log_range / sigma - 1.5,
        }

    def _volume_columns(self, bar: ClosedBar, sigma: float, return_close: float) -> dict[str, float]:
        volume = bar.volume
        level = self._mean(self._volume, *_LEVEL)
        level = level if level > 0 else 1.0
        floor = 0.02 * level
        profile = self._profile(bar)
        profile = profile if profile > 0 else level
        short, long = self._mean(self._volume, *_SHORT), self._mean(self._volume, *_LONG)
        ratios = (
            (volume + floor) / level,
            (volume + floor) / (profile + floor),
            (short + floor) / (long + floor),
            self._mean(self._squared, *_BURST) / (sigma * sigma) + 0.02,
            (profile + floor) / (level + floor),
        )
        to_level, to_profile, trend, volatility, profile_to_level = np.log(ratios).tolist()
        return {
            "return_times_volume": return_close * min(max(volume / level, 0.0), 4.0) / 2,
            "volume_to_level": to_level,
            "volume_to_profile": to_profile,
            "volume_trend": 2 * trend,
            "volatility_trend": volatility,
            "profile_to_level": profile_to_level,
        }

    def _calendar_columns(self, bar: ClosedBar) -> dict[str, float]:
        day = 2 * math.pi * bar.slot / bar.usual_slots
        week = 2 * math.pi * float((bar.timestamp // 3_600_000_000_000 + 96) % 168) / 168.0
        angles = np.array([day, week])
        (time_sin, week_sin), (time_cos, week_cos) = np.sin(angles).tolist(), np.cos(angles).tolist()
        return {"time_sin": time_sin, "time_cos": time_cos, "week_sin": week_sin, "week_cos": week_cos}


def _in_range(x: float, low: float, high: float) -> float:
    width = high - low
    return (2 * x - low - high) / width if width > 0 else 0.0


def _window(weights: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weights by lag as :meth:`FeatureStream._mean` takes them."""
    return np.ascontiguousarray(weights[::-1]), np.cumsum(weights)


_DECAY = _window(0.5 ** (np.arange(features._VOLATILITY_WINDOW) / features._VOLATILITY_HALF_LIFE))
_LEVEL, _SHORT, _LONG, _BURST = (_window(np.ones(length)) for length in (LEVEL_WINDOW, 6, 48, 8))
