"""Causal features of a market: what a model reads of the bars that have closed.

Each feature is defined once, in :data:`DEFINITIONS`, as a formula over the newest bar, lags and means of its past
(:class:`Inputs`). Two subclasses serve the formula: :class:`_Columns` for whole tables, and
:class:`~lem_models.features.live.LiveFeatures` for the newest bar of many symbols. Both give the same numbers, bit for
bit.

Row ``k`` depends on the bars ``k - SUPPORT + 1 .. k`` of its own symbol and on nothing else: every window is finite, so
the features of a few rows come from the same code as those of a whole market. Prices enter as log ratios over the past
volatility and volumes over past volumes. Units drop out, and a window looks the same for a coin and for a share.

Volatility per bar: ``sigma_k^2 = sum_j w_j r_{k-j}^2``, ``r`` the log return of the bar's VWAP, ``w`` exponential with
a half-life of 32 bars, cut after 120 bars and normalised to sum 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lem_models.features.profile import LEVEL_WINDOW, slot_profile
from lem_models.markets.bars import Bars
from lem_models.markets.parts import BarColumns, BarIntervals, reaching_back

__all__ = [
    "DEFINITIONS",
    "FEATURES",
    "FEATURE_LIMIT",
    "SIGNED",
    "SUPPORT",
    "Features",
    "Inputs",
    "Window",
    "bar_volatility",
    "compute_features",
    "feature_values",
    "profile_sessions",
]

SUPPORT = 128
"""Bars that a row of features depends on, its own bar included."""

PROFILE_SESSIONS = 5
"""Sessions that the time-of-day profile of the features averages at most."""

_VOLATILITY_FLOOR = 1e-5  # per bar: a tenth of a basis point, so that a constant price is no division by zero
FEATURE_LIMIT = 6.0
"""Largest size of a feature."""
_PIECE = 1 << 15  # bars computed together: their columns fit into the processor's cache

FloatArray = npt.NDArray[np.float64]


class Window(NamedTuple):
    """Weights of a mean over past bars.

    Attributes:
        weights: By lag, newest bar first, [bars].
        oldest_first: The same weights the other way round, [bars].
        total: Sums of the first 1, 2, ... weights, [bars].
    """

    weights: FloatArray
    oldest_first: FloatArray
    total: FloatArray

    @classmethod
    def of(cls, weights: FloatArray) -> Window:
        """The window of some weights."""
        return cls(weights, weights[::-1].copy(), np.cumsum(weights))


_DECAY = Window.of(0.5 ** (np.arange(120) / 32.0))
_LAST_6, _LAST_8, _LAST_48, _LEVEL = (Window.of(np.ones(length)) for length in (6, 8, 48, LEVEL_WINDOW))


class Inputs(ABC):
    """What features are computed from: some rows, each the newest bar of its own past.

    Series that reach back go by name: ``"log_vwap"``, ``"log_close"``, ``"squared_return"`` (of the VWAP) and
    ``"volume"``. Arrays are float64 [rows].

    Attributes:
        xp: Library of the arrays: numpy, or torch where the formulas become a graph.
        bars: Columns of the rows' newest bars: ``open``, ``high``, ``low``, ``close``, ``vwap``, ``volume``, ``slot``,
            ``usual_slots`` and ``timestamp``.
    """

    xp: Any = np
    bars: Any

    @abstractmethod
    def lag(self, series: str, bars: int) -> FloatArray:
        """A series so many bars before; its first value where the past is shorter."""

    @abstractmethod
    def mean(self, series: str, window: Window) -> FloatArray:
        """Weighted mean of a series over the last bars, over those that there are where the past is shorter."""

    @abstractmethod
    def slot_mean(self) -> FloatArray:
        """Mean volume of the slot over the sessions before (:func:`profile_sessions`); NaN where there is none."""

    @cached_property
    def log_vwap(self) -> FloatArray:
        """Log of the VWAP."""
        return self.lag("log_vwap", 0)

    @cached_property
    def log_close(self) -> FloatArray:
        """Log of the close."""
        return self.lag("log_close", 0)

    @cached_property
    def previous_close(self) -> FloatArray:
        """Log of the close of the bar before."""
        return self.lag("log_close", 1)

    @cached_property
    def sigma(self) -> FloatArray:
        """Volatility per bar, see the module's formula."""
        variance = self.mean("squared_return", _DECAY)
        return self.xp.clip(self.xp.sqrt(variance), _VOLATILITY_FLOOR, None)  # type: ignore[no-any-return]

    @cached_property
    def return_close(self) -> FloatArray:
        """Log return of the close, in volatilities."""
        return (self.log_close - self.previous_close) / self.sigma

    @cached_property
    def level(self) -> FloatArray:
        """Recent mean volume, positive."""
        level = self.mean("volume", _LEVEL)
        return self.xp.where(level > 0, level, 1.0)  # type: ignore[no-any-return]

    @cached_property
    def floor(self) -> FloatArray:
        """Small part of the level: it keeps the log of a bar without volume finite, whatever the unit of volume."""
        return 0.02 * self.level

    @cached_property
    def profile(self) -> FloatArray:
        """Mean volume of the bar's slot over the sessions before; the level where it is not known."""
        profile = self.slot_mean()
        return self.xp.where(self.xp.isnan(profile) | (profile <= 0), self.level, profile)  # type: ignore[no-any-return]


class Definition(NamedTuple):
    """A feature.

    Attributes:
        is_signed: Whether it changes sign when the market is reflected in log price.
        formula: Its value, [rows].
    """

    is_signed: bool
    formula: Callable[[Inputs], FloatArray]


def _momentum(lag: int) -> Callable[[Inputs], FloatArray]:
    return lambda x: (x.log_close - x.lag("log_close", lag)) / (x.sigma * math.sqrt(lag))


def _in_range(x: Inputs, price: FloatArray) -> FloatArray:
    low, high, xp = x.bars.low, x.bars.high, x.xp
    width = high - low
    return xp.where(width > 0, (2 * price - low - high) / xp.where(width > 0, width, 1.0), 0.0)  # type: ignore[no-any-return]


def _time_angle(x: Inputs) -> FloatArray:
    """Position in the session as an angle: the calendar is known in advance."""
    return 2 * np.pi * x.bars.slot / x.bars.usual_slots  # type: ignore[no-any-return]


def _week_angle(x: Inputs) -> FloatArray:
    """Position in the week as an angle."""
    hour_of_week = (x.bars.timestamp // 3_600_000_000_000 + 96) % 168  # 1970-01-01 was a Thursday: Sunday 00:00 is 0
    return 2 * np.pi * x.xp.asarray(hour_of_week, dtype=x.xp.float64) / 168.0  # type: ignore[no-any-return]


DEFINITIONS: dict[str, Definition] = {
    "return_vwap": Definition(True, lambda x: (x.log_vwap - x.lag("log_vwap", 1)) / x.sigma),
    "return_close": Definition(True, lambda x: x.return_close),
    "close_to_vwap": Definition(True, lambda x: (x.log_close - x.log_vwap) / x.sigma),
    "gap": Definition(True, lambda x: (x.xp.log(x.bars.open) - x.previous_close) / x.sigma),
    **{f"momentum_{lag}": Definition(True, _momentum(lag)) for lag in (4, 12, 24, 96)},
    "close_in_range": Definition(True, lambda x: _in_range(x, x.bars.close)),
    "vwap_in_range": Definition(True, lambda x: 2 * _in_range(x, x.bars.vwap)),
    "return_times_volume": Definition(True, lambda x: x.return_close * x.xp.clip(x.bars.volume / x.level, 0, 4) / 2),
    "range": Definition(False, lambda x: x.xp.log(x.bars.high / x.bars.low) / x.sigma - 1.5),
    "volume_to_level": Definition(False, lambda x: x.xp.log((x.bars.volume + x.floor) / x.level)),
    "volume_to_profile": Definition(False, lambda x: x.xp.log((x.bars.volume + x.floor) / (x.profile + x.floor))),
    "volume_trend": Definition(
        False,
        lambda x: 2 * x.xp.log((x.mean("volume", _LAST_6) + x.floor) / (x.mean("volume", _LAST_48) + x.floor)),
    ),
    "volatility_trend": Definition(False, lambda x: x.xp.log(x.mean("squared_return", _LAST_8) / x.sigma**2 + 0.02)),
    "profile_to_level": Definition(False, lambda x: x.xp.log((x.profile + x.floor) / (x.level + x.floor))),
    "time_sin": Definition(False, lambda x: x.xp.sin(_time_angle(x))),
    "time_cos": Definition(False, lambda x: x.xp.cos(_time_angle(x))),
    "week_sin": Definition(False, lambda x: x.xp.sin(_week_angle(x))),
    "week_cos": Definition(False, lambda x: x.xp.cos(_week_angle(x))),
}
"""Every feature by name. To add one, add a row here."""

FEATURES: tuple[str, ...] = tuple(DEFINITIONS)
"""Names of the features, in order."""

SIGNED: dict[str, bool] = {name: definition.is_signed for name, definition in DEFINITIONS.items()}
"""Whether a feature changes sign when the market is reflected in log price."""


def feature_values(inputs: Inputs) -> npt.NDArray[np.float32]:
    """Features of some rows, clipped to +-6, float32 [rows, features], columns :data:`FEATURES`."""
    values = np.empty((len(inputs.sigma), len(FEATURES)))
    for column, definition in enumerate(DEFINITIONS.values()):
        values[:, column] = definition.formula(inputs)
    return np.clip(values, -FEATURE_LIMIT, FEATURE_LIMIT, out=values).astype(np.float32)


def profile_sessions(slots: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Sessions that the time-of-day profile of the features averages: as many as the support holds.

    Args:
        slots: Usual slots of a session, int64 [...].

    Returns:
        int64 [...], at most :data:`PROFILE_SESSIONS`.
    """
    return np.asarray(np.minimum(PROFILE_SESSIONS, (SUPPORT - 1) // np.asarray(slots)))


# --- whole tables ----------------------------------------------------------------------------------------------------


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


class _Rows:
    """Places of the rows of flat columns, whose parts (symbols or intervals of bars) have no past in common.

    Args:
        offsets: Bounds of the parts, [parts + 1].
    """

    def __init__(self, offsets: npt.NDArray[np.int64]) -> None:
        self._count = len(offsets) - 1
        self._row = np.arange(int(offsets[-1]))
        self._part = np.repeat(np.arange(self._count), np.diff(offsets))
        self._position = self._row - offsets[self._part]

    def lag(self, x: FloatArray, bars: int) -> FloatArray:
        """``x[k - bars]``; the first rows of a part repeat its first value."""
        return np.asarray(x[self._row - np.minimum(self._position, bars)])

    def mean(self, x: FloatArray, window: Window) -> FloatArray:
        """Mean of ``x[k - j]`` with ``weights[j]``. Direct sums: a row is the sum of its own window's numbers."""
        weights, pad = window.weights, len(window.weights) - 1
        place = self._row + (self._part + 1) * pad
        padded = np.zeros(len(x) + self._count * pad)
        padded[place] = x
        total = np.convolve(padded, weights, mode="valid")
        if self._count > 1:
            total = total[place - pad]
        mean: FloatArray = total / window.total[np.minimum(self._position, pad)]
        return mean

    def squared_return(self, log_price: FloatArray) -> FloatArray:
        """Square of the return over the bar before, 0 in the first row of a part."""
        return np.asarray((log_price - self.lag(log_price, 1)) ** 2)


class _Columns(Inputs):
    """Every row of flat columns with the rows before it as its past."""

    bars: BarColumns

    def __init__(self, bars: BarColumns) -> None:
        self.bars = bars
        self._rows = _Rows(bars.offsets)
        log_vwap = np.log(bars.vwap)
        self._series = {
            "log_vwap": log_vwap,
            "log_close": np.log(bars.close),
            "squared_return": self._rows.squared_return(log_vwap),
            "volume": bars.volume,
        }

    def lag(self, series: str, bars: int) -> FloatArray:
        return self._rows.lag(self._series[series], bars) if bars else self._series[series]

    def mean(self, series: str, window: Window) -> FloatArray:
        return self._rows.mean(self._series[series], window)

    def slot_mean(self) -> FloatArray:
        bars = self.bars
        if not profile_sessions(bars.usual_slots).any():  # very short bars: the profile is then the level
            return np.full(len(bars.volume), np.nan)
        table, first = slot_profile(bars, profile_sessions)
        return np.asarray(table[np.repeat(np.arange(len(first)), np.diff(first, append=len(bars.slot))), bars.slot])


def bar_volatility(vwap: FloatArray, offsets: npt.NDArray[np.int64] | None = None) -> FloatArray:
    """Volatility per bar of VWAP log returns, as a fraction; see the module's formula.

    Args:
        vwap: [bars].
        offsets: Bounds of the symbols, [symbols + 1]; default: one symbol.

    Returns:
        float64 [bars].
    """
    rows = _Rows(np.array([0, len(vwap)]) if offsets is None else offsets)
    variance = rows.mean(rows.squared_return(np.log(vwap)), _DECAY)
    return np.asarray(np.maximum(np.sqrt(variance), _VOLATILITY_FLOOR))


def compute_features(rows: BarColumns) -> Features:
    """Features and volatility of every bar; see :class:`Features`.

    Args:
        rows: :class:`Bars`, or other columns of bars. The parts that its ``offsets`` bound are separate symbols, or
            intervals of one. A row is the same bit for bit, wherever its part begins, if the part holds the
            :data:`SUPPORT` bars up to it, or those that its symbol has.

    Returns:
        The features of the rows.
    """
    if not isinstance(rows, Bars):
        inputs = _Columns(rows)
        return Features(feature_values(inputs), inputs.sigma)
    # Piece by piece: what is needed in between stays small.
    values = np.empty((len(rows), len(FEATURES)), dtype=np.float32)
    volatility = np.empty(len(rows))
    for first in range(0, len(rows), _PIECE):
        last = min(first + _PIECE, len(rows))
        edges = np.unique(np.concatenate([[first, last], rows.offsets[(rows.offsets > first) & (rows.offsets < last)]]))
        parts = reaching_back(rows, edges[:1], edges[1:2], SUPPORT - 1)
        inputs = _Columns(BarIntervals(rows, np.append(parts.first, edges[1:-1]), edges[1:]))
        skip = first - int(parts.first[0])
        values[first:last] = feature_values(inputs)[skip:]
        volatility[first:last] = inputs.sigma[skip:]
    return Features(values, volatility)
