"""Causal features of a market: what a model reads of the bars that have closed.

Row ``k`` is a function of the bars ``k - SUPPORT + 1 .. k`` of its own symbol and of nothing else: every window is
finite, so the features of a stretch come from the same code as those of a whole market (:func:`compute_features`), bit
for bit, and :class:`~lem_models.features.stream.FeatureStream` gives those of one new bar. Prices enter as log ratios
over the past volatility and volumes over past volumes: units drop out, and a window looks the same for a coin and for a
share.

Volatility per bar: ``sigma_k^2 = sum_j w_j r_{k-j}^2``, ``r`` the log return of the bar's VWAP, ``w`` exponential with
a half-life of 32 bars, cut after 120 bars and normalised to sum 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lem_models.features.profile import LEVEL_WINDOW as _LEVEL_WINDOW
from lem_models.features.profile import slot_profile
from lem_models.markets.bars import Bars
from lem_models.markets.parts import BarColumns, BarParts, reaching_back

__all__ = [
    "FEATURES",
    "SIGNED",
    "SUPPORT",
    "Features",
    "bar_volatility",
    "compute_features",
    "profile_sessions",
]

SUPPORT = 128
"""Bars that a row of features depends on, its own bar included."""

_VOLATILITY_WINDOW = 120
_VOLATILITY_HALF_LIFE = 32.0
_VOLATILITY_FLOOR = 1e-5  # per bar: a tenth of a basis point, so that a constant price is no division by zero
_CLIP = 6.0
_PIECE = 1 << 15  # bars computed together: their columns fit into the processor's cache

SIGNED: dict[str, bool] = {
    "return_vwap": True,
    "return_close": True,
    "close_to_vwap": True,
    "gap": True,
    "momentum_4": True,
    "momentum_12": True,
    "momentum_24": True,
    "momentum_96": True,
    "close_in_range": True,
    "vwap_in_range": True,
    "return_times_volume": True,
    "range": False,
    "volume_to_level": False,
    "volume_to_profile": False,
    "volume_trend": False,
    "volatility_trend": False,
    "profile_to_level": False,
    "time_sin": False,
    "time_cos": False,
    "week_sin": False,
    "week_cos": False,
}
"""Features in order; the value says whether the feature changes sign when the market is reflected in log price."""

FEATURES: tuple[str, ...] = tuple(SIGNED)

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """Features of a market.

    Attributes:
        values: float32 [bars, features], columns :data:`FEATURES`. Rows with less than :data:`SUPPORT` bars of gapless
            history behind them mean nothing; the origins index keeps windows away from them.
        volatility: Volatility per bar known at the bar's close, as a fraction, float64 [bars].
    """

    values: npt.NDArray[np.float32]
    volatility: FloatArray


class _Layout:
    """Parts (symbols or stretches) of flat columns: sums and lags that stay inside them.

    A row of the result is the same sum of the same numbers wherever its part begins and whatever stands beside it.

    Args:
        offsets: Bounds of the parts, [parts + 1].
    """

    def __init__(self, offsets: npt.NDArray[np.int64]) -> None:
        self._count = len(offsets) - 1
        self._row = np.arange(int(offsets[-1]))
        self._part = np.repeat(np.arange(self._count), np.diff(offsets))
        self._position = self._row - offsets[self._part]

    def lagged(self, x: FloatArray, lag: int) -> FloatArray:
        """``x`` at ``k - lag``; the first ``lag`` rows of a part repeat its first value."""
        return np.asarray(x[self._row - np.minimum(self._position, lag)])

    def weighted_mean(self, x: FloatArray, weights: FloatArray) -> FloatArray:
        """Mean of ``x[k - j]`` with ``weights[j]``, over the rows there are. Direct sums: a row is its window's."""
        pad = len(weights) - 1
        place = self._row + (self._part + 1) * pad
        padded = np.zeros(len(x) + self._count * pad)
        padded[place] = x
        total = np.convolve(padded, weights, mode="valid")
        if self._count > 1:
            total = total[place - pad]
        mean: FloatArray = total / np.cumsum(weights)[np.minimum(self._position, pad)]
        return mean

    def mean(self, x: FloatArray, window: int) -> FloatArray:
        """Mean of the last values."""
        return self.weighted_mean(x, np.ones(window))

    def volatility(self, log_price: FloatArray) -> FloatArray:
        """See the module's formula."""
        decay = 0.5 ** (np.arange(_VOLATILITY_WINDOW) / _VOLATILITY_HALF_LIFE)
        variance = self.weighted_mean((log_price - self.lagged(log_price, 1)) ** 2, decay)
        return np.asarray(np.maximum(np.sqrt(variance), _VOLATILITY_FLOOR))


def bar_volatility(vwap: FloatArray, offsets: npt.NDArray[np.int64] | None = None) -> FloatArray:
    """Volatility per bar of VWAP log returns, as a fraction; see the module's formula.

    Args:
        vwap: [bars].
        offsets: Bounds of the symbols, [symbols + 1]; default: one symbol.

    Returns:
        float64 [bars].
    """
    return _Layout(np.array([0, len(vwap)]) if offsets is None else offsets).volatility(np.log(vwap))


def compute_features(rows: BarColumns) -> Features:
    """Features and volatility of every bar; see :class:`Features`.

    Args:
        rows: :class:`Bars`, or other columns of bars. The parts that its ``offsets`` bound are separate symbols, or
            stretches of one. A row is the same bit for bit, wherever its part begins, if the part holds the
            :data:`SUPPORT` bars up to it, or those that its symbol has.

    Returns:
        The features of the rows.
    """
    if not isinstance(rows, Bars):
        return _compute(rows)
    # Piece by piece: what is needed in between stays small.
    values = np.empty((len(rows), len(FEATURES)), dtype=np.float32)
    volatility = np.empty(len(rows))
    for first in range(0, len(rows), _PIECE):
        last = min(first + _PIECE, len(rows))
        edges = np.unique(np.concatenate([[first, last], rows.offsets[(rows.offsets > first) & (rows.offsets < last)]]))
        parts = reaching_back(rows, edges[:1], edges[1:2], SUPPORT - 1)
        parts = BarParts(rows, np.append(parts.first, edges[1:-1]), edges[1:])
        computed, skip = _compute(parts), first - int(parts.first[0])
        values[first:last] = computed.values[skip:]
        volatility[first:last] = computed.volatility[skip:]
    return Features(values, volatility)


def _compute(rows: BarColumns) -> Features:
    layout = _Layout(rows.offsets)
    sigma = layout.volatility(np.log(rows.vwap))
    columns = _price_columns(rows, layout, sigma) | _volume_columns(rows, layout, sigma)
    day, week = _calendar_angles(rows)
    columns |= {"time_sin": np.sin(day), "time_cos": np.cos(day), "week_sin": np.sin(week), "week_cos": np.cos(week)}
    values = np.empty((len(sigma), len(FEATURES)), dtype=np.float32)
    for column, name in enumerate(FEATURES):
        np.clip(columns[name], -_CLIP, _CLIP, out=values[:, column], casting="same_kind")
    return Features(values, sigma)


def profile_sessions(slots: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Sessions that the features' time-of-day profile averages: as many as the support holds, at most 5.

    Args:
        slots: Usual slots of a session, int64 [...].

    Returns:
        int64 [...].
    """
    return np.asarray(np.minimum(5, (SUPPORT - 1) // np.asarray(slots)))


def _profile(rows: BarColumns) -> FloatArray:
    """Mean volume of each row's time slot over the sessions before, NaN where there is none, [bars]."""
    if not profile_sessions(rows.usual_slots).any():  # very short bars: the profile is then the level
        return np.full(len(rows.volume), np.nan)
    table, first = slot_profile(rows, profile_sessions)
    return np.asarray(table[np.repeat(np.arange(len(first)), np.diff(first, append=len(rows.slot))), rows.slot])


def _in_range(x: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    width = high - low
    return np.where(width > 0, (2 * x - low - high) / np.where(width > 0, width, 1.0), 0.0)


def _price_columns(rows: BarColumns, layout: _Layout, sigma: FloatArray) -> dict[str, FloatArray]:
    """Features of the prices, in units of the volatility."""
    vwap, close, low, high = rows.vwap, rows.close, rows.low, rows.high
    log_vwap, log_close = np.log(vwap), np.log(close)
    previous_close = layout.lagged(log_close, 1)
    return {
        "return_vwap": (log_vwap - layout.lagged(log_vwap, 1)) / sigma,
        "return_close": (log_close - previous_close) / sigma,
        "close_to_vwap": (log_close - log_vwap) / sigma,
        "gap": (np.log(rows.open) - previous_close) / sigma,
        **{
            f"momentum_{lag}": (log_close - layout.lagged(log_close, lag)) / (sigma * np.sqrt(lag))
            for lag in (4, 12, 24, 96)
        },
        "close_in_range": _in_range(close, low, high),
        "vwap_in_range": 2 * _in_range(vwap, low, high),
        "range": np.log(high / low) / sigma - 1.5,
    }


def _volume_columns(rows: BarColumns, layout: _Layout, sigma: FloatArray) -> dict[str, FloatArray]:
    """Features of the volumes, against their recent level and their time-of-day profile."""
    volume, log_vwap, log_close = rows.volume, np.log(rows.vwap), np.log(rows.close)
    profile = _profile(rows)
    level = layout.mean(volume, _LEVEL_WINDOW)
    level = np.where(level > 0, level, 1.0)
    floor = 0.02 * level  # keeps the logarithm of a bar without volume finite, whatever the unit of volume
    profile = np.where(np.isnan(profile) | (profile <= 0), level, profile)
    squared = (log_vwap - layout.lagged(log_vwap, 1)) ** 2
    return_close = (log_close - layout.lagged(log_close, 1)) / sigma
    return {
        "return_times_volume": return_close * np.clip(volume / level, 0, 4) / 2,
        "volume_to_level": np.log((volume + floor) / level),
        "volume_to_profile": np.log((volume + floor) / (profile + floor)),
        "volume_trend": 2 * np.log((layout.mean(volume, 6) + floor) / (layout.mean(volume, 48) + floor)),
        "volatility_trend": np.log(layout.mean(squared, 8) / sigma**2 + 0.02),
        "profile_to_level": np.log((profile + floor) / (level + floor)),
    }


def _calendar_angles(rows: BarColumns) -> tuple[FloatArray, FloatArray]:
    """Position in the session and in the week as angles, [bars] each: the calendar is known in advance."""
    day: FloatArray = 2 * np.pi * rows.slot / rows.usual_slots
    hour_of_week = (rows.timestamp // 3_600_000_000_000 + 96) % 168  # 1970-01-01 was a Thursday: Sunday 00:00 is 0
    week: FloatArray = 2 * np.pi * hour_of_week.astype(np.float64) / 168.0
    return day, week
